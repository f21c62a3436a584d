//! Zoom, as far as the fleet sees it: one signaling connection a stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long Zoom keeps a stream open without a connection.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// A fault may displace the connection of a stream so often: by who takes it, by who had it, and once more where the
/// store has lost whose it is and three nodes each know a part.
const DISPLACED_MAX: u32 = 3;

/// So much more for each further fault that begins or ends at the same moment.
const DISPLACED_AT_ONCE: u32 = 1;

/// So much more for each try without the store's word: the node that is cut off, and the return of who has it.
const DISPLACED_BY_TRY: u32 = 2;

/// And for each publish that brought no answer: who is not told that another has the stream tries again.
const DISPLACED_BY_SILENCE: u32 = 1;

/// And while queues are full, which goes on while other faults come: what is sent to who has a meeting comes back.
pub(super) const DISPLACED_BY_FULL: u32 = 1;

/// What a second connection for a stream meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// It displaces the first.
    Displace,
    /// It is refused with 8.
    Refuse,
}

/// A connection, as both sides know it.
pub(crate) type ConnId = u64;

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) meeting: String,
    pub(crate) stamp: u64,
    pub(crate) conn: Option<(ConnId, String)>,
    /// Since when there has been no connection.
    pub(crate) free_since: Instant,
    pub(crate) is_over: bool,
    /// No node came within the window.
    pub(crate) is_missed: bool,
    pub(crate) accepted: u32,
    /// Connections that were closed because of a newer one, since the last fault, and how many may be.
    pub(crate) displaced: u32,
    pub(crate) displaced_max: u32,
}

/// What Zoom answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The connection stands. The one that it displaced is closed.
    Accepted(Option<(ConnId, String)>),
    /// 8: another has it.
    Refused,
    /// 2: there is no such stream any more.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Zoom {
    pub(crate) duplicates: Duplicates,
    pub(crate) streams: BTreeMap<String, Stream>,
    /// When a fault began or ended last.
    counted: Option<Instant>,
}

impl Zoom {
    pub(crate) fn new(duplicates: Duplicates) -> Zoom {
        Zoom {
            duplicates,
            streams: BTreeMap::new(),
            counted: None,
        }
    }

    pub(crate) fn begin(&mut self, now: Instant, meeting: &str, stream: &str, stamp: u64) {
        let begun = Stream {
            meeting: meeting.to_owned(),
            stamp,
            conn: None,
            free_since: now,
            is_over: false,
            is_missed: false,
            accepted: 0,
            displaced: 0,
            displaced_max: DISPLACED_MAX,
        };
        self.streams.insert(stream.to_owned(), begun);
    }

    pub(crate) fn connect(&mut self, stream: &str, conn: ConnId, node: &str) -> Answer {
        let Some(stream) = self.streams.get_mut(stream).filter(|s| !s.is_over) else {
            return Answer::Unknown;
        };
        if stream.conn.is_some() && self.duplicates == Duplicates::Refuse {
            return Answer::Refused;
        }
        let displaced = stream.conn.replace((conn, node.to_owned()));
        stream.displaced += u32::from(displaced.is_some());
        stream.accepted += 1;
        Answer::Accepted(displaced)
    }

    /// A connection is gone, as far as Zoom knows. `true` if the stream is without one now.
    pub(crate) fn lost(&mut self, now: Instant, stream: &str, conn: ConnId) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else {
            return false;
        };
        let is_it = stream.conn.as_ref().is_some_and(|(id, _)| *id == conn);
        if is_it {
            stream.conn = None;
            stream.free_since = now;
        }
        is_it && !stream.is_over
    }

    /// Ends the stream if no node came.
    pub(crate) fn window_ends(&mut self, now: Instant, stream: &str) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else {
            return false;
        };
        let is_due = stream.conn.is_none() && now >= stream.free_since + WINDOW && !stream.is_over;
        stream.is_over |= is_due;
        stream.is_missed |= is_due;
        is_due
    }

    /// A fault begins or ends.
    pub(crate) fn count_again(&mut self, now: Instant) {
        let is_at_once = self.counted == Some(now);
        self.counted = Some(now);
        for stream in self.streams.values_mut() {
            // What a try allows may come after a second fault.
            let rest = stream.displaced_max.saturating_sub(stream.displaced);
            stream.displaced_max = match is_at_once {
                true => rest + DISPLACED_AT_ONCE,
                false => rest.max(DISPLACED_MAX),
            };
            stream.displaced = 0;
        }
    }

    /// A node tries without the store's word.
    pub(crate) fn is_tried(&mut self, stream: &str) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.displaced_max += DISPLACED_BY_TRY;
        }
    }

    /// A node has asked who has these streams, and was not told.
    pub(crate) fn is_not_told<'a>(&mut self, streams: impl Iterator<Item = &'a String>) {
        for stream in streams {
            if let Some(stream) = self.streams.get_mut(stream) {
                stream.displaced_max += DISPLACED_BY_SILENCE;
            }
        }
    }

    pub(crate) fn end(&mut self, stream: &str) -> Option<(ConnId, String)> {
        let stream = self.streams.get_mut(stream)?;
        stream.is_over = true;
        stream.conn.take()
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (&String, &Stream)> {
        self.streams.iter().filter(|(_, stream)| !stream.is_over)
    }
}
