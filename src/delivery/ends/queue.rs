//! What is done for streams that have ended, and when: the decisions, in virtual time.
//!
//! For each stream: its upload (files, manifest, a note on disk), then the hook, then the local files
//! where these are to go. The hook waits for the upload no longer than [`UPLOAD_WAIT`]. Where consent
//! was withdrawn, objects are deleted from the bucket, and the hook hears of it.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::entry::{ENTRIES_MAX, EndKind, Entries, Entry, EntryChange, Hook, Upload};
use crate::delivery::s3::fault::{Fault, FaultKind};
use crate::domain::severity::Severity;
use crate::feed::FEED_NAME;

/// How long a hook waits for the upload.
pub const UPLOAD_WAIT: Duration = Duration::from_secs(600);
/// Runs of a hook that fails.
pub const HOOK_TRIES: u32 = 3;
/// From a failed run to the next one.
const HOOK_PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Streams that are uploaded, or deleted from the bucket, at the same time.
pub const UPLOADS_AT_ONCE: usize = 2;
/// From a failed call to the next one: doubled each time, from the first to the second.
const UPLOAD_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// So often a stream is sent again because the bucket shows something else than what was sent. A storage
/// that always does would get the same files for ever.
const SENT_AGAIN_MAX: u32 = 3;
/// How often a journal that a consumer needed is looked at again.
const JOURNAL_LOOK: Duration = Duration::from_secs(10);
/// The same fault of the bucket is logged again after this time.
const LOG_AGAIN: Duration = Duration::from_secs(300);

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// Unix milliseconds.
    pub unix_ms: u64,
}

/// What is configured, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// `RTMS_HOOKS_AT_ONCE`; 0 without a hook.
    pub hooks_at_once: usize,
    /// There is a bucket.
    pub has_bucket: bool,
    /// `RTMS_S3_DELETE_LOCAL`.
    pub deletes_local: bool,
}

/// Work with the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Files, manifest, and the note on disk.
    Upload,
    /// Looks whether all is in the bucket, and deletes the local files, but not the journal.
    Clean,
    /// Deletes the journal. It needs no bucket.
    DeleteJournal,
    /// Deletes the objects of a stream.
    Delete,
}

/// How a run of the hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEnd {
    /// Exit 0.
    Fine,
    /// Anything else: what, in words.
    Failed(String),
    /// We ended it, so it has not been tried.
    Cancelled,
}

/// What is to be done outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Do this job; its result comes with this number.
    Start(Job, u64, Box<Entry>),
    /// End the job of this stream.
    CancelJob(String),
    /// Run the hook.
    RunHook(Box<Entry>, u32),
    /// End the hook of this stream.
    KillHook(String),
    /// Write a line.
    Log(Severity, String),
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams whose files are all in the bucket.
    pub uploaded: u64,
    /// Attempts that failed.
    pub upload_failures: u64,
    /// Streams whose objects were deleted.
    pub deleted: u64,
    /// Runs of the hook that ended with exit 0.
    pub hooks_fine: u64,
    /// Runs that failed and are tried again.
    pub hooks_retried: u64,
    /// Hooks given up after the last try.
    pub hooks_failed: u64,
}

/// A stream while the process lives.
#[derive(Debug)]
struct Live {
    /// Its files are complete. Before that nothing is done.
    is_written: bool,
    /// The job under way; those with another number are over.
    job: Option<(Job, u64)>,
    /// The hook is running.
    hook: Option<HookRun>,
    upload_due: Instant,
    upload_failures: u32,
    /// How often it was sent again since all was there.
    sent_again: u32,
    hook_due: Instant,
    /// From then on the hook does not wait for the upload.
    hook_alone_from: Instant,
    /// When to look whether a consumer still needs the journal.
    journal_due: Instant,
    /// None did at the last look.
    is_journal_free: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookRun {
    Current,
    /// For an end that does not count any more: whatever comes of it is ignored.
    Stale,
}

/// The decisions.
#[derive(Debug)]
pub struct Queue {
    plan: Plan,
    entries: Entries,
    live: HashMap<String, Live>,
    changes: Vec<EntryChange>,
    actions: Vec<Action>,
    counts: Counts,
    next_job: u64,
    /// While the bucket fails, nothing is begun before this moment.
    bucket_due: Instant,
    bucket_failures: u32,
    logged: Option<(FaultKind, Instant)>,
    is_stopping: bool,
}

impl Queue {
    /// Takes up what an earlier process left. `is_written` says whether a stream's files are complete
    /// (one that is not is announced again), and `None` where they are gone for good.
    pub fn new(
        now: Now,
        plan: Plan,
        entries: Entries,
        is_written: impl Fn(&Entry) -> Option<bool>,
    ) -> Queue {
        let mut queue = Queue {
            plan: Plan::default(),
            live: HashMap::new(),
            changes: Vec::new(),
            actions: Vec::new(),
            counts: Counts::default(),
            next_job: 0,
            bucket_due: now.instant,
            bucket_failures: 0,
            logged: None,
            is_stopping: false,
            entries: Entries::default(),
        };
        for entry in entries.iter() {
            match is_written(entry) {
                Some(is_written) => {
                    let live = Live::new(now, entry.ended_ms, is_written);
                    queue.live.insert(entry.key.clone(), live);
                }
                None => queue.changes.push(EntryChange::Done(entry.key.clone())),
            }
        }
        queue.entries = entries;
        for gone in queue.changes.clone() {
            queue.entries.apply(gone);
        }
        queue.configure(now, plan);
        queue
    }

    /// Other settings. Without a hook, those that wait are given up; what is to be uploaded or deleted
    /// waits for a bucket.
    pub fn configure(&mut self, now: Now, plan: Plan) {
        self.plan = plan;
        self.bucket_due = now.instant;
        self.bucket_failures = 0;
        self.logged = None;
        if self.plan.hooks_at_once == 0 {
            let waiting = self.entries.iter().filter(|entry| entry.hook.is_some());
            let waiting: Vec<Entry> = waiting.cloned().collect();
            for entry in waiting {
                self.put(Entry {
                    hook: None,
                    ..entry
                });
            }
        }
        for live in self.live.values_mut() {
            live.upload_due = now.instant;
        }
    }

    /// A stream is about to end. To be saved before its files say so.
    pub fn announce(&mut self, now: Now, mut entry: Entry) {
        if self.entries.get(&entry.key).is_none() && self.entries.len() >= ENTRIES_MAX {
            let text = format!(
                "{ENTRIES_MAX} streams wait for their upload or hook; this one gets none stream={}",
                entry.ids.stream_id
            );
            return self.log(Severity::Error, text);
        }
        let known = self.entries.get(&entry.key);
        if known.is_some_and(|known| known.kind == EndKind::Revoked) {
            // Nothing of it leaves any more.
            return;
        }
        let (job, hook) = self.supersede(&entry.key);
        entry.kind = EndKind::Ended;
        entry.hook = (self.plan.hooks_at_once > 0).then(Hook::default);
        entry.upload = self.plan.has_bucket.then(Upload::default);
        entry.is_to_clean = self.plan.has_bucket && self.plan.deletes_local;
        if entry.hook.is_none() && entry.upload.is_none() {
            return;
        }
        let live = Live::new(now, now.unix_ms, false);
        let live = Live { job, hook, ..live };
        self.live.insert(entry.key.clone(), live);
        self.put(entry);
    }

    /// The end is on the disk.
    pub fn written(&mut self, now: Now, key: &str) {
        if let Some(live) = self.live.get_mut(key) {
            live.is_written = true;
            live.hook_alone_from = now.instant + UPLOAD_WAIT;
        }
    }

    /// The stream lives again, in the same files.
    pub fn reopened(&mut self, key: &str) {
        let is_ended = self
            .entries
            .get(key)
            .is_some_and(|entry| entry.kind == EndKind::Ended);
        if is_ended && let Some(live) = self.live.get_mut(key) {
            live.is_written = false;
            let (job, hook) = self.supersede(key);
            if let Some(live) = self.live.get_mut(key) {
                (live.job, live.hook) = (job, hook);
            }
        }
    }

    /// Nothing is done for this stream until [`Queue::go_on`]: its files are about to change. What
    /// its upload has reached, and whether nothing is under way any more; `None` for a stream that
    /// nothing is to be done for.
    pub fn hold(&mut self, key: &str) -> Option<(Option<Upload>, bool)> {
        self.reopened(key);
        let entry = self
            .entries
            .get(key)
            .filter(|entry| entry.kind == EndKind::Ended)?;
        let is_idle = self.live.get(key).is_none_or(|live| live.job.is_none());
        Some((entry.upload.clone(), is_idle))
    }

    /// The files of a stream have changed: an upload that had not ended begins again.
    pub fn go_on(&mut self, now: Now, key: &str) {
        let entry = self
            .entries
            .get(key)
            .filter(|entry| entry.kind == EndKind::Ended);
        if let Some(entry) = entry.cloned() {
            self.put(entry.begun_again());
            self.written(now, key);
        }
    }

    /// Consent was withdrawn. What `entry` says of the bucket is added to what is known; without
    /// `deletes`, what is in the bucket stays there, like the files.
    pub fn revoke(&mut self, now: Now, entry: Entry, deletes: bool) {
        let known = self.entries.get(&entry.key).cloned();
        if known
            .as_ref()
            .is_some_and(|known| known.kind == EndKind::Revoked)
        {
            // Ordered before.
            return;
        }
        let (job, hook) = self.supersede(&entry.key);
        if hook.is_some() {
            self.actions.push(Action::KillHook(entry.key.clone()));
        }
        let mut entry = entry.revoked(known.as_ref(), deletes);
        entry.hook = (self.plan.hooks_at_once > 0).then(Hook::default);
        if let Some(delete) = entry.delete.as_ref().filter(|_| !self.plan.has_bucket) {
            let text = no_bucket(&entry.ids.stream_id, &delete.bucket);
            self.log(Severity::Error, text);
        }
        let live = Live::new(now, now.unix_ms, true);
        let live = Live { job, hook, ..live };
        self.live.insert(entry.key.clone(), live);
        self.put(entry);
    }

    /// A job has come further. Of one that is over nothing is taken.
    pub fn progress(&mut self, key: &str, number: u64, change: EntryChange) {
        if self.is_current(key, number) {
            self.entries.apply(change.clone());
            self.changes.push(change);
        }
    }

    /// A job is over.
    pub fn job_done(&mut self, now: Now, key: &str, number: u64, result: Result<(), Fault>) {
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        let Some((job, _)) = live.job.take_if(|(_, current)| *current == number) else {
            // A cancelled one that has ended at last.
            live.job
                .take_if(|(_, current)| *current == number | CANCELLED);
            return;
        };
        let Some(entry) = self.entries.get(key).cloned() else {
            return;
        };
        match result {
            Ok(()) => {
                (live.upload_failures, live.upload_due) = (0, now.instant);
                if job != Job::DeleteJournal {
                    self.bucket_fine(now);
                }
                self.job_fine(now, job, entry);
            }
            Err(fault) if fault.kind == FaultKind::Stopping => {}
            Err(fault) => {
                let differs = matches!(fault.kind, FaultKind::NotFound | FaultKind::Differs);
                live.sent_again += u32::from(job == Job::Clean && differs);
                live.upload_failures += 1;
                let failures = live.upload_failures.max(live.sent_again);
                live.upload_due = now.instant + pause(failures);
                let is_hopeless = live.sent_again > SENT_AGAIN_MAX;
                self.counts.upload_failures += 1;
                self.job_failed(now, job, entry, &fault, is_hopeless);
            }
        }
    }

    fn job_fine(&mut self, now: Now, job: Job, entry: Entry) {
        let (stream, key) = (entry.ids.stream_id.clone(), entry.key.clone());
        match job {
            Job::Upload => {
                self.counts.uploaded += 1;
                let files = entry.upload.as_ref().map_or(0, |upload| upload.files.len());
                let text = format!("uploaded stream={stream} key={key} files={files}");
                self.log(Severity::Info, text);
                let upload = entry.upload.clone().filter(|_| entry.is_to_clean);
                let is_uploaded = true;
                self.put(Entry {
                    upload,
                    is_uploaded,
                    ..entry
                });
            }
            Job::Clean => {
                let text = format!(
                    "local files deleted, they are in the bucket stream={stream} key={key}"
                );
                self.log(Severity::Info, text);
                let mut files = entry.upload.iter().flat_map(|upload| &upload.files);
                let is_journal_left = files.any(|file| file.local == FEED_NAME);
                if let Some(live) = self.live.get_mut(&key) {
                    live.journal_due = now.instant;
                }
                self.put(Entry {
                    upload: None,
                    is_to_clean: false,
                    is_journal_left,
                    ..entry
                });
            }
            Job::DeleteJournal => {
                let text =
                    format!("journal deleted, it is in the bucket stream={stream} key={key}");
                self.log(Severity::Debug, text);
                self.put(Entry {
                    is_journal_left: false,
                    ..entry
                });
            }
            Job::Delete => {
                self.counts.deleted += 1;
                let text =
                    format!("consent withdrawn: deleted from the bucket stream={stream} key={key}");
                self.log(Severity::Warn, text);
                self.put(Entry {
                    delete: None,
                    ..entry
                });
            }
        }
    }

    fn job_failed(&mut self, now: Now, job: Job, entry: Entry, fault: &Fault, is_hopeless: bool) {
        let what = match job {
            Job::Upload => "upload failed",
            Job::Clean => "local files are kept",
            Job::DeleteJournal => "the journal is kept",
            Job::Delete => "consent withdrawn, but objects are still in the bucket",
        };
        let text = format!(
            "{what} stream={} key={} waiting={}: {fault}",
            entry.ids.stream_id,
            entry.key,
            self.waiting_uploads()
        );
        if fault.is_of_one_stream() {
            self.log(fault.severity(), text);
        } else {
            self.bucket_failures += 1;
            self.bucket_due = now.instant + pause(self.bucket_failures);
            let is_known = self.logged.is_some_and(|(kind, at)| {
                kind == fault.kind && now.instant.saturating_duration_since(at) < LOG_AGAIN
            });
            if is_known {
                self.log(Severity::Debug, text);
            } else {
                self.logged = Some((fault.kind, now.instant));
                self.log(fault.severity(), text);
            }
        }
        match (job, fault.kind) {
            (Job::Clean, _) if is_hopeless => {
                let text = format!(
                    "local files are kept for good: the bucket did not show what was sent, {SENT_AGAIN_MAX} \
                     times stream={} key={}",
                    entry.ids.stream_id, entry.key
                );
                self.log(Severity::Error, text);
                self.put(Entry {
                    upload: None,
                    is_to_clean: false,
                    ..entry
                });
            }
            // Something in the bucket is not what was sent: all of it is sent again.
            (Job::Clean, FaultKind::NotFound | FaultKind::Differs) => {
                let upload = Some(Upload::default());
                self.put(Entry {
                    upload,
                    is_uploaded: false,
                    ..entry
                });
            }
            // The bucket shows no checksum, so it is not known that all is there.
            (Job::Clean, FaultKind::Checksum) => {
                self.put(Entry {
                    upload: None,
                    is_to_clean: false,
                    ..entry
                });
            }
            _ => {}
        }
    }

    fn bucket_fine(&mut self, now: Now) {
        if std::mem::take(&mut self.bucket_failures) > 0 {
            self.bucket_due = now.instant;
            if self.logged.take().is_some() {
                let text = format!("the bucket works again waiting={}", self.waiting_uploads());
                self.log(Severity::Info, text);
            }
        }
    }

    /// A run of the hook is over.
    pub fn hook_done(&mut self, now: Now, key: &str, end: HookEnd) {
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        let run = live.hook.take();
        let Some(entry) = self.entries.get(key).cloned() else {
            return;
        };
        if run != Some(HookRun::Current) {
            return;
        }
        let Some(hook) = entry.hook.clone() else {
            return;
        };
        let facts = format!("stream={} key={key}", entry.ids.stream_id);
        match end {
            HookEnd::Cancelled => {}
            HookEnd::Fine => {
                self.counts.hooks_fine += 1;
                self.put(Entry {
                    hook: None,
                    ..entry
                });
            }
            HookEnd::Failed(how) => {
                let tries = hook.tries + 1;
                let pause = HOOK_PAUSES
                    .get(tries as usize - 1)
                    .filter(|_| tries < HOOK_TRIES);
                if let Some(pause) = pause {
                    live.hook_due = now.instant + *pause;
                    self.counts.hooks_retried += 1;
                    let seconds = pause.as_secs();
                    let text =
                        format!("hook failed {facts} status=\"{how}\"; again in {seconds} s");
                    self.log(Severity::Warn, text);
                    let hook = Some(Hook { tries });
                    self.put(Entry { hook, ..entry });
                } else {
                    self.counts.hooks_failed += 1;
                    let text =
                        format!("hook failed {facts} status=\"{how}\" tries={tries}; given up");
                    self.log(Severity::Error, text);
                    self.put(Entry {
                        hook: None,
                        ..entry
                    });
                }
            }
        }
    }

    /// The journals that may go by now, if no consumer needs them: key of the stream, folder, and when
    /// it ended. See [`Queue::journal_is_free`].
    pub fn journals_to_look_at(&mut self, now: Now) -> Vec<(String, PathBuf, u64)> {
        let mut due = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.is_journal_left) {
            let Some(live) = self.live.get_mut(&entry.key) else {
                continue;
            };
            if live.waits_for_journal(self.is_stopping) && live.journal_due <= now.instant {
                live.journal_due = now.instant + JOURNAL_LOOK;
                due.push((entry.key.clone(), entry.folder.clone(), entry.ended_ms));
            }
        }
        due
    }

    /// No consumer needs the journal of this stream.
    pub fn journal_is_free(&mut self, key: &str) {
        if let Some(live) = self.live.get_mut(key) {
            live.is_journal_free = true;
        }
    }

    /// Nothing new is begun.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Begins what may begin, and says what is to be done.
    pub fn step(&mut self, now: Now) -> Vec<Action> {
        let mut jobs = self.live.values().filter(|live| live.job.is_some()).count();
        let mut hooks = self
            .live
            .values()
            .filter(|live| live.hook.is_some())
            .count();
        let mut done = Vec::new();
        let is_bucket_open = self.plan.has_bucket && self.bucket_due <= now.instant;
        // A bucket that failed is asked by one stream, not by all.
        let jobs_max = match self.bucket_failures {
            0 => UPLOADS_AT_ONCE,
            _ => 1,
        };
        for entry in self.entries.iter() {
            let Some(live) = self.live.get_mut(&entry.key) else {
                continue;
            };
            if entry.is_done() && live.job.is_none() && live.hook.is_none() {
                done.push(entry.key.clone());
                continue;
            }
            if self.is_stopping || !live.is_written {
                continue;
            }
            if let Some(job) = entry.next_job()
                && live.job.is_none()
                && jobs < jobs_max
                && is_bucket_open
                && live.upload_due <= now.instant
            {
                jobs += 1;
                self.next_job += 1;
                live.job = Some((job, self.next_job));
                let entry = Box::new(entry.clone());
                self.actions.push(Action::Start(job, self.next_job, entry));
            }
            if entry.is_journal_left
                && live.is_journal_free
                && live.job.is_none()
                && jobs < UPLOADS_AT_ONCE
            {
                jobs += 1;
                live.is_journal_free = false;
                self.next_job += 1;
                live.job = Some((Job::DeleteJournal, self.next_job));
                let entry = Box::new(entry.clone());
                self.actions
                    .push(Action::Start(Job::DeleteJournal, self.next_job, entry));
            }
            let is_alone = entry.upload.is_none()
                || entry.is_uploaded
                || !self.plan.has_bucket
                || live.hook_alone_from <= now.instant;
            if let Some(hook) = &entry.hook
                && live.hook.is_none()
                && hooks < self.plan.hooks_at_once
                && live.hook_due <= now.instant
                && is_alone
            {
                hooks += 1;
                live.hook = Some(HookRun::Current);
                let attempt = hook.tries + 1;
                self.actions
                    .push(Action::RunHook(Box::new(entry.clone()), attempt));
            }
        }
        for key in done {
            self.live.remove(&key);
            let change = EntryChange::Done(key);
            self.entries.apply(change.clone());
            self.changes.push(change);
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Queue::step`] has something to do without a new input.
    pub fn deadline(&self, now: Now) -> Option<Instant> {
        if self.is_stopping {
            return None;
        }
        let entries = self.entries.iter();
        let moments = entries.filter_map(|entry| {
            let live = self.live.get(&entry.key).filter(|live| live.is_written)?;
            let job = entry
                .next_job()
                .filter(|_| live.job.is_none() && self.plan.has_bucket);
            let job = job.map(|_| live.upload_due.max(self.bucket_due));
            let hook = entry.hook.as_ref().filter(|_| live.hook.is_none());
            let waits = entry.upload.is_some() && !entry.is_uploaded && self.plan.has_bucket;
            let hook = hook.map(|_| match waits {
                true => live.hook_due.max(live.hook_alone_from),
                false => live.hook_due,
            });
            let waits = entry.is_journal_left && live.waits_for_journal(self.is_stopping);
            let journal = waits.then_some(live.journal_due);
            // What is due and not begun waits for a place, which is an input.
            let later = |at: &Instant| *at > now.instant;
            job.filter(later)
                .into_iter()
                .chain(hook.filter(later))
                .chain(journal)
                .min()
        });
        moments.min()
    }

    /// What is to be appended to `ends.json`.
    pub fn take_changes(&mut self) -> Vec<EntryChange> {
        std::mem::take(&mut self.changes)
    }

    /// All that is to be done.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Streams that wait for an upload or a deletion, those under way included.
    pub fn waiting_uploads(&self) -> usize {
        let waits = |entry: &&Entry| {
            (entry.upload.is_some() && !entry.is_uploaded) || entry.delete.is_some()
        };
        self.entries.iter().filter(waits).count()
    }

    /// Streams that wait for their hook, those under way included.
    pub fn waiting_hooks(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.hook.is_some())
            .count()
    }

    fn is_current(&self, key: &str, number: u64) -> bool {
        let live = self.live.get(key);
        live.is_some_and(|live| live.job.is_some_and(|(_, current)| current == number))
    }

    /// What is under way for a stream does not count any more. It holds its place until it has ended.
    fn supersede(&mut self, key: &str) -> (Option<(Job, u64)>, Option<HookRun>) {
        let Some(live) = self.live.get(key) else {
            return (None, None);
        };
        if live.job.is_some_and(|(_, number)| number & CANCELLED == 0) {
            self.actions.push(Action::CancelJob(key.to_owned()));
        }
        let job = live.job.map(|(job, number)| (job, number | CANCELLED));
        (job, live.hook.map(|_| HookRun::Stale))
    }

    fn put(&mut self, entry: Entry) {
        let change = EntryChange::Entry(Box::new(entry));
        self.entries.apply(change.clone());
        self.changes.push(change);
    }

    fn log(&mut self, severity: Severity, text: String) {
        self.actions.push(Action::Log(severity, text));
    }
}

/// Marks the number of a job that was cancelled: it holds its place until it has ended.
const CANCELLED: u64 = 1 << 63;

impl Live {
    fn new(now: Now, ended_ms: u64, is_written: bool) -> Live {
        let since = Duration::from_millis(now.unix_ms.saturating_sub(ended_ms));
        Live {
            is_written,
            job: None,
            hook: None,
            upload_due: now.instant,
            upload_failures: 0,
            sent_again: 0,
            hook_due: now.instant,
            hook_alone_from: now.instant + UPLOAD_WAIT.saturating_sub(since),
            journal_due: now.instant,
            is_journal_free: false,
        }
    }

    fn waits_for_journal(&self, is_stopping: bool) -> bool {
        self.is_written && self.job.is_none() && !is_stopping
    }
}

impl Entry {
    /// What is to be done with the bucket next.
    fn next_job(&self) -> Option<Job> {
        match (&self.delete, &self.upload) {
            (Some(_), _) => Some(Job::Delete),
            (None, Some(_)) if !self.is_uploaded => Some(Job::Upload),
            (None, Some(_)) if self.is_to_clean && self.hook.is_none() => Some(Job::Clean),
            _ => None,
        }
    }

    fn is_done(&self) -> bool {
        self.hook.is_none()
            && self.upload.is_none()
            && self.delete.is_none()
            && !self.is_journal_left
    }
}

/// What an operator has to do where consent was withdrawn and no bucket is configured.
pub(super) fn no_bucket(stream_id: &str, bucket: &str) -> String {
    format!(
        "consent withdrawn, but objects are still in the bucket {bucket:?}, and RTMS_S3_BUCKET is not \
         set stream={stream_id}; set the bucket again, and they are deleted"
    )
}

fn pause(failures: u32) -> Duration {
    let (first, last) = UPLOAD_PAUSES;
    let doubled = first.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(last)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
