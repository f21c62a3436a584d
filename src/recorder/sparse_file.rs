//! A binary file written at given offsets, so that silence can be a hole.
//!
//! Every byte has its offset before it is written: a failed write is repeated at the same offset,
//! and overwrites a torn one. The file format is the caller's concern.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::fstat;

use super::append_file::{FILE_MODE, make_folder};
use super::sync_targets::SyncTargets;

/// A buffer larger than this is freed once it is empty.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// A file, and the bytes that wait to be written to it.
#[derive(Debug)]
pub struct SparseFile {
    path: PathBuf,
    /// Shared with the thread that syncs it.
    file: Option<Arc<File>>,
    /// Offset of the next byte.
    end: u64,
    waiting: Vec<u8>,
    /// Start of each contiguous stretch in `waiting`, and its offset in the file.
    stretches: Vec<(usize, u64)>,
    /// The new content of the header, if it waits to be written.
    header: Option<Vec<u8>>,
    is_unsynced: bool,
}

impl SparseFile {
    /// A file whose first `end` bytes are written already, or are a header to be written later.
    pub fn new(path: PathBuf, end: u64) -> SparseFile {
        SparseFile {
            path,
            file: None,
            end,
            waiting: Vec::new(),
            stretches: Vec::new(),
            header: None,
            is_unsynced: false,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length, once everything is written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether anything waits to be written.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.header.is_some()
    }

    /// Skips `bytes` bytes; they read as zeros.
    pub fn skip(&mut self, bytes: u64) {
        self.end += bytes;
    }

    /// The buffer to which exactly `bytes` bytes are to be appended, at the end of the file.
    pub fn grow(&mut self, bytes: usize) -> &mut Vec<u8> {
        let from = self.waiting.len();
        let follows = self
            .stretches
            .last()
            .is_some_and(|(at, offset)| offset + (from - at) as u64 == self.end);
        if !follows {
            self.stretches.push((from, self.end));
        }
        self.end += bytes as u64;
        &mut self.waiting
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).extend_from_slice(bytes);
    }

    /// Replaces the first bytes of the file at the next write.
    pub fn set_header(&mut self, header: Vec<u8>) {
        self.header = Some(header);
    }

    /// Writes everything that waits: one call per contiguous stretch. After an error it still
    /// waits.
    pub fn write(&mut self) -> io::Result<()> {
        if !self.is_waiting() {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(Arc::new(open(&self.path)?)),
        };
        for (n, (from, offset)) in self.stretches.iter().enumerate() {
            let to = self.stretches.get(n + 1).map(|(at, _)| *at);
            let to = to.unwrap_or(self.waiting.len());
            file.write_all_at(&self.waiting[*from..to], *offset)?;
        }
        if let Some(header) = &self.header {
            file.write_all_at(header, 0)?;
        }
        self.header = None;
        self.stretches.clear();
        self.waiting.clear();
        if self.waiting.capacity() > BUFFER_KEPT_BYTES {
            self.waiting = Vec::new();
        }
        self.is_unsynced = true;
        Ok(())
    }

    /// Adds what must be synced for everything written so far, and from then on treats it as synced.
    pub fn take_unsynced(&mut self, targets: &mut SyncTargets) {
        if std::mem::take(&mut self.is_unsynced) {
            match &self.file {
                Some(file) => targets.add_file(file),
                None => targets.add_closed(self.path.clone()),
            }
        }
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        self.is_unsynced = false;
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Whether the open file was deleted, so that writes to it are lost.
    pub fn is_removed(&self) -> io::Result<bool> {
        match &self.file {
            Some(file) => Ok(fstat(&**file)?.st_nlink == 0),
            None => Ok(false),
        }
    }

    /// Reads from an offset to the end of the open file; empty if that is more than `bytes_max`.
    pub fn read_from(&self, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.end.saturating_sub(offset);
        let (Some(file), true) = (&self.file, bytes <= bytes_max) else {
            return Ok(Vec::new());
        };
        let mut content = vec![0; bytes as usize];
        file.read_exact_at(&mut content, offset)?;
        Ok(content)
    }

    /// Whether the file is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Closes the descriptor; the next write opens the file again. What was written still has to be
    /// synced.
    pub fn close(&mut self) {
        self.file = None;
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
            self.stretches = Vec::new();
        }
    }

    /// Drops everything that waits.
    pub fn discard(&mut self) {
        self.close();
        self.is_unsynced = false;
        self.header = None;
        self.waiting = Vec::new();
        self.stretches = Vec::new();
    }
}

/// Opens or creates a file for writing, and its folder.
fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn holes_are_zeros_and_a_failed_write_is_repeated() {
        let folder = scratch("placed");
        let path = folder.join("sub/x");
        // A file where the folder should be.
        std::fs::write(folder.join("sub"), "in the way").expect("writable");
        let mut file = SparseFile::new(path.clone(), 4);
        file.push(b"ab");
        file.skip(3);
        file.push(b"cd");
        file.push(b"ef");
        file.set_header(b"HEAD".to_vec());
        assert!(file.write().is_err());
        assert!(file.is_waiting());
        std::fs::remove_file(folder.join("sub")).expect("removable");
        file.write().expect("writable again");
        assert!(!file.is_waiting());
        assert_eq!(std::fs::read(&path).expect("readable"), b"HEADab\0\0\0cdef");
        file.close();
        file.push(b"g");
        file.write().expect("writable");
        assert_eq!(file.end(), 14);
        assert!(std::fs::read(&path).expect("readable").ends_with(b"efg"));
    }
}
