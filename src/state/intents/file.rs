//! The file of the intent log: read at the start, appended to, replaced whole.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::record::{LINE_BYTES_MAX, Line, parse};
use crate::state::write::Disk;
use crate::state::{Error, FILE_BYTES_MAX, StateDir};

/// The file's name in the state directory.
pub(super) const NAME: &str = "intents.log";

/// What the file says that an earlier process left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Bodies of the effects since the last checkpoint, oldest first.
    pub(super) effects: Vec<Vec<u8>>,
    /// Events that nothing settled, by id: in the order in which they were accepted.
    pub(super) events: BTreeMap<u64, Vec<u8>>,
    /// The largest id in the file, or 0.
    pub(super) last_id: u64,
    /// Lines between good ones that cannot be read.
    pub(super) damaged_lines: u64,
    /// Bytes after the last good line.
    pub(super) torn_bytes: u64,
}

/// The open file.
pub(super) struct LogFile {
    state: Arc<StateDir>,
    disk: Arc<dyn Disk>,
    file: File,
    /// Up to here there are whole lines.
    len: u64,
    /// Cleared when it is unknown what is on the disk: the kernel reports a failed
    /// fdatasync(2) once, and marks the pages clean all the same. Only a new file is trusted then.
    is_trusted: bool,
}

impl LogFile {
    /// Opens the file, or makes it; cuts off what a crash left of a line.
    pub(super) fn open(
        state: &Arc<StateDir>,
        disk: Arc<dyn Disk>,
    ) -> Result<(LogFile, Content), Error> {
        let path = state.path().join(NAME);
        let opened = OpenOptions::new().read(true).append(true).open(&path);
        let (file, content, len) = match opened {
            Ok(file) => {
                let io = |doing| move |e: io::Error| Error::io(doing, &state.path().join(NAME), &e);
                let (content, good_bytes) = read(&file).map_err(io("read"))?;
                if good_bytes > FILE_BYTES_MAX {
                    return Err(Error::TooLarge { path });
                }
                if content.torn_bytes > 0 {
                    file.set_len(good_bytes).map_err(io("cut"))?;
                    disk.sync(&file).map_err(io("sync"))?;
                }
                (file, content, good_bytes)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = state.replace_by(&*disk, NAME, b"")?;
                (file, Content::default(), 0)
            }
            Err(e) => return Err(Error::io("open", &path, &e)),
        };
        let log_file = LogFile {
            state: Arc::clone(state),
            disk,
            file,
            len,
            is_trusted: true,
        };
        Ok((log_file, content))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether lines may be appended; else only [`LogFile::replace`] helps.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Hands lines to the kernel. They survive the end of this process from here on.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        let path = self.state.path().join(NAME);
        // A checkpoint was asked for long before.
        if self.len + lines.len() as u64 > FILE_BYTES_MAX {
            let full = io::Error::other(format!("it has {FILE_BYTES_MAX} bytes already"));
            return Err(Error::io("append to", &path, &full));
        }
        self.disk.write(&mut self.file, lines).map_err(|e| {
            // Part of the lines may be there, for instance on a full disk.
            self.is_trusted = self.file.set_len(self.len).is_ok();
            Error::io("append to", &path, &e)
        })?;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Waits until all that was appended survives a power cut.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.disk.sync(&self.file).map_err(|e| {
            self.is_trusted = false;
            Error::io("sync", &self.state.path().join(NAME), &e)
        })
    }

    /// Puts a new file in the place of this one, with these lines, on the disk when this returns.
    pub(super) fn replace(&mut self, lines: &[u8]) -> Result<(), Error> {
        // A failure may come before or after the new file has the name.
        self.is_trusted = false;
        self.file = self.state.replace_by(&*self.disk, NAME, lines)?;
        self.len = lines.len() as u64;
        self.is_trusted = true;
        Ok(())
    }

    /// Replaces another file of the state directory.
    pub(super) fn write_snapshot(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.state.replace_by(&*self.disk, name, bytes).map(drop)
    }
}

/// Reads all lines; also how many bytes there are up to the end of the last good one.
fn read(file: &File) -> io::Result<(Content, u64)> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut content = Content::default();
    let (mut line, mut offset, mut good_bytes) = (Vec::new(), 0, 0);
    // Damaged lines that are torn off unless a good one follows.
    let mut damaged_lines = 0;
    while let Some(bytes) = read_line(&mut reader, &mut line)? {
        offset += bytes;
        let Some(parsed) = line.strip_suffix(b"\n").and_then(parse) else {
            damaged_lines += 1;
            continue;
        };
        content.damaged_lines += std::mem::take(&mut damaged_lines);
        good_bytes = offset;
        match parsed {
            Line::Event { id, body } => {
                content.last_id = content.last_id.max(id);
                content.events.insert(id, body.to_vec());
            }
            Line::Effect { settles, body } => {
                for id in settles {
                    content.events.remove(&id);
                }
                if !body.is_empty() {
                    content.effects.push(body.to_vec());
                }
            }
            Line::Unknown => {}
        }
    }
    content.torn_bytes = offset - good_bytes;
    Ok((content, good_bytes))
}

/// The next line with its line break, and how long it is. Of one that is too long, which nobody
/// wrote, only the beginning is kept.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let mut bytes = 0;
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let end = memchr::memchr(b'\n', available).map(|at| at + 1);
        let part = &available[..end.unwrap_or(available.len())];
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len();
        reader.consume(used);
        bytes += used as u64;
        if end.is_some() || used == 0 {
            return Ok((bytes > 0).then_some(bytes));
        }
    }
}
