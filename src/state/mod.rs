//! The state directory: small files that a restart needs, each replaced atomically.
//!
//! It is private (mode 0700, files 0600) and used by one process at a time. The writers define the
//! content of the files: rotated tokens, active streams, Zoom events. Those with secrets and with what
//! meetings are about can be encrypted, see [`seal`].

pub(crate) mod error;
pub(crate) mod folder_lock;
pub mod intents;
pub mod seal;
pub(crate) mod write;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

pub use error::Error;
use folder_lock::{FolderLock, LockError};
use seal::{SealFault, StateKeys};
pub use write::{Moment, Step};

/// Default of `RTMS_STATE`.
pub const DEFAULT_STATE: &str = "./rtms-state";

/// The lock file; it contains the process id of the process that holds the lock.
const LOCK_NAME: &str = "lock";

/// Prefix of temporary files; `open` deletes those that a crash left.
const TEMP_PREFIX: &str = ".new-";

/// Maximum size that [`StateDir::read`] reads: far above what is written here.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Maximum length of a file name, so that the temporary name still fits into 255 bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// The state directory, locked by this process as long as this value exists.
pub struct StateDir {
    path: PathBuf,
    /// Kept open to be synced, so that renames survive a power cut.
    directory: File,
    /// Held for its lock, which the kernel releases when the process ends for any reason.
    _lock: FolderLock,
    next_temp: AtomicU64,
    keys: StateKeys,
    observer: Box<dyn Fn(Moment) + Send + Sync>,
}

impl StateDir {
    /// Opens or creates the directory, and locks it for this process.
    ///
    /// If others can read the directory, it is made private when it is plainly ours (we own it, and
    /// it is empty or was a state directory before); otherwise it is refused, because changing the
    /// mode of a directory that was named by mistake would do harm.
    pub fn open(path: impl AsRef<Path>) -> Result<StateDir, Error> {
        StateDir::open_sealed(path, StateKeys::default())
    }

    /// As [`open`](StateDir::open), with the keys of encrypted files. Files that should be encrypted and are
    /// not, or are with an earlier key, are written again.
    ///
    /// # Errors
    /// As those of `open`, and: a file is encrypted, and the key is missing or another one. Then nothing was
    /// changed.
    pub fn open_sealed(path: impl AsRef<Path>, keys: StateKeys) -> Result<StateDir, Error> {
        let state = StateDir::open_all(path.as_ref(), keys, Box::new(|_| ()))?;
        let stale = stale_files(&state.path, &state.keys)?;
        for (name, plain) in &stale {
            state.write_atomic(name, plain)?;
        }
        if !stale.is_empty() {
            log::info!(
                "files in the state directory encrypted with the key of RTMS_STATE_KEY_FILE count={}",
                stale.len()
            );
        }
        Ok(state)
    }

    /// As [`open`](StateDir::open), and calls `observer` before and after each step of a write.
    ///
    /// For tests that simulate a crash at such a moment.
    pub fn open_observed(
        path: impl AsRef<Path>,
        observer: impl Fn(Moment) + Send + Sync + 'static,
    ) -> Result<StateDir, Error> {
        StateDir::open_all(path.as_ref(), StateKeys::default(), Box::new(observer))
    }

    fn open_all(
        path: &Path,
        keys: StateKeys,
        observer: Box<dyn Fn(Moment) + Send + Sync>,
    ) -> Result<StateDir, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| Error::io("create", path, &e))?;
        make_private(path)?;
        let lock = take_lock(path)?;
        remove_leftovers(path)?;
        Ok(StateDir {
            directory: File::open(path).map_err(|e| Error::io("open", path, &e))?,
            path: path.to_owned(),
            _lock: lock,
            next_temp: AtomicU64::new(0),
            keys,
            observer,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of the file, or `None` if it does not exist.
    ///
    /// A file larger than [`FILE_BYTES_MAX`] is an error.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        read(&self.path, name, &self.keys)
    }

    /// The keys of encrypted files.
    pub(crate) fn keys(&self) -> &StateKeys {
        &self.keys
    }

    /// The names of the files that begin so, sorted.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        names(&self.path, prefix)
    }

    /// Deletes the file and syncs the directory. A missing file is no error.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.file(name)?;
        match fs::remove_file(&path) {
            Ok(()) => self
                .directory
                .sync_all()
                .map_err(|e| Error::io("sync", &self.path, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove", &path, &e)),
        }
    }

    /// The path of a file, if its name is allowed.
    fn file(&self, name: &str) -> Result<PathBuf, Error> {
        if is_name(name) {
            Ok(self.path.join(name))
        } else {
            Err(Error::Name)
        }
    }
}

impl std::fmt::Debug for StateDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDir")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The content of a file of a state directory, which need not be this process's, or `None` if it does not
/// exist.
pub(crate) fn read(
    directory: &Path,
    name: &str,
    keys: &StateKeys,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(bytes) = read_raw(directory, name)? else {
        return Ok(None);
    };
    let sealed = |fault| Error::Sealed {
        path: directory.join(name),
        fault,
    };
    keys.open(name, bytes).map(Some).map_err(sealed)
}

/// Whether the file is encrypted where there is a key: it has secrets, or says what meetings are about.
/// `intents.log` is encrypted line by line.
pub(crate) fn is_sealed_file(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "refresh_token.json",
        "registry.json",
        "registry-unsynced.json",
        "link-key",
        "admin-token",
        "forgetting.json",
    ];
    NAMES.contains(&name) || name.starts_with("grant-") && name.ends_with(".json")
}

/// The files that should be written again with these keys, with their content.
///
/// # Errors
/// A file cannot be read, or is encrypted with a key that is not among them. A file that was damaged is
/// left to its reader.
pub(crate) fn stale_files(
    directory: &Path,
    keys: &StateKeys,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut stale = Vec::new();
    for name in names(directory, "")?
        .into_iter()
        .filter(|it| is_sealed_file(it))
    {
        // Without a key only an encrypted file is of interest.
        if keys.is_empty() && !seal::is_sealed(&head(&directory.join(&name))?) {
            continue;
        }
        let bytes = read_raw(directory, &name)?.unwrap_or_default();
        let is_stale = keys.is_stale(&bytes);
        match keys.open(&name, bytes) {
            Ok(plain) if is_stale => stale.push((name, plain)),
            Ok(_) | Err(SealFault::Damaged) => {}
            Err(fault) => {
                let path = directory.join(name);
                return Err(Error::Sealed { path, fault });
            }
        }
    }
    Ok(stale)
}

/// The first bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        // A directory, or removed since: its reader says what is wrong.
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

fn read_raw(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = match is_name(name) {
        true => directory.join(name),
        false => return Err(Error::Name),
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &path, &e)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", &path, &e))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path });
    }
    Ok(Some(bytes))
}

/// The names of the files of a state directory that begin so, sorted. It need not be this process that
/// uses the directory.
pub(crate) fn names(path: &Path, prefix: &str) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).map_err(|e| Error::io("list", path, &e))?;
    let names = entries
        .flatten()
        .filter_map(|it| it.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    Ok(names)
}

/// Whether it is one plain component that is neither hidden nor the lock file.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && name != LOCK_NAME
}

/// Checks whether [`StateDir::open`] would accept this directory as it is (`None`), or after making
/// it private (`Some`, with its current mode).
///
/// # Errors
/// Why it would refuse it.
pub fn inspect(path: &Path) -> Result<Option<u32>, Error> {
    let found = fs::metadata(path).map_err(|e| Error::io("look at", path, &e))?;
    if !found.is_dir() {
        return Err(Error::NotDirectory { path: path.into() });
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(Error::NotOurs {
            path: path.into(),
            owner: found.uid(),
            us,
        });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(None);
    }
    // systemd makes a new StateDirectory with mode 0755 unless the unit says otherwise.
    let is_plainly_ours = mode & 0o7022 == 0
        && (path.join(LOCK_NAME).is_file()
            || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()));
    if !is_plainly_ours {
        return Err(Error::NotPrivate {
            path: path.into(),
            mode,
        });
    }
    Ok(Some(mode))
}

fn make_private(path: &Path) -> Result<(), Error> {
    let Some(mode) = inspect(path)? else {
        return Ok(());
    };
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(|e| Error::io("change the mode of", path, &e))?;
    log::info!(
        "state directory {}: had mode {mode:04o}, now 0700",
        path.display()
    );
    Ok(())
}

fn take_lock(directory: &Path) -> Result<FolderLock, Error> {
    let path = directory.join(LOCK_NAME);
    let pid = std::process::id().to_string();
    FolderLock::take(&path, 0o600, &pid).map_err(|error| match error {
        LockError::Held(holder) => Error::InUse {
            path: directory.into(),
            pid: holder.pid,
        },
        LockError::Io(doing, error) => Error::io(doing, &path, &error),
    })
}

/// While the lock is held, a temporary file can only be left from a crash.
fn remove_leftovers(directory: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(|e| Error::io("list", directory, &e))?;
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(TEMP_PREFIX))
        {
            fs::remove_file(entry.path()).map_err(|e| Error::io("remove", &entry.path(), &e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
