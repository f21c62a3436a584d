//! One round: what is recorded, what is to go, and removing it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::holds::Holds;
use super::inventory::Inventory;
use super::plan::{Plan, Removal, Space, Stream, plan};
use super::rules::Rules;
use crate::log::warn_limiter::WarnLimiter;
use crate::recorder::catalog::Recording;
use crate::recorder::removal::folders::{IsStopping, measure};
use crate::recorder::removal::{FolderOwner, State, Tombstone, remove};

/// What would go, or what has gone and what is left then.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every stream.
    pub streams: Vec<Stream>,
    /// What is decided about them.
    pub plan: Plan,
    /// The file system at that moment.
    pub space: Space,
}

/// The recordings below one output folder, and who knows what waits for them.
pub struct Keeper {
    root: PathBuf,
    holds: Box<dyn Holds>,
    inventory: Inventory,
    coming: u64,
    unreadable: WarnLimiter,
    unremovable: WarnLimiter,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("root", &self.root).finish()
    }
}

impl Keeper {
    /// Nothing is read yet.
    pub fn new(root: &Path, holds: Box<dyn Holds>) -> Keeper {
        Keeper {
            root: root.to_owned(),
            holds,
            inventory: Inventory::default(),
            coming: 0,
            unreadable: WarnLimiter::default(),
            unremovable: WarnLimiter::default(),
        }
    }

    /// The output folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// So many bytes are expected to be written until the next look.
    pub fn make_room_for(&mut self, coming: u64) {
        self.coming = coming;
    }

    /// What would go now. Nothing is changed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn survey(
        &mut self,
        rules: &Rules,
        now_ms: u64,
        is_stopping: IsStopping<'_>,
    ) -> io::Result<Survey> {
        self.look(rules, now_ms, None, is_stopping)
    }

    fn look(
        &mut self,
        rules: &Rules,
        now_ms: u64,
        owner: Option<&dyn FolderOwner>,
        is_stopping: IsStopping<'_>,
    ) -> io::Result<Survey> {
        self.holds.begin();
        let survey = self.look_once(rules, now_ms, false, owner, is_stopping)?;
        // Recordings may have been deleted by hand since the last look at old days: then less has to go.
        match survey.plan.is_for_space() {
            true => self.look_once(rules, now_ms, true, owner, is_stopping),
            false => Ok(survey),
        }
    }

    fn look_once(
        &mut self,
        rules: &Rules,
        now_ms: u64,
        is_thorough: bool,
        owner: Option<&dyn FolderOwner>,
        is_stopping: IsStopping<'_>,
    ) -> io::Result<Survey> {
        let (root, inventory) = (&self.root, &mut self.inventory);
        let look = inventory.refresh(root, now_ms, is_thorough, owner, is_stopping)?;
        for tombstone in &look.completed {
            log_removed("completed the removal of", tombstone);
        }
        if let Some(error) = look.fault
            && let Some(more) = self.unreadable.allow(Instant::now())
        {
            log::warn!(
                "keeping: recordings cannot be read, or a removal cannot be completed folder={} \
                 error=\"{error}\"{more}; it is tried again",
                self.root.display()
            );
        }
        let streams = self.inventory.streams();
        let space = Space {
            coming: self.coming,
            ..space(&self.root, self.inventory.used())?
        };
        let (root, holds) = (&self.root, &mut self.holds);
        let mut hold = |stream: &Stream| holds.hold(root, stream);
        let plan = plan(now_ms, rules, space, &streams, &mut hold);
        Ok(Survey {
            streams,
            plan,
            space,
        })
    }

    /// Removes what is to go. `report` gets each tombstone. Returns what was decided, with the space as it
    /// is then.
    ///
    /// # Errors
    /// The folder cannot be read, or [`io::ErrorKind::Interrupted`] if it is to stop.
    pub fn round(
        &mut self,
        rules: &Rules,
        now_ms: u64,
        owner: &dyn FolderOwner,
        is_stopping: IsStopping<'_>,
        report: &mut dyn FnMut(&Tombstone),
    ) -> io::Result<Survey> {
        let mut survey = self.look(rules, now_ms, Some(owner), is_stopping)?;
        for removal in &survey.plan.removals {
            if is_stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let stream = &survey.streams[removal.stream];
            match self.remove(stream, removal, now_ms, owner, is_stopping) {
                Ok(Some(tombstone)) => {
                    self.inventory.removed(&tombstone.place, tombstone.part);
                    log_removed("removed", &tombstone);
                    report(&tombstone);
                }
                // It lives again, or it was deleted by hand.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    if let Some(more) = self.unremovable.allow(Instant::now()) {
                        log::warn!(
                            "keeping: a stream cannot be removed key={} part={} error=\"{error}\"{more}; \
                             it is tried again",
                            stream.place.key(),
                            removal.part.name()
                        );
                    }
                }
            }
        }
        survey.space = space(&self.root, self.inventory.used())?;
        Ok(survey)
    }

    fn remove(
        &mut self,
        stream: &Stream,
        removal: &Removal,
        now_ms: u64,
        owner: &dyn FolderOwner,
        is_stopping: IsStopping<'_>,
    ) -> io::Result<Option<Tombstone>> {
        let place = &stream.place;
        // A round may take long, and what was decided at its beginning be wrong by now.
        let is_held = self.holds.hold(&self.root, stream).is_some();
        let recording = Recording::read(&self.root, &place.path());
        let same = |it: &Recording| it.state == "ended" && it.ended_ms == stream.ended_ms;
        let Some(recording) = recording.filter(|it| same(it) && !is_held) else {
            return Ok(None);
        };
        let Some(sizes) = measure(&self.root, place)? else {
            return Ok(None);
        };
        let size = sizes.of(removal.part);
        let tombstone = Tombstone {
            state: State::Removing,
            part: removal.part,
            reason: removal.reason,
            place: place.clone(),
            product: recording.product,
            id: recording.id,
            stream_id: recording.stream_id,
            meeting_id: recording.meeting_id,
            started_ms: recording.started_ms,
            ended_ms: stream.ended_ms.unwrap_or(recording.started_ms),
            removed_ms: now_ms,
            files: size.files,
            bytes: size.bytes,
        };
        remove(&self.root, &tombstone, owner, is_stopping).map(Some)
    }
}

/// The file system of a folder, of which `used` bytes are taken below the folder.
pub fn space(root: &Path, used: u64) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(root)?;
    Ok(Space {
        used,
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        coming: 0,
    })
}

fn log_removed(what: &str, tombstone: &Tombstone) {
    log::info!(
        "{what} stream={} key={} part={} by=\"{}\" ended={} files={} bytes={}",
        tombstone.stream_id,
        tombstone.key(),
        tombstone.part.name(),
        tombstone.reason.by(),
        crate::domain::time::Utc::from_unix_ms(tombstone.ended_ms),
        tombstone.files,
        tombstone.bytes
    );
}
