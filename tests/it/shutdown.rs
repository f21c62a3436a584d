//! The server's shutdown, and what it leaves: complete files, and streams that another process can
//! rejoin.

use std::fs;
use std::time::Instant;

use rtmsd::demo::{End, Fault, MeetingHandle, Socket, Step};
use rustix::process::Signal;

use crate::harness::{
    Harness, PATIENCE, frequent_keep_alives, meta, open, open_at_once, plain, report,
    wait_until_step, wait_until_streaming,
};

/// The files contain only complete records, and only records that were sent.
fn assert_files_are_whole(harness: &Harness, meeting: &MeetingHandle) {
    let folder = harness.folder_of(&meeting.streams()[0]);
    let jsonl = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
    assert!(jsonl.ends_with('\n'));
    let cues = crate::vtt::parse(&fs::read_to_string(folder.join("transcript.vtt")).expect("it"));
    assert_eq!(cues.len(), jsonl.lines().count());
    let comparison = harness.comparison(meeting);
    assert!(comparison.received > 0 && comparison.foreign == 0 && comparison.doubled == 0);
    assert_eq!(comparison.disordered, 0);
}

/// Zoom's webhooks after the end reach no server; apart from that Zoom has no complaints.
fn assert_nothing_but_unheard_webhooks(harness: &Harness) {
    let violations = harness.zoom.violations();
    let is_unheard = |text: &String| text.contains("Connection refused");
    assert!(violations.iter().all(is_unheard), "{violations:?}");
}

#[test]
fn a_signal_leaves_streams_and_complete_files() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut harness = Harness::start(frequent_keep_alives(100), &[]);
        let meetings: Vec<_> = (0..3)
            .map(|n| {
                harness
                    .zoom
                    .start_meeting(open_at_once(&format!("{signal:?} {n}")))
            })
            .collect();
        meetings.iter().for_each(wait_until_streaming);
        let asked = Instant::now();
        harness.server.signal(signal);
        let status = harness.server.wait(PATIENCE);
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
        report(&format!("{signal:?}: ended after {:?}", asked.elapsed()));
        assert!(std::net::TcpStream::connect(harness.address()).is_err());
        for meeting in &meetings {
            // No one asked Zoom to end it.
            assert_eq!(meeting.stop_reason(), None);
            assert_eq!(meeting.count(Step::Ended), 0);
            assert_files_are_whole(&harness, meeting);
        }
        assert_nothing_but_unheard_webhooks(&harness);
    }
}

#[test]
fn on_exit_stop_ends_streams_at_zoom() {
    let mut harness = Harness::start(frequent_keep_alives(100), &[("RTMS_ON_EXIT", "stop")]);
    let meeting = harness.zoom.start_meeting(open_at_once("stopped at exit"));
    wait_until_streaming(&meeting);
    harness.terminate();
    wait_until_step(&meeting, Step::Ended);
    assert_eq!(meeting.stop_reason(), Some(20));
    assert_files_are_whole(&harness, &meeting);
    assert_eq!(
        meta(&harness.folder_of(&meeting.streams()[0]))["state"],
        "ended"
    );
    assert_nothing_but_unheard_webhooks(&harness);
}

#[test]
fn a_hung_peer_delays_the_end_only_until_its_deadline_or_a_second_signal() {
    for is_twice in [false, true] {
        let mut harness = Harness::start(frequent_keep_alives(500), &[("RTMS_ON_EXIT", "stop")]);
        let meeting = harness
            .zoom
            .start_meeting(open_at_once(&format!("hung at exit {is_twice}")));
        wait_until_streaming(&meeting);
        assert!(meeting.fault(Fault::Stall(Socket::Signaling, None)));
        harness.server.signal(Signal::TERM);
        harness.wait_until_logged(&["stopping"]);
        if is_twice {
            harness.server.signal(Signal::TERM);
            let status = harness.server.wait(PATIENCE).expect("it ends");
            assert_eq!(status.code(), Some(143));
            let log = harness.server.log();
            assert!(!log.iter().any(|line| line.contains("stopped")), "{log:?}");
        } else {
            // Long before the hung connection counts as lost, which takes a minute.
            let status = harness.server.wait(PATIENCE / 2);
            assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
            assert_files_are_whole(&harness, &meeting);
        }
    }
}

#[test]
fn a_stuck_reader_of_stdout_loses_only_its_lines() {
    // The reader keeps its end open and never reads.
    let fifo = "mkfifo \"$OUT\"; exec 9<>\"$OUT\"";
    let mut harness = Harness::builder(frequent_keep_alives(50))
        .prelude(fifo)
        .start();
    // Nearly twice the bytes that may wait.
    let mut script = plain("stuck", 30_000);
    script.phrases_per_second = 0.0;
    let meeting = harness.zoom.start_meeting(script);
    harness.wait_until_ended(&meeting);
    harness.terminate();
    harness.assert_complete(&meeting);
    harness.wait_until_logged(&["stdout reader too slow"]);
    harness.wait_until_logged(&["dropped lines of standard output, reader too slow count="]);
    assert!(
        !harness
            .zoom
            .keep_alive_latencies(Socket::Signaling)
            .is_empty()
    );
    harness.assert_no_violations();
}

#[test]
fn the_server_continues_without_a_reader_of_stdout() {
    let gone = "mkfifo \"$OUT\"; (exec 8<\"$OUT\"; read line <&8) & ";
    let mut harness = Harness::builder(frequent_keep_alives(100))
        .prelude(gone)
        .start();
    let meeting = harness.zoom.start_meeting(open("reader gone"));
    wait_until_streaming(&meeting);
    harness.wait_until_logged(&["standard output is gone"]);
    wait_until_streaming(&meeting);
    meeting.end(End::meeting_ended());
    harness.wait_until_ended(&meeting);
    harness.terminate();
    harness.assert_complete(&meeting);
}
