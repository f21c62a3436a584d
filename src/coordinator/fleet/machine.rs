//! The machine itself: its inputs, its calls under way, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::beat::Beats;
use super::broadcast::Broadcast;
use super::call::{Call, Message, Reply, Tail};
use super::counts::Counts;
use super::events::Events;
use super::face::{
    CallId, Config, Incoming, Kind, Left, MeetingState, NodeState, Output, StreamState,
};
use super::find::Finding;
use super::handover::Drain;
use super::meetings::{Event, Held, Meeting, Origin};
use super::queue::Queues;
use super::record::StreamPhase;
use super::store_down::Losses;
use super::takeover::{Pace, Takeover};
use super::view::View;
use crate::domain::severity::Severity;

/// Calls under way at most, apart from the beat.
pub const CALLS_MAX: usize = 64;

/// A call without a reply after this time has failed. The store's thread answers sooner.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Events that wait at most, in all and for one meeting. What comes beyond is given to the own coordinator.
pub const EVENTS_MAX: usize = 4096;
pub const EVENTS_OF_MEETING_MAX: usize = 64;

/// How often waiting things are looked at.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// A node's part in the fleet.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) beats: Beats,
    pub(super) view: View,
    /// Boxed, because a map allocates room for more than it holds.
    pub(super) meetings: BTreeMap<String, Box<Meeting>>,
    /// The meeting of each stream that is held.
    pub(super) streams: BTreeMap<String, String>,
    /// Events that name only a stream which is not ours.
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) takeovers: BTreeMap<String, Takeover>,
    pub(super) pace: Pace,
    pub(super) broadcasts: VecDeque<Broadcast>,
    pub(super) next_broadcast: u64,
    pub(super) losses: Losses,
    pub(super) drain: Option<Drain>,
    pub(super) counts: Counts,
    pub(super) events: Events,
    /// Events that wait, of all kinds.
    pub(super) waiting: usize,
    /// Whether the limit was told.
    pub(super) is_full_told: bool,
    calls: BTreeMap<CallId, Asked>,
    next_call: u64,
    /// The store has answered since the last failure. Without that only beats are sent.
    is_store_up: bool,
    /// Meetings that need a call and may make it when another has ended.
    ready: VecDeque<String>,
    /// Meetings that need something.
    pub(super) busy: BTreeSet<String>,
    /// When waiting things were last looked at.
    ticked: Instant,
    pub(super) queues: Queues,
    pub(super) outputs: VecDeque<Output>,
}

/// A call under way.
#[derive(Debug)]
struct Asked {
    about: Subject,
    at: Instant,
    call: Call,
}

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Beat,
    Meeting(String),
    Stream(String),
    /// What a dead node, or an earlier process of ours, has left.
    DeadNode(String),
    Removal(String),
    Broadcast(u64, String),
    OwnRow,
}

impl Machine {
    /// A node that joins. `left` are the live meetings of its state directory: they are neither resumed nor
    /// served until the machine says so.
    pub fn new(now: Instant, config: Config, left: Vec<Left>) -> Machine {
        let view = View::new(config.me.clone(), config.layout, config.must.clone());
        let events = Events::new(config.events.clone());
        let mut machine = Machine {
            beats: Beats::new(now),
            view,
            config,
            meetings: BTreeMap::new(),
            streams: BTreeMap::new(),
            findings: BTreeMap::new(),
            takeovers: BTreeMap::new(),
            pace: Pace::default(),
            broadcasts: VecDeque::new(),
            next_broadcast: 0,
            losses: Losses::default(),
            drain: None,
            counts: Counts::default(),
            events,
            waiting: 0,
            is_full_told: false,
            calls: BTreeMap::new(),
            next_call: 0,
            is_store_up: false,
            ready: VecDeque::new(),
            busy: BTreeSet::new(),
            ticked: now,
            queues: Queues::default(),
            outputs: VecDeque::new(),
        };
        for left in left {
            machine.add_left(left);
        }
        machine.handle_timeout(now);
        machine
    }

    fn add_left(&mut self, left: Left) {
        let lost = |stream_id: &String| StreamState {
            stream_id: stream_id.clone(),
            phase: StreamPhase::Lost,
            is_refused: false,
        };
        for stream in &left.streams {
            self.streams.insert(stream.clone(), left.meeting.clone());
        }
        let meeting = self.meetings.entry(left.meeting.clone()).or_default();
        meeting.held = Some(Held {
            epoch: left.epoch,
            streams: left.streams.iter().map(lost).collect(),
            entry: Some(left.entry),
            is_entry_new: true,
            is_left: true,
            version: 1,
            ..Held::default()
        });
        self.busy.insert(left.meeting);
    }

    /// An event from the own listener, the event WebSocket or the intent log. It is settled by one
    /// [`Output::Settle`] in the end.
    pub fn handle_event(&mut self, now: Instant, event: Incoming) {
        let origin = Origin::Intent(event.number);
        let event = Event::new(now, origin, event.about, event.body);
        match event.about.kind {
            Kind::Local => self.deliver(event),
            Kind::Everyone => self.tell_everyone(now, event),
            _ => self.take_in(now, event),
        }
        self.pump(now);
    }

    /// The store's answer.
    pub fn handle_reply(&mut self, now: Instant, id: CallId, reply: Reply) {
        // One that came too late was counted as failed.
        let Some(asked) = self.calls.remove(&id) else {
            return;
        };
        self.handle_answer(now, asked, reply);
        self.pump(now);
    }

    fn handle_answer(&mut self, now: Instant, asked: Asked, reply: Reply) {
        if reply == Reply::Failed {
            self.is_store_up &= asked.about == Subject::Beat;
            self.beats.has_failed = true;
        }
        self.counts.note(&self.config.me, &asked.call, &reply);
        match asked.about {
            Subject::Beat => self.beat_done(now, reply),
            Subject::Meeting(meeting) => self.meeting_answered(now, &meeting, asked.call, reply),
            Subject::Stream(stream) => self.stream_found(now, &stream, reply),
            Subject::DeadNode(node) => self.dead_answered(now, &node, reply),
            Subject::Removal(node) => self.removed(&node, &asked.call, &reply),
            Subject::Broadcast(number, node) => self.broadcast_done(now, number, &node, &reply),
            Subject::OwnRow => self.row_removed(now),
        }
    }

    /// There is a new connection to the store: what it took since the last good beat it may have lost.
    pub fn handle_connected(&mut self) {
        self.beats.has_failed = true;
    }

    /// The coordinator follows a newer start of a stream: a first one, or another server's. To be said before the
    /// change in the meeting. A start that comes again is none.
    pub fn handle_newer_start(&mut self, now: Instant, stream_id: &str) {
        self.follow_start(now, stream_id);
    }

    /// What the coordinator has of a meeting has changed.
    pub fn meeting_is(&mut self, now: Instant, state: MeetingState) {
        self.state_changed(now, state);
        self.pump(now);
    }

    /// The sockets of a meeting are closed, see [`Output::Release`].
    pub fn handle_released(
        &mut self,
        now: Instant,
        meeting: &str,
        entry: Vec<u8>,
        tails: Vec<(String, Tail)>,
    ) {
        self.released(now, meeting, entry, tails);
        self.pump(now);
    }

    /// Consent was withdrawn: the other nodes delete their files of the stream, too. To be repeated by the
    /// next process until the coordinator no longer knows of it.
    pub fn withdraw(&mut self, now: Instant, stream_id: &str, withdrawal: Vec<u8>) {
        let stream_id = stream_id.to_owned();
        self.broadcast(
            Message::Discard {
                stream_id,
                withdrawal,
            },
            None,
        );
        self.pump(now);
    }

    /// The time of [`Machine::due`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late: Vec<CallId> = (self.calls.iter())
            .filter(|(_, asked)| now.saturating_duration_since(asked.at) >= CALL_MAX)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(asked) = self.calls.remove(&id) {
                self.handle_answer(now, asked, Reply::Failed);
            }
        }
        self.beat_if_due(now);
        self.tell_if_unsure(now);
        if now.saturating_duration_since(self.ticked) >= TICK {
            self.ticked = now;
            self.tick(now);
        }
        self.pump(now);
    }

    fn tick(&mut self, now: Instant) {
        let busy: Vec<String> = self.busy.iter().cloned().collect();
        for meeting in busy {
            self.step(now, &meeting);
        }
        let streams: Vec<String> = self.findings.keys().cloned().collect();
        for stream in streams {
            self.find(now, &stream);
        }
        self.count_late(now);
        self.try_lost(now);
        self.take_over(now);
        self.drain_some(now);
        self.send_broadcasts(now);
        self.send_removals(now);
    }

    /// Makes the calls that waited for others to end.
    pub(super) fn pump(&mut self, now: Instant) {
        while self.can_ask(now)
            && let Some(meeting) = self.ready.pop_front()
        {
            self.step(now, &meeting);
        }
    }

    /// Gives all meetings away, then removes the row.
    pub fn drain(&mut self, now: Instant) {
        self.begin_drain(now);
        self.pump(now);
    }

    /// `RTMS_NODE_STREAMS` was changed.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.config.capacity = capacity;
    }

    /// What is to be done next. To be called until there is nothing, after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::handle_timeout`] is due.
    pub fn due(&self) -> Instant {
        let has_work = !self.busy.is_empty()
            || !self.findings.is_empty()
            || !self.takeovers.is_empty()
            || !self.broadcasts.is_empty()
            || !self.queues.removals.is_empty()
            || self.drain.is_some()
            || self.beats.is_told();
        let beat = self.beats.due();
        match has_work {
            true => beat.min(self.ticked + TICK),
            false => beat,
        }
    }

    /// The epoch of a meeting that is held; 0 if the store has not heard of it yet.
    pub fn epoch(&self, meeting: &str) -> Option<u64> {
        let held = self.meetings.get(meeting)?.held.as_ref()?;
        Some(held.epoch)
    }

    /// What this node is in the fleet.
    pub fn node_state(&self, now: Instant) -> NodeState {
        match &self.drain {
            Some(drain) if drain.is_gone => NodeState::Gone,
            Some(_) => NodeState::Draining,
            None => self.beats.state(now),
        }
    }

    /// All nodes, as the last good beat showed them.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// `RTMS_NODE`.
    pub fn name(&self) -> &str {
        &self.config.me.node
    }

    /// The meetings that this node has.
    pub fn held(&self) -> impl Iterator<Item = &String> {
        let held = self
            .meetings
            .iter()
            .filter(|(_, meeting)| meeting.held.is_some());
        held.map(|(id, _)| id)
    }

    /// Whether another node has the record of a meeting of which we receive a stream.
    pub fn has_rival(&self, meeting: &str) -> bool {
        let held = self.meetings.get(meeting).and_then(|m| m.held.as_ref());
        held.is_some_and(|held| held.rival.is_some())
    }

    /// Events that wait for the store or for another node.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    // What the other files use.

    pub(super) fn log(&mut self, severity: Severity, text: String) {
        self.outputs.push_back(Output::Log(severity, text));
    }

    /// Whether a call may be made now.
    pub(super) fn can_ask(&self, now: Instant) -> bool {
        self.is_store_there(now) && self.calls.len() < CALLS_MAX
    }

    /// Whether the store answers, as far as known.
    pub(super) fn is_store_there(&self, now: Instant) -> bool {
        self.is_store_up && !self.beats.is_unsure(now) && self.beats.has_joined()
    }

    /// The store has answered a beat.
    pub(super) fn store_is_up(&mut self, now: Instant) {
        self.is_store_up = true;
        let busy: Vec<String> = self.busy.iter().cloned().collect();
        for meeting in busy {
            self.step(now, &meeting);
        }
    }

    pub(super) fn ask(&mut self, now: Instant, about: Subject, call: Call) -> CallId {
        self.next_call += 1;
        let id = CallId(self.next_call);
        let asked = Asked {
            about,
            at: now,
            call: call.clone(),
        };
        self.calls.insert(id, asked);
        self.outputs.push_back(Output::Call(id, call));
        id
    }

    /// Whether such a call is under way.
    pub(super) fn is_asked(&self, about: &Subject) -> bool {
        self.calls.values().any(|asked| asked.about == *about)
    }

    /// Makes the one call of a meeting, or lets it wait its turn. `true` if it was made.
    pub(super) fn ask_for(&mut self, now: Instant, id: &str, call: Call) -> bool {
        if !self.can_ask(now) {
            if self.is_store_there(now) && self.ready.len() < self.meetings.len() {
                self.ready.push_back(id.to_owned());
            }
            return false;
        }
        let call = self.ask(now, Subject::Meeting(id.to_owned()), call);
        if let Some(meeting) = self.meetings.get_mut(id) {
            meeting.call = Some(call);
        }
        true
    }

    /// Notes whether a meeting needs something, and forgets it if it is nothing.
    pub(super) fn note(&mut self, id: &str) {
        let Some(meeting) = self.meetings.get(id) else {
            self.busy.remove(id);
            return;
        };
        match meeting.has_needs() {
            true => self.busy.insert(id.to_owned()),
            false => self.busy.remove(id),
        };
        if meeting.is_nothing() {
            self.meetings.remove(id);
            self.is_confirmed(id);
        }
    }

    /// Claims that are to make a meeting ours.
    pub(super) fn wishes(&self) -> usize {
        let busy = self.busy.iter().filter_map(|id| self.meetings.get(id));
        busy.filter(|meeting| meeting.wish.is_some()).count()
    }
}
