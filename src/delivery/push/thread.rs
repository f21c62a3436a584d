//! The push thread: tells the machine what the board says, starts workers, and keeps the files.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::command::{Action, Command, CommandError, From};
use super::cursor_file::CursorFile;
use super::cursors::Cursors;
use super::known::{self, Known};
use super::machine::{End, Mode, Settings};
use super::settings::EndpointSettings;
use super::shared::{Endpoint, Shared, State, log_note};
use super::worker::work;
use crate::clock::now_ms;
use crate::domain::time::Utc;
use crate::feed::board::{Journal, Watch};
use crate::feed::cursor::Cursor;
use crate::feed::folders::StreamFolders;
use crate::feed::key::{JournalKey, KEY_DIGITS};
use crate::feed::{Chunk, Found, Reader, board};
use crate::log::warn_limiter::WarnLimiter;
use crate::net::waker::Wakeable;
use crate::recorder::path::safe_name;
use crate::state::StateDir;

/// Cursors are written at most so often: what is delivered in that time comes again after a kill.
const CURSOR_WRITE_MS: u64 = 100;
/// Appended cursors are on the disk after this time, like records.
const SYNC_AFTER_MS: u64 = 5_000;
/// Ended journals that nobody needs any more are released so often.
const SWEEP_MS: u64 = 10_000;
/// After a failed write of the files, milliseconds.
const WRITE_AGAIN_MS: u64 = 1_000;
/// The name of the file of known endpoints.
pub(super) const KNOWN_NAME: &str = "push-endpoints";
/// A worker's stack: a request with TLS.
const STACK_BYTES: usize = 128 << 10;
/// Streams begin so many days before the oldest place that is looked for at the start, at most.
const DAYS_MAX: u64 = 40;
const DAY_MS: u64 = 86_400_000;
/// The shortest part of a stream's id or key that names it.
const PREFIX_CHARS_MIN: usize = 6;

/// See the module.
pub(super) struct Thread {
    shared: Arc<Shared>,
    state_dir: Arc<StateDir>,
    wakeable: Wakeable,
    watch: Watch,
    reader: Reader,
    /// Of the board, and every line up to there is known.
    version: u64,
    pos: u64,
    endpoints: Vec<Files>,
    known: Vec<Known>,
    /// Journals that are held on the board, of streams that may need no more.
    held: HashSet<JournalKey>,
    next_number: u32,
    workers: Vec<JoinHandle<()>>,
    sync_at: Option<u64>,
    sweep_at: Option<u64>,
    failing: WarnLimiter,
}

/// The files of one endpoint.
struct Files {
    number: u32,
    name: String,
    cursors: CursorFile,
    /// What the file said at the start: places in journals that the machine does not know yet, because
    /// everything is delivered and nothing was written since.
    loaded: HashMap<JournalKey, Cursor>,
    /// The highest `pos` in these journals: a floor above it makes them unnecessary.
    loaded_pos: u64,
    /// The file lacks something, for it could not be written.
    is_stale: bool,
    /// Everything up to this `pos` in other journals is delivered.
    floor: u64,
}

impl Thread {
    pub(super) fn new(
        shared: &Arc<Shared>,
        state_dir: Arc<StateDir>,
        wakeable: Wakeable,
    ) -> Thread {
        let watch = shared.board.watch(shared.waker.clone());
        Thread {
            reader: Reader::new(&shared.board),
            shared: Arc::clone(shared),
            state_dir,
            wakeable,
            watch,
            version: 0,
            pos: 0,
            endpoints: Vec::new(),
            known: Vec::new(),
            held: HashSet::new(),
            next_number: 0,
            workers: Vec::new(),
            sync_at: None,
            sweep_at: None,
            failing: WarnLimiter::default(),
        }
    }

    /// Works until it is told to stop, or no endpoint is left.
    pub(super) fn run(mut self) {
        self.load_known();
        let mut is_first = true;
        let mut changed = Vec::new();
        loop {
            self.wakeable.clear();
            let (version, pos) = self.shared.board.changes_since(self.version, &mut changed);
            (self.version, self.pos) = (version, pos.max(self.pos));
            let (wanted, commands, is_stopping) = {
                let mut state = self.shared.lock();
                let commands = std::mem::take(&mut state.commands);
                (state.wanted.take(), commands, state.is_stopping)
            };
            for journal in changed.drain(..) {
                self.journal(&journal);
            }
            if let Some(wanted) = wanted {
                self.configure(wanted, is_first);
                is_first = false;
            }
            for (command, reply) in commands {
                // The one who asked may have stopped waiting.
                let _ = reply.send(self.command(&command));
            }
            if is_stopping {
                break;
            }
            let now = self.shared.now();
            let (missing, notes) = {
                let mut state = self.shared.lock();
                state.machine.ring(now);
                let notes = state.take_notes();
                (state.wake_workers(now), notes)
            };
            notes.iter().for_each(log_note);
            if missing > 0 {
                self.start_workers();
            }
            self.write_files();
            self.workers.retain(|worker| !worker.is_finished());
            if self.endpoints.is_empty() {
                // Requests to endpoints that were taken out come to their end.
                self.join_workers();
                let mut state = self.shared.lock();
                if state.wanted.is_none() {
                    state.is_over = true;
                    return;
                }
                continue;
            }
            self.wait();
        }
        self.end();
    }

    /// Sleeps until the board changes, a worker says so, or something is due.
    fn wait(&self) {
        let now = self.shared.now();
        let due = {
            let mut state = self.shared.lock();
            let mut due = state.machine.next_deadline(now);
            let mut files = self.endpoints.iter();
            if files.any(|files| files.is_stale || state.machine.has_changed(files.number)) {
                due = due.into_iter().chain([state.writes_from]).min();
            }
            let due = due
                .into_iter()
                .chain(self.sync_at)
                .chain(self.sweep_at)
                .min();
            state.sleeps_until = due.unwrap_or(u64::MAX);
            due
        };
        if !self.shared.board.arm(&self.watch, self.version) {
            return;
        }
        let ms = due.map(|due| due.saturating_sub(now.ms));
        let time = ms.map(|ms| Timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: (ms % 1000) as i64 * 1_000_000,
        });
        let mut fds = [PollFd::new(&self.wakeable, PollFlags::IN)];
        // An interrupted wait looks around once more.
        let _ = poll(&mut fds, time.as_ref());
    }

    /// What the board says of one journal.
    fn journal(&mut self, journal: &Journal) {
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
    fn add(&mut self, journal: &Journal) -> bool {
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

    fn cursor(&self, files: &Files, journal: &Journal) -> Cursor {
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
}

/// The configuration.
impl Thread {
    fn load_known(&mut self) {
        let read = self
            .state_dir
            .read(KNOWN_NAME)
            .map_err(|error| error.to_string());
        let parsed = read.map(|bytes| bytes.map(|bytes| known::parse(&bytes)));
        self.known = match parsed {
            Ok(None) => Vec::new(),
            Ok(Some(Some(known))) => known,
            Ok(Some(None)) => {
                log::warn!(
                    "push: {KNOWN_NAME} in the state directory cannot be read; it is written again"
                );
                Vec::new()
            }
            Err(error) => {
                log::warn!("push: {error}");
                Vec::new()
            }
        };
    }

    fn save_known(&self) {
        let saved = match self.known.is_empty() {
            true => self.state_dir.remove(KNOWN_NAME),
            false => {
                let text = known::text(&self.known);
                self.state_dir.write_atomic(KNOWN_NAME, text.as_bytes())
            }
        };
        if let Err(error) = saved {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &dyn std::fmt::Display) {
        if let Some(more) = self.failing.allow(std::time::Instant::now()) {
            log::error!(
                "push: progress cannot be written: {error}{more}; a restart would send events again"
            );
        }
    }

    /// Applies a configuration, whole.
    fn configure(&mut self, wanted: Vec<EndpointSettings>, is_first: bool) {
        let before = self.known.clone();
        self.remove_unwanted(&wanted);
        let mut added = Vec::new();
        for settings in wanted {
            match self
                .endpoints
                .iter()
                .find(|files| files.name == settings.name)
            {
                Some(files) => self.change(files.number, settings),
                None => added.push(self.add_endpoint(settings)),
            }
        }
        let unix_ms = now_ms();
        let (over, kept) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|known: &Known| known.is_over(unix_ms));
        self.known = kept;
        for known in &over {
            if let Err(error) = CursorFile::remove(&self.state_dir, &known.name) {
                self.complain(&error);
            }
        }
        if self.known != before {
            self.save_known();
        }
        if is_first {
            self.find_unfinished();
        }
        self.rewrite_all();
    }

    fn remove_unwanted(&mut self, wanted: &[EndpointSettings]) {
        let is_wanted = |name: &str| wanted.iter().any(|settings| settings.name == name);
        let unwanted = self
            .endpoints
            .extract_if(.., |files| !is_wanted(&files.name));
        for mut files in unwanted.collect::<Vec<_>>() {
            let mut state = self.shared.lock();
            let cursors = state.machine.live_cursors(files.number);
            state.machine.remove_endpoint(files.number);
            let removed = state
                .endpoints
                .extract_if(.., |it| it.number == files.number);
            // Its workers find it gone.
            removed.for_each(|it| it.wake.notify_all());
            drop(state);
            if let Err(error) = files.cursors.rewrite(files.floor, &cursors) {
                self.complain(&error);
            }
        }
        let unix_ms = now_ms();
        for known in &mut self.known {
            if !is_wanted(&known.name) {
                known.removed_ms.get_or_insert(unix_ms);
            }
        }
    }

    fn add_endpoint(&mut self, settings: EndpointSettings) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        let cursors = CursorFile::new(&self.state_dir, &settings.name);
        let loaded = cursors.load().unwrap_or_else(|error| {
            log::warn!("push: {error}");
            None
        });
        // Every line that is written from now on has a higher position.
        let now_pos = self.pos.max(now_ms() * 1000 - 1);
        let is_named = |known: &Known| known.name == settings.name;
        let (at, loaded) = match self.known.iter().position(is_named) {
            Some(at) => (at, Some(loaded)),
            None => {
                let since = loaded.as_ref().map_or(now_pos, |cursors| cursors.floor);
                let new = Known::new(&settings.name, &settings.url, since);
                self.known.push(new);
                (self.known.len() - 1, loaded.map(Some))
            }
        };
        let known = &mut self.known[at];
        known.configure(&settings.url);
        let loaded = match loaded {
            Some(Some(cursors)) if !cursors.is_damaged => cursors,
            // A new endpoint.
            None => Cursors {
                floor: now_pos,
                ..Cursors::default()
            },
            Some(damaged) => {
                let floor = known.since;
                log::warn!(
                    "push: the file of cursors cannot be read endpoint={}; events written after {} \
                     are sent again",
                    settings.name,
                    Utc::from_unix_ms(floor / 1000)
                );
                Cursors {
                    floor,
                    ..damaged.unwrap_or_default()
                }
            }
        };
        let mode = known.mode();
        log::info!(
            "push endpoint={} host={} events={} batch={} mode={}",
            settings.name,
            settings.url.origin(),
            if settings.events == Default::default() {
                "all"
            } else {
                "some"
            },
            settings.batch,
            known.mode
        );
        let files = Files {
            number,
            name: settings.name.clone(),
            cursors,
            loaded: loaded.places,
            loaded_pos: 0,
            is_stale: false,
            floor: loaded.floor,
        };
        let now = self.shared.now();
        let journals = self.shared.board.snapshot().journals;
        let places: Vec<Cursor> = (journals.iter())
            .filter(|journal| journal.state != board::State::Revoked)
            .map(|journal| self.cursor(&files, journal))
            .collect();
        self.endpoints.push(files);
        let mut state = self.shared.lock();
        let endpoint = Endpoint::new(number, Arc::new(settings));
        let rules = machine_settings(&endpoint.settings, 0);
        state.machine.add_endpoint(number, rules, mode, now);
        state.endpoints.push(endpoint);
        for place in places {
            state.machine.begin(number, &place, now);
        }
        number
    }

    fn change(&self, number: u32, settings: EndpointSettings) {
        let mut state = self.shared.lock();
        let State {
            machine, endpoints, ..
        } = &mut *state;
        let Some(endpoint) = endpoints.iter_mut().find(|it| it.number == number) else {
            return;
        };
        if *endpoint.settings == settings {
            return;
        }
        let mut filters = endpoint.filters.iter();
        let filter = match filters.position(|filter| **filter == settings.events) {
            Some(filter) => filter,
            None => {
                let mut places = 0..endpoint.filters.len();
                let unused = places.find(|at| !machine.is_filter_used(number, *at as u8));
                // More than 255 that are all in use are not possible to reach by hand.
                let at = unused.unwrap_or(endpoint.filters.len().min(255));
                endpoint
                    .filters
                    .resize(endpoint.filters.len().max(at + 1), Arc::default());
                endpoint.filters[at] = Arc::new(settings.events.clone());
                at
            }
        };
        let is_moved = endpoint.settings.url != settings.url;
        machine.change(number, machine_settings(&settings, filter as u8));
        let now = self.shared.now();
        if is_moved && machine.mode(number) == Some(Mode::Gone) {
            machine.set_mode(number, Mode::Running, now);
        }
        endpoint.settings = Arc::new(settings);
    }

    /// Journals of earlier processes with something to send.
    fn find_unfinished(&mut self) {
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
    fn load(&mut self, folder: &Path) -> Option<Journal> {
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
}

/// Commands.
impl Thread {
    fn command(&mut self, command: &Command) -> Result<(), CommandError> {
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

    /// Keeps what each endpoint is doing for the next process.
    fn note_modes(&mut self) {
        let mut is_news = false;
        {
            let state = self.shared.lock();
            for files in &self.endpoints {
                let known = self.known.iter_mut().find(|known| known.name == files.name);
                if let (Some(known), Some(mode)) = (known, state.machine.mode(files.number)) {
                    is_news |= known.set_mode(mode);
                }
            }
        }
        if is_news {
            self.save_known();
        }
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

    /// The journal with this key, on the board or in the folders.
    fn find(&mut self, key: JournalKey) -> Option<Journal> {
        if let Some(journal) = self.shared.board.get(key) {
            return Some(journal);
        }
        let mut folders = StreamFolders::below(self.shared.board.root()).with_journals();
        let (_, folder) = folders.find(|(found, _)| *found == key)?;
        self.shared.board.load(&folder).ok()
    }

    /// The stream that a key, an id or the beginning of one names.
    fn stream(&mut self, text: &str) -> Result<JournalKey, CommandError> {
        let not_found = || CommandError::NotFound(format!("stream {text}"));
        if text.len() < PREFIX_CHARS_MIN {
            return Err(not_found());
        }
        let exact = safe_name(text);
        let (mut found, mut folders) = (
            None,
            StreamFolders::below(self.shared.board.root()).with_journals(),
        );
        let is_key = text.len() <= KEY_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (key, folder) in &mut folders {
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let fits = name == exact
                || name.starts_with(text)
                || is_key && key.to_string().starts_with(&text.to_ascii_lowercase());
            if !fits {
                continue;
            }
            let is_whole = name == exact || key.to_string() == text;
            if found.is_some() && !is_whole {
                return Err(CommandError::Ambiguous(format!("stream {text}")));
            }
            found = Some((key, folder));
            if is_whole {
                break;
            }
        }
        let (key, folder) = found.ok_or_else(not_found)?;
        self.load(&folder).ok_or_else(not_found)?;
        Ok(key)
    }
}

/// Files and workers.
impl Thread {
    fn start_workers(&mut self) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let State {
            machine, endpoints, ..
        } = &mut *state;
        for endpoint in endpoints {
            let jobs = machine.jobs(endpoint.number, now);
            for _ in 0..jobs.saturating_sub(endpoint.idle) {
                let (shared, number) = (Arc::clone(&self.shared), endpoint.number);
                let worker = Builder::new()
                    .name(format!("push-{}", endpoint.settings.name))
                    .stack_size(STACK_BYTES)
                    .spawn(move || work(&shared, number));
                match worker {
                    Ok(worker) => {
                        endpoint.workers += 1;
                        self.workers.push(worker);
                    }
                    Err(error) => {
                        // Those that run go on; the next event tries it again.
                        self.complain_of_thread(&error);
                        break;
                    }
                }
            }
        }
    }

    fn complain_of_thread(&self, error: &io::Error) {
        if let Some(more) = self.failing.allow(std::time::Instant::now()) {
            log::error!("push: a thread cannot be started: {error}{more}");
        }
    }

    /// Writes cursors that changed, syncs them, and releases journals, each at its time.
    fn write_files(&mut self) {
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
    fn rewrite_all(&mut self) {
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

    fn rewrite(&mut self, at: usize) -> bool {
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

    /// Releases journals that no endpoint needs any more, and holds those that are needed again.
    fn sweep(&mut self) {
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

    /// Lets go of journals that the machine has forgotten.
    fn forget_unknown(&mut self) {
        let gone: Vec<JournalKey> = {
            let state = self.shared.lock();
            let keys = state.folders.keys().copied();
            keys.filter(|key| !state.machine.knows(*key)).collect()
        };
        gone.into_iter().for_each(|key| self.forget(key));
    }

    /// They end with their request, which has a deadline and is cut off at the end of the process.
    fn join_workers(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            if worker.join().is_err() {
                log::error!("push: a worker panicked");
            }
        }
    }

    /// Waits for the requests under way, as long as the one who stops us does; then the last cursors.
    fn end(mut self) {
        self.join_workers();
        let mut is_written = true;
        for at in 0..self.endpoints.len() {
            is_written &= self.rewrite(at);
        }
        self.note_modes();
        if !is_written {
            log::error!("push: the last progress could not be written");
        }
    }
}

fn machine_settings(settings: &EndpointSettings, filter: u8) -> Settings {
    Settings {
        batch: settings.batch,
        linger_ms: settings.linger.as_millis() as u64,
        connections: settings.connections,
        give_up_s: settings.give_up.map_or(0, |time| time.as_secs() as u32),
        filter,
    }
}

fn end_of(journal: &Journal) -> End {
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
