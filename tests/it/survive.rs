//! Streams survive faults: the real binary with a Zoom that cuts, moves and ends them, with kills
//! of the binary, and with a failing disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rtmsd::demo::{
    Begin, Cut, End, Fault, MeetingHandle, MeetingScript, Options, Refusal, SentDetail, Socket,
    Step,
};
use serde_json::Value;

use crate::harness::{
    Harness, PATIENCE, TempDir, meta, repeat_started, report, run_to_end, wait_until,
    wait_until_more, wait_until_step,
};

fn start(settings: &[(&str, &str)]) -> Harness {
    let options = Options {
        keep_alive: Duration::from_millis(500),
        webhook_retries: [200, 400, 800, 1600, 3200]
            .map(Duration::from_millis)
            .to_vec(),
        ..Options::default()
    };
    Harness::builder(options)
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_TRANSCRIPT", "jsonl,vtt,srt")])
        .settings(settings)
        .start()
}

/// Likewise, with its files on that disk.
fn start_on(disk: &Tmpfs) -> Harness {
    start(&[("RTMS_OUT", &disk.out().display().to_string())])
}

/// Ends the meetings, and sees that everything that was sent was written once.
fn finish(mut harness: Harness, meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(End::meeting_ended());
    }
    for meeting in meetings {
        let streams = meeting.streams().len();
        assert!(meeting.wait_for_times(Step::Closed, streams, PATIENCE));
        assert!(meeting.wait_for_times(Step::StoppedAnswered, streams, PATIENCE));
        wait_until("files are complete", || {
            let folders = harness.folders_of(meeting);
            folders.len() == streams && folders.iter().all(|f| meta(f)["state"] == "ended")
        });
    }
    harness.terminate();
    for meeting in meetings {
        harness.assert_complete(meeting);
        for folder in harness.folders_of(meeting) {
            assert_whole(&folder);
            assert_eq!(meta(&folder)["state"], "ended");
        }
    }
    harness.assert_no_violations();
}

/// Every line is JSON, every cue is valid, numbers and times only grow.
fn assert_whole(folder: &Path) {
    let text = fs::read_to_string(folder.join("transcript.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "torn");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).expect("a line is JSON");
    }
    let vtt = fs::read_to_string(folder.join("transcript.vtt")).unwrap_or_default();
    if vtt.is_empty() {
        return;
    }
    assert!(vtt.ends_with("\n\n"), "torn");
    let cues = vtt.strip_prefix("WEBVTT\n\n").expect("a header");
    let mut last = (0, String::new());
    for cue in cues.split_terminator("\n\n") {
        let lines: Vec<&str> = cue.lines().collect();
        let [number, times, text] = lines[..] else {
            panic!("a cue of {} lines", lines.len());
        };
        let number: u64 = number.parse().expect("a number");
        let (start, end) = times.split_once(" --> ").expect("times");
        assert_eq!((start.len(), end.len()), (12, 12), "{times}");
        assert!(start < end, "{times}");
        assert!(text.starts_with("<v "));
        assert_eq!(number, last.0 + 1);
        assert!(start >= last.1.as_str(), "{start} after {}", last.1);
        last = (number, start.to_owned());
    }
}

fn script(seed: &str) -> MeetingScript {
    let mut script = MeetingScript::plain(seed);
    script.phrases_per_second = 50.0;
    script.replay = Duration::from_secs(2);
    script
}

/// Waits until data flows on a further connection.
fn wait_until_flowing_again(meeting: &MeetingHandle, readies: usize) {
    assert!(meeting.wait_for_times(Step::Ready, readies + 1, PATIENCE));
    wait_until_more(meeting, 10);
}

// The four scenarios.

#[test]
fn a_newer_start_moves_the_stream_at_once() {
    let harness = start(&[]);
    let meetings = [true, false].map(|cut| {
        let meeting = harness
            .zoom
            .start_meeting(script(&format!("fail over {cut}")));
        assert!(meeting.wait_for_phrases(10, PATIENCE));
        assert!(meeting.fault(Fault::FailOver { cut }));
        meeting
    });
    for meeting in &meetings {
        wait_until_flowing_again(meeting, 1);
        // The same webhook again, as a retry, changes nothing.
        repeat_started(meeting);
        wait_until_more(meeting, 10);
        assert_eq!(meeting.count(Step::Ready), 2);
    }
    finish(harness, &meetings);
}

#[test]
fn lost_signaling_is_reconnected_and_media_after_it() {
    let harness = start(&[]);
    let meetings = [
        Fault::Cut(Socket::Signaling, Cut::Reset),
        Fault::Cut(Socket::Signaling, Cut::Close(1000)),
        Fault::InterruptedWebhook,
    ]
    .map(|fault| {
        let meeting = harness.zoom.start_meeting(script(&format!("{fault:?}")));
        assert!(meeting.wait_for_phrases(10, PATIENCE));
        meeting.fault(Fault::Refuse(Socket::Signaling, Refusal::Status(8), 1));
        // The webhook alone counts as late until the connection is 5 s old.
        let mut is_cut = false;
        wait_until("another connection", || {
            assert!(is_cut || meeting.fault(fault.clone()));
            is_cut = fault != Fault::InterruptedWebhook;
            meeting.wait_for_times(Step::Ready, 2, Duration::from_secs(1))
        });
        meeting
    });
    for meeting in &meetings {
        wait_until_flowing_again(meeting, 1);
    }
    finish(harness, &meetings);
}

#[test]
fn lost_media_is_reconnected_and_signaling_stays() {
    let harness = start(&[]);
    let cuts = [(Cut::Fin, 15), (Cut::Reset, 16), (Cut::Close(1011), 16)];
    let meetings = cuts.map(|(cut, status)| {
        let meeting = harness
            .zoom
            .start_meeting(script(&format!("media {cut:?}")));
        assert!(meeting.wait_for_phrases(10, PATIENCE));
        meeting.fault(Fault::Refuse(Socket::Media, Refusal::Status(status), 1));
        assert!(meeting.fault(Fault::Cut(Socket::Media, cut)));
        meeting
    });
    for meeting in &meetings {
        wait_until_flowing_again(meeting, 1);
        assert_eq!(meeting.count(Step::SignalingHandshake), 1);
    }
    finish(harness, &meetings);
}

#[test]
fn a_stream_that_zoom_ends_because_of_a_fault_is_restarted() {
    let harness = start(&[]);
    let meeting = harness.zoom.start_meeting(script("restart"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    meeting.end(End::stopped(10));
    wait_until_flowing_again(&meeting, 1);
    assert_eq!(meeting.streams().len(), 2);
    assert_eq!(meeting.count(Step::StartCalled), 2);
    assert_eq!(harness.folders_of(&meeting).len(), 2);
    finish(harness, &[meeting]);
}

// The end of the process, and the next one.

#[test]
fn after_sigterm_the_next_process_rejoins() {
    let mut harness = start(&[]);
    let meeting = harness.zoom.start_meeting(script("sigterm"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    harness.terminate();
    let [folder] = &harness.folders_of(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    assert_whole(folder);
    assert_eq!(meta(folder)["state"], "receiving");
    harness.start_server();
    wait_until_flowing_again(&meeting, 1);
    assert_eq!(meta(folder)["openings"], 2);
    // A retry of a webhook that the previous process has answered.
    let before = meeting.count(Step::SignalingHandshake);
    repeat_started(&meeting);
    wait_until_more(&meeting, 10);
    assert_eq!(meeting.count(Step::SignalingHandshake), before);
    finish(harness, &[meeting]);
}

#[test]
fn sigterm_stops_streams_if_configured() {
    let mut harness = start(&[("RTMS_ON_EXIT", "stop")]);
    let meeting = harness.zoom.start_meeting(script("on exit"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    harness.terminate();
    wait_until_step(&meeting, Step::Ended);
    assert_eq!(meeting.stop_reason(), Some(20));
    for folder in harness.folders_of(&meeting) {
        assert_eq!(meta(&folder)["state"], "ended");
    }
    harness.start_server();
    wait_until_step(&meeting, Step::StoppedAnswered);
    harness.end();
}

#[test]
fn files_of_an_ended_stream_are_completed() {
    let mut harness = start(&[]);
    let mut script = script("gone");
    script.signaling_window = Duration::from_millis(100);
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    harness.server.kill();
    wait_until_step(&meeting, Step::Ended);
    let [folder] = &harness.folders_of(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    // A write that the crash interrupted.
    let jsonl = folder.join("transcript.jsonl");
    let torn = fs::read_to_string(&jsonl).expect("readable") + "{\"v\":1,\"te";
    fs::write(&jsonl, torn).expect("writable");
    harness.start_server();
    wait_until("the files are closed", || meta(folder)["state"] == "ended");
    assert_whole(folder);
    harness.end();
}

#[test]
fn a_scheduled_stop_is_made_by_the_next_process() {
    let mut harness = start(&[("RTMS_STOP_AFTER", "2")]);
    let meeting = harness.zoom.start_meeting(script("stop after"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    harness.server.kill();
    harness.start_server();
    wait_until_step(&meeting, Step::StopCalled);
    wait_until_step(&meeting, Step::Closed);
    assert_eq!(meeting.count(Step::StartCalled), 1);
    harness.end();
}

#[test]
fn sigkill_in_a_flood_leaves_no_torn_record() {
    let slowest = kill_in_a_flood(3);
    assert!(slowest < PATIENCE, "{slowest:?}");
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn sigkill_in_a_flood_leaves_no_torn_record_in_two_hundred_kills() {
    let slowest = kill_in_a_flood(200);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// SIGKILL at `kills` different times in a flood. Returns the slowest recovery.
fn kill_in_a_flood(kills: u64) -> Duration {
    let mut harness = start(&[]);
    let mut script = script("flood");
    script.phrases_per_second = 2000.0;
    script.keep = SentDetail::Count;
    script.begin = Begin::AtOnce;
    script.replay = Duration::from_millis(100);
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(100, PATIENCE));
    let [folder] = &harness.folders_of(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    let jsonl = folder.join("transcript.jsonl");
    let mut slowest = Duration::ZERO;
    let mut torn = 0;
    for n in 0..kills {
        // A different time in the flood for each kill.
        wait_until_more(&meeting, 20 + (n * 7919) % 977);
        let readies = meeting.count(Step::Ready);
        harness.server.kill();
        let left = fs::read(&jsonl).expect("readable");
        let whole = left
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        torn += usize::from(whole < left.len());
        let restarted = Instant::now();
        harness.start_server();
        assert!(meeting.wait_for_times(Step::Ready, readies + 1, PATIENCE));
        slowest = slowest.max(restarted.elapsed());
        wait_until_more(&meeting, 10);
        wait_until("the file grows again", || {
            fs::metadata(&jsonl).is_ok_and(|meta| meta.len() > whole as u64)
        });
        let now = fs::read(&jsonl).expect("readable");
        assert!(
            now.starts_with(&left[..whole]),
            "a whole line was lost, kill {n}"
        );
    }
    let before = meeting.sent_count();
    harness.terminate();
    assert_whole(folder);
    let lines = fs::read_to_string(&jsonl)
        .expect("readable")
        .lines()
        .count();
    report(&format!(
        "{kills} kills, {torn} of them in the middle of a record, slowest rejoin {} ms, {before} \
         phrases sent, {lines} lines",
        slowest.as_millis()
    ));
    slowest
}

// Disks.

/// A small disk of its own, or `None` if that needs root.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Tmpfs> {
        let folder = TempDir::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let ran = run_to_end(mount.arg(folder.path()));
        (ran.code == Some(0)).then_some(Tmpfs(folder))
    }

    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]);
        let ran = run_to_end(mount.arg(self.0.path()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run_to_end(Command::new("umount").arg("-l").arg(self.0.path()));
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = Tmpfs::mount("256k") else {
        return report("skipped: only root may mount a disk");
    };
    let harness = start_on(&disk);
    let meeting = harness.zoom.start_meeting(script("full disk"));
    let other = harness.zoom.start_meeting(script("full disk too"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    fs::write(disk.0.join("ballast"), vec![0; 1 << 20]).expect_err("the disk is full now");
    harness.wait_until_logged(&["cannot write"]);
    // The stream lives.
    wait_until_more(&meeting, 100);
    assert_eq!(meeting.count(Step::Lost), 0);
    fs::remove_file(disk.0.join("ballast")).expect("removable");
    disk.remount("size=64m");
    harness.wait_until_logged(&["disk writable again"]);
    assert_eq!(harness.count_logged(&["are dropped"]), 0);
    finish(harness, &[meeting, other]);
}

#[test]
fn a_disk_that_is_read_only_for_a_while_loses_nothing() {
    let Some(disk) = Tmpfs::mount("64m") else {
        return report("skipped: only root may mount a disk");
    };
    let harness = start_on(&disk);
    let meeting = harness.zoom.start_meeting(script("read only"));
    // A disk with a file open for writing cannot become read-only; so before the first file.
    disk.remount("ro");
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    let troubled = disk.out().join("x");
    if fs::write(&troubled, "").is_err() {
        harness.wait_until_logged(&["cannot write"]);
    }
    disk.remount("rw");
    wait_until_more(&meeting, 50);
    finish(harness, &[meeting]);
}

#[test]
fn a_deleted_folder_is_created_again() {
    let mut harness = start(&[]);
    let meeting = harness.zoom.start_meeting(script("removed"));
    assert!(meeting.wait_for_phrases(20, PATIENCE));
    // The server keeps writing meanwhile, so removing the folder may fail as not empty.
    wait_until("removable", || fs::remove_dir_all(harness.out()).is_ok());
    let before = meeting.sent_count() as usize;
    harness.wait_until_logged(&["recreating it"]);
    wait_until_more(&meeting, 20);
    meeting.end(End::meeting_ended());
    wait_until_step(&meeting, Step::Closed);
    wait_until_step(&meeting, Step::StoppedAnswered);
    assert_eq!(meeting.count(Step::Lost), 0);
    harness.terminate();
    let result = harness.comparison(&meeting);
    // Everything written since the deletion is there, including what first went to the deleted
    // files.
    assert!(
        result.received + before >= meeting.sent().len(),
        "{result:?} {before}"
    );
    assert_eq!(result.doubled, 0, "{result:?}");
    assert_eq!(meta(&harness.folders_of(&meeting)[0])["state"], "ended");
    harness.end();
}

// Peers that do not answer.

#[test]
fn a_peer_that_never_answers_its_handshake_is_given_up() {
    let harness = start(&[]);
    let mut script = script("silent handshake");
    // The answer to message 1 never arrives: ten seconds, then the next try.
    script.refusals = vec![(Socket::Signaling, Refusal::Silence)];
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    assert_eq!(meeting.count(Step::SignalingConnected), 2);
    finish(harness, &[meeting]);
}
