//! `/metrics`: Prometheus' text format 0.0.4, written by hand.
//!
//! No meeting, stream or person is ever a label: every label here comes from a list in this
//! program. Sums over streams keep what ended streams counted, so no counter goes down.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::process::Process;
use super::streams;
use crate::daemon::status::{KINDS, Status, Totals, kind_name};
use crate::domain::zoom_event::ACCOUNT_LABELS;
use crate::gate;
use crate::gate::{BUCKET_ENDS_US, Histogram};
use crate::protocol::Loss;
use crate::source::webhook::respond;
use crate::zoom_api;
use crate::zoom_api::Kind;

/// The whole page.
pub fn text(status: &Status, process: &Process, is_ready: bool) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    build(&mut page, is_ready);
    webhooks(&mut page, &status.edge.webhook);
    gate(&mut page, &status.edge.gate);
    rest(&mut page, &status.api);
    streams_(&mut page, status);
    sums(&mut page, &status.totals);
    sinks(&mut page, status);
    process_(&mut page, process);
    page.0
}

/// The text, family by family.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(
            self.0,
            "# HELP rtmsd_{name} {help}\n# TYPE rtmsd_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "rtmsd_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let mark = if at == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{mark}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counters<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        self.family(name, "counter", help);
        for (text, value) in values {
            self.sample(name, &[(label, text)], value);
        }
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn build(page: &mut Page, is_ready: bool) {
    page.family("build_info", "gauge", "The version that runs.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("ready", "Whether /readyz answers 200.", u8::from(is_ready));
}

fn webhooks(page: &mut Page, counters: &respond::Counters) {
    page.counters(
        "webhooks_total",
        "Requests at the webhook listener by what was made of them.",
        "result",
        [
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
        ],
    );
}

fn gate(page: &mut Page, counters: &gate::Counters) {
    histogram(
        page,
        "webhook_ack_seconds",
        "From the last byte of a webhook to its answer.",
        &counters.ack,
    );
    page.counter(
        "gate_connections_total",
        "Connections accepted by the webhook listener.",
        load(&counters.accepted),
    );
    page.counters(
        "gate_refused_total",
        "Requests that the gate refused by itself, by status code.",
        "code",
        [
            ("400", load(&counters.refused_400)),
            ("405", load(&counters.refused_405)),
            ("408", load(&counters.refused_408)),
            ("411", load(&counters.refused_411)),
            ("413", load(&counters.refused_413)),
            ("417", load(&counters.refused_417)),
            ("431", load(&counters.refused_431)),
            ("503", load(&counters.refused_503)),
            ("505", load(&counters.refused_505)),
        ],
    );
    page.counters(
        "gate_closed_total",
        "Connections that ended without a request, or without their answer taken.",
        "cause",
        [
            ("evicted", load(&counters.evicted)),
            ("silent", load(&counters.silent)),
            ("abandoned", load(&counters.abandoned)),
            ("tls", load(&counters.tls_failures)),
            ("unread_answer", load(&counters.unread_answers)),
        ],
    );
    for (name, help, value) in [
        (
            "gate_accept_errors_total",
            "Failed attempts to accept a connection.",
            &counters.accept_errors,
        ),
        (
            "gate_inner_failures_total",
            "Times the server behind the gate was found dead or silent.",
            &counters.inner_failures,
        ),
        (
            "gate_inner_rebuilds_total",
            "Times the server behind the gate was built anew.",
            &counters.inner_rebuilds,
        ),
    ] {
        page.counter(name, help, load(value));
    }
}

fn histogram(page: &mut Page, name: &str, help: &str, histogram: &Histogram) {
    page.family(name, "histogram", help);
    let bucket = format!("{name}_bucket");
    let mut sum = 0;
    for (count, end) in histogram.buckets.iter().zip(BUCKET_ENDS_US) {
        sum += load(count);
        page.sample(&bucket, &[("le", &seconds(end).to_string())], sum);
    }
    // Read once: the last bucket and the count must be the same number.
    sum += histogram.buckets.last().map_or(0, load);
    page.sample(&bucket, &[("le", "+Inf")], sum);
    page.sample(
        &format!("{name}_sum"),
        &[],
        seconds(load(&histogram.sum_us)),
    );
    page.sample(&format!("{name}_count"), &[], sum);
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn rest(page: &mut Page, counters: &zoom_api::Counters) {
    page.counters(
        "rest_calls_total",
        "REST calls by how they ended: ok, retry (tried again), refresh (token renewed), give_up.",
        "class",
        [
            ("ok", load(&counters.calls_ok)),
            ("retry", load(&counters.calls_retry)),
            ("refresh", load(&counters.calls_refresh)),
            ("give_up", load(&counters.calls_give_up)),
        ],
    );
    page.counters(
        "tokens_total",
        "Attempts to obtain an access token by result.",
        "result",
        [
            ("fetched", load(&counters.tokens_fetched)),
            ("failed", load(&counters.tokens_failed)),
        ],
    );
    page.counters(
        "rest_errors_total",
        "Failed REST calls and token fetches by what went wrong.",
        "kind",
        Kind::all().map(|kind| (kind.name(), counters.errors(kind))),
    );
}

fn streams_(page: &mut Page, status: &Status) {
    page.family("streams", "gauge", "Streams that run, by state.");
    for state in ["connecting", "receiving", "reconnecting"] {
        let is_in = |stream: &&_| {
            let stream: &crate::daemon::status::StreamStatus = stream;
            streams::state(&stream.stats).0 == state
        };
        let count = status.streams.iter().filter(is_in).count();
        page.sample("streams", &[("state", state)], count);
    }
    page.gauge(
        "inbox_length",
        "Webhooks and outcomes that wait for the daemon.",
        status.inbox_len,
    );
}

fn sums(page: &mut Page, totals: &Totals) {
    page.counter("streams_begun_total", "Streams begun.", totals.begun);
    page.counter(
        "streams_rejoined_total",
        "Streams taken over from an earlier process.",
        totals.rejoined,
    );
    const ENDS: [&str; 9] = [
        "stopped",
        "refused",
        "nothing_granted",
        "lost",
        "closed",
        "left",
        "panicked",
        "bad_url",
        "no_resources",
    ];
    let of = |map: &std::collections::BTreeMap<&str, u64>, word| map.get(word).copied();
    page.counters(
        "streams_ended_total",
        "Streams ended, by reason.",
        "reason",
        ENDS.map(|word| (word, of(&totals.ended, word).unwrap_or(0))),
    );
    page.counters(
        "account_events_total",
        "Webhooks that tell of the account or the app, and not of one stream.",
        "event",
        ACCOUNT_LABELS.map(|word| (word, of(&totals.account, word).unwrap_or(0))),
    );
    page.counters(
        "connects_total",
        "Accepted handshakes.",
        "link",
        ["signaling", "media"].into_iter().zip(totals.connects),
    );
    page.counter(
        "ready_total",
        "Times that data began to flow; beyond those begun, after a reconnection.",
        totals.readies,
    );
    page.counters(
        "connections_lost_total",
        "Connections to Zoom that were lost, by cause.",
        "cause",
        Loss::LABELS.map(|label| (label, of(&totals.losses, label).unwrap_or(0))),
    );
    page.counter(
        "keep_alives_total",
        "Keep-alives answered.",
        totals.keep_alives,
    );
    page.gauge(
        "keep_alive_worst_seconds",
        "Longest time from a keep-alive's arrival to its answer since the start.",
        seconds(totals.keep_alive_worst_us),
    );
    let by_kind = |of: fn(&(u64, u64)) -> u64| {
        let values = totals.media.iter().map(of);
        KINDS.iter().map(|&kind| kind_name(kind)).zip(values)
    };
    page.counters(
        "messages_total",
        "Messages received, by kind of media.",
        "media",
        by_kind(|count| count.0),
    );
    page.counters(
        "message_bytes_total",
        "Bytes of these messages as they came, without frames and TLS.",
        "media",
        by_kind(|count| count.1),
    );
    page.counters(
        "messages_odd_total",
        "Messages that were not taken: phrases that came twice, unknown types, unreadable ones.",
        "kind",
        [
            ("repeated", totals.repeated),
            ("unknown", totals.unknown),
            ("malformed", totals.malformed),
            ("oversize", totals.oversize),
            ("blank", totals.blank),
        ],
    );
}

fn sinks(page: &mut Page, status: &Status) {
    let disk = status.disk.as_deref();
    let of = |count: fn(&crate::recorder::disk::DiskCounters) -> u64| disk.map_or(0, count);
    page.gauge(
        "sink_waiting_bytes",
        "Bytes of records that wait for the disk.",
        of(|disk| disk.waiting_bytes.load(Relaxed) as u64),
    );
    page.counter(
        "disk_records_total",
        "Records written to files.",
        of(|disk| load(&disk.records)),
    );
    page.counter(
        "disk_errors_total",
        "Failed attempts to write files.",
        of(|disk| load(&disk.errors)),
    );
    page.gauge(
        "disk_troubled_streams",
        "Streams whose files cannot be written at present.",
        of(|disk| load(&disk.troubled)),
    );
    page.gauge(
        "state_troubled",
        "Whether what a restart needs cannot be written to RTMS_STATE.",
        u8::from(status.is_state_troubled),
    );
    let stdout = status.stdout_dropped.as_deref().map_or(0, load);
    page.counters(
        "sink_dropped_total",
        "Records that were lost because a sink did not keep up.",
        "sink",
        [("disk", of(|disk| load(&disk.dropped))), ("stdout", stdout)],
    );
    let streams = status.totals.ended.get("panicked").copied().unwrap_or(0);
    page.counters(
        "panics_total",
        "Panics that were caught; each is a bug.",
        "where",
        [
            ("gate", load(&status.edge.gate.panics)),
            ("stream", streams),
        ],
    );
}

fn process_(page: &mut Page, process: &Process) {
    page.counter(
        "process_cpu_seconds_total",
        "User and system time.",
        process.cpu_seconds,
    );
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Memory in RAM.",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Address space.",
            process.virtual_bytes,
        ),
        ("process_threads", "Threads.", process.threads),
        ("process_open_fds", "Open files.", process.open_files),
        (
            "process_max_fds",
            "Files that may be open.",
            process.files_max,
        ),
    ] {
        page.gauge(name, help, value);
    }
    page.gauge(
        "process_start_time_seconds",
        "When the server started, Unix time.",
        process.started_ms as f64 / 1000.0,
    );
}
