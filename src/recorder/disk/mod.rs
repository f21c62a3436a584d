//! The thread that owns every file.
//!
//! Streams hand it batches and never wait for it. What waits is measured in bytes, for each stream
//! and in all: above a mark a stream reads more slowly, above the limit its records are dropped,
//! counted, and the count is written into `meta.json`. While the disk refuses, what was handed over
//! is kept and tried again every second.

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

/// Above this many waiting bytes a stream reads more slowly.
const BACKLOG_BYTES: usize = 1 << 20;
/// Above this many in all, every stream does: a few hundred at work leave the one thread that writes
/// for them little of a busy processor.
const ALL_BACKLOG_BYTES: usize = 32 << 20;
/// Most bytes that wait for one stream: hours of phrases, half a minute of a flood.
pub const STREAM_BYTES_MAX: usize = 16 << 20;
/// Most bytes that wait for all streams.
pub const ALL_BYTES_MAX: usize = 256 << 20;

/// What a stream keeps at most for its next records. A flood fills more, and gets new memory.
const SPARE_BYTES_MAX: usize = 1 << 10;

/// `RTMS_OUT` where it is not set.
pub const DEFAULT_OUT: &str = "./rtms-out";

/// Where and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderSettings {
    /// `RTMS_OUT`.
    pub root: PathBuf,
    /// `RTMS_TRANSCRIPT`.
    pub formats: TranscriptFormats,
    /// Media parameters that are asked for: in force where Zoom grants without saying what.
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

/// What the disk thread counts.
#[derive(Debug, Default)]
pub struct DiskCounters {
    /// Records written.
    pub records: AtomicU64,
    /// Records dropped because too much waited.
    pub dropped: AtomicU64,
    /// Failed attempts to write.
    pub errors: AtomicU64,
    /// Streams whose files cannot be written at present.
    pub failing_streams: AtomicU64,
    /// Bytes of records that wait.
    pub waiting_bytes: AtomicUsize,
}

/// The owner of the disk thread.
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

/// How much waits for one stream.
#[derive(Debug, Default)]
struct Gauge {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    waker: OnceLock<Waker>,
    spare_records: RecycleSlot<RecordBatch>,
    spare_batch: RecycleSlot<PacketBatch>,
}

/// Something emptied on its way back from the disk thread, so that its memory is used again: what one
/// thread allocates and another one frees is the dearest memory there is. Nobody waits for it: while
/// one side looks, the other goes without.
#[derive(Debug, Default)]
struct RecycleSlot<T>(Mutex<Option<T>>);

impl<T: Default> RecycleSlot<T> {
    /// What came back, or something new.
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

    /// Deletes what a stream left behind, open or not, after everything that was handed over for it:
    /// below the present folder and those that files were written to before.
    pub fn discard(&self, withdrawal: Withdrawal, former_roots: Vec<PathBuf>) {
        let _ = self.sender.send(Job::Discard(withdrawal, former_roots));
    }

    /// Completes, where there is nothing else to do, the files of earlier processes that no stream
    /// goes on with. To be asked for once the streams that go on have their sinks.
    pub fn complete_orphans(&self) {
        let _ = self.sender.send(Job::CompleteOrphans);
    }

    /// Other settings, for streams that begin from here on.
    pub fn reload(&self, settings: RecorderSettings) {
        let _ = self.sender.send(Job::Settings(settings));
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<DiskCounters> {
        &self.counters
    }

    /// Writes what waits, for as long as `deadline` allows, and ends the thread. A disk that hangs
    /// in the kernel cannot be waited for: then the thread is left behind, and `false` returned.
    pub fn stop(self, deadline: Instant) -> bool {
        let _ = self.sender.send(Job::Stop(deadline));
        self.thread.thread().unpark();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}
