//! A JSON value that is read leniently: number, string, boolean, or anything else as absent.
//!
//! Zoom's sources disagree on whether an id is a number or a string, and a later version may send
//! an object instead of a word. Parsing a [`Scalar`] never fails, so one unexpected field does not
//! lose the message.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A number, a string, or something else.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Scalar<'a> {
    /// Absent, null, an array or an object.
    #[default]
    None,
    /// A negative integer.
    Signed(i64),
    /// An integer.
    Unsigned(u64),
    /// A number with a fraction, or too large for an integer.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// true or false.
    Bool(bool),
}

impl<'a> Scalar<'a> {
    /// As an integer; digits in a string count.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Scalar::Signed(n) => Some(*n),
            Scalar::Unsigned(n) => i64::try_from(*n).ok(),
            // A whole number in exponent form; above 2^53 a float is no longer exact.
            Scalar::Float(x) if x.fract() == 0.0 && x.abs() < 9.0e15 => Some(*x as i64),
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Float(_) | Scalar::Bool(_) | Scalar::None => None,
        }
    }

    /// As an unsigned integer; digits in a string count.
    pub fn unsigned(&self) -> Option<u64> {
        match self {
            Scalar::Unsigned(n) => Some(*n),
            Scalar::Text(text) => text.trim().parse().ok(),
            other => other.integer().and_then(|n| u64::try_from(n).ok()),
        }
    }

    /// The string; `None` for any other value.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The string, or the digits of an integer: for ids.
    pub fn id(self) -> Option<Cow<'a, str>> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Signed(n) => Some(Cow::Owned(n.to_string())),
            Scalar::Unsigned(n) => Some(Cow::Owned(n.to_string())),
            Scalar::Float(_) | Scalar::Bool(_) | Scalar::None => None,
        }
    }

    /// Whether it is true, or a number other than 0.
    pub fn is_true(&self) -> bool {
        match self {
            Scalar::Bool(value) => *value,
            Scalar::Text(text) => text.eq_ignore_ascii_case("true"),
            other => other.integer().is_some_and(|n| n != 0),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(n))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(x))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> Scalar<'_> {
        serde_json::from_str(json).expect("a scalar takes every value")
    }

    #[test]
    fn every_json_value_is_read() {
        assert_eq!(scalar("16778240").unsigned(), Some(16_778_240));
        assert_eq!(scalar("\"16778240\"").unsigned(), Some(16_778_240));
        assert_eq!(scalar("18446744073709551615").unsigned(), Some(u64::MAX));
        assert_eq!(scalar("18446744073709551615").integer(), None);
        assert_eq!(scalar("-1").integer(), Some(-1));
        assert_eq!(scalar("1.767e12").integer(), Some(1_767_000_000_000));
        assert_eq!(scalar("1.5").integer(), None);
        assert_eq!(scalar("null"), Scalar::None);
        assert_eq!(scalar("[1,{\"a\":[]}]"), Scalar::None);
        assert_eq!(scalar("{\"a\":1}"), Scalar::None);
        assert!(scalar("true").is_true() && scalar("1").is_true() && scalar("\"True\"").is_true());
        assert!(!scalar("false").is_true() && !scalar("null").is_true());
        assert_eq!(
            scalar("12345678901234567890").id().as_deref(),
            Some("12345678901234567890")
        );
        assert_eq!(scalar("\"a\\nb\"").text().as_deref(), Some("a\nb"));
    }
}
