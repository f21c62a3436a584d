//! Reactions to the end of a stream: by its stop reason another start, a deletion, or nothing.

use std::time::Duration;

use super::entry::{Leaving, MeetingEntry, Start, StreamEntry};
use super::phase::Phase;
use super::webhooks::{first_of_next, is_after_end};
use super::{Action, Coordinator, DRAIN_MAX, Now, PANICS_MAX, RESTARTS_MAX, START_AGAIN_AFTER};
use crate::domain::rest::RestAction;
use crate::domain::severity::Severity;
use crate::domain::stream_info::Withdrawal;
use crate::protocol::codes::{StopPolicy, StopReason};
use crate::protocol::{EndReason, SIGNALING_WINDOW};

impl Coordinator {
    /// Handles the end of a stream's thread, or a failure to start it.
    pub fn handle_end(&mut self, now: Now, stream_id: &str, end: &EndReason) -> Vec<Action> {
        // A stream that we left stays active: the next process rejoins it.
        if *end == EndReason::Left {
            return Vec::new();
        }
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return Vec::new();
        };
        let is_over = entry.is_over();
        if matches!(end, EndReason::NoResources(_)) && !is_over {
            let at = now.instant + START_AGAIN_AFTER;
            if entry.connect_until.is_some_and(|until| at < until) {
                let stream_id = stream_id.to_owned();
                self.actions.push(Action::StartLater { at, stream_id });
                return std::mem::take(&mut self.actions);
            }
        }
        self.is_changed = true;
        if *end == EndReason::Panicked && !is_over && entry.panics < PANICS_MAX {
            entry.panics += 1;
            self.start_stream(now, stream_id, SIGNALING_WINDOW, true);
            return std::mem::take(&mut self.actions);
        }
        entry.ended_ms = Some(now.unix_ms);
        let socket = match end {
            EndReason::Stopped(reason) => Some(*reason),
            _ => None,
        };
        let reason = entry.effective_reason(socket);
        // A thread that is ending does not handle a failover: then the end belongs to the stream
        // before the newer start.
        let has_moved = |at| now.instant.saturating_duration_since(at) < DRAIN_MAX;
        let is_followed = entry.leaving.is_none()
            && (entry.is_superseded
                || entry.stopped_ms.is_none()
                    && socket.is_some()
                    && entry.moved.is_some_and(has_moved));
        let uuid = entry.started.id.clone();
        // Whatever ends its thread while it leaves, another node goes on with it; unless it is over.
        let has_failed = matches!(end, EndReason::Panicked | EndReason::NoResources(_));
        let is_handed_over =
            matches!(end, EndReason::HandedOver { .. }) || has_failed && entry.leaving.is_some();
        // A newer start that reached this node after it had given the stream away begins here.
        if is_handed_over && !is_followed {
            self.handed_over(now, stream_id, reason);
            return std::mem::take(&mut self.actions);
        }
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return Vec::new();
        };
        (entry.is_superseded, entry.leaving) = (is_followed, None);
        if is_followed {
            self.log_end(stream_id, reason);
            if reason == Some(StopReason::STREAM_REVOKED) {
                self.withdraw(now, stream_id, false);
            }
            self.begin_next_life(now, stream_id);
        } else if let Some(reason) = reason {
            self.after_stop(now, stream_id, reason);
        }
        // A stream that ended before its scheduled stop needs none; a stream that is started again
        // keeps it.
        let has_stream = self.has_stream(&uuid);
        if let Some(meeting) = self.meetings.get_mut(&uuid)
            && !has_stream
            && meeting.stop_at_ms.is_some()
            && !meeting.is_yielded
            && !matches!(meeting.phase(), Phase::Starting | Phase::AwaitingHost)
        {
            meeting.stop_at_ms = None;
            meeting.stop_attempts = 0;
            self.cancel_calls(now, &uuid);
        }
        std::mem::take(&mut self.actions)
    }

    /// The stream has left for another node: it stays open, and nothing follows here.
    fn handed_over(&mut self, now: Now, stream_id: &str, reason: Option<StopReason>) {
        if reason == Some(StopReason::STREAM_REVOKED) {
            self.withdraw(now, stream_id, false);
        }
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        if entry.is_superseded {
            let leaving = entry.leaving;
            entry.begin_life();
            entry.leaving = leaving;
        }
        entry.ended_ms = Some(now.unix_ms);
        entry.leaving = match entry.leaving {
            Some(Leaving::Given) => None,
            _ => Some(Leaving::Released),
        };
    }

    fn log_end(&mut self, stream_id: &str, reason: Option<StopReason>) {
        let why = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        self.log(
            Severity::Info,
            &format!("previous run ended{why}, starting it again stream={stream_id}"),
        );
    }

    /// Handles the time of [`Action::StartLater`].
    pub fn start_again(&mut self, now: Now, stream_id: &str) -> Vec<Action> {
        let Some(entry) = self.streams.get(stream_id).filter(|e| e.is_active()) else {
            return Vec::new();
        };
        if entry.is_over() {
            let end = EndReason::NoResources("it was stopped before it could begin".to_owned());
            return self.handle_end(now, stream_id, &end);
        }
        let left = entry.connect_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(now.instant)
        });
        self.start_stream(now, stream_id, left, true);
        std::mem::take(&mut self.actions)
    }

    /// Restarts a stream whose thread ended before it could be moved to another server.
    pub fn revive(&mut self, now: Now, stream_id: &str) -> Vec<Action> {
        let entry = self.streams.get(stream_id);
        let uuid = entry.map(|entry| entry.started.id.as_str());
        let meeting = uuid.and_then(|uuid| self.meetings.get(uuid));
        let is_yielded = meeting.is_some_and(|meeting| meeting.is_yielded);
        if let Some(entry) = self.streams.get_mut(stream_id)
            && !is_yielded
            && !entry.is_active()
            && entry.leaving.is_none()
        {
            entry.ended_ms = None;
            self.is_changed = true;
            self.start_stream(now, stream_id, SIGNALING_WINDOW, true);
        }
        std::mem::take(&mut self.actions)
    }

    /// Ends a stream of an earlier process that ended before it handled the stream's stop.
    pub(super) fn complete(&mut self, now: Now, entry: &StreamEntry) {
        let reason = entry
            .effective_reason(None)
            .unwrap_or(StopReason::UNDEFINED);
        let stream_id = &entry.started.stream_id;
        if let Some(entry) = self.streams.get_mut(stream_id) {
            entry.ended_ms = Some(now.unix_ms);
            self.is_changed = true;
        }
        let info = self.info(entry);
        let end = EndReason::Stopped(reason);
        self.actions.push(Action::Complete { info, end });
        self.after_stop(now, stream_id, reason);
    }

    /// Applies the policy of a stop reason once the stream has ended.
    pub(super) fn after_stop(&mut self, now: Now, stream_id: &str, reason: StopReason) {
        self.meeting_after_stop(now, stream_id, reason);
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        match reason.policy() {
            StopPolicy::Finish => {}
            StopPolicy::FinishAndAlert => self.log(
                Severity::Error,
                &format!("stopped stream={stream_id}: {reason}; an administrator disabled the app"),
            ),
            StopPolicy::Delete => self.withdraw(now, stream_id, false),
            StopPolicy::Restart | StopPolicy::RestartOnce => {
                let uuid = entry.started.id.clone();
                if !std::mem::replace(&mut entry.is_restarted, true) {
                    self.restart(now, stream_id, &uuid, reason);
                }
            }
        }
    }

    /// Applies a stop reason to the meeting: people or the meeting's end may have stopped its
    /// stream.
    pub(super) fn meeting_after_stop(&mut self, now: Now, stream_id: &str, reason: StopReason) {
        if matches!(
            reason.policy(),
            StopPolicy::Restart | StopPolicy::RestartOnce
        ) {
            return;
        }
        let Some(entry) = self.streams.get(stream_id) else {
            return;
        };
        let (uuid, stopped_ms) = (entry.started.id.clone(), entry.stopped_ms);
        let started_ms = entry.newest_ms;
        let newest_ms = entry.newest_ms.max(stopped_ms.unwrap_or(0));
        let is_of_earlier_life =
            |meeting: &MeetingEntry| newest_ms != 0 && meeting.is_of_earlier_life(newest_ms);
        if self.meetings.get(&uuid).is_none_or(is_of_earlier_life) {
            return;
        }
        match stopped_ms {
            Some(ts) if reason == StopReason::MEETING_ENDED => self.meeting_over(now, ts, &uuid),
            _ => {
                if let Some(meeting) = self.meetings.get_mut(&uuid)
                    && let (Some(ended), Some(ts)) = (meeting.ended_ms, stopped_ms)
                    && is_after_end(ts, ended)
                    && (started_ms == 0 || started_ms > ended)
                {
                    // People stopped a stream of a run whose beginning arrives late.
                    meeting.begin_untold_life(first_of_next(ended));
                }
                self.meeting_stopped(now, &uuid);
            }
        }
    }

    /// Marks a meeting as stopped: no automatic start follows until a person starts it.
    pub(super) fn meeting_stopped(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        let had_stop = meeting.stop_at_ms.take().is_some();
        self.is_changed |= had_stop;
        meeting.stop_attempts = 0;
        if meeting.is_yielded {
            meeting.start = Start::Stopped;
        }
        if matches!(meeting.phase(), Phase::Stopped | Phase::Ended) {
            return;
        }
        meeting.calls.is_overtaken = meeting.calls.is_starting(now.instant);
        meeting.start = Start::Stopped;
        meeting.awaits_host = false;
        self.is_changed = true;
        self.cancel_calls(now, uuid);
    }

    /// Handles a withdrawal of consent: the stream is deleted now and, if necessary, again by the
    /// next process.
    pub(super) fn withdraw(&mut self, now: Now, stream_id: &str, is_repeat: bool) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        // Only the ids are kept, so that the stream is not rejoined.
        if !entry.is_superseded {
            entry.started.server_urls.clear();
            entry.started.operator_id = None;
            entry.started.account_id = None;
        }
        entry.is_revoked = true;
        let stamp = entry.stopped_ms.unwrap_or(0).max(now.unix_ms);
        entry.revoked_ms = entry.revoked_ms.max(Some(stamp));
        let uuid = entry.started.id.clone();
        self.is_changed = true;
        self.actions.push(Action::Discard(Withdrawal {
            id: Some(uuid.clone()).filter(|uuid| !uuid.is_empty()),
            stream_id: stream_id.to_owned(),
            is_repeat,
        }));
        if !self.has_stream(&uuid)
            && let Some(meeting) = self.meetings.get_mut(&uuid)
        {
            meeting.topic = None;
            meeting.host_id = None;
        }
    }

    fn restart(&mut self, now: Now, stream_id: &str, uuid: &str, reason: StopReason) {
        let has_stream = self.has_stream(uuid);
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        if meeting.is_yielded || matches!(meeting.phase(), Phase::Starting | Phase::AwaitingHost) {
            return;
        }
        let once = reason.policy() == StopPolicy::RestartOnce;
        let limit = if once { 1 } else { RESTARTS_MAX };
        let refusal = if !self.settings.can_call {
            Some("there are no credentials for REST")
        } else if !meeting.is_live() {
            Some("the meeting is over")
        } else if meeting.phase() == Phase::Stopped {
            Some("people or RTMS_STOP_AFTER stopped it")
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
        // Once the credentials are corrected, a reload or a restart starts it.
        if once && refusal.is_some() && meeting.phase() == Phase::Started {
            meeting.start = Start::GaveUp;
        }
        if let Some(why) = refusal {
            let text =
                format!("stopped stream={stream_id}: {reason}; not started again, because {why}");
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
