//! The daemon's status, for the admin listener and the watchdog.
//!
//! It is requested through the inbox like everything else, so no state is shared; counters of other
//! threads are passed along as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::Daemon;
use super::fleet_status::FleetStatus;
use super::places::PlaceCounts;
use super::snapshot::Snapshot;
use super::streams::RunningStream;
use crate::coordinator::gaps::Gap;
use crate::delivery::ends;
use crate::delivery::media;
use crate::delivery::push::{Push, PushStatus};
use crate::domain::stream_info::StreamInfo;
use crate::forgetting;
use crate::keeping;
use crate::protocol::MediaKind;
use crate::recorder::disk::DiskCounters;
use crate::source::events::{self, State};
use crate::source::ingress;
use crate::stream::StatsSnapshot;
use crate::zoom_api;
use crate::zoom_api::GrantStatus;

/// The daemon's status at one moment.
#[derive(Debug)]
#[non_exhaustive]
pub struct StatusSnapshot {
    /// Whether it is shutting down.
    pub is_draining: bool,
    /// Why a webhook would not be answered, if so.
    pub unready_reason: Option<&'static str>,
    /// The running streams.
    pub streams: Vec<StreamStatus>,
    /// Streams that wait for files or threads, while Zoom waits for them.
    pub waiting_streams: usize,
    /// Streams that found no place, because their account has as many as it may.
    pub(crate) places: PlaceCounts,
    /// Sums over ended and running streams, since the start of the process.
    pub totals: Totals,
    /// Places in use in the daemon's inbox.
    pub inbox_len: usize,
    /// The webhook listener.
    pub(crate) ingress: ingress::Counters,
    /// The event WebSocket; `None` without one.
    pub(crate) events: Option<Arc<events::Shared>>,
    /// Whether it is the only way by which events come.
    pub(crate) has_only_events: bool,
    /// When events were last missed there, for a while.
    pub(crate) events_gap: Option<Gap>,
    /// Counters of REST and OAuth.
    pub(crate) api: Arc<zoom_api::Counters>,
    /// The grants of users; `None` if tokens are not those of users.
    pub(crate) grants: Option<Vec<GrantStatus>>,
    /// Accounts whose calls could not be made without a grant, and how many.
    pub(crate) accounts_without_grant: Vec<(String, u64)>,
    /// Whether the state cannot be written.
    pub is_state_failing: bool,
    /// Counters of the recorder; `None` if no files are written.
    pub(crate) disk: Option<Arc<DiskCounters>>,
    /// Uploads and hooks of streams that have ended.
    pub(crate) ends: Arc<ends::Counters>,
    /// Lines of standard output that were dropped because the reader was too slow; `None` without
    /// standard output.
    pub(crate) stdout_dropped: Option<Arc<AtomicU64>>,
    /// The endpoints that events are sent to; `None` if there are none.
    pub(crate) push: Option<PushStatus>,
    /// The removal of recordings; `None` without a rule.
    pub(crate) keeping: Option<Arc<keeping::Counters>>,
    /// Requests to forget.
    pub(crate) forgetting: Arc<forgetting::Counters>,
    /// Live media.
    pub(crate) media: Arc<media::Counters>,
    /// What this node knows of its fleet; `None` without one.
    pub(crate) fleet: Option<FleetStatus>,
}

/// A running stream.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The stream.
    pub info: StreamInfo,
    /// When its thread started.
    pub since: Instant,
    /// Whether data can flow now.
    pub is_ready: bool,
    /// Unix milliseconds of the newest data; `None` before the first.
    pub last_data_ms: Option<u64>,
    /// Media that Zoom did not connect in time; they are tried once a minute.
    pub given_up: Vec<MediaKind>,
    /// What it has counted.
    pub stats: StatsSnapshot,
}

/// Whether the threads that everything depends on make progress; see `systemd::Watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the gate's loop took its last turn.
    pub gate_turned: Instant,
    /// How many turns the timer thread has taken.
    pub timer_turns: u64,
    /// Running streams.
    pub streams: usize,
    /// Streams that receive data.
    pub receiving: usize,
    /// Why a webhook would not be answered, if so.
    pub unready_reason: Option<&'static str>,
    /// The disk thread waits for a disk that does not answer.
    pub is_disk_hung: bool,
    /// The state of the event WebSocket while it is not connected.
    pub events_down: Option<&'static str>,
}

/// Sums over streams. They never decrease: an ended stream's counters are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Streams started.
    pub begun: u64,
    /// Of these, taken over from an earlier process.
    pub rejoined: u64,
    /// Streams ended, by [`crate::protocol::EndReason::label`].
    pub ended: BTreeMap<&'static str, u64>,
    /// Account events, by [`crate::domain::zoom_event::ACCOUNT_LABELS`].
    pub account: BTreeMap<&'static str, u64>,
    /// What all streams have counted together.
    pub stats: StatsSnapshot,
}

impl RunningStream {
    fn status(&self) -> StreamStatus {
        let counters = self.handle.counters();
        StreamStatus {
            info: self.info.clone(),
            since: self.since,
            is_ready: counters.is_ready(),
            last_data_ms: counters.last_data_ms(),
            given_up: counters.given_up(),
            stats: counters.snapshot(),
        }
    }
}

impl Daemon {
    pub(super) fn status(&self) -> StatusSnapshot {
        let running = self.running.values();
        let streams: Vec<StreamStatus> = running.map(|running| running.status()).collect();
        let mut totals = self.totals.clone();
        for stream in &streams {
            totals.stats.add(&stream.stats);
        }
        StatusSnapshot {
            is_draining: self.is_draining,
            waiting_streams: self.waiting.len(),
            places: self.places.counts(),
            unready_reason: self.ingress.unready_reason(),
            streams,
            totals,
            inbox_len: self.inbox.len(),
            ingress: self.ingress.counters(),
            events: (self.events.as_ref()).map(|events| Arc::clone(events.shared())),
            has_only_events: self.ingress.addresses().is_empty(),
            events_gap: self.coordinator.last_gap(),
            api: Arc::clone(self.api.counters()),
            grants: (self.api.is_of_user()).then(|| self.api.grant_status()),
            accounts_without_grant: self.api.accounts_without_grant(),
            is_state_failing: (self.snapshot.as_ref()).is_some_and(Snapshot::is_failing),
            disk: self.disk.as_ref().map(|disk| Arc::clone(disk.counters())),
            ends: Arc::clone(self.ends.counters()),
            stdout_dropped: (self.stdout.as_ref()).map(|stdout| Arc::clone(stdout.dropped())),
            push: self.push.as_ref().map(Push::status),
            keeping: (self.keeping.as_ref()).map(|keeping| Arc::clone(keeping.counters())),
            forgetting: Arc::clone(self.forgetting.counters()),
            media: Arc::clone(self.media.counters()),
            fleet: self.fleet_status(),
        }
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        let running = self.running.values();
        let receiving = running.filter(|running| running.handle.is_ready());
        let heartbeat = Heartbeat {
            gate_turned: self.ingress.last_turn(),
            timer_turns: self.rest_timer.turns(),
            streams: self.running.len(),
            receiving: receiving.count(),
            unready_reason: self.ingress.unready_reason(),
            is_disk_hung: (self.disk.as_ref())
                .is_some_and(|disk| disk.counters().progress.hung_for().is_some()),
            events_down: (self.events.as_ref())
                .map(|events| events.shared().snapshot().state)
                .filter(|state| state.is_fault())
                .map(State::name),
        };
        self.ingress.request_turn();
        self.rest_timer.request_turn();
        heartbeat
    }
}
