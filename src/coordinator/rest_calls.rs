//! The REST calls: when one is due, and what follows from how it ended.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::entry::Start;
use super::{Action, Coordinator, Now, ScheduledCall};
use crate::coordinator::retry::StartRetry;
use crate::zoom_api;
use crate::zoom_api::ControlRequest;

impl Coordinator {
    /// A REST call came to its end.
    pub fn handle_call(
        &mut self,
        now: Now,
        call: &ScheduledCall,
        result: Result<(), zoom_api::Error>,
    ) -> Vec<Action> {
        match (call.control.action, result) {
            (zoom_api::RestAction::Start, Ok(())) => {
                self.log(
                    log::Level::Info,
                    &format!("start accepted {}", subject(call)),
                );
                self.start_succeeded(now, &call.meeting);
            }
            (zoom_api::RestAction::Start, Err(error)) => self.start_failed(now, call, &error),
            (_, Ok(())) => {
                self.log(
                    log::Level::Info,
                    &format!(
                        "stop accepted {}; RTMS_STOP_AFTER ends this stream",
                        subject(call)
                    ),
                );
                self.stop_done(&call.meeting);
            }
            (_, Err(error)) => self.stop_failed(now, call, &error),
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
        self.call(now.instant + wait, uuid, zoom_api::RestAction::Stop);
    }

    fn start_failed(&mut self, now: Now, call: &ScheduledCall, error: &zoom_api::Error) {
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
            true => StartRetry::new(seed(&call.meeting)).delay(attempts, elapsed, error),
            false => None,
        };
        match delay {
            Some(delay) => self.try_again(now, call, error, delay),
            None => {
                if let Some(meeting) = self.meetings.get_mut(&call.meeting) {
                    meeting.start = Start::GaveUp;
                }
                self.is_changed = true;
                self.log(error.log_level(), &told(call, error));
            }
        }
    }

    fn try_again(
        &mut self,
        now: Now,
        call: &ScheduledCall,
        error: &zoom_api::Error,
        delay: Duration,
    ) {
        let text = format!(
            "{}; will be tried again in {:.1} s",
            told(call, error),
            delay.as_secs_f32()
        );
        self.log(log::Level::Warn, &text);
        self.call(now.instant + delay, &call.meeting, call.control.action);
    }

    fn stop_failed(&mut self, now: Now, call: &ScheduledCall, error: &zoom_api::Error) {
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
            .delay(meeting.stop_attempts, elapsed, error)
            .filter(|_| meeting.is_live())
        {
            Some(delay) => self.try_again(now, call, error, delay),
            None => {
                self.log(error.log_level(), &told(call, error));
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

    pub(super) fn call(&mut self, at: Instant, uuid: &str, action: zoom_api::RestAction) {
        let Some(meeting) = self.meetings.get(uuid) else {
            return;
        };
        let Some(id) = &meeting.meeting_id else {
            return;
        };
        let control = ControlRequest::new(action, meeting.product, id.clone());
        self.actions.push(Action::CallRest(ScheduledCall {
            at,
            meeting: uuid.to_owned(),
            control,
        }));
    }
}

/// Whom a call is about, as other lines name it: by number and by UUID. Sessions, engagements and
/// calls have one id for both.
fn subject(call: &ScheduledCall) -> String {
    match call.control.id == call.meeting {
        true => format!("id={}", call.meeting),
        false => format!("meeting={} id={}", call.control.id, call.meeting),
    }
}

/// An error with the call that it stopped, which one about a token does not name.
fn told(call: &ScheduledCall, error: &zoom_api::Error) -> String {
    let text = error.to_string();
    let (action, id) = (call.control.action.name(), &call.control.id);
    match text.starts_with(action) {
        true => text,
        false => format!("{action} {} {id}: {text}", call.control.product.name()),
    }
}

/// Keeps the tries of meetings apart that began at the same moment.
fn seed(uuid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}
