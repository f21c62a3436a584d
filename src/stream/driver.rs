//! The poll loop of a stream: carries out the protocol's outputs, reads its sockets, and passes
//! data to its sinks.
//!
//! After each input the protocol's outputs are drained until it waits. This file has the only clock
//! of a stream.

use std::array;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::commands::CommandReceiver;
use super::notice_log::NoticeLog;
use super::permit::Permit;
use super::poller::{Poller, Readiness};
use super::sink::Sink;
use super::stats::StreamCounters;
use crate::net::dial::Dialer;
use crate::net::frame_filter::Skipped;
use crate::net::waker::Waker;
use crate::net::websocket::{Read, Socket};
use crate::protocol::dedup::RecentPhrases;
use crate::protocol::tail::{Predecessor, TailRing};
use crate::protocol::{
    EndReason, LinkId, Loss, MediaKind, Notice, Output, Phrase, Stream, StreamEvent, message,
};

/// Maximum links of a stream: signaling, and one per media kind.
pub(super) const LINKS_MAX: usize = 2 + MediaKind::SINGLE.len();

/// Messages read from one socket before the others are read. At two microseconds per message, a
/// keep-alive on another socket waits a fraction of a millisecond.
const MESSAGES_PER_TURN: usize = 64;

/// Maximum messages read from a socket that is being closed; its kernel buffer holds fewer.
const LAST_MESSAGES_MAX: usize = 100_000;

/// Maximum reads of 64 KiB from a socket that is being closed, while a message is skipped.
const LAST_SKIPS_MAX: usize = 256;

/// How long media sockets are not polled after packets were read from them. Audio comes fifty times
/// a second, and one wake-up per packet costs more CPU than everything else about it. Packets
/// arrive later by at most this; signaling is always polled, and phrases do not start a pause.
const MEDIA_COALESCE: Duration = Duration::from_millis(40);

/// With more packets than this in one turn there is a flood, and no pause.
const COALESCE_PACKETS_MAX: usize = 8;

/// How long a backlogged sink may stop reading. Zoom disconnects after three unanswered
/// keep-alives, 30 s; after this time the sink buffers and then drops by its own limits.
const BACKPRESSURE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    pub(super) stream: Stream,
    pub(super) dialer: Dialer,
    pub(super) commands: CommandReceiver,
    pub(super) waker: Waker,
    pub(super) poller: Poller,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) recent_phrases: RecentPhrases,
    /// In a fleet only, as what follows.
    pub(super) permit: Option<Permit>,
    /// The signaling link is to be connected and may not be.
    pub(super) is_withheld: bool,
    pub(super) tail: Option<Arc<TailRing>>,
    /// The last phrases of the node that had the stream before, while Zoom may send them again.
    pub(super) before: Option<Box<Predecessor>>,
    pub(super) counters: Arc<StreamCounters>,
    pub(super) notices: NoticeLog,
    pub(super) sockets: Vec<Link>,
    pub(super) backpressure: Backpressure,
    /// When the media sockets' pause started, for [`MEDIA_COALESCE`].
    pub(super) media_paused_since: Option<Instant>,
    /// Packets read in this turn.
    pub(super) packets: usize,
    /// Data was received since the sinks were last flushed.
    pub(super) had_data: bool,
    pub(super) ended: Option<EndReason>,
    /// When this turn began: when the last wait ended.
    pub(super) now: Instant,
    /// The earliest time at which data read in this turn may have arrived.
    pub(super) readable: Instant,
}

/// Whether reading from media sockets is stopped by the sinks' backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backpressure {
    No,
    Since(Instant),
    /// The time limit has passed; media is read and buffered until the sinks have caught up.
    Over,
}

pub(super) struct Link {
    id: LinkId,
    socket: Socket,
    /// There may be data to read.
    is_due: bool,
    /// The poller also watches for room for output.
    watches_out: bool,
}

impl Link {
    /// The outcome of connecting; an open socket is added to the poller.
    fn opened(&mut self, watch: &Poller) -> Option<Result<(), Loss>> {
        let opened = self.socket.opened()?;
        Some(opened.and_then(|()| {
            // The first message may have been read together with the upgrade, so poll would not
            // report it.
            self.is_due = true;
            let Some(interest) = self.socket.interest() else {
                return Ok(());
            };
            self.watches_out = interest.out;
            let watched = watch.add(self.id, interest);
            watched.map_err(|error| Loss::Broken(format!("cannot watch the socket: {error}")))
        }))
    }
}

impl Driver {
    pub(super) fn run(&mut self) -> EndReason {
        loop {
            let deadline = self.drain_outputs();
            if let Some(end) = self.ended.take() {
                self.counters.update(&self.stream, self.had_data);
                for sink in &mut self.sinks {
                    sink.on_end(&end);
                }
                return end;
            }
            let more = self.has_more();
            if !more {
                for sink in &mut self.sinks {
                    sink.flush();
                }
                self.counters
                    .update(&self.stream, std::mem::take(&mut self.had_data));
            }
            if self.wait(deadline, more) {
                self.take_commands();
            }
            if self.is_withheld {
                self.try_withheld();
            }
            self.packets = 0;
            self.advance_and_read();
            if (1..=COALESCE_PACKETS_MAX).contains(&self.packets) && !self.has_more() {
                self.media_paused_since = Some(self.now);
            }
            self.update_backpressure();
            if self.ended.is_none() {
                self.stream.handle_timeout(self.now);
            }
        }
    }

    /// Carries out the protocol's outputs until it waits or ends. Returns its deadline.
    pub(super) fn drain_outputs(&mut self) -> Instant {
        while self.ended.is_none() {
            match self.stream.poll_output() {
                Output::Connect {
                    link: id,
                    url,
                    message_bytes_max,
                } => {
                    self.sockets.retain(|link| link.id != id);
                    if id == LinkId::Signaling && !self.may_connect() {
                        log::debug!("connecting waits for a permit link={id}");
                        self.stream.handle_withheld();
                        continue;
                    }
                    log::debug!("connecting link={id} host={}", url.host());
                    let socket =
                        Socket::connect(url, message_bytes_max, &self.dialer, self.waker.clone());
                    self.sockets.push(Link {
                        id,
                        socket,
                        is_due: false,
                        watches_out: false,
                    });
                }
                Output::Send(id, text) => {
                    let Some(link) = self.sockets.iter_mut().find(|link| link.id == id) else {
                        continue;
                    };
                    if let Err(loss) = link.socket.send(text) {
                        // The peer may have closed; what it sent before is still to be read.
                        if let Some(mut link) = self.remove(id) {
                            self.read_last(&mut link);
                        }
                        self.lost(id, loss);
                    }
                }
                Output::Close(id) => self.close(id),
                Output::Notice(notice) => {
                    if let Notice::Accepted(LinkId::Media(kind)) = notice
                        && matches!(kind, MediaKind::Transcript | MediaKind::All)
                    {
                        self.recent_phrases.on_reconnect(self.now);
                        if let Some(before) = &mut self.before {
                            before.on_connect(self.now);
                        }
                    }
                    if let (Notice::Accepted(LinkId::Signaling), Some(permit)) =
                        (&notice, &self.permit)
                    {
                        permit.was_let_in();
                    }
                    self.counters.notice(&notice);
                    self.notices.log(&notice, self.now);
                    for sink in &mut self.sinks {
                        sink.on_notice(&notice);
                    }
                }
                Output::Wait(deadline) => return deadline,
                Output::End(reason) => self.ended = Some(reason),
            }
        }
        self.now
    }

    /// Whether the signaling link may be connected now. Without a fleet it always may.
    fn may_connect(&mut self) -> bool {
        let permit = self.permit.as_mut();
        let is_given = permit.is_none_or(|permit| permit.may_connect(&self.waker));
        self.is_withheld = !is_given;
        is_given
    }

    /// The thread was awake, perhaps because there is a permit again.
    fn try_withheld(&mut self) {
        let permit = self.permit.as_mut();
        let is_given = permit.is_none_or(|permit| permit.is_available(&self.waker));
        if self.ended.is_none() && is_given {
            self.stream.handle_permitted(self.now);
            self.drain_outputs();
        }
    }

    /// The signaling link is open; message 1 would take the stream from the client that has it.
    fn opened(&mut self, id: LinkId) {
        let has_expired = self
            .permit
            .as_ref()
            .is_some_and(|permit| !permit.may_go_on());
        if id == LinkId::Signaling && has_expired {
            log::debug!("the permit has run out while connecting link={id}");
            if let Some(link) = self.remove(id) {
                link.socket.close();
            }
            self.stream.handle_withheld();
            self.is_withheld = true;
            return self.try_withheld();
        }
        self.stream.handle_opened(self.now, id);
    }

    fn lost(&mut self, id: LinkId, loss: Loss) {
        self.sockets.retain(|link| link.id != id);
        self.stream.handle_closed(self.now, id, loss);
    }

    fn close(&mut self, id: LinkId) {
        if let Some(mut link) = self.remove(id) {
            self.read_last(&mut link);
            link.socket.close();
        }
    }

    fn remove(&mut self, id: LinkId) -> Option<Link> {
        let at = self.sockets.iter().position(|link| link.id == id)?;
        Some(self.sockets.swap_remove(at))
    }

    /// Reads what had arrived on a link before it is closed.
    fn read_last(&mut self, link: &mut Link) {
        let mut is_sure = false;
        let mut skips_left = LAST_SKIPS_MAX;
        for _ in 0..LAST_MESSAGES_MAX {
            match link.socket.read() {
                Read::Message(message) => {
                    is_sure = false;
                    self.take(link.id, message);
                }
                // The poller no longer reports this socket, so check the kernel once more.
                Read::Empty if !is_sure => {
                    is_sure = true;
                    link.socket.force_read();
                }
                Read::Skipping if skips_left > 0 => skips_left -= 1,
                Read::Empty | Read::Skipping | Read::Gone(_) => break,
            }
        }
        let skipped = link.socket.take_skipped();
        self.skipped(link.id, skipped);
    }

    /// Counts messages above the size limit of their link; the first one of a stream is logged.
    fn skipped(&mut self, id: LinkId, skipped: Skipped) {
        for _ in 0..skipped.count {
            if self.stream.counters().oversize == 0 {
                log::warn!(
                    "message too large, skipped link={id} bytes={}; expected a picture in the \
                     requested resolution to be smaller",
                    skipped.bytes
                );
            }
            self.stream.handle_oversize(self.now, id, skipped.bytes);
        }
    }

    /// Whether a socket may have more data to read at once.
    fn has_more(&self) -> bool {
        self.sockets
            .iter()
            .any(|link| link.is_due && !self.is_throttled(link.id))
    }

    fn is_throttled(&self, id: LinkId) -> bool {
        matches!(id, LinkId::Media(_)) && self.holds_media()
    }

    fn holds_media(&self) -> bool {
        self.media_paused_since.is_some() || matches!(self.backpressure, Backpressure::Since(_))
    }

    /// Waits until the deadline or an event. Returns whether the waker was used.
    fn wait(&mut self, deadline: Instant, more: bool) -> bool {
        let mut deadline = deadline;
        if let Backpressure::Since(since) = self.backpressure {
            deadline = deadline.min(since + BACKPRESSURE_MAX);
        }
        if let Some(since) = self.media_paused_since {
            deadline = deadline.min(since + MEDIA_COALESCE);
        }
        let until = (!more).then_some(deadline);
        let found = match self.holds_media() {
            true => self.wait_for_signaling(until),
            false => self.wait_for_all(until),
        };
        self.now = Instant::now();
        self.readable = self.now;
        for link in &mut self.sockets {
            link.is_due |= found.link(link.id);
        }
        let is_over =
            |since: &mut Instant| self.now.saturating_duration_since(*since) >= MEDIA_COALESCE;
        if let Some(since) = self.media_paused_since.take_if(is_over) {
            // Reads every socket once, because data may have arrived during the wait.
            for link in &mut self.sockets {
                link.is_due |= matches!(link.id, LinkId::Media(_));
            }
            self.readable = since;
        }
        found.wake_up()
    }

    fn wait_for_signaling(&self, until: Option<Instant>) -> Readiness {
        let mut links = self.sockets.iter();
        let signaling = links.find(|link| link.id == LinkId::Signaling);
        let interest = signaling.and_then(|link| link.socket.interest());
        self.poller.wait_for_signaling(interest, until)
    }

    fn wait_for_all(&mut self, until: Option<Instant>) -> Readiness {
        for link in &mut self.sockets {
            if let Some(interest) = link.socket.interest()
                && interest.out != link.watches_out
                && self.poller.change(link.id, interest).is_ok()
            {
                link.watches_out = interest.out;
            }
        }
        self.poller.wait(until)
    }

    fn take_commands(&mut self) {
        while self.ended.is_none()
            && let Some(command) = self.commands.pop()
        {
            log::debug!("command={command:?}");
            self.stream.handle_command(self.now, command);
            self.drain_outputs();
        }
    }

    fn advance_and_read(&mut self) {
        let ids: [Option<LinkId>; LINKS_MAX] =
            array::from_fn(|at| self.sockets.get(at).map(|link| link.id));
        for id in ids.into_iter().flatten() {
            if self.ended.is_some() {
                return;
            }
            let is_throttled = self.is_throttled(id);
            let Some(link) = self.sockets.iter_mut().find(|link| link.id == id) else {
                continue;
            };
            if link.socket.is_open() {
                if link.is_due && !is_throttled {
                    self.read(id);
                }
                continue;
            }
            match link.opened(&self.poller) {
                None => {}
                Some(Ok(())) => self.opened(id),
                Some(Err(loss)) => self.lost(id, loss),
            }
            self.drain_outputs();
        }
    }

    fn read(&mut self, id: LinkId) {
        let mut keep_alives = self.stream.counters().keep_alives;
        for _ in 0..MESSAGES_PER_TURN {
            // The loop also ends when the link is removed or the stream ends.
            let Some(link) = self.sockets.iter_mut().find(|link| link.id == id) else {
                return;
            };
            let found = link.socket.read();
            if matches!(found, Read::Empty) {
                link.is_due = false;
                link.socket.flush();
            }
            let skipped = link.socket.take_skipped();
            self.skipped(id, skipped);
            match found {
                Read::Message(message) => self.take(id, message),
                Read::Skipping => {}
                Read::Empty if self.stream.has_output() => {
                    self.drain_outputs();
                    return;
                }
                Read::Empty => return,
                Read::Gone(loss) => {
                    self.lost(id, loss);
                    self.drain_outputs();
                    return;
                }
            }
            if self.stream.has_output() {
                self.drain_outputs();
            }
            let answered = self.stream.counters().keep_alives;
            if answered != keep_alives {
                keep_alives = answered;
                self.counters.keep_alive(self.readable.elapsed());
            }
        }
    }

    fn take(&mut self, id: LinkId, message: Message) {
        let bytes = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            // The library answers pings at the next read or flush.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return,
        };
        // A name cut in the middle of a character costs that character and not the message. Nearly all
        // text is UTF-8, which the lossy function alone would check at a tenth of the speed.
        let mut text =
            str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        let was_repaired = matches!(text, Cow::Owned(_));
        if let Some(repaired) = message::replace_lone_surrogates(&text) {
            text = Cow::Owned(repaired);
        }
        log::trace!("received link={id} {text}");
        let result = self.stream.handle_message(self.now, id, &text);
        if was_repaired && result.is_ok() {
            self.counters.undecodable();
            log::debug!("not UTF-8, repaired link={id} bytes={}", bytes.len());
        }
        match result {
            Ok(Some(event)) => {
                // Sinks get the notice of a new connection before its data.
                if self.stream.has_output() {
                    self.drain_outputs();
                }
                if let StreamEvent::Transcript(phrase) = &event
                    && !self.is_new(phrase)
                {
                    self.counters.repeated();
                    return;
                }
                self.had_data = true;
                self.packets += usize::from(matches!(event, StreamEvent::Packet(..)));
                self.counters.event(&event, text.len());
                for sink in &mut self.sinks {
                    sink.on_event(&event);
                }
            }
            Ok(None) => {}
            Err(error) => log::debug!("unreadable message link={id} error={error}"),
        }
    }

    /// Whether a phrase was received for the first time, here and by who had the stream before.
    fn is_new(&mut self, phrase: &Phrase<'_>) -> bool {
        let is_new = self.recent_phrases.insert_if_new(self.now, phrase);
        self.before.take_if(|before| before.is_over(self.now));
        let was_before = |before: &mut Box<Predecessor>| before.has(phrase);
        if !is_new || self.before.as_mut().is_some_and(was_before) {
            return false;
        }
        if let Some(tail) = &self.tail {
            tail.add(phrase);
        }
        true
    }

    /// Stops reading media while a sink is backlogged, so that a flood is slowed down at its sender
    /// and not dropped; but at most for [`BACKPRESSURE_MAX`].
    fn update_backpressure(&mut self) {
        let now = self.now;
        if matches!(self.backpressure, Backpressure::Since(_)) {
            self.stream.handle_held_media(now);
        }
        self.backpressure = match (
            self.sinks.iter().any(|sink| sink.is_backlogged()),
            self.backpressure,
        ) {
            (false, _) => Backpressure::No,
            (true, Backpressure::No) => Backpressure::Since(now),
            (true, Backpressure::Since(since)) if now < since + BACKPRESSURE_MAX => {
                Backpressure::Since(since)
            }
            (true, Backpressure::Since(_) | Backpressure::Over) => Backpressure::Over,
        };
    }
}
