//! Removing a stream's files, or its sound or pictures, so that a crash at any moment leaves nothing
//! half done for ever.
//!
//! 1. A tombstone says that the removal begins: ids, dates and the reason, in the day's
//!    [`removed.jsonl`](tombstones), synced.
//! 2. The files get a hidden name, in one step and by the thread that writes below `RTMS_OUT`, which
//!    knows whether the stream lives again. From then on readers find nothing.
//! 3. They are deleted, which may take long.
//! 4. A second line says that nothing is left.
//!
//! What is between 1 and 4 when the process ends is completed by [`complete_day`]. Nothing here follows
//! a link, and no name from a file is a path: see [`StreamPlace`].

pub mod folders;
pub mod place;
pub mod tombstone;
pub mod tombstones;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use folders::{IsStopping, found};
pub use place::StreamPlace;
pub use tombstone::{Part, Reason, State, Tombstone};

use super::append_file::create_file;
use super::meta;

/// The next `meta.json` of a stream of which a part is removed.
const META_NEXT: &str = ".meta.json.removed";

/// Who changes the folders of streams. While a server runs, the thread that writes below `RTMS_OUT`.
pub trait FolderOwner: Send + Sync {
    /// See [`folders::detach`]. Nothing is done if the stream lives again.
    ///
    /// # Errors
    /// Why it is still there.
    fn detach(&self, root: &Path, place: &StreamPlace, part: Part) -> io::Result<()>;

    /// See [`publish_meta`]. Nothing is done if the stream lives again.
    ///
    /// # Errors
    /// Why `meta.json` is as before.
    fn publish_meta(&self, root: &Path, place: &StreamPlace, inode: u64) -> io::Result<()>;
}

/// No server runs: the caller holds the lock on the output folder.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl FolderOwner for Alone {
    fn detach(&self, root: &Path, place: &StreamPlace, part: Part) -> io::Result<()> {
        folders::detach(root, place, part).map(drop)
    }

    fn publish_meta(&self, root: &Path, place: &StreamPlace, inode: u64) -> io::Result<()> {
        publish_meta(root, place, inode)
    }
}

/// What a stream's folder is called while it is removed.
pub(super) fn hidden_folder(folder: &Path) -> Option<PathBuf> {
    let name = folder.file_name()?.to_str()?;
    Some(folder.with_file_name(format!("{}{name}", place::HIDDEN)))
}

/// What a folder is called when it is not being removed.
pub(super) fn shown_name(name: &str) -> &str {
    name.strip_prefix(place::HIDDEN).unwrap_or(name)
}

/// Removes what a tombstone describes. Returns it as it is then.
///
/// # Errors
/// Why it is not removed, or not all of it: [`complete_day`] goes on then. It is
/// [`io::ErrorKind::Interrupted`] if it was to stop.
pub fn remove(
    root: &Path,
    tombstone: &Tombstone,
    owner: &dyn FolderOwner,
    is_stopping: IsStopping<'_>,
) -> io::Result<Tombstone> {
    let (place, part) = (&tombstone.place, tombstone.part);
    // What an earlier removal of a stream that lived again left.
    folders::delete_detached(root, place, part, is_stopping)?;
    tombstones::append(root, &tombstone.in_state(State::Removing))?;
    if let Err(error) = owner.detach(root, place, part) {
        if !folders::is_detached(root, place, part)? {
            tombstones::append(root, &tombstone.in_state(State::Kept))?;
        }
        return Err(error);
    }
    finish(root, tombstone, owner, is_stopping)
}

/// Deletes what is detached.
fn finish(
    root: &Path,
    tombstone: &Tombstone,
    owner: &dyn FolderOwner,
    is_stopping: IsStopping<'_>,
) -> io::Result<Tombstone> {
    // Else a power cut could bring the name back to half a folder.
    folders::sync_above(root, &tombstone.place, tombstone.part)?;
    note_in_meta(root, tombstone, owner)?;
    folders::delete_detached(root, &tombstone.place, tombstone.part, is_stopping)?;
    let removed = tombstone.in_state(State::Removed);
    tombstones::append(root, &removed)?;
    Ok(removed)
}

/// Completes what an earlier process began in a day's folder, and returns it. A removal whose files are
/// still in their place is given up: the one who ordered it decides again.
///
/// # Errors
/// The first thing that could not be completed; the others were. [`io::ErrorKind::Interrupted`] if it was
/// to stop.
pub fn complete_day(
    root: &Path,
    day: &str,
    owner: &dyn FolderOwner,
    is_stopping: IsStopping<'_>,
) -> io::Result<Vec<Tombstone>> {
    let mut known = tombstones::of_day(root, day)?;
    known.retain(|it| it.state == State::Removing);
    let (mut completed, mut fault) = (Vec::new(), None);
    for tombstone in known {
        if is_stopping() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match complete(root, &tombstone, owner, is_stopping) {
            Ok(done) => completed.extend(done),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => drop(fault.get_or_insert(error)),
        }
    }
    fault.map_or(Ok(completed), Err)
}

fn complete(
    root: &Path,
    tombstone: &Tombstone,
    owner: &dyn FolderOwner,
    is_stopping: IsStopping<'_>,
) -> io::Result<Option<Tombstone>> {
    let (place, part) = (&tombstone.place, tombstone.part);
    let is_detached = folders::is_detached(root, place, part)?;
    let left = folders::measure(root, place)?;
    // Of a part, nothing may be left because it is deleted, or the whole folder is.
    let is_in_place = left.is_some_and(|left| left.of(part).files > 0 || part == Part::All);
    if is_in_place && !is_detached {
        tombstones::append(root, &tombstone.in_state(State::Kept))?;
        return Ok(None);
    }
    finish(root, tombstone, owner, is_stopping).map(Some)
}

/// Deletes folders that a removal left under their hidden names and of which no tombstone tells: a power
/// cut may bring names back. Returns how many.
///
/// # Errors
/// What the file system says, or [`io::ErrorKind::Interrupted`].
pub fn delete_leftovers(
    root: &Path,
    day: &str,
    meeting: &str,
    is_stopping: IsStopping<'_>,
) -> io::Result<usize> {
    let opened = folders::open_root(root)
        .and_then(|root| folders::open_in(root, day))
        .and_then(|day| folders::open_in(day, meeting));
    let Some(folder) = found(opened)? else {
        return Ok(0);
    };
    let mut count = 0;
    for (name, is_folder) in folders::names(&folder)? {
        let stream = name.strip_prefix(place::HIDDEN).filter(|_| is_folder);
        let place = stream.filter(|_| place::is_hidden(&name));
        let place = place.and_then(|stream| StreamPlace::new(day, meeting, stream));
        if let Some(place) = place {
            folders::delete_detached(root, &place, Part::All, is_stopping)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Has `meta.json` of a stream say that a part of it was removed.
fn note_in_meta(root: &Path, tombstone: &Tombstone, owner: &dyn FolderOwner) -> io::Result<()> {
    let (place, part) = (&tombstone.place, tombstone.part);
    if part == Part::All {
        return Ok(());
    }
    let folder = root.join(place.path());
    let Some(found) = found(fs::metadata(folder.join(meta::FILE_NAME)))? else {
        return Ok(());
    };
    let note = serde_json::json!({
        "removed_ms": tombstone.removed_ms,
        "removed": crate::domain::time::Utc::from_unix_ms(tombstone.removed_ms).to_string(),
        "reason": tombstone.reason.name(),
        "by": tombstone.reason.by(),
        "files": tombstone.files,
        "bytes": tombstone.bytes,
    });
    // What cannot be read is left as it is.
    let Some(text) = meta::with_removed(&folder, part.name(), note)? else {
        return Ok(());
    };
    let mut file = create_file(&folder.join(META_NEXT))?;
    folders::give_to_owner(&file, fs::File::open(&folder)?)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    owner.publish_meta(root, place, found.ino())
}

/// Gives the next `meta.json` its name, unless the present one is not that inode any more.
///
/// To be called where no other thread writes to the stream's folder.
///
/// # Errors
/// What the file system says, or that it has changed.
pub fn publish_meta(root: &Path, place: &StreamPlace, inode: u64) -> io::Result<()> {
    let folder = root.join(place.path());
    let (next, present) = (folder.join(META_NEXT), folder.join(meta::FILE_NAME));
    if fs::metadata(&present)?.ino() != inode {
        let _ = fs::remove_file(next);
        return Err(io::Error::other("meta.json has changed meanwhile"));
    }
    fs::rename(next, present)
}

#[cfg(test)]
mod tests;
