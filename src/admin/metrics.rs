//! `/metrics`: Prometheus' text format 0.0.4, generated from one table.
//!
//! No meeting, stream or person is ever a label: every label is from a list in this program. Sums
//! over streams include ended streams, so no counter decreases.
//!
//! Where there may be several apps, what belongs to an app has the label `app`; the names come from the
//! configuration, and their number is bounded. What belongs to the process has no such label, and what may
//! belong to either has an empty one there.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::overview::Overview;
use super::process::Process;
use super::streams;
use crate::daemon::fleet_status::FleetStatus;
use crate::daemon::status::StatusSnapshot;
use crate::delivery::live;
use crate::delivery::push::PushStatus;
use crate::delivery::push::machine::Report;
use crate::domain::count::Count as MessageCount;
use crate::domain::histogram::Histogram;
use crate::domain::zoom_event::ACCOUNT_LABELS;
use crate::gate;
use crate::keeping;
use crate::protocol::Loss;
use crate::recorder::disk::DiskCounters;
use crate::source::events::State;
use crate::source::webhook::server;
use crate::stream::StatsSnapshot;
use crate::zoom_api;
use crate::zoom_api::{GrantState, Kind};
use Value::{Count, Counts, Gauge, GaugeSeconds, Gauges, Seconds};

/// One metric: a row of the page, with any number of samples.
#[derive(Debug)]
pub struct Metric {
    /// Its name, without `rtmsd_` in front.
    pub name: &'static str,
    /// What it counts, in a sentence.
    pub help: &'static str,
    value: Value,
}

/// How a metric is read: a counter only grows, a gauge goes up and down.
#[derive(Debug)]
enum Value {
    Count(fn(&Facts<'_>) -> u64),
    /// A counter with a fraction: seconds.
    Seconds(fn(&Facts<'_>) -> f64),
    /// Counters that differ in one label.
    Counts(&'static str, Samples),
    Gauge(fn(&Facts<'_>) -> u64),
    GaugeSeconds(fn(&Facts<'_>) -> f64),
    Gauges(&'static str, Samples),
    Histogram(for<'a> fn(&Facts<'a>) -> &'a Histogram),
    /// Counters and gauges of the endpoints of HTTP push. Without endpoints nothing is on the page.
    PushCounts(PushSamples),
    PushGauges(PushSamples),
    PushSeconds,
    /// Counters and gauges of a node of a fleet. Without a fleet nothing is on the page.
    FleetCounts(&'static str, FleetSamples),
    FleetGauges(&'static str, FleetSamples),
}

/// Values of a label, or one number with an empty one.
type FleetSamples = fn(&FleetStatus) -> Vec<(&'static str, u64)>;

/// Numbers of one endpoint, with further labels: `,result="delivered"`, or nothing.
type PushSamples = fn(&Report) -> Vec<(&'static str, u64)>;

/// Values of a label, each with its number.
type Samples = fn(&Facts<'_>) -> Vec<(&'static str, u64)>;

/// What all metrics are read from.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    of: Of<'a>,
    status: &'a StatusSnapshot,
    process: &'a Process,
    live: &'a live::Counters,
    is_ready: bool,
}

/// What the facts are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of<'a> {
    /// The process and its only app.
    Both,
    /// The process, where there may be several apps.
    Process,
    /// One of several apps.
    App(&'a str),
}

/// Whose a metric is, where there may be several apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Process,
    App,
    /// Some of its samples are those of an app.
    Either,
}

impl<'a> Facts<'a> {
    /// Those of no app, if this is about the process.
    fn webhook(&self) -> &'a server::Counters {
        match self.of {
            Of::Process => &self.status.ingress.unclaimed,
            _ => &self.status.ingress.webhook,
        }
    }

    fn gate(&self) -> &'a gate::Counters {
        &self.status.ingress.gate
    }

    fn rest(&self) -> &'a zoom_api::Counters {
        &self.status.api
    }

    /// Zero if no files are written.
    fn disk(&self, count: fn(&DiskCounters) -> u64) -> u64 {
        self.status.disk.as_deref().map_or(0, count)
    }

    /// Zeros if no rule is set.
    fn keeping(&self) -> Arc<keeping::Counters> {
        self.status.keeping.clone().unwrap_or_default()
    }

    /// `None` without endpoints.
    fn push(&self) -> Option<&'a PushStatus> {
        let push = self.status.push.as_ref();
        push.filter(|push| !push.endpoints.is_empty())
    }

    fn stats(&self) -> &'a StatsSnapshot {
        &self.status.totals.stats
    }

    fn by_kind(&self, value: fn(MessageCount) -> u64) -> Vec<(&'static str, u64)> {
        let kinds = self.stats().by_kind();
        kinds.map(|(kind, count)| (kind, value(count))).collect()
    }
}

/// What is removed for people has metrics of its own.
const FORGOTTEN: &str = crate::recorder::removal::Reason::Forgotten.name();

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

/// Every metric, in the order of the page.
pub const METRICS: &[Metric] = &[
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
        Value::Histogram(|f| &f.gate().ack),
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
        "rest_calls_total",
        "REST calls by result: ok, retry (tried again), refresh (token renewed), give_up.",
        Counts("class", |f| {
            let counters = f.rest();
            vec![
                ("ok", load(&counters.calls_ok)),
                ("retry", load(&counters.calls_retry)),
                ("refresh", load(&counters.calls_refresh)),
                ("give_up", load(&counters.calls_give_up)),
            ]
        }),
    ),
    row(
        "tokens_total",
        "Attempts to obtain an access token by result.",
        Counts("result", |f| {
            let counters = f.rest();
            vec![
                ("fetched", load(&counters.tokens_fetched)),
                ("failed", load(&counters.tokens_failed)),
            ]
        }),
    ),
    row(
        "rest_errors_total",
        "Failed REST calls and token fetches, by kind of error.",
        Counts("kind", |f| {
            let of = |kind: Kind| (kind.name(), f.rest().errors(kind));
            Kind::all().map(of).collect()
        }),
    ),
    row(
        "grants",
        "Users who have authorized the app, by the state of their grant.",
        Gauges("state", |f| {
            let grants = f.status.grants.iter().flatten();
            let states: Vec<GrantState> = grants.map(|grant| grant.state).collect();
            let count = |state| states.iter().filter(|found| **found == state).count() as u64;
            let all = GrantState::ALL;
            all.map(|state| (state.name(), count(state))).to_vec()
        }),
    ),
    row(
        "accounts_without_grant",
        "Accounts whose calls could not be made, because no user of theirs has authorized the app.",
        Gauge(|f| f.status.accounts_without_grant.len() as u64),
    ),
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
        "inbox_length",
        "Webhooks and outcomes that wait for the daemon.",
        Gauge(|f| f.status.inbox_len as u64),
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
        "account_events_total",
        "Webhooks about the account or the app, not about one stream.",
        Counts("event", |f| {
            by_word(&ACCOUNT_LABELS, &f.status.totals.account)
        }),
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
    row(
        "sink_waiting_bytes",
        "Bytes of records that wait for the disk.",
        Gauge(|f| f.disk(|disk| disk.waiting_bytes.load(Relaxed) as u64)),
    ),
    row(
        "disk_records_total",
        "Records written to files.",
        Count(|f| f.disk(|disk| load(&disk.records))),
    ),
    row(
        "journal_lines_total",
        "Lines written to the journals of streams and server.",
        Count(|f| f.disk(|disk| load(&disk.journal_lines))),
    ),
    row(
        "disk_errors_total",
        "Failed attempts to write files.",
        Count(|f| f.disk(|disk| load(&disk.errors))),
    ),
    row(
        "disk_troubled_streams",
        "Streams whose files cannot be written at present.",
        Gauge(|f| f.disk(|disk| load(&disk.failing_streams))),
    ),
    row(
        "uploads_waiting",
        "Streams whose files wait for object storage, or to be deleted there.",
        Gauge(|f| load(&f.status.ends.uploads_waiting)),
    ),
    row(
        "upload_bytes_total",
        "Bytes of files sent to object storage.",
        Count(|f| load(&f.status.ends.upload_bytes)),
    ),
    row(
        "uploads_total",
        "Uploads of streams by result: ok, error (an attempt that is made again), deleted (after consent was withdrawn).",
        Counts("result", |f| {
            let ends = &f.status.ends;
            vec![
                ("ok", load(&ends.uploads_fine)),
                ("error", load(&ends.uploads_failed)),
                ("deleted", load(&ends.uploads_deleted)),
            ]
        }),
    ),
    row(
        "pruned_streams_total",
        "Streams, or the sound or pictures of one, that were removed by RTMS_KEEP* or RTMS_DISK_*, by reason.",
        Counts("reason", |f| {
            let keeping = f.keeping();
            keeping.removals().filter(|it| it.0 != FORGOTTEN).collect()
        }),
    ),
    row(
        "pruned_bytes_total",
        "Disk space that this has set free, by reason.",
        Counts("reason", |f| {
            let keeping = f.keeping();
            keeping
                .removed_bytes()
                .filter(|it| it.0 != FORGOTTEN)
                .collect()
        }),
    ),
    row(
        "recordings_held",
        "Streams that should be removed and are kept: open (they run), push (an endpoint has not had all), ends (an upload or program waits).",
        Gauges("reason", |f| f.keeping().held().collect()),
    ),
    row(
        "recordings_bytes",
        "Disk space that everything below RTMS_OUT takes, as last looked at; 0 without RTMS_KEEP* and RTMS_DISK_*.",
        Gauge(|f| f.keeping().used()),
    ),
    row(
        "recordings_over_bytes",
        "By how much that is above RTMS_DISK_MAX, or free space below RTMS_DISK_FREE_MIN, though all that may go is gone.",
        Gauge(|f| f.keeping().short()),
    ),
    row(
        "hooks_waiting",
        "Streams that wait for the program of RTMS_ON_STREAM_END, or for its end.",
        Gauge(|f| load(&f.status.ends.hooks_waiting)),
    ),
    row(
        "hooks_total",
        "Runs of RTMS_ON_STREAM_END by result: ok, retry (run again), failed (given up).",
        Counts("result", |f| {
            let ends = &f.status.ends;
            vec![
                ("ok", load(&ends.hooks_fine)),
                ("retry", load(&ends.hooks_retried)),
                ("failed", load(&ends.hooks_failed)),
            ]
        }),
    ),
    row(
        "state_troubled",
        "Whether the state that a restart needs cannot be written to RTMS_STATE.",
        Gauge(|f| f.status.is_state_failing.into()),
    ),
    row(
        "sink_dropped_total",
        "Records that were dropped because a sink was too slow.",
        Counts("sink", |f| {
            let disk = f.disk(|disk| load(&disk.dropped));
            let stdout = f.status.stdout_dropped.as_deref().map_or(0, load);
            vec![("disk", disk), ("stdout", stdout)]
        }),
    ),
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
        Value::PushGauges(|report| vec![("", report.lag_events)]),
    ),
    row(
        "push_lag_seconds",
        "Age of the oldest event that an endpoint has not taken.",
        Value::PushGauges(|report| vec![("", report.lag_s)]),
    ),
    row(
        "push_paused",
        "Whether an endpoint gets nothing, because it was paused or is gone.",
        Value::PushGauges(|report| {
            let is_paused = matches!(report.state, "paused" | "gone");
            vec![("", is_paused.into())]
        }),
    ),
    row(
        "push_requests_total",
        "Requests to endpoints by what was made of the answer.",
        Value::PushCounts(|report| {
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
        Value::PushCounts(|report| vec![("", report.counts.events)]),
    ),
    row(
        "push_expired_total",
        "Events that were deleted before an endpoint took them.",
        Value::PushCounts(|report| vec![("", report.counts.expired)]),
    ),
    row(
        "push_skipped_total",
        "Events that an endpoint refused until RTMS_PUSH_GIVE_UP.",
        Value::PushCounts(|report| vec![("", report.counts.skipped)]),
    ),
    row(
        "push_seconds",
        "How long requests to endpoints took.",
        Value::PushSeconds,
    ),
    row(
        "fleet_sure",
        "Whether this node has reached the fleet's store within the last four seconds.",
        Value::FleetGauges("", |fleet| vec![("", (fleet.state == "sure").into())]),
    ),
    row(
        "fleet_nodes",
        "Nodes of the fleet, as this one sees them.",
        Value::FleetGauges("state", |fleet| fleet.nodes().to_vec()),
    ),
    row(
        "fleet_meetings",
        "Meetings that this node holds in the fleet.",
        Value::FleetGauges("", |fleet| vec![("", fleet.meetings)]),
    ),
    row(
        "fleet_intents",
        "Webhooks that were answered here and are not with their node yet.",
        Value::FleetGauges("", |fleet| vec![("", fleet.intents)]),
    ),
    row(
        "fleet_settings_differ",
        "Living nodes whose secrets or way to tokens are not those of this one.",
        Value::FleetGauges("", |fleet| vec![("", fleet.differing)]),
    ),
    row(
        "fleet_store_down_seconds",
        "How long the fleet's store has not been reached; 0 while it is.",
        Value::FleetGauges("", |fleet| {
            vec![("", fleet.down_for.map_or(0, |time| time.as_secs()))]
        }),
    ),
    row(
        "fleet_store_errors_total",
        "What went wrong at the fleet's store: connections not made or lost, calls without an answer in time, refused, or beyond the queue.",
        Value::FleetCounts("kind", |fleet| fleet.store_errors.to_vec()),
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

const fn row(name: &'static str, help: &'static str, value: Value) -> Metric {
    Metric { name, help, value }
}

/// The whole page.
pub(super) fn text(overview: &Overview, process: &Process) -> String {
    let facts = overview.answering().map(|(app, status)| Facts {
        of: match &app.name {
            Some(name) => Of::App(name),
            None => Of::Both,
        },
        status,
        process,
        live: &app.live,
        is_ready: app.unready_reason(process).is_none(),
    });
    let mut facts: Vec<Facts<'_>> = facts.collect();
    if overview.is_several
        && let Some(first) = facts.first()
    {
        // Of the first app, what is of the process is read; all share it.
        let of = Of::Process;
        facts.insert(0, Facts { of, ..*first });
    }
    let mut page = String::with_capacity(16 << 10);
    for metric in METRICS {
        metric.write(&facts, &mut page);
    }
    page
}

/// Every metric as a row of a Markdown table: name, type, labels, meaning.
pub fn table() -> String {
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in METRICS {
        let (name, kind, help) = (metric.name, metric.kind(), metric.help);
        let labels = metric.labels().join(", ");
        let _ = writeln!(table, "| `rtmsd_{name}` | {kind} | {labels} | {help} |");
    }
    table
}

impl Metric {
    /// The names of its labels; `le` of histograms is left out.
    fn labels(&self) -> Vec<&'static str> {
        match self.value {
            Counts(label, _) | Gauges(label, _) => vec![label],
            Value::FleetCounts(label, _) | Value::FleetGauges(label, _) => {
                Vec::from_iter((!label.is_empty()).then_some(label))
            }
            Value::PushCounts(values) | Value::PushGauges(values) => {
                let first = values(&Report::default())
                    .first()
                    .map(|(labels, _)| *labels);
                let further = first.and_then(|labels| labels.strip_prefix(',')?.split('=').next());
                std::iter::once("endpoint").chain(further).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Prometheus' name of the type.
    fn kind(&self) -> &'static str {
        match self.value {
            Count(_) | Seconds(_) | Counts(..) => "counter",
            Gauge(_) | GaugeSeconds(_) | Gauges(..) => "gauge",
            Value::PushCounts(_) | Value::FleetCounts(..) => "counter",
            Value::PushGauges(_) | Value::FleetGauges(..) => "gauge",
            Value::Histogram(_) | Value::PushSeconds => "histogram",
        }
    }

    fn owner(&self) -> Owner {
        let begins = ["process_", "gate_"];
        match self.name {
            "build_info" | "webhook_ack_seconds" => Owner::Process,
            "webhooks_total" | "panics_total" => Owner::Either,
            name if begins.iter().any(|begin| name.starts_with(begin)) => Owner::Process,
            _ => Owner::App,
        }
    }

    /// Whether it is read from facts about that.
    fn is_read_from(&self, of: Of<'_>) -> bool {
        match of {
            Of::Both => true,
            Of::Process => self.owner() != Owner::App,
            Of::App(_) => self.owner() != Owner::Process,
        }
    }

    fn write(&self, facts: &[Facts<'_>], page: &mut String) {
        let is_of_push = matches!(
            self.value,
            Value::PushCounts(_) | Value::PushGauges(_) | Value::PushSeconds
        );
        let has_push = |facts: &Facts<'_>| facts.push().is_some();
        let is_of_fleet = matches!(self.value, Value::FleetCounts(..) | Value::FleetGauges(..));
        let facts = facts.iter().filter(|facts| self.is_read_from(facts.of));
        let facts = facts.filter(|facts| !is_of_push || has_push(facts));
        let facts = facts.filter(|facts| !is_of_fleet || facts.status.fleet.is_some());
        let facts: Vec<&Facts<'_>> = facts.collect();
        if facts.is_empty() {
            return;
        }
        let Metric { name, help, .. } = self;
        let kind = self.kind();
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "# HELP rtmsd_{name} {help}\n# TYPE rtmsd_{name} {kind}\n"
        );
        for facts in facts {
            let app = match facts.of {
                Of::App(name) => Some(name),
                Of::Process if self.owner() == Owner::Either => Some(""),
                _ => None,
            };
            self.write_samples(facts, &mut Page { text: page, app });
        }
    }

    fn write_samples(&self, facts: &Facts<'_>, page: &mut Page<'_>) {
        let name = self.name;
        match &self.value {
            Count(value) | Gauge(value) => page.sample(name, "", value(facts)),
            Seconds(value) | GaugeSeconds(value) => page.sample(name, "", value(facts)),
            Counts(label, values) | Gauges(label, values) => {
                for (text, value) in values(facts) {
                    page.sample(name, &format!("{label}=\"{text}\""), value);
                }
            }
            Value::Histogram(value) => page.histogram(name, value(facts)),
            Value::PushCounts(values) | Value::PushGauges(values) => {
                for endpoint in facts.push().iter().flat_map(|push| &push.endpoints) {
                    for (labels, value) in values(&endpoint.report) {
                        // A name is of letters and digits, so it needs no escape.
                        let labels = format!("endpoint=\"{}\"{labels}", endpoint.name);
                        page.sample(name, &labels, value);
                    }
                }
            }
            Value::FleetCounts(label, values) | Value::FleetGauges(label, values) => {
                for (text, value) in facts.status.fleet.iter().flat_map(values) {
                    let labels = match label.is_empty() {
                        true => String::new(),
                        false => format!("{label}=\"{text}\""),
                    };
                    page.sample(name, &labels, value);
                }
            }
            Value::PushSeconds => {
                if let Some(push) = facts.push() {
                    page.histogram(name, push.seconds());
                }
            }
        }
    }
}

/// The page while samples of one app are written.
struct Page<'a> {
    text: &'a mut String,
    /// The value of the label `app`, if samples have it.
    app: Option<&'a str>,
}

impl Page<'_> {
    /// Label values are words of this program or names of apps, which need no escape.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let app = self.app.map(|app| format!("app=\"{app}\""));
        let labels = app
            .into_iter()
            .chain((!labels.is_empty()).then(|| labels.to_owned()));
        let labels: Vec<String> = labels.collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "rtmsd_{name}{labels} {value}");
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        // Each is read once, because the last bucket and the count must be equal.
        let mut sum = 0;
        for (end, count) in histogram.counts() {
            sum += count;
            let end = end.map_or("+Inf".to_owned(), |end| seconds(end).to_string());
            self.sample(&bucket, &format!("le=\"{end}\""), sum);
        }
        self.sample(&format!("{name}_sum"), "", seconds(histogram.sum_us()));
        self.sample(&format!("{name}_count"), "", sum);
    }
}

/// Zero for a word that was never counted.
fn by_word(
    words: &[&'static str],
    counts: &BTreeMap<&'static str, u64>,
) -> Vec<(&'static str, u64)> {
    let count = |word: &&'static str| (*word, counts.get(word).copied().unwrap_or(0));
    words.iter().map(count).collect()
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
