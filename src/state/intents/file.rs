//! The file of the intent log: read at the start, appended to, and replaced by checkpoints.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::record::{LINE_BYTES_MAX, Line, parse};
use crate::state::seal::{SealFault, StateKeys};
use crate::state::write::Disk;
use crate::state::{Error, FILE_BYTES_MAX, StateDir};

/// The file's name in the state directory.
pub(super) const NAME: &str = "intents.log";

/// The content of the file at the start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Bodies of the effects since the last checkpoint, oldest first.
    pub(super) effects: Vec<Vec<u8>>,
    /// Unsettled events by id, which is the order in which they were accepted.
    pub(super) events: BTreeMap<u64, Vec<u8>>,
    /// The largest id in the file, or 0.
    pub(super) last_id: u64,
    /// Number of unreadable lines before the last good one.
    pub(super) damaged_lines: u64,
    /// Bytes after the last good line.
    pub(super) torn_bytes: u64,
    /// Whether a line should be encrypted and is not, or is with an earlier key.
    pub(super) is_stale: bool,
}

/// The open file.
pub(super) struct LogFile {
    state: Arc<StateDir>,
    disk: Arc<dyn Disk>,
    file: File,
    /// Length of the whole lines.
    len: u64,
    /// False when it is unknown what is on the disk: the kernel reports a failed fdatasync(2) once,
    /// and marks the pages clean all the same. Then only a new file can be trusted.
    is_trusted: bool,
}

impl LogFile {
    /// Opens or creates the file, and cuts off a torn line at its end.
    pub(super) fn open(
        state: &Arc<StateDir>,
        disk: Arc<dyn Disk>,
    ) -> Result<(LogFile, Content), Error> {
        let path = state.path().join(NAME);
        let opened = OpenOptions::new().read(true).append(true).open(&path);
        let (file, content, len) = match opened {
            Ok(file) => {
                let io = |doing| move |e: io::Error| Error::io(doing, &state.path().join(NAME), &e);
                let (content, good_bytes) =
                    read(&file, state.keys()).map_err(|fault| match fault {
                        ReadFault::Io(error) => io("read")(error),
                        ReadFault::Sealed(fault) => Error::Sealed {
                            path: path.clone(),
                            fault,
                        },
                    })?;
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

    /// Whether lines may be appended; otherwise only [`LogFile::replace`] helps.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Writes lines to the kernel. From then on they survive the end of this process.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        let path = self.state.path().join(NAME);
        // A checkpoint was requested long before this size.
        if self.len + lines.len() as u64 > FILE_BYTES_MAX {
            let full = io::Error::other(format!("it has {FILE_BYTES_MAX} bytes already"));
            return Err(Error::io("append to", &path, &full));
        }
        self.disk.write(&mut self.file, lines).map_err(|e| {
            // Part of the lines may have been written, for instance on a full disk.
            self.is_trusted = self.file.set_len(self.len).is_ok();
            Error::io("append to", &path, &e)
        })?;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Syncs, so that a power cut does not lose what was appended.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.disk.sync(&self.file).map_err(|e| {
            self.is_trusted = false;
            Error::io("sync", &self.state.path().join(NAME), &e)
        })
    }

    /// Replaces the file by one with these lines, synced when this returns.
    pub(super) fn replace(&mut self, lines: &[u8]) -> Result<(), Error> {
        // A failure may come before or after the rename.
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

/// Why the file cannot be read.
enum ReadFault {
    Io(io::Error),
    Sealed(SealFault),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> ReadFault {
        ReadFault::Io(error)
    }
}

/// Reads all lines. Also returns the length up to the end of the last good line.
fn read(file: &File, keys: &StateKeys) -> Result<(Content, u64), ReadFault> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut content = Content::default();
    let (mut line, mut offset, mut good_bytes) = (Vec::new(), 0, 0);
    // Damaged lines since the last good one; they are cut off unless a good one follows.
    let mut damaged_lines = 0;
    while let Some(bytes) = read_line(&mut reader, &mut line)? {
        offset += bytes;
        let Some(parsed) = line.strip_suffix(b"\n").and_then(parse) else {
            damaged_lines += 1;
            continue;
        };
        content.damaged_lines += std::mem::take(&mut damaged_lines);
        good_bytes = offset;
        if let Line::Event { body, .. } | Line::Effect { body, .. } = &parsed {
            content.is_stale |= keys.is_stale_line(body);
        }
        let mut open = |body: &[u8]| match keys.open_line(NAME, body) {
            Ok(body) => Ok(Some(body)),
            // Its checksum is right, so it was written like this, or was changed by hand.
            Err(SealFault::Damaged) => {
                content.damaged_lines += 1;
                Ok(None)
            }
            Err(fault) => Err(ReadFault::Sealed(fault)),
        };
        match parsed {
            Line::Event { id, body } => {
                let body = open(body)?;
                content.last_id = content.last_id.max(id);
                content.events.extend(body.map(|body| (id, body)));
            }
            Line::Effect { settles, body } => {
                let body = open(body)?;
                for id in settles {
                    content.events.remove(&id);
                }
                content.effects.extend(body.filter(|body| !body.is_empty()));
            }
            Line::Unknown => {}
        }
    }
    content.torn_bytes = offset - good_bytes;
    Ok((content, good_bytes))
}

/// Reads the next line with its line break and returns its length. Only the beginning of a line
/// above the limit is kept; rtmsd writes no such line.
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
