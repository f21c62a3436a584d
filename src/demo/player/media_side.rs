//! Reports of media sockets about a stream, and their effects.

use super::*;

impl Meeting {
    /// Accepts a media connection, or says why not.
    pub(in crate::demo) fn admit_media(
        &self,
        shared: &Shared,
        id: &str,
        (generation, media_type): (u32, u32),
        connection: u64,
        mailbox: ConnectionQueue,
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
            // Its end will not be seen any more, so it counts as lost now.
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

    pub(in crate::demo) fn media_gone(
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
}
