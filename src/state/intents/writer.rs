//! The thread `state`: writes what waits, syncs it, and replaces the log at a checkpoint.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::file::LogFile;
use super::{CHECKPOINT_AFTER, EFFECT_SYNC_AFTER, Shared};

/// Interval of requests for a checkpoint.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) file: LogFile,
    pub(super) snapshot: &'static str,
    pub(super) ask: Box<dyn Fn() + Send>,
    /// When to request a checkpoint again.
    pub(super) ask_at: Option<Instant>,
    /// When to sync what was written.
    pub(super) sync_at: Option<Instant>,
    /// When to replace what was written by a snapshot.
    pub(super) old_at: Option<Instant>,
    pub(super) growth_bytes_min: u64,
    /// The length from which a checkpoint is needed.
    pub(super) checkpoint_at: u64,
}

/// The disk's state compared with before.
pub(super) enum Outcome {
    AsBefore,
    Fails(String),
    WorksAgain,
}

/// What the thread does next.
enum Job {
    /// The snapshot, and its number.
    Checkpoint(Vec<u8>, u64),
    Write {
        lines: Vec<u8>,
        has_effects: bool,
        /// The last event in the lines, if there is one.
        last_id: Option<u64>,
        /// Every effect until this number is in the file then.
        mark: Option<u64>,
    },
    Sync,
    Ask,
    End,
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            let job = self.next_job();
            let outcome = match job {
                Job::Checkpoint(snapshot, number) => self.checkpoint(&snapshot, number),
                Job::Write {
                    lines,
                    has_effects,
                    last_id,
                    mark,
                } => self.write(&lines, has_effects, last_id, mark),
                Job::Sync => self.sync(),
                Job::Ask => {
                    (self.ask)();
                    continue;
                }
                Job::End => return,
            };
            self.finish(outcome);
        }
    }

    /// Waits for a job. The order is: a checkpoint, then lines, then whatever is due.
    fn next_job(&mut self) -> Job {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        loop {
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
            if let Some(snapshot) = queue.checkpoint.take() {
                queue.busy_since = Some(now);
                return Job::Checkpoint(snapshot, queue.checkpoints);
            }
            if !self.file.is_trusted() {
                if !queue.effect_lines.is_empty() {
                    queue.effect_lines.clear();
                    queue.needs_checkpoint = true;
                }
            } else if !queue.event_lines.is_empty() || !queue.effect_lines.is_empty() {
                queue.busy_since = Some(now);
                let last_id = (!queue.event_lines.is_empty()).then_some(queue.last_id);
                let has_effects = !queue.effect_lines.is_empty();
                // An effect that found no room is in no line.
                let mark = (!queue.needs_checkpoint).then_some(queue.mark);
                let mut lines = std::mem::take(&mut queue.event_lines);
                lines.append(&mut queue.effect_lines);
                return Job::Write {
                    lines,
                    has_effects,
                    last_id,
                    mark,
                };
            }
            if is_due(self.sync_at) || (queue.is_closed && self.sync_at.is_some()) {
                queue.busy_since = Some(now);
                return Job::Sync;
            }
            if queue.is_closed {
                return Job::End;
            }
            if self.old_at.take_if(|at| now >= *at).is_some() {
                queue.needs_checkpoint = true;
            }
            if queue.needs_checkpoint && self.ask_at.is_none_or(|at| now >= at) {
                self.ask_at = Some(now + ASK_EVERY);
                return Job::Ask;
            }
            let ask_at = self.ask_at.filter(|_| queue.needs_checkpoint);
            let due = [self.sync_at, self.old_at, ask_at];
            queue = match due.into_iter().flatten().min() {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    let waited = shared.filled.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = shared.filled.wait(queue);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn write(
        &mut self,
        lines: &[u8],
        has_effects: bool,
        last_id: Option<u64>,
        mark: Option<u64>,
    ) -> Outcome {
        let written = self.file.append(lines).and_then(|()| match last_id {
            Some(_) => self.file.sync(),
            None => Ok(()),
        });
        let old_at = Instant::now() + CHECKPOINT_AFTER;
        self.old_at.get_or_insert(old_at);
        let mut queue = self.shared.lock();
        if let (Ok(()), Some(mark)) = (&written, mark) {
            queue.mark_done = mark;
        }
        match (&written, last_id) {
            (Ok(()), Some(last_id)) => {
                queue.decided_id = last_id;
                self.sync_at = None;
            }
            (Ok(()), None) => {
                let at = Instant::now() + EFFECT_SYNC_AFTER;
                self.sync_at.get_or_insert(at);
            }
            (Err(_), _) => {
                queue.needs_checkpoint |= has_effects;
                queue.refuse_undecided();
            }
        }
        queue.needs_checkpoint |= self.file.len() >= self.checkpoint_at;
        queue.note(written, self.file.is_trusted(), false)
    }

    fn sync(&mut self) -> Outcome {
        self.sync_at = None;
        let synced = self.file.sync();
        let mut queue = self.shared.lock();
        queue.note(synced, self.file.is_trusted(), false)
    }

    fn checkpoint(&mut self, snapshot: &[u8], number: u64) -> Outcome {
        let (mut last_id, mut mark) = (0, 0);
        let written = self.file.write_snapshot(self.snapshot, snapshot);
        let replaced = written.and_then(|()| {
            let lines = {
                let mut queue = self.shared.lock();
                (last_id, mark) = (queue.last_id, queue.mark);
                queue.take_unsettled()
            };
            let growth_bytes = self.growth_bytes_min.max(snapshot.len() as u64);
            self.checkpoint_at = lines.len() as u64 + growth_bytes;
            self.file.replace(&lines)
        });
        let mut queue = self.shared.lock();
        match &replaced {
            Ok(()) => {
                self.sync_at = None;
                self.old_at = None;
                queue.decided_id = last_id;
                queue.needs_checkpoint = false;
                queue.checkpoints_done = number;
                queue.mark_done = mark;
                queue.broken = None;
            }
            Err(_) => {
                queue.needs_checkpoint = true;
                if !self.file.is_trusted() {
                    queue.refuse_undecided();
                }
            }
        }
        queue.note(replaced, self.file.is_trusted(), true)
    }

    /// Wakes the waiting threads, and logs a change of the disk's state.
    fn finish(&mut self, outcome: Outcome) {
        self.shared.done.notify_all();
        match outcome {
            Outcome::AsBefore => {}
            Outcome::Fails(text) => log::error!(
                "{text}; answering 503 to webhooks that cannot be stored, so that Zoom sends them again"
            ),
            Outcome::WorksAgain => log::info!("state directory writable again"),
        }
    }
}
