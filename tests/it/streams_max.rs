//! `RTMS_STREAMS_MAX`: what is beyond an account's limit waits for a place, and a flood of one account
//! delays no stream of another.

use rtmsd::clock::now_ms;
use rtmsd::demo::{End, MeetingHandle, MeetingScript, Options};
use serde_json::{Value, json};

use crate::harness::{
    Harness, open_at_once, wait_until, wait_until_more, wait_until_over, wait_until_streaming,
};

/// So many streams are announced that do not exist.
const FLOOD: usize = 100;

fn meeting(harness: &Harness, account: &str, seed: &str) -> MeetingHandle {
    harness.zoom.start_meeting(MeetingScript {
        account: Some(account.to_owned()),
        ..open_at_once(seed)
    })
}

fn started(n: usize) -> Value {
    json!({"event": "meeting.rtms_started", "event_ts": now_ms(), "payload": {
        "account_id": "acc-a", "meeting_uuid": format!("flood-{n}"), "rtms_stream_id": format!("flood-{n}"),
        "server_urls": "wss://127.0.0.1:1", "operator_id": "o"}})
}

#[test]
fn a_stream_beyond_the_limit_of_its_account_begins_when_a_place_is_free() {
    let mut harness = Harness::builder(Options::default())
        .admin()
        .settings(&[("RTMS_STREAMS_MAX", "1"), ("RTMS_AUTO_START", "off")])
        .start();
    let first = meeting(&harness, "acc-a", "first");
    wait_until_streaming(&first);
    let second = meeting(&harness, "acc-a", "second");
    let line = harness.wait_until_logged(&["stream refused", "RTMS_STREAMS_MAX=1"]);
    assert!(
        line.contains("account=acc-a") && line.contains(&second.streams()[0]),
        "{line}"
    );
    // Every further stream of that account is refused, and another account has its place.
    (0..FLOOD).for_each(|n| harness.post(&started(n)));
    let other = meeting(&harness, "acc-b", "other");
    wait_until_streaming(&other);
    wait_until_more(&first, 3);
    let limited = |result| format!("rtmsd_streams_limited_total{{result=\"{result}\"}}");
    wait_until("all are refused", || {
        harness.metric(&limited("refused")) >= (FLOOD + 1) as f64
    });
    assert_eq!(harness.metric(&limited("started")), 0.0);
    assert_eq!(
        harness.metric("rtmsd_ready"),
        1.0,
        "it is no fault of the server"
    );
    // The one that waits longest gets the place.
    first.end(End::meeting_ended());
    wait_until_over(&first);
    wait_until_streaming(&second);
    wait_until("it is counted", || {
        harness.metric(&limited("started")) == 1.0
    });
    assert_eq!(harness.metric("rtmsd_streams_rejoined_total"), 0.0);
    harness.reload(&[("RTMS_STREAMS_MAX", "2")]);
    let third = meeting(&harness, "acc-b", "third");
    wait_until_streaming(&third);
    harness.terminate();
}
