//! What follows from the end of a stream: the policy of its stop reason, another start, or nothing.

use std::time::Duration;

use super::entry::{Start, StreamEntry};
use super::{Action, Coordinator, Now, PANICS_MAX, RESTARTS_MAX};
use crate::domain::rest::RestAction;
use crate::domain::severity::Severity;
use crate::protocol::EndReason;
use crate::protocol::codes::{StopPolicy, StopReason};

impl Coordinator {
    /// The thread of a stream is over.
    pub fn handle_end(&mut self, now: Now, stream_id: &str, end: &EndReason) -> Vec<Action> {
        // One that was left is still ours: the next process takes it over.
        if *end == EndReason::Left {
            return Vec::new();
        }
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return Vec::new();
        };
        self.is_changed = true;
        if *end == EndReason::Panicked && entry.stopped_ms.is_none() && entry.panics < PANICS_MAX {
            entry.panics += 1;
            self.rejoin(stream_id);
            return std::mem::take(&mut self.actions);
        }
        entry.ended_ms = Some(now.unix_ms);
        let uuid = entry.started.id.clone();
        let reason = match end {
            EndReason::Stopped(reason) => Some(entry.effective_reason(*reason)),
            // The webhook was told to a stream that ended of something else just then.
            _ => entry.stopped_ms.and(entry.stop_reason).map(StopReason),
        };
        if let Some(reason) = reason {
            self.after_stop(now, stream_id, reason);
        }
        let is_last = !self
            .streams
            .values()
            .any(|e| e.is_active() && e.started.id == uuid);
        // A stream that ended before its scheduled stop needs none; one that is started again
        // keeps it.
        if is_last
            && self.meetings.get(&uuid).is_some_and(|meeting| {
                meeting.stop_at_ms.is_some() && !matches!(meeting.start, Start::Trying { .. })
            })
        {
            self.stop_done(&uuid);
        }
        std::mem::take(&mut self.actions)
    }

    /// A stream whose thread was over before it could be told to move runs again.
    pub fn revive(&mut self, stream_id: &str) -> Vec<Action> {
        if let Some(entry) = self.streams.get_mut(stream_id)
            && !entry.is_active()
        {
            entry.ended_ms = None;
            self.is_changed = true;
            self.rejoin(stream_id);
        }
        std::mem::take(&mut self.actions)
    }

    pub(super) fn complete(&mut self, now: Now, entry: &StreamEntry) {
        let reason = entry.effective_reason(StopReason::UNDEFINED);
        let stream_id = &entry.started.stream_id;
        if let Some(entry) = self.streams.get_mut(stream_id) {
            entry.ended_ms = Some(now.unix_ms);
            self.is_changed = true;
        }
        let info = self.info(entry);
        self.actions.push(Action::Complete { info, reason });
        self.after_stop(now, stream_id, reason);
    }

    /// What a stop reason asks for once the stream is over.
    pub(super) fn after_stop(&mut self, now: Now, stream_id: &str, reason: StopReason) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        let uuid = entry.started.id.clone();
        match reason.policy() {
            StopPolicy::Finish => {}
            StopPolicy::FinishAndAlert => self.log(
                Severity::Error,
                &format!("stopped stream={stream_id}: {reason}; an admin switched the app off"),
            ),
            StopPolicy::Delete => {
                // Only the ids are kept, so that the stream is not taken up again.
                entry.started.server_urls.clear();
                entry.started.operator_id = None;
                entry.started.account_id = None;
                entry.is_revoked = true;
                self.is_changed = true;
                let info = self.info_of(stream_id);
                self.actions.extend(info.map(Action::Discard));
                let is_needed = |e: &StreamEntry| e.is_active() && e.started.id == uuid;
                if !self.streams.values().any(is_needed)
                    && let Some(meeting) = self.meetings.get_mut(&uuid)
                {
                    meeting.topic = None;
                }
            }
            StopPolicy::Restart | StopPolicy::RestartOnce => {
                if !std::mem::replace(&mut entry.is_restarted, true) {
                    self.restart(now, stream_id, &uuid, reason);
                }
            }
        }
    }

    fn restart(&mut self, now: Now, stream_id: &str, uuid: &str, reason: StopReason) {
        let has_stream = self.has_stream(uuid);
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        let once = reason.policy() == StopPolicy::RestartOnce;
        let limit = if once { 1 } else { RESTARTS_MAX };
        let refusal = if !self.settings.can_call {
            Some("there are no credentials for REST")
        } else if !meeting.is_live() {
            Some("the meeting is over")
        } else if meeting.start == Start::Stopped {
            Some("it was stopped by schedule")
        } else if has_stream {
            Some("another stream of the meeting runs")
        } else if meeting.meeting_id.is_none() {
            Some("its meeting number is not known")
        } else if meeting.restarts >= limit {
            Some("it was started again too often")
        } else {
            None
        };
        if once {
            let text = format!(
                "stopped stream={stream_id}: {reason}; check that ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are the pair \
                 (development or production) of the app that was started"
            );
            self.actions.push(Action::Log(Severity::Error, text));
        }
        // Once the credentials are right, a reload or a restart starts it.
        if once && refusal.is_some() && meeting.start == Start::Done {
            meeting.start = Start::GaveUp;
        }
        if let Some(why) = refusal {
            let text =
                format!("stopped stream={stream_id}: {reason}; not started again, for {why}");
            return self.log(Severity::Warn, &text);
        }
        let delay = Duration::from_secs(1 << meeting.restarts.min(5));
        meeting.restarts += 1;
        meeting.start = Start::Trying {
            attempts: 0,
            since: Some(now.instant + delay),
        };
        self.is_changed = true;
        self.log(
            Severity::Warn,
            &format!("stopped stream={stream_id}: {reason}; starting again by REST"),
        );
        self.call(now.instant + delay, uuid, RestAction::Start);
    }
}
