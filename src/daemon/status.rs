//! What the daemon says of itself when it is asked: for the admin listener and the watchdog.
//!
//! It is asked through its inbox like for anything else, so no state of it is shared; what is
//! counted by others comes along as their counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::Daemon;
use super::snapshot::Snapshot;
use super::streams::RunningStream;
use crate::domain::stream_info::StreamInfo;
use crate::protocol::MediaKind;
use crate::recorder::disk::DiskCounters;
use crate::source::ingress;
use crate::stream::StatsSnapshot;
use crate::zoom_api;

/// The daemon at one moment.
#[derive(Debug)]
#[non_exhaustive]
pub struct StatusSnapshot {
    /// It was told to end.
    pub is_draining: bool,
    /// Why a webhook would not be answered, if so.
    pub unready_reason: Option<&'static str>,
    /// The streams that run.
    pub streams: Vec<StreamStatus>,
    /// Ended and running streams together, since the start of the process.
    pub totals: Totals,
    /// Places taken in the daemon's inbox.
    pub inbox_len: usize,
    /// The webhook listener.
    pub ingress: ingress::Counters,
    /// REST and OAuth.
    pub api: Arc<zoom_api::Counters>,
    /// Whether what a restart needs cannot be written.
    pub is_state_failing: bool,
    /// Files; `None` if none are written.
    pub disk: Option<Arc<DiskCounters>>,
    /// Lines of standard output that were dropped because the reader was too slow; `None` without standard output.
    pub stdout_dropped: Option<Arc<AtomicU64>>,
}

/// A stream that runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Which.
    pub info: StreamInfo,
    /// When its thread began.
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
    /// When the gate's loop last turned.
    pub gate_turned: Instant,
    /// How often the timer has turned.
    pub timer_turns: u64,
    /// Streams that run.
    pub streams: usize,
    /// Streams that receive.
    pub receiving: usize,
    /// Why a webhook would not be answered, if so.
    pub unready_reason: Option<&'static str>,
}

/// Sums over streams. They never go down: a stream that ends is added to what is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Streams begun.
    pub begun: u64,
    /// Of these, taken over from an earlier process.
    pub rejoined: u64,
    /// Streams ended, by [`crate::protocol::EndReason::label`].
    pub ended: BTreeMap<&'static str, u64>,
    /// News about the account, by [`crate::domain::zoom_event::ACCOUNT_LABELS`].
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
            unready_reason: self.ingress.unready_reason(),
            streams,
            totals,
            inbox_len: self.inbox.len(),
            ingress: self.ingress.counters(),
            api: Arc::clone(self.api.counters()),
            is_state_failing: (self.snapshot.as_ref()).is_some_and(Snapshot::is_failing),
            disk: self.disk.as_ref().map(|disk| Arc::clone(disk.counters())),
            stdout_dropped: (self.stdout.as_ref()).map(|stdout| Arc::clone(stdout.dropped())),
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
        };
        self.ingress.request_turn();
        self.rest_timer.request_turn();
        heartbeat
    }
}
