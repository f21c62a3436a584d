//! An append-only file that contains only whole records.
//!
//! Records are collected in chunks; a chunk ends where a record ends. If the disk cannot write a
//! whole chunk, the file is cut back to the end of the last chunk and the chunk stays in memory. A
//! torn record at the end of a file (after a crash or a power cut) is cut off when the file is
//! opened again.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memchr_iter;
use rustix::fs::fstat;

use super::sync_targets::SyncTargets;

/// A chunk is closed once it has this many bytes. On a disk with little room left, what fits is
/// written in steps of this size.
const CHUNK_BYTES: usize = 64 << 10;

/// Initial capacity for one record.
const RECORD_BYTES: usize = 512;

/// A buffer filled with less than this is freed after the write, so that one memory block serves
/// many files.
const FLOOD_BYTES: usize = 4 << 10;

/// How many bytes at the end of a file are searched for the last whole record. A record is a
/// phrase.
const TAIL_BYTES: u64 = 64 << 10;

/// File mode of transcripts: readable by the daemon's user and group only.
pub(super) const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// One append-only file.
#[derive(Debug)]
pub struct AppendFile {
    /// Shared by the files of a stream.
    folder: Arc<Path>,
    name: &'static str,
    /// First bytes of an empty file; ends with the terminator.
    header: &'static str,
    /// Last bytes of every record; they do not occur within one.
    terminator: &'static [u8],
    /// Shared with the thread that syncs it.
    file: Option<Arc<File>>,
    bytes: u64,
    /// Length of the file when it was last found in its folder.
    seen_bytes: u64,
    /// Closed chunks, if more waits than one write call writes.
    closed: VecDeque<Vec<u8>>,
    /// The chunk to which records are added.
    chunk: Vec<u8>,
    is_unsynced: bool,
    /// The file was created, and a power cut could still lose its name.
    is_name_unsynced: bool,
    /// Part of a chunk is there that could not be taken back: how long the file is without it.
    cut_to: Option<u64>,
    /// It was removed and made again since this was asked last.
    is_recreated: bool,
}

impl AppendFile {
    /// The file is opened at the first write. `name` may contain a subfolder.
    pub fn new(
        folder: &Arc<Path>,
        name: &'static str,
        header: &'static str,
        terminator: &'static str,
    ) -> AppendFile {
        AppendFile {
            folder: Arc::clone(folder),
            name,
            header,
            terminator: terminator.as_bytes(),
            file: None,
            bytes: 0,
            seen_bytes: 0,
            closed: VecDeque::new(),
            chunk: Vec::new(),
            is_unsynced: false,
            is_name_unsynced: false,
            cut_to: None,
            is_recreated: false,
        }
    }

    /// Cuts a torn record off the end of a file that an earlier process left. To be called even if
    /// nothing more will be written, because the stream may be over.
    pub fn truncate_torn_tail(&mut self) -> io::Result<()> {
        match self.file.is_none() && self.path().exists() {
            true => self.open(),
            false => Ok(()),
        }
    }

    /// Number of whole lines in the file, for files whose records are lines.
    ///
    /// # Errors
    /// If the file does not exist or cannot be read.
    pub fn count_lines(&self) -> io::Result<u64> {
        let mut file = File::open(self.path())?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut count = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(count),
                bytes => count += memchr_iter(b'\n', &buffer[..bytes]).count() as u64,
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// The buffer to which the next record is to be appended as a whole.
    pub fn record_buf(&mut self) -> &mut Vec<u8> {
        if self.chunk.len() >= CHUNK_BYTES {
            let next = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
            let closed = std::mem::replace(&mut self.chunk, next);
            self.closed.push_back(closed);
        }
        if self.chunk.is_empty() {
            self.chunk.reserve(RECORD_BYTES);
        }
        &mut self.chunk
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.closed.iter().map(Vec::len).sum::<usize>() + self.chunk.len()
    }

    /// How long the file is, with what this process wrote; 0 before the first write.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes everything that waits. After an error the file is unchanged and everything still
    /// waits.
    pub fn write(&mut self) -> io::Result<()> {
        self.write_with(|_| ())
    }

    /// The same, and calls `prepare` with each chunk right before it is written, to change it in
    /// place. After an error it is called again with the same chunk.
    pub fn write_with(&mut self, mut prepare: impl FnMut(&mut [u8])) -> io::Result<()> {
        while let Some(mut chunk) = self.closed.pop_front() {
            prepare(&mut chunk);
            if let Err(error) = self.write_chunk(&chunk) {
                self.closed.push_front(chunk);
                return Err(error);
            }
        }
        if self.chunk.is_empty() {
            return Ok(());
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        prepare(&mut chunk);
        let written = self.write_chunk(&chunk);
        // A flood fills its buffer, so the buffer is kept for the next write. A buffer that one
        // long record made large is not kept.
        let is_filled = chunk.len() >= FLOOD_BYTES && chunk.capacity() <= 4 * chunk.len();
        if written.is_err() {
            self.chunk = chunk;
        } else if is_filled && chunk.capacity() <= 2 * CHUNK_BYTES {
            chunk.clear();
            self.chunk = chunk;
        }
        written
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.open()?;
        let Some(file) = &self.file else {
            return Ok(());
        };
        match (&**file).write_all(chunk) {
            Ok(()) => {
                self.bytes += chunk.len() as u64;
                self.is_unsynced = true;
                Ok(())
            }
            Err(error) => {
                // Part of the chunk may have been written. set_len only frees room, so it works on
                // a full disk; if it fails, the file is reopened and cut back then.
                if file.set_len(self.bytes).is_err() {
                    self.file = None;
                    self.cut_to = Some(self.bytes);
                }
                Err(error)
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let (file, whole, mut bytes) = self.open_path()?;
        // Whole records of a chunk that is written again would be there twice.
        if let Some(cut) = self.cut_to.filter(|cut| *cut < bytes) {
            file.set_len(cut)?;
            bytes = cut;
        }
        self.cut_to = None;
        self.is_name_unsynced |= whole == 0;
        (self.bytes, self.seen_bytes) = (bytes, bytes);
        self.file = Some(Arc::new(file));
        Ok(())
    }

    /// Opens or creates the file in its folder. Returns the length of its whole records, and its
    /// length with the header.
    fn open_path(&self) -> io::Result<(File, u64, u64)> {
        let path = self.path();
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(&path)?;
        let whole = whole_bytes(&mut file, self.terminator)?;
        if whole < file.metadata()?.len() {
            file.set_len(whole)?;
        }
        if whole > 0 || self.header.is_empty() {
            return Ok((file, whole, whole));
        }
        if let Err(error) = file.write_all(self.header.as_bytes()) {
            let _ = file.set_len(0);
            return Err(error);
        }
        Ok((file, whole, self.header.len() as u64))
    }

    /// Checks that the file is still in its folder. Returns the device number of its file system if
    /// anything was written since the last sync.
    ///
    /// A deleted file is created again with everything written since the last check; the open
    /// descriptor of the old file still allows reading it.
    pub fn verify_linked(&mut self) -> io::Result<Option<u64>> {
        let (true, Some(file)) = (self.is_unsynced, &self.file) else {
            return Ok(None);
        };
        let found = fstat(&**file)?;
        if found.st_nlink == 0 {
            (&**file).seek(SeekFrom::Start(self.seen_bytes))?;
            let unseen = self.bytes.saturating_sub(self.seen_bytes);
            self.recreate(unseen)?;
        }
        self.seen_bytes = self.bytes;
        Ok(Some(found.st_dev))
    }

    /// Copies the next `unseen` bytes of the old file into a new one. After an error the old file
    /// stays in use.
    fn recreate(&mut self, unseen: u64) -> io::Result<()> {
        let (mut file, whole, bytes) = self.open_path()?;
        let Some(old) = &self.file else {
            return Ok(());
        };
        let copied = match io::copy(&mut (&**old).take(unseen), &mut file) {
            Ok(copied) => copied,
            Err(error) => {
                let _ = file.set_len(whole);
                return Err(error);
            }
        };
        log::warn!(
            "file was deleted, recreating it path={}",
            self.path().display()
        );
        self.bytes = bytes + copied;
        self.is_recreated = true;
        self.is_name_unsynced |= whole == 0;
        self.file = Some(Arc::new(file));
        Ok(())
    }

    /// Adds what must be synced for everything written so far, and from then on treats it as synced.
    /// Returns whether the file's name is new, so that its folder must be synced too.
    pub fn take_unsynced(&mut self, targets: &mut SyncTargets) -> io::Result<bool> {
        self.give_back();
        self.verify_linked()?;
        if std::mem::take(&mut self.is_unsynced)
            && let Some(file) = &self.file
        {
            targets.add_file(file);
        }
        Ok(std::mem::take(&mut self.is_name_unsynced))
    }

    /// Frees the buffers. A sync comes seconds after a write, so a flood may be over by then.
    fn give_back(&mut self) {
        if self.waiting() == 0 {
            self.closed = VecDeque::new();
            self.chunk = Vec::new();
        }
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        self.give_back();
        self.is_unsynced = false;
        self.is_name_unsynced = false;
    }

    /// Whether something written could still be lost in a power cut.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Whether the file was removed and made again since this was asked last.
    pub fn take_recreated(&mut self) -> bool {
        std::mem::take(&mut self.is_recreated)
    }

    /// Drops everything that waits and closes the file.
    pub fn discard(&mut self) {
        self.closed.clear();
        self.chunk.clear();
        self.file = None;
    }
}

/// Creates a folder and its parents, accessible to the daemon's user and group only.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
}

/// Creates a file or empties an existing one; readable by the daemon's user and group only.
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)
}

/// The whole records at the end of a file, at most 64 KiB of them; empty if the file does not
/// exist.
pub fn tail(path: &Path, terminator: &str) -> io::Result<String> {
    tail_of(path, terminator, TAIL_BYTES)
}

/// The same with another limit, in bytes.
pub fn tail_of(path: &Path, terminator: &str, bytes_max: u64) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let whole = whole_bytes(&mut file, terminator.as_bytes())?;
    let from = whole.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(whole - from).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Length of the whole records of a file, found from its end.
fn whole_bytes(file: &mut File, terminator: &[u8]) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let overlap = terminator.len() as u64 - 1;
    while end > 0 {
        let from = end.saturating_sub(TAIL_BYTES);
        let mut bytes = vec![0; (end - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut bytes)?;
        let found = bytes
            .windows(terminator.len())
            .rposition(|window| window == terminator);
        if let Some(at) = found {
            return Ok(from + (at + terminator.len()) as u64);
        }
        if from == 0 {
            break;
        }
        end = from + overlap;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn lines(folder: &Arc<Path>, name: &'static str) -> AppendFile {
        AppendFile::new(folder, name, "", "\n")
    }

    #[test]
    fn records_are_appended_and_a_torn_end_is_cut() {
        let folder = scratch("append-torn");
        let name = "deep/er/x.jsonl";
        let path = folder.join(name);
        let mut file = lines(&folder, name);
        file.record_buf().extend_from_slice(b"one\n");
        file.record_buf().extend_from_slice(b"two\n");
        file.write().expect("writable");
        fs::write(&path, "one\ntwo\nthr").expect("writable");
        let mut again = lines(&folder, name);
        again.record_buf().extend_from_slice(b"three\n");
        again.write().expect("writable");
        assert_eq!(
            fs::read_to_string(&path).expect("readable"),
            "one\ntwo\nthree\n"
        );
        assert_eq!(tail(&path, "\n").expect("readable"), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_torn_end_longer_than_one_read_is_cut_too() {
        let scratch = scratch("append-long");
        let path = scratch.join("x");
        let torn = format!("one\n\n{}", "x".repeat(300_000));
        fs::write(&path, torn).expect("writable");
        let mut file = AppendFile::new(&scratch, "x", "HEAD\n\n", "\n\n");
        file.record_buf().extend_from_slice(b"two\n\n");
        file.write().expect("writable");
        assert_eq!(
            fs::read_to_string(&path).expect("readable"),
            "one\n\ntwo\n\n"
        );
    }

    fn sync(file: &mut AppendFile) -> io::Result<()> {
        let mut targets = SyncTargets::default();
        file.take_unsynced(&mut targets)?;
        targets.sync(&|| true).map(drop)
    }

    #[test]
    fn a_deleted_file_is_recreated_with_what_was_written_since_the_last_check() {
        let scratch = scratch("append-removed");
        let path = scratch.join("sub/x.vtt");
        let text = || fs::read_to_string(&path).expect("readable");
        let mut file = AppendFile::new(&scratch, "sub/x.vtt", "HEAD\n\n", "\n\n");
        let write = |file: &mut AppendFile, n: u32| {
            let record = format!("{n}\n\n");
            file.record_buf().extend_from_slice(record.as_bytes());
            file.write().expect("writable");
        };
        for n in 0..3 {
            write(&mut file, n);
        }
        assert_eq!(text(), "HEAD\n\n0\n\n1\n\n2\n\n");
        sync(&mut file).expect("writable");
        write(&mut file, 3);
        fs::remove_dir_all(path.parent().expect("a folder")).expect("removable");
        write(&mut file, 4);
        sync(&mut file).expect("writable");
        assert_eq!(text(), "HEAD\n\n3\n\n4\n\n");
        write(&mut file, 5);

        // As long as it cannot be created, the data stays in the old file.
        let folder = path.parent().expect("a folder");
        fs::remove_dir_all(folder).expect("removable");
        fs::write(folder, "in the way").expect("writable");
        write(&mut file, 6);
        assert!(sync(&mut file).is_err());
        assert!(file.is_unsynced());
        fs::remove_file(folder).expect("removable");
        write(&mut file, 7);
        sync(&mut file).expect("writable");
        assert_eq!(text(), "HEAD\n\n5\n\n6\n\n7\n\n");
        write(&mut file, 8);
        sync(&mut file).expect("writable");
        assert_eq!(text(), "HEAD\n\n5\n\n6\n\n7\n\n8\n\n");
    }

    #[test]
    fn what_cannot_be_written_stays_in_memory() {
        let folder = scratch("append-wait");
        // A file where the folder should be: writes fail until it is removed.
        fs::write(folder.join("sub"), "in the way").expect("writable");
        let path = folder.join("sub/x");
        let mut file = lines(&folder, "sub/x");
        file.record_buf().extend_from_slice(b"kept\n");
        assert!(file.write().is_err());
        assert_eq!(file.waiting(), 5);
        fs::remove_file(folder.join("sub")).expect("removable");
        file.write().expect("writable again");
        assert_eq!(file.waiting(), 0);
        assert_eq!(fs::read_to_string(&path).expect("readable"), "kept\n");
    }

    #[test]
    fn any_backlog_is_written_in_order_and_its_memory_freed() {
        let folder = scratch("append-much");
        fs::write(folder.join("sub"), "in the way").expect("writable");
        let path = folder.join("sub/x");
        let mut file = lines(&folder, "sub/x");
        let mut expected = String::new();
        while expected.len() < 4 * CHUNK_BYTES {
            let line = format!("{}\n", expected.len());
            file.record_buf().extend_from_slice(line.as_bytes());
            expected.push_str(&line);
        }
        assert!(file.write().is_err());
        file.record_buf().extend_from_slice(b"last\n");
        expected.push_str("last\n");
        assert_eq!(file.waiting(), expected.len());
        fs::remove_file(folder.join("sub")).expect("removable");
        file.write().expect("writable again");
        assert_eq!(fs::read_to_string(&path).expect("readable"), expected);
        sync(&mut file).expect("writable");
        assert_eq!((file.waiting(), file.chunk.capacity()), (0, 0));
        file.write().expect("nothing to write");
        assert_eq!(fs::read_to_string(&path).expect("readable"), expected);
    }

    #[test]
    fn a_full_disk_gets_whole_records_or_none() {
        // The kernel's own full device: every write fails with ENOSPC.
        let mut file = lines(&Path::new("/dev").into(), "full");
        file.record_buf().extend_from_slice(b"kept\n");
        let error = file.write().expect_err("the device is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.waiting(), 5);
    }
}
