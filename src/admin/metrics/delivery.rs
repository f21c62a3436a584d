//! Clients of the live feed and of live media, and the endpoints of HTTP push.

use super::metric::Metric;
use super::metric::Value::{Count, Counts, Gauge, Gauges, PushCounts, PushGauges, Times};
use super::metric::row;
use crate::delivery::push::PushStatus;

pub(super) const METRICS: &[Metric] = &[
    row(
        "live_clients",
        "Clients of the live feed, by the form of their answer.",
        Gauges("kind", |f| f.live.clients().into()),
    ),
    row(
        "live_refused_total",
        "Requests to the live feed that were refused because it had too many clients.",
        Count(|f| f.live.refused()),
    ),
    row(
        "media_clients",
        "Clients of live media, by kind.",
        Gauges("kind", |f| f.status.media.clients().into()),
    ),
    row(
        "media_refused_total",
        "Requests for live media that were refused because there were too many clients.",
        Count(|f| f.status.media.refused()),
    ),
    row(
        "media_dropped_total",
        "Frames that clients of live media did not get because they were too slow, by kind.",
        Counts("kind", |f| f.status.media.dropped().into()),
    ),
    row(
        "media_buffered_bytes",
        "Payload that is kept for clients of live media.",
        Gauge(|f| f.status.media.bytes()),
    ),
    row(
        "push_lag_events",
        "Events that an endpoint has not taken, by distance in the journals.",
        PushGauges(|report| vec![("", report.lag_events)]),
    ),
    row(
        "push_lag_seconds",
        "Age of the oldest event that an endpoint has not taken.",
        PushGauges(|report| vec![("", report.lag_s)]),
    ),
    row(
        "push_paused",
        "Whether an endpoint gets nothing, because it was paused or is gone.",
        PushGauges(|report| {
            let is_paused = matches!(report.state, "paused" | "gone");
            vec![("", is_paused.into())]
        }),
    ),
    row(
        "push_requests_total",
        "Requests to endpoints by what was made of the answer.",
        PushCounts(|report| {
            let counts = &report.counts;
            vec![
                (",result=\"delivered\"", counts.delivered),
                (",result=\"failed\"", counts.failed),
                (",result=\"unanswered\"", counts.unanswered),
                (",result=\"busy\"", counts.busy),
                (",result=\"refused\"", counts.refused),
                (",result=\"gone\"", counts.gone),
            ]
        }),
    ),
    row(
        "push_events_total",
        "Events that endpoints have taken.",
        PushCounts(|report| vec![("", report.counts.events)]),
    ),
    row(
        "push_expired_total",
        "Events that were deleted before an endpoint took them.",
        PushCounts(|report| vec![("", report.counts.expired)]),
    ),
    row(
        "push_skipped_total",
        "Events that an endpoint refused until RTMS_PUSH_GIVE_UP.",
        PushCounts(|report| vec![("", report.counts.skipped)]),
    ),
    row(
        "push_seconds",
        "How long requests to endpoints took.",
        Times(|f| f.push().map(PushStatus::seconds)),
    ),
];
