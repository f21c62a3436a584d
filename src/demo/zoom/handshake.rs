//! Checks messages 1 and 3 as Zoom does: order, fields, id, signature.
//!
//! `meeting` decides whether a stream accepts the connection.

use std::sync::Arc;

use serde_json::Value;

use super::record::lock;
use super::shared::{Shared, hmac_hex};
use crate::demo::player::Meeting;
use crate::demo::player::script::{DemoProduct, Refusal, Socket};

const KEYS: [&str; 15] = [
    "msg_type",
    "protocol_version",
    "sequence",
    "meeting_uuid",
    "webinar_uuid",
    "session_id",
    "engagement_id",
    "call_id",
    "rtms_stream_id",
    "signature",
    "buffer_data",
    "rtms_client_agent",
    "media_type",
    "media_params",
    "payload_encryption",
];

/// The parts of a URL's path: `/signaling/<stream>/<generation>` or
/// `/media/<stream>/<generation>/<type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::demo) struct Place {
    pub(in crate::demo) stream: String,
    pub(in crate::demo) generation: u32,
    /// The media type of the URL; 0 for signaling.
    pub(in crate::demo) media_type: u32,
}

impl Place {
    pub(in crate::demo) fn parse(path: &str) -> Option<Place> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let kind = parts.next()?;
        let stream = parts.next()?.to_owned();
        let generation = parts.next()?.parse().ok()?;
        let media_type = match kind {
            "signaling" => 0,
            "media" => parts.next()?.parse().ok()?,
            _ => return None,
        };
        parts.next().is_none().then_some(Place {
            stream,
            generation,
            media_type,
        })
    }
}

/// The meeting of a handshake, or why it is refused. Faults that only a wrong client can cause are
/// recorded as violations.
pub(in crate::demo) fn check(
    shared: &Shared,
    socket: Socket,
    message: &Value,
    label: &str,
) -> Result<Arc<Meeting>, Refusal> {
    let refuse = |status: i64, what: String| {
        shared.violation(format!("{label}: {what}"));
        Err(Refusal::Status(status))
    };
    let expected = match socket {
        Socket::Signaling => 1,
        Socket::Media => 3,
    };
    if message["msg_type"] != expected {
        return refuse(
            1,
            format!(
                "found message {} first, expected {expected}",
                message["msg_type"]
            ),
        );
    }
    if message["protocol_version"] != 1 {
        return refuse(
            4,
            format!(
                "found protocol_version {}, expected 1",
                message["protocol_version"]
            ),
        );
    }
    if message.get("sequence").is_some_and(|n| !n.is_u64()) {
        return refuse(4, "sequence is no number".to_owned());
    }
    let mut keys = message.as_object().into_iter().flat_map(|m| m.keys());
    if let Some(key) = keys.find(|key| !KEYS.contains(&key.as_str())) {
        return refuse(4, format!("unknown key {key:?} in the handshake"));
    }
    let Some(stream) = message["rtms_stream_id"].as_str() else {
        return refuse(4, "rtms_stream_id is missing".to_owned());
    };
    let Some(meeting) = lock(&shared.meetings).by_stream.get(stream).cloned() else {
        return refuse(2, format!("no such stream: {stream:?}"));
    };
    let product = meeting.script.product;
    let id = message
        .get(product.id_key())
        .or_else(|| match product {
            DemoProduct::Webinar => message.get("webinar_uuid"),
            _ => None,
        })
        .and_then(Value::as_str);
    if id != Some(&meeting.script.id) {
        return refuse(4, format!("{} is missing or another's", product.id_key()));
    }
    let (key, secret) = shared.credentials(&meeting.script);
    let signed = format!("{key},{},{stream}", meeting.script.id);
    if message["signature"].as_str() != Some(&hmac_hex(secret, signed.as_bytes())) {
        return refuse(3, "wrong signature".to_owned());
    }
    if socket == Socket::Media {
        let params = &message["media_params"];
        if !params.is_null() && !params.is_object() {
            return refuse(17, format!("found media_params {params}"));
        }
        if !matches!(
            message["media_type"].as_u64(),
            Some(1 | 2 | 4 | 8 | 16 | 32)
        ) {
            return refuse(14, format!("found media_type {}", message["media_type"]));
        }
    }
    Ok(meeting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            Place::parse("/media/s1/2/8"),
            Some(Place {
                stream: "s1".to_owned(),
                generation: 2,
                media_type: 8
            })
        );
        assert!(Place::parse("/signaling/s1/0").is_some());
        assert!(Place::parse("/signaling/s1/0/8").is_none());
        assert!(Place::parse("/media/s1/2").is_none());
        assert!(Place::parse("/").is_none());
    }
}
