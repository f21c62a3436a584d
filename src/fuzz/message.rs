//! Fuzz target for Zoom's messages: no panic, and the answer to a keep-alive echoes the same values
//! unchanged, including numbers beyond every machine type.

use std::collections::BTreeMap;

use crate::protocol::message::{
    ECHO_BYTES_MAX, Message, decode, keep_alive_answer, replace_lone_surrogates,
};
use serde_json::value::RawValue;

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let repaired = replace_lone_surrogates(text);
    for text in [Some(text), repaired.as_deref()].into_iter().flatten() {
        if let Ok(Message::KeepAlive(request)) = decode(text, 1_767_000_000_000) {
            let answer = keep_alive_answer(&request);
            assert!(answer.len() <= 2 * ECHO_BYTES_MAX + 100);
            let answer: BTreeMap<&str, &RawValue> = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(answer["msg_type"].get(), "13");
            let value = |key| answer.get(key).map(|value| value.get());
            assert_eq!(value("timestamp"), request.timestamp);
            assert_eq!(value("sequence"), request.sequence);
        }
    }
}
