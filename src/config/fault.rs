//! Faults and warnings of a configuration, each with its place.

use std::borrow::Cow;
use std::fmt;

/// A fault that must be corrected before the server can run.
///
/// `Display`: `rtms.conf:12: PORT: found "http", expected a port from 0 to 65535`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `rtms.conf:12`, `environment`.
    pub place: String,
    /// The key; empty for a line without one.
    pub key: String,
    /// What was found, what was expected, what to do. Never a secret.
    pub text: String,
}

/// A configuration that works, but is probably not what was meant. Displayed like a [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: String,
    /// The key; empty for the file as a whole.
    pub key: String,
    /// Its effect, and what to do.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, &self.place, &self.key, &self.text)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, &self.place, &self.key, &self.text)
    }
}

impl std::error::Error for Fault {}

fn line(f: &mut fmt::Formatter<'_>, place: &str, key: &str, text: &str) -> fmt::Result {
    match key {
        "" => write!(f, "{place}: {text}"),
        key => write!(f, "{place}: {key}: {text}"),
    }
}

/// A value for a fault: quoted, escaped, of bounded length.
pub(super) fn shown(value: &str) -> String {
    const CHARS_MAX: usize = 60;
    let value = without_login(value);
    let mut short: String = value.chars().take(CHARS_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// An address with a user or a query may contain a password, so only a part of it is shown; any
/// other text is unchanged.
fn without_login(value: &str) -> Cow<'_, str> {
    match value.split_once("://") {
        Some((scheme, rest)) if rest.contains(['@', '?', '#']) => {
            Cow::Owned(format!("{scheme}://… with a user or a query"))
        }
        _ => Cow::Borrowed(value),
    }
}

/// Edit distance of two words; for "did you mean".
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            *cell = (diagonal + usize::from(from != *to))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("RTMS_STOPAFTER", "RTMS_STOP_AFTER", 1),
            ("RTMS_MEDAI", "RTMS_MEDIA", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}
