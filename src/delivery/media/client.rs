//! One client: what is sent to it, and what it says.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tungstenite::protocol::frame::coding::CloseCode;

use super::Shared;
use super::head::{HEAD_BYTES, Kind};
use super::place::{Delivery, Place};
use super::ring::{Frame, Speaker};
use super::source::Source;
use super::text;
use super::wire::{self, Listener, Said};
use crate::delivery::clients::socket::Room;
use crate::domain::id::Id;

/// Frames up to this size are put together and sent with one call.
const SMALL_BYTES: usize = 16 << 10;
/// As many as fit into this.
const GATHER_BYTES: usize = 64 << 10;
/// Answers to pings that wait for a client; one that does not read them is cut off.
const ANSWERS_BYTES_MAX: usize = 4 << 10;
/// Reads of one client in a row, before the others.
const READS_MAX: usize = 4;
/// With nothing else to do, a ping is sent so often.
const PING: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is cut off.
const STALL_MAX: Duration = Duration::from_secs(60);
/// For a client to close after all was sent.
const LINGER: Duration = Duration::from_secs(2);

/// A request that was accepted.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) socket: OwnedFd,
    /// The head of the answer.
    pub(super) answer: String,
    pub(super) source: Arc<Source>,
    pub(super) kind: Kind,
    pub(super) speaker: Option<Id<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// What waits is sent first.
    Closing(CloseCode, &'static str),
    /// All was said.
    Closed,
    /// Until the client closes.
    Lingering(Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    source: Arc<Source>,
    shared: Arc<Shared>,
    kind: Kind,
    place: Place,
    /// What was announced to it.
    format: Option<Arc<str>>,
    speakers: HashMap<u32, Arc<Speaker>>,
    stage: Stage,
    /// What is being sent, how much of it is, and what follows it.
    out: Vec<u8>,
    sent: usize,
    large: Option<(Arc<Frame>, usize)>,
    /// It is of the stream, and not only about the connection.
    has_content: bool,
    /// Answers to pings.
    answers: Vec<u8>,
    listener: Listener,
    pub(super) room: Room,
    progressed: Instant,
    pinged: Instant,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.source.close_tap(self.kind);
        self.shared.counters.leaves(self.kind);
    }
}

impl Client {
    pub(super) fn new(request: Request, shared: &Arc<Shared>, now: Instant) -> Client {
        let Request {
            socket,
            answer,
            source,
            kind,
            speaker,
        } = request;
        let place = source.open_tap(kind, speaker, shared);
        shared.counters.comes(kind);
        Client {
            socket,
            source,
            shared: Arc::clone(shared),
            kind,
            place,
            format: None,
            speakers: HashMap::new(),
            stage: Stage::Open,
            out: answer.into_bytes(),
            sent: 0,
            large: None,
            has_content: false,
            answers: Vec::new(),
            listener: Listener::default(),
            room: Room::default(),
            progressed: now,
            pinged: now,
        }
    }

    /// Watches for room in its socket while it needs some. `false` if that fails.
    pub(super) fn watch(&mut self, epoll: &OwnedFd, slot: usize) -> bool {
        self.room.watch(epoll, &self.socket, slot)
    }

    /// When it has to be looked at, even if nothing happens.
    pub(super) fn due(&self) -> Instant {
        match self.stage {
            Stage::Lingering(until) => until,
            _ if self.room.is_wanted => self.progressed + STALL_MAX,
            _ => self.pinged + PING,
        }
    }

    /// The server ends.
    pub(super) fn stop(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing(CloseCode::Away, "");
        }
    }

    /// Reads what the client says. `false` if it is gone.
    pub(super) fn listen(&mut self) -> bool {
        let mut bytes = [0; 4096];
        for _ in 0..READS_MAX {
            match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                // What it says after the end does not matter.
                Ok(_) if self.stage != Stage::Open => {}
                Ok((read, _)) => {
                    self.listener.push(&bytes[..read]);
                    if !self.hear() {
                        return false;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self) -> bool {
        loop {
            match self.listener.hear() {
                Ok(Some(Said::Ping(payload))) => wire::put_pong(&mut self.answers, &payload),
                Ok(Some(Said::Pong)) => {}
                Ok(Some(Said::Close)) => self.stage = Stage::Closing(CloseCode::Normal, ""),
                Ok(None) => return self.answers.len() <= ANSWERS_BYTES_MAX,
                Err(CloseCode::Policy) => {
                    let text = "nothing is expected of a client";
                    self.stage = Stage::Closing(CloseCode::Policy, text);
                }
                Err(code) => self.stage = Stage::Closing(code, ""),
            }
            if self.stage != Stage::Open {
                return true;
            }
        }
    }

    /// Does what can be done without waiting. `false` if it is over.
    pub(super) fn step(&mut self, now: Instant) -> bool {
        // What is under way of a withdrawn stream is not completed.
        if self.has_content && self.source.is_revoked() {
            return false;
        }
        if self.room.is_wanted {
            return now < self.progressed + STALL_MAX;
        }
        if now >= self.pinged + PING {
            self.pinged = now;
            wire::put_ping(&mut self.answers);
        }
        loop {
            if self.is_sending() {
                if !self.send(now) {
                    return false;
                }
                if self.room.is_wanted {
                    return true;
                }
                continue;
            }
            match self.stage {
                Stage::Open => self.fill(),
                Stage::Closing(code, reason) => {
                    wire::put_close(&mut self.out, code, reason);
                    self.stage = Stage::Closed;
                }
                Stage::Closed => {
                    let _ = shutdown(&self.socket, Shutdown::Write);
                    self.stage = Stage::Lingering(now + LINGER);
                }
                Stage::Lingering(until) => return now < until,
            }
            if !self.is_sending() && self.stage == Stage::Open {
                return true;
            }
        }
    }

    fn is_sending(&self) -> bool {
        !self.out.is_empty() || self.large.is_some()
    }

    /// Sends some of what waits. `false` if the client is gone.
    fn send(&mut self, now: Instant) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let (bytes, more) = match &self.large {
            _ if !self.out.is_empty() => (&self.out[self.sent..], self.large.is_some()),
            Some((frame, sent)) => (&frame.payload[*sent..], false),
            None => return true,
        };
        let flags = if more { flags | SendFlags::MORE } else { flags };
        match send(&self.socket, bytes, flags) {
            Ok(sent) => {
                self.progressed = now;
                self.room.is_wanted = sent < bytes.len();
                self.was_sent(sent);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => {
                self.room.is_wanted = true;
                true
            }
            Err(_) => false,
        }
    }

    fn was_sent(&mut self, bytes: usize) {
        if !self.out.is_empty() {
            self.sent += bytes;
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
            }
        } else if let Some((frame, sent)) = &mut self.large {
            *sent += bytes;
            if *sent == frame.payload.len() {
                self.large = None;
            }
        }
    }

    /// Takes what comes next; nothing waits.
    fn fill(&mut self) {
        self.has_content = false;
        self.out.append(&mut self.answers);
        let source = Arc::clone(&self.source);
        let state = source.lock();
        let Some(tap) = state.tap(self.kind) else {
            return;
        };
        while self.out.len() < GATHER_BYTES && self.large.is_none() {
            let Some(delivery) = self.place.next(tap.ring()) else {
                if let Some(format) = tap.format() {
                    self.announce_format(format);
                }
                if let Some(reason) = state.end {
                    wire::put_text(&mut self.out, &text::end(reason));
                    self.stage = Stage::Closing(CloseCode::Normal, "");
                }
                return;
            };
            self.put(delivery);
        }
    }

    fn put(&mut self, delivery: Delivery) {
        let Delivery { head, frame } = delivery;
        self.has_content = true;
        self.announce_format(&frame.format);
        if let Some(speaker) = &frame.speaker {
            self.announce_speaker(speaker);
        }
        if head.dropped > 0 {
            self.shared.counters.drops(self.kind, head.dropped);
        }
        wire::put_binary_header(&mut self.out, HEAD_BYTES + frame.payload.len());
        self.out.extend_from_slice(&head.bytes());
        match frame.payload.len() {
            0..SMALL_BYTES => self.out.extend_from_slice(&frame.payload),
            _ => self.large = Some((frame, 0)),
        }
    }

    fn announce_format(&mut self, format: &Arc<str>) {
        if !self
            .format
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, format))
        {
            wire::put_text(&mut self.out, format);
            self.format = Some(Arc::clone(format));
        }
    }

    fn announce_speaker(&mut self, speaker: &Arc<Speaker>) {
        let known = self.speakers.get(&speaker.number);
        if !known.is_some_and(|it| Arc::ptr_eq(it, speaker)) {
            wire::put_text(&mut self.out, &speaker.text);
            self.speakers.insert(speaker.number, Arc::clone(speaker));
        }
    }
}
