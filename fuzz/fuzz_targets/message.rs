//! Messages from Zoom: never a panic, and an answer to a keep-alive is JSON that says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtmsd::protocol::message::{
    ECHO_BYTES_MAX, Message, decode, keep_alive_answer, mend_surrogates,
};

fuzz_target!(|text: &str| {
    let mended = mend_surrogates(text);
    for text in [Some(text), mended.as_deref()].into_iter().flatten() {
        if let Ok(Message::KeepAlive(request)) = decode(text) {
            let answer = keep_alive_answer(&request);
            assert!(answer.len() <= 2 * ECHO_BYTES_MAX + 100);
            let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(answer["msg_type"], 13);
        }
    }
});
