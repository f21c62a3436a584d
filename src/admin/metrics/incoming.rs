//! What comes from Zoom outside of streams: webhooks, the event WebSocket, and the gate before them.

use super::facts::{by_word, load};
use super::metric::Metric;
use super::metric::Value::{Count, Counts, Gauge, GaugeSeconds, Gauges, Seconds, Times};
use super::metric::row;
use crate::domain::zoom_event::ACCOUNT_LABELS;
use crate::source::events::State;

pub(super) const METRICS: &[Metric] = &[
    row(
        "webhooks_total",
        "Requests at the webhook listener, by result.",
        Counts("result", |f| {
            let counters = f.webhook();
            vec![
                ("accepted", load(&counters.accepted)),
                ("forged", load(&counters.forged)),
                ("stale", load(&counters.stale)),
                ("malformed", load(&counters.malformed)),
                ("incomplete", load(&counters.incomplete)),
                ("unknown", load(&counters.unknown)),
                ("challenge", load(&counters.challenges)),
                ("challenge_refused", load(&counters.challenges_refused)),
                ("inbox_full", load(&counters.inbox_full)),
                ("not_kept", load(&counters.not_kept)),
                ("up", load(&counters.up)),
                ("wrong_path", load(&counters.wrong_path)),
                ("wrong_method", load(&counters.wrong_method)),
            ]
        }),
    ),
    row(
        "events_total",
        "Events from the event WebSocket, by result; not_kept ones are among the accepted.",
        Counts("result", |f| match &f.status.events {
            Some(events) => events.counters.results(),
            None => Vec::new(),
        }),
    ),
    row(
        "events_connected",
        "State of the event WebSocket: 1 for the present one.",
        Gauges("state", |f| {
            let state = (f.status.events.as_ref()).map(|events| events.snapshot().state);
            let states = State::ALL.into_iter();
            let one = |known: State| (known.name(), u64::from(state == Some(known)));
            states.filter(|_| state.is_some()).map(one).collect()
        }),
    ),
    row(
        "events_connections_total",
        "Connections of the event WebSocket: accepted by Zoom, lost or failed.",
        Counts("result", |f| match &f.status.events {
            Some(events) => vec![
                ("accepted", load(&events.counters.connects)),
                ("lost", load(&events.counters.losses)),
            ],
            None => Vec::new(),
        }),
    ),
    row(
        "events_gap_seconds_total",
        "Time in which events were missed since the start of the process.",
        Seconds(|f| {
            let events = f.status.events.as_ref();
            events.map_or(0.0, |events| load(&events.counters.gap_ms) as f64 / 1000.0)
        }),
    ),
    row(
        "events_missed_since_seconds",
        "Since when events are missed now, or were missed last, Unix time; 0 for never.",
        GaugeSeconds(|f| {
            let events = f.status.events.as_ref();
            let now = events.and_then(|events| events.snapshot().deaf_since_ms);
            let last = f.status.events_gap.map(|gap| gap.since_ms);
            now.or(last).unwrap_or(0) as f64 / 1000.0
        }),
    ),
    row(
        "webhook_ack_seconds",
        "From the last byte of a webhook to its answer.",
        Times(|f| Some(&f.gate().ack)),
    ),
    row(
        "gate_connections_total",
        "Connections accepted by the webhook listener.",
        Count(|f| load(&f.gate().accepted)),
    ),
    row(
        "gate_refused_total",
        "Requests that the gate refused by itself, by status code.",
        Counts("code", |f| {
            let counters = f.gate();
            vec![
                ("400", load(&counters.refused_400)),
                ("405", load(&counters.refused_405)),
                ("408", load(&counters.refused_408)),
                ("411", load(&counters.refused_411)),
                ("413", load(&counters.refused_413)),
                ("417", load(&counters.refused_417)),
                ("431", load(&counters.refused_431)),
                ("503", load(&counters.refused_503)),
                ("505", load(&counters.refused_505)),
            ]
        }),
    ),
    row(
        "gate_closed_total",
        "Connections that ended without a request, or before their answer was read.",
        Counts("cause", |f| {
            let counters = f.gate();
            vec![
                ("evicted", load(&counters.evicted)),
                ("silent", load(&counters.silent)),
                ("abandoned", load(&counters.abandoned)),
                ("tls", load(&counters.tls_failures)),
                ("unread_answer", load(&counters.unread_answers)),
            ]
        }),
    ),
    row(
        "gate_accept_errors_total",
        "Failed attempts to accept a connection.",
        Count(|f| load(&f.gate().accept_errors)),
    ),
    row(
        "gate_inner_failures_total",
        "Times the backend of the gate was found dead or silent.",
        Count(|f| load(&f.gate().backend_failures)),
    ),
    row(
        "gate_inner_rebuilds_total",
        "Times the backend of the gate was restarted.",
        Count(|f| load(&f.gate().backend_rebuilds)),
    ),
    row(
        "inbox_length",
        "Webhooks and outcomes that wait for the daemon.",
        Gauge(|f| f.status.inbox_len as u64),
    ),
    row(
        "account_events_total",
        "Webhooks about the account or the app, not about one stream.",
        Counts("event", |f| {
            by_word(&ACCOUNT_LABELS, &f.status.totals.account)
        }),
    ),
];
