//! Scheduling of REST calls, and reactions to their outcomes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::entry::{MeetingEntry, Start};
use super::phase::Phase;
use super::{Action, Coordinator, Now, ScheduledCall};
use crate::coordinator::retry::StartRetry;
use crate::domain::rest::{ControlRequest, FailedCall, FailureClass, RestAction};
use crate::domain::severity::Severity;

impl Coordinator {
    /// Handles the outcome of a REST call.
    pub fn handle_call(
        &mut self,
        now: Now,
        call: &ScheduledCall,
        result: Result<(), FailedCall>,
    ) -> Vec<Action> {
        if let Some(meeting) = self.meetings.get_mut(&call.meeting) {
            let newest = match call.request.action {
                RestAction::Start => meeting.calls.newest_start,
                _ => meeting.calls.newest_stop,
            };
            if newest != call.number {
                let outcome = match &result {
                    Ok(()) => "accepted",
                    Err(_) => "failed",
                };
                let text = format!(
                    "{} {outcome} {}, which a newer call replaced",
                    call.request.action.name(),
                    log_fields(call)
                );
                self.log(Severity::Info, &text);
                return std::mem::take(&mut self.actions);
            }
            match call.request.action {
                RestAction::Start => meeting.calls.start = None,
                _ => meeting.calls.stop = None,
            }
        }
        let is_yielded = |meeting: &MeetingEntry| meeting.is_yielded;
        if self.meetings.get(&call.meeting).is_some_and(is_yielded) {
            self.yielded_call(now, call, result.is_ok());
            return std::mem::take(&mut self.actions);
        }
        match (call.request.action, result) {
            (RestAction::Start, Ok(())) => {
                self.log(
                    Severity::Info,
                    &format!("start accepted {}", log_fields(call)),
                );
                self.start_accepted(now, call);
            }
            (RestAction::Start, Err(failed)) => self.start_failed(now, call, &failed),
            (_, Ok(())) => {
                let why = match self.settings.stop_after {
                    Some(_) => "; RTMS_STOP_AFTER ends this stream",
                    None => "",
                };
                self.log(
                    Severity::Info,
                    &format!("stop accepted {}{why}", log_fields(call)),
                );
                self.meeting_stopped(now, &call.meeting);
            }
            (_, Err(failed)) => self.stop_failed(now, call, &failed),
        }
        std::mem::take(&mut self.actions)
    }

    /// The outcome of a call for a meeting that another node has since. That node learns by Zoom's events
    /// what came of it. But a start that people stopped meanwhile is undone by who made it.
    fn yielded_call(&mut self, now: Now, call: &ScheduledCall, is_accepted: bool) {
        let outcome = if is_accepted { "accepted" } else { "failed" };
        let text = format!(
            "{} {outcome} {}, which another node has now",
            call.request.action.name(),
            log_fields(call)
        );
        self.log(Severity::Info, &text);
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        let is_overtaken = std::mem::take(&mut meeting.calls.is_overtaken);
        if is_overtaken && is_accepted && meeting.is_live() {
            self.call(now.instant, &call.meeting, RestAction::Stop);
        }
    }

    /// Makes a start call at once, instead of a waiting one.
    pub(super) fn start_now(&mut self, now: Now, uuid: &str) {
        self.start_at(now, now.instant, uuid);
    }

    /// Makes a start call at that time, instead of a waiting one.
    pub(super) fn start_at(&mut self, now: Now, at: Instant, uuid: &str) {
        self.cancel_start(now, uuid);
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            if meeting.meeting_id.is_none() {
                return;
            }
            if meeting.phase() == Phase::GaveUp {
                meeting.restarts = 0;
            }
            meeting.start = Start::Trying {
                attempts: 0,
                since: Some(at),
            };
            meeting.awaits_host = false;
            self.is_changed = true;
        }
        self.call(at, uuid, RestAction::Start);
    }

    fn start_accepted(&mut self, now: Now, call: &ScheduledCall) {
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        if std::mem::take(&mut meeting.calls.is_overtaken) && meeting.is_live() {
            meeting.stop_at_ms = Some(now.unix_ms);
            self.is_changed = true;
            self.log(
                Severity::Warn,
                &format!(
                    "people stopped the stream while it was started: stopping it {}",
                    log_fields(call)
                ),
            );
            return self.call(now.instant, &call.meeting, RestAction::Stop);
        }
        self.start_done(now, &call.meeting);
    }

    /// A stream of the meeting started for any reason: none of our calls is due any more.
    pub(super) fn stream_came(&mut self, now: Now, ts: u64, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        meeting.touched_ms = now.unix_ms;
        meeting.saw_stream(ts);
        // Zoom told this node of it, so it is no longer another's.
        let was_yielded = std::mem::take(&mut meeting.is_yielded);
        self.is_changed = true;
        match meeting.ended_ms {
            Some(ended) if ts <= ended => return,
            Some(_) => meeting.begin_life(ts),
            None => meeting.life_ms = meeting.life_ms.map(|life| life.min(ts)),
        }
        self.start_done(now, uuid);
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            // A stop by people counts also if an earlier start arrives after it.
            let is_newest = ts == 0 || meeting.stream_ms.is_none_or(|newest| ts >= newest);
            if is_newest || meeting.phase() != Phase::Stopped {
                meeting.start = Start::Done;
            }
            let has_call = meeting.calls.stop.is_some();
            if let Some(stop_at_ms) = meeting.stop_at_ms.filter(|_| was_yielded && !has_call) {
                let wait = Duration::from_millis(stop_at_ms.saturating_sub(now.unix_ms));
                self.call(now.instant + wait, uuid, RestAction::Stop);
            }
        }
    }

    /// A start succeeded, with or without an answer: a waiting one would be a second start.
    fn start_done(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        // A late answer to a call that is no longer needed.
        if !meeting.is_live() || !matches!(meeting.start, Start::Trying { .. }) {
            return;
        }
        meeting.start = Start::Done;
        meeting.awaits_host = false;
        self.is_changed = true;
        self.cancel_calls(now, uuid);
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        let Some(after) = self.settings.stop_after else {
            // It was of an earlier stream, and was cancelled above.
            meeting.stop_at_ms = None;
            meeting.stop_attempts = 0;
            return;
        };
        // A stream that was started again keeps the first one's stop.
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
        meeting.calls.is_overtaken = false;
        let has_joined = std::mem::take(&mut meeting.calls.has_joined);
        let Start::Trying { attempts, since } = &mut meeting.start else {
            return;
        };
        *attempts += 1;
        let (attempts, since) = (*attempts, since.unwrap_or(now.instant));
        let elapsed = now.instant.saturating_duration_since(since);
        let retry = StartRetry::new(seed(&call.meeting));
        let Some(delay) = retry.delay(attempts, elapsed, failed) else {
            meeting.start = Start::GaveUp;
            meeting.awaits_host = false;
            self.is_changed = true;
            return self.log(failed.severity, &describe_failure(call, failed));
        };
        let awaits_host = failed.class == FailureClass::NotPermitted;
        let did_await = std::mem::replace(&mut meeting.awaits_host, awaits_host);
        self.is_changed |= did_await != awaits_host;
        if !awaits_host {
            return self.try_again(now, call, failed, delay);
        }
        let delay = if has_joined { Duration::ZERO } else { delay };
        let (reason, awaited) = match self.settings.participant_user_id {
            None => ("perhaps the host is not there yet", "the host"),
            Some(_) => (
                "perhaps the participant of RTMS_PARTICIPANT_USER_ID, or the host, is not there yet",
                "that participant or the host",
            ),
        };
        // The first refusal is logged in full; later ones briefly.
        let (severity, text) = match did_await {
            false => (
                Severity::Warn,
                format!(
                    "{}; {reason}: waiting for {awaited} to join, next try in {:.1} s, then more and \
                     more slowly",
                    describe_failure(call, failed),
                    delay.as_secs_f32()
                ),
            ),
            true => (
                Severity::Info,
                format!(
                    "start still not permitted, waiting for {awaited} to join {}; next try in {:.1} s",
                    log_fields(call),
                    delay.as_secs_f32()
                ),
            ),
        };
        self.log(severity, &text);
        self.call(now.instant + delay, &call.meeting, RestAction::Start);
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
        // A user who may not stop it now will hardly be permitted to later.
        let failed_for_good = failed.class == FailureClass::NotPermitted || !meeting.is_live();
        let retry = StartRetry::new(seed(&call.meeting));
        match retry
            .delay(meeting.stop_attempts, elapsed, failed)
            .filter(|_| !failed_for_good)
        {
            Some(delay) => self.try_again(now, call, failed, delay),
            None => {
                self.log(failed.severity, &describe_failure(call, failed));
                self.meeting_stopped(now, &call.meeting);
            }
        }
    }

    /// Schedules a call.
    pub(super) fn call(&mut self, at: Instant, uuid: &str, action: RestAction) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        let Some(id) = &meeting.meeting_id else {
            return;
        };
        let request = ControlRequest {
            account_id: meeting.account_id.clone(),
            host_id: meeting.host_id.clone(),
            ..ControlRequest::new(action, meeting.product, id.clone())
        };
        let number = meeting.calls.newest.wrapping_add(1);
        meeting.calls.newest = number;
        let at = match action {
            RestAction::Start => meeting.calls.hold.map_or(at, |hold| at.max(hold)),
            _ => at,
        };
        match action {
            RestAction::Start => {
                meeting.calls.newest_start = number;
                meeting.calls.start = Some(at);
                meeting.calls.is_overtaken = false;
            }
            _ => {
                meeting.calls.newest_stop = number;
                meeting.calls.stop = Some(at);
            }
        }
        self.actions.push(Action::CallRest(ScheduledCall {
            at,
            meeting: uuid.to_owned(),
            number,
            request,
        }));
    }

    /// Cancels the waiting calls of a meeting.
    pub(super) fn cancel_calls(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        if !meeting.calls.are_due() {
            return;
        }
        let is_made = |at: &Instant| *at <= now.instant;
        meeting.calls.start = meeting.calls.start.filter(is_made);
        meeting.calls.stop = meeting.calls.stop.filter(is_made);
        self.actions.push(Action::Cancel {
            meeting: uuid.to_owned(),
        });
    }

    /// Cancels a waiting start; a scheduled stop stays.
    fn cancel_start(&mut self, now: Now, uuid: &str) {
        let calls = self.meetings.get(uuid).map(|meeting| meeting.calls);
        let Some(calls) = calls.filter(|calls| calls.start.is_some_and(|at| at > now.instant))
        else {
            return;
        };
        self.cancel_calls(now, uuid);
        if let Some(at) = calls.stop.filter(|at| *at > now.instant) {
            self.call(at, uuid, RestAction::Stop);
        }
    }
}

/// The meeting of a call, as in other log lines: number and UUID. For sessions, engagements and
/// calls both are the same id.
fn log_fields(call: &ScheduledCall) -> String {
    match call.request.id == call.meeting {
        true => format!("id={}", call.meeting),
        false => format!("meeting={} id={}", call.request.id, call.meeting),
    }
}

/// A failure with the call that it prevented; an error of a token does not name the call.
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

/// A seed that spreads the retries of meetings that started at the same time.
fn seed(uuid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}
