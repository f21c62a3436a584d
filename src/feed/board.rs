//! The board: the length of each journal, and the state of its stream.
//!
//! The recorder's thread updates it after each write to a journal, so everything on the board is in
//! the file. Readers compare versions: [`Board::changes_since`] returns the journals that changed,
//! and a [`Watch`] wakes a thread that waits for the next change.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::epoch;
use super::folders::DEPTH;
use super::key::JournalKey;
use super::open_files::OpenFiles;
use super::{FEED_NAME, kind, reader};
use crate::net::waker::Waker;

/// Maximum changes that are remembered one by one; a reader that is further behind checks every
/// journal.
const CHANGES_MAX: usize = 1024;

/// A journal whose stream has ended is removed from the board after this time, unless a consumer
/// holds it.
pub const ENDED_KEPT: Duration = Duration::from_secs(60);

/// Uploads do not delete a journal for this long after the stream's end while a consumer holds it.
pub const KEEP_FOR_PUSH_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The state of a journal's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It grows.
    Running,
    /// Its stream is over; `file.uploaded` may follow, and a new life.
    Ended,
    /// Consent was withdrawn: none of it may be sent any more.
    Revoked,
}

/// One journal, as the board knows it.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The journal.
    pub key: JournalKey,
    /// The stream's folder.
    pub folder: Arc<Path>,
    /// Bytes of whole lines in the file.
    pub bytes: u64,
    /// Number of the last line; 0 for none.
    pub seq: u64,
    /// Position of the last line; 0 for none.
    pub pos: u64,
    /// The state of its stream.
    pub state: State,
    /// The board's version at its last change.
    pub version: u64,
    /// How often the file was deleted and created again.
    pub(super) incarnation: u16,
    holds: u16,
    ended: Option<Instant>,
}

/// The whole board at one time.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its version, for [`Board::changes_since`].
    pub version: u64,
    /// Every line with a position up to this one can be read.
    pub pos: u64,
    /// All journals, by key.
    pub journals: Vec<Journal>,
}

/// The board. Shared by the writing thread and all readers.
#[derive(Debug)]
pub struct Board {
    root: PathBuf,
    inner: Mutex<Inner>,
    /// Shared by all readers.
    files: Mutex<OpenFiles>,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    pos: u64,
    /// By key. A sorted list, because a map allocates room for up to twice as many entries as it
    /// holds.
    journals: Vec<Journal>,
    /// Version and key of the newest changes.
    changes: VecDeque<(u64, JournalKey)>,
    /// Keys of streams whose consent was withdrawn, on the board or not, sorted.
    revoked: Vec<JournalKey>,
    watches: Vec<Weak<Signal>>,
    /// Consumers that do not know yet what they need.
    consumers_awaited: u32,
    /// How often lines of a journal were replaced.
    rewrites: u64,
}

/// Wakes a thread when the board changes.
#[derive(Debug)]
pub struct Watch {
    signal: Arc<Signal>,
}

#[derive(Debug)]
struct Signal {
    waker: Waker,
    is_armed: AtomicBool,
}

impl Inner {
    fn find(&self, key: JournalKey) -> Result<usize, usize> {
        self.journals
            .binary_search_by_key(&key, |journal| journal.key)
    }

    /// Notes a change, and returns the wakers to call.
    fn changed(&mut self, at: usize) {
        self.version += 1;
        let Some(journal) = self.journals.get_mut(at) else {
            return;
        };
        journal.version = self.version;
        let key = journal.key;
        self.tell(key);
    }

    /// Lists the change of a journal, which need not be on the board, and wakes those who wait.
    fn tell(&mut self, key: JournalKey) {
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back((self.version, key));
        self.watches.retain(|watch| {
            let Some(signal) = watch.upgrade() else {
                return false;
            };
            // One wake-up for all changes until the thread has checked.
            if signal.is_armed.swap(false, Ordering::Relaxed) {
                signal.waker.wake();
            }
            true
        });
    }

    fn is_revoked(&self, key: JournalKey) -> bool {
        self.revoked.binary_search(&key).is_ok()
    }
}

impl Board {
    /// A board without journals, for the streams below that folder, `RTMS_OUT`.
    pub fn new(root: &Path) -> Arc<Board> {
        Arc::new(Board {
            root: root.to_owned(),
            inner: Mutex::default(),
            files: Mutex::default(),
        })
    }

    /// `RTMS_OUT`: where the server's own journal and all streams are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files(&self) -> MutexGuard<'_, OpenFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Incremented with each change.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Every line with a position up to this one can be read; later lines have higher ones.
    pub fn pos(&self) -> u64 {
        self.lock().pos
    }

    /// One journal; `None` if it is not on the board. See [`Board::load`].
    pub fn get(&self, key: JournalKey) -> Option<Journal> {
        let inner = self.lock();
        inner.find(key).ok().map(|at| inner.journals[at].clone())
    }

    /// All journals at one time.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            version: inner.version,
            pos: inner.pos,
            journals: inner.journals.clone(),
        }
    }

    /// Appends the journals that changed after `version`, each once in its current state, the
    /// oldest change first. Returns the current version and the position up to which everything can
    /// be read.
    pub fn changes_since(&self, version: u64, changed: &mut Vec<Journal>) -> (u64, u64) {
        let inner = self.lock();
        let behind = inner.version.saturating_sub(version);
        if behind > inner.changes.len() as u64 {
            let journals = inner.journals.iter();
            let from = changed.len();
            changed.extend(
                journals
                    .filter(|journal| journal.version > version)
                    .cloned(),
            );
            changed[from..].sort_unstable_by_key(|journal| journal.version);
        } else {
            let first = inner.changes.len() - behind as usize;
            for (at, key) in inner.changes.range(first..) {
                // Only the last change of each journal.
                let journal = inner.find(*key).ok().map(|at| &inner.journals[at]);
                changed.extend(journal.filter(|journal| journal.version == *at).cloned());
            }
        }
        (inner.version, inner.pos)
    }

    /// How often lines were replaced, in all journals: those who keep lines in memory drop them then.
    pub fn rewrites(&self) -> u64 {
        self.lock().rewrites
    }

    /// Whether consent was withdrawn for this stream. To be checked right before any of it is sent.
    pub fn is_revoked(&self, key: JournalKey) -> bool {
        self.lock().is_revoked(key)
    }

    /// A watch that wakes through that waker at a change, once it is armed.
    pub fn watch(&self, waker: Waker) -> Watch {
        let signal = Arc::new(Signal {
            waker,
            is_armed: AtomicBool::new(false),
        });
        self.lock().watches.push(Arc::downgrade(&signal));
        Watch { signal }
    }

    /// Arms the watch: the next change after `version` wakes, once. `false` if there is one already,
    /// so that there is nothing to wait for.
    pub fn arm(&self, watch: &Watch, version: u64) -> bool {
        let inner = self.lock();
        let is_current = inner.version == version;
        watch.signal.is_armed.store(is_current, Ordering::Relaxed);
        is_current
    }

    /// Adds the journal of an earlier process to the board, with an ended stream: its length is
    /// read from the file. It stays for [`ENDED_KEPT`], or while it is held. A journal that is on
    /// the board already is not changed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(&self, folder: &Path) -> io::Result<Journal> {
        let key = self.key_of(folder);
        if let Some(known) = self.get(key) {
            return Ok(known);
        }
        let end = reader::end_of(&folder.join(FEED_NAME))?;
        let mut inner = self.lock();
        let at = match inner.find(key) {
            Ok(at) => return Ok(inner.journals[at].clone()),
            Err(at) => at,
        };
        let is_withdrawn = end
            .kinds
            .first()
            .is_some_and(|it| it == kind::STREAM_REVOKED);
        let state = match inner.is_revoked(key) || is_withdrawn {
            true => State::Revoked,
            false => State::Ended,
        };
        let version = inner.version;
        let journal = Journal {
            key,
            folder: folder.into(),
            bytes: end.bytes,
            seq: end.seq,
            pos: end.pos,
            state,
            version,
            incarnation: 0,
            holds: 0,
            ended: Some(Instant::now()),
        };
        insert(&mut inner.journals, at, journal.clone());
        Ok(journal)
    }

    /// The key of a stream's folder: below this `RTMS_OUT`, or one before it.
    pub fn key_of(&self, folder: &Path) -> JournalKey {
        let parts: Vec<_> = folder.components().collect();
        let below = &parts[parts.len().saturating_sub(DEPTH)..];
        JournalKey::of_folder(&below.iter().collect::<PathBuf>())
    }

    /// Keeps a journal on the board, and on the disk as far as [`Board::may_delete`] decides, until
    /// [`Board::release`] is called as often. `false` if it is not on the board.
    pub fn hold(&self, key: JournalKey) -> bool {
        self.change_holds(key, |holds| holds.saturating_add(1))
    }

    /// Releases one hold.
    pub fn release(&self, key: JournalKey) -> bool {
        self.change_holds(key, |holds| holds.saturating_sub(1))
    }

    fn change_holds(&self, key: JournalKey, change: impl Fn(u16) -> u16) -> bool {
        let mut inner = self.lock();
        let Ok(at) = inner.find(key) else {
            return false;
        };
        let journal = &mut inner.journals[at];
        journal.holds = change(journal.holds);
        true
    }

    /// A consumer starts: it may hold any journal of an earlier process, once it knows which. Until
    /// [`Board::consumer_is_ready`] is called as often, all journals count as held.
    pub fn await_consumer(&self) {
        self.lock().consumers_awaited += 1;
    }

    /// A consumer holds what it needs.
    pub fn consumer_is_ready(&self) {
        let mut inner = self.lock();
        inner.consumers_awaited = inner.consumers_awaited.saturating_sub(1);
    }

    /// Whether a consumer holds this journal, or may turn out to.
    pub fn is_held(&self, key: JournalKey) -> bool {
        let inner = self.lock();
        inner.consumers_awaited > 0 || inner.find(key).is_ok_and(|at| inner.journals[at].holds > 0)
    }

    /// Whether an upload may delete this journal, of a stream that ended `ended_ago`:
    /// while a consumer holds it, only after [`KEEP_FOR_PUSH_MAX`]. A withdrawal of consent deletes
    /// it in any case.
    pub fn may_delete(&self, key: JournalKey, ended_ago: Duration) -> bool {
        !self.is_held(key) || ended_ago >= KEEP_FOR_PUSH_MAX
    }
}

/// Called by the writing thread.
impl Board {
    /// Every line of earlier processes has a position up to this one.
    pub fn set_pos(&self, pos: u64) {
        let mut inner = self.lock();
        inner.pos = inner.pos.max(pos);
    }

    /// [`Board::revoke`] for the folders with that name, of a stream, in a folder with that name, of a
    /// meeting, where it is known.
    pub fn revoke_named(&self, meeting: Option<&str>, stream: &str) {
        let is_named = |folder: &Path| {
            let mut names = folder.iter().rev();
            let own = names.next().and_then(|name| name.to_str());
            own.is_some_and(|name| epoch::is_of(name, stream))
                && names
                    .next()
                    .is_some_and(|it| meeting.is_none_or(|name| it == name))
        };
        let journals = self.snapshot().journals;
        let named = journals.iter().filter(|it| is_named(&it.folder));
        named.for_each(|journal| self.revoke(journal.key));
    }

    /// A stream starts or continues: its journal has this length.
    pub fn open(&self, key: JournalKey, folder: &Arc<Path>, bytes: u64, seq: u64, pos: u64) {
        let mut inner = self.lock();
        let state = match inner.is_revoked(key) {
            true => State::Revoked,
            false => State::Running,
        };
        inner.pos = inner.pos.max(pos);
        let at = match inner.find(key) {
            Ok(at) => at,
            Err(at) => {
                let journal = Journal {
                    key,
                    folder: Arc::clone(folder),
                    bytes: 0,
                    seq: 0,
                    pos: 0,
                    state,
                    version: 0,
                    incarnation: 0,
                    holds: 0,
                    ended: None,
                };
                insert(&mut inner.journals, at, journal);
                at
            }
        };
        let journal = &mut inner.journals[at];
        (journal.bytes, journal.seq, journal.pos) = (bytes, seq, pos);
        (journal.state, journal.ended) = (state, None);
        journal.folder = Arc::clone(folder);
        inner.changed(at);
    }

    /// A journal has grown to that length, last number and last position.
    pub fn grew(&self, key: JournalKey, bytes: u64, seq: u64, pos: u64) {
        let mut inner = self.lock();
        inner.pos = inner.pos.max(pos);
        if let Ok(at) = inner.find(key) {
            let journal = &mut inner.journals[at];
            (journal.bytes, journal.seq, journal.pos) = (bytes, seq, pos);
            inner.changed(at);
        }
    }

    /// The file was deleted and created again: it has only `bytes` bytes.
    pub fn recreated(&self, key: JournalKey, bytes: u64) {
        let mut inner = self.lock();
        if let Ok(at) = inner.find(key) {
            let journal = &mut inner.journals[at];
            journal.bytes = bytes;
            journal.incarnation = journal.incarnation.wrapping_add(1);
            inner.changed(at);
        }
        drop(inner);
        self.files().forget(key);
    }

    /// Lines of a journal were replaced by others of the same length: what was read of it does not count.
    pub fn rewritten(&self, key: JournalKey) {
        let mut inner = self.lock();
        inner.rewrites += 1;
        match inner.find(key) {
            Ok(at) => {
                let journal = &mut inner.journals[at];
                journal.incarnation = journal.incarnation.wrapping_add(1);
                inner.changed(at);
            }
            Err(_) => {
                inner.version += 1;
                inner.tell(key);
            }
        }
        drop(inner);
        self.files().forget(key);
    }

    /// A stream has ended, and its end is on the disk.
    pub fn ended(&self, key: JournalKey) {
        let mut inner = self.lock();
        if let Ok(at) = inner.find(key) {
            let journal = &mut inner.journals[at];
            if journal.state == State::Running {
                journal.state = State::Ended;
            }
            journal.ended = Some(Instant::now());
            inner.changed(at);
        }
    }

    /// The journal was deleted, because it is elsewhere or too old: who reads on finds it gone.
    pub fn deleted(&self, key: JournalKey) {
        let mut inner = self.lock();
        if let Ok(at) = inner.find(key) {
            inner.journals.remove(at);
        }
        drop(inner);
        self.files().forget(key);
    }

    /// Consent was withdrawn: once this returns, nothing of the journal can be read.
    pub fn revoke(&self, key: JournalKey) {
        let mut inner = self.lock();
        if let Err(at) = inner.revoked.binary_search(&key) {
            inner.revoked.insert(at, key);
        }
        if let Ok(at) = inner.find(key) {
            let journal = &mut inner.journals[at];
            journal.state = State::Revoked;
            journal.ended.get_or_insert_with(Instant::now);
            inner.changed(at);
        }
        drop(inner);
        // An open file would stay on the disk.
        self.files().forget(key);
    }

    /// Whether [`Board::sweep`] may find something to do later.
    pub fn has_ended(&self) -> bool {
        let inner = self.lock();
        inner
            .journals
            .iter()
            .any(|journal| journal.ended.is_some() && journal.holds == 0)
    }

    /// Removes journals from the board whose streams ended [`ENDED_KEPT`] ago and that no consumer
    /// holds.
    pub fn sweep(&self, now: Instant) {
        let mut inner = self.lock();
        let is_over = |journal: &Journal| {
            let since = journal.ended.map(|at| now.saturating_duration_since(at));
            journal.holds == 0 && since.is_some_and(|since| since >= ENDED_KEPT)
        };
        let over = |journal: &&Journal| is_over(journal);
        let gone: Vec<JournalKey> = inner
            .journals
            .iter()
            .filter(over)
            .map(|it| it.key)
            .collect();
        if gone.is_empty() {
            return;
        }
        inner.journals.retain(|journal| !is_over(journal));
        let room = inner.journals.len() + inner.journals.len() / 8;
        inner.journals.shrink_to(room);
        drop(inner);
        let mut files = self.files();
        gone.into_iter().for_each(|key| files.forget(key));
    }
}

/// Inserts with little spare capacity.
fn insert(journals: &mut Vec<Journal>, at: usize, journal: Journal) {
    if journals.len() == journals.capacity() {
        journals.reserve_exact(16 + journals.len() / 8);
    }
    journals.insert(at, journal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::waker::{Wakeable, waker};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn key(n: u64) -> JournalKey {
        format!("{n:016x}").parse().expect("a key")
    }

    fn folder() -> Arc<Path> {
        Path::new("/out/2026-11-24/m/s").into()
    }

    fn seqs(changed: &[Journal]) -> Vec<(JournalKey, u64)> {
        changed
            .iter()
            .map(|journal| (journal.key, journal.seq))
            .collect()
    }

    fn is_awake(wakeable: &Wakeable) -> bool {
        let mut fds = [PollFd::new(wakeable, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())) == Ok(1)
    }

    #[test]
    fn each_change_is_returned_once() {
        let board = Board::new(Path::new("/out"));
        let (mut version, mut changed) = (0, Vec::new());
        for n in 1..=3 {
            board.open(key(n), &folder(), 0, 0, 0);
        }
        board.grew(key(2), 10, 1, 100);
        board.grew(key(1), 10, 1, 101);
        board.grew(key(2), 20, 2, 102);
        let pos;
        (version, pos) = board.changes_since(version, &mut changed);
        assert_eq!(pos, 102);
        assert_eq!(seqs(&changed), [(key(3), 0), (key(1), 1), (key(2), 2)]);
        changed.clear();
        board.grew(key(3), 10, 1, 103);
        (version, _) = board.changes_since(version, &mut changed);
        assert_eq!(seqs(&changed), [(key(3), 1)]);
        changed.clear();
        assert_eq!(board.changes_since(version, &mut changed), (version, 103));
        assert!(changed.is_empty());
        // Too far behind for the list of changes: all journals are returned.
        for n in 0..2 * CHANGES_MAX as u64 {
            board.grew(key(1), n, n, 200 + n);
        }
        board.ended(key(3));
        board.changes_since(version, &mut changed);
        assert_eq!(
            seqs(&changed),
            [(key(1), 2 * CHANGES_MAX as u64 - 1), (key(3), 1)]
        );
        assert_eq!(changed[1].state, State::Ended);
    }

    #[test]
    fn replaced_lines_are_told_also_of_a_journal_that_is_not_here() {
        let board = Board::new(Path::new("/out"));
        board.open(key(1), &folder(), 10, 1, 1);
        let (version, before) = (board.version(), board.get(key(1)).expect("there"));
        board.rewritten(key(1));
        board.rewritten(key(2));
        assert_eq!((board.rewrites(), board.version()), (2, version + 2));
        let mut changed = Vec::new();
        assert_eq!(board.changes_since(version, &mut changed), (version + 2, 1));
        let changed: Vec<JournalKey> = changed.iter().map(|journal| journal.key).collect();
        assert_eq!(changed, [key(1)]);
        let after = board.get(key(1)).expect("there");
        assert_ne!(after.incarnation, before.incarnation);
        assert_eq!((after.bytes, after.seq), (before.bytes, before.seq));
    }

    #[test]
    fn a_watch_wakes_once_for_several_changes() {
        let board = Board::new(Path::new("/out"));
        let (waker, wakeable) = waker().expect("a file");
        let watch = board.watch(waker);
        board.open(key(1), &folder(), 0, 0, 0);
        assert!(!is_awake(&wakeable), "it is not armed");
        assert!(!board.arm(&watch, 0), "there is news");
        let version = board.version();
        assert!(board.arm(&watch, version));
        board.grew(key(1), 1, 1, 1);
        assert!(is_awake(&wakeable));
        wakeable.clear();
        board.grew(key(1), 2, 2, 2);
        assert!(!is_awake(&wakeable), "it was not armed again");
        assert!(board.arm(&watch, board.version()));
        drop(watch);
        board.grew(key(1), 3, 3, 3);
        assert!(!is_awake(&wakeable));
        assert!(board.lock().watches.is_empty());
    }

    #[test]
    fn j11_a_revoked_journal_stays_revoked() {
        let board = Board::new(Path::new("/out"));
        board.open(key(1), &folder(), 10, 1, 1);
        board.revoke(key(1));
        board.revoke(key(2));
        assert!(board.is_revoked(key(1)) && board.is_revoked(key(2)) && !board.is_revoked(key(3)));
        board.grew(key(1), 20, 2, 2);
        board.ended(key(1));
        assert_eq!(board.get(key(1)).map(|it| it.state), Some(State::Revoked));
        board.open(key(2), &folder(), 0, 0, 0);
        assert_eq!(board.get(key(2)).map(|it| it.state), Some(State::Revoked));
    }

    #[test]
    fn j13_held_journals_stay() {
        let board = Board::new(Path::new("/out"));
        for n in 1..=3 {
            board.open(key(n), &folder(), 10, 1, 1);
        }
        assert!(board.hold(key(2)) && board.hold(key(2)) && !board.hold(key(9)));
        board.ended(key(1));
        board.ended(key(2));
        let keys =
            || -> Vec<JournalKey> { board.snapshot().journals.iter().map(|it| it.key).collect() };
        let now = Instant::now();
        board.sweep(now);
        assert_eq!(keys(), [key(1), key(2), key(3)]);
        board.sweep(now + 2 * ENDED_KEPT);
        assert_eq!(keys(), [key(2), key(3)]);
        let day = Duration::from_secs(86_400);
        assert!(board.may_delete(key(1), Duration::ZERO));
        assert!(!board.may_delete(key(2), 6 * day) && board.may_delete(key(2), 7 * day));
        board.release(key(2));
        assert!(!board.may_delete(key(2), Duration::ZERO));
        board.release(key(2));
        assert!(board.may_delete(key(2), Duration::ZERO));
        // A consumer that starts may need any.
        board.await_consumer();
        assert!(!board.may_delete(key(1), Duration::ZERO) && !board.may_delete(key(9), 6 * day));
        board.consumer_is_ready();
        assert!(board.may_delete(key(9), Duration::ZERO));
        board.sweep(now + 2 * ENDED_KEPT);
        assert_eq!(keys(), [key(3)]);
        board.deleted(key(3));
        board.deleted(key(3));
        assert_eq!(keys(), []);
    }

    /// The budget: 256 KiB for two thousand streams.
    #[test]
    fn two_thousand_journals_need_little_memory() {
        let board = Board::new(Path::new("/out"));
        let shared = folder();
        // The recorder shares the folder's name.
        for n in 0..2000 {
            board.open(key(n * 7919 % 2000), &shared, 0, 0, 0);
        }
        let inner = board.lock();
        assert_eq!(inner.journals.len(), 2000);
        let bytes = inner.journals.capacity() * size_of::<Journal>()
            + inner.changes.capacity() * size_of::<(u64, JournalKey)>();
        assert!(bytes <= 256 << 10, "{bytes} bytes");
    }
}
