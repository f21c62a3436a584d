//! Webhooks answered 200 are kept: the real binary is killed right after its answer, or has a full
//! state directory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rtmsd::demo::Options;
use serde_json::{Value, json};

use crate::harness::{Harness, wait_until};

/// A stream at an address without a server: its thread keeps retrying.
fn started(stream_id: &str) -> Value {
    let ts = rtmsd::clock::now_ms();
    json!({"event": "meeting.rtms_started", "event_ts": ts, "payload": {
        "meeting_uuid": format!("{stream_id}=="), "rtms_stream_id": stream_id,
        "server_urls": "wss://127.0.0.1:9/"}})
}

fn wait_until_started(harness: &Harness, stream_id: &str) {
    harness.wait_until_logged(&["stream started", &format!("stream={stream_id} ")]);
}

/// `RTMSD_KILLS` sets how often; the default is 10.
#[test]
fn a_kill_right_after_the_answer_loses_no_start() {
    let kills = std::env::var("RTMSD_KILLS").map_or(10, |text| text.parse().expect("a number"));
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_AUTO_START", "off")])
        .without_server();
    let mut kept = 0;
    for n in 0..kills {
        let state = harness.folder.join(format!("state-{n}"));
        harness.set("RTMS_STATE", &state.display().to_string());
        harness.start_server();
        let accepted = Mutex::new(Vec::new());
        let is_answered = AtomicBool::new(false);
        // Several at once, so that some are in progress when the kill comes.
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (zoom, accepted, is_answered) = (&harness.zoom, &accepted, &is_answered);
                scope.spawn(move || {
                    for m in 0.. {
                        let stream_id = format!("k{n}-{thread}-{m}");
                        match zoom.post_webhook(&started(&stream_id)).status {
                            Ok(200) => {}
                            // A disk that others keep busy.
                            Ok(503) => continue,
                            _ => break,
                        }
                        accepted.lock().expect("a lock").push(stream_id);
                        is_answered.store(true, Ordering::Release);
                    }
                });
            }
            wait_until("an answer", || is_answered.load(Ordering::Acquire));
            harness.server.kill();
        });
        let accepted = accepted.into_inner().expect("a lock");
        harness.start_server();
        for stream_id in &accepted {
            wait_until_started(&harness, stream_id);
            kept += 1;
        }
        harness.server.kill();
    }
    assert!(kept >= kills, "{kept} of {kills}");
}

#[test]
fn with_a_full_state_directory_webhooks_are_answered_503() {
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_AUTO_START", "off")])
        .with_limit_of_files()
        .start();
    let post = |stream_id: &str| harness.zoom.post_webhook(&started(stream_id)).status;
    harness.post(&started("before"));
    harness.wait_until_logged(&["stream=before"]);

    harness.limit_files(Some(0));
    for n in 0..5 {
        assert_eq!(post(&format!("refused-{n}")), Ok(503));
    }
    let line = harness.wait_until_logged(&["WARN", "webhook answered 503"]);
    // The log, or the snapshot that was to replace it.
    let files = ["intents.log", "registry.json"];
    assert!(files.iter().any(|file| line.contains(file)), "{line}");
    // What the server was about to write anyway may have failed before the first webhook.
    harness.wait_until_logged(&["ERROR", "answering 503 to webhooks that cannot be stored"]);

    harness.limit_files(None);
    wait_until("webhooks are accepted again", || post("after") == Ok(200));
    harness.wait_until_logged(&["stream=after"]);
    harness.server.kill();

    harness.start_server();
    for stream_id in ["before", "after"] {
        wait_until_started(&harness, stream_id);
    }
    // Zoom repeats what was answered 503; none of it was acted on.
    assert_eq!(harness.count_logged(&["refused-"]), 0);
}
