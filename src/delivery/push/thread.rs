//! The push thread: tells the machine what the board says, starts workers, and keeps the files.

mod commands;
mod endpoints;
mod files;
mod journals;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::known::Known;
use super::shared::{Shared, State, log_note};
use super::worker::work;
use crate::feed::Reader;
use crate::feed::board::Watch;
use crate::feed::key::JournalKey;
use crate::log::app::inherit;
use crate::log::warn_limiter::WarnLimiter;
use crate::net::waker::Wakeable;
use crate::state::StateDir;
use files::Files;

/// The name of the file of known endpoints.
pub(super) const KNOWN_NAME: &str = "push-endpoints";
/// A worker's stack: a request with TLS.
const STACK_BYTES: usize = 128 << 10;

/// See the module.
pub(super) struct Thread {
    shared: Arc<Shared>,
    state_dir: Arc<StateDir>,
    wakeable: Wakeable,
    watch: Watch,
    reader: Reader,
    /// Of the board, and every line up to there is known.
    version: u64,
    pos: u64,
    endpoints: Vec<Files>,
    known: Vec<Known>,
    /// Journals that are held on the board, of streams that may need no more.
    held: HashSet<JournalKey>,
    next_number: u32,
    workers: Vec<JoinHandle<()>>,
    sync_at: Option<u64>,
    sweep_at: Option<u64>,
    failing: WarnLimiter,
}

impl Thread {
    pub(super) fn new(
        shared: &Arc<Shared>,
        state_dir: Arc<StateDir>,
        wakeable: Wakeable,
    ) -> Thread {
        let watch = shared.board.watch(shared.waker.clone());
        Thread {
            reader: Reader::new(&shared.board),
            shared: Arc::clone(shared),
            state_dir,
            wakeable,
            watch,
            version: 0,
            pos: 0,
            endpoints: Vec::new(),
            known: Vec::new(),
            held: HashSet::new(),
            next_number: 0,
            workers: Vec::new(),
            sync_at: None,
            sweep_at: None,
            failing: WarnLimiter::default(),
        }
    }

    /// Works until it is told to stop, or no endpoint is left.
    pub(super) fn run(mut self) {
        self.load_known();
        let mut is_first = true;
        let mut changed = Vec::new();
        loop {
            self.wakeable.clear();
            let (version, pos) = self.shared.board.changes_since(self.version, &mut changed);
            (self.version, self.pos) = (version, pos.max(self.pos));
            let (wanted, commands, is_stopping) = {
                let mut state = self.shared.lock();
                let commands = std::mem::take(&mut state.commands);
                (state.wanted.take(), commands, state.is_stopping)
            };
            for journal in changed.drain(..) {
                self.journal(&journal);
            }
            if let Some(wanted) = wanted {
                self.configure(wanted, is_first);
                if std::mem::take(&mut is_first) {
                    self.shared.board.consumer_is_ready();
                }
            }
            for (command, reply) in commands {
                // The one who asked may have stopped waiting.
                let _ = reply.send(self.command(&command));
            }
            if is_stopping {
                break;
            }
            let now = self.shared.now();
            let (missing, notes) = {
                let mut state = self.shared.lock();
                state.machine.ring(now);
                let notes = state.take_notes();
                (state.wake_workers(now), notes)
            };
            notes.iter().for_each(log_note);
            if missing > 0 {
                self.start_workers();
            }
            self.write_files();
            self.workers.retain(|worker| !worker.is_finished());
            if self.endpoints.is_empty() {
                // Requests to endpoints that were taken out come to their end.
                self.join_workers();
                let mut state = self.shared.lock();
                if state.wanted.is_none() {
                    state.is_over = true;
                    drop(state);
                    self.release_all();
                    return;
                }
                continue;
            }
            self.wait();
        }
        self.end();
    }

    /// Sleeps until the board changes, a worker says so, or something is due.
    fn wait(&self) {
        let now = self.shared.now();
        let due = {
            let mut state = self.shared.lock();
            let mut due = state.machine.next_deadline(now);
            let mut files = self.endpoints.iter();
            if files.any(|files| files.is_stale || state.machine.has_changed(files.number)) {
                due = due.into_iter().chain([state.writes_from]).min();
            }
            let due = due
                .into_iter()
                .chain(self.sync_at)
                .chain(self.sweep_at)
                .min();
            state.sleeps_until = due.unwrap_or(u64::MAX);
            due
        };
        if !self.shared.board.arm(&self.watch, self.version) {
            return;
        }
        let ms = due.map(|due| due.saturating_sub(now.ms));
        let time = ms.map(|ms| Timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: (ms % 1000) as i64 * 1_000_000,
        });
        let mut fds = [PollFd::new(&self.wakeable, PollFlags::IN)];
        // An interrupted wait looks around once more.
        let _ = poll(&mut fds, time.as_ref());
    }

    fn start_workers(&mut self) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let State {
            machine, endpoints, ..
        } = &mut *state;
        for endpoint in endpoints {
            let jobs = machine.jobs(endpoint.number, now);
            for _ in 0..jobs.saturating_sub(endpoint.idle) {
                let (shared, number) = (Arc::clone(&self.shared), endpoint.number);
                let worker = Builder::new()
                    .name(format!("push-{}", endpoint.settings.name))
                    .stack_size(STACK_BYTES)
                    .spawn(inherit(move || work(&shared, number)));
                match worker {
                    Ok(worker) => {
                        endpoint.workers += 1;
                        self.workers.push(worker);
                    }
                    Err(error) => {
                        // Those that run go on; the next event tries it again.
                        self.complain_of_thread(&error);
                        break;
                    }
                }
            }
        }
    }

    fn complain_of_thread(&self, error: &io::Error) {
        if let Some(more) = self.failing.allow(std::time::Instant::now()) {
            log::error!("push: a thread cannot be started: {error}{more}");
        }
    }

    /// They end with their request, which has a deadline and is cut off at the end of the process.
    fn join_workers(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            if worker.join().is_err() {
                log::error!("push: a worker panicked");
            }
        }
    }

    /// Waits for the requests under way, as long as the one who stops us does; then the last cursors.
    fn end(mut self) {
        self.join_workers();
        let mut is_written = true;
        for at in 0..self.endpoints.len() {
            is_written &= self.rewrite(at);
        }
        self.note_modes();
        if !is_written {
            log::error!("push: the last progress could not be written");
        }
    }
}
