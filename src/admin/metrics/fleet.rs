//! A node of a fleet.

use super::facts::Facts;
use super::metric::Metric;
use super::metric::Value::{
    Count, CountPairs, Counts, Gauge, GaugeSeconds, Gauges, Seconds, Times,
};
use super::metric::row;
use crate::daemon::fleet_status::FleetStatus;

/// Without a fleet nothing is read.
fn of(facts: &Facts<'_>, value: fn(&FleetStatus) -> u64) -> u64 {
    facts.fleet().map_or(0, value)
}

pub(super) const METRICS: &[Metric] = &[
    row(
        "fleet_sure",
        "Whether this node has reached the fleet's store within the last four seconds.",
        Gauge(|f| of(f, |fleet| (fleet.state == "sure").into())),
    ),
    row(
        "fleet_nodes",
        "Nodes of the fleet, as this one sees them.",
        Gauges("state", |f| {
            f.fleet().map_or(Vec::new(), |fleet| fleet.nodes().into())
        }),
    ),
    row(
        "fleet_settings_differ",
        "Living nodes whose secrets or way to tokens are not those of this one.",
        Gauge(|f| of(f, |fleet| fleet.differing)),
    ),
    row(
        "fleet_clock_offset_seconds",
        "This machine's clock minus the store's.",
        GaugeSeconds(|f| {
            let offset_ms = f.fleet().and_then(|fleet| fleet.clock_offset_ms);
            offset_ms.unwrap_or(0) as f64 / 1000.0
        }),
    ),
    row(
        "fleet_beat_seconds",
        "How long the store took to answer the renewal of the node's row, once a second.",
        Times(|f| f.fleet().map(|fleet| &fleet.times.beat)),
    ),
    row(
        "fleet_store_down_seconds_total",
        "How long the fleet's store was not reached, in all.",
        Seconds(|f| {
            f.fleet()
                .map_or(0.0, |fleet| fleet.down_in_all.as_secs_f64())
        }),
    ),
    row(
        "fleet_store_errors_total",
        "What went wrong at the fleet's store: connections not made or lost, calls without an answer in time, refused, or beyond the queue.",
        Counts("kind", |f| {
            f.fleet()
                .map_or(Vec::new(), |fleet| fleet.store_errors.into())
        }),
    ),
    row(
        "fleet_rollbacks_total",
        "Times that the store had lost what this node had written, which then wrote it again.",
        Count(|f| of(f, |fleet| fleet.counts.rollbacks)),
    ),
    row(
        "fleet_meetings",
        "Meetings that this node holds in the fleet.",
        Gauge(|f| of(f, |fleet| fleet.meetings)),
    ),
    row(
        "fleet_intents",
        "Webhooks that were answered here and are not with their node yet.",
        Gauge(|f| of(f, |fleet| fleet.intents)),
    ),
    row(
        "fleet_queue_length",
        "Messages of this node's queue that were read and are not done.",
        Gauge(|f| of(f, |fleet| fleet.queue)),
    ),
    row(
        "fleet_routed_total",
        "What the store said to webhooks for meetings of other nodes: queued there, mine, moved (to another node), none (no node has it), dead (its node is), full (its queue is), failed (no answer).",
        Counts("result", |f| {
            f.fleet().map_or(Vec::new(), |fleet| fleet.counts.routed())
        }),
    ),
    row(
        "fleet_route_seconds",
        "From the arrival of a webhook here until it lay in the queue of another node.",
        Times(|f| f.fleet().map(|fleet| &fleet.times.route)),
    ),
    row(
        "fleet_accepted_not_joined_total",
        "Starts of streams that were answered here and had reached no node after a minute, when Zoom stops waiting.",
        Count(|f| of(f, |fleet| fleet.counts.not_joined)),
    ),
    row(
        "fleet_claims_total",
        "Meetings that this node claimed for itself or another one: new, given to it, or of a dead node; and what the store said.",
        CountPairs(["why", "result"], |f| {
            f.fleet().map_or(Vec::new(), |fleet| fleet.counts.claims())
        }),
    ),
    row(
        "fleet_takeover_seconds",
        "From the last beat of a dead node until a stream of it was received here.",
        Times(|f| f.fleet().map(|fleet| &fleet.times.takeover)),
    ),
    row(
        "fleet_handed_total",
        "Meetings that this node handed over, by what the store said: given, newer (another node had it already), full (the heir's queue), failed (no answer; asked again).",
        Counts("result", |f| {
            f.fleet().map_or(Vec::new(), |fleet| fleet.counts.handed())
        }),
    ),
    row(
        "fleet_handover_gap_seconds",
        "From a hand-over to this node until the stream was received here.",
        Times(|f| f.fleet().map(|fleet| &fleet.times.handover)),
    ),
    row(
        "fleet_yielded_total",
        "Streams that this node gave up because another one has them.",
        Count(|f| of(f, |fleet| fleet.counts.yielded)),
    ),
    row(
        "fleet_refused_8_total",
        "Connections that Zoom refused because another client has the stream (status 8, 15 or 16).",
        Count(|f| f.stats().refused_elsewhere),
    ),
    row(
        "fleet_to_delete",
        "Streams whose consent was withdrawn and whose files a node that is away may still have, as far as this one knows.",
        Gauge(|f| of(f, |fleet| fleet.to_delete)),
    ),
];
