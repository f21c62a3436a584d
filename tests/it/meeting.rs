//! The main job end to end: meetings start, have phrases and end, and the files are compared with
//! what was sent.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rtmsd::demo::{
    Answer, Begin, End, Fault, Frame, FrameKind, MeetingHandle, MeetingScript, Options, Socket,
    Step,
};
use serde_json::{Value, json};

use crate::harness::{
    Harness, assert_another_works, frequent_keep_alives, meta, open, open_at_once, plain,
    repeat_started, report, short, wait_until_over, wait_until_step, wait_until_streaming,
};
use crate::vtt;

#[test]
fn one_meeting_is_written_as_it_was_sent() {
    let settings = [("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt")];
    let mut harness = Harness::start(frequent_keep_alives(50), &settings);
    let script = short(MeetingScript::varied("one", 1), 80);
    let topic = script.topic.clone();
    let meeting = harness.zoom.start_meeting(script);
    harness.wait_until_ended(&meeting);
    harness.terminate();
    harness.assert_complete(&meeting);

    let sent = meeting.sent();
    let folders = harness.stream_folders();
    let [folder] = folders.as_slice() else {
        panic!("one folder, not {folders:?}");
    };
    let jsonl = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
    assert_eq!(harness.stdout(), jsonl);
    for (line, phrase) in jsonl.lines().zip(&sent) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["v"], 1);
        assert_eq!(line["type"], "transcript");
        assert_eq!(line["meeting_uuid"], meeting.script().id);
        assert_eq!(line["stream_id"], meeting.streams()[0]);
        assert_eq!(line["user_id"], phrase.user_id);
        assert_eq!(line["user_name"], phrase.user_name);
        assert_eq!(line["start_ms"], phrase.start_ms);
        assert_eq!(line["end_ms"], phrase.end_ms);
        assert_eq!(line["timestamp_ms"], phrase.timestamp_ms);
        assert_eq!(line["language_id"], phrase.language);
        let tag = match phrase.language {
            9 => "en",
            14 => "de",
            20 => "ja",
            28 => "es",
            other => panic!("language {other}"),
        };
        assert_eq!(line["language"], tag);
        assert_eq!(line["text"], phrase.text);
    }

    let zero_ms = meta(folder)["started_ms"].as_u64().expect("a number");
    let cues = vtt::parse(&fs::read_to_string(folder.join("transcript.vtt")).expect("a file"));
    assert_eq!(cues.len(), sent.len());
    for (cue, phrase) in cues.iter().zip(&sent) {
        assert_eq!(cue.voice, phrase.user_name);
        assert_eq!(cue.text, phrase.text);
        assert_eq!(cue.start_ms, phrase.start_ms.saturating_sub(zero_ms));
        assert_eq!(cue.end_ms, phrase.end_ms.saturating_sub(zero_ms));
    }
    let txt = fs::read_to_string(folder.join("transcript.txt")).expect("a file");
    for (line, phrase) in txt.lines().zip(&sent) {
        let said = format!("  {}: {}", phrase.user_name, phrase.text);
        assert_eq!(line.get(8..), Some(said.as_str()), "{line}");
    }
    assert_eq!(txt.lines().count(), sent.len());

    let meta = meta(folder);
    assert_eq!(meta["meeting_uuid"], meeting.script().id);
    assert_eq!(meta["topic"], topic);
    assert_eq!(meta["state"], "ended");
    assert_eq!(meta["transcripts"], sent.len());
    assert_eq!(meta["stop_reason"], 6);
    assert_eq!(meta["dropped"], 0);
    let events = fs::read_to_string(folder.join("events.jsonl")).expect("a file");
    for line in events.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["type"], "event");
    }
    assert!(events.lines().count() > 0);
    let ended = harness.wait_until_logged(&["stream ended", &meeting.streams()[0]]);
    assert!(ended.contains("transcripts=80 "), "{ended}");
    harness.assert_no_violations();
}

#[test]
fn twenty_meetings_at_once_with_awkward_ids() {
    let mut harness = Harness::start(frequent_keep_alives(200), &[]);
    let odd = [
        "../../../etc/passwd",
        "/",
        "..",
        "-rf ~",
        "a/B+c==",
        "A/B+c==",
        "名前 \u{1f600}",
        "x\u{7}\u{1b}[31m",
    ];
    let meetings: Vec<MeetingHandle> = (0..20)
        .map(|n| {
            let mut script = short(MeetingScript::varied("twenty", n), 40);
            if let Some(id) = odd.get(n) {
                script.id = (*id).to_owned();
            }
            harness.zoom.start_meeting(script)
        })
        .collect();
    for meeting in &meetings {
        harness.wait_until_ended(meeting);
    }
    harness.terminate();
    for meeting in &meetings {
        harness.assert_complete(meeting);
    }
    let folders = harness.stream_folders();
    let parents: BTreeSet<_> = folders.iter().map(|folder| folder.parent()).collect();
    assert_eq!((folders.len(), parents.len()), (20, 20));
    for folder in &folders {
        vtt::parse(&fs::read_to_string(folder.join("transcript.vtt")).expect("a file"));
    }
    assert_eq!(harness.stdout().lines().count(), 20 * 40);
    harness.assert_no_violations();
}

#[test]
fn no_phrase_breaks_a_terminal_or_a_subtitle() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[("RTMS_STDOUT", "text")]);
    let mut script = open("nasty");
    script.phrases_per_second = 5.0;
    let meeting = harness.zoom.start_meeting(script);
    wait_until_streaming(&meeting);
    let nasty = [
        "a\n\nb --> c\n\n99\n00:00:00.000 --> 99:00:00.000\nforged",
        "<v Eve>&amp; <b>bold</b>",
        "\u{1b}]0;title\u{7}\u{1b}[2J\r\u{9b}31m",
        "\u{202e}right to left\u{202c}",
        "",
        "WEBVTT",
        "-->",
    ];
    let frames = nasty.iter().enumerate().flat_map(|(n, text)| {
        let message = json!({"msg_type": 17, "content": {"user_id": 7, "user_name": text,
            "start_time": 1_767_000_000_000_u64 + n as u64, "end_time": 1_767_000_001_000_u64,
            "timestamp": 1_767_000_001_000_u64 + n as u64, "language": 9, "data": text}});
        let garbage = Frame::Text("{\"msg_type\":17,\"content\":".to_owned());
        [
            Frame::Binary(message.to_string().into_bytes()),
            garbage,
            Frame::Binary(vec![0xff, 0xfe]),
            Frame::Ping(vec![1]),
        ]
    });
    assert!(meeting.fault(Fault::Frames(Socket::Media, frames.collect())));
    wait_until_streaming(&meeting);
    meeting.end(End::meeting_ended());
    harness.wait_until_ended(&meeting);
    harness.terminate();
    let folder = &harness.stream_folders()[0];
    let jsonl = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
    let texts: Vec<Value> = jsonl
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].clone())
        .collect();
    // No phrases there.
    assert!(!texts.contains(&json!("")));
    for text in nasty.into_iter().filter(|text| !text.is_empty()) {
        assert!(texts.contains(&json!(text)), "{text:?} in {texts:?}");
    }
    let cues = vtt::parse(&fs::read_to_string(folder.join("transcript.vtt")).expect("a file"));
    assert_eq!(cues.len(), texts.len());
    let stdout = harness.stdout();
    assert_eq!(stdout.lines().count(), texts.len());
    let is_safe = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(stdout.chars().all(is_safe), "{stdout:?}");
    let ended = harness.wait_until_logged(&["stream ended"]);
    assert!(
        ended.contains(&format!("malformed={}", nasty.len() * 2)),
        "{ended}"
    );
    assert!(ended.contains(" blank=1 "), "{ended}");
}

#[test]
fn a_flood_of_media_delays_no_keep_alive_and_is_complete() {
    let mut harness = Harness::start(frequent_keep_alives(50), &[("RTMS_STDOUT", "off")]);
    let mut script = short(MeetingScript::plain("flood"), 30_000);
    script.phrases_per_second = 0.0;
    script.frames = FrameKind::Both;
    let meeting = harness.zoom.start_meeting(script);
    harness.wait_until_ended(&meeting);
    harness.terminate();
    harness.assert_complete(&meeting);
    for socket in [Socket::Signaling, Socket::Media] {
        let taken = harness.zoom.keep_alive_latencies(socket);
        assert!(!taken.is_empty());
        report(&format!(
            "flood: {} keep-alives on {socket:?}, p50 {:?}, p99 {:?}, slowest {:?}",
            taken.len(),
            taken.percentile(0.5),
            taken.percentile(0.99),
            taken.percentile(1.0)
        ));
    }
    harness.assert_no_violations();
}

#[test]
fn a_failed_start_affects_no_other_meeting() {
    let harness = Harness::start(frequent_keep_alives(200), &[]);
    let hang = Answer::Hang(Duration::from_secs(30));
    let no_plan = Answer::error(400, 2310, "Operation failed.");
    let ends = [no_plan, Answer::error(400, 4738, "Disabled.")];
    let tries = [
        // The host may still join.
        Answer::error(400, 2308, "You are not the host."),
        Answer::error(403, 1, "No permission."),
        Answer::error(404, 3001, "Meeting does not exist."),
        Answer::error(401, 124, "Invalid access token."),
        Answer::error(500, 1, "Internal error."),
        Answer::Html(502),
        Answer::Truncated(500),
        Answer::retry_after_seconds(1),
        Answer::Reset,
    ];
    let begin = |name: String, answer: &Answer| {
        let script = plain(&name, 10);
        let number = script.number.to_string();
        harness.zoom.script_rest(Some(&number), answer.clone());
        let meeting = harness.zoom.start_meeting(script);
        (number, meeting)
    };
    let refused: Vec<_> = (0..)
        .zip(&ends)
        .map(|(n, a)| begin(format!("end {n}"), a))
        .collect();
    let hung = begin("hung".to_owned(), &hang);
    let tried: Vec<_> = (0..)
        .zip(&tries)
        .map(|(n, a)| begin(format!("try {n}"), a))
        .collect();
    for (_, meeting) in refused.iter().chain(&tried).chain([&hung]) {
        wait_until_step(meeting, Step::MeetingAnswered);
    }
    assert_another_works(&harness.zoom, "beside the failures");
    // Temporary failures are retried, and the meeting is received after all.
    for (_, meeting) in &tried {
        wait_until_over(meeting);
    }
    for ((number, meeting), answer) in refused.iter().zip(&ends) {
        let calls = harness.zoom.rest_calls();
        let calls = calls.iter().filter(|call| call.target == *number).count();
        assert_eq!(calls, 1, "{answer:?}");
        assert_eq!(meeting.count(Step::StartCalled), 0);
        let Answer::Json(status, body, _) = answer else {
            continue;
        };
        let message = body["message"].as_str().expect("a text");
        harness.wait_until_logged(&[
            number,
            &status.to_string(),
            &body["code"].to_string(),
            message,
        ]);
    }
    assert!(!hung.1.wait_for(Step::StartCalled, Duration::ZERO));
    harness.end();
}

#[test]
fn a_failed_token_fetch_is_logged_and_affects_no_other_meeting() {
    let harness = Harness::start(Options::default(), &[]);
    harness.zoom.script_oauth(Answer::Html(502));
    assert_another_works(&harness.zoom, "tried again");
    harness.end();

    let harness = Harness::start(Options::default(), &[]);
    let error = json!({"reason": "Invalid client_id or client_secret", "error": "invalid_client"});
    let answer = Answer::Json(400, error, Vec::new());
    harness.zoom.script_oauth(answer);
    let first = harness.zoom.start_meeting(plain("no token", 5));
    wait_until_step(&first, Step::MeetingAnswered);
    harness.wait_until_logged(&["fetch access token", "status 400", "check ZOOM_CLIENT_ID"]);
    // A stream that another user started needs no token of ours.
    let mut script = plain("without us", 10);
    script.begin = Begin::AtOnce;
    wait_until_over(&harness.zoom.start_meeting(script));
    assert_eq!(first.count(Step::StartCalled), 0);
    harness.end();
}

#[test]
fn our_scheduled_stop_is_sent_unless_the_stream_is_over() {
    let harness = Harness::start(frequent_keep_alives(100), &[("RTMS_STOP_AFTER", "2")]);
    let over = harness.zoom.start_meeting(open("over before"));
    wait_until_streaming(&over);
    over.end(End::stopped(1));
    wait_until_over(&over);
    // Started later, so that its stop is later than the other's would have been.
    let scheduled = harness.zoom.start_meeting(open("scheduled"));
    wait_until_step(&scheduled, Step::StopCalled);
    wait_until_over(&scheduled);
    let start = scheduled.time_of(Step::StartCalled).expect("seen");
    let stop = scheduled.time_of(Step::StopCalled).expect("seen");
    // The time counts from the answer to the start, which comes after the call.
    assert!(
        stop - start >= Duration::from_secs(2),
        "{:?}",
        scheduled.steps()
    );
    let stops: Vec<_> = (harness.zoom.rest_calls().into_iter())
        .filter(|call| call.action == "stop")
        .map(|call| call.target)
        .collect();
    assert_eq!(stops, [scheduled.script().number.to_string()]);
    harness.wait_until_logged(&["stop accepted", "RTMS_STOP_AFTER"]);
    harness.end();
}

#[test]
fn repeated_webhooks_change_nothing() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[]);
    let meeting = harness.zoom.start_meeting(open_at_once("repeated"));
    wait_until_streaming(&meeting);
    for _ in 0..5 {
        repeat_started(&meeting);
    }
    for event in ["meeting.unheard_of", "user.created", "x"] {
        let body = json!({"event": event, "event_ts": 1, "payload": {"deep": [[{}]]}});
        harness.post(&body);
    }
    for body in [
        json!({"event": "meeting.rtms_stopped", "event_ts": 1,
            "payload": {"meeting_uuid": "other", "rtms_stream_id": "other", "stop_reason": 6}}),
        json!({"event": "meeting.rtms_interrupted", "event_ts": 1,
            "payload": {"meeting_uuid": "other", "rtms_stream_id": "other"}}),
    ] {
        harness.post(&body);
    }
    harness.zoom.challenge("plain");
    wait_until_streaming(&meeting);
    assert_eq!(meeting.count(Step::SignalingConnected), 1);
    assert_eq!(meeting.count(Step::Lost), 0);
    meeting.end(End::meeting_ended());
    harness.wait_until_ended(&meeting);
    // An ended stream does not start again.
    repeat_started(&meeting);
    assert_another_works(&harness.zoom, "after the repetition");
    assert_eq!(meeting.count(Step::SignalingConnected), 1);
    harness.terminate();
    harness.assert_complete(&meeting);
    harness.assert_no_violations();
}

#[test]
fn each_message_about_the_end_ends_the_stream() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[]);
    let ways = [
        (
            "by state",
            End {
                by_webhook: false,
                ..End::stopped(6)
            },
        ),
        (
            "by webhook",
            End {
                by_state: false,
                ..End::stopped(6)
            },
        ),
        (
            "with more to come",
            End {
                trailing_phrases: 20,
                ..End::stopped(1)
            },
        ),
    ];
    let mut meetings = Vec::new();
    for (name, end) in ways {
        let mut script = open(name);
        // Zoom would keep the sockets open for this long: the client must leave earlier.
        script.linger = Duration::from_millis(800);
        let meeting = harness.zoom.start_meeting(script);
        wait_until_streaming(&meeting);
        meeting.end(end);
        wait_until_step(&meeting, Step::Closed);
        let reason = if end.reason == 6 {
            "MEETING_ENDED"
        } else {
            "HOST_TRIGGERED"
        };
        harness.wait_until_logged(&["stream ended", &meeting.streams()[0], reason]);
        meetings.push(meeting);
    }
    harness.terminate();
    for meeting in &meetings {
        harness.assert_complete(meeting);
        assert_eq!(
            meta(&harness.folder_of(&meeting.streams()[0]))["state"],
            "ended"
        );
    }
    harness.assert_no_violations();
}
