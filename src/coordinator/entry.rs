//! What is known of one meeting, and of one stream.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::domain::product::Product;
use crate::domain::zoom_event::{MeetingInfo, StreamStarted};
use crate::protocol::codes::{StopPolicy, StopReason};

/// A meeting, by UUID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MeetingEntry {
    pub(super) product: Product,
    /// The number that REST calls need.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) meeting_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) topic: Option<String>,
    /// The host's user id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) host_id: Option<String>,
    /// Stamp of the newest `meeting.started`, or of the first other sign that it lives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) started_ms: Option<u64>,
    /// Stamp of `meeting.ended`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ended_ms: Option<u64>,
    /// Stamp with which its present life began: the same UUID may have several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) life_ms: Option<u64>,
    /// Stamp of the newest start or stop of a stream: what is older starts nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stream_ms: Option<u64>,
    pub(super) start: Start,
    /// While [`Start::Trying`]: the last call was refused, and the host may be what is missing.
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) awaits_host: bool,
    /// When our scheduled stop is due, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stop_at_ms: Option<u64>,
    pub(super) stop_attempts: u32,
    /// REST starts that followed a stop with a restart reason.
    pub(super) restarts: u32,
    /// When we last heard of it, Unix milliseconds.
    pub(super) touched_ms: u64,
    #[serde(skip)]
    pub(super) calls: Calls,
}

/// The calls of a meeting that have no outcome yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    /// When the start is due, or was made.
    pub(super) start: Option<Instant>,
    /// When the stop is due, or was made.
    pub(super) stop: Option<Instant>,
    /// People stopped the stream while our start was on its way: if Zoom accepts it, it is undone.
    pub(super) is_overtaken: bool,
    /// Who was waited for joined while our start was on its way: if it is refused, the next follows at
    /// once.
    pub(super) has_joined: bool,
}

impl Calls {
    /// Whether one of them has no outcome yet, so may wait for its time or its turn.
    pub(super) fn are_due(&self) -> bool {
        self.start.is_some() || self.stop.is_some()
    }

    /// Whether a start was handed out and has no outcome yet.
    pub(super) fn is_starting(&self, now: Instant) -> bool {
        self.start.is_some_and(|at| at <= now)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How far our REST start has come. The names are those of `registry.json`; see [`Phase`].
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
    /// Accepted, or a stream came.
    Done,
    /// Refused for good.
    GaveUp,
    /// Stopped since, by people or by our schedule.
    Stopped,
}

impl MeetingEntry {
    pub(super) fn new(info: &MeetingInfo) -> MeetingEntry {
        let entry = MeetingEntry::from_stream(info.product, &info.meeting_uuid);
        MeetingEntry {
            topic: info.topic.clone(),
            ..entry
        }
    }

    /// Known by a stream only. Session, engagement and call ids are what REST calls need; a
    /// meeting's UUID is not.
    pub(super) fn from_stream(product: Product, id: &str) -> MeetingEntry {
        MeetingEntry {
            product,
            meeting_id: (!product.has_number()).then(|| id.to_owned()),
            topic: None,
            host_id: None,
            started_ms: None,
            ended_ms: None,
            life_ms: None,
            stream_ms: None,
            start: Start::None,
            awaits_host: false,
            stop_at_ms: None,
            stop_attempts: 0,
            restarts: 0,
            touched_ms: 0,
            calls: Calls::default(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.start {
            _ if self.ended_ms.is_some() => Phase::Ended,
            Start::None => Phase::Idle,
            Start::Trying { .. } if self.awaits_host => Phase::AwaitingHost,
            Start::Trying { .. } => Phase::Starting,
            Start::Done => Phase::Started,
            Start::GaveUp => Phase::GaveUp,
            Start::Stopped => Phase::Stopped,
        }
    }

    /// Whether the meeting goes on, as far as we know.
    pub(super) fn is_live(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// The same UUID begins another life: nothing of the one before counts.
    pub(super) fn begin_life(&mut self, ts: u64) {
        *self = MeetingEntry {
            started_ms: Some(ts),
            ended_ms: None,
            life_ms: Some(ts),
            start: Start::None,
            awaits_host: false,
            stop_at_ms: None,
            stop_attempts: 0,
            restarts: 0,
            calls: Calls::default(),
            ..self.clone()
        };
    }

    /// A stream of it started or stopped.
    pub(super) fn saw_stream(&mut self, ts: u64) {
        self.stream_ms = self.stream_ms.max(Some(ts));
    }

    /// Whether what has this stamp belongs to an earlier life.
    pub(super) fn is_of_earlier_life(&self, ts: u64) -> bool {
        self.life_ms.is_some_and(|life| ts < life)
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
    /// Withdrawals up to this stamp were acted on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) revoked_ms: Option<u64>,
    /// A newer start came while its thread still ends: it runs again after that.
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) is_superseded: bool,
    /// When its thread was last sent to another server.
    #[serde(skip)]
    pub(super) moved: Option<Instant>,
    /// Until when Zoom waits for the first connection.
    #[serde(skip)]
    pub(super) connect_until: Option<Instant>,
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
            revoked_ms: None,
            is_superseded: false,
            moved: None,
            connect_until: None,
        }
    }

    /// Runs again by a newer start: nothing of its end counts any more.
    pub(super) fn begin_life(&mut self) {
        self.ended_ms = None;
        self.stopped_ms = None;
        self.stop_reason = None;
        self.is_restarted = false;
        self.is_revoked = false;
        self.is_superseded = false;
        self.moved = None;
    }

    pub(super) fn is_active(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// Why it stopped, by its webhook and by its socket: they may differ, and people's will outranks
    /// what went wrong. Withdrawn consent outranks everything.
    pub(super) fn effective_reason(&self, socket: Option<StopReason>) -> Option<StopReason> {
        let is_told = self.stopped_ms.is_some() || self.is_superseded;
        let webhook = is_told.then(|| StopReason(self.stop_reason.unwrap_or(0)));
        let rank = |reason: &StopReason| match reason.policy() {
            StopPolicy::Delete => 3,
            _ if *reason == StopReason::UNDEFINED => 0,
            StopPolicy::Finish | StopPolicy::FinishAndAlert => 2,
            StopPolicy::Restart | StopPolicy::RestartOnce => 1,
        };
        // Of two that rank the same, the last counts: the webhook's.
        [socket, webhook].into_iter().flatten().max_by_key(rank)
    }
}
