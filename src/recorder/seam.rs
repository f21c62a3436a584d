//! The seam of a restart: what an earlier process wrote last, so that none of it is written again.

use std::borrow::Cow;
use std::path::Path;

use super::append_file::tail_of;
use super::path::folder_of;
use super::transcript::JSONL_NAME;
use crate::domain::id::Id;
use crate::domain::phrase::{Change, Phrase, Precision};
use crate::domain::stream_info::StreamInfo;
use crate::feed::{FEED_NAME, Line};
use crate::protocol::dedup::RecentPhrases;

/// How much of `transcript.jsonl` is read: enough for minutes of an ordinary meeting, and, where that
/// does not reach back as far as [`RecentPhrases`] does, for as many phrases as it holds.
const TRANSCRIPT_BYTES: u64 = 256 << 10;
const TRANSCRIPT_BYTES_MAX: u64 = 2 << 20;

/// The same of the journal, whose lines are longer.
const SEAM_BYTES: u64 = 512 << 10;
const SEAM_BYTES_MAX: u64 = 4 << 20;

/// What identifies a phrase, of a line of `transcript.jsonl`.
#[derive(serde::Deserialize)]
#[serde(default)]
struct Written<'a> {
    user_id: Id<'static>,
    #[serde(borrow)]
    user_name: Cow<'a, str>,
    channel_id: Option<Id<'static>>,
    start_ms: u64,
    end_ms: u64,
    timestamp_ms: u64,
    #[serde(borrow)]
    attribute: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    /// Who said it was forgotten, and so were the words.
    forgotten: bool,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Written {
            user_id: Id::UNKNOWN,
            user_name: Cow::Borrowed(""),
            channel_id: None,
            start_ms: 0,
            end_ms: 0,
            timestamp_ms: 0,
            attribute: None,
            text: Cow::Borrowed(""),
            forgotten: false,
        }
    }
}

/// The phrase of a line of `transcript.jsonl`, without its language. `None` for one that was
/// forgotten, and for what is no such line: the first one of a file's tail may be cut.
pub(crate) fn phrase_of(line: &str) -> Option<Phrase<'_>> {
    let written: Written<'_> = serde_json::from_str(line).ok()?;
    (!written.forgotten).then(|| Phrase {
        user_id: written.user_id,
        user_name: written.user_name,
        channel_id: written.channel_id,
        precision: Precision::default(),
        language: None,
        start_ms: written.start_ms,
        end_ms: written.end_ms,
        timestamp_ms: written.timestamp_ms,
        change: (written.attribute.as_deref()).map_or(Change::New, Change::from_name),
        text: written.text,
    })
}

/// The phrase of a line of the journal.
pub(crate) fn phrase_of_journal(line: &str) -> Option<Phrase<'_>> {
    let line = Line::parse(line.as_bytes())?;
    let is_phrase = line.kind.starts_with("transcript.");
    let data = is_phrase.then(|| std::str::from_utf8(line.data()))?;
    phrase_of(data.ok()?)
}

/// The last phrases that an earlier process wrote of a stream, so that none is taken again: those of
/// the journal, which is written first, whatever the formats of the transcript are. Those of
/// `transcript.jsonl` where there is no journal, or one that was switched off meanwhile.
pub fn load_recent_phrases(root: &Path, info: &StreamInfo) -> RecentPhrases {
    let folder = root.join(folder_of(info));
    let journal = load(
        &folder.join(FEED_NAME),
        [SEAM_BYTES, SEAM_BYTES_MAX],
        phrase_of_journal,
    );
    let transcript = load(
        &folder.join(JSONL_NAME),
        [TRANSCRIPT_BYTES, TRANSCRIPT_BYTES_MAX],
        phrase_of,
    );
    match transcript.newest_ms() > journal.newest_ms() {
        true => transcript,
        false => journal,
    }
}

/// The last phrases of a file, as far back as they may be repeated. A file that is not there or cannot
/// be read has none.
fn load(path: &Path, looks: [u64; 2], phrase_of: fn(&str) -> Option<Phrase<'_>>) -> RecentPhrases {
    let mut recent = RecentPhrases::default();
    for bytes in looks {
        let text = tail_of(path, "\n", bytes).unwrap_or_default();
        recent = RecentPhrases::default();
        for phrase in text.lines().filter_map(phrase_of) {
            recent.insert(&phrase);
        }
        let is_whole = (text.len() as u64) < bytes;
        if is_whole || recent.is_complete() {
            break;
        }
    }
    recent
}
