//! Reading what another node exported: from any version, and bounded like a webhook.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::STREAMS_MAX;
use crate::coordinator::Now;
use crate::coordinator::entry::{MeetingEntry, StreamEntry};
use crate::domain::text::bounded;

/// Maximum bytes of an export: [`STREAMS_MAX`] streams with all their URLs.
const BYTES_MAX: usize = 1 << 20;

/// The limits of a webhook's fields.
pub(super) const ID_BYTES_MAX: usize = 256;
pub(super) const TOPIC_BYTES_MAX: usize = 512;
pub(super) const URL_BYTES_MAX: usize = 1024;
pub(super) const URLS_MAX: usize = 8;

/// `RTMS_NODE` has at most so many.
const NODE_BYTES_MAX: usize = 63;

/// A scheduled stop further away than this is moved here: no meeting lasts so long.
const STOP_AFTER_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What another node knew of a meeting.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) meeting: Option<MeetingEntry>,
    /// A start call waited there, or was on its way.
    pub(super) has_start: bool,
    pub(super) streams: BTreeMap<String, StreamEntry>,
    /// Entries that cannot be used.
    pub(super) unusable: usize,
}

/// Each entry is read by itself, so that one of another version does not lose the others.
#[derive(Deserialize)]
struct Json<'a> {
    id: String,
    #[serde(borrow, default)]
    meeting: Option<&'a RawValue>,
    #[serde(default)]
    has_start: bool,
    #[serde(borrow, default)]
    streams: BTreeMap<String, &'a RawValue>,
}

impl Told {
    /// Reads an export of this meeting.
    pub(super) fn read(now: Now, uuid: &str, json: &[u8]) -> Result<Told, String> {
        if json.len() > BYTES_MAX {
            return Err(format!("it has {} bytes", json.len()));
        }
        let read: Json<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if read.id != uuid || uuid.is_empty() || uuid.len() > ID_BYTES_MAX {
            return Err("it is of another meeting".to_owned());
        }
        let mut told = Told {
            has_start: read.has_start,
            ..Told::default()
        };
        if let Some(raw) = read.meeting {
            match serde_json::from_str(raw.get()) {
                Ok(entry) => told.meeting = Some(bounded_meeting(now, entry)),
                Err(_) => told.unusable += 1,
            }
        }
        for (stream_id, raw) in read.streams {
            let entry: Option<StreamEntry> = serde_json::from_str(raw.get()).ok();
            let is_own = |entry: &StreamEntry| {
                entry.started.stream_id == stream_id
                    && entry.started.id == uuid
                    && (1..=ID_BYTES_MAX).contains(&stream_id.len())
            };
            match entry.filter(is_own) {
                Some(entry) if told.streams.len() < STREAMS_MAX => {
                    told.streams.insert(stream_id, bounded_stream(entry));
                }
                _ => told.unusable += 1,
            }
        }
        Ok(told)
    }
}

fn id(text: Option<String>) -> Option<String> {
    text.filter(|text| text.len() <= ID_BYTES_MAX)
}

fn bounded_meeting(now: Now, entry: MeetingEntry) -> MeetingEntry {
    let last_ms = (now.unix_ms).saturating_add(STOP_AFTER_MAX.as_millis() as u64);
    let topic = entry.topic.as_deref();
    MeetingEntry {
        meeting_id: id(entry.meeting_id),
        topic: topic.map(|topic| bounded(topic, TOPIC_BYTES_MAX).to_owned()),
        host_id: id(entry.host_id),
        account_id: id(entry.account_id),
        stop_at_ms: entry.stop_at_ms.map(|stop_at_ms| stop_at_ms.min(last_ms)),
        stop_attempts: entry.stop_attempts.min(1 << 16),
        is_yielded: false,
        ..entry
    }
}

fn bounded_stream(mut entry: StreamEntry) -> StreamEntry {
    let started = &mut entry.started;
    started.server_urls.retain(|url| url.len() <= URL_BYTES_MAX);
    started.server_urls.truncate(URLS_MAX);
    for field in [
        &mut started.meeting_id,
        &mut started.operator_id,
        &mut started.account_id,
    ] {
        *field = id(field.take());
    }
    entry.leaving = None;
    if let Some(tenure) = &mut entry.tenure {
        // What came before that does not matter here.
        tenure.predecessor = None;
    }
    entry
        .tenure
        .take_if(|tenure| !(1..=NODE_BYTES_MAX).contains(&tenure.node.len()));
    entry
}
