//! The state directory: what a restart needs, in small files that are replaced whole or not at all.
//!
//! It is private (mode 0700, files 0600) and belongs to one process at a time. What is in the
//! files is the business of those who write them: rotated tokens, active streams, seen events.

pub(crate) mod error;
pub mod intents;
pub(crate) mod write;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

pub use error::Error;
pub use write::{Moment, Step};

/// `RTMS_STATE` where it is not set.
pub const DEFAULT_STATE: &str = "./rtms-state";

/// The file whose lock says that the directory is taken; it holds the process id of the taker.
const LOCK_NAME: &str = "lock";

/// Files under way begin with this; whatever is left of them after a crash is removed by `open`.
const TEMP_PREFIX: &str = ".new-";

/// The most that [`StateDir::read`] takes in: far above what anyone writes here.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// The longest file name, so that the temporary name still fits into 255 bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// The state directory, held by this process as long as this value lives.
pub struct StateDir {
    path: PathBuf,
    /// Opened once: what a rename did is safe when the directory itself is synced.
    directory: File,
    /// Held for its lock; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
    next_temp: AtomicU64,
    observer: Box<dyn Fn(Moment) + Send + Sync>,
}

impl StateDir {
    /// Opens the directory, making it where it is missing, and takes it for this process.
    ///
    /// A directory that others can read is made private when it is plainly ours (we own it, and
    /// it is empty or was a state directory before); any other is refused, because changing the
    /// mode of a directory that was named by mistake would do harm.
    pub fn open(path: impl AsRef<Path>) -> Result<StateDir, Error> {
        StateDir::open_observed(path, |_| ())
    }

    /// As [`open`](StateDir::open), and tells `observer` before and after each step of a write.
    ///
    /// For tests that stop the world at such a moment.
    pub fn open_observed(
        path: impl AsRef<Path>,
        observer: impl Fn(Moment) + Send + Sync + 'static,
    ) -> Result<StateDir, Error> {
        let path = path.as_ref();
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
            observer: Box::new(observer),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds, or `None` when there is no such file.
    ///
    /// A file larger than [`FILE_BYTES_MAX`] is an error.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(name)?;
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

    /// Removes the file, for good even if power fails at once. A missing file is fine.
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

    /// The path of a file, if the name is one of ours to use.
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

/// One plain component that is neither hidden nor the lock.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && name != LOCK_NAME
}

/// Whether [`StateDir::open`] would take this directory as it is (`None`), or after closing it to
/// others (`Some`, with its mode).
///
/// # Errors
/// Why it would not.
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

fn take_lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Error::io("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The process id is a courtesy to the reader of the message, so failing is fine.
            let _ = file.take(16).read_to_string(&mut text);
            return Err(Error::InUse {
                path: directory.into(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, &e)),
    }
    // As above: nothing depends on what the file says.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// With the lock held, a temporary file is what a crash left behind.
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
