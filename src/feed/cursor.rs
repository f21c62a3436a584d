//! The position of a consumer in a journal: all that the server remembers of its progress.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::str::FromStr;

use super::key::JournalKey;

/// A position between two lines of a journal. As text: `bdd2d51ed67606f5 42 26670`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The journal.
    pub key: JournalKey,
    /// Sequence number of the last line before it; 0 before the first line. The number is what
    /// counts.
    pub seq: u64,
    /// Where the next line begins, in bytes. A hint: a reader checks it, and finds the line by its
    /// number where it does not fit.
    pub offset: u64,
}

impl Cursor {
    /// Before the first line.
    pub fn begin(key: JournalKey) -> Cursor {
        Cursor {
            key,
            seq: 0,
            offset: 0,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.key, self.seq, self.offset)
    }
}

/// A text that is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCursor;

impl fmt::Display for NoCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a key, a sequence number and a byte offset, separated by spaces")
    }
}

impl std::error::Error for NoCursor {}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Cursor, NoCursor> {
        let mut words = text.split(' ');
        let (Some(key), Some(seq), Some(offset), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NoCursor);
        };
        let number = |text: &str| {
            let is_plain = text.bytes().all(|b| b.is_ascii_digit());
            is_plain
                .then(|| text.parse().ok())
                .flatten()
                .ok_or(NoCursor)
        };
        Ok(Cursor {
            key: key.parse().map_err(|_| NoCursor)?,
            seq: number(seq)?,
            offset: number(offset)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_formatted_and_parsed() {
        let text = "bdd2d51ed67606f5 42 26670";
        let cursor: Cursor = text.parse().expect("a cursor");
        assert_eq!((cursor.seq, cursor.offset), (42, 26_670));
        assert_eq!(cursor.to_string(), text);
        for text in [
            "",
            "bdd2d51ed67606f5",
            "bdd2d51ed67606f5 42",
            "bdd2d51ed67606f5 42 1 ",
            "bdd2d51ed67606f5  42 1",
            "bdd2d51ed67606f5 +42 1",
            "bdd2d51ed67606f5 -1 1",
            "bdd2d51ed67606f5 42 99999999999999999999",
            "x 42 1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text:?}");
        }
    }
}
