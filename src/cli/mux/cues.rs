//! The subtitles of a recording, read from one of its transcript files.

use std::collections::VecDeque;

use serde::Deserialize;

use super::recording::Cue;
use crate::domain::id::Id;
use crate::domain::text::{one_line, speaker};
use crate::forgetting::texts::PLACEHOLDER;

/// A line of `transcript.jsonl`, as far as a subtitle needs it.
#[derive(Deserialize)]
struct Line {
    #[serde(default = "unknown")]
    user_id: Id<'static>,
    channel_id: Option<Id<'static>>,
    #[serde(default)]
    user_name: String,
    start_ms: u64,
    end_ms: u64,
    attribute: Option<String>,
    text: String,
    #[serde(default)]
    forgotten: bool,
}

fn unknown() -> Id<'static> {
    Id::UNKNOWN
}

/// From `transcript.jsonl`: an update replaces the phrase, a deletion removes it.
pub(super) fn from_jsonl(text: &str) -> Vec<Cue> {
    // With the user, to find the phrase of an update.
    let mut cues: Vec<(Id<'static>, Cue)> = Vec::new();
    // Torn lines and lines of other types are skipped, and what was forgotten.
    let lines = text.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
    for line in lines.filter(|line| !line.forgotten) {
        let name = speaker(&line.user_id, line.channel_id.as_ref(), &line.user_name);
        let cue = Cue {
            start_ms: line.start_ms,
            end_ms: line.end_ms,
            text: format!("{name}: {}", one_line(&line.text)),
        };
        if line.attribute.is_some() {
            let is_same = |known: &(Id<'static>, Cue)| {
                known.0 == line.user_id && known.1.start_ms == line.start_ms
            };
            let found = cues.iter().rposition(is_same);
            match (line.attribute.as_deref(), found) {
                (Some("delete"), Some(at)) => _ = cues.remove(at),
                (Some("delete"), None) => {}
                (_, Some(at)) => cues[at].1 = cue,
                (_, None) => cues.push((line.user_id, cue)),
            }
        } else {
            cues.push((line.user_id, cue));
        }
    }
    cues.into_iter().map(|(_, cue)| cue).collect()
}

/// From `transcript.srt` or `transcript.vtt`, whose times count from `zero_ms`.
pub(super) fn from_subtitles(text: &str, zero_ms: u64) -> Vec<Cue> {
    let mut cues = Vec::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().skip_while(|line| !line.contains(" --> "));
        let times = lines.next().and_then(|line| line.split_once(" --> "));
        let Some((Some(start), Some(end))) = times.map(|(from, to)| (clock(from), clock(to)))
        else {
            continue;
        };
        let said = lines.collect::<Vec<_>>().join(" ");
        let said = match said
            .strip_prefix("<v ")
            .and_then(|rest| rest.split_once('>'))
        {
            Some((name, text)) => unescape(&format!("{name}: {text}")),
            None => said,
        };
        if said == PLACEHOLDER {
            continue;
        }
        cues.push(Cue {
            start_ms: zero_ms.saturating_add(start),
            end_ms: zero_ms.saturating_add(end),
            text: said,
        });
    }
    cues
}

/// `00:01:02.345`, or with a comma.
fn clock(text: &str) -> Option<u64> {
    let (clock, ms) = text.trim().split_once(['.', ','])?;
    let mut seconds = 0_u64;
    for part in clock.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    seconds.checked_mul(1000)?.checked_add(ms.parse().ok()?)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Sorts cues by start and gives each a length.
pub(super) fn ordered(mut cues: Vec<Cue>) -> Vec<Cue> {
    cues.retain(|cue| !cue.text.is_empty());
    cues.sort_by_key(|cue| cue.start_ms);
    for cue in &mut cues {
        cue.end_ms = cue.end_ms.max(cue.start_ms + 1);
    }
    cues
}

/// Most lines of one cue.
const LINES_MAX: usize = 3;

/// Cues that do not overlap, because MP4 cannot hold others: where phrases overlap, a new cue begins at
/// each start and end, with one line for each phrase. Takes and returns start and end in milliseconds,
/// sorted by start.
pub(super) fn flattened(cues: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    let ends = cues.iter().map(|(_, end, _)| *end);
    let mut changes: Vec<u64> = cues.iter().map(|(start, ..)| *start).chain(ends).collect();
    changes.sort_unstable();
    changes.dedup();
    let mut flat = Vec::new();
    let mut waiting = cues.iter().peekable();
    let mut shown: VecDeque<(u64, &str)> = VecDeque::new();
    for change in changes.windows(2) {
        let (from, until) = (change[0], change[1]);
        shown.retain(|(end, _)| *end > from);
        while let Some((_, end, text)) = waiting.next_if(|(start, ..)| *start <= from) {
            shown.push_back((*end, text));
            if shown.len() > LINES_MAX {
                shown.pop_front();
            }
        }
        if !shown.is_empty() {
            let lines: Vec<&str> = shown.iter().map(|(_, text)| *text).collect();
            flat.push((from, until, lines.join("\n")));
        }
    }
    flat
}

/// Invisible and without width; it separates nothing.
const WORD_JOINER: char = '\u{2060}';

/// The text so that ffmpeg interprets no part of it as markup: `<Ruiz>` would be an unknown tag and vanish.
/// SubRip has no escapes, so a character that begins markup is followed by an invisible one.
pub(super) fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(c);
        if matches!(c, '<' | '{' | '\\') {
            out.push(WORD_JOINER);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(start_ms: u64, end_ms: u64, text: &str) -> Cue {
        Cue {
            start_ms,
            end_ms,
            text: text.to_owned(),
        }
    }

    #[test]
    fn phrases_with_their_updates() {
        let line = |user: u64, start: u64, more: &str, text: &str| {
            format!(
                r#"{{"v":1,"type":"transcript","user_id":{user},"user_name":"Ada & <Bo>","start_ms":{start},"end_ms":{},{more}"text":"{text}"}}"#,
                start + 500
            ) + "\n"
        };
        let text = [
            line(1, 100, "", "good mourning"),
            line(2, 100, "", "hi\\n-->"),
            "{\"torn\n".to_owned(),
            line(1, 100, "\"attribute\":\"update\",", "good morning"),
            line(2, 900, "", "gone"),
            line(2, 900, "\"attribute\":\"delete\",", "gone"),
        ];
        assert_eq!(
            from_jsonl(&text.concat()),
            [
                cue(100, 600, "Ada & <Bo>: good morning"),
                cue(100, 600, "Ada & <Bo>: hi -->")
            ]
        );
    }

    #[test]
    fn subtitle_files() {
        let vtt =
            "WEBVTT\n\n1\n00:00:00.012 --> 00:00:01.500\n<v Ada &amp; Bo>a --&gt; b\n\n2\ntorn";
        assert_eq!(
            from_subtitles(vtt, 1000),
            [cue(1012, 2500, "Ada & Bo: a --> b")]
        );
        let srt = "1\n100:00:00,012 --> 100:00:01,500\nAda: a → b\n\n";
        assert_eq!(
            from_subtitles(srt, 0),
            [cue(360_000_012, 360_001_500, "Ada: a → b")]
        );
    }

    #[test]
    fn nothing_is_markup() {
        assert_eq!(without_markup("Ada: 3 > 2 & so"), "Ada: 3 > 2 & so");
        assert_eq!(
            without_markup("<b>{\\an8}"),
            "<\u{2060}b>{\u{2060}\\\u{2060}an8}"
        );
    }

    #[test]
    fn no_two_cues_overlap() {
        let cues = vec![cue(50, 50, "b"), cue(10, 20, "a"), cue(1, 2, "")];
        assert_eq!(ordered(cues), [cue(10, 20, "a"), cue(50, 51, "b")]);

        let check = |cues: &[(u64, u64, &str)], expected: &[(u64, u64, &str)]| {
            let flat = flattened(cues);
            let flat: Vec<_> = flat
                .iter()
                .map(|(a, b, text)| (*a, *b, text.as_str()))
                .collect();
            assert_eq!(flat, expected);
        };
        check(&[], &[]);
        check(&[(0, 5, "a"), (9, 12, "b")], &[(0, 5, "a"), (9, 12, "b")]);
        check(
            &[(0, 10, "a"), (4, 6, "b"), (10, 12, "c")],
            &[(0, 4, "a"), (4, 6, "a\nb"), (6, 10, "a"), (10, 12, "c")],
        );
        check(
            &[(0, 9, "a"), (0, 9, "b"), (0, 9, "c"), (0, 9, "d")],
            &[(0, 9, "b\nc\nd")],
        );
    }
}
