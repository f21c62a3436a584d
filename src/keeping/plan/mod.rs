//! Which recordings go, and why: the decisions, without a clock and without a disk.
//!
//! Ages are looked at first: a whole stream, or its sound or pictures. Then, if the recordings still take
//! too much, whole streams go until it is enough. Both begin with the stream that ended first. A stream
//! that runs, or that a delivery waits for, stays, and the next one is taken.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::rules::Rules;
use crate::recorder::removal::place::StreamPlace;
use crate::recorder::removal::tombstone::{Part, Reason};

/// A stream may live again right after its end, when Zoom moves it; and its last events are on their way
/// to those who wait for them.
pub const REST: Duration = Duration::from_secs(10);

/// Of `RTMS_DISK_MAX` this part is kept free, so that what comes between two looks stays within it.
const MARGIN: u64 = 32;

/// A recorded stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where it is.
    pub place: StreamPlace,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// When it ended; `None` while it runs, or will be joined again.
    pub ended_ms: Option<u64>,
    /// Allocated bytes of its sound.
    pub audio_bytes: u64,
    /// Those of its pictures.
    pub video_bytes: u64,
    /// Those of everything else.
    pub rest_bytes: u64,
}

impl Stream {
    /// Allocated bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.audio_bytes + self.video_bytes + self.rest_bytes
    }

    /// Those of a part.
    pub fn bytes_of(&self, part: Part) -> u64 {
        match part {
            Part::All => self.bytes(),
            Part::Audio => self.audio_bytes,
            Part::Video => self.video_bytes,
        }
    }
}

/// Why a stream stays although it should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// It runs, or has just ended.
    Open,
    /// An endpoint of HTTP push has not had all of its events.
    Push,
    /// It waits for its upload or its program.
    Ends,
}

impl Hold {
    /// All of them.
    pub const ALL: [Hold; 3] = [Hold::Open, Hold::Push, Hold::Ends];

    /// The word in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Hold::Open => "open",
            Hold::Push => "push",
            Hold::Ends => "ends",
        }
    }

    /// In words: `3 streams that …`.
    pub const fn words(self) -> &'static str {
        match self {
            Hold::Open => "that run or have just ended",
            Hold::Push => "that a push endpoint has not had all of",
            Hold::Ends => "that wait for their upload or program",
        }
    }
}

/// The file system, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// What everything below `RTMS_OUT` takes.
    pub used: u64,
    /// What is free for the server.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
    /// What is expected to be written until the next look. Room is made for it, so that a fast recording does
    /// not pass the limits between two looks.
    pub coming: u64,
}

/// A stream, or a part of it, that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Its place in the list of streams.
    pub stream: usize,
    /// What of it.
    pub part: Part,
    /// Why.
    pub reason: Reason,
    /// What that sets free.
    pub bytes: u64,
}

/// A stream that should go and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its place in the list of streams.
    pub stream: usize,
    /// What should go.
    pub part: Part,
    /// Why it should go.
    pub reason: Reason,
    /// Why it stays.
    pub hold: Hold,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The oldest first.
    pub removals: Vec<Removal>,
    /// The oldest first.
    pub held: Vec<Held>,
    /// By how many bytes the recordings are above `RTMS_DISK_MAX` when all of that is done.
    pub over_max: u64,
    /// How many bytes are missing to `RTMS_DISK_FREE_MIN` then.
    pub under_free: u64,
}

impl Plan {
    /// Whether something goes because space is short.
    pub fn is_for_space(&self) -> bool {
        let mut reasons = self.removals.iter().map(|it| it.reason);
        reasons.any(|it| matches!(it, Reason::DiskMax | Reason::DiskFreeMin))
    }

    /// What is set free.
    pub fn bytes(&self) -> u64 {
        self.removals.iter().map(|it| it.bytes).sum()
    }
}

/// What everything below `RTMS_OUT` may take; `None` for any amount.
pub fn limit(rules: &Rules, total: u64) -> Option<u64> {
    let max = rules.disk_max?.bytes(total);
    Some(max - max / MARGIN)
}

/// Decides. `hold` says why a stream that has ended must stay, if so; it is asked only for those that
/// should go.
pub fn plan(
    now_ms: u64,
    rules: &Rules,
    space: Space,
    streams: &[Stream],
    hold: &mut dyn FnMut(&Stream) -> Option<Hold>,
) -> Plan {
    let mut ended: Vec<(u64, usize)> = streams
        .iter()
        .enumerate()
        .filter_map(|(at, stream)| Some((stream.ended_ms?, at)))
        .collect();
    ended.sort_by_key(|(ended_ms, at)| {
        let stream = &streams[*at];
        (*ended_ms, stream.started_ms, &stream.place)
    });
    let mut round = Round {
        now_ms,
        rules,
        streams,
        hold,
        plan: Plan::default(),
        freed: 0,
    };
    let mut rest = Vec::new();
    for (ended_ms, at) in ended {
        let from = round.plan.removals.len();
        if !round.by_age(at, ended_ms) {
            rest.push((at, ended_ms, from..round.plan.removals.len()));
        }
    }
    round.by_space(space, rest);
    round.plan
}

struct Round<'a> {
    now_ms: u64,
    rules: &'a Rules,
    streams: &'a [Stream],
    hold: &'a mut dyn FnMut(&Stream) -> Option<Hold>,
    plan: Plan,
    freed: u64,
}

impl Round<'_> {
    fn is_older(&self, ended_ms: u64, than: Option<Duration>) -> bool {
        // A clock that was set back makes nothing old.
        let age = Duration::from_millis(self.now_ms.saturating_sub(ended_ms));
        than.is_some_and(|than| age >= than.max(REST))
    }

    fn hold(&mut self, at: usize, ended_ms: u64) -> Option<Hold> {
        match self.is_older(ended_ms, Some(REST)) {
            true => (self.hold)(&self.streams[at]),
            false => Some(Hold::Open),
        }
    }

    fn remove(&mut self, stream: usize, part: Part, reason: Reason, bytes: u64) {
        self.freed += bytes;
        self.plan.removals.push(Removal {
            stream,
            part,
            reason,
            bytes,
        });
    }

    fn held(&mut self, stream: usize, part: Part, reason: Reason, hold: Hold) {
        self.plan.held.push(Held {
            stream,
            part,
            reason,
            hold,
        });
    }

    /// Whether nothing more is to be decided about the stream.
    fn by_age(&mut self, at: usize, ended_ms: u64) -> bool {
        let mut due = Vec::new();
        if self.is_older(ended_ms, self.rules.keep) {
            due.push((Part::All, Reason::Keep));
        } else {
            let parts = [
                (Part::Audio, Reason::KeepAudio, self.rules.keep_audio),
                (Part::Video, Reason::KeepVideo, self.rules.keep_video),
            ];
            for (part, reason, keep) in parts {
                if self.is_older(ended_ms, keep) && self.streams[at].bytes_of(part) > 0 {
                    due.push((part, reason));
                }
            }
        }
        if due.is_empty() {
            return false;
        }
        let hold = self.hold(at, ended_ms);
        let is_whole = due.iter().any(|(part, _)| *part == Part::All);
        for (part, reason) in due {
            match hold {
                Some(hold) => self.held(at, part, reason, hold),
                None => self.remove(at, part, reason, self.streams[at].bytes_of(part)),
            }
        }
        is_whole || hold.is_some()
    }

    /// Whole streams, until it is enough. Each comes with the removals of its parts by age.
    fn by_space(&mut self, space: Space, rest: Vec<(usize, u64, Range<usize>)>) {
        let limit = limit(self.rules, space.total)
            .map_or(u64::MAX, |limit| limit.saturating_sub(space.coming));
        let free_min = self.rules.disk_free_min.map(|it| it.bytes(space.total));
        let free_min = free_min.unwrap_or(0);
        let over_max = |freed: u64| space.used.saturating_sub(freed).saturating_sub(limit);
        let under_free =
            |free_min: u64, freed: u64| free_min.saturating_sub(space.free.saturating_add(freed));
        let wanted_free = match free_min {
            0 => 0,
            free_min => free_min.saturating_add(space.coming),
        };
        let mut superseded = BTreeSet::new();
        for (at, ended_ms, parts) in rest {
            let reason = match (over_max(self.freed), under_free(wanted_free, self.freed)) {
                (0, 0) => break,
                (0, _) => Reason::DiskFreeMin,
                _ => Reason::DiskMax,
            };
            let parts_bytes: u64 = self.plan.removals[parts.clone()]
                .iter()
                .map(|it| it.bytes)
                .sum();
            let bytes = self.streams[at].bytes();
            if bytes == parts_bytes {
                continue;
            }
            if let Some(hold) = self.hold(at, ended_ms) {
                self.held(at, Part::All, reason, hold);
                continue;
            }
            superseded.extend(parts);
            self.freed -= parts_bytes;
            self.remove(at, Part::All, reason, bytes);
        }
        let max = self.rules.disk_max.map(|it| it.bytes(space.total));
        let left = space.used.saturating_sub(self.freed);
        self.plan.over_max = max.map_or(0, |max| left.saturating_sub(max));
        self.plan.under_free = under_free(free_min, self.freed);
        let mut at = 0;
        self.plan.removals.retain(|_| {
            at += 1;
            !superseded.contains(&(at - 1))
        });
        let streams = self.streams;
        let age = |stream: usize| {
            let it = &streams[stream];
            (it.ended_ms, it.started_ms, &it.place)
        };
        self.plan
            .removals
            .sort_by(|a, b| age(a.stream).cmp(&age(b.stream)));
        self.plan
            .held
            .sort_by(|a, b| age(a.stream).cmp(&age(b.stream)));
    }
}

#[cfg(test)]
mod tests;
