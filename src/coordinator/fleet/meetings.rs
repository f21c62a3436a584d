//! What is kept of a meeting: what is held, and what waits for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::call::{Member, Tail};
use super::counts::Gap;
use super::face::{About, CallId, StreamState};
use super::few::Few;
use super::record::StreamPhase;
use super::store_down::Loss;

/// An event that has not reached its coordinator.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) origin: Origin,
    pub(super) about: About,
    pub(super) body: Vec<u8>,
    /// When it came to this process.
    pub(super) at: Instant,
    /// How often it was sent to an owner that did not act on it.
    pub(super) repeats: u8,
    /// It was counted as a start that came too late.
    pub(super) is_counted: bool,
}

impl Event {
    /// One that has just come.
    pub(super) fn new(now: Instant, origin: Origin, about: About, body: Vec<u8>) -> Event {
        Event {
            origin,
            about,
            body,
            at: now,
            repeats: 0,
            is_counted: false,
        }
    }
}

/// Where an event came from, and what is to be dropped in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// An intent of this process.
    Intent(u64),
    /// An entry of a queue, by its ticket.
    Queue(u64),
}

/// One meeting, ours or not.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    /// We have it.
    pub(super) held: Option<Held>,
    /// Events in the order of their arrival.
    pub(super) waiting: VecDeque<Event>,
    /// We want it.
    pub(super) wish: Option<Wish>,
    /// What was given to another node, until that has taken it.
    pub(super) guard: Option<Box<Guard>>,
    /// The node that owns it, as far as known.
    pub(super) owner: Option<String>,
    /// The one call under way.
    pub(super) call: Option<CallId>,
    /// The next call waits until then.
    pub(super) not_before: Option<Instant>,
    /// Calls in a row that named the wrong owner.
    pub(super) moves: u8,
    /// Since when the store gives the answer that we do not want to act on yet.
    pub(super) none_since: Option<Instant>,
    pub(super) dead_since: Option<Instant>,
    pub(super) full_since: Option<Instant>,
    /// A node whose queue was full when the meeting was to be placed there.
    pub(super) is_full: Option<String>,
}

/// A meeting that the coordinator has.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// 0: the store has not heard of it yet.
    pub(super) epoch: u64,
    pub(super) streams: Vec<StreamState>,
    pub(super) is_over: bool,
    pub(super) entry: Option<Vec<u8>>,
    /// Streams that the record listed by our own word, or when we took it.
    pub(super) listed: Vec<String>,
    /// Grows with each change.
    pub(super) version: u64,
    /// The version that the store has, and the one that it is just told.
    pub(super) published: u64,
    pub(super) asked: u64,
    /// The next publish brings the entry; the one under way does.
    pub(super) is_entry_new: bool,
    pub(super) is_entry_asked: bool,
    /// When the store last took it.
    pub(super) touched: Option<Instant>,
    /// Another node has the record, and we receive what it does not: ask again then.
    pub(super) ask_again: Option<Instant>,
    /// Another node has the record, and we receive what it does not know.
    pub(super) rival: Option<String>,
    /// An event has come for what nothing is received of: another node may have it by now, so the store is
    /// asked first.
    pub(super) is_to_confirm: bool,
    /// It was claimed, and the coordinator has not said anything of it.
    pub(super) is_silent: bool,
    /// It lies in the state directory, and the coordinator has not resumed it.
    pub(super) is_left: bool,
    /// It is given away. Boxed, as what few meetings have at one time.
    pub(super) release: Option<Box<Release>>,
    /// Another node has not taken what is here: it is not given to it before that time.
    pub(super) home_again: Option<Instant>,
    pub(super) home_wait: Duration,
    /// Streams that another node received, and that are not received here yet.
    pub(super) gap: Option<Box<Gap>>,
    /// By stream: what the store-down rule must know.
    pub(super) losses: Few<Loss>,
}

/// A meeting that is given away.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) heir: Member,
    /// What it had when that began.
    pub(super) streams: Vec<String>,
    /// What the heir needs; `None` while the sockets are being closed.
    pub(super) parcel: Option<Parcel>,
    /// Since when the heir can take it.
    pub(super) given: Option<Instant>,
    /// When the record shows whether it has; `None`: it is to be given.
    pub(super) look_at: Option<Instant>,
}

/// A meeting that we want.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Who is recorded as its owner, as far as known.
    pub(super) from: Option<String>,
    /// Its owner is dead after this silence.
    pub(super) limit: Duration,
}

/// What was given to another node.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) node: String,
    pub(super) since: Instant,
    pub(super) due: Instant,
    pub(super) what: Guarded,
    /// Events that are repeated if need be.
    pub(super) events: Vec<Event>,
}

/// What an heir needs.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) epoch: u64,
    pub(super) entry: Vec<u8>,
    pub(super) tails: Vec<(String, Tail)>,
}

/// What is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarded {
    /// A meeting was placed there, or a start was sent there.
    Start,
    /// An interruption was sent there: Zoom says that the node may be gone.
    Interruption,
}

impl Meeting {
    /// Whether nothing is left to be kept.
    pub(super) fn is_nothing(&self) -> bool {
        self.held.is_none() && !self.has_needs() && self.call.is_none()
    }

    /// Whether a call must be made, now or later.
    pub(super) fn has_needs(&self) -> bool {
        !self.waiting.is_empty()
            || self.wish.is_some()
            || self.guard.is_some()
            || (self.held.as_ref()).is_some_and(|held| held.has_news() || held.release.is_some())
    }

    /// Whether another node has been sent all that is kept of it.
    pub(super) fn is_passed_on(&self) -> bool {
        self.guard.is_some()
            && self.held.is_none()
            && self.wish.is_none()
            && self.waiting.is_empty()
    }

    /// Whether the coordinator has it, and keeps it.
    pub(super) fn is_served(&self) -> bool {
        (self.held.as_ref()).is_some_and(|held| !held.is_left && held.release.is_none())
    }

    /// Whether its events are for us alone.
    pub(super) fn is_ours_alone(&self) -> bool {
        let is_doubtful = |held: &Held| held.rival.is_some() || held.is_to_confirm;
        self.is_served() && !self.held.as_ref().is_some_and(is_doubtful)
    }

    /// Forgets what earlier answers of the store said.
    pub(super) fn begin_again(&mut self) {
        self.moves = 0;
        self.not_before = None;
        self.none_since = None;
        self.dead_since = None;
        self.full_since = None;
        self.is_full = None;
    }
}

impl Held {
    /// Its sockets are closed: a publish that says "receiving" would take the record from who does receive.
    pub(super) fn has_closed(&mut self) {
        for stream in &mut self.streams {
            if stream.phase == StreamPhase::Receiving {
                stream.phase = StreamPhase::Lost;
            }
        }
    }

    /// Whether the store must be told something, now or later.
    pub(super) fn has_news(&self) -> bool {
        self.has_changed() || self.ask_again.is_some()
    }

    /// Whether the store must be told something now.
    pub(super) fn is_to_publish(&self, now: Instant) -> bool {
        self.has_changed() || self.ask_again.is_some_and(|at| now >= at)
    }

    fn has_changed(&self) -> bool {
        self.is_left || self.published != self.version
    }

    /// Another node has the record, and we receive a stream of it: whether the event is for both.
    pub(super) fn shares(&self, event: &Event) -> bool {
        let stream = event.about.stream.as_ref();
        let is_here = |id: &String| self.streams.iter().any(|s| s.stream_id == *id);
        let is_served = !self.is_left && self.release.is_none();
        self.rival.is_some() && is_served && stream.is_none_or(is_here)
    }

    /// Whether data can flow.
    pub(super) fn receives(&self) -> bool {
        let mut phases = self.streams.iter().map(|stream| stream.phase);
        phases.any(|phase| phase == StreamPhase::Receiving)
    }

    /// The store must be told.
    pub(super) fn touch(&mut self) {
        self.version += 1;
    }
}
