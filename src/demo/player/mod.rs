//! One meeting of the demo and its stream: connections, steps so far, and what follows.
//!
//! The sockets are on threads of their own (`signaling`, `media`); they report here and receive
//! commands through their queues. Nothing here blocks.

pub(crate) mod content;
pub(crate) mod faults;
pub(crate) mod handle;
pub(crate) mod lifecycle;
pub(crate) mod media_side;
pub(crate) mod progress;
pub(crate) mod script;
pub(crate) mod signaling_side;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::demo::media::sent_log::Sent;
use crate::demo::zoom::connection_queue::{Callback, Command, ConnectionQueue};
use crate::demo::zoom::link::Gone;
use crate::demo::zoom::oauth::random;
use crate::demo::zoom::record::{Step, left, lock, unix_ms};
use crate::demo::zoom::shared::Shared;
use crate::demo::zoom::webhook_bodies;
use content::{Phrase, id_value, phrase};
use script::{
    Begin, Cut, DemoProduct, Duplicates, End, Ending, Fault, HandshakeFault, MeetingScript,
    Refusal, SentDetail, Socket, Speaker,
};

/// The media type `all`.
pub(in crate::demo) const ALL: u32 = 32;
/// The media type of audio.
pub(in crate::demo) const AUDIO: u32 = 1;
/// The media type of transcripts.
pub(in crate::demo) const TRANSCRIPT: u32 = 8;
/// The media types with their names in message 2 and the status for "not granted".
const TYPES: [(u32, &str, i64); 5] = [
    (1, "audio", 9),
    (2, "video", 10),
    (4, "deskshare", 11),
    (8, "transcript", 12),
    (16, "chat", 13),
];

/// How long a client may take to read about an end before its sockets are closed anyway.
const TELL_MAX: Duration = Duration::from_secs(5);

pub(in crate::demo) struct Meeting {
    pub(in crate::demo) script: MeetingScript,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_live: bool,
    is_host_there: bool,
    is_starting: bool,
    steps: Vec<(Step, Instant)>,
    stream: Option<Stream>,
    streams: Vec<String>,
    refusals: VecDeque<(Socket, Refusal)>,
    listeners: BTreeMap<Socket, HandshakeFault>,
    talk: Talk,
    /// Number of packets of each audio series so far.
    audio_reached: Vec<u64>,
    /// How many packets of each series are to be sent again.
    audio_replay: u64,
    audio_replayed: u64,
    media_sent: Vec<Sent>,
}

/// The progress of the transcript. It belongs to the meeting and continues after reconnects.
#[derive(Default)]
struct Talk {
    /// When phrase 0 was due, monotonic and in Unix milliseconds.
    begun: Option<(Instant, u64)>,
    /// The first phrase that the sending kernel has not yet accepted.
    next: u64,
    sent: Vec<Phrase>,
    sent_count: u64,
    recent: VecDeque<(u64, Instant)>,
    replay: VecDeque<u64>,
    replayed: u64,
    is_done: bool,
}

/// Where a series of phrases starts or continues.
pub(in crate::demo) struct Cue {
    pub(in crate::demo) begun: Instant,
    pub(in crate::demo) base_ms: u64,
    pub(in crate::demo) next: u64,
    pub(in crate::demo) replay: VecDeque<u64>,
}

struct Stream {
    id: String,
    session_id: String,
    event_ts: u64,
    generation: u32,
    ended: Option<i64>,
    signaling: Option<Line>,
    media: BTreeMap<u32, Line>,
    was_signaled: bool,
    was_ready: bool,
    is_first_told: bool,
    is_joined: bool,
    is_closed: bool,
    subscribed: BTreeSet<u64>,
    /// The participants whose camera was subscribed to, in order.
    cameras: Vec<u64>,
    /// Events sent: number and timestamp.
    told: Vec<(u64, u64)>,
    /// Media accepted since the last CLIENT_READY_ACK.
    unready: BTreeSet<u32>,
    readies: u32,
    losses: u32,
    /// Incremented whenever a wait of that kind starts or ends; a timer with another number has no
    /// effect.
    signaling_wait: u64,
    media_wait: u64,
}

struct Line {
    connection: u64,
    mailbox: ConnectionQueue,
    generation: u32,
    is_stalled: bool,
    /// Cut by us: a reconnect may overlap with the rest of it.
    is_cut: bool,
}

impl Meeting {
    pub(in crate::demo) fn new(script: MeetingScript) -> Meeting {
        let state = State {
            is_live: true,
            is_host_there: !script.odd.awaits_host,
            is_starting: false,
            steps: Vec::new(),
            stream: None,
            streams: Vec::new(),
            refusals: script.refusals.iter().cloned().collect(),
            listeners: BTreeMap::from([
                (Socket::Signaling, script.signaling_door),
                (Socket::Media, script.media_door),
            ]),
            talk: Talk::default(),
            audio_reached: Vec::new(),
            audio_replay: 0,
            audio_replayed: 0,
            media_sent: Vec::new(),
        };
        Meeting {
            script,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    // Read by tests and by the result table.

    pub(in crate::demo) fn step(&self, step: Step) {
        self.lock().steps.push((step, Instant::now()));
        self.changed.notify_all();
    }

    pub(in crate::demo) fn steps(&self) -> Vec<(Step, Instant)> {
        self.lock().steps.clone()
    }

    /// Waits until the condition is true; `false` if it was not in time. Checked after every step
    /// and every phrase.
    pub(in crate::demo) fn wait(
        &self,
        within: Duration,
        is_so: impl Fn(&Look<'_>) -> bool,
    ) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if is_so(&Look { state: &state }) {
                return true;
            }
            let left = left(until);
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(in crate::demo) fn look<T>(&self, read: impl FnOnce(&Look<'_>) -> T) -> T {
        read(&Look {
            state: &self.lock(),
        })
    }

    pub(in crate::demo) fn is_live(&self) -> bool {
        self.lock().is_live
    }

    pub(in crate::demo) fn is_host_there(&self) -> bool {
        self.lock().is_host_there
    }

    pub(in crate::demo) fn set_door(&self, socket: Socket, door: HandshakeFault) {
        self.lock().listeners.insert(socket, door);
    }
}

impl State {
    fn live_stream(&mut self, id: &str) -> Result<&mut Stream, Refusal> {
        self.stream
            .as_mut()
            .filter(|stream| stream.id == id && stream.ended.is_none())
            .ok_or(Refusal::Status(2))
    }

    fn next_refusal(&mut self, socket: Socket) -> Option<Refusal> {
        let place = self.refusals.iter().position(|(of, _)| *of == socket)?;
        self.refusals.remove(place).map(|(_, refusal)| refusal)
    }

    /// A media socket is lost: what was sent shortly before is to be sent again.
    fn note_loss(&mut self, media_type: u32, script: &MeetingScript) {
        if let Some(audio) = script
            .audio
            .filter(|_| media_type == AUDIO || media_type == ALL)
        {
            let packets = script
                .replay
                .as_nanos()
                .checked_div(audio.interval.as_nanos());
            self.audio_replay = packets.unwrap_or(0) as u64;
        }
        if media_type != TRANSCRIPT && media_type != ALL {
            return;
        }
        let now = Instant::now();
        let talk = &mut self.talk;
        let recent = std::mem::take(&mut talk.recent);
        talk.replay.extend(
            recent
                .into_iter()
                .filter(|(_, at)| now.duration_since(*at) <= script.replay)
                .map(|(index, _)| index),
        );
    }

    /// Notes that an ended stream has no open socket.
    fn settle(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.ended.is_some()
            && !stream.is_closed
            && stream.signaling.is_none()
            && stream.media.is_empty()
        {
            stream.is_closed = true;
            self.steps.push((Step::Closed, Instant::now()));
        }
    }
}

impl Stream {
    fn tell(&mut self, message: Value) {
        if let Some(line) = &self.signaling {
            let event = &message["event"];
            let stamp = event["timestamp"].as_u64().or(event["event_ts"].as_u64());
            if let (Some(number), Some(stamp_ms)) = (event["event_type"].as_u64(), stamp) {
                self.told.push((number, stamp_ms));
            }
            line.mailbox.post(Command::Send(message));
        }
    }

    fn post_all(&self, command: &dyn Fn() -> Command) {
        for line in self.signaling.iter().chain(self.media.values()) {
            line.mailbox.post(command());
        }
    }

    /// `false` if there is none.
    fn each(&mut self, socket: Socket, mut act: impl FnMut(&mut Line)) -> bool {
        match socket {
            Socket::Signaling => match &mut self.signaling {
                Some(line) => {
                    act(line);
                    true
                }
                None => false,
            },
            Socket::Media => {
                self.media.values_mut().for_each(act);
                !self.media.is_empty()
            }
        }
    }
}

impl Line {
    /// A newer connection replaces this one. It is a violation of the client only if nothing of
    /// ours gave it a reason to reconnect.
    fn displace(&self, generation: u32) {
        let should_be_gone = self.generation == generation && !self.is_stalled && !self.is_cut;
        self.mailbox.post(Command::Displace(should_be_gone));
    }
}

/// The parts of a meeting that may be read under its lock.
pub(in crate::demo) struct Look<'a> {
    state: &'a State,
}

impl Look<'_> {
    pub(in crate::demo) fn count(&self, step: Step) -> usize {
        self.state.steps.iter().filter(|(s, _)| *s == step).count()
    }

    pub(in crate::demo) fn sent_count(&self) -> u64 {
        self.state.talk.sent_count
    }

    pub(in crate::demo) fn sent(&self) -> Vec<Phrase> {
        self.state.talk.sent.clone()
    }

    pub(in crate::demo) fn replayed(&self) -> u64 {
        self.state.talk.replayed
    }

    pub(in crate::demo) fn audio_reached(&self) -> Vec<u64> {
        self.state.audio_reached.clone()
    }

    pub(in crate::demo) fn audio_replayed(&self) -> u64 {
        self.state.audio_replayed
    }

    pub(in crate::demo) fn media_sent(&self) -> Vec<Sent> {
        let told = self.state.stream.iter().flat_map(|stream| &stream.told);
        let events = told.map(|&(number, stamp_ms)| Sent::Event { number, stamp_ms });
        self.state
            .media_sent
            .iter()
            .copied()
            .chain(events)
            .collect()
    }

    pub(in crate::demo) fn streams(&self) -> Vec<String> {
        self.state.streams.clone()
    }

    pub(in crate::demo) fn subscribed(&self) -> Vec<u64> {
        let stream = self.state.stream.as_ref();
        stream.map_or(Vec::new(), |s| s.subscribed.iter().copied().collect())
    }

    pub(in crate::demo) fn cameras(&self) -> Vec<u64> {
        let stream = self.state.stream.as_ref();
        stream.map_or(Vec::new(), |stream| stream.cameras.clone())
    }

    /// The stop reason of the current stream, if it has ended.
    pub(in crate::demo) fn stop_reason(&self) -> Option<i64> {
        self.state.stream.as_ref()?.ended
    }
}
