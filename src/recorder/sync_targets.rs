//! The list of what must be synced for a stream so that a power cut loses nothing: open files, files by
//! name, and folders.
//!
//! The thread that writes makes the list; the sync thread, which may wait for the disk, works it off.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files and folders to sync.
#[derive(Debug, Default)]
pub struct SyncTargets {
    files: Vec<Arc<File>>,
    closed: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl SyncTargets {
    /// Adds an open file.
    pub fn add_file(&mut self, file: &Arc<File>) {
        self.files.push(Arc::clone(file));
    }

    /// Adds a file that is not open. If it no longer exists at the time of the sync, it needs none.
    pub fn add_closed(&mut self, path: PathBuf) {
        self.closed.push(path);
    }

    /// Adds a folder that has new names.
    pub fn add_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// Syncs the files first, then the folders with their names. Before each call, `goes_on` is asked
    /// whether to continue; returns `false` if it said no.
    ///
    /// # Errors
    /// The first call that failed; the calls after it are not made.
    pub fn sync(&self, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        for file in &self.files {
            if !goes_on() {
                return Ok(false);
            }
            file.sync_data()?;
        }
        for path in &self.closed {
            if !goes_on() {
                return Ok(false);
            }
            match File::open(path) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for path in &self.folders {
            if !goes_on() {
                return Ok(false);
            }
            File::open(path)?.sync_all()?;
        }
        Ok(true)
    }
}
