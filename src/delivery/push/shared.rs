//! What the push thread, its workers and those who ask share: the machine under one lock, which no
//! thread holds while it waits for a disk or the network.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::command::{Command, CommandError};
use super::machine::{Job, Machine, Note, NoteKind, Now, Outcome};
use super::request::Client;
use super::settings::EndpointSettings;
use crate::clock::now_ms;
use crate::domain::histogram::Histogram;
use crate::feed::board::Board;
use crate::feed::key::JournalKey;
use crate::feed::kind::KindFilter;
use crate::log::warn_limiter::WarnLimiter;
use crate::net::waker::Waker;

/// Most requests under way, and so workers, of all endpoints together.
pub(super) const THREADS_MAX: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) board: Arc<Board>,
    pub(super) client: Client,
    /// How long requests took.
    pub(super) seconds: Histogram,
    /// Wakes the push thread.
    pub(super) waker: Waker,
    begun: Instant,
    unreadable: WarnLimiter,
}

/// What is under the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) machine: Machine,
    pub(super) endpoints: Vec<Endpoint>,
    /// The folder of each journal that the machine knows.
    pub(super) folders: HashMap<JournalKey, Arc<Path>>,
    /// A configuration that is to be applied.
    pub(super) wanted: Option<Vec<EndpointSettings>>,
    pub(super) commands: Vec<(Command, SyncSender<Result<(), CommandError>>)>,
    pub(super) is_stopping: bool,
    /// The push thread has ended, because no endpoint was left.
    pub(super) is_over: bool,
    /// When the push thread wakes by itself, and when it may write cursors again: milliseconds of
    /// [`Now`].
    pub(super) sleeps_until: u64,
    pub(super) writes_from: u64,
}

/// An endpoint as its workers see it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) number: u32,
    pub(super) settings: Arc<EndpointSettings>,
    /// By the numbers that the machine has. A place is used again when no range goes by it.
    pub(super) filters: Vec<Arc<KindFilter>>,
    /// Its workers wait here.
    pub(super) wake: Arc<Condvar>,
    pub(super) idle: u32,
    pub(super) workers: u32,
    failures: Arc<WarnLimiter>,
    recoveries: Arc<WarnLimiter>,
}

impl Endpoint {
    pub(super) fn new(number: u32, settings: Arc<EndpointSettings>) -> Endpoint {
        Endpoint {
            number,
            filters: vec![Arc::new(settings.events.clone())],
            settings,
            wake: Arc::default(),
            idle: 0,
            workers: 0,
            failures: Arc::default(),
            recoveries: Arc::default(),
        }
    }

    pub(super) fn filter(&self, number: u8) -> Arc<KindFilter> {
        match self.filters.get(usize::from(number)) {
            Some(filter) => Arc::clone(filter),
            None => Arc::default(),
        }
    }
}

impl Shared {
    pub(super) fn new(board: Arc<Board>, client: Client, waker: Waker) -> Shared {
        let seed = u64::from(std::process::id()) << 32 ^ now_ms();
        Shared {
            state: Mutex::new(State {
                machine: Machine::new(THREADS_MAX, seed),
                endpoints: Vec::new(),
                folders: HashMap::new(),
                wanted: None,
                commands: Vec::new(),
                is_stopping: false,
                is_over: false,
                sleeps_until: 0,
                writes_from: 0,
            }),
            board,
            client,
            seconds: Histogram::default(),
            waker,
            begun: Instant::now(),
            unreadable: WarnLimiter::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(
        &self,
        wake: &Condvar,
        state: MutexGuard<'a, State>,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        let woken = wake.wait_timeout(state, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn now(&self) -> Now {
        Now {
            ms: self.begun.elapsed().as_millis() as u64,
            unix_ms: now_ms(),
        }
    }

    /// What came of a job. Wakes every thread that has something to do now.
    pub(super) fn finish(&self, number: u32, job: &Job, outcome: Outcome) {
        let now = self.now();
        let mut state = self.lock();
        state.machine.finish(number, job, outcome, now);
        let notes = state.take_notes();
        let missing = state.wake_workers(now);
        let mut due = state.machine.next_deadline(now).unwrap_or(u64::MAX);
        if state.machine.has_changed(number) {
            due = due.min(state.writes_from);
        }
        let is_due = missing > 0 || due < state.sleeps_until || notes.iter().any(is_of_files);
        drop(state);
        if is_due {
            self.waker.wake();
        }
        notes.iter().for_each(log_note);
    }

    /// Puts a journal on the board that has left it; whether it is there.
    pub(super) fn load_again(&self, key: JournalKey) -> bool {
        let folder = self.lock().folders.get(&key).cloned();
        let Some(folder) = folder else {
            return false;
        };
        self.board.get(key).is_none()
            && self
                .board
                .load(&folder)
                .is_ok_and(|journal| journal.seq > 0)
    }

    /// A journal that cannot be read.
    pub(super) fn unreadable(&self, key: JournalKey, error: &io::Error) {
        if let Some(more) = self.unreadable.allow(Instant::now()) {
            log::warn!(
                "push: a journal cannot be read key={key} error=\"{error}\"{more}; it is tried again"
            );
        }
    }
}

/// Whether a file of the push thread has to say it too.
fn is_of_files((_, note): &NamedNote) -> bool {
    matches!(note.kind, NoteKind::Gone)
}

/// A note with what is needed to log it.
pub(super) type NamedNote = (NoteOrigin, Note);

#[derive(Debug, Clone)]
pub(super) struct NoteOrigin {
    settings: Arc<EndpointSettings>,
    failures: Arc<WarnLimiter>,
    recoveries: Arc<WarnLimiter>,
}

impl State {
    /// Notes of the machine, to be logged once the lock is given back.
    pub(super) fn take_notes(&mut self) -> Vec<NamedNote> {
        let notes = self.machine.take_notes();
        let named = notes.into_iter().filter_map(|note| {
            let mut endpoints = self.endpoints.iter();
            let endpoint = endpoints.find(|it| it.number == note.endpoint)?;
            let origin = NoteOrigin {
                settings: Arc::clone(&endpoint.settings),
                failures: Arc::clone(&endpoint.failures),
                recoveries: Arc::clone(&endpoint.recoveries),
            };
            Some((origin, note))
        });
        named.collect()
    }

    /// Wakes the workers that have something to do; how many are missing.
    pub(super) fn wake_workers(&mut self, now: Now) -> u32 {
        let mut missing = 0;
        for endpoint in &self.endpoints {
            let jobs = self.machine.jobs(endpoint.number, now);
            (0..jobs.min(endpoint.idle)).for_each(|_| endpoint.wake.notify_one());
            missing += jobs.saturating_sub(endpoint.idle);
        }
        missing
    }
}

/// Writes a note to the log: endpoint, key, number and status, and nothing of what was sent or
/// answered.
pub(super) fn log_note((origin, note): &NamedNote) {
    let (name, key, seq) = (&origin.settings.name, note.key, note.seq);
    let host = origin.settings.url.origin();
    match note.kind {
        NoteKind::FirstFailure { answer } => {
            if let Some(more) = origin.failures.allow(Instant::now()) {
                log::warn!(
                    "push failed endpoint={name} key={key} seq={seq} {}{more}; it is tried again",
                    result(answer)
                );
            }
        }
        NoteKind::Recovered { tries } => {
            if let Some(more) = origin.recoveries.allow(Instant::now()) {
                log::info!(
                    "push delivered endpoint={name} key={key} seq={seq} failures={tries}{more}"
                );
            }
        }
        NoteKind::Rests { answer } => log::warn!(
            "push endpoint fails endpoint={name} host={host} {}; one request at a time tries it",
            result(answer)
        ),
        NoteKind::Woke { rested_ms } => log::info!(
            "push endpoint recovered endpoint={name} host={host} seconds={}",
            rested_ms / 1000
        ),
        NoteKind::Gone => log::error!(
            "push endpoint is gone endpoint={name} host={host} key={key} seq={seq} status=410; \
             nothing is sent until \"rtmsd push resume {name}\" or another URL"
        ),
        NoteKind::Skipped { status } => log::warn!(
            "push event skipped after RTMS_PUSH_GIVE_UP endpoint={name} key={key} seq={seq} status={status}"
        ),
        NoteKind::Expired { events } => log::warn!(
            "push: a journal was deleted before it was delivered endpoint={name} key={key} events={events}"
        ),
        NoteKind::LagGrows { events } => log::warn!(
            "push endpoint is slower than the events endpoint={name} waiting={events}; raise \
             RTMS_PUSH_BATCH or RTMS_PUSH_CONNECTIONS"
        ),
    }
}

fn result(answer: super::answer::Answer) -> String {
    use super::answer::Answer;
    match answer {
        Answer::Status { status, .. } => format!("status={status}"),
        Answer::None(fault) => format!("error={}", fault.name()),
    }
}
