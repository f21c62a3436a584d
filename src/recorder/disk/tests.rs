//! Tests of the disk thread with failing disks: what waits is written in the end, once and in
//! order.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::{ALL_BACKLOG_BYTES, Disk, DiskSink, RecorderSettings, STREAM_BYTES_MAX};
use crate::domain::stream_info::StreamInfo;
use crate::net::waker::waker;
use crate::protocol::codes::StopReason;
use crate::protocol::message::{Message, PacketKind, decode};
use crate::protocol::{EndReason, MediaParams, StreamEvent};
use crate::recorder::TranscriptFormats;
use crate::recorder::jsonl::tests::info;
use crate::recorder::packet_batch::tests::packet;
use crate::recorder::path::stream_folder;
use crate::recorder::tests::scratch;
use crate::stream::Sink;

const PATIENCE: Duration = Duration::from_secs(20);

fn say(sink: &mut DiskSink, start_ms: u64, text: &str) {
    let json = serde_json::json!({"msg_type": 17, "content": {"user_id": 1, "user_name": "Ada",
        "start_time": start_ms, "end_time": start_ms + 1, "data": text}})
    .to_string();
    let Ok(Message::Transcript(transcript)) = decode(&json, start_ms) else {
        panic!("no transcript");
    };
    sink.on_event(&StreamEvent::Transcript(transcript));
    sink.flush();
}

fn sound(sink: &mut DiskSink) {
    let sound = packet(7, "Ada", 1_767_000_000_000, "AQACAAMABAA=");
    sink.on_event(&StreamEvent::Packet(PacketKind::Audio, sound));
}

fn disk(root: &Path) -> Disk {
    Disk::start(RecorderSettings {
        root: root.to_owned(),
        formats: TranscriptFormats::default(),
        params: MediaParams::default(),
    })
    .expect("a thread")
}

/// A stream of another day, so that only its folder can be blocked.
fn other(stream_id: &str) -> StreamInfo {
    let mut info = info();
    info.stream_id = stream_id.to_owned();
    info.started_ms += 10 * 86_400_000;
    info
}

fn folder(root: &Path, info: &StreamInfo) -> std::path::PathBuf {
    root.join(stream_folder(info.started_ms, &info.id, &info.stream_id))
}

/// A file where the day's folder should be: writes for this stream fail until it is removed.
fn block(root: &Path, info: &StreamInfo) -> std::path::PathBuf {
    let folder = folder(root, info);
    let day = folder.ancestors().nth(2).expect("three levels").to_owned();
    fs::write(&day, "in the way").expect("writable");
    day
}

fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_failing_stream_is_retried_while_others_are_busy() {
    let root = scratch("disk-turn");
    let failing = other("failing");
    let day = block(&root, &failing);
    let disk = disk(&root);
    let mut waits = disk.sink(failing.clone());
    let mut talks = disk.sink(info());
    say(&mut waits, 1_767_900_000_000, "kept");
    wait_for("trouble", || {
        disk.counters()
            .failing_streams
            .load(std::sync::atomic::Ordering::Relaxed)
            == 1
    });
    fs::remove_file(day).expect("removable");
    let written = folder(&root, &failing).join("transcript.jsonl");
    let mut n = 0;
    wait_for("written although the thread is never idle", || {
        n += 1;
        say(&mut talks, 1_767_000_000_000 + n, "busy");
        fs::read_to_string(&written).is_ok_and(|text| text.contains("kept"))
    });
    drop((waits, talks));
    assert!(disk.stop(Instant::now() + PATIENCE));
}

#[test]
fn a_stream_restarted_before_its_end_was_written_continues_its_file() {
    let root = scratch("disk-again");
    let again = other("again");
    let day = block(&root, &again);
    let disk = disk(&root);
    let start_ms = again.started_ms;
    let mut first = disk.sink(again.clone());
    say(&mut first, start_ms + 1, "one");
    first.on_end(&EndReason::Panicked);
    let mut second = disk.sink(again.clone());
    say(&mut second, start_ms + 2, "two");
    fs::remove_file(day).expect("removable");
    say(&mut second, start_ms + 3, "three");
    second.on_end(&EndReason::Stopped(StopReason(6)));
    let folder = folder(&root, &again);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    wait_for("ended", || read("meta.json").contains("\"ended\""));
    assert!(disk.stop(Instant::now() + PATIENCE));
    let vtt = read("transcript.vtt");
    let numbers: Vec<&str> = vtt
        .split("\n\n")
        .skip(1)
        .filter_map(|cue| cue.lines().next())
        .collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert_eq!(read("transcript.jsonl").lines().count(), 3);
    let meta: serde_json::Value = serde_json::from_str(&read("meta.json")).expect("JSON");
    assert_eq!(meta["transcripts"], 3);
    assert_eq!(meta["stop_reason"], 6);
}

#[test]
fn records_above_the_memory_limit_are_counted_in_meta() {
    let root = scratch("disk-drop");
    let failing = other("drop");
    let day = block(&root, &failing);
    let disk = disk(&root);
    let mut sink = disk.sink(failing.clone());
    let long = "x".repeat(100_000);
    let sent = (STREAM_BYTES_MAX / long.len() + 50) as u64;
    for n in 0..sent {
        say(&mut sink, failing.started_ms + n, &long);
    }
    let dropped = disk
        .counters()
        .dropped
        .load(std::sync::atomic::Ordering::Relaxed);
    assert!(dropped >= 40, "{dropped}");
    assert!(sink.is_backlogged());
    fs::remove_file(day).expect("removable");
    sink.on_end(&EndReason::Stopped(StopReason(6)));
    drop(sink);
    assert!(disk.stop(Instant::now() + PATIENCE));
    let folder = folder(&root, &failing);
    let meta = fs::read(folder.join("meta.json")).expect("readable");
    let meta: serde_json::Value = serde_json::from_slice(&meta).expect("JSON");
    assert_eq!(meta["dropped"], dropped);
    assert_eq!(meta["transcripts"], sent - dropped);
}

#[test]
fn all_streams_slow_down_for_a_slow_disk_and_are_woken_afterwards() {
    let root = scratch("disk-behind");
    let failing: Vec<StreamInfo> = (0..4).map(|n| other(&format!("behind {n}"))).collect();
    let day = block(&root, &failing[0]);
    let disk = disk(&root);
    let mut innocent = disk.sink(info());
    let (waker, wakeable) = waker().expect("a pair");
    innocent.on_start(waker);
    let mut sinks: Vec<DiskSink> = failing.iter().map(|info| disk.sink(info.clone())).collect();
    assert!(!innocent.is_backlogged());
    let long = "x".repeat(100_000);
    for n in 0..(ALL_BACKLOG_BYTES / long.len() / sinks.len() + 9) as u64 {
        for sink in &mut sinks {
            say(sink, failing[0].started_ms + n, &long);
        }
    }
    assert!(innocent.is_backlogged());
    fs::remove_file(day).expect("removable");
    let mut fds = [PollFd::new(&wakeable, PollFlags::IN)];
    let seconds = rustix::event::Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&seconds)), Ok(1), "the stream is woken");
    assert!(!innocent.is_backlogged());
    drop((innocent, sinks));
    assert!(disk.stop(Instant::now() + PATIENCE));
}

#[test]
fn other_users_cannot_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = scratch("disk-mode");
    let root = scratch.join("out");
    let disk = disk(&root);
    let mut sink = disk.sink(info());
    say(&mut sink, 1_767_000_000_001, "private");
    sink.on_end(&EndReason::Stopped(StopReason(6)));
    drop(sink);
    assert!(disk.stop(Instant::now() + PATIENCE));
    let folder = folder(&root, &info());
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("the file exists")
            .permissions()
            .mode()
            & 0o7
    };
    for path in folder.ancestors().take(4) {
        assert_eq!(mode(path), 0, "{}", path.display());
    }
    for name in ["meta.json", "transcript.jsonl", "transcript.vtt"] {
        assert_eq!(mode(&folder.join(name)), 0, "{name}");
    }
}

/// Data loss could only be seen after a power cut. This test checks that streams are synced
/// together, that headers have the right sizes, and that no record is missing.
#[test]
fn many_streams_are_synced_together() {
    let root = scratch("disk-sync");
    let disk = disk(&root);
    let infos: Vec<StreamInfo> = (0..40).map(|n| other(&format!("s{n}"))).collect();
    let mut sinks: Vec<DiskSink> = infos.iter().map(|info| disk.sink(info.clone())).collect();
    let head = |info: &StreamInfo| {
        let wav = fs::read(folder(&root, info).join("audio-7-Ada.wav")).unwrap_or_default();
        wav.get(40..44)
            .map(|size| u32::from_le_bytes(size.try_into().expect("four bytes")))
    };
    for sink in &mut sinks {
        sound(sink);
        say(sink, 1_767_000_000_000, "one");
        sink.flush();
    }
    wait_for("synced heads", || {
        infos.iter().all(|info| head(info) == Some(8))
    });
    for sink in &mut sinks {
        say(sink, 1_767_000_000_000, "two");
        sink.on_end(&EndReason::Left);
    }
    assert!(disk.stop(Instant::now() + PATIENCE));
    for info in &infos {
        let text = fs::read_to_string(folder(&root, info).join("transcript.jsonl"));
        assert_eq!(text.expect("readable").lines().count(), 2);
    }
}
