//! A panic while a stream is written: it costs that stream what waits of it, and others nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::{Job, RecorderSettings};
use super::{Entry, Writer};
use crate::clock::now_ms;
use crate::recorder::journal::Opening;
use crate::recorder::stream_files::Recorder;

/// So often the files of a stream are opened again after a panic.
const PANICS_MAX: u32 = 3;

impl Writer {
    /// Handles a job. A panic costs the stream that the job is for what waits of it, and the others
    /// nothing: no stream's files are used by another one.
    pub(super) fn handle_guarded(&mut self, job: Job) {
        let (key, records, bytes) = match &job {
            Job::Records(key, records, bytes) => (*key, records.count() as u64, *bytes),
            Job::Packets(key, batch, bytes) => (*key, batch.count() as u64, *bytes),
            Job::Open(key, ..) | Job::Granted(key, _) | Job::Media(key, _) | Job::End(key, _) => {
                (*key, 0, 0)
            }
            Job::Discard(..)
            | Job::Forget(..)
            | Job::InFolder(..)
            | Job::NoteUpload(..)
            | Job::DeleteFiles(..)
            | Job::DeleteJournal(..)
            | Job::Detach(..)
            | Job::PublishMeta(..)
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
    pub(super) fn panicked(&mut self, key: u64, records: u64, bytes: usize) {
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
            formats,
            params,
            feed,
            ..
        } = self.settings.clone();
        let host = self.feed.as_ref().filter(|_| feed.is_some());
        let opening = match entry.has_ended && !entry.is_left {
            true => Opening::Complete,
            false => Opening::Rejoin,
        };
        let open = || {
            let recorder = Recorder::open(&root, info, formats, params, now_ms());
            match host {
                Some(feed) => recorder.with_journal(&feed.host, opening, now_ms()),
                None => recorder.without_journal(),
            }
        };
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
    pub(super) fn refused(&self, key: u64, records: u64, bytes: usize) {
        if self.given_up.contains(&key) {
            self.counters.dropped.fetch_add(records, Relaxed);
        }
        self.forgotten(records);
        self.released(bytes);
    }
}
