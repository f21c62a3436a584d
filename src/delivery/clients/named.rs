//! Which stream is meant: by its key, its id, or the beginning of one of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::feed::epoch::is_of;
use crate::feed::key::{JournalKey, KEY_DIGITS};
use crate::recorder::path::safe_name;

/// The shortest beginning of a stream's key or id that names it.
pub(crate) const PREFIX_CHARS_MIN: usize = 6;

/// What a person has called a stream.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    text: String,
    /// As the folder of a stream with that id is called.
    folder: String,
    /// As the beginning of a key, if it can be one.
    key: Option<String>,
}

/// How well a name fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is that stream's.
    Whole,
    /// That stream's begins so.
    Beginning,
}

impl Name {
    pub(crate) fn new(text: &str) -> Name {
        let is_key = text.len() <= KEY_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        Name {
            text: text.to_owned(),
            folder: safe_name(text),
            key: is_key.then(|| text.to_ascii_lowercase()),
        }
    }

    /// Whether the stream with that key, whose folder is called so, may be meant.
    pub(crate) fn fits(&self, folder: &str, key: JournalKey) -> Option<Fit> {
        let key = key.to_string();
        let as_key = self.key.as_ref().filter(|begin| key.starts_with(*begin));
        if is_of(folder, &self.folder) || as_key == Some(&key) {
            return Some(Fit::Whole);
        }
        let begins = as_key.is_some() || folder.starts_with(&self.text);
        (begins && self.text.len() >= PREFIX_CHARS_MIN).then_some(Fit::Beginning)
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Search<T> {
    One(T),
    /// Several begin so.
    Several,
    None,
}

/// The choice among streams that fit: a whole name counts more than any beginning.
#[derive(Debug)]
pub(crate) struct Choice<T> {
    beginning: Search<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Choice<T> {
        Choice {
            beginning: Search::None,
        }
    }
}

impl<T> Choice<T> {
    /// One more that fits. Gives it back if it is the one, and no other need be looked at.
    pub(crate) fn offer(&mut self, fit: Fit, found: T) -> Option<T> {
        match (fit, &self.beginning) {
            (Fit::Whole, _) => return Some(found),
            (Fit::Beginning, Search::None) => self.beginning = Search::One(found),
            (Fit::Beginning, _) => self.beginning = Search::Several,
        }
        None
    }

    /// All were offered.
    pub(crate) fn end(self) -> Search<T> {
        self.beginning
    }

    /// The first that fits, and all others.
    pub(crate) fn of(all: impl IntoIterator<Item = (Fit, T)>) -> Search<T> {
        let mut choice = Choice::default();
        for (fit, found) in all {
            if let Some(found) = choice.offer(fit, found) {
                return Search::One(found);
            }
        }
        choice.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_key_id_or_beginning() {
        let key: JournalKey = "bdd2d51ed67606f5".parse().expect("a key");
        let folder = safe_name("ee3a7683");
        let fits = |text: &str| Name::new(text).fits(&folder, key);
        for (text, expected) in [
            ("bdd2d51ed67606f5", Some(Fit::Whole)),
            ("BDD2D51ED67606F5", Some(Fit::Whole)),
            ("ee3a7683", Some(Fit::Whole)),
            ("bdd2d5", Some(Fit::Beginning)),
            ("BDD2D5", Some(Fit::Beginning)),
            ("ee3a76", Some(Fit::Beginning)),
            ("bdd2d", None),
            ("ee3a7", None),
            ("", None),
            ("bdd2d51ed67606f55", None),
            ("ee3a76830", None),
        ] {
            assert_eq!(fits(text), expected, "{text}");
        }
        // What another node had before, and came back.
        let later = format!("{folder}.e2");
        assert_eq!(Name::new("ee3a7683").fits(&later, key), Some(Fit::Whole));
        assert_eq!(Name::new("ee3a76").fits(&later, key), Some(Fit::Beginning));
        // As the folder of an id with other characters is called.
        let folder = safe_name("a/b=");
        assert_eq!(Name::new("a/b=").fits(&folder, key), Some(Fit::Whole));
    }

    #[test]
    fn a_whole_name_is_chosen_among_those_that_begin_so() {
        use Fit::{Beginning, Whole};
        for (offered, expected) in [
            (vec![], Search::None),
            (vec![(Beginning, 1)], Search::One(1)),
            (vec![(Beginning, 1), (Beginning, 2)], Search::Several),
            (
                vec![(Beginning, 1), (Beginning, 2), (Whole, 3)],
                Search::One(3),
            ),
        ] {
            assert_eq!(Choice::of(offered), expected);
        }
    }
}
