//! Forgetting beside the running streams: requests, their thread, and what the loop does for it.
//!
//! There is a thread as long as something is to be forgotten. It asks the loop for what runs and for
//! changes of the state, and the disk thread for changes of folders; so both stay the only writers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::{Daemon, Event, OnDeauthorized};
use crate::clock::now_ms;
use crate::coordinator::forgetting::Subject;
use crate::delivery::ends::Ends;
use crate::delivery::s3;
use crate::delivery::s3::client::Client;
use crate::domain::stream_info::StreamInfo;
use crate::domain::zoom_event::ZoomEventKind;
use crate::forgetting::receipt::Candidate;
use crate::forgetting::record::{self, RECORDS_MAX, Record, Request};
use crate::forgetting::run::{self, Live, Place};
use crate::forgetting::search::Fault;
use crate::forgetting::{Counters, Receipt, Target};
use crate::inbox;
use crate::net::proxy::ProxyEnv;
use crate::protocol::Command;
use crate::recorder::disk::Works;
use crate::source::webhook::desk::Accepted;
use crate::state::StateDir;
use crate::state::intents::{EventId, IntentLog};

/// The loop answers in microseconds, unless it is stopping.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Streams that are ended at Zoom have ended by then.
const END_MAX: Duration = Duration::from_secs(30);
/// A snapshot of the state is on the disk by then.
const STATE_MAX: Duration = Duration::from_secs(30);
/// From one look at what waits to the next.
const AGAIN: Duration = Duration::from_secs(5);
/// Results that are kept for those who asked.
const RESULTS_MAX: usize = 64;

/// What the thread asks the loop.
#[derive(Debug)]
pub(super) enum Ask {
    /// What is there.
    Facts(SyncSender<Facts>),
    /// End these streams at Zoom.
    End(Vec<String>),
    /// Take it out of the state. The log that then has to write it, if there is one.
    State(Subject, SyncSender<Option<Arc<IntentLog>>>),
    /// A Zoom event that led to a request, which is on the disk now.
    Settle(EventId),
}

/// What is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    roots: Vec<PathBuf>,
    running: Vec<StreamInfo>,
    bucket: Option<s3::Settings>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is being worked on.
    Running,
    /// The receipt, complete or not.
    Done(Box<Receipt>),
    /// It means several people.
    Ambiguous(Vec<Candidate>),
    /// It could not be done.
    Failed(String),
}

/// Requests to forget, of one daemon. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Forgetting(Arc<Shared>);

struct Shared {
    /// `None` without a state directory: then nothing can be forgotten for sure.
    state: Option<Arc<StateDir>>,
    /// `None` without files.
    works: Option<Works>,
    ends: Ends,
    proxy: ProxyEnv,
    ca_file: Option<PathBuf>,
    sender: inbox::Sender<Event>,
    counters: Arc<Counters>,
    inner: Mutex<Inner>,
    wake: Condvar,
    is_stopping: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// As on the disk.
    records: Vec<Record>,
    /// Accounts that removed the app, with the event that said so.
    accounts: VecDeque<(String, Option<EventId>)>,
    /// Requests of which only the plan is wanted.
    plans: VecDeque<(String, Request)>,
    results: HashMap<String, Outcome>,
    /// The ids of the results, the oldest first.
    order: VecDeque<String>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
}

impl fmt::Debug for Forgetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgetting").finish_non_exhaustive()
    }
}

impl Forgetting {
    pub(super) fn new(
        state: Option<Arc<StateDir>>,
        works: Option<Works>,
        ends: Ends,
        (proxy, ca_file): (ProxyEnv, Option<PathBuf>),
        sender: inbox::Sender<Event>,
    ) -> Forgetting {
        Forgetting(Arc::new(Shared {
            state,
            works,
            ends,
            proxy,
            ca_file,
            sender,
            counters: Arc::default(),
            inner: Mutex::default(),
            wake: Condvar::new(),
            is_stopping: AtomicBool::new(false),
        }))
    }

    /// How it went so far.
    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Goes on with what an earlier process left. To be called once every stream is continued.
    pub(super) fn resume(&self) {
        let Some(state) = &self.0.state else { return };
        match record::load(state) {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                log::info!(
                    "forgetting what an earlier process was asked to forget count={}",
                    records.len()
                );
                let mut inner = self.0.lock();
                inner.records = records;
                self.0.count_waiting(&inner);
                self.0.start(&mut inner);
            }
            Err(text) => log::error!("cannot go on with forgetting: {text}"),
        }
    }

    /// Takes a request up, and returns the id of its receipt: with `dry_run` only the plan is made. When
    /// this returns, the request survives a crash. It waits for the disk.
    ///
    /// # Errors
    /// A text for the person who asks.
    pub(crate) fn submit(&self, request: Request, dry_run: bool) -> Result<String, String> {
        request.check()?;
        let Some(state) = self.0.state.as_ref().filter(|_| self.0.works.is_some()) else {
            return Err("RTMS_OUT or RTMS_STATE is off, so there is nothing to forget".to_owned());
        };
        let mut inner = self.0.lock();
        if self.0.is_stopping.load(Relaxed) {
            return Err("the server is stopping".to_owned());
        }
        let now = now_ms();
        let id = record::new_id(now);
        if dry_run {
            if inner.plans.len() >= RESULTS_MAX {
                return Err("too many requests wait".to_owned());
            }
            inner.plans.push_back((id.clone(), request));
            inner.keep(&id, Outcome::Running);
        } else {
            // Asked for again, it goes on.
            if let Some(known) = inner.records.iter().find(|own| own.request == request) {
                let id = known.receipt.id.clone();
                inner.keep(&id, Outcome::Running);
                self.0.start(&mut inner);
                return Ok(id);
            }
            if inner.records.len() >= RECORDS_MAX {
                return Err("too many requests wait".to_owned());
            }
            inner.records.push(Record::new(&id, request, now));
            if let Err(error) = record::save(state, &inner.records) {
                inner.records.pop();
                return Err(error.to_string());
            }
            self.0.count_waiting(&inner);
            inner.keep(&id, Outcome::Running);
        }
        self.0.start(&mut inner);
        Ok(id)
    }

    /// What came of a request; `None` if it is not known.
    pub(crate) fn outcome(&self, id: &str) -> Option<Outcome> {
        let inner = self.0.lock();
        if let Some(outcome) = inner.results.get(id) {
            return Some(outcome.clone());
        }
        let waits = inner.records.iter().any(|own| own.receipt.id == id);
        drop(inner);
        if waits {
            return Some(Outcome::Running);
        }
        let state = self.0.state.as_ref()?;
        let receipt = Receipt::load(state.path(), id)?;
        Some(Outcome::Done(Box::new(receipt)))
    }

    /// An account removed the app. The event counts as handled once the request is on the disk, which the
    /// loop does not wait for.
    pub(super) fn deauthorized(&self, account_id: String, event: Option<EventId>) {
        let mut inner = self.0.lock();
        inner.accounts.push_back((account_id, event));
        self.0.start(&mut inner);
    }

    /// Ends the thread: what is not done is done by the next process.
    pub(super) fn stop(&self, deadline: Instant) -> bool {
        self.0.is_stopping.store(true, Relaxed);
        self.0.wake.notify_all();
        let Some(thread) = self.0.lock().thread.take() else {
            return true;
        };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        thread.is_finished() && thread.join().is_ok()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_waiting(&self, inner: &Inner) {
        let waiting = inner.records.len() as u64;
        self.counters.waiting.store(waiting, Relaxed);
    }

    /// Starts the thread, if there is none.
    fn start(self: &Arc<Shared>, inner: &mut Inner) {
        self.wake.notify_all();
        if inner.is_running {
            return;
        }
        let shared = Arc::clone(self);
        let spawned = Builder::new()
            .name("forgetting".to_owned())
            .stack_size(2 << 20)
            .spawn(move || shared.work());
        match spawned {
            Ok(thread) => {
                inner.is_running = true;
                inner.thread = Some(thread);
            }
            Err(error) => log::error!("forgetting cannot start: {error}; the next start goes on"),
        }
    }

    fn tell(&self, ask: Ask) {
        self.sender.send_always(Event::Forgetting(Box::new(ask)));
    }

    fn ask<T>(&self, ask: impl FnOnce(SyncSender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.tell(ask(reply));
        let until = Instant::now() + ASK_MAX;
        loop {
            match answer.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Some(answer),
                Err(_) if self.is_stopping.load(Relaxed) || Instant::now() >= until => return None,
                Err(_) => {}
            }
        }
    }

    /// The thread.
    fn work(self: Arc<Shared>) {
        loop {
            let account = self.lock().accounts.pop_front();
            if let Some((account_id, event)) = account {
                self.take_account(account_id, event);
                continue;
            }
            let plan = self.lock().plans.pop_front();
            if let Some((id, request)) = plan {
                let outcome = self.with_place(|place| match run::plan(place, &id, &request) {
                    Ok(receipt) => Outcome::Done(Box::new(receipt)),
                    Err(fault) => outcome_of(fault),
                });
                self.keep(&id, outcome);
                continue;
            }
            let todo: Vec<String> = {
                let inner = self.lock();
                let records = inner.records.iter();
                records.map(|own| own.receipt.id.clone()).collect()
            };
            for id in todo {
                if self.is_stopping.load(Relaxed) {
                    break;
                }
                let outcome = self.with_place(|place| self.go_on(place, &id));
                self.keep(&id, outcome);
            }
            let mut inner = self.lock();
            if inner.plans.is_empty() && inner.accounts.is_empty() {
                if inner.records.is_empty() || self.is_stopping.load(Relaxed) {
                    inner.is_running = false;
                    return;
                }
                let waited = self.wake.wait_timeout(inner, AGAIN);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Makes a request of an account's removal of the app.
    fn take_account(self: &Arc<Shared>, account_id: String, event: Option<EventId>) {
        let request = Request {
            target: Target::Account(account_id),
            with_mixed: false,
        };
        match Forgetting(Arc::clone(self)).submit(request, false) {
            Ok(id) => {
                log::warn!("an account removed the app: its data is being forgotten receipt={id}");
                if let Some(event) = event {
                    self.tell(Ask::Settle(event));
                }
            }
            // The event is handled again by the next process.
            Err(text) => log::error!(
                "an account removed the app, but its data cannot be forgotten now: {text}"
            ),
        }
    }

    fn with_place(&self, work: impl FnOnce(&Place<'_>) -> Outcome) -> Outcome {
        let stopping = || Outcome::Failed("the server is stopping".to_owned());
        let (Some(works), Some(facts)) = (self.works.clone(), self.ask(Ask::Facts)) else {
            return stopping();
        };
        let client = facts.bucket.map(|bucket| {
            let sent = Arc::clone(&self.ends.counters().upload_bytes);
            Client::new(bucket, &self.proxy, self.ca_file.as_deref(), sent).map(Arc::new)
        });
        match client.transpose() {
            Ok(client) => work(&Place {
                roots: facts.roots,
                works,
                ends: self.ends.clone(),
                client,
                live: self,
            }),
            Err(text) => Outcome::Failed(text),
        }
    }

    /// Goes on with one request.
    fn go_on(&self, place: &Place<'_>, id: &str) -> Outcome {
        let Some(state) = &self.state else {
            return Outcome::Failed("there is no state directory".to_owned());
        };
        let found = {
            let inner = self.lock();
            inner
                .records
                .iter()
                .find(|own| own.receipt.id == id)
                .cloned()
        };
        let Some(mut record) = found else {
            return Outcome::Failed("it is gone".to_owned());
        };
        let before = record.receipt.clone();
        let save = |record: &Record| {
            let mut inner = self.lock();
            match inner.records.iter_mut().find(|own| own.receipt.id == id) {
                // What waits for long is looked at often.
                Some(own) if own == record => return Ok(()),
                Some(own) => own.clone_from(record),
                None => {}
            }
            record::save(state, &inner.records).map_err(|error| error.to_string())
        };
        let done = run::run(place, &mut record, &save);
        if let Err(fault) = done {
            let outcome = outcome_of(fault);
            if let Outcome::Failed(text) = &outcome {
                self.counters.failed.fetch_add(1, Relaxed);
                log::error!("forgetting waits: {text} receipt={id}");
                return outcome;
            }
            // It is to be asked for in another way.
            self.counters.ambiguous.fetch_add(1, Relaxed);
            self.keep(id, outcome.clone());
            self.finish(state, id);
            return outcome;
        }
        let receipt = record.receipt.clone();
        if receipt.completed || receipt != before {
            if let Err(error) = receipt.store(state.path()) {
                log::error!("a receipt cannot be written: {error} receipt={id}");
                return Outcome::Failed(format!("the receipt cannot be written: {error}"));
            }
            let word = if receipt.completed {
                "forgotten"
            } else {
                "forgetting waits"
            };
            log::warn!(
                "{word} what={} streams={} files_deleted={} files_blanked={} objects={} waits={} \
                 receipt={id}",
                receipt.what,
                receipt.streams.len(),
                receipt.total.files_deleted,
                receipt.total.files_blanked,
                receipt.total.objects_deleted + receipt.total.objects_replaced,
                receipt.waits.len()
            );
        }
        if receipt.completed {
            self.counters.done.fetch_add(1, Relaxed);
            self.finish(state, id);
        } else if let Err(text) = save(&record) {
            log::error!("forgetting waits: {text} receipt={id}");
        }
        Outcome::Done(Box::new(receipt))
    }

    /// A request is not needed any more.
    fn finish(&self, state: &StateDir, id: &str) {
        let mut inner = self.lock();
        inner.records.retain(|own| own.receipt.id != id);
        self.count_waiting(&inner);
        if let Err(error) = record::save(state, &inner.records) {
            log::error!("a request to forget that is done is done again: {error} receipt={id}");
        }
    }

    fn keep(&self, id: &str, outcome: Outcome) {
        self.lock().keep(id, outcome);
    }
}

impl Inner {
    fn keep(&mut self, id: &str, outcome: Outcome) {
        if self.results.insert(id.to_owned(), outcome).is_none() {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > RESULTS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.results.remove(&oldest);
            }
        }
    }
}

fn outcome_of(fault: Fault) -> Outcome {
    match fault {
        Fault::Ambiguous(candidates) => Outcome::Ambiguous(candidates),
        Fault::Io(text) => Outcome::Failed(text),
    }
}

impl Live for Shared {
    fn running(&self) -> Vec<StreamInfo> {
        self.ask(Ask::Facts).unwrap_or_default().running
    }

    fn end(&self, stream_ids: &[String]) -> bool {
        self.tell(Ask::End(stream_ids.to_vec()));
        let until = Instant::now() + END_MAX;
        while Instant::now() < until && !self.is_stopping.load(Relaxed) {
            let running = self.running();
            let is_own = |info: &StreamInfo| stream_ids.contains(&info.stream_id);
            if !running.iter().any(is_own) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn forget(&self, subject: Subject) -> Result<(), String> {
        let stopping = "the server is stopping".to_owned();
        match self.ask(|reply| Ask::State(subject, reply)) {
            Some(Some(log)) if log.wait_for_checkpoint(Instant::now() + STATE_MAX) => Ok(()),
            Some(Some(_)) => Err("it is not written yet".to_owned()),
            Some(None) => Ok(()),
            None => Err(stopping),
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }
}

impl Daemon {
    /// The account whose data goes because of an event: `app_deauthorized` with
    /// `RTMS_ON_DEAUTHORIZED=delete`, unless the user lets the app keep it.
    pub(super) fn data_to_forget(&self, accepted: &Accepted) -> Option<String> {
        let ZoomEventKind::AppDeauthorized {
            account_id,
            keeps_data,
            ..
        } = &accepted.event.event
        else {
            return None;
        };
        match self.settings.on_deauthorized {
            OnDeauthorized::Keep => None,
            OnDeauthorized::Delete if *keeps_data => {
                log::warn!(
                    "an account removed the app and lets it keep the data: nothing is deleted"
                );
                None
            }
            OnDeauthorized::Delete if account_id.is_empty() => {
                log::error!(
                    "an account removed the app, but the event does not name it; use rtmsd forget --account"
                );
                None
            }
            OnDeauthorized::Delete => Some(account_id.clone()),
        }
    }

    /// Answers the thread.
    pub(super) fn forgetting_asks(&mut self, ask: Ask) {
        match ask {
            Ask::Facts(reply) => {
                let mut roots: Vec<PathBuf> =
                    self.coordinator.roots().iter().map(PathBuf::from).collect();
                if let Some(disk) = &self.settings.disk {
                    let own = std::path::absolute(&disk.root).unwrap_or_else(|_| disk.root.clone());
                    roots.retain(|root| *root != own);
                    roots.insert(0, own);
                }
                let running = self.running.values().map(|running| running.info.clone());
                let _ = reply.send(Facts {
                    roots,
                    running: running.collect(),
                    bucket: self.settings.ends.bucket.clone(),
                });
            }
            Ask::End(stream_ids) => {
                for stream_id in stream_ids {
                    log::warn!("a stream that is to be forgotten is ended stream={stream_id}");
                    self.send_command(&stream_id, Command::Close);
                }
            }
            Ask::State(subject, reply) => {
                self.coordinator.forget(&subject, false);
                let log = self.snapshot.as_mut().map(|snapshot| {
                    snapshot.demand();
                    snapshot.save(&mut self.coordinator);
                    snapshot.log()
                });
                let _ = reply.send(log);
            }
            Ask::Settle(event) => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.settle(event);
                }
            }
        }
    }
}
