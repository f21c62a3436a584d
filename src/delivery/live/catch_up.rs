//! Reads what a client has missed from the journals' files, in the order of positions.
//!
//! Only as many bytes of each journal are in memory as the order needs ([`MERGE_BYTES`]). Streams of
//! days before are looked for in the folders of their days, one day after another as the order reaches
//! it, and leave the board again once they are read.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::interest::{Event, Scope};
use super::merge::Merge;
use crate::domain::time::{Utc, parse_unix_ms};
use crate::feed::folders::{StreamFolders, days};
use crate::feed::reader::{READ_BYTES, end_of};
use crate::feed::{
    Board, Chunk, Cursor, FEED_NAME, Found, Journal, JournalKey, Line, Reader, State,
};

/// Bytes of each of many journals that are merged.
pub(super) const MERGE_BYTES: usize = 2 << 10;
/// Bytes of the one journal of a stream.
const STREAM_BYTES: usize = 16 << 10;
/// So often it looks for journals that are new.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const DAY_US: u64 = 86_400_000_000;

/// The streams that ran when a client asked for all of them from their beginning.
#[derive(Debug)]
pub(super) struct Begin {
    board: Arc<Board>,
    /// Sorted.
    keys: Vec<JournalKey>,
    /// Up to here their lines alone are sent.
    until: u64,
}

impl Begin {
    /// What runs now, kept on the board until it is read.
    pub(super) fn now(board: &Arc<Board>) -> Begin {
        let snapshot = board.snapshot();
        let journals = snapshot.journals.iter();
        let running =
            journals.filter(|it| it.state == State::Running && it.key != JournalKey::SERVER);
        let keys = running.map(|it| it.key).filter(|key| board.hold(*key));
        Begin {
            keys: keys.collect(),
            until: snapshot.pos,
            board: Arc::clone(board),
        }
    }

    pub(super) fn until(&self) -> u64 {
        self.until
    }

    fn has(&self, key: JournalKey) -> bool {
        self.keys.binary_search(&key).is_ok()
    }
}

impl Drop for Begin {
    fn drop(&mut self) {
        for key in &self.keys {
            self.board.release(*key);
        }
    }
}

/// What a step has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are events.
    Lines,
    /// The time is over before there were any.
    Busy,
    /// Everything up to the position was looked at.
    Reached,
}

/// One client's reading of files.
#[derive(Debug)]
pub(super) struct CatchUp {
    reader: Reader,
    /// The one stream that is read; else all.
    stream: Option<JournalKey>,
    begin: Option<Arc<Begin>>,
    /// Every line up to there is in this block or was in an earlier one.
    pos: u64,
    /// Every line up to there could be read when the sources were last asked.
    target: u64,
    merge: Merge,
    /// By their numbers in the merge.
    sources: Vec<Cursor>,
    open: HashMap<JournalKey, usize>,
    /// Sources without a line for now.
    drained: Vec<usize>,
    /// Journals to be opened.
    waiting: Vec<JournalKey>,
    /// Days to be looked at, the oldest first, and the one at hand.
    days: VecDeque<String>,
    folders: Option<StreamFolders>,
    looked: Instant,
    chunk: Chunk,
    block: Vec<u8>,
}

impl CatchUp {
    /// Reads what lies behind that position.
    pub(super) fn new(
        reader: &Reader,
        scope: &Scope,
        pos: u64,
        begin: Option<&Arc<Begin>>,
        now: Instant,
    ) -> CatchUp {
        let stream = match scope {
            Scope::Stream(key) => Some(*key),
            Scope::All | Scope::Meeting(_) => None,
        };
        let begin = begin.cloned();
        // Streams that had begun before are on the board, if they still run.
        let from = pos.max(begin.as_ref().map_or(0, |begin| begin.until()));
        let oldest = Utc::from_unix_ms(from.saturating_sub(DAY_US) / 1000).date();
        let days = match stream {
            Some(_) => VecDeque::new(),
            None => days(reader.board().root(), &oldest).into(),
        };
        let mut catch_up = CatchUp {
            reader: reader.clone(),
            stream,
            begin,
            pos,
            target: 0,
            merge: Merge::default(),
            sources: Vec::new(),
            open: HashMap::new(),
            drained: Vec::new(),
            waiting: Vec::new(),
            days,
            folders: None,
            looked: now,
            chunk: Chunk::default(),
            block: Vec::new(),
        };
        catch_up.aim(now);
        catch_up
    }

    /// Every event up to there has been in a block.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// The events of the block behind that position.
    pub(super) fn events(&self, after: u64) -> impl Iterator<Item = Event<'_>> {
        let lines = self.block.split(|b| *b == b'\n').filter_map(Line::parse);
        lines.filter(move |line| line.pos > after).map(Event::new)
    }

    /// Memory use, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.merge.held_bytes() + self.block.capacity() + READ_BYTES
    }

    /// Reads the next block; works until that time.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub(super) fn fill(&mut self, until: Instant) -> io::Result<Filled> {
        self.block.clear();
        if self.pos >= self.target {
            self.aim(Instant::now());
        }
        loop {
            let now = Instant::now();
            let is_full = self.block.len() >= READ_BYTES;
            if is_full || now >= until {
                return Ok(match self.block.is_empty() {
                    true => Filled::Busy,
                    false => Filled::Lines,
                });
            }
            if now >= self.looked + LOOK_EVERY {
                self.look(now);
            } else if let Some(key) = self.waiting.pop() {
                self.open(key)?;
            } else if let Some(folders) = &mut self.folders {
                match folders.next() {
                    Some(folder) => self.look_into(&folder)?,
                    None => self.folders = None,
                }
            } else if let Some(day) = self.next_day() {
                self.folders = Some(StreamFolders::of_day(self.reader.board().root(), &day));
            } else if self.merge.next_pos().is_some_and(|pos| pos <= self.target) {
                if let Some(taken) = self.merge.take(&mut self.block) {
                    self.pos = taken.pos;
                    if let Some(number) = taken.empty {
                        self.refill(number)?;
                    }
                }
            } else {
                self.pos = self.pos.max(self.target);
                return Ok(match self.block.is_empty() {
                    true => Filled::Reached,
                    false => Filled::Lines,
                });
            }
        }
    }

    /// The next day, if one of its streams may have the next line.
    fn next_day(&mut self) -> Option<String> {
        let starts_us = parse_unix_ms(self.days.front()?)
            .unwrap_or(0)
            .saturating_mul(1000);
        let next = self.merge.next_pos();
        let is_due = next.is_none_or(|pos| pos.min(self.target) + DAY_US >= starts_us);
        is_due.then(|| self.days.pop_front())?
    }

    /// Takes up everything that can be read now.
    fn aim(&mut self, now: Instant) {
        // First the position: every line up to it is there when a source is asked afterwards.
        self.target = self.reader.board().pos();
        self.look(now);
        for number in std::mem::take(&mut self.drained) {
            self.waiting.push(self.sources[number].key);
        }
    }

    /// Finds journals on the board that are not read yet.
    fn look(&mut self, now: Instant) {
        self.looked = now;
        let board = self.reader.board();
        let journals: Vec<Journal> = match self.stream {
            Some(key) => [key, JournalKey::SERVER]
                .into_iter()
                .filter_map(|key| board.get(key))
                .collect(),
            None => board.snapshot().journals,
        };
        for journal in journals {
            let key = journal.key;
            let has_news = journal.pos > self.from(key) || journal.state == State::Running;
            if journal.state != State::Revoked && has_news && !self.is_known(key) {
                self.waiting.push(key);
            }
        }
    }

    /// A folder of a stream that may be of an earlier process.
    fn look_into(&mut self, folder: &Path) -> io::Result<()> {
        let path = folder.join(FEED_NAME);
        let Ok(file) = fs::metadata(&path) else {
            return Ok(());
        };
        let board = Arc::clone(self.reader.board());
        let key = board.key_of(folder);
        let from = self.from(key);
        // Positions may be ahead of the clock, but not by a day.
        let written = file.modified().unwrap_or_else(|_| SystemTime::now());
        let written = written
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let is_old = written.as_micros() + u128::from(DAY_US) < u128::from(from);
        if is_old || self.is_known(key) {
            return Ok(());
        }
        let state = match board.get(key) {
            // Its stream was rejoined since the board was looked at.
            Some(journal) => Some(journal.state),
            None if end_of(&path)?.pos > from => Some(board.load(folder)?.state),
            None => None,
        };
        if state.is_some_and(|state| state != State::Revoked) {
            self.waiting.push(key);
        }
        Ok(())
    }

    fn is_known(&self, key: JournalKey) -> bool {
        self.open.contains_key(&key) || self.waiting.contains(&key)
    }

    /// Behind which position lines of this journal are wanted.
    fn from(&self, key: JournalKey) -> u64 {
        match &self.begin {
            Some(begin) if !begin.has(key) => self.pos.max(begin.until),
            _ => self.pos,
        }
    }

    fn open(&mut self, key: JournalKey) -> io::Result<()> {
        if let Some(number) = self.open.get(&key) {
            return self.refill(*number);
        }
        let board = self.reader.board();
        let from = self.from(key);
        let Some(journal) = board.get(key).filter(|_| board.hold(key)) else {
            return Ok(());
        };
        let number = self.merge.add();
        let cursor = match journal.pos <= from {
            true => Ok(Cursor {
                key,
                seq: journal.seq,
                offset: journal.bytes,
            }),
            false => self.reader.cursor_after_pos(key, from),
        };
        if self.sources.len() <= number {
            self.sources.resize(number + 1, Cursor::begin(key));
        }
        self.sources[number] = Cursor::begin(key);
        self.open.insert(key, number);
        self.sources[number] = cursor?;
        self.refill(number)
    }

    fn refill(&mut self, number: usize) -> io::Result<()> {
        let bytes_max = match self.stream {
            Some(_) => STREAM_BYTES,
            None => MERGE_BYTES,
        };
        loop {
            let cursor = &mut self.sources[number];
            match self.reader.read_some(cursor, bytes_max, &mut self.chunk)? {
                Found::Lines => {
                    *cursor = self.chunk.end();
                    let bytes = self.chunk.bytes().len();
                    let mut lines = self.chunk.lines().map(|line| line.bytes).peekable();
                    // What is no line is passed over.
                    if lines.peek().is_some() {
                        self.merge.fill(number, bytes, lines);
                        return Ok(());
                    }
                }
                Found::Nothing => {
                    self.merge.fill(number, 0, std::iter::empty());
                    self.drained.push(number);
                    return Ok(());
                }
                Found::Ended | Found::Revoked | Found::Gone => {
                    self.close(number);
                    return Ok(());
                }
            }
        }
    }

    fn close(&mut self, number: usize) {
        let key = self.sources[number].key;
        self.merge.remove(number);
        if self.open.remove(&key).is_some() {
            self.reader.board().release(key);
        }
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        for key in self.open.keys() {
            self.reader.board().release(*key);
        }
    }
}
