//! What is known of one meeting, and of one stream.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::domain::product::Product;
use crate::domain::zoom_event::{MeetingInfo, StreamStarted};
use crate::protocol::codes::StopReason;

/// A meeting, by UUID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MeetingEntry {
    pub(super) product: Product,
    /// The number that REST calls need.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) meeting_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) topic: Option<String>,
    /// Stamp of the newest `meeting.started`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) started_ms: Option<u64>,
    /// Stamp of `meeting.ended`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ended_ms: Option<u64>,
    pub(super) start: Start,
    /// When our scheduled stop is due, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stop_at_ms: Option<u64>,
    pub(super) stop_attempts: u32,
    /// REST starts that followed a stop with a restart reason.
    pub(super) restarts: u32,
    /// When we last heard of it, Unix milliseconds.
    pub(super) touched_ms: u64,
}

/// How far our REST start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    /// Not asked for.
    None,
    /// A call is due, or on its way.
    Trying {
        attempts: u32,
        #[serde(skip)]
        since: Option<Instant>,
    },
    /// Accepted, or proven by a stream.
    Done,
    /// Refused for good.
    GaveUp,
    /// Done, and stopped since.
    Stopped,
}

impl MeetingEntry {
    pub(super) fn new(life: &MeetingInfo) -> MeetingEntry {
        let entry = MeetingEntry::of(life.product, &life.meeting_uuid);
        MeetingEntry {
            topic: life.topic.clone(),
            ..entry
        }
    }

    /// Known by a stream only. Session, engagement and call ids are what REST calls need; a
    /// meeting's UUID is not.
    pub(super) fn of(product: Product, id: &str) -> MeetingEntry {
        MeetingEntry {
            product,
            meeting_id: match product {
                Product::Meeting | Product::Webinar => None,
                Product::Session | Product::ContactCenter | Product::Phone => Some(id.to_owned()),
            },
            topic: None,
            started_ms: None,
            ended_ms: None,
            start: Start::None,
            stop_at_ms: None,
            stop_attempts: 0,
            restarts: 0,
            touched_ms: 0,
        }
    }

    /// Whether the meeting goes on, as far as we know.
    pub(super) fn is_live(&self) -> bool {
        self.ended_ms.is_none()
    }
}

/// A stream, by stream id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StreamEntry {
    /// The newest started webhook: its URLs are what a reconnection needs.
    pub(super) started: StreamStarted,
    /// Stamp of the first one: the folder's date and the subtitles' zero.
    pub(super) first_ms: u64,
    /// Stamp of the newest one.
    pub(super) newest_ms: u64,
    /// Stamp of the newest `rtms_interrupted`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) interrupted_ms: Option<u64>,
    /// Stamp of `rtms_stopped`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stopped_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stop_reason: Option<i64>,
    /// When its thread ended, by our clock, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ended_ms: Option<u64>,
    /// How often its thread panicked.
    #[serde(default)]
    pub(super) panics: u32,
    /// Whether its end led to a new REST start already.
    pub(super) is_restarted: bool,
    /// Whether consent for it was withdrawn.
    #[serde(default)]
    pub(super) is_revoked: bool,
}

impl StreamEntry {
    pub(super) fn new(started: StreamStarted, first_ms: u64, newest_ms: u64) -> StreamEntry {
        StreamEntry {
            started,
            first_ms,
            newest_ms,
            interrupted_ms: None,
            stopped_ms: None,
            stop_reason: None,
            ended_ms: None,
            panics: 0,
            is_restarted: false,
            is_revoked: false,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// The reason by the webhook, where it gave one; else the one of the socket.
    pub(super) fn effective_reason(&self, socket: StopReason) -> StopReason {
        self.stop_reason.map_or(socket, StopReason)
    }
}
