//! The loop of the disk thread: receives jobs, writes files, retries failed writes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::fs::syncfs;

use super::{
    ALL_BACKLOG_BYTES, BACKLOG_BYTES, DiskCounters, Gauge, Job, RecorderSettings, SPARE_BYTES_MAX,
    STREAM_BYTES_MAX,
};
use crate::clock::now_ms;
use crate::delivery::coalesce;
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::feed::folders::StreamFolders;
use crate::recorder::crash_recovery;
use crate::recorder::stream_files::Recorder;
use crate::recorder::withdrawal::delete_stream;

/// Interval of retries, and of checks for files to sync.
const TICK: Duration = Duration::from_secs(1);
/// Files are synced this long after a write. Syncing at once would leave the disk no time for
/// anything else. At the end of a stream its files are synced at once.
const SYNC_AFTER: Duration = Duration::from_secs(5);
/// A stream with this many unwritten bytes is written at once even if more is on its way, so that
/// its buffers are reused.
const FLOOD_BYTES: usize = 32 << 10;
/// Maximum unwritten bytes of all streams. What arrives meanwhile is written together: the slower
/// the disk, the more bytes of a stream go into one call.
const ROUND_BYTES: usize = 4 << 20;
/// Maximum number of streams whose files are synced one by one. With more, whole file systems are
/// synced: at two thousand streams that is one call every five seconds and 1 % of the CPU, and a
/// power cut loses at most the same seconds of each stream.
const SYNCS_EACH_MAX: usize = 16;

pub(super) struct Writer {
    settings: RecorderSettings,
    jobs: Receiver<Job>,
    counters: Arc<DiskCounters>,
    /// Boxed, because a map allocates room for up to twice as many entries as it holds.
    entries: HashMap<u64, Box<Entry>>,
    /// The remaining folders of the search for orphaned streams.
    orphans: Option<StreamFolders>,
    /// Streams with unwritten records, and the bytes of all of them.
    unwritten: Vec<u64>,
    unwritten_bytes: usize,
    /// Due also while records keep coming.
    next_tick: Instant,
}

struct Entry {
    recorder: Recorder,
    gauge: Arc<Gauge>,
    /// Bytes of records received and not yet written.
    taken_bytes: usize,
    taken_records: u64,
    /// Drops that the recorder has been given so far.
    dropped: u64,
    is_failing: bool,
    has_ended: bool,
    unsynced_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        settings: RecorderSettings,
        jobs: Receiver<Job>,
        counters: Arc<DiskCounters>,
    ) -> Writer {
        Writer {
            settings,
            jobs,
            counters,
            entries: HashMap::new(),
            orphans: None,
            unwritten: Vec::new(),
            unwritten_bytes: 0,
            next_tick: Instant::now() + TICK,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let mut next = match self.wait() {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let had_work = next.is_some();
            if !had_work {
                self.complete_next();
            }
            while let Some(job) = next {
                if let Job::Stop(deadline) = job {
                    return self.stop(deadline);
                }
                self.handle(job);
                if self.unwritten_bytes >= ROUND_BYTES {
                    self.write_round();
                }
                // Also while jobs keep coming.
                self.tick_when_due();
                next = self.jobs.try_recv().ok();
            }
            self.write_round();
            self.tick_when_due();
            if had_work {
                std::thread::park_timeout(coalesce::WRITE_INTERVAL);
            }
        }
    }

    /// Writes the unwritten records of all streams.
    fn write_round(&mut self) {
        self.unwritten_bytes = 0;
        for key in std::mem::take(&mut self.unwritten) {
            self.write(key);
        }
    }

    fn tick_when_due(&mut self) {
        if self.next_tick <= Instant::now() {
            self.tick();
            self.next_tick = Instant::now() + TICK;
        }
    }

    /// The next job. Blocks without a deadline if there is nothing to retry and nothing to sync.
    fn wait(&self) -> Result<Job, RecvTimeoutError> {
        if let Ok(job) = self.jobs.try_recv() {
            return Ok(job);
        }
        if self.orphans.is_some() {
            return Err(RecvTimeoutError::Timeout);
        }
        let is_idle = self
            .entries
            .values()
            .all(|entry| !entry.is_failing && !entry.has_ended && entry.unsynced_since.is_none());
        if is_idle {
            return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        let left = self.next_tick.saturating_duration_since(Instant::now());
        self.jobs.recv_timeout(left)
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Open(key, info, gauge) => {
                let entry = self.open(info, gauge);
                self.entries.insert(key, Box::new(entry));
                self.write(key);
            }
            Job::Records(key, mut records, bytes) => {
                let Some(entry) = self.entries.get_mut(&key) else {
                    // Consent for its stream was withdrawn in the meantime.
                    self.released(bytes);
                    return;
                };
                for record in records.iter() {
                    entry.recorder.push(&record);
                }
                entry.taken_records += records.count() as u64;
                if records.capacity() <= SPARE_BYTES_MAX {
                    records.clear();
                    entry.gauge.spare_records.give_back(records);
                }
                self.taken(key, bytes);
            }
            Job::Packets(key, mut batch, bytes) => {
                let Some(entry) = self.entries.get_mut(&key) else {
                    self.released(bytes);
                    return;
                };
                entry.recorder.push_packets(&batch);
                entry.taken_records += batch.count() as u64;
                batch.clear();
                entry.gauge.spare_batch.give_back(batch);
                self.taken(key, bytes);
            }
            Job::Granted(key, granted) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.recorder.on_granted(&granted);
                    self.write(key);
                }
            }
            Job::Media(key, change) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.recorder.on_media_change(&change);
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
            Job::Discard(withdrawal, former_roots) => self.discard(&withdrawal, former_roots),
            Job::CompleteOrphans => self.orphans = Some(StreamFolders::below(&self.settings.root)),
            Job::Settings(settings) => self.settings = settings,
            Job::Stop(_) => {}
        }
    }

    /// Writes the received records of a stream at once, while they are in the CPU cache. Waits for
    /// the round if more records are on their way, or if the last write failed.
    fn taken(&mut self, key: u64, bytes: usize) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let was_written = entry.taken_bytes == 0;
        entry.taken_bytes += bytes;
        let is_all = entry.gauge.waiting_bytes.load(Relaxed) <= entry.taken_bytes;
        if !entry.is_failing && (is_all || entry.taken_bytes >= FLOOD_BYTES) {
            return self.write(key);
        }
        if was_written {
            self.unwritten.push(key);
        }
        self.unwritten_bytes += bytes;
    }

    /// Completes one orphaned folder.
    fn complete_next(&mut self) {
        let Some(mut orphans) = self.orphans.take() else {
            return;
        };
        let Some(folder) = orphans.next() else { return };
        let mut open = self.entries.values().map(|entry| entry.recorder.folder());
        if !open.any(|own| own == folder) {
            match crash_recovery::complete(orphans.root(), &folder, now_ms()) {
                Ok(true) => log::warn!(
                    "recovered a stream left unfinished folder={}",
                    folder.display()
                ),
                Ok(false) => {}
                Err(error) => log::error!(
                    "cannot complete the files of an earlier process folder={} error=\"{error}\"",
                    folder.display()
                ),
            }
        }
        self.orphans = Some(orphans);
    }

    /// If the stream was started again before its end was written, its old entry continues: two
    /// writers of one file would number and order their records independently.
    fn open(&mut self, info: StreamInfo, gauge: Arc<Gauge>) -> Entry {
        let old = self
            .entries
            .iter()
            .find(|(_, entry)| entry.is_of(&info))
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
                ..*entry
            };
        }
        let RecorderSettings {
            root,
            formats,
            params,
        } = &self.settings;
        Entry {
            recorder: Recorder::open(root, info, *formats, *params, now_ms()),
            gauge,
            taken_bytes: 0,
            taken_records: 0,
            dropped: 0,
            is_failing: false,
            has_ended: false,
            unsynced_since: None,
        }
    }

    /// Writes the waiting records of a stream, and removes the stream once it has ended and
    /// everything is written.
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
                if entry.is_failing {
                    entry.is_failing = false;
                    self.counters.failing_streams.fetch_sub(1, Relaxed);
                    log::info!(
                        "disk writable again stream={} folder={} dropped={}",
                        entry.recorder.info().stream_id,
                        entry.recorder.folder().display(),
                        entry.dropped
                    );
                }
                self.counters
                    .records
                    .fetch_add(entry.taken_records, Relaxed);
                entry.taken_records = 0;
                let bytes = entry.release();
                if entry.recorder.is_unsynced() {
                    entry.unsynced_since.get_or_insert_with(Instant::now);
                }
                if entry.has_ended {
                    self.entries.remove(&key);
                }
                self.released(bytes);
            }
            Err(error) => {
                self.counters.errors.fetch_add(1, Relaxed);
                if !entry.is_failing {
                    entry.is_failing = true;
                    self.counters.failing_streams.fetch_add(1, Relaxed);
                    log::error!(
                        "cannot write stream={} folder={} error=\"{error}\"; records wait, up to {} MiB a \
                         stream; free or repair the disk under RTMS_OUT",
                        entry.recorder.info().stream_id,
                        entry.recorder.folder().display(),
                        STREAM_BYTES_MAX >> 20
                    );
                }
            }
        }
    }

    /// Subtracts bytes from the waiting total, and wakes the streams if it falls below the mark.
    fn released(&self, bytes: usize) {
        let before = self.counters.waiting_bytes.fetch_sub(bytes, Relaxed);
        if before > ALL_BACKLOG_BYTES && before - bytes <= ALL_BACKLOG_BYTES {
            self.entries.values().for_each(|entry| entry.wake());
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let failing: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_failing || entry.has_ended)
            .map(|(key, _)| *key)
            .collect();
        for key in failing {
            self.write(key);
        }
        let unsynced = |is_wanted: &dyn Fn(Instant) -> bool| -> Vec<u64> {
            let entries = self.entries.iter();
            let wanted = entries.filter(|(_, entry)| entry.unsynced_since.is_some_and(is_wanted));
            wanted.map(|(key, _)| *key).collect()
        };
        let due = unsynced(&|since| now.saturating_duration_since(since) >= SYNC_AFTER);
        match due.len() {
            0..=SYNCS_EACH_MAX => self.sync_each(&due),
            _ => self.sync_all(&unsynced(&|_| true)),
        }
    }

    fn sync_each(&mut self, keys: &[u64]) {
        for key in keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.unsynced_since = None;
                let synced = entry.recorder.sync();
                self.note(*key, synced);
            }
        }
    }

    /// One syncfs(2) per file system; usually there is only one.
    fn sync_all(&mut self, keys: &[u64]) {
        let mut devices: HashMap<u64, Vec<u64>> = HashMap::new();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.unsynced_since = None;
                match entry.recorder.prepare_sync() {
                    Ok(device) => devices.entry(device).or_default().push(*key),
                    Err(error) => self.note(*key, Err(error)),
                }
            }
        }
        for keys in devices.values() {
            let first = keys.first();
            let Some((key, entry)) = first.and_then(|key| self.entries.get_key_value(key)) else {
                continue;
            };
            let key = *key;
            let synced = File::open(entry.recorder.folder()).and_then(|file| Ok(syncfs(&file)?));
            if synced.is_ok() {
                for key in keys {
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.recorder.synced();
                    }
                }
            }
            self.note(key, synced);
        }
    }

    /// Logs a failed sync: a power cut may lose these files.
    fn note(&self, key: u64, synced: io::Result<()>) {
        let (Err(error), Some(entry)) = (synced, self.entries.get(&key)) else {
            return;
        };
        self.counters.errors.fetch_add(1, Relaxed);
        log::error!(
            "cannot sync stream={} folder={} {error}",
            entry.recorder.info().stream_id,
            entry.recorder.folder().display()
        );
    }

    fn discard(&mut self, withdrawal: &Withdrawal, former_roots: Vec<PathBuf>) {
        let Withdrawal {
            id,
            stream_id,
            is_repeat,
        } = withdrawal;
        let is_of = |entry: &Entry| {
            let info = entry.recorder.info();
            info.stream_id == *stream_id && id.as_ref().is_none_or(|id| info.id == *id)
        };
        let entries = self.entries.iter();
        let open = entries.filter(|(_, entry)| is_of(entry));
        let keys: Vec<u64> = open.map(|(key, _)| *key).collect();
        let mut files = Ok(0);
        for key in keys {
            let Some(mut entry) = self.entries.remove(&key) else {
                continue;
            };
            let bytes = entry.release();
            self.released(bytes);
            if entry.is_failing {
                self.counters.failing_streams.fetch_sub(1, Relaxed);
            }
            files = entry.recorder.discard();
        }
        let mut roots = former_roots;
        roots.retain(|root| *root != self.settings.root);
        roots.push(self.settings.root.clone());
        let rest = delete_stream(&roots, id.as_deref(), stream_id);
        match (files, rest) {
            // Ordered before, by this process or an earlier one.
            (Ok(0), Ok(0)) if *is_repeat => {
                log::debug!("consent withdrawn: nothing is left stream={stream_id}");
            }
            (Ok(0), Ok(0)) => log::warn!(
                "consent withdrawn, but no file was found stream={stream_id} folders={}; delete what \
                 was moved or copied elsewhere by hand",
                roots.len()
            ),
            (Ok(open), Ok(rest)) => log::warn!(
                "consent withdrawn: deleted files={} stream={stream_id}",
                open + rest
            ),
            (Err(error), _) | (_, Err(error)) => {
                self.counters.errors.fetch_add(1, Relaxed);
                log::error!(
                    "consent withdrawn, but files cannot be deleted stream={stream_id}: {error}; delete \
                     the stream's folder under RTMS_OUT by hand"
                );
            }
        }
    }

    /// Handles the jobs still in the queue, and retries failing writes until the deadline.
    fn stop(mut self, deadline: Instant) {
        while let Ok(job) = self.jobs.try_recv() {
            self.handle(job);
        }
        loop {
            let keys: Vec<u64> = self.entries.keys().copied().collect();
            for key in keys {
                self.write(key);
                if let Some(entry) = self.entries.get_mut(&key) {
                    // A failed sync is ignored here: the records are written.
                    let _ = entry.recorder.sync();
                }
            }
            let is_done = self.entries.values().all(|entry| !entry.is_failing);
            if is_done || Instant::now() + Duration::from_millis(200) > deadline {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        for entry in self.entries.values().filter(|entry| entry.is_failing) {
            log::error!(
                "records lost at shutdown stream={} folder={} records={}",
                entry.recorder.info().stream_id,
                entry.recorder.folder().display(),
                entry.taken_records
            );
        }
    }
}

impl Entry {
    fn is_of(&self, info: &StreamInfo) -> bool {
        let own = self.recorder.info();
        own.stream_id == info.stream_id && own.id == info.id
    }

    /// Resets the unwritten bytes, which are written or dropped now. Returns how many they were.
    fn release(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.taken_bytes);
        let before = self.gauge.waiting_bytes.fetch_sub(bytes, Relaxed);
        if before > BACKLOG_BYTES && before - bytes <= BACKLOG_BYTES {
            self.wake();
        }
        bytes
    }

    /// Wakes the stream, which may be slowed down by its backlog.
    fn wake(&self) {
        if let Some(waker) = self.gauge.waker.get() {
            waker.wake();
        }
    }
}
