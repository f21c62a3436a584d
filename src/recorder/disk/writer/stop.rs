//! The end of the disk thread: everything is written, then synced, within times.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::super::{StopReport, StopTimes};
use super::Writer;

/// Maximum groups of syncs at the end of the process: files, names, and what came meanwhile.
const LAST_SYNCS_MAX: usize = 4;

impl Writer {
    /// Writes everything, including the queue; then syncs each file system once. The reasons for the
    /// order and the times: see [`crate::daemon::shutdown`].
    pub(super) fn stop(mut self, times: StopTimes) -> StopReport {
        self.syncer.skip_files();
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.handle_guarded(job);
            }
            self.announce_ends(true);
            self.unwritten.clear();
            let keys: Vec<u64> = self.entries.keys().copied().collect();
            for key in keys {
                self.write_all(key);
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
    pub(super) fn sync_until(&mut self, until: Instant) -> bool {
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
