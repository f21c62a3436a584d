//! The files of cursors: when they are appended to, synced and written again.

use std::collections::HashMap;

use super::Thread;
use crate::delivery::push::cursor_file::CursorFile;
use crate::feed::cursor::Cursor;
use crate::feed::key::JournalKey;

/// Cursors are written at most so often: what is delivered in that time comes again after a kill.
const CURSOR_WRITE_MS: u64 = 100;
/// Appended cursors are on the disk after this time, like records.
const SYNC_AFTER_MS: u64 = 5_000;
/// After a failed write of the files, milliseconds.
const WRITE_AGAIN_MS: u64 = 1_000;

/// The files of one endpoint.
pub(super) struct Files {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) cursors: CursorFile,
    /// What the file said at the start: places in journals that the machine does not know yet, because
    /// everything is delivered and nothing was written since.
    pub(super) loaded: HashMap<JournalKey, Cursor>,
    /// The highest `pos` in these journals: a floor above it makes them unnecessary.
    pub(super) loaded_pos: u64,
    /// The file lacks something, for it could not be written.
    pub(super) is_stale: bool,
    /// Everything up to this `pos` in other journals is delivered.
    pub(super) floor: u64,
}

impl Thread {
    pub(super) fn complain(&self, error: &dyn std::fmt::Display) {
        if let Some(more) = self.failing.allow(std::time::Instant::now()) {
            log::error!(
                "push: progress cannot be written: {error}{more}; a restart would send events again"
            );
        }
    }

    /// Writes cursors that changed, syncs them, and releases journals, each at its time.
    pub(super) fn write_files(&mut self) {
        let now = self.shared.now().ms;
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep();
        }
        self.note_modes();
        let writes_from = self.shared.lock().writes_from;
        if writes_from <= now {
            for at in 0..self.endpoints.len() {
                let number = self.endpoints[at].number;
                let changed = self.shared.lock().machine.changed_cursors(number);
                let is_written = match self.endpoints[at].is_stale {
                    true => self.rewrite(at),
                    false if changed.is_empty() => continue,
                    false => self.append(at, &changed),
                };
                let pause = if is_written {
                    CURSOR_WRITE_MS
                } else {
                    WRITE_AGAIN_MS
                };
                let mut state = self.shared.lock();
                state.writes_from = state.writes_from.max(now + pause);
            }
        }
        if self.endpoints.iter().any(|files| files.cursors.is_long()) {
            self.rewrite_all();
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            for files in &mut self.endpoints {
                if let Err(error) = files.cursors.sync() {
                    log::warn!("push: {error}");
                }
            }
        }
    }

    fn append(&mut self, at: usize, changed: &[Cursor]) -> bool {
        let files = &mut self.endpoints[at];
        if let Err(error) = files.cursors.append(changed) {
            self.complain(&error);
            // What the file lacks now is known to the machine alone.
            return self.rewrite(at);
        }
        if files.cursors.is_unsynced() && self.sync_at.is_none() {
            self.sync_at = Some(self.shared.now().ms + SYNC_AFTER_MS);
        }
        true
    }

    /// Replaces every file, with a floor that says that all other journals are delivered.
    pub(super) fn rewrite_all(&mut self) {
        let mut is_written = true;
        for at in 0..self.endpoints.len() {
            is_written &= self.rewrite(at);
        }
        if !is_written {
            return;
        }
        let now = self.shared.now();
        let is_behind = {
            let mut state = self.shared.lock();
            state.machine.forget_done();
            let mut endpoints = self.endpoints.iter();
            let behind = |files: &Files| {
                state
                    .machine
                    .report(files.number, now)
                    .is_none_or(|it| it.lag_events > 0)
            };
            endpoints.any(behind)
        };
        self.forget_unknown();
        // A lost file need not bring back what everybody has.
        if !is_behind && self.pos > 0 {
            let names: Vec<String> = self
                .endpoints
                .iter()
                .map(|files| files.name.clone())
                .collect();
            for known in &mut self.known {
                if names.contains(&known.name) {
                    known.since = known.since.max(self.pos);
                }
            }
            self.save_known();
        }
    }

    pub(super) fn rewrite(&mut self, at: usize) -> bool {
        let files = &mut self.endpoints[at];
        let cursors = {
            let mut state = self.shared.lock();
            // They are in the list below.
            drop(state.machine.changed_cursors(files.number));
            let known = state.machine.live_cursors(files.number);
            files.loaded.retain(|key, _| !state.machine.knows(*key));
            known
        };
        let floor = files.floor.max(self.pos);
        if floor >= files.loaded_pos && self.pos > 0 {
            files.loaded = HashMap::new();
        }
        let loaded = files.loaded.values().copied();
        let cursors: Vec<Cursor> = cursors.into_iter().chain(loaded).collect();
        let written = files.cursors.rewrite(floor, &cursors);
        files.is_stale = written.is_err();
        match written {
            Ok(()) => files.floor = floor,
            Err(error) => self.complain(&error),
        }
        !self.endpoints[at].is_stale
    }
}
