//! Our requests to Zoom, as V1 JSON.

use std::fmt::{self, Write as _};

use super::KeepAlive;

/// The protocol version of our requests (RTMS V1).
pub const PROTOCOL_VERSION: u32 = 1;

/// Initial capacity of a message. Larger than what an allocator caches per thread: these messages
/// are sent once per stream, and their memory should be reused for the next stream.
const MESSAGE_BYTES: usize = 2 << 10;

/// Initial capacity of the answer to a keep-alive.
const ANSWER_BYTES: usize = 96;

fn message(text: fmt::Arguments<'_>) -> String {
    let mut message = String::with_capacity(MESSAGE_BYTES);
    // Writing to memory does not fail.
    let _ = message.write_fmt(text);
    message
}

/// Displays a text as a JSON string, with quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::Value::from(self.0).fmt(f)
    }
}

/// Displays a value after its prefix, or nothing if there is no value.
struct Member<T>(&'static str, Option<T>);

impl<T: fmt::Display> fmt::Display for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1 {
            Some(value) => write!(f, ",\"{}\":{value}", self.0),
            None => Ok(()),
        }
    }
}

/// Message 1.
pub fn signaling_handshake(
    id_key: &str,
    id: &str,
    stream_id: &str,
    signature: &str,
    buffer_data: Option<bool>,
) -> String {
    message(format_args!(
        "{{\"msg_type\":1,\"protocol_version\":{PROTOCOL_VERSION},\"sequence\":1,\"{id_key}\":{},\
         \"rtms_stream_id\":{},\"signature\":{}{}}}",
        Quoted(id),
        Quoted(stream_id),
        Quoted(signature),
        Member("buffer_data", buffer_data),
    ))
}

/// Message 3. `media_params` is JSON, or absent for Zoom's defaults.
pub fn media_handshake(
    id_key: &str,
    id: &str,
    stream_id: &str,
    signature: &str,
    media_type: u32,
    media_params: Option<&str>,
) -> String {
    message(format_args!(
        "{{\"msg_type\":3,\"protocol_version\":{PROTOCOL_VERSION},\"sequence\":1,\"{id_key}\":{},\
         \"rtms_stream_id\":{},\"signature\":{},\"media_type\":{media_type}{}}}",
        Quoted(id),
        Quoted(stream_id),
        Quoted(signature),
        Member("media_params", media_params),
    ))
}

/// Message 5.
pub fn event_subscription(event_types: &[i64]) -> String {
    let mut text = message(format_args!("{{\"msg_type\":5,\"events\":["));
    for (at, n) in event_types.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{{\"event_type\":{n},\"subscribe\":true}}");
    }
    text.push_str("]}");
    text
}

/// Message 7.
pub fn client_ready(stream_id: &str) -> String {
    message(format_args!(
        "{{\"msg_type\":7,\"rtms_stream_id\":{}}}",
        Quoted(stream_id)
    ))
}

/// Message 13: echoes the JSON values that were received; a missing one is left out.
pub fn keep_alive_answer(request: &KeepAlive<'_>) -> String {
    let mut answer = String::with_capacity(ANSWER_BYTES);
    answer.push_str("{\"msg_type\":13");
    for (key, value) in [
        ("timestamp", request.timestamp),
        ("sequence", request.sequence),
    ] {
        if let Some(value) = value {
            answer.push_str(",\"");
            answer.push_str(key);
            answer.push_str("\":");
            answer.push_str(value);
        }
    }
    answer.push('}');
    answer
}

/// Message 21.
pub fn stream_close(stream_id: &str) -> String {
    message(format_args!(
        "{{\"msg_type\":21,\"rtms_stream_id\":{}}}",
        Quoted(stream_id)
    ))
}

/// Message 28.
pub fn video_subscription(user_id: u64, subscribe: bool, timestamp_ms: u64) -> String {
    message(format_args!(
        "{{\"msg_type\":28,\"user_id\":{user_id},\"subscribe\":{subscribe},\
         \"timestamp\":{timestamp_ms}}}"
    ))
}
