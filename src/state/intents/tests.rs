use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

use super::*;
use crate::state::tests::mode;
use crate::testing::{PATIENCE, scratch, wait_until};

const SNAPSHOT: &str = "snapshot.json";

/// A disk that counts, and fails or hangs on request.
#[derive(Default)]
struct TestDisk {
    syncs: AtomicUsize,
    is_full: AtomicBool,
    sync_fails: AtomicBool,
    /// Results of the next writes; after them, `is_full` decides.
    writes: Mutex<VecDeque<bool>>,
    hangs: Mutex<bool>,
    released: Condvar,
}

impl TestDisk {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.released.notify_all();
    }
}

impl Disk for TestDisk {
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let planned = self.writes.lock().unwrap().pop_front();
        if planned.unwrap_or(!self.is_full.load(SeqCst)) {
            return file.write_all(bytes);
        }
        file.write_all(&bytes[..bytes.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, SeqCst);
        let hangs = self.hangs.lock().unwrap();
        let waited = self.released.wait_timeout_while(hangs, PATIENCE, |on| *on);
        assert!(!waited.unwrap().1.timed_out(), "the disk was not released");
        match self.sync_fails.load(SeqCst) {
            true => Err(io::Error::other("EIO")),
            false => file.sync_data(),
        }
    }
}

/// An open log, its disk, and the number of requests for a checkpoint.
struct Rig {
    log: IntentLog,
    disk: Arc<TestDisk>,
    asked: mpsc::Receiver<()>,
}

impl Rig {
    fn open(folder: &Path) -> (Rig, Replay) {
        Rig::open_growing(folder, GROWTH_BYTES_MIN)
    }

    fn open_growing(folder: &Path, growth_bytes_min: u64) -> (Rig, Replay) {
        let state = Arc::new(StateDir::open(folder).unwrap());
        let disk = Arc::new(TestDisk::default());
        let (ask, asked) = mpsc::channel();
        let (log, replay) = IntentLog::open_on(
            Arc::clone(&disk) as Arc<dyn Disk>,
            growth_bytes_min,
            &state,
            SNAPSHOT,
            move || ask.send(()).unwrap_or_default(),
        )
        .unwrap();
        (Rig { log, disk, asked }, replay)
    }

    fn put(&self, body: &str) -> Result<EventId, NotKept> {
        let id = self.log.append(body.as_bytes())?;
        self.log.wait(id, Instant::now() + PATIENCE).map(|()| id)
    }

    fn wait_until_asked(&self) {
        self.asked.recv_timeout(PATIENCE).expect("a request");
    }

    fn stop(self) -> bool {
        self.log.stop(Instant::now() + PATIENCE)
    }
}

fn events(replay: &Replay) -> Vec<&str> {
    let bodies = replay.events.iter().map(|(_, body)| body);
    bodies.map(|body| str::from_utf8(body).unwrap()).collect()
}

fn effects(replay: &Replay) -> Vec<&str> {
    let bodies = replay.effects.iter();
    bodies.map(|body| str::from_utf8(body).unwrap()).collect()
}

fn log_bytes(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(file::NAME)).unwrap()
}

#[test]
fn a_start_replays_events_without_an_effect() {
    let scratch = scratch("replay");
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(replay, Replay::default());
    let first = rig.put("{\"n\":1}").unwrap();
    rig.put("{\"n\":\r\n2}").unwrap();
    let third = rig.put("{\"n\":3}").unwrap();
    rig.log.effect(&[first, third], b"{\"a\":1}");
    rig.log.effect(&[], b"{\"a\":2}");
    rig.put("{\"n\":4}").unwrap();
    assert!(rig.stop());
    assert_eq!(mode(&scratch.0.join(file::NAME)), 0o600);

    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"n\":  2}", "{\"n\":4}"]);
    assert_eq!(effects(&replay), ["{\"a\":1}", "{\"a\":2}"]);
    // An event that was settled without any change.
    rig.log.effect(&[replay.events[0].0], b"");
    let fifth = rig.put("{\"n\":5}").unwrap();
    assert!(fifth > replay.events[1].0);
    assert!(rig.stop());
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"n\":4}", "{\"n\":5}"]);
    assert_eq!(effects(&replay).len(), 2);
    rig.stop();
}

#[test]
fn events_that_come_together_share_a_sync() {
    const THREADS: usize = 50;
    const EACH: usize = 20;
    let scratch = scratch("group");
    let (rig, _) = Rig::open(&scratch.0);
    let before = rig.disk.syncs.load(SeqCst);
    // The first sync lasts until all events are queued, so the second serves all the others.
    rig.disk.hang(true);
    let handed_over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, disk, handed_over) = (&rig.log, &rig.disk, &handed_over);
            scope.spawn(move || {
                let ids: Vec<EventId> = (0..EACH)
                    .map(|n| log.append(format!("{thread}/{n}").as_bytes()).unwrap())
                    .collect();
                if handed_over.fetch_add(EACH, SeqCst) + EACH == THREADS * EACH {
                    disk.hang(false);
                }
                for id in ids {
                    log.wait(id, Instant::now() + PATIENCE).unwrap();
                }
            });
        }
    });
    let syncs = rig.disk.syncs.load(SeqCst) - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs");
    assert!(rig.stop());
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(replay.events.len(), THREADS * EACH);
    rig.stop();
}

#[test]
fn effects_are_synced_with_the_next_event_or_after_a_time() {
    let scratch = scratch("lazy");
    let (rig, _) = Rig::open(&scratch.0);
    let before = rig.disk.syncs.load(SeqCst);
    let id = rig.put("{}").unwrap();
    let started = Instant::now();
    rig.log.effect(&[id], b"{\"a\":1}");
    wait_until("a sync for the effect", || {
        rig.disk.syncs.load(SeqCst) >= before + 2
    });
    assert!(started.elapsed() >= EFFECT_SYNC_AFTER);
    rig.stop();
}

/// Pseudo-random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A line that was written, and where in the file it ends.
struct Written {
    event: Option<String>,
    settles: Vec<usize>,
    effect: Option<String>,
    /// The length of the file when it was known to be safe.
    end: usize,
}

/// Writes a log of some length, and returns what it must contain.
fn session(folder: &Path, seed: u64) -> Vec<Written> {
    let mut random = Random(seed);
    let (rig, _) = Rig::open(folder);
    let mut written: Vec<Written> = Vec::new();
    let mut open: Vec<(usize, EventId)> = Vec::new();
    for n in 0..12 {
        let mut entry = Written {
            event: None,
            settles: Vec::new(),
            effect: None,
            end: 0,
        };
        if open.is_empty() || random.below(2) == 0 {
            let body = format!("{{\"n\":{n},\"x\":\"{}\"}}", "é".repeat(random.below(12)));
            let id = rig.put(&body).unwrap();
            open.push((n, id));
            entry.event = Some(body);
        } else {
            let count = 1 + random.below(open.len());
            let settled: Vec<(usize, EventId)> = open.drain(..count).collect();
            let ids: Vec<EventId> = settled.iter().map(|(_, id)| *id).collect();
            let body = format!("{{\"effect\":{n}}}");
            let before = log_bytes(folder).len();
            rig.log.effect(&ids, body.as_bytes());
            entry.settles = settled.into_iter().map(|(n, _)| n).collect();
            entry.effect = Some(body);
            wait_until("the effect in the file", || {
                log_bytes(folder).last() == Some(&b'\n') && log_bytes(folder).len() != before
            });
        }
        entry.end = log_bytes(folder).len();
        written.push(entry);
    }
    assert!(rig.stop());
    written
}

/// A disk without syncs.
struct Unsynced;

impl Disk for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn read_cut(folder: &Path, bytes: &[u8]) -> file::Content {
    // A new file, because some file systems flush a file that is truncated and filled again.
    let _ = fs::remove_file(folder.join(file::NAME));
    fs::write(folder.join(file::NAME), bytes).unwrap();
    let state = Arc::new(StateDir::open(folder).unwrap());
    let (mut log_file, content) = LogFile::open(&state, Arc::new(Unsynced)).unwrap();
    // The rest is a log that can be appended to.
    let mut line = Vec::new();
    record::push_effect(&mut line, &[], b"later");
    log_file.append(&line).unwrap();
    drop(log_file);
    let (_, again) = LogFile::open(&state, Arc::new(Unsynced)).unwrap();
    assert_eq!(again.torn_bytes, 0);
    assert_eq!(again.effects.last().unwrap(), b"later");
    assert_eq!(again.events, content.events);
    content
}

#[test]
fn a_crash_at_any_byte_loses_no_safe_line_and_adds_none() {
    for seed in [1, 0x9e37_79b9_7f4a_7c15] {
        let scratch = scratch("crash");
        let written = session(&scratch.0, seed);
        let whole = log_bytes(&scratch.0);
        let mut random = Random(seed);
        for cut in 0..=whole.len() {
            let mut bytes = whole[..cut].to_vec();
            let safe: Vec<&Written> = written.iter().filter(|w| w.end <= cut).collect();
            let settled: Vec<usize> = safe.iter().flat_map(|w| w.settles.clone()).collect();
            let expected: Vec<&str> = safe
                .iter()
                .enumerate()
                .filter(|(n, _)| !settled.contains(n))
                .filter_map(|(_, w)| w.event.as_deref())
                .collect();
            let expected_effects: Vec<&str> =
                safe.iter().filter_map(|w| w.effect.as_deref()).collect();
            // After a power cut any bytes may follow the safe ones.
            if cut % 3 == 0 {
                let rubbish = random.below(60);
                bytes.push(0);
                bytes.extend((0..rubbish).map(|_| [0, b'\n', b' ', b'e', 0xff][random.below(5)]));
            }
            let content = read_cut(&scratch.0, &bytes);
            let found: Vec<&str> = (content.events.values())
                .map(|body| str::from_utf8(body).unwrap())
                .collect();
            assert_eq!(found, expected, "seed {seed}, cut at {cut}");
            assert_eq!(content.effects.len(), expected_effects.len());
            for (found, expected) in content.effects.iter().zip(expected_effects) {
                assert_eq!(found, expected.as_bytes(), "seed {seed}, cut at {cut}");
            }
            assert_eq!(content.damaged_lines, 0);
        }
    }
}

#[test]
fn a_corrupt_byte_damages_only_its_line() {
    let scratch = scratch("rot");
    let (rig, _) = Rig::open(&scratch.0);
    for n in 0..5 {
        rig.put(&format!("{{\"n\":{n}}}")).unwrap();
    }
    rig.stop();
    let whole = log_bytes(&scratch.0);
    let line_of = |at: usize| whole[..at].iter().filter(|b| **b == b'\n').count();
    for at in 0..whole.len() {
        for mask in [1, 0x20, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            let content = read_cut(&scratch.0, &bytes);
            let lost = match whole[at] == b'\n' {
                // The two lines have become one.
                true => vec![line_of(at), line_of(at) + 1],
                false => vec![line_of(at)],
            };
            let expected: Vec<Vec<u8>> = (0..5)
                .filter(|n| !lost.contains(n))
                .map(|n| format!("{{\"n\":{n}}}").into_bytes())
                .collect();
            let found: Vec<Vec<u8>> = content.events.into_values().collect();
            assert_eq!(found, expected, "byte {at} changed by {mask:#x}");
            let is_last = lost.contains(&4);
            assert_eq!(content.torn_bytes > 0, is_last, "byte {at}");
            assert_eq!(content.damaged_lines > 0, !is_last, "byte {at}");
        }
    }
}

#[test]
fn a_line_of_a_newer_version_is_skipped() {
    let scratch = scratch("newer");
    let (rig, _) = Rig::open(&scratch.0);
    rig.put("{}").unwrap();
    rig.stop();
    let mut bytes = Vec::new();
    record::push_event(&mut bytes, 7, b"{\"old\":1}");
    let at = bytes.len();
    record::push_event(&mut bytes, 8, b"{\"new\":1}");
    let text = String::from_utf8(bytes[at..].to_vec()).unwrap();
    let text = text.trim_end().split_once(' ').unwrap().1;
    let text = text.replace("event", "marvel");
    bytes.truncate(at);
    bytes.extend(record::checksum(text.as_bytes()));
    bytes.extend(format!(" {text}\n").bytes());
    let content = read_cut(&scratch.0, &bytes);
    assert_eq!(content.events.len(), 1);
    assert_eq!((content.damaged_lines, content.torn_bytes), (0, 0));
}

#[test]
fn a_growing_log_requests_a_checkpoint_and_is_short_afterwards() {
    let scratch = scratch("checkpoint");
    let (rig, _) = Rig::open_growing(&scratch.0, 10_000);
    let kept = rig.put("{\"kept\":1}").unwrap();
    let mut changes = 0;
    while rig.asked.try_recv().is_err() {
        let id = rig.put("{\"n\":1}").unwrap();
        rig.log.effect(&[id], &[b'x'; 500]);
        changes += 1;
        assert!(changes < 1000, "it was not asked");
    }
    assert!(log_bytes(&scratch.0).len() > 10_000);
    let last = rig.put("{\"last\":1}").unwrap();
    rig.log.checkpoint(&[last], b"all of it".to_vec());
    rig.log.effect(&[], b"{\"after\":1}");
    let later = rig.put("{\"later\":1}").unwrap();
    assert!(log_bytes(&scratch.0).len() < 400);
    assert_eq!(fs::read(scratch.0.join(SNAPSHOT)).unwrap(), b"all of it");
    assert_eq!(mode(&scratch.0.join(SNAPSHOT)), 0o600);
    assert_eq!(mode(&scratch.0.join(file::NAME)), 0o600);
    assert!(rig.asked.try_recv().is_err());
    assert!(rig.stop());
    let (rig, replay) = Rig::open(&scratch.0);
    let ids: Vec<EventId> = replay.events.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [kept, later]);
    assert_eq!(effects(&replay), ["{\"after\":1}"]);
    rig.stop();
}

#[test]
fn events_are_refused_while_the_disk_is_full() {
    let scratch = scratch("full");
    let (rig, _) = Rig::open(&scratch.0);
    rig.put("{\"n\":1}").unwrap();
    let whole = log_bytes(&scratch.0);
    rig.disk.is_full.store(true, SeqCst);
    for _ in 0..3 {
        let not_kept = rig.put("{\"n\":2}").unwrap_err();
        let text = not_kept.to_string();
        assert!(matches!(not_kept, NotKept::Failed(_)), "{not_kept:?}");
        assert!(
            text.contains("intents.log") && text.contains("append"),
            "{text}"
        );
        assert!(rig.log.is_failing());
        // The written part of the line was removed.
        assert_eq!(log_bytes(&scratch.0), whole);
    }
    rig.disk.is_full.store(false, SeqCst);
    rig.put("{\"n\":3}").unwrap();
    assert!(!rig.log.is_failing());
    assert!(rig.stop());
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"n\":1}", "{\"n\":3}"]);
    rig.stop();
}

#[test]
fn an_effect_without_room_is_replaced_by_a_checkpoint() {
    let scratch = scratch("effect");
    let (rig, _) = Rig::open(&scratch.0);
    let id = rig.put("{\"n\":1}").unwrap();
    rig.disk.is_full.store(true, SeqCst);
    rig.log.effect(&[id], b"{\"a\":1}");
    rig.wait_until_asked();
    // The disk is still full, so a checkpoint is requested again.
    rig.log.checkpoint(&[], b"one".to_vec());
    rig.wait_until_asked();
    assert!(rig.log.is_failing());
    rig.disk.is_full.store(false, SeqCst);
    rig.log.checkpoint(&[], b"two".to_vec());
    rig.put("{\"n\":2}").unwrap();
    assert!(!rig.log.is_failing());
    assert!(rig.stop());
    assert_eq!(fs::read(scratch.0.join(SNAPSHOT)).unwrap(), b"two");
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"n\":2}"]);
    assert_eq!(effects(&replay), [""; 0]);
    rig.stop();
}

#[test]
fn after_a_failed_sync_only_a_new_file_is_trusted() {
    let scratch = scratch("sync");
    let (rig, _) = Rig::open(&scratch.0);
    rig.put("{\"safe\":1}").unwrap();
    rig.disk.sync_fails.store(true, SeqCst);
    let not_kept = rig.put("{\"lost\":1}").unwrap_err();
    assert!(not_kept.to_string().contains("sync"), "{not_kept}");
    // The next sync would succeed, but would have written nothing.
    rig.disk.sync_fails.store(false, SeqCst);
    rig.wait_until_asked();
    let syncs = rig.disk.syncs.load(SeqCst);
    assert!(matches!(rig.put("{}"), Err(NotKept::Failed(_))));
    rig.log.effect(&[], b"{\"a\":1}");
    assert_eq!(rig.disk.syncs.load(SeqCst), syncs);
    rig.log.checkpoint(&[], b"all".to_vec());
    wait_until("the new file is used", || rig.put("{\"again\":1}").is_ok());
    assert!(!rig.log.is_failing());
    assert!(rig.stop());
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"safe\":1}", "{\"again\":1}"]);
    assert_eq!(effects(&replay), [""; 0]);
    rig.stop();
}

#[test]
fn an_interrupted_checkpoint_loses_nothing() {
    let scratch = scratch("half");
    let (rig, _) = Rig::open(&scratch.0);
    let id = rig.put("{\"n\":1}").unwrap();
    rig.log.effect(&[id], b"{\"a\":1}");
    rig.put("{\"n\":2}").unwrap();
    // The snapshot is written, the new log is not.
    rig.disk.writes.lock().unwrap().extend([true, false]);
    rig.log.checkpoint(&[], b"all".to_vec());
    rig.wait_until_asked();
    assert!(matches!(rig.put("{\"n\":3}"), Err(NotKept::Failed(_))));
    assert!(!rig.stop());
    assert_eq!(fs::read(scratch.0.join(SNAPSHOT)).unwrap(), b"all");
    let (rig, replay) = Rig::open(&scratch.0);
    assert_eq!(events(&replay), ["{\"n\":2}"]);
    assert_eq!(effects(&replay), ["{\"a\":1}"]);
    rig.stop();
}

#[test]
fn with_a_hung_disk_one_webhook_waits_and_the_next_is_refused_at_once() {
    let scratch = scratch("hang");
    let (rig, _) = Rig::open(&scratch.0);
    rig.disk.hang(true);
    let id = rig.log.append(b"{\"n\":1}").unwrap();
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(rig.log.wait(id, deadline), Err(NotKept::Stalled));
    assert!(Instant::now() >= deadline);
    wait_until("the hung disk is detected", || {
        rig.log.append(b"{\"n\":2}") == Err(NotKept::Stalled)
    });
    assert!(rig.log.is_failing());
    // Closing does not wait for it either.
    rig.log.close();
    rig.disk.hang(false);
    assert!(rig.stop());
    // The event that was answered 503 is settled. Those without a waiter are not.
    let (rig, replay) = Rig::open(&scratch.0);
    assert!(!events(&replay).contains(&"{\"n\":1}"));
    rig.stop();
}

#[test]
fn the_log_has_limits() {
    let scratch = scratch("limits");
    let (rig, _) = Rig::open(&scratch.0);
    let long = vec![b' '; record::LINE_BYTES_MAX];
    assert_eq!(rig.log.append(&long), Err(NotKept::TooLong));
    let ids: Vec<EventId> = (0..EVENTS_MAX)
        .map(|_| rig.log.append(b"{}").unwrap())
        .collect();
    assert_eq!(rig.log.append(b"{}"), Err(NotKept::Full));
    rig.log.effect(&ids[..1], b"");
    rig.log.append(b"{}").unwrap();
    // An effect that is too long for a line becomes a checkpoint.
    rig.log.effect(&[], &long);
    rig.wait_until_asked();
    rig.log.checkpoint(&ids, b"".to_vec());
    assert!(rig.stop());
}

#[test]
fn one_process_at_a_time() {
    let scratch = scratch("two");
    let (rig, _) = Rig::open(&scratch.0);
    let error = StateDir::open(&scratch.0).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(rig.stop());
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn it_is_known_which_effects_are_written() {
    let folder = scratch("intents");
    let state = Arc::new(StateDir::open(&folder).expect("a state directory"));
    let (log, _) = IntentLog::open(&state, SNAPSHOT, || ()).expect("a log");
    assert!(log.has_written(log.mark()), "nothing waits");
    log.effect(&[], b"{}");
    let mark = log.mark();
    wait_until("the effect is written", || log.has_written(mark));
    assert!(!log.has_written(mark + 1));
    log.checkpoint(&[], b"{}".to_vec());
    assert!(log.wait_for_checkpoint(Instant::now() + PATIENCE));
    assert!(log.has_written(log.mark()));
}
