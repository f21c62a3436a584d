//! What all metrics are read from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::admin::process::Process;
use crate::daemon::fleet_status::FleetStatus;
use crate::daemon::status::StatusSnapshot;
use crate::delivery::live;
use crate::delivery::push::PushStatus;
use crate::domain::count::Count;
use crate::gate;
use crate::keeping;
use crate::recorder::disk::DiskCounters;
use crate::source::webhook::desk;
use crate::stream::StatsSnapshot;
use crate::zoom_api;

/// Of one app, or of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) of: Of<'a>,
    pub(super) status: &'a StatusSnapshot,
    pub(super) process: &'a Process,
    pub(super) live: &'a live::Counters,
    pub(super) is_ready: bool,
}

/// What the facts are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of<'a> {
    /// The process and its only app.
    Both,
    /// The process, where there may be several apps.
    Process,
    /// One of several apps.
    App(&'a str),
}

impl<'a> Facts<'a> {
    /// Those of no app, if this is about the process.
    pub(super) fn webhook(&self) -> &'a desk::Counters {
        match self.of {
            Of::Process => &self.status.ingress.unclaimed,
            _ => &self.status.ingress.webhook,
        }
    }

    pub(super) fn gate(&self) -> &'a gate::Counters {
        &self.status.ingress.gate
    }

    pub(super) fn rest(&self) -> &'a zoom_api::Counters {
        &self.status.api
    }

    /// Zero if no files are written.
    pub(super) fn disk(&self, count: fn(&DiskCounters) -> u64) -> u64 {
        self.status.disk.as_deref().map_or(0, count)
    }

    /// Zeros if no rule is set.
    pub(super) fn keeping(&self) -> Arc<keeping::Counters> {
        self.status.keeping.clone().unwrap_or_default()
    }

    /// `None` without endpoints.
    pub(super) fn push(&self) -> Option<&'a PushStatus> {
        let push = self.status.push.as_ref();
        push.filter(|push| !push.endpoints.is_empty())
    }

    /// `None` without a fleet.
    pub(super) fn fleet(&self) -> Option<&'a FleetStatus> {
        self.status.fleet.as_ref()
    }

    pub(super) fn stats(&self) -> &'a StatsSnapshot {
        &self.status.totals.stats
    }

    pub(super) fn by_kind(&self, value: fn(Count) -> u64) -> Vec<(&'static str, u64)> {
        let kinds = self.stats().by_kind();
        kinds.map(|(kind, count)| (kind, value(count))).collect()
    }
}

/// Zero for a word that was never counted.
pub(super) fn by_word(
    words: &[&'static str],
    counts: &BTreeMap<&'static str, u64>,
) -> Vec<(&'static str, u64)> {
    let count = |word: &&'static str| (*word, counts.get(word).copied().unwrap_or(0));
    words.iter().map(count).collect()
}

pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

pub(super) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
