//! A lock on a folder: a file in it that one process holds locked with flock(2), and that names this
//! process.
//!
//! The kernel releases the lock when the process ends, however it ends. On NFS the lock holds between
//! machines, too.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// The files that this process holds locked: device and inode. A process id does not tell that: in
/// containers many processes have the same one.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// Maximum bytes of the file that are read: a process id and the name of a machine, and those of a node.
const TEXT_BYTES_MAX: u64 = 300;

/// A lock, held as long as this value lives.
#[derive(Debug)]
pub struct FolderLock {
    id: (u64, u64),
    _file: File,
}

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its id, if the file names it.
    pub pid: Option<u32>,
    /// Its machine, if the file names it.
    pub host: Option<String>,
    /// Its name in a fleet, if the file names it.
    pub node: Option<String>,
    /// It is this process.
    pub is_us: bool,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// A process holds it.
    Held(LockHolder),
    /// What could not be done with the file, as a verb, and why.
    Io(&'static str, io::Error),
}

impl FolderLock {
    /// Locks the file, which is created with this mode if it does not exist, and writes `text` into it:
    /// the process id, and where they are useful the name of the machine and `node=NAME`.
    ///
    /// # Errors
    /// A process holds it, also this one; or the file system refuses the file or the lock.
    pub fn take(path: &Path, mode: u32, text: &str) -> Result<FolderLock, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .open(path);
        let mut file = file.map_err(|error| LockError::Io("open", error))?;
        let found = file.metadata();
        let found = found.map_err(|error| LockError::Io("look at", error))?;
        let id = (found.dev(), found.ino());
        // A file that is open for writing would keep the file system from being remounted read-only. NFS
        // locks only a file that is.
        let read_only = File::open(path).map_err(|error| LockError::Io("open", error))?;
        let (locked, held_file) = match read_only.try_lock() {
            Err(TryLockError::Error(error)) if is_bad_file(&error) => {
                let own = file.try_clone();
                let own = own.map_err(|error| LockError::Io("open", error))?;
                (own.try_lock(), own)
            }
            locked => (locked, read_only),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // It is only for the message, so a failure is ignored.
                let _ = file.take(TEXT_BYTES_MAX).read_to_string(&mut text);
                let named = |name: &str| {
                    let mut words = text.split_whitespace();
                    words
                        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                        .map(str::to_owned)
                };
                let mut words = text.split_whitespace().filter(|word| !word.contains('='));
                return Err(LockError::Held(LockHolder {
                    pid: words.next().and_then(|word| word.parse().ok()),
                    host: words.next().map(str::to_owned),
                    node: named("node"),
                    is_us: held().contains(&id),
                }));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io("lock", error)),
        }
        // As above: nothing depends on the content.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{text}"));
        held().insert(id);
        Ok(FolderLock {
            id,
            _file: held_file,
        })
    }
}

/// Whether a process holds the lock of that file, which is not changed. One that cannot be read or locked
/// is not held.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // A shared lock, for the blink of an eye: two that look do not see each other.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        held().remove(&self.id);
    }
}

/// EBADF: the descriptor is not of a kind that can be locked.
fn is_bad_file(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BADF)
}

fn held() -> std::sync::MutexGuard<'static, BTreeSet<(u64, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
