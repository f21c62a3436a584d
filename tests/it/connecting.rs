//! Peers that hang, refuse or misbehave at each step of connecting: that stream ends with a reason,
//! and another stream is not delayed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rtmsd::demo::{End, HandshakeFault, MeetingHandle, Refusal, Socket, Step};
use serde_json::json;

use crate::harness::{
    Harness, PATIENCE, assert_another_works, frequent_keep_alives, open_at_once, wait_until,
    wait_until_step, wait_until_streaming,
};

const DOORS: [HandshakeFault; 6] = [
    HandshakeFault::NoTls,
    HandshakeFault::NoUpgrade,
    HandshakeFault::Unavailable,
    HandshakeFault::WrongHost,
    HandshakeFault::Expired,
    HandshakeFault::Refused,
];

/// Waits until the meeting is over for Zoom and for the server.
fn end(harness: &Harness, meeting: &MeetingHandle) -> String {
    meeting.end(End::meeting_ended());
    wait_until_step(meeting, Step::StoppedAnswered);
    harness.wait_until_logged(&["stream ended", &format!("stream={} ", meeting.streams()[0])])
}

#[test]
fn hung_and_misbehaving_servers_delay_no_other_stream() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[("RTMS_LOG", "debug")]);
    let mut meetings = Vec::new();
    for door in DOORS {
        for socket in [Socket::Signaling, Socket::Media] {
            let mut script = open_at_once(&format!("{door:?} {socket:?}"));
            match socket {
                Socket::Signaling => script.signaling_door = door,
                Socket::Media => script.media_door = door,
            }
            meetings.push((door, socket, harness.zoom.start_meeting(script)));
        }
    }
    let beside = harness.zoom.start_meeting(open_at_once("beside"));
    wait_until_streaming(&beside);
    for (_, socket, meeting) in &meetings {
        wait_until_step(meeting, Step::StartedAnswered);
        if *socket == Socket::Media {
            wait_until_step(meeting, Step::SignalingHandshake);
        }
    }
    assert_another_works(&harness.zoom, "begun after them");
    // Both certificates are refused, on both kinds of socket, and again at each new attempt.
    wait_until("certificates are refused", || {
        harness.zoom.tls_failures() >= 4
    });
    wait_until_streaming(&beside);
    for (door, socket, meeting) in &meetings {
        assert_eq!(meeting.count(Step::Ready), 0, "{door:?} {socket:?}");
        let line = end(&harness, meeting);
        assert!(line.contains("stopped by Zoom: 6 MEETING_ENDED"), "{line}");
    }
    wait_until_streaming(&beside);
    assert_eq!(beside.count(Step::Lost), 0);
    end(&harness, &beside);
    harness.terminate();
    harness.assert_complete(&beside);
    for cause in ["certificate", "503", "efused"] {
        harness.wait_until_logged(&["lost link=", cause]);
    }
    harness.assert_no_violations();
}

#[test]
fn bad_answers_to_a_handshake_delay_no_other_stream() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[]);
    let hangs = [Refusal::Silence, Refusal::Garbage];
    let passing = [
        Refusal::NoStatus,
        Refusal::Status(8),
        Refusal::Status(45),
        Refusal::Status(999),
        Refusal::StatusAndReason(17, "Duplicate signal request".to_owned()),
        Refusal::Close(1000),
        Refusal::Reset,
    ];
    let fatal = [Refusal::Status(2), Refusal::Status(3)];
    let begin = |refusal: &Refusal, socket: Socket| {
        let mut script = open_at_once(&format!("{refusal:?} {socket:?}"));
        script.refusals = vec![(socket, refusal.clone())];
        harness.zoom.start_meeting(script)
    };
    let both = [Socket::Signaling, Socket::Media];
    let of = |list: &[Refusal]| -> Vec<(Refusal, Socket, MeetingHandle)> {
        let pairs = list.iter().flat_map(|r| both.map(|s| (r.clone(), s)));
        pairs
            .map(|(r, s)| {
                let m = begin(&r, s);
                (r, s, m)
            })
            .collect()
    };
    let (hung, passing, fatal) = (of(&hangs), of(&passing), of(&fatal));
    let beside = harness.zoom.start_meeting(open_at_once("beside"));
    wait_until_streaming(&beside);
    assert_another_works(&harness.zoom, "begun after them");
    for (refusal, socket, meeting) in &fatal {
        let line = harness.wait_until_logged(&["stream ended", &meeting.streams()[0]]);
        assert!(line.contains("refused"), "{refusal:?} {socket:?}: {line}");
    }
    for (refusal, socket, meeting) in &passing {
        if matches!(
            (refusal, socket),
            (Refusal::NoStatus | Refusal::Close(_), _)
        ) {
            // The protocol decides whether to retry.
            continue;
        }
        assert!(
            meeting.wait_for(Step::Ready, PATIENCE),
            "{refusal:?} {socket:?}"
        );
        wait_until_streaming(meeting);
    }
    for (_, _, meeting) in hung.iter().chain(&passing) {
        end(&harness, meeting);
    }
    wait_until_streaming(&beside);
    assert_eq!(beside.count(Step::Lost), 0);
    end(&harness, &beside);
    harness.terminate();
    harness.assert_complete(&beside);
}

/// A listener held by the test, and its port.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn started(stream_id: &str, age: Duration, server_urls: &serde_json::Value) -> serde_json::Value {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    json!({"event": "meeting.rtms_started", "event_ts": (now - age).as_millis() as u64,
        "payload": {"meeting_uuid": format!("meeting of {stream_id}"), "operator_id": "x",
            "rtms_stream_id": stream_id, "server_urls": server_urls}})
}

#[test]
fn without_an_answer_the_stream_ends_with_its_window() {
    let harness = Harness::start(frequent_keep_alives(100), &[]);
    let (_silent, port) = listener();
    // Zoom waits for a minute after its timestamp; of this window little is left.
    let url = json!(format!("wss://127.0.0.1:{port}/"));
    harness.post(&started("hung", Duration::from_secs(58), &url));
    let line = harness.wait_until_logged(&["stream ended", "stream=hung"]);
    assert!(line.contains("lost for good"), "{line}");
    harness.end();
}

#[test]
fn urls_in_a_verified_webhook_are_checked() {
    let allowed = [("RTMS_ALLOWED_HOSTS", "127.0.0.1,.zoom.us")];
    let harness = Harness::start(frequent_keep_alives(100), &allowed);
    let (bait, port) = listener();
    bait.set_nonblocking(true).expect("a listener");
    let urls = [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("ws://127.0.0.1:{port}/"),
        format!("wss://a.zoom.us@127.0.0.1:{port}/"),
        format!("wss://127.0.0.1:{port}@a.zoom.us.evil.test/"),
        format!("wss://localhost:{port}/"),
        format!("wss://[::1]:{port}/"),
        format!("wss://[::ffff:127.0.0.1]:{port}/"),
        format!("wss://127.1:{port}/"),
        format!("wss://2130706433:{port}/"),
        format!("wss://0x7f000001:{port}/"),
        format!("wss://0.0.0.0:{port}/"),
        format!("wss://127.0.0.1.evil.test:{port}/"),
        format!("wss://evil.test:{port}/?.zoom.us"),
        format!("wss://127.0.0.1:{port}\\@a.zoom.us/"),
        format!("wss://127.0.0.1:{port}/\r\nHost: a"),
        "wss://169.254.169.254/latest/meta-data".to_owned(),
        "wss://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
        "wss://".to_owned(),
        "x".repeat(100_000),
    ];
    for (n, url) in urls.iter().enumerate() {
        let body = started(&format!("evil{n}"), Duration::ZERO, &json!(url));
        wait_until("the webhook is taken or refused", || {
            let delivery = harness.zoom.post_webhook(&body);
            let status = delivery.status.as_ref().expect("an answer");
            // A URL without a usable host may be called malformed.
            assert!([200, 400, 503].contains(status), "{url}: {delivery:?}");
            *status != 503
        });
    }
    assert_another_works(&harness.zoom, "after the bad URLs");
    let bitten = urls.iter().enumerate().any(|(n, _)| {
        let id = format!("stream=evil{n} ");
        let log = harness.server.log();
        log.iter()
            .any(|line| line.contains("stream started") && line.contains(&id))
    });
    assert!(!bitten);
    assert!(bait.accept().is_err(), "a connection was made");
    assert_eq!(harness.stream_folders().len(), 1);
    harness.end();
}

#[test]
fn a_redirect_is_not_followed() {
    let allowed = [
        ("RTMS_ALLOWED_HOSTS", "127.0.0.1,ws://127.0.0.1"),
        ("RTMS_LOG", "debug"),
    ];
    let harness = Harness::start(frequent_keep_alives(100), &allowed);
    let (elsewhere, other_port) = listener();
    elsewhere.set_nonblocking(true).expect("a listener");
    let (redirecting, port) = listener();
    let server = std::thread::spawn(move || {
        for status in ["302 Found", "307 Temporary Redirect"] {
            let (mut client, _) = redirecting.accept().expect("a client");
            read_head(&mut client);
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: ws://127.0.0.1:{other_port}/\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).expect("sent");
        }
    });
    let url = json!(format!("ws://127.0.0.1:{port}/"));
    let body = started("redirected", Duration::ZERO, &url);
    harness.post(&body);
    harness.wait_until_logged(&["302", "redirects are not followed"]);
    harness.wait_until_logged(&["307", "redirects are not followed"]);
    server.join().expect("the server ends");
    assert!(elsewhere.accept().is_err(), "the redirect was followed");
    assert_another_works(&harness.zoom, "after the redirect");
    harness.end();
}

fn read_head(client: &mut TcpStream) {
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("a request");
        head.push(byte[0]);
    }
}
