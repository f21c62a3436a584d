//! The admin listener and `rtmsd status`, with the real binary and meetings of the demo's Zoom.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rtmsd::demo::{
    Fault, MeetingScript, Options, ServerCommand, ServerProcess, Socket, Step, Zoom,
};
use serde_json::Value;

/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Setup {
    zoom: Zoom,
    server: ServerProcess,
    admin: SocketAddr,
    folder: PathBuf,
}

impl Setup {
    fn start(name: &str, more: &[(&str, &str)]) -> Setup {
        let folder = std::env::temp_dir().join(format!("rtmsd-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let zoom = Zoom::start(Options::default()).expect("the zoom starts");
        let mut settings = zoom.environment();
        let path = |name: &str| folder.join(name).display().to_string();
        for (key, value) in [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_OUT", &path("out")),
            ("RTMS_STATE", &path("state")),
            ("RTMS_STDOUT", "off"),
        ] {
            settings.push((key.to_owned(), value.to_owned()));
        }
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        settings.extend(more);
        let server = ServerCommand {
            program: env!("CARGO_BIN_EXE_rtmsd").into(),
            folder: folder.clone(),
            settings,
            shows_stdout: false,
            shows_log: false,
        };
        let server = server.start().expect("the server starts");
        let address = server.address(PATIENCE).expect("it listens");
        zoom.set_webhook_target(&format!("http://{address}/webhook"))
            .expect("a url");
        let admin = admin_address(&server);
        Setup {
            zoom,
            server,
            admin,
            folder,
        }
    }

    fn wait_for(&self, what: &str, is_true: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            let log = || self.server.log().join("\n");
            assert!(Instant::now() < deadline, "{what}; log:\n{}", log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a code"), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn streams(&self) -> Value {
        serde_json::from_str(&self.get("/streams").1).expect("json")
    }

    fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").1;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).expect(series)
    }

    fn status(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtmsd"));
        command.arg("status").args(arguments);
        command.env("RTMS_ADMIN", self.admin.to_string());
        command.arg("--config").arg(self.folder.join("rtms.conf"));
        command.output().expect("it runs")
    }
}

/// Where the server says that the admin listener is.
pub(crate) fn admin_address(server: &ServerProcess) -> SocketAddr {
    let mut found = None;
    crate::harness::wait_for("the admin listener", || {
        let log = server.log();
        let told = log.iter().find_map(|line| {
            let (_, address) = line.split_once("health, metrics and streams are at http://")?;
            address.parse().ok()
        });
        found = told;
        told.is_some()
    });
    found.expect("it was just seen")
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.server.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_stream_shows_while_it_runs_and_counts_after_it_ended() {
    let mut setup = Setup::start("admin", &[]);
    assert_eq!(setup.get("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(setup.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(setup.get("/webhook").0, 404);
    assert_eq!(setup.get("/../etc/passwd").0, 404);
    // A page in a browser on this machine, whose name was resolved to it, learns nothing.
    let rebound = setup.ask("GET /streams HTTP/1.1\r\nHost: rebound.example:9464\r\n\r\n");
    assert_eq!(rebound.0, 403);
    assert_eq!(
        setup
            .ask("DELETE /streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .0,
        405
    );
    assert_eq!(setup.ask("nonsense\r\n\r\n").0, 400);

    let mut script = MeetingScript::plain("watched");
    script.topic = "Board".to_owned();
    let meeting = setup.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(3, PATIENCE));
    setup.wait_for("phrases in /streams", || {
        setup.streams()["streams"][0]["media"]["transcript"]["messages"]
            .as_u64()
            .is_some_and(|messages| messages >= 3)
    });
    let answer = setup.streams();
    let line = &answer["streams"][0];
    assert_eq!(line["topic"], "Board");
    assert_eq!(line["state"], "receiving");
    assert_eq!(setup.metric("rtmsd_streams{state=\"receiving\"}"), 1.0);

    let shown = setup.status(&[]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}");
    assert!(text.contains("MEETING") && text.contains("Board"), "{text}");
    let json: Value = serde_json::from_slice(&setup.status(&["--json"]).stdout).expect("json");
    assert_eq!(json["streams"][0]["stream_id"], line["stream_id"]);

    meeting.end(rtmsd::demo::End::meeting_ended());
    assert!(meeting.wait_for(Step::Closed, PATIENCE));
    setup.wait_for("the end", || {
        setup.metric("rtmsd_streams_ended_total{reason=\"stopped\"}") == 1.0
    });
    let messages = setup.metric("rtmsd_messages_total{media=\"transcript\"}");
    assert!(messages >= meeting.sent_count() as f64, "{messages}");
    assert_eq!(setup.metric("rtmsd_streams{state=\"receiving\"}"), 0.0);
    assert_eq!(setup.metric("rtmsd_rest_calls_total{class=\"ok\"}"), 1.0);
    promtool(&setup.get("/metrics").1);

    let status = setup.server.terminate(PATIENCE).expect("it ends");
    assert!(status.success());
    let gone = setup.status(&[]);
    assert_eq!(gone.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&gone.stdout).contains("is the server running?"));
}

#[test]
fn a_token_keeps_others_out() {
    let setup = Setup::start("admin-token", &[("RTMS_ADMIN_TOKEN", "0123456789abcdef")]);
    for path in ["/healthz", "/readyz", "/metrics", "/streams"] {
        assert_eq!(setup.get(path).0, 401, "{path}");
    }
    let with = |token: &str| {
        let head =
            format!("GET /readyz HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
        setup.ask(&head).0
    };
    assert_eq!(with("Bearer 0123456789abcdef"), 200);
    assert_eq!(with("Bearer 0123456789abcdeg"), 401);
    assert!(setup.status(&[]).status.success());
}

/// Local clients that stall, break off, send nonsense and never read hold up neither each other nor
/// a stream.
#[test]
fn local_clients_cannot_take_it_away() {
    let setup = Setup::start("admin-hostile", &[]);
    let meeting = setup.zoom.start_meeting(MeetingScript::plain("hostile"));
    assert!(meeting.wait_for_phrases(1, PATIENCE));
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(setup.admin).expect("it listens");
        // One that was refused meanwhile cannot be written to.
        let _ = stream.write_all(bytes);
        stream
    };
    let pages = || {
        for path in ["/healthz", "/readyz", "/metrics", "/streams"] {
            assert_eq!(setup.get(path).0, 200, "{path}");
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
    // Gone with the answer unread, so the kernel resets.
    for _ in 0..200 {
        drop(connect(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
    pages();
    let phrases = meeting.sent_count();
    assert!(meeting.wait_for_phrases(phrases + 1, PATIENCE));
    assert_eq!(meeting.count(Step::Lost), 0);
    assert_eq!(setup.metric("rtmsd_panics_total{where=\"gate\"}"), 0.0);
}

#[test]
fn at_capacity_is_not_ready() {
    let setup = Setup::start("admin-full", &[]);
    let used = setup.metric("rtmsd_process_open_fds");
    // The limit may be lowered while it runs, and then nine tenths of it are taken.
    let limit = used as u64 + 20;
    let id = setup.server.id().to_string();
    let lowered = Command::new("prlimit")
        .args(["--pid", &id, &format!("--nofile={limit}:")])
        .status();
    if !lowered.is_ok_and(|status| status.success()) {
        return;
    }
    let address = setup.server.address(PATIENCE).expect("it listens");
    let mut held = Vec::new();
    let told = loop {
        assert!(held.len() < 20, "always ready");
        held.push(TcpStream::connect(address).expect("it listens"));
        // What was accepted meanwhile counts; the answer itself takes a file or two.
        let (code, told) = setup.get("/readyz");
        if code == 503 {
            break told;
        }
    };
    assert!(told.starts_with("at capacity: "), "{told}");
    assert!(told.ends_with("raise LimitNOFILE\n"), "{told}");
    drop(held);
    setup.wait_for("ready again", || setup.get("/readyz").0 == 200);
}

#[test]
fn while_draining_it_is_not_ready() {
    let mut setup = Setup::start("admin-drain", &[("RTMS_ON_EXIT", "stop")]);
    let meeting = setup.zoom.start_meeting(MeetingScript::plain("drain"));
    assert!(meeting.wait_for_phrases(1, PATIENCE));
    // Zoom does not answer the wish to end, so it is waited for.
    assert!(meeting.fault(Fault::Stall(Socket::Signaling, None)));
    setup.server.signal(rustix::process::Signal::TERM);
    setup.wait_for("draining", || {
        let (code, told) = setup.get("/readyz");
        code == 503 && told.starts_with("draining: ")
    });
    assert!(
        setup
            .server
            .wait(PATIENCE)
            .is_some_and(|status| status.success())
    );
}

/// The judgement of Prometheus' own tool, where it is installed.
fn promtool(page: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        return;
    };
    let mut stdin = tool.stdin.take().expect("a pipe");
    stdin.write_all(page.as_bytes()).expect("it reads");
    drop(stdin);
    let output = tool.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}\n{page}");
}

#[test]
fn news_about_the_account_are_logged_and_counted() {
    let setup = Setup::start("account-news", &[]);
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
        assert!(setup.zoom.post_webhook(&body).is_accepted(), "{event}");
        let series = format!("rtmsd_account_events_total{{event=\"{word}\"}}");
        setup.wait_for(event, || setup.metric(&series) == 1.0);
        let words = match event {
            "app_deauthorized" => "a user removed the app".to_owned(),
            event => format!("event={event} "),
        };
        setup.wait_for(event, || {
            let log = setup.server.log();
            log.iter()
                .any(|line| line.contains(&words) && line.contains(level))
        });
    }
}
