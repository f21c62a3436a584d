//! The thread `ends`: carries out what the queue decides, and keeps `ends.json`.
//!
//! It waits for its messages and for nothing else. Uploads and hooks have threads of their own, for as
//! long as they run.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::entry::{EndKind, Entry, EntryChange, Upload};
use super::hook::run::Stopper;
use super::hook::{HookSettings, run};
use super::queue::{Action, HookEnd, Job, Now, Queue};
use super::store::Store;
use super::{Counters, FolderJobs, Held, Message, Prepared, UploadNote};
use crate::clock::now_ms;
use crate::delivery::s3::client::Client;
use crate::delivery::s3::fault::{Fault, FaultKind};
use crate::delivery::s3::upload::{Durable, Sizes, Task};
use crate::domain::severity::Severity;
use crate::feed::FEED_NAME;
use crate::log::app::inherit;
use crate::state::StateDir;

/// What may be repeated after a crash is saved after this time.
const SAVE_SOON: Duration = Duration::from_secs(2);
/// While the state directory refuses, it is tried again so often.
const SAVE_AGAIN: Duration = Duration::from_secs(1);
/// Messages that are taken before what follows from them is done.
const BATCH_MAX: usize = 256;
/// A stack for hashing, TLS and JSON.
const STACK_BYTES: usize = 512 << 10;
/// From SIGKILL of the last hooks to the deadline of the process.
const KILL_BEFORE: Duration = Duration::from_millis(300);
/// What waits for a folder that is not there is forgotten after this time: 30 days.
const GONE_AFTER_MS: u64 = 30 * 86_400_000;
/// The largest `meta.json` that is looked at.
const META_BYTES_MAX: u64 = 16 << 20;

/// An upload or a deletion under way.
#[derive(Debug)]
struct RunningJob {
    is_cancelled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A hook under way.
#[derive(Debug)]
struct RunningHook {
    stopper: Stopper,
    thread: JoinHandle<()>,
}

/// What the thread owns.
pub(super) struct Worker {
    queue: Queue,
    store: Store,
    hook: Option<Arc<HookSettings>>,
    client: Option<Arc<Client>>,
    folders: Arc<dyn FolderJobs>,
    sender: Sender<Message>,
    counters: Arc<Counters>,
    jobs: HashMap<String, RunningJob>,
    hooks: HashMap<String, RunningHook>,
    unsaved: Vec<EntryChange>,
    /// When what is unsaved is to be saved.
    save_at: Option<Instant>,
    /// Who waits until all is saved.
    waiting: Vec<Waiting>,
    is_failing: bool,
    /// The server ends; hooks that run at this moment are killed.
    kill_at: Option<Instant>,
    is_killed: bool,
}

/// A thread that waits until something is saved.
enum Waiting {
    /// Receives whether it worked.
    Answer(SyncSender<bool>),
    /// Receives these numbers if it worked.
    Counts(SyncSender<Option<Vec<u64>>>, Vec<u64>),
    /// Continues in any case.
    Step(SyncSender<()>),
}

impl Worker {
    /// Reads what an earlier process left.
    pub(super) fn new(
        state: Option<Arc<StateDir>>,
        prepared: Prepared,
        folders: Arc<dyn FolderJobs>,
        sender: Sender<Message>,
        counters: Arc<Counters>,
    ) -> io::Result<Worker> {
        let (store, entries) = Store::open(state).map_err(io::Error::other)?;
        if !entries.is_empty() {
            log::info!(
                "uploads and hooks of an earlier process count={}",
                entries.len()
            );
        }
        let queue = Queue::new(now(), prepared.settings.plan(), entries, is_written);
        let mut worker = Worker {
            queue,
            store,
            hook: None,
            client: None,
            folders,
            sender,
            counters,
            jobs: HashMap::new(),
            hooks: HashMap::new(),
            unsaved: Vec::new(),
            save_at: None,
            waiting: Vec::new(),
            is_failing: false,
            kill_at: None,
            is_killed: false,
        };
        worker.take(prepared);
        Ok(worker)
    }

    fn take(&mut self, prepared: Prepared) {
        self.hook = prepared.settings.hook.map(Arc::new);
        self.client = prepared.client;
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            self.kill_when_due();
            self.step();
            let mut next = match self.wait(messages) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut taken = 0;
            while let Some(message) = next {
                if let Message::Stop(deadline) = message {
                    return self.stop(messages, deadline);
                }
                self.handle(message);
                taken += 1;
                next = (taken < BATCH_MAX)
                    .then(|| messages.try_recv().ok())
                    .flatten();
            }
        }
    }

    fn wait(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        let due = self
            .queue
            .deadline(now())
            .into_iter()
            .chain(self.save_at)
            .min();
        match due {
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Announce(entries, reply) => {
                for entry in entries {
                    self.queue.announce(now(), entry);
                }
                self.waiting.push(Waiting::Answer(reply));
            }
            Message::Written(key) => self.queue.written(now(), &key),
            Message::Reopened(key) => self.queue.reopened(&key),
            Message::Revoke(entries, deletes, reply) => {
                let keys: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
                for entry in entries {
                    self.queue.revoke(now(), entry, deletes);
                }
                let entries = self.queue.entries();
                let count = |key: &String| {
                    let delete = entries.get(key).and_then(|entry| entry.delete.as_ref());
                    delete.map_or(0, |delete| delete.count)
                };
                let counts = keys.iter().map(count).collect();
                self.waiting.push(Waiting::Counts(reply, counts));
            }
            Message::Waiting(reply) => {
                let keys = self.queue.entries().iter().map(|entry| entry.key.parse());
                drop(reply.try_send(keys.filter_map(Result::ok).collect()));
            }
            Message::Hold(key, reply) => {
                let held = self.queue.hold(&key);
                let held = held.map(|(upload, is_idle)| Held {
                    upload,
                    is_idle: is_idle && !self.jobs.contains_key(&key),
                });
                let _ = reply.try_send(held);
            }
            Message::GoOn(key, reply) => {
                self.queue.go_on(now(), &key);
                self.rewrite(&reply);
            }
            Message::IsDeleted(key, reply) => {
                let entry = self.queue.entries().get(&key);
                let _ = reply.try_send(entry.is_none_or(|entry| entry.delete.is_none()));
            }
            Message::Rewrite(reply) => self.rewrite(&reply),
            Message::Progress(key, number, change, reply) => {
                self.queue.progress(&key, number, change);
                self.waiting.extend(reply.map(Waiting::Step));
            }
            Message::JobDone(key, number, result) => {
                join(self.jobs.remove(&key).map(|job| job.thread));
                self.queue.job_done(now(), &key, number, result);
            }
            Message::HookDone(key, end) => {
                join(self.hooks.remove(&key).map(|hook| hook.thread));
                self.queue.hook_done(now(), &key, end);
            }
            Message::Configure(prepared) => {
                self.queue.configure(now(), prepared.settings.plan());
                self.take(*prepared);
            }
            Message::Stopping(deadline) => self.begin_stop(deadline),
            Message::Stop(_) => {}
        }
    }

    /// Writes all of `ends.json` again.
    fn rewrite(&mut self, reply: &SyncSender<bool>) {
        self.unsaved.extend(self.queue.take_changes());
        let written = self.store.rewrite(self.queue.entries());
        if written.is_ok() {
            self.unsaved.clear();
        }
        let _ = reply.try_send(written.is_ok());
    }

    /// What follows from the messages: saved first, then done.
    fn step(&mut self) {
        for (key, folder, ended_ms) in self.queue.journals_to_look_at(now()) {
            if self.folders.is_journal_free(&folder, since(ended_ms)) {
                self.queue.journal_is_free(&key);
            }
        }
        let actions = self.queue.step(now());
        self.unsaved.extend(self.queue.take_changes());
        let is_due = self.save_at.is_some_and(|at| at <= Instant::now());
        if is_due || !self.waiting.is_empty() {
            self.save();
        } else if !self.unsaved.is_empty() && self.save_at.is_none() {
            self.save_at = Some(Instant::now() + SAVE_SOON);
        }
        for action in actions {
            self.act(action);
        }
        self.count();
    }

    fn save(&mut self) {
        let result = match self.unsaved.is_empty() {
            true => Ok(()),
            false => self.store.save(&self.unsaved, self.queue.entries()),
        };
        let is_saved = result.is_ok();
        match result {
            Ok(()) => {
                self.unsaved.clear();
                self.save_at = None;
                if std::mem::take(&mut self.is_failing) {
                    log::info!("ends.json can be written again");
                }
            }
            Err(error) => {
                self.save_at = Some(Instant::now() + SAVE_AGAIN);
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::error!(
                        "ends.json cannot be written: {error}; streams that end wait for it"
                    );
                }
            }
        }
        for waiting in self.waiting.drain(..) {
            match waiting {
                Waiting::Answer(reply) => drop(reply.try_send(is_saved)),
                Waiting::Counts(reply, counts) => drop(reply.try_send(is_saved.then_some(counts))),
                Waiting::Step(reply) => drop(reply.try_send(())),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(job, number, entry) => self.start_job(job, number, *entry),
            Action::CancelJob(key) => {
                if let Some(job) = self.jobs.get(&key) {
                    job.is_cancelled.store(true, Relaxed);
                    // A call of another stream is cut off too, and made again.
                    if let Some(client) = &self.client {
                        client.cut();
                    }
                }
            }
            Action::RunHook(entry, attempt) => self.start_hook(*entry, attempt),
            Action::KillHook(key) => {
                if let Some(hook) = self.hooks.get(&key) {
                    hook.stopper.stop();
                }
            }
            Action::Log(severity, text) => log::log!(level(severity), "{text}"),
        }
    }

    fn start_job(&mut self, job: Job, number: u64, entry: Entry) {
        let key = entry.key.clone();
        let client = self.client.clone();
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let run = JobRun {
            client,
            is_cancelled: Arc::clone(&is_cancelled),
            folders: Arc::clone(&self.folders),
            sender: self.sender.clone(),
            number,
        };
        let spawned = Builder::new()
            .name("upload".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || {
                let result = catch_unwind(AssertUnwindSafe(|| run.run(job, &entry)));
                let result = result.unwrap_or_else(|_| {
                    Err(Fault::new(
                        FaultKind::Local,
                        "upload",
                        "a fault in this program",
                    ))
                });
                let _ = run.sender.send(Message::JobDone(entry.key, number, result));
            }));
        match spawned {
            Ok(thread) => drop(self.jobs.insert(
                key,
                RunningJob {
                    is_cancelled,
                    thread,
                },
            )),
            Err(error) => {
                let fault = Fault::new(FaultKind::Local, "start a thread", error.to_string());
                let _ = self.sender.send(Message::JobDone(key, number, Err(fault)));
            }
        }
    }

    fn start_hook(&mut self, entry: Entry, attempt: u32) {
        let key = entry.key.clone();
        let Some(settings) = self.hook.clone() else {
            return;
        };
        let sender = self.sender.clone();
        let started = Stopper::new().and_then(|(stopper, wakeable)| {
            let own = stopper.clone();
            let thread = Builder::new()
                .name("hook".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(inherit(move || {
                    let ends = (&own, &wakeable);
                    let end = catch_unwind(AssertUnwindSafe(|| {
                        run::run(&settings, &entry, attempt, ends)
                    }));
                    let end = end
                        .unwrap_or_else(|_| HookEnd::Failed("a fault in this program".to_owned()));
                    let _ = sender.send(Message::HookDone(entry.key, end));
                }))?;
            Ok(RunningHook { stopper, thread })
        });
        match started {
            Ok(hook) => drop(self.hooks.insert(key, hook)),
            Err(error) => {
                let end = HookEnd::Failed(format!("cannot start: {error}"));
                let _ = self.sender.send(Message::HookDone(key, end));
            }
        }
    }

    fn count(&self) {
        let (counts, counters) = (self.queue.counts(), &self.counters);
        for (counter, value) in [
            (
                &counters.uploads_waiting,
                self.queue.waiting_uploads() as u64,
            ),
            (&counters.uploads_fine, counts.uploaded),
            (&counters.uploads_failed, counts.upload_failures),
            (&counters.uploads_deleted, counts.deleted),
            (&counters.hooks_waiting, self.queue.waiting_hooks() as u64),
            (&counters.hooks_fine, counts.hooks_fine),
            (&counters.hooks_retried, counts.hooks_retried),
            (&counters.hooks_failed, counts.hooks_failed),
        ] {
            counter.store(value, Relaxed);
        }
    }

    fn begin_stop(&mut self, deadline: Instant) {
        if self.kill_at.is_some() {
            return;
        }
        self.kill_at = Some(deadline.checked_sub(KILL_BEFORE).unwrap_or(deadline));
        self.queue.stop();
        for hook in self.hooks.values() {
            hook.stopper.stop();
        }
        for job in self.jobs.values() {
            job.is_cancelled.store(true, Relaxed);
        }
        if let Some(client) = &self.client {
            client.stop();
        }
    }

    /// Kills hooks that have not heard SIGTERM in time.
    fn kill_when_due(&mut self) {
        if self.kill_at.is_some_and(|at| at <= Instant::now()) && !self.is_killed {
            self.is_killed = true;
            self.hooks.values().for_each(|hook| hook.stopper.kill());
        }
    }

    /// Waits for what runs, and saves. A thread that hangs, in a look-up of a name at most, is left
    /// behind.
    fn stop(mut self, messages: &Receiver<Message>, deadline: Instant) {
        self.begin_stop(deadline);
        let until = deadline.checked_sub(KILL_BEFORE / 3).unwrap_or(deadline);
        while !(self.hooks.is_empty() && self.jobs.is_empty()) && Instant::now() < until {
            self.kill_when_due();
            let due = self.kill_at.filter(|_| !self.is_killed).unwrap_or(until);
            let left = due.saturating_duration_since(Instant::now());
            if let Ok(message) = messages.recv_timeout(left) {
                self.handle(message);
                self.step();
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.handle(message);
        }
        self.step();
        self.save();
    }
}

/// One job, on its own thread.
struct JobRun {
    /// The bucket, if one is configured.
    client: Option<Arc<Client>>,
    is_cancelled: Arc<AtomicBool>,
    folders: Arc<dyn FolderJobs>,
    sender: Sender<Message>,
    number: u64,
}

impl JobRun {
    fn run(&self, job: Job, entry: &Entry) -> Result<(), Fault> {
        if job == Job::DeleteJournal {
            return self.delete_journal(entry);
        }
        let Some(client) = &self.client else {
            // The configuration changed: it is begun again when there is a bucket.
            return Err(Fault::new(FaultKind::Stopping, "upload", ""));
        };
        let task = Task {
            client,
            is_cancelled: &self.is_cancelled,
            sizes: Sizes::default(),
        };
        match (job, &entry.upload, &entry.delete) {
            (Job::Upload, ..) => {
                let report = |change, durable| self.report(&entry.key, change, durable);
                let upload = task.upload(entry, &report)?;
                self.note(entry, upload)
            }
            (Job::Clean, Some(upload), _) => {
                task.verify(upload)?;
                self.clean(entry, upload)
            }
            (Job::Delete, _, Some(deletion)) => task.delete(deletion),
            (Job::Clean | Job::Delete | Job::DeleteJournal, ..) => Ok(()),
        }
    }

    /// The work goes on once the step is saved, where that matters.
    fn report(&self, key: &str, change: EntryChange, durable: Durable) {
        let (reply, saved) = sync_channel(1);
        let reply = (durable == Durable::Now).then_some(reply);
        let waits = reply.is_some();
        let message = Message::Progress(key.to_owned(), self.number, change, reply);
        if self.sender.send(message).is_ok() && waits {
            // Without an answer the thread is ending, and so are we.
            let _ = saved.recv();
        }
    }

    fn note(&self, entry: &Entry, upload: Upload) -> Result<(), Fault> {
        let note = UploadNote {
            folder: entry.folder.clone(),
            bucket: upload.bucket,
            prefix: upload.prefix,
            files: upload.files,
        };
        let noted = self.folders.note_upload(note);
        noted.map_err(|error| self.local("note the upload in meta.json", &error))
    }

    fn delete_journal(&self, entry: &Entry) -> Result<(), Fault> {
        let ended_ago = since(entry.ended_ms);
        let deleted = (self.folders).delete_journal(entry.folder.clone(), ended_ago);
        deleted.map_err(|error| self.local("delete the journal", &error))
    }

    /// Everything that is in the bucket, but `meta.json` and the journal: others may still read that.
    fn clean(&self, entry: &Entry, upload: &Upload) -> Result<(), Fault> {
        let files = upload.files.iter().map(|file| file.local.clone());
        let files = files
            .filter(|file| file != "meta.json" && file != FEED_NAME)
            .collect();
        let deleted = self.folders.delete_files(entry.folder.clone(), files);
        deleted.map_err(|error| self.local("delete local files", &error))
    }

    fn local(&self, call: &'static str, error: &io::Error) -> Fault {
        let kind = match self.is_cancelled.load(Relaxed) {
            true => FaultKind::Stopping,
            false => FaultKind::Local,
        };
        Fault::new(kind, call, error.to_string())
    }
}

/// Whether the files of a stream that an earlier process announced are complete; `None` where they are
/// gone for good.
fn is_written(entry: &Entry) -> Option<bool> {
    let age_ms = now_ms().saturating_sub(entry.ended_ms);
    match meta_state(&entry.folder) {
        _ if entry.kind == EndKind::Revoked => Some(true),
        Some(state) => Some(state == "ended"),
        // The disk may only not be mounted yet.
        None if age_ms < GONE_AFTER_MS => Some(false),
        None => None,
    }
}

fn meta_state(folder: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = std::fs::File::open(folder.join("meta.json")).ok()?;
    file.take(META_BYTES_MAX).read_to_end(&mut text).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&text).ok()?;
    meta["state"].as_str().map(str::to_owned)
}

fn join(thread: Option<JoinHandle<()>>) {
    // It has sent its last message, so this takes no time.
    if thread.is_some_and(|thread| thread.join().is_err()) {
        log::error!("a thread of an upload or a hook panicked");
    }
}

fn level(severity: Severity) -> log::Level {
    match severity {
        Severity::Error => log::Level::Error,
        Severity::Warn => log::Level::Warn,
        Severity::Info => log::Level::Info,
        Severity::Debug => log::Level::Debug,
    }
}

/// How long ago a stream ended.
fn since(ended_ms: u64) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(ended_ms))
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: now_ms(),
    }
}
