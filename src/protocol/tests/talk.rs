//! A conversation with a [`Stream`]: what is sent to it, when, and what it does, as lines of text.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::domain::product::Product;
use crate::domain::secret::Secret;
use crate::protocol::reconnect::{IN_FLEET, POLICY, Policy};
use crate::protocol::server_url::{AllowedHosts, ServerUrl};
use crate::protocol::{
    Command, LinkId, Loss, MediaKind, MediaParams, MediaSelection, Output, Stream, StreamConfig,
    StreamEvent,
};

pub(super) const SIGNALING: LinkId = LinkId::Signaling;
pub(super) const TEXT: LinkId = LinkId::Media(MediaKind::Transcript);
pub(super) const AUDIO: LinkId = LinkId::Media(MediaKind::Audio);

/// Our clock when a talk begins: a quarter of an hour before Zoom's timestamps.
pub(super) const UNIX_MS: u64 = 1_766_999_000_000;

/// The current policy without its jitter, so that times of tries are exact.
static EXACT: Policy = Policy {
    has_jitter: false,
    ..POLICY
};

static EXACT_IN_FLEET: Policy = Policy {
    has_jitter: false,
    ..IN_FLEET
};

pub(super) fn url(host: &str) -> ServerUrl {
    ServerUrl::parse(&format!("wss://{host}.zoom.us"), &AllowedHosts::default())
        .expect("an allowed host")
}

pub(super) fn config(media: &str) -> StreamConfig {
    StreamConfig {
        product: Product::Meeting,
        id: "a/B+c==".to_owned(),
        stream_id: "5f0c1d".to_owned(),
        client_id: "id".to_owned(),
        client_secret: Secret::new("secret"),
        urls: vec![url("sig")],
        allowed_hosts: AllowedHosts::default(),
        media: MediaSelection::from_text(media).expect("a selection"),
        params: MediaParams::default(),
        video_participant: None,
        events: vec![2, 3],
        buffer_data: None,
        window: Duration::from_secs(60),
        unix_ms: UNIX_MS,
    }
}

pub(super) struct Talk {
    start: Instant,
    now: Instant,
    pub(super) stream: Stream,
    log: Vec<String>,
    seen: usize,
    pub(super) has_ended: bool,
    subscriptions: Vec<u64>,
    /// The timestamp of the last message 28.
    pub(super) subscribed_ms: u64,
}

impl Talk {
    pub(super) fn new(media: &str) -> Talk {
        Talk::with(config(media))
    }

    pub(super) fn with(config: StreamConfig) -> Talk {
        Talk::with_policy(config, &EXACT)
    }

    /// At a node of a fleet.
    pub(super) fn in_fleet(config: StreamConfig) -> Talk {
        Talk::with_policy(config, &EXACT_IN_FLEET)
    }

    fn with_policy(config: StreamConfig, policy: &'static Policy) -> Talk {
        let start = Instant::now();
        let stream = Stream::with_policy(start, config, policy);
        let mut talk = Talk {
            start,
            now: start,
            stream,
            log: Vec::new(),
            seen: 0,
            has_ended: false,
            subscriptions: Vec::new(),
            subscribed_ms: 0,
        };
        talk.drain();
        talk
    }

    /// A stream that receives transcripts, with all earlier lines consumed.
    pub(super) fn ready() -> Talk {
        let mut talk = Talk::new("transcript");
        talk.join();
        talk.skip();
        talk
    }

    /// Both handshakes, for transcripts.
    pub(super) fn join(&mut self) {
        self.open(SIGNALING);
        self.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
        self.open(TEXT);
        self.hear(TEXT, msg4());
    }

    /// Every participant whose camera was requested.
    pub(super) fn sent_subscriptions(&self) -> Vec<u64> {
        self.subscriptions.clone()
    }

    fn drain(&mut self) {
        loop {
            let line = match self.stream.poll_output() {
                Output::Connect { link, url, .. } => format!("connect {link} {}", url.host()),
                Output::Send(SIGNALING, text) if text.contains("\"msg_type\":28,") => {
                    let request: Value = serde_json::from_str(&text).expect("JSON");
                    assert_eq!(request["subscribe"], true);
                    let user = request["user_id"].as_u64().expect("a number");
                    self.subscriptions.push(user);
                    self.subscribed_ms = request["timestamp"].as_u64().expect("a stamp");
                    format!("> signaling 28 {user}")
                }
                Output::Send(link, text) => format!("> {link} {}", short(&text)),
                Output::Close(link) => format!("close {link}"),
                Output::Notice(notice) => format!("* {notice:?}"),
                Output::Wait(_) => return,
                Output::End(reason) => {
                    self.has_ended = true;
                    format!("end {reason}")
                }
            };
            let at = self.now.duration_since(self.start).as_secs_f64();
            self.log.push(format!("{at:.1} {line}"));
            if self.has_ended {
                return;
            }
        }
    }

    /// Advances the time, with timers.
    pub(super) fn until(&mut self, seconds: f64) {
        let target = self.start + Duration::from_secs_f64(seconds);
        while !self.has_ended {
            let deadline = match self.stream.poll_output() {
                Output::Wait(deadline) => deadline,
                other => panic!("not drained: {other:?}"),
            };
            if deadline > target {
                break;
            }
            self.now = self.now.max(deadline);
            self.stream.handle_timeout(self.now);
            self.drain();
        }
        self.now = target;
    }

    /// Seconds since the talk began.
    pub(super) fn seconds(&self) -> f64 {
        self.now.duration_since(self.start).as_secs_f64()
    }

    /// Advances the time to the next deadline.
    pub(super) fn step(&mut self) {
        if let Output::Wait(deadline) = self.stream.poll_output() {
            self.now = self.now.max(deadline);
            self.stream.handle_timeout(self.now);
        }
        self.drain();
    }

    /// Returns and removes the lines so far.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        let lines = self.log[self.seen..].to_vec();
        self.skip();
        lines
    }

    pub(super) fn open(&mut self, link: LinkId) {
        self.stream.handle_opened(self.now, link);
        self.drain();
    }

    pub(super) fn withhold(&mut self) {
        self.stream.handle_withheld();
        self.drain();
    }

    pub(super) fn permit(&mut self) {
        self.stream.handle_permitted(self.now);
        self.drain();
    }

    pub(super) fn lose(&mut self, link: LinkId, loss: Loss) {
        self.stream.handle_closed(self.now, link, loss);
        self.drain();
    }

    pub(super) fn oversize(&mut self, link: LinkId, bytes: u64) {
        self.stream.handle_oversize(self.now, link, bytes);
        self.drain();
    }

    pub(super) fn hold_media(&mut self) {
        self.stream.handle_held_media(self.now);
        self.drain();
    }

    pub(super) fn tell(&mut self, command: Command) {
        self.stream.handle_command(self.now, command);
        self.drain();
    }

    pub(super) fn hear(&mut self, link: LinkId, message: Value) {
        self.hear_text(link, &message.to_string());
    }

    pub(super) fn hear_text(&mut self, link: LinkId, text: &str) {
        let event = match self.stream.handle_message(self.now, link, text) {
            Ok(Some(StreamEvent::Transcript(said))) => {
                Some(format!("said {}: {}", said.user_name, said.text))
            }
            Ok(Some(StreamEvent::Packet(kind, packet))) => {
                Some(format!("{kind:?} {} {}", packet.user_id, packet.data))
            }
            Ok(Some(StreamEvent::Chat(chat))) => Some(format!("chat {}", chat.raw)),
            Ok(Some(StreamEvent::Event(event))) => Some(format!("event {:?}", event.event_type)),
            Ok(None) => None,
            Err(_) => Some("unreadable".to_owned()),
        };
        let at = self.now.duration_since(self.start).as_secs_f64();
        self.log.extend(event.map(|line| format!("{at:.1} {line}")));
        if !self.has_ended {
            self.drain();
        }
    }

    /// The current time of the talk.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Removes the lines so far.
    pub(super) fn skip(&mut self) {
        self.seen = self.log.len();
    }

    /// Checks and removes the lines so far.
    pub(super) fn check(&mut self, expected: &[&str]) {
        let lines = &self.log[self.seen..];
        assert_eq!(lines, expected, "\nfound:\n{}\n", lines.join("\n"));
        self.seen = self.log.len();
    }

    /// Checks that one of the lines so far contains this.
    pub(super) fn check_contains(&self, part: &str) {
        let lines = &self.log[self.seen..];
        assert!(
            lines.iter().any(|line| line.contains(part)),
            "{part:?} in {lines:#?}"
        );
    }
}

/// A message as its number and the value that distinguishes it from others with that number.
fn short(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("what we send is JSON");
    let number = value["msg_type"].as_i64().expect("what we send has a type");
    match number {
        3 => format!("3 media_type={}", value["media_type"]),
        13 => format!("13 {} {}", value["timestamp"], value["sequence"]),
        n => n.to_string(),
    }
}

pub(super) fn msg2(urls: Value) -> Value {
    json!({"msg_type": 2, "status_code": 0, "media_server": {"server_urls": urls}})
}

pub(super) fn msg4() -> Value {
    json!({"msg_type": 4, "status_code": 0})
}

pub(super) fn said(text: &str) -> Value {
    json!({"msg_type": 17, "content": {"user_id": 1, "user_name": "Ada", "data": text,
        "start_time": 1_767_000_001_000_u64, "end_time": 1_767_000_002_000_u64}})
}

pub(super) fn keep_alive(stamp: u64) -> Value {
    json!({"msg_type": 12, "timestamp": stamp})
}
