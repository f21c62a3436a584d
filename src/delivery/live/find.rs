//! Finds the stream that a request names, on the board and in the folders.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::interest::{Event, Meeting};
use crate::delivery::clients::named::{Choice, Name, PREFIX_CHARS_MIN, Search};
use crate::feed::epoch;
use crate::feed::folders::StreamFolders;
use crate::feed::{
    Board, Chunk, Cursor, FEED_NAME, Found, Journal, JournalKey, Line, Reader, kind,
};
use crate::recorder::path::safe_name;
use crate::recorder::removal::{Tombstone, tombstones};

/// The first line of a journal is shorter.
const FIRST_LINE_BYTES: u64 = 16 << 10;

/// What is looked for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The stream that a person means.
    Name(String, Name),
    /// The stream with that key.
    Key(JournalKey),
    /// The newest stream of a meeting; also as its folder is named.
    Newest(Meeting, String),
}

/// A look through the folders, in steps.
#[derive(Debug)]
pub(super) struct Finder {
    wanted: Wanted,
    folders: StreamFolders,
    /// Of those that a name may mean.
    choice: Choice<PathBuf>,
    /// The newest of a meeting.
    found: Option<PathBuf>,
    /// Of a meeting: where the stream that was found begins.
    found_pos: u64,
}

impl Wanted {
    pub(super) fn name(text: String) -> Wanted {
        let name = Name::new(&text);
        Wanted::Name(text, name)
    }

    pub(super) fn newest(meeting: &str) -> Wanted {
        Wanted::Newest(Meeting::named(meeting), safe_name(meeting))
    }

    /// The journal that is meant for certain, if it is on the board.
    pub(super) fn on_board(&self, board: &Board) -> Option<Journal> {
        match self {
            Wanted::Key(key) => board.get(*key),
            Wanted::Name(text, _) => {
                if let Ok(key) = text.parse() {
                    return board.get(key);
                }
                let name = safe_name(text);
                let journals = board.snapshot().journals.into_iter();
                let epoch_of = |journal: &Journal| {
                    let folder = journal.folder.file_name()?.to_str()?;
                    let (stream, epoch) = epoch::split(folder);
                    (stream == name).then_some(epoch)
                };
                let named = journals.filter_map(|it| Some((epoch_of(&it)?, it)));
                named.max_by_key(|(epoch, _)| *epoch).map(|(_, it)| it)
            }
            Wanted::Newest(..) => None,
        }
    }
}

impl Finder {
    pub(super) fn new(wanted: Wanted, root: &Path) -> Finder {
        Finder {
            wanted,
            folders: StreamFolders::below(root),
            choice: Choice::default(),
            found: None,
            found_pos: 0,
        }
    }

    /// Looks on until that time; `None` if it is not done.
    pub(super) fn step(&mut self, board: &Board, until: Instant) -> Option<Search<PathBuf>> {
        while Instant::now() < until {
            let Some(folder) = self.folders.next() else {
                return Some(self.end());
            };
            if let Some(found) = self.look_at(board, folder) {
                return Some(Search::One(found));
            }
        }
        None
    }

    /// Where the journal that was found begins, of a meeting.
    pub(super) fn found_pos(&self) -> u64 {
        self.found_pos
    }

    fn end(&mut self) -> Search<PathBuf> {
        match self.found.take() {
            Some(found) => Search::One(found),
            None => std::mem::take(&mut self.choice).end(),
        }
    }

    /// The folder, if it is certainly the one.
    fn look_at(&mut self, board: &Board, folder: PathBuf) -> Option<PathBuf> {
        let has_journal = |folder: &Path| folder.join(FEED_NAME).is_file();
        match &self.wanted {
            Wanted::Key(key) => {
                (board.key_of(&folder) == *key && has_journal(&folder)).then_some(folder)
            }
            Wanted::Name(_, name) => {
                let fit = name.fits(folder.file_name()?.to_str()?, board.key_of(&folder))?;
                has_journal(&folder).then(|| self.choice.offer(fit, folder))?
            }
            Wanted::Newest(meeting, name) => {
                let day = |folder: &Path| folder.ancestors().nth(2).map(Path::to_owned);
                let is_older = |found: &PathBuf| day(found) != day(&folder);
                if self.found.as_ref().is_some_and(is_older) {
                    return self.found.take();
                }
                let is_named = folder
                    .parent()
                    .is_some_and(|meeting| meeting.ends_with(name));
                let first = first_line(&folder)?;
                let line = Line::parse(&first)?;
                if (is_named || meeting.is_of(&first)) && line.pos > self.found_pos {
                    self.found_pos = line.pos;
                    self.found = Some(folder);
                }
                None
            }
        }
    }
}

fn first_line(folder: &Path) -> Option<Vec<u8>> {
    let file = File::open(folder.join(FEED_NAME)).ok()?;
    let mut bytes = Vec::new();
    file.take(FIRST_LINE_BYTES).read_to_end(&mut bytes).ok()?;
    let end = memchr::memchr(b'\n', &bytes)?;
    bytes.truncate(end);
    Some(bytes)
}

/// The stream with that name whose consent was withdrawn, and where the server's journal says so.
pub(super) fn revoked(
    reader: &Reader,
    is_meant: impl Fn(&Event<'_>) -> bool,
) -> Option<(JournalKey, u64)> {
    let (mut cursor, mut chunk) = (Cursor::begin(JournalKey::SERVER), Chunk::default());
    let mut found = None;
    while reader.read(&cursor, &mut chunk).ok()? == Found::Lines {
        for event in chunk.lines().map(Event::new) {
            if event.line.kind == kind::STREAM_REVOKED && is_meant(&event) {
                found = Some((event.about, event.line.pos));
            }
        }
        cursor = chunk.end();
    }
    found
}

/// What is left of the stream that a text names, if it was removed.
pub(super) fn removed(board: &Board, text: &str) -> Option<Tombstone> {
    let name = Name::new(text);
    tombstones::newest(board.root(), |it| {
        name.fits(it.place.stream(), it.key()).is_some()
    })
}

/// Whether a revocation is about the stream that a text names.
pub(super) fn is_named(event: &Event<'_>, text: &str) -> bool {
    if text.len() < PREFIX_CHARS_MIN {
        return false;
    }
    let member = format!(",\"streamid\":\"{text}");
    event.about.to_string().starts_with(text)
        || memchr::memmem::find(event.line.bytes, member.as_bytes()).is_some()
}
