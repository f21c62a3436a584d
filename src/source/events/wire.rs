//! Messages of Zoom's event WebSocket: bytes in, meaning out.
//!
//! Every message is JSON with a `module`. An event is a webhook's body as a string in `content`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::text::bounded;
use crate::protocol::message::replace_lone_surrogates;

/// What the client sends every 30 s. A ping goes with it, because Zoom documents one or the other.
pub(super) const HEARTBEAT: &str = r#"{"module":"heartbeat"}"#;

/// Maximum bytes of Zoom's reason in a log line.
pub(crate) const REASON_BYTES_MAX: usize = 200;
/// Maximum bytes of the name of a module that is not known.
pub(crate) const MODULE_BYTES_MAX: usize = 64;

/// A message of Zoom's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// `build_connection`: events follow, or why they do not.
    Built(Result<(), String>),
    /// The answer to a heartbeat.
    Heartbeat,
    /// An event: the body of a webhook.
    Event(Vec<u8>),
    /// Another module, by name, or `None` for what cannot be read.
    Other(Option<String>),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    module: Cow<'a, str>,
    #[serde(borrow, default)]
    success: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Reads a message. A field of an unexpected type counts as missing.
pub(crate) fn parse(bytes: &[u8]) -> Message {
    let text = String::from_utf8_lossy(bytes);
    let repaired = replace_lone_surrogates(&text);
    let text = repaired.as_deref().unwrap_or(&text);
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Message::Other(None);
    };
    match &*envelope.module {
        "build_connection" => Message::Built(built(&envelope)),
        "heartbeat" => Message::Heartbeat,
        "message" => match envelope.content {
            Some(content) => Message::Event(body(content)),
            None => Message::Other(None),
        },
        other => Message::Other(Some(bounded(other, MODULE_BYTES_MAX).to_owned())),
    }
}

fn built(envelope: &Envelope<'_>) -> Result<(), String> {
    let word = envelope.success.map(|raw| raw.get().trim_matches('"'));
    if word == Some("true") {
        return Ok(());
    }
    let reason = envelope.content.map(body).unwrap_or_default();
    let reason = String::from_utf8_lossy(&reason);
    let plain = |c: char| if c.is_control() || c == '"' { ' ' } else { c };
    Err(bounded(
        &reason.chars().map(plain).collect::<String>(),
        REASON_BYTES_MAX,
    )
    .to_owned())
}

/// The content of a string; of anything else the JSON itself.
fn body(content: &RawValue) -> Vec<u8> {
    match serde_json::from_str::<String>(content.get()) {
        Ok(text) => text.into_bytes(),
        Err(_) => content.get().as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_meaning() {
        let refused = |text: &str| Message::Built(Err(text.to_owned()));
        for (text, expected) in [
            (
                r#"{"module":"build_connection","success":true,"content":"ok"}"#,
                Message::Built(Ok(())),
            ),
            (
                r#"{"module":"build_connection","success":"true"}"#,
                Message::Built(Ok(())),
            ),
            (
                r#"{"module":"build_connection","success":false,"content":"bad \"token\""}"#,
                refused("bad  token "),
            ),
            (r#"{"module":"build_connection"}"#, refused("")),
            (
                r#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#,
                Message::Heartbeat,
            ),
            (
                r#"{"module":"message","content":"{\"event\":\"a\"}","header":{}}"#,
                Message::Event(br#"{"event":"a"}"#.to_vec()),
            ),
            (
                r#"{"module":"message","content":{"event":"a"}}"#,
                Message::Event(br#"{"event":"a"}"#.to_vec()),
            ),
            (
                r#"{"module":"weather","content":[]}"#,
                Message::Other(Some("weather".to_owned())),
            ),
            (r#"{"module":"message"}"#, Message::Other(None)),
            (r#"{"module":7}"#, Message::Other(None)),
            ("", Message::Other(None)),
            ("\u{feff}{", Message::Other(None)),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_topic_that_was_cut_within_a_character_does_not_lose_its_event() {
        let text = br#"{"module":"message","content":"{\"topic\":\"\ud83d\"}"}"#;
        let Message::Event(body) = parse(text) else {
            panic!("an event");
        };
        assert_eq!(String::from_utf8_lossy(&body), "{\"topic\":\"\u{fffd}\"}");
    }
}
