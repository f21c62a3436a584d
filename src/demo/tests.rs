//! Tests of the demo's Zoom with a minimal client: valid behavior passes, violations are detected.

pub(crate) mod client;
mod handover;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use client::{Client, Hooks, WITHIN};

struct Stage {
    zoom: Zoom,
    hooks: Hooks,
}

fn stage(options: Options) -> Stage {
    let zoom = Zoom::start(options).expect("the demo starts");
    let hooks = Hooks::start(zoom.options().secret_token.clone());
    zoom.set_webhook_target(&hooks.url)
        .expect("the URL is whole");
    Stage { zoom, hooks }
}

/// A script whose stream is announced at once.
fn at_once(seed: &str) -> MeetingScript {
    MeetingScript {
        begin: Begin::AtOnce,
        events: false,
        ..MeetingScript::plain(seed)
    }
}

/// What a client needs to know of a stream.
struct Joined {
    id: String,
    stream: String,
    signaling_url: String,
}

impl Stage {
    fn announced(&self) -> Joined {
        let body = self.hooks.expect("meeting.rtms_started");
        let fields = match &body["payload"]["object"] {
            Value::Null => &body["payload"],
            object => object,
        };
        let text = |key: &str| fields[key].as_str().expect("text").to_owned();
        Joined {
            id: text("meeting_uuid"),
            stream: text("rtms_stream_id"),
            signaling_url: text("server_urls"),
        }
    }

    fn connect(&self, url: &str) -> Client {
        Client::connect(url, &self.zoom.ca_file())
    }

    fn handshake(&self, joined: &Joined, msg_type: u32) -> Value {
        let options = self.zoom.options();
        let signed = format!("{},{},{}", options.client_id, joined.id, joined.stream);
        json!({"msg_type": msg_type, "protocol_version": 1, "sequence": 1,
            "meeting_uuid": joined.id, "rtms_stream_id": joined.stream,
            "signature": crate::demo::zoom::shared::hmac_hex(&options.client_secret, signed.as_bytes())})
    }

    fn signaling(&self, joined: &Joined) -> (Client, Value) {
        let mut signaling = self.connect(&joined.signaling_url);
        signaling.send(&self.handshake(joined, 1));
        let answer = signaling.expect(2);
        (signaling, answer)
    }

    fn media(&self, joined: &Joined, answer: &Value, name: &str, media_type: u32) -> (Client, i64) {
        let url = answer["media_server"]["server_urls"][name]
            .as_str()
            .expect("the type is granted");
        let mut media = self.connect(url);
        let mut request = self.handshake(joined, 3);
        request["media_type"] = json!(media_type);
        media.send(&request);
        let answer = media.expect(4);
        (media, answer["status_code"].as_i64().expect("it is there"))
    }

    fn join(&self) -> (Joined, Client, Client) {
        let joined = self.announced();
        let (mut signaling, answer) = self.signaling(&joined);
        assert_eq!(answer["status_code"], 0);
        let (media, status) = self.media(&joined, &answer, "transcript", 8);
        assert_eq!(status, 0);
        signaling.send(&json!({"msg_type": 7, "rtms_stream_id": joined.stream}));
        (joined, signaling, media)
    }

    fn end(self) -> Vec<String> {
        let violations = self.zoom.stop();
        self.hooks.stop();
        violations
    }
}

#[test]
fn a_meeting_from_rest_start_to_rest_stop() {
    let stage = stage(Options::default());
    let mut script = MeetingScript::varied("happy", 1);
    script.phrases = Some(5);
    script.phrases_per_second = 100.0;
    script.unknown = false;
    let meeting = stage.zoom.start_meeting(script);
    let body = stage.hooks.expect("meeting.started");
    let number = &body["payload"]["object"]["id"];
    let token = client::token(&stage.zoom);
    let path = format!("/v2/live_meetings/{number}/rtms_app/status");
    let rest = |action: &str| {
        client::http(
            &stage.zoom.api_url(),
            "PATCH",
            &path,
            &[
                ("Authorization", &format!("Bearer {token}")),
                ("Content-Type", "application/json"),
            ],
            &json!({"action": action, "settings": {"client_id": stage.zoom.options().client_id}})
                .to_string(),
        )
    };
    assert_eq!(rest("start"), (204, String::new()));

    let joined = stage.announced();
    let (mut signaling, answer) = stage.signaling(&joined);
    signaling.send(&json!({"msg_type": 5, "events": [
        {"event_type": 2, "subscribe": true}, {"event_type": 3, "subscribe": true}]}));
    let (mut media, status) = stage.media(&joined, &answer, "transcript", 8);
    assert_eq!(status, 0);
    signaling.send(&json!({"msg_type": 7, "rtms_stream_id": joined.stream}));
    let heard: Vec<String> = (0..5)
        .map(|_| media.expect(17)["content"]["data"].to_string())
        .collect();
    assert!(meeting.wait_for(Step::LastPhrase, WITHIN));
    let sent: Vec<String> = (meeting.sent().iter())
        .map(|phrase| json!(phrase.text).to_string())
        .collect();
    assert_eq!(heard, sent);
    let joins = signaling.expect(6);
    assert_eq!(joins["event"]["event_type"], 3);
    assert_eq!(
        joins["event"]["participants"].as_array().map(Vec::len),
        Some(meeting.script().speakers.len())
    );

    assert_eq!(rest("stop").0, 204);
    let end = loop {
        let message = signaling.expect(8);
        if message["state"] == 4 {
            break message;
        }
    };
    assert_eq!(end["reason"], 2);
    let stopped = stage.hooks.expect("meeting.rtms_stopped");
    assert!(stopped.to_string().contains(r#""stop_reason":2"#));
    signaling.expect_close();
    media.expect_close();
    assert!(meeting.wait_for(Step::Closed, WITHIN));
    assert_eq!(meeting.stop_reason(), Some(2));
    for step in [
        Step::MeetingAnswered,
        Step::StartCalled,
        Step::StartedAnswered,
        Step::SignalingHandshake,
        Step::MediaHandshake,
        Step::Ready,
        Step::FirstPhrase,
        Step::StopCalled,
    ] {
        assert!(meeting.time_of(step).is_some(), "{step:?}");
    }
    assert_eq!(stage.end(), Vec::<String>::new());
}

#[test]
fn a_wrong_signature_is_status_3() {
    let stage = stage(Options::default());
    stage.zoom.start_meeting(at_once("signature"));
    let joined = stage.announced();
    let mut signaling = stage.connect(&joined.signaling_url);
    let mut request = stage.handshake(&joined, 1);
    request["signature"] = json!("00");
    signaling.send(&request);
    assert_eq!(signaling.expect(2)["status_code"], 3);
    signaling.expect_close();
    client::assert_one(&stage.end(), "wrong signature");
}

#[test]
fn handshakes_in_the_wrong_order_are_refused() {
    let stage = stage(Options::default());
    stage.zoom.start_meeting(at_once("order"));
    let joined = stage.announced();
    let mut signaling = stage.connect(&joined.signaling_url);
    signaling.send(&json!({"msg_type": 7, "rtms_stream_id": joined.stream}));
    assert_eq!(signaling.expect(2)["status_code"], 1);
    let media_url = joined.signaling_url.replace("/signaling/", "/media/") + "/8";
    let port = stage
        .zoom
        .shared
        .ports
        .of(HandshakeFault::Open, Socket::Media);
    let path = &media_url[media_url.find("/media/").expect("it is there")..];
    let mut media = stage.connect(&format!("wss://127.0.0.1:{port}{path}"));
    let mut request = stage.handshake(&joined, 3);
    request["media_type"] = json!(8);
    media.send(&request);
    assert_eq!(media.expect(4)["status_code"], 40);
    let violations = stage.end();
    assert_eq!(violations.len(), 2, "{violations:?}");
}

#[test]
fn ready_is_expected_once_and_after_media() {
    let stage = stage(Options::default());
    let meeting = stage.zoom.start_meeting(at_once("ready"));
    let (joined, mut signaling, mut media) = stage.join();
    media.expect(17);
    signaling.send(&json!({"msg_type": 7, "rtms_stream_id": joined.stream}));
    signaling.send(&json!({"msg_type": 19, "rtms_stream_id": joined.stream}));
    signaling.expect(20);
    assert_eq!(meeting.count(Step::Ready), 1);
    client::assert_one(&stage.end(), "without a media handshake");
}

#[test]
fn a_second_client_displaces_or_is_refused() {
    let stage = stage(Options::default());
    let displacing = stage.zoom.start_meeting(at_once("displace"));
    let (joined, mut old, mut old_media) = stage.join();
    old_media.expect(17);
    let (_new, answer) = stage.signaling(&joined);
    assert_eq!(answer["status_code"], 0);
    old.expect_close();
    old_media.expect_close();
    displacing.end(End::stopped(6));
    assert!(displacing.wait_for(Step::StoppedAnswered, WITHIN));
    stage.hooks.expect("meeting.rtms_stopped");

    let mut script = at_once("refuse");
    script.duplicates = Duplicates::Refuse;
    stage.zoom.start_meeting(script);
    let (joined, first, _media) = stage.join();
    let (_second, answer) = stage.signaling(&joined);
    assert_eq!(answer["status_code"], 8);
    drop(first);
    let violations = stage.end();
    assert!(
        violations.iter().all(|text| text.contains("still open")) && !violations.is_empty(),
        "{violations:?}"
    );
}

#[test]
fn three_unanswered_keep_alives_cut() {
    let stage = stage(Options {
        // Two of these may pass on a busy machine before the client has joined.
        keep_alive: Duration::from_secs(1),
        ..Options::default()
    });
    let meeting = stage.zoom.start_meeting(at_once("keep-alive"));
    let (_joined, mut signaling, mut media) = stage.join();
    assert!(meeting.wait_for(Step::Ready, WITHIN));
    let watch = std::thread::spawn(move || media.expect_close());
    // Signaling is answered too until media has been answered.
    while stage.zoom.keep_alive_latencies(Socket::Media).is_empty() {
        signaling.answer_keep_alive();
    }
    signaling.is_mute = true;
    signaling.expect_close();
    watch.join().expect("media is cut with signaling");
    assert!(meeting.wait_for(Step::Lost, WITHIN));
    client::assert_one(&stage.end(), "3 keep-alives unanswered");
}

#[test]
fn a_changed_echo_is_a_violation() {
    let stage = stage(Options {
        keep_alive: Duration::from_millis(30),
        ..Options::default()
    });
    stage.zoom.start_meeting(at_once("echo"));
    let joined = stage.announced();
    let (mut signaling, _) = stage.signaling(&joined);
    signaling.is_mute = true;
    let asked = signaling.expect(12);
    signaling.send(&json!({"msg_type": 13, "timestamp": asked["timestamp"].to_string()}));
    signaling.send(&json!({"msg_type": 19, "rtms_stream_id": joined.stream}));
    signaling.expect(20);
    client::assert_one(&stage.end(), "matches nothing asked here");
}

#[test]
fn a_media_cut_is_reported_and_media_continue() {
    let stage = stage(Options::default());
    let mut script = at_once("cut");
    script.phrases = Some(40);
    script.phrases_per_second = 200.0;
    script.replay = Duration::from_secs(5);
    let meeting = stage.zoom.start_meeting(script);
    let (joined, mut signaling, mut media) = stage.join();
    media.expect(17);
    assert!(meeting.fault(Fault::Cut(Socket::Media, Cut::Close(1011))));
    media.expect_close();
    assert_eq!(signaling.expect(6)["event"]["event_type"], 7);
    let lost = loop {
        let message = signaling.expect(8);
        if message["state"] == 2 {
            break message;
        }
    };
    assert_eq!(lost["reason"], 14);
    let before = meeting.sent_count();
    assert!(before < 40);
    let urls = json!({"media_server": {"server_urls": {"transcript":
        joined.signaling_url.replace("/signaling/", "/media/") + "/8"}}});
    let port = stage
        .zoom
        .shared
        .ports
        .of(HandshakeFault::Open, Socket::Media);
    let mut urls: Value = urls;
    let url = urls["media_server"]["server_urls"]["transcript"]
        .as_str()
        .expect("it is there");
    let path = &url[url.find("/media/").expect("it is there")..];
    urls["media_server"]["server_urls"]["transcript"] =
        json!(format!("wss://127.0.0.1:{port}{path}"));
    let (mut media, status) = stage.media(&joined, &urls, "transcript", 8);
    assert_eq!(status, 0);
    signaling.send(&json!({"msg_type": 7, "rtms_stream_id": joined.stream}));
    let heard: Vec<String> = (0..40)
        .map(|_| media.expect(17)["content"]["timestamp"].to_string())
        .collect();
    assert!(meeting.wait_for(Step::LastPhrase, WITHIN));
    let sent: Vec<String> = (meeting.sent().iter())
        .map(|phrase| phrase.timestamp_ms.to_string())
        .collect();
    assert_eq!(heard, sent);
    assert_eq!(meeting.replayed(), before);
    assert_eq!(stage.end(), Vec::<String>::new());
}

#[test]
fn a_stream_without_signaling_ends_with_19() {
    let stage = stage(Options::default());
    let mut script = at_once("window");
    script.signaling_window = Duration::from_millis(50);
    let meeting = stage.zoom.start_meeting(script);
    let (_joined, signaling, mut media) = stage.join();
    assert!(meeting.wait_for(Step::Ready, WITHIN));
    drop(signaling);
    media.expect_close();
    stage.hooks.expect("meeting.rtms_interrupted");
    let stopped = stage.hooks.expect("meeting.rtms_stopped");
    assert_eq!(stopped["payload"]["stop_reason"], 19);
    assert_eq!(meeting.stop_reason(), Some(19));
    assert_eq!(stage.end(), Vec::<String>::new());
}

#[test]
fn broken_listeners_block_and_certificates_are_bad() {
    let stage = stage(Options::default());
    for (door, is_tls) in [
        (HandshakeFault::WrongHost, false),
        (HandshakeFault::Expired, false),
        (HandshakeFault::Open, true),
    ] {
        let mut script = at_once(&format!("{door:?}"));
        script.signaling_door = door;
        stage.zoom.start_meeting(script);
        let joined = stage.announced();
        let connected = Client::try_connect(&joined.signaling_url, &stage.zoom.ca_file());
        assert_eq!(connected.is_ok(), is_tls, "{door:?}");
    }
    assert_eq!(stage.end(), Vec::<String>::new());
}

#[test]
fn refusals_follow_the_script() {
    let stage = stage(Options::default());
    let mut script = at_once("refusals");
    script.refusals = vec![
        (Socket::Signaling, Refusal::Status(15)),
        (Socket::Signaling, Refusal::NoStatus),
        (Socket::Signaling, Refusal::Close(1000)),
        (Socket::Media, Refusal::Status(45)),
    ];
    stage.zoom.start_meeting(script);
    let joined = stage.announced();
    assert_eq!(stage.signaling(&joined).1["status_code"], 15);
    assert_eq!(stage.signaling(&joined).1["status_code"], Value::Null);
    let mut closed = stage.connect(&joined.signaling_url);
    closed.send(&stage.handshake(&joined, 1));
    closed.expect_close();
    let (_signaling, answer) = stage.signaling(&joined);
    assert_eq!(stage.media(&joined, &answer, "transcript", 8).1, 45);
    assert_eq!(stage.media(&joined, &answer, "transcript", 8).1, 0);
    assert_eq!(stage.end(), Vec::<String>::new());
}

#[test]
fn rest_refuses_as_zoom_does() {
    let stage = stage(Options::default());
    let token = client::token(&stage.zoom);
    let call = |method: &str, token: &str, body: &Value| {
        client::http(
            &stage.zoom.api_url(),
            method,
            "/v2/live_meetings/81234567890/rtms_app/status",
            &[
                ("Authorization", &format!("Bearer {token}")),
                ("Content-Type", "application/json"),
            ],
            &body.to_string(),
        )
    };
    let client_id = stage.zoom.options().client_id.clone();
    let body = json!({"action": "start", "settings": {"client_id": client_id}});
    let (status, answer) = call("PATCH", &token, &body);
    assert!(status == 404 && answer.contains("3001"), "{answer}");
    let (status, answer) = call("PATCH", "another", &body);
    assert!(status == 401 && answer.contains("124"), "{answer}");
    stage
        .zoom
        .script_rest(None, Answer::error(400, 2308, "Not the host."));
    assert!(call("PATCH", &token, &body).1.contains("2308"));
    assert!(stage.zoom.violations().is_empty());
    assert_eq!(call("POST", &token, &body).0, 405);
    assert_eq!(call("PATCH", &token, &json!({"action": "go"})).0, 400);
    assert_eq!(stage.zoom.rest_calls().len(), 5);
    assert_eq!(stage.end().len(), 2);
}
