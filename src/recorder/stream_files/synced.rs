//! What of a stream must be synced, and what is true once it is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::{LastMeta, Recorder};
use crate::recorder::append_file::AppendFile;
use crate::recorder::meta::{Meta, NEW_NAME};
use crate::recorder::sync_targets::SyncTargets;

impl Recorder {
    /// Adds what must be synced so that everything written so far survives a power cut, and from then
    /// on treats it as synced.
    ///
    /// # Errors
    /// The disk refuses to show the files; then the whole file system must be synced.
    pub fn take_unsynced(&mut self) -> io::Result<SyncTargets> {
        self.verify_media_linked()?;
        let mut targets = SyncTargets::default();
        let mut is_named = true;
        for file in self.files() {
            is_named &= !file.take_unsynced(&mut targets)?;
        }
        self.journal.iter_mut().for_each(|it| it.looked_at());
        self.media.take_unsynced(&mut targets)?;
        if !is_named {
            self.folders_unsynced = self.folders_unsynced.max(1);
        }
        if self.last_meta != LastMeta::None {
            targets.add_closed(self.folder.join(NEW_NAME));
            self.last_meta = LastMeta::Syncing;
        }
        for folder in self.folder.ancestors().take(self.folders_unsynced) {
            targets.add_folder(folder);
        }
        self.folders_unsynced = 0;
        Ok(targets)
    }

    /// Called after the sync: gives the last `meta.json` its final name. Returns whether there was one;
    /// then its name must be synced.
    pub fn publish(&mut self) -> io::Result<bool> {
        if self.last_meta != LastMeta::Syncing {
            return Ok(false);
        }
        Meta::publish(&self.folder)?;
        self.last_meta = LastMeta::None;
        self.folders_unsynced = self.folders_unsynced.max(1);
        Ok(true)
    }

    /// Prepares for a sync of the whole file system, and returns its device number.
    pub fn prepare_sync(&mut self) -> io::Result<u64> {
        self.verify_media_linked()?;
        let mut known = None;
        for file in self.files() {
            known = file.verify_linked()?.or(known);
        }
        self.journal.iter_mut().for_each(|it| it.looked_at());
        known.map_or_else(|| Ok(fs::metadata(&self.folder)?.dev()), Ok)
    }

    /// Continues a deleted media file in a new part, and lists it in `meta.json`.
    fn verify_media_linked(&mut self) -> io::Result<()> {
        if self.media.verify_linked(&mut self.meta)? {
            self.is_meta_stale = true;
            self.write()?;
        }
        Ok(())
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        self.files().for_each(AppendFile::synced);
        self.media.synced();
        self.folders_unsynced = 0;
        if self.last_meta == LastMeta::Written {
            self.last_meta = LastMeta::Syncing;
        }
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&mut self) -> bool {
        self.files().any(|file| file.is_unsynced()) || self.media.is_unsynced()
    }
}
