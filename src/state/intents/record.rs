//! The lines of the intent log: formatting and parsing.

use sha2::{Digest, Sha256};

/// Maximum length of a line, in bytes: four times the largest webhook that the gate accepts.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// Hexadecimal digits of the checksum.
const CHECKSUM_DIGITS: usize = 16;

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A Zoom event that was accepted.
    Event { id: u64, body: &'a [u8] },
    /// What was changed, and which events that settles.
    Effect { settles: Vec<u64>, body: &'a [u8] },
    /// A line with a valid checksum of a newer version.
    Unknown,
}

/// Appends the line of an event.
pub(super) fn push_event(lines: &mut Vec<u8>, id: u64, body: &[u8]) {
    push(lines, &format!("event {id} "), body);
}

/// Appends the line of an effect.
pub(super) fn push_effect(lines: &mut Vec<u8>, settles: &[u64], body: &[u8]) {
    let mut head = String::from("effect ");
    for (n, id) in settles.iter().enumerate() {
        if n > 0 {
            head.push(',');
        }
        head.push_str(&id.to_string());
    }
    if settles.is_empty() {
        head.push('-');
    }
    head.push(' ');
    push(lines, &head, body);
}

fn push(lines: &mut Vec<u8>, head: &str, body: &[u8]) {
    let start = lines.len();
    lines.extend_from_slice(&[b'0'; CHECKSUM_DIGITS]);
    lines.push(b' ');
    lines.extend_from_slice(head.as_bytes());
    // The body is JSON, where a line break is white space and never part of a string.
    lines.extend(body.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => byte,
    }));
    let checksum = checksum(&lines[start + CHECKSUM_DIGITS + 1..]);
    lines[start..start + CHECKSUM_DIGITS].copy_from_slice(&checksum);
    lines.push(b'\n');
}

/// Parses a line without its line break; `None` if it is damaged.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (found, rest) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let text = rest.strip_prefix(b" ")?;
    if found != checksum(text) {
        return None;
    }
    Some(parse_text(text).unwrap_or(Line::Unknown))
}

fn parse_text(text: &[u8]) -> Option<Line<'_>> {
    let (word, rest) = split_word(text)?;
    let (numbers, body) = split_word(rest)?;
    match word {
        "event" => Some(Line::Event {
            id: numbers.parse().ok()?,
            body,
        }),
        "effect" => {
            let settles = match numbers {
                "-" => Vec::new(),
                list => list
                    .split(',')
                    .map(|id| id.parse().ok())
                    .collect::<Option<Vec<u64>>>()?,
            };
            Some(Line::Effect { settles, body })
        }
        _ => None,
    }
}

fn split_word(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|&byte| byte == b' ')?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    Some((word, &text[end + 1..]))
}

/// The first 64 bits of the SHA-256 of `text`, in hexadecimal digits: against torn and corrupted
/// lines, not against an attacker, who cannot write the file.
pub(super) fn checksum(text: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = Sha256::digest(text);
    let mut digits = [0; CHECKSUM_DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}
