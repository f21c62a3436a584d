//! What we say to Zoom, as V1 JSON.

use super::KeepAlive;

/// The protocol version that we speak (RTMS V1).
pub const PROTOCOL_VERSION: u32 = 1;

/// A JSON string of `text`, quotes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Message 1.
pub fn signaling_handshake(
    id_key: &str,
    id: &str,
    stream_id: &str,
    signature: &str,
    buffer_data: Option<bool>,
) -> String {
    let buffer = buffer_data
        .map(|on| format!(",\"buffer_data\":{on}"))
        .unwrap_or_default();
    format!(
        "{{\"msg_type\":1,\"protocol_version\":{PROTOCOL_VERSION},\"sequence\":1,\"{id_key}\":{},\
         \"rtms_stream_id\":{},\"signature\":{}{buffer}}}",
        quoted(id),
        quoted(stream_id),
        quoted(signature),
    )
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
    let params = media_params
        .map(|json| format!(",\"media_params\":{json}"))
        .unwrap_or_default();
    format!(
        "{{\"msg_type\":3,\"protocol_version\":{PROTOCOL_VERSION},\"sequence\":1,\"{id_key}\":{},\
         \"rtms_stream_id\":{},\"signature\":{},\"media_type\":{media_type}{params}}}",
        quoted(id),
        quoted(stream_id),
        quoted(signature),
    )
}

/// Message 5.
pub fn event_subscription(event_types: &[i64]) -> String {
    let events: Vec<String> = event_types
        .iter()
        .map(|n| format!("{{\"event_type\":{n},\"subscribe\":true}}"))
        .collect();
    format!("{{\"msg_type\":5,\"events\":[{}]}}", events.join(","))
}

/// Message 7.
pub fn client_ready(stream_id: &str) -> String {
    format!(
        "{{\"msg_type\":7,\"rtms_stream_id\":{}}}",
        quoted(stream_id)
    )
}

/// Message 13: the same JSON values that came, each only if it came.
pub fn keep_alive_answer(request: &KeepAlive<'_>) -> String {
    let mut answer = String::from("{\"msg_type\":13");
    for (key, value) in [
        ("timestamp", request.timestamp),
        ("sequence", request.sequence),
    ] {
        if let Some(value) = value {
            answer.push_str(",\"");
            answer.push_str(key);
            answer.push_str("\":");
            answer.push_str(value.get());
        }
    }
    answer.push('}');
    answer
}

/// Message 21.
pub fn stream_close(stream_id: &str) -> String {
    format!(
        "{{\"msg_type\":21,\"rtms_stream_id\":{}}}",
        quoted(stream_id)
    )
}

/// Message 28.
pub fn video_subscription(user_id: u64, subscribe: bool, timestamp_ms: u64) -> String {
    format!(
        "{{\"msg_type\":28,\"user_id\":{user_id},\"subscribe\":{subscribe},\
         \"timestamp\":{timestamp_ms}}}"
    )
}
