//! What is recorded and how much space it takes. Folders are read, and of the files `meta.json` alone.
//!
//! Days whose streams have all ended are looked at once an hour; what has not changed is not measured
//! again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::plan::Stream;
use crate::domain::time::Utc;
use crate::recorder::catalog::Recording;
use crate::recorder::removal::folders::{IsStopping, measure};
use crate::recorder::removal::place::{StreamPlace, is_day};
use crate::recorder::removal::tombstone::Part;
use crate::recorder::removal::{FolderOwner, Tombstone, complete_day, delete_leftovers};

/// How often days are looked at whose streams have ended.
const SETTLED_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// The recordings below one output folder.
#[derive(Debug, Default)]
pub struct Inventory {
    days: BTreeMap<String, Day>,
    /// Files beside the days' folders.
    other_bytes: u64,
}

#[derive(Debug, Default)]
struct Day {
    streams: Vec<Known>,
    /// Everything that belongs to no stream.
    other_bytes: u64,
    read_ms: u64,
}

#[derive(Debug, Clone)]
struct Known {
    stream: Stream,
    /// When names in its folder changed last.
    changed: (i64, i64),
}

/// What a look has found besides streams.
#[derive(Debug, Default)]
pub struct Look {
    /// Removals of an earlier process that were completed.
    pub completed: Vec<Tombstone>,
    /// What could not be read or completed; the rest was.
    pub fault: Option<io::Error>,
}

impl Look {
    fn failed(&mut self, error: io::Error) -> io::Result<()> {
        if error.kind() == io::ErrorKind::Interrupted {
            return Err(error);
        }
        self.fault.get_or_insert(error);
        Ok(())
    }
}

impl Inventory {
    /// Looks at what may have changed, or, if `is_thorough`, at everything. With an owner, removals of an
    /// earlier process are completed.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if it is to stop; or the output folder cannot be read.
    pub fn refresh(
        &mut self,
        root: &Path,
        now_ms: u64,
        is_thorough: bool,
        owner: Option<&dyn FolderOwner>,
        is_stopping: IsStopping<'_>,
    ) -> io::Result<Look> {
        let mut look = Look::default();
        let mut days = Vec::new();
        self.other_bytes = 0;
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            match entry.file_type()?.is_dir() && is_day(&name) {
                true => days.push(name),
                false => self.other_bytes += all_bytes(&entry, is_stopping)?,
            }
        }
        self.days.retain(|day, _| days.contains(day));
        let unsettled_from = Utc::from_unix_ms(now_ms.saturating_sub(DAY_MS)).date();
        for day in days {
            let known = self.days.get(&day);
            let is_settled = known.is_some_and(|known| {
                !is_thorough
                    && day < unsettled_from
                    && now_ms.saturating_sub(known.read_ms) < SETTLED_MS
                    && known.streams.iter().all(|it| it.stream.ended_ms.is_some())
            });
            if is_settled {
                continue;
            }
            if let Some(owner) = owner {
                match complete_day(root, &day, owner, is_stopping) {
                    Ok(completed) => look.completed.extend(completed),
                    Err(error) => look.failed(error)?,
                }
            }
            let before = self.days.remove(&day).unwrap_or_default();
            match read_day(root, &day, before, owner.is_some(), is_stopping) {
                Ok(mut read) => {
                    read.read_ms = now_ms;
                    self.days.insert(day, read);
                }
                Err(error) => look.failed(error)?,
            }
        }
        Ok(look)
    }

    /// Every stream, by day.
    pub fn streams(&self) -> Vec<Stream> {
        let days = self.days.values();
        days.flat_map(|day| day.streams.iter().map(|it| it.stream.clone()))
            .collect()
    }

    /// Allocated bytes of everything.
    pub fn used(&self) -> u64 {
        let of_day = |day: &Day| {
            let streams: u64 = day.streams.iter().map(|it| it.stream.bytes()).sum();
            streams + day.other_bytes
        };
        self.other_bytes + self.days.values().map(of_day).sum::<u64>()
    }

    /// A part of a stream was removed.
    pub fn removed(&mut self, place: &StreamPlace, part: Part) {
        let Some(day) = self.days.get_mut(place.day()) else {
            return;
        };
        match part {
            Part::All => day.streams.retain(|it| it.stream.place != *place),
            part => {
                for known in &mut day.streams {
                    if known.stream.place == *place {
                        match part {
                            Part::Audio => known.stream.audio_bytes = 0,
                            _ => known.stream.video_bytes = 0,
                        }
                    }
                }
            }
        }
    }
}

/// The streams of a day. Those that had ended and whose folder has not changed are taken from `before`.
fn read_day(
    root: &Path,
    day: &str,
    before: Day,
    may_clean: bool,
    is_stopping: IsStopping<'_>,
) -> io::Result<Day> {
    let before: HashMap<StreamPlace, Known> = before
        .streams
        .into_iter()
        .filter(|it| it.stream.ended_ms.is_some())
        .map(|it| (it.stream.place.clone(), it))
        .collect();
    let mut found = Day::default();
    for meeting in inside(&root.join(day))? {
        let name = meeting.file_name().into_string().unwrap_or_default();
        found.other_bytes += allocated(&meeting);
        if !meeting.file_type().is_ok_and(|kind| kind.is_dir()) || name.starts_with('.') {
            continue;
        }
        if may_clean {
            delete_leftovers(root, day, &name, is_stopping)?;
        }
        for stream in inside(&meeting.path())? {
            if is_stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let own = stream.file_name().into_string().unwrap_or_default();
            let is_folder = stream.file_type().is_ok_and(|kind| kind.is_dir());
            let place = StreamPlace::new(day, &name, &own).filter(|_| is_folder);
            let known = place.and_then(|place| known(root, place, &stream, &before));
            match known {
                Some(known) => found.streams.push(known),
                // Not ours, or without a `meta.json` that can be read.
                None => found.other_bytes += all_bytes(&stream, is_stopping)?,
            }
        }
    }
    Ok(found)
}

fn known(
    root: &Path,
    place: StreamPlace,
    folder: &fs::DirEntry,
    before: &HashMap<StreamPlace, Known>,
) -> Option<Known> {
    let stat = folder.metadata().ok()?;
    let changed = (stat.mtime(), stat.mtime_nsec());
    if let Some(known) = before.get(&place)
        && known.changed == changed
    {
        return Some(known.clone());
    }
    let recording = Recording::read(root, &place.path())?;
    let sizes = measure(root, &place).ok()??;
    let ended_ms = recording.ended_ms.filter(|_| recording.state == "ended");
    Some(Known {
        stream: Stream {
            place,
            started_ms: recording.started_ms,
            ended_ms,
            audio_bytes: sizes.audio.bytes,
            video_bytes: sizes.video.bytes,
            rest_bytes: sizes.rest.bytes,
        },
        changed,
    })
}

/// What is in a folder; nothing if it is gone meanwhile.
fn inside(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn allocated(entry: &fs::DirEntry) -> u64 {
    entry.metadata().map_or(0, |stat| stat.blocks() * 512)
}

/// Of a file, or of a folder with all that is in it. Links are not followed.
fn all_bytes(entry: &fs::DirEntry, is_stopping: IsStopping<'_>) -> io::Result<u64> {
    let (mut bytes, mut folders) = (allocated(entry), Vec::new());
    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        folders.push(entry.path());
    }
    while let Some(folder) = folders.pop() {
        if is_stopping() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        for entry in inside(&folder)? {
            bytes += allocated(&entry);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}
