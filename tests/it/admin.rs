//! The admin listener and `rtmsd status`, with the real binary and meetings of the demo's Zoom.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rtmsd::demo::{Fault, MeetingScript, Options, Socket, Step};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::harness::http::{self, connect, status_and_body};
use crate::harness::{Harness, PATIENCE, report, wait_until, wait_until_more, wait_until_step};

fn start(settings: &[(&str, &str)]) -> Harness {
    Harness::builder(Options::default())
        .admin()
        .settings(settings)
        .start()
}

/// The answer of the admin listener to these bytes.
fn ask(harness: &Harness, request: &str) -> (u16, String) {
    status_and_body(&http::ask(harness.admin(), request.as_bytes()))
}

fn get(harness: &Harness, path: &str) -> (u16, String) {
    http::get(harness.admin(), path)
}

#[test]
fn a_stream_is_listed_while_it_runs_and_counted_after_its_end() {
    let mut harness = start(&[]);
    assert_eq!(get(&harness, "/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(get(&harness, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&harness, "/webhook").0, 404);
    assert_eq!(get(&harness, "/../etc/passwd").0, 404);
    // A page in a browser on this machine, whose name was resolved to it, gets nothing.
    let rebound = ask(
        &harness,
        "GET /streams HTTP/1.1\r\nHost: rebound.example:9464\r\n\r\n",
    );
    assert_eq!(rebound.0, 421);
    assert_eq!(
        ask(
            &harness,
            "DELETE /streams HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .0,
        405
    );
    assert_eq!(ask(&harness, "nonsense\r\n\r\n").0, 400);

    let mut script = MeetingScript::plain("watched");
    script.topic = "Board".to_owned();
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(3, PATIENCE));
    wait_until("phrases in /streams", || {
        harness.streams()["streams"][0]["media"]["transcript"]["messages"]
            .as_u64()
            .is_some_and(|messages| messages >= 3)
    });
    let answer = harness.streams();
    let line = &answer["streams"][0];
    assert_eq!(line["topic"], "Board");
    assert_eq!(line["state"], "receiving");
    assert_eq!(harness.metric("rtmsd_streams{state=\"receiving\"}"), 1.0);

    let shown = harness.run(&["status"]);
    let text = &shown.stdout;
    assert_eq!(shown.code, Some(0), "{text}");
    assert!(text.contains("MEETING") && text.contains("Board"), "{text}");
    let json: Value =
        serde_json::from_str(&harness.run(&["status", "--json"]).stdout).expect("json");
    assert_eq!(json["streams"][0]["stream_id"], line["stream_id"]);

    for (option, answer) in [("--live", "alive\n"), ("--ready", "ready\n")] {
        let asked = harness.run(&["check", option]);
        assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), answer));
    }

    meeting.end(rtmsd::demo::End::meeting_ended());
    wait_until_step(&meeting, Step::Closed);
    wait_until("the end", || {
        harness.metric("rtmsd_streams_ended_total{reason=\"stopped\"}") == 1.0
    });
    let messages = harness.metric("rtmsd_messages_total{media=\"transcript\"}");
    assert!(messages >= meeting.sent_count() as f64, "{messages}");
    assert_eq!(harness.metric("rtmsd_streams{state=\"receiving\"}"), 0.0);
    assert_eq!(harness.metric("rtmsd_rest_calls_total{class=\"ok\"}"), 1.0);
    promtool(&get(&harness, "/metrics").1);

    harness.terminate();
    let gone = harness.run(&["status"]);
    assert_eq!(gone.code, Some(69));
    assert!(gone.stdout.contains("is the server running?"));
    for option in ["--live", "--ready"] {
        let asked = harness.run(&["check", option]);
        assert_eq!(asked.code, Some(69), "{}", asked.stdout);
        assert!(asked.stdout.contains("is the server running?"));
    }
}

#[test]
fn requests_without_the_token_are_refused() {
    let harness = start(&[("RTMS_ADMIN_TOKEN", "0123456789abcdef")]);
    for path in ["/healthz", "/readyz", "/metrics", "/streams"] {
        assert_eq!(get(&harness, path).0, 401, "{path}");
    }
    let with = |token: &str| {
        let head =
            format!("GET /readyz HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
        ask(&harness, &head).0
    };
    assert_eq!(with("Bearer 0123456789abcdef"), 200);
    assert_eq!(with("Bearer 0123456789abcdeg"), 401);
    assert_eq!(harness.run(&["status"]).code, Some(0));
    assert_eq!(harness.run(&["check", "--live"]).code, Some(0));
}

/// Local clients that stall, disconnect, send garbage or never read block neither each other nor a
/// stream.
#[test]
fn local_clients_cannot_block_the_listener() {
    let harness = start(&[]);
    let meeting = harness.zoom.start_meeting(MeetingScript::plain("hostile"));
    assert!(meeting.wait_for_phrases(1, PATIENCE));
    let connect = |bytes: &[u8]| {
        let mut stream = connect(harness.admin());
        // A connection that was refused meanwhile cannot be written to.
        let _ = stream.write_all(bytes);
        stream
    };
    let pages = || {
        for path in ["/healthz", "/readyz", "/metrics", "/streams"] {
            assert_eq!(get(&harness, path).0, 200, "{path}");
        }
    };
    let huge = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 1 << 20]].concat();
    let many = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    for bytes in [
        b"".as_slice(),
        b"GET /metrics HTTP/1.1\r\nA: ",
        b"POST /streams HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &huge,
        many.as_bytes(),
    ] {
        let held: Vec<TcpStream> = (0..100).map(|_| connect(bytes)).collect();
        pages();
        drop(held);
    }
    // Closed with the answer unread, so the kernel resets the connection.
    for _ in 0..200 {
        drop(connect(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
    pages();
    wait_until_more(&meeting, 1);
    assert_eq!(meeting.count(Step::Lost), 0);
    assert_eq!(harness.metric("rtmsd_panics_total{where=\"gate\"}"), 0.0);
}

#[test]
fn at_capacity_is_not_ready() {
    let harness = start(&[]);
    let used = harness.metric("rtmsd_process_open_fds");
    // The limit is lowered at run time, so that nine tenths of it are used.
    let limit = used as u64 + 20;
    let pid = Pid::from_raw(harness.server.id().cast_signed());
    let limit = Rlimit {
        current: Some(limit),
        ..getrlimit(Resource::Nofile)
    };
    prlimit(pid, Resource::Nofile, limit).expect("a lower limit");
    let address = harness.address();
    let mut held = Vec::new();
    let told = loop {
        assert!(held.len() < 20, "always ready");
        held.push(TcpStream::connect(address).expect("it listens"));
        // Connections accepted meanwhile count; the answer itself needs a file or two.
        let (code, told) = get(&harness, "/readyz");
        if code == 503 {
            break told;
        }
    };
    assert!(told.starts_with("at capacity: "), "{told}");
    assert!(told.ends_with("raise LimitNOFILE\n"), "{told}");
    drop(held);
    wait_until("ready again", || get(&harness, "/readyz").0 == 200);
}

#[test]
fn while_draining_it_is_not_ready() {
    let mut harness = start(&[("RTMS_ON_EXIT", "stop")]);
    let meeting = harness.zoom.start_meeting(MeetingScript::plain("drain"));
    assert!(meeting.wait_for_phrases(1, PATIENCE));
    // Zoom does not answer the close request, so the server waits for it.
    assert!(meeting.fault(Fault::Stall(Socket::Signaling, None)));
    harness.server.signal(rustix::process::Signal::TERM);
    wait_until("draining", || {
        let (code, told) = get(&harness, "/readyz");
        code == 503 && told.starts_with("draining: ")
    });
    assert!(
        harness
            .server
            .wait(PATIENCE)
            .is_some_and(|status| status.success())
    );
}

/// Checks the page with Prometheus' own tool, if it is installed.
fn promtool(page: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        return report("skipped: promtool is not installed");
    };
    let mut stdin = tool.stdin.take().expect("a pipe");
    stdin.write_all(page.as_bytes()).expect("it reads");
    drop(stdin);
    let output = tool.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}\n{page}");
}

#[test]
fn account_events_are_logged_and_counted() {
    let harness = start(&[]);
    for (event, word, level) in [
        (
            "rtms.concurrency_near_limit",
            "concurrency_near_limit",
            "WARN",
        ),
        ("rtms.concurrency_limited", "concurrency_limited", "ERROR"),
        ("rtms.start_failed", "start_failed", "ERROR"),
        ("rtms.request_status", "request_status", "INFO"),
        ("rtms.yet_unknown", "other", "WARN"),
        ("app_deauthorized", "app_deauthorized", "ERROR"),
    ] {
        let body = serde_json::json!({"event": event, "event_ts": 1_767_000_000_000_u64,
            "payload": {"operator_id": "usr1", "user_id": "u1"}});
        harness.post(&body);
        let series = format!("rtmsd_account_events_total{{event=\"{word}\"}}");
        wait_until(event, || harness.metric(&series) == 1.0);
        let words = match event {
            "app_deauthorized" => "a user removed the app".to_owned(),
            event => format!("event={event} "),
        };
        harness.wait_until_logged(&[&words, level]);
    }
}
