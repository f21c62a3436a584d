//! `Range` and `If-Range`: which part of a file a request asks for (RFC 9110, section 14).
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// What is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// From the first to the last of these bytes: 206. `first <= last < length`.
    Part {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Nothing of it is there: 416.
    Unsatisfiable,
}

impl Selection {
    /// What a request with these fields gets of a file with that length and that strong entity tag.
    /// Several ranges, and one that is malformed, are all of the file.
    pub fn new(range: Option<&str>, if_range: Option<&str>, length: u64, etag: &str) -> Selection {
        // A date, and a weak tag, never match: whether the file is the same they do not say for certain.
        let is_same = if_range.is_none_or(|tag| tag == etag);
        range
            .filter(|_| is_same)
            .and_then(|range| part(range, length))
            .unwrap_or(Selection::Whole)
    }

    /// Where it begins, and behind which byte it ends.
    pub fn place(&self, length: u64) -> (u64, u64) {
        match *self {
            Selection::Whole => (0, length),
            Selection::Part { first, last } => (first, last + 1),
            Selection::Unsatisfiable => (0, 0),
        }
    }
}

/// The one range of a field; `None` if it has several, or is none.
fn part(range: &str, length: u64) -> Option<Selection> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let end = length.checked_sub(1);
    match (first, last) {
        ("", last) => {
            let count = number(last)?;
            let Some(end) = end.filter(|_| count > 0) else {
                return Some(Selection::Unsatisfiable);
            };
            Some(Selection::Part {
                first: length.saturating_sub(count),
                last: end,
            })
        }
        (first, last) => {
            let first = number(first)?;
            let last = match last {
                "" => u64::MAX,
                last => number(last).filter(|last| *last >= first)?,
            };
            Some(match end.filter(|end| first <= *end) {
                Some(end) => Selection::Part {
                    first,
                    last: last.min(end),
                },
                None => Selection::Unsatisfiable,
            })
        }
    }
}

/// Digits alone; a number that no file has is the largest one.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"1-64-0\"";

    fn of(range: &str, length: u64) -> Selection {
        Selection::new(Some(range), None, length, ETAG)
    }

    #[test]
    fn g5_one_range_is_a_part() {
        let part = |first, last| Selection::Part { first, last };
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-99", part(0, 99)),
            ("bytes=10-19", part(10, 19)),
            ("bytes=10-", part(10, 99)),
            ("bytes=10-1000", part(10, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-1000", part(0, 99)),
            ("Bytes = 10-19 ", part(10, 19)),
            ("bytes=99-99999999999999999999999", part(99, 99)),
            ("bytes=-99999999999999999999999", part(0, 99)),
        ] {
            assert_eq!(of(range, 100), expected, "{range}");
        }
        assert_eq!(part(10, 19).place(100), (10, 20));
        assert_eq!(Selection::Whole.place(100), (0, 100));
    }

    #[test]
    fn g5_several_ranges_or_a_malformed_one_are_the_whole_file() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=20-10",
            "bytes=0-1,5-6",
            "bytes=0-1, 5-6",
            "bytes=-1,-2",
            "bytes=0 - 1",
            "bytes=+0-1",
            "bytes=0x0-1",
            "bytes=--1",
            "items=0-1",
            "0-1",
        ] {
            assert_eq!(of(range, 100), Selection::Whole, "{range}");
        }
        assert_eq!(Selection::new(None, None, 100, ETAG), Selection::Whole);
    }

    #[test]
    fn g5_what_is_not_there_is_unsatisfiable() {
        for (range, length) in [
            ("bytes=100-", 100),
            ("bytes=100-200", 100),
            ("bytes=99999999999999999999999-", 100),
            ("bytes=-0", 100),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=-5", 0),
        ] {
            assert_eq!(of(range, length), Selection::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn g5_if_range_needs_the_same_strong_tag() {
        let with = |tag| Selection::new(Some("bytes=1-2"), Some(tag), 100, ETAG);
        assert_eq!(with(ETAG), Selection::Part { first: 1, last: 2 });
        for tag in [
            "",
            "\"1-64-1\"",
            "W/\"1-64-0\"",
            "1-64-0",
            "Sun, 29 Nov 2026 02:00:00 GMT",
        ] {
            assert_eq!(with(tag), Selection::Whole, "{tag}");
        }
        let gone = Selection::new(Some("bytes=100-"), Some("\"x\""), 100, ETAG);
        assert_eq!(gone, Selection::Whole);
    }
}
