//! Fuzz target for the messages of the event WebSocket: no panic, what is logged is bounded, and an
//! event's body is the text that Zoom wrapped.

use serde_json::json;

use crate::source::events::wire::{MODULE_BYTES_MAX, Message, REASON_BYTES_MAX, parse};

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    match parse(bytes) {
        Message::Built(Ok(())) | Message::Heartbeat | Message::Other(None) => {}
        Message::Built(Err(reason)) => {
            assert!(reason.len() <= REASON_BYTES_MAX);
            assert!(!reason.contains(|c: char| c.is_control() || c == '"'));
        }
        Message::Other(Some(module)) => assert!(module.len() <= MODULE_BYTES_MAX),
        Message::Event(body) => {
            // A byte that is not UTF-8 becomes three.
            assert!(body.len() <= 3 * bytes.len());
            assert!(std::str::from_utf8(&body).is_ok());
            super::webhook::run(&body);
        }
    }
    // Any text arrives as it was, lone surrogates included: the parser of events repairs them.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let wrapped = json!({"module": "message", "content": text, "header": {}}).to_string();
        assert_eq!(parse(wrapped.as_bytes()), Message::Event(bytes.to_vec()));
    }
}
