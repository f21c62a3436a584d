//! Tests of the disk thread with failing disks: what waits is written in the end, once and in
//! order.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::syncer::SyncCalls;
use super::{
    ALL_BACKLOG_BYTES, Disk, DiskSink, RecorderSettings, STREAM_BYTES_MAX, StopReport, StopTimes,
};
use crate::delivery::ends::UploadNote;
use crate::delivery::ends::entry::{FileState, Sent};
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::feed::board::ENDED_KEPT;
use crate::feed::{Chunk, Cursor, FEED_NAME, Found, JournalKey, Line, Reader, State};
use crate::net::waker::waker;
use crate::protocol::codes::StopReason;
use crate::protocol::message::{Message, PacketKind, decode};
use crate::protocol::{EndReason, MediaParams, StreamEvent};
use crate::recorder::TranscriptFormats;
use crate::recorder::jsonl::tests::info;
use crate::recorder::packet_batch::tests::packet;
use crate::recorder::path::stream_folder;
use crate::recorder::sync_targets::SyncTargets;
use crate::stream::Sink;
use crate::testing::{PATIENCE, scratch, wait_until};

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

fn chat(sink: &mut DiskSink) {
    let json = serde_json::json!({"msg_type": 18, "content": {"user_id": 1, "user_name": "Ada",
        "timestamp": 1_767_000_000_000_u64, "data": "hello"}})
    .to_string();
    let Ok(Message::Chat(chat)) = decode(&json, 1_767_000_000_000) else {
        panic!("no chat");
    };
    sink.on_event(&StreamEvent::Chat(chat));
    sink.flush();
}

fn sound(sink: &mut DiskSink) {
    let sound = packet(7, "Ada", 1_767_000_000_000, "AQACAAMABAA=");
    sink.on_event(&StreamEvent::Packet(PacketKind::Audio, sound));
}

fn settings(root: &Path) -> RecorderSettings {
    RecorderSettings {
        root: root.to_owned(),
        formats: TranscriptFormats::default(),
        params: MediaParams::default(),
        feed: None,
    }
}

fn disk(root: &Path) -> Disk {
    Disk::start(settings(root)).expect("a thread")
}

fn stop(disk: Disk) -> StopReport {
    disk.stop(patient()).wait()
}

fn patient() -> StopTimes {
    let until = Instant::now() + PATIENCE;
    StopTimes {
        write_until: until,
        sync_until: until,
        sync_min: Duration::ZERO,
    }
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

#[test]
fn a_failing_stream_is_retried_while_others_are_busy() {
    let root = scratch("disk-turn");
    let failing = other("failing");
    let day = block(&root, &failing);
    let disk = disk(&root);
    let mut waits = disk.sink(failing.clone());
    let mut talks = disk.sink(info());
    say(&mut waits, 1_767_900_000_000, "kept");
    wait_until("trouble", || {
        disk.counters()
            .failing_streams
            .load(std::sync::atomic::Ordering::Relaxed)
            == 1
    });
    fs::remove_file(day).expect("removable");
    let written = folder(&root, &failing).join("transcript.jsonl");
    let mut n = 0;
    wait_until("written although the thread is never idle", || {
        n += 1;
        say(&mut talks, 1_767_000_000_000 + n, "busy");
        fs::read_to_string(&written).is_ok_and(|text| text.contains("kept"))
    });
    drop((waits, talks));
    assert!(stop(disk).is_complete());
}

#[test]
fn j5_no_lower_position_becomes_visible_while_one_folder_refuses() {
    let root = scratch("disk-j5");
    let failing = other("failing");
    let day = block(&root, &failing);
    let settings = RecorderSettings {
        root: root.to_path_buf(),
        ..RecorderSettings::default()
    };
    let disk = Disk::start(settings).expect("a thread");
    let board = Arc::clone(disk.board().expect("journals are on"));
    let reader = Reader::new(&board);
    let mut waits = disk.sink(failing.clone());
    let infos: Vec<StreamInfo> = (0..50)
        .map(|n| StreamInfo {
            stream_id: format!("s{n}"),
            ..info()
        })
        .collect();
    let mut sinks: Vec<DiskSink> = infos.iter().map(|info| disk.sink(info.clone())).collect();
    // All that is visible, in the order in which it became visible: the positions only grow.
    let mut cursors: HashMap<JournalKey, Cursor> = HashMap::new();
    let (mut version, mut seen, mut lines) = (0, 0, HashMap::new());
    let mut look = |lines: &mut HashMap<JournalKey, u64>| {
        let (mut changed, mut chunk, mut found) = (Vec::new(), Chunk::default(), Vec::new());
        let complete;
        (version, complete) = board.changes_since(version, &mut changed);
        for journal in changed {
            let cursor = cursors
                .entry(journal.key)
                .or_insert(Cursor::begin(journal.key));
            while reader.read(cursor, &mut chunk).expect("readable") == Found::Lines {
                found.extend(chunk.lines().map(|line| line.pos));
                *cursor = chunk.end();
                *lines.entry(journal.key).or_default() = cursor.seq;
            }
        }
        found.sort_unstable();
        // What is read beyond the board's position is of a later moment.
        for pos in found {
            assert!(pos > seen, "{pos} after {seen}");
        }
        seen = seen.max(complete);
    };
    say(&mut waits, 1_767_900_000_000, "kept");
    for n in 0..40 {
        for sink in &mut sinks {
            say(sink, 1_767_000_000_000 + n, "goes on");
        }
        if n == 20 {
            fs::remove_file(&day).expect("removable");
        }
        look(&mut lines);
    }
    wait_until("everything is visible", || {
        look(&mut lines);
        lines.len() == 51 && lines.values().sum::<u64>() == 51 + 50 * 40 + 1
    });
    drop((waits, sinks));
    assert!(stop(disk).is_finished);
}

#[test]
fn journals_are_switched_for_streams_that_begin() {
    let root = scratch("disk-switch");
    let on = RecorderSettings {
        root: root.to_path_buf(),
        ..RecorderSettings::default()
    };
    let off = RecorderSettings {
        feed: None,
        ..on.clone()
    };
    let disk = Disk::start(off.clone()).expect("a thread");
    assert!(disk.board().is_none());
    let mut streams = Vec::new();
    for (settings, expected) in [(off.clone(), false), (on, true), (off, false)] {
        disk.reload(settings);
        let info = other(&format!("switch {}", streams.len()));
        let mut sink = disk.sink(info.clone());
        say(&mut sink, info.started_ms, "hello");
        streams.push((sink, info, expected));
    }
    // Each stays as it began.
    for (sink, info, _) in &mut streams {
        say(sink, info.started_ms + 1, "bye");
    }
    let infos: Vec<(StreamInfo, bool)> = streams.iter().map(|it| (it.1.clone(), it.2)).collect();
    drop(streams);
    assert!(stop(disk).is_finished);
    for (info, expected) in infos {
        let text = fs::read_to_string(folder(&root, &info).join(FEED_NAME));
        let phrases = text.map(|text| text.matches("transcript.phrase").count());
        assert_eq!(phrases.ok(), expected.then_some(2));
    }
}

/// What an upload says of the files of a stream.
fn note(folder: &Path, etag: &str) -> UploadNote {
    let file = |local: &str| FileState {
        local: local.to_owned(),
        object: local.to_owned(),
        sent: Some(Sent {
            bytes: 7,
            sha256: "00".to_owned(),
            etag: etag.to_owned(),
            checksum: None,
        }),
    };
    UploadNote {
        folder: folder.to_owned(),
        bucket: "b".to_owned(),
        prefix: "v1/x/".to_owned(),
        files: vec![
            file("transcript.vtt"),
            file("video/1.jpg"),
            file("a\"b.wav"),
        ],
    }
}

#[test]
fn j7_j13_what_an_upload_adds_to_a_journal_and_when_it_goes() {
    let root = scratch("disk-uploads");
    let settings = RecorderSettings {
        root: root.to_path_buf(),
        ..RecorderSettings::default()
    };
    let disk = Disk::start(settings).expect("a thread");
    let board = Arc::clone(disk.board().expect("journals are on"));
    let folders = disk.folder_jobs();
    let over = EndReason::Stopped(StopReason::MEETING_ENDED);
    let mut sink = disk.sink(info());
    say(&mut sink, 1_767_000_000_000, "hello");
    sink.on_end(&over);
    let folder = folder(&root, &info());
    let key = board.key_of(&folder);
    let has_ended = || board.get(key).map(|it| it.state) == Some(State::Ended);
    wait_until("the end is on the disk", has_ended);
    // It leaves the board, and a consumer that reads the rest takes it up again.
    board.sweep(Instant::now() + 2 * ENDED_KEPT);
    assert!(board.get(key).is_none());
    let (version, _) = board.changes_since(0, &mut Vec::new());

    for etag in ["one", "one", "two"] {
        let noted = folders.note_upload(note(&folder, etag));
        noted.expect("the disk is well");
    }
    let text = fs::read_to_string(folder.join(FEED_NAME)).expect("a journal");
    let lines: Vec<Line<'_>> = text
        .lines()
        .filter_map(|line| Line::parse(line.as_bytes()))
        .collect();
    let ended = lines.iter().position(|line| line.kind == "stream.ended");
    let uploads = &lines[ended.expect("the end") + 1..];
    let data: Vec<serde_json::Value> = uploads
        .iter()
        .map(|line| serde_json::from_slice(line.data()).expect("JSON"))
        .collect();
    // Noted again after a crash it is there once, and no picture is named.
    assert!(uploads.iter().all(|line| line.kind == "file.uploaded"));
    assert_eq!(data.len(), 4, "{data:?}");
    let keys: Vec<&serde_json::Value> = data.iter().map(|data| &data["key"]).collect();
    let (vtt, wav) = ("v1/x/transcript.vtt", "v1/x/a\"b.wav");
    assert_eq!(keys, [vtt, wav, vtt, wav]);
    assert_eq!(
        (&data[1]["file"], &data[1]["bytes"], &data[1]["bucket"]),
        (&"a\"b.wav".into(), &7.into(), &"b".into())
    );
    assert_eq!(
        (&data[3]["etag"], &data[3]["sha256"]),
        (&"two".into(), &"00".into())
    );
    let seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=lines.len() as u64).collect::<Vec<u64>>());
    assert!(lines.is_sorted_by_key(|line| line.pos));
    let meta = fs::read_to_string(folder.join("meta.json")).expect("a file");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("JSON");
    assert_eq!(meta["feed_seq"], lines.len());
    assert_eq!(
        (&meta["uploaded"]["bucket"], &meta["state"]),
        (&"b".into(), &"ended".into())
    );
    let mut changed = Vec::new();
    board.changes_since(version, &mut changed);
    let last = changed.last().expect("it is announced");
    assert_eq!(
        (last.key, last.seq, last.state),
        (key, lines.len() as u64, State::Ended)
    );

    // The numbers go on in another life.
    let mut again = disk.sink(info());
    let last = lines.len() as u64;
    wait_until("the next life", || {
        board.get(key).is_some_and(|it| it.seq == last + 1)
    });
    let day = Duration::from_secs(86_400);
    assert!(
        folders.delete_journal(folder.clone(), 9 * day).is_err(),
        "it grows"
    );
    again.on_end(&over);
    wait_until("its end", has_ended);

    assert!(board.hold(key));
    assert!(!folders.is_journal_free(&folder, day));
    assert!(
        folders.delete_journal(folder.clone(), day).is_err(),
        "it is needed"
    );
    board.release(key);
    assert!(folders.is_journal_free(&folder, day));
    let deleted = folders.delete_journal(folder.clone(), day);
    deleted.expect("the disk is well");
    assert!(!folder.join(FEED_NAME).exists() && board.get(key).is_none());
    // Nothing is left to add to, and where the files are is noted all the same.
    let noted = folders.note_upload(note(&folder, "three"));
    noted.expect("the disk is well");
    assert!(!folder.join(FEED_NAME).exists());
    // Those who have had it get the last word about it all the same.
    let withdrawal = Withdrawal {
        id: Some(info().id),
        stream_id: info().stream_id,
        is_repeat: false,
    };
    disk.discard(withdrawal, Vec::new());
    let server = root.join(FEED_NAME);
    let server = || fs::read_to_string(&server).unwrap_or_default();
    wait_until("the last word", || server().contains("stream.revoked"));
    let text = server();
    let line = Line::parse(text.trim_end().as_bytes()).expect("one line");
    let data: serde_json::Value = serde_json::from_slice(line.data()).expect("JSON");
    assert_eq!(data["key"], key.to_string());
    assert!(data["stream_seq"].as_u64() > Some(last + 1), "{data}");
    wait_until("the rest is gone", || !folder.exists());
    drop((sink, again));
    assert!(stop(disk).is_finished);
}

#[test]
fn dropped_records_leave_a_gap_where_they_would_have_been() {
    let root = scratch("disk-gap");
    let failing = other("gap");
    let day = block(&root, &failing);
    let settings = RecorderSettings {
        root: root.to_path_buf(),
        ..RecorderSettings::default()
    };
    let disk = Disk::start(settings).expect("a thread");
    let mut sink = disk.sink(failing.clone());
    let long = "x".repeat(1 << 20);
    for n in 0..20 {
        say(&mut sink, failing.started_ms + n, &long);
    }
    let dropped = disk.counters().dropped.load(Relaxed);
    assert!(dropped > 0);
    fs::remove_file(&day).expect("removable");
    let journal = folder(&root, &failing).join(FEED_NAME);
    let kinds = || -> Vec<(String, String)> {
        let text = fs::read_to_string(&journal).unwrap_or_default();
        let lines = text.lines().filter_map(|line| Line::parse(line.as_bytes()));
        lines
            .map(|line| {
                let data = String::from_utf8_lossy(line.data()).into_owned();
                (line.kind.to_owned(), data)
            })
            .collect()
    };
    wait_until("what waited", || kinds().len() > 1);
    say(&mut sink, failing.started_ms + 100, "after");
    sink.on_end(&EndReason::Left);
    wait_until("the last phrase", || {
        kinds().iter().any(|(_, data)| data.contains("after"))
    });
    let kinds = kinds();
    // Where it can, a notice passes between two records that cannot.
    let gaps = kinds.iter().filter(|(kind, _)| kind == "feed.gap");
    let counts = gaps.map(|(_, data)| {
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        data["dropped"].as_u64().expect("a number")
    });
    assert_eq!(counts.sum::<u64>(), dropped);
    let first = kinds.iter().position(|(kind, _)| kind == "feed.gap");
    assert_eq!(first, Some(1 + 20 - dropped as usize));
    let last = kinds.iter().rposition(|(kind, _)| kind == "feed.gap");
    assert_eq!(last.map(|at| at + 2), Some(kinds.len()));
    assert!(kinds.last().is_some_and(|(_, data)| data.contains("after")));
    drop(sink);
    assert!(stop(disk).is_finished);
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
    wait_until("ended", || read("meta.json").contains("\"ended\""));
    assert!(stop(disk).is_complete());
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
    assert!(stop(disk).is_complete());
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
    assert!(stop(disk).is_complete());
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
    assert!(stop(disk).is_complete());
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
    wait_until("synced heads", || {
        infos.iter().all(|info| head(info) == Some(8))
    });
    for sink in &mut sinks {
        say(sink, 1_767_000_000_000, "two");
        sink.on_end(&EndReason::Left);
    }
    assert!(stop(disk).is_complete());
    for info in &infos {
        let text = fs::read_to_string(folder(&root, info).join("transcript.jsonl"));
        assert_eq!(text.expect("readable").lines().count(), 2);
    }
}

/// A disk that counts syncs, holds each until the test allows it, and fails if the test wants it.
struct SlowDisk {
    files: AtomicUsize,
    file_systems: AtomicUsize,
    fails: AtomicBool,
    begun: Mutex<Sender<()>>,
    allowed: Mutex<Receiver<()>>,
}

impl SlowDisk {
    /// The disk; the receiver of "a sync has begun"; the sender of "a sync may end".
    fn new() -> (Arc<SlowDisk>, Receiver<()>, Sender<()>) {
        let ((begin, begun), (allow, allowed)) = (channel(), channel());
        let disk = SlowDisk {
            files: AtomicUsize::new(0),
            file_systems: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
            begun: Mutex::new(begin),
            allowed: Mutex::new(allowed),
        };
        (Arc::new(disk), begun, allow)
    }

    /// After the sender is dropped, every sync may end.
    fn sync(&self, count: &AtomicUsize) -> io::Result<()> {
        let _ = self.begun.lock().expect("no panic").send(());
        let _ = self.allowed.lock().expect("no panic").recv();
        count.fetch_add(1, Relaxed);
        match self.fails.load(Relaxed) {
            true => Err(io::Error::other("the disk is broken")),
            false => Ok(()),
        }
    }
}

impl SyncCalls for SlowDisk {
    fn files(&self, _: &SyncTargets, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        match goes_on() {
            true => self.sync(&self.files).map(|()| true),
            false => Ok(false),
        }
    }

    fn file_system(&self, _: &File) -> io::Result<()> {
        self.sync(&self.file_systems)
    }
}

fn state(root: &Path, info: &StreamInfo) -> String {
    let meta = fs::read(folder(root, info).join("meta.json")).unwrap_or_default();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap_or_default();
    meta["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn streams_that_end_together_share_syncs_and_do_not_delay_others() {
    let root = scratch("disk-hour");
    let (slow, begun, allow) = SlowDisk::new();
    let disk = Disk::start_on(slow.clone(), settings(&root), None, None, || ()).expect("threads");
    let infos: Vec<StreamInfo> = (0..150).map(|n| other(&format!("s{n}"))).collect();
    let mut sinks: Vec<DiskSink> = infos.iter().map(|info| disk.sink(info.clone())).collect();
    let mut talks = disk.sink(info());
    let end = EndReason::Stopped(StopReason(6));
    say(&mut sinks[0], 1_767_000_000_000, "the first to end");
    sinks[0].on_end(&end);
    begun.recv_timeout(PATIENCE).expect("its files are synced");
    // Meanwhile all other streams end, except one that continues.
    for sink in &mut sinks[1..] {
        say(sink, 1_767_000_000_000, "the last word");
        sink.on_end(&end);
    }
    say(
        &mut talks,
        1_767_000_000_000,
        "written while the disk syncs",
    );
    let written = folder(&root, &info()).join("transcript.jsonl");
    wait_until("others are written meanwhile", || {
        fs::read_to_string(&written).is_ok_and(|text| text.contains("while the disk syncs"))
            && disk.counters().waiting_records.load(Relaxed) == 0
    });
    // No `meta.json` says `ended` before the files are synced.
    assert!(infos.iter().all(|info| state(&root, info) == "receiving"));
    drop(allow);
    wait_until("all have ended", || {
        infos.iter().all(|info| state(&root, info) == "ended")
    });
    drop((sinks, talks));
    assert!(stop(disk).is_complete());
    let (files, file_systems) = (slow.files.load(Relaxed), slow.file_systems.load(Relaxed));
    // Twice for the first stream (its files, then the name of its last file), twice for the others
    // together, and at the end of the process what was still due, with the stream that continued.
    assert!(
        files <= 2 && (2..=5).contains(&file_systems),
        "{files} {file_systems}"
    );
}

#[test]
fn streams_that_are_left_are_written_and_then_synced_once() {
    let root = scratch("disk-left");
    let (slow, begun, allow) = SlowDisk::new();
    let disk = Disk::start_on(slow.clone(), settings(&root), None, None, || ()).expect("threads");
    let infos: Vec<StreamInfo> = (0..5).map(|n| other(&format!("s{n}"))).collect();
    let mut sinks: Vec<DiskSink> = infos.iter().map(|info| disk.sink(info.clone())).collect();
    for sink in &mut sinks {
        say(sink, 1_767_000_000_000, "the last word");
        sink.on_end(&EndReason::Left);
    }
    let counters = Arc::clone(disk.counters());
    let stopping = disk.stop(patient());
    begun.recv_timeout(PATIENCE).expect("a sync");
    // Everything was written before the disk was asked to sync.
    assert_eq!(counters.waiting_records.load(Relaxed), 0);
    for info in &infos {
        let text = fs::read_to_string(folder(&root, info).join("transcript.jsonl"));
        assert_eq!(text.expect("readable").lines().count(), 1);
    }
    drop(allow);
    assert!(stopping.wait().is_complete());
    assert_eq!(slow.files.load(Relaxed), 0);
    assert_eq!(slow.file_systems.load(Relaxed), 1);
}

#[test]
fn unwritten_records_are_tried_again_until_the_deadline() {
    let root = scratch("disk-end-late");
    let failing = other("late");
    let day = block(&root, &failing);
    let disk = disk(&root);
    let mut sink = disk.sink(failing.clone());
    say(&mut sink, failing.started_ms + 1, "kept");
    sink.on_end(&EndReason::Left);
    let stopping = disk.stop(patient());
    fs::remove_file(day).expect("removable");
    assert!(stopping.wait().is_complete());
    let text = fs::read_to_string(folder(&root, &failing).join("transcript.jsonl"));
    assert!(text.expect("readable").contains("kept"));
}

#[test]
fn records_lost_at_the_end_are_counted_and_reported() {
    let root = scratch("disk-end-lost");
    let (lost, kept) = (other("lost"), other("kept"));
    let disk = disk(&root);
    let mut sinks = [disk.sink(lost.clone()), disk.sink(kept.clone())];
    for sink in &mut sinks {
        say(sink, lost.started_ms + 1, "one");
    }
    wait_until("written", || {
        disk.counters().waiting_records.load(Relaxed) == 0
    });
    // A folder has the name of the chat file.
    fs::create_dir(folder(&root, &lost).join("chat.jsonl")).expect("writable");
    chat(&mut sinks[0]);
    say(&mut sinks[0], lost.started_ms + 2, "two");
    say(&mut sinks[1], lost.started_ms + 2, "two");
    for sink in &mut sinks {
        sink.on_end(&EndReason::Stopped(StopReason(6)));
    }
    let now = Instant::now();
    let report = disk
        .stop(StopTimes {
            write_until: now,
            sync_until: now + PATIENCE,
            sync_min: Duration::ZERO,
        })
        .wait();
    assert!(report.is_finished && report.is_synced, "{report:?}");
    assert!((1..=2).contains(&report.lost_records), "{report:?}");
    let meta = |info: &StreamInfo| -> serde_json::Value {
        let text = fs::read(folder(&root, info).join("meta.json")).expect("readable");
        serde_json::from_slice(&text).expect("JSON")
    };
    assert_eq!(meta(&lost)["dropped"], report.lost_records);
    assert_eq!(meta(&kept)["dropped"], 0);
    assert_eq!(meta(&kept)["state"], "ended");
    assert_eq!(meta(&kept)["transcripts"], 2);
}

#[test]
fn a_failed_sync_is_logged_and_tried_again() {
    let root = scratch("disk-sync-fails");
    let (slow, _begun, allow) = SlowDisk::new();
    drop(allow);
    slow.fails.store(true, Relaxed);
    let disk = Disk::start_on(slow.clone(), settings(&root), None, None, || ()).expect("threads");
    let mut sink = disk.sink(info());
    say(&mut sink, 1_767_000_000_000, "one");
    sink.on_end(&EndReason::Stopped(StopReason(6)));
    let counters = Arc::clone(disk.counters());
    wait_until("trouble", || counters.failing_streams.load(Relaxed) == 1);
    assert_eq!(state(&root, &info()), "receiving");
    slow.fails.store(false, Relaxed);
    wait_until("asked again", || state(&root, &info()) == "ended");
    wait_until("well", || counters.failing_streams.load(Relaxed) == 0);
    // After one failure, the next fdatasync(2) of the same file reports success.
    assert!(slow.file_systems.load(Relaxed) >= 1);
    assert!(stop(disk).is_complete());
}

/// The stream whose next write panics.
static PANICS: Mutex<Option<String>> = Mutex::new(None);

/// For the disk thread, which asks at each write.
pub(super) fn panic_if_wanted(stream_id: &str) {
    let mut wanted = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    if wanted.as_deref() == Some(stream_id) {
        *wanted = None;
        drop(wanted);
        panic!("as the test wants it");
    }
}

#[test]
fn a_panic_costs_one_stream_what_waits_of_it_and_the_others_nothing() {
    let root = scratch("disk-panic");
    let disk = disk(&root);
    let (unlucky, lucky) = (other("unlucky"), info());
    let mut sinks = [disk.sink(unlucky.clone()), disk.sink(lucky.clone())];
    let counters = Arc::clone(disk.counters());
    let written = || counters.waiting_records.load(Relaxed) == 0;
    for sink in &mut sinks {
        say(sink, unlucky.started_ms + 1, "one");
    }
    wait_until("written", written);
    *PANICS.lock().expect("no panic") = Some("unlucky".to_owned());
    say(&mut sinks[0], unlucky.started_ms + 2, "lost");
    wait_until("given up", || counters.dropped.load(Relaxed) == 1);
    for sink in &mut sinks {
        say(sink, unlucky.started_ms + 3, "three");
        sink.on_end(&EndReason::Stopped(StopReason(6)));
    }
    assert!(stop(disk).is_complete());
    let meta = |info: &StreamInfo| -> serde_json::Value {
        let text = fs::read(folder(&root, info).join("meta.json")).expect("readable");
        serde_json::from_slice(&text).expect("JSON")
    };
    let facts = |info: &StreamInfo| {
        let meta = meta(info);
        (
            meta["transcripts"].clone(),
            meta["dropped"].clone(),
            meta["end"].clone(),
        )
    };
    assert_eq!(facts(&unlucky), (2.into(), 1.into(), "stopped".into()));
    assert_eq!(facts(&lucky), (2.into(), 0.into(), "stopped".into()));
}

#[test]
fn a_disk_that_does_not_answer_is_seen() {
    let progress = super::Progress::default();
    assert_eq!(progress.hung_for(), None);
    progress.works();
    assert_eq!(progress.hung_for(), None);
    let long_ago = super::Progress {
        epoch: Instant::now() - super::HUNG_AFTER - Duration::from_secs(5),
        works_since_ms: 1.into(),
    };
    assert!(
        long_ago
            .hung_for()
            .is_some_and(|busy| busy >= super::HUNG_AFTER)
    );
    long_ago.works();
    assert_eq!(long_ago.hung_for(), None);
    long_ago.waits();
    assert_eq!(long_ago.hung_for(), None);
}
