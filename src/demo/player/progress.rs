//! The progress of a meeting's transcript and audio.

use super::*;

impl Meeting {
    /// Where the transcript continues, for a media socket that may send now.
    pub(in crate::demo) fn cue(&self, step: Duration) -> Option<Cue> {
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

    /// The kernel has accepted the phrases before `next`, and this many replayed ones.
    pub(in crate::demo) fn phrases_sent(
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
        // A replaced connection may report late what its successor has sent again.
        let range = range.start.max(talk.next).min(range.end)..range.end;
        let is_first = talk.sent_count == 0 && !range.is_empty();
        talk.replayed += replayed;
        talk.sent_count += range.end - range.start;
        talk.next = talk.next.max(range.end);
        if self.script.keep == SentDetail::Each {
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

    /// The kernel has accepted the audio packets before `next` of each series, or they were skipped
    /// because of a mute.
    pub(in crate::demo) fn audio_reached(&self, series: usize, next: u64) {
        let mut state = self.lock();
        state.audio_reached.resize(series, 0);
        state.audio_reached.fill(next);
        drop(state);
        self.changed.notify_all();
    }

    /// The kernel has accepted these too.
    pub(in crate::demo) fn media_sent(&self, sent: &mut Vec<Sent>) {
        match self.script.keep {
            SentDetail::Each => self.lock().media_sent.append(sent),
            SentDetail::Count => sent.clear(),
        }
    }

    /// When audio began, monotonic and in Unix milliseconds.
    pub(in crate::demo) fn begun(&self) -> Option<(Instant, u64)> {
        self.lock().talk.begun
    }

    /// Data may flow: phrases count from now on, unless they have started before.
    pub(in crate::demo) fn begin_talk(&self) {
        let now = (Instant::now(), unix_ms());
        self.lock().talk.begun.get_or_insert(now);
    }

    /// Where audio continues: the next packet, and how many before it are to be sent again.
    pub(in crate::demo) fn audio_cue(&self) -> (u64, u64) {
        let mut state = self.lock();
        let next = state.audio_reached.first().copied().unwrap_or(0);
        let again = std::mem::take(&mut state.audio_replay).min(next);
        state.audio_replayed += again;
        (next, again)
    }

    /// Another speaker speaks.
    pub(in crate::demo) fn speaker_changed(&self, speaker: &Speaker) {
        let mut state = self.lock();
        if let Some(stream) = state.stream.as_mut().filter(|s| s.ended.is_none())
            && self.script.events
            && stream.subscribed.contains(&2)
        {
            stream.tell(json!({"msg_type": 6, "event": {"event_type": 2,
                "timestamp": unix_ms(), "user_id": id_value(self.script.ids, speaker.user_id),
                "user_name": speaker.user_name}}));
        }
    }
}
