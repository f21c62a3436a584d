//! The course of a meeting: its start, its streams and their ends, and the waits in between.

use super::*;

impl Meeting {
    /// Starts as the script says.
    pub(in crate::demo) fn begin(self: &Arc<Self>, shared: &Arc<Shared>) {
        match self.script.begin {
            Begin::Silent => {}
            Begin::AtOnce => {
                self.reserve_stream();
                self.open_stream(shared);
            }
            Begin::ByRest => {
                let account = shared.account_of(&self.script);
                if let Some(body) = webhook_bodies::meeting_started(&self.script, account) {
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

    /// The host joins: webhooks report it, and a start is accepted from now on.
    pub(in crate::demo) fn host_joins(&self, shared: &Shared) {
        self.lock().is_host_there = true;
        if let Some(body) =
            webhook_bodies::host_joined(&self.script, shared.account_of(&self.script))
        {
            shared.webhooks.post(body, |_, _| {});
        }
    }

    /// Reserves the place of the one live stream; `false` if it is taken.
    pub(in crate::demo) fn reserve_stream(&self) -> bool {
        let mut state = self.lock();
        let is_free = !state.is_starting && state.stream.as_ref().is_none_or(|s| s.ended.is_some());
        state.is_starting |= is_free;
        is_free
    }

    /// Opens the reserved stream: it exists from now on, and `rtms_started` is posted.
    pub(in crate::demo) fn open_stream(self: &Arc<Self>, shared: &Arc<Shared>) {
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
                cameras: Vec::new(),
                told: Vec::new(),
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

    pub(super) fn post_started(
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

    pub(super) fn started_webhook(
        &self,
        shared: &Shared,
        id: &str,
        event_ts: u64,
        generation: u32,
    ) -> Value {
        let path = format!("/signaling/{id}/{generation}");
        let urls = self.urls(
            shared,
            Socket::Signaling,
            self.door(Socket::Signaling),
            &path,
        );
        let account = shared.account_of(&self.script);
        webhook_bodies::stream_started(&self.script, account, event_ts, id, &urls)
    }

    /// The last `rtms_started` as it was posted, to post it again.
    pub(in crate::demo) fn last_started(&self, shared: &Shared) -> Option<Value> {
        let (id, event_ts, generation) = {
            let state = self.lock();
            let stream = state.stream.as_ref()?;
            (stream.id.clone(), stream.event_ts, stream.generation)
        };
        Some(self.started_webhook(shared, &id, event_ts, generation))
    }

    /// The URLs of a socket: one, or an unreachable one before it.
    pub(super) fn urls(
        &self,
        shared: &Shared,
        socket: Socket,
        door: HandshakeFault,
        path: &str,
    ) -> Vec<String> {
        let dead = self
            .script
            .odd
            .first_url_dead
            .then_some(HandshakeFault::Refused);
        let doors = dead.into_iter().chain([door]);
        doors.map(|door| shared.url(door, socket, path)).collect()
    }

    pub(super) fn door(&self, socket: Socket) -> HandshakeFault {
        self.lock()
            .listeners
            .get(&socket)
            .copied()
            .unwrap_or(HandshakeFault::Open)
    }

    /// Ends the live stream, if there is one, and the meeting if requested.
    pub(in crate::demo) fn end(self: &Arc<Self>, shared: &Arc<Shared>, end: End) {
        let account = shared.account_of(&self.script);
        let mut state = self.lock();
        let was_live = state.is_live;
        state.is_live &= !end.meeting_over;
        let mut stopped = None;
        if let Some(stream) = state.stream.as_mut().filter(|s| s.ended.is_none()) {
            stream.ended = Some(end.reason);
            let timestamp = unix_ms();
            self.tell_left(stream, timestamp);
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
            // The sockets stay open for a while after the client was informed; at the latest they
            // are closed then.
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
                let body = webhook_bodies::stream_stopped(&self.script, account, &id, end.reason);
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
            && let Some(body) = webhook_bodies::meeting_ended(&self.script, account)
        {
            shared.webhooks.post(body, |_, _| {});
        }
    }

    /// Calls `run` once signaling has sent everything before it; `false` without signaling.
    pub(super) fn tell_then(&self, run: impl FnOnce() + Send + 'static) -> bool {
        let state = self.lock();
        let line = state.stream.as_ref().and_then(|s| s.signaling.as_ref());
        if let Some(line) = line {
            line.mailbox
                .post(Command::Callback(Callback(Box::new(run))));
        }
        line.is_some()
    }

    /// Closes every socket of that stream after this time.
    pub(super) fn close_after(self: &Arc<Self>, shared: &Arc<Shared>, id: &str, after: Duration) {
        let (meeting, id) = (Arc::clone(self), id.to_owned());
        shared.clock.after(after, move || {
            let state = meeting.lock();
            if let Some(stream) = state.stream.as_ref().filter(|s| s.id == id) {
                stream.post_all(&|| Command::Cut(Cut::Close(1000)));
            }
        });
    }

    pub(super) fn end_if(
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

    pub(super) fn arm_signaling(
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

    pub(super) fn arm_media(self: &Arc<Self>, shared: &Arc<Shared>, id: &str, wait: u64) {
        let (meeting, again, id) = (Arc::clone(self), Arc::clone(shared), id.to_owned());
        shared.clock.after(self.script.media_window, move || {
            meeting.end_if(&again, 14, |s| s.id == id && s.media_wait == wait);
        });
    }

    /// Message 8 with that state: 5 paused, 6 resumed.
    pub(in crate::demo) fn tell_state(&self, stream_state: u32) {
        if let Some(stream) = &mut self.lock().stream {
            stream.tell(
                json!({"msg_type": 8, "state": stream_state, "reason": 0, "timestamp": unix_ms()}),
            );
        }
    }

    pub(super) fn people(&self, with_names: bool) -> Vec<Value> {
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
}
