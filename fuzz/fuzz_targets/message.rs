//! Messages from Zoom: never a panic, and the answer to a keep-alive carries the same values to
//! the letter, numbers beyond every machine type among them.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rtmsd::protocol::message::{
    ECHO_BYTES_MAX, Message, decode, keep_alive_answer, replace_lone_surrogates,
};
use serde_json::value::RawValue;

fuzz_target!(|text: &str| {
    let mended = replace_lone_surrogates(text);
    for text in [Some(text), mended.as_deref()].into_iter().flatten() {
        if let Ok(Message::KeepAlive(request)) = decode(text) {
            let answer = keep_alive_answer(&request);
            assert!(answer.len() <= 2 * ECHO_BYTES_MAX + 100);
            let answer: BTreeMap<&str, &RawValue> = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(answer["msg_type"].get(), "13");
            let value = |key| answer.get(key).map(|value| value.get());
            assert_eq!(value("timestamp"), request.timestamp.map(RawValue::get));
            assert_eq!(value("sequence"), request.sequence.map(RawValue::get));
        }
    }
});
