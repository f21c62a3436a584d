//! The stream's side of the disk: gathers, measures, and hands over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;

use super::super::packets::Batch;
use super::super::record::Record;
use super::{ALL_BYTES_MAX, BEHIND_BYTES, DiskCounters, Gauge, Job, STREAM_BYTES_MAX};
use crate::meeting::Sink;
use crate::protocol::{EndReason, Notice, StreamEvent};
use crate::waker::Waker;

/// A batch is handed over at this size, also in a flood.
const BATCH_BYTES: usize = 32 << 10;
/// The same for packets of audio, video and share.
const PACKETS_BYTES: usize = 256 << 10;

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
    pub(super) fn new(
        key: u64,
        gauge: Arc<Gauge>,
        counters: Arc<DiskCounters>,
        sender: Sender<Job>,
    ) -> DiskSink {
        DiskSink {
            key,
            gauge,
            counters,
            sender,
            batch: Vec::new(),
            batch_bytes: 0,
            packets: Batch::default(),
        }
    }

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
