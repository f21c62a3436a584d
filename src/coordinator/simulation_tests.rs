//! A seeded simulation of an account: meetings that begin, end and begin again, people who start and stop
//! streams, webhooks that are late, repeated and out of order, calls that fail, threads that end,
//! processes that are killed; with the conditions that must always hold.
//!
//! A failure prints its seed; `RTMSD_SEED` replays one, `RTMSD_SEEDS` says how many to play instead of
//! 1,000.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{T0, failed, settings, stream_of};
use super::*;
use crate::domain::product::Product;
use crate::domain::rest::FailureClass;
use crate::domain::zoom_event::{MeetingInfo, ParticipantJoined, StreamInterrupted, StreamStopped};
use crate::protocol::EndReason;
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
    coordinator: Coordinator,
    snapshot: Vec<u8>,
    settings: Settings,
    now: Now,
    meetings: Vec<Meeting>,
    next_stream: u32,
    to_tell: Vec<Told>,
    told: Vec<Told>,
    /// Streams whose thread runs, and the stop reason that the thread was given.
    threads: BTreeMap<String, Option<i64>>,
    /// Streams that wait for capacity.
    later: BTreeMap<String, Instant>,
    /// Calls that wait for their time, and those that are on their way, by meeting and action; the
    /// number of one that something overtook stands behind.
    waiting: BTreeMap<(String, bool, u32), ScheduledCall>,
    under_way: BTreeMap<(String, bool, u32), ScheduledCall>,
    /// Streams whose withdrawal of consent was delivered but not acted on.
    withdrawn: BTreeSet<String>,
    /// Stamps of the newest stops that were delivered, by stream.
    stopped: BTreeMap<String, u64>,
    /// When streams were deleted last, and whether they have run since.
    discarded: BTreeMap<String, (u64, bool)>,
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
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let settings = Settings {
            stop_after: random.one_in(4).then(|| Duration::from_secs(30)),
            participant_user_id: random.one_in(3).then(|| "named".to_owned()),
            app: None,
            ..settings()
        };
        World {
            random,
            coordinator: Coordinator::new(settings.clone()),
            snapshot: Coordinator::new(settings.clone()).to_json(),
            settings,
            now: Now {
                instant: Instant::now(),
                unix_ms: T0,
            },
            meetings: (0..MEETINGS).map(|_| Meeting::default()).collect(),
            next_stream: 0,
            to_tell: Vec::new(),
            told: Vec::new(),
            threads: BTreeMap::new(),
            later: BTreeMap::new(),
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            stopped: BTreeMap::new(),
            discarded: BTreeMap::new(),
        }
    }

    fn pass(&mut self, most_ms: u64) {
        let time = Duration::from_millis(self.random.below(most_ms));
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
        let due: Vec<_> = (self.waiting.iter())
            .filter(|(_, call)| call.at <= self.now.instant)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if let Some(call) = self.waiting.remove(&key) {
                self.under_way.insert(key, call);
            }
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
        let told = match self.told.is_empty() || !self.random.one_in(5) {
            true if self.to_tell.is_empty() => return,
            true => {
                let most = self.to_tell.len().min(4) as u64;
                let at = self.random.below(most) as usize;
                let told = self.to_tell.remove(at);
                self.told.push(told.clone());
                told
            }
            // Delivered again.
            false => self.told[self.random.below(self.told.len() as u64) as usize].clone(),
        };
        self.hear(told);
    }

    fn hear(&mut self, told: Told) {
        let meeting = &mut self.meetings[told.meeting as usize];
        let is_present_life = told.life == meeting.lives && meeting.is_live;
        match &told.kind {
            ZoomEventKind::StreamStopped(stopped) => {
                let reason = stopped.stop_reason;
                let is_acted_on = |(at, has_run): &(u64, bool)| told.ts <= *at || !has_run;
                let id = &stopped.stream_id;
                if reason == Some(8) && !self.discarded.get(id).is_some_and(is_acted_on) {
                    self.withdrawn.insert(id.clone());
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
        let event = ZoomEvent {
            event_ts_ms: told.ts,
            event: told.kind,
        };
        let actions = self.coordinator.handle_zoom_event(self.now, event);
        self.apply(actions);
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::CallRest(call) => self.schedule(call),
                Action::Cancel { meeting } => {
                    self.waiting.retain(|key, _| key.0 != meeting);
                }
                Action::Start(plan) => {
                    let id = plan.info.stream_id.clone();
                    assert!(!plan.server_urls.is_empty(), "{id} has no server");
                    self.later.remove(&id);
                    if let Some((_, has_run)) = self.discarded.get_mut(&id) {
                        *has_run = true;
                    }
                    let before = self.threads.insert(id.clone(), None);
                    assert!(before.is_none(), "two threads of {id}");
                }
                Action::StartLater { at, stream_id } => {
                    assert!(!self.threads.contains_key(&stream_id), "{stream_id}");
                    self.later.insert(stream_id, at);
                }
                Action::FailOver { stream_id, .. } | Action::Interrupted { stream_id, .. } => {
                    let is_known = self.threads.contains_key(&stream_id)
                        || self.later.contains_key(&stream_id);
                    assert!(is_known, "told to {stream_id}, which does not run");
                }
                Action::Stopped { stream_id, reason } => {
                    if let Some(told) = self.threads.get_mut(&stream_id) {
                        *told = Some(reason.0);
                    }
                }
                Action::Complete { info, .. } => {
                    let id = info.stream_id;
                    assert!(
                        !self.threads.contains_key(&id),
                        "{id} is completed and runs"
                    );
                }
                Action::Discard(withdrawal) => {
                    let id = withdrawal.stream_id;
                    assert!(!self.threads.contains_key(&id), "{id} is deleted and runs");
                    self.withdrawn.remove(&id);
                    self.discarded.insert(id, (self.now.unix_ms, false));
                }
                Action::Deauthorized { .. } | Action::Log(..) => {}
            }
        }
        let active: BTreeSet<String> = (self.coordinator.active())
            .map(|info| info.stream_id)
            .collect();
        let running = self.threads.keys().chain(self.later.keys());
        let running: BTreeSet<String> = running.cloned().collect();
        assert_eq!(
            active, running,
            "running threads differ from the active streams"
        );
    }

    fn schedule(&mut self, call: ScheduledCall) {
        let is_start = call.request.action == RestAction::Start;
        let key = (call.meeting.clone(), is_start, 0);
        let has_one = self.waiting.contains_key(&key) || self.under_way.contains_key(&key);
        assert!(!has_one, "a second call: {call:?}");
        let n: usize = call.meeting[4..].parse().expect("a number");
        if is_start {
            let stopped = self.meetings[n].stopped_ms;
            assert_eq!(stopped, None, "people stopped it: {call:?}");
        }
        match call.at <= self.now.instant {
            true => self.under_way.insert(key, call),
            false => self.waiting.insert(key, call),
        };
    }

    // Ends of calls, threads and processes.

    fn call_ends(&mut self) {
        let Some((key, call)) = self.under_way.pop_first() else {
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
        let actions = self.coordinator.handle_call(self.now, &call, result);
        self.apply(actions);
    }

    fn thread_ends(&mut self) {
        let count = self.threads.len() as u64;
        if count == 0 {
            return;
        }
        let at = self.random.below(count) as usize;
        let Some((id, told)) = self
            .threads
            .iter()
            .nth(at)
            .map(|(id, told)| (id.clone(), *told))
        else {
            return;
        };
        let end = match told {
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
        self.threads.remove(&id);
        if end == EndReason::Stopped(StopReason(8)) {
            self.withdrawn.insert(id.clone());
        }
        let actions = self.coordinator.handle_end(self.now, &id, &end);
        self.apply(actions);
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

    fn room_is_looked_for(&mut self) {
        let due = (self.later.iter()).find(|(_, at)| **at <= self.now.instant);
        if let Some(id) = due.map(|(id, _)| id.clone()) {
            self.later.remove(&id);
            let actions = self.coordinator.start_again(self.now, &id);
            self.apply(actions);
        }
    }

    fn restart(&mut self) {
        let changes = self.coordinator.take_changes();
        let next = Coordinator::from_json(self.settings.clone(), &self.snapshot);
        let mut next = next.expect("our own JSON");
        if let Some(changes) = changes {
            next.apply_changes(&changes).expect("our own JSON");
        }
        let [left, found] = [&self.coordinator, &next].map(essence);
        assert_eq!(
            left, found,
            "the saved state differs from the state before the restart"
        );
        self.snapshot = next.to_json();
        self.coordinator = next;
        self.threads.clear();
        self.later.clear();
        self.waiting.clear();
        // Some of the calls had reached Zoom.
        while let Some((key, call)) = self.under_way.pop_first() {
            let n: u64 = call.meeting[4..].parse().expect("a number");
            if key.1 && self.random.one_in(2) && self.meetings[n as usize].streams.is_empty() {
                self.open_stream(n);
            }
        }
        let actions = self.coordinator.resume(self.now);
        self.apply(actions);
    }

    fn reload(&mut self) {
        self.settings.auto_start = !self.random.one_in(4);
        let actions = self.coordinator.reload(self.now, self.settings.clone());
        self.apply(actions);
    }

    fn step(&mut self) {
        let n = self.random.below(MEETINGS);
        match self.random.below(32) {
            0..=1 => self.begin(n),
            2..=3 => self.join(n),
            4 => self.end(n),
            5 => self.open_stream(n),
            6..=8 => self.change_stream(n),
            9..=16 => self.tell(),
            17..=20 => self.call_ends(),
            21..=24 => self.thread_ends(),
            25 => self.room_is_looked_for(),
            26 => self.restart(),
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
            self.told.push(told.clone());
            self.hear(told);
        }
        for _ in 0..10_000 {
            let is_quiet = self.threads.is_empty()
                && self.later.is_empty()
                && self.waiting.is_empty()
                && self.under_way.is_empty();
            if is_quiet {
                return;
            }
            self.pass(2_000);
            self.call_ends();
            self.room_is_looked_for();
            self.thread_ends();
            while let Some(told) = self.to_tell.pop() {
                self.told.push(told.clone());
                self.hear(told);
            }
        }
        panic!(
            "it never ends: threads {:?}, waiting {:?}, under way {:?}",
            self.threads, self.waiting, self.under_way
        );
    }
}

fn play(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    let kept = world.withdrawn;
    assert!(kept.is_empty(), "withdrawn and not deleted: {kept:?}");
}

#[test]
#[expect(clippy::print_stderr, reason = "a failing test must print its seed")]
fn conditions_hold_in_random_accounts() {
    let number = |key| std::env::var(key).ok().map(|n| n.parse().expect(key));
    let seeds = match number("RTMSD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RTMSD_SEEDS").unwrap_or(1000),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("replay with RTMSD_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
