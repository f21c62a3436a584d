//! The REST calls: when one is due, and what follows from how it ended.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::entry::Start;
use super::{Action, Coordinator, Now, ScheduledCall};
use crate::coordinator::retry::StartRetry;
use crate::domain::rest::{ControlRequest, FailedCall, RestAction};
use crate::domain::severity::Severity;

impl Coordinator {
    /// A REST call came to its end.
    pub fn handle_call(
        &mut self,
        now: Now,
        call: &ScheduledCall,
        result: Result<(), FailedCall>,
    ) -> Vec<Action> {
        match (call.request.action, result) {
            (RestAction::Start, Ok(())) => {
                self.log(
                    Severity::Info,
                    &format!("start accepted {}", log_fields(call)),
                );
                self.start_succeeded(now, &call.meeting);
            }
            (RestAction::Start, Err(failed)) => self.start_failed(now, call, &failed),
            (_, Ok(())) => {
                self.log(
                    Severity::Info,
                    &format!(
                        "stop accepted {}; RTMS_STOP_AFTER ends this stream",
                        log_fields(call)
                    ),
                );
                self.stop_done(&call.meeting);
            }
            (_, Err(failed)) => self.stop_failed(now, call, &failed),
        }
        std::mem::take(&mut self.actions)
    }

    /// A stream of the meeting is there, so a start worked, whatever became of the answer to it:
    /// one that is still due would be a second one.
    pub(super) fn start_succeeded(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        // A late answer to a call that has become pointless.
        if !matches!(meeting.start, Start::Trying { .. }) {
            return;
        }
        meeting.start = Start::Done;
        self.is_changed = true;
        // No second start, should the answer to the first have been an error that was none.
        self.actions.push(Action::Cancel {
            meeting: uuid.to_owned(),
        });
        let Some(after) = self.settings.stop_after.filter(|_| meeting.is_live()) else {
            return;
        };
        // A stream that was started again keeps the stop of the first.
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let stop_at_ms = *meeting
            .stop_at_ms
            .get_or_insert(now.unix_ms.saturating_add(after_ms));
        let wait = Duration::from_millis(stop_at_ms.saturating_sub(now.unix_ms));
        self.call(now.instant + wait, uuid, RestAction::Stop);
    }

    fn start_failed(&mut self, now: Now, call: &ScheduledCall, failed: &FailedCall) {
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        let Start::Trying { attempts, since } = &mut meeting.start else {
            return;
        };
        *attempts += 1;
        let (attempts, since) = (*attempts, since.unwrap_or(now.instant));
        let elapsed = now.instant.saturating_duration_since(since);
        let delay = match meeting.is_live() {
            true => StartRetry::new(seed(&call.meeting)).delay(attempts, elapsed, failed),
            false => None,
        };
        match delay {
            Some(delay) => self.try_again(now, call, failed, delay),
            None => {
                if let Some(meeting) = self.meetings.get_mut(&call.meeting) {
                    meeting.start = Start::GaveUp;
                }
                self.is_changed = true;
                self.log(failed.severity, &describe_failure(call, failed));
            }
        }
    }

    fn try_again(&mut self, now: Now, call: &ScheduledCall, failed: &FailedCall, delay: Duration) {
        let text = format!(
            "{}; will be tried again in {:.1} s",
            describe_failure(call, failed),
            delay.as_secs_f32()
        );
        self.log(Severity::Warn, &text);
        self.call(now.instant + delay, &call.meeting, call.request.action);
    }

    fn stop_failed(&mut self, now: Now, call: &ScheduledCall, failed: &FailedCall) {
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        let Some(stop_at_ms) = meeting.stop_at_ms else {
            return;
        };
        meeting.stop_attempts += 1;
        let elapsed = Duration::from_millis(now.unix_ms.saturating_sub(stop_at_ms));
        let retry = StartRetry::new(seed(&call.meeting));
        match retry
            .delay(meeting.stop_attempts, elapsed, failed)
            .filter(|_| meeting.is_live())
        {
            Some(delay) => self.try_again(now, call, failed, delay),
            None => {
                self.log(failed.severity, &describe_failure(call, failed));
                self.stop_done(&call.meeting);
            }
        }
    }

    pub(super) fn stop_done(&mut self, uuid: &str) {
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            meeting.stop_at_ms = None;
            meeting.stop_attempts = 0;
            // Also a restart under way: what was to be stopped is not started again.
            if matches!(meeting.start, Start::Done | Start::Trying { .. }) {
                meeting.start = Start::Stopped;
            }
            self.is_changed = true;
            self.actions.push(Action::Cancel {
                meeting: uuid.to_owned(),
            });
        }
    }

    pub(super) fn call(&mut self, at: Instant, uuid: &str, action: RestAction) {
        let Some(meeting) = self.meetings.get(uuid) else {
            return;
        };
        let Some(id) = &meeting.meeting_id else {
            return;
        };
        let request = ControlRequest::new(action, meeting.product, id.clone());
        self.actions.push(Action::CallRest(ScheduledCall {
            at,
            meeting: uuid.to_owned(),
            request,
        }));
    }
}

/// What a call is about, as in other log lines: number and UUID. Sessions, engagements and
/// calls have one id for both.
fn log_fields(call: &ScheduledCall) -> String {
    match call.request.id == call.meeting {
        true => format!("id={}", call.meeting),
        false => format!("meeting={} id={}", call.request.id, call.meeting),
    }
}

/// A failure with the call that it stopped; one about a token does not name the call.
fn describe_failure(call: &ScheduledCall, failed: &FailedCall) -> String {
    let (action, id) = (call.request.action.name(), &call.request.id);
    match failed.text.starts_with(action) {
        true => failed.text.clone(),
        false => format!(
            "{action} {} {id}: {}",
            call.request.product.name(),
            failed.text
        ),
    }
}

/// Keeps the tries of meetings apart that began at the same moment.
fn seed(uuid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}
