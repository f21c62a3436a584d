//! The thread of the live feed: epoll(7) over all clients.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::{SendFlags, send};

use super::catch_up::{CatchUp, Filled};
use super::client::{Client, Context, Scratch, Turns};
use super::interest::{self, Scope};
use super::query::Ask;
use super::ring::{LIVE_RING_BYTES, Ring};
use super::{Access, CATCH_UP_BYTES_MAX, Shared};
use crate::clock::now_ms;
use crate::delivery::clients::socket::{Room, prepare};
use crate::domain::time::Utc;
use crate::feed::board::Watch;
use crate::feed::folders::StreamFolders;
use crate::feed::reader::end_of;
use crate::feed::{
    Board, Chunk, Cursor, FEED_NAME, Found, Journal, JournalKey, Line, Reader, State,
};
use crate::gate::{Answer, answer_bytes};
use crate::net::waker::{Wakeable, Waker};

/// Events of one wait.
const EVENTS_MAX: usize = 256;
/// The number of the waker, which is no client's.
const WAKER: u64 = u64::MAX;
/// In each round so many clients read from files, for so long each: those that are up to date wait no
/// longer.
const TURNS: u32 = 4;
const TURN: Duration = Duration::from_millis(2);
/// A client that catches up gives way after this time, if another one waits.
const CATCH_UP_TIME: Duration = Duration::from_secs(2);
/// How long to wait for room to catch up.
const ROOM_WAIT: Duration = Duration::from_millis(100);
/// At its start the ring gets what was written in this time before, for clients that come again after a
/// restart; reading it takes no longer than this.
const PREFILL_US: u64 = 60_000_000;
const PREFILL_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Thread {
    shared: Arc<Shared>,
    board: Arc<Board>,
    reader: Reader,
    wakeable: Wakeable,
    watch: Watch,
    epoll: OwnedFd,
    /// Of the board.
    version: u64,
    /// Where each journal was read up to.
    cursors: HashMap<JournalKey, Cursor>,
    ring: Ring,
    /// How often lines had been replaced at the last look.
    rewrites: u64,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Which client is first in the next round.
    first: usize,
    scratch: Scratch,
    chunk: Chunk,
    idle_since: Instant,
    is_stopping: bool,
}

/// What comes after a round.
struct Round {
    due: Option<Instant>,
    is_busy: bool,
}

impl Thread {
    pub(super) fn new(
        shared: &Arc<Shared>,
        board: Arc<Board>,
        waker: Waker,
        wakeable: Wakeable,
    ) -> io::Result<Thread> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let number = EventData::new_u64(WAKER);
        epoll::add(&epoll, &wakeable, number, EventFlags::IN)?;
        if !shared.process.has_mark || board.pos() == 0 {
            see_earlier_lines(&board);
        }
        let snapshot = board.snapshot();
        let end = |journal: &Journal| Cursor {
            key: journal.key,
            seq: journal.seq,
            offset: journal.bytes,
        };
        let cursors = snapshot.journals.iter();
        let cursors = cursors.map(|journal| (journal.key, end(journal))).collect();
        let reader = Reader::new(&board);
        Ok(Thread {
            shared: Arc::clone(shared),
            rewrites: board.rewrites(),
            ring: prefilled(&reader, snapshot.pos),
            reader,
            wakeable,
            watch: board.watch(waker),
            epoll,
            version: snapshot.version,
            cursors,
            board,
            clients: Vec::new(),
            free: Vec::new(),
            first: 0,
            scratch: Scratch::default(),
            chunk: Chunk::default(),
            idle_since: Instant::now(),
            is_stopping: false,
        })
    }

    /// Serves clients until there have been none for a while, or the server ends.
    pub(super) fn run(mut self) {
        let mut stops_at = None;
        loop {
            self.wakeable.clear();
            self.read_news();
            let arrivals;
            let count = self.clients.len() - self.free.len();
            (arrivals, self.is_stopping) = self.shared.clients.arrivals(count);
            for (socket, ask, access) in arrivals {
                self.add(socket, ask, access);
            }
            let round = self.round();
            let now = Instant::now();
            if self.free.len() < self.clients.len() {
                self.idle_since = now;
            }
            if self.is_stopping {
                let stop = self.shared.process.times.stop;
                let stops_at = *stops_at.get_or_insert(now + stop);
                let is_over = self.free.len() == self.clients.len() || now >= stops_at;
                if is_over && self.shared.clients.may_end() {
                    return;
                }
            }
            let idle_at = self.idle_since + self.shared.process.times.idle;
            if now >= idle_at && self.shared.clients.may_end() {
                return;
            }
            self.wait(round, stops_at.unwrap_or(idle_at));
        }
    }

    fn add(&mut self, socket: OwnedFd, ask: Ask, access: Access) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let watched = prepare(&socket).and_then(|()| {
            let data = EventData::new_u64(slot as u64);
            Ok(epoll::add(&self.epoll, &socket, data, Room::INPUT)?)
        });
        if let Err(error) = watched {
            log::debug!("live: a client is lost before its answer: {error}");
            self.free.push(slot);
            return;
        }
        let mut turns = Turns::none();
        let mut context = Context {
            board: &self.board,
            reader: &self.reader,
            ring: &self.ring,
            journals: self.cursors.len(),
            scratch: &mut self.scratch,
            now: Instant::now(),
            turns: &mut turns,
            shared: &self.shared,
            is_stopping: self.is_stopping,
        };
        let client = Client::new(socket, ask, access, &mut context);
        self.clients[slot] = Some(client);
    }

    /// Lets each client do what it can.
    fn round(&mut self) -> Round {
        let now = Instant::now();
        let used: usize = self
            .clients
            .iter()
            .flatten()
            .map(Client::catch_up_bytes)
            .sum();
        let mut turns = Turns {
            left: TURNS,
            time: TURN,
            is_busy: false,
            room: CATCH_UP_BYTES_MAX.saturating_sub(used),
            is_unused: used == 0,
            is_full: false,
        };
        let mut due: Option<Instant> = None;
        let count = self.clients.len();
        self.first = (self.first + 1).checked_rem(count).unwrap_or(0);
        for at in 0..count {
            let slot = (self.first + at) % count;
            // The last one that leaves takes the places with it.
            let Some(Some(client)) = self.clients.get_mut(slot) else {
                continue;
            };
            let mut context = Context {
                board: &self.board,
                reader: &self.reader,
                ring: &self.ring,
                journals: self.cursors.len(),
                scratch: &mut self.scratch,
                now,
                turns: &mut turns,
                shared: &self.shared,
                is_stopping: self.is_stopping,
            };
            if !client.step(&mut context) || !client.watch(&self.epoll, slot) {
                self.remove(slot);
                continue;
            }
            due = due
                .into_iter()
                .chain(client.due(&self.shared.process.times))
                .min();
        }
        if turns.is_full {
            let clients = self.clients.iter_mut().flatten();
            clients.for_each(|client| client.give_way(now, CATCH_UP_TIME));
            due = due.into_iter().chain([now + ROOM_WAIT]).min();
        }
        Round {
            due,
            is_busy: turns.is_busy,
        }
    }

    fn remove(&mut self, slot: usize) {
        if self.clients[slot].take().is_some() {
            self.free.push(slot);
        }
        if self.free.len() == self.clients.len() {
            self.clients.clear();
            self.free.clear();
        }
    }

    /// Sleeps until the board changes, a client comes or can go on, or something is due.
    fn wait(&mut self, round: Round, idle_at: Instant) {
        let is_news = round.is_busy || !self.board.arm(&self.watch, self.version);
        let until = round.due.map_or(idle_at, |due| due.min(idle_at));
        let left = match is_news {
            true => Duration::ZERO,
            false => until.saturating_duration_since(Instant::now()),
        };
        // Rounded up, so that what is due is due.
        let limit = Timespec::try_from(left + Duration::from_micros(u64::from(!is_news))).ok();
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [nothing; EVENTS_MAX];
        // An interrupted wait looks around once more.
        let count = epoll::wait(&self.epoll, &mut events, limit.as_ref()).unwrap_or(0);
        for event in &events[..count] {
            let (data, flags) = (event.data.u64(), event.flags);
            let slot = usize::try_from(data).unwrap_or(usize::MAX);
            let Some(Some(client)) = self.clients.get_mut(slot).filter(|_| data != WAKER) else {
                continue;
            };
            if flags.contains(EventFlags::OUT) {
                client.room.is_wanted = false;
            }
            let is_input = flags
                .intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if is_input && !client.is_still_there() {
                self.remove(slot);
            }
        }
    }
}

/// News of the journals.
impl Thread {
    fn read_news(&mut self) {
        let mut changed = Vec::new();
        let (version, pos) = self.board.changes_since(self.version, &mut changed);
        self.version = version;
        let rewrites = self.board.rewrites();
        if std::mem::replace(&mut self.rewrites, rewrites) != rewrites {
            // A person was forgotten: what is kept here may name them.
            self.ring.reset(self.ring.head());
        }
        let (mut bytes, mut grown) = (0, Vec::new());
        for journal in changed {
            let key = journal.key;
            if journal.state == State::Revoked {
                self.ring.revoke(key);
                self.cursors.remove(&key);
                let clients = self.clients.iter_mut().flatten();
                clients.for_each(Client::look_again);
                continue;
            }
            if journal.state == State::Ended {
                let clients = self.clients.iter_mut().flatten();
                clients.for_each(|client| client.stream_ended(key, journal.pos));
            }
            let cursor = self.cursors.get(&key).copied();
            // Of one that is new on the board only new lines are news.
            let cursor = match cursor {
                Some(cursor) => Ok(cursor),
                None if journal.pos <= self.ring.head() => continue,
                None => self.reader.cursor_after_pos(key, self.ring.head()),
            };
            match cursor {
                Ok(cursor) => {
                    bytes += journal.bytes.saturating_sub(cursor.offset);
                    grown.push((journal, cursor));
                }
                Err(error) => return self.lose_news(&error, pos),
            }
        }
        if bytes > LIVE_RING_BYTES as u64 {
            for (journal, _) in grown {
                let (key, seq, offset) = (journal.key, journal.seq, journal.bytes);
                self.cursors.insert(key, Cursor { key, seq, offset });
            }
            self.ring.reset(pos);
        } else if let Err(error) = self.read_lines(&grown, pos) {
            return self.lose_news(&error, pos);
        }
        self.ring.advance(pos);
        self.forget_cursors();
    }

    /// Adds the lines of these journals to the ring, in order.
    fn read_lines(&mut self, grown: &[(Journal, Cursor)], pos: u64) -> io::Result<()> {
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        for (journal, cursor) in grown {
            let mut cursor = *cursor;
            'journal: while self.reader.read(&cursor, &mut self.chunk)? == Found::Lines {
                for (line, after) in self.chunk.lines_with_cursors() {
                    if line.pos > pos {
                        // For the next time, with the other journals.
                        break 'journal;
                    }
                    lines.push((line.pos, text.len()..text.len() + line.bytes.len()));
                    text.extend_from_slice(line.bytes);
                    cursor = after;
                }
                if cursor.seq >= journal.seq {
                    break;
                }
                cursor = self.chunk.end();
            }
            self.cursors.insert(journal.key, cursor);
        }
        lines.sort_unstable_by_key(|(pos, _)| *pos);
        for (_, place) in lines {
            if let Some(line) = Line::parse(&text[place]) {
                self.ring.push(&interest::Event::new(line));
            }
        }
        Ok(())
    }

    /// A file cannot be read now: clients read it themselves, or are cut off and come again.
    fn lose_news(&mut self, error: &io::Error, pos: u64) {
        self.shared.complain(error);
        self.cursors.clear();
        self.ring.reset(pos);
    }

    /// Forgets journals that are no longer on the board.
    fn forget_cursors(&mut self) {
        let board = &self.board;
        if self.cursors.len() > 64 {
            let journals = board.snapshot().journals;
            if self.cursors.len() > 2 * journals.len() {
                let is_there = |key: &JournalKey| {
                    journals
                        .binary_search_by_key(key, |journal| journal.key)
                        .is_ok()
                };
                self.cursors.retain(|key, _| is_there(key));
            }
        }
    }
}

impl Turns {
    /// For what does not read files.
    fn none() -> Turns {
        Turns {
            left: 0,
            time: Duration::ZERO,
            is_busy: false,
            room: 0,
            is_unused: false,
            is_full: false,
        }
    }
}

/// A ring with what was written shortly before that position, as far as that can be read quickly.
fn prefilled(reader: &Reader, pos: u64) -> Ring {
    let (now, from) = (Instant::now(), pos.saturating_sub(PREFILL_US));
    let mut ring = Ring::new(from);
    let mut files = CatchUp::new(reader, &Scope::All, from, None, now);
    loop {
        match files.fill(now + PREFILL_MAX) {
            Ok(Filled::Lines) => {
                let events = files.events(ring.head());
                events.for_each(|event| ring.push(&event));
            }
            Ok(Filled::Reached) if files.pos() >= pos => break,
            Ok(Filled::Reached) => {}
            Ok(Filled::Busy) | Err(_) => return Ring::new(pos),
        }
        if files.pos() >= pos {
            break;
        }
    }
    ring.advance(pos);
    ring
}

/// Without a mark in the state directory, or with a new one, the board does not know how far earlier processes were.
fn see_earlier_lines(board: &Board) {
    const DAY_MS: u64 = 86_400_000;
    let yesterday = Utc::from_unix_ms(now_ms().saturating_sub(DAY_MS)).date();
    let folders = StreamFolders::below(board.root()).from_day(&yesterday);
    let ends = folders.filter_map(|folder| end_of(&folder.join(FEED_NAME)).ok());
    if let Some(pos) = ends.map(|end| end.pos).max() {
        board.set_pos(pos);
    }
}

/// Answers all requests: there is no board.
pub(super) fn refuse_all(shared: &Shared, status: u16, text: &str) {
    let answer = Answer::text(status, format!("{text}\n")).with("Cache-Control", "no-store");
    let answer = answer_bytes(&answer, false);
    for (socket, ..) in shared.clients.give_up() {
        // It fits into a fresh socket, or the client is gone.
        let _ = send(&socket, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}
