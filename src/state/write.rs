//! Atomic replacement of a file: a crash at any moment leaves the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Error, StateDir, TEMP_PREFIX, is_sealed_file};

/// The steps of a write, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new file is created beside the old one.
    Create,
    /// The content is written to the new file.
    Write,
    /// The new file is synced.
    SyncFile,
    /// The new file is renamed to the old one's name.
    Rename,
    /// The directory is synced.
    SyncDirectory,
}

impl Step {
    /// All steps.
    pub const ALL: [Step; 5] = [
        Step::Create,
        Step::Write,
        Step::SyncFile,
        Step::Rename,
        Step::SyncDirectory,
    ];
}

/// A moment during a write, as its observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the step.
    Before(Step),
    /// After the step.
    After(Step),
}

/// Writes and syncs: by the kernel, or by a test's replacement that counts or fails.
pub(super) trait Disk: Send + Sync {
    /// Writes bytes to the kernel.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Waits until the content and the metadata needed to read it are on the disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The real disk.
pub(super) struct Kernel;

impl Disk for Kernel {}

impl StateDir {
    /// Replaces the file. When this returns, the new content survives a power cut; when it fails,
    /// the old content is still there.
    pub fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.replace_by(&Kernel, name, bytes).map(drop)
    }

    /// As [`write_atomic`](StateDir::write_atomic); the new file stays open, and what is written to it
    /// is appended.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<File, Error> {
        self.replace_by(&Kernel, name, bytes)
    }

    /// As [`write_atomic`](StateDir::write_atomic), with this disk; returns the new file, to which
    /// the caller may append.
    pub(super) fn replace_by(
        &self,
        disk: &dyn Disk,
        name: &str,
        bytes: &[u8],
    ) -> Result<File, Error> {
        let path = self.file(name)?;
        let sealed;
        let bytes = match is_sealed_file(name) {
            true => {
                sealed = self.keys.seal(name, bytes).map_err(|fault| Error::Sealed {
                    path: path.clone(),
                    fault,
                })?;
                &sealed
            }
            false => bytes,
        };
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let temp = self.path.join(format!("{TEMP_PREFIX}{number}-{name}"));
        self.replace_at(disk, &temp, &path, bytes).inspect_err(|_| {
            // What cannot be removed now is removed by the next `open`.
            let _ = fs::remove_file(&temp);
        })
    }

    fn replace_at(
        &self,
        disk: &dyn Disk,
        temp: &Path,
        path: &Path,
        bytes: &[u8],
    ) -> Result<File, Error> {
        let mut file = self.step(Step::Create, || create(temp))?;
        self.step(Step::Write, || {
            disk.write(&mut file, bytes)
                .map_err(|e| Error::io("write", temp, &e))
        })?;
        self.step(Step::SyncFile, || {
            disk.sync(&file).map_err(|e| Error::io("sync", temp, &e))
        })?;
        self.step(Step::Rename, || {
            fs::rename(temp, path).map_err(|e| Error::io("replace", path, &e))
        })?;
        self.step(Step::SyncDirectory, || {
            self.directory
                .sync_all()
                .map_err(|e| Error::io("sync", &self.path, &e))
        })?;
        Ok(file)
    }

    fn step<T>(&self, step: Step, take: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        (self.observer)(Moment::Before(step));
        let taken = take()?;
        (self.observer)(Moment::After(step));
        Ok(taken)
    }
}

fn create(temp: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(temp)
        .map_err(|e| Error::io("create", temp, &e))
}
