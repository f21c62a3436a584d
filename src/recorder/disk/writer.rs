//! The loop of the disk thread: receives jobs, writes files, retries failed writes.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::syncer::{SyncOrder, Synced, Syncer, What};
use super::{
    ALL_BACKLOG_BYTES, BACKLOG_BYTES, DiskCounters, FeedShare, Gauge, Job, RecorderSettings,
    SPARE_BYTES_MAX, STREAM_BYTES_MAX, StopReport, StopTimes,
};
use crate::clock::now_ms;
use crate::delivery::coalesce;
use crate::delivery::ends::Ends;
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::feed::folders::StreamFolders;
use crate::feed::key::JournalKey;
use crate::protocol::EndReason;
use crate::recorder::crash_recovery;
use crate::recorder::journal::server::{RevokedStream, ServerJournal};
use crate::recorder::journal::{JournalHost, Opening, mark_path};
use crate::recorder::stream_files::{Recorder, discard_folder};
use crate::recorder::withdrawal::{delete_stream, find_stream};

mod ended;

use ended::{Ending, announce_orphan};

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
/// Maximum number of streams whose files are synced one by one. With more, whole file systems are
/// synced: at two thousand streams that is one call every five seconds and 1 % of the CPU, and a
/// power cut loses at most the same seconds of each stream.
const SYNCS_EACH_MAX: usize = 16;

/// So often the files of a stream are opened again after a panic.
const PANICS_MAX: u32 = 3;

/// Maximum groups of syncs at the end of the process: files, names, and what came meanwhile.
const LAST_SYNCS_MAX: usize = 4;

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

/// What is needed to write journals.
struct Feed {
    host: Arc<JournalHost>,
    server: ServerJournal,
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
    /// Whether the last sync of its files failed.
    is_sync_failing: bool,
    /// The stream is over, and its end waits until it stands in `ends.json`.
    ending: Option<EndReason>,
    is_announced: bool,
    has_ended: bool,
    /// Whether it continues in another process, so that its end is no reason to sync.
    is_left: bool,
    unsynced_since: Option<Instant>,
    /// How often writing it has panicked.
    panics: u32,
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

    /// Begins to write journals, if they are wanted.
    fn open_feed(&mut self) {
        let (Some(settings), None) = (&self.settings.feed, &self.feed) else {
            return;
        };
        let Some(board) = self.shared.board.get() else {
            return;
        };
        let host = JournalHost::new(board, settings.source.as_deref(), self.state.as_deref());
        let (server, left) = ServerJournal::open(&host);
        for folder in left {
            match discard_folder(&folder) {
                Ok(files) => log::warn!(
                    "consent withdrawn: deleted what an earlier process had not files={files} folder={}",
                    folder.display()
                ),
                Err(error) => log::error!(
                    "consent withdrawn, but files cannot be deleted folder={} error=\"{error}\"; delete it \
                     by hand",
                    folder.display()
                ),
            }
        }
        self.feed = Some(Feed { host, server });
    }

    /// Runs until it is asked to stop, or its owner is dropped.
    pub(super) fn run(mut self) -> StopReport {
        loop {
            self.counters.progress.waits();
            let waited = self.wait();
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
                std::thread::park_timeout(coalesce::WRITE_INTERVAL);
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
        let is_idle =
            self.entries.values().all(|entry| {
                !entry.is_failing && !entry.has_ended && entry.unsynced_since.is_none()
            }) && self.ending.keys.is_empty()
                && (self.feed.as_ref()).is_none_or(|feed| !feed.needs_tick());
        if is_idle {
            return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        let left = self.next_tick.saturating_duration_since(Instant::now());
        self.jobs.recv_timeout(left)
    }

    /// Handles a job. A panic costs the stream that the job is for what waits of it, and the others
    /// nothing: no stream's files are used by another one.
    fn handle_guarded(&mut self, job: Job) {
        let (key, records, bytes) = match &job {
            Job::Records(key, records, bytes) => (*key, records.count() as u64, *bytes),
            Job::Packets(key, batch, bytes) => (*key, batch.count() as u64, *bytes),
            Job::Open(key, ..) | Job::Granted(key, _) | Job::Media(key, _) | Job::End(key, _) => {
                (*key, 0, 0)
            }
            Job::Discard(..)
            | Job::NoteUpload(..)
            | Job::DeleteFiles(..)
            | Job::DeleteJournal(..)
            | Job::Deauthorized(..)
            | Job::CompleteOrphans
            | Job::Settings(_)
            | Job::Synced(_)
            | Job::Stop(_) => return self.handle(job),
        };
        if catch_unwind(AssertUnwindSafe(|| self.handle(job))).is_err() {
            self.panicked(key, records, bytes);
        }
    }

    /// Gives up what waits of a stream, and opens its files again as after a crash.
    fn panicked(&mut self, key: u64, records: u64, bytes: usize) {
        self.ended.remove(&key);
        let Some(mut entry) = self.entries.remove(&key) else {
            self.forgotten(records);
            self.released(bytes);
            return;
        };
        let lost = entry.taken_records + records;
        self.counters.dropped.fetch_add(lost, Relaxed);
        self.forgotten(lost);
        entry.gauge.waiting_bytes.fetch_sub(bytes, Relaxed);
        let own = entry.release();
        self.released(own + bytes);
        let troubles = u64::from(entry.is_failing) + u64::from(entry.is_sync_failing);
        self.counters.failing_streams.fetch_sub(troubles, Relaxed);
        let panics = entry.panics + 1;
        let folder = entry.recorder.folder().to_owned();
        log::error!(
            "a bug: writing a stream panicked stream={} folder={} lost={lost} times={panics}; please \
             report the panic in the log",
            entry.recorder.info().stream_id,
            folder.display()
        );
        let root = folder.ancestors().nth(3).map(PathBuf::from);
        let (Some(root), true) = (root, panics <= PANICS_MAX) else {
            log::error!(
                "no further data of it is written folder={}",
                folder.display()
            );
            self.given_up.insert(key);
            return;
        };
        let info = entry.recorder.info().clone();
        let RecorderSettings {
            formats, params, ..
        } = self.settings.clone();
        let open = || Recorder::open(&root, info, formats, params, now_ms());
        let Ok(mut recorder) = catch_unwind(AssertUnwindSafe(open)) else {
            self.given_up.insert(key);
            return;
        };
        recorder.dropped(lost);
        if entry.has_ended && !entry.is_left {
            recorder.close_without_reason(now_ms());
        }
        let again = Entry {
            panics,
            dropped: entry.dropped,
            has_ended: entry.has_ended,
            is_left: entry.is_left,
            ..Entry::new(recorder, Arc::clone(&entry.gauge))
        };
        self.entries.insert(key, Box::new(again));
        self.write(key);
    }

    /// Records of a stream that is not written any more: consent was withdrawn, or it was given up.
    fn refused(&self, key: u64, records: u64, bytes: usize) {
        if self.given_up.contains(&key) {
            self.counters.dropped.fetch_add(records, Relaxed);
        }
        self.forgotten(records);
        self.released(bytes);
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
            Job::Discard(withdrawal, former_roots, stays) => {
                let roots = self.roots(former_roots);
                let uploads = self.revoke_ends(&withdrawal, &roots, !stays);
                self.revoke(&withdrawal, &roots, !stays, &uploads);
                if !stays {
                    self.discard(&withdrawal, &roots);
                }
            }
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
            match crash_recovery::complete(root, &folder, host, now_ms(), announce) {
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
        }
        Entry::new(recorder, gauge)
    }

    /// Writes what waits for a stream. One that has ended is synced next.
    fn write(&mut self, key: u64) {
        if catch_unwind(AssertUnwindSafe(|| self.write_entry(key))).is_err() {
            self.panicked(key, 0, 0);
        }
    }

    fn write_entry(&mut self, key: u64) {
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
        match entry.recorder.write() {
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
        let failing = self.entries.iter();
        let failing = failing.filter(|(_, entry)| entry.is_failing);
        let failing: Vec<u64> = failing.map(|(key, _)| *key).collect();
        for key in failing {
            self.write(key);
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

    /// Streams that have unsynced data older than that.
    fn unsynced(&self, is_wanted: &dyn Fn(Instant) -> bool) -> Vec<u64> {
        let entries = self.entries.iter();
        let wanted = entries.filter(|(_, entry)| entry.unsynced_since.is_some_and(is_wanted));
        wanted.map(|(key, _)| *key).collect()
    }

    /// Starts to sync the streams whose end is written, if no other group is running.
    fn sync_ended(&mut self) {
        if !self.is_syncing && !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.sync(ended);
        }
    }

    /// Starts to sync streams as one group: each by itself or, if there are many, whole file systems.
    fn sync(&mut self, keys: BTreeSet<u64>) {
        if keys.len() > SYNCS_EACH_MAX || self.must_sync_all && !keys.is_empty() {
            return self.sync_all(keys);
        }
        let mut group = Vec::new();
        // With the lines the positions that were given out.
        let mut mark = self.feed.as_ref().and(self.state.as_deref()).map(mark_path);
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.unsynced_since = None;
            let targets = entry.recorder.take_unsynced().map(|mut targets| {
                mark.take()
                    .into_iter()
                    .for_each(|path| targets.add_closed(path));
                targets
            });
            match targets {
                Ok(targets) => group.push(SyncOrder {
                    keys: vec![key],
                    what: What::Files(targets),
                }),
                Err(error) => self.sync_failed(key, &error),
            }
        }
        self.start_group(group);
    }

    /// These, and all other unsynced data: one call for each file system, which is usually one call.
    fn sync_all(&mut self, mut keys: BTreeSet<u64>) {
        self.must_sync_all = false;
        keys.extend(self.unsynced(&|_| true));
        let mut devices: HashMap<u64, Vec<u64>> = HashMap::new();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.unsynced_since = None;
            match entry.recorder.prepare_sync() {
                Ok(device) => {
                    entry.recorder.synced();
                    devices.entry(device).or_default().push(key);
                }
                Err(error) => self.sync_failed(key, &error),
            }
        }
        let mut group = Vec::new();
        for keys in devices.into_values() {
            let folders = keys.iter().filter_map(|key| self.entries.get(key));
            match folders
                .map(|entry| File::open(entry.recorder.folder()))
                .next()
            {
                Some(Ok(folder)) => group.push(SyncOrder {
                    keys,
                    what: What::FileSystem(folder),
                }),
                Some(Err(error)) => {
                    for key in keys {
                        self.sync_failed(key, &error);
                    }
                }
                None => {}
            }
        }
        self.start_group(group);
    }

    fn start_group(&mut self, group: Vec<SyncOrder>) {
        if !group.is_empty() {
            self.is_syncing = true;
            self.syncer.sync(group);
        }
    }

    /// Handles the results of a group. What has become due meanwhile forms the next one.
    fn group_synced(&mut self, results: Vec<Synced>) {
        self.is_syncing = false;
        for Synced { keys, result } in results {
            for key in keys {
                match &result {
                    Ok(true) => self.synced(key),
                    Ok(false) => self.sync_again(key),
                    Err(error) => self.sync_failed(key, error),
                }
            }
        }
    }

    /// The targets of a stream are synced. An ended stream is complete when its last `meta.json` has its
    /// final name and that is synced too.
    fn synced(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if std::mem::take(&mut entry.is_sync_failing) {
            self.counters.failing_streams.fetch_sub(1, Relaxed);
            log::info!(
                "disk syncs again stream={} folder={}",
                entry.recorder.info().stream_id,
                entry.recorder.folder().display()
            );
        }
        // What was written while the group was under way belongs to the next one.
        let is_behind = match entry.is_left {
            true => entry.unsynced_since.is_some(),
            false => self.ended.contains(&key),
        };
        if !entry.has_ended || entry.is_failing || is_behind {
            return;
        }
        match entry.recorder.publish() {
            Ok(true) => drop(self.ended.insert(key)),
            Ok(false) => {
                entry.recorder.finished();
                let entry = self.entries.remove(&key).filter(|entry| entry.is_announced);
                if let Some(entry) = entry {
                    self.end_is_written(entry.recorder.root(), entry.recorder.folder());
                }
            }
            Err(error) => self.sync_failed(key, &error),
        }
    }

    /// The targets of a stream were not synced, or may not have been.
    fn sync_again(&mut self, key: u64) {
        self.must_sync_all = true;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.unsynced_since = Some(Instant::now());
            if entry.has_ended && !entry.is_left && !entry.is_sync_failing {
                self.ended.insert(key);
            }
        }
    }

    /// The same, because the disk failed: a power cut may lose the stream's data.
    fn sync_failed(&mut self, key: u64, error: &io::Error) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.counters.errors.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut entry.is_sync_failing, true) {
            self.counters.failing_streams.fetch_add(1, Relaxed);
            log::error!(
                "cannot sync stream={} folder={} error=\"{error}\"; a power cut may take what was \
                 written; repair the disk under RTMS_OUT",
                entry.recorder.info().stream_id,
                entry.recorder.folder().display()
            );
        }
        self.sync_again(key);
    }

    /// Consent was withdrawn: nothing of the stream leaves any more, and the server's journal says so
    /// before a byte is deleted.
    fn revoke(
        &mut self,
        withdrawal: &Withdrawal,
        roots: &[PathBuf],
        is_deleted: bool,
        uploads: &HashMap<JournalKey, u64>,
    ) {
        let Some(feed) = &mut self.feed else {
            return;
        };
        let Withdrawal { id, stream_id, .. } = withdrawal;
        let (mut revoked, mut kept) = (Vec::new(), Vec::new());
        for (key, entry) in &mut self.entries {
            let info = entry.recorder.info();
            if info.stream_id != *stream_id || id.as_ref().is_some_and(|id| info.id != *id) {
                continue;
            }
            let info = info.clone();
            if let Some(journal) = entry.recorder.journal() {
                if !is_deleted {
                    journal.push_revoked(now_ms());
                    kept.push(*key);
                }
                journal.revoke();
                revoked.push(RevokedStream {
                    key: journal.key(),
                    stream_seq: journal.seq(),
                    info,
                    is_deleted,
                });
            }
        }
        for folder in find_stream(roots, id.as_deref(), stream_id) {
            let key = feed.host.board().key_of(&folder);
            if revoked.iter().any(|stream| stream.key == key) {
                continue;
            }
            match feed.host.revoke_folder(&folder, is_deleted) {
                Ok(Some(stream)) => revoked.push(stream),
                Ok(None) => {}
                Err(error) => log::error!(
                    "cannot read the journal of a stream whose consent was withdrawn folder={} \
                     error=\"{error}\"",
                    folder.display()
                ),
            }
        }
        for stream in revoked {
            if !feed.server.has(stream.key) {
                let uploads = uploads.get(&stream.key).copied().unwrap_or(0);
                let written = feed.server.revoked(&stream, uploads);
                feed.note(written);
            }
        }
        kept.into_iter().for_each(|key| self.write(key));
    }

    /// The folders of all streams, now and before.
    fn roots(&self, former: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut roots = former;
        roots.retain(|root| *root != self.settings.root);
        roots.push(self.settings.root.clone());
        roots
    }

    fn discard(&mut self, withdrawal: &Withdrawal, roots: &[PathBuf]) {
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
            self.forgotten(entry.taken_records);
            self.released(bytes);
            let troubles = u64::from(entry.is_failing) + u64::from(entry.is_sync_failing);
            self.counters.failing_streams.fetch_sub(troubles, Relaxed);
            files = entry.recorder.discard();
        }
        let rest = delete_stream(roots, id.as_deref(), stream_id);
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

    /// Writes everything, including the queue; then syncs each file system once. The reasons for the
    /// order and the times: see [`crate::daemon::shutdown`].
    fn stop(mut self, times: StopTimes) -> StopReport {
        self.syncer.skip_files();
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.handle_guarded(job);
            }
            self.announce_ends(true);
            self.unwritten.clear();
            let keys: Vec<u64> = self.entries.keys().copied().collect();
            for key in keys {
                self.write(key);
            }
            let is_written = self.entries.values().all(|entry| !entry.is_failing);
            let left = times.write_until.saturating_duration_since(Instant::now());
            if is_written || left.is_zero() {
                break;
            }
            if let Ok(job) = self.jobs.recv_timeout(left.min(Duration::from_millis(100))) {
                self.handle_guarded(job);
            }
        }
        for entry in self.entries.values_mut().filter(|entry| entry.is_failing) {
            // A full disk may still have room for a small file.
            let noted = entry.recorder.write_losses(entry.taken_records);
            log::error!(
                "records lost at shutdown stream={} folder={} records={} in_meta={}",
                entry.recorder.info().stream_id,
                entry.recorder.folder().display(),
                entry.taken_records,
                noted.is_ok()
            );
        }
        let until = times.sync_until(Instant::now());
        let is_synced = self.sync_until(until);
        self.syncer.stop(until);
        StopReport {
            lost_records: self.counters.waiting_records.load(Relaxed),
            lost_bytes: self.counters.waiting_bytes.load(Relaxed),
            is_synced,
            is_finished: true,
        }
    }

    /// Syncs all unsynced data, and once more for the last `meta.json` of streams that have ended.
    /// Returns whether that was done in time.
    fn sync_until(&mut self, until: Instant) -> bool {
        for _ in 0..LAST_SYNCS_MAX {
            while self.is_syncing {
                let left = until.saturating_duration_since(Instant::now());
                match self.jobs.recv_timeout(left) {
                    Ok(job) => self.handle_guarded(job),
                    Err(_) => return false,
                }
            }
            let mut due = std::mem::take(&mut self.ended);
            due.extend(self.unsynced(&|_| true));
            if due.is_empty() {
                return true;
            }
            self.sync_all(due);
        }
        false
    }
}

impl Feed {
    /// Whether there is something to try again, or to take off the board.
    fn needs_tick(&self) -> bool {
        self.server.is_waiting() || self.host.board().has_ended()
    }

    fn tick(&mut self, now: Instant) {
        if self.server.is_waiting() {
            let written = self.server.write();
            self.note(written);
        }
        self.host.board().sweep(now);
    }

    fn note(&self, written: io::Result<()>) {
        if let Err(error) = written {
            log::error!(
                "cannot write the server's journal folder={} error=\"{error}\"; it is tried again every \
                 second",
                self.host.board().root().display()
            );
        }
    }
}

impl Entry {
    fn new(recorder: Recorder, gauge: Arc<Gauge>) -> Entry {
        Entry {
            recorder,
            gauge,
            taken_bytes: 0,
            taken_records: 0,
            dropped: 0,
            is_failing: false,
            is_sync_failing: false,
            ending: None,
            is_announced: false,
            has_ended: false,
            is_left: false,
            unsynced_since: None,
            panics: 0,
        }
    }

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
