//! Where a stream's folder is: three checked names below `RTMS_OUT`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::path::{Path, PathBuf};

use crate::feed::key::JournalKey;

/// What a folder's name begins with while it is removed. Names with a dot are passed over by all who
/// look for streams.
pub(super) const HIDDEN: &str = ".removing-";

/// A longer name is not ours; the longest one of ours has 61 bytes.
const NAME_BYTES_MAX: usize = 200;

/// The place of a stream's folder below an output folder: `2026-11-24/<meeting>/<stream>`. Each part is
/// a name of one folder, so the path never leaves the output folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPlace {
    day: String,
    meeting: String,
    stream: String,
}

impl StreamPlace {
    /// The place with these names; `None` if one of them cannot be ours.
    pub fn new(day: &str, meeting: &str, stream: &str) -> Option<StreamPlace> {
        let is_whole = is_day(day) && is_name(meeting) && is_name(stream);
        is_whole.then(|| StreamPlace {
            day: day.to_owned(),
            meeting: meeting.to_owned(),
            stream: stream.to_owned(),
        })
    }

    /// The place that a path below the output folder names; `None` if it cannot be that of a stream.
    pub fn parse(below: &str) -> Option<StreamPlace> {
        let mut names = below.split('/');
        let (day, meeting, stream) = (names.next()?, names.next()?, names.next()?);
        let is_end = names.next().is_none();
        StreamPlace::new(day, meeting, stream).filter(|_| is_end)
    }

    /// The day's folder.
    pub fn day(&self) -> &str {
        &self.day
    }

    /// The meeting's folder in that of the day.
    pub fn meeting(&self) -> &str {
        &self.meeting
    }

    /// The stream's folder in that of the meeting.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// What the stream's folder is called while it is removed.
    pub(super) fn hidden(&self) -> String {
        format!("{HIDDEN}{}", self.stream)
    }

    /// The path below the output folder.
    pub fn path(&self) -> PathBuf {
        Path::new(&self.day).join(&self.meeting).join(&self.stream)
    }

    /// The key of the stream's journal.
    pub fn key(&self) -> JournalKey {
        JournalKey::of_folder(&self.path())
    }
}

impl fmt::Display for StreamPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.day, self.meeting, self.stream)
    }
}

/// Whether it is called like a day's folder: `2026-11-24`.
pub fn is_day(name: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    name.len() == 10 && name.bytes().enumerate().all(is_right)
}

/// Whether a stream's folder is removed under this name.
pub(super) fn is_hidden(name: &str) -> bool {
    name.strip_prefix(HIDDEN).is_some_and(is_name)
}

/// Whether it is the name of one folder, not hidden.
fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b != b'/' && b != 0;
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_three_names_below_the_output_folder() {
        let text = "2026-11-24/55keyUHnM5dGxofmvVjvuQ__-b66879de0c6c/\
                    ee3a7683f46ee5521487f231f3162e21-2b4d77fafa63";
        let place = StreamPlace::parse(text).expect("a place");
        assert_eq!(place.to_string(), text);
        assert_eq!(place.path(), Path::new(text));
        assert_eq!(place.key().to_string(), "bdd2d51ed67606f5");
        assert!(is_hidden(&place.hidden()) && !is_hidden(place.stream()));
        let long = format!("2026-11-24/m/{}", "x".repeat(300));
        for wrong in [
            "",
            "2026-11-24",
            "2026-11-24/m",
            "2026-11-24/m/s/video",
            "2026-11-24//s",
            "2026-11-24/m/",
            "2026-11-24/../s",
            "2026-11-24/m/..",
            "2026-11-24/m/.removing-s",
            "../2026-11-24/s",
            "/etc/passwd/x",
            "by-name/m/s",
            "2026-11-24/m/s\0",
            &long,
        ] {
            assert_eq!(StreamPlace::parse(wrong), None, "{wrong:?}");
        }
    }
}
