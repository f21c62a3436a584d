//! Parser for webhook bodies: JSON becomes a [`ZoomEvent`], without socket, clock or trust.
//!
//! Zoom's schema puts RTMS fields directly into `payload`, several of its guides put them under
//! `payload.object`: each is looked up in `payload.object` first, then in `payload` (`account_id`
//! the other way round). Ids are numbers, also beyond 32 bits, or strings; every digit is kept. All
//! sizes are bounded here.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::product::Product;
use crate::domain::text::bounded;
use crate::domain::zoom_event::{
    MeetingInfo, ParticipantJoined, StreamInterrupted, StreamStarted, StreamStopped, ZoomEvent,
    ZoomEventKind,
};
use crate::protocol::message::replace_lone_surrogates;

/// Maximum bytes of an event's name; a longer one is truncated (and then unknown).
pub const EVENT_BYTES_MAX: usize = 96;
/// Maximum bytes of an id; a longer one counts as missing.
pub const ID_BYTES_MAX: usize = 256;
/// Maximum bytes of a meeting's topic; a longer one is truncated.
pub const TOPIC_BYTES_MAX: usize = 512;
/// Maximum bytes of a URL; a longer one is left out.
pub const URL_BYTES_MAX: usize = 1024;
/// Maximum candidates in `server_urls`; further ones are left out.
pub const URLS_MAX: usize = 8;
/// Maximum bytes of the payload of [`ZoomEventKind::Account`]; a longer one is truncated.
pub const ACCOUNT_BYTES_MAX: usize = 4096;

/// Why a body is not a webhook that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not a JSON object with an `event`.
    NotAWebhook,
    /// A known event without a required field.
    Missing {
        /// The event's name.
        event: String,
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotAWebhook => {
                f.write_str("body: found no webhook, expected JSON with an event")
            }
            Fault::Missing { event, field } => write!(f, "{event}: {field} is missing or unusable"),
        }
    }
}

impl std::error::Error for Fault {}

/// Parses a body.
///
/// # Errors
/// See [`Fault`]. Unknown events, unknown fields and fields of an unexpected type are not errors.
pub fn webhook(body: &[u8]) -> Result<ZoomEvent, Fault> {
    // A topic truncated within a character must not lose the event: invalid UTF-8, and each escape
    // of a lone surrogate, becomes U+FFFD. Ids are ASCII and stay unchanged.
    let text = String::from_utf8_lossy(body);
    let repaired = replace_lone_surrogates(&text);
    let text = repaired.as_deref().unwrap_or(&text);
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Fault::NotAWebhook)?;
    let name = envelope.event.and_then(string).ok_or(Fault::NotAWebhook)?;
    let name = bounded(&name, EVENT_BYTES_MAX);
    let event_ts_ms = envelope
        .event_ts
        .and_then(scalar)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    let payload = Payload::from_raw(envelope.payload);
    Ok(ZoomEvent {
        event_ts_ms,
        event: event(name, &payload)?,
    })
}

fn event(name: &str, payload: &Payload<'_>) -> Result<ZoomEventKind, Fault> {
    if let Some((product, phase)) = rtms_event(name) {
        return rtms(name, product, phase, payload);
    }
    Ok(match name {
        "meeting.started" => {
            ZoomEventKind::MeetingStarted(meeting(name, Product::Meeting, payload)?)
        }
        "webinar.started" => {
            ZoomEventKind::MeetingStarted(meeting(name, Product::Webinar, payload)?)
        }
        "meeting.ended" => ZoomEventKind::MeetingEnded(meeting(name, Product::Meeting, payload)?),
        "webinar.ended" => ZoomEventKind::MeetingEnded(meeting(name, Product::Webinar, payload)?),
        "endpoint.url_validation" => ZoomEventKind::UrlValidation {
            plain_token: payload
                .text(|f| f.plain_token)
                .ok_or_else(|| missing(name, "plainToken"))?,
        },
        "meeting.participant_joined" | "meeting.participant_jbh_joined" => {
            joined(name, Product::Meeting, payload)
        }
        "webinar.participant_joined" | "webinar.participant_jbh_joined" => {
            joined(name, Product::Webinar, payload)
        }
        "app_deauthorized" => ZoomEventKind::AppDeauthorized {
            user_id: payload.text(|f| f.user_id).unwrap_or_default(),
            account_id: payload.account_id().unwrap_or_default(),
            keeps_data: (payload.find(|f| f.user_data_retention))
                .is_some_and(|raw| raw.get().trim_matches('"').eq_ignore_ascii_case("true")),
        },
        "meeting.rtms_concurrency_limited" => account(name, payload),
        _ if name.starts_with("rtms.") => account(name, payload),
        _ => ZoomEventKind::Other { name: name.into() },
    })
}

enum Phase {
    Started,
    Interrupted,
    Stopped,
}

/// `<product>.rtms_started` and similar. Contact Center has `voice_rtms_`, Phone `call_rtms_`.
fn rtms_event(name: &str) -> Option<(Product, Phase)> {
    let (product, rest) = name.split_once('.')?;
    let product = Product::from_name(product)?;
    let rest = rest.strip_prefix(product.event_prefix()).unwrap_or(rest);
    let phase = match rest {
        "rtms_started" => Phase::Started,
        "rtms_interrupted" => Phase::Interrupted,
        "rtms_stopped" => Phase::Stopped,
        _ => return None,
    };
    Some((product, phase))
}

fn rtms(
    name: &str,
    product: Product,
    phase: Phase,
    payload: &Payload<'_>,
) -> Result<ZoomEventKind, Fault> {
    let id = payload
        .text(|f| f.meeting_uuid)
        .or_else(|| payload.text(|f| f.webinar_uuid))
        .or_else(|| payload.text(|f| f.session_id))
        .or_else(|| payload.text(|f| f.engagement_id))
        .or_else(|| payload.text(|f| f.call_id));
    let stream_id = payload
        .text(|f| f.rtms_stream_id)
        .ok_or_else(|| missing(name, "rtms_stream_id"))?;
    let server_urls = payload.urls();
    Ok(match phase {
        Phase::Started if server_urls.is_empty() => return Err(missing(name, "server_urls")),
        Phase::Started => ZoomEventKind::StreamStarted(StreamStarted {
            product,
            id: id.ok_or_else(|| missing(name, product.id_key()))?,
            stream_id,
            server_urls,
            meeting_id: payload
                .text(|f| f.meeting_id)
                .or_else(|| payload.text(|f| f.webinar_id)),
            operator_id: payload.text(|f| f.operator_id),
            is_original_host: payload
                .find(|f| f.is_original_host)
                .and_then(|raw| serde_json::from_str(raw.get().trim_matches('"')).ok()),
            account_id: payload.account_id(),
        }),
        Phase::Interrupted => ZoomEventKind::StreamInterrupted(StreamInterrupted {
            product,
            id,
            stream_id,
            server_urls,
        }),
        Phase::Stopped => ZoomEventKind::StreamStopped(StreamStopped {
            product,
            id,
            stream_id,
            stop_reason: payload
                .text(|f| f.stop_reason)
                .and_then(|digits| digits.parse().ok()),
        }),
    })
}

fn meeting(name: &str, product: Product, payload: &Payload<'_>) -> Result<MeetingInfo, Fault> {
    let meeting_id = payload
        .text(|f| f.id)
        .or_else(|| payload.text(|f| f.meeting_id))
        .or_else(|| payload.text(|f| f.webinar_id));
    let meeting_uuid = payload
        .text(|f| f.uuid)
        .or_else(|| payload.text(|f| f.meeting_uuid))
        .or_else(|| payload.text(|f| f.webinar_uuid));
    // The end of a meeting needs only its UUID; a REST start needs the number.
    let needs_id = name.ends_with(".started");
    Ok(MeetingInfo {
        product,
        meeting_id: match meeting_id {
            None if needs_id => return Err(missing(name, "id")),
            id => id.unwrap_or_default(),
        },
        meeting_uuid: meeting_uuid.ok_or_else(|| missing(name, "uuid"))?,
        host_id: payload.text(|f| f.host_id),
        topic: payload
            .find(|f| f.topic)
            .and_then(string)
            .map(|topic| bounded(&topic, TOPIC_BYTES_MAX).to_owned()),
        account_id: payload.account_id(),
    })
}

/// The meeting, and who joined; a guest has no user id. Without a meeting the event is ignored.
fn joined(name: &str, product: Product, payload: &Payload<'_>) -> ZoomEventKind {
    let Ok(meeting) = meeting(name, product, payload) else {
        return ZoomEventKind::Other { name: name.into() };
    };
    let who: Participant<'_> = payload
        .find(|f| f.participant)
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    ZoomEventKind::ParticipantJoined(ParticipantJoined {
        meeting,
        participant_ids: [who.id, who.participant_user_id]
            .into_iter()
            .filter_map(id)
            .collect(),
    })
}

fn account(name: &str, payload: &Payload<'_>) -> ZoomEventKind {
    let compact = compact(payload.raw.map_or("null", RawValue::get), ACCOUNT_BYTES_MAX);
    ZoomEventKind::Account {
        name: name.into(),
        payload: compact,
    }
}

fn missing(event: &str, field: &'static str) -> Fault {
    Fault::Missing {
        event: event.into(),
        field,
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    event_ts: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// The fields that are read, in any object, as raw JSON.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    meeting_uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    webinar_uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    engagement_id: Option<&'a RawValue>,
    #[serde(borrow)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    rtms_stream_id: Option<&'a RawValue>,
    #[serde(borrow)]
    server_urls: Option<&'a RawValue>,
    #[serde(borrow)]
    meeting_id: Option<&'a RawValue>,
    #[serde(borrow)]
    webinar_id: Option<&'a RawValue>,
    #[serde(borrow)]
    operator_id: Option<&'a RawValue>,
    #[serde(borrow)]
    is_original_host: Option<&'a RawValue>,
    #[serde(borrow)]
    participant: Option<&'a RawValue>,
    #[serde(borrow)]
    account_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_data_retention: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    host_id: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow, rename = "plainToken")]
    plain_token: Option<&'a RawValue>,
}

/// `payload.object.participant`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Participant<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    participant_user_id: Option<&'a RawValue>,
}

/// `payload` and `payload.object`.
struct Payload<'a> {
    raw: Option<&'a RawValue>,
    flat: Fields<'a>,
    object: Fields<'a>,
}

impl<'a> Payload<'a> {
    fn from_raw(raw: Option<&'a RawValue>) -> Payload<'a> {
        // A payload that is not an object has no fields; events that need some report them as
        // missing.
        let read = |raw: Option<&'a RawValue>| -> Fields<'a> {
            raw.filter(|raw| raw.get().starts_with('{'))
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .unwrap_or_default()
        };
        let flat = read(raw);
        let object = read(flat.object);
        Payload { raw, flat, object }
    }

    fn find(&self, field: impl Fn(&Fields<'a>) -> Option<&'a RawValue>) -> Option<&'a RawValue> {
        field(&self.object).or_else(|| field(&self.flat))
    }

    /// A string or number as text, not empty and at most [`ID_BYTES_MAX`].
    fn text(&self, field: impl Fn(&Fields<'a>) -> Option<&'a RawValue>) -> Option<String> {
        id(field(&self.object)).or_else(|| id(field(&self.flat)))
    }

    fn account_id(&self) -> Option<String> {
        id(self.flat.account_id).or_else(|| id(self.object.account_id))
    }

    /// The candidates: a string with commas, an array of such strings, or an object with such
    /// values.
    fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        if let Some(raw) = self.find(|f| f.server_urls) {
            let text = raw.get();
            if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) {
                list.into_iter().for_each(|raw| add_urls(raw, &mut urls));
            } else if let Ok(Values(list)) = serde_json::from_str(text) {
                list.into_iter().for_each(|raw| add_urls(raw, &mut urls));
            } else {
                add_urls(raw, &mut urls);
            }
        }
        urls
    }
}

fn add_urls(raw: &RawValue, urls: &mut Vec<String>) {
    let Some(text) = string(raw) else {
        return;
    };
    let is_sane = |url: &&str| !url.is_empty() && url.len() <= URL_BYTES_MAX;
    let candidates = text.split(',').map(str::trim).filter(is_sane);
    for url in candidates.take(URLS_MAX.saturating_sub(urls.len())) {
        urls.push(url.to_owned());
    }
}

/// An object's values in their order, without the keys.
struct Values<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Values<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Values<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some((_, value)) = map.next_entry::<serde::de::IgnoredAny, _>()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn id(raw: Option<&RawValue>) -> Option<String> {
    let text = scalar(raw?)?;
    (1..=ID_BYTES_MAX)
        .contains(&text.len())
        .then(|| text.into_owned())
}

/// The content of a string, or the digits of a number.
fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    match raw.get().as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Some(Cow::Borrowed(raw.get())),
        _ => string(raw),
    }
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

/// JSON without white space between its tokens, at most `bytes_max` bytes.
fn compact(json: &str, bytes_max: usize) -> String {
    let mut compact = String::with_capacity(json.len().min(bytes_max));
    let (mut is_in_string, mut is_escaped) = (false, false);
    for c in json.chars() {
        let is_space = !is_in_string && matches!(c, ' ' | '\t' | '\r' | '\n');
        if c == '"' && !is_escaped {
            is_in_string = !is_in_string;
        }
        is_escaped = c == '\\' && !is_escaped;
        if is_space {
            continue;
        }
        if compact.len() + c.len_utf8() > bytes_max {
            break;
        }
        compact.push(c);
    }
    compact
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
