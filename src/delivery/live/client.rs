//! One client: where it is in the journals, and what is sent to it.
//!
//! Nothing is kept for a client that reads slowly but its place: what is left of an event is made again
//! from its line.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::catch_up::{Begin, CatchUp, Filled, MERGE_BYTES};
use super::counters::{Counters, Kind};
use super::find::{self, Finder, Search, Wanted};
use super::frame;
use super::interest::{Event, Interest, Scope};
use super::query::{After, Ask, Form};
use super::ring::Ring;
use super::{Access, Shared, Term, Times};
use crate::clock::now_ms;
use crate::feed::reader::{READ_BYTES, end_of};
use crate::feed::{Board, FEED_NAME, Journal, JournalKey, Reader, State, kind};
use crate::gate::{Answer, answer_bytes};

/// Most bytes of a page.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Of these, what is kept for the end of the page.
const PAGE_END_BYTES: usize = 256;
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
    /// Somebody has more to do.
    pub(super) is_busy: bool,
    /// Bytes that may still be used to catch up.
    pub(super) room: usize,
    /// Nobody uses any: one can always catch up, however many journals there are.
    pub(super) is_unused: bool,
    /// Somebody waits for room.
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
    pub(super) is_blocked: bool,
    /// What the poller watches for.
    pub(super) is_watched_for_room: bool,
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
            is_blocked: false,
            is_watched_for_room: false,
            progressed: cx.now,
            discarded: 0,
            counters: Arc::clone(counters),
        };
        client.arrive(cx);
        client
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
        if self.is_blocked {
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
        self.is_blocked = false;
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
        if self.is_blocked {
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
            _ if self.partial.is_some() || !self.text.is_empty() || self.is_blocked => {
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
                self.is_blocked = sent < bytes.len();
                Ok(sent)
            }
            Err(Errno::INTR) => Err(Next::Again),
            Err(Errno::AGAIN) => {
                self.is_blocked = true;
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
            Ok(_) if self.is_blocked => Next::Idle,
            Ok(_) => Next::Again,
            Err(next) => next,
        }
    }
}

/// What the request names, and where it begins.
impl Client {
    fn arrive(&mut self, cx: &mut Context<'_>) {
        let stream = self.ask.stream.clone();
        if stream.is_none() && self.access != Access::All {
            return self.refuse(403, "this link is for one stream: expected stream=");
        }
        match stream {
            Some(text) => self.look_for(Wanted::Name(text), cx),
            None => self.place(cx),
        }
    }

    fn look_for(&mut self, wanted: Wanted, cx: &mut Context<'_>) {
        match wanted.on_board(cx.board) {
            Some(journal) => self.found(&journal, cx),
            None => {
                let finder = Finder::new(wanted, cx.board.root());
                self.stage = Stage::Finding(Box::new(finder));
            }
        }
    }

    fn find(&mut self, cx: &mut Context<'_>) -> Next {
        let Some(until) = cx.turns.take() else {
            return Next::Idle;
        };
        let Stage::Finding(finder) = &mut self.stage else {
            return Next::Again;
        };
        let Some(found) = finder.step(cx.board, until) else {
            return Next::Idle;
        };
        let found_pos = finder.found_pos();
        self.stage = Stage::Waiting;
        let is_stream = self.ask.stream.is_some() && self.interest.scope == Scope::All;
        let is_meeting = self.ask.meeting.is_some() && self.ask.after == After::Begin;
        match found {
            Search::One(_) if is_meeting => self.start(found_pos.saturating_sub(1)),
            // It has not begun.
            Search::None if is_meeting => self.start(cx.ring.head()),
            Search::One(folder) => match cx.board.load(&folder) {
                Ok(journal) => {
                    // Every line of an earlier process is older than what is written now.
                    if journal.state == State::Ended {
                        cx.board.set_pos(journal.pos);
                    }
                    self.found(&journal, cx);
                }
                Err(error) => {
                    cx.shared.complain(&error);
                    self.refuse(503, "the journal of this stream cannot be read");
                }
            },
            Search::Several => self.refuse(409, "several streams begin so; give more of the name"),
            Search::None if is_stream => {
                let text = self.ask.stream.clone().unwrap_or_default();
                match find::revoked(cx.reader, |event| find::is_named(event, &text)) {
                    Some((key, pos)) => self.revoked(key, Some(pos), cx),
                    None => self.refuse(404, "there is no such stream"),
                }
            }
            Search::None => match self.ask.after {
                After::Event { key, .. } if cx.board.is_revoked(key) => self.refuse(410, REVOKED),
                _ => self.refuse(404, "there is no such event"),
            },
        }
        Next::Again
    }

    /// A journal that the request names.
    fn found(&mut self, journal: &Journal, cx: &mut Context<'_>) {
        let key = journal.key;
        let is_stream = self.ask.stream.is_some() && self.interest.scope == Scope::All;
        if !is_stream && self.access.is_for(key) {
            return self.event_found(journal, cx);
        }
        if self.access != Access::All && !self.access.is_for(key) {
            return self.refuse(403, "this link is for another stream");
        }
        if journal.state == State::Revoked || cx.board.is_revoked(key) {
            let pos = find::revoked(cx.reader, |event| event.is_last_of(key)).map(|(_, pos)| pos);
            return self.revoked(key, pos, cx);
        }
        if cx.board.hold(key) {
            self.held = Some((Arc::clone(cx.board), key));
        }
        self.interest.scope = Scope::Stream(key);
        if journal.state == State::Ended && is_over(journal) {
            self.ends_at = Some(journal.pos);
        }
        self.place(cx);
    }

    /// Consent was withdrawn: there is one event more for those who were there before.
    fn revoked(&mut self, key: JournalKey, at: Option<u64>, cx: &Context<'_>) {
        if self.access != Access::All && !self.access.is_for(key) {
            return self.refuse(403, "this link is for another stream");
        }
        self.interest.scope = Scope::Stream(key);
        let last_pos = self.last_pos(cx);
        let pos = match (last_pos, self.ask.after) {
            (Some(pos), _) => Some(pos),
            (None, After::Pos(pos)) => Some(pos),
            (None, _) => None,
        };
        // Where the server's journal does not say so yet, it will in a moment.
        match pos.filter(|pos| at.is_none_or(|at| *pos < at)) {
            Some(pos) => {
                self.pos = pos;
                self.stage = Stage::Waiting;
                if let Form::Page { wait_s, .. } = self.ask.form {
                    self.waits_until += Duration::from_secs(wait_s.into());
                }
            }
            None if last_pos.is_some() && matches!(self.ask.form, Form::Sse { .. }) => {
                self.no_content();
            }
            None => self.refuse(410, REVOKED),
        }
    }

    /// Where the client was, if that is not in the future.
    fn last_pos(&self, cx: &Context<'_>) -> Option<u64> {
        // Without a state directory the board begins with the first line that is written.
        let newest = cx.board.pos().max(now_ms().saturating_mul(1000));
        self.ask.last_pos.filter(|pos| *pos <= newest)
    }

    /// Where to begin, once the stream is known.
    fn place(&mut self, cx: &mut Context<'_>) {
        if let Some(pos) = self.last_pos(cx) {
            return self.start(pos);
        }
        match self.ask.after {
            After::Now => self.start(cx.ring.head()),
            After::Pos(pos) => self.start(pos),
            After::Event { key, .. } => self.look_for(Wanted::Key(key), cx),
            After::Begin => match (&self.interest.scope, &self.ask.meeting) {
                (Scope::Stream(_), _) => self.start(0),
                (_, Some(text)) => {
                    let finder = Finder::new(Wanted::newest(text), cx.board.root());
                    self.stage = Stage::Finding(Box::new(finder));
                }
                (_, None) => {
                    self.begin = Some(Arc::new(Begin::now(cx.board)));
                    self.start(0);
                }
            },
        }
    }

    /// The journal of the event to begin after.
    fn event_found(&mut self, journal: &Journal, cx: &mut Context<'_>) {
        let After::Event { key, seq } = self.ask.after else {
            return self.refuse(404, "there is no such event");
        };
        if journal.state == State::Revoked {
            return self.refuse(410, REVOKED);
        }
        let mut chunk = crate::feed::Chunk::default();
        let before = cx.reader.cursor_after_seq(key, seq.saturating_sub(1));
        let read = before.and_then(|before| cx.reader.read(&before, &mut chunk));
        let first = chunk.lines().next().filter(|line| line.seq == seq);
        match (read, first) {
            (Ok(_), Some(line)) => {
                let pos = line.pos;
                self.start(pos);
            }
            (Ok(_), None) => self.refuse(404, "there is no such event"),
            (Err(error), _) => {
                cx.shared.complain(&error);
                self.refuse(503, "the journal of this event cannot be read");
            }
        }
    }

    /// Begins behind this position.
    fn start(&mut self, pos: u64) {
        self.pos = pos;
        self.stage = Stage::Waiting;
        match self.ask.form {
            Form::Sse { .. } if self.ends_at.is_none() => self.open(),
            Form::Sse { .. } => {}
            Form::Page { wait_s, .. } => self.waits_until += Duration::from_secs(wait_s.into()),
        }
    }

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

/// Events.
impl Client {
    /// Sends the next events, from memory or from the files.
    fn feed(&mut self, cx: &mut Context<'_>) -> Next {
        if cx.is_stopping && self.partial.is_none() {
            match (&self.stage, self.ask.form) {
                (Stage::Waiting, Form::Sse { .. }) => self.refuse(503, STOPPING),
                _ => self.end(self.pos, false, false),
            }
            return Next::Again;
        }
        let is_up_to_date = self.pos >= cx.ring.floor();
        if self.begin.is_none() && is_up_to_date {
            self.catch_up = None;
            let ring = cx.ring;
            return self.feed_from(ring.after(self.pos), ring.head(), true, cx);
        }
        if self.catch_up.is_none() && !cx.turns.admit(self.catch_up_cost(cx)) {
            return Next::Idle;
        }
        let Some(until) = cx.turns.take() else {
            return Next::Idle;
        };
        let (mut catch_up, since) = match self.catch_up.take() {
            Some(it) => it,
            None => {
                let (scope, begin) = (&self.interest.scope, self.begin.as_ref());
                let catch_up = CatchUp::new(cx.reader, scope, self.pos, begin, cx.now);
                (Box::new(catch_up), cx.now)
            }
        };
        let next = self.catch_up(&mut catch_up, until, cx);
        if self.begin.is_some() || self.pos < cx.ring.floor() {
            self.catch_up = Some((catch_up, since));
        }
        next
    }

    /// Bytes that it will need to catch up.
    fn catch_up_cost(&self, cx: &Context<'_>) -> usize {
        let merged = match self.interest.scope {
            Scope::Stream(_) => 1,
            Scope::All | Scope::Meeting(_) => cx.journals,
        };
        2 * READ_BYTES + merged * MERGE_BYTES
    }

    fn catch_up(&mut self, files: &mut CatchUp, until: Instant, cx: &mut Context<'_>) -> Next {
        if self.pos >= files.pos() {
            match files.fill(until) {
                Ok(Filled::Lines) => {}
                Ok(Filled::Busy) => return Next::Idle,
                Ok(Filled::Reached) => {
                    self.pos = self.pos.max(files.pos());
                    let pos = self.pos;
                    self.begin.take_if(|begin| pos >= begin.until());
                    return Next::Again;
                }
                Err(error) => {
                    // The client comes again and misses nothing.
                    cx.shared.complain(&error);
                    return Next::Closed;
                }
            }
        }
        self.feed_from(files.events(self.pos), files.pos(), false, cx)
    }

    /// Sends events up to `end`, which is the newest of all if `is_head`.
    fn feed_from<'e>(
        &mut self,
        events: impl Iterator<Item = Event<'e>>,
        end: u64,
        is_head: bool,
        cx: &mut Context<'_>,
    ) -> Next {
        let form = self.ask.form;
        let limit = match form {
            Form::Sse { .. } => usize::MAX,
            Form::Page { limit, .. } => limit.into(),
        };
        let Scratch { out, frames } = &mut *cx.scratch;
        out.clear();
        frames.clear();
        let (mut seen, mut is_page_full, mut is_last, mut is_cut) = (self.pos, false, false, false);
        for event in events {
            let pos = event.line.pos;
            let is_revoked = || event.key != JournalKey::SERVER && cx.board.is_revoked(event.key);
            if self.interest.wants(&event) && !is_revoked() {
                let count = usize::from(self.count) + frames.len();
                let bytes = self.bytes + out.len() + event.line.bytes.len() + PAGE_END_BYTES;
                is_page_full =
                    count >= limit || limit < usize::MAX && count > 0 && bytes > PAGE_BYTES_MAX;
                if is_page_full {
                    break;
                }
                frame::event(out, form, &event, count == 0);
                frames.push((out.len(), pos));
            }
            seen = pos;
            is_last =
                self.interest.scope == Scope::Stream(event.about) && event.is_last_of(event.about);
            is_cut = out.len() >= READ_BYTES || cx.is_stopping && !frames.is_empty();
            if is_last || is_cut {
                break;
            }
        }
        if !is_page_full && !is_last && !is_cut {
            seen = seen.max(end);
        }
        let partial = self.partial.as_ref().map(|it| it.pos);
        if partial.is_some_and(|pos| frames.first().is_none_or(|(_, first)| *first != pos)) {
            // Consent was withdrawn in the middle of an event.
            return Next::Closed;
        }
        if out.is_empty() {
            self.pos = seen;
            if is_page_full || is_last {
                self.end(seen, is_page_full, is_last);
                return Next::Again;
            }
            return match is_head {
                true => self.at_head(cx),
                false => Next::Again,
            };
        }
        if matches!(self.stage, Stage::Waiting) {
            self.open();
            return Next::Again;
        }
        let skipped = self.partial.as_ref().map_or(0, |partial| partial.sent);
        let bytes = out.get(skipped..).unwrap_or_default();
        let sent = match self.send(bytes, cx.now) {
            Ok(sent) => skipped + sent,
            Err(next) => return next,
        };
        let whole = frames.partition_point(|(end, _)| *end <= sent);
        let whole_bytes = whole.checked_sub(1).map_or(0, |at| frames[at].0);
        self.count = self.count.saturating_add(whole as u16);
        self.bytes += whole_bytes;
        self.partial = (frames.get(whole))
            .filter(|_| sent > whole_bytes)
            .map(|(_, pos)| Partial {
                pos: *pos,
                sent: sent - whole_bytes,
            });
        if whole == frames.len() {
            self.pos = seen;
            if is_page_full || is_last {
                self.end(seen, is_page_full, is_last);
            }
        } else if let Some(at) = whole.checked_sub(1) {
            self.pos = frames[at].1;
        }
        match self.is_blocked {
            true => Next::Idle,
            false => Next::Again,
        }
    }

    /// There is nothing more for now.
    fn at_head(&mut self, cx: &Context<'_>) -> Next {
        let is_ended = self.ends_at.is_some_and(|end| self.pos >= end);
        let is_waiting = matches!(self.stage, Stage::Waiting);
        match self.ask.form {
            Form::Sse { .. } if is_ended => self.end(self.pos, false, true),
            Form::Sse { .. }
                if !is_waiting && cx.now >= self.progressed + cx.shared.process.times.ping =>
            {
                self.text = frame::PING.to_vec();
            }
            Form::Sse { .. } => return Next::Idle,
            Form::Page { .. } if is_waiting && !is_ended && cx.now < self.waits_until => {
                return Next::Idle;
            }
            Form::Page { .. } => self.end(self.pos, false, is_ended),
        }
        Next::Again
    }

    /// Ends the answer. `is_over`: nothing more will come.
    fn end(&mut self, next: u64, is_more: bool, is_over: bool) {
        let is_waiting = matches!(self.stage, Stage::Waiting);
        match self.ask.form {
            Form::Sse { .. } if is_waiting => self.no_content(),
            Form::Sse { .. } => self.finish_with(Vec::new()),
            Form::Page { .. } => {
                let mut text = Vec::new();
                if is_waiting {
                    self.open();
                    text = std::mem::take(&mut self.text);
                }
                text.extend(frame::page_end(next, is_more, is_over));
                self.finish_with(text);
            }
        }
    }
}

/// Whether the stream is over by what its journal says. One that an earlier process left may be rejoined
/// in a moment, and a 204 would send a browser away for good.
fn is_over(journal: &Journal) -> bool {
    let end = end_of(&journal.folder.join(FEED_NAME));
    end.is_ok_and(|end| end.kinds.iter().any(|it| it == kind::STREAM_ENDED))
}

/// Sets what a socket of a client needs; a Unix socket has no such options.
pub(super) fn prepare(socket: &OwnedFd) -> io::Result<()> {
    use rustix::net::sockopt;
    // Small, because what is in it cannot be recalled, and a slow client would fill more.
    sockopt::set_socket_send_buffer_size(socket, super::SEND_BUFFER_BYTES)?;
    if rustix::net::getsockname(socket)?.address_family() == rustix::net::AddressFamily::UNIX {
        return Ok(());
    }
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, super::USER_TIMEOUT)?;
    sockopt::set_tcp_keepintvl(socket, super::USER_TIMEOUT / 3)?;
    let ms = u32::try_from(super::USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, ms)?)
}
