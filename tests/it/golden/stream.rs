//! One stream whose messages are scripted to the byte: its files, standard output, `/streams`,
//! `rtmsd status --json`, `/metrics`, and the state for a restart.
//!
//! The test chooses Zoom's timestamps, an hour and more after the stream's zero, and shows them as
//! `T+3601000`: milliseconds from that zero. Every other timestamp is from our clock, and shown as
//! `MS`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtmsd::demo::{End, Fault, Frame, MeetingHandle, MeetingScript, Options, Socket, Step};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{assert_golden, indented, map_stamps, without_values, without_version};
use crate::harness::{Harness, files_below, meta, wait_until, wait_until_step};

/// From the stream's zero to the first scripted timestamp. No test runs for so long, so no
/// timestamp of our clock looks like one of these.
const FIRST_MS: u64 = 3_600_000;

/// Phrases that are shown as text: one phrase is sent twice, and one deletes another.
const SPOKEN: usize = 6;

const ADA: u64 = 16_778_240;
const JUERGEN: u64 = 16_779_264;

/// Sequence and picture parameters of a picture of 320 by 180, as a camera sends them.
const H264_PARAMETERS: &str = "000000010910000000016742c015a61105067e7c04400000030040000005\
                               03c58b8460000000000168c8420312c8";
/// The start of a JPEG of 640 by 360.
const JPEG: [u8; 23] = [
    0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 1, 0xff, 0xc4, 0, 3, 1, 0xff, 0xff, 0xc0, 0, 11, 8, 1, 0x68,
    2, 0x80,
];
/// The start of a PNG of 640 by 360.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\x68";

/// The server, and a stream that is ready for scripted messages.
struct Scripted {
    harness: Harness,
    meeting: MeetingHandle,
    /// The stream's zero, Unix milliseconds.
    zero_ms: u64,
}

impl Scripted {
    fn start(harness: Harness) -> Scripted {
        let meeting = harness.zoom.start_meeting(MeetingScript {
            topic: "Board \"Q3\" & <more>".to_owned(),
            speakers: Vec::new(),
            phrases: Some(0),
            events: false,
            granted: 31,
            // Everything on one connection, in one order.
            url_per_type: false,
            linger: Duration::from_millis(20),
            ..MeetingScript::plain("golden")
        });
        wait_until_step(&meeting, Step::Ready);
        let zero_ms = meta(&harness.stream_folder())["started_ms"].as_u64();
        Scripted {
            harness,
            meeting,
            zero_ms: zero_ms.expect("the stream's zero"),
        }
    }

    /// The timestamp `ms` milliseconds after the first.
    fn at(&self, ms: u64) -> u64 {
        self.zero_ms + FIRST_MS + ms
    }

    fn send(&self, socket: Socket, messages: &[Value]) {
        let frames = messages
            .iter()
            .map(|message| Frame::Text(message.to_string()));
        assert!(self.meeting.fault(Fault::Frames(socket, frames.collect())));
    }

    /// The text with placeholders.
    fn masked(&self, text: &str) -> String {
        let text = text.replace(&self.meeting.streams()[0], "STREAM");
        let text = map_stamps(&text, |stamp| {
            match stamp.checked_sub(self.zero_ms).filter(|ms| *ms >= FIRST_MS) {
                Some(ms) => format!("T+{ms}"),
                None => "MS".to_owned(),
            }
        });
        without_version(&text)
    }

    /// Text with the time of day at the start of each line, which is shown as the scripted
    /// timestamp with that time.
    fn masked_clocks(&self, text: &str) -> String {
        let stamps: BTreeMap<String, u64> = (0..60)
            .map(|second| FIRST_MS + second * 1000)
            .map(|ms| (clock(self.zero_ms + ms), ms))
            .collect();
        let mask = |line: &str| {
            let known = line.get(..8).and_then(|clock| stamps.get(clock));
            match known {
                Some(ms) => format!("T+{ms}{}\n", &line[8..]),
                None => format!("{line}\n"),
            }
        };
        text.lines().map(mask).collect()
    }

    /// Ends the meeting, and waits until its files are complete.
    fn end_meeting(&self) {
        self.meeting.end(End::meeting_ended());
        wait_until_step(&self.meeting, Step::Closed);
        let folder = self.harness.stream_folder();
        wait_until("files are complete", || meta(&folder)["state"] == "ended");
        assert_eq!(self.harness.zoom.violations(), Vec::<String>::new());
    }

    /// Standard output, once it has that many lines.
    fn stdout(&self, lines: usize) -> String {
        wait_until("standard output", || {
            self.harness.stdout().lines().count() >= lines
        });
        self.harness.stdout()
    }
}

/// `12:04:31`, in UTC.
fn clock(ms: u64) -> String {
    let s = ms / 1000;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// Without keep-alives, whose number would vary, and with long time limits for a busy machine.
fn options() -> Options {
    Options {
        webhook_retries: vec![Duration::from_millis(100); 50],
        keep_alive: Duration::ZERO,
        ..Options::default()
    }
}

fn phrases(script: &Scripted) -> Vec<Value> {
    let phrase = |more: Value, from_ms: u64, to_ms: u64, data: &str| {
        let mut content = json!({
            "user_id": ADA, "user_name": "Ada Okafor", "start_time": script.at(from_ms),
            "end_time": script.at(to_ms), "timestamp": script.at(to_ms + 100), "language": 9,
            "data": data,
        });
        for (key, value) in more.as_object().expect("fields") {
            content[key] = value.clone();
        }
        json!({"msg_type": 17, "content": content})
    };
    let hard = "Größer --> \"als\" <3 & \\ Tab\there\nund eine\u{1b}[31m neue Zeile";
    let repeated = phrase(
        json!({}),
        1000,
        2500,
        "Good morning everyone, can you all hear me?",
    );
    vec![
        repeated.clone(),
        phrase(
            json!({"user_id": JUERGEN, "user_name": "Jürgen <Weiß> & \"Söhne\"", "language": 14}),
            3000,
            4200,
            hard,
        ),
        // A phrase that Zoom sends again is written once.
        repeated,
        phrase(
            json!({"user_id": "16780288", "user_name": "", "language": 20}),
            5000,
            7654,
            "おはようございます。🙂",
        ),
        phrase(
            json!({"channel_id": 2, "language": 12_345}),
            8000,
            9000,
            "A leg of a call.",
        ),
        phrase(json!({"attribute": 2}), 10_000, 11_000, "It replaces one."),
        phrase(
            json!({"attribute": 3}),
            12_000,
            12_500,
            "It takes one back.",
        ),
        phrase(
            json!({"language": null, "end_time": script.at(2000)}),
            2000,
            2000,
            "Out of order.",
        ),
    ]
}

fn chats(script: &Scripted) -> Vec<Value> {
    let chat = |n: u64, operation: u64, session: Value, data: &str| {
        json!({"msg_type": 18, "content": {
            "message_id": format!("chat-{n}"), "operation_type": operation,
            "chat_session": session, "sender": {"user_id": ADA, "user_name": "Ada Okafor"},
            "timestamp": script.at(n * 1000), "data": data, "file": {"name": "plan.pdf", "size": 3}}})
    };
    vec![
        chat(1, 1, json!({"type": 1}), "Note: see the shared folder 🙂"),
        chat(2, 2, json!({"type": 2}), "Note, \"changed\"\n<b>"),
        chat(3, 3, json!({"type": 3, "id": "group"}), ""),
        chat(4, 99, json!({"type": 99}), "of kinds without a name"),
    ]
}

fn events(script: &Scripted) -> Vec<Value> {
    let event = |n: u64, more: Value| {
        let mut event = json!({"event_type": n, "timestamp": script.at(n * 1000)});
        for (key, value) in more.as_object().expect("fields") {
            event[key] = value.clone();
        }
        json!({"msg_type": 6, "event": event})
    };
    let ada = json!({"user_id": ADA, "user_name": "Ada Okafor"});
    let juergen = json!({"user_id": JUERGEN, "user_name": "Jürgen <Weiß>"});
    vec![
        event(1, json!({})),
        event(3, json!({"participants": [ada, juergen]})),
        event(2, ada.clone()),
        event(8, json!({"participants": [ada]})),
        event(5, ada.clone()),
        event(6, ada.clone()),
        event(9, json!({"participants": [ada]})),
        event(10, json!({"group": {"id": "g", "members": [ada]}})),
        event(4, json!({"participants": [{"user_id": JUERGEN}]})),
        event(99, json!({"of_a_kind": ["without", {"a": "name"}]})),
    ]
}

/// A data message: 14 audio, 15 video, 16 share.
fn packet(msg_type: u32, who: (u64, &str), stamp_ms: u64, bytes: &[u8]) -> Value {
    json!({"msg_type": msg_type, "content": {"user_id": who.0, "user_name": who.1,
        "data": STANDARD.encode(bytes), "length": bytes.len(), "timestamp": stamp_ms}})
}

/// `bytes` bytes that are not silence, different for each `n`.
fn bytes(n: u64, count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|at| (at * 7 + n * 31 + 1) as u8)
        .collect()
}

/// Packets of two speakers with a gap, each with `bytes` bytes for 20 ms of sound.
fn sounds(script: &Scripted, packet_bytes: usize) -> Vec<Value> {
    let ada = (ADA, "Ada Okafor");
    let juergen = (JUERGEN, "Jürgen <Weiß>");
    [
        (ada, 0),
        (ada, 20),
        (juergen, 30),
        (ada, 40),
        (juergen, 50),
        // Muted in between.
        (ada, 400),
        (juergen, 70),
        (ada, 420),
    ]
    .into_iter()
    .map(|(who, ms)| packet(14, who, script.at(ms), &bytes(ms, packet_bytes)))
    .collect()
}

/// Frames of two participants, in that codec.
fn pictures(script: &Scripted, msg_type: u32, codec: &str) -> Vec<Value> {
    let ada = (ADA, "Ada Okafor");
    let juergen = (JUERGEN, "Jürgen <Weiß>");
    let picture = |n: u64| match codec {
        "h264" => {
            let key = hex::decode(H264_PARAMETERS).expect("hex");
            let key = [&key[..], &[0, 0, 0, 1, 0x65], &bytes(n, 90)].concat();
            let other = [&[0, 0, 0, 1, 0x41][..], &bytes(n, 40)].concat();
            if n.is_multiple_of(3) { key } else { other }
        }
        "jpg" => [&JPEG[..], &bytes(n, 60)].concat(),
        _ => [PNG, &bytes(n, 60)].concat(),
    };
    (0..4)
        .map(|n| {
            let who = if n < 2 { ada } else { juergen };
            packet(msg_type, who, script.at(100 * n), &picture(n))
        })
        .collect()
}

/// The page without values: metrics in the order of their names, their series in the order of the
/// page.
fn metrics(page: &str) -> String {
    let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut family = "";
    for line in page.lines() {
        let line = match line.strip_prefix("# HELP ") {
            Some(help) => {
                family = help.split(' ').next().unwrap_or_default();
                line.to_owned()
            }
            None if line.starts_with('#') => line.to_owned(),
            None => {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.starts_with(family), "{line} after {family}");
                format!("{series} _")
            }
        };
        families.entry(family).or_default().push(line);
    }
    let lines: Vec<String> = families.into_values().flatten().collect();
    without_version(&(lines.join("\n") + "\n"))
}

/// `/streams` and `status --json` without the varying parts.
fn streams(script: &Scripted, json: &str) -> String {
    // A busy server may get a webhook twice.
    let keys = ["key", "age_s", "webhooks_accepted"];
    without_values(&script.masked(&indented(json)), &keys)
}

/// URLs of the demo's Zoom, without the port.
fn without_ports(text: &str) -> String {
    const BEFORE: &str = "wss://127.0.0.1:";
    let mut parts = text.split(BEFORE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let path = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out += &format!("{BEFORE}PORT{path}");
    }
    out
}

/// Every file below the folder, in the order of their names.
fn names_and_bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files_below(folder).into_iter();
    files
        .map(|(path, bytes)| (path.display().to_string(), bytes))
        .collect()
}

/// Whether it is one of the text files.
fn is_text(name: &str) -> bool {
    [".json", ".jsonl", ".txt", ".vtt", ".srt"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Length, digest and first bytes.
fn described(name: &str, bytes: &[u8]) -> String {
    let from = hex::encode(&bytes[..bytes.len().min(64)]);
    let digest = hex::encode(&Sha256::digest(bytes)[..12]);
    format!(
        "{name}\n  {} bytes, sha256 {digest}…\n  {from}\n",
        bytes.len()
    )
}

/// The content of an Ogg file, independent of its pages: the two headers, and all packets in order.
/// The second header has the version.
fn described_ogg(name: &str, file: &[u8]) -> String {
    let (mut bodies, mut granule, mut flags, mut rest) = (Vec::new(), 0, 0, file);
    while !rest.is_empty() {
        assert_eq!(&rest[..5], b"OggS\0", "{name}");
        let lengths = &rest[27..27 + usize::from(rest[26])];
        let from = 27 + lengths.len();
        let length: usize = lengths.iter().map(|length| usize::from(*length)).sum();
        granule = u64::from_le_bytes(rest[6..14].try_into().expect("eight bytes"));
        flags = rest[5];
        bodies.push(&rest[from..from + length]);
        rest = &rest[from + length..];
    }
    let tags = without_version(&String::from_utf8_lossy(bodies[1]));
    let packets = described("  packets", &bodies[2..].concat());
    format!(
        "{name}\n  {}\n  {tags:?}\n  last page: flags {flags}, granule {granule}\n{packets}",
        hex::encode(bodies[0])
    )
}

#[test]
fn a_stream_with_everything() {
    let harness = Harness::start(
        options(),
        &[
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_MEDIA", "all"),
            ("RTMS_EVENTS", "all"),
            ("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
            ("RTMS_VIDEO_CODEC", "h264"),
            ("RTMS_SHARE_CODEC", "jpg"),
        ],
    );
    assert_golden("metrics.txt", &metrics(&harness.admin_page("/metrics")));

    let script = Scripted::start(harness);
    let mut media = phrases(&script);
    media.extend(chats(&script));
    media.extend(sounds(&script, 640));
    media.extend(pictures(&script, 15, "h264"));
    media.extend(pictures(&script, 16, "jpg"));
    script.send(Socket::Media, &media);
    let events = events(&script);
    script.send(Socket::Signaling, &events);

    let mut json = String::new();
    wait_until("everything is received and counted", || {
        json = script.harness.admin_page("/streams");
        let answer: Value = serde_json::from_str(&json).expect("JSON");
        let stream = &answer["streams"][0];
        // A message is counted a moment before its time is noted.
        let is_noted = stream["waits_for"].is_null();
        let is_start_answered = answer["counts"]["calls_ok"] == 1;
        let kinds = stream["media"].as_object().cloned();
        let counts = kinds.unwrap_or_default();
        let count = |kind: &Value| kind["messages"].as_u64().unwrap_or(0);
        // The repeated phrase is counted elsewhere.
        let all = (media.len() + events.len() - 1) as u64;
        is_noted && is_start_answered && counts.values().map(count).sum::<u64>() == all
    });
    assert_golden("streams.json", &streams(&script, &json));
    let ran = script.harness.run(&["status", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    assert_golden("streams.json", &streams(&script, &ran.stdout));
    assert_golden(
        "metrics.txt",
        &metrics(&script.harness.admin_page("/metrics")),
    );

    // The state of a running stream, for a restart.
    let state = script.harness.state();
    let stream_id = &script.meeting.streams()[0];
    let mut registry = String::new();
    wait_until("the stream is in the state", || {
        registry = registry_by_log(&state);
        registry.contains(stream_id)
    });
    let registry = script.masked(&indented(&registry));
    let registry = without_ports(&without_values(&registry, &["version"]));
    assert_golden("registry.json", &registry);

    script.end_meeting();
    assert_golden(
        "metrics.txt",
        &metrics(&script.harness.admin_page("/metrics")),
    );
    let mut listed = String::new();
    for (name, bytes) in names_and_bytes(&script.harness.stream_folder()) {
        if !is_text(&name) {
            listed += &script.masked(&described(&name, &bytes));
            continue;
        }
        listed += &format!("{name}\n  text\n");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let mut masked = script.masked(&text);
        if name == "meta.json" {
            masked = without_values(&masked, &["key", "started", "ended"]);
        } else if name == "feed.jsonl" {
            masked = masked_journal(&masked);
        } else if name == "transcript.txt" {
            masked = script.masked_clocks(&masked);
        } else if name == "transcript.jsonl" {
            let stdout = script.stdout(text.lines().count());
            assert_eq!(stdout, text, "RTMS_STDOUT=jsonl");
        }
        assert_golden(&format!("stream/{}", name.replace('/', "-")), &masked);
    }
    assert_golden("stream/files.txt", &listed);
}

#[test]
fn streams_in_other_codecs() {
    let mut listed = String::new();
    for (codec, streams, packet_bytes) in [
        ("opus", "per-speaker", 40),
        ("g711", "per-speaker", 160),
        ("g722", "mixed", 160),
    ] {
        let harness = Harness::start(
            options(),
            &[
                ("RTMS_MEDIA", "all"),
                ("RTMS_EVENTS", "off"),
                ("RTMS_STDOUT", "text"),
                ("RTMS_AUDIO_CODEC", codec),
                ("RTMS_AUDIO_STREAMS", streams),
                ("RTMS_VIDEO_CODEC", "jpg"),
                ("RTMS_SHARE_CODEC", "png"),
            ],
        );
        let script = Scripted::start(harness);
        let mut media = phrases(&script);
        match streams {
            "mixed" => {
                let mixed = |ms| packet(14, (0, ""), script.at(ms), &bytes(ms, packet_bytes));
                media.extend([0, 20, 40, 400].map(mixed));
            }
            _ => media.extend(sounds(&script, packet_bytes)),
        }
        media.extend(pictures(&script, 15, "jpg"));
        media.extend(pictures(&script, 16, "png"));
        script.send(Socket::Media, &media);
        // A picture is the last message that was sent; everything read is written before the end.
        let folder = script.harness.stream_folder();
        wait_until("the last picture", || {
            let index = fs::read_to_string(folder.join("share/frames.jsonl"));
            index.is_ok_and(|index| index.lines().count() == 4)
        });
        script.end_meeting();
        listed += &format!("== {codec}, {streams}\n");
        for (name, bytes) in names_and_bytes(&folder) {
            // Pictures are the same in each of these streams.
            let is_shown = name.starts_with("audio-") || codec == "opus";
            if name.ends_with("/frames.jsonl") {
                let text = String::from_utf8(bytes).expect("UTF-8");
                let file = format!("stills/{}", name.replace('/', "-"));
                assert_golden(&file, &script.masked(&text));
            } else if name.ends_with(".opus") {
                listed += &described_ogg(&name, &bytes);
            } else if is_shown && !is_text(&name) {
                listed += &script.masked(&described(&name, &bytes));
            }
        }
        for part in meta(&folder)["audio"].as_array().into_iter().flatten() {
            listed += &script.masked(&format!("{part}\n"));
        }
        let spoken = script.masked_clocks(&script.stdout(SPOKEN));
        assert_golden("stdout.txt", &spoken);
    }
    assert_golden("codecs.txt", &listed);
}

/// Lines of the journal by type, each type in order: events and media come on two sockets, of which
/// either may be first. What is of the moment, of the folder and of the machine is masked.
fn masked_journal(text: &str) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let (head, data) = line.split_once(",\"data\":").expect("data");
        let members = head.trim_start_matches('{').split(",\"");
        let mut kind = "";
        let mut shown = Vec::new();
        for member in members {
            let (name, value) = member.split_once("\":").expect("a member");
            let name = name.trim_start_matches('"');
            if name == "type" {
                kind = value;
            }
            let is_masked = ["pos", "seq", "id", "timestamp", "time", "source"].contains(&name);
            shown.push(format!(
                "\"{name}\":{}",
                if is_masked { "_" } else { value }
            ));
        }
        let data = without_duration(data);
        lines.push((kind, format!("{{{},\"data\":{data}\n", shown.join(","))));
    }
    lines.sort_by_key(|(kind, _)| *kind);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// How long a stream took differs from run to run.
fn without_duration(data: &str) -> String {
    match data.split_once("\"duration_ms\":") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}\"duration_ms\":_{rest}")
        }
        None => data.to_owned(),
    }
}

/// The intent log's lines of a registry that was not written yet, to the byte.
fn registry_by_log(state: &Path) -> String {
    #[derive(serde::Deserialize, serde::Serialize, Default)]
    struct Known {
        #[serde(default)]
        meetings: BTreeMap<String, Box<RawValue>>,
        #[serde(default)]
        streams: BTreeMap<String, Box<RawValue>>,
        version: u64,
    }
    let log = fs::read_to_string(state.join("intents.log")).unwrap_or_default();
    let mut known = Known::default();
    for line in log.lines() {
        if let Some(changes) = line
            .splitn(4, ' ')
            .nth(3)
            .filter(|_| line.contains(" effect "))
            && let Ok(changes) = serde_json::from_str::<Known>(changes)
        {
            known.meetings.extend(changes.meetings);
            known.streams.extend(changes.streams);
            known.version = changes.version;
        }
    }
    serde_json::to_string(&known).expect("JSON")
}
