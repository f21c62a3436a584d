//! A message of V1 JSON, read.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Chat, DecodeError, KeepAlive, MediaHandshake, MeetingEvent, Message, Packet, PacketKind,
    Participant, SignalingHandshake, Transcript,
};
use crate::protocol::codes::{RtmsStatus, StopReason, StreamState};
use crate::protocol::scalar::Scalar;
use crate::protocol::server_url::URL_BYTES_MAX;

/// Longest JSON value of a keep-alive that is echoed. A stamp has 13 digits; more than this is no
/// stamp, and echoing it would let a peer use us to amplify.
pub const ECHO_BYTES_MAX: usize = 128;

/// Most participants taken from one event; the rest stays in the raw record.
const PARTICIPANTS_MAX: usize = 1000;
/// Most media URLs taken from one handshake answer.
const MEDIA_URLS_MAX: usize = 16;
/// Longest `reason` kept, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Everything that stands at the top of some message. One pass over the bytes fills it; what is
/// rare stays raw and is read in a second pass when it is there.
///
/// It is filled in place, and so is [`Content`]: what serde derives for a struct moves every field
/// three times on its way, which took longer than reading it.
#[derive(Default)]
struct Frame<'a> {
    msg_type: Scalar<'a>,
    content: Content<'a>,
    timestamp: Option<&'a RawValue>,
    sequence: Option<&'a RawValue>,
    status_code: Scalar<'a>,
    reason: Scalar<'a>,
    stop_reason: Scalar<'a>,
    state: Scalar<'a>,
    user_id: Scalar<'a>,
    user_name: Scalar<'a>,
    media_server: Option<&'a RawValue>,
    media_params: Option<&'a RawValue>,
    payload_encrypted: Scalar<'a>,
    payload_encryption: Scalar<'a>,
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

#[derive(Default)]
struct ContentFields<'a> {
    user_id: Scalar<'a>,
    user_name: Scalar<'a>,
    channel_id: Scalar<'a>,
    data: Scalar<'a>,
    timestamp: Scalar<'a>,
    start_time: Scalar<'a>,
    end_time: Scalar<'a>,
    language: Scalar<'a>,
    attribute: Scalar<'a>,
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for &mut Frame<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Frame<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "msg_type" => self.msg_type = map.next_value()?,
                "content" => map.next_value_seed(&mut self.content)?,
                "timestamp" => self.timestamp = map.next_value()?,
                "sequence" => self.sequence = map.next_value()?,
                "status_code" => self.status_code = map.next_value()?,
                "reason" => self.reason = map.next_value()?,
                "stop_reason" => self.stop_reason = map.next_value()?,
                "state" => self.state = map.next_value()?,
                "user_id" => self.user_id = map.next_value()?,
                "user_name" => self.user_name = map.next_value()?,
                "media_server" => self.media_server = map.next_value()?,
                "media_params" => self.media_params = map.next_value()?,
                "payload_encrypted" => self.payload_encrypted = map.next_value()?,
                "payload_encryption" => self.payload_encryption = map.next_value()?,
                "event" => self.event = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Content<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Content<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        *self = Content::Bare(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self = Content::Bare(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        *self = Content::None;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        *self = Content::Fields(ContentFields::default());
        let Content::Fields(fields) = self else {
            return Ok(());
        };
        while let Some(Key(key)) = map.next_key()? {
            let place = match &*key {
                "user_id" => &mut fields.user_id,
                "user_name" => &mut fields.user_name,
                "channel_id" => &mut fields.channel_id,
                "data" => &mut fields.data,
                "timestamp" => &mut fields.timestamp,
                "start_time" => &mut fields.start_time,
                "end_time" => &mut fields.end_time,
                "language" => &mut fields.language,
                "attribute" => &mut fields.attribute,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = map.next_value()?;
        }
        Ok(())
    }
}

/// Reads one message.
///
/// `data` is the payload of one WebSocket message, text or binary; both carry JSON.
pub fn decode(data: &str) -> Result<Message<'_>, DecodeError> {
    let mut frame = Frame::default();
    let mut json = serde_json::Deserializer::from_str(data);
    frame
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|e| DecodeError(e.to_string()))?;
    let Some(msg_type) = frame.msg_type.integer() else {
        return Err(DecodeError("no msg_type".to_owned()));
    };
    Ok(match msg_type {
        2 => Message::SignalingHandshake(SignalingHandshake {
            status: frame.status_code.integer().map(RtmsStatus),
            reason: reason_text(frame.reason),
            urls: frame
                .media_server
                .map(|raw| media_urls(raw.get()))
                .unwrap_or_default(),
        }),
        4 => Message::MediaHandshake(MediaHandshake {
            status: frame.status_code.integer().map(RtmsStatus),
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
            timestamp_ms: stamp(frame.timestamp),
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
        22 => Message::StreamClose(RtmsStatus(frame.status_code.integer().unwrap_or(0))),
        29 => Message::VideoSubscription {
            user_id: frame.user_id.unsigned().unwrap_or(0),
            status: RtmsStatus(frame.status_code.integer().unwrap_or(-1)),
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

/// A stamp that was kept raw.
pub(super) fn stamp(raw: Option<&RawValue>) -> Option<u64> {
    raw_scalar(raw).unsigned().map(milliseconds)
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

fn event_update(raw: &RawValue) -> Result<MeetingEvent<'_>, DecodeError> {
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
    Ok(MeetingEvent {
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

/// `media_server.server_urls`: a URL, or several, separated by commas or as an array. What V2 may add
/// beside them is passed over; `srt_passphrase` is a secret and is not even looked at.
fn media_urls(json: &str) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Server<'a> {
        #[serde(borrow, default)]
        server_urls: std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    let Ok(server) = serde_json::from_str::<Server<'_>>(json) else {
        return Vec::new();
    };
    let text = |raw: &RawValue| match serde_json::from_str::<Vec<Scalar<'_>>>(raw.get()) {
        Ok(several) => {
            let texts = several.into_iter().filter_map(Scalar::text);
            Some(texts.collect::<Vec<_>>().join(","))
        }
        Err(_) => Some(raw_scalar(Some(raw)).text()?.into_owned()),
    };
    let urls = server.server_urls.into_iter().filter_map(|(kind, raw)| {
        let url = text(raw).filter(|url| url.len() <= URL_BYTES_MAX)?;
        (kind.len() <= 32).then(|| (kind.into_owned(), url))
    });
    urls.take(MEDIA_URLS_MAX).collect()
}
