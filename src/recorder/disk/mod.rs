//! The thread that owns every file, and the one that syncs them.
//!
//! Streams hand it batches and never wait for it. The waiting bytes are counted per stream and in
//! total: above `BACKLOG_BYTES` a stream reads more slowly; above the limit its records are dropped
//! and counted, and the count is written into `meta.json`. While writes fail, the waiting records
//! are kept and the write is retried every second.

#[cfg(test)]
mod epoch_tests;
pub(crate) mod sink;
pub(crate) mod syncer;
#[cfg(test)]
mod tests;
pub mod works;
pub(crate) mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use sink::DiskSink;
use syncer::{Kernel, SyncCalls, Synced, Syncer};
pub use works::Works;
use writer::Writer;

use super::journal::Opening;
use super::packet_batch::PacketBatch;
use super::path::{journal_key, safe_name};
use super::record_batch::RecordBatch;
use super::removal::{FolderOwner, Part, StreamPlace};
use super::stream_files::MediaChange;
use super::transcript::TranscriptFormats;
use crate::delivery::ends::{Ends, FolderJobs, UploadNote};
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::feed::Board;
use crate::log::app::inherit;
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

/// A step of the disk thread takes no longer on a disk that answers.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// The disk thread is waited for until it has read the server's journal, but not for a disk that hangs.
const READY_MAX: Duration = Duration::from_secs(5);

/// Additional wait for a thread that keeps its times, until it has ended.
const LEAVE_AFTER: Duration = Duration::from_millis(200);

/// Maximum memory that a stream keeps for its next records. A flood allocates more, which is freed.
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
    /// `RTMS_FEED`: the journal; `None` for none.
    pub feed: Option<FeedSettings>,
}

/// How the journal is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedSettings {
    /// `RTMS_FEED_SOURCE`; `None` for `/rtmsd/` and this machine's name.
    pub source: Option<String>,
}

impl Default for RecorderSettings {
    fn default() -> RecorderSettings {
        RecorderSettings {
            root: DEFAULT_OUT.into(),
            formats: TranscriptFormats::default(),
            params: MediaParams::default(),
            feed: Some(FeedSettings::default()),
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
    /// Waiting records.
    pub waiting_records: AtomicU64,
    /// Lines written to journals.
    pub journal_lines: AtomicU64,
    /// Whether the thread makes progress.
    pub progress: Progress,
}

/// Since when the disk thread is busy with one step, which is a call into the disk.
#[derive(Debug)]
pub struct Progress {
    epoch: Instant,
    /// Milliseconds since `epoch`; 0 while the thread waits for work.
    works_since_ms: AtomicU64,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            epoch: Instant::now(),
            works_since_ms: AtomicU64::new(0),
        }
    }
}

impl Progress {
    fn waits(&self) {
        self.works_since_ms.store(0, Relaxed);
    }

    fn works(&self) {
        self.works_since_ms.store(self.now_ms().max(1), Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the disk has not answered, if it is too long.
    pub fn hung_for(&self) -> Option<Duration> {
        let since = self.works_since_ms.load(Relaxed);
        let busy = Duration::from_millis(self.now_ms().saturating_sub(since));
        (since > 0 && busy >= HUNG_AFTER).then_some(busy)
    }
}

/// Deadlines of the shutdown.
#[derive(Debug, Clone, Copy)]
pub struct StopTimes {
    /// Until when unwritten data is tried again.
    pub write_until: Instant,
    /// Until when syncing is waited for.
    pub sync_until: Instant,
    /// Minimum wait for syncing after the last write.
    pub sync_min: Duration,
}

impl StopTimes {
    /// Until when syncing is waited for, if everything was written at that moment.
    pub(super) fn sync_until(&self, written: Instant) -> Instant {
        self.sync_until.max(written + self.sync_min)
    }
}

/// State of the files at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Records that were received but are in no file.
    pub lost_records: u64,
    /// Their size in memory.
    pub lost_bytes: usize,
    /// Whether everything that is written survives a power cut.
    pub is_synced: bool,
    /// Whether the thread ended; otherwise it hangs in the kernel.
    pub is_finished: bool,
}

impl StopReport {
    /// Whether every record is in a file and synced.
    pub fn is_complete(&self) -> bool {
        self.lost_records == 0 && self.is_synced && self.is_finished
    }
}

/// Handle of the disk thread.
#[derive(Debug)]
pub struct Disk {
    sender: Sender<Job>,
    /// `None` after it was asked to stop.
    thread: Option<JoinHandle<StopReport>>,
    counters: Arc<DiskCounters>,
    next_key: AtomicU64,
    feed: Arc<FeedShare>,
}

/// What is known of the journals outside of the thread.
#[derive(Debug, Default)]
struct FeedShare {
    /// From when journals were wanted first.
    board: OnceLock<Arc<Board>>,
    /// Streams that begin now have one.
    is_on: AtomicBool,
}

impl FeedShare {
    fn apply(&self, settings: &RecorderSettings) {
        if settings.feed.is_some() {
            self.board.get_or_init(|| Board::new(&settings.root));
        }
        self.is_on.store(settings.feed.is_some(), Relaxed);
    }
}

enum Job {
    Open(u64, StreamInfo, Opening, Arc<Gauge>),
    Records(u64, RecordBatch, usize),
    Packets(u64, PacketBatch, usize),
    Granted(u64, Box<Granted>),
    Media(u64, MediaChange),
    End(u64, EndReason),
    /// And whether the files stay.
    Discard(Withdrawal, Vec<PathBuf>, bool),
    /// Everything of a stream goes.
    Forget(Withdrawal, Vec<PathBuf>, SyncSender<io::Result<usize>>),
    /// Work in the folder of a stream that is over.
    InFolder(PathBuf, works::FolderWork, SyncSender<io::Result<()>>),
    /// User and account.
    Deauthorized(String, String),
    NoteUpload(Box<UploadNote>, SyncSender<io::Result<()>>),
    DeleteFiles(PathBuf, Vec<String>, SyncSender<io::Result<()>>),
    /// Of a stream that ended so long ago.
    DeleteJournal(PathBuf, Duration, SyncSender<io::Result<()>>),
    /// Below this output folder.
    Detach(PathBuf, StreamPlace, Part, SyncSender<io::Result<()>>),
    PublishMeta(PathBuf, StreamPlace, u64, SyncSender<io::Result<()>>),
    CompleteOrphans,
    Settings(RecorderSettings),
    Synced(Vec<Synced>),
    Stop(StopTimes),
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
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(settings: RecorderSettings) -> io::Result<Disk> {
        Disk::start_with_state(settings, None)
    }

    /// The same with a private directory, `RTMS_STATE`, which keeps the positions of the journals
    /// growing over restarts.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start_with_state(
        settings: RecorderSettings,
        state: Option<PathBuf>,
    ) -> io::Result<Disk> {
        Disk::start_watched(settings, state, None, || ())
    }

    /// The same; ends of streams are announced to `ends`, and `on_panic` is called when the disk thread ends by a panic, so that nothing is written
    /// any more. A panic that is about one stream does not end it.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start_watched(
        settings: RecorderSettings,
        state: Option<PathBuf>,
        ends: Option<Ends>,
        on_panic: impl FnOnce() + Send + 'static,
    ) -> io::Result<Disk> {
        Disk::start_on(Arc::new(Kernel), settings, state, ends, on_panic)
    }

    pub(super) fn start_on(
        calls: Arc<dyn SyncCalls>,
        settings: RecorderSettings,
        state: Option<PathBuf>,
        ends: Option<Ends>,
        on_panic: impl FnOnce() + Send + 'static,
    ) -> io::Result<Disk> {
        let (sender, jobs) = mpsc::channel();
        let counters = Arc::new(DiskCounters::default());
        let feed = Arc::new(FeedShare::default());
        feed.apply(&settings);
        let shared = (Arc::clone(&counters), Arc::clone(&feed));
        let syncer = Syncer::start(calls, sender.clone())?;
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = Builder::new()
            .name("disk".to_owned())
            .stack_size(512 << 10)
            .spawn(inherit(move || {
                let _watch = OnPanic(Some(on_panic));
                let (counters, feed) = shared;
                let writer = Writer::new(settings, state, jobs, counters, syncer, feed, ends);
                let _ = ready.send(());
                writer.run()
            }))?;
        // Consumers that come now find on the board what was revoked, and how far positions go.
        let _ = is_ready.recv_timeout(READY_MAX);
        Ok(Disk {
            sender,
            thread: Some(thread),
            counters,
            next_key: AtomicU64::new(0),
            feed,
        })
    }

    /// A sink for one stream that is new.
    pub fn sink(&self, info: StreamInfo) -> DiskSink {
        self.sink_for(info, Opening::Start)
    }

    /// A sink for one stream.
    pub fn sink_for(&self, info: StreamInfo, opening: Opening) -> DiskSink {
        let key = self.next_key.fetch_add(1, Relaxed);
        let gauge = Arc::new(Gauge::default());
        let is_feed_on = self.feed.is_on.load(Relaxed);
        let board = self.board().filter(|_| is_feed_on);
        let journal = board.map(|board| (Arc::clone(board), journal_key(&info)));
        let open = Job::Open(key, info, opening, Arc::clone(&gauge));
        let _ = self.sender.send(open);
        DiskSink::new(
            key,
            gauge,
            Arc::clone(&self.counters),
            self.sender.clone(),
            self.thread.as_ref().map(|thread| thread.thread().clone()),
            journal,
        )
    }

    /// How far the journals have grown; `None` while journals were never wanted.
    pub fn board(&self) -> Option<&Arc<Board>> {
        self.feed.board.get()
    }

    /// Deletes everything of a stream, open or not, after all jobs sent before: below the current
    /// output folder and below former ones. From when this returns, nothing of its journal is
    /// delivered.
    pub fn discard(&self, withdrawal: Withdrawal, former_roots: Vec<PathBuf>) {
        self.withdraw(withdrawal, former_roots, false);
    }

    /// The same, but the files stay.
    pub fn revoke(&self, withdrawal: Withdrawal, former_roots: Vec<PathBuf>) {
        self.withdraw(withdrawal, former_roots, true);
    }

    fn withdraw(&self, withdrawal: Withdrawal, former_roots: Vec<PathBuf>, stays: bool) {
        if let Some(board) = self.board() {
            let meeting = withdrawal.id.as_deref().map(safe_name);
            board.revoke_named(meeting.as_deref(), &safe_name(&withdrawal.stream_id));
        }
        let _ = self
            .sender
            .send(Job::Discard(withdrawal, former_roots, stays));
    }

    /// Work in folders, for those who wait for it.
    pub fn works(&self) -> Works {
        Works::new(self.sender.clone(), Arc::clone(&self.feed))
    }

    /// Notes in the server's journal that a user or an account removed the app.
    pub fn deauthorized(&self, user_id: String, account_id: String) {
        let _ = self.sender.send(Job::Deauthorized(user_id, account_id));
    }

    /// Changes to folders on behalf of others.
    pub fn folder_jobs(&self) -> Arc<dyn FolderJobs> {
        Arc::new(Folders {
            sender: self.sender.clone(),
            feed: Arc::clone(&self.feed),
        })
    }

    /// Who takes folders of streams that are over out of sight.
    pub fn folder_owner(&self) -> Arc<dyn FolderOwner> {
        Arc::new(Folders {
            sender: self.sender.clone(),
            feed: Arc::clone(&self.feed),
        })
    }

    /// Starts to complete, while the thread is otherwise idle, the files of earlier processes that
    /// no stream continues. To be called once every continued stream has its sink.
    pub fn complete_orphans(&self) {
        let _ = self.sender.send(Job::CompleteOrphans);
    }

    /// Sets the settings for streams that start from now on.
    pub fn reload(&self, settings: RecorderSettings) {
        self.feed.apply(&settings);
        let _ = self.sender.send(Job::Settings(settings));
    }

    /// The thread's counters.
    pub fn counters(&self) -> &Arc<DiskCounters> {
        &self.counters
    }

    /// Makes the thread write what waits, sync it, and end.
    pub fn stop(mut self, times: StopTimes) -> StoppingDisk {
        let _ = self.sender.send(Job::Stop(times));
        let thread = self.thread.take();
        if let Some(thread) = &thread {
            thread.thread().unpark();
        }
        StoppingDisk {
            thread,
            counters: Arc::clone(&self.counters),
            until: times.sync_until(times.write_until) + LEAVE_AFTER,
        }
    }
}

/// If it was not stopped, for example because the start failed later, the thread ends by itself.
impl Drop for Disk {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let now = Instant::now();
            let _ = self.sender.send(Job::Stop(StopTimes {
                write_until: now,
                sync_until: now,
                sync_min: Duration::ZERO,
            }));
        }
    }
}

struct OnPanic<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if let (true, Some(call)) = (std::thread::panicking(), self.0.take()) {
            call();
        }
    }
}

/// The disk thread while it stops.
#[derive(Debug)]
pub struct StoppingDisk {
    thread: Option<JoinHandle<StopReport>>,
    counters: Arc<DiskCounters>,
    until: Instant,
}

impl StoppingDisk {
    /// Waits for the end of the thread. If the thread hangs in the kernel, it is left running until the
    /// process ends.
    pub fn wait(self) -> StopReport {
        let is_running = |thread: &JoinHandle<StopReport>| !thread.is_finished();
        while self.thread.as_ref().is_some_and(is_running) && Instant::now() < self.until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let ended = self.thread.filter(JoinHandle::is_finished);
        let report = ended.and_then(|thread| thread.join().ok());
        report.unwrap_or_else(|| StopReport {
            lost_records: self.counters.waiting_records.load(Relaxed),
            lost_bytes: self.counters.waiting_bytes.load(Relaxed),
            is_synced: false,
            is_finished: false,
        })
    }
}

/// The way to the thread for those who change a folder.
struct Folders {
    sender: Sender<Job>,
    feed: Arc<FeedShare>,
}

impl Folders {
    fn ask(&self, job: impl FnOnce(SyncSender<io::Result<()>>) -> Job) -> io::Result<()> {
        let ended = || io::Error::other("the program is stopping");
        let (reply, answer) = mpsc::sync_channel(1);
        self.sender.send(job(reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl FolderOwner for Folders {
    fn detach(&self, root: &Path, place: &StreamPlace, part: Part) -> io::Result<()> {
        self.ask(|reply| Job::Detach(root.to_owned(), place.clone(), part, reply))
    }

    fn publish_meta(&self, root: &Path, place: &StreamPlace, inode: u64) -> io::Result<()> {
        self.ask(|reply| Job::PublishMeta(root.to_owned(), place.clone(), inode, reply))
    }
}

impl FolderJobs for Folders {
    fn note_upload(&self, note: UploadNote) -> io::Result<()> {
        self.ask(|reply| Job::NoteUpload(Box::new(note), reply))
    }

    fn delete_files(&self, folder: PathBuf, files: Vec<String>) -> io::Result<()> {
        self.ask(|reply| Job::DeleteFiles(folder, files, reply))
    }

    fn is_journal_free(&self, folder: &Path, ended_ago: Duration) -> bool {
        let board = self.feed.board.get();
        board.is_none_or(|board| board.may_delete(board.key_of(folder), ended_ago))
    }

    fn delete_journal(&self, folder: PathBuf, ended_ago: Duration) -> io::Result<()> {
        self.ask(|reply| Job::DeleteJournal(folder, ended_ago, reply))
    }
}
