//! The entries of the coordinator's tables: one meeting, one stream.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::domain::product::Product;
use crate::domain::stream_info::Tenure;
use crate::domain::zoom_event::{MeetingInfo, StreamStarted};
use crate::protocol::codes::{StopPolicy, StopReason};

/// A meeting; its key is the UUID.
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
    /// The account, whose grant starts and stops it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) account_id: Option<String>,
    /// Timestamp of the newest `meeting.started`, or of the first other sign that it is running.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) started_ms: Option<u64>,
    /// Timestamp of `meeting.ended`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ended_ms: Option<u64>,
    /// Nothing of the current run is older: the timestamp of its start, or, where that was not received,
    /// a time after the end of the previous run. The same UUID may be started several times.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) life_ms: Option<u64>,
    /// Timestamp of the newest start or stop of a stream: older events start nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stream_ms: Option<u64>,
    pub(super) start: Start,
    /// While [`Start::Trying`]: the last call was refused, possibly because the host is absent.
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) awaits_host: bool,
    /// When our scheduled stop is due, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) stop_at_ms: Option<u64>,
    pub(super) stop_attempts: u32,
    /// Number of REST starts after a stop with a restart reason.
    pub(super) restarts: u32,
    /// When it was last changed by an event, Unix milliseconds.
    pub(super) touched_ms: u64,
    /// Another node has it: what is here is memory, so that a repeated webhook does nothing.
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) is_yielded: bool,
    /// In a fleet: how often the meeting has changed its node, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) epoch: Option<u64>,
    #[serde(skip)]
    pub(super) calls: Calls,
}

/// The calls of a meeting without an outcome yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    /// When the start is due, or was made.
    pub(super) start: Option<Instant>,
    /// When the stop is due, or was made.
    pub(super) stop: Option<Instant>,
    /// The number of the newest call, and of the newest of each kind: the outcome of an earlier call, or
    /// of a call in the run before, is ignored.
    pub(super) newest: u32,
    pub(super) newest_start: u32,
    pub(super) newest_stop: u32,
    /// People stopped the stream during our start call: if Zoom accepts it, it is undone.
    pub(super) is_overtaken: bool,
    /// No start is made before this time: one of another node may be on its way.
    pub(super) hold: Option<Instant>,
    /// Who was waited for joined while our start was on its way: if it is refused, the next follows at
    /// once.
    pub(super) has_joined: bool,
}

impl Calls {
    /// Whether a call has no outcome yet, so that it may still wait.
    pub(super) fn are_due(&self) -> bool {
        self.start.is_some() || self.stop.is_some()
    }

    /// Whether a start call was made and has no outcome yet.
    pub(super) fn is_starting(&self, now: Instant) -> bool {
        self.start.is_some_and(|at| at <= now)
    }

    /// No call, and the outcomes of all earlier ones are ignored.
    pub(super) fn renumbered(&self) -> Calls {
        let next = self.newest.wrapping_add(1);
        Calls {
            newest: next,
            newest_start: next,
            newest_stop: next,
            hold: self.hold,
            ..Calls::default()
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The state of our REST start. The names are those of `registry.json`; see [`Phase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    /// Not requested.
    None,
    /// A call is due or in progress.
    Trying {
        attempts: u32,
        #[serde(skip)]
        since: Option<Instant>,
    },
    /// Accepted, or a stream started.
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

    /// A meeting known only from a stream. REST calls need session, engagement and call ids, but
    /// not a meeting's UUID.
    pub(super) fn from_stream(product: Product, id: &str) -> MeetingEntry {
        MeetingEntry {
            product,
            meeting_id: (!product.has_number()).then(|| id.to_owned()),
            topic: None,
            host_id: None,
            account_id: None,
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
            is_yielded: false,
            epoch: None,
            calls: Calls::default(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.start {
            _ if self.ended_ms.is_some() => Phase::Ended,
            // The node that has it starts it.
            _ if self.is_yielded => Phase::Stopped,
            Start::None => Phase::Idle,
            Start::Trying { .. } if self.awaits_host => Phase::AwaitingHost,
            Start::Trying { .. } => Phase::Starting,
            Start::Done => Phase::Started,
            Start::GaveUp => Phase::GaveUp,
            Start::Stopped => Phase::Stopped,
        }
    }

    /// Whether the meeting is running, as far as we know.
    pub(super) fn is_live(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// The same UUID starts again: the previous run no longer counts.
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
            is_yielded: false,
            calls: self.calls.renumbered(),
            ..self.clone()
        };
    }

    /// A stop shows that the meeting has begun again, not before that time; the webhook of the beginning has
    /// not arrived yet.
    pub(super) fn begin_untold_life(&mut self, not_before: u64) {
        self.begin_life(not_before);
        self.started_ms = None;
    }

    /// A stream of it started or stopped.
    pub(super) fn saw_stream(&mut self, ts: u64) {
        self.stream_ms = self.stream_ms.max(Some(ts));
    }

    /// Whether this timestamp belongs to a previous run of the meeting.
    pub(super) fn is_of_earlier_life(&self, ts: u64) -> bool {
        self.life_ms.is_some_and(|life| ts < life)
    }
}

/// How a stream leaves for another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Leaving {
    /// Its meeting is about to be given to another node. Until then it is this node's, also after its thread
    /// has left.
    Released,
    /// Another node has it; its thread is about to leave.
    Given,
}

/// A stream; its key is the stream id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StreamEntry {
    /// The newest started webhook: its URLs are needed for a reconnect.
    pub(super) started: StreamStarted,
    /// Timestamp of the first one: the folder's date and the zero of subtitles.
    pub(super) first_ms: u64,
    /// Timestamp of the newest one.
    pub(super) newest_ms: u64,
    /// Timestamp of the newest `rtms_interrupted`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) interrupted_ms: Option<u64>,
    /// Timestamp of `rtms_stopped`.
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
    /// Whether its end has already led to a new REST start.
    pub(super) is_restarted: bool,
    /// Whether consent for it was withdrawn.
    #[serde(default)]
    pub(super) is_revoked: bool,
    /// Withdrawals up to this timestamp were handled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) revoked_ms: Option<u64>,
    /// A newer start arrived while its thread is ending: it runs again afterwards.
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) is_superseded: bool,
    /// It leaves for another node, or has left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) leaving: Option<Leaving>,
    /// In a fleet: which part of it is received here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) tenure: Option<Box<Tenure>>,
    /// In a fleet: the last number of its journal, as far as that was noted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) seq: Option<u64>,
    /// Since when no node may have received it, Unix milliseconds: until it begins here.
    #[serde(skip)]
    pub(super) until_ms: Option<u64>,
    /// When its thread was last moved to another server.
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
            leaving: None,
            tenure: None,
            seq: None,
            until_ms: None,
            moved: None,
            connect_until: None,
        }
    }

    /// It runs again because of a newer start: its previous end no longer counts.
    pub(super) fn begin_life(&mut self) {
        self.ended_ms = None;
        self.stopped_ms = None;
        self.stop_reason = None;
        self.is_restarted = false;
        self.is_revoked = false;
        self.is_superseded = false;
        self.leaving = None;
        self.moved = None;
    }

    /// Whether its thread runs here, or is to run.
    pub(super) fn is_active(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// Whether it is open at Zoom, as far as we know, and not another node's: it runs here, or was released.
    pub(super) fn is_open(&self) -> bool {
        match self.leaving {
            None => self.is_active(),
            Some(Leaving::Released) => true,
            Some(Leaving::Given) => false,
        }
    }

    /// Whether its thread is to end, so that it is not started again as it was.
    pub(super) fn is_over(&self) -> bool {
        self.stopped_ms.is_some() || self.is_superseded || self.leaving.is_some()
    }

    /// The stop reason from webhook and socket, which may differ: a decision of people counts more
    /// than a fault, and withdrawn consent counts most.
    pub(super) fn effective_reason(&self, socket: Option<StopReason>) -> Option<StopReason> {
        let is_told = self.stopped_ms.is_some() || self.is_superseded;
        let webhook = is_told.then(|| StopReason(self.stop_reason.unwrap_or(0)));
        let rank = |reason: &StopReason| match reason.policy() {
            StopPolicy::Delete => 3,
            _ if *reason == StopReason::UNDEFINED => 0,
            StopPolicy::Finish | StopPolicy::FinishAndAlert => 2,
            StopPolicy::Restart | StopPolicy::RestartOnce => 1,
        };
        // Of two with the same rank, the last one counts: the webhook's.
        [socket, webhook].into_iter().flatten().max_by_key(rank)
    }
}
