//! One client: where it is in the journals, and what is sent to it.
//!
//! Nothing is kept for a client that reads slowly but its place: what is left of an event is made again
//! from its line.

mod feeding;
mod placing;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::catch_up::{Begin, CatchUp};
use super::counters::{Counters, Kind};
use super::find::Finder;
use super::frame;
use super::interest::{Interest, Scope};
use super::query::{Ask, Form};
use super::ring::Ring;
use super::{Access, Shared, Term, Times};
use crate::clock::now_ms;
use crate::delivery::clients::socket::Room;
use crate::feed::{Board, JournalKey, Reader};
use crate::gate::{Answer, answer_bytes};

const REVOKED: &str = "consent to this stream was withdrawn";
const EXPIRED: &str = "this link has expired";
const STOPPING: &str = "the server is stopping";
/// A client that sends more than this after its request is cut off.
const DISCARDED_BYTES_MAX: usize = 64 << 10;
/// A client that takes nothing for so long loses its place in the files, which is found again.
const CATCH_UP_KEPT: Duration = Duration::from_secs(1);

/// What a client's step needs besides itself.
pub(super) struct Context<'a> {
    pub(super) board: &'a Arc<Board>,
    pub(super) reader: &'a Reader,
    pub(super) ring: &'a Ring,
    /// How many journals there are, about.
    pub(super) journals: usize,
    pub(super) scratch: &'a mut Scratch,
    pub(super) now: Instant,
    pub(super) turns: &'a mut Turns,
    pub(super) shared: &'a Shared,
    /// The server ends: what has begun is completed, and no more.
    pub(super) is_stopping: bool,
}

/// Buffers that all clients share.
#[derive(Default)]
pub(super) struct Scratch {
    out: Vec<u8>,
    /// The end of each frame in `out`, and its position.
    frames: Vec<(usize, u64)>,
}

/// Turns with files, of which a round has few: clients that are up to date come first.
pub(super) struct Turns {
    pub(super) left: u32,
    pub(super) time: Duration,
    /// A client has more to do.
    pub(super) is_busy: bool,
    /// Bytes that may still be used to catch up.
    pub(super) room: usize,
    /// None is used: one client can always catch up, however many journals there are.
    pub(super) is_unused: bool,
    /// A client waits for room.
    pub(super) is_full: bool,
}

impl Turns {
    /// Until when the next one may work.
    fn take(&mut self) -> Option<Instant> {
        self.is_busy = true;
        self.left = self.left.checked_sub(1)?;
        Some(Instant::now() + self.time)
    }

    /// Whether there is room for one more that needs so many bytes.
    fn admit(&mut self, bytes: usize) -> bool {
        let is_unused = std::mem::take(&mut self.is_unused);
        if bytes > self.room && !is_unused {
            self.is_full = true;
            return false;
        }
        self.room = self.room.saturating_sub(bytes);
        true
    }
}

enum Stage {
    /// Looks for what the request names.
    Finding(Box<Finder>),
    /// Nothing is sent before it is known whether there is an event.
    Waiting,
    /// The head is sent, or about to be.
    Sending,
    /// Once the text is sent, all is.
    Finished,
    /// Until the client closes.
    Lingering(Instant),
}

/// An event of which a part is sent.
struct Partial {
    pos: u64,
    sent: usize,
}

/// A client.
pub(super) struct Client {
    socket: OwnedFd,
    ask: Ask,
    access: Access,
    /// When the link expires that it showed.
    expires: Option<Instant>,
    interest: Interest,
    stage: Stage,
    /// Texts that are not events, and how much of them is sent.
    text: Vec<u8>,
    text_sent: usize,
    /// Every event up to there is sent, or not wanted.
    pos: u64,
    partial: Option<Partial>,
    catch_up: Option<(Box<CatchUp>, Instant)>,
    begin: Option<Arc<Begin>>,
    /// The stream is over: up to where its events go.
    ends_at: Option<u64>,
    /// Held on the board while it is read.
    held: Option<(Arc<Board>, JournalKey)>,
    /// Of a page.
    count: u16,
    bytes: usize,
    waits_until: Instant,
    pub(super) room: Room,
    progressed: Instant,
    discarded: usize,
    counters: Arc<Counters>,
}

/// What follows from a step.
enum Next {
    /// There may be more to do.
    Again,
    /// Wait.
    Idle,
    /// The connection is to be closed.
    Closed,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((board, key)) = self.held.take() {
            board.release(key);
        }
        self.counters.leaves(form_of(&self.ask));
    }
}

fn form_of(ask: &Ask) -> Kind {
    match ask.form {
        Form::Sse { .. } => Kind::Sse,
        Form::Page { .. } => Kind::Page,
    }
}

impl Client {
    pub(super) fn new(socket: OwnedFd, ask: Ask, access: Access, cx: &mut Context<'_>) -> Client {
        let counters = &cx.shared.counters;
        counters.comes(form_of(&ask));
        let scope = match &ask.meeting {
            Some(text) => Scope::Meeting(Box::new(super::interest::Meeting::named(text))),
            None => Scope::All,
        };
        let interest = Interest {
            scope,
            kinds: ask.kinds.clone(),
        };
        let left_ms = |term: &Term| term.expires_ms.saturating_sub(now_ms());
        let expires = access.term().map(left_ms).map(Duration::from_millis);
        let mut client = Client {
            socket,
            ask,
            expires: expires.map(|left| cx.now + left),
            access,
            interest,
            stage: Stage::Waiting,
            text: Vec::new(),
            text_sent: 0,
            pos: cx.ring.head(),
            partial: None,
            catch_up: None,
            begin: None,
            ends_at: None,
            held: None,
            count: 0,
            bytes: 0,
            waits_until: cx.now,
            room: Room::default(),
            progressed: cx.now,
            discarded: 0,
            counters: Arc::clone(counters),
        };
        client.arrive(cx);
        client
    }

    /// Watches for room in its socket while it needs some. `false` if that fails.
    pub(super) fn watch(&mut self, epoll: &OwnedFd, slot: usize) -> bool {
        self.room.watch(epoll, &self.socket, slot)
    }

    /// When it has to be looked at, even if nothing happens.
    pub(super) fn due(&self, times: &Times) -> Option<Instant> {
        if let Stage::Lingering(until) = self.stage {
            return Some(until);
        }
        let expires = self.expires.filter(|_| !self.is_told());
        self.next_step(times).into_iter().chain(expires).min()
    }

    fn next_step(&self, times: &Times) -> Option<Instant> {
        if self.room.is_wanted {
            let wait = match self.catch_up {
                Some(_) => CATCH_UP_KEPT,
                None => times.stall,
            };
            return Some(self.progressed + wait);
        }
        match (&self.stage, self.ask.form) {
            (Stage::Waiting, Form::Page { .. }) => Some(self.waits_until),
            (Stage::Sending, Form::Sse { .. }) => Some(self.progressed + times.ping),
            _ => None,
        }
    }

    /// The stream of this client has ended, with that last position.
    pub(super) fn stream_ended(&mut self, key: JournalKey, pos: u64) {
        if self.interest.scope == Scope::Stream(key) {
            self.ends_at = Some(pos);
        }
    }

    /// What it waits to send may not be sent any more.
    pub(super) fn look_again(&mut self) {
        self.room.is_wanted = false;
    }

    /// Bytes that it needs to catch up.
    pub(super) fn catch_up_bytes(&self) -> usize {
        self.catch_up.as_ref().map_or(0, |(it, _)| it.held_bytes())
    }

    /// Gives way to another one that has to catch up, if it had its time.
    pub(super) fn give_way(&mut self, now: Instant, time: Duration) {
        self.catch_up.take_if(|(_, since)| now >= *since + time);
    }

    /// Reads and throws away what the client sends. `false` if it is gone.
    pub(super) fn is_still_there(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok((read, _)) => {
                    self.discarded += read;
                    if self.discarded > DISCARDED_BYTES_MAX {
                        return false;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Does what can be done without waiting. `false` if it is over.
    pub(super) fn step(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_expired(cx.now) && !self.expire() {
            return false;
        }
        if self.room.is_wanted {
            if cx.now >= self.progressed + CATCH_UP_KEPT {
                self.catch_up = None;
            }
            let is_over = cx.now >= self.progressed + cx.shared.process.times.stall;
            if is_over {
                log::debug!("live: a client took nothing for too long and is cut off");
            }
            return !is_over;
        }
        loop {
            if !self.text.is_empty() {
                match self.send_text(cx) {
                    Next::Again => continue,
                    Next::Idle => return true,
                    Next::Closed => return false,
                }
            }
            let next = match &self.stage {
                Stage::Finding(_) if cx.is_stopping => {
                    self.refuse(503, STOPPING);
                    Next::Again
                }
                Stage::Finding(_) => self.find(cx),
                Stage::Waiting | Stage::Sending => self.feed(cx),
                Stage::Finished => {
                    let _ = shutdown(&self.socket, Shutdown::Write);
                    self.stage = Stage::Lingering(cx.now + cx.shared.process.times.linger);
                    Next::Idle
                }
                Stage::Lingering(until) if cx.now < *until && !cx.is_stopping => Next::Idle,
                Stage::Lingering(_) => Next::Closed,
            };
            match next {
                Next::Again => {}
                Next::Idle => return true,
                Next::Closed => return false,
            }
        }
    }

    /// Whether the time of its link is over, and its answer does not end yet.
    fn is_expired(&self, now: Instant) -> bool {
        let is_ended = |term: &Term| term.is_ended.load(Acquire);
        !self.is_told()
            && (self.expires.is_some_and(|at| now >= at)
                || self.access.term().is_some_and(is_ended))
    }

    fn is_told(&self) -> bool {
        matches!(self.stage, Stage::Finished | Stage::Lingering(_))
    }

    /// Ends an answer whose link has expired. `false` if it can only be cut off.
    fn expire(&mut self) -> bool {
        match self.stage {
            Stage::Finding(_) | Stage::Waiting => self.refuse(401, EXPIRED),
            _ if self.partial.is_some() || !self.text.is_empty() || self.room.is_wanted => {
                return false;
            }
            _ => self.end(self.pos, false, false),
        }
        true
    }

    fn send(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Next> {
        match send(
            &self.socket,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                self.progressed = now;
                self.room.is_wanted = sent < bytes.len();
                Ok(sent)
            }
            Err(Errno::INTR) => Err(Next::Again),
            Err(Errno::AGAIN) => {
                self.room.is_wanted = true;
                Err(Next::Idle)
            }
            Err(_) => Err(Next::Closed),
        }
    }

    fn send_text(&mut self, cx: &Context<'_>) -> Next {
        let text = std::mem::take(&mut self.text);
        let sent = self.send(text.get(self.text_sent..).unwrap_or_default(), cx.now);
        self.text_sent += sent.as_ref().copied().unwrap_or(0);
        if self.text_sent < text.len() {
            self.text = text;
        } else {
            self.text_sent = 0;
        }
        match sent {
            Ok(_) if self.room.is_wanted => Next::Idle,
            Ok(_) => Next::Again,
            Err(next) => next,
        }
    }
}

/// Answers, and their heads.
impl Client {
    /// Sends the head.
    fn open(&mut self) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        self.text = frame::opening(self.ask.form, &date);
        self.stage = Stage::Sending;
    }

    fn refuse(&mut self, status: u16, text: &str) {
        let answer = Answer::text(status, format!("{text}\n"));
        let answer = match status {
            503 => answer.with("Retry-After", super::RETRY_AFTER_S.to_string()),
            _ => answer,
        };
        self.finish_with(answer_bytes(
            &answer.with("Cache-Control", "no-store"),
            false,
        ));
    }

    /// A browser does not come again after this.
    fn no_content(&mut self) {
        let answer = Answer::text(204, "").with("Cache-Control", "no-store");
        self.finish_with(answer_bytes(&answer, false));
    }

    fn finish_with(&mut self, text: Vec<u8>) {
        self.text = text;
        self.text_sent = 0;
        self.stage = Stage::Finished;
        self.catch_up = None;
    }
}
