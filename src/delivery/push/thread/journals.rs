//! Which journals the push thread takes up, where each endpoint is in them, and when they are released.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Thread;
use super::files::Files;
use crate::delivery::push::machine::End;
use crate::domain::time::Utc;
use crate::feed::board::{self, Journal};
use crate::feed::cursor::Cursor;
use crate::feed::folders::StreamFolders;
use crate::feed::key::JournalKey;

/// Ended journals that no endpoint needs any more are released so often.
pub(super) const SWEEP_MS: u64 = 10_000;
/// Streams begin so many days before the oldest place that is looked for at the start, at most.
const DAYS_MAX: u64 = 40;
pub(super) const DAY_MS: u64 = 86_400_000;

impl Thread {
    /// What the board says of one journal.
    pub(super) fn journal(&mut self, journal: &Journal) {
        let key = journal.key;
        if journal.state == board::State::Revoked {
            self.shared.lock().machine.revoke(key);
            self.forget(key);
            return;
        }
        let end = end_of(journal);
        let now = self.shared.now();
        let is_known = {
            let mut state = self.shared.lock();
            let is_known = state.machine.knows(key);
            if is_known {
                state.machine.grew(key, end, now);
            }
            is_known
        };
        if !is_known {
            self.add(journal);
        } else if end.is_ended && self.held.contains(&key) {
            self.sweep_at.get_or_insert(now.ms + SWEEP_MS);
        }
    }

    /// A journal that the machine does not know: each endpoint begins where its file says, else behind
    /// its floor. Whether any has something to send.
    pub(super) fn add(&mut self, journal: &Journal) -> bool {
        let cursors: Vec<(u32, Cursor)> = (self.endpoints.iter())
            .map(|files| (files.number, self.cursor(files, journal)))
            .collect();
        let is_behind = cursors.iter().any(|(_, cursor)| cursor.seq < journal.seq);
        if journal.state == board::State::Ended && !is_behind {
            return false;
        }
        let key = journal.key;
        // What is held stays on the board until it is delivered.
        if self.shared.board.hold(key) {
            self.held.insert(key);
        }
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.folders.insert(key, Arc::clone(&journal.folder));
        let cursor = |number| {
            let mut cursors = cursors.iter();
            cursors
                .find(|(n, _)| *n == number)
                .map(|(_, cursor)| *cursor)
        };
        state.machine.add_stream(key, end_of(journal), now, cursor);
        drop(state);
        if journal.state == board::State::Ended {
            self.sweep_at.get_or_insert(now.ms + SWEEP_MS);
        }
        true
    }

    pub(super) fn cursor(&self, files: &Files, journal: &Journal) -> Cursor {
        let key = journal.key;
        let end = Cursor {
            key,
            seq: journal.seq,
            offset: journal.bytes,
        };
        match files.loaded.get(&key) {
            Some(cursor) => *cursor,
            None if journal.pos <= files.floor => end,
            None => self
                .reader
                .cursor_after_pos(key, files.floor)
                .unwrap_or_else(|error| {
                    self.shared.unreadable(key, &error);
                    Cursor::begin(key)
                }),
        }
    }

    /// The machine knows the journal no more.
    fn forget(&mut self, key: JournalKey) {
        if self.held.remove(&key) {
            self.shared.board.release(key);
        }
        self.shared.lock().folders.remove(&key);
    }

    /// Journals of earlier processes with something to send.
    pub(super) fn find_unfinished(&mut self) {
        let floors = self.endpoints.iter().map(|files| files.floor / 1000);
        let Some(floor_ms) = floors.min() else {
            return;
        };
        let mut missing: HashSet<JournalKey> = (self.endpoints.iter())
            .flat_map(|files| files.loaded.keys().copied())
            .collect();
        // A stream begins on one day and may go on over midnight.
        let usual = Utc::from_unix_ms(floor_ms.saturating_sub(DAY_MS)).date();
        let oldest = Utc::from_unix_ms(floor_ms.saturating_sub(DAYS_MAX * DAY_MS)).date();
        let folders = StreamFolders::below(self.shared.board.root()).from_day(&oldest);
        for (key, folder) in folders.with_journals() {
            let is_old =
                day(self.shared.board.root(), &folder).is_some_and(|day| day < usual.as_str());
            if is_old && missing.is_empty() {
                break;
            }
            let is_missing = missing.remove(&key);
            if (!is_old || is_missing)
                && let Some(journal) = self.load(&folder)
            {
                for files in &mut self.endpoints {
                    if files.loaded.contains_key(&key) {
                        files.loaded_pos = files.loaded_pos.max(journal.pos);
                    }
                }
            }
        }
        // Their folders are gone.
        for files in &mut self.endpoints {
            files
                .loaded
                .retain(|key, _| *key == JournalKey::SERVER || !missing.contains(key));
        }
    }

    /// Takes up a journal of an earlier process, if something of it is to be sent.
    pub(super) fn load(&mut self, folder: &Path) -> Option<Journal> {
        let loaded = self.shared.board.load(folder);
        let journal = loaded
            .inspect_err(|error| {
                self.shared
                    .unreadable(self.shared.board.key_of(folder), error)
            })
            .ok()?;
        let is_known = self.shared.lock().machine.knows(journal.key);
        if !is_known && journal.state != board::State::Revoked {
            self.add(&journal);
        }
        Some(journal)
    }

    /// The journal with this key, on the board or in the folders.
    pub(super) fn find(&mut self, key: JournalKey) -> Option<Journal> {
        if let Some(journal) = self.shared.board.get(key) {
            return Some(journal);
        }
        let mut folders = StreamFolders::below(self.shared.board.root()).with_journals();
        let (_, folder) = folders.find(|(found, _)| *found == key)?;
        self.shared.board.load(&folder).ok()
    }

    /// Releases journals that no endpoint needs any more, and holds those that are needed again.
    pub(super) fn sweep(&mut self) {
        let now = self.shared.now();
        let (mut freed, mut needed, mut is_more) = (Vec::new(), Vec::new(), false);
        {
            let state = self.shared.lock();
            for key in state.folders.keys() {
                match (state.machine.is_needed(*key), self.held.contains(key)) {
                    (false, true) if state.machine.has_ended(*key) => freed.push(*key),
                    (true, false) => needed.push(*key),
                    (true, true) => is_more |= state.machine.has_ended(*key),
                    _ => {}
                }
            }
        }
        for key in freed {
            self.held.remove(&key);
            self.shared.board.release(key);
        }
        for key in needed {
            if self.shared.board.hold(key) {
                self.held.insert(key);
            }
        }
        self.sweep_at = is_more.then_some(now.ms + SWEEP_MS);
    }

    /// No journal is needed: there is no endpoint.
    pub(super) fn release_all(&mut self) {
        for key in self.held.drain() {
            self.shared.board.release(key);
        }
    }

    /// Lets go of journals that the machine has forgotten.
    pub(super) fn forget_unknown(&mut self) {
        let gone: Vec<JournalKey> = {
            let state = self.shared.lock();
            let keys = state.folders.keys().copied();
            keys.filter(|key| !state.machine.knows(*key)).collect()
        };
        gone.into_iter().for_each(|key| self.forget(key));
    }
}

pub(super) fn end_of(journal: &Journal) -> End {
    End {
        seq: journal.seq,
        is_ended: journal.state == board::State::Ended,
    }
}

/// The folder of a day that a stream's folder is in.
fn day<'a>(root: &Path, folder: &'a Path) -> Option<&'a str> {
    let below = folder.strip_prefix(root).ok()?;
    below.components().next()?.as_os_str().to_str()
}
