//! An upgrade: the state directory of an earlier version is read, and its streams are rejoined.
//!
//! `registry-VERSION.json` is what that version left when it ended in the middle of meetings, to
//! the byte. It is written once for each release and never again: `cargo test --test it
//! golden::restart::write -- --ignored`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, SystemTime};

use rtmsd::demo::{
    Answer, Begin, DemoProduct, End, Fault, MeetingHandle, MeetingScript, Options, Step, Zoom,
};
use serde_json::{Value, json};

use super::{golden_path, map_stamps};
use crate::harness::scripted::{self, Scripted};
use crate::harness::{Harness, PATIENCE, meta, wait_until, wait_until_step};

/// The meetings in a registry. The seed determines id and number, so that the same meeting can be
/// played again.
const RUNNING: [(&str, DemoProduct); 5] = [
    ("running meeting", DemoProduct::Meeting),
    ("running webinar", DemoProduct::Webinar),
    ("running session", DemoProduct::Session),
    ("running engagement", DemoProduct::ContactCenter),
    ("running call", DemoProduct::Phone),
];
/// The stop reasons of the ended streams: the meeting ended, consent was withdrawn.
const OVER: [(&str, i64); 2] = [("meeting that is over", 6), ("revoked meeting", 8)];
/// No stream yet: the REST start will be retried, or was given up.
const TRYING: &str = "meeting that is to be started";
const GIVEN_UP: &str = "meeting that could not be started";

/// A meeting that never stops by itself, with many phrases.
fn script(seed: &str, product: DemoProduct, begin: Begin) -> MeetingScript {
    MeetingScript {
        product,
        begin,
        phrases_per_second: 50.0,
        linger: Duration::from_millis(20),
        ..MeetingScript::plain(seed)
    }
}

/// Ends this version in the middle of meetings and keeps its registry.
#[test]
#[ignore = "writes registry-VERSION.json, once for each release"]
fn write_the_registry_of_this_version() {
    let settings = [("RTMS_STOP_AFTER", "3600"), ("RTMS_STDOUT", "off")];
    let mut harness = Harness::start(Options::default(), &settings);
    let meeting = |seed| script(seed, DemoProduct::Meeting, Begin::ByRest);
    for (seed, answer, times) in [
        (TRYING, Answer::retry_after_seconds(60), 1),
        (
            GIVEN_UP,
            Answer::error(400, 13273, "The app is not allowed"),
            1,
        ),
    ] {
        let number = meeting(seed).number.to_string();
        for _ in 0..times {
            harness.zoom.script_rest(Some(&number), answer.clone());
        }
        harness.zoom.start_meeting(meeting(seed));
    }
    for (seed, reason) in OVER {
        let over = harness.zoom.start_meeting(meeting(seed));
        assert!(over.wait_for_phrases(5, PATIENCE));
        over.end(End::stopped(reason));
        wait_until_step(&over, Step::StoppedAnswered);
        wait_until_step(&over, Step::Closed);
    }
    let running = RUNNING.map(|(seed, product)| {
        let begin = match product {
            DemoProduct::Meeting => Begin::ByRest,
            _ => Begin::AtOnce,
        };
        harness.zoom.start_meeting(script(seed, product, begin))
    });
    for meeting in &running {
        assert!(meeting.wait_for_phrases(20, PATIENCE));
    }
    assert!(running[1].fault(Fault::InterruptedWebhook));
    let state = harness.state();
    let read = |name: &str| fs::read_to_string(state.join(name)).unwrap_or_default();
    wait_until("all of it is known", || {
        let known = read("registry.json") + &read("intents.log");
        let words = [
            "GaveUp",
            "Trying",
            "interrupted_ms",
            "stop_at_ms",
            "\"is_revoked\":true",
        ];
        words.iter().all(|word| known.contains(word))
            && known.matches("\"ended_ms\"").count() >= OVER.len()
    });
    harness.terminate();
    let registry = read("registry.json");
    let name = format!("registry-{}.json", env!("CARGO_PKG_VERSION"));
    let mut file = fs::File::create_new(golden_path(&name)).expect("it is not written again");
    file.write_all(registry.as_bytes()).expect("a file");
}

/// The registries of all earlier versions.
fn registries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(golden_path("")).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("registry-") {
            found.push((name, fs::read_to_string(entry.path()).expect("a file")));
        }
    }
    found.sort();
    found
}

/// Starts the meetings and receives their webhooks instead of the server, which gets the streams
/// only from its registry. Returns the port of the signaling URLs.
fn play_running(zoom: &Zoom) -> (Vec<MeetingHandle>, String) {
    let taker = Scripted::start(|_| scripted::Answer::empty(200));
    let target = format!("{}/webhook", taker.url());
    zoom.set_webhook_target(&target).expect("a target");
    let meetings = RUNNING.map(|(seed, product)| {
        let before = taker.requests().len();
        let meeting = zoom.start_meeting(script(seed, product, Begin::AtOnce));
        wait_until("a webhook", || taker.requests().len() > before);
        (meeting, taker.requests()[before].body.clone())
    });
    let port = signaling_port(&meetings[0].1).to_owned();
    (meetings.map(|(meeting, _)| meeting).to_vec(), port)
}

/// The port of the first signaling URL in the text.
fn signaling_port(text: &str) -> &str {
    let (_, rest) = text.split_once("wss://127.0.0.1:").expect("a URL");
    rest.split('/').next().unwrap_or_default()
}

/// Adapts the registry to the current time and this Zoom: replaces timestamps, ports and the ids of
/// the running streams by values of the same form.
fn adapted(registry: &str, meetings: &[MeetingHandle], port: &str) -> String {
    let parsed: Value = serde_json::from_str(registry).expect("JSON");
    let streams = parsed["streams"].as_object().expect("streams");
    let newest = streams
        .values()
        .filter_map(|stream| stream["newest_ms"].as_u64());
    let newest = newest.max().expect("streams");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a clock after 1970").as_millis() as u64;
    let mut text = map_stamps(registry, |stamp| (stamp + now - newest).to_string());
    text = text.replace(
        &format!("127.0.0.1:{}/", signaling_port(registry)),
        &format!("127.0.0.1:{port}/"),
    );
    for meeting in meetings {
        let is_it =
            |(_, stream): &(&String, &Value)| stream["started"]["id"] == meeting.script().id;
        let (id, _) = streams.iter().find(is_it).expect("the stream");
        text = text.replace(id, &meeting.streams()[0]);
    }
    text
}

#[test]
fn streams_of_an_earlier_version_are_rejoined() {
    let registries = registries();
    assert!(!registries.is_empty());
    for (version, registry) in &registries {
        // The synced and the unsynced file: either may be the only one.
        for file in ["registry.json", "registry-unsynced.json"] {
            rejoin(version, registry, file);
        }
    }
}

fn rejoin(version: &str, registry: &str, file: &str) {
    let options = Options {
        // Webhooks of new streams arrive before the server's address is known.
        webhook_retries: vec![Duration::from_millis(20); 1000],
        ..Options::default()
    };
    let mut harness = Harness::builder(options)
        .settings(&[("RTMS_STDOUT", "off")])
        .admin()
        .without_server();
    let (running, port) = play_running(&harness.zoom);
    let to_start = [TRYING, GIVEN_UP].map(|seed| {
        let script = script(seed, DemoProduct::Meeting, Begin::Silent);
        harness.zoom.start_meeting(script)
    });
    let registry = adapted(registry, &running, &port);
    let state = harness.state();
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(&state).expect("a folder");
    fs::write(state.join(file), &registry).expect("a file");

    harness.start_server();
    for meeting in running.iter().chain(&to_start) {
        let what = format!("{version} as {file}: {}", meeting.script().topic);
        assert!(
            meeting.wait_for(Step::Ready, PATIENCE),
            "{what}: {:?}",
            meeting.steps()
        );
        assert!(meeting.wait_for_phrases(5, PATIENCE), "{what}: no phrases");
    }
    let metric = |name: &str| harness.metric(name) as usize;
    let all = running.len() + to_start.len();
    assert_eq!(metric("rtmsd_streams_rejoined_total"), running.len());
    assert_eq!(metric("rtmsd_streams_begun_total"), all);

    // The webhook of an ended stream is sent again: the server knows the stream, and starts
    // nothing.
    let known: Value = serde_json::from_str(&registry).expect("JSON");
    let over = script(OVER[0].0, DemoProduct::Meeting, Begin::Silent);
    let streams = known["streams"].as_object().expect("streams");
    let is_over = |(_, stream): &(&String, &Value)| stream["started"]["id"] == over.id;
    let (id, entry) = streams.iter().find(is_over).expect("the stream");
    harness.post(&json!({
        "event": "meeting.rtms_started", "event_ts": entry["newest_ms"],
        "payload": {"meeting_uuid": over.id, "rtms_stream_id": id,
            "server_urls": entry["started"]["server_urls"][0]}}));
    assert_eq!(metric("rtmsd_streams_begun_total"), all);

    // A rejoined stream keeps its zero, its number and its topic.
    for meeting in &running {
        let id = &meeting.streams()[0];
        wait_until("the files of a stream", || {
            let folders = harness.stream_folders();
            folders
                .iter()
                .any(|folder| meta(folder)["stream_id"] == id.as_str())
        });
        let found = meta(&harness.folder_of(id));
        assert_eq!(
            found["started_ms"], known["streams"][id]["first_ms"],
            "{found}"
        );
        let entry = &known["meetings"][&meeting.script().id];
        assert_eq!(found["topic"], entry["topic"], "{found}");
        assert_eq!(found["product"], entry["product"], "{found}");
        assert_eq!(found["meeting_id"], entry["meeting_id"], "{found}");
    }
    harness.assert_no_violations();
}
