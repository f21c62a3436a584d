//! A binary file written at chosen places, so that silence can be a hole.
//!
//! Every byte has its offset before it is written: an attempt that failed is repeated as it was,
//! and what a torn write left behind is written over. What the bytes mean is for others.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::fstat;

use super::append_file::{FILE_MODE, make_folder};

/// A buffer larger than this is given back once it is empty.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// A file, and what waits to be written to it.
#[derive(Debug)]
pub struct SparseFile {
    path: PathBuf,
    file: Option<File>,
    /// Where the next byte goes.
    end: u64,
    waiting: Vec<u8>,
    /// Where in `waiting` a stretch begins, and where in the file it goes.
    stretches: Vec<(usize, u64)>,
    /// The latest content of the head, where it waits.
    head: Option<Vec<u8>>,
    is_unsynced: bool,
}

impl SparseFile {
    /// A file of which the first `end` bytes are there already, or are a head to come.
    pub fn new(path: PathBuf, end: u64) -> SparseFile {
        SparseFile {
            path,
            file: None,
            end,
            waiting: Vec::new(),
            stretches: Vec::new(),
            head: None,
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

    /// Whether something waits to be written.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.head.is_some()
    }

    /// Leaves out so many bytes; they read as zeros.
    pub fn skip(&mut self, bytes: u64) {
        self.end += bytes;
    }

    /// Where to put the next `bytes` bytes, at the end of what is there.
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

    /// Replaces the first bytes of the file with the next write.
    pub fn set_header(&mut self, head: Vec<u8>) {
        self.head = Some(head);
    }

    /// Writes what waits: one call for each stretch without a hole. After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
        if !self.is_waiting() {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path)?),
        };
        for (n, (from, offset)) in self.stretches.iter().enumerate() {
            let to = self.stretches.get(n + 1).map(|(at, _)| *at);
            let to = to.unwrap_or(self.waiting.len());
            file.write_all_at(&self.waiting[*from..to], *offset)?;
        }
        if let Some(head) = &self.head {
            file.write_all_at(head, 0)?;
        }
        self.head = None;
        self.stretches.clear();
        self.waiting.clear();
        if self.waiting.capacity() > BUFFER_KEPT_BYTES {
            self.waiting = Vec::new();
        }
        self.is_unsynced = true;
        Ok(())
    }

    /// Makes what is written survive a power cut.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_unsynced
            && let Some(file) = &self.file
        {
            file.sync_data()?;
        }
        self.synced();
        Ok(())
    }

    /// Notes that the whole file system was synced.
    pub fn synced(&mut self) {
        self.is_unsynced = false;
    }

    /// Whether something written could still be lost in a power cut.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Whether it was removed while it is open: what is written then is in no folder.
    pub fn is_removed(&self) -> io::Result<bool> {
        match &self.file {
            Some(file) => Ok(fstat(file)?.st_nlink == 0),
            None => Ok(false),
        }
    }

    /// What is written from an offset on, while it is open; nothing if that is more than so much.
    pub fn read_from(&self, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.end.saturating_sub(offset);
        let (Some(file), true) = (&self.file, bytes <= bytes_max) else {
            return Ok(Vec::new());
        };
        let mut content = vec![0; bytes as usize];
        file.read_exact_at(&mut content, offset)?;
        Ok(content)
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the descriptor back; the next write opens the file again.
    pub fn close(&mut self) {
        self.file = None;
        self.is_unsynced = false;
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
            self.stretches = Vec::new();
        }
    }

    /// Forgets what waits.
    pub fn discard(&mut self) {
        self.close();
        self.head = None;
        self.waiting = Vec::new();
        self.stretches = Vec::new();
    }
}

/// Opens a file to write, with the folder it is in.
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
    use crate::recorder::tests::scratch;

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
        file.write().expect("the disk is well again");
        assert!(!file.is_waiting());
        assert_eq!(std::fs::read(&path).expect("readable"), b"HEADab\0\0\0cdef");
        file.close();
        file.push(b"g");
        file.write().expect("the disk is well");
        assert_eq!(file.end(), 14);
        assert!(std::fs::read(&path).expect("readable").ends_with(b"efg"));
    }
}
