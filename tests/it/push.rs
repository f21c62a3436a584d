//! HTTP push with the whole binary: events arrive signed, complete and in order, whatever the receiver
//! does and whenever the server is killed.

use std::fs;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rtmsd::demo::receiver::{Habit, Receiver};
use rtmsd::demo::{End, MeetingHandle, Options, compare};
use serde_json::Value;

use crate::api::tls::proxy;
use crate::harness::certificates::acceptor;
use crate::harness::scripted::{Answer, Scripted};
use crate::harness::{
    Harness, KilledOnDrop, PATIENCE, files_below, free_port, http, open, open_at_once, plain,
    wait_until, wait_until_more, wait_until_over, wait_until_streaming,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn start(receiver: &Receiver, settings: &[(&str, &str)]) -> Harness {
    Harness::builder(Options::default())
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_PUSH_URL", &receiver.url()),
            ("RTMS_PUSH_SECRET", SECRET),
        ])
        .settings(settings)
        .start()
}

/// The id of each event in the journals.
fn written(harness: &Harness) -> Vec<String> {
    let mut ids = Vec::new();
    for (path, bytes) in files_below(&harness.out()) {
        if !path.ends_with("feed.jsonl") {
            continue;
        }
        let lines = bytes.split_inclusive(|b| *b == b'\n');
        for line in lines.filter(|line| line.ends_with(b"\n")) {
            let event: Value = serde_json::from_slice(line).expect("JSON");
            ids.push(event["id"].as_str().expect("an id").to_owned());
        }
    }
    ids
}

/// Everything in the journals arrives, and every phrase of these meetings is among it, once.
#[track_caller]
fn assert_delivered(harness: &Harness, receiver: &Receiver, meetings: &[&MeetingHandle]) {
    wait_until("their ends are written", || {
        let folders = harness.stream_folders();
        let ended = folders.iter().filter(|folder| {
            let text = fs::read_to_string(folder.join("feed.jsonl")).unwrap_or_default();
            text.contains("\"type\":\"stream.ended\"")
        });
        ended.count() >= meetings.len()
    });
    let ids = written(harness);
    assert!(receiver.wait_for(&ids, PATIENCE), "{} events", ids.len());
    let checks = receiver.checks();
    assert_eq!(checks.faults, [""; 0]);
    assert_eq!(checks.events(), ids.len());
    for meeting in meetings {
        let lines = checks.phrases_of(&meeting.script().id);
        let comparison = compare(&meeting.sent(), lines.iter().map(String::as_str));
        assert!(
            comparison.sent > 0 && comparison.is_exact(),
            "{comparison:?}"
        );
    }
}

#[test]
fn p1_every_event_of_a_meeting_arrives_once_and_in_order() {
    let receiver = Receiver::start(SECRET).expect("a receiver");
    let harness = start(&receiver, &[]);
    let first = harness.zoom.start_meeting(plain("push-1", 50));
    let second = harness.zoom.start_meeting(plain("push-2", 50));
    wait_until_over(&first);
    wait_until_over(&second);
    assert_delivered(&harness, &receiver, &[&first, &second]);
    assert_eq!(receiver.checks().repeated, 0);
    harness.end();
}

#[test]
fn p5_nothing_is_lost_over_kills_and_failures_of_the_receiver() {
    let receiver = Receiver::start(SECRET).expect("a receiver");
    let mut harness = start(&receiver, &[]);
    receiver.set_habit(Habit::Moody);
    let meetings: Vec<MeetingHandle> = (1..=3)
        .map(|n| harness.zoom.start_meeting(open(&format!("push-kill-{n}"))))
        .collect();
    for habit in [Habit::Moody, Habit::Down, Habit::Moody] {
        meetings.iter().for_each(wait_until_streaming);
        receiver.set_habit(habit);
        wait_until_more(&meetings[0], 30);
        harness.server.kill();
        harness.start_server();
    }
    receiver.set_habit(Habit::Well);
    for meeting in &meetings {
        wait_until_more(meeting, 10);
        meeting.end(End::meeting_ended());
    }
    meetings.iter().for_each(wait_until_over);
    // What was written last is sent by the next process.
    harness.terminate();
    harness.start_server();
    // What Zoom sent into a connection of a killed process is not the journal's.
    assert_delivered(&harness, &receiver, &[]);
    assert!(receiver.checks().events() > 100);
    harness.terminate();
}

#[test]
fn p9_p12_what_a_person_sees_and_says() {
    let receiver = Receiver::start(SECRET).expect("a receiver");
    let harness = start(&receiver, &[("RTMS_ADMIN", "127.0.0.1:0")]);
    let tried = harness.run(&["push", "test"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert!(tried.stdout.contains("answer    204 after"), "{tried:?}");

    let paused = harness.run(&["push", "pause"]);
    assert_eq!(
        (paused.code, paused.stdout.as_str()),
        (Some(0), "push default: paused\n")
    );
    let meeting = harness.zoom.start_meeting(plain("push-seen", 20));
    wait_until_over(&meeting);
    wait_until("lag", || {
        harness.metric("rtmsd_push_lag_events{endpoint=\"default\"}") > 20.0
    });
    let endpoint = &harness.streams()["push"][0];
    assert_eq!(
        (&endpoint["name"], &endpoint["state"]),
        (&"default".into(), &"paused".into())
    );
    let (host, _) = receiver
        .url()
        .rsplit_once('/')
        .map(|(host, path)| (host.to_owned(), path.to_owned()))
        .expect("a path");
    assert_eq!(endpoint["host"], host.as_str());
    let status = harness.run(&["status"]).stdout;
    assert!(
        status.contains("PUSH default: http://127.0.0.1:") && status.contains("is paused"),
        "{status}"
    );
    assert!(
        harness
            .admin_page("/readyz")
            .contains("push endpoint default is paused")
    );

    // Without the token there are no orders.
    let request = "POST /push/default/resume HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let (refused, _) = http::status_and_body(&http::ask(harness.admin(), request.as_bytes()));
    assert_eq!(refused, 401);
    assert_eq!(harness.run(&["push", "resume"]).code, Some(0));
    assert_delivered(&harness, &receiver, &[&meeting]);
    wait_until("no lag", || {
        harness.metric("rtmsd_push_lag_events{endpoint=\"default\"}") == 0.0
    });
    let events = written(&harness).len();
    assert_eq!(
        harness.metric("rtmsd_push_events_total{endpoint=\"default\"}"),
        events as f64
    );

    let replayed = harness.run(&["push", "replay", "default", "--from", &written(&harness)[4]]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    wait_until("old events again", || {
        receiver.checks().repeated == events as u64 - 4
    });
    assert_eq!(receiver.checks().faults, [""; 0]);
    for (arguments, code) in [
        (&["push", "pause", "unknown"][..], 64),
        (&["push", "test", "unknown"], 64),
        (
            &["push", "replay", "default", "--from", "0000000000000001-1"],
            64,
        ),
    ] {
        let ran = harness.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?} {ran:?}");
    }
    harness.end();
}

/// S7: what is said, and what is secret, is in no line of the log.
#[test]
fn s7_the_log_has_neither_content_nor_secrets() {
    let receiver = Receiver::start(SECRET).expect("a receiver");
    let url = format!("{}?token=hunter2", receiver.url());
    receiver.set_habit(Habit::Down);
    let settings = [
        ("RTMS_PUSH_URL", url.as_str()),
        ("RTMS_PUSH_AUTHORIZATION", "Bearer hunter2"),
        ("RTMS_LOG", "debug"),
    ];
    let mut harness = start(&receiver, &settings);
    let meeting = harness.zoom.start_meeting(plain("push-log", 10));
    wait_until_over(&meeting);
    harness.wait_until_logged(&["push endpoint fails", "endpoint=default", "error=reset"]);
    harness.terminate();
    let log = harness.server.log().join("\n");
    for secret in ["hunter2", "whsec_", "MfKQ9r8", "/events"] {
        assert!(!log.contains(secret), "{secret}");
    }
    for phrase in meeting.sent() {
        assert!(!log.contains(&phrase.text), "{}", phrase.text);
    }
}

/// P10: endpoint, key, number and status are logged; not the path, nor what was sent or answered.
#[test]
fn p10_the_first_failure_and_the_recovery_are_logged_and_no_try_between_them() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let receiver = Scripted::start(move |_| match seen.fetch_add(1, Relaxed) {
        0 | 1 => Answer::json(500, "\"hunter2\""),
        _ => Answer::empty(204),
    });
    let mut harness = Harness::builder(Options::default())
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_PUSH_URL", &format!("{}/hunter2", receiver.url())),
            ("RTMS_PUSH_SECRET", SECRET),
        ])
        .start();
    let meeting = harness.zoom.start_meeting(plain("push-lines", 5));
    wait_until_over(&meeting);
    let id = written(&harness).swap_remove(0);
    let (key, _) = id.split_once('-').expect("an id");
    let of_first = format!("key={key} seq=1 ");
    harness.wait_until_logged(&[
        " WARN ",
        "push failed endpoint=default",
        &of_first,
        "status=500",
    ]);
    harness.wait_until_logged(&[
        " INFO ",
        "push delivered endpoint=default",
        &of_first,
        "failures=2",
    ]);
    harness.terminate();
    let lines = harness.count_logged(&["thread=push-default"]);
    assert_eq!(lines, 2, "{:#?}", harness.server.log());
    let log = harness.server.log().join("\n");
    assert!(!log.contains("hunter2"), "{log}");
    for phrase in meeting.sent() {
        assert!(!log.contains(&phrase.text), "{}", phrase.text);
    }
}

#[test]
fn p1_an_endpoint_without_a_listener_delays_no_other() {
    let url = format!("http://127.0.0.1:{}/x", free_port());
    let receiver = Receiver::start(SECRET).expect("a receiver");
    let settings = [
        ("RTMS_PUSH_DEAD_URL", url.as_str()),
        ("RTMS_PUSH_DEAD_SECRET", SECRET),
        ("RTMS_ADMIN", "127.0.0.1:0"),
    ];
    let harness = start(&receiver, &settings);
    let meeting = harness.zoom.start_meeting(plain("push-two", 30));
    wait_until_over(&meeting);
    assert_delivered(&harness, &receiver, &[&meeting]);
    wait_until("it rests", || {
        harness.streams()["push"][1]["state"] == "resting"
    });
    let endpoints = harness.streams()["push"].clone();
    assert_eq!(
        (&endpoints[0]["state"], &endpoints[1]["last_error"]),
        (&"ok".into(), &"connect".into())
    );
    let tried = harness.run(&["push", "test", "dead"]);
    assert_eq!(tried.code, Some(69), "{tried:?}");
    assert!(tried.stdout.contains("nothing listens there"), "{tried:?}");
    harness.end();
}

/// P4: the way to an endpoint is that to Zoom: proxies of the environment, roots of `RTMS_CA_FILE`.
#[test]
fn p4_events_go_through_a_proxy_and_no_proxy_is_respected() {
    let cookie = || Answer::empty(204).with("Set-Cookie", "hunter2=1");
    let (tls, first_root) = acceptor("hooks.example.test", 20);
    let far = Scripted::with_tls(Some(tls), move |_| cookie());
    // It reaches this machine, but does not look like a loopback address.
    let (tls, second_root) = acceptor("0.0.0.0", 20);
    let near = Scripted::with_tls(Some(tls), move |_| cookie());
    let (proxy, heads) = proxy("200 Connection established", far.address());
    let near_url = format!("https://0.0.0.0:{}/x", near.address().port());
    let mut harness = Harness::builder(Options::default())
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_PUSH_URL", "https://hooks.example.test/x"),
            ("RTMS_PUSH_SECRET", SECRET),
            ("RTMS_PUSH_NEAR_URL", &near_url),
            ("RTMS_PUSH_NEAR_SECRET", SECRET),
        ])
        .prelude(&format!(
            "export HTTPS_PROXY=http://me:proxy-password@{proxy} NO_PROXY=zoom.us,0.0.0.0"
        ))
        .without_server();
    let mut roots = fs::read(harness.zoom.ca_file()).expect("the CA");
    for root in [first_root, second_root] {
        roots.extend(root.to_pem().expect("a certificate"));
    }
    let file = harness.folder.join("roots.pem");
    fs::write(&file, roots).expect("a file");
    harness.set("RTMS_CA_FILE", file.to_str().expect("UTF-8"));
    harness.start_server();
    let meeting = harness.zoom.start_meeting(plain("push-proxy", 5));
    wait_until_over(&meeting);
    wait_until("the end is written", || {
        let folder = harness.stream_folder();
        let text = fs::read_to_string(folder.join("feed.jsonl")).unwrap_or_default();
        text.contains("\"type\":\"stream.ended\"")
    });
    let ids = written(&harness);
    assert!(ids.len() > 5, "{ids:?}");
    for receiver in [&far, &near] {
        wait_until("every event", || {
            let requests = receiver.requests();
            let has = |id: &String| requests.iter().any(|it| it.header("webhook-id") == *id);
            ids.iter().all(has)
        });
        // No cookie is kept.
        let requests = receiver.requests();
        assert!(requests.iter().all(|it| it.header("cookie").is_empty()));
    }
    let heads = heads.lock().expect("whole").clone();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(
            head.starts_with("CONNECT hooks.example.test:443 "),
            "{head}"
        );
    }
    let log = harness.server.log().join("\n");
    assert!(!log.contains("proxy-password"), "{log}");
    harness.end();
}

/// P11 and J11: to an endpoint that is behind, the last word comes instead of what it has not had.
#[test]
fn p11_j11_withdrawn_consent_is_the_last_word_to_an_endpoint_that_is_behind() {
    let is_down = Arc::new(AtomicBool::new(false));
    let taken: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let (down, all) = (Arc::clone(&is_down), Arc::clone(&taken));
    let receiver = Scripted::start(move |request| {
        if down.load(Relaxed) {
            return Answer::empty(503);
        }
        let event = serde_json::from_str(&request.body).expect("JSON");
        let id = request.header("webhook-id").to_owned();
        all.lock().expect("whole").push((id, event));
        Answer::empty(204)
    });
    let mut harness = Harness::builder(Options::default())
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_PUSH_URL", &format!("{}/x", receiver.url())),
            ("RTMS_PUSH_SECRET", SECRET),
        ])
        .start();
    let taken = || taken.lock().expect("whole").clone();
    let meeting = harness.zoom.start_meeting(open_at_once("push-consent"));
    wait_until("some events", || taken().len() > 10);
    is_down.store(true, Relaxed);
    wait_until_more(&meeting, 20);
    harness.wait_until_logged(&["push failed", "endpoint=default"]);
    meeting.end(End::stopped(8));
    harness.wait_until_logged(&["consent withdrawn: deleted"]);
    let before = taken().len();
    is_down.store(false, Relaxed);
    const LAST: &str = "0000000000000000-1";
    wait_until("the last word", || taken().iter().any(|(id, _)| id == LAST));
    harness.terminate();
    let taken = taken();
    assert_eq!(
        taken.len(),
        before + 1,
        "nothing of the stream came after it"
    );
    let (id, event) = &taken[before];
    assert_eq!(
        (id.as_str(), &event["type"]),
        (LAST, &"stream.revoked".into())
    );
    let (first, _) = &taken[0];
    let key = first.split('-').next().expect("a key");
    assert_eq!(event["data"]["key"], key);
    assert!(
        event["data"]["stream_seq"].as_u64() > Some(before as u64),
        "{event}"
    );
    assert_eq!(event["data"]["deleted"], true);
}

/// `tests/partners/push_receiver.py`, which verifies each request with PyPI's standardwebhooks.
struct Partner {
    child: KilledOnDrop,
    url: String,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Partner {
    fn start(python: &str, secret: &str) -> Partner {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/partners/push_receiver.py"
        );
        let mut child = Command::new(python)
            .args([script, secret])
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let port = lines.recv_timeout(PATIENCE).expect("its port");
        Partner {
            child: KilledOnDrop(child),
            url: format!("http://127.0.0.1:{port}/"),
            lines,
        }
    }

    /// Waits until each of these events was verified, and no request was not.
    #[track_caller]
    fn assert_verified(&self, mut ids: Vec<String>) {
        while !ids.is_empty() {
            let line = self.lines.recv_timeout(PATIENCE).expect("a further event");
            assert!(!line.starts_with("BAD"), "{line}");
            ids.retain(|id| *id != line);
        }
    }
}

#[test]
#[ignore = "needs standardwebhooks from PyPI, see .ci/nightly push_partner"]
fn a_partner_verifies_every_request_also_while_secrets_are_changed() {
    let python = std::env::var("RTMSD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let old = Partner::start(&python, SECRET);
    let new = Partner::start(&python, OTHER_SECRET);
    let both = format!("{SECRET},{OTHER_SECRET}");
    let mut harness = Harness::builder(Options::default())
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_PUSH_URL", &old.url),
            ("RTMS_PUSH_SECRET", SECRET),
            ("RTMS_PUSH_NEW_URL", &new.url),
            ("RTMS_PUSH_NEW_SECRET", &both),
            ("RTMS_PUSH_NEW_BATCH", "100"),
            ("RTMS_PUSH_NEW_LINGER", "100"),
        ])
        .start();
    let meeting = harness.zoom.start_meeting(open("partner"));
    wait_until_streaming(&meeting);
    harness.reload(&[("RTMS_PUSH_SECRET", &both)]);
    wait_until_more(&meeting, 50);
    harness.reload(&[("RTMS_PUSH_NEW_SECRET", OTHER_SECRET)]);
    wait_until_more(&meeting, 50);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    harness.terminate();
    harness.start_server();
    let ids = written(&harness);
    assert!(ids.len() > 100, "{}", ids.len());
    old.assert_verified(ids.clone());
    new.assert_verified(ids);
    drop((old.child, new.child));
    harness.terminate();
}
