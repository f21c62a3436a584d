//! One process: a machine, a small coordinator, and what its state directory would hold.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::super::*;
use super::zoom::ConnId;
use crate::daemon::fleet_store::Codec;
use crate::domain::turn::Turn;

/// An event, as its body says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    pub(crate) meeting: String,
    pub(crate) stream: String,
    pub(crate) stamp: u64,
    /// The event names its meeting.
    pub(crate) is_named: bool,
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::MeetingBegins, "begins"),
    (Kind::ParticipantJoins, "joins"),
    (Kind::StreamStarts, "starts"),
    (Kind::StreamInterrupted, "interrupted"),
    (Kind::Ends, "ends"),
    (Kind::Withdrawn, "withdrawn"),
    (Kind::Everyone, "everyone"),
    (Kind::Local, "local"),
];

impl Told {
    pub(crate) fn body(&self) -> Vec<u8> {
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        let kind = kind.map_or("", |(_, name)| name);
        let Told {
            meeting,
            stream,
            stamp,
            is_named,
            ..
        } = self;
        format!("{kind} {meeting} {stream} {stamp} {is_named}").into_bytes()
    }

    pub(crate) fn parse(body: &[u8]) -> Option<Told> {
        let text = std::str::from_utf8(body).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, meeting, stream, stamp, is_named] = words[..] else {
            return None;
        };
        Some(Told {
            kind: KINDS.iter().find(|(_, name)| *name == kind)?.0,
            meeting: meeting.to_owned(),
            stream: stream.to_owned(),
            stamp: stamp.parse().ok()?,
            is_named: is_named == "true",
        })
    }

    pub(crate) fn about(&self) -> About {
        let named = |id: &String| Some(id.clone()).filter(|id| !id.is_empty());
        About {
            meeting: named(&self.meeting).filter(|_| self.is_named),
            stream: named(&self.stream),
            kind: self.kind,
        }
    }
}

pub(crate) fn read(body: &[u8]) -> Option<About> {
    Some(Told::parse(body)?.about())
}

/// A stream of the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) phase: StreamPhase,
    pub(crate) conn: Option<ConnId>,
    pub(crate) connecting: Option<ConnId>,
    pub(crate) accepted_ms: u64,
    pub(crate) accepted: Option<Instant>,
    pub(crate) is_refused: bool,
    pub(crate) has_once: bool,
    pub(crate) tries: u32,
    pub(crate) next_try: Instant,
    pub(crate) until: Instant,
    pub(crate) stamp: u64,
}

/// A meeting of the coordinator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// `meeting.started` has come, and no end.
    pub(crate) is_live: bool,
    pub(crate) streams: BTreeMap<String, Running>,
    /// Streams that ended, and when.
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) epoch: u64,
}

/// What survives the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) boot: Option<Boot>,
    pub(crate) meetings: BTreeMap<String, Entry>,
    pub(crate) intents: BTreeMap<u64, Vec<u8>>,
    pub(crate) next_intent: u64,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) machine: Machine,
    pub(crate) me: Member,
    /// How it asks the store.
    pub(crate) codec: Rc<Codec>,
    pub(crate) meetings: BTreeMap<String, Entry>,
    /// Meetings of the state directory that were not resumed yet.
    pub(crate) left: BTreeMap<String, Entry>,
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
    pub(crate) permit: Option<Instant>,
    pub(crate) to_settle: BTreeSet<u64>,
    pub(crate) to_save: Vec<u64>,
    pub(crate) is_save_due: bool,
    pub(crate) inbox_after: String,
    /// After how many calls to the store the queue was read to its end.
    pub(crate) inbox_read: Option<u64>,
    /// When it looked last, if it waits for a call that may fill the queue.
    pub(crate) inbox_idle: Option<Instant>,
    pub(crate) logs: Vec<(Instant, String)>,
    /// The newest answers "another's", by meeting.
    pub(crate) newer: BTreeMap<String, Record>,
    pub(crate) is_draining: bool,
    pub(crate) discarded: BTreeSet<String>,
    pub(crate) everyone: u32,
    pub(crate) rolled_back: u32,
    /// Connections that the coordinator has closed.
    pub(crate) closing: Vec<(String, ConnId)>,
    /// What the machine says for metrics.
    pub(crate) took: Vec<(Took, Duration)>,
    /// Whose turn it is to have the event WebSocket.
    pub(crate) turn: Turn,
    /// All that was told of that.
    pub(crate) events_told: Vec<(Turn, bool, Option<Duration>)>,
}

/// A connection that lasts for so long begins a new series of tries.
const STEADY: Duration = Duration::from_secs(5);

/// The delay before a try.
pub(crate) fn delay(tries: u32) -> Duration {
    let ms = [0, 500, 1000, 2000, 3000];
    Duration::from_millis(ms[(tries as usize).min(ms.len() - 1)])
}

impl Running {
    pub(crate) fn new(now: Instant, phase: StreamPhase, window: Duration, stamp: u64) -> Running {
        Running {
            phase,
            conn: None,
            connecting: None,
            accepted_ms: 0,
            accepted: None,
            is_refused: false,
            has_once: false,
            tries: 0,
            next_try: now,
            until: now + window,
            stamp,
        }
    }

    pub(crate) fn lose(&mut self, now: Instant) {
        self.conn = None;
        self.connecting = None;
        self.phase = StreamPhase::Lost;
        self.is_refused = false;
        // A connection that did not last continues its series of tries: two nodes that displace each other
        // slow down.
        let has_lasted = self.accepted.is_none_or(|at| now - at >= STEADY);
        self.tries = if has_lasted { 0 } else { self.tries + 1 };
        self.next_try = now + delay(self.tries);
        self.until = now + super::zoom::WINDOW;
    }
}

impl Entry {
    pub(crate) fn is_over(&self) -> bool {
        !self.is_live && self.streams.is_empty()
    }

    /// What another node needs.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let streams = self.streams.iter();
        let streams: Vec<String> = streams.map(|(id, s)| format!("{id}={}", s.stamp)).collect();
        let ended = self.ended.iter().map(|(id, at)| format!("{id}!{at}"));
        let all: Vec<String> = streams.into_iter().chain(ended).collect();
        format!("{} {}", self.is_live, all.join(",")).into_bytes()
    }

    pub(crate) fn adopt(&mut self, now: Instant, packed: &[u8], window: Duration) {
        let text = String::from_utf8_lossy(packed);
        let (is_live, streams) = text.split_once(' ').unwrap_or(("false", ""));
        self.is_live |= is_live == "true";
        for stream in streams.split(',') {
            if let Some((id, at)) = stream.split_once('!') {
                let at = at.parse().unwrap_or(0);
                self.end(id, at);
            } else if let Some((id, stamp)) = stream.split_once('=') {
                let stamp: u64 = stamp.parse().unwrap_or(0);
                let is_over = self.ended.get(id).is_some_and(|at| *at >= stamp);
                if !is_over {
                    let lost = || Running::new(now, StreamPhase::Lost, window, stamp);
                    self.streams.entry(id.to_owned()).or_insert_with(lost);
                }
            }
        }
    }

    pub(crate) fn end(&mut self, id: &str, at: u64) {
        let ended = self.ended.entry(id.to_owned()).or_default();
        *ended = at.max(*ended);
        if self.streams.get(id).is_some_and(|s| s.stamp <= at) {
            self.streams.remove(id);
        }
    }
}

impl Process {
    /// Handles an event as the coordinator does. Whether it is a newer start that is followed.
    pub(crate) fn coordinate(&mut self, now: Instant, unix_ms: u64, told: &Told) -> bool {
        if told.meeting.is_empty() {
            self.everyone += u32::from(told.kind == Kind::Everyone);
            return false;
        }
        // An end that names only its stream belongs to the meeting that has it.
        let entry = self.meetings.entry(told.meeting.clone()).or_default();
        match told.kind {
            Kind::MeetingBegins => entry.is_live = true,
            Kind::StreamStarts => {
                let is_stale = entry
                    .ended
                    .get(&told.stream)
                    .is_some_and(|at| *at >= told.stamp);
                let age = Duration::from_millis(unix_ms.saturating_sub(told.stamp));
                let window = super::zoom::WINDOW.saturating_sub(age);
                if is_stale {
                    return false;
                }
                match entry.streams.get_mut(&told.stream) {
                    Some(stream) if stream.stamp < told.stamp => {
                        stream.stamp = told.stamp;
                        let conns = [stream.conn, stream.connecting].into_iter().flatten();
                        self.closing
                            .extend(conns.map(|conn| (told.stream.clone(), conn)));
                        stream.lose(now);
                    }
                    Some(_) => return false,
                    None => {
                        let window = window.max(Duration::from_secs(15));
                        let new = Running::new(now, StreamPhase::Joining, window, told.stamp);
                        entry.streams.insert(told.stream.clone(), new);
                    }
                }
                return true;
            }
            Kind::StreamInterrupted => {
                if let Some(stream) = entry.streams.get_mut(&told.stream)
                    && stream.phase == StreamPhase::Receiving
                    && told.stamp > stream.accepted_ms
                {
                    let conns = [stream.conn, stream.connecting].into_iter().flatten();
                    self.closing
                        .extend(conns.map(|conn| (told.stream.clone(), conn)));
                    stream.lose(now);
                }
            }
            Kind::Ends | Kind::Withdrawn if told.stream.is_empty() => {
                entry.is_live = false;
                let stamp = told.stamp;
                entry.streams.retain(|_, stream| stream.stamp > stamp);
            }
            Kind::Ends | Kind::Withdrawn => entry.end(&told.stream, told.stamp),
            Kind::ParticipantJoins | Kind::Everyone | Kind::Local => {}
        }
        false
    }

    /// There is a permit again.
    pub(crate) fn forget_once(&mut self) {
        let streams = self.meetings.values_mut().map(|entry| &mut entry.streams);
        streams.for_each(|streams| streams.values_mut().for_each(|s| s.has_once = false));
    }

    /// What the machine is told of a meeting.
    pub(crate) fn state(&mut self, meeting: &str) -> MeetingState {
        let none = Entry::default();
        let entry = self.meetings.get(meeting).unwrap_or(&none);
        let packed = entry.pack();
        let known = self.entries.insert(meeting.to_owned(), packed.clone());
        let streams = entry.streams.iter().map(|(id, s)| StreamState {
            stream_id: id.clone(),
            phase: s.phase,
            is_refused: s.is_refused,
        });
        MeetingState {
            meeting: meeting.to_owned(),
            streams: streams.collect(),
            is_over: entry.is_over(),
            entry: Some(packed.clone()).filter(|_| known != Some(packed)),
        }
    }

    /// Takes up a meeting of the state directory.
    pub(crate) fn resume(&mut self, now: Instant, meeting: &str) {
        let Some(mut entry) = self.left.remove(meeting) else {
            // It was released.
            let streams = self
                .meetings
                .get_mut(meeting)
                .map(|entry| &mut entry.streams);
            for stream in streams.into_iter().flat_map(BTreeMap::values_mut) {
                stream.accepted = None;
                stream.lose(now);
            }
            return;
        };
        for stream in entry.streams.values_mut() {
            stream.accepted = None;
            stream.lose(now);
        }
        let known = self.meetings.entry(meeting.to_owned()).or_default();
        known.is_live |= entry.is_live;
        for (id, at) in entry.ended {
            known.end(&id, at);
        }
        for (id, stream) in entry.streams {
            if known.ended.get(&id).is_none_or(|at| *at < stream.stamp) {
                known.streams.entry(id).or_insert(stream);
            }
        }
    }

    pub(crate) fn stream_mut(&mut self, id: &str) -> Option<(&String, &mut Running)> {
        let meetings = self.meetings.iter_mut();
        let mut found =
            meetings.filter_map(|(meeting, entry)| Some((meeting, entry.streams.get_mut(id)?)));
        found.next()
    }
}
