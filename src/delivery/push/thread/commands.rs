//! Commands of a person: pause, resume, replay.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Thread;
use super::journals::{DAY_MS, SWEEP_MS, end_of};
use crate::delivery::clients::named::{Choice, Name, Search};
use crate::delivery::push::command::{Action, Command, CommandError, From};
use crate::delivery::push::machine::Mode;
use crate::domain::time::Utc;
use crate::feed::board::Journal;
use crate::feed::cursor::Cursor;
use crate::feed::folders::StreamFolders;
use crate::feed::key::JournalKey;
use crate::feed::{Chunk, Found};

impl Thread {
    pub(super) fn command(&mut self, command: &Command) -> Result<(), CommandError> {
        let named = self
            .endpoints
            .iter()
            .find(|files| files.name == command.endpoint);
        let number = named.ok_or(CommandError::NoEndpoint)?.number;
        match &command.action {
            Action::Pause => self.set_mode(number, Mode::Paused),
            Action::Resume => self.set_mode(number, Mode::Running),
            Action::Replay { from, stream } => self.replay(number, *from, stream.as_deref()),
        }
    }

    fn set_mode(&mut self, number: u32, mode: Mode) -> Result<(), CommandError> {
        let now = self.shared.now();
        self.shared.lock().machine.set_mode(number, mode, now);
        self.note_modes();
        self.sweep();
        Ok(())
    }

    fn replay(
        &mut self,
        number: u32,
        from: From,
        stream: Option<&str>,
    ) -> Result<(), CommandError> {
        let failed = |error: io::Error| CommandError::Failed(error.to_string());
        let pos = match from {
            From::Pos(pos) => pos,
            From::Event { key, seq } => {
                let what = format!("event {key}-{seq}");
                self.find(key)
                    .ok_or_else(|| CommandError::NotFound(what.clone()))?;
                let before = self.reader.cursor_after_seq(key, seq.saturating_sub(1));
                let mut chunk = Chunk::default();
                match self.reader.read(&before.map_err(failed)?, &mut chunk) {
                    Ok(Found::Lines) => {}
                    Ok(_) => return Err(CommandError::NotFound(what)),
                    Err(error) => return Err(failed(error)),
                }
                let first = chunk.lines().next().filter(|line| line.seq == seq);
                first.ok_or(CommandError::NotFound(what))?.pos
            }
        };
        let keys = match stream {
            Some(stream) => vec![self.stream(stream)?],
            None => {
                let day = Utc::from_unix_ms((pos / 1000).saturating_sub(DAY_MS)).date();
                let folders = StreamFolders::below(self.shared.board.root()).from_day(&day);
                let found: Vec<(JournalKey, PathBuf)> = folders.with_journals().collect();
                let mut keys = vec![JournalKey::SERVER];
                for (key, folder) in found {
                    self.load(&folder);
                    keys.push(key);
                }
                keys
            }
        };
        for key in keys {
            let Some(journal) = self.shared.board.get(key) else {
                continue;
            };
            let cursor = self
                .reader
                .cursor_after_pos(key, pos.saturating_sub(1))
                .map_err(failed)?;
            if cursor.seq >= journal.seq {
                continue;
            }
            let is_known = self.shared.lock().machine.knows(key);
            if !is_known {
                self.add_for_replay(&journal);
            }
            let now = self.shared.now();
            let mut state = self.shared.lock();
            let is_back = state
                .machine
                .place(number, key)
                .is_none_or(|place| cursor.seq < place);
            if is_back {
                state.machine.replay(number, &cursor, now);
            }
        }
        Ok(())
    }

    /// Takes up a journal of which every endpoint has everything.
    fn add_for_replay(&mut self, journal: &Journal) {
        if self.shared.board.hold(journal.key) {
            self.held.insert(journal.key);
        }
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state
            .folders
            .insert(journal.key, Arc::clone(&journal.folder));
        let end = Cursor {
            key: journal.key,
            seq: journal.seq,
            offset: journal.bytes,
        };
        state
            .machine
            .add_stream(journal.key, end_of(journal), now, |_| Some(end));
        drop(state);
        self.sweep_at.get_or_insert(now.ms + SWEEP_MS);
    }

    /// The stream that a key, an id or the beginning of one names.
    fn stream(&mut self, text: &str) -> Result<JournalKey, CommandError> {
        let not_found = || CommandError::NotFound(format!("stream {text}"));
        let name = Name::new(text);
        let folders = StreamFolders::below(self.shared.board.root()).with_journals();
        let fitting = folders.filter_map(|(key, folder)| {
            let fit = name.fits(folder.file_name()?.to_str()?, key)?;
            Some((fit, (key, folder)))
        });
        let (key, folder) = match Choice::of(fitting) {
            Search::One(found) => found,
            Search::Several => return Err(CommandError::Ambiguous(format!("stream {text}"))),
            Search::None => return Err(not_found()),
        };
        self.load(&folder).ok_or_else(not_found)?;
        Ok(key)
    }
}
