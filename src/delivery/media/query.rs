//! What a request for `/media` asks for.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::head::Kind;
use crate::delivery::live::query::decode;
use crate::domain::id::Id;

/// Longest value, once it is decoded.
const VALUE_BYTES_MAX: usize = 256;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// A key, a stream id, or the beginning of one.
    pub stream: String,
    /// What is tapped.
    pub kind: Kind,
    /// The id of the only speaker that is wanted.
    pub speaker: Option<Id<'static>>,
}

impl Ask {
    /// Reads the part of a target behind `?`.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn parse(query: Option<&str>) -> Result<Ask, String> {
        let (mut stream, mut kind, mut speaker) = (None, None, None);
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !matches!(name, "stream" | "kind" | "speaker") {
                continue;
            }
            let value = decode(value).filter(|it| {
                let is_plain = !it.chars().any(char::is_control);
                !it.is_empty() && it.len() <= VALUE_BYTES_MAX && is_plain
            });
            let expected = |what: &str| format!("{name}: expected {what}");
            let value = value.ok_or_else(|| expected("a text, percent-encoded"))?;
            match name {
                "stream" => stream = Some(value),
                "speaker" => speaker = Id::from_text(value),
                _ => {
                    let known = Kind::from_name(&value);
                    kind = Some(known.ok_or_else(|| expected("audio, video or share"))?);
                }
            }
        }
        Ok(Ask {
            stream: stream.ok_or("stream: expected a key, a stream id, or 6 characters of one")?,
            kind: kind.ok_or("kind: expected audio, video or share")?,
            speaker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_a_kind_are_asked_for_and_perhaps_a_speaker() {
        let ask = Ask::parse(Some("stream=a%2Fb+c%3D&kind=audio&speaker=16778240&_=1"));
        let expected = Ask {
            stream: "a/b+c=".to_owned(),
            kind: Kind::Audio,
            speaker: Some(Id::Number(16_778_240)),
        };
        assert_eq!(ask, Ok(expected));
        let share = Ask::parse(Some("kind=share&stream=bdd2d5")).expect("one");
        assert_eq!((share.kind, share.speaker), (Kind::Share, None));
    }

    #[test]
    fn m4_what_is_malformed_is_refused() {
        for query in [
            None,
            Some(""),
            Some("stream=abcdef"),
            Some("kind=audio"),
            Some("stream=abcdef&kind=transcript"),
            Some("stream=abcdef&kind="),
            Some("stream=&kind=audio"),
            Some("stream=%zz&kind=audio"),
            Some("stream=a%00b&kind=audio"),
            Some("stream=abcdef&kind=audio&speaker="),
        ] {
            let error = Ask::parse(query).expect_err("malformed");
            assert!(error.contains("expected"), "{error}");
        }
    }
}
