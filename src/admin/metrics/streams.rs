//! Streams, their connections and their messages.

use super::facts::by_word;
use super::facts::seconds;
use super::metric::Metric;
use super::metric::Value::{Count, Counts, GaugeSeconds, Gauges};
use super::metric::row;
use crate::admin::streams;
use crate::protocol::Loss;

/// Reasons of ends: the labels of [`EndReason`](crate::protocol::EndReason).
const ENDS: [&str; 10] = [
    "stopped",
    "refused",
    "nothing_granted",
    "lost",
    "closed",
    "left",
    "handed_over",
    "panicked",
    "bad_url",
    "no_resources",
];

pub(super) const METRICS: &[Metric] = &[
    row(
        "streams",
        "Running streams, by state.",
        Gauges("state", |f| {
            let states = f
                .status
                .streams
                .iter()
                .map(|stream| streams::state(stream).0);
            let states: Vec<&str> = states.collect();
            let count = |state| states.iter().filter(|found| **found == state).count() as u64;
            let all = ["connecting", "receiving", "reconnecting"];
            all.map(|state| (state, count(state))).to_vec()
        }),
    ),
    row(
        "streams_begun_total",
        "Streams begun.",
        Count(|f| f.status.totals.begun),
    ),
    row(
        "streams_rejoined_total",
        "Streams taken over from an earlier process.",
        Count(|f| f.status.totals.rejoined),
    ),
    row(
        "streams_limited_total",
        "Streams beyond RTMS_STREAMS_MAX: refused at first; of these, started later or given up.",
        Counts("result", |f| {
            let places = f.status.places;
            vec![
                ("refused", places.refused),
                ("started", places.started),
                ("given_up", places.given_up),
            ]
        }),
    ),
    row(
        "streams_ended_total",
        "Streams ended, by reason.",
        Counts("reason", |f| by_word(&ENDS, &f.status.totals.ended)),
    ),
    row(
        "connects_total",
        "Accepted handshakes.",
        Counts("link", |f| {
            let stats = f.stats();
            vec![
                ("signaling", stats.signaling_connects),
                ("media", stats.media_connects),
            ]
        }),
    ),
    row(
        "ready_total",
        "Times that data began to flow; more than streams begun means reconnections.",
        Count(|f| f.stats().readies),
    ),
    row(
        "connections_lost_total",
        "Connections to Zoom that were lost, by cause.",
        Counts("cause", |f| by_word(&Loss::LABELS, &f.stats().losses)),
    ),
    row(
        "keep_alives_total",
        "Keep-alives answered.",
        Count(|f| f.stats().keep_alives),
    ),
    row(
        "keep_alive_worst_seconds",
        "Longest time from a keep-alive's arrival to its answer since the start.",
        GaugeSeconds(|f| seconds(f.stats().keep_alive_worst_us)),
    ),
    row(
        "messages_total",
        "Messages received, by kind of media.",
        Counts("media", |f| f.by_kind(|count| count.messages)),
    ),
    row(
        "message_bytes_total",
        "Bytes of these messages, without frame headers and TLS.",
        Counts("media", |f| f.by_kind(|count| count.bytes)),
    ),
    row(
        "messages_odd_total",
        "Messages that were not used: repeated phrases, unknown types, unreadable ones.",
        Counts("kind", |f| {
            let stats = f.stats();
            vec![
                ("repeated", stats.repeated),
                ("unknown", stats.unknown),
                ("malformed", stats.malformed),
                ("oversize", stats.oversize),
                ("blank", stats.blank),
            ]
        }),
    ),
];
