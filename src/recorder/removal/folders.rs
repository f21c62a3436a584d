//! Folders by their descriptors: no link is followed, and nothing outside the output folder is touched
//! whatever is put into it meanwhile.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::place::StreamPlace;
use super::tombstone::Part;

/// Folders in folders that are deleted; ours are one level deep.
const DEPTH_MAX: usize = 8;
/// As the recorder makes them.
const FOLDER_MODE: u32 = 0o750;

/// Whether a removal is to be interrupted. Asked before each file.
pub type IsStopping<'a> = &'a dyn Fn() -> bool;

/// What a stream takes on the disk: files, and allocated bytes, which a sparse file has less of than its
/// length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// The sizes of a stream's parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Sound.
    pub audio: Size,
    /// Cameras and the shared screen.
    pub video: Size,
    /// Text, and the folder itself.
    pub rest: Size,
}

impl Sizes {
    /// That of a part, or of all of them.
    pub fn of(&self, part: Part) -> Size {
        match part {
            Part::Audio => self.audio,
            Part::Video => self.video,
            Part::All => {
                let mut all = self.rest;
                all.add(self.audio);
                all.add(self.video);
                all
            }
        }
    }
}

/// The part that a file or folder in a stream's folder belongs to, besides [`Part::All`].
pub fn part_of(name: &str) -> Option<Part> {
    let is_of = |kind: &str| {
        let rest = name.strip_prefix(kind);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    if name.starts_with("audio-") {
        Some(Part::Audio)
    } else if is_of("video") || is_of("share") {
        Some(Part::Video)
    } else {
        None
    }
}

/// What a part's folder in the stream's folder is called while it is removed.
pub(super) fn hidden_part(part: Part) -> String {
    format!(".removing-{}", part.name())
}

/// The output folder, which may be reached by a link: the operator named it.
pub(super) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

/// A folder in another one. A link is an error.
pub(super) fn open_in(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// The folder of a stream's meeting.
pub(super) fn open_meeting(root: &Path, place: &StreamPlace) -> io::Result<OwnedFd> {
    let day = open_in(open_root(root)?, place.day())?;
    open_in(day, place.meeting())
}

/// The names in a folder, and which of them are folders.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    let mut inside = Dir::read_from(&folder)?;
    while let Some(entry) = inside.read() {
        let entry = entry?;
        let name = entry.file_name();
        // Names that are no text are not ours.
        if let Some(name) = own_name(name).and_then(|name| name.to_str().ok()) {
            let kind = match entry.file_type() {
                FileType::Unknown => kind(stat(&folder, entry.file_name())?),
                kind => kind,
            };
            names.push((name.to_owned(), kind == FileType::Directory));
        }
    }
    Ok(names)
}

fn own_name(name: &CStr) -> Option<&CStr> {
    let is_own = !matches!(name.to_bytes(), b"." | b"..");
    is_own.then_some(name)
}

fn stat(folder: impl AsFd, name: &CStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn kind(stat: Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Allocated bytes.
pub(super) fn allocated(stat: &Stat) -> u64 {
    // Units of 512 bytes, whatever the file system's blocks are.
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

/// The sizes of a stream's parts; `None` if its folder is not there.
pub fn measure(root: &Path, place: &StreamPlace) -> io::Result<Option<Sizes>> {
    let opened = open_meeting(root, place).and_then(|meeting| open_in(meeting, place.stream()));
    let Some(folder) = found(opened)? else {
        return Ok(None);
    };
    let mut sizes = Sizes::default();
    sizes.rest.bytes = allocated(&rustix::fs::fstat(&folder)?);
    let mut inside = Dir::read_from(&folder)?;
    while let Some(entry) = inside.read() {
        let entry = entry?;
        let Some(name) = own_name(entry.file_name()) else {
            continue;
        };
        let size = size_of(&folder, name, DEPTH_MAX)?;
        match name.to_str().ok().and_then(part_of) {
            Some(Part::Audio) => sizes.audio.add(size),
            Some(Part::Video) => sizes.video.add(size),
            _ => sizes.rest.add(size),
        }
    }
    Ok(Some(sizes))
}

/// The size of a file, or of a folder with all that is in it. What is gone meanwhile has none.
fn size_of(folder: &OwnedFd, name: &CStr, depth: usize) -> io::Result<Size> {
    let Some(found_stat) = found(stat(folder, name))? else {
        return Ok(Size::default());
    };
    let mut size = Size {
        files: 0,
        bytes: allocated(&found_stat),
    };
    if kind(found_stat) != FileType::Directory {
        size.files = 1;
        return Ok(size);
    }
    let name = name.to_str().unwrap_or_default();
    if depth > 0
        && let Some(inner) = found(open_in(folder, name))?
    {
        let mut inside = Dir::read_from(&inner)?;
        while let Some(entry) = inside.read() {
            let entry = entry?;
            if let Some(name) = own_name(entry.file_name()) {
                size.add(size_of(&inner, name, depth - 1)?);
            }
        }
    }
    Ok(size)
}

/// Takes a part of a stream out of sight in one step, or nearly: it gets a hidden name, under which it is
/// deleted later. Takes no time that depends on how large it is. `false` if there was nothing.
///
/// To be called where no other thread writes to the stream's folder.
///
/// # Errors
/// What the file system says. Something may be out of sight then; the next call goes on.
pub fn detach(root: &Path, place: &StreamPlace, part: Part) -> io::Result<bool> {
    let Some(meeting) = found(open_meeting(root, place))? else {
        return Ok(false);
    };
    if part == Part::All {
        let hidden = place.hidden();
        let renamed = rustix::fs::renameat(&meeting, place.stream(), &meeting, hidden.as_str());
        return Ok(found(renamed.map_err(io::Error::from))?.is_some());
    }
    let Some(folder) = found(open_in(&meeting, place.stream()))? else {
        return Ok(false);
    };
    let mut own = names(&folder)?;
    own.retain(|(name, _)| part_of(name) == Some(part));
    if own.is_empty() {
        return Ok(false);
    }
    let hidden = hidden_part(part);
    match rustix::fs::mkdirat(&folder, hidden.as_str(), Mode::from_raw_mode(FOLDER_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let hidden = open_in(&folder, &hidden)?;
    for (name, _) in own {
        let renamed = rustix::fs::renameat(&folder, name.as_str(), &hidden, name.as_str());
        found(renamed.map_err(io::Error::from))?;
    }
    Ok(true)
}

/// Whether something that was detached is there still.
pub(super) fn is_detached(root: &Path, place: &StreamPlace, part: Part) -> io::Result<bool> {
    Ok(found(open_hidden(root, place, part))?.is_some())
}

/// Deletes what was detached, and then the folder of the meeting if nothing else is in it. When this
/// returns, the disk has it.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::Interrupted`] if it is to stop. The next call goes on.
pub(super) fn delete_detached(
    root: &Path,
    place: &StreamPlace,
    part: Part,
    is_stopping: IsStopping<'_>,
) -> io::Result<()> {
    let Some(meeting) = found(open_meeting(root, place))? else {
        return Ok(());
    };
    if part != Part::All {
        let Some(folder) = found(open_in(&meeting, place.stream()))? else {
            return Ok(());
        };
        delete_tree(&folder, &hidden_part(part), DEPTH_MAX, is_stopping)?;
        return sync(&folder);
    }
    delete_tree(&meeting, &place.hidden(), DEPTH_MAX, is_stopping)?;
    sync(&meeting)?;
    let day = open_in(open_root(root)?, place.day())?;
    // Others may be in it.
    let _ = rustix::fs::unlinkat(&day, place.meeting(), AtFlags::REMOVEDIR);
    Ok(())
}

fn open_hidden(root: &Path, place: &StreamPlace, part: Part) -> io::Result<OwnedFd> {
    let meeting = open_meeting(root, place)?;
    match part {
        Part::All => open_in(meeting, &place.hidden()),
        part => open_in(open_in(meeting, place.stream())?, &hidden_part(part)),
    }
}

/// Syncs the folder in which something was detached, if it is there.
pub(super) fn sync_above(root: &Path, place: &StreamPlace, part: Part) -> io::Result<()> {
    let folder = open_meeting(root, place).and_then(|meeting| match part {
        Part::All => Ok(meeting),
        _ => open_in(meeting, place.stream()),
    });
    found(folder)?.map_or(Ok(()), |folder| sync(&folder))
}

/// Gives a new file to the owner of its folder: a person may run this as root, and the server goes on with
/// the file.
pub(super) fn give_to_owner(file: &File, folder: impl AsFd) -> io::Result<()> {
    let (own, wanted) = (rustix::fs::fstat(file)?, rustix::fs::fstat(folder)?);
    if (own.st_uid, own.st_gid) == (wanted.st_uid, wanted.st_gid) || own.st_uid != 0 {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}

/// Syncs a folder: the names in it.
pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        // Some file systems cannot sync a folder.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a folder and all that is in it. What is gone already is no error.
fn delete_tree(
    parent: &OwnedFd,
    name: &str,
    depth: usize,
    is_stopping: IsStopping<'_>,
) -> io::Result<()> {
    let Some(folder) = found(open_in(parent, name))? else {
        return Ok(());
    };
    // File systems may pass over names while others are deleted.
    loop {
        let mut count = 0_u64;
        let mut inside = Dir::read_from(&folder)?;
        while let Some(entry) = inside.read() {
            let entry = entry?;
            let Some(name) = own_name(entry.file_name()) else {
                continue;
            };
            if is_stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            count += 1;
            delete_entry(&folder, name, depth, is_stopping)?;
        }
        if count == 0 {
            break;
        }
    }
    let deleted = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    found(deleted.map_err(io::Error::from)).map(drop)
}

fn delete_entry(
    folder: &OwnedFd,
    name: &CStr,
    depth: usize,
    is_stopping: IsStopping<'_>,
) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A folder: Linux says the first, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match name.to_str() {
        Ok(name) if depth > 0 => delete_tree(folder, name, depth - 1, is_stopping),
        _ => Err(io::Error::other("a folder in it is not ours")),
    }
}

/// `None` for what does not exist.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
