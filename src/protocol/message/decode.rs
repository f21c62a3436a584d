//! Decoder for messages in V1 JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Chat, DecodeError, KeepAlive, MediaHandshake, MeetingEvent, Message, Packet, PacketKind,
    SignalingHandshake,
};
use crate::domain::id::Id;
use crate::domain::participant::Participant;
use crate::domain::phrase::{Change, LanguageId, Phrase, Precision};
use crate::domain::text::bounded;
use crate::protocol::codes::{RtmsStatus, SessionState, StopReason, StreamState};
use crate::protocol::scalar::Scalar;
use crate::protocol::server_url::URL_BYTES_MAX;
use crate::protocol::stamp::plausible;

/// Longest JSON value of a keep-alive that is echoed. A timestamp has 13 digits; a longer value is
/// none, and echoing it would let a peer use us for amplification.
pub const ECHO_BYTES_MAX: usize = 128;

/// Maximum participants read from one event; the others stay in the raw record.
const PARTICIPANTS_MAX: usize = 1000;
/// Maximum media URLs read from one handshake answer.
const MEDIA_URLS_MAX: usize = 16;
/// Longest `reason` and longest text of a participant that are kept, in bytes.
const WORDS_BYTES_MAX: usize = 256;

/// All top-level fields of any message. One pass over the bytes fills it; rare fields stay raw and
/// are parsed in a second pass if they are present.
///
/// It is filled in place, and so is [`Content`]: the code that serde derives for a struct moves
/// every field three times, which took longer than parsing it.
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

/// `content` of a data message. Old servers send the bare payload there.
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
                // Some servers name it so; its own name counts.
                "status" if self.status_code == Scalar::None => {
                    self.status_code = map.next_value()?;
                }
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

/// Decodes one message.
///
/// `data` is the payload of one WebSocket message, text or binary; both contain JSON. `arrival_ms`
/// is its time of arrival, Unix milliseconds: timestamps in it are compared with that, and replaced
/// by it if they are absent or implausible.
pub fn decode(data: &str, arrival_ms: u64) -> Result<Message<'_>, DecodeError> {
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
            media_params: frame
                .media_params
                .map(RawValue::get)
                .filter(|json| *json != "null"),
            is_encrypted: frame.payload_encrypted.is_true() || frame.payload_encryption.is_true(),
        }),
        6 => match frame.event {
            Some(raw) => Message::Event(event_update(raw.get(), arrival_ms)?),
            None => return Err(DecodeError("message 6 without event".to_owned())),
        },
        8 | 20 => Message::StreamState {
            state: StreamState::from_number(frame.state.integer().unwrap_or(-1)),
            reason: StopReason(stop_reason(&frame.reason, &frame.stop_reason)),
            timestamp_ms: stamp(frame.timestamp.map(RawValue::get), arrival_ms),
        },
        9 | 11 => Message::SessionState {
            state: SessionState::from_number(frame.state.integer().unwrap_or(-1)),
            reason: StopReason(stop_reason(&frame.stop_reason, &frame.reason)),
        },
        12 => {
            let is_short = |json: &&str| json.len() <= ECHO_BYTES_MAX;
            Message::KeepAlive(KeepAlive {
                timestamp: frame.timestamp.map(RawValue::get).filter(is_short),
                sequence: frame.sequence.map(RawValue::get).filter(is_short),
            })
        }
        14 => Message::Packet(PacketKind::Audio, packet(frame, arrival_ms, 0)),
        15 => Message::Packet(PacketKind::Video, packet(frame, arrival_ms, arrival_ms)),
        16 => Message::Packet(PacketKind::Share, packet(frame, arrival_ms, arrival_ms)),
        17 => Message::Transcript(phrase(frame, arrival_ms)),
        18 => chat(data, arrival_ms)?,
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
    let text = reason.id().unwrap_or_default();
    bounded(&text, WORDS_BYTES_MAX).to_owned()
}

fn raw_scalar(json: Option<&str>) -> Scalar<'_> {
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// A timestamp kept as JSON, if it is plausible.
pub(super) fn stamp(json: Option<&str>, arrival_ms: u64) -> Option<u64> {
    plausible_stamp(&raw_scalar(json), arrival_ms)
}

/// A timestamp, if it is plausible.
fn plausible_stamp(stamp: &Scalar<'_>, arrival_ms: u64) -> Option<u64> {
    plausible(stamp.unsigned()?, arrival_ms)
}

/// The id of a user or channel; a negative number means no id.
fn id(value: Scalar<'_>) -> Option<Id<'_>> {
    match value {
        Scalar::Text(text) if text.trim().parse::<i64>().is_ok_and(i64::is_negative) => None,
        Scalar::Text(text) => Id::from_text(text),
        number => number.unsigned().map(Id::Number),
    }
}

/// `unstamped_ms` is the timestamp for a packet without one: a picture gets its time of arrival;
/// audio is appended to what came before, because the position of audio in a file is its time.
fn packet(frame: Frame<'_>, arrival_ms: u64, unstamped_ms: u64) -> Packet<'_> {
    let outer = stamp(frame.timestamp.map(RawValue::get), arrival_ms);
    let (user_id, user_name, timestamp, channel_id, data) = match frame.content {
        Content::Fields(content) => (
            content.user_id,
            content.user_name,
            plausible_stamp(&content.timestamp, arrival_ms),
            id(content.channel_id),
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
        user_id: id(user_id).unwrap_or(Id::UNKNOWN),
        user_name: user_name.text().unwrap_or_default(),
        channel_id,
        timestamp_ms: timestamp.or(outer).unwrap_or(unstamped_ms),
        data,
    }
}

fn phrase(frame: Frame<'_>, arrival_ms: u64) -> Phrase<'_> {
    let outer = stamp(frame.timestamp.map(RawValue::get), arrival_ms);
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
    let stamp = plausible_stamp(&content.timestamp, arrival_ms).or(outer);
    let start = plausible_stamp(&content.start_time, arrival_ms);
    let end = plausible_stamp(&content.end_time, arrival_ms);
    let start_ms = start.or(stamp).or(end).unwrap_or(arrival_ms);
    let told = [start, end, stamp];
    let precision = if told.iter().flatten().any(|stamp| stamp % 1000 != 0) {
        Precision::Milliseconds
    } else if told.iter().any(Option::is_some) {
        Precision::Seconds
    } else {
        Precision::Arrival
    };
    Phrase {
        user_id: id(content.user_id).unwrap_or(Id::UNKNOWN),
        user_name: content.user_name.text().unwrap_or_default(),
        channel_id: id(content.channel_id),
        start_ms,
        end_ms: end.unwrap_or(start_ms).max(start_ms),
        timestamp_ms: stamp.unwrap_or(start_ms),
        precision,
        language: content.language.integer().map(LanguageId),
        change: Change::from_number(content.attribute.integer().unwrap_or(0)),
        text: content.data.text().unwrap_or_default(),
    }
}

/// Message 18. `data` may be the chat message as a JSON document in a string; the fields of that
/// document take precedence over those around it.
fn chat(data: &str, arrival_ms: u64) -> Result<Message<'_>, DecodeError> {
    #[derive(Deserialize)]
    struct ChatFrame<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let frame: ChatFrame<'_> =
        serde_json::from_str(data).map_err(|e| DecodeError(e.to_string()))?;
    let raw = frame.content.get();
    // Content of another form is kept as it is.
    let outer = serde_json::from_str::<ChatFields<'_>>(raw).unwrap_or_default();
    let mut chat = outer.read(raw, arrival_ms);
    let document = chat.text.take_if(|text| text.trim_start().starts_with('{'));
    if let Some(document) = document {
        match serde_json::from_str::<ChatFields<'_>>(&document) {
            Ok(fields) if fields.is_chat() => {
                let stamp = plausible_stamp(&fields.timestamp, arrival_ms);
                let inner = fields.read("", arrival_ms);
                chat.timestamp_ms = stamp.unwrap_or(chat.timestamp_ms);
                chat.operation = inner.operation.or(chat.operation);
                chat.session = inner.session.or(chat.session);
                chat.sender = inner.sender.or(chat.sender);
                chat.text = inner.text.map(|text| Cow::Owned(text.into_owned()));
            }
            // The chat text itself is JSON.
            _ => chat.text = Some(document),
        }
    }
    Ok(Message::Chat(chat))
}

/// The fields of a chat message, around or in its `data`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ChatFields<'a> {
    #[serde(borrow)]
    timestamp: Scalar<'a>,
    #[serde(borrow)]
    message_id: Scalar<'a>,
    #[serde(borrow)]
    operation_type: Scalar<'a>,
    #[serde(borrow)]
    chat_session: Option<&'a RawValue>,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Scalar<'a>,
}

impl<'a> ChatFields<'a> {
    /// Whether it can only be a chat message.
    fn is_chat(&self) -> bool {
        self.chat_session.is_some()
            || self.message_id != Scalar::None
            || self.operation_type != Scalar::None
    }

    fn read(self, raw: &'a str, arrival_ms: u64) -> Chat<'a> {
        #[derive(Deserialize)]
        struct Session<'a> {
            #[serde(borrow, default)]
            r#type: Scalar<'a>,
        }
        let session = self.chat_session.and_then(|raw| {
            let object = serde_json::from_str::<Session<'_>>(raw.get());
            let bare = || raw_scalar(Some(raw.get()));
            object
                .map_or_else(|_| bare(), |session| session.r#type)
                .integer()
        });
        let sender = self.sender.and_then(|raw| {
            let person = serde_json::from_str::<Person<'_>>(raw.get()).ok()?.read();
            (person != Participant::default()).then_some(person)
        });
        Chat {
            timestamp_ms: plausible_stamp(&self.timestamp, arrival_ms).unwrap_or(arrival_ms),
            operation: self.operation_type.integer(),
            session,
            sender,
            text: self.data.text(),
            raw,
        }
    }
}

fn event_update(json: &str, arrival_ms: u64) -> Result<MeetingEvent<'_>, DecodeError> {
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
        /// An older page and two samples use this spelling.
        #[serde(borrow, default)]
        paticipant_info: Option<&'a RawValue>,
    }
    let fields: Fields<'_> =
        serde_json::from_str(json).map_err(|e| DecodeError(format!("event: {e}")))?;
    let people = fields.participants.or(fields.participant_info);
    let people = people.or(fields.paticipant_info);
    Ok(MeetingEvent {
        event_type: fields.event_type.integer(),
        timestamp_ms: plausible_stamp(&fields.timestamp, arrival_ms)
            .or_else(|| plausible_stamp(&fields.event_ts, arrival_ms))
            .unwrap_or(arrival_ms),
        user_id: id(fields.user_id),
        user_name: fields.user_name.text(),
        participants: people
            .map(|raw| participants(raw.get()))
            .unwrap_or_default(),
        raw: json,
    })
}

/// A person, with all known spellings of the fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Person<'a> {
    #[serde(borrow)]
    user_id: Scalar<'a>,
    #[serde(borrow, rename = "userId")]
    user_id_camel: Scalar<'a>,
    #[serde(borrow)]
    user_name: Scalar<'a>,
    #[serde(borrow, rename = "userName")]
    user_name_camel: Scalar<'a>,
    #[serde(borrow)]
    display_name: Scalar<'a>,
    #[serde(borrow)]
    channel_id: Scalar<'a>,
    #[serde(borrow)]
    participant_mode: Scalar<'a>,
    #[serde(borrow)]
    queue_id: Scalar<'a>,
    #[serde(borrow)]
    queue_name: Scalar<'a>,
}

impl Person<'_> {
    fn read(self) -> Participant {
        let id = |value: Scalar<'_>| id(value).map(Id::into_owned);
        let words = |value: Scalar<'_>| {
            let text = value.id()?;
            Some(bounded(&text, WORDS_BYTES_MAX).to_owned()).filter(|text| !text.is_empty())
        };
        let name = |value: Scalar<'_>| words(Scalar::Text(value.text()?));
        Participant {
            user_id: id(self.user_id).or_else(|| id(self.user_id_camel)),
            user_name: name(self.user_name)
                .or_else(|| name(self.user_name_camel))
                .or_else(|| name(self.display_name)),
            channel_id: id(self.channel_id),
            mode: words(self.participant_mode),
            queue_id: words(self.queue_id),
            queue_name: words(self.queue_name),
        }
    }
}

/// A list of people, or one person; entries of another form or without an id are skipped.
fn participants(json: &str) -> Vec<Participant> {
    let list: Vec<&RawValue> = match serde_json::from_str(json) {
        Ok(list) => list,
        Err(_) => serde_json::from_str(json).into_iter().collect(),
    };
    let known = list.into_iter().filter_map(|raw| {
        let person = serde_json::from_str::<Person<'_>>(raw.get()).ok()?.read();
        (person.user_id.is_some() || person.channel_id.is_some()).then_some(person)
    });
    known.take(PARTICIPANTS_MAX).collect()
}

/// `media_server.server_urls`: a URL, or several, separated by commas or as an array. Other fields
/// that V2 may add are ignored; `srt_passphrase` is a secret and is not even parsed.
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
        Err(_) => Some(raw_scalar(Some(raw.get())).text()?.into_owned()),
    };
    let urls = server.server_urls.into_iter().filter_map(|(kind, raw)| {
        let url = text(raw).filter(|url| url.len() <= URL_BYTES_MAX)?;
        (kind.len() <= 32).then(|| (kind.into_owned(), url))
    });
    urls.take(MEDIA_URLS_MAX).collect()
}
