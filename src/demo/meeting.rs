//! One meeting of the demo and its stream: who is connected, what has happened, what follows.
//!
//! The sockets live on threads of their own (`signaling`, `media`); they report here and get
//! commands through their mailboxes. Nothing here blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::announce;
use super::content::{Phrase, id_value, phrase};
use super::link::{Command, Gone, Mailbox, Then};
use super::oauth::random;
use super::record::{Step, left, lock, unix_ms};
use super::script::{
    Begin, Cut, Door, Duplicates, End, Ending, Fault, Keep, MeetingScript, Refusal, Socket, Speaker,
};
use super::shared::Shared;

/// The media type `all`.
pub(super) const ALL: u32 = 32;
/// The media type of transcripts.
pub(super) const TRANSCRIPT: u32 = 8;
/// The media types with their names in message 2 and the status of not being granted.
const TYPES: [(u32, &str, i64); 5] = [
    (1, "audio", 9),
    (2, "video", 10),
    (4, "deskshare", 11),
    (8, "transcript", 12),
    (16, "chat", 13),
];

/// How long a client may take to learn of an end before its sockets close all the same.
const TELL_MAX: Duration = Duration::from_secs(5);

pub(super) struct Meeting {
    pub(super) script: MeetingScript,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_live: bool,
    is_starting: bool,
    steps: Vec<(Step, Instant)>,
    stream: Option<Stream>,
    streams: Vec<String>,
    refusals: VecDeque<(Socket, Refusal)>,
    doors: BTreeMap<Socket, Door>,
    talk: Talk,
    audio_sent: Vec<u64>,
}

/// How far the transcript has got. It belongs to the meeting and goes on over reconnects.
#[derive(Default)]
struct Talk {
    /// When phrase 0 was due, monotonic and in Unix milliseconds.
    begun: Option<(Instant, u64)>,
    /// The first phrase that is not with the kernel of the sending side yet.
    next: u64,
    sent: Vec<Phrase>,
    sent_count: u64,
    recent: VecDeque<(u64, Instant)>,
    replay: VecDeque<u64>,
    replayed: u64,
    is_done: bool,
}

/// Where a feed of phrases begins or goes on.
pub(super) struct Cue {
    pub(super) begun: Instant,
    pub(super) base_ms: u64,
    pub(super) next: u64,
    pub(super) replay: VecDeque<u64>,
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
    /// Media accepted since the last CLIENT_READY_ACK.
    unready: BTreeSet<u32>,
    readies: u32,
    losses: u32,
    /// Count up whenever the wait of that kind begins or ends; a timer that finds another number
    /// than its own has nothing to say.
    signaling_wait: u64,
    media_wait: u64,
}

struct Line {
    connection: u64,
    mailbox: Mailbox,
    generation: u32,
    is_stalled: bool,
    /// We cut it: a reconnect may overlap with what is left of it.
    is_cut: bool,
}

impl Meeting {
    pub(super) fn new(script: MeetingScript) -> Meeting {
        let state = State {
            is_live: true,
            is_starting: false,
            steps: Vec::new(),
            stream: None,
            streams: Vec::new(),
            refusals: script.refusals.iter().cloned().collect(),
            doors: BTreeMap::from([
                (Socket::Signaling, script.signaling_door),
                (Socket::Media, script.media_door),
            ]),
            talk: Talk::default(),
            audio_sent: Vec::new(),
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

    // What tests and the closing table read.

    pub(super) fn step(&self, step: Step) {
        self.lock().steps.push((step, Instant::now()));
        self.changed.notify_all();
    }

    pub(super) fn steps(&self) -> Vec<(Step, Instant)> {
        self.lock().steps.clone()
    }

    /// Waits until something is so; false when it was not so in time. Looked at after every step
    /// and every phrase.
    pub(super) fn wait(&self, within: Duration, is_so: impl Fn(&Look<'_>) -> bool) -> bool {
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

    pub(super) fn look<T>(&self, read: impl FnOnce(&Look<'_>) -> T) -> T {
        read(&Look {
            state: &self.lock(),
        })
    }

    pub(super) fn is_live(&self) -> bool {
        self.lock().is_live
    }

    pub(super) fn set_door(&self, socket: Socket, door: Door) {
        self.lock().doors.insert(socket, door);
    }

    // The life of the meeting and its streams.

    /// Begins as the script says.
    pub(super) fn begin(self: &Arc<Self>, shared: &Arc<Shared>) {
        match self.script.begin {
            Begin::Silent => {}
            Begin::AtOnce => {
                self.reserve_stream();
                self.open_stream(shared);
            }
            Begin::ByRest => {
                let account = &shared.options.account_id;
                if let Some(body) = announce::meeting_started(&self.script, account) {
                    let meeting = Arc::clone(self);
                    shared.webhooks.post(body, move |_, delivery| {
                        if delivery.is_accepted() {
                            meeting.step(Step::MeetingAnswered);
                        }
                    });
                }
            }
        }
    }

    /// Takes the place of the one live stream; false if it is taken.
    pub(super) fn reserve_stream(&self) -> bool {
        let mut state = self.lock();
        let is_free = !state.is_starting && state.stream.as_ref().is_none_or(|s| s.ended.is_some());
        state.is_starting |= is_free;
        is_free
    }

    /// Opens the reserved stream: it exists from now on, and `rtms_started` tells of it.
    pub(super) fn open_stream(self: &Arc<Self>, shared: &Arc<Shared>) {
        let id = format!("{}{}", random(), random());
        let event_ts = unix_ms();
        {
            let mut state = self.lock();
            state.is_starting = false;
            if !state.is_live {
                return;
            }
            state.streams.push(id.clone());
            state.stream = Some(Stream {
                id: id.clone(),
                session_id: format!("{}{}", random(), random()),
                event_ts,
                generation: 0,
                ended: None,
                signaling: None,
                media: BTreeMap::new(),
                was_signaled: false,
                was_ready: false,
                is_first_told: false,
                is_joined: false,
                is_closed: false,
                subscribed: BTreeSet::new(),
                unready: BTreeSet::new(),
                readies: 0,
                losses: 0,
                signaling_wait: 0,
                media_wait: 0,
            });
        }
        lock(&shared.meetings)
            .by_stream
            .insert(id.clone(), Arc::clone(self));
        self.post_started(shared, &id, event_ts, 0);
        self.arm_signaling(shared, &id, 0, self.script.join_window, 11);
    }

    fn post_started(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        event_ts: u64,
        generation: u32,
    ) {
        let body = self.started_webhook(shared, id, event_ts, generation);
        let meeting = Arc::clone(self);
        shared.webhooks.post(body, move |_, delivery| {
            if delivery.is_accepted() {
                meeting.step(Step::StartedAnswered);
            }
        });
    }

    fn started_webhook(&self, shared: &Shared, id: &str, event_ts: u64, generation: u32) -> Value {
        let door = self.door(Socket::Signaling);
        let path = format!("/signaling/{id}/{generation}");
        let url = shared.url(door, Socket::Signaling, &path);
        announce::stream_started(&self.script, &shared.options.account_id, event_ts, id, &url)
    }

    /// The last `rtms_started` as it was posted, to post it again.
    pub(super) fn last_started(&self, shared: &Shared) -> Option<Value> {
        let (id, event_ts, generation) = {
            let state = self.lock();
            let stream = state.stream.as_ref()?;
            (stream.id.clone(), stream.event_ts, stream.generation)
        };
        Some(self.started_webhook(shared, &id, event_ts, generation))
    }

    fn door(&self, socket: Socket) -> Door {
        self.lock()
            .doors
            .get(&socket)
            .copied()
            .unwrap_or(Door::Open)
    }

    /// Ends the stream, if one lives, and the meeting, if that is asked.
    pub(super) fn end(self: &Arc<Self>, shared: &Arc<Shared>, end: End) {
        let account = &shared.options.account_id;
        let mut state = self.lock();
        let was_live = state.is_live;
        state.is_live &= !end.meeting_over;
        let mut stopped = None;
        if let Some(stream) = state.stream.as_mut().filter(|s| s.ended.is_none()) {
            stream.ended = Some(end.reason);
            let timestamp = unix_ms();
            if stream.subscribed.contains(&4) {
                let people: Vec<Value> = self.people(false);
                stream.tell(json!({"msg_type": 6, "event": {"event_type": 4,
                    "timestamp": timestamp, "participants": people}}));
            }
            for line in stream.media.values() {
                line.mailbox.post(Command::Finish(end.trailing_phrases));
            }
            if end.by_state {
                stream.tell(json!({"msg_type": 9, "rtms_session_id": stream.session_id,
                    "state": 5, "stop_reason": end.reason, "timestamp": timestamp}));
                stream.tell(json!({"msg_type": 8, "state": 4, "reason": end.reason,
                    "timestamp": timestamp}));
            }
            stopped = Some(stream.id.clone());
            state.steps.push((Step::Ended, Instant::now()));
            state.settle();
        }
        drop(state);
        self.changed.notify_all();
        if let Some(id) = stopped {
            // The sockets stay a while from when the client could know; at the latest they go then.
            let close = {
                let (meeting, shared, id) = (Arc::clone(self), Arc::clone(shared), id.clone());
                move |after: Duration| meeting.close_after(&shared, &id, after)
            };
            let linger = self.script.linger;
            close(linger + TELL_MAX);
            let is_told = end.by_state && {
                let tell = close.clone();
                self.tell_then(move || tell(linger))
            };
            if end.by_webhook {
                let body = announce::stream_stopped(&self.script, account, &id, end.reason);
                let meeting = Arc::clone(self);
                shared.webhooks.post(body, move |_, delivery| {
                    if delivery.is_accepted() {
                        meeting.step(Step::StoppedAnswered);
                    }
                    if !is_told {
                        close(linger);
                    }
                });
            } else if !is_told {
                close(linger);
            }
        }
        if was_live
            && end.meeting_over
            && let Some(body) = announce::meeting_ended(&self.script, account)
        {
            shared.webhooks.post(body, |_, _| {});
        }
    }

    /// Runs that once signaling has sent all it was told; false without signaling.
    fn tell_then(&self, run: impl FnOnce() + Send + 'static) -> bool {
        let state = self.lock();
        let line = state.stream.as_ref().and_then(|s| s.signaling.as_ref());
        if let Some(line) = line {
            line.mailbox.post(Command::Then(Then(Box::new(run))));
        }
        line.is_some()
    }

    /// Closes every socket of that stream after so long.
    fn close_after(self: &Arc<Self>, shared: &Arc<Shared>, id: &str, after: Duration) {
        let (meeting, id) = (Arc::clone(self), id.to_owned());
        shared.clock.after(after, move || {
            let state = meeting.lock();
            if let Some(stream) = state.stream.as_ref().filter(|s| s.id == id) {
                stream.post_all(&|| Command::Cut(Cut::Close(1000)));
            }
        });
    }

    fn end_if(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        reason: i64,
        is_so: impl FnOnce(&Stream) -> bool,
    ) {
        let is_due = self
            .lock()
            .stream
            .as_ref()
            .is_some_and(|stream| stream.ended.is_none() && is_so(stream));
        if is_due {
            self.end(shared, End::stopped(reason));
        }
    }

    fn arm_signaling(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        wait: u64,
        window: Duration,
        reason: i64,
    ) {
        let (meeting, again, id) = (Arc::clone(self), Arc::clone(shared), id.to_owned());
        shared.clock.after(window, move || {
            meeting.end_if(&again, reason, |s| s.id == id && s.signaling_wait == wait);
        });
    }

    fn arm_media(self: &Arc<Self>, shared: &Arc<Shared>, id: &str, wait: u64) {
        let (meeting, again, id) = (Arc::clone(self), Arc::clone(shared), id.to_owned());
        shared.clock.after(self.script.media_window, move || {
            meeting.end_if(&again, 14, |s| s.id == id && s.media_wait == wait);
        });
    }

    /// Message 8 with that state: 5 paused, 6 resumed.
    pub(super) fn tell_state(&self, stream_state: u32) {
        if let Some(stream) = &self.lock().stream {
            stream.tell(
                json!({"msg_type": 8, "state": stream_state, "reason": 0, "timestamp": unix_ms()}),
            );
        }
    }

    fn people(&self, with_names: bool) -> Vec<Value> {
        self.script
            .speakers
            .iter()
            .map(|speaker| {
                let mut person = json!({"user_id": id_value(self.script.ids, speaker.user_id)});
                if with_names {
                    person["user_name"] = json!(speaker.user_name);
                }
                person
            })
            .collect()
    }

    // What the signaling socket reports.

    /// Gives a signaling connection its place, or says why not. On success message 2 is due.
    pub(super) fn admit_signaling(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        generation: u32,
        connection: u64,
        mailbox: Mailbox,
    ) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let refusal = state.next_refusal(Socket::Signaling);
        let door = state.doors.get(&Socket::Media).copied();
        let stream = state.live_stream(id)?;
        if generation != stream.generation {
            return Err(Refusal::Status(45));
        }
        let is_without_urls = match refusal {
            Some(Refusal::NoUrls) => true,
            Some(refusal) => return Err(refusal),
            None => false,
        };
        if let Some(old) = &stream.signaling {
            if self.script.duplicates == Duplicates::Refuse && !old.is_stalled && !old.is_cut {
                return Err(Refusal::Status(8));
            }
            old.displace(generation);
        }
        for (_, line) in std::mem::take(&mut stream.media) {
            line.displace(generation);
        }
        stream.signaling = Some(Line {
            connection,
            mailbox,
            generation,
            is_stalled: false,
            is_cut: false,
        });
        stream.was_signaled = true;
        stream.signaling_wait += 1;
        let mut urls = json!({});
        let mut add = |name: &str, media_type: u32| {
            let path = format!("/media/{id}/{generation}/{media_type}");
            let door = door.unwrap_or(Door::Open);
            urls[name] = json!(shared.url(door, Socket::Media, &path));
        };
        if !is_without_urls {
            for (bit, name, _) in TYPES {
                if self.script.url_per_type && self.script.granted & bit != 0 {
                    add(name, bit);
                }
            }
            if self.script.url_all {
                add("all", ALL);
            }
        }
        if stream.was_ready {
            stream.media_wait += 1;
            let wait = stream.media_wait;
            self.arm_media(shared, id, wait);
        }
        state.steps.push((Step::SignalingHandshake, Instant::now()));
        drop(state);
        self.changed.notify_all();
        Ok(urls)
    }

    pub(super) fn subscribe(&self, id: &str, event: u64, is_wanted: bool) {
        let mut state = self.lock();
        if let Ok(stream) = state.live_stream(id) {
            if is_wanted {
                stream.subscribed.insert(event);
            } else {
                stream.subscribed.remove(&event);
            }
            self.tell_joined(stream);
        }
    }

    /// Tells who is there, once the stream is ready and the client asked for it.
    fn tell_joined(&self, stream: &mut Stream) {
        let is_due = stream.was_ready && stream.subscribed.contains(&3);
        if self.script.events && is_due && !stream.is_joined {
            stream.is_joined = true;
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 3,
                "timestamp": unix_ms(), "participants": self.people(true)}}));
        }
    }

    /// CLIENT_READY_ACK came in. An error is a violation in words.
    pub(super) fn ready(&self, id: &str, shown: &Value) -> Result<(), String> {
        if shown["rtms_stream_id"].as_str() != Some(id) {
            return Err("CLIENT_READY_ACK without the stream's id".to_owned());
        }
        let mut state = self.lock();
        let Ok(stream) = state.live_stream(id) else {
            return Ok(());
        };
        if stream.unready.is_empty() {
            // After a loss the client may not have seen yet, its word comes too late, not wrongly.
            let is_excused = stream.losses >= stream.readies.max(1);
            return match is_excused {
                true => Ok(()),
                false => Err("CLIENT_READY_ACK without a media handshake before it".to_owned()),
            };
        }
        stream.readies += 1;
        let is_one_too_many = stream.readies > 1 + stream.losses;
        stream.unready.clear();
        stream.was_ready = true;
        stream.media_wait += 1;
        for line in stream.media.values() {
            line.mailbox.post(Command::Go);
        }
        let timestamp = unix_ms();
        stream.tell(
            json!({"msg_type": 9, "rtms_session_id": stream.session_id, "state": 2,
            "timestamp": timestamp}),
        );
        stream.tell(json!({"msg_type": 8, "state": 1, "reason": 0, "timestamp": timestamp}));
        self.tell_joined(stream);
        let now = Instant::now();
        state.talk.begun.get_or_insert((now, timestamp));
        state.steps.push((Step::Ready, now));
        drop(state);
        self.changed.notify_all();
        match is_one_too_many {
            true => Err("a further CLIENT_READY_ACK though no media was lost".to_owned()),
            false => Ok(()),
        }
    }

    /// The state and session of the stream, for messages 11 and 20.
    pub(super) fn is_stream_live(&self, id: &str) -> bool {
        self.lock().live_stream(id).is_ok()
    }

    pub(super) fn signaling_gone(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        connection: u64,
    ) {
        let mut state = self.lock();
        let Some(stream) = state.stream.as_mut().filter(|s| s.id == id) else {
            return;
        };
        if stream.signaling.as_ref().map(|line| line.connection) != Some(connection) {
            return;
        }
        stream.signaling = None;
        if stream.ended.is_some() || shared.is_stopping() {
            state.settle();
            drop(state);
            self.changed.notify_all();
            return;
        }
        stream.losses += 1;
        stream.signaling_wait += 1;
        stream.media_wait += 1;
        let wait = stream.signaling_wait;
        for line in stream.media.values_mut() {
            line.is_cut = true;
            line.mailbox.post(Command::Cut(Cut::Fin));
        }
        state.steps.push((Step::Lost, Instant::now()));
        drop(state);
        self.changed.notify_all();
        self.arm_signaling(shared, id, wait, self.script.signaling_window, 19);
        if self.script.tell_signaling_loss {
            self.post_interrupted(shared, id);
        }
    }

    fn post_interrupted(&self, shared: &Shared, id: &str) {
        let account = &shared.options.account_id;
        let body = announce::stream_interrupted(&self.script, account, id);
        shared.webhooks.post(body, |_, _| {});
    }

    // What media sockets report.

    /// Gives a media connection its place, or says why not.
    pub(super) fn admit_media(
        &self,
        shared: &Shared,
        id: &str,
        (generation, media_type): (u32, u32),
        connection: u64,
        mailbox: Mailbox,
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        let refusal = state.next_refusal(Socket::Media);
        let stream = state.live_stream(id)?;
        if !stream.was_signaled {
            shared.violation(format!("media of {id} before its signaling handshake"));
            return Err(Refusal::Status(40));
        }
        if generation != stream.generation || stream.signaling.is_none() {
            return Err(Refusal::Status(45));
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if let Some((_, _, status)) = TYPES
            .iter()
            .find(|(bit, _, _)| *bit == media_type && self.script.granted & bit == 0)
        {
            return Err(Refusal::Status(*status));
        }
        let is_mixed = stream
            .media
            .iter()
            .any(|(other, line)| (*other == ALL) != (media_type == ALL) && !line.is_cut);
        if is_mixed {
            return Err(Refusal::Status(15));
        }
        if let Some(old) = stream.media.get(&media_type) {
            if self.script.duplicates == Duplicates::Refuse && !old.is_stalled && !old.is_cut {
                return Err(Refusal::Status(16));
            }
            old.displace(generation);
            // Its end will not be found any more: it counts as lost now.
            stream.losses += 1;
            state.note_loss(media_type, &self.script);
        }
        let stream = state.live_stream(id)?;
        stream.media.insert(
            media_type,
            Line {
                connection,
                mailbox,
                generation,
                is_stalled: false,
                is_cut: false,
            },
        );
        stream.unready.insert(media_type);
        state.steps.push((Step::MediaHandshake, Instant::now()));
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn media_gone(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        media_type: u32,
        connection: u64,
        gone: &Gone,
    ) {
        let mut state = self.lock();
        let Some(stream) = state.stream.as_mut().filter(|s| s.id == id) else {
            return;
        };
        if stream.media.get(&media_type).map(|line| line.connection) != Some(connection) {
            return;
        }
        stream.media.remove(&media_type);
        stream.unready.remove(&media_type);
        if stream.ended.is_some() || shared.is_stopping() {
            state.settle();
            drop(state);
            self.changed.notify_all();
            return;
        }
        log::debug!("demo: media {media_type} of {id} is gone: {gone:?}");
        stream.losses += 1;
        let mut wait = None;
        if stream.signaling.is_some() {
            let timestamp = unix_ms();
            let (by_event, by_state) = self.script.tell_media_loss;
            if by_event {
                stream.tell(json!({"msg_type": 6,
                    "event": {"event_type": 7, "timestamp": timestamp}}));
            }
            if by_state {
                stream
                    .tell(json!({"msg_type": 8, "state": 2, "reason": 14, "timestamp": timestamp}));
            }
            stream.media_wait += 1;
            wait = Some(stream.media_wait);
        }
        state.note_loss(media_type, &self.script);
        state.steps.push((Step::Lost, Instant::now()));
        drop(state);
        self.changed.notify_all();
        if let Some(wait) = wait {
            self.arm_media(shared, id, wait);
        }
    }

    /// Where the transcript goes on, for a media socket that may send now.
    pub(super) fn cue(&self, step: Duration) -> Option<Cue> {
        let mut state = self.lock();
        let talk = &mut state.talk;
        let (begun, base_ms) = talk.begun?;
        if !self.script.buffer && !step.is_zero() {
            let due = begun.elapsed().as_nanos() / step.as_nanos().max(1);
            talk.next = talk.next.max(due as u64);
        }
        Some(Cue {
            begun,
            base_ms,
            next: talk.next,
            replay: std::mem::take(&mut talk.replay),
        })
    }

    /// Phrases up to (not with) `next` are with the kernel, and so many replayed ones.
    pub(super) fn phrases_sent(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        range: std::ops::Range<u64>,
        replayed: u64,
        step_ms: u64,
    ) {
        let now = Instant::now();
        let mut state = self.lock();
        let talk = &mut state.talk;
        let base_ms = talk.begun.map_or(0, |(_, base_ms)| base_ms);
        // A displaced connection may report late what its successor has sent again.
        let range = range.start.max(talk.next).min(range.end)..range.end;
        let is_first = talk.sent_count == 0 && !range.is_empty();
        talk.replayed += replayed;
        talk.sent_count += range.end - range.start;
        talk.next = talk.next.max(range.end);
        if self.script.keep == Keep::Each {
            let more = range.clone();
            talk.sent
                .extend(more.map(|i| phrase(&self.script, base_ms, step_ms, i)));
        }
        if !self.script.replay.is_zero() {
            talk.recent.extend(range.clone().map(|i| (i, now)));
            while talk
                .recent
                .front()
                .is_some_and(|(_, at)| now.duration_since(*at) > self.script.replay)
            {
                talk.recent.pop_front();
            }
        }
        let is_done = self.script.phrases.is_some_and(|count| talk.next >= count);
        let is_last = is_done && !talk.is_done;
        talk.is_done |= is_done;
        if is_first {
            state.steps.push((Step::FirstPhrase, now));
        }
        if is_last {
            state.steps.push((Step::LastPhrase, now));
        }
        let told = state.stream.as_mut().filter(|s| !s.is_first_told);
        if let Some(stream) = told
            && self.script.events
        {
            stream.is_first_told = true;
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 1,
                "timestamp": unix_ms()}}));
        }
        drop(state);
        self.changed.notify_all();
        if let (true, Ending::AfterPhrases(end)) = (is_last, self.script.ending) {
            self.end(shared, end);
        }
    }

    /// So many further audio packets of each series are with the kernel.
    pub(super) fn audio_sent(&self, series: usize, packets: u64) {
        let mut state = self.lock();
        state.audio_sent.resize(series, 0);
        for count in &mut state.audio_sent {
            *count += packets;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Where audio goes on: when it began, and the next packet.
    pub(super) fn audio_cue(&self) -> Option<(Instant, u64, u64)> {
        let state = self.lock();
        let (begun, base_ms) = state.talk.begun?;
        Some((
            begun,
            base_ms,
            state.audio_sent.first().copied().unwrap_or(0),
        ))
    }

    /// Another one speaks.
    pub(super) fn speaker_changed(&self, speaker: &Speaker) {
        let state = self.lock();
        if let Some(stream) = state.stream.as_ref().filter(|s| s.ended.is_none())
            && self.script.events
            && stream.subscribed.contains(&2)
        {
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 2,
                "timestamp": unix_ms(), "user_id": id_value(self.script.ids, speaker.user_id),
                "user_name": speaker.user_name}}));
        }
    }

    // Faults.

    /// Lets a fault happen. False when there is nothing it could happen to.
    pub(super) fn fault(self: &Arc<Self>, shared: &Arc<Shared>, fault: Fault) -> bool {
        let mut state = self.lock();
        if let Fault::Refuse(socket, refusal, times) = &fault {
            let more = std::iter::repeat_n((*socket, refusal.clone()), *times);
            state.refusals.extend(more);
            return true;
        }
        let Some(stream) = state.stream.as_mut().filter(|s| s.ended.is_none()) else {
            return false;
        };
        let id = stream.id.clone();
        match fault {
            Fault::Cut(socket, cut) => stream.each(socket, |line| {
                line.is_cut = true;
                line.mailbox.post(Command::Cut(cut));
            }),
            Fault::Stall(socket, length) => stream.each(socket, |line| {
                line.is_stalled = true;
                line.mailbox.post(Command::Stall(length));
            }),
            Fault::Frames(socket, frames) => stream.each(socket, |line| {
                for frame in frames.clone() {
                    line.mailbox.post(Command::Frame(frame));
                }
            }),
            Fault::Drip(socket, frame, pause) => stream.each(socket, |line| {
                line.mailbox.post(Command::Drip(frame.clone(), pause));
            }),
            Fault::TellInterrupted => {
                stream.tell(json!({"msg_type": 6,
                    "event": {"event_type": 7, "timestamp": unix_ms()}}));
                stream.signaling.is_some()
            }
            Fault::TellMediaLost => {
                stream
                    .tell(json!({"msg_type": 8, "state": 2, "reason": 14, "timestamp": unix_ms()}));
                stream.signaling.is_some()
            }
            Fault::InterruptedWebhook => {
                drop(state);
                self.post_interrupted(shared, &id);
                true
            }
            Fault::FailOver { cut } => {
                stream.generation += 1;
                stream.event_ts = unix_ms().max(stream.event_ts + 1);
                let (event_ts, generation) = (stream.event_ts, stream.generation);
                stream.losses += 1;
                if cut {
                    for socket in [Socket::Signaling, Socket::Media] {
                        stream.each(socket, |line| {
                            line.is_cut = true;
                            line.mailbox.post(Command::Cut(Cut::Reset));
                        });
                    }
                }
                drop(state);
                self.post_started(shared, &id, event_ts, generation);
                true
            }
            Fault::Refuse(..) => true,
        }
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

    /// The transcript's socket is lost: what went out just before is to be sent again.
    fn note_loss(&mut self, media_type: u32, script: &MeetingScript) {
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

    /// Notes that an ended stream has no socket left.
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
    fn tell(&self, message: Value) {
        if let Some(line) = &self.signaling {
            line.mailbox.post(Command::Send(message));
        }
    }

    fn post_all(&self, command: &dyn Fn() -> Command) {
        for line in self.signaling.iter().chain(self.media.values()) {
            line.mailbox.post(command());
        }
    }

    /// False if there is none.
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
    /// A newer connection takes this one's place. Being still open is a fault of the client only
    /// if nothing of ours gave it a reason to come again.
    fn displace(&self, generation: u32) {
        let should_be_gone = self.generation == generation && !self.is_stalled && !self.is_cut;
        self.mailbox.post(Command::Displace(should_be_gone));
    }
}

/// What may be read of a meeting under its lock.
pub(super) struct Look<'a> {
    state: &'a State,
}

impl Look<'_> {
    pub(super) fn count(&self, step: Step) -> usize {
        self.state.steps.iter().filter(|(s, _)| *s == step).count()
    }

    pub(super) fn sent_count(&self) -> u64 {
        self.state.talk.sent_count
    }

    pub(super) fn sent(&self) -> Vec<Phrase> {
        self.state.talk.sent.clone()
    }

    pub(super) fn replayed(&self) -> u64 {
        self.state.talk.replayed
    }

    pub(super) fn audio_sent(&self) -> Vec<u64> {
        self.state.audio_sent.clone()
    }

    pub(super) fn streams(&self) -> Vec<String> {
        self.state.streams.clone()
    }

    pub(super) fn subscribed(&self) -> Vec<u64> {
        let stream = self.state.stream.as_ref();
        stream.map_or(Vec::new(), |s| s.subscribed.iter().copied().collect())
    }

    /// The stop reason of the current stream, if it has ended.
    pub(super) fn stop_reason(&self) -> Option<i64> {
        self.state.stream.as_ref()?.ended
    }
}
