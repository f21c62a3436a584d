//! Tests with a disk that is slow to sync: the end of the process, and many meetings that end together,
//! lose nothing that was received.
//!
//! Lost is a phrase that Zoom sent before the signal, so that this machine had it, and that is in no file
//! after the process has ended. Nothing is sent again (`replay` is zero). A phrase that Zoom sends
//! between the signal and the close of the connection may come too late to be read; those are only
//! counted, because Zoom sends them again.

use std::collections::HashMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rtmsd::demo::{Begin, End, MeetingHandle, MeetingScript, Phrase, Step, compare};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Harness, PATIENCE, RTMSD, frequent_keep_alives, meta, report, wait_until, wait_until_streaming,
};

/// A program that makes the disk slow for another program (`slow_disk.c`). `None` if it cannot be
/// built or run here; the reason is printed.
fn slow_disk() -> Option<&'static Path> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slow_disk.c");
        let own = folder.join(format!("slow_disk.{}", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&own)
            .arg(&source)
            .output();
        match compiled {
            Err(error) => {
                report(&format!("skipped: needs cc ({error})"));
                return None;
            }
            Ok(output) => assert!(output.status.success(), "{output:?}"),
        }
        let program = folder.join("slow_disk");
        fs::rename(&own, &program).expect("a file");
        let tried = Command::new(&program)
            .args(["1", "1", "/bin/sync", "--data"])
            .arg(&source)
            .output()
            .expect("it runs");
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr).into_owned();
            report(&format!("skipped: needs seccomp_unotify(2): {why}"));
            return None;
        }
        Some(program)
    });
    made.as_deref()
}

/// Shell commands that run the server on a disk whose syncs take so many milliseconds.
fn on(slow_disk: &Path, sync_ms: RangeInclusive<u32>) -> String {
    let (least, most) = sync_ms.into_inner();
    format!(
        "exec '{}' {least} {most} '{RTMSD}' \"$@\" >>\"$OUT\"",
        slow_disk.display()
    )
}

/// A meeting with ten phrases a second that does not end.
fn lively(seed: &str) -> MeetingScript {
    let mut script = MeetingScript::plain(seed);
    script.phrases_per_second = 10.0;
    script.begin = Begin::AtOnce;
    script
}

fn wait_until_all_are_heard(meetings: &[MeetingHandle]) {
    let counts: Vec<u64> = meetings.iter().map(MeetingHandle::sent_count).collect();
    for (meeting, count) in meetings.iter().zip(counts) {
        assert!(meeting.wait_for_phrases(count + 3, PATIENCE));
    }
}

/// The lines of each meeting, by its id.
fn lines_by_meeting(folders: &[PathBuf]) -> HashMap<String, Vec<String>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for folder in folders {
        let text = fs::read_to_string(folder.join("transcript.jsonl")).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "a whole file");
        let id = meta(folder)["meeting_uuid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let lines = all.entry(id).or_default();
        lines.extend(text.lines().map(str::to_owned));
    }
    all
}

fn harness(slow_disk: &Path) -> Harness {
    Harness::builder(frequent_keep_alives(5000))
        .settings(&[("RTMS_STDOUT", "off")])
        .prelude(&on(slow_disk, 10..=50))
        .start()
}

/// `rounds` times SIGTERM, each followed by the next process, with `streams` streams.
fn ends(streams: usize, rounds: usize) {
    let Some(slow) = slow_disk() else { return };
    let mut harness = harness(slow);
    let meetings: Vec<MeetingHandle> = (0..streams)
        .map(|n| {
            harness
                .zoom
                .start_meeting(lively(&format!("slow disk {n}")))
        })
        .collect();
    wait_until_all_are_heard(&meetings);
    let (mut slowest, mut checked, mut late) = (Duration::ZERO, 0, 0);
    // Number of phrases that were sent, at least in part, to earlier processes.
    let mut from = vec![0; streams];
    for round in 0..rounds {
        // Each round at another moment of the disk thread's work.
        let wait = Duration::from_millis((round as u64 * 7919) % 1499);
        std::thread::park_timeout(wait);
        let sent: Vec<usize> = (meetings.iter())
            .map(|meeting| meeting.sent_count() as usize)
            .collect();
        let asked = Instant::now();
        harness.server.signal(Signal::TERM);
        let status = harness.server.wait(PATIENCE);
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
        slowest = slowest.max(asked.elapsed());
        // For Zoom both connections are closed: what it sends now is for the next process.
        for meeting in &meetings {
            assert!(meeting.wait_for_times(Step::Lost, 2 * (round + 1), PATIENCE));
        }
        let said: Vec<Vec<Phrase>> = meetings.iter().map(MeetingHandle::sent).collect();
        let lines = lines_by_meeting(&harness.stream_folders());
        let log = harness.server.log();
        let complaints = ["lost", "in time", "not synced", "cannot"];
        let bad = |line: &&String| complaints.iter().any(|word| line.contains(word));
        assert_eq!(log.iter().find(bad), None);
        let readies: Vec<usize> = meetings.iter().map(|m| m.count(Step::Ready)).collect();
        harness.start_server();
        for (meeting, readies) in meetings.iter().zip(readies) {
            assert!(meeting.wait_for_times(Step::Ready, readies + 1, PATIENCE));
        }
        // Zoom waits a minute for the next process, and comparing takes its time.
        for (((meeting, said), sent), from) in meetings.iter().zip(said).zip(sent).zip(&mut from) {
            let found = &lines[&meeting.script().id];
            let result = |said: &[Phrase]| compare(said, found.iter().map(String::as_str));
            let whole = result(&said);
            assert_eq!((whole.doubled, whole.disordered, whole.foreign), (0, 0, 0));
            let own = result(&said[*from..sent]);
            assert_eq!(own.lost, 0, "round {round}: {own:?}");
            checked += sent - *from;
            late += result(&said[sent..]).lost;
            *from = said.len();
        }
    }
    // All streams continue.
    wait_until_all_are_heard(&meetings);
    harness.terminate();
    report(&format!(
        "{rounds} ends with {streams} streams on a disk that syncs in 10 to 50 ms: 0 of {checked} \
         phrases lost, {late} sent after the signal and not read, slowest end {} ms",
        slowest.as_millis()
    ));
}

#[test]
fn sigterm_on_a_slow_disk_loses_nothing() {
    ends(40, 2);
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn sigterm_on_a_slow_disk_loses_nothing_fifty_times() {
    ends(150, 50);
}

#[test]
fn meetings_that_end_together_on_a_slow_disk_are_complete_soon() {
    let Some(slow) = slow_disk() else { return };
    let mut harness = harness(slow);
    let meetings: Vec<MeetingHandle> = (0..60)
        .map(|n| {
            harness
                .zoom
                .start_meeting(lively(&format!("full hour {n}")))
        })
        .collect();
    let goes_on = harness.zoom.start_meeting(lively("goes on"));
    wait_until_all_are_heard(&meetings);
    meetings
        .iter()
        .for_each(|meeting| meeting.end(End::meeting_ended()));
    let state = |folder: &PathBuf| -> Value { meta(folder)["state"].clone() };
    wait_until("all are complete", || {
        let folders = harness.stream_folders();
        folders.iter().filter(|f| state(f) == "ended").count() == meetings.len()
    });
    wait_until_streaming(&goes_on);
    harness.terminate();
    meetings
        .iter()
        .for_each(|meeting| harness.assert_complete(meeting));
}

#[test]
fn webhooks_that_come_at_once_on_a_slow_disk_share_its_syncs() {
    const COUNT: u64 = 200;
    let Some(slow) = slow_disk() else { return };
    let harness = Harness::builder(frequent_keep_alives(5000))
        .prelude(&on(slow, 100..=120))
        .start();
    let event = |n: u64| {
        json!({"event": "meeting.ended", "event_ts": 1_767_000_000_000_u64, "payload": {
            "account_id": "a", "object": {"id": 81_000_000_000 + n, "uuid": format!("at once {n}")}}})
    };
    let accepted = std::thread::scope(|scope| {
        let posting: Vec<_> = (0..COUNT)
            .map(|n| {
                let (zoom, event) = (&harness.zoom, event(n));
                scope.spawn(move || zoom.post_webhook(&event).is_accepted())
            })
            .collect();
        let posted = posting.into_iter().map(|one| one.join().expect("no panic"));
        posted.filter(|is_accepted| *is_accepted).count() as u64
    });
    // With a few events in each sync the last third would be too late.
    assert!(accepted >= COUNT * 9 / 10, "{accepted} of {COUNT}");
}
