//! The disk thread: the only one that opens and writes files of streams.
//!
//! Streams hand it batches and never wait for it. The waiting bytes are counted per stream and in
//! total: above `BACKLOG_BYTES` a stream reads more slowly; above the limit its records are dropped
//! and counted, and the count is written into `meta.json`. While writes fail, the waiting records
//! are kept and the write is retried every second.

pub(crate) mod sink;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use sink::DiskSink;
use writer::Writer;

use super::packet_batch::PacketBatch;
use super::record_batch::RecordBatch;
use super::stream_files::MediaChange;
use super::transcript::TranscriptFormats;
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::net::waker::Waker;
use crate::protocol::{EndReason, Granted, MediaParams};

/// A stream with more waiting bytes than this reads more slowly.
const BACKLOG_BYTES: usize = 1 << 20;
/// If more bytes than this wait in total, every stream reads more slowly: otherwise a few hundred
/// busy streams leave the one writing thread too little of the CPU.
const ALL_BACKLOG_BYTES: usize = 32 << 20;
/// Maximum waiting bytes per stream: hours of phrases, half a minute of a flood.
pub const STREAM_BYTES_MAX: usize = 16 << 20;
/// Maximum waiting bytes of all streams.
pub const ALL_BYTES_MAX: usize = 256 << 20;

/// Maximum capacity of an emptied record batch that is reused. Larger ones are allocated for each
/// use.
const SPARE_BYTES_MAX: usize = 1 << 10;

/// Default of `RTMS_OUT`.
pub const DEFAULT_OUT: &str = "./rtms-out";

/// Settings of the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderSettings {
    /// `RTMS_OUT`.
    pub root: PathBuf,
    /// `RTMS_TRANSCRIPT`.
    pub formats: TranscriptFormats,
    /// Requested media parameters: used where Zoom accepts without naming its own.
    pub params: MediaParams,
}

impl Default for RecorderSettings {
    fn default() -> RecorderSettings {
        RecorderSettings {
            root: DEFAULT_OUT.into(),
            formats: TranscriptFormats::default(),
            params: MediaParams::default(),
        }
    }
}

/// Counters of the disk thread.
#[derive(Debug, Default)]
pub struct DiskCounters {
    /// Records written.
    pub records: AtomicU64,
    /// Records dropped because too many bytes waited.
    pub dropped: AtomicU64,
    /// Failed writes and syncs.
    pub errors: AtomicU64,
    /// Streams whose files cannot be written at present.
    pub failing_streams: AtomicU64,
    /// Bytes of records that wait.
    pub waiting_bytes: AtomicUsize,
}

/// Handle of the disk thread.
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
    Records(u64, RecordBatch, usize),
    Packets(u64, PacketBatch, usize),
    Granted(u64, Box<Granted>),
    Media(u64, MediaChange),
    End(u64, EndReason),
    Discard(Withdrawal, Vec<PathBuf>),
    CompleteOrphans,
    Settings(RecorderSettings),
    Stop(Instant),
}

/// Waiting bytes of one stream, shared by its sink and the disk thread.
#[derive(Debug, Default)]
struct Gauge {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    waker: OnceLock<Waker>,
    spare_records: RecycleSlot<RecordBatch>,
    spare_batch: RecycleSlot<PacketBatch>,
}

/// An emptied buffer that the disk thread returns to the stream for reuse: memory that one thread
/// allocates and another frees is expensive. Neither side waits for the lock: if it is taken, the
/// buffer is not reused.
#[derive(Debug, Default)]
struct RecycleSlot<T>(Mutex<Option<T>>);

impl<T: Default> RecycleSlot<T> {
    /// The returned buffer, or a new one.
    fn take(&self) -> T {
        let spare = self.0.try_lock().ok();
        spare.and_then(|mut spare| spare.take()).unwrap_or_default()
    }

    fn give_back(&self, empty: T) {
        if let Ok(mut spare) = self.0.try_lock() {
            *spare = Some(empty);
        }
    }
}

impl Disk {
    /// Starts the thread.
    pub fn start(settings: RecorderSettings) -> io::Result<Disk> {
        let (sender, jobs) = mpsc::channel();
        let counters = Arc::new(DiskCounters::default());
        let shared = Arc::clone(&counters);
        let thread = Builder::new()
            .name("disk".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                Writer::new(settings, jobs, shared).run();
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
        DiskSink::new(
            key,
            gauge,
            Arc::clone(&self.counters),
            self.sender.clone(),
            self.thread.thread().clone(),
        )
    }

    /// Deletes everything of a stream, open or not, after all jobs sent before: below the current
    /// output folder and below former ones.
    pub fn discard(&self, withdrawal: Withdrawal, former_roots: Vec<PathBuf>) {
        let _ = self.sender.send(Job::Discard(withdrawal, former_roots));
    }

    /// Starts to complete, while the thread is otherwise idle, the files of earlier processes that
    /// no stream continues. To be called once every continued stream has its sink.
    pub fn complete_orphans(&self) {
        let _ = self.sender.send(Job::CompleteOrphans);
    }

    /// Sets the settings for streams that start from now on.
    pub fn reload(&self, settings: RecorderSettings) {
        let _ = self.sender.send(Job::Settings(settings));
    }

    /// The thread's counters.
    pub fn counters(&self) -> &Arc<DiskCounters> {
        &self.counters
    }

    /// Writes everything that waits until `deadline`, and ends the thread. A write that hangs in
    /// the kernel cannot be interrupted: then the thread is left running and `false` is returned.
    pub fn stop(self, deadline: Instant) -> bool {
        let _ = self.sender.send(Job::Stop(deadline));
        self.thread.thread().unpark();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}
