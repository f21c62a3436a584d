//! An endpoint's file of cursors on the disk: appended to, synced now and then, rewritten when most of
//! it is old.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use super::cursors::{Cursors, push_cursor, push_floor};
use crate::feed::cursor::Cursor;
use crate::state::{self, StateDir};

/// A file that is smaller is not rewritten.
const REWRITE_BYTES_MIN: u64 = 16 << 10;
/// One that is so many times as large as what it needs is.
const REWRITE_FACTOR: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct CursorFile {
    name: String,
    state: Arc<StateDir>,
    file: Option<File>,
    /// Bytes in the file, and after its last rewriting.
    bytes: u64,
    live_bytes: u64,
    is_unsynced: bool,
}

impl CursorFile {
    /// The file of this endpoint.
    pub fn new(state: &Arc<StateDir>, endpoint: &str) -> CursorFile {
        CursorFile {
            name: file_name(endpoint),
            state: Arc::clone(state),
            file: None,
            bytes: 0,
            live_bytes: 0,
            is_unsynced: false,
        }
    }

    /// What it says; `None` if there is no such file.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn load(&self) -> Result<Option<Cursors>, state::Error> {
        let bytes = self.state.read(&self.name)?;
        Ok(bytes.map(|bytes| Cursors::parse(&bytes)))
    }

    /// Replaces it: a floor, and every cursor that is needed.
    ///
    /// # Errors
    /// The old one is still there then.
    pub fn rewrite(&mut self, floor: u64, cursors: &[Cursor]) -> Result<(), state::Error> {
        let mut bytes = Vec::new();
        push_floor(&mut bytes, floor);
        cursors
            .iter()
            .for_each(|cursor| push_cursor(&mut bytes, cursor));
        self.file = None;
        self.state.write_atomic(&self.name, &bytes)?;
        self.bytes = bytes.len() as u64;
        self.live_bytes = self.bytes;
        self.is_unsynced = false;
        Ok(())
    }

    /// Appends what changed.
    ///
    /// # Errors
    /// Nothing or a part is written; the next rewriting repairs it.
    pub fn append(&mut self, cursors: &[Cursor]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(cursors.len() * 40);
        cursors
            .iter()
            .for_each(|cursor| push_cursor(&mut bytes, cursor));
        if self.file.is_none() {
            let path = self.state.path().join(&self.name);
            self.file = Some(OpenOptions::new().append(true).open(path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&bytes)?;
        }
        self.bytes += bytes.len() as u64;
        self.is_unsynced = true;
        Ok(())
    }

    /// Whether most of it is old.
    pub fn is_long(&self) -> bool {
        self.bytes > REWRITE_BYTES_MIN.max(self.live_bytes * REWRITE_FACTOR)
    }

    /// Whether something was appended since the last sync.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Waits until the disk has it.
    ///
    /// # Errors
    /// Of the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.is_unsynced) {
            file.sync_data()?;
        }
        self.is_unsynced = false;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// It is still there then.
    pub fn remove(state: &StateDir, endpoint: &str) -> Result<(), state::Error> {
        state.remove(&file_name(endpoint))
    }
}

/// Its name in the state directory.
pub(super) fn file_name(endpoint: &str) -> String {
    format!("push-{endpoint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn p5_the_file_is_rewritten_at_four_times_what_it_needs() {
        let folder = scratch("cursor-file");
        let state = StateDir::open(folder.join("state")).map(Arc::new);
        let state = state.expect("a directory");
        let mut file = CursorFile::new(&state, "crm");
        assert_eq!(file.load().expect("readable"), None);
        let at = |n: u64, seq: u64| Cursor {
            key: format!("{n:016x}").parse().expect("a key"),
            seq,
            offset: seq * 635,
        };
        let cursors: Vec<Cursor> = (0..1000).map(|n| at(n, 1)).collect();
        file.rewrite(7, &cursors).expect("a disk");
        let live = file.bytes;
        let mut times = 0;
        while !file.is_long() {
            times += 1;
            let moved: Vec<Cursor> = (0..1000).map(|n| at(n, 1 + times)).collect();
            file.append(&moved).expect("a disk");
        }
        assert!((3..=4).contains(&times), "{times}");
        assert!(file.is_unsynced());
        file.sync().expect("a disk");
        let found = file.load().expect("readable").expect("a file");
        assert_eq!((found.floor, found.places.len()), (7, 1000));
        assert!(found.places.values().all(|cursor| cursor.seq == 1 + times));
        // A stream that has ended and is delivered leaves it.
        file.rewrite(8, &cursors[..1]).expect("a disk");
        assert!(file.bytes < live / 100 && !file.is_long());
        let found = file.load().expect("readable").expect("a file");
        assert_eq!((found.floor, found.places.len()), (8, 1));
        CursorFile::remove(&state, "crm").expect("a disk");
        assert_eq!(file.load().expect("readable"), None);
    }
}
