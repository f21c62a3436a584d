//! The records of the text files of a stream, and what makes two of them the same.
//!
//! Two phrases are the same by what [`dedup`](crate::protocol::dedup) calls the same: speaker, times and
//! words. Their lines may differ, since one node may have known the speaker's name and the other not.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::union::{Identity, Record};
use crate::feed::Line;
use crate::recorder::journal::completion::Recorded;
use crate::recorder::seam::phrase_of;
use crate::recorder::transcript::cues::position_at_end;

/// The member of a line by which it is ordered.
#[derive(Deserialize)]
struct Stamped {
    #[serde(default)]
    timestamp_ms: u64,
}

/// A line of `transcript.jsonl`. One that was forgotten has no words left: it is compared byte by byte.
pub(super) fn phrase(line: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let Some(phrase) = phrase_of(text) else {
        return message(line);
    };
    let mut hash = Sha256::new();
    let ids = (&phrase.user_id, &phrase.channel_id, phrase.change.name());
    // A tuple of ids and a word can always be written as JSON.
    hash.update(serde_json::to_vec(&ids).unwrap_or_default());
    for stamp_ms in [phrase.start_ms, phrase.end_ms, phrase.timestamp_ms] {
        hash.update(stamp_ms.to_be_bytes());
    }
    hash.update(phrase.text.as_bytes());
    Some(Record {
        stamp_ms: phrase.timestamp_ms,
        identity: cut(hash),
        text: line.to_vec(),
    })
}

/// A line of `events.jsonl` or `chat.jsonl`: the same if every byte is.
pub(super) fn message(line: &[u8]) -> Option<Record> {
    let stamped: Option<Stamped> = serde_json::from_slice(line).ok();
    let stamp_ms = stamped.map_or(0, |stamped| stamped.timestamp_ms);
    Some(new(stamp_ms, line))
}

/// A line of the journal, without a time: an epoch's journal follows that of the epoch before it. Lines
/// about the stream are that epoch's own.
pub(super) fn journal(line: &[u8]) -> Option<Record> {
    let recorded = Line::parse(line).as_ref().and_then(Recorded::of);
    let as_elsewhere = match &recorded {
        Some(recorded) if recorded.is_phrase() => phrase(&recorded.line),
        Some(recorded) => message(&recorded.line),
        None => None,
    };
    let record = new(0, line);
    Some(Record {
        identity: as_elsewhere.map_or(record.identity, |it| it.identity),
        ..record
    })
}

/// What a line of the journal has of another file.
pub(super) fn of_journal(
    line: &[u8],
    is_own: fn(&Recorded<'_>) -> bool,
    parse: fn(&[u8]) -> Option<Record>,
) -> Option<Record> {
    let recorded = Recorded::of(&Line::parse(line)?).filter(is_own)?;
    parse(&recorded.line)
}

/// A cue of `transcript.vtt` or `.srt`, where nothing better is left of the phrase; without its number,
/// which depends on the cues before it.
pub(super) fn cue(block: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(block).ok()?;
    let position = position_at_end(text)?;
    let (_, numberless) = text.trim_start_matches('\n').split_once('\n')?;
    Some(new(position.start_ms, numberless.as_bytes()))
}

/// A line of `transcript.txt`, where nothing better is left. It has the time of day alone.
pub(super) fn plain(line: &[u8]) -> Option<Record> {
    Some(new(0, line))
}

/// A record that is the same as another one if its text is.
fn new(stamp_ms: u64, text: &[u8]) -> Record {
    Record {
        stamp_ms,
        identity: digest(text),
        text: text.to_vec(),
    }
}

fn digest(bytes: &[u8]) -> Identity {
    cut(Sha256::new_with_prefix(bytes))
}

fn cut(hash: Sha256) -> Identity {
    let digest = hash.finalize();
    std::array::from_fn(|at| digest[at])
}
