//! What was answered 200 is kept: the real binary killed right after its answer, and with a state
//! directory that takes nothing more.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rtmsd::demo::{Options, ServerProcess, Zoom};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::harness::{Folder, Harness, PATIENCE, start_server, wait_for};

/// A stream at an address where nobody listens: its thread goes on trying.
fn started(stream_id: &str) -> Value {
    let ts = rtmsd::clock::now_ms();
    json!({"event": "meeting.rtms_started", "event_ts": ts, "payload": {
        "meeting_uuid": format!("{stream_id}=="), "rtms_stream_id": stream_id,
        "server_urls": "wss://127.0.0.1:9/"}})
}

fn start(zoom: &Zoom, folder: &Path, state: &str) -> ServerProcess {
    let state = folder.join(state).display().to_string();
    let settings = [
        ("RTMS_STATE", state.as_str()),
        ("RTMS_STDOUT", "off"),
        ("RTMS_AUTO_START", "off"),
    ];
    let server = start_server(zoom, folder, &settings, "");
    let address = server.address(PATIENCE).expect("it listens");
    zoom.set_webhook_target(&format!("http://{address}/webhook"))
        .expect("a target");
    server
}

fn has_started(server: &ServerProcess, stream_id: &str) -> bool {
    let word = format!("stream={stream_id} ");
    let log = server.log();
    let mut lines = log.iter().filter(|line| line.contains(&word));
    lines.any(|line| line.contains("stream started"))
}

/// `RTMSD_KILLS` says how often; 20 times without it.
#[test]
fn a_kill_right_after_the_answer_loses_no_start() {
    let kills = std::env::var("RTMSD_KILLS").map_or(20, |text| text.parse().expect("a number"));
    let folder = Folder::new();
    let zoom = Zoom::start(Options::default()).expect("a Zoom");
    let mut kept = 0;
    for n in 0..kills {
        let state = format!("state-{n}");
        let mut server = start(&zoom, folder.path(), &state);
        let accepted = Mutex::new(Vec::new());
        let is_answered = AtomicBool::new(false);
        // Several at once, so that the kill comes in the middle of others.
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (zoom, accepted, is_answered) = (&zoom, &accepted, &is_answered);
                scope.spawn(move || {
                    for m in 0..4 {
                        let stream_id = format!("k{n}-{thread}-{m}");
                        if zoom.post_webhook(&started(&stream_id)).status != Ok(200) {
                            break;
                        }
                        accepted.lock().expect("a lock").push(stream_id);
                        is_answered.store(true, Ordering::Release);
                    }
                });
            }
            wait_for("an answer", || is_answered.load(Ordering::Acquire));
            server.kill();
        });
        let accepted = accepted.into_inner().expect("a lock");
        let mut server = start(&zoom, folder.path(), &state);
        for stream_id in &accepted {
            wait_for(&format!("{stream_id} is taken up"), || {
                has_started(&server, stream_id)
            });
            kept += 1;
        }
        server.kill();
    }
    assert!(kept >= kills, "{kept} of {kills}");
}

#[test]
fn a_state_directory_that_is_full_puts_webhooks_off() {
    // A limit on the size of files is what a full disk is to the server, and needs no root. The
    // signal that comes with it has to be ignored for the write to fail instead.
    let settings = [("RTMS_STDOUT", "off"), ("RTMS_AUTO_START", "off")];
    let mut stage = Harness::start_in(Options::default(), &settings, "trap '' XFSZ");
    let pid = Pid::from_raw(stage.server.id().cast_signed()).expect("a process");
    let unlimited = getrlimit(Resource::Fsize);
    let limit = |current| {
        let limit = Rlimit {
            current,
            ..unlimited
        };
        prlimit(Some(pid), Resource::Fsize, limit).expect("a limit");
    };
    let post = |stream_id: &str| stage.zoom.post_webhook(&started(stream_id)).status;
    assert_eq!(post("before"), Ok(200));
    stage.logged(&["stream=before"]);

    limit(Some(0));
    for n in 0..5 {
        assert_eq!(post(&format!("refused-{n}")), Ok(503));
    }
    let line = stage.logged(&["webhook answered 503", "intents.log"]);
    assert!(line.contains(" WARN "), "{line}");
    stage.logged(&["ERROR", "cannot append", "intents.log"]);

    limit(unlimited.current);
    wait_for("webhooks are taken again", || post("after") == Ok(200));
    stage.logged(&["stream=after"]);
    stage.server.kill();

    let server = start(&stage.zoom, stage.folder.path(), "state");
    for stream_id in ["before", "after"] {
        wait_for(stream_id, || has_started(&server, stream_id));
    }
    // What was answered 503 is Zoom's to repeat; nothing of it was done.
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("refused-")), "{log:?}");
    drop(server);
}
