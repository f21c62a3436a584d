//! Events over the outgoing WebSocket, with the real binary and no port.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use rtmsd::daemon::{App, AppCredentials, Daemon, RestCredentials, Settings};
use rtmsd::demo::{Cut, EventsBy, EventsRefusal, MeetingScript, Options, Step, Zoom};
use rtmsd::domain::secret::Secret;
use rtmsd::protocol::server_url::AllowedHosts;
use rtmsd::source::events;
use rtmsd::source::events::EventsUrl;
use serde_json::{Value, json};

use crate::api::tls::proxy;
use crate::harness::certificates::acceptor;
use crate::harness::{
    Harness, PATIENCE, RTMSD, Secrets, TempDir, assert_another_works, open, plain, run_to_end,
    wait_until, wait_until_more, wait_until_step, wait_until_streaming,
};

mod long_gap;

/// A Zoom that sends its events on the WebSocket.
fn by_websocket() -> Options {
    Options {
        events_by: EventsBy::WebSocket,
        ..Options::default()
    }
}

fn start(options: Options, settings: &[(&str, &str)]) -> Harness {
    let settings = [&[("PORT", "off")], settings].concat();
    Harness::start(options, &settings)
}

/// The same with an admin listener.
fn watched(options: Options) -> Harness {
    start(options, &[("RTMS_ADMIN", "127.0.0.1:0")])
}

/// Ports on which a process listens, by /proc: the inodes of its sockets among those that listen.
fn listening_ports(pid: u32) -> Vec<u16> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: BTreeSet<String> = links
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    assert!(!sockets.is_empty(), "it has sockets");
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN.
            if fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|i| sockets.contains(*i)) {
                let port = fields[1].rsplit_once(':').expect("a port").1;
                ports.push(u16::from_str_radix(port, 16).expect("a port"));
            }
        }
    }
    ports
}

/// After a gap the server is ready, and `/readyz` and `status` say since when events may be missing.
#[track_caller]
fn assert_gap_is_told(harness: &Harness) {
    let ready = harness.admin_page("/readyz");
    let text = "events may have been missed from 20";
    let line = format!("\nevents connected; {text}");
    assert!(
        ready.starts_with("ready") && ready.contains(&line),
        "{ready}"
    );
    let status = harness.run(&["status"]);
    assert!(status.stdout.contains(text), "{status:?}");
}

#[test]
fn the_main_job_is_done_without_a_listening_port() {
    let mut harness = start(by_websocket(), &[("RTMS_LOG", "trace")]);
    let pid = harness.server.id();
    let meetings = ["one", "two", "three"].map(|seed| harness.zoom.start_meeting(plain(seed, 40)));
    assert_eq!(listening_ports(pid), Vec::<u16>::new());
    for meeting in &meetings {
        harness.wait_until_ended(meeting);
    }
    assert_eq!(listening_ports(pid), Vec::<u16>::new());
    harness.terminate();
    for meeting in &meetings {
        harness.assert_complete(meeting);
    }
    harness.assert_no_violations();
    assert!(harness.zoom.deliveries().is_empty(), "nothing was posted");
    let secrets = Secrets::of(&harness.zoom, &meetings.each_ref());
    // At trace level the log has the webhook tokens' place in nothing, and the address without a token.
    secrets.assert_not_in("the log", &harness.server.log().join("\n"));
    secrets.assert_not_in("stdout", &harness.stdout());
    assert!(secrets.assert_not_below(&harness.out(), "-") > 0);
    secrets.assert_not_below(&harness.state(), "-");
}

#[test]
fn the_search_for_listening_ports_finds_one() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    assert!(listening_ports(std::process::id()).contains(&port));
}

#[test]
fn a_token_that_ends_during_a_meeting_is_replaced_without_a_gap() {
    let harness = watched(Options {
        token_lifetime: Duration::from_secs(3),
        token_grace: Duration::from_secs(60),
        ..by_websocket()
    });
    let meeting = harness.zoom.start_meeting(open("long"));
    wait_until_streaming(&meeting);
    wait_until("three connections", || harness.zoom.events_accepted() >= 3);
    assert_another_works(&harness.zoom, "between");
    assert_eq!(harness.zoom.events_missed(), Vec::<String>::new());
    assert_eq!(harness.metric("rtmsd_events_gap_seconds_total"), 0.0);
    let (status, ready) = crate::harness::http::get(harness.admin(), "/readyz");
    assert_eq!((status, ready.as_str()), (200, "ready\n"));
    wait_until_more(&meeting, 3);
    harness.leave();
}

#[test]
fn a_connection_that_ends_with_its_token_is_made_again_with_another() {
    let harness = start(
        Options {
            token_lifetime: Duration::from_secs(2),
            ..by_websocket()
        },
        &[],
    );
    let meeting = harness.zoom.start_meeting(open("long"));
    wait_until_streaming(&meeting);
    // Zoom closes with 1008 and does not know the token any more.
    harness.zoom.revoke_access_tokens();
    harness.zoom.cut_events(Cut::Close(1008));
    let before = harness.zoom.events_accepted();
    wait_until("a new connection", || {
        harness.zoom.events_accepted() > before
    });
    assert_eq!(harness.count_logged(&[" ERROR "]), 0);
    wait_until_more(&meeting, 3);
    harness.leave();
}

#[test]
fn a_lost_connection_is_made_again_and_the_gap_is_reported() {
    let harness = watched(by_websocket());
    let meeting = harness.zoom.start_meeting(open("long"));
    wait_until_streaming(&meeting);
    for (n, cut) in [Cut::Reset, Cut::Fin].into_iter().enumerate() {
        harness.zoom.cut_events(cut);
        wait_until("a new connection", || {
            harness.zoom.events_accepted() == n + 2
        });
        harness.wait_until_logged(&["events connected again gap_s="]);
        wait_until("it is in use", || {
            harness.metric("rtmsd_events_connected{state=\"connected\"}") == 1.0
        });
        assert_another_works(&harness.zoom, &format!("after {n}"));
    }
    harness.wait_until_logged(&["events may have been missed since=", "until="]);
    assert_gap_is_told(&harness);
    let streams = harness.streams();
    assert_eq!(streams["events"]["state"], "connected");
    assert!(
        streams["events"]["missed"]["since_ms"].is_u64(),
        "{streams}"
    );
    assert!(harness.metric("rtmsd_events_missed_since_seconds") > 1.7e9);
    wait_until_more(&meeting, 3);
    harness.leave();
}

#[test]
fn a_refused_token_is_replaced_and_a_person_is_called_only_if_that_does_not_help() {
    let harness = watched(by_websocket());
    let tokens = harness.zoom.oauth_calls().len();
    harness.zoom.refuse_events(EventsRefusal::Close(1008), 1);
    harness.zoom.cut_events(Cut::Reset);
    wait_until("a new connection", || harness.zoom.events_accepted() == 2);
    assert!(harness.zoom.oauth_calls().len() > tokens);
    assert_eq!(harness.count_logged(&[" ERROR "]), 0);

    let reason = "the subscription was deleted";
    harness
        .zoom
        .refuse_events(EventsRefusal::Build(reason.to_owned()), 100);
    harness.zoom.cut_events(Cut::Reset);
    harness.wait_until_logged(&[" ERROR ", reason, "check that ZOOM_EVENTS_URL"]);
    let page = || crate::harness::http::get(harness.admin(), "/readyz");
    // The error is logged a moment before.
    wait_until("it says so", || {
        let (code, ready) = page();
        code == 503 && ready.contains("events refused; what happens is missed since 20")
    });
    // Three before, and then each kind of token twice; the refusal just before may count as the first.
    let attempts = harness.zoom.events_attempts();
    assert!((6..=7).contains(&attempts), "{attempts}");
    harness.leave();
}

#[test]
fn another_client_is_reported_once_and_not_fought() {
    let harness = watched(by_websocket());
    harness.zoom.set_events_rival(true);
    harness.wait_until_logged(&[" ERROR ", "events displaced", "another client"]);
    let attempts = harness.zoom.events_attempts();
    assert!((2..=3).contains(&attempts), "{attempts}");
    let streams = harness.streams();
    assert_eq!(streams["events"]["state"], "displaced");
    // A stream would still be received: meetings run on, and webhooks would count.
    let status = harness.run(&["status"]);
    assert!(
        status.stdout.contains("NOT READY: events displaced"),
        "{status:?}"
    );
    assert_eq!(harness.count_logged(&["events displaced"]), 1);
    assert_eq!(harness.zoom.events_attempts(), attempts);
    harness.leave();
}

#[test]
fn ten_thousand_events_at_once_are_all_handled() {
    const COUNT: usize = 10_000;
    let harness = watched(by_websocket());
    for n in 0..COUNT {
        let delivery = harness.zoom.post_webhook(&json!({
            "event": "meeting.ended", "event_ts": 1_767_000_000_000_u64 + n as u64,
            "payload": {"object": {"id": n, "uuid": format!("uuid {n}==")}}}));
        assert!(delivery.is_accepted(), "{delivery:?}");
    }
    let accepted = "rtmsd_events_total{result=\"accepted\"}";
    wait_until("all of them", || harness.metric(accepted) >= COUNT as f64);
    assert_eq!(harness.metric(accepted), COUNT as f64);
    assert_eq!(
        harness.metric("rtmsd_events_total{result=\"not_kept\"}"),
        0.0
    );
    assert_eq!(harness.zoom.events_accepted(), 1);
    assert_another_works(&harness.zoom, "afterwards");
    harness.end();
}

#[test]
fn an_event_is_on_the_disk_before_it_is_handled() {
    let mut harness = start(by_websocket(), &[]);
    let meeting = harness.zoom.start_meeting(open("kept"));
    wait_until_streaming(&meeting);
    let log = fs::read_to_string(harness.state().join("intents.log")).expect("a log");
    assert!(log.contains("meeting.rtms_started"), "{log}");
    harness.server.kill();
    // Another process joins the stream that the first one was told of.
    harness.start_server();
    wait_until_more(&meeting, 5);
    harness.wait_until_logged(&["events may have been missed since="]);
    harness.leave();
}

/// The daemon in this process, with a heartbeat that no key sets: a second instead of thirty.
#[test]
fn a_half_open_connection_is_noticed_within_two_heartbeats() {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    let zoom = Zoom::start(by_websocket()).expect("a Zoom");
    let options = zoom.options();
    let credentials = AppCredentials {
        id: options.client_id.clone(),
        secret: Secret::new(options.client_secret.as_str()),
    };
    let mut app = App::new(credentials, Vec::new());
    app.rest.api_url = zoom.api_url();
    app.rest.oauth_url = zoom.oauth_url();
    app.rest.credentials = RestCredentials::None;
    let mut settings = Settings::new(app);
    settings.allowed_hosts = AllowedHosts::parse("127.0.0.1").expect("a host");
    settings.ca_file = Some(zoom.ca_file());
    let url = EventsUrl::parse(&zoom.events_url()).expect("an address");
    settings.zoom_events = Some(events::Settings {
        heartbeat: HEARTBEAT,
        ..events::Settings::new(url)
    });
    let daemon = Daemon::start(Vec::new(), settings, None).expect("it starts");
    let handle = daemon.handle();
    let thread = std::thread::spawn(move || daemon.run());
    // Zoom's pages name two kinds of heartbeat.
    wait_until("heartbeats", || {
        zoom.events_heartbeats() >= 2 && zoom.events_pings() >= 2
    });
    let stalled = Instant::now();
    zoom.stall_events();
    wait_until("a new connection", || zoom.events_accepted() == 2);
    assert!(stalled.elapsed() >= HEARTBEAT, "{:?}", stalled.elapsed());
    wait_until("its heartbeats", || zoom.events_heartbeats() >= 4);
    handle.stop();
    thread.join().expect("it ends");
    assert_eq!(zoom.stop(), Vec::<String>::new());
}

/// An announcement of a stream, at an address without a server: its thread keeps retrying.
fn started(stream_id: &str) -> Value {
    json!({"event": "meeting.rtms_started", "event_ts": rtmsd::clock::now_ms(), "payload": {
        "meeting_uuid": format!("{stream_id}=="), "rtms_stream_id": stream_id,
        "server_urls": "wss://127.0.0.1:9/"}})
}

fn stopped(stream_id: &str) -> Value {
    json!({"event": "meeting.rtms_stopped", "event_ts": rtmsd::clock::now_ms(), "payload": {
        "meeting_uuid": format!("{stream_id}=="), "rtms_stream_id": stream_id, "stop_reason": 6}})
}

/// A Zoom that posts webhooks, and a server that is connected to its event WebSocket as well.
fn by_both() -> Harness {
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off")])
        .without_server();
    let url = harness.zoom.events_url();
    harness.set("ZOOM_EVENTS_URL", &url);
    harness.start_server();
    harness.wait_until_logged(&["events connected"]);
    harness
}

#[test]
fn an_event_that_comes_by_webhook_and_by_websocket_counts_once() {
    type Way = fn(&Harness, &Value);
    let webhook: Way = |harness, body| harness.post(body);
    let websocket: Way = |harness, body| assert!(harness.zoom.send_event(body).is_accepted());
    let harness = by_both();
    for (name, first, second) in [
        ("webhook", webhook, websocket),
        ("websocket", websocket, webhook),
    ] {
        // Events of one way are handled in their order, so the last of them shows that the others were.
        let wait_for_second = |mark: &str| {
            let mark = format!("{name}-{mark}");
            second(&harness, &started(&mark));
            harness.wait_until_logged(&["stream started", &format!("stream={mark} ")]);
        };
        let stream = format!("stream={name}-first ");
        let count = |what| harness.count_logged(&[what, &stream]);
        let (start, stop) = (
            started(&format!("{name}-first")),
            stopped(&format!("{name}-first")),
        );
        first(&harness, &start);
        harness.wait_until_logged(&["stream started", &stream]);
        second(&harness, &start);
        wait_for_second("mark-1");
        assert_eq!(count("stream started"), 1, "{name}");

        first(&harness, &stop);
        harness.wait_until_logged(&["stream ended", &stream]);
        // A way that is late with both: what was stopped is not started again.
        second(&harness, &start);
        second(&harness, &stop);
        wait_for_second("mark-2");
        assert_eq!(count("stream started"), 1, "{name}");
        assert_eq!(count("stream ended"), 1, "{name}");
    }
    harness.leave();
}

#[test]
fn webhooks_and_the_websocket_together_are_one_stream() {
    let harness = by_both();
    let meeting = harness.zoom.start_meeting(open("both"));
    wait_until_streaming(&meeting);
    let body = meeting.last_started().expect("it was posted");
    assert!(harness.zoom.send_event(&body).is_accepted());
    assert!(harness.zoom.send_event(&started("mark")).is_accepted());
    harness.wait_until_logged(&["stream started", "stream=mark "]);
    wait_until_more(&meeting, 10);
    assert_eq!(meeting.streams().len(), 1);
    assert_eq!(meeting.count(Step::SignalingConnected), 1);
    let stream = format!("stream={} ", meeting.streams()[0]);
    assert_eq!(harness.count_logged(&["stream started", &stream]), 1);
    harness.leave();
}

#[test]
fn an_event_that_cannot_be_stored_is_handled_all_the_same() {
    // Zoom sends it once: to refuse it would lose it.
    const COUNT: usize = 5;
    let mut harness = Harness::builder(by_websocket())
        .settings(&[
            ("PORT", "off"),
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_STDOUT", "off"),
            ("RTMS_AUTO_START", "off"),
        ])
        .with_limit_of_files()
        .start();
    let send = |stream_id: &str| {
        assert!(harness.zoom.send_event(&started(stream_id)).is_accepted());
        harness.wait_until_logged(&["stream started", &format!("stream={stream_id} ")]);
    };
    let not_kept = || harness.metric("rtmsd_events_total{result=\"not_kept\"}");
    send("before");
    assert_eq!(not_kept(), 0.0);

    harness.limit_files(Some(0));
    for n in 0..COUNT {
        send(&format!("unkept-{n}"));
    }
    assert_eq!(not_kept(), COUNT as f64);
    let accepted = harness.metric("rtmsd_events_total{result=\"accepted\"}");
    assert_eq!(accepted, (1 + COUNT) as f64);
    let what = "an event is handled without being stored first";
    let line = harness.wait_until_logged(&[what]);
    assert!(
        line.contains(" ERROR ") && line.contains("intents.log"),
        "{line}"
    );
    assert_eq!(harness.count_logged(&[what]), 1);

    harness.limit_files(None);
    let mut tries = 0;
    wait_until("events are stored again", || {
        tries += 1;
        let before = not_kept();
        send(&format!("after-{tries}"));
        not_kept() == before
    });
    harness.server.kill();
    harness.start_server();
    for stream_id in ["before".to_owned(), format!("after-{tries}")] {
        harness.wait_until_logged(&["stream started", &format!("stream={stream_id} ")]);
    }
    harness.leave();
}

#[test]
fn of_two_servers_with_one_subscription_the_first_gives_way_to_the_second() {
    let mut first = watched(by_websocket());
    for (key, folder) in [("RTMS_STATE", "second-state"), ("RTMS_OUT", "second-out")] {
        let folder = first.folder.join(folder).display().to_string();
        first.set(key, &folder);
    }
    let mut second = first.start_second_server();
    second.wait_until_logged(&["events connected"]);
    first.wait_until_logged(&[" ERROR ", "events displaced", "another client"]);
    // It was closed once by the only try of the first.
    second.wait_until_logged(&["events connected again gap_s="]);
    let attempts = first.zoom.events_attempts();
    assert_eq!(first.streams()["events"]["state"], "displaced");

    let meeting = first.zoom.start_meeting(open("second"));
    wait_until_streaming(&meeting);
    second.wait_until_logged(&["stream started"]);
    assert_eq!(meeting.streams().len(), 1);
    assert_eq!(first.count_logged(&["stream started"]), 0);
    assert_eq!(first.count_logged(&["events displaced"]), 1);
    assert_eq!(first.zoom.events_attempts(), attempts);
    let is_displaced = |line: &String| line.contains("events displaced");
    assert_eq!(
        second
            .log()
            .iter()
            .filter(|line| is_displaced(line))
            .count(),
        0
    );
    first.assert_no_violations();
    let status = second.terminate(PATIENCE);
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
    first.terminate();
}

#[test]
fn the_address_can_be_changed_and_removed_by_a_reload() {
    let mut harness = Harness::start(Options::default(), &[]);
    let other = Zoom::start(Options {
        events_by: EventsBy::WebSocket,
        ..Options::default()
    })
    .expect("a Zoom");
    // It has a CA of its own, so it is not trusted; what matters is that it is tried and told.
    let url = other.events_url();
    let line = harness.reload(&[("ZOOM_EVENTS_URL", &url)]);
    assert!(line.contains("changed=ZOOM_EVENTS_URL"), "{line}");
    harness.wait_until_logged(&["events not connected yet: ", "certificate"]);
    let line = harness.reload(&[("ZOOM_EVENTS_URL", "")]);
    assert!(line.contains("changed=ZOOM_EVENTS_URL"), "{line}");
    assert_another_works(&harness.zoom, "by webhook");
    harness.end();
    drop(other);
}

#[test]
fn a_stream_that_was_announced_in_a_gap_is_started_again() {
    let mut harness = start(by_websocket(), &[]);
    // Zoom takes its time to start the stream, and the server is gone when it announces it.
    let meeting = harness.zoom.start_meeting(MeetingScript {
        start_delay: Duration::from_secs(2),
        join_window: Duration::from_millis(200),
        ..open("gap")
    });
    wait_until_step(&meeting, Step::StartCalled);
    // The next process must know that the start was accepted, or it would call it again at once.
    wait_until("the state is written", || {
        let log = fs::read_to_string(harness.state().join("intents.log"));
        log.unwrap_or_default().contains("\"start\":\"Done\"")
    });
    harness.server.kill();
    wait_until("the announcement is lost", || {
        let missed = harness.zoom.events_missed();
        missed.contains(&"meeting.rtms_stopped".to_owned())
    });
    harness.start_server();
    // Zoom may still wait for us in the first minute: after that it is asked by a start.
    harness.wait_until_logged(&[
        "its announcement may have been missed",
        "starting again in 6",
    ]);
    harness.leave();
}

#[test]
fn the_demo_plays_meetings_without_a_port() {
    let mut demo = Command::new(RTMSD);
    let ran = run_to_end(demo.args(["demo", "--events", "websocket"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("the server has no port"), "{ran:?}");
}

#[test]
fn a_configuration_without_any_way_for_events_is_a_fault() {
    let harness = Harness::builder(by_websocket())
        .settings(&[("PORT", "off"), ("ZOOM_EVENTS_URL", "")])
        .without_server();
    let ran = harness.run_with(&[], &["check"]);
    assert_eq!(ran.code, Some(78));
    assert!(
        ran.stdout
            .contains("PORT: found off, expected a port, or ZOOM_EVENTS_URL"),
        "{ran:?}"
    );
    let strange = "wss://ws.example.com/ws?subscriptionId=a";
    let harness = Harness::builder(by_websocket())
        .settings(&[("PORT", "off"), ("ZOOM_EVENTS_URL", strange)])
        .without_server();
    let ran = harness.run_with(&[], &["check"]);
    assert!(ran.stdout.contains("RTMS_ALLOWED_HOSTS"), "{ran:?}");
}

/// Serves the event WebSocket by this name: accepts one connection, and says that it is accepted.
fn named_server(name: &str, folder: &TempDir) -> SocketAddr {
    let (tls, authority) = acceptor(name, 20);
    let pem = authority.to_pem().expect("a certificate");
    fs::write(folder.join("ca.pem"), pem).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(stream) = tls.accept(stream) else {
                continue;
            };
            let Ok(mut ws) = tungstenite::accept(stream) else {
                continue;
            };
            let answer = r#"{"module":"build_connection","success":true}"#;
            let _ = ws.send(tungstenite::Message::text(answer));
            while ws.read().is_ok() {}
        }
    });
    address
}

#[test]
fn the_proxy_of_rest_calls_connects_the_websocket_too() {
    let folder = TempDir::new();
    let target = named_server("ws.zoom.us", &folder);
    let settings = [
        ("PORT", "off"),
        ("ZOOM_EVENTS_URL", "wss://ws.zoom.us/ws?subscriptionId=a"),
        ("RTMS_ALLOWED_HOSTS", ".zoom.us"),
        ("RTMS_CA_FILE", &folder.join("ca.pem").display().to_string()),
        ("RTMS_LOG", "trace"),
    ];
    let (proxy_address, heads) = proxy("200 Connection established", target);
    let environment = format!("export HTTPS_PROXY='http://me:proxy-password@{proxy_address}'");
    let mut harness = Harness::builder(by_websocket())
        .settings(&settings)
        .prelude(&environment)
        .start();
    let heads = heads.lock().expect("no panic").clone();
    assert!(
        heads[0].starts_with("CONNECT ws.zoom.us:443 HTTP/1.1\r\n"),
        "{heads:?}"
    );
    assert!(
        heads[0].contains("\r\nProxy-Authorization: Basic bWU6cHJveHktcGFzc3dvcmQ=\r\n"),
        "{heads:?}"
    );
    let log = harness.server.log().join("\n");
    assert!(
        !log.contains("proxy-password") && !log.contains("bWU6"),
        "{log}"
    );
    harness.terminate();

    let (proxy_address, _) = proxy("407 Proxy Authentication Required", target);
    let environment = format!("export HTTPS_PROXY='http://{proxy_address}'");
    let harness = Harness::builder(by_websocket())
        .settings(&settings)
        .prelude(&environment)
        .without_server();
    let server = harness.start_second_server();
    server.wait_until_logged(&["events not connected yet: ", "the proxy asks for a login"]);
}

#[test]
fn the_online_check_does_not_take_the_subscription_from_a_running_server() {
    let mut harness = watched(by_websocket());
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout
            .contains("ok    events: they come by the WebSocket alone"),
        "{ran:?}"
    );
    let asked = "ok    subscription: the running server says: events connected";
    assert!(ran.stdout.contains(asked), "{ran:?}");
    assert_eq!(harness.zoom.events_attempts(), 1);
    harness.terminate();
    // Without a server it connects, and Zoom's refusal is a finding.
    let ran = harness.run_with(&[], &["check", "--online"]);
    assert!(
        ran.stdout
            .contains("ok    subscription: Zoom accepts the connection"),
        "{ran:?}"
    );
    assert_eq!(harness.zoom.events_attempts(), 2);
    let reason = "the subscription was deleted".to_owned();
    harness
        .zoom
        .refuse_events(EventsRefusal::Build(reason), 100);
    let ran = harness.run_with(&[], &["check", "--online"]);
    assert_eq!(ran.code, Some(77), "{ran:?}");
    let fault =
        "fault subscription: build_connection was refused, \"the subscription was deleted\"";
    assert!(ran.stdout.contains(fault), "{ran:?}");
}
