//! An id from outside: of a user, or of a channel of a call.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::text::{bounded, one_line};

/// Maximum bytes of an id that is kept. Zoom's have at most a few dozen.
pub const ID_BYTES_MAX: usize = 128;

/// A number, or text as received. Meetings have numbers; Contact Center and Phone have text, which
/// sometimes is a number in a string.
///
/// Digits in the usual form of a number become that number, so that `7` and `"7"` are the same id.
/// Any other text, `007` included, stays unchanged. It is untrusted: it must be cleaned before it
/// becomes part of a file name or of a line for a person; `Display` does that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id<'a> {
    /// A number.
    Number(u64),
    /// Anything else; never empty, at most [`ID_BYTES_MAX`] bytes.
    Text(Cow<'a, str>),
}

impl<'a> Id<'a> {
    /// The id that stands for no participant: the mix of all speakers in audio.
    pub const UNKNOWN: Id<'static> = Id::Number(0);

    /// The id in that text; `None` for text without content.
    pub fn from_text(text: impl Into<Cow<'a, str>>) -> Option<Id<'a>> {
        let text = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(bounded(text.trim(), ID_BYTES_MAX)),
            Cow::Owned(text) => Cow::Owned(bounded(text.trim(), ID_BYTES_MAX).to_owned()),
        };
        if text.is_empty() {
            return None;
        }
        let is_usual = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
        match text.parse() {
            Ok(number) if is_usual => Some(Id::Number(number)),
            _ => Some(Id::Text(text)),
        }
    }

    /// The same id without a copy.
    pub fn borrowed(&self) -> Id<'_> {
        match self {
            Id::Number(n) => Id::Number(*n),
            Id::Text(text) => Id::Text(Cow::Borrowed(text)),
        }
    }

    /// The same id as an owned value.
    pub fn into_owned(self) -> Id<'static> {
        match self {
            Id::Number(n) => Id::Number(n),
            Id::Text(text) => Id::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<u64> {
        match self {
            Id::Number(n) => Some(*n),
            Id::Text(_) => None,
        }
    }

    /// Whether it stands for no participant.
    pub fn is_unknown(&self) -> bool {
        *self == Id::UNKNOWN
    }
}

/// Safe for a terminal and a log line.
impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(n) => n.fmt(f),
            Id::Text(text) => one_line(text).fmt(f),
        }
    }
}

impl From<u64> for Id<'_> {
    fn from(number: u64) -> Self {
        Id::Number(number)
    }
}

/// A number stays a number in JSON.
impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Id::Number(n) => serializer.serialize_u64(*n),
            Id::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Text is copied: this is for our own files, not for messages.
impl<'de> Deserialize<'de> for Id<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        impl Visitor<'_> for IdVisitor {
            type Value = Id<'static>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, which is a number or text")
            }

            fn visit_u64<E>(self, n: u64) -> Result<Id<'static>, E> {
                Ok(Id::Number(n))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id<'static>, E> {
                Id::from_text(text.to_owned()).ok_or_else(|| E::custom("an empty id"))
            }
        }

        deserializer.deserialize_any(IdVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_anything_else_is_text() {
        for (text, expected) in [
            ("0", Some(Id::Number(0))),
            (" 7 ", Some(Id::Number(7))),
            ("18446744073709551615", Some(Id::Number(u64::MAX))),
            (
                "18446744073709551616",
                Some(Id::Text("18446744073709551616".into())),
            ),
            ("007", Some(Id::Text("007".into()))),
            ("+7", Some(Id::Text("+7".into()))),
            ("-1", Some(Id::Text("-1".into()))),
            ("123abc", Some(Id::Text("123abc".into()))),
            (" \n", None),
            ("", None),
        ] {
            assert_eq!(Id::from_text(text), expected, "{text:?}");
            assert_eq!(Id::from_text(text.to_owned()), expected, "{text:?}");
        }
    }

    #[test]
    fn an_id_is_bounded_and_shown_on_one_line() {
        let long = "é".repeat(1000);
        let Some(Id::Text(kept)) = Id::from_text(long) else {
            panic!("it is no number");
        };
        assert_eq!(kept.len(), ID_BYTES_MAX);
        let evil = Id::from_text("a\n\u{1b}[31mb").expect("text");
        assert_eq!(evil.to_string(), "a [31mb");
    }

    #[test]
    fn json_keeps_numbers_numbers() {
        for (json, expected) in [("7", "7"), (r#""7""#, "7"), (r#""a\"b""#, r#""a\"b""#)] {
            let id: Id<'_> = serde_json::from_str(json).expect("an id");
            assert_eq!(serde_json::to_string(&id).expect("JSON"), expected);
        }
        for json in [r#""""#, "null", "-1", "1.5", "[]"] {
            assert!(serde_json::from_str::<Id<'_>>(json).is_err(), "{json}");
        }
    }
}
