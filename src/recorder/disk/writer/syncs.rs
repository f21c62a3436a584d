//! Which streams are synced, when, and what follows from the result.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::super::syncer::{SyncOrder, Synced, What};
use super::Writer;
use crate::recorder::journal::mark_path;

/// Maximum number of streams whose files are synced one by one. With more, whole file systems are
/// synced: at two thousand streams that is one call every five seconds and 1 % of the CPU, and a
/// power cut loses at most the same seconds of each stream.
const SYNCS_EACH_MAX: usize = 16;

impl Writer {
    /// Streams that have unsynced data older than that.
    pub(super) fn unsynced(&self, is_wanted: &dyn Fn(Instant) -> bool) -> Vec<u64> {
        let entries = self.entries.iter();
        let wanted = entries.filter(|(_, entry)| entry.unsynced_since.is_some_and(is_wanted));
        wanted.map(|(key, _)| *key).collect()
    }

    /// Starts to sync the streams whose end is written, if no other group is running.
    pub(super) fn sync_ended(&mut self) {
        if !self.is_syncing && !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.sync(ended);
        }
    }

    /// Starts to sync streams as one group: each by itself or, if there are many, whole file systems.
    pub(super) fn sync(&mut self, keys: BTreeSet<u64>) {
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
    pub(super) fn sync_all(&mut self, mut keys: BTreeSet<u64>) {
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
    pub(super) fn group_synced(&mut self, results: Vec<Synced>) {
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
}
