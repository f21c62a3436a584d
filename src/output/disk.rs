//! The thread that owns every file.
//!
//! Streams hand it batches and never wait for it. What waits is measured in bytes, for each stream
//! and in all: above a mark a stream reads more slowly, above the limit its records are dropped,
//! counted, and the count is written into `meta.json`. While the disk refuses, what was handed over
//! is kept and tried again every second.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::packets::Batch;
use super::path::stream_folder;
use super::record::{Record, StreamInfo};
use super::recorder::{Formats, Recorder, discard_folder};
use super::unfinished::{self, StreamFolders};
use crate::meeting::Sink;
use crate::protocol::{EndReason, MediaParams, Notice, StreamEvent};
use crate::time::now_ms;
use crate::waker::Waker;

/// Above this many waiting bytes a stream reads more slowly.
const BEHIND_BYTES: usize = 1 << 20;
/// Most bytes that wait for one stream: hours of phrases, half a minute of a flood.
pub const STREAM_BYTES_MAX: usize = 16 << 20;
/// Most bytes that wait for all streams.
pub const ALL_BYTES_MAX: usize = 256 << 20;
/// A batch is handed over at this size, also in a flood.
const BATCH_BYTES: usize = 32 << 10;
/// The same for packets of audio, video and share.
const PACKETS_BYTES: usize = 256 << 10;
/// How often a disk that refuses is tried again, and how often there is a look at what to sync.
const TICK: Duration = Duration::from_secs(1);
/// What was written is made to survive a power cut this long after. Never at once: at two thousand
/// streams the disk would do nothing else. The end of a stream syncs at once.
const SYNC_AFTER: Duration = Duration::from_secs(5);
/// Most streams synced in one tick.
const SYNCS_PER_TICK: usize = 16;

/// Where and how.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// `RTMS_OUT`.
    pub root: PathBuf,
    /// `RTMS_TRANSCRIPT`.
    pub formats: Formats,
    /// Media parameters that are asked for: in force where Zoom grants without saying what.
    pub params: MediaParams,
}

/// What the disk thread counts.
#[derive(Debug, Default)]
pub struct DiskCounters {
    /// Records written.
    pub records: AtomicU64,
    /// Records dropped because too much waited.
    pub dropped: AtomicU64,
    /// Failed attempts to write.
    pub errors: AtomicU64,
    /// Streams whose files cannot be written at present.
    pub troubled: AtomicU64,
    /// Bytes of records that wait.
    pub waiting_bytes: AtomicUsize,
}

/// The owner of the disk thread.
#[derive(Debug)]
pub struct Disk {
    sender: Sender<Job>,
    thread: JoinHandle<()>,
    counters: Arc<DiskCounters>,
    next_key: AtomicU64,
}

#[derive(Debug)]
enum Job {
    Open(u64, StreamInfo, Arc<Gauge>),
    Records(u64, Vec<Record>, usize),
    Packets(u64, Batch, usize),
    Granted(u64, String, String),
    End(u64, EndReason),
    Discard(StreamInfo),
    CompleteRest,
    Settings(DiskSettings),
    Stop(Instant),
}

/// How much waits for one stream.
#[derive(Debug, Default)]
struct Gauge {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    waker: OnceLock<Waker>,
    /// An empty batch on its way back, so that its buffers are used again.
    spare: Mutex<Option<Batch>>,
}

impl Disk {
    /// Starts the thread.
    pub fn start(settings: DiskSettings) -> io::Result<Disk> {
        let (sender, jobs) = mpsc::channel();
        let counters = Arc::new(DiskCounters::default());
        let shared = Arc::clone(&counters);
        let thread = Builder::new()
            .name("disk".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                Writer {
                    settings,
                    jobs,
                    counters: shared,
                    entries: HashMap::new(),
                    rest: None,
                    next_tick: Instant::now() + TICK,
                }
                .run();
            })?;
        Ok(Disk {
            sender,
            thread,
            counters,
            next_key: AtomicU64::new(0),
        })
    }

    /// A sink for one stream.
    pub fn sink(&self, info: StreamInfo) -> DiskSink {
        let key = self.next_key.fetch_add(1, Relaxed);
        let gauge = Arc::new(Gauge::default());
        let _ = self.sender.send(Job::Open(key, info, Arc::clone(&gauge)));
        DiskSink {
            key,
            gauge,
            counters: Arc::clone(&self.counters),
            sender: self.sender.clone(),
            batch: Vec::new(),
            batch_bytes: 0,
            packets: Batch::default(),
        }
    }

    /// Deletes what a stream left behind, open or not, after everything that was handed over for it.
    pub fn discard(&self, info: StreamInfo) {
        let _ = self.sender.send(Job::Discard(info));
    }

    /// Completes, where there is nothing else to do, the files of earlier processes that no stream
    /// goes on with. To be asked for once the streams that go on have their sinks.
    pub fn complete_rest(&self) {
        let _ = self.sender.send(Job::CompleteRest);
    }

    /// Other settings, for streams that begin from here on.
    pub fn reload(&self, settings: DiskSettings) {
        let _ = self.sender.send(Job::Settings(settings));
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<DiskCounters> {
        &self.counters
    }

    /// Writes what waits, for as long as `deadline` allows, and ends the thread. A disk that hangs
    /// in the kernel cannot be waited for: then the thread is left behind, and `false` returned.
    pub fn stop(self, deadline: Instant) -> bool {
        let _ = self.sender.send(Job::Stop(deadline));
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

/// Hands what a stream receives to the disk thread.
#[derive(Debug)]
pub struct DiskSink {
    key: u64,
    gauge: Arc<Gauge>,
    counters: Arc<DiskCounters>,
    sender: Sender<Job>,
    batch: Vec<Record>,
    batch_bytes: usize,
    packets: Batch,
}

impl DiskSink {
    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        if self.admit(bytes, batch.len() as u64) {
            let _ = self.sender.send(Job::Records(self.key, batch, bytes));
        }
    }

    fn hand_over_packets(&mut self) {
        if self.packets.is_empty() {
            return;
        }
        let bytes = self.packets.size();
        if !self.admit(bytes, self.packets.count() as u64) {
            self.packets.clear();
            return;
        }
        // A lock that is held is not waited for; a new batch does as well.
        let spare = self.gauge.spare.try_lock();
        let spare = spare.ok().and_then(|mut spare| spare.take());
        let batch = std::mem::replace(&mut self.packets, spare.unwrap_or_default());
        let _ = self.sender.send(Job::Packets(self.key, batch, bytes));
    }

    /// Whether so much more may wait; if not, it counts as dropped.
    fn admit(&self, bytes: usize, count: u64) -> bool {
        let all = self.counters.waiting_bytes.load(Relaxed);
        let own = self.gauge.waiting_bytes.load(Relaxed);
        if own + bytes > STREAM_BYTES_MAX || all + bytes > ALL_BYTES_MAX {
            self.gauge.dropped.fetch_add(count, Relaxed);
            if self.counters.dropped.fetch_add(count, Relaxed) == 0 {
                log::error!(
                    "the disk takes nothing and {} MiB wait: records are dropped from here on; \
                     free or repair the disk under RTMS_OUT",
                    own >> 20
                );
            }
            return false;
        }
        self.gauge.waiting_bytes.fetch_add(bytes, Relaxed);
        self.counters.waiting_bytes.fetch_add(bytes, Relaxed);
        true
    }
}

impl Sink for DiskSink {
    fn begin(&mut self, waker: Waker) {
        let _ = self.gauge.waker.set(waker);
    }

    fn event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Packet(kind, packet) = event {
            self.packets.push(*kind, packet);
            if self.packets.size() >= PACKETS_BYTES {
                self.hand_over_packets();
            }
            return;
        }
        let Some(record) = Record::of(event) else {
            return;
        };
        self.batch_bytes += record.size();
        self.batch.push(record);
        if self.batch_bytes >= BATCH_BYTES {
            self.hand_over();
        }
    }

    fn notice(&mut self, notice: &Notice) {
        if let Notice::Granted(kind, params) = notice {
            let kind = kind.name().to_owned();
            // What was received before came in another form.
            self.hand_over_packets();
            let _ = self
                .sender
                .send(Job::Granted(self.key, kind, params.clone()));
        }
    }

    fn flush(&mut self) {
        self.hand_over();
        self.hand_over_packets();
    }

    fn is_behind(&self) -> bool {
        self.gauge.waiting_bytes.load(Relaxed) > BEHIND_BYTES
    }

    fn end(&mut self, reason: &EndReason) {
        self.flush();
        let _ = self.sender.send(Job::End(self.key, reason.clone()));
    }
}

/// A sink that goes without its stream's end: the thread of the stream panicked. Its files are
/// completed all the same.
impl Drop for DiskSink {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.flush();
            let _ = self.sender.send(Job::End(self.key, EndReason::Panicked));
        }
    }
}

struct Writer {
    settings: DiskSettings,
    jobs: Receiver<Job>,
    counters: Arc<DiskCounters>,
    entries: HashMap<u64, Entry>,
    /// Where the search for what nobody completes has got to.
    rest: Option<StreamFolders>,
    /// Comes also while records keep coming.
    next_tick: Instant,
}

struct Entry {
    recorder: Recorder,
    info: StreamInfo,
    gauge: Arc<Gauge>,
    /// Bytes of records taken and not yet written.
    taken_bytes: usize,
    taken_records: u64,
    /// Drops told to the recorder so far.
    dropped: u64,
    is_troubled: bool,
    has_ended: bool,
    unsynced_since: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            // With nothing to try again and nothing to sync there is no reason to wake.
            let is_idle = self.entries.values().all(|entry| {
                !entry.is_troubled && !entry.has_ended && entry.unsynced_since.is_none()
            });
            let job = if self.rest.is_some() {
                self.jobs.recv_timeout(Duration::ZERO)
            } else if is_idle {
                self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                let left = self.next_tick.saturating_duration_since(Instant::now());
                self.jobs.recv_timeout(left)
            };
            if !is_idle && self.next_tick <= Instant::now() {
                self.tick();
                self.next_tick = Instant::now() + TICK;
            }
            match job {
                Ok(Job::Stop(deadline)) => return self.stop(deadline),
                Ok(job) => self.handle(job),
                Err(RecvTimeoutError::Timeout) => self.complete_next(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Open(key, info, gauge) => {
                let entry = self.open(info, gauge);
                self.entries.insert(key, entry);
                self.write(key);
            }
            Job::Records(key, records, bytes) => {
                let Some(entry) = self.entries.get_mut(&key) else {
                    // Its stream was revoked in the meantime.
                    self.counters.waiting_bytes.fetch_sub(bytes, Relaxed);
                    return;
                };
                for record in &records {
                    entry.recorder.take(record);
                }
                entry.taken_bytes += bytes;
                entry.taken_records += records.len() as u64;
                if !entry.is_troubled {
                    self.write(key);
                }
            }
            Job::Packets(key, mut batch, bytes) => {
                let Some(entry) = self.entries.get_mut(&key) else {
                    self.counters.waiting_bytes.fetch_sub(bytes, Relaxed);
                    return;
                };
                entry.recorder.take_packets(&batch);
                entry.taken_bytes += bytes;
                entry.taken_records += batch.count() as u64;
                batch.clear();
                if let Ok(mut spare) = entry.gauge.spare.try_lock() {
                    *spare = Some(batch);
                }
                if !entry.is_troubled {
                    self.write(key);
                }
            }
            Job::Granted(key, kind, params) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.recorder.granted(&kind, params);
                    self.write(key);
                }
            }
            Job::End(key, reason) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.recorder.end(&reason, now_ms());
                    entry.has_ended = true;
                    self.write(key);
                }
            }
            Job::Discard(info) => self.discard(&info),
            Job::CompleteRest => self.rest = Some(StreamFolders::below(&self.settings.root)),
            Job::Settings(settings) => self.settings = settings,
            Job::Stop(_) => {}
        }
    }

    /// One folder of those that earlier processes left.
    fn complete_next(&mut self) {
        let Some(mut rest) = self.rest.take() else {
            return;
        };
        let Some(folder) = rest.next() else { return };
        let is_open = |entry: &Entry| entry.recorder.folder() == folder;
        if !self.entries.values().any(is_open) {
            match unfinished::complete(rest.root(), &folder, now_ms()) {
                Ok(true) => log::warn!(
                    "completed what an earlier process left unfinished folder={}",
                    folder.display()
                ),
                Ok(false) => {}
                Err(error) => log::error!(
                    "cannot complete what an earlier process left folder={} error=\"{error}\"",
                    folder.display()
                ),
            }
        }
        self.rest = Some(rest);
    }

    /// A stream that lives again while its end still waits for the disk goes on in the same files:
    /// two writers of one file would number and order their records each by itself.
    fn open(&mut self, info: StreamInfo, gauge: Arc<Gauge>) -> Entry {
        let is_same =
            |entry: &Entry| entry.info.stream_id == info.stream_id && entry.info.id == info.id;
        let old = self
            .entries
            .iter()
            .find(|(_, entry)| is_same(entry))
            .map(|(key, _)| *key);
        if let Some(mut entry) = old.and_then(|key| self.entries.remove(&key)) {
            entry.recorder.reopen();
            gauge.waiting_bytes.fetch_add(entry.taken_bytes, Relaxed);
            let dropped = entry
                .gauge
                .dropped
                .load(Relaxed)
                .saturating_sub(entry.dropped);
            entry.recorder.dropped(dropped);
            return Entry {
                gauge,
                dropped: 0,
                has_ended: false,
                ..entry
            };
        }
        let DiskSettings {
            root,
            formats,
            params,
        } = &self.settings;
        let recorder = Recorder::open(root, info.clone(), *formats, *params, now_ms());
        Entry {
            recorder,
            info,
            gauge,
            taken_bytes: 0,
            taken_records: 0,
            dropped: 0,
            is_troubled: false,
            has_ended: false,
            unsynced_since: None,
        }
    }

    /// Writes what waits for a stream, and drops the stream once it has ended and all is written.
    fn write(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let dropped = entry.gauge.dropped.load(Relaxed);
        if dropped > entry.dropped {
            entry.recorder.dropped(dropped - entry.dropped);
            entry.dropped = dropped;
        }
        let written = entry.recorder.write().and_then(|()| match entry.has_ended {
            true => entry.recorder.sync(),
            false => Ok(()),
        });
        match written {
            Ok(()) => {
                if entry.is_troubled {
                    entry.is_troubled = false;
                    self.counters.troubled.fetch_sub(1, Relaxed);
                    log::info!(
                        "the disk takes records again stream={} folder={} dropped={}",
                        entry.info.stream_id,
                        entry.recorder.folder().display(),
                        entry.dropped
                    );
                }
                self.counters
                    .records
                    .fetch_add(entry.taken_records, Relaxed);
                entry.taken_records = 0;
                entry.release(&self.counters);
                if entry.recorder.is_unsynced() {
                    entry.unsynced_since.get_or_insert_with(Instant::now);
                }
                if entry.has_ended {
                    self.entries.remove(&key);
                }
            }
            Err(error) => {
                self.counters.errors.fetch_add(1, Relaxed);
                if !entry.is_troubled {
                    entry.is_troubled = true;
                    self.counters.troubled.fetch_add(1, Relaxed);
                    log::error!(
                        "cannot write stream={} folder={} error=\"{error}\"; records wait, up to {} MiB a \
                         stream; free or repair the disk under RTMS_OUT",
                        entry.info.stream_id,
                        entry.recorder.folder().display(),
                        STREAM_BYTES_MAX >> 20
                    );
                }
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let troubled: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_troubled || entry.has_ended)
            .map(|(key, _)| *key)
            .collect();
        for key in troubled {
            self.write(key);
        }
        let mut due: Vec<(Instant, u64)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.unsynced_since?, *key)))
            .filter(|(since, _)| now.saturating_duration_since(*since) >= SYNC_AFTER)
            .collect();
        due.sort_unstable();
        for (_, key) in due.into_iter().take(SYNCS_PER_TICK) {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.unsynced_since = None;
            if let Err(error) = entry.recorder.sync() {
                self.counters.errors.fetch_add(1, Relaxed);
                log::error!(
                    "cannot sync stream={} folder={} {error}",
                    entry.info.stream_id,
                    entry.recorder.folder().display()
                );
            }
        }
    }

    fn discard(&mut self, info: &StreamInfo) {
        let keys: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.info.stream_id == info.stream_id && entry.info.id == info.id)
            .map(|(key, _)| *key)
            .collect();
        let mut files = Ok(0);
        for key in keys {
            let Some(mut entry) = self.entries.remove(&key) else {
                continue;
            };
            entry.release(&self.counters);
            if entry.is_troubled {
                self.counters.troubled.fetch_sub(1, Relaxed);
            }
            files = entry.recorder.discard();
        }
        let folder = stream_folder(info.started_ms, &info.id, &info.stream_id);
        let rest = discard_folder(&self.settings.root.join(folder));
        match (files, rest) {
            (Ok(open), Ok(rest)) => {
                let files = open + rest;
                // A restart looks again whether something was left.
                let level = match files {
                    0 => log::Level::Debug,
                    _ => log::Level::Warn,
                };
                log::log!(
                    level,
                    "consent withdrawn: deleted files={files} stream={}",
                    info.stream_id
                );
            }
            (Err(error), _) | (_, Err(error)) => {
                self.counters.errors.fetch_add(1, Relaxed);
                log::error!(
                    "consent withdrawn, but files cannot be deleted stream={}: {error}; delete the \
                     stream's folder under RTMS_OUT by hand",
                    info.stream_id
                );
            }
        }
    }

    /// What is still in the queue is written too; a disk in trouble gets its chance until the
    /// deadline.
    fn stop(mut self, deadline: Instant) {
        while let Ok(job) = self.jobs.try_recv() {
            self.handle(job);
        }
        loop {
            let keys: Vec<u64> = self.entries.keys().copied().collect();
            for key in keys {
                self.write(key);
                if let Some(entry) = self.entries.get_mut(&key) {
                    // Syncing is worth a try only; the files are whole as they are.
                    let _ = entry.recorder.sync();
                }
            }
            let is_done = self.entries.values().all(|entry| !entry.is_troubled);
            if is_done || Instant::now() + Duration::from_millis(200) > deadline {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        for entry in self.entries.values().filter(|entry| entry.is_troubled) {
            log::error!(
                "lost at the end stream={} folder={} records={}",
                entry.info.stream_id,
                entry.recorder.folder().display(),
                entry.taken_records
            );
        }
    }
}

impl Entry {
    /// What was taken waits no more.
    fn release(&mut self, counters: &DiskCounters) {
        let bytes = std::mem::take(&mut self.taken_bytes);
        counters.waiting_bytes.fetch_sub(bytes, Relaxed);
        let before = self.gauge.waiting_bytes.fetch_sub(bytes, Relaxed);
        if before > BEHIND_BYTES
            && before - bytes <= BEHIND_BYTES
            && let Some(waker) = self.gauge.waker.get()
        {
            waker.wake();
        }
    }
}
