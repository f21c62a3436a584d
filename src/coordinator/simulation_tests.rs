//! A seeded simulation of an account: meetings that begin, end and begin again, people who start and stop
//! streams, webhooks that are late, repeated and out of order, calls that fail, threads that end,
//! processes that are killed; with the conditions that must always hold. In a fleet of two nodes meetings move
//! between them at any moment, by hand-over and by take-over.
//!
//! A failure prints its seed; `RTMSD_SEED` replays one, `RTMSD_SEEDS` says how many to play instead of
//! 1,000.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{T0, failed, settings, stream_of};
use super::*;
use crate::domain::product::Product;
use crate::domain::rest::{FailureClass, RestAction};
use crate::domain::zoom_event::{MeetingInfo, ParticipantJoined, StreamInterrupted, StreamStopped};
use crate::protocol::EndReason;
use crate::protocol::codes::StopReason;
use crate::protocol::tests::random::Random;

const MEETINGS: u64 = 2;
const STEPS: u32 = 120;
const BETWEEN_LIVES: Duration = Duration::from_secs(11);
/// Reasons of a stop: people, withdrawn consent, faults, wrong credentials, an admin.
const REASONS: [i64; 8] = [1, 2, 8, 8, 10, 11, 18, 23];

/// A meeting at Zoom.
#[derive(Default)]
struct Meeting {
    is_live: bool,
    lives: u32,
    /// Its open streams, by id.
    streams: BTreeSet<String>,
    /// Stamp of the newest stop by people in this run that the coordinator has received, if it has
    /// received no later start.
    stopped_ms: Option<u64>,
    /// Stamp of the newest start of a stream that the coordinator has received.
    started_ms: u64,
}

/// An event at Zoom, to be delivered at least once.
#[derive(Clone)]
struct Told {
    ts: u64,
    meeting: u64,
    life: u32,
    kind: ZoomEventKind,
}

struct World {
    random: Random,
    /// One, or two of a fleet.
    nodes: Vec<Node>,
    /// Which node has each meeting.
    owners: Vec<usize>,
    /// Meetings whose streams leave before a hand-over.
    releasing: BTreeSet<u64>,
    settings: Settings,
    now: Now,
    meetings: Vec<Meeting>,
    next_stream: u32,
    to_tell: Vec<Told>,
    told: Vec<Told>,
    /// Stamps of the newest stops that were delivered, by stream.
    stopped: BTreeMap<String, u64>,
    /// How often a meeting moved.
    moves: u32,
}

struct Node {
    coordinator: Coordinator,
    snapshot: Vec<u8>,
    /// Streams whose thread runs, and the stop reason that the thread was given.
    threads: BTreeMap<String, Option<i64>>,
    /// Those of them that were told to leave for another node.
    leaving: BTreeSet<String>,
    /// Streams that wait for capacity.
    later: BTreeMap<String, Instant>,
    /// Calls that wait for their time, and those that are on their way, by meeting and action; the
    /// number of one that something overtook stands behind.
    waiting: BTreeMap<(String, bool, u32), ScheduledCall>,
    under_way: BTreeMap<(String, bool, u32), ScheduledCall>,
    /// Streams whose withdrawal of consent was delivered but not acted on.
    withdrawn: BTreeSet<String>,
    /// When streams were deleted last, and whether they have run since.
    discarded: BTreeMap<String, (u64, bool)>,
    /// Events that were delivered here, by their place among those that were told.
    heard: BTreeSet<usize>,
}

impl Node {
    fn new(settings: &Settings) -> Node {
        Node {
            coordinator: Coordinator::new(settings.clone()),
            snapshot: Coordinator::new(settings.clone()).to_json(),
            threads: BTreeMap::new(),
            leaving: BTreeSet::new(),
            later: BTreeMap::new(),
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            discarded: BTreeMap::new(),
            heard: BTreeSet::new(),
        }
    }

    /// What runs of a meeting's streams.
    fn streams_of(&self, uuid: &str) -> Vec<String> {
        let of_meeting = |id: &&String| self.coordinator.meeting_of(id) == Some(uuid);
        let all = self.threads.keys().chain(self.later.keys());
        all.filter(of_meeting).cloned().collect()
    }
}

/// The saved state without the parts that are not saved by themselves: the time of the last webhook and
/// the number of calls.
fn essence(coordinator: &Coordinator) -> serde_json::Value {
    let json = coordinator.to_json();
    let mut value: serde_json::Value = serde_json::from_slice(&json).expect("our own JSON");
    for meeting in value["meetings"].as_object_mut().into_iter().flatten() {
        meeting.1["touched_ms"] = 0.into();
        meeting.1["stop_attempts"] = 0.into();
        if meeting.1["start"].is_object() {
            meeting.1["start"] = "Trying".into();
        }
    }
    value
}

fn uuid(meeting: u64) -> String {
    format!("uuid{meeting}")
}

impl World {
    fn new(seed: u64, nodes: usize) -> World {
        let mut random = Random::new(seed);
        let settings = Settings {
            stop_after: random.one_in(4).then(|| Duration::from_secs(30)),
            participant_user_id: random.one_in(3).then(|| "named".to_owned()),
            app: None,
            ..settings()
        };
        World {
            random,
            nodes: (0..nodes).map(|_| Node::new(&settings)).collect(),
            owners: (0..MEETINGS).map(|n| n as usize % nodes).collect(),
            releasing: BTreeSet::new(),
            settings,
            now: Now {
                instant: Instant::now(),
                unix_ms: T0,
            },
            meetings: (0..MEETINGS).map(|_| Meeting::default()).collect(),
            next_stream: 0,
            to_tell: Vec::new(),
            told: Vec::new(),
            stopped: BTreeMap::new(),
            moves: 0,
        }
    }

    fn pass(&mut self, most_ms: u64) {
        let time = Duration::from_millis(self.random.below(most_ms));
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
        for at in 0..self.nodes.len() {
            let due: Vec<_> = (self.nodes[at].waiting.iter())
                .filter(|(_, call)| call.at <= self.now.instant)
                .map(|(key, _)| key.clone())
                .collect();
            for key in due {
                if let Some(call) = self.nodes[at].waiting.remove(&key) {
                    self.is_alone(at, &call);
                    self.nodes[at].under_way.insert(key, call);
                }
            }
        }
    }

    /// A meeting's start is on its way from one node only: no call takes ten seconds.
    fn is_alone(&self, at: usize, call: &ScheduledCall) {
        let is_start = |call: &ScheduledCall| call.request.action == RestAction::Start;
        let others = self.nodes.iter().enumerate().filter(|(of, _)| *of != at);
        // One that its node has replaced was of an earlier run.
        let is_newest = |node: &Node, call: &ScheduledCall| {
            let meeting = node.coordinator.meetings.get(&call.meeting);
            meeting.is_some_and(|meeting| meeting.calls.newest_start == call.number)
        };
        let others = others.flat_map(|(_, node)| {
            let calls = node.under_way.values();
            calls.filter(move |call| is_newest(node, call))
        });
        for other in others {
            let is_recent = other.at + Duration::from_secs(10) > call.at;
            let is_same = other.meeting == call.meeting && is_start(other) && is_start(call);
            assert!(
                !(is_recent && is_same),
                "two nodes start: {call:?}, {other:?}"
            );
        }
    }

    // What happens at Zoom.

    fn happens(&mut self, meeting: u64, kind: ZoomEventKind) {
        self.now.instant += Duration::from_millis(1);
        self.now.unix_ms += 1;
        self.to_tell.push(Told {
            ts: self.now.unix_ms,
            meeting,
            life: self.meetings[meeting as usize].lives,
            kind,
        });
    }

    fn info(&self, meeting: u64) -> MeetingInfo {
        MeetingInfo {
            product: Product::Meeting,
            meeting_id: format!("8{meeting}"),
            meeting_uuid: uuid(meeting),
            host_id: Some("host".to_owned()),
            topic: None,
            account_id: None,
        }
    }

    fn begin(&mut self, n: u64) {
        let meeting = &mut self.meetings[n as usize];
        if meeting.is_live {
            return;
        }
        // A meeting does not begin again at once after its end.
        if meeting.lives > 0 {
            self.now.instant += BETWEEN_LIVES;
            self.now.unix_ms += BETWEEN_LIVES.as_millis() as u64;
        }
        meeting.is_live = true;
        meeting.lives += 1;
        meeting.stopped_ms = None;
        self.happens(n, ZoomEventKind::MeetingStarted(self.info(n)));
    }

    fn join(&mut self, n: u64) {
        if !self.meetings[n as usize].is_live {
            return;
        }
        let who = ["host", "named", "guest"][self.random.below(3) as usize];
        let joined = ParticipantJoined {
            meeting: self.info(n),
            participant_ids: vec![who.to_owned()],
        };
        self.happens(n, ZoomEventKind::ParticipantJoined(joined));
    }

    fn end(&mut self, n: u64) {
        let meeting = &mut self.meetings[n as usize];
        if !std::mem::take(&mut meeting.is_live) {
            return;
        }
        for stream in std::mem::take(&mut meeting.streams) {
            self.stop_stream(n, &stream, 6);
        }
        self.happens(n, ZoomEventKind::MeetingEnded(self.info(n)));
    }

    fn started(&self, n: u64, stream: &str) -> ZoomEventKind {
        let mut started = stream_of(&uuid(n), stream);
        started.meeting_id = Some(format!("8{n}"));
        ZoomEventKind::StreamStarted(started)
    }

    fn open_stream(&mut self, n: u64) {
        if !self.meetings[n as usize].is_live {
            return;
        }
        let stream = format!("s{}", self.next_stream);
        self.next_stream += 1;
        self.meetings[n as usize].streams.insert(stream.clone());
        let kind = self.started(n, &stream);
        self.happens(n, kind);
    }

    fn some_stream(&mut self, n: u64) -> Option<String> {
        let streams: Vec<&String> = self.meetings[n as usize].streams.iter().collect();
        let count = streams.len() as u64;
        (count > 0).then(|| streams[self.random.below(count) as usize].clone())
    }

    fn stop_stream(&mut self, n: u64, stream: &str, reason: i64) {
        self.meetings[n as usize].streams.remove(stream);
        let id = (!self.random.one_in(4)).then(|| uuid(n));
        let stopped = StreamStopped {
            product: Product::Meeting,
            id,
            stream_id: stream.to_owned(),
            stop_reason: Some(reason),
        };
        self.happens(n, ZoomEventKind::StreamStopped(stopped));
    }

    fn change_stream(&mut self, n: u64) {
        let Some(stream) = self.some_stream(n) else {
            return;
        };
        match self.random.below(6) {
            0 => {
                let kind = self.started(n, &stream);
                self.happens(n, kind);
            }
            1 => {
                let interrupted = StreamInterrupted {
                    product: Product::Meeting,
                    id: Some(uuid(n)),
                    stream_id: stream,
                    server_urls: Vec::new(),
                };
                self.happens(n, ZoomEventKind::StreamInterrupted(interrupted));
            }
            _ => {
                let reason = REASONS[self.random.below(REASONS.len() as u64) as usize];
                self.stop_stream(n, &stream, reason);
                // It stops and starts again under the same id.
                if self.random.one_in(5) {
                    self.meetings[n as usize].streams.insert(stream.clone());
                    let kind = self.started(n, &stream);
                    self.happens(n, kind);
                }
            }
        }
    }

    // Deliveries to the coordinator.

    fn tell(&mut self) {
        let number = match self.told.is_empty() || !self.random.one_in(5) {
            true if self.to_tell.is_empty() => return,
            true => {
                let most = self.to_tell.len().min(4) as u64;
                let at = self.random.below(most) as usize;
                let told = self.to_tell.remove(at);
                self.told.push(told);
                self.told.len() - 1
            }
            // Delivered again.
            false => self.random.below(self.told.len() as u64) as usize,
        };
        self.hear(number);
        if self.nodes.len() > 1 && self.random.one_in(3) {
            self.repeat_elsewhere(number);
        }
    }

    /// A webhook that a node has acted on while it had the meeting is repeated there, after the meeting has
    /// moved.
    fn repeat_elsewhere(&mut self, number: usize) {
        let told = self.told[number].clone();
        let at = 1 - self.owners[told.meeting as usize];
        if !self.nodes[at].heard.contains(&number) {
            return;
        }
        let event = ZoomEvent {
            event_ts_ms: told.ts,
            event: told.kind.clone(),
        };
        let actions = self.nodes[at]
            .coordinator
            .handle_zoom_event(self.now, event);
        for action in &actions {
            let begins = matches!(action, Action::CallRest(_) | Action::Start(_));
            assert!(
                !begins,
                "a repeated webhook begins {action:?}: {:?}",
                told.kind
            );
        }
        self.apply(at, actions);
    }

    fn hear(&mut self, number: usize) {
        let told = self.told[number].clone();
        let at = self.owners[told.meeting as usize];
        // Another node has acted on it, which came here with the meeting.
        let is_known_elsewhere = |id: &str| {
            let others = self.nodes.iter().enumerate().filter(|(of, _)| *of != at);
            let mut times = others.filter_map(|(_, node)| node.discarded.get(id));
            times.any(|(discarded, _)| told.ts <= *discarded)
        };
        let is_known_elsewhere = match &told.kind {
            ZoomEventKind::StreamStopped(stopped) => is_known_elsewhere(&stopped.stream_id),
            _ => false,
        };
        // A start of an earlier run does not count for the next one.
        if matches!(told.kind, ZoomEventKind::MeetingEnded(_)) {
            for other in &mut self.nodes {
                let id = uuid(told.meeting);
                other
                    .under_way
                    .retain(|key, _| !key.1 || key.2 == 0 || key.0 != id);
            }
        }
        let node = &mut self.nodes[at];
        node.heard.insert(number);
        let meeting = &mut self.meetings[told.meeting as usize];
        let is_present_life = told.life == meeting.lives && meeting.is_live;
        match &told.kind {
            ZoomEventKind::StreamStopped(stopped) => {
                let reason = stopped.stop_reason;
                let is_acted_on = |(at, has_run): &(u64, bool)| told.ts <= *at || !has_run;
                let id = &stopped.stream_id;
                let is_acted_on = node.discarded.get(id).is_some_and(is_acted_on);
                if reason == Some(8) && !is_acted_on && !is_known_elsewhere {
                    node.withdrawn.insert(id.clone());
                }
                // A stop without a meeting concerns one only if its stream is known.
                let is_of_people = matches!(reason, Some(1 | 2 | 8 | 23));
                let newest = self.stopped.entry(id.clone()).or_default();
                // An older stop of the same stream belongs to a run before a later start.
                let is_newest = told.ts > meeting.started_ms && told.ts >= *newest;
                *newest = told.ts.max(*newest);
                if is_present_life && is_of_people && is_newest && stopped.id.is_some() {
                    meeting.stopped_ms = meeting.stopped_ms.max(Some(told.ts));
                }
            }
            ZoomEventKind::StreamStarted(_) => {
                // Another person's start, whenever it is delivered.
                meeting.started_ms = meeting.started_ms.max(told.ts);
                meeting.stopped_ms = meeting.stopped_ms.filter(|stopped| told.ts < *stopped);
            }
            _ => {}
        }
        // If a stream or another run begins while a call is running, there may be a second call.
        if !matches!(told.kind, ZoomEventKind::StreamInterrupted(_)) {
            let id = uuid(told.meeting);
            let is_it = |key: &(String, bool, u32)| key.0 == id && key.2 == 0;
            node.overtake(is_it);
        }
        let event = ZoomEvent {
            event_ts_ms: told.ts,
            event: told.kind,
        };
        let actions = node.coordinator.handle_zoom_event(self.now, event);
        self.apply(at, actions);
    }

    fn apply(&mut self, at: usize, actions: Vec<Action>) {
        let mut without_thread = Vec::new();
        for action in actions {
            let node = &mut self.nodes[at];
            match action {
                Action::CallRest(call) => self.schedule(at, call),
                Action::Cancel { meeting } => {
                    node.waiting.retain(|key, _| key.0 != meeting);
                }
                Action::Start(plan) => {
                    let id = plan.info.stream_id.clone();
                    assert!(!plan.server_urls.is_empty(), "{id} has no server");
                    node.later.remove(&id);
                    if let Some((_, has_run)) = node.discarded.get_mut(&id) {
                        *has_run = true;
                    }
                    let before = node.threads.insert(id.clone(), None);
                    assert!(before.is_none(), "two threads of {id}");
                    let others = self.nodes.iter().enumerate().filter(|(of, _)| *of != at);
                    for (_, other) in others {
                        let runs = other.threads.contains_key(&id) && !other.leaving.contains(&id);
                        assert!(!runs, "{id} runs at two nodes");
                    }
                }
                Action::StartLater { at, stream_id } => {
                    assert!(!node.threads.contains_key(&stream_id), "{stream_id}");
                    node.later.insert(stream_id, at);
                }
                Action::FailOver { stream_id, .. } | Action::Interrupted { stream_id, .. } => {
                    let is_known = node.threads.contains_key(&stream_id)
                        || node.later.contains_key(&stream_id);
                    assert!(is_known, "told to {stream_id}, which does not run");
                }
                Action::Stopped { stream_id, reason } => {
                    if let Some(told) = node.threads.get_mut(&stream_id) {
                        *told = Some(reason.0);
                    }
                }
                Action::Complete { info, .. } => {
                    let id = info.stream_id;
                    assert!(
                        !node.threads.contains_key(&id),
                        "{id} is completed and runs"
                    );
                }
                Action::HandOver { info, .. } => match node.threads.contains_key(&info.stream_id) {
                    true => drop(node.leaving.insert(info.stream_id)),
                    false => {
                        node.later.remove(&info.stream_id);
                        without_thread.push(info.stream_id);
                    }
                },
                Action::Discard(withdrawal) => {
                    let id = withdrawal.stream_id;
                    assert!(!node.threads.contains_key(&id), "{id} is deleted and runs");
                    node.withdrawn.remove(&id);
                    node.discarded.insert(id, (self.now.unix_ms, false));
                }
                Action::Deauthorized { .. } | Action::Log(..) => {}
            }
        }
        if let Some(id) = without_thread.pop() {
            let node = &mut self.nodes[at];
            let mut actions = Vec::new();
            for id in without_thread.into_iter().chain([id]) {
                let end = EndReason::HandedOver { heir: None };
                actions.extend(node.coordinator.handle_end(self.now, &id, &end));
            }
            return self.apply(at, actions);
        }
        self.check(at);
    }

    fn check(&self, at: usize) {
        let node = &self.nodes[at];
        let active: BTreeSet<String> = (node.coordinator.active())
            .map(|info| info.stream_id)
            .collect();
        let running = node.threads.keys().chain(node.later.keys());
        let running: BTreeSet<String> = running.cloned().collect();
        assert_eq!(
            active, running,
            "running threads differ from the active streams"
        );
        for (uuid, meeting) in node.coordinator.meetings.iter() {
            let has_call = |is_start| {
                let is_it = |key: &&(String, bool, u32)| key.0 == *uuid && key.1 == is_start;
                node.waiting.keys().any(|key| is_it(&key))
            };
            if meeting.is_yielded {
                assert!(!has_call(true), "{uuid} is another's, and its start waits");
            } else if meeting.stop_at_ms.is_some() && meeting.meeting_id.is_some() {
                let is_made = |key: &(String, bool, u32)| key.0 == *uuid && !key.1;
                let is_made = node.under_way.keys().any(is_made);
                assert!(
                    has_call(false) || is_made,
                    "nothing stops {uuid}: {meeting:?}"
                );
            }
        }
    }

    fn schedule(&mut self, at: usize, call: ScheduledCall) {
        let is_start = call.request.action == RestAction::Start;
        let key = (call.meeting.clone(), is_start, 0);
        let has_key = |node: &Node| {
            node.waiting.contains_key(&key) || is_start && node.under_way.contains_key(&key)
        };
        // A stop made twice is harmless, and one of an earlier time as owner may be on its way.
        let is_single = self.nodes.len() == 1;
        let has_one = self.nodes.iter().any(has_key)
            || is_single && self.nodes[at].under_way.contains_key(&key);
        assert!(!has_one, "a second call: {call:?}");
        let n: usize = call.meeting[4..].parse().expect("a number");
        if is_start {
            let stopped = self.meetings[n].stopped_ms;
            assert_eq!(stopped, None, "people stopped it: {call:?}");
        }
        match call.at <= self.now.instant {
            true => {
                self.is_alone(at, &call);
                self.nodes[at].under_way.insert(key, call)
            }
            false => self.nodes[at].waiting.insert(key, call),
        };
    }

    // A fleet.

    /// The meeting moves to the other node: planned, or because its node is thought dead.
    fn move_meeting(&mut self, n: u64) {
        if self.nodes.len() < 2 {
            return;
        }
        let (uuid, from) = (uuid(n), self.owners[n as usize]);
        let heir = format!("node{}", 1 - from);
        if self.releasing.contains(&n) || self.random.one_in(2) {
            self.releasing.insert(n);
            let actions = self.nodes[from].coordinator.release(&uuid, Some(&heir));
            self.apply(from, actions);
            if !self.nodes[from].streams_of(&uuid).is_empty() {
                return;
            }
        }
        self.releasing.remove(&n);
        let Some(export) = self.nodes[from].coordinator.export(&uuid) else {
            return;
        };
        self.moves += 1;
        let to = 1 - from;
        self.owners[n as usize] = to;
        let is_planned = self.nodes[from].streams_of(&uuid).is_empty();
        let live = self.nodes[from].coordinator.live_meeting(&uuid);
        let streams = live.map(|live| live.streams).unwrap_or_default();
        // Of the calls of a dead node one may still reach Zoom.
        self.nodes[from].waiting.retain(|key, _| key.0 != uuid);
        self.nodes[from].overtake(|key| key.0 == uuid && key.2 == 0);
        if is_planned {
            let coordinator = &mut self.nodes[from].coordinator;
            let actions = coordinator.yield_up(self.now, &uuid, &[], Some(&heir));
            self.apply(from, actions);
        } else {
            // Its threads are as good as gone.
            self.nodes[from].leaving.extend(streams.iter().cloned());
        }
        // A stop that undoes a start, from when it had the meeting before.
        self.nodes[to].overtake(|key| key.0 == uuid && key.2 == 0);
        let window = Duration::from_secs(40);
        let coordinator = &mut self.nodes[to].coordinator;
        let actions = coordinator.adopt(
            self.now,
            &uuid,
            &export,
            self.moves.into(),
            window,
            Duration::ZERO,
        );
        let has_error = |action: &Action| matches!(action, Action::Log(Severity::Error, text) if text.contains("another node"));
        assert!(!actions.iter().any(has_error), "{actions:?}");
        self.apply(to, actions);
        if !is_planned {
            let coordinator = &mut self.nodes[from].coordinator;
            let actions = coordinator.yield_up(self.now, &uuid, &streams, None);
            self.apply(from, actions);
        }
    }

    /// A hand-over that failed: its node keeps the meeting.
    fn keep_meeting(&mut self, n: u64) {
        let (uuid, at) = (uuid(n), self.owners[n as usize]);
        if self.releasing.contains(&n) && self.nodes[at].streams_of(&uuid).is_empty() {
            self.releasing.remove(&n);
            let coordinator = &mut self.nodes[at].coordinator;
            let actions = coordinator.resume_meeting(self.now, &uuid);
            self.apply(at, actions);
        }
    }

    // Ends of calls, threads and processes.

    fn call_ends(&mut self, at: usize) {
        let Some((key, call)) = self.nodes[at].under_way.pop_first() else {
            return;
        };
        let n: u64 = call.meeting[4..].parse().expect("a number");
        let is_live = self.meetings[n as usize].is_live;
        let is_possible = match key.1 {
            true => is_live && self.meetings[n as usize].streams.is_empty(),
            false => is_live && !self.meetings[n as usize].streams.is_empty(),
        };
        let is_done = is_possible && !self.random.one_in(3);
        if is_done {
            match key.1 {
                true => self.open_stream(n),
                false => {
                    while let Some(stream) = self.some_stream(n) {
                        self.stop_stream(n, &stream, 2);
                    }
                }
            }
        }
        let result = match is_done && !self.random.one_in(8) {
            true => Ok(()),
            false => {
                let classes = [
                    FailureClass::Retry,
                    FailureClass::Early,
                    FailureClass::NotPermitted,
                    FailureClass::GiveUp,
                ];
                Err(failed(classes[self.random.below(4) as usize]))
            }
        };
        let actions = (self.nodes[at].coordinator).handle_call(self.now, &call, result);
        self.apply(at, actions);
    }

    fn thread_ends(&mut self, at: usize) {
        let count = self.nodes[at].threads.len() as u64;
        if count == 0 {
            return;
        }
        let which = self.random.below(count) as usize;
        let Some((id, told)) = self.nodes[at]
            .threads
            .iter()
            .nth(which)
            .map(|(id, told)| (id.clone(), *told))
        else {
            return;
        };
        let is_leaving = self.nodes[at].leaving.contains(&id);
        let end = match told {
            _ if is_leaving && !self.random.one_in(4) => EndReason::HandedOver { heir: None },
            Some(reason) => EndReason::Stopped(StopReason(reason)),
            // Its socket learns of a stop before the webhook does.
            None => match self.stop_at_zoom(&id) {
                Some(reason) => EndReason::Stopped(StopReason(reason)),
                None => match self.random.below(4) {
                    0 => EndReason::Panicked,
                    1 => EndReason::NoResources("no file".to_owned()),
                    2 => EndReason::NothingGranted,
                    _ => return,
                },
            },
        };
        let node = &mut self.nodes[at];
        node.threads.remove(&id);
        node.leaving.remove(&id);
        if end == EndReason::Stopped(StopReason(8)) {
            node.withdrawn.insert(id.clone());
        }
        let actions = node.coordinator.handle_end(self.now, &id, &end);
        self.apply(at, actions);
    }

    /// The reason of that stream's last stop, if it is not open at Zoom.
    fn stop_at_zoom(&self, id: &str) -> Option<i64> {
        let is_open = |meeting: &Meeting| meeting.streams.contains(id);
        if self.meetings.iter().any(is_open) {
            return None;
        }
        let all = self.told.iter().chain(&self.to_tell);
        let stops = all.filter_map(|told| match &told.kind {
            ZoomEventKind::StreamStopped(stop) if stop.stream_id == id => {
                Some((told.ts, stop.stop_reason))
            }
            _ => None,
        });
        stops.max().and_then(|(_, reason)| reason)
    }

    fn room_is_looked_for(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let due = (node.later.iter()).find(|(_, at)| **at <= self.now.instant);
        if let Some(id) = due.map(|(id, _)| id.clone()) {
            node.later.remove(&id);
            let actions = node.coordinator.start_again(self.now, &id);
            self.apply(at, actions);
        }
    }

    fn restart(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let changes = node.coordinator.take_changes();
        let next = Coordinator::from_json(self.settings.clone(), &node.snapshot);
        let mut next = next.expect("our own JSON");
        if let Some(changes) = changes {
            next.apply_changes(&changes).expect("our own JSON");
        }
        let [left, found] = [&node.coordinator, &next].map(essence);
        assert_eq!(
            left, found,
            "the saved state differs from the state before the restart"
        );
        node.snapshot = next.to_json();
        node.coordinator = next;
        node.threads.clear();
        node.leaving.clear();
        node.later.clear();
        node.waiting.clear();
        let owners = self.owners.iter().enumerate();
        let own = owners.filter(|(_, owner)| **owner == at);
        for (n, _) in own {
            self.releasing.remove(&(n as u64));
            // A process does not know since when it has the meeting.
            for other in &mut self.nodes {
                other
                    .under_way
                    .retain(|key, _| !key.1 || key.2 == 0 || key.0 != uuid(n as u64));
            }
        }
        // Some of the calls had reached Zoom.
        while let Some((key, call)) = self.nodes[at].under_way.pop_first() {
            let n: u64 = call.meeting[4..].parse().expect("a number");
            if key.1 && self.random.one_in(2) && self.meetings[n as usize].streams.is_empty() {
                self.open_stream(n);
            }
        }
        let actions = self.nodes[at].coordinator.resume(self.now);
        self.apply(at, actions);
    }

    fn reload(&mut self) {
        self.settings.auto_start = !self.random.one_in(4);
        for at in 0..self.nodes.len() {
            let settings = self.settings.clone();
            let actions = self.nodes[at].coordinator.reload(self.now, settings);
            self.apply(at, actions);
        }
    }

    fn some_node(&mut self) -> usize {
        match self.nodes.len() {
            1 => 0,
            count => self.random.below(count as u64) as usize,
        }
    }

    fn step(&mut self) {
        let n = self.random.below(MEETINGS);
        let at = self.some_node();
        if self.nodes.len() > 1 && self.random.one_in(6) {
            return match self.random.one_in(5) {
                true => self.keep_meeting(n),
                false => self.move_meeting(n),
            };
        }
        match self.random.below(32) {
            0..=1 => self.begin(n),
            2..=3 => self.join(n),
            4 => self.end(n),
            5 => self.open_stream(n),
            6..=8 => self.change_stream(n),
            9..=16 => self.tell(),
            17..=20 => self.call_ends(at),
            21..=24 => self.thread_ends(at),
            25 => self.room_is_looked_for(at),
            26 => self.restart(at),
            27 => self.reload(),
            28 => self.pass(300_000),
            _ => self.pass(3_000),
        }
    }

    /// Delivers everything, and ends all calls and threads.
    fn settle(&mut self) {
        for n in 0..MEETINGS {
            self.end(n);
        }
        while !self.to_tell.is_empty() {
            let told = self.to_tell.remove(0);
            self.told.push(told);
            self.hear(self.told.len() - 1);
        }
        for _ in 0..10_000 {
            let is_quiet = |node: &Node| {
                node.threads.is_empty()
                    && node.later.is_empty()
                    && node.waiting.is_empty()
                    && node.under_way.is_empty()
            };
            if self.nodes.iter().all(is_quiet) {
                return;
            }
            self.pass(2_000);
            for at in 0..self.nodes.len() {
                self.call_ends(at);
                self.room_is_looked_for(at);
                self.thread_ends(at);
            }
            while let Some(told) = self.to_tell.pop() {
                self.told.push(told);
                self.hear(self.told.len() - 1);
            }
        }
        let node = self.nodes.iter().find(|node| !node.threads.is_empty());
        let node = node.unwrap_or(&self.nodes[0]);
        panic!(
            "it never ends: threads {:?}, waiting {:?}, under way {:?}",
            node.threads, node.waiting, node.under_way
        );
    }
}

impl Node {
    /// Something overtook the calls that are on their way: there may be a second one.
    fn overtake(&mut self, is_it: impl Fn(&(String, bool, u32)) -> bool) {
        let keys: Vec<_> = self
            .under_way
            .keys()
            .filter(|key| is_it(key))
            .cloned()
            .collect();
        for key in keys {
            if let Some(call) = self.under_way.remove(&key) {
                self.under_way.insert((key.0, key.1, call.number), call);
            }
        }
    }
}

fn play(seed: u64, nodes: usize) -> u32 {
    let mut world = World::new(seed, nodes);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    for node in &world.nodes {
        let kept = &node.withdrawn;
        assert!(kept.is_empty(), "withdrawn and not deleted: {kept:?}");
    }
    world.moves
}

#[test]
fn conditions_hold_in_random_accounts() {
    play_all(1);
}

#[test]
fn conditions_hold_while_meetings_move_between_two_nodes() {
    let moves = play_all(2);
    assert!(moves > 0, "no meeting has moved");
}

#[expect(clippy::print_stderr, reason = "a failing test must print its seed")]
fn play_all(nodes: usize) -> u32 {
    let number = |key| std::env::var(key).ok().map(|n| n.parse().expect(key));
    let seeds = match number("RTMSD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RTMSD_SEEDS").unwrap_or(1000),
    };
    let mut moves = 0;
    for seed in seeds {
        match std::panic::catch_unwind(|| play(seed, nodes)) {
            Ok(moved) => moves += moved,
            Err(panic) => {
                eprintln!("replay with RTMSD_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    moves
}
