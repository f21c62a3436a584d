//! A meeting moves from one node to another: what goes on there, and what must not happen here.

use std::time::Duration;

use serde_json::{Value, json};

use super::told;
use crate::coordinator::tests::*;
use crate::coordinator::{Action, Settings};
use crate::domain::rest::{FailureClass, RestAction};
use crate::domain::severity::Severity;
use crate::domain::zoom_event::{ParticipantJoined, StreamStopped, ZoomEventKind};
use crate::protocol::EndReason;
use crate::protocol::codes::StopReason;
use crate::source::webhook::payload;

const WINDOW: Duration = Duration::from_secs(70);
const SILENT: Duration = Duration::from_secs(6);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn handed_over() -> EndReason {
    EndReason::HandedOver {
        heir: Some("b".to_owned()),
    }
}

/// Two nodes with the same time.
fn two(settings: Settings) -> (World, World) {
    let (a, mut b) = (world(settings.clone()), world(settings));
    b.now = a.now;
    (a, b)
}

fn adopt(b: &mut World, export: &[u8]) -> Vec<Action> {
    b.coordinator.adopt(b.now, UUID, export, 2, WINDOW, SILENT)
}

fn yield_up(a: &mut World, streams: &[&str]) -> Vec<Action> {
    let streams: Vec<String> = streams.iter().map(|id| (*id).to_owned()).collect();
    a.coordinator.yield_up(a.now, UUID, &streams, Some("b"))
}

fn export(a: &World) -> Vec<u8> {
    a.coordinator.export(UUID).expect("it is known")
}

fn started_plans(actions: &[Action]) -> Vec<(&str, Duration, bool, u64)> {
    let plans = actions.iter().filter_map(|action| match action {
        Action::Start(plan) => Some(plan),
        _ => None,
    });
    plans
        .map(|plan| {
            let id = plan.info.stream_id.as_str();
            (id, plan.window, plan.is_rejoin, plan.info.started_ms)
        })
        .collect()
}

fn left(actions: &[Action]) -> Vec<(&str, Option<&str>)> {
    let left = actions.iter().filter_map(|action| match action {
        Action::HandOver { info, heir } => Some((info.stream_id.as_str(), heir.as_deref())),
        _ => None,
    });
    left.collect()
}

fn discarded(actions: &[Action]) -> Vec<(&str, bool)> {
    let discarded = actions.iter().filter_map(|action| match action {
        Action::Discard(it) => Some((it.stream_id.as_str(), it.is_repeat)),
        _ => None,
    });
    discarded.collect()
}

/// The meeting moves by a planned hand-over.
fn move_over(a: &mut World, b: &mut World) -> Vec<Action> {
    let actions = a.coordinator.release(UUID, Some("b"));
    assert_eq!(left(&actions), [("s1", Some("b"))]);
    assert_eq!(a.ended(handed_over()), []);
    let export = export(a);
    yield_up(a, &[]);
    b.now = a.now;
    adopt(b, &export)
}

#[test]
fn a_stream_and_its_scheduled_stop_go_on_at_the_other_node() {
    let (mut a, mut b) = two(Settings {
        stop_after: Some(secs(600)),
        ..settings()
    });
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    a.pass(secs(100));
    let live = a.coordinator.live_meeting(UUID).expect("it runs");
    assert_eq!(live.streams, ["s1"]);
    assert_eq!(a.coordinator.meetings(), [live]);
    assert_eq!(a.coordinator.meeting_of("s1"), Some(UUID));
    let actions = a.coordinator.release(UUID, Some("b"));
    assert_eq!(left(&actions), [("s1", Some("b"))]);
    assert_eq!(a.coordinator.release(UUID, Some("b")), [], "told once");
    assert_eq!(a.ended(handed_over()), []);
    assert_eq!(a.coordinator.meetings().len(), 1, "still its own");
    let exported = export(&a);
    let cancelled = yield_up(&mut a, &[]);
    let meeting = UUID.to_owned();
    assert_eq!(cancelled, [Action::Cancel { meeting }]);
    assert_eq!(a.coordinator.meetings(), []);

    b.now = a.now;
    let actions = adopt(&mut b, &exported);
    assert_eq!(started_plans(&actions), [("s1", WINDOW, true, T0 + 5)]);
    assert_eq!(b.calls(&actions), [(RestAction::Stop, secs(500))]);
    let Some(Action::Start(plan)) = actions.iter().find(|a| matches!(a, Action::Start(_))) else {
        panic!("it starts: {actions:?}");
    };
    assert_eq!(plan.server_urls, ["wss://sig.zoom.us"]);
    assert_eq!(plan.info.topic.as_deref(), Some("Weekly"));
    assert_eq!(b.coordinator.meetings()[0].streams, ["s1"]);
    // What the first node has heard, repeated at either of them.
    for world in [&mut a, &mut b] {
        assert_eq!(world.meeting_started(T0), []);
        assert_eq!(world.started(T0 + 5), []);
    }
}

#[test]
fn a_start_that_is_being_tried_goes_on_and_is_not_made_twice() {
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    let exported = export(&a);
    // The call of the first node is on its way.
    let actions = adopt(&mut b, &exported);
    assert_eq!(b.calls(&actions), [(RestAction::Start, secs(12))]);
    yield_up(&mut a, &[]);
    let told = a.call(RestAction::Start, Err(failed(FailureClass::Retry)));
    assert!(
        matches!(&told[..], [Action::Log(Severity::Info, _)]),
        "{told:?}"
    );
    assert_eq!(a.restart(settings()), []);
    assert_eq!(a.coordinator.reload(a.now, settings()), []);
    // It was accepted at Zoom: the stream comes to the second node, and its call is not made.
    let actions = b.started(T0 + 900);
    assert!(actions.contains(&Action::Cancel {
        meeting: UUID.to_owned()
    }));
    // Where no call waits none can be on its way.
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Err(failed(FailureClass::GiveUp)));
    let actions = adopt(&mut b, &export(&a));
    assert_eq!(b.calls(&actions), [(RestAction::Start, Duration::ZERO)]);
}

#[test]
fn a_start_that_people_stopped_is_undone_by_the_node_that_made_it() {
    let (mut a, _) = two(settings());
    a.meeting_started(T0);
    a.stopped(T0 + 5, 2);
    yield_up(&mut a, &[]);
    let actions = a.call(RestAction::Start, Ok(()));
    assert_eq!(a.calls(&actions), [(RestAction::Stop, Duration::ZERO)]);
    let actions = a.call(RestAction::Stop, Err(failed(FailureClass::Retry)));
    assert_eq!(a.calls(&actions), []);
}

#[test]
fn nothing_begins_where_the_meeting_was_given_up() {
    let (mut a, _) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    let actions = yield_up(&mut a, &["s1", "unknown"]);
    assert_eq!(left(&actions), [("s1", Some("b"))]);
    assert_eq!(yield_up(&mut a, &["s1"]), [], "told once");
    assert_eq!(a.coordinator.active().count(), 1, "until it has left");
    assert_eq!(a.coordinator.meetings(), []);
    // Whatever its thread ends with.
    for end in [
        EndReason::Panicked,
        EndReason::NoResources("no file".to_owned()),
        EndReason::Stopped(StopReason(10)),
        handed_over(),
    ] {
        let (mut a, _) = two(settings());
        a.started(T0 + 5);
        yield_up(&mut a, &["s1"]);
        assert_eq!(a.ended(end.clone()), [], "{end:?}");
        assert_eq!(a.coordinator.active().count(), 0, "{end:?}");
        assert_eq!(a.coordinator.revive(a.now, "s1"), [], "{end:?}");
    }
    a.ended(handed_over());
    let joined = ParticipantJoined {
        meeting: life(UUID),
        participant_ids: vec!["guest".to_owned()],
    };
    let joined = ZoomEventKind::ParticipantJoined(joined);
    assert_eq!(a.webhook(T0 + 6, joined), []);
    assert_eq!(a.stopped(T0 + 7, 10), [], "no restart");
    assert_eq!(a.interrupted(T0 + 8, &[]), []);
    assert_eq!(a.restart(settings()), []);
    assert_eq!(a.coordinator.reload(a.now, settings()), []);
    let until_ms = a.now.unix_ms;
    let after = a.coordinator.after_gap(a.now, Some(T0), until_ms + 1);
    assert_eq!(a.calls(&after), []);
}

#[test]
fn what_zoom_announces_here_later_is_received_here() {
    let (mut a, _) = two(Settings {
        stop_after: Some(secs(600)),
        ..settings()
    });
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    yield_up(&mut a, &["s1"]);
    // While it leaves.
    assert!(matches!(&a.started(T0 + 50)[..], [Action::Log(..)]));
    let actions = a.ended(handed_over());
    assert_eq!(started_plans(&actions), [("s1", secs(60), true, T0 + 5)]);
    assert_eq!(a.calls(&actions), [(RestAction::Stop, secs(600))]);
    assert_eq!(a.coordinator.meetings()[0].streams, ["s1"]);
    // After it has left.
    yield_up(&mut a, &["s1"]);
    a.ended(handed_over());
    assert_eq!(started_plans(&a.started(T0 + 60)).len(), 1);
    assert_eq!(a.coordinator.meetings()[0].streams, ["s1"]);
    // Another stream of the meeting.
    yield_up(&mut a, &["s1"]);
    a.ended(handed_over());
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    let actions = a.webhook(T0 + 70, other);
    assert_eq!(started_plans(&actions).len(), 1);
    assert_eq!(a.coordinator.meetings()[0].streams, ["s2"]);
}

#[test]
fn the_other_streams_of_a_meeting_that_was_given_up_run_on() {
    let (mut a, _) = two(settings());
    a.started(T0);
    a.webhook(T0 + 1, ZoomEventKind::StreamStarted(stream_of(UUID, "s2")));
    assert_eq!(left(&yield_up(&mut a, &["s1"])), [("s1", Some("b"))]);
    a.ended(handed_over());
    assert_eq!(a.coordinator.meetings()[0].streams, ["s2"]);
    let actions = a.restart(settings());
    assert_eq!(started_plans(&actions).len(), 1, "{actions:?}");
    let end = EndReason::Stopped(StopReason(10));
    let actions = a.coordinator.handle_end(a.now, "s2", &end);
    assert_eq!(a.calls(&actions), [], "another node decides on the meeting");
}

#[test]
fn a_hand_over_that_failed_is_taken_back() {
    let (mut a, _) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    a.coordinator.release(UUID, Some("b"));
    a.ended(handed_over());
    // In this process, and, if that ends, in the next one.
    for is_next in [false, true] {
        let actions = match is_next {
            true => a.restart(settings()),
            false => a.coordinator.resume_meeting(a.now, UUID),
        };
        assert_eq!(started_plans(&actions), [("s1", secs(60), true, T0 + 5)]);
        a.coordinator.release(UUID, None);
        a.ended(handed_over());
    }
    // Once it is another's nothing is left to take back.
    yield_up(&mut a, &[]);
    assert_eq!(a.restart(settings()), []);
    assert_eq!(a.coordinator.meetings(), []);
}

#[test]
fn one_meeting_is_resumed_and_the_others_are_not() {
    let (mut a, _) = two(settings());
    a.started(T0);
    let other = ZoomEventKind::StreamStarted(stream_of("other", "s2"));
    a.webhook(T0 + 1, other);
    let json = a.coordinator.to_json();
    let mut next = crate::coordinator::Coordinator::from_json(settings(), &json).expect("ours");
    let actions = next.resume_meeting(a.now, "other");
    let plans = started_plans(&actions);
    assert_eq!(plans, [("s2", secs(60), true, T0 + 1)]);
    assert_eq!(next.resume_meeting(a.now, "unknown"), []);
}

#[test]
fn a_process_that_ended_before_its_stream_had_left_completes_the_files() {
    let (mut a, _) = two(settings());
    a.started(T0);
    yield_up(&mut a, &["s1"]);
    let actions = a.restart(settings());
    assert!(
        matches!(&actions[..], [Action::Complete { info, end: EndReason::HandedOver { .. } }]
            if info.stream_id == "s1"),
        "{actions:?}"
    );
    assert_eq!(a.coordinator.active().count(), 0);
    assert_eq!(a.restart(settings()), []);
}

#[test]
fn an_end_that_came_while_the_first_node_was_ending_is_acted_on_by_the_second() {
    for (reason, calls) in [(10, 1), (2, 0)] {
        let (mut a, mut b) = two(settings());
        a.meeting_started(T0);
        a.call(RestAction::Start, Ok(()));
        a.started(T0 + 5);
        a.stopped(T0 + 9, reason);
        let actions = adopt(&mut b, &export(&a));
        assert_eq!(started_plans(&actions), []);
        assert_eq!(b.calls(&actions).len(), calls, "{reason}: {actions:?}");
        assert_eq!(b.coordinator.active().count(), 0);
        // It is acted on once.
        let actions = adopt(&mut b, &export(&a));
        assert_eq!(b.calls(&actions), [], "{reason}");
    }
}

#[test]
fn withdrawn_consent_counts_at_both_nodes() {
    let (mut a, mut b) = two(settings());
    a.started(T0);
    move_over(&mut a, &mut b);
    // The second node hears of it, and has deleted.
    let actions = b.stopped(T0 + 50, 8);
    assert!(matches!(&actions[..], [Action::Stopped { .. }]));
    let actions = b.ended(EndReason::Stopped(StopReason(8)));
    assert_eq!(discarded(&actions), [("s1", false)]);
    // The first one gets the meeting back: it has files, too.
    let exported = export(&b);
    let actions = adopt(&mut a, &exported);
    assert_eq!(discarded(&actions), [("s1", false)]);
    assert_eq!(started_plans(&actions), []);
    assert_eq!(discarded(&adopt(&mut a, &exported)), [("s1", true)]);
    // A third one has received nothing.
    let mut c = world(settings());
    let actions = adopt(&mut c, &exported);
    assert_eq!(discarded(&actions), [("s1", true)]);

    // Of a run before the present one.
    let (mut a, mut b) = two(settings());
    a.started(T0);
    move_over(&mut a, &mut b);
    b.stopped(T0 + 50, 8);
    b.ended(EndReason::Stopped(StopReason(8)));
    b.pass(secs(60));
    assert_eq!(started_plans(&b.started(T0 + 60_000)).len(), 1);
    a.now = b.now;
    let actions = adopt(&mut a, &export(&b));
    assert_eq!(discarded(&actions), [("s1", false)]);
    assert_eq!(started_plans(&actions).len(), 1, "after the deletion");
}

#[test]
fn the_newer_stamps_count() {
    // The second node has heard of the meeting's end; the first one's last words are older.
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    b.meeting_ended(T0 + 50);
    let actions = adopt(&mut b, &export(&a));
    assert_eq!(b.calls(&actions), []);
    // It has heard that people stopped the stream.
    let (mut a, mut b) = two(settings());
    a.started(T0);
    b.stopped(T0 + 50, 2);
    let actions = adopt(&mut b, &export(&a));
    assert_eq!(started_plans(&actions), []);
    assert_eq!(b.started(T0), [], "stale");
    // It runs the stream, and the first node has heard of a new server and of an interruption.
    let (mut a, mut b) = two(settings());
    a.started(T0);
    b.started(T0);
    let mut moved = stream_of(UUID, "s1");
    moved.server_urls = vec!["wss://other.zoom.us".to_owned()];
    a.webhook(T0 + 9, ZoomEventKind::StreamStarted(moved.clone()));
    a.interrupted(T0 + 20, &[]);
    let (stream_id, urls) = ("s1".to_owned(), moved.server_urls);
    let exported = export(&a);
    assert_eq!(
        adopt(&mut b, &exported),
        [Action::FailOver { stream_id, urls }]
    );
    assert_eq!(b.interrupted(T0 + 20, &[]), [], "heard already");
    assert_eq!(adopt(&mut b, &exported), [], "nothing new");
    // It runs the stream, and the first node has heard that it was stopped.
    a.stopped(T0 + 30, 2);
    assert!(matches!(
        &adopt(&mut b, &export(&a))[..],
        [Action::Stopped { .. }]
    ));
}

#[test]
fn a_stream_that_is_leaving_comes_back_after_it_has_left() {
    let (mut a, mut b) = two(settings());
    a.started(T0);
    adopt(&mut b, &export(&a));
    yield_up(&mut a, &["s1"]);
    assert_eq!(adopt(&mut a, &export(&b)), []);
    let actions = a.ended(handed_over());
    assert_eq!(started_plans(&actions).len(), 1, "{actions:?}");
}

#[test]
fn an_ended_stream_does_not_come_back_by_a_way_around() {
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 1);
    move_over(&mut a, &mut b);
    // The second node has forgotten the stream.
    let mut exported: Value = serde_json::from_slice(&export(&b)).expect("JSON");
    exported["streams"] = json!({});
    adopt(&mut a, exported.to_string().as_bytes());
    let again: Value = serde_json::from_slice(&export(&a)).expect("JSON");
    assert!(again["streams"]["s1"]["ended_ms"].is_u64(), "{again}");
    assert_eq!(a.coordinator.meetings()[0].streams, [""; 0]);
}

#[test]
fn other_versions_are_understood() {
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    let mut exported: Value = serde_json::from_slice(&export(&a)).expect("JSON");
    exported["new"] = json!({"a": [1, 2]});
    exported["meeting"]["new"] = json!("x");
    exported["streams"]["s1"]["new"] = json!(null);
    exported["streams"]["s1"]["started"]["new"] = json!(1);
    let actions = adopt(&mut b, exported.to_string().as_bytes());
    assert_eq!(started_plans(&actions).len(), 1, "{actions:?}");
    // A word for the state that is not known, and a stream that is not understood: the rest goes on.
    let mut c = world(settings());
    exported["meeting"]["start"] = json!("Sleeping");
    exported["streams"]["s2"] = json!(["?"]);
    let actions = adopt(&mut c, exported.to_string().as_bytes());
    assert_eq!(started_plans(&actions).len(), 1, "{actions:?}");
    assert!(matches!(&actions[0], Action::Log(Severity::Warn, text) if text.contains("entries=2")));
}

#[test]
fn hostile_exports_are_harmless() {
    let (mut a, mut b) = two(settings());
    a.meeting_started(T0);
    a.call(RestAction::Start, Ok(()));
    a.started(T0 + 5);
    let good = export(&a);
    let is_error = |actions: &[Action]| matches!(actions, [Action::Log(Severity::Error, _)]);
    for bad in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        &good[..good.len() - 1],
        b"\xff",
    ] {
        assert!(is_error(&adopt(&mut b, bad)), "{bad:?}");
    }
    let other = b
        .coordinator
        .adopt(b.now, "another", &good, 2, WINDOW, SILENT);
    assert!(is_error(&other), "{other:?}");
    let large = [good.as_slice(), &vec![b' '; 2 << 20]].concat();
    assert!(is_error(&adopt(&mut b, &large)));
    assert_eq!(b.coordinator.meetings(), []);

    let text = "x".repeat(1100);
    let mut exported: Value = serde_json::from_slice(&good).expect("JSON");
    exported["meeting"]["topic"] = json!(text);
    exported["meeting"]["host_id"] = json!(text);
    exported["meeting"]["stop_at_ms"] = json!(u64::MAX);
    exported["meeting"]["stop_attempts"] = json!(u32::MAX);
    exported["meeting"]["restarts"] = json!(u32::MAX);
    exported["meeting"]["started_ms"] = json!(u64::MAX);
    exported["meeting"]["life_ms"] = json!(u64::MAX);
    let stream = exported["streams"]["s1"].clone();
    for n in 0..200 {
        let id = format!("n{n}");
        let mut stream = stream.clone();
        stream["started"]["stream_id"] = json!(id);
        stream["started"]["server_urls"] = json!(vec![text.as_str(); 3]);
        stream["panics"] = json!(u32::MAX);
        exported["streams"][id] = stream;
    }
    let urls = vec!["wss://sig.zoom.us"; 1000];
    exported["streams"]["s1"]["started"]["server_urls"] = json!(urls);
    // Of another meeting, or under another name.
    exported["streams"]["s2"] = stream.clone();
    exported["streams"]["s3"] = stream;
    exported["streams"]["s3"]["started"]["id"] = json!("another");
    let actions = adopt(&mut b, exported.to_string().as_bytes());
    let plans = started_plans(&actions);
    assert!(
        plans.len() <= 1,
        "without a server nothing starts: {plans:?}"
    );
    let calls = b.calls(&actions);
    assert!(
        matches!(calls[..], [(RestAction::Stop, wait)] if wait <= secs(366 * 86_400)),
        "{calls:?}"
    );
    let kept: Value = serde_json::from_slice(&export(&b)).expect("JSON");
    assert_eq!(kept["meeting"]["topic"].as_str().map(str::len), Some(512));
    assert_eq!(kept["meeting"]["host_id"], Value::Null);
    // Life goes on.
    b.pass(secs(5));
    b.call(RestAction::Stop, Err(failed(FailureClass::Retry)));
    b.stopped(T0 + 90, 10);
    b.ended(EndReason::Stopped(StopReason(10)));
    b.meeting_ended(T0 + 100);
    b.restart(settings());
}

#[test]
fn the_limits_are_those_of_webhooks() {
    assert_eq!(told::ID_BYTES_MAX, payload::ID_BYTES_MAX);
    assert_eq!(told::TOPIC_BYTES_MAX, payload::TOPIC_BYTES_MAX);
    assert_eq!(told::URL_BYTES_MAX, payload::URL_BYTES_MAX);
    assert_eq!(told::URLS_MAX, payload::URLS_MAX);
}

#[test]
fn without_a_fleet_the_state_is_as_before() {
    let mut a = world(settings());
    a.meeting_started(T0);
    a.started(T0 + 5);
    let json = String::from_utf8(a.coordinator.to_json()).expect("text");
    assert!(
        ["yielded", "leaving", "tenure", "epoch"]
            .iter()
            .all(|word| !json.contains(word)),
        "{json}"
    );
}

#[test]
fn who_watches_is_told_which_meetings_may_have_changed() {
    let mut a = world(settings());
    a.meeting_started(T0);
    assert!(
        a.coordinator.changed_meetings().is_empty(),
        "no node watches"
    );
    a.coordinator.watch();
    a.started(T0 + 5);
    let changed: Vec<String> = a.coordinator.changed_meetings().into_iter().collect();
    assert_eq!(changed, [UUID]);
    assert!(a.coordinator.changed_meetings().is_empty());
    a.interrupted(T0 + 6, &[]);
    assert_eq!(a.coordinator.changed_meetings().len(), 1);
    let unknown = StreamStopped {
        product: crate::domain::product::Product::Meeting,
        id: None,
        stream_id: "s9".to_owned(),
        stop_reason: Some(2),
    };
    a.webhook(T0 + 7, ZoomEventKind::StreamStopped(unknown));
    assert!(a.coordinator.changed_meetings().is_empty(), "of no meeting");
    assert_eq!(a.coordinator.meeting_of("s9"), None);
    let saved = a.coordinator.take_changes();
    assert!(saved.is_some(), "what is saved is apart from it");
}

fn started_plan(actions: &[Action]) -> &crate::coordinator::StreamPlan {
    let mut plans = actions.iter().filter_map(|action| match action {
        Action::Start(plan) => Some(plan),
        _ => None,
    });
    plans.next().expect("one starts")
}

/// The tenure of each stream that starts: node, epoch, and node, epoch and number before.
fn tenures(actions: &[Action]) -> Vec<String> {
    let plans = actions.iter().filter_map(|action| match action {
        Action::Start(plan) => Some(plan),
        _ => None,
    });
    let tenures = plans.map(|plan| match plan.info.tenure.as_deref() {
        None => "none".to_owned(),
        Some(tenure) => {
            let before = tenure.predecessor.as_ref();
            let before = before.map(|it| format!(" after {} {} {:?}", it.node, it.epoch, it.seq));
            let before = before.unwrap_or_default();
            format!("{} {}{before}", tenure.node, tenure.epoch)
        }
    });
    tenures.collect()
}

fn node(name: &str) -> World {
    world(Settings {
        node: Some(name.to_owned()),
        ..settings()
    })
}

#[test]
fn each_node_has_an_epoch_of_its_own() {
    let (mut a, mut b) = (node("a"), node("b"));
    b.now = a.now;
    let actions = a.started(T0);
    assert_eq!(tenures(&actions), ["a 1"]);
    a.coordinator.set_epoch(UUID, 1);
    a.coordinator.note_seq("s1", 40);
    a.coordinator.note_seq("s1", 39);
    let actions = move_over(&mut a, &mut b);
    assert_eq!(tenures(&actions), ["b 2 after a 1 Some(40)"]);
    let plan = started_plan(&actions);
    let before = plan
        .info
        .tenure
        .as_ref()
        .and_then(|it| it.predecessor.as_ref());
    let until_ms = before.and_then(|before| before.until_ms);
    assert_eq!(until_ms, Some(b.now.unix_ms - 6000), "the silence is its");
    // A panic, and a restart of the process.
    let again = b.ended(EndReason::Panicked);
    assert_eq!(tenures(&again), ["b 2 after a 1 Some(40)"]);
    let settings = b.coordinator.settings.clone();
    let again = b.restart(settings);
    assert_eq!(tenures(&again), ["b 2 after a 1 Some(40)"]);
    // A stream that begins there has nothing before.
    let other = ZoomEventKind::StreamStarted(stream_of(UUID, "s2"));
    assert_eq!(tenures(&b.webhook(T0 + 1, other)), ["b 2"]);
    // Back again: another folder.
    b.coordinator.release(UUID, None);
    for id in ["s1", "s2"] {
        b.coordinator.handle_end(b.now, id, &handed_over());
    }
    let exported = export(&b);
    yield_up(&mut b, &[]);
    let actions = a
        .coordinator
        .adopt(a.now, UUID, &exported, 3, WINDOW, SILENT);
    assert_eq!(
        tenures(&actions),
        ["a 3 after b 2 None", "a 3 after b 2 None"]
    );
    // What is taken back by who had it last goes on in its folder.
    a.coordinator.release(UUID, None);
    for id in ["s1", "s2"] {
        a.coordinator.handle_end(a.now, id, &handed_over());
    }
    let actions = a.coordinator.resume_meeting(a.now, UUID);
    assert_eq!(tenures(&actions).len(), 2);
    assert!(
        tenures(&actions)
            .iter()
            .all(|it| it.starts_with("a 3 after b 2"))
    );
    // A process of the same name with another disk does not have its folder.
    let exported = export(&a);
    let mut other_disk = node("a");
    other_disk.now = a.now;
    let actions =
        (other_disk.coordinator).adopt(other_disk.now, UUID, &exported, 4, WINDOW, SILENT);
    let expected = ["a 4 after a 3 None", "a 4 after a 3 None"];
    assert_eq!(tenures(&actions), expected);
    // One with the same disk claims the record as its own, which keeps its epoch.
    let mut same_disk = node("a");
    same_disk.now = a.now;
    let actions = (same_disk.coordinator).adopt(same_disk.now, UUID, &exported, 3, WINDOW, SILENT);
    assert_eq!(tenures(&actions), ["a 3", "a 3"]);
    // And the first again, of which the second has written since.
    let exported = export(&other_disk);
    for id in ["s1", "s2"] {
        a.coordinator.release(UUID, None);
        a.coordinator.handle_end(a.now, id, &handed_over());
    }
    yield_up(&mut a, &[]);
    let actions = a
        .coordinator
        .adopt(a.now, UUID, &exported, 5, WINDOW, SILENT);
    let expected = ["a 5 after a 4 None", "a 5 after a 4 None"];
    assert_eq!(tenures(&actions), expected);
    // Without a fleet there is none.
    let mut alone = world(crate::coordinator::tests::settings());
    assert_eq!(tenures(&alone.started(T0)), ["none"]);
}
