//! A line of the journal: the envelope around an event, formatted and parsed.
//!
//! The members have a fixed order, so that a reader finds number and type by their positions and
//! parses no JSON. `pos` is 16 digits at byte 8 of each line, so that the writer can fill it in
//! when everything else of the line is written.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::ops::Range;

use memchr::{memchr, memmem};

use super::key::{JournalKey, KEY_DIGITS};
use crate::domain::decimal::{fill, increment};
use crate::domain::stream_info::StreamInfo;
use crate::domain::time::Utc;

/// The start of each line.
const BEGIN: &[u8] = b"{\"pos\":\"";
/// Digits of `pos`: microseconds from 2001 to 2286.
const POS_DIGITS: usize = 16;
/// Their place in a line.
pub const POS_RANGE: Range<usize> = BEGIN.len()..BEGIN.len() + POS_DIGITS;
/// The highest `pos`.
pub const POS_MAX: u64 = 9_999_999_999_999_999;
/// Maximum length of a type; the longest today has 20 letters.
const KIND_BYTES_MAX: usize = 64;
/// The text before the last member.
const DATA: &[u8] = b",\"data\":";
/// Digits of the highest `seq`.
const SEQ_DIGITS_MAX: usize = 20;
/// Length of a stamp as [`Utc::rfc3339`] writes it.
const STAMP_BYTES: usize = 24;
/// The last millisecond of RFC 3339: the end of the year 9999.
const STAMP_MS_MAX: u64 = 253_402_300_799_999;

/// The envelopes of one journal. What is the same in every line is formatted once, and a line copies
/// the envelope of the one before it, from which it mostly differs in its digits alone.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// `,"id":"<key>-`
    id: Box<[u8]>,
    /// From the end of `timestamp` to the start of `time`.
    middle: Box<[u8]>,
    /// From the end of `time` to the data.
    tail: Box<[u8]>,
    last: Last,
}

/// The envelope of the last line.
#[derive(Debug, Clone, Default)]
struct Last {
    text: Vec<u8>,
    kind: Range<usize>,
    /// The places of `seq`, and of its digits in `id`.
    seqs: [Range<usize>; 2],
    /// Those of `timestamp` and `time`.
    stamps: [Range<usize>; 2],
    at_ms: u64,
}

impl Envelope {
    /// For a journal of that source, `RTMS_FEED_SOURCE`, about that stream; the server's own journal
    /// names the stream of each line.
    pub fn new(key: JournalKey, source: &str, about: Option<&StreamInfo>) -> Envelope {
        let member = |name: &str, value: &str| match attribute(value).as_str() {
            "" => String::new(),
            value => format!(",\"{name}\":{}", serde_json::Value::from(value)),
        };
        let mut middle = "\",\"specversion\":\"1.0\"".to_owned() + &member("source", source);
        let mut tail = "\"".to_owned();
        if let Some(info) = about {
            middle += &member("subject", &info.id);
            tail += &member("streamid", &info.stream_id);
            tail += &member("product", info.product.name());
            tail += &member("meetingid", info.meeting_id.as_deref().unwrap_or(""));
            tail += &member("accountid", info.account_id.as_deref().unwrap_or(""));
            tail += &member("app", info.app.as_deref().unwrap_or(""));
        }
        middle += ",\"time\":\"";
        Envelope {
            id: format!(",\"id\":\"{key}-").into_bytes().into(),
            middle: middle.into_bytes().into(),
            tail: [tail.as_bytes(), DATA].concat().into(),
            last: Last::default(),
        }
    }

    /// Writes a line up to its data. `at_ms` is when it happened, Unix milliseconds. Its `pos` is
    /// zeros until [`set_pos`].
    pub fn begin(&mut self, out: &mut Vec<u8>, seq: u64, kind: &str, at_ms: u64) {
        let last = &self.last;
        let digits = seq.checked_ilog10().unwrap_or(0) as usize + 1;
        let is_alike =
            last.seqs[0].len() == digits && last.text[last.kind.clone()] == *kind.as_bytes();
        if !is_alike {
            self.format(digits, kind);
        }
        let Last {
            text,
            seqs,
            stamps,
            at_ms: stamped_ms,
            ..
        } = &mut self.last;
        seqs.iter()
            .for_each(|place| fill(&mut text[place.clone()], seq));
        if !is_alike || *stamped_ms != at_ms {
            *stamped_ms = at_ms;
            let stamp = Utc::from_unix_ms(at_ms.min(STAMP_MS_MAX)).rfc3339();
            for place in stamps {
                text[place.clone()].copy_from_slice(&stamp);
            }
        }
        out.extend_from_slice(text);
    }

    /// Formats the envelope of lines of that type with so many digits of `seq`; number and stamps
    /// are zeros.
    fn format(&mut self, digits: usize, kind: &str) {
        let last = &mut self.last;
        let text = &mut last.text;
        text.clear();
        let add = |text: &mut Vec<u8>, part: &[u8]| {
            let from = text.len();
            text.extend_from_slice(part);
            from..text.len()
        };
        let zeros = [b'0'; SEQ_DIGITS_MAX];
        let stamp = [b'0'; STAMP_BYTES];
        add(text, b"{\"pos\":\"0000000000000000\",\"seq\":");
        let seq = add(text, &zeros[..digits]);
        add(text, &self.id);
        last.seqs = [seq, add(text, &zeros[..digits])];
        add(text, b"\",\"type\":\"");
        last.kind = add(text, kind.as_bytes());
        add(text, b"\",\"timestamp\":\"");
        let timestamp = add(text, &stamp);
        add(text, &self.middle);
        last.stamps = [timestamp, add(text, &stamp)];
        add(text, &self.tail);
    }

    /// Ends a line, after its data.
    pub fn end(out: &mut Vec<u8>) {
        out.extend_from_slice(b"}\n");
    }
}

/// A text without the characters that CloudEvents 1.0 forbids in attributes: controls and Unicode's
/// noncharacters.
fn attribute(text: &str) -> String {
    let is_allowed = |c: &char| {
        let n = u32::from(*c);
        !c.is_control() && !(0xfdd0..=0xfdef).contains(&n) && n & 0xfffe != 0xfffe
    };
    text.chars().filter(is_allowed).collect()
}

/// Fills in the position of a line that is about to be written.
pub fn set_pos(line: &mut [u8], pos: u64) {
    if let Some(place) = line.get_mut(POS_RANGE) {
        fill(place, pos.min(POS_MAX));
    }
}

/// Fills in the positions of whole lines, each one more than the previous. Returns the last one, or
/// `before` if there is no line.
pub fn set_positions(lines: &mut [u8], first: u64) -> u64 {
    let (mut next, mut rest) = (first, lines);
    let mut digits = [b'0'; POS_DIGITS];
    fill(&mut digits, first.min(POS_MAX));
    while let Some(end) = memchr(b'\n', rest) {
        if let Some(place) = rest[..end].get_mut(POS_RANGE) {
            place.copy_from_slice(&digits);
        }
        next += 1;
        if next <= POS_MAX {
            increment(&mut digits);
        }
        rest = &mut rest[end + 1..];
    }
    next - 1
}

/// One whole line, without its line break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The whole line as in the file: one JSON object.
    pub bytes: &'a [u8],
    /// Unix microseconds of the write; grows over all journals of a server.
    pub pos: u64,
    /// Number in this journal, from 1.
    pub seq: u64,
    /// `<key>-<seq>`.
    pub id: &'a str,
    /// The type.
    pub kind: &'a str,
}

impl<'a> Line<'a> {
    /// Parses a line by its fixed positions; `None` if it is not a line of a journal. The data is
    /// not parsed.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let bytes = line.strip_suffix(b"\n").unwrap_or(line);
        let rest = bytes.strip_prefix(BEGIN)?;
        let (pos, rest) = rest.split_at_checked(POS_DIGITS)?;
        let pos = digits(pos)?;
        let rest = rest.strip_prefix(b"\",\"seq\":")?;
        let (seq_digits, rest) = rest.split_at(rest.iter().position(|b| !b.is_ascii_digit())?);
        // Numbers begin with 1.
        let seq = digits(seq_digits).filter(|seq| *seq > 0)?;
        let rest = rest.strip_prefix(b",\"id\":\"")?;
        let (id, rest) = rest.split_at_checked(KEY_DIGITS + 1 + seq_digits.len())?;
        let is_key = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if !id[..KEY_DIGITS].iter().all(is_key)
            || id[KEY_DIGITS] != b'-'
            || id[KEY_DIGITS + 1..] != *seq_digits
        {
            return None;
        }
        let rest = rest.strip_prefix(b"\",\"type\":\"")?;
        let is_kind = |b: u8| b.is_ascii_lowercase() || b == b'_' || b == b'.';
        let kind = &rest[..rest.iter().position(|b| !is_kind(*b))?];
        let is_whole = rest.get(kind.len()) == Some(&b'"') && bytes.ends_with(b"}}");
        if kind.is_empty() || kind.len() > KIND_BYTES_MAX || !is_whole {
            return None;
        }
        Some(Line {
            bytes,
            pos,
            seq,
            id: std::str::from_utf8(id).ok()?,
            kind: std::str::from_utf8(kind).ok()?,
        })
    }

    /// `data`: one JSON object. Empty if the line has none.
    pub fn data(&self) -> &'a [u8] {
        // Within a string each quote has a backslash before it, so the first hit is the member.
        let Some(at) = memmem::find(self.bytes, DATA) else {
            return &[];
        };
        let data = &self.bytes[at + DATA.len()..];
        data.strip_suffix(b"}").unwrap_or_default()
    }
}

/// A number of at most 19 digits, without leading zeros unless it has the length of a `pos`.
fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit);
    let is_padded = text.len() != POS_DIGITS && text.len() > 1 && text[0] == b'0';
    if !is_number || is_padded {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |n, digit| n * 10 + u64::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::tests::info;
    use serde_json::{Value, json};

    fn key() -> JournalKey {
        "bdd2d51ed67606f5".parse().expect("a key")
    }

    fn line(envelope: &mut Envelope, seq: u64, kind: &str, at_ms: u64, data: &str) -> Vec<u8> {
        let mut out = Vec::new();
        envelope.begin(&mut out, seq, kind, at_ms);
        out.extend_from_slice(data.as_bytes());
        Envelope::end(&mut out);
        out
    }

    /// The line of the manual.
    #[test]
    fn a_line_has_its_members_in_order() {
        let info = StreamInfo {
            meeting_id: Some("84844962250".to_owned()),
            ..info(
                "55keyUHnM5dGxofmvVjvuQ==",
                "ee3a7683f46ee5521487f231f3162e21",
            )
        };
        let mut envelope = Envelope::new(key(), "/rtmsd/vm1", Some(&info));
        let mut text = line(
            &mut envelope,
            42,
            "transcript.phrase",
            1_795_529_590_929,
            "{\"v\":1}",
        );
        set_pos(&mut text, 1_795_529_590_941_007);
        assert_eq!(
            String::from_utf8(text).expect("UTF-8"),
            concat!(
                r#"{"pos":"1795529590941007","seq":42,"id":"bdd2d51ed67606f5-42","#,
                r#""type":"transcript.phrase","timestamp":"2026-11-24T14:13:10.929Z","#,
                r#""specversion":"1.0","source":"/rtmsd/vm1","subject":"55keyUHnM5dGxofmvVjvuQ==","#,
                r#""time":"2026-11-24T14:13:10.929Z","#,
                r#""streamid":"ee3a7683f46ee5521487f231f3162e21","product":"meeting","#,
                r#""meetingid":"84844962250","data":{"v":1}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn j9_number_and_type_are_read_by_their_positions() {
        let mut envelope = Envelope::new(key(), "/x", Some(&info("m", "s")));
        for seq in [1, 9, 10, 123_456_789, 9_999_999_999] {
            let data = r#"{"v":1,"text":",\"data\":{\"pos\":\"\"}"}"#;
            let mut text = line(&mut envelope, seq, "chat.message", 5, data);
            set_pos(&mut text, 1_795_529_590_941_007 + seq);
            let found = Line::parse(&text).expect("a line");
            assert_eq!((found.seq, found.kind), (seq, "chat.message"));
            assert_eq!(found.pos, 1_795_529_590_941_007 + seq);
            assert_eq!(found.id, format!("bdd2d51ed67606f5-{seq}"));
            assert_eq!(found.data(), data.as_bytes());
            assert_eq!(found.bytes, &text[..text.len() - 1]);
        }
    }

    #[test]
    fn j9_other_texts_are_not_lines() {
        let mut envelope = Envelope::new(key(), "/x", Some(&info("m", "s")));
        let whole = line(&mut envelope, 7, "chat.message", 5, "{}");
        assert!(Line::parse(&whole).is_some());
        let whole = &whole[..whole.len() - 1];
        // A line torn at each position; and each byte replaced.
        for at in 0..whole.len() {
            assert_eq!(Line::parse(&whole[..at]), None, "torn at {at}");
            let mut other = whole.to_vec();
            other[at] ^= 0x80;
            if let Some(found) = Line::parse(&other) {
                assert!(found.id.starts_with("bdd2d51ed67606f5-7") && found.seq == 7);
            }
        }
        let text = String::from_utf8(whole.to_vec()).expect("UTF-8");
        for (from, to) in [
            ("\"seq\":7", "\"seq\":07"),
            ("\"seq\":7", "\"seq\":"),
            ("\"seq\":7", "\"seq\":-7"),
            ("\"seq\":7", "\"seq\":99999999999999999999"),
            ("f5-7", "f5-8"),
            ("f5-7", "F5-7"),
            ("chat.message", ""),
            ("chat.message", "Chat"),
            ("{\"pos\"", " {\"pos\""),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text);
            assert_eq!(Line::parse(other.as_bytes()), None, "{other}");
        }
        // Numbers begin with 1: a reader subtracts it.
        let zero = text
            .replace("\"seq\":7", "\"seq\":0")
            .replace("f5-7", "f5-0");
        assert_eq!(Line::parse(zero.as_bytes()), None);
        for text in [
            "",
            "\n",
            "{}",
            "{\"pos\":\"",
            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn attributes_hold_what_cloudevents_allows() {
        let odd = "a\u{0}\u{7f}\u{85}\u{9f}\u{2028}\"\\\u{fdd0}\u{1fffe}🙂\n";
        let info = StreamInfo {
            meeting_id: Some("\n".to_owned()),
            account_id: Some("acc".to_owned()),
            ..info(odd, "s")
        };
        let mut envelope = Envelope::new(key(), "/x", Some(&info));
        let text = line(&mut envelope, 1, "feed.gap", u64::MAX, "{}");
        assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 1);
        let found: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(found["subject"], "a\u{2028}\"\\🙂");
        assert_eq!(found.get("meetingid"), None);
        assert_eq!(found["accountid"], "acc");
        assert_eq!(found["time"], "9999-12-31T23:59:59.999Z");
        let names = found.as_object().expect("an object").keys();
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        }
        // The server's own lines name their stream in the data.
        let mut envelope = Envelope::new(JournalKey::SERVER, "/x", None);
        let text = line(&mut envelope, 1, "feed.gap", 0, "{}");
        let found: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(
            found,
            json!({"pos": "0000000000000000", "seq": 1, "id": "0000000000000000-1",
                "type": "feed.gap", "timestamp": "1970-01-01T00:00:00.000Z", "specversion": "1.0",
                "source": "/x", "time": "1970-01-01T00:00:00.000Z", "data": {}})
        );
    }

    /// An envelope is copied from the line before it.
    #[test]
    fn a_line_is_the_same_whatever_stands_before_it() {
        let info = info("m", "s");
        let new = || Envelope::new(key(), "/x", Some(&info));
        let mut used = new();
        for (seq, kind, at_ms) in [
            (9, "chat.message", 5),
            (10, "chat.message", 5),
            (11, "chat.message", 86_400_000),
            (12, "chat.messagf", 86_400_000),
            (13, "feed.gap", 0),
            (99, "feed.gap", 0),
            (100, "feed.gap", u64::MAX),
            (7, "feed.gap", 1),
            (0, "feed.gap", 1),
            (u64::MAX, "feed.gap", 1),
        ] {
            let found = line(&mut used, seq, kind, at_ms, "{}");
            assert_eq!(found, line(&mut new(), seq, kind, at_ms, "{}"));
        }
    }

    #[test]
    fn j5_positions_are_filled_in_line_by_line() {
        let mut envelope = Envelope::new(key(), "/x", None);
        let mut text = Vec::new();
        for seq in 1..=3 {
            text.extend(line(&mut envelope, seq, "feed.gap", 0, "{}"));
        }
        assert_eq!(
            set_positions(&mut text, 1_000_000_000_000_007),
            1_000_000_000_000_009
        );
        let lines = text.split(|b| *b == b'\n').filter_map(Line::parse);
        let found: Vec<(u64, u64)> = lines.map(|line| (line.seq, line.pos)).collect();
        assert_eq!(
            found,
            [
                (1, 1_000_000_000_000_007),
                (2, 1_000_000_000_000_008),
                (3, 1_000_000_000_000_009)
            ]
        );
        assert_eq!(set_positions(&mut [], 5), 4);
        set_positions(&mut text, POS_MAX - 1);
        let lines = text.split(|b| *b == b'\n').filter_map(Line::parse);
        let found: Vec<u64> = lines.map(|line| line.pos).collect();
        assert_eq!(found, [POS_MAX - 1, POS_MAX, POS_MAX]);
    }
}
