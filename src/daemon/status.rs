//! What the daemon says of itself when it is asked: for the admin listener and the watchdog.
//!
//! It is asked through its inbox like for anything else, so no state of it is shared; what is
//! counted by others comes along as their counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::Daemon;
use super::snapshot::Snapshot;
use crate::domain::stream_info::StreamInfo;
use crate::protocol::MediaKind;
use crate::recorder::disk::DiskCounters;
use crate::source::ingress;
use crate::stream::Stats;
use crate::zoom_api;

/// The kinds that are counted; `All` stands for events.
pub const KINDS: [MediaKind; 6] = [
    MediaKind::Transcript,
    MediaKind::Audio,
    MediaKind::Video,
    MediaKind::Share,
    MediaKind::Chat,
    MediaKind::All,
];

/// The word for a kind in metrics and JSON.
pub fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::All => "event",
        kind => kind.name(),
    }
}

/// The daemon at one moment.
#[derive(Debug)]
pub struct Status {
    /// It was told to end.
    pub is_draining: bool,
    /// What is wrong with the public edge.
    pub edge_trouble: Option<&'static str>,
    /// The streams that run.
    pub streams: Vec<StreamStatus>,
    /// Ended and running streams together, since the start of the process.
    pub totals: Totals,
    /// Places taken in the daemon's inbox.
    pub inbox_len: usize,
    /// The public edge.
    pub edge: ingress::Counters,
    /// REST and OAuth.
    pub api: Arc<zoom_api::Counters>,
    /// Whether what a restart needs cannot be written.
    pub is_state_troubled: bool,
    /// Files; `None` if none are written.
    pub disk: Option<Arc<DiskCounters>>,
    /// Lines of standard output that were dropped because the reader was too slow; `None` without standard output.
    pub stdout_dropped: Option<Arc<AtomicU64>>,
}

/// A stream that runs.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// Which.
    pub info: StreamInfo,
    /// When its thread began.
    pub since: Instant,
    /// What it counts.
    pub stats: Arc<Stats>,
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
    /// What is wrong with the public edge.
    pub edge_trouble: Option<&'static str>,
}

/// Sums over streams. They never go down: a stream that ends is added to what is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Streams begun.
    pub begun: u64,
    /// Of these, taken over from an earlier process.
    pub rejoined: u64,
    /// Streams ended, by [`crate::protocol::EndReason::label`].
    pub ended: BTreeMap<&'static str, u64>,
    /// News about the account, by [`crate::domain::zoom_event::ACCOUNT_LABELS`].
    pub account: BTreeMap<&'static str, u64>,
    /// Messages and bytes, in the order of [`KINDS`].
    pub media: [(u64, u64); KINDS.len()],
    /// Accepted handshakes: signaling, media.
    pub connects: [u64; 2],
    /// Times that data began to flow.
    pub readies: u64,
    /// Lost links by [`crate::protocol::Loss::label`].
    pub losses: BTreeMap<&'static str, u64>,
    /// Keep-alives answered.
    pub keep_alives: u64,
    /// Longest time from a keep-alive's arrival to its answer, microseconds.
    pub keep_alive_worst_us: u64,
    /// Phrases that came twice.
    pub repeated: u64,
    /// Transcripts without words.
    pub blank: u64,
    /// Messages of unknown type.
    pub unknown: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages that were larger than the limit of their link, and skipped.
    pub oversize: u64,
}

impl Totals {
    /// Adds what a stream has counted.
    pub(super) fn add(&mut self, stats: &Stats) {
        for (sum, kind) in self.media.iter_mut().zip(KINDS) {
            let count = stats.count(kind);
            sum.0 += count.messages.load(Relaxed);
            sum.1 += count.bytes.load(Relaxed);
        }
        for (sum, connects) in self.connects.iter_mut().zip(&stats.connects) {
            *sum += connects.load(Relaxed);
        }
        for (cause, times) in stats.losses_by_cause() {
            *self.losses.entry(cause).or_default() += times;
        }
        self.readies += stats.readies.load(Relaxed);
        self.keep_alives += stats.keep_alives.load(Relaxed);
        let worst_us = stats.keep_alive_worst_us.load(Relaxed);
        self.keep_alive_worst_us = self.keep_alive_worst_us.max(worst_us);
        self.repeated += stats.repeated.load(Relaxed);
        self.blank += stats.blank.load(Relaxed);
        self.unknown += stats.unknown.load(Relaxed);
        self.malformed += stats.malformed.load(Relaxed);
        self.oversize += stats.oversize.load(Relaxed);
    }
}

impl Daemon {
    pub(super) fn status(&self) -> Status {
        let mut totals = self.totals.clone();
        for running in self.running.values() {
            totals.add(running.meeting.stats());
        }
        Status {
            is_draining: self.is_draining,
            edge_trouble: self.public.unready_reason(),
            streams: self
                .running
                .values()
                .map(|running| StreamStatus {
                    info: running.info.clone(),
                    since: running.since,
                    stats: Arc::clone(running.meeting.stats()),
                })
                .collect(),
            totals,
            inbox_len: self.inbox.len(),
            edge: self.public.counters(),
            api: Arc::clone(self.api.counters()),
            is_state_troubled: (self.snapshot.as_ref()).is_some_and(Snapshot::is_failing),
            disk: self.disk.as_ref().map(|disk| Arc::clone(disk.counters())),
            stdout_dropped: (self.stdout.as_ref()).map(|stdout| Arc::clone(stdout.dropped())),
        }
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        let running = self.running.values();
        let receiving = running.filter(|running| running.meeting.stats().is_ready.load(Relaxed));
        let heartbeat = Heartbeat {
            gate_turned: self.public.last_turn(),
            timer_turns: self.schedule.turns(),
            streams: self.running.len(),
            receiving: receiving.count(),
            edge_trouble: self.public.unready_reason(),
        };
        self.public.request_turn();
        self.schedule.request_turn();
        heartbeat
    }
}
