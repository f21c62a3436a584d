//! Tests of the coordinator: the table of [`super`], row by row, and restarts, stops and failed
//! calls.

use super::*;
use crate::domain::product::Product;
use crate::domain::rest::{FailedCall, FailureClass, RestAction};
use crate::domain::zoom_event::{
    MeetingInfo, ParticipantJoined, StreamInterrupted, StreamStarted, StreamStopped,
};
use crate::protocol::{EndReason, SIGNALING_WINDOW};

pub(super) const UUID: &str = "a/B+c==";
/// Zoom's timestamps in these tests start here; our clock agrees unless a test says otherwise.
pub(super) const T0: u64 = 1_767_000_000_000;

pub(super) struct World {
    pub(super) coordinator: Coordinator,
    /// The coordinator's state when its process started.
    snapshot: Vec<u8>,
    pub(super) now: Now,
}

pub(super) fn settings() -> Settings {
    Settings {
        auto_start: true,
        can_call: true,
        stop_after: None,
        streams: StreamChoice::All,
        participant_user_id: None,
        app: None,
        node: None,
    }
}

pub(super) fn world(settings: Settings) -> World {
    World {
        coordinator: Coordinator::new(settings.clone()),
        snapshot: Coordinator::new(settings).to_json(),
        now: Now {
            instant: Instant::now(),
            unix_ms: T0,
        },
    }
}

pub(super) fn failed(class: FailureClass) -> FailedCall {
    FailedCall {
        class,
        retry_after: None,
        code: None,
        severity: match class {
            FailureClass::GiveUp | FailureClass::NotPermitted => Severity::Error,
            FailureClass::Retry | FailureClass::Early => Severity::Warn,
        },
        text: "start meeting 81234567890: refused".to_owned(),
    }
}

pub(super) fn life(uuid: &str) -> MeetingInfo {
    MeetingInfo {
        product: Product::Meeting,
        meeting_id: "81234567890".to_owned(),
        meeting_uuid: uuid.to_owned(),
        host_id: None,
        topic: Some("Weekly".to_owned()),
        account_id: None,
    }
}

pub(super) fn stream_of(uuid: &str, stream_id: &str) -> StreamStarted {
    StreamStarted {
        product: Product::Meeting,
        id: uuid.to_owned(),
        stream_id: stream_id.to_owned(),
        server_urls: vec!["wss://sig.zoom.us".to_owned()],
        meeting_id: Some("81234567890".to_owned()),
        operator_id: None,
        is_original_host: None,
        account_id: None,
    }
}

impl World {
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
    }

    pub(super) fn webhook(&mut self, ts: u64, event: ZoomEventKind) -> Vec<Action> {
        let webhook = ZoomEvent {
            event_ts_ms: ts,
            event,
        };
        self.coordinator.handle_zoom_event(self.now, webhook)
    }

    pub(super) fn meeting_started(&mut self, ts: u64) -> Vec<Action> {
        self.webhook(ts, ZoomEventKind::MeetingStarted(life(UUID)))
    }

    pub(super) fn meeting_ended(&mut self, ts: u64) -> Vec<Action> {
        self.webhook(ts, ZoomEventKind::MeetingEnded(life(UUID)))
    }

    pub(super) fn started(&mut self, ts: u64) -> Vec<Action> {
        self.webhook(ts, ZoomEventKind::StreamStarted(stream_of(UUID, "s1")))
    }

    pub(super) fn interrupted(&mut self, ts: u64, urls: &[&str]) -> Vec<Action> {
        let event = StreamInterrupted {
            product: Product::Meeting,
            id: Some(UUID.to_owned()),
            stream_id: "s1".to_owned(),
            server_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        };
        self.webhook(ts, ZoomEventKind::StreamInterrupted(event))
    }

    pub(super) fn stopped(&mut self, ts: u64, reason: i64) -> Vec<Action> {
        let event = StreamStopped {
            product: Product::Meeting,
            id: Some(UUID.to_owned()),
            stream_id: "s1".to_owned(),
            stop_reason: Some(reason),
        };
        self.webhook(ts, ZoomEventKind::StreamStopped(event))
    }

    pub(super) fn ended(&mut self, end: EndReason) -> Vec<Action> {
        self.coordinator.handle_end(self.now, "s1", &end)
    }

    /// Stopped by webhook, and then the thread ends.
    pub(super) fn stops(&mut self, ts: u64, reason: i64) -> Vec<Action> {
        let told = self.stopped(ts, reason);
        assert_eq!(stops_of(&told), [("s1", reason)]);
        self.ended(EndReason::Stopped(StopReason(reason)))
    }

    /// The number of the newest call of that kind.
    fn newest_call(&self, action: RestAction) -> u32 {
        let calls = self.coordinator.meetings.get(UUID).map(|m| m.calls);
        let calls = calls.unwrap_or_default();
        match action {
            RestAction::Start => calls.newest_start,
            _ => calls.newest_stop,
        }
    }

    pub(super) fn call(
        &mut self,
        action: RestAction,
        result: Result<(), FailedCall>,
    ) -> Vec<Action> {
        let call = ScheduledCall {
            at: self.now.instant,
            meeting: UUID.to_owned(),
            number: self.newest_call(action),
            request: ControlRequest::new(action, Product::Meeting, "81234567890"),
        };
        self.coordinator.handle_call(self.now, &call, result)
    }

    /// A new process: it has the snapshot from the last one's start, and its changes.
    pub(super) fn restart(&mut self, settings: Settings) -> Vec<Action> {
        let next = Coordinator::from_json(settings, &self.snapshot);
        let mut next = next.expect("our own JSON");
        if let Some(changes) = self.coordinator.take_changes() {
            next.apply_changes(&changes).expect("our own JSON");
        }
        self.snapshot = next.to_json();
        self.coordinator = next;
        self.coordinator.resume(self.now)
    }

    /// When the REST calls in the actions are due, from now.
    pub(super) fn calls(&self, actions: &[Action]) -> Vec<(RestAction, Duration)> {
        let calls = actions.iter().filter_map(|action| match action {
            Action::CallRest(call) => Some((call.request.action, call.at - self.now.instant)),
            _ => None,
        });
        calls.collect()
    }
}

/// The streams to run, with the time that Zoom still waits, and whether they are rejoined.
fn starts(actions: &[Action]) -> Vec<(&str, Duration, bool)> {
    let starts = actions.iter().filter_map(|action| match action {
        Action::Start(plan) => Some((plan.info.stream_id.as_str(), plan.window, plan.is_rejoin)),
        _ => None,
    });
    starts.collect()
}

fn stops_of(actions: &[Action]) -> Vec<(&str, i64)> {
    let stops = actions.iter().filter_map(|action| match action {
        Action::Stopped { stream_id, reason } => Some((stream_id.as_str(), reason.0)),
        _ => None,
    });
    stops.collect()
}

fn is_cancelled(actions: &[Action]) -> bool {
    let meeting = UUID.to_owned();
    actions.contains(&Action::Cancel { meeting })
}

fn discarded(actions: &[Action]) -> Vec<&str> {
    let infos = actions.iter().filter_map(|action| match action {
        Action::Discard(withdrawal) => Some(withdrawal.stream_id.as_str()),
        _ => None,
    });
    infos.collect()
}

const MINUTE: Duration = SIGNALING_WINDOW;
const NOW: Duration = Duration::ZERO;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Each row of the table.

#[test]
fn a_meeting_is_started_once() {
    let mut w = world(settings());
    let actions = w.meeting_started(T0);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    assert_eq!(w.meeting_started(T0), [], "a retry");
    assert_eq!(w.meeting_started(T0 + 5), [], "another one, newer");
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), []);
    w.pass(secs(85 * 60));
    assert_eq!(w.meeting_started(T0), [], "a retry, an hour later");
}

#[test]
fn a_meeting_with_a_stream_is_not_started() {
    let mut w = world(settings());
    assert_eq!(starts(&w.started(T0)), [("s1", MINUTE, false)]);
    assert_eq!(w.meeting_started(T0 - 1), []);
}

#[test]
fn nothing_is_started_without_credentials_or_auto_start() {
    let auto_start = false;
    let mut w = world(Settings {
        auto_start,
        ..settings()
    });
    assert_eq!(w.meeting_started(T0), []);
}

#[test]
fn a_new_stream_gets_what_is_left_of_its_minute() {
    for (age_s, window_s) in [(0, 60), (20, 40), (50, 15), (239, 15)] {
        let mut w = world(settings());
        let actions = w.started(T0 - 1000 * age_s);
        assert_eq!(starts(&actions), [("s1", secs(window_s), false)], "{age_s}");
    }
    // A wrong clock, or a missing timestamp.
    for ts in [T0 + 3_600_000, 0] {
        let mut w = world(settings());
        assert_eq!(starts(&w.started(ts)), [("s1", MINUTE, false)], "{ts}");
    }
}

#[test]
fn a_stream_that_is_too_old_is_logged_and_remembered() {
    let mut w = world(settings());
    let actions = w.started(T0 - 300_000);
    assert_eq!(starts(&actions), []);
    assert!(matches!(&actions[..], [Action::Log(Severity::Error, text)] if text.contains("300 s")));
    assert_eq!(w.started(T0 - 300_000), [], "the next retry is silent");
    assert_eq!(w.coordinator.active().count(), 0);
}

#[test]
fn a_repeated_start_is_ignored_and_a_newer_one_is_a_failover() {
    let mut w = world(settings());
    w.started(T0);
    assert_eq!(w.started(T0), []);
    assert_eq!(w.started(T0 - 1), [], "stale");
    let mut moved = stream_of(UUID, "s1");
    moved.server_urls = vec!["wss://other.zoom.us".to_owned()];
    let actions = w.webhook(T0 + 1, ZoomEventKind::StreamStarted(moved.clone()));
    let stream_id = "s1".to_owned();
    let urls = moved.server_urls.clone();
    assert_eq!(actions, [Action::FailOver { stream_id, urls }]);
    assert_eq!(w.webhook(T0 + 1, ZoomEventKind::StreamStarted(moved)), []);
    // The next process uses the new address.
    let actions = w.restart(settings());
    assert!(matches!(&actions[..], [Action::Start(plan)]
        if plan.server_urls == ["wss://other.zoom.us"]));
}

#[test]
fn a_stream_runs_again_only_after_a_start_newer_than_its_stop() {
    let mut w = world(settings());
    w.started(T0);
    w.stops(T0 + 10, 2);
    assert_eq!(w.started(T0), [], "a retry after the stop");
    assert_eq!(w.started(T0 + 5), [], "delayed");
    assert_eq!(w.started(T0 + 10), []);
    assert_eq!(starts(&w.started(T0 + 11)), [("s1", MINUTE, true)]);
    assert_eq!(stops_of(&w.stopped(T0 + 10, 2)), [], "the stop before it");
    assert_eq!(stops_of(&w.stopped(T0 + 20, 2)), [("s1", 2)]);
}

#[test]
fn a_stop_before_its_start_makes_the_start_stale() {
    let mut w = world(settings());
    assert_eq!(w.stopped(T0 + 10, 6), []);
    assert_eq!(w.started(T0), []);
    assert_eq!(w.coordinator.active().count(), 0);
    assert_eq!(starts(&w.started(T0 + 11)), [("s1", MINUTE, true)]);
}

#[test]
fn an_interruption_counts_once_and_only_while_the_stream_runs() {
    let mut w = world(settings());
    w.started(T0);
    let told = w.interrupted(T0 + 5, &[]);
    assert!(
        matches!(&told[..], [Action::Interrupted { event_ts_ms, .. }] if *event_ts_ms == T0 + 5)
    );
    assert_eq!(w.interrupted(T0 + 5, &[]), [], "a retry");
    assert_eq!(w.interrupted(T0 + 4, &[]), [], "an older one");
    assert_eq!(w.interrupted(T0 + 6, &[]).len(), 1);
    w.stops(T0 + 10, 6);
    assert_eq!(w.interrupted(T0 + 20, &[]), [], "after the stop");
}

#[test]
fn an_interruption_of_an_unknown_stream_with_urls_is_a_start() {
    let mut w = world(settings());
    let told = w.interrupted(T0, &[]);
    assert!(matches!(&told[..], [Action::Log(Severity::Warn, _)]));
    let actions = w.interrupted(T0 + 1, &["wss://sig.zoom.us"]);
    assert_eq!(starts(&actions), [("s1", MINUTE, false)]);
}

#[test]
fn a_stop_is_passed_on_once() {
    let mut w = world(settings());
    w.started(T0);
    assert_eq!(stops_of(&w.stopped(T0 - 1, 6)), [], "older than the start");
    assert_eq!(stops_of(&w.stopped(T0 + 1, 6)), [("s1", 6)]);
    assert_eq!(w.stopped(T0 + 1, 6), []);
    assert_eq!(w.ended(EndReason::Stopped(StopReason(6))), []);
    w.pass(secs(85 * 60));
    assert_eq!(w.stopped(T0 + 1, 6), []);
}

#[test]
fn the_end_of_a_meeting_ends_starts_and_stops() {
    let mut w = world(Settings {
        stop_after: Some(secs(10)),
        ..settings()
    });
    w.meeting_started(T0);
    let actions = w.meeting_ended(T0 + 1);
    assert!(is_cancelled(&actions));
    // The outcome of a call in progress no longer matters.
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), []);
    assert_eq!(w.meeting_ended(T0 + 1), [], "a retry");
    assert_eq!(w.restart(settings()), []);
    // Ended before started.
    let mut w = world(settings());
    w.meeting_ended(T0 + 1);
    assert_eq!(w.meeting_started(T0), []);
}

// REST starts that fail.

#[test]
fn a_start_that_is_early_is_tried_for_half_a_minute() {
    let mut w = world(settings());
    w.meeting_started(T0);
    let mut waited = NOW;
    let mut tries = 1;
    loop {
        let actions = w.call(RestAction::Start, Err(failed(FailureClass::Early)));
        let calls = w.calls(&actions);
        let [(RestAction::Start, wait)] = calls[..] else {
            break;
        };
        tries += 1;
        waited += wait;
        w.pass(wait);
    }
    assert!((5..=7).contains(&tries), "{tries}");
    assert!(waited > secs(28) && waited <= secs(30), "{waited:?}");
    // After giving up, a newer meeting.started starts a new try; a repeat of the old one does not.
    assert_eq!(w.meeting_started(T0), []);
    let actions = w.meeting_started(T0 + 60_000);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
}

#[test]
fn a_permanently_refused_start_is_logged_and_given_up() {
    let mut w = world(settings());
    w.meeting_started(T0);
    let actions = w.call(RestAction::Start, Err(failed(FailureClass::GiveUp)));
    assert!(matches!(&actions[..], [Action::Log(..)]), "{actions:?}");
}

#[test]
fn a_start_that_seemed_to_fail_is_not_made_twice() {
    let mut w = world(settings());
    w.meeting_started(T0);
    let actions = w.call(RestAction::Start, Err(failed(FailureClass::Retry)));
    assert_eq!(w.calls(&actions).len(), 1, "the second try is due");
    let actions = w.started(T0 + 1);
    assert!(is_cancelled(&actions), "there is a stream: no second try");
    assert_eq!(starts(&actions).len(), 1);
    let late = w.call(RestAction::Start, Err(failed(FailureClass::Retry)));
    assert_eq!(late, []);
}

#[test]
fn a_meeting_that_ended_meanwhile_is_not_retried() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.meeting_ended(T0 + 1);
    let actions = w.call(RestAction::Start, Err(failed(FailureClass::Retry)));
    assert_eq!(w.calls(&actions), []);
}

// Scheduled stops.

fn with_stop() -> Settings {
    Settings {
        stop_after: Some(secs(10)),
        ..settings()
    }
}

#[test]
fn a_stop_is_due_after_our_own_start_only() {
    let mut w = world(with_stop());
    w.meeting_started(T0);
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), [(RestAction::Stop, secs(10))]);
    let actions = w.started(T0 + 1);
    assert_eq!(w.calls(&actions), [], "not twice");
    w.pass(secs(10));

    w.call(RestAction::Stop, Ok(()));
    // Ended by our stop: it is not started again, whatever reason Zoom gives.
    let actions = w.stops(T0 + 10_500, 10);
    assert_eq!(w.calls(&actions), []);
    // A stream that another person started has no scheduled stop.
    let mut w = world(with_stop());
    let actions = w.started(T0);
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn a_stream_that_ends_before_its_stop_needs_none() {
    let mut w = world(with_stop());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    assert!(is_cancelled(&w.stopped(T0 + 5000, 2)));
    assert_eq!(w.ended(EndReason::Stopped(StopReason(2))), []);
    assert_eq!(w.restart(with_stop()), []);
}

#[test]
fn a_failed_stop_is_retried() {
    let mut w = world(with_stop());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.pass(secs(10));
    let actions = w.call(RestAction::Stop, Err(failed(FailureClass::Retry)));
    assert_eq!(w.calls(&actions).len(), 1);
    let actions = w.call(RestAction::Stop, Err(failed(FailureClass::GiveUp)));
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn a_scheduled_stop_keeps_its_time_over_a_restart() {
    let mut w = world(with_stop());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.pass(secs(4));
    let actions = w.restart(with_stop());
    assert_eq!(starts(&actions), [("s1", MINUTE, true)]);
    assert_eq!(w.calls(&actions), [(RestAction::Stop, secs(6))]);
    w.pass(secs(60));
    let actions = w.restart(with_stop());
    assert_eq!(w.calls(&actions), [(RestAction::Stop, NOW)], "overdue");
}

// Stop reasons.

#[test]
fn every_restart_reason_starts_the_meeting_again() {
    for reason in 0..30 {
        let mut w = world(settings());
        w.meeting_started(T0);
        w.call(RestAction::Start, Ok(()));
        w.started(T0 + 1);
        let actions = w.stops(T0 + 10, reason);
        let is_restart = matches!(reason, 10..=19 | 24);
        let expected = if is_restart {
            vec![(RestAction::Start, secs(1))]
        } else {
            vec![]
        };
        assert_eq!(w.calls(&actions), expected, "reason {reason}");
        let is_loud = actions
            .iter()
            .any(|a| matches!(a, Action::Log(Severity::Error, _)));
        assert_eq!(is_loud, matches!(reason, 18 | 23), "reason {reason}");
        assert_eq!(discarded(&actions).len(), usize::from(reason == 8));
    }
}

#[test]
fn restarts_are_limited_and_have_growing_delays() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    let mut delays = Vec::new();
    for n in 0..10 {
        let ts = T0 + 1000 * n;
        let stream_id = format!("s{n}");
        w.webhook(
            ts,
            ZoomEventKind::StreamStarted(stream_of(UUID, &stream_id)),
        );
        let end = EndReason::Stopped(StopReason(10));
        let actions = w.coordinator.handle_end(w.now, &stream_id, &end);
        match w.calls(&actions)[..] {
            [(RestAction::Start, delay)] => delays.push(delay.as_secs()),
            _ => assert!(matches!(&actions[..], [Action::Log(Severity::Warn, _)])),
        }
    }
    assert_eq!(delays, [1, 2, 4, 8, 16]);
}

#[test]
fn wrong_credentials_are_retried_once_with_an_error() {
    let mut w = world(settings());
    w.started(T0);
    let actions = w.stops(T0 + 1, 18);
    assert_eq!(w.calls(&actions).len(), 1);
    w.webhook(T0 + 5, ZoomEventKind::StreamStarted(stream_of(UUID, "s2")));
    let end = EndReason::Stopped(StopReason(18));
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions), []);
    assert!(matches!(&actions[0], Action::Log(Severity::Error, _)));
}

#[test]
fn one_end_reported_twice_starts_once() {
    let mut w = world(settings());
    w.started(T0);
    let actions = w.ended(EndReason::Stopped(StopReason(24)));
    assert_eq!(w.calls(&actions).len(), 1, "by the socket");
    assert_eq!(w.stopped(T0 + 10, 24), [], "and then by the webhook");
}

#[test]
fn a_restart_needs_a_live_meeting_credentials_and_no_other_stream() {
    let mut w = world(settings());
    w.started(T0);
    w.meeting_ended(T0 + 5);
    let actions = w.stops(T0 + 6, 10);
    assert_eq!(w.calls(&actions), []);
    let mut w = world(Settings {
        auto_start: false,
        can_call: false,
        ..settings()
    });
    w.started(T0);
    let actions = w.stops(T0 + 6, 10);
    assert_eq!(w.calls(&actions), []);
    let mut w = world(settings());
    w.started(T0);
    w.webhook(T0 + 1, ZoomEventKind::StreamStarted(stream_of(UUID, "s2")));
    let actions = w.stops(T0 + 6, 10);
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn a_restart_is_not_cancelled_by_the_stop_that_was_scheduled() {
    let mut w = world(with_stop());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.pass(secs(4));
    let actions = w.stops(T0 + 4000, 12);
    assert_eq!(w.calls(&actions), [(RestAction::Start, secs(1))]);
    assert!(!is_cancelled(&actions));
    w.pass(secs(1));
    // Accepted: the scheduled stop of the first start still counts.
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), [(RestAction::Stop, secs(5))]);
    // Both calls are due in the next process, if it starts in between.
    let mut w = world(with_stop());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.stops(T0 + 4000, 12);
    let actions = w.restart(with_stop());
    let expected = [(RestAction::Start, NOW), (RestAction::Stop, secs(10))];
    assert_eq!(w.calls(&actions), expected);
    // A stop before the restart cancels it.
    assert!(is_cancelled(&w.call(RestAction::Stop, Ok(()))));
    assert_eq!(w.restart(with_stop()), []);
}

#[test]
fn a_stream_that_was_missed_is_started_again() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    let actions = w.stopped(T0 + 60_000, 11);
    assert_eq!(w.calls(&actions), [(RestAction::Start, secs(1))]);
}

#[test]
fn withdrawn_consent_deletes_during_and_after_the_stream() {
    let mut w = world(settings());
    w.started(T0);
    assert_eq!(discarded(&w.stops(T0 + 1, 8)), ["s1"]);
    // After its end, and in another process.
    let mut w = world(settings());
    w.started(T0);
    w.stops(T0 + 1, 6);
    w.restart(settings());
    assert_eq!(discarded(&w.stopped(T0 + 2, 8)), ["s1"]);
    // The webhook arrived while the thread was ending for another reason.
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 1, 8);
    assert_eq!(discarded(&w.ended(EndReason::NothingGranted)), ["s1"]);
}

#[test]
fn a_deletion_is_repeated_by_the_next_process() {
    let mut w = world(settings());
    w.started(T0);
    w.stops(T0 + 1, 8);
    assert_eq!(discarded(&w.restart(settings())), ["s1"]);
    assert_eq!(discarded(&w.restart(settings())), ["s1"]);
    // It runs again, with consent.
    assert_eq!(starts(&w.started(T0 + 2)).len(), 1);
    assert_eq!(discarded(&w.restart(settings())), [""; 0]);
}

// Restarts of the process.

#[test]
fn a_restart_rejoins_running_streams_and_ignores_handled_webhooks() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    assert_eq!(w.ended(EndReason::Left), []);
    let before = w.coordinator.to_json();
    let actions = w.restart(settings());
    assert_eq!(starts(&actions), [("s1", MINUTE, true)]);
    assert_eq!(w.calls(&actions), []);
    let entries = |json: &[u8]| -> Vec<serde_json::Value> {
        let json: serde_json::Value = serde_json::from_slice(json).expect("our own JSON");
        vec![json["meetings"].clone(), json["streams"].clone()]
    };
    assert_eq!(entries(&w.coordinator.to_json()), entries(&before));
    assert_eq!(w.meeting_started(T0), []);
    assert_eq!(w.started(T0 + 1), []);
    let info = w.coordinator.active().next().expect("it runs");
    assert_eq!(info.started_ms, T0 + 1);
    assert_eq!(info.topic.as_deref(), Some("Weekly"));
}

#[test]
fn a_stop_during_the_shutdown_is_handled_by_the_next_process() {
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 1, 10);
    w.ended(EndReason::Left);
    let actions = w.restart(settings());
    assert_eq!(starts(&actions), []);
    assert!(matches!(&actions[0], Action::Complete { end, .. }
        if *end == EndReason::Stopped(StopReason(10))));
    assert_eq!(w.calls(&actions), [(RestAction::Start, secs(1))]);
    assert_eq!(
        w.restart(settings()).len(),
        1,
        "only the start is still due"
    );
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 1, 8);
    assert_eq!(discarded(&w.restart(settings())), ["s1"]);
}

#[test]
fn a_start_in_progress_is_repeated_by_the_next_process() {
    let mut w = world(settings());
    w.meeting_started(T0);
    let actions = w.restart(settings());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // And retried as if it were the first.
    let early = || Err(failed(FailureClass::Early));
    let actions = w.call(RestAction::Start, early());
    assert_eq!(w.calls(&actions).len(), 1);
}

#[test]
fn only_facts_for_a_restart_are_changes() {
    let mut w = world(settings());
    assert_eq!(w.coordinator.take_changes(), None);
    w.started(T0);
    assert!(w.coordinator.take_changes().is_some());
    w.started(T0);
    assert_eq!(w.coordinator.take_changes(), None);
    w.interrupted(T0 + 1, &[]);
    assert!(w.coordinator.take_changes().is_some());
}

#[test]
fn single_changes_give_the_same_state_as_a_snapshot() {
    let as_value = |c: &Coordinator| -> serde_json::Value {
        serde_json::from_slice(&c.to_json()).expect("our own JSON")
    };
    let mut w = world(settings());
    let mut copy = Coordinator::new(settings());
    let mut random = 1u64;
    let mut changed = 0;
    for n in 0..500 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let pick = |bits: u32, limit: u64| (random >> bits) % limit;
        let (uuid, stream) = (format!("m{}", pick(20, 12)), format!("s{}", pick(24, 20)));
        let ts = T0 + n * 60_000 + pick(30, 10);
        let stop = StreamStopped {
            product: Product::Meeting,
            id: Some(uuid.clone()),
            stream_id: stream.clone(),
            stop_reason: Some(pick(33, 30).cast_signed()),
        };
        match pick(40, 5) {
            0 => drop(w.webhook(ts, ZoomEventKind::MeetingStarted(life(&uuid)))),
            1 => drop(w.webhook(ts, ZoomEventKind::MeetingEnded(life(&uuid)))),
            2 => drop(w.webhook(ts, ZoomEventKind::StreamStarted(stream_of(&uuid, &stream)))),
            3 => drop(w.webhook(ts, ZoomEventKind::StreamStopped(stop))),
            _ => drop(
                w.coordinator
                    .handle_end(w.now, &stream, &EndReason::Stopped(StopReason(6))),
            ),
        }
        // Enough time for ended entries to be removed.
        w.pass(Duration::from_secs(60));
        let before = copy.version();
        if let Some(changes) = w.coordinator.take_changes() {
            changed += 1;
            copy.apply_changes(&changes).expect("our own JSON");
            assert_eq!(as_value(&copy), as_value(&w.coordinator), "after {n}");
            // Changes that are in a snapshot already have no effect.
            let known = as_value(&copy);
            copy.apply_changes(&changes).expect("our own JSON");
            assert_eq!(as_value(&copy), known);
        }
        assert_eq!(copy.version(), w.coordinator.version());
        assert!(copy.version() - before <= 1);
    }
    assert!(changed > 200, "only {changed} changes");
    assert!(!w.coordinator.streams.contains_key("unknown"));
    // The sizes were counted incrementally, and equal those of a new count.
    let fresh = Coordinator::from_json(settings(), &w.coordinator.snapshot()).expect("JSON");
    assert_eq!(fresh.streams.bytes(), w.coordinator.streams.bytes());
    assert_eq!(fresh.meetings.bytes(), w.coordinator.meetings.bytes());
}

#[test]
fn the_size_of_a_change_does_not_grow_with_the_state() {
    let mut w = world(settings());
    let cost_of = |w: &mut World, n: u64| {
        let started = stream_of("m", &format!("stream-{n:06}"));
        w.webhook(T0 + n, ZoomEventKind::StreamStarted(started));
        w.coordinator.take_changes().expect("a change").len()
    };
    cost_of(&mut w, 0);
    let early = cost_of(&mut w, 1);
    for n in 2..2000 {
        w.webhook(
            T0 + n,
            ZoomEventKind::StreamStarted(stream_of("m", &format!("stream-{n:06}"))),
        );
    }
    w.coordinator.take_changes();
    let late = cost_of(&mut w, 2000);
    assert!(late <= early + 16, "{early} bytes, later {late}");
}

#[test]
fn an_unreadable_state_is_an_error() {
    for json in [
        &b""[..],
        b"{}",
        b"[]",
        b"{\"meetings\":{\"a\":1},\"streams\":{}}",
        &[0xff; 9],
    ] {
        assert!(Coordinator::from_json(settings(), json).is_err());
    }
}

// Ends of a stream's thread.

#[test]
fn a_stream_is_restarted_after_two_panics() {
    let mut w = world(settings());
    w.started(T0);
    for _ in 0..PANICS_MAX {
        assert_eq!(
            starts(&w.ended(EndReason::Panicked)),
            [("s1", MINUTE, true)]
        );
        assert_eq!(w.coordinator.active().count(), 1);
        assert_eq!(
            w.coordinator.revive(w.now, "s1"),
            [],
            "one thread is enough"
        );
    }
    assert_eq!(w.ended(EndReason::Panicked), []);
    assert_eq!(w.coordinator.active().count(), 0);
}

#[test]
fn a_stream_that_ended_during_a_failover_runs_again() {
    let mut w = world(settings());
    w.started(T0);
    w.started(T0 + 10);
    w.ended(EndReason::NothingGranted);
    assert_eq!(
        starts(&w.coordinator.revive(w.now, "s1")),
        [("s1", MINUTE, true)]
    );
    assert_eq!(w.coordinator.revive(w.now, "unknown"), []);
    assert_eq!(
        w.coordinator
            .handle_end(w.now, "unknown", &EndReason::Panicked),
        []
    );
}

// Bounds.

#[test]
fn ended_entries_are_removed_in_time_and_not_earlier() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.started(T0 + 1);
    w.stops(T0 + 2, 6);
    w.meeting_ended(T0 + 3);
    w.pass(RETAIN_ENDED);
    w.webhook(
        T0,
        ZoomEventKind::Other {
            name: String::new(),
        },
    );
    assert_eq!(
        (w.coordinator.streams.len(), w.coordinator.meetings.len()),
        (1, 1)
    );
    assert_eq!(w.started(T0 + 1), [], "still known");
    w.pass(SWEEP_EVERY);
    w.webhook(
        T0,
        ZoomEventKind::Other {
            name: String::new(),
        },
    );
    w.pass(SWEEP_EVERY);
    w.webhook(
        T0,
        ZoomEventKind::Other {
            name: String::new(),
        },
    );
    assert_eq!(
        (w.coordinator.streams.len(), w.coordinator.meetings.len()),
        (0, 0)
    );
}

#[test]
fn running_entries_are_never_removed() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.started(T0 + 1);
    w.pass(secs(40 * 3600));
    w.webhook(
        T0,
        ZoomEventKind::Other {
            name: String::new(),
        },
    );
    assert_eq!(
        (w.coordinator.streams.len(), w.coordinator.meetings.len()),
        (1, 1)
    );
}

#[test]
fn memory_is_bounded_and_running_streams_stay() {
    let mut w = world(settings());
    w.started(T0);
    for n in 0..ENTRIES_MAX + 100 {
        let stop = StreamStopped {
            product: Product::Meeting,
            id: Some(format!("m{n}")),
            stream_id: format!("x{n}"),
            stop_reason: None,
        };
        w.webhook(T0 + 1, ZoomEventKind::StreamStopped(stop));
        w.webhook(T0 + 1, ZoomEventKind::MeetingEnded(life(&format!("m{n}"))));
    }
    // A full table forgets a part of what is over, the oldest, at once.
    let bounds = ENTRIES_MAX - ENTRIES_MAX / 20..=ENTRIES_MAX;
    assert!(bounds.contains(&w.coordinator.streams.len()));
    assert!(bounds.contains(&w.coordinator.meetings.len()));
    let last = format!("x{}", ENTRIES_MAX + 99);
    assert!(w.coordinator.streams.contains_key(&last));
    assert_eq!(w.coordinator.active().count(), 1);
    assert!(w.coordinator.meetings.contains_key(UUID));
}

#[test]
fn of_very_many_ends_the_newest_are_remembered() {
    let mut w = world(settings());
    w.started(T0);
    let ends = ENDED_MAX as u64 + 500;
    for n in 0..ends {
        let stream = stream_of(&format!("m{n}"), &format!("x{n}"));
        w.webhook(T0 + n, ZoomEventKind::StreamStarted(stream));
        let end = EndReason::Stopped(StopReason(6));
        w.coordinator.handle_end(w.now, &format!("x{n}"), &end);
        let over = ZoomEventKind::MeetingEnded(life(&format!("m{n}")));
        w.webhook(T0 + n, over);
        w.now.unix_ms += 10;
    }
    w.pass(secs(61));
    w.webhook(T0 + ends, ZoomEventKind::MeetingEnded(life("m0")));
    let c = &w.coordinator;
    assert_eq!(c.streams.len(), ENDED_MAX + 1);
    assert!(!c.streams.contains_key("x499") && c.streams.contains_key("x500"));
    assert!(!c.meetings.contains_key("m499") && c.meetings.contains_key("m500"));
    assert_eq!(c.active().count(), 1);
}

#[test]
fn bytes_are_bounded_too_and_a_restart_can_read_them() {
    let mut w = world(settings());
    w.started(T0);
    // Control characters need six bytes each in JSON.
    let long = "\u{1}".repeat(10_000);
    for n in 0..600 {
        let mut stream = stream_of(&format!("m{n}"), &format!("x{n}"));
        stream.server_urls = vec![long.clone()];
        w.webhook(T0 + n, ZoomEventKind::StreamStarted(stream));
        w.coordinator
            .handle_end(w.now, &format!("x{n}"), &EndReason::Stopped(StopReason(6)));
    }
    assert!(w.coordinator.streams.len() < 400);
    assert!(w.coordinator.streams.bytes() < ENTRY_BYTES_MAX + 100_000);
    let json = w.coordinator.snapshot();
    assert!((json.len() as u64) < crate::state::FILE_BYTES_MAX / 2);
    let again = Coordinator::from_json(settings(), &json).expect("our own JSON");
    assert_eq!(again.active().count(), 1);
}

#[test]
fn account_events_are_logged_with_a_severity() {
    let mut w = world(settings());
    let (user_id, account_id) = ("usr1".to_owned(), "acc1".to_owned());
    let event = ZoomEventKind::AppDeauthorized {
        user_id: user_id.clone(),
        account_id: account_id.clone(),
        keeps_data: false,
    };
    let expected = Action::Deauthorized {
        user_id,
        account_id,
    };
    assert_eq!(w.webhook(T0, event), [expected]);
    for (name, level) in [
        ("rtms.concurrency_limited", Severity::Error),
        ("meeting.rtms_concurrency_limited", Severity::Error),
        ("rtms.concurrency_near_limit", Severity::Warn),
        ("rtms.start_failed", Severity::Error),
        ("rtms.request_status", Severity::Info),
        ("rtms.something_new", Severity::Warn),
    ] {
        let (name, payload) = (name.to_owned(), "{\"a\":1}".to_owned());
        let expected = format!(" event={name} payload={{\"a\":1}}");
        let actions = w.webhook(T0, ZoomEventKind::Account { name, payload });
        let [Action::Log(found, text)] = &actions[..] else {
            panic!("{actions:?}");
        };
        assert_eq!(*found, level, "{text}");
        assert!(text.ends_with(&expected), "{text}");
    }
}

// Changed settings at run time.

/// A running meeting whose start was given up.
fn refused(settings: Settings) -> World {
    let mut w = world(settings);
    w.meeting_started(T0);
    let error = failed(FailureClass::GiveUp);
    let actions = w.call(RestAction::Start, Err(error));
    assert_eq!(w.calls(&actions), []);
    w
}

#[test]
fn a_reload_retries_given_up_starts() {
    let mut w = refused(settings());
    let actions = w.coordinator.reload(w.now, settings());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // Once per reload, and not while a try is in progress.
    assert_eq!(w.coordinator.reload(w.now, settings()), []);
    // Not without credentials, and not after the end.
    let mut w = refused(settings());
    let without = Settings {
        auto_start: false,
        can_call: false,
        ..settings()
    };
    assert_eq!(w.coordinator.reload(w.now, without), []);
    w.meeting_ended(T0 + 1);
    assert_eq!(w.coordinator.reload(w.now, settings()), []);
    // Not if a stream started in another way.
    let mut w = refused(settings());
    w.started(T0 + 1);
    assert_eq!(w.coordinator.reload(w.now, settings()), []);
}

#[test]
fn a_reload_with_credentials_starts_running_meetings() {
    let without = Settings {
        auto_start: false,
        can_call: false,
        ..settings()
    };
    let mut w = world(without.clone());
    assert_eq!(w.meeting_started(T0), []);
    assert_eq!(w.coordinator.reload(w.now, without.clone()), []);
    let actions = w.coordinator.reload(w.now, settings());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // The stream existed and was stopped by people.
    let mut w = world(without);
    w.meeting_started(T0);
    w.started(T0 + 1);
    w.stops(T0 + 2, 2);
    assert_eq!(w.coordinator.reload(w.now, settings()), []);
}

#[test]
fn a_stream_lost_to_wrong_credentials_is_started_once_they_are_changed() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    let actions = w.stops(T0 + 1000, 18);
    assert_eq!(w.calls(&actions), [(RestAction::Start, secs(1))]);
    w.call(RestAction::Start, Ok(()));
    let again = stream_of(UUID, "s2");
    w.webhook(T0 + 2000, ZoomEventKind::StreamStarted(again.clone()));
    let stopped = StreamStopped {
        product: Product::Meeting,
        id: Some(UUID.to_owned()),
        stream_id: "s2".to_owned(),
        stop_reason: Some(18),
    };
    w.webhook(T0 + 3000, ZoomEventKind::StreamStopped(stopped));
    let end = EndReason::Stopped(StopReason(18));
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions), [], "only once by itself");
    let actions = w.coordinator.reload(w.now, settings());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
}

// Decisions of people.

const PEOPLE: [i64; 3] = [8, 7, 1];

#[test]
fn a_stream_that_people_stopped_is_not_started_automatically() {
    for reason in PEOPLE {
        // Refused, started by hand, and stopped.
        let mut w = refused(settings());
        assert_eq!(starts(&w.started(T0 + 1)).len(), 1);
        w.stops(T0 + 2, reason);
        let mut all = w.coordinator.reload(w.now, settings());
        all.extend(w.restart(settings()));
        // A stop because of a fault, in another message, does not start it either.
        all.extend(w.stopped(T0 + 3, 10));
        all.extend(w.meeting_started(T0 + 4));
        assert_eq!(w.calls(&all), [], "{reason}");
        // A person starts it: from then on it is kept running.
        assert_eq!(starts(&w.started(T0 + 10)), [("s1", MINUTE, true)]);
        w.stopped(T0 + 20, 10);
        let actions = w.ended(EndReason::Stopped(StopReason(10)));
        assert_eq!(
            w.calls(&actions),
            [(RestAction::Start, secs(1))],
            "{reason}"
        );
    }
}

#[test]
fn an_event_that_is_older_than_a_stream_starts_nothing() {
    for reason in PEOPLE {
        // The webhook of the start arrives when everything is over.
        let mut w = world(settings());
        w.started(T0 + 1);
        w.stops(T0 + 2, reason);
        let actions = w.meeting_started(T0);
        assert_eq!(w.calls(&actions), []);
        // Also if we missed the stream.
        let mut w = world(settings());
        w.stopped(T0 + 2, reason);
        let actions = w.meeting_started(T0);
        assert_eq!(w.calls(&actions), []);
    }
}

#[test]
fn a_restart_that_people_overtake_is_cancelled_or_undone() {
    let restarting = || {
        let mut w = world(settings());
        w.started(T0);
        assert_eq!(stops_of(&w.stopped(T0 + 1, 10)).len(), 1);
        let actions = w.ended(EndReason::Stopped(StopReason(10)));
        assert_eq!(w.calls(&actions), [(RestAction::Start, secs(1))]);
        w
    };
    // While it waits.
    let mut w = restarting();
    let actions = w.stopped(T0 + 2, 2);
    assert!(is_cancelled(&actions) && w.calls(&actions).is_empty());
    // During the call.
    let mut w = restarting();
    w.pass(secs(1));
    w.stopped(T0 + 2, 2);
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), [(RestAction::Stop, NOW)]);
    let actions = w.call(RestAction::Stop, Ok(()));
    assert_eq!(w.calls(&actions), []);
    let actions = w.restart(settings());
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn withdrawn_consent_counts_most_from_any_source_in_any_order() {
    let socket = |reason| EndReason::Stopped(StopReason(reason));
    // The webhook says that the meeting ended, the socket that consent was withdrawn.
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 1, 6);
    assert_eq!(discarded(&w.ended(socket(8))), ["s1"]);
    // Its webhook arrives too, and deletes nothing a second time.
    assert_eq!(discarded(&w.stopped(T0 + 2, 8)), [""; 0]);
    // The other way round.
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 1, 8);
    assert_eq!(discarded(&w.ended(socket(6))), ["s1"]);
    // Two webhooks, in both orders, with any timestamps.
    for (first, second) in [(T0 + 1, T0 + 2), (T0 + 2, T0 + 1), (T0 + 1, T0 + 1)] {
        let mut w = world(settings());
        w.started(T0);
        w.stopped(first, 6);
        let mut actions = w.stopped(second, 8);
        actions.extend(w.ended(socket(6)));
        assert_eq!(discarded(&actions), ["s1"], "{first} {second}");
        let mut w = world(settings());
        w.started(T0);
        let mut actions = w.stopped(first, 8);
        actions.extend(w.stopped(second, 6));
        actions.extend(w.ended(socket(6)));
        assert_eq!(discarded(&actions), ["s1"], "{first} {second}");
        // After the end, and in the next process.
        let mut w = world(settings());
        w.started(T0);
        w.stops(first, 6);
        w.restart(settings());
        assert_eq!(discarded(&w.stopped(second, 8)), ["s1"], "{first} {second}");
        assert_eq!(discarded(&w.stopped(second, 8)), [""; 0], "once");
    }
    // Reported by the socket of a stream that is started again: the webhook's repeat is about the
    // previous run.
    let mut w = world(settings());
    w.started(T0);
    w.pass(secs(5));
    assert_eq!(discarded(&w.ended(socket(8))), ["s1"]);
    assert_eq!(starts(&w.started(T0 + 9000)).len(), 1);
    assert_eq!(w.stopped(T0 + 4000, 8), []);
}

#[test]
fn a_stop_needs_the_stream_alone() {
    let stop = |reason| {
        ZoomEventKind::StreamStopped(StreamStopped {
            product: Product::Meeting,
            id: None,
            stream_id: "s1".to_owned(),
            stop_reason: Some(reason),
        })
    };
    let mut w = world(settings());
    w.started(T0);
    assert_eq!(stops_of(&w.webhook(T0 + 1, stop(2))), [("s1", 2)]);
    // A stop of an unknown stream is deleted by its stream id.
    let mut w = world(settings());
    let actions = w.webhook(T0 + 1, stop(8));
    let expected = Withdrawal {
        id: None,
        stream_id: "s1".to_owned(),
        is_repeat: false,
    };
    assert_eq!(actions, [Action::Discard(expected.clone())]);
    let expected = Withdrawal {
        is_repeat: true,
        ..expected
    };
    assert_eq!(w.restart(settings()), [Action::Discard(expected)]);
}

#[test]
fn former_folders_are_remembered() {
    let mut w = world(settings());
    for root in ["/a", "/b", "/b", "/a"] {
        w.coordinator.use_root(root);
    }
    assert_eq!(w.coordinator.roots(), ["/b", "/a"]);
    assert!(!w.coordinator.use_root("/a"));
    let json = w.coordinator.snapshot();
    let mut next = Coordinator::from_json(settings(), &json).expect("our own JSON");
    assert_eq!(next.roots(), ["/b", "/a"]);
    for n in 0..2 * ROOTS_MAX {
        next.use_root(&format!("/{n}"));
    }
    assert_eq!(next.roots().len(), ROOTS_MAX);
}

// A stream that starts again while it is ending.

#[test]
fn a_newer_start_runs_after_the_current_end() {
    for reason in [2, 8, 10] {
        let mut w = world(settings());
        w.started(T0);
        assert_eq!(stops_of(&w.stopped(T0 + 100, reason)), [("s1", reason)]);
        let actions = w.started(T0 + 600);
        assert_eq!((starts(&actions), stops_of(&actions)), (vec![], vec![]));
        assert_eq!(w.started(T0 + 600), [], "a retry");
        w.pass(secs(3));
        let actions = w.ended(EndReason::Stopped(StopReason(reason)));
        assert_eq!(starts(&actions), [("s1", MINUTE, true)]);
        assert_eq!(w.calls(&actions), [], "it runs already");
        // The files from before the withdrawal are deleted first.
        let is_discard = |action: &Action| matches!(action, Action::Discard(_));
        let is_start = |action: &Action| matches!(action, Action::Start(_));
        let discard = actions.iter().position(is_discard);
        assert_eq!(discard.is_some(), reason == 8);
        assert!(discard < actions.iter().position(is_start));
        // The earlier stop no longer counts, whatever ends the stream.
        let actions = w.ended(EndReason::NothingGranted);
        assert_eq!((discarded(&actions), w.calls(&actions)), (vec![], vec![]));
    }
    // The socket reported it, the webhook did not arrive yet.
    let mut w = world(settings());
    w.started(T0);
    let actions = w.started(T0 + 600);
    assert!(matches!(&actions[..], [Action::FailOver { .. }]));
    w.pass(secs(2));
    let actions = w.ended(EndReason::Stopped(StopReason(2)));
    assert_eq!(starts(&actions), [("s1", MINUTE, true)]);
    // Long after a failover, an end is an end.
    w.started(T0 + 700);
    w.pass(DRAIN_MAX);
    let actions = w.ended(EndReason::Stopped(StopReason(2)));
    assert_eq!(starts(&actions), []);
}

#[test]
fn a_newer_start_survives_the_end_of_the_process() {
    for (reason, expected) in [(2, vec![]), (8, vec!["s1"])] {
        let mut w = world(settings());
        w.started(T0);
        w.stopped(T0 + 100, reason);
        w.started(T0 + 600);
        w.ended(EndReason::Left);
        let actions = w.restart(settings());
        assert_eq!(starts(&actions), [("s1", MINUTE, true)]);
        assert_eq!(discarded(&actions), expected);
        let actions = w.restart(settings());
        assert_eq!(
            discarded(&actions),
            [""; 0],
            "nothing is deleted of the new run"
        );
    }
    // Stopped again before it started.
    let mut w = world(settings());
    w.started(T0);
    w.stopped(T0 + 100, 8);
    w.started(T0 + 600);
    w.stopped(T0 + 700, 2);
    let actions = w.ended(EndReason::Stopped(StopReason(8)));
    assert_eq!(starts(&actions), []);
    assert_eq!(discarded(&actions), ["s1"]);
}

// Runs of a meeting.

fn hosted() -> MeetingInfo {
    MeetingInfo {
        host_id: Some("host".to_owned()),
        ..life(UUID)
    }
}

impl World {
    fn joins(&mut self, ts: u64, who: Option<&str>) -> Vec<Action> {
        let joined = ParticipantJoined {
            meeting: hosted(),
            participant_ids: who.map(str::to_owned).into_iter().collect(),
        };
        self.webhook(ts, ZoomEventKind::ParticipantJoined(joined))
    }
}

#[test]
fn an_absent_host_is_waited_for() {
    let refused = || Err(failed(FailureClass::NotPermitted));
    let mut w = world(settings());
    w.meeting_started(T0);
    let actions = w.call(RestAction::Start, refused());
    let [Action::Log(Severity::Warn, text), Action::CallRest(_)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(text.contains("waiting for the host to join"), "{text}");
    // It is retried while the meeting is running, with growing delays and at a low log level.
    let mut wait = w.calls(&actions)[0].1;
    for _ in 0..20 {
        w.pass(wait);
        let actions = w.call(RestAction::Start, refused());
        assert!(matches!(&actions[0], Action::Log(Severity::Info, _)));
        wait = w.calls(&actions)[0].1;
    }
    assert!(wait >= secs(300), "{wait:?}");
    // Guests change nothing; the host causes a try at once.
    assert_eq!(w.joins(T0 + 1, Some("guest")), []);
    assert_eq!(w.joins(T0 + 2, None), []);
    let actions = w.joins(T0 + 3, Some("host"));
    assert!(is_cancelled(&actions));
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // Only once: the call is in progress.
    assert_eq!(w.joins(T0 + 3, Some("host")), []);
    let actions = w.call(RestAction::Start, Ok(()));
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn a_host_who_joins_during_the_call_is_noticed() {
    let refused = || Err(failed(FailureClass::NotPermitted));
    let mut w = world(settings());
    w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
    let actions = w.call(RestAction::Start, refused());
    w.pass(w.calls(&actions)[0].1);
    assert_eq!(w.joins(T0 + 1, Some("host")), []);
    let actions = w.call(RestAction::Start, refused());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    let actions = w.call(RestAction::Start, refused());
    assert!(w.calls(&actions)[0].1 > secs(1));
}

#[test]
fn a_named_participant_who_joins_is_a_reason_to_try_at_once() {
    let refused = || Err(failed(FailureClass::NotPermitted));
    let named = || Settings {
        participant_user_id: Some("named".to_owned()),
        ..settings()
    };
    let mut w = world(named());
    w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
    let actions = w.call(RestAction::Start, refused());
    let [Action::Log(Severity::Warn, text), Action::CallRest(_)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(text.contains("RTMS_PARTICIPANT_USER_ID"), "{text}");
    assert_eq!(w.joins(T0 + 1, Some("guest")), []);
    let actions = w.joins(T0 + 2, Some("named"));
    assert!(is_cancelled(&actions));
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    assert!(matches!(&actions[0], Action::Log(Severity::Info, text)
        if text.starts_with("the participant of RTMS_PARTICIPANT_USER_ID joined")));
    // While a call is on its way.
    let actions = w.call(RestAction::Start, refused());
    w.pass(w.calls(&actions)[0].1);
    assert_eq!(w.joins(T0 + 3, Some("named")), []);
    let actions = w.call(RestAction::Start, refused());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // By a setting that came with a reload, too, and not by one that went.
    for (next, expected) in [
        (named(), vec![(RestAction::Start, NOW)]),
        (settings(), vec![]),
    ] {
        let mut w = world(Settings {
            participant_user_id: (expected.is_empty()).then(|| "named".to_owned()),
            ..settings()
        });
        w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
        w.call(RestAction::Start, refused());
        w.coordinator.reload(w.now, next);
        w.call(RestAction::Start, refused());
        let actions = w.joins(T0 + 1, Some("named"));
        assert_eq!(w.calls(&actions), expected);
    }
}

#[test]
fn waiting_for_a_host_ends_with_the_meeting_and_survives_a_restart() {
    let refused = || Err(failed(FailureClass::NotPermitted));
    let mut w = world(settings());
    w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
    w.call(RestAction::Start, refused());
    let actions = w.restart(settings());
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    w.call(RestAction::Start, refused());
    assert!(is_cancelled(&w.meeting_ended(T0 + 1)));
    assert_eq!(w.joins(T0 + 1, Some("host")), []);
}

#[test]
fn a_meeting_that_only_its_guests_announce_is_started() {
    let mut w = world(settings());
    let actions = w.joins(T0, None);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    assert_eq!(w.joins(T0 + 1, None), []);
    assert_eq!(w.meeting_started(T0 - 10), [], "the beginning, late");
    // Not a meeting without a known number, and not without auto-start.
    let mut w = world(settings());
    let joined = ParticipantJoined {
        meeting: MeetingInfo {
            meeting_id: String::new(),
            ..life(UUID)
        },
        participant_ids: Vec::new(),
    };
    assert_eq!(w.webhook(T0, ZoomEventKind::ParticipantJoined(joined)), []);
    let mut w = world(Settings {
        auto_start: false,
        ..settings()
    });
    assert_eq!(w.joins(T0, None), []);
    assert!(w.coordinator.take_changes().is_some());
    assert_eq!(w.joins(T0 + 1, None), []);
    assert!(w.coordinator.take_changes().is_none(), "nothing to save");
}

#[test]
fn the_same_uuid_may_start_again() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.stops(T0 + 100, 2);
    w.meeting_ended(T0 + 101);
    let actions = w.meeting_started(T0 + 5000);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // The end of the first run is repeated.
    assert_eq!(w.meeting_ended(T0 + 101), []);
    assert_eq!(w.stopped(T0 + 100, 2), []);
    // The second start before the first end.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.stops(T0 + 100, 2);
    let actions = w.meeting_started(T0 + 5000);
    assert_eq!(
        w.calls(&actions),
        [],
        "people stopped it, as far as we know"
    );
    let actions = w.meeting_ended(T0 + 101);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // By the stream's reason alone.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.stops(T0 + 100, 6);
    let actions = w.meeting_started(T0 + 5000);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
}

#[test]
fn the_operator_of_a_stream_is_known_and_may_decide() {
    let stream = |stream_id: &str, is_original_host| {
        ZoomEventKind::StreamStarted(StreamStarted {
            operator_id: Some(format!("operator of {stream_id}")),
            is_original_host,
            account_id: Some("acc1".to_owned()),
            ..stream_of(UUID, stream_id)
        })
    };
    let host_only = Settings {
        streams: StreamChoice::Host,
        ..settings()
    };
    for (settings, expected) in [(settings(), 3), (host_only.clone(), 2)] {
        let mut w = world(settings);
        let mut actions = w.webhook(T0, stream("guest", Some(false)));
        actions.extend(w.webhook(T0, stream("host", Some(true))));
        actions.extend(w.webhook(T0, stream("unknown", None)));
        let starts = starts(&actions);
        assert_eq!(starts.len(), expected, "{starts:?}");
        let info = w
            .coordinator
            .active()
            .find(|info| info.stream_id == "host")
            .expect("it runs");
        assert_eq!(info.operator_id.as_deref(), Some("operator of host"));
        assert_eq!(info.is_original_host, Some(true));
        assert_eq!(info.account_id.as_deref(), Some("acc1"));
        // A repeat for an ignored stream is not logged.
        assert_eq!(w.webhook(T0, stream("guest", Some(false))), []);
    }
    // An ignored stream does not prevent our own start.
    let mut w = world(host_only);
    w.webhook(T0 - 1, stream("guest", Some(false)));
    let actions = w.meeting_started(T0);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
}

// Found by the simulation: webhooks of one run of a meeting that arrive during another.

impl World {
    fn stream_stopped(
        &mut self,
        ts: u64,
        stream_id: &str,
        id: Option<&str>,
        reason: i64,
    ) -> Vec<Action> {
        let event = StreamStopped {
            product: Product::Meeting,
            id: id.map(str::to_owned),
            stream_id: stream_id.to_owned(),
            stop_reason: Some(reason),
        };
        self.webhook(ts, ZoomEventKind::StreamStopped(event))
    }
}

#[test]
fn the_outcome_of_a_replaced_call_is_ignored() {
    let mut w = world(settings());
    let first = w.meeting_started(T0);
    let [Action::CallRest(first)] = &first[..] else {
        panic!("{first:?}");
    };
    w.meeting_ended(T0 + 10);
    let second = w.meeting_started(T0 + 5000);
    assert_eq!(w.calls(&second), [(RestAction::Start, NOW)]);
    // The first call was running meanwhile. If accepted, it was for the run before.
    let actions = w.coordinator.handle_call(w.now, first, Ok(()));
    assert!(
        matches!(&actions[..], [Action::Log(Severity::Info, _)]),
        "{actions:?}"
    );
    let refused = Err(failed(FailureClass::Retry));
    let actions = w.coordinator.handle_call(w.now, first, refused);
    assert_eq!(w.calls(&actions), []);
    // The second call counts.
    let actions = w.call(RestAction::Start, Err(failed(FailureClass::Retry)));
    assert_eq!(w.calls(&actions).len(), 1);
}

#[test]
fn a_withdrawal_in_an_earlier_run_deletes_its_files_and_the_next_run_continues() {
    let mut w = world(settings());
    w.started(T0);
    w.ended(EndReason::NothingGranted);
    assert_eq!(starts(&w.started(T0 + 8)).len(), 1);
    assert_eq!(stops_of(&w.stopped(T0 + 7, 8)), [("s1", 8)]);
    assert_eq!(w.stopped(T0 + 7, 8), [], "a retry");
    let actions = w.ended(EndReason::Stopped(StopReason(8)));
    assert_eq!(discarded(&actions), ["s1"]);
    assert_eq!(starts(&actions).len(), 1);
    assert_eq!(w.stopped(T0 + 7, 8), [], "a retry");
}

#[test]
fn a_stop_by_people_counts_if_the_start_of_the_run_arrives_late() {
    // First the end of the run before arrives, then the stop, then the rest.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.meeting_ended(T0 + 10);
    assert_eq!(w.stream_stopped(T0 + 60_000, "s2", Some(UUID), 2), []);
    assert_eq!(w.meeting_started(T0 + 50_000), [], "it was before the stop");
    assert_eq!(w.joins(T0 + 70_000, Some("host")), []);
    // Again, with the end of the run before as the last webhook.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Err(failed(FailureClass::Early)));
    assert!(is_cancelled(&w.stream_stopped(
        T0 + 60_000,
        "s2",
        Some(UUID),
        2
    )));
    w.meeting_ended(T0 + 10);
    assert_eq!(w.meeting_started(T0 + 50_000), []);
    assert_eq!(w.joins(T0 + 70_000, Some("host")), []);
    // The run after that is a new one.
    w.meeting_ended(T0 + 100_000);
    let actions = w.meeting_started(T0 + 200_000);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // Or with the second beginning known.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.meeting_started(T0 + 50_000);
    w.webhook(
        T0 + 51_000,
        ZoomEventKind::StreamStarted(stream_of(UUID, "s1")),
    );
    w.stops(T0 + 60_000, 2);
    w.meeting_ended(T0 + 10);
    assert_eq!(w.joins(T0 + 70_000, Some("host")), []);
    // A stop shortly after the end belongs to the run that ended.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.meeting_ended(T0 + 10_000);
    w.stream_stopped(T0 + 10_300, "s2", Some(UUID), 2);
    let actions = w.joins(T0 + 70_000, None);
    assert_eq!(w.calls(&actions), [(RestAction::Start, NOW)]);
    // A participant is announced first, who joined after the stop.
    let mut w = world(settings());
    assert_eq!(w.joins(T0 + 4000, None).len(), 1);
    w.meeting_started(T0);
    w.call(RestAction::Start, Err(failed(FailureClass::Early)));
    assert!(is_cancelled(&w.stream_stopped(
        T0 + 2000,
        "s2",
        Some(UUID),
        1
    )));
    let actions = w.restart(settings());
    assert_eq!(w.calls(&actions), []);
    // The same, and the start of the meeting has not been announced yet.
    let mut w = world(settings());
    assert_eq!(w.joins(T0 + 4000, None).len(), 1);
    w.stream_stopped(T0 + 2000, "s2", Some(UUID), 1);
    let refused = Err(failed(FailureClass::Retry));
    assert!(w.call(RestAction::Start, refused).is_empty());
    // But a stop from before the end of the previous run says nothing about this one.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.meeting_ended(T0 + 1000);
    assert_eq!(w.joins(T0 + 60_000, None).len(), 1);
    w.stream_stopped(T0 + 900, "s2", Some(UUID), 1);
    let refused = Err(failed(FailureClass::Retry));
    let actions = w.call(RestAction::Start, refused);
    assert_eq!(w.calls(&actions).len(), 1);
}

#[test]
fn a_start_older_than_a_stop_by_people_does_not_undo_it() {
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.stops(T0 + 20, 2);
    // Another person's stream, which began before.
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    assert_eq!(starts(&w.webhook(T0 + 10, other)).len(), 1);
    w.stream_stopped(T0 + 30, "s2", Some(UUID), 10);
    let end = EndReason::Stopped(StopReason(10));
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions), []);
    // A withdrawal that the socket reported first, and the webhook after that older start.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.ended(EndReason::Stopped(StopReason(8)));
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    w.webhook(T0 + 10, other);
    assert_eq!(w.stopped(T0 + 20, 8), []);
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions), []);
    // The other stream had been stopped by a fault meanwhile, and its restart is on its way.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.started(T0 + 1);
    w.ended(EndReason::Stopped(StopReason(8)));
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    w.webhook(T0 + 10, other);
    w.stream_stopped(T0 + 30, "s2", Some(UUID), 10);
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions).len(), 1);
    assert!(is_cancelled(&w.stopped(T0 + 20, 8)));
}

#[test]
fn people_stop_a_stream_that_was_missed_or_named_no_meeting() {
    // The server was not running when the stream began.
    let mut w = world(settings());
    w.started(T0 - 400_000);
    w.stopped(T0 - 100_000, 2);
    assert_eq!(w.joins(T0, Some("host")), []);
    // The first of two stops does not name the meeting.
    let mut w = world(settings());
    w.meeting_started(T0);
    w.call(RestAction::Start, Ok(()));
    w.stream_stopped(T0 + 10, "s1", None, 8);
    w.stream_stopped(T0 + 20, "s1", Some(UUID), 2);
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    w.webhook(T0 + 5, other);
    w.stream_stopped(T0 + 6, "s2", Some(UUID), 10);
    let end = EndReason::Stopped(StopReason(10));
    let actions = w.coordinator.handle_end(w.now, "s2", &end);
    assert_eq!(w.calls(&actions), []);
}

#[test]
fn later_details_of_a_meeting_are_saved() {
    let mut w = world(settings());
    w.meeting_ended(T0 + 10);
    assert!(w.coordinator.take_changes().is_some());
    w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
    assert!(w.coordinator.take_changes().is_some(), "its host");
    w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
    assert!(w.coordinator.take_changes().is_none());
}

// A system without resources.

#[test]
fn a_stream_without_resources_is_retried_within_its_minute() {
    let no_room = || EndReason::NoResources("EMFILE".to_owned());
    let mut w = world(settings());
    w.started(T0);
    let mut tries = 0;
    loop {
        let actions = w.ended(no_room());
        let [Action::StartLater { at, stream_id }] = &actions[..] else {
            break;
        };
        assert_eq!(stream_id, "s1");
        w.pass(*at - w.now.instant);
        let actions = w.coordinator.start_again(w.now, "s1");
        let left = starts(&actions)[0].1;
        assert_eq!(left + secs(tries + 1), MINUTE);
        tries += 1;
    }
    assert_eq!(tries, 59);
    assert_eq!(w.coordinator.active().count(), 0);
    assert_eq!(w.coordinator.start_again(w.now, "s1"), []);
    // Stopped, or consent withdrawn, while it waits.
    let mut w = world(settings());
    w.started(T0);
    assert!(matches!(
        &w.ended(no_room())[..],
        [Action::StartLater { .. }]
    ));
    w.stopped(T0 + 1, 8);
    let actions = w.coordinator.start_again(w.now, "s1");
    assert_eq!(
        (starts(&actions), discarded(&actions)),
        (vec![], vec!["s1"])
    );
    assert_eq!(w.coordinator.active().count(), 0);
}

#[test]
fn without_a_due_call_nothing_is_cancelled() {
    let mut w = world(settings());
    w.meeting_started(T0);
    let mut all = w.call(RestAction::Start, Ok(()));
    all.extend(w.started(T0 + 1));
    all.extend(w.stops(T0 + 2, 2));
    all.extend(w.meeting_ended(T0 + 3));
    assert!(!is_cancelled(&all), "{all:?}");
}

// Accounts.

/// The account and the host of the REST call among these actions.
fn call_for(actions: &[Action]) -> Option<(Option<&str>, Option<&str>)> {
    actions.iter().find_map(|action| match action {
        Action::CallRest(call) => {
            let request = &call.request;
            Some((request.account_id.as_deref(), request.host_id.as_deref()))
        }
        _ => None,
    })
}

#[test]
fn a_call_names_the_account_of_its_meeting() {
    let mut w = world(settings());
    let info = MeetingInfo {
        account_id: Some("acc1".to_owned()),
        ..hosted()
    };
    let started = w.webhook(T0, ZoomEventKind::MeetingStarted(info));
    assert_eq!(call_for(&started), Some((Some("acc1"), Some("host"))));
    // A stream of a meeting whose beginning was not received names it as well.
    let mut w = world(Settings {
        stop_after: Some(Duration::from_secs(10)),
        ..settings()
    });
    let stream = StreamStarted {
        account_id: Some("acc2".to_owned()),
        ..stream_of(UUID, "s1")
    };
    w.webhook(T0, ZoomEventKind::StreamStarted(stream));
    let json = w.coordinator.to_json();
    assert!(String::from_utf8_lossy(&json).contains(r#""account_id":"acc2""#));
}
