//! The loop of the disk thread: receives jobs, writes files, retries failed writes.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::syncer::Syncer;
use super::{
    ALL_BACKLOG_BYTES, DiskCounters, FeedShare, Gauge, Job, RecorderSettings, SPARE_BYTES_MAX,
    STREAM_BYTES_MAX, StopReport,
};
use crate::clock::now_ms;
use crate::delivery::coalesce;
use crate::delivery::ends::Ends;
use crate::domain::stream_info::StreamInfo;
use crate::feed::folders::StreamFolders;
use crate::recorder::crash_recovery;
use crate::recorder::journal::Opening;
use crate::recorder::journal::server::Cause;
use crate::recorder::stream_files::Recorder;

mod ended;
mod entry;
mod journals;
mod panics;
mod stop;
mod syncs;
mod withdrawn;

use ended::{Ending, announce_orphan};
use entry::Entry;
use journals::Feed;

/// Interval of retries, and of checks for files to sync.
const TICK: Duration = Duration::from_secs(1);
/// Written data is synced after this time. Not at once, because the disk would do nothing else. The
/// end of a stream is synced with the next group.
const SYNC_AFTER: Duration = Duration::from_secs(5);
/// A stream with this many unwritten bytes is written at once even if more is on its way, so that
/// its buffers are reused.
const FLOOD_BYTES: usize = 32 << 10;
/// Maximum unwritten bytes of all streams. What arrives meanwhile is written together: the slower
/// the disk, the more bytes of a stream go into one call.
const ROUND_BYTES: usize = 4 << 20;
pub(super) struct Writer {
    settings: RecorderSettings,
    state: Option<PathBuf>,
    jobs: Receiver<Job>,
    counters: Arc<DiskCounters>,
    shared: Arc<FeedShare>,
    /// From when journals were wanted first.
    feed: Option<Feed>,
    syncer: Syncer,
    /// Whether a group of syncs is running.
    is_syncing: bool,
    /// Whether a sync failed. Then it is unknown what is on the disk, and the next fdatasync(2) of the
    /// same file reports success; so the next group syncs whole file systems.
    must_sync_all: bool,
    /// Streams whose end is written, but not yet given to the sync thread.
    ended: BTreeSet<u64>,
    /// Streams whose writing panicked too often.
    given_up: BTreeSet<u64>,
    /// Next key for a stream of an earlier process; keys of this process are never so large.
    orphan_key: u64,
    /// Boxed, because a map allocates room for up to twice as many entries as it holds.
    entries: HashMap<u64, Box<Entry>>,
    /// The remaining folders of the search for orphaned streams.
    orphans: Option<StreamFolders>,
    /// Streams with unwritten records, and the bytes of all of them.
    unwritten: Vec<u64>,
    unwritten_bytes: usize,
    /// Due also while records keep coming.
    next_tick: Instant,
    /// Where ends are announced.
    ends: Option<Ends>,
    ending: Ending,
}

impl Writer {
    pub(super) fn new(
        settings: RecorderSettings,
        state: Option<PathBuf>,
        jobs: Receiver<Job>,
        counters: Arc<DiskCounters>,
        syncer: Syncer,
        shared: Arc<FeedShare>,
        ends: Option<Ends>,
    ) -> Writer {
        let mut writer = Writer {
            ends,
            ending: Ending::default(),
            settings,
            state,
            jobs,
            counters,
            shared,
            feed: None,
            syncer,
            is_syncing: false,
            must_sync_all: false,
            ended: BTreeSet::new(),
            given_up: BTreeSet::new(),
            orphan_key: u64::MAX,
            entries: HashMap::new(),
            orphans: None,
            unwritten: Vec::new(),
            unwritten_bytes: 0,
            next_tick: Instant::now() + TICK,
        };
        // What was revoked is known before anything is read.
        writer.open_feed();
        writer
    }

    /// Runs until it is asked to stop, or its owner is dropped.
    pub(super) fn run(mut self) -> StopReport {
        let mut pace = coalesce::Pace::default();
        loop {
            self.counters.progress.waits();
            let waited = self.wait();
            if waited.is_ok() {
                pace.before_write();
            }
            self.counters.progress.works();
            let mut next = match waited {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return StopReport::default(),
            };
            let had_work = next.is_some();
            if !had_work {
                self.complete_next();
            }
            while let Some(job) = next {
                if let Job::Stop(times) = job {
                    return self.stop(times);
                }
                self.handle_guarded(job);
                if self.unwritten_bytes >= ROUND_BYTES {
                    self.write_round();
                }
                // Also while jobs keep coming.
                self.tick_when_due();
                next = self.jobs.try_recv().ok();
            }
            self.write_round();
            self.sync_ended();
            self.tick_when_due();
            if had_work {
                self.counters.progress.waits();
                pace.after_write();
            }
        }
    }

    /// Writes the unwritten records of all streams.
    fn write_round(&mut self) {
        self.announce_ends(false);
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
        let is_idle = self.entries.values().all(|entry| {
            !entry.is_failing
                && !entry.has_ended
                && entry.unsynced_since.is_none()
                && !entry.recorder.is_delayed()
        }) && self.ending.keys.is_empty()
            && (self.feed.as_ref()).is_none_or(|feed| !feed.needs_tick());
        if is_idle {
            return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        let left = self.next_tick.saturating_duration_since(Instant::now());
        self.jobs.recv_timeout(left)
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Open(key, info, opening, gauge) => {
                let entry = self.open(info, opening, gauge);
                self.stream_is_open(entry.recorder.root(), entry.recorder.folder());
                self.entries.insert(key, Box::new(entry));
                self.write(key);
            }
            Job::Records(key, mut records, bytes) => {
                let Some(entry) = self.entries.get_mut(&key) else {
                    return self.refused(key, records.count() as u64, bytes);
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
                    return self.refused(key, batch.count() as u64, bytes);
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
            Job::End(key, reason) => self.end_stream(key, reason),
            Job::NoteUpload(note, reply) => drop(reply.send(self.note_upload(&note))),
            Job::DeleteFiles(folder, files, reply) => {
                drop(reply.send(self.delete_files(&folder, &files)));
            }
            Job::DeleteJournal(folder, ended_ago, reply) => {
                drop(reply.send(self.delete_journal(&folder, ended_ago)));
            }
            Job::Detach(root, place, part, reply) => {
                drop(reply.send(self.detach(&root, &place, part)));
            }
            Job::PublishMeta(root, place, inode, reply) => {
                drop(reply.send(self.publish_meta(&root, &place, inode)));
            }
            Job::Discard(withdrawal, former_roots, stays) => {
                let roots = self.roots(former_roots);
                let uploads = self.revoke_ends(&withdrawal, &roots, !stays);
                self.revoke(&withdrawal, &roots, !stays, &uploads, Cause::Withdrawn);
                if !stays {
                    let _ = self.discard(&withdrawal, &roots, Cause::Withdrawn);
                }
            }
            Job::Forget(withdrawal, former_roots, reply) => {
                let roots = self.roots(former_roots);
                let uploads = self.revoke_ends(&withdrawal, &roots, true);
                self.revoke(&withdrawal, &roots, true, &uploads, Cause::Forgotten);
                drop(reply.send(self.discard(&withdrawal, &roots, Cause::Forgotten)));
            }
            Job::InFolder(folder, work, reply) => drop(reply.send(self.in_folder(&folder, work))),
            Job::Deauthorized(user_id, account_id) => {
                if let Some(feed) = &mut self.feed {
                    let written = feed.server.deauthorized(&user_id, &account_id);
                    feed.note(written);
                }
            }
            Job::CompleteOrphans => self.orphans = Some(StreamFolders::below(&self.settings.root)),
            Job::Settings(settings) => {
                self.settings = settings;
                self.open_feed();
            }
            Job::Synced(results) => self.group_synced(results),
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
            let feed = self.feed.as_ref().filter(|_| self.settings.feed.is_some());
            let host = feed.map(|feed| &feed.host);
            let (root, ends) = (orphans.root(), self.ends.as_ref());
            let announce = |info: &StreamInfo| announce_orphan(ends, root, &folder, info);
            let formats = self.settings.formats;
            match crash_recovery::complete(root, &folder, formats, host, now_ms(), announce) {
                Ok(Some(recorder)) => {
                    log::warn!(
                        "recovered a stream left unfinished folder={}",
                        folder.display()
                    );
                    let key = self.orphan_key;
                    self.orphan_key -= 1;
                    let mut entry = Entry::new(recorder, Arc::default());
                    (entry.has_ended, entry.is_announced) = (true, true);
                    self.entries.insert(key, Box::new(entry));
                    self.write(key);
                    self.sync_ended();
                }
                Ok(None) => {}
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
    fn open(&mut self, info: StreamInfo, opening: Opening, gauge: Arc<Gauge>) -> Entry {
        let old = self
            .entries
            .iter()
            .find(|(_, entry)| entry.is_of(&info))
            .map(|(key, _)| *key);
        if let Some(mut entry) = old.and_then(|key| self.entries.remove(&key)) {
            entry.recorder.reopen(opening, now_ms());
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
                ending: None,
                is_announced: false,
                has_ended: false,
                is_left: false,
                ..*entry
            };
        }
        let RecorderSettings {
            root,
            formats,
            params,
            feed,
        } = &self.settings;
        let mut recorder = Recorder::open(root, info, *formats, *params, now_ms());
        if let (Some(_), Some(feed)) = (feed, &self.feed) {
            recorder = recorder.with_journal(&feed.host, opening, now_ms());
        } else {
            recorder = recorder.without_journal();
        }
        Entry::new(recorder, gauge)
    }

    /// Writes what waits for a stream, except for texts that may wait for the next tick.
    fn write(&mut self, key: u64) {
        self.write_guarded(key, Recorder::write_at_once);
    }

    /// Writes everything that waits for a stream. One that has ended is synced next.
    pub(super) fn write_all(&mut self, key: u64) {
        self.write_guarded(key, Recorder::write);
    }

    fn write_guarded(&mut self, key: u64, write: fn(&mut Recorder) -> io::Result<()>) {
        if catch_unwind(AssertUnwindSafe(|| self.write_entry(key, write))).is_err() {
            self.panicked(key, 0, 0);
        }
    }

    fn write_entry(&mut self, key: u64, write: fn(&mut Recorder) -> io::Result<()>) {
        self.counters.progress.works();
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let dropped = entry.gauge.dropped.load(Relaxed);
        if dropped > entry.dropped {
            entry.recorder.dropped(dropped - entry.dropped);
            entry.dropped = dropped;
        }
        #[cfg(test)]
        super::tests::panic_if_wanted(&entry.recorder.info().stream_id);
        match write(&mut entry.recorder) {
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
                let records = std::mem::take(&mut entry.taken_records);
                self.counters.records.fetch_add(records, Relaxed);
                if let Some(feed) = &self.feed {
                    let lines = feed.host.lines();
                    self.counters.journal_lines.store(lines, Relaxed);
                }
                let bytes = entry.release();
                if entry.recorder.is_unsynced() || entry.is_left {
                    entry.unsynced_since.get_or_insert_with(Instant::now);
                }
                if entry.has_ended && !entry.is_left {
                    self.ended.insert(key);
                }
                self.forgotten(records);
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

    /// Subtracts from the number of waiting records.
    fn forgotten(&self, records: u64) {
        self.counters.waiting_records.fetch_sub(records, Relaxed);
    }

    /// Subtracts from the number of waiting bytes.
    fn released(&self, bytes: usize) {
        let before = self.counters.waiting_bytes.fetch_sub(bytes, Relaxed);
        if before > ALL_BACKLOG_BYTES && before - bytes <= ALL_BACKLOG_BYTES {
            self.entries.values().for_each(|entry| entry.wake());
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if let Some(feed) = &mut self.feed {
            feed.tick(now);
        }
        let waiting = self.entries.iter();
        let waiting = waiting.filter(|(_, it)| it.is_failing || it.recorder.is_delayed());
        let waiting: Vec<u64> = waiting.map(|(key, _)| *key).collect();
        for key in waiting {
            self.write_all(key);
        }
        if self.is_syncing {
            return;
        }
        // If the sync of an ended stream failed, it is tried again.
        let failing = self.entries.iter();
        let failing = failing.filter(|(_, entry)| entry.is_sync_failing && entry.has_ended);
        self.ended.extend(failing.map(|(key, _)| *key));
        let mut due = std::mem::take(&mut self.ended);
        due.extend(self.unsynced(&|since| now.saturating_duration_since(since) >= SYNC_AFTER));
        self.sync(due);
    }
}
