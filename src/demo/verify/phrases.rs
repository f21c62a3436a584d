//! Compares phrases that were sent with a server's transcript.

use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::demo::player::content::Phrase;

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Phrases sent.
    pub sent: usize,
    /// Transcript lines read.
    pub received: usize,
    /// Sent, but in no line.
    pub lost: usize,
    /// Lines beyond the first for one phrase.
    pub doubled: usize,
    /// Lines that match nothing sent, or are not JSON.
    pub foreign: usize,
    /// Lines before one that was sent earlier.
    pub disordered: usize,
}

impl Comparison {
    /// Whether every phrase was received once, in order, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.foreign == 0 && self.disordered == 0
    }

    /// The sum of both.
    pub fn plus(&self, other: &Comparison) -> Comparison {
        Comparison {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            foreign: self.foreign + other.foreign,
            disordered: self.disordered + other.disordered,
        }
    }
}

type Key = (u64, u64, u64, u64, i64, String, String);

fn key_of(phrase: &Phrase) -> Key {
    (
        phrase.user_id,
        phrase.start_ms,
        phrase.end_ms,
        phrase.timestamp_ms,
        phrase.language,
        phrase.user_name.clone(),
        phrase.text.clone(),
    )
}

/// Compares phrases with the lines of a `transcript.jsonl`. Languages are compared only if the line
/// has a number.
pub fn compare<'a>(sent: &[Phrase], lines: impl IntoIterator<Item = &'a str>) -> Comparison {
    let sent: Vec<Key> = sent.iter().map(|phrase| unspoken(key_of(phrase))).collect();
    tally(&sent, lines.into_iter().map(parse))
}

/// Compares items that were sent once each with what was found; `None` stands for something that
/// cannot have been sent.
pub(in crate::demo) fn tally<K: Eq + Hash>(
    sent: &[K],
    found: impl IntoIterator<Item = Option<K>>,
) -> Comparison {
    let mut seen: HashMap<&K, (usize, usize)> = sent
        .iter()
        .enumerate()
        .map(|(place, key)| (key, (place, 0)))
        .collect();
    let mut result = Comparison {
        sent: sent.len(),
        ..Comparison::default()
    };
    let mut furthest = 0;
    for key in found {
        result.received += 1;
        match key.as_ref().and_then(|key| seen.get_mut(key)) {
            None => result.foreign += 1,
            Some((_, count)) if *count > 0 => result.doubled += 1,
            Some((place, count)) => {
                *count = 1;
                if *place < furthest {
                    result.disordered += 1;
                }
                furthest = furthest.max(*place);
            }
        }
    }
    result.lost = seen.values().filter(|(_, count)| *count == 0).count();
    result
}

/// The language is Zoom's number on the wire and may be a name in a file, so it is not part of the
/// key.
fn unspoken(mut key: Key) -> Key {
    key.4 = 0;
    key
}

fn parse(line: &str) -> Option<Key> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["type"] != "transcript" {
        return None;
    }
    let number = |name: &str| match &line[name] {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    Some((
        number("user_id")?,
        number("start_ms")?,
        number("end_ms")?,
        number("timestamp_ms")?,
        0,
        line["user_name"].as_str()?.to_owned(),
        line["text"].as_str()?.to_owned(),
    ))
}

const ID_KEYS: [&str; 4] = ["meeting_uuid", "session_id", "engagement_id", "call_id"];

/// The lines of every `transcript.jsonl` below `out` with this id, under whatever key, in the order
/// of the files' paths. A last line without a line break is left out and not counted.
pub fn transcript_lines(out: &Path, id: &str) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    collect(out, &mut files)?;
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let is_ours = |line: &&str| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|line| ID_KEYS.iter().any(|key| line[key] == id))
        };
        lines.extend(whole.lines().filter(is_ours).map(str::to_owned));
    }
    Ok(lines)
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else if entry.file_name() == "transcript.jsonl" {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::player::content::phrase;
    use crate::demo::player::script::MeetingScript;
    use serde_json::json;

    #[test]
    fn lost_duplicated_foreign_and_disordered_phrases_are_counted() {
        let script = MeetingScript::plain("compare");
        let sent: Vec<Phrase> = (0..4).map(|i| phrase(&script, 1000, 500, i)).collect();
        let line = |p: &Phrase| {
            json!({"v": 1, "type": "transcript", "user_id": p.user_id, "user_name": p.user_name,
                "start_ms": p.start_ms, "end_ms": p.end_ms, "timestamp_ms": p.timestamp_ms,
                "language": "en", "text": p.text})
            .to_string()
        };
        let all: Vec<String> = sent.iter().map(line).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let exact = compare(&sent, all.iter().copied());
        assert!(exact.is_exact(), "{exact:?}");
        let bad = [all[0], all[2], all[1], all[0], "{}"];
        assert_eq!(
            compare(&sent, bad),
            Comparison {
                sent: 4,
                received: 5,
                lost: 1,
                doubled: 1,
                foreign: 1,
                disordered: 1
            }
        );
    }
}
