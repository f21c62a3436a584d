//! The intent log: an accepted Zoom event is on disk before it is answered 200.
//!
//! Zoom never repeats a webhook that was answered 200. So an accepted Zoom event is appended to
//! `intents.log` in the state directory, and answered once it survives a power cut. What the daemon
//! then changes is appended too, and settles the event. A snapshot of the whole state replaces all
//! of it: then the log is replaced by a short one. So the cost of a change does not grow with the
//! size of the state.
//!
//! # The file
//!
//! Lines of text (mode 0600, in a directory that one process locks):
//!
//! ```text
//! c0a3b1… event 17 {"event":"meeting.rtms_started",…}
//! 5be02f… effect 17 {"version":204,…}
//! 99d17a… effect - {"version":205,…}
//! ```
//!
//! - First 16 hexadecimal digits: the first 64 bits of the SHA-256 of the rest of the line, without
//!   the space before it and the line break after it.
//! - `event ID BODY`: a Zoom event. The body is the webhook's as it was verified, so that any
//!   version reads it with the parser for live ones; only its line breaks are replaced by spaces,
//!   which means the same in JSON. Ids grow.
//! - `effect IDS BODY`: what was changed (the daemon's JSON, or nothing), and which events it
//!   settles: numbers with commas, or `-`. It is one line, so a crash leaves both or neither.
//! - With a key (`RTMS_STATE_KEY_FILE`) a body is `sealed1:` and base64 of what [`seal`](super::seal)
//!   makes of it.
//! - A line with a valid checksum and another word is a newer version's, and is skipped.
//! - A line that is torn, or whose checksum is wrong, is damaged. At the end of the file it is the
//!   rest of an append that was never answered, and is cut off when the file is opened. Between
//!   good lines it is counted, logged and skipped.
//!
//! # Syncing
//!
//! One thread writes and syncs. It writes all waiting lines at once and syncs once: however many
//! webhooks arrive together, they share an fdatasync(2), and those that arrive meanwhile share the
//! next. It is a thread of its own, and not one of the waiting ones, because a call into a hung
//! disk does not return: webhooks wait until a deadline and are then answered 503, so that Zoom
//! sends them again. Effects are written at once, but wait [`EFFECT_SYNC_AFTER`] for a sync unless
//! an event needs one: effects lost in a power cut are made again from their events.
//!
//! After a failed fdatasync(2) it is unknown what is on the disk, and a second call succeeds
//! without writing anything. So the file is not appended to any more: events are refused until a
//! checkpoint has replaced it.
//!
//! # Checkpoints
//!
//! The log requests one by calling the function that it was opened with: when it has grown by the
//! size of the last snapshot, an hour after the last one, when an effect could not be kept, and
//! after a failed sync. Then the snapshot is written first (replaced atomically and synced), and
//! after it a log with only the unsettled events. A crash between the two leaves effects that are
//! in the snapshot already: the reader must detect them by a version, as the daemon does. In the
//! same way a repeated event must be harmless, because an event is replayed if its effect did not
//! reach the disk.

mod file;
mod record;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::seal::StateKeys;
use super::write::{Disk, Kernel};
use super::{Error, StateDir};
use crate::log::app::inherit;
use file::LogFile;
use writer::{Outcome, Writer};

/// Maximum unsettled events.
pub const EVENTS_MAX: usize = 16_384;

/// Maximum bytes of such events: a quarter of the longest file.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// Maximum bytes of effects that wait for the disk; above this a checkpoint replaces them.
const EFFECT_BYTES_MAX: usize = 4 << 20;

/// Effects are synced after this time if no event follows them.
pub const EFFECT_SYNC_AFTER: Duration = Duration::from_millis(200);

/// The log grows by at least this many bytes before the next checkpoint: about 5,000 starts. A
/// checkpoint is four syncs that webhooks wait for, so they should be rare; the log is read at the
/// start, so it should be short.
const GROWTH_BYTES_MIN: u64 = 8 << 20;

/// Lines are removed from the log after this time at the latest, because they name meetings and
/// people that the snapshot no longer contains.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(3600);

/// A disk that has not answered for this long gets no more events.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The number of an event in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(u64);

/// Why an event was refused. Zoom sends it again after the answer 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// [`EVENTS_MAX`] events or [`EVENT_BYTES_MAX`] bytes wait for their effect.
    Full,
    /// The event is longer than a line may be.
    TooLong,
    /// The disk has not answered in time.
    Stalled,
    /// The disk failed, with this message.
    Failed(String),
    /// The log is closed.
    Closed,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotKept::Full => f.write_str("too many events wait for the daemon"),
            NotKept::TooLong => f.write_str("the event is too long for the intent log"),
            NotKept::Stalled => f.write_str("the disk of the state directory does not answer"),
            NotKept::Failed(text) => f.write_str(text),
            NotKept::Closed => f.write_str("the intent log is closed"),
        }
    }
}

impl std::error::Error for NotKept {}

/// What an earlier process left in the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Bodies of effects, oldest first. The first ones may be in the snapshot already.
    pub effects: Vec<Vec<u8>>,
    /// Events without an effect, in the order in which they were accepted.
    pub events: Vec<(EventId, Vec<u8>)>,
    /// Number of unreadable lines before the last good one.
    pub damaged_lines: u64,
}

/// The intent log, and the thread that writes it.
pub struct IntentLog {
    shared: Arc<Shared>,
    keys: StateKeys,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals that there is something to write.
    filled: Condvar,
    /// Signals that a write has succeeded or failed.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Lines that wait for the disk.
    event_lines: Vec<u8>,
    effect_lines: Vec<u8>,
    checkpoint: Option<Vec<u8>>,
    /// Checkpoints that were queued, and up to which of them the disk has them.
    checkpoints: u64,
    checkpoints_done: u64,
    /// Number of the last effect or checkpoint, and of the last one that is in the files.
    mark: u64,
    mark_done: u64,
    /// Unsettled events as lines, on the disk or waiting for it.
    events: BTreeMap<u64, Box<[u8]>>,
    events_bytes: usize,
    last_id: u64,
    /// Up to this id it is known whether events are on the disk.
    decided_id: u64,
    /// Whether effects were lost, or the log has become long.
    needs_checkpoint: bool,
    /// Why events are refused until the next checkpoint.
    broken: Option<String>,
    /// Whether the last disk operation failed.
    is_failing: bool,
    /// The error of the last failure.
    failure: String,
    /// When the disk operation in progress started.
    busy_since: Option<Instant>,
    is_closed: bool,
}

impl IntentLog {
    /// Opens or creates the log, and starts its thread. Snapshots are written to the file
    /// `snapshot`. The thread calls `ask` when a [`checkpoint`](IntentLog::checkpoint) is needed,
    /// and again each second until there is one.
    ///
    /// # Errors
    /// If the file cannot be read or created, or the thread cannot be started.
    pub fn open(
        state: &Arc<StateDir>,
        snapshot: &'static str,
        ask: impl Fn() + Send + 'static,
    ) -> Result<(IntentLog, Replay), Error> {
        IntentLog::open_on(Arc::new(Kernel), GROWTH_BYTES_MIN, state, snapshot, ask)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        growth_bytes_min: u64,
        state: &Arc<StateDir>,
        snapshot: &'static str,
        ask: impl Fn() + Send + 'static,
    ) -> Result<(IntentLog, Replay), Error> {
        let (file, content) = LogFile::open(state, disk)?;
        if content.damaged_lines > 0 {
            log::error!(
                "{}: skipped unreadable lines lines={}; check the disk",
                state.path().join(file::NAME).display(),
                content.damaged_lines
            );
        }
        let mut queue = Queue {
            last_id: content.last_id,
            decided_id: content.last_id,
            needs_checkpoint: content.is_stale,
            ..Queue::default()
        };
        let mut events = Vec::with_capacity(content.events.len());
        for (id, body) in content.events {
            let line = state.keys().seal_line(file::NAME, &body);
            let sealed = |fault| Error::Sealed {
                path: state.path().join(file::NAME),
                fault,
            };
            queue.keep(id, &line.map_err(sealed)?);
            events.push((EventId(id), body));
        }
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            ..Shared::default()
        });
        let has_lines = file.len() > 0;
        let writer = Writer {
            shared: Arc::clone(&shared),
            growth_bytes_min,
            checkpoint_at: file.len() + growth_bytes_min,
            file,
            snapshot,
            ask: Box::new(ask),
            ask_at: None,
            sync_at: None,
            old_at: has_lines.then(|| Instant::now() + CHECKPOINT_AFTER),
        };
        let thread = Builder::new()
            .name("state".to_owned())
            .stack_size(128 << 10)
            .spawn(inherit(move || writer.run()))
            .map_err(|e| Error::io("start a thread for", state.path(), &e))?;
        let log = IntentLog {
            shared,
            keys: state.keys().clone(),
            thread: Mutex::new(Some(thread)),
        };
        let replay = Replay {
            effects: content.effects,
            events,
            damaged_lines: content.damaged_lines,
        };
        Ok((log, replay))
    }

    /// Queues an event to be written. Never blocks. The caller must then call
    /// [`wait`](IntentLog::wait), which returns once the event is safe.
    ///
    /// # Errors
    /// If there is no room, or the disk has failed.
    pub fn append(&self, body: &[u8]) -> Result<EventId, NotKept> {
        let body = self.keys.seal_line(file::NAME, body);
        let body = &body.map_err(|fault| NotKept::Failed(fault.to_string()))?;
        let mut queue = self.shared.lock();
        if queue.is_closed {
            return Err(NotKept::Closed);
        }
        if let Some(text) = &queue.broken {
            return Err(NotKept::Failed(text.clone()));
        }
        if queue
            .busy_since
            .is_some_and(|since| since.elapsed() >= STALLED_AFTER)
        {
            return Err(NotKept::Stalled);
        }
        // Room for checksum, word and number.
        if body.len() + 64 > record::LINE_BYTES_MAX {
            return Err(NotKept::TooLong);
        }
        if queue.events.len() >= EVENTS_MAX || queue.events_bytes + body.len() > EVENT_BYTES_MAX {
            return Err(NotKept::Full);
        }
        queue.last_id += 1;
        let id = queue.last_id;
        let start = queue.event_lines.len();
        record::push_event(&mut queue.event_lines, id, body);
        let line: Box<[u8]> = queue.event_lines[start..].into();
        queue.events_bytes += line.len();
        queue.events.insert(id, line);
        drop(queue);
        self.shared.filled.notify_one();
        Ok(EventId(id))
    }

    /// Waits until the event is on the disk, with everything that was appended before it.
    ///
    /// # Errors
    /// If it is not, or not in time; the event is then settled, and replayed only if the disk has
    /// it all the same.
    pub fn wait(&self, id: EventId, deadline: Instant) -> Result<(), NotKept> {
        let mut queue = self.shared.lock();
        while queue.decided_id < id.0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                queue.settle(&[id]);
                record::push_effect(&mut queue.effect_lines, &[id.0], b"");
                return Err(NotKept::Stalled);
            }
            let waited = self.shared.done.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match queue.events.contains_key(&id.0) {
            true => Ok(()),
            false => Err(NotKept::Failed(queue.failure.clone())),
        }
    }

    /// Queues what the daemon changed, in a form that only the daemon reads and that may be empty;
    /// settles these events. Never blocks. Without room a checkpoint is requested.
    pub fn effect(&self, settles: &[EventId], body: &[u8]) {
        let sealed = self.keys.seal_line(file::NAME, body);
        let mut queue = self.shared.lock();
        queue.mark += 1;
        queue.settle(settles);
        let Ok(body) = sealed else {
            // The next checkpoint has it.
            queue.needs_checkpoint = true;
            return;
        };
        let ids: Vec<u64> = settles.iter().map(|id| id.0).collect();
        let bytes = body.len() + 21 * ids.len() + 64;
        if bytes > record::LINE_BYTES_MAX
            || queue.effect_lines.len() + bytes > EFFECT_BYTES_MAX
            || queue.broken.is_some()
        {
            queue.needs_checkpoint = true;
        } else {
            record::push_effect(&mut queue.effect_lines, &ids, &body);
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Queues a snapshot of the daemon's whole state: it includes every effect so far, and settles
    /// these events. Never blocks. Replaces a snapshot that still waits for the disk.
    pub fn checkpoint(&self, settles: &[EventId], snapshot: Vec<u8>) {
        let mut queue = self.shared.lock();
        queue.checkpoints += 1;
        queue.mark += 1;
        queue.settle(settles);
        queue.effect_lines.clear();
        queue.checkpoint = Some(snapshot);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// The number of the last effect or checkpoint.
    pub fn mark(&self) -> u64 {
        self.shared.lock().mark
    }

    /// Whether the kernel has every effect until that number: a process that is killed now leaves them.
    pub fn has_written(&self, mark: u64) -> bool {
        self.shared.lock().mark_done >= mark
    }

    /// Waits until every checkpoint that was queued so far is on the disk. Whether it is.
    pub fn wait_for_checkpoint(&self, deadline: Instant) -> bool {
        let mut queue = self.shared.lock();
        let wanted = queue.checkpoints;
        while queue.checkpoints_done < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.done.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether the last disk operation failed, or the disk does not answer.
    pub fn is_failing(&self) -> bool {
        let queue = self.shared.lock();
        queue.is_failing || (queue.busy_since).is_some_and(|since| since.elapsed() >= STALLED_AFTER)
    }

    /// Writes everything that waits, and ends the thread; a disk that hangs is not waited for
    /// beyond `deadline`. Returns whether everything is on the disk.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return !self.is_failing();
        };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        thread.is_finished() && thread.join().is_ok() && !self.shared.lock().is_failing
    }

    fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.filled.notify_one();
    }
}

impl Drop for IntentLog {
    fn drop(&mut self) {
        // Without a call of `stop`: when the daemon's start failed later.
        self.stop(Instant::now() + STALLED_AFTER);
    }
}

impl fmt::Debug for IntentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntentLog").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn keep(&mut self, id: u64, body: &[u8]) {
        let mut line = Vec::with_capacity(body.len() + 48);
        record::push_event(&mut line, id, body);
        self.events_bytes += line.len();
        self.events.insert(id, line.into());
    }

    fn settle(&mut self, ids: &[EventId]) {
        for id in ids {
            self.forget(id.0);
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(line) = self.events.remove(&id) {
            self.events_bytes -= line.len();
        }
    }

    /// Refuses the events that are not on the failed disk, and those that wait for it.
    fn refuse_undecided(&mut self) {
        let undecided = self.events.split_off(&(self.decided_id + 1));
        let bytes: usize = undecided.values().map(|line| line.len()).sum();
        self.events_bytes -= bytes;
        self.event_lines.clear();
        self.decided_id = self.last_id;
    }

    /// The lines of the log after a checkpoint. Nothing waits afterwards.
    fn take_unsettled(&mut self) -> Vec<u8> {
        self.event_lines.clear();
        let mut lines = Vec::with_capacity(self.events_bytes + self.effect_lines.len());
        for line in self.events.values() {
            lines.extend_from_slice(line);
        }
        // These effects came after the snapshot.
        lines.append(&mut self.effect_lines);
        lines
    }

    /// Notes the result of a disk operation.
    fn note(
        &mut self,
        result: Result<(), Error>,
        is_trusted: bool,
        is_checkpoint: bool,
    ) -> Outcome {
        self.busy_since = None;
        match result {
            // A small write may succeed on a disk that has no room for a snapshot.
            Ok(()) if self.is_failing && (is_checkpoint || !self.needs_checkpoint) => {
                self.is_failing = false;
                Outcome::WorksAgain
            }
            Ok(()) => Outcome::AsBefore,
            Err(error) => {
                let text = error.to_string();
                if !is_trusted {
                    self.broken = Some(text.clone());
                    self.needs_checkpoint = true;
                }
                self.failure.clone_from(&text);
                match std::mem::replace(&mut self.is_failing, true) {
                    true => Outcome::AsBefore,
                    false => Outcome::Fails(text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
