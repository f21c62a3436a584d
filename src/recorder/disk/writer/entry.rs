//! A stream of the disk thread: its files, and what waits for them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::super::{BACKLOG_BYTES, Gauge};
use crate::domain::stream_info::StreamInfo;
use crate::protocol::EndReason;
use crate::recorder::stream_files::Recorder;

pub(super) struct Entry {
    pub(super) recorder: Recorder,
    pub(super) gauge: Arc<Gauge>,
    /// Bytes of records received and not yet written.
    pub(super) taken_bytes: usize,
    pub(super) taken_records: u64,
    /// Drops that the recorder has been given so far.
    pub(super) dropped: u64,
    pub(super) is_failing: bool,
    /// Whether the last sync of its files failed.
    pub(super) is_sync_failing: bool,
    /// The stream is over, and its end waits until it stands in `ends.json`.
    pub(super) ending: Option<EndReason>,
    pub(super) is_announced: bool,
    pub(super) has_ended: bool,
    /// Whether it continues in another process, so that its end is no reason to sync.
    pub(super) is_left: bool,
    pub(super) unsynced_since: Option<Instant>,
    /// How often writing it has panicked.
    pub(super) panics: u32,
}

impl Entry {
    pub(super) fn new(recorder: Recorder, gauge: Arc<Gauge>) -> Entry {
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

    pub(super) fn is_of(&self, info: &StreamInfo) -> bool {
        let own = self.recorder.info();
        // What is received under another epoch has a folder of its own.
        own.stream_id == info.stream_id && own.id == info.id && own.epoch() == info.epoch()
    }

    /// Resets the unwritten bytes, which are written or dropped now. Returns how many they were.
    pub(super) fn release(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.taken_bytes);
        let before = self.gauge.waiting_bytes.fetch_sub(bytes, Relaxed);
        if before > BACKLOG_BYTES && before - bytes <= BACKLOG_BYTES {
            self.wake();
        }
        bytes
    }

    /// Wakes the stream, which may be slowed down by its backlog.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.gauge.waker.get() {
            waker.wake();
        }
    }
}
