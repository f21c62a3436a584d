//! What of a stream has to be synced so that a power cut does not take it: open files, files by their
//! names, and folders.
//!
//! It is gathered by the thread that writes, and synced by another one, which may wait for the disk.

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

    /// Adds a file that is not open. One that is gone when its turn comes needs no sync.
    pub fn add_closed(&mut self, path: PathBuf) {
        self.closed.push(path);
    }

    /// Adds a folder in which names are new.
    pub fn add_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// Syncs files first, and the folders with their names after them. `false` when it was cut short:
    /// before each call into the disk `goes_on` is asked.
    ///
    /// # Errors
    /// The first call that failed; those after it are not made.
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
