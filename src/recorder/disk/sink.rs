//! The sink of one stream: collects its records in batches and sends them to the disk thread.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::thread::Thread;

use super::{
    ALL_BACKLOG_BYTES, ALL_BYTES_MAX, BACKLOG_BYTES, DiskCounters, Gauge, Job, STREAM_BYTES_MAX,
};
use crate::clock::now_ms;
use crate::delivery::coalesce;
use crate::feed::{Board, JournalKey};
use crate::net::waker::Waker;
use crate::protocol::codes::StopReason;
use crate::protocol::{EndReason, LinkId, Notice, StreamEvent};
use crate::recorder::journal::lifecycle::{Change, Lifecycle};
use crate::recorder::packet_batch::PacketBatch;
use crate::recorder::record_batch::RecordBatch;
use crate::recorder::stream_files::MediaChange;
use crate::stream::Sink;

/// A batch is sent at this size at the latest.
const BATCH_BYTES: usize = 32 << 10;
/// The same for packets of audio, video and share.
const PACKETS_BYTES: usize = 256 << 10;

/// Sends what a stream receives to the disk thread.
#[derive(Debug)]
pub struct DiskSink {
    key: u64,
    gauge: Arc<Gauge>,
    counters: Arc<DiskCounters>,
    sender: Sender<Job>,
    /// The disk thread, which may rest.
    thread: Option<Thread>,
    records: RecordBatch,
    packets: PacketBatch,
    /// Bits of the media kinds that were given up.
    given_up: u32,
    /// The stream's journal; `None` with `RTMS_FEED=off`.
    journal: Option<(Arc<Board>, JournalKey)>,
    /// Records that were dropped, of which the journal does not know yet.
    gap: u64,
}

impl DiskSink {
    pub(super) fn new(
        key: u64,
        gauge: Arc<Gauge>,
        counters: Arc<DiskCounters>,
        sender: Sender<Job>,
        thread: Option<Thread>,
        journal: Option<(Arc<Board>, JournalKey)>,
    ) -> DiskSink {
        DiskSink {
            key,
            gauge,
            counters,
            sender,
            thread,
            records: RecordBatch::default(),
            packets: PacketBatch::default(),
            given_up: 0,
            journal,
            gap: 0,
        }
    }

    fn hand_over(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let count = self.records.count() as u64;
        let bytes = self.records.size();
        // In a flood the next batch will be as large; otherwise it will be nearly empty.
        let next = match bytes >= BATCH_BYTES {
            true => RecordBatch::like(&self.records),
            false => self.gauge.spare_records.take(),
        };
        let records = std::mem::replace(&mut self.records, next);
        if self.send(bytes, count, Job::Records(self.key, records, bytes)) {
            self.gap = 0;
        } else if self.journal.is_some() {
            // Where the records would have been.
            self.gap += count;
            self.push_notice(Change::Dropped(self.gap));
        }
    }

    fn push_notice(&mut self, change: Change) {
        self.records.push_notice(Lifecycle {
            at_ms: now_ms(),
            change,
        });
    }

    fn hand_over_packets(&mut self) {
        if self.packets.is_empty() {
            return;
        }
        let bytes = self.packets.size();
        let count = self.packets.count() as u64;
        let batch = std::mem::replace(&mut self.packets, self.gauge.spare_batch.take());
        self.send(bytes, count, Job::Packets(self.key, batch, bytes));
    }

    /// Sends a batch if the limits allow it; otherwise its records are counted as dropped, and `false`
    /// is returned.
    fn send(&self, bytes: usize, count: u64, job: Job) -> bool {
        let all = self.counters.waiting_bytes.load(Relaxed);
        let own = self.gauge.waiting_bytes.load(Relaxed);
        if own + bytes > STREAM_BYTES_MAX || all + bytes > ALL_BYTES_MAX {
            self.gauge.dropped.fetch_add(count, Relaxed);
            if self.counters.dropped.fetch_add(count, Relaxed) == 0 {
                log::error!(
                    "disk too slow or failing, {} MiB wait: dropping records; \
                     free or repair the disk under RTMS_OUT",
                    own >> 20
                );
            }
            return false;
        }
        self.put(bytes, count, job);
        true
    }

    fn put(&self, bytes: usize, count: u64, job: Job) {
        self.gauge.waiting_bytes.fetch_add(bytes, Relaxed);
        self.counters.waiting_records.fetch_add(count, Relaxed);
        let before = self.counters.waiting_bytes.fetch_add(bytes, Relaxed);
        let _ = self.sender.send(job);
        if let (true, Some(thread)) = (coalesce::is_enough(before, bytes), &self.thread) {
            thread.unpark();
        }
    }
}

impl Sink for DiskSink {
    fn on_start(&mut self, waker: Waker) {
        let _ = self.gauge.waker.set(waker);
    }

    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Packet(kind, packet) = event {
            self.packets.push(*kind, packet);
            if self.packets.size() >= PACKETS_BYTES {
                self.hand_over_packets();
            }
            return;
        }
        self.records.push(event);
        if self.records.size() >= BATCH_BYTES {
            self.hand_over();
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        if self.journal.is_some()
            && let Some(change) = Change::of_notice(notice)
        {
            self.push_notice(change);
        }
        let job = match notice {
            Notice::Granted(granted) => Job::Granted(self.key, granted.clone()),
            Notice::MediaResumed(kind) => Job::Media(self.key, MediaChange::Resumed(*kind)),
            Notice::GivenUp { kind, loss } => {
                self.given_up |= kind.bit();
                Job::Media(self.key, MediaChange::GivenUp(*kind, loss.to_string()))
            }
            Notice::Accepted(LinkId::Media(kind)) if self.given_up & kind.bit() != 0 => {
                self.given_up &= !kind.bit();
                Job::Media(self.key, MediaChange::Back(*kind))
            }
            _ => return,
        };
        // Send the packets received before under the previous format or connection first.
        self.hand_over_packets();
        let _ = self.sender.send(job);
    }

    fn flush(&mut self) {
        self.hand_over();
        self.hand_over_packets();
    }

    fn is_backlogged(&self) -> bool {
        self.gauge.waiting_bytes.load(Relaxed) > BACKLOG_BYTES
            || self.counters.waiting_bytes.load(Relaxed) > ALL_BACKLOG_BYTES
    }

    fn on_end(&mut self, reason: &EndReason) {
        if let Some((board, key)) = &self.journal
            && *reason == EndReason::Stopped(StopReason::STREAM_REVOKED)
        {
            board.revoke(*key);
        }
        self.flush();
        if !self.records.is_empty() {
            // Nothing but the notice of dropped records waits, and the limit is for records.
            let records = std::mem::take(&mut self.records);
            let bytes = records.size();
            self.put(bytes, 0, Job::Records(self.key, records, bytes));
        }
        let _ = self.sender.send(Job::End(self.key, reason.clone()));
    }
}

/// Completes the files even if the stream's thread panicked before `on_end`.
impl Drop for DiskSink {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.flush();
            let _ = self.sender.send(Job::End(self.key, EndReason::Panicked));
        }
    }
}
