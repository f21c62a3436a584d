//! Gaps of the event WebSocket, on which Zoom repeats nothing: what may have been missed, and what can
//! be asked.
//!
//! Zoom has no question "which streams run?" for meetings. A REST start answers it for one meeting: it
//! is refused if the meeting is over. So after a gap each meeting that is known to run, and of which no
//! stream is here although one was started, is started again: not before the minute is over in which
//! Zoom still waits for us on a stream that was announced in the gap.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::{Action, Coordinator, Now, RESTARTS_MAX};
use crate::domain::severity::Severity;
use crate::domain::time::Utc;

/// Zoom waits this long for our connection after it has announced a stream, and then ends it.
const ANNOUNCED_MAX: Duration = Duration::from_secs(65);

/// A shorter gap is a line of level info.
const SHORT_MS: u64 = 1_000;

/// When Zoom was heard on the event WebSocket, for the next process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventsSeen {
    /// The last time that was reported, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    heard_ms: Option<u64>,
    /// The last gap.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    gap: Option<Gap>,
}

/// A time in which events may have been missed. Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When Zoom was heard last before it.
    pub since_ms: u64,
    /// When events could arrive again.
    pub until_ms: u64,
}

impl EventsSeen {
    pub(super) fn is_nothing(&self) -> bool {
        *self == EventsSeen::default()
    }
}

impl Coordinator {
    /// Zoom was heard on the event WebSocket at that time.
    pub fn events_heard(&mut self, ms: u64) {
        self.events.heard_ms = self.events.heard_ms.max(Some(ms));
        self.is_changed = true;
    }

    /// The last gap of the event WebSocket.
    pub fn last_gap(&self) -> Option<Gap> {
        self.events.gap
    }

    /// Events can arrive again. Without a start the gap began when the previous process heard Zoom last.
    pub fn after_gap(&mut self, now: Now, since_ms: Option<u64>, until_ms: u64) -> Vec<Action> {
        let since_ms = since_ms.or(self.events.heard_ms);
        self.events_heard(until_ms);
        let Some(since_ms) = since_ms.filter(|since| *since < until_ms) else {
            return Vec::new();
        };
        self.events.gap = Some(Gap { since_ms, until_ms });
        let severity = match until_ms - since_ms {
            ..SHORT_MS => Severity::Info,
            _ => Severity::Warn,
        };
        let text = format!(
            "events may have been missed since={} until={}; Zoom does not send them again",
            Utc::from_unix_ms(since_ms),
            Utc::from_unix_ms(until_ms)
        );
        self.log(severity, &text);
        let meetings: Vec<String> = self.meetings.keys().cloned().collect();
        for uuid in meetings {
            self.ask_by_start(now, since_ms, &uuid);
        }
        std::mem::take(&mut self.actions)
    }

    /// Starts a meeting again whose stream should be here and is not.
    fn ask_by_start(&mut self, now: Now, since_ms: u64, uuid: &str) {
        let has_stream = self.has_stream(uuid);
        let Some(meeting) = self.meetings.get(uuid) else {
            return;
        };
        let is_wanted = self.settings.auto_start
            && meeting.phase() == Phase::Started
            && meeting.meeting_id.is_some()
            && meeting.restarts < RESTARTS_MAX
            && !has_stream;
        if !is_wanted {
            return;
        }
        let elapsed = Duration::from_millis(now.unix_ms.saturating_sub(since_ms));
        let wait = ANNOUNCED_MAX.saturating_sub(elapsed);
        let id = meeting.meeting_id.clone().unwrap_or_default();
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            meeting.restarts += 1;
        }
        self.log(
            Severity::Warn,
            &format!(
                "no stream is here and its announcement may have been missed: starting again in {} s \
                 meeting={id} id={uuid}",
                wait.as_secs()
            ),
        );
        self.start_at(now, now.instant + wait, uuid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::*;
    use crate::domain::rest::RestAction;
    use crate::protocol::{EndReason, LinkId, Loss};

    const MINUTE: Duration = Duration::from_secs(60);

    fn after_gap(w: &mut World, since_ms: Option<u64>) -> Vec<Action> {
        let until_ms = w.now.unix_ms;
        w.coordinator.after_gap(w.now, since_ms, until_ms)
    }

    fn logged(actions: &[Action], word: &str) -> usize {
        let is_it =
            |action: &&Action| matches!(action, Action::Log(_, text) if text.contains(word));
        actions.iter().filter(is_it).count()
    }

    #[test]
    fn a_stream_that_runs_through_a_gap_of_ten_minutes_is_left_alone() {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.started(T0 + 1);
        w.pass(10 * MINUTE);
        let actions = after_gap(&mut w, Some(T0 + 1000));
        assert_eq!(w.calls(&actions), []);
        assert_eq!(
            logged(&actions, "events may have been missed since=2025-12-29T"),
            1
        );
        let gap = w.coordinator.last_gap().expect("a gap");
        assert_eq!((gap.since_ms, gap.until_ms), (T0 + 1000, T0 + 600_000));
    }

    #[test]
    fn a_stream_that_was_announced_in_a_gap_of_ten_minutes_is_started_again_at_once() {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.pass(10 * MINUTE);
        let actions = after_gap(&mut w, Some(T0 + 1000));
        assert_eq!(w.calls(&actions), [(RestAction::Start, Duration::ZERO)]);
        // Zoom accepts it, and a new stream comes.
        w.call(RestAction::Start, Ok(()));
        assert_eq!(w.started(w.now.unix_ms).len(), 1);
        // The next gap has no consequence.
        w.pass(MINUTE);
        let since = w.now.unix_ms - 5000;
        let actions = after_gap(&mut w, Some(since));
        assert_eq!(w.calls(&actions), []);
    }

    #[test]
    fn after_a_short_gap_the_minute_is_awaited_in_which_zoom_waits_for_us() {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.pass(Duration::from_secs(5));
        let actions = after_gap(&mut w, Some(T0 + 1000));
        assert_eq!(
            w.calls(&actions),
            [(RestAction::Start, Duration::from_secs(61))]
        );
        // Its announcement was only late: no second start.
        let actions = w.started(T0 + 2000);
        assert!(
            actions
                .iter()
                .any(|action| matches!(action, Action::Cancel { .. })),
            "{actions:?}"
        );
    }

    #[test]
    fn a_meeting_that_is_over_is_asked_once() {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.pass(10 * MINUTE);
        after_gap(&mut w, Some(T0 + 1000));
        // Zoom knows no such live meeting.
        w.call(
            RestAction::Start,
            Err(failed(crate::domain::rest::FailureClass::GiveUp)),
        );
        w.pass(MINUTE);
        let since = w.now.unix_ms - 5000;
        let actions = after_gap(&mut w, Some(since));
        assert_eq!(w.calls(&actions), []);
    }

    #[test]
    fn what_people_stopped_or_never_wanted_is_not_started() {
        let mut w = world(settings());
        w.started(T0);
        w.stops(T0 + 10, 2);
        w.pass(10 * MINUTE);
        let actions = after_gap(&mut w, Some(T0));
        assert_eq!(w.calls(&actions), []);
        let auto_start = false;
        let mut w = world(super::super::Settings {
            auto_start,
            ..settings()
        });
        w.started(T0);
        w.ended(EndReason::Lost(LinkId::Signaling, Loss::Silent));
        w.pass(10 * MINUTE);
        let actions = after_gap(&mut w, Some(T0));
        assert_eq!(w.calls(&actions), []);
    }

    #[test]
    fn a_stream_that_was_lost_in_a_gap_is_started_again() {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.started(T0 + 1);
        w.ended(EndReason::Lost(LinkId::Signaling, Loss::Silent));
        w.pass(10 * MINUTE);
        let actions = after_gap(&mut w, Some(T0 + 10));
        assert_eq!(w.calls(&actions), [(RestAction::Start, Duration::ZERO)]);
    }

    #[test]
    fn the_time_without_a_server_is_a_gap() {
        let mut w = world(settings());
        // The first server ever has missed nothing that it could name.
        assert_eq!(after_gap(&mut w, None), []);
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.pass(MINUTE);
        w.coordinator.events_heard(w.now.unix_ms);
        let heard = w.now.unix_ms;
        w.pass(10 * MINUTE);
        let actions = w.restart(settings());
        assert_eq!(w.calls(&actions), []);
        let actions = after_gap(&mut w, None);
        assert_eq!(w.calls(&actions), [(RestAction::Start, Duration::ZERO)]);
        assert_eq!(
            w.coordinator.last_gap().map(|gap| gap.since_ms),
            Some(heard)
        );
    }
}
