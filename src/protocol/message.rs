//! The wire: V1 JSON in, [`Message`] out; our requests out as V1 JSON.
//!
//! This file is the only one that knows how a message is written. A second wire format (V2's
//! protobuf, once its schema is published) would be a second file that yields the same types.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::codes::{Status, StopReason, StreamState};
use super::scalar::Scalar;

/// The protocol version that we speak (RTMS V1).
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest JSON value of a keep-alive that is echoed. A stamp has 13 digits; more than this is no
/// stamp, and echoing it would let a peer use us to amplify.
pub const ECHO_BYTES_MAX: usize = 128;

/// A message from Zoom.
#[derive(Debug)]
pub enum Message<'a> {
    /// 2: the answer to our signaling handshake.
    SignalingHandshake(SignalingHandshake),
    /// 4: the answer to our media handshake.
    MediaHandshake(MediaHandshake<'a>),
    /// 6: something happened in the meeting.
    Event(EventUpdate<'a>),
    /// 8 and 20: the state of the stream.
    StreamState {
        /// The new state.
        state: StreamState,
        /// Why, where told.
        reason: StopReason,
        /// When, in Unix milliseconds, where told.
        timestamp_ms: Option<u64>,
    },
    /// 9 and 11: the state of a session within the stream.
    SessionState {
        /// The number; see [`super::codes::session_state_name`].
        state: i64,
        /// Why, where told.
        reason: StopReason,
    },
    /// 12: to be answered at once, on the same socket.
    KeepAlive(KeepAlive<'a>),
    /// 14, 15, 16: one packet of audio, video or share.
    Packet(PacketKind, Packet<'a>),
    /// 17: a phrase.
    Transcript(Transcript<'a>),
    /// 18: a chat message.
    Chat(Chat<'a>),
    /// 22: the answer to our close request.
    StreamClose(Status),
    /// 29: the answer to our video subscription.
    VideoSubscription {
        /// Whose video.
        user_id: u64,
        /// Whether it was granted.
        status: Status,
    },
    /// Reserved, undocumented or new: to be counted and skipped.
    Unknown(i64),
}

/// Which of the three packet streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// 14.
    Audio,
    /// 15.
    Video,
    /// 16.
    Share,
}

/// Message 2.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SignalingHandshake {
    /// `None` when it is missing, which is a refusal.
    pub status: Option<Status>,
    /// Zoom's words, bounded.
    pub reason: String,
    /// The media URLs by Zoom's key (`audio`, `deskshare`, `all`, …), not yet trusted.
    pub urls: Vec<(String, String)>,
}

/// Message 4.
#[derive(Debug)]
pub struct MediaHandshake<'a> {
    /// `None` when it is missing, which is a refusal.
    pub status: Option<Status>,
    /// Zoom's words, bounded.
    pub reason: String,
    /// The parameters in force, as sent.
    pub media_params: Option<&'a RawValue>,
    /// Whether the payload is encrypted beyond TLS, which we cannot read.
    pub is_encrypted: bool,
}

/// Message 12: what is to be echoed.
#[derive(Debug)]
pub struct KeepAlive<'a> {
    /// The stamp, as the JSON that came.
    pub timestamp: Option<&'a RawValue>,
    /// The sequence, as the JSON that came.
    pub sequence: Option<&'a RawValue>,
}

impl KeepAlive<'_> {
    /// The stamp in Unix milliseconds: Zoom's clock.
    pub fn timestamp_ms(&self) -> Option<u64> {
        raw_scalar(self.timestamp).unsigned().map(milliseconds)
    }
}

/// Messages 14, 15, 16.
#[derive(Debug, PartialEq)]
pub struct Packet<'a> {
    /// Who; 0 for the mix of all.
    pub user_id: u64,
    /// Who, in words.
    pub user_name: Cow<'a, str>,
    /// The leg of a call (Phone, Contact Center).
    pub channel_id: Option<u64>,
    /// When, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// The payload in base64.
    pub data: Cow<'a, str>,
}

/// Message 17.
#[derive(Debug, PartialEq)]
pub struct Transcript<'a> {
    /// Who spoke; names repeat and change, this does not within a session.
    pub user_id: u64,
    /// Who, in words.
    pub user_name: Cow<'a, str>,
    /// The leg of a call (Phone, Contact Center).
    pub channel_id: Option<u64>,
    /// Begin of the phrase, Unix milliseconds.
    pub start_ms: u64,
    /// End of the phrase, Unix milliseconds.
    pub end_ms: u64,
    /// Stamp of the phrase, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Zoom's language number, where told.
    pub language: Option<i64>,
    /// 0 none, 1 new, 2 update, 3 delete.
    pub attribute: i64,
    /// What was said.
    pub text: Cow<'a, str>,
}

/// Message 18. Its fields are young and vary, so it is kept whole, too.
#[derive(Debug)]
pub struct Chat<'a> {
    /// When, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// `operation_type`, where told; see [`super::chat::operation_name`].
    pub operation: Option<i64>,
    /// The type of its `chat_session`, where told; see [`super::chat::session_name`].
    pub session: Option<i64>,
    /// Who wrote, where told.
    pub sender: Option<Participant>,
    /// What was written, where told: text, or a JSON document as text.
    pub text: Option<Cow<'a, str>>,
    /// `content` as it came.
    pub raw: &'a RawValue,
}

/// Message 6.
#[derive(Debug)]
pub struct EventUpdate<'a> {
    /// `event_type`; `None` in a V2 message, whose `event_code` has another meaning.
    pub event_type: Option<i64>,
    /// When, in Unix milliseconds, where told.
    pub timestamp_ms: Option<u64>,
    /// Who, where told.
    pub user_id: Option<u64>,
    /// Who, in words, where told.
    pub user_name: Option<Cow<'a, str>>,
    /// Those who joined or left.
    pub participants: Vec<Participant>,
    /// `event` as it came.
    pub raw: &'a RawValue,
}

/// A person in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Who.
    pub user_id: u64,
    /// In words, where told.
    pub user_name: Option<String>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

/// Most participants taken from one event; the rest stays in the raw record.
const PARTICIPANTS_MAX: usize = 1000;
/// Most media URLs taken from one handshake answer.
const MEDIA_URLS_MAX: usize = 16;
/// Longest `reason` kept, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Everything that stands at the top of some message. One pass over the bytes fills it; what is
/// rare stays raw and is read in a second pass when it is there.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    msg_type: Scalar<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status_code: Scalar<'a>,
    #[serde(borrow, default)]
    reason: Scalar<'a>,
    #[serde(borrow, default)]
    stop_reason: Scalar<'a>,
    #[serde(borrow, default)]
    state: Scalar<'a>,
    #[serde(borrow, default)]
    user_id: Scalar<'a>,
    #[serde(borrow, default)]
    user_name: Scalar<'a>,
    #[serde(borrow, default)]
    media_server: Option<&'a RawValue>,
    #[serde(borrow, default)]
    media_params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload_encrypted: Scalar<'a>,
    #[serde(borrow, default)]
    payload_encryption: Scalar<'a>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

/// `content` of a data message. Old servers put the bare payload there.
#[derive(Default)]
enum Content<'a> {
    #[default]
    None,
    Bare(Cow<'a, str>),
    Fields(ContentFields<'a>),
}

#[derive(Deserialize, Default)]
struct ContentFields<'a> {
    #[serde(borrow, default)]
    user_id: Scalar<'a>,
    #[serde(borrow, default)]
    user_name: Scalar<'a>,
    #[serde(borrow, default)]
    channel_id: Scalar<'a>,
    #[serde(borrow, default)]
    data: Scalar<'a>,
    #[serde(borrow, default)]
    timestamp: Scalar<'a>,
    #[serde(borrow, default)]
    start_time: Scalar<'a>,
    #[serde(borrow, default)]
    end_time: Scalar<'a>,
    #[serde(borrow, default)]
    language: Scalar<'a>,
    #[serde(borrow, default)]
    attribute: Scalar<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> serde::de::Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Bare(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Bare(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::None)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<Self::Value, A::Error> {
                let fields = serde::de::value::MapAccessDeserializer::new(map);
                Ok(Content::Fields(ContentFields::deserialize(fields)?))
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// Reads one message.
///
/// `data` is the payload of one WebSocket message, text or binary; both carry JSON.
pub fn decode(data: &str) -> Result<Message<'_>, DecodeError> {
    let frame: Frame<'_> = serde_json::from_str(data).map_err(|e| DecodeError(e.to_string()))?;
    let Some(msg_type) = frame.msg_type.integer() else {
        return Err(DecodeError("no msg_type".to_owned()));
    };
    Ok(match msg_type {
        2 => Message::SignalingHandshake(SignalingHandshake {
            status: frame.status_code.integer().map(Status),
            reason: reason_text(frame.reason),
            urls: frame
                .media_server
                .map(|raw| media_urls(raw.get()))
                .unwrap_or_default(),
        }),
        4 => Message::MediaHandshake(MediaHandshake {
            status: frame.status_code.integer().map(Status),
            reason: reason_text(frame.reason),
            media_params: frame.media_params.filter(|raw| raw.get() != "null"),
            is_encrypted: frame.payload_encrypted.is_true() || frame.payload_encryption.is_true(),
        }),
        6 => match frame.event {
            Some(raw) => Message::Event(event_update(raw)?),
            None => return Err(DecodeError("message 6 without event".to_owned())),
        },
        8 | 20 => Message::StreamState {
            state: StreamState::from_number(frame.state.integer().unwrap_or(-1)),
            reason: StopReason(stop_reason(&frame.reason, &frame.stop_reason)),
            timestamp_ms: raw_scalar(frame.timestamp).unsigned().map(milliseconds),
        },
        9 | 11 => Message::SessionState {
            state: frame.state.integer().unwrap_or(-1),
            reason: StopReason(stop_reason(&frame.stop_reason, &frame.reason)),
        },
        12 => {
            let short = |raw: &&RawValue| raw.get().len() <= ECHO_BYTES_MAX;
            Message::KeepAlive(KeepAlive {
                timestamp: frame.timestamp.filter(short),
                sequence: frame.sequence.filter(short),
            })
        }
        14 => Message::Packet(PacketKind::Audio, packet(frame)),
        15 => Message::Packet(PacketKind::Video, packet(frame)),
        16 => Message::Packet(PacketKind::Share, packet(frame)),
        17 => Message::Transcript(transcript(frame)),
        18 => chat(data)?,
        22 => Message::StreamClose(Status(frame.status_code.integer().unwrap_or(0))),
        29 => Message::VideoSubscription {
            user_id: frame.user_id.unsigned().unwrap_or(0),
            status: Status(frame.status_code.integer().unwrap_or(-1)),
        },
        n => Message::Unknown(n),
    })
}

fn stop_reason(first: &Scalar<'_>, second: &Scalar<'_>) -> i64 {
    first.integer().or_else(|| second.integer()).unwrap_or(0)
}

fn reason_text(reason: Scalar<'_>) -> String {
    let mut text: String = reason.id().unwrap_or_default().into_owned();
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn raw_scalar(raw: Option<&RawValue>) -> Scalar<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// Zoom's stamps in milliseconds. Clients have met all three units; the size tells which.
fn milliseconds(stamp: u64) -> u64 {
    match stamp {
        1_000_000_000_000_000.. => stamp / 1000,
        1_000_000_000_000.. => stamp,
        1_000_000_000.. => stamp * 1000,
        _ => stamp,
    }
}

fn packet(frame: Frame<'_>) -> Packet<'_> {
    let outer = raw_scalar(frame.timestamp).unsigned();
    let (user_id, user_name, timestamp, channel_id, data) = match frame.content {
        Content::Fields(content) => (
            content.user_id,
            content.user_name,
            content.timestamp.unsigned(),
            content.channel_id.unsigned(),
            content.data.text().unwrap_or_default(),
        ),
        Content::Bare(data) => (frame.user_id, frame.user_name, None, None, data),
        Content::None => (
            frame.user_id,
            frame.user_name,
            None,
            None,
            Cow::Borrowed(""),
        ),
    };
    Packet {
        user_id: user_id.unsigned().unwrap_or(0),
        user_name: user_name.text().unwrap_or_default(),
        channel_id,
        timestamp_ms: timestamp.or(outer).map(milliseconds).unwrap_or(0),
        data,
    }
}

fn transcript(frame: Frame<'_>) -> Transcript<'_> {
    let outer = raw_scalar(frame.timestamp).unsigned();
    let content = match frame.content {
        Content::Fields(content) => content,
        Content::Bare(data) => ContentFields {
            user_id: frame.user_id,
            user_name: frame.user_name,
            data: Scalar::Text(data),
            ..ContentFields::default()
        },
        Content::None => ContentFields::default(),
    };
    let stamp = content.timestamp.unsigned().or(outer).map(milliseconds);
    let start = content.start_time.unsigned().map(milliseconds);
    let end = content.end_time.unsigned().map(milliseconds);
    let start_ms = start.or(stamp).or(end).unwrap_or(0);
    Transcript {
        user_id: content.user_id.unsigned().unwrap_or(0),
        user_name: content.user_name.text().unwrap_or_default(),
        channel_id: content.channel_id.unsigned(),
        start_ms,
        end_ms: end.unwrap_or(start_ms).max(start_ms),
        timestamp_ms: stamp.unwrap_or(start_ms),
        language: content.language.integer(),
        attribute: content.attribute.integer().unwrap_or(0),
        text: content.data.text().unwrap_or_default(),
    }
}

fn chat(data: &str) -> Result<Message<'_>, DecodeError> {
    #[derive(Deserialize)]
    struct ChatFrame<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        timestamp: Scalar<'a>,
        #[serde(borrow, default)]
        operation_type: Scalar<'a>,
        #[serde(borrow, default)]
        chat_session: Option<&'a RawValue>,
        #[serde(borrow, default)]
        sender: Option<&'a RawValue>,
        #[serde(borrow, default)]
        data: Scalar<'a>,
    }
    #[derive(Deserialize)]
    struct Session<'a> {
        #[serde(borrow, default)]
        r#type: Scalar<'a>,
    }
    let frame: ChatFrame<'_> =
        serde_json::from_str(data).map_err(|e| DecodeError(e.to_string()))?;
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(frame.content.get()) else {
        // Content of another form is kept as it is.
        return Ok(Message::Chat(Chat {
            timestamp_ms: 0,
            operation: None,
            session: None,
            sender: None,
            text: None,
            raw: frame.content,
        }));
    };
    let session = fields.chat_session.and_then(|raw| {
        let object = serde_json::from_str::<Session<'_>>(raw.get());
        let number = object.map_or_else(|_| raw_scalar(Some(raw)), |session| session.r#type);
        number.integer()
    });
    let sender = fields.sender.map(|raw| participants(raw.get()));
    Ok(Message::Chat(Chat {
        timestamp_ms: fields.timestamp.unsigned().map_or(0, milliseconds),
        operation: fields.operation_type.integer(),
        session,
        sender: sender.and_then(|people| people.into_iter().next()),
        text: fields.data.text(),
        raw: frame.content,
    }))
}

fn event_update(raw: &RawValue) -> Result<EventUpdate<'_>, DecodeError> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        event_type: Scalar<'a>,
        #[serde(borrow, default)]
        timestamp: Scalar<'a>,
        #[serde(borrow, default)]
        event_ts: Scalar<'a>,
        #[serde(borrow, default)]
        user_id: Scalar<'a>,
        #[serde(borrow, default)]
        user_name: Scalar<'a>,
        #[serde(borrow, default)]
        participants: Option<&'a RawValue>,
        #[serde(borrow, default)]
        participant_info: Option<&'a RawValue>,
    }
    let fields: Fields<'_> =
        serde_json::from_str(raw.get()).map_err(|e| DecodeError(format!("event: {e}")))?;
    let people = fields.participants.or(fields.participant_info);
    Ok(EventUpdate {
        event_type: fields.event_type.integer(),
        timestamp_ms: fields
            .timestamp
            .unsigned()
            .or_else(|| fields.event_ts.unsigned())
            .map(milliseconds),
        user_id: fields.user_id.unsigned(),
        user_name: fields.user_name.text(),
        participants: people
            .map(|raw| participants(raw.get()))
            .unwrap_or_default(),
        raw,
    })
}

/// A list of people, or one of them; what is neither is nobody.
fn participants(json: &str) -> Vec<Participant> {
    #[derive(Deserialize)]
    struct Person<'a> {
        #[serde(borrow, default)]
        user_id: Scalar<'a>,
        #[serde(borrow, default)]
        user_name: Scalar<'a>,
    }
    let people: Vec<Person<'_>> = match serde_json::from_str(json) {
        Ok(list) => list,
        Err(_) => serde_json::from_str(json).into_iter().collect(),
    };
    let known = people.into_iter().filter_map(|person| {
        let user_name = person.user_name.text().map(Cow::into_owned);
        Some(Participant {
            user_id: person.user_id.unsigned()?,
            user_name,
        })
    });
    known.take(PARTICIPANTS_MAX).collect()
}

/// `media_server.server_urls`: string values only. What V2 may add beside them is passed over;
/// `srt_passphrase` is a secret and is not even looked at.
fn media_urls(json: &str) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Server<'a> {
        #[serde(borrow, default)]
        server_urls: std::collections::BTreeMap<Cow<'a, str>, Scalar<'a>>,
    }
    let Ok(server) = serde_json::from_str::<Server<'_>>(json) else {
        return Vec::new();
    };
    let urls = server.server_urls.into_iter().filter_map(|(kind, url)| {
        let url = url
            .text()
            .filter(|url| url.len() <= super::url::URL_BYTES_MAX)?;
        (kind.len() <= 32).then(|| (kind.into_owned(), url.into_owned()))
    });
    urls.take(MEDIA_URLS_MAX).collect()
}

/// Repairs text that JSON forbids but real senders produce: an escape for half a surrogate pair
/// (an emoji cut in two). Each half becomes U+FFFD, so that the phrase around it is kept.
pub fn mend_surrogates(data: &str) -> Option<String> {
    let bytes = data.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let escape = bytes.get(at..at + 6)?;
        if !escape.starts_with(b"\\u") {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let mut mended = String::with_capacity(data.len());
    let (mut at, mut copied, mut found) = (0, 0, false);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&data[copied..at]);
                mended.push_str("\\ufffd");
                at += 6;
                copied = at;
                found = true;
            }
            // Any other escape: its second byte must not be taken for the begin of a new one.
            _ => at += 2,
        }
    }
    mended.push_str(data.get(copied..).unwrap_or_default());
    found.then_some(mended)
}

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
