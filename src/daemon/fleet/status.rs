//! What this node knows of its fleet, for the admin listener.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Fleet;
use crate::coordinator::fleet::StreamPhase;
use crate::daemon::Daemon;
use crate::daemon::fleet_status::{FleetStatus, FleetStream};
use crate::stream;

/// A node that is silent for longer is no part of a comparison.
const LIVING: Duration = Duration::from_secs(5);

impl Daemon {
    /// `None` without a fleet.
    pub(in crate::daemon) fn fleet_status(&self) -> Option<FleetStatus> {
        let fleet = self.fleet.as_ref()?;
        let settings = self.settings.fleet.as_ref()?;
        let streams = self.running.iter().map(|(stream_id, running)| FleetStream {
            stream_id: stream_id.clone(),
            meeting: running.info.id.clone(),
            epoch: running.info.epoch(),
            phase: match running.handle.phase() {
                stream::StreamPhase::Joining => StreamPhase::Joining,
                stream::StreamPhase::Receiving => StreamPhase::Receiving,
                stream::StreamPhase::Lost => StreamPhase::Lost,
            }
            .name(),
        });
        let mut streams: Vec<FleetStream> = streams.collect();
        streams
            .sort_unstable_by(|a, b| (&a.meeting, &a.stream_id).cmp(&(&b.meeting, &b.stream_id)));
        let view = fleet.machine.view();
        let living = view.rows().iter().filter(|row| row.age < LIVING);
        let differing = living.filter(|row| row.row.must != fleet.digests.must);
        let down_for = fleet.down_since.map(|since| since.elapsed());
        Some(FleetStatus {
            fleet: settings.name.clone(),
            node: fleet.machine.name().to_owned(),
            state: fleet.machine.node_state(Instant::now()).name(),
            store: settings.store.to_string(),
            down_for,
            down_in_all: fleet.down_before + down_for.unwrap_or_default(),
            is_minority: view.is_minority(),
            rows: view.rows().to_vec(),
            events_node: fleet.machine.events_node().map(str::to_owned),
            differing: differing.count() as u64,
            meetings: fleet.machine.held().count() as u64,
            streams,
            intents: fleet.events.len() as u64,
            queue: fleet.machine.queue_len() as u64,
            to_delete: fleet.machine.to_delete() as u64,
            counts: fleet.machine.counts().clone(),
            times: Arc::clone(&fleet.times),
            clock_offset_ms: fleet.clock.offset_ms(),
            store_errors: fleet.store_errors(),
        })
    }
}

impl Fleet {
    fn store_errors(&self) -> [(&'static str, u64); 5] {
        let counters = self.store.counters();
        [
            ("not_reached", counters.not_opened.load(Relaxed)),
            ("lost", counters.lost.load(Relaxed)),
            ("late", counters.late.load(Relaxed)),
            ("refused", counters.refused.load(Relaxed)),
            ("full", counters.full.load(Relaxed)),
        ]
    }
}
