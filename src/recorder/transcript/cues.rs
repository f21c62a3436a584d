//! Subtitle cues (WebVTT and SubRip) and plain text lines for one phrase.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;

use memchr::memchr3_iter;

use crate::domain::decimal::{fill, number};
use crate::domain::phrase::Phrase;
use crate::domain::text::{one_line, speaker};

/// First bytes of a WebVTT file.
pub const VTT_HEADER: &str = "WEBVTT\n\n";

/// Number and time of the last cue. Both only grow, because players read cues in order, while
/// phrases of several speakers may overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the last cue.
    pub number: u64,
    /// Start of the last cue, in milliseconds from zero.
    pub start_ms: u64,
}

impl Position {
    /// Start and end of the next cue, for a phrase in a stream that began at `zero_ms`. Every cue
    /// has a duration, because players drop cues without one.
    fn next(&mut self, zero_ms: u64, phrase: &Phrase<'_>) -> (u64, u64) {
        self.number += 1;
        self.start_ms = self.start_ms.max(phrase.start_ms.saturating_sub(zero_ms));
        let end_ms = phrase.end_ms.saturating_sub(zero_ms).max(self.start_ms + 1);
        (self.start_ms, end_ms)
    }
}

/// A WebVTT cue with a voice tag, and the blank line after it.
pub fn vtt(out: &mut Vec<u8>, position: &mut Position, zero_ms: u64, phrase: &Phrase<'_>) {
    head(out, position, zero_ms, phrase, b'.');
    out.extend_from_slice(b"<v ");
    escape(out, &name(phrase));
    out.push(b'>');
    escape(out, &one_line(&phrase.text));
    out.extend_from_slice(b"\n\n");
}

/// A SubRip cue and the blank line after it. SubRip has no escapes: `-->` in a text would look like
/// a time line and is written as an arrow character.
pub fn srt(out: &mut Vec<u8>, position: &mut Position, zero_ms: u64, phrase: &Phrase<'_>) {
    head(out, position, zero_ms, phrase, b',');
    let line = format!("{}: {}", name(phrase), one_line(&phrase.text)).replace("-->", "→");
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// A line of plain text: `12:04:31  Ada: good morning`, the time of day in UTC.
pub fn text(out: &mut Vec<u8>, phrase: &Phrase<'_>) {
    let mut head = *b"00:00:00  ";
    clock(&mut head, phrase.start_ms / 1000 % (24 * 3600));
    out.extend_from_slice(&head);
    out.extend_from_slice(name(phrase).as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(one_line(&phrase.text).as_bytes());
    out.push(b'\n');
}

fn name<'a>(phrase: &'a Phrase<'_>) -> Cow<'a, str> {
    speaker(
        &phrase.user_id,
        phrase.channel_id.as_ref(),
        &phrase.user_name,
    )
}

/// Number and times of a cue, with their line breaks.
fn head(out: &mut Vec<u8>, position: &mut Position, zero_ms: u64, phrase: &Phrase<'_>, point: u8) {
    let (start, end) = position.next(zero_ms, phrase);
    number(out, position.number);
    out.push(b'\n');
    stamp(out, start, point);
    out.extend_from_slice(b" --> ");
    stamp(out, end, point);
    out.push(b'\n');
}

/// The position after the last cue of a WebVTT or SubRip file, read from its end.
pub fn position_at_end(tail: &str) -> Option<Position> {
    let mut position = None;
    for cue in tail.split("\n\n") {
        let mut lines = cue.trim_start_matches('\n').lines();
        let (Some(number), Some(times)) = (lines.next(), lines.next()) else {
            continue;
        };
        let Some((start, _)) = times.split_once(" --> ") else {
            continue;
        };
        if let (Ok(number), Some(start_ms)) = (number.parse(), parse_stamp(start)) {
            position = Some(Position { number, start_ms });
        }
    }
    position
}

/// A timestamp, `12:04:31.250`; hours may be more than 99.
fn stamp(out: &mut Vec<u8>, ms: u64, point: u8) {
    let mut text = *b"00:00:00.000";
    clock(&mut text, ms / 1000);
    text[8] = point;
    fill(&mut text[9..], ms);
    let hundred_hours = ms / (100 * 3600 * 1000);
    if hundred_hours > 0 {
        number(out, hundred_hours);
    }
    out.extend_from_slice(&text);
}

/// Writes hours, minutes and seconds into `00:00:00`.
fn clock(text: &mut [u8], seconds: u64) {
    fill(&mut text[0..2], seconds / 3600);
    fill(&mut text[3..5], seconds / 60 % 60);
    fill(&mut text[6..8], seconds % 60);
}

fn parse_stamp(text: &str) -> Option<u64> {
    let (clock, ms) = text.split_once(['.', ','])?;
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
    let seconds = h
        .checked_mul(3600)?
        .checked_add(m.checked_mul(60)?)?
        .checked_add(s)?;
    seconds.checked_mul(1000)?.checked_add(ms.parse().ok()?)
}

/// WebVTT cue text: `<`, `&` and `-->` have a meaning there and are escaped.
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr3_iter(b'&', b'<', b'>', bytes) {
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(match bytes[at] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            _ => b"&gt;",
        });
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::jsonl::tests::phrase;

    const ZERO: u64 = 1_767_000_000_000;

    fn cues(
        write: fn(&mut Vec<u8>, &mut Position, u64, &Phrase<'_>),
        phrases: &[Phrase<'_>],
    ) -> String {
        let (mut out, mut position) = (Vec::new(), Position::default());
        for phrase in phrases {
            write(&mut out, &mut position, ZERO, phrase);
        }
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn no_text_breaks_a_cue() {
        let evil = "a --> b\n\n99\n00:00:00.000 --> 01:00:00.000\n<c>&amp;\u{1b}\r\n";
        assert_eq!(
            cues(vtt, &[phrase(evil)]),
            "1\n00:00:01.000 --> 00:00:02.500\n<v Ada>a --&gt; b 99 00:00:00.000 --&gt; \
             01:00:00.000 &lt;c&gt;&amp;amp;\n\n"
        );
        assert_eq!(
            cues(srt, &[phrase(evil)]),
            "1\n00:00:01,000 --> 00:00:02,500\nAda: a → b 99 00:00:00.000 → 01:00:00.000 \
             <c>&amp;\n\n"
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_its_tag() {
        let mut said = phrase("hi");
        said.user_name = "Eve> <b>\n\nx".into();
        let text = cues(vtt, &[said]);
        assert!(text.contains("\n<v Eve&gt; &lt;b&gt; x>hi\n\n"), "{text}");
    }

    #[test]
    fn numbers_and_times_only_grow() {
        let mut early = phrase("second");
        early.start_ms -= 900;
        early.end_ms = early.start_ms;
        let text = cues(vtt, &[phrase("first"), early]);
        assert!(
            text.contains("2\n00:00:01.000 --> 00:00:01.001\n"),
            "{text}"
        );
        let end = position_at_end(&text);
        assert_eq!(
            end,
            Some(Position {
                number: 2,
                start_ms: 1000
            })
        );
    }

    #[test]
    fn a_phrase_from_before_the_start_is_at_zero() {
        let mut said = phrase("early");
        said.start_ms = 5;
        said.end_ms = 6;
        assert!(cues(vtt, &[said]).starts_with("1\n00:00:00.000 --> 00:00:00.001\n"));
    }

    #[test]
    fn the_position_is_read_from_a_files_end() {
        assert_eq!(position_at_end(VTT_HEADER), None);
        assert_eq!(position_at_end(""), None);
        let text = cues(srt, &[phrase("a"), phrase("b")]);
        assert_eq!(
            position_at_end(&text),
            Some(Position {
                number: 2,
                start_ms: 1000
            })
        );
        let cut = &text[5..];
        assert_eq!(
            position_at_end(cut),
            Some(Position {
                number: 2,
                start_ms: 1000
            })
        );
        assert_eq!(position_at_end("1\n99:99 --> x\n\n"), None);
    }

    #[test]
    fn plain_text() {
        let mut out = Vec::new();
        text(&mut out, &phrase("good\nmorning"));
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "09:20:01  Ada: good morning\n"
        );
    }
}
