//! `removed.jsonl` in a day's folder: a line when a removal begins, and one when it is done. It is only
//! appended to, so a crash loses half a line at most.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::folders::{found, give_to_owner, open_in, open_root, sync};
use super::tombstone::{Part, State, Tombstone};
use crate::feed::folders::days;
use crate::recorder::append_file::FILE_MODE;

/// The file's name.
pub const FILE_NAME: &str = "removed.jsonl";

/// A longer file is not ours: ten thousand streams of a day take 8 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The tombstones of a day; none if there is no file.
///
/// # Errors
/// It cannot be read.
pub fn of_day(root: &Path, day: &str) -> io::Result<Vec<Tombstone>> {
    let opened = open_root(root)
        .and_then(|root| open_in(root, day))
        .and_then(|day| open(&day, OFlags::RDONLY));
    let Some(file) = found(opened)? else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Tombstone::parse_all(&bytes, day))
}

/// The whole stream of that kind that was removed last, or is being removed, the newest day first.
pub fn newest(root: &Path, is_meant: impl Fn(&Tombstone) -> bool) -> Option<Tombstone> {
    let mut days = days(root, "0000-00-00");
    days.reverse();
    days.iter().find_map(|day| {
        let known = of_day(root, day).unwrap_or_default();
        let mut known = known.into_iter().rev();
        known.find(|it| it.part == Part::All && it.state != State::Kept && is_meant(it))
    })
}

/// Appends a line. When this returns, it survives a power cut.
///
/// # Errors
/// It may be there in part; the next one begins a line of its own.
pub(crate) fn append(root: &Path, tombstone: &Tombstone) -> io::Result<()> {
    let day = open_in(open_root(root)?, tombstone.place.day())?;
    let mut file = open(&day, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
    let length = file.metadata()?.len();
    let mut line = Vec::new();
    if length == 0 {
        give_to_owner(&file, &day)?;
    } else {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            line.push(b'\n');
        }
    }
    line.extend_from_slice(tombstone.to_line().as_bytes());
    file.write_all(&line)?;
    file.sync_data()?;
    match length {
        0 => sync(&day),
        _ => Ok(()),
    }
}

fn open(day: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let file: File = rustix::fs::openat(day, FILE_NAME, flags, mode)?.into();
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("removed.jsonl is not a file")),
    }
}
