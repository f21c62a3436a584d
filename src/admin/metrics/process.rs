//! The process itself.

use super::facts::{Of, load};
use super::metric::Metric;
use super::metric::Value::{Counts, Gauge, GaugeSeconds, Gauges, Seconds};
use super::metric::row;

pub(super) const METRICS: &[Metric] = &[
    row(
        "build_info",
        "The running version.",
        Gauges("version", |_| vec![(env!("CARGO_PKG_VERSION"), 1)]),
    ),
    row(
        "ready",
        "Whether /readyz answers 200.",
        Gauge(|f| f.is_ready.into()),
    ),
    row(
        "panics_total",
        "Panics that were caught; each is a bug.",
        Counts("where", |f| {
            let streams = f.status.totals.ended.get("panicked").copied();
            let gate = ("gate", load(&f.gate().panics));
            let stream = ("stream", streams.unwrap_or(0));
            match f.of {
                Of::Both => vec![gate, stream],
                Of::Process => vec![gate],
                Of::App(_) => vec![stream],
            }
        }),
    ),
    row(
        "process_cpu_seconds_total",
        "User and system time.",
        Seconds(|f| f.process.cpu_seconds),
    ),
    row(
        "process_resident_memory_bytes",
        "Memory in RAM.",
        Gauge(|f| f.process.resident_bytes),
    ),
    row(
        "process_virtual_memory_bytes",
        "Address space.",
        Gauge(|f| f.process.virtual_bytes),
    ),
    row("process_threads", "Threads.", Gauge(|f| f.process.threads)),
    row(
        "process_open_fds",
        "Open files.",
        Gauge(|f| f.process.open_files),
    ),
    row(
        "process_max_fds",
        "Limit of open files.",
        Gauge(|f| f.process.files_max),
    ),
    row(
        "process_start_time_seconds",
        "When the server started, Unix time.",
        GaugeSeconds(|f| f.process.started_ms as f64 / 1000.0),
    ),
];
