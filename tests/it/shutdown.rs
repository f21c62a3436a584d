//! How the server ends, and what it leaves: whole files, and streams that another process can
//! take over.

use std::fs;
use std::time::{Duration, Instant};

use rtmsd::demo::{Begin, End, Fault, MeetingHandle, MeetingScript, Socket, Step};
use rustix::process::Signal;

use crate::harness::{Harness, PATIENCE, frequent_keep_alives, meta};
use crate::meeting::{open, plain, report, wait_until_over, wait_until_streaming};

fn at_once(seed: &str) -> MeetingScript {
    let mut script = open(seed);
    script.begin = Begin::AtOnce;
    script
}

/// What is on disk is complete, record for record, and a part of what was sent.
fn files_are_whole(stage: &Harness, meeting: &MeetingHandle) {
    let folder = stage.folder_of(&meeting.streams()[0]);
    let jsonl = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
    assert!(jsonl.ends_with('\n'));
    let cues = crate::vtt::parse(&fs::read_to_string(folder.join("transcript.vtt")).expect("it"));
    assert_eq!(cues.len(), jsonl.lines().count());
    let comparison = stage.comparison(meeting);
    assert!(comparison.received > 0 && comparison.foreign == 0 && comparison.doubled == 0);
    assert_eq!(comparison.disordered, 0);
}

/// What Zoom tells a server that has ended is heard by nobody; else it had nothing to complain
/// about.
fn nothing_but_unheard_webhooks(stage: &Harness) {
    let violations = stage.zoom.violations();
    let is_unheard = |text: &String| text.contains("Connection refused");
    assert!(violations.iter().all(is_unheard), "{violations:?}");
}

#[test]
fn a_signal_leaves_streams_and_whole_files() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut stage = Harness::start(frequent_keep_alives(100), &[]);
        let meetings: Vec<_> = (0..3)
            .map(|n| {
                stage
                    .zoom
                    .start_meeting(at_once(&format!("{signal:?} {n}")))
            })
            .collect();
        meetings.iter().for_each(wait_until_streaming);
        let asked = Instant::now();
        stage.server.signal(signal);
        let status = stage.server.wait(Duration::from_secs(3));
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
        report(&format!("{signal:?}: ended after {:?}", asked.elapsed()));
        assert!(std::net::TcpStream::connect(stage.address()).is_err());
        for meeting in &meetings {
            // Nobody asked Zoom to end it.
            assert_eq!(meeting.stop_reason(), None);
            assert_eq!(meeting.count(Step::Ended), 0);
            files_are_whole(&stage, meeting);
        }
        nothing_but_unheard_webhooks(&stage);
    }
}

#[test]
fn on_exit_stop_ends_streams_at_zoom() {
    let mut stage = Harness::start(frequent_keep_alives(100), &[("RTMS_ON_EXIT", "stop")]);
    let meeting = stage.zoom.start_meeting(at_once("stopped at exit"));
    wait_until_streaming(&meeting);
    stage.terminate();
    assert!(meeting.wait_for(Step::Ended, PATIENCE));
    assert_eq!(meeting.stop_reason(), Some(20));
    files_are_whole(&stage, &meeting);
    assert_eq!(
        meta(&stage.folder_of(&meeting.streams()[0]))["state"],
        "ended"
    );
    nothing_but_unheard_webhooks(&stage);
}

#[test]
fn a_peer_that_hangs_holds_the_end_up_for_its_time_and_a_second_signal_for_none() {
    for is_twice in [false, true] {
        let mut stage = Harness::start(frequent_keep_alives(500), &[("RTMS_ON_EXIT", "stop")]);
        let meeting = stage
            .zoom
            .start_meeting(at_once(&format!("hung at exit {is_twice}")));
        wait_until_streaming(&meeting);
        assert!(meeting.fault(Fault::Stall(Socket::Signaling, None)));
        stage.server.signal(Signal::TERM);
        stage.logged(&["stopping"]);
        if is_twice {
            stage.server.signal(Signal::TERM);
            let status = stage.server.wait(PATIENCE).expect("it ends");
            assert_eq!(status.code(), Some(143));
            let log = stage.server.log();
            assert!(!log.iter().any(|line| line.contains("stopped")), "{log:?}");
        } else {
            let status = stage.server.wait(Duration::from_secs(3));
            assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
            files_are_whole(&stage, &meeting);
        }
    }
}

#[test]
fn a_stuck_reader_of_stdout_costs_its_lines_alone() {
    // The reader holds its end open and never reads.
    let fifo = "mkfifo \"$OUT\"; exec 9<>\"$OUT\"";
    let mut stage = Harness::start_in(frequent_keep_alives(50), &[], fifo);
    // Nearly twice what may wait.
    let mut script = plain("stuck", 30_000);
    script.phrases_per_second = 0.0;
    let meeting = stage.zoom.start_meeting(script);
    wait_until_over(&meeting);
    stage.terminate();
    stage.is_complete(&meeting);
    stage.logged(&["stdout reader too slow"]);
    stage.logged(&["lines of standard output that nobody read count="]);
    assert!(
        !stage
            .zoom
            .keep_alive_latencies(Socket::Signaling)
            .is_empty()
    );
    assert_eq!(stage.zoom.violations(), Vec::<String>::new());
}

#[test]
fn a_reader_of_stdout_that_goes_away_ends_nothing() {
    let gone = "mkfifo \"$OUT\"; (exec 8<\"$OUT\"; read line <&8) & ";
    let mut stage = Harness::start_in(frequent_keep_alives(100), &[], gone);
    let meeting = stage.zoom.start_meeting(open("reader gone"));
    wait_until_streaming(&meeting);
    stage.logged(&["standard output is gone"]);
    wait_until_streaming(&meeting);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    stage.terminate();
    stage.is_complete(&meeting);
}
