//! Undocumented behavior observed of Zoom and of other servers with its protocol, with the real
//! binary and other settings than those of `demo --odd`.

use std::fs;

use rtmsd::demo::{End, MeetingHandle, MeetingScript, Refusal, Socket, Step};
use serde_json::Value;

use crate::harness::{
    Harness, frequent_keep_alives, meta, open_at_once, wait_until, wait_until_step,
    wait_until_streaming,
};

#[track_caller]
fn stop(meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(End::stopped(6));
    }
    for meeting in meetings {
        wait_until_step(meeting, Step::StoppedAnswered);
        wait_until_step(meeting, Step::Closed);
    }
}

/// The operator in a line of a file or of standard output.
fn operator(line: &Value) -> (Option<&str>, Option<bool>) {
    (
        line["operator_id"].as_str(),
        line["is_original_host"].as_bool(),
    )
}

#[test]
fn streams_of_two_operators_are_received_or_only_the_hosts() {
    for choice in ["all", "host"] {
        let mut harness = Harness::builder(frequent_keep_alives(500))
            .admin()
            .settings(&[("RTMS_STREAMS", choice)])
            .start();
        let host = open_at_once("operators");
        let guest = MeetingScript {
            operator: ("demo-guest".to_owned(), false),
            ..host.clone()
        };
        let host = harness.zoom.start_meeting(host);
        wait_until_streaming(&host);
        let guest = harness.zoom.start_meeting(guest);
        let mut taken = vec![host];
        match choice {
            "all" => {
                wait_until_streaming(&guest);
                taken.push(guest);
            }
            _ => {
                let line = harness.wait_until_logged(&["stream ignored", "RTMS_STREAMS=host"]);
                assert!(guest.streams().iter().all(|id| line.contains(id)), "{line}");
                wait_until_streaming(&taken[0]);
                assert_eq!(guest.count(Step::SignalingHandshake), 0);
                guest.end(End::stopped(6));
                wait_until_step(&guest, Step::StoppedAnswered);
            }
        }
        let status = harness.run(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let streams = status["streams"].as_array().expect("a list");
        assert_eq!(streams.len(), taken.len(), "{status}");
        stop(&taken);
        taken
            .iter()
            .for_each(|meeting| harness.wait_until_ended(meeting));
        harness.terminate();
        let printed = harness.stdout();
        let printed: Vec<Value> = printed
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        for meeting in &taken {
            let id = &meeting.streams()[0];
            let of_stream = |line: &&Value| line["stream_id"] == **id;
            let (name, is_host) = &meeting.script().operator;
            let expected = (Some(name.as_str()), Some(*is_host));
            let shown = streams.iter().find(of_stream).expect("its line");
            assert_eq!(operator(shown), expected, "{shown}");
            let folder = harness.folder_of(id);
            assert_eq!(operator(&meta(&folder)), expected);
            let said = printed.iter().filter(of_stream);
            assert!(said.clone().all(|line| operator(line) == expected));
            assert_eq!(said.count(), meeting.sent().len());
            let lines = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
            assert_eq!(lines.lines().count(), meeting.sent().len());
        }
        assert_eq!(harness.stream_folders().len(), taken.len());
        harness.assert_no_violations();
    }
}

/// It sends data without message 4, refusals without a status code, and keep-alives without
/// `sequence` and sometimes without `timestamp`.
#[test]
fn zooms_published_mock_server_is_received_from() {
    const PHRASES: u64 = 20;
    let mut harness = Harness::start(frequent_keep_alives(50), &[]);
    let mut script = open_at_once("mock");
    script.odd.mock_server = true;
    script.phrases = Some(PHRASES);
    script.refusals = vec![(Socket::Signaling, Refusal::NoStatus)];
    let meeting = harness.zoom.start_meeting(script);
    wait_until_step(&meeting, Step::LastPhrase);
    let stream = meeting.streams()[0].clone();
    harness.wait_until_logged(&["data before message 4", &stream]);
    // Without data, keep-alives keep it alive.
    let answered = || harness.zoom.keep_alive_latencies(Socket::Media).len();
    let enough = answered() + 40;
    wait_until("keep-alives are answered", || answered() >= enough);
    assert_eq!(meeting.count(Step::Lost), 0);
    stop(std::slice::from_ref(&meeting));
    harness.wait_until_ended(&meeting);
    harness.terminate();
    harness.assert_complete(&meeting);
    let meta = meta(&harness.folder_of(&stream));
    assert_eq!(meta["state"], "ended");
    assert_eq!(meta["stop_reason"], 6);
    assert_eq!(meta["transcripts"], PHRASES);
    harness.assert_no_violations();
}
