//! What happens once a stream has ended: its files go to object storage, then a program runs.
//!
//! ```text
//! disk thread ── announce (on disk before the end is) ──▶ thread `ends` ──▶ threads `upload`, `hook`
//!      ▲                                                       │
//!      └───────── notes in meta.json, deleted files ◀──────────┘
//! ```
//!
//! What is to be done is in `ends.json` before `meta.json` says that the stream has ended, so that a
//! crash in between loses nothing. [`queue`] decides in virtual time, [`entry`] is what is kept. The
//! thread is there only where a hook or a bucket is configured.

pub mod entry;
pub mod hook;
pub mod queue;
pub(crate) mod store;
pub(crate) mod thread;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::s3;
use super::s3::client::Client;
use crate::clock::now_ms;
use crate::domain::stream_info::StreamInfo;
use crate::domain::time::Utc;
use crate::feed::key::JournalKey;
use crate::log::app::inherit;
use crate::net::proxy::ProxyEnv;
use crate::state::StateDir;
use entry::{Deletion, EndKind, Entries, Entry, EntryChange, Ids};
use hook::HookSettings;
use queue::HookEnd;
use store::Store;
pub use store::waiting_in;
use thread::Worker;

/// How long the disk thread waits for `ends.json`. It tries again later.
const ANNOUNCE_MAX: Duration = Duration::from_secs(2);

/// What is done with streams that have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_ON_STREAM_END`.
    pub hook: Option<HookSettings>,
    /// `RTMS_S3_*`.
    pub bucket: Option<s3::Settings>,
}

impl Settings {
    /// Whether anything is done at all.
    pub fn is_some(&self) -> bool {
        self.hook.is_some() || self.bucket.is_some()
    }

    fn plan(&self) -> queue::Plan {
        queue::Plan {
            hooks_at_once: self.hook.as_ref().map_or(0, |hook| hook.at_once),
            has_bucket: self.bucket.is_some(),
            deletes_local: self
                .bucket
                .as_ref()
                .is_some_and(|bucket| bucket.deletes_local),
        }
    }
}

/// Settings, and what was made of them by reading files.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    client: Option<Arc<Client>>,
}

/// A stream that is about to end, or whose files are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedStream {
    /// The key of its folder.
    pub key: JournalKey,
    /// The folder; made absolute.
    pub folder: PathBuf,
    /// Which stream.
    pub info: StreamInfo,
    /// Where it is in the bucket, as its `meta.json` says.
    pub uploaded: Option<Uploaded>,
}

/// Where a stream is in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The bucket.
    pub bucket: String,
    /// What the names of its objects begin with.
    pub prefix: String,
    /// How many files it has there.
    pub files: u64,
}

impl EndedStream {
    fn entry(&self) -> Entry {
        let (ids, ended_ms) = (Ids::of(&self.info), now_ms());
        let folder = std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let delete = self.uploaded.clone().map(|uploaded| Deletion {
            bucket: uploaded.bucket,
            prefix: uploaded.prefix,
            count: uploaded.files,
            ..Deletion::default()
        });
        Entry {
            key: self.key.to_string(),
            folder,
            ids,
            ended_ms,
            delete,
            ..Entry::default()
        }
    }
}

/// What is done to a stream's folder by the thread that owns it.
pub trait FolderJobs: Send + Sync + 'static {
    /// Notes in the folder where its files are. It returns when that is on the disk.
    ///
    /// # Errors
    /// Why it is not.
    fn note_upload(&self, note: UploadNote) -> io::Result<()>;

    /// Deletes these files of a folder, unless its stream lives again.
    ///
    /// # Errors
    /// Why not all of them.
    fn delete_files(&self, folder: PathBuf, files: Vec<String>) -> io::Result<()>;

    /// Whether no consumer needs the journal of this folder any more, whose stream ended so long ago.
    /// It answers at once.
    fn is_journal_free(&self, folder: &Path, ended_ago: Duration) -> bool;

    /// Deletes the journal of a folder, unless its stream lives again or a consumer needs it after all.
    ///
    /// # Errors
    /// Why it is still there.
    fn delete_journal(&self, folder: PathBuf, ended_ago: Duration) -> io::Result<()>;
}

/// Where the files of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadNote {
    /// The folder.
    pub folder: PathBuf,
    /// The bucket.
    pub bucket: String,
    /// What the names of its objects begin with.
    pub prefix: String,
    /// The files, and their objects.
    pub files: Vec<entry::FileState>,
}

impl UploadNote {
    /// `uploaded` in `meta.json`.
    pub fn value(&self, now_ms: u64) -> Value {
        let sent = self.files.iter().filter_map(|file| file.sent.as_ref());
        let bytes: u64 = sent.map(|sent| sent.bytes).sum();
        json!({
            "bucket": self.bucket,
            "prefix": self.prefix,
            "files": self.files.len(),
            "bytes": bytes,
            "uploaded_ms": now_ms,
            "uploaded": Utc::from_unix_ms(now_ms).to_string(),
        })
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Streams that wait for an upload or a deletion.
    pub uploads_waiting: AtomicU64,
    /// Bytes of files sent.
    pub upload_bytes: Arc<AtomicU64>,
    /// Streams uploaded.
    pub uploads_fine: AtomicU64,
    /// Attempts that failed.
    pub uploads_failed: AtomicU64,
    /// Streams deleted from the bucket.
    pub uploads_deleted: AtomicU64,
    /// Streams that wait for their hook.
    pub hooks_waiting: AtomicU64,
    /// Hooks that ended with exit 0.
    pub hooks_fine: AtomicU64,
    /// Runs that failed and are tried again.
    pub hooks_retried: AtomicU64,
    /// Hooks given up.
    pub hooks_failed: AtomicU64,
}

/// A stream of which nothing is uploaded for now, because its files change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What its upload has reached, unless all of it is in the bucket.
    pub upload: Option<entry::Upload>,
    /// Nothing is under way any more.
    pub is_idle: bool,
}

/// What the thread is told.
enum Message {
    Announce(Vec<Entry>, SyncSender<bool>),
    Written(String),
    Reopened(String),
    Revoke(Vec<Entry>, bool, SyncSender<Option<Vec<u64>>>),
    /// Of which streams something is to be done.
    Waiting(SyncSender<BTreeSet<JournalKey>>),
    Hold(String, SyncSender<Option<Held>>),
    GoOn(String, SyncSender<bool>),
    IsDeleted(String, SyncSender<bool>),
    Rewrite(SyncSender<bool>),
    Progress(String, u64, EntryChange, Option<SyncSender<()>>),
    JobDone(String, u64, Result<(), s3::fault::Fault>),
    HookDone(String, HookEnd),
    Configure(Box<Prepared>),
    /// Nothing new is begun, and what runs is ended.
    Stopping(Instant),
    /// The thread ends; hooks that still run are killed.
    Stop(Instant),
}

/// The way to the thread, for the daemon and the disk thread.
#[derive(Debug, Clone)]
pub struct Ends(Arc<Shared>);

struct Shared {
    state: Option<Arc<StateDir>>,
    proxy: ProxyEnv,
    ca_file: Option<PathBuf>,
    /// Who changes folders; without anybody nothing is done with ends.
    folders: OnceLock<Arc<dyn FolderJobs>>,
    running: Mutex<Option<Running>>,
    /// There is a thread, and something is done with ends.
    is_on: AtomicBool,
    /// Without the thread, the next process deletes what is to go from the bucket.
    is_deleted_elsewhere: AtomicBool,
    counters: Arc<Counters>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("is_on", &self.is_on)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    sender: Sender<Message>,
    thread: JoinHandle<()>,
}

impl Ends {
    /// Nothing is started yet.
    pub fn new(state: Option<Arc<StateDir>>, proxy: ProxyEnv, ca_file: Option<PathBuf>) -> Ends {
        Ends(Arc::new(Shared {
            state,
            proxy,
            ca_file,
            folders: OnceLock::new(),
            running: Mutex::new(None),
            is_on: AtomicBool::new(false),
            is_deleted_elsewhere: AtomicBool::new(false),
            counters: Arc::default(),
        }))
    }

    /// Who changes the folders of streams from now on.
    pub fn attach(&self, folders: Arc<dyn FolderJobs>) {
        let _ = self.0.folders.set(folders);
    }

    /// Looks at settings, outside of any loop. Reads `RTMS_CA_FILE` where there is a bucket.
    ///
    /// # Errors
    /// What is wrong with the endpoint, the proxy or the file.
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, String> {
        let (proxy, ca_file) = (&self.0.proxy, self.0.ca_file.as_deref());
        let sent = &self.0.counters.upload_bytes;
        let client = settings
            .bucket
            .clone()
            .map(|bucket| Client::new(bucket, proxy, ca_file, Arc::clone(sent)).map(Arc::new));
        Ok(Prepared {
            settings: settings.clone(),
            client: client.transpose()?,
        })
    }

    /// Goes by other settings from now on. Starts the thread where there is something to do.
    ///
    /// # Errors
    /// `ends.json` cannot be read, or no thread can be made.
    pub fn configure(&self, prepared: Prepared) -> io::Result<()> {
        let Some(folders) = self.0.folders.get().map(Arc::clone) else {
            return Ok(());
        };
        let is_on = prepared.settings.is_some();
        let mut running = self.lock();
        match &*running {
            Some(running) => {
                let _ = running.sender.send(Message::Configure(Box::new(prepared)));
            }
            None if is_on => {
                let (sender, messages) = channel();
                let (state, counters) = (self.0.state.clone(), Arc::clone(&self.0.counters));
                let worker = Worker::new(state, prepared, folders, sender.clone(), counters)?;
                let thread = std::thread::Builder::new()
                    .name("ends".to_owned())
                    .stack_size(256 << 10)
                    .spawn(inherit(move || worker.run(&messages)))?;
                *running = Some(Running { sender, thread });
            }
            None => self.warn_of_leftovers(),
        }
        self.0.is_on.store(is_on, Relaxed);
        Ok(())
    }

    /// What an earlier process left waits until a hook or a bucket is configured again.
    fn warn_of_leftovers(&self) {
        let Some(state) = &self.0.state else { return };
        let Ok(Some(bytes)) = state.read(store::NAME) else {
            return;
        };
        let (entries, _) = Entries::read(&bytes);
        self.count_alone(&entries);
        for entry in entries.iter() {
            if let Some(delete) = &entry.delete {
                log::error!("{}", queue::no_bucket(&entry.ids.stream_id, &delete.bucket));
            }
        }
        let others = entries.iter().filter(|entry| entry.delete.is_none());
        let others = others.count();
        if others > 0 {
            log::warn!(
                "uploads or hooks of an earlier configuration wait count={others}; set RTMS_S3_BUCKET \
                 or RTMS_ON_STREAM_END again, or delete ends.json in RTMS_STATE"
            );
        }
    }

    /// Without the thread, deletions wait that are not carried out.
    fn count_alone(&self, entries: &Entries) {
        let waiting = entries.iter().filter(|entry| entry.delete.is_some());
        let waiting = waiting.count() as u64;
        self.0.counters.uploads_waiting.store(waiting, Relaxed);
    }

    /// Notes for the next configuration with a bucket which objects are to go from the former one.
    fn revoke_alone(&self, revoked: &[EndedStream], deletes: bool) -> Option<Vec<u64>> {
        let none = || Some(vec![0; revoked.len()]);
        // Without a state directory, nothing is known of former configurations.
        let Some(state) = &self.0.state else {
            return none();
        };
        let opened = Store::open(Some(Arc::clone(state)));
        let (mut store, mut entries) = opened.inspect_err(|error| log::error!("{error}")).ok()?;
        let (mut changes, mut counts) = (Vec::new(), Vec::new());
        for stream in revoked {
            let entry = stream.entry();
            let known = entries.get(&entry.key);
            let is_known = known.is_some();
            if let Some(known) = known.filter(|known| known.kind == EndKind::Revoked) {
                counts.push(known.delete.as_ref().map_or(0, |delete| delete.count));
                continue;
            }
            let entry = entry.revoked(known, deletes);
            counts.push(entry.delete.as_ref().map_or(0, |delete| delete.count));
            let change = match &entry.delete {
                Some(delete) => {
                    if !self.0.is_deleted_elsewhere.load(Relaxed) {
                        log::error!("{}", queue::no_bucket(&entry.ids.stream_id, &delete.bucket));
                    }
                    EntryChange::Entry(Box::new(entry))
                }
                // Nothing of it leaves any more, whatever is configured later.
                None if is_known => EntryChange::Done(entry.key),
                None => continue,
            };
            entries.apply(change.clone());
            changes.push(change);
        }
        if changes.is_empty() {
            return Some(counts);
        }
        self.count_alone(&entries);
        let saved = store.save(&changes, &entries);
        saved.inspect_err(|error| log::error!("{error}")).ok()?;
        Some(counts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Message) -> bool {
        let running = self.lock();
        running
            .as_ref()
            .is_some_and(|running| running.sender.send(message).is_ok())
    }

    /// Whether ends are of interest. What is asked first, for it costs nothing.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Relaxed)
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// These streams are about to end. `true` once that is on the disk: then their files may say so.
    pub fn announce(&self, ended: &[EndedStream]) -> bool {
        if !self.is_on() || ended.is_empty() {
            return true;
        }
        let entries = ended.iter().map(EndedStream::entry).collect();
        self.ask(|reply| Message::Announce(entries, reply)) == Some(true)
    }

    /// The end of a stream is on the disk.
    pub fn written(&self, key: JournalKey) {
        if self.is_on() {
            self.send(Message::Written(key.to_string()));
        }
    }

    /// A stream that had ended lives again.
    pub fn reopened(&self, key: JournalKey) {
        if self.is_on() {
            self.send(Message::Reopened(key.to_string()));
        }
    }

    /// Consent was withdrawn: what waits for these streams is given up, and, if `deletes`, what is in
    /// the bucket goes. Returns once that is on the disk how many files of each stream go from the
    /// bucket; `None` if it is not.
    pub fn revoke(&self, revoked: &[EndedStream], deletes: bool) -> Option<Vec<u64>> {
        if revoked.is_empty() {
            return Some(Vec::new());
        }
        let running = self.lock();
        if running.is_none() {
            // With the lock held no thread begins to use the file meanwhile.
            return self.revoke_alone(revoked, deletes);
        }
        drop(running);
        let entries = revoked.iter().map(EndedStream::entry).collect();
        self.ask(|reply| Message::Revoke(entries, deletes, reply))
            .flatten()
    }

    /// The streams that wait for something: an upload, a program, a deletion from the bucket. `None` if
    /// that is not known at the moment.
    pub fn waiting(&self) -> Option<BTreeSet<JournalKey>> {
        let running = self.lock();
        if running.is_some() {
            drop(running);
            return self.ask(Message::Waiting);
        }
        let Some(state) = &self.0.state else {
            return Some(BTreeSet::new());
        };
        waiting_in(state.path()).ok()
    }

    /// There will be no thread: [`Ends::is_deleted`] deletes what is to go from the bucket.
    pub fn delete_by_hand(&self) {
        self.0.is_deleted_elsewhere.store(true, Relaxed);
    }

    /// Holds what is to be done for a stream. `None` if nothing is, or the thread does not answer.
    pub fn hold(&self, key: JournalKey) -> Option<Held> {
        let key = key.to_string();
        let running = self.lock();
        if running.is_none() {
            let (_, entries) = self.open_alone()?;
            let entry = entries
                .get(&key)
                .filter(|entry| entry.kind == EndKind::Ended)?;
            return Some(Held {
                upload: entry.upload.clone(),
                is_idle: true,
            });
        }
        drop(running);
        self.ask(|reply| Message::Hold(key, reply)).flatten()
    }

    /// A stream that was held goes on: an upload that had not ended begins again.
    pub fn go_on(&self, key: JournalKey) -> bool {
        let key = key.to_string();
        let running = self.lock();
        if running.is_none() {
            let Some((mut store, mut entries)) = self.open_alone() else {
                return false;
            };
            if let Some(entry) = entries.get(&key).cloned() {
                entries.apply(EntryChange::Entry(Box::new(entry.begun_again())));
            }
            return store.rewrite(&entries).is_ok();
        }
        drop(running);
        self.ask(|reply| Message::GoOn(key, reply)) == Some(true)
    }

    /// Whether nothing of a stream is to be deleted from the bucket any more; `None` if it is not known.
    /// Without the thread, `client` is asked to delete it now.
    ///
    /// # Errors
    /// Why the bucket still has it.
    pub fn is_deleted(
        &self,
        key: JournalKey,
        client: Option<&Client>,
    ) -> Result<bool, s3::fault::Fault> {
        let key = key.to_string();
        let running = self.lock();
        if running.is_some() {
            drop(running);
            return Ok(self.ask(|reply| Message::IsDeleted(key, reply)) == Some(true));
        }
        let Some((mut store, mut entries)) = self.open_alone() else {
            return Ok(self.0.state.is_none());
        };
        let deletion = entries.get(&key).and_then(|entry| entry.delete.clone());
        let Some(deletion) = deletion else {
            return Ok(true);
        };
        let Some(client) = client else {
            return Ok(false);
        };
        let task = s3::upload::Task {
            client,
            is_cancelled: &AtomicBool::new(false),
            sizes: s3::upload::Sizes::default(),
        };
        task.delete(&deletion)?;
        entries.apply(EntryChange::Done(key));
        Ok(store.rewrite(&entries).is_ok())
    }

    /// Writes `ends.json` without what is done, which may name people. Whether it is.
    pub fn rewrite(&self) -> bool {
        let running = self.lock();
        if running.is_none() {
            return match self.open_alone() {
                Some((mut store, entries)) => store.rewrite(&entries).is_ok(),
                None => self.0.state.is_none(),
            };
        }
        drop(running);
        self.ask(Message::Rewrite) == Some(true)
    }

    /// Where there is no thread: with the lock held none begins to use the file meanwhile.
    fn open_alone(&self) -> Option<(Store, Entries)> {
        let state = self.0.state.as_ref()?;
        let opened = Store::open(Some(Arc::clone(state)));
        opened.inspect_err(|error| log::error!("{error}")).ok()
    }

    fn ask<T>(&self, message: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        let is_sent = self.send(message(reply));
        is_sent.then(|| answer.recv_timeout(ANNOUNCE_MAX).ok())?
    }

    /// Nothing new is begun; hooks get SIGTERM, and calls under way are ended.
    ///
    /// Hooks that still run are killed a little before the deadline.
    pub fn begin_stop(&self, deadline: Instant) {
        self.send(Message::Stopping(deadline));
    }

    /// Ends the thread, once nothing more will be announced.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.0.is_on.store(false, Relaxed);
        let Some(running) = self.lock().take() else {
            return true;
        };
        let _ = running.sender.send(Message::Stop(deadline));
        while !running.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        running.thread.is_finished() && running.thread.join().is_ok()
    }
}
