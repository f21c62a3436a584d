//! Reports of signaling sockets about a stream, and their effects.

use super::content::CHANNELS;
use super::*;

impl Meeting {
    /// Accepts a signaling connection, or says why not. On success message 2 is due.
    pub(in crate::demo) fn admit_signaling(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        id: &str,
        generation: u32,
        connection: u64,
        mailbox: ConnectionQueue,
    ) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let refusal = state.next_refusal(Socket::Signaling);
        let door = state.listeners.get(&Socket::Media).copied();
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
            let door = door.unwrap_or(HandshakeFault::Open);
            let found = self.urls(shared, Socket::Media, door, &path);
            urls[name] = match &found[..] {
                [only] => json!(only),
                several => json!(several),
            };
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

    pub(in crate::demo) fn subscribe(&self, id: &str, event: u64, is_wanted: bool) {
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

    /// Message 28 arrived.
    pub(in crate::demo) fn camera_wanted(&self, user_id: u64) {
        if let Some(stream) = &mut self.lock().stream {
            stream.cameras.push(user_id);
        }
        self.changed.notify_all();
    }

    /// Sends the participants, once the stream is ready and the client has subscribed.
    pub(super) fn tell_joined(&self, stream: &mut Stream) {
        let is_due = stream.was_ready && stream.subscribed.contains(&3);
        if self.script.events && is_due && !stream.is_joined {
            stream.is_joined = true;
            let timestamp = unix_ms();
            let people = self.people(true);
            let first = people.first().cloned().unwrap_or_default();
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 3,
                "timestamp": timestamp, "participants": people}}));
            if self.script.pictures && stream.subscribed.contains(&5) {
                stream.tell(json!({"msg_type": 6, "event": {"event_type": 5,
                    "timestamp": timestamp, "user_id": first["user_id"],
                    "user_name": first["user_name"]}}));
            }
            // In Contact Center the same number has another meaning and form.
            let is_contact_center = self.script.product == DemoProduct::ContactCenter;
            if self.script.odd.channels {
                self.tell_parties(stream, [8, 10], timestamp);
            } else if is_contact_center && stream.subscribed.contains(&8) {
                stream.tell(json!({"msg_type": 6, "event": {"event_type": 8,
                    "event_ts": timestamp, "participant_info": first}}));
            } else if self.script.pictures && stream.subscribed.contains(&8) {
                stream.tell(json!({"msg_type": 6, "event": {"event_type": 8,
                    "timestamp": timestamp, "participants": [first]}}));
            }
        }
    }

    /// Sends the two parties of a Contact Center call, the second one with the misspelled key of an
    /// older page.
    fn tell_parties(&self, stream: &mut Stream, events: [u64; 2], timestamp: u64) {
        let keys = ["participant_info", "paticipant_info"];
        let parties = (0..).zip(&self.script.speakers).zip(events).zip(keys);
        for (((n, speaker), event), key) in parties {
            if stream.subscribed.contains(&event) {
                let [id, mode] = [["customer-contact-id", "caller"], ["agent-7", "callee"]][n];
                stream.tell(json!({"msg_type": 6, "event": {"event_type": event,
                    "event_ts": timestamp, key: {"channel_id": CHANNELS[n],
                    "participant_mode": mode, "queue_id": "q-1", "queue_name": "Billing",
                    "user_id": id, "display_name": speaker.user_name}}}));
            }
        }
    }

    /// Sends that all participants have left.
    pub(super) fn tell_left(&self, stream: &mut Stream, timestamp: u64) {
        if self.script.odd.channels {
            return self.tell_parties(stream, [9, 11], timestamp);
        }
        let people = self.people(false);
        let is_contact_center = self.script.product == DemoProduct::ContactCenter;
        if is_contact_center && stream.subscribed.contains(&9) {
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 9,
                "event_ts": timestamp, "participant_info": people.first()}}));
        }
        if stream.subscribed.contains(&4) {
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 4,
                "timestamp": timestamp, "participants": people}}));
        }
    }

    /// CLIENT_READY_ACK arrived. An error is the text of a violation.
    pub(in crate::demo) fn ready(&self, id: &str, shown: &Value) -> Result<(), String> {
        if shown["rtms_stream_id"].as_str() != Some(id) {
            return Err("CLIENT_READY_ACK without the stream's id".to_owned());
        }
        let mut state = self.lock();
        let Ok(stream) = state.live_stream(id) else {
            return Ok(());
        };
        if stream.unready.is_empty() {
            // After a loss that the client may not have seen yet, its message is late, not wrong.
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
    pub(in crate::demo) fn is_stream_live(&self, id: &str) -> bool {
        self.lock().live_stream(id).is_ok()
    }

    pub(in crate::demo) fn signaling_gone(
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

    pub(super) fn post_interrupted(&self, shared: &Shared, id: &str) {
        let account = shared.account_of(&self.script);
        let body = webhook_bodies::stream_interrupted(&self.script, account, id);
        shared.webhooks.post(body, |_, _| {});
    }
}
