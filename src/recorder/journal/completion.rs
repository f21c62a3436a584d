//! What a crash left in the journal alone: it is written first, and the other files lack what came
//! last. They are completed from it.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use memchr::memmem;

use crate::domain::phrase::Phrase;
use crate::feed::{FEED_NAME, Line, kind};
use crate::recorder::append_file::tail_of;
use crate::recorder::seam::phrase_of;

/// How much of the journal's end is looked at for the last record of another file. A crash leaves
/// less; the second is for a flood on a slow disk.
const LOOKS_BYTES: [u64; 2] = [64 << 10, 8 << 20];

/// So many records in a row agree where the other file ends.
const AGREE: usize = 8;

/// The end of a journal.
#[derive(Debug)]
pub(crate) struct JournalTail {
    text: String,
    /// It is the whole journal.
    is_whole: bool,
}

/// One record of the journal, as it stands in another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded<'a> {
    kind: &'a str,
    /// The other file's line, without its line break.
    pub(crate) line: Cow<'a, [u8]>,
}

impl<'a> Recorded<'a> {
    /// The record in a line of the journal; `None` for one about the stream itself, which stands there
    /// alone.
    pub(crate) fn of(line: &Line<'a>) -> Option<Recorded<'a>> {
        let recorded = Recorded {
            kind: line.kind,
            line: without_people(line.kind, line.data()),
        };
        let is_elsewhere = recorded.is_phrase() || recorded.is_chat() || recorded.is_event();
        is_elsewhere.then_some(recorded)
    }

    pub(crate) fn is_phrase(&self) -> bool {
        self.kind.starts_with("transcript.")
    }

    pub(crate) fn is_chat(&self) -> bool {
        self.kind == kind::CHAT_MESSAGE
    }

    pub(crate) fn is_event(&self) -> bool {
        matches!(
            self.kind,
            kind::PARTICIPANT_JOINED
                | kind::PARTICIPANT_LEFT
                | kind::SPEAKER_CHANGED
                | kind::SHARING_STARTED
                | kind::SHARING_STOPPED
                | kind::EVENT_OTHER
        )
    }

    pub(crate) fn phrase(&self) -> Option<Phrase<'_>> {
        phrase_of(std::str::from_utf8(&self.line).ok()?)
    }
}

impl JournalTail {
    /// Each look at the journal in that folder, the second one further back.
    pub(crate) fn looks(folder: &Path) -> impl Iterator<Item = io::Result<JournalTail>> {
        let path = folder.join(FEED_NAME);
        LOOKS_BYTES.into_iter().map(move |bytes| {
            let text = tail_of(&path, "\n", bytes)?;
            Ok(JournalTail {
                is_whole: (text.len() as u64) < bytes,
                text,
            })
        })
    }

    /// The records that stand in another file as well.
    pub(crate) fn records(&self) -> Vec<Recorded<'_>> {
        let lines = self.text.as_bytes().split(|b| *b == b'\n');
        let lines = lines.filter_map(Line::parse);
        lines.filter_map(|line| Recorded::of(&line)).collect()
    }

    /// How many of `records` (the journal's, as they look in the other file) stand in that file already,
    /// of which `last` are the last ones. `None` if the place is not found. If people say the same again
    /// and again, several places fit: then the one where the most records are alike in time, too. The right
    /// one may stand before this part of the journal, so one at least must be.
    pub(crate) fn count_present<T: PartialEq<U>, U>(
        &self,
        records: &[T],
        last: &[U],
        are_of_one_time: impl Fn(&T, &U) -> bool,
    ) -> Option<usize> {
        // A short file is known whole, and most often it began with the journal.
        let is_prefix = last.len() <= AGREE && records.iter().zip(last).all(|(a, b)| a == b);
        if last.is_empty() || self.is_whole && is_prefix && last.len() <= records.len() {
            return self.is_whole.then_some(last.len());
        }
        let last = &last[last.len().saturating_sub(AGREE)..];
        let pairs = |end: usize| records[..end].iter().rev().zip(last.iter().rev());
        let places = (1..=records.len()).filter(|end| pairs(*end).all(|(a, b)| a == b));
        let alike = |end: usize| pairs(end).filter(|(a, b)| are_of_one_time(a, b)).count();
        let (alike, end) = places.map(|end| (alike(end), end)).max()?;
        (alike > 0).then_some(end)
    }
}

/// `data` of the journal has one member more than the line in `events.jsonl`.
fn without_people<'a>(kind: &str, data: &'a [u8]) -> Cow<'a, [u8]> {
    let is_attendance = matches!(kind, kind::PARTICIPANT_JOINED | kind::PARTICIPANT_LEFT);
    // Ours is the last one, and in a name each quote has a backslash before it.
    let at = is_attendance.then(|| memmem::rfind(data, b",\"people\":["));
    match at.flatten() {
        Some(at) => Cow::Owned([&data[..at], b"}"].concat()),
        None => Cow::Borrowed(data),
    }
}
