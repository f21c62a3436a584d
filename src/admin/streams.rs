//! `/streams`: the status of every running stream, as JSON. Read by `rtmsd status`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::events::Events;
use super::overview::Overview;
use super::process::Process;
use crate::clock::now_ms;
use crate::daemon::status::{StatusSnapshot, StreamStatus};
use crate::delivery::push::EndpointStatus;
use crate::delivery::push::answer::Answer;
use crate::domain::count::Count;
use crate::recorder::path::journal_key;

/// Maximum streams in one answer, the oldest first; the number of the others is given.
pub const STREAMS_MAX: usize = 10_000;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// The version of this format.
    pub v: u32,
    /// The version of the server.
    pub version: String,
    /// When the server started, Unix milliseconds.
    pub started_ms: u64,
    /// The time of this answer, Unix milliseconds.
    pub now_ms: u64,
    /// Why the server is not ready; `None` if it is.
    #[serde(rename = "trouble")]
    pub unready_reason: Option<String>,
    /// Sums since the server started.
    #[serde(default)]
    pub counts: Option<Counts>,
    /// The endpoints of HTTP push, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Vec<Endpoint>>,
    /// The event WebSocket, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// The grants of users, if tokens are theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Accounts>,
    /// The apps, if there may be several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<AppLine>>,
    /// What is in the way of keeping recordings within their limits, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeping: Option<String>,
    /// Number of streams that are not listed because there are too many.
    pub omitted: usize,
    /// The streams, the oldest first.
    pub streams: Vec<Line>,
}

/// Sums since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Webhooks passed on to the daemon.
    pub webhooks_accepted: u64,
    /// Webhooks with a wrong signature or an old timestamp.
    pub webhooks_refused: u64,
    /// REST calls that Zoom accepted.
    pub calls_ok: u64,
    /// REST calls that failed for good, and failed attempts to obtain a token.
    pub calls_failed: u64,
    /// Streams started.
    pub streams_begun: u64,
    /// Connections to Zoom that were lost.
    pub connections_lost: u64,
    /// Records that were not written.
    pub records_dropped: u64,
    /// Streams whose files wait for object storage, or to be deleted there.
    #[serde(default)]
    pub uploads_waiting: u64,
    /// Streams that wait for the program of `RTMS_ON_STREAM_END`, or for its end.
    #[serde(default)]
    pub hooks_waiting: u64,
    /// Programs that were given up after their last try.
    #[serde(default)]
    pub hooks_failed: u64,
}

impl Counts {
    fn add(&mut self, status: &StatusSnapshot) {
        let more = Counts::from_status(status);
        self.webhooks_accepted += more.webhooks_accepted;
        self.webhooks_refused += more.webhooks_refused;
        self.calls_ok += more.calls_ok;
        self.calls_failed += more.calls_failed;
        self.streams_begun += more.streams_begun;
        self.connections_lost += more.connections_lost;
        self.records_dropped += more.records_dropped;
        self.uploads_waiting += more.uploads_waiting;
        self.hooks_waiting += more.hooks_waiting;
        self.hooks_failed += more.hooks_failed;
    }

    fn from_status(status: &StatusSnapshot) -> Counts {
        let webhooks = &status.ingress.webhook;
        let dropped = status.disk.as_ref().map(|disk| disk.dropped.load(Relaxed));
        Counts {
            webhooks_accepted: webhooks.accepted.load(Relaxed),
            webhooks_refused: webhooks.forged.load(Relaxed) + webhooks.stale.load(Relaxed),
            calls_ok: status.api.calls_ok.load(Relaxed),
            calls_failed: status.api.calls_give_up.load(Relaxed)
                + status.api.tokens_failed.load(Relaxed),
            streams_begun: status.totals.begun,
            connections_lost: status.totals.stats.losses_total(),
            records_dropped: dropped.unwrap_or(0),
            uploads_waiting: status.ends.uploads_waiting.load(Relaxed),
            hooks_waiting: status.ends.hooks_waiting.load(Relaxed),
            hooks_failed: status.ends.hooks_failed.load(Relaxed),
        }
    }
}

/// One of several apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppLine {
    /// Its name.
    pub name: String,
    /// `running`, or `disabled` because of a fault.
    pub state: String,
    /// How many streams run.
    pub streams: usize,
    /// Why it is not ready; `None` if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Its event WebSocket, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// The grants of users, if its tokens are theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Accounts>,
    /// What is in the way of keeping its recordings within their limits, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeping: Option<String>,
}

/// An endpoint of HTTP push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its app, if there may be several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Scheme and host of its URL.
    pub host: String,
    /// `ok`, `failing`, `resting`, `paused` or `gone`.
    pub state: String,
    /// Events that are not delivered, unwanted ones included.
    pub lag_events: u64,
    /// Age of the oldest of them, seconds.
    pub lag_s: u64,
    /// Streams with such events.
    pub streams_behind: u64,
    /// Streams whose next request has failed, twenty at most.
    pub blocked: Vec<Blocked>,
    /// The last success, Unix milliseconds.
    pub last_ok_ms: Option<u64>,
    /// The status of the last failure, if it had one.
    pub last_status: Option<u16>,
    /// A word for the last failure without an answer: `timeout`, `connect`, `tls`.
    pub last_error: Option<String>,
    /// Events that were deleted before they were delivered.
    pub expired: u64,
    /// Events that were given up.
    pub skipped: u64,
}

/// A stream whose next request has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Key of its journal.
    pub key: String,
    /// Number of the first event that is not delivered.
    pub seq: u64,
    /// The last status; 0 without an answer.
    pub status: u16,
    /// Failures in a row.
    pub tries: u8,
}

fn endpoint(endpoint: &EndpointStatus, app: Option<&str>) -> Endpoint {
    let report = &endpoint.report;
    let blocked = report.blocked.iter().map(|blocked| Blocked {
        key: blocked.key.to_string(),
        seq: blocked.seq,
        status: blocked.status,
        tries: blocked.tries,
    });
    let last_error = match report.last_failure {
        Some(Answer::None(fault)) => Some(fault.name().to_owned()),
        _ => None,
    };
    Endpoint {
        name: endpoint.name.clone(),
        app: app.map(str::to_owned),
        host: endpoint.host.clone(),
        state: report.state.to_owned(),
        lag_events: report.lag_events,
        lag_s: report.lag_s,
        streams_behind: report.streams_behind,
        blocked: blocked.collect(),
        last_ok_ms: report.last_ok_ms,
        last_status: report.last_failure.and_then(Answer::status),
        last_error,
        expired: report.counts.expired,
        skipped: report.counts.skipped,
    }
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its app, if there may be several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The key of its journal, as in `meta.json`; absent without files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The product's name.
    pub product: String,
    /// The meeting's UUID, or the id of the session, engagement or call.
    pub id: String,
    /// The meeting's number, if known.
    pub meeting_id: Option<String>,
    /// The meeting's topic, if known.
    pub topic: Option<String>,
    /// The user who brought the app into the meeting, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operator_id: Option<String>,
    /// Whether that is the meeting's original host, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_original_host: Option<bool>,
    /// The operator's account, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_id: Option<String>,
    /// `connecting`, `receiving` or `reconnecting`.
    pub state: String,
    /// What the stream waits for; `None` while data flows.
    pub waits_for: Option<String>,
    /// How long it has been running in this process, seconds.
    pub age_s: u64,
    /// Messages and bytes by kind; kinds without messages are left out.
    pub media: BTreeMap<String, Count>,
    /// Media that Zoom did not connect in time; they are retried once a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<String>,
    /// Time of the newest data, Unix milliseconds; `None` before the first.
    pub last_data_ms: Option<u64>,
    /// How often it received data again after a loss.
    pub reconnects: u64,
    /// Lost connections.
    pub losses: u64,
    /// Keep-alives answered.
    pub keep_alives: u64,
}

/// The state of a stream as a word, and what it waits for.
pub(super) fn state(stream: &StreamStatus) -> (&'static str, Option<&'static str>) {
    let stats = &stream.stats;
    match (stream.is_ready, stats.readies) {
        (true, _) if stream.last_data_ms.is_some() => ("receiving", None),
        (true, _) => ("receiving", Some("first data")),
        (false, 1..) => ("reconnecting", Some("a connection to Zoom")),
        (false, 0) if stats.media_connects > 0 => ("connecting", Some("the other media")),
        (false, 0) if stats.signaling_connects > 0 => ("connecting", Some("the media handshake")),
        (false, 0) => ("connecting", Some("the signaling handshake")),
    }
}

impl Streams {
    /// The answer for this status of the server.
    pub(super) fn from_overview(
        overview: &Overview,
        process: &Process,
        unready_reason: Option<String>,
    ) -> Streams {
        let mut counts = Counts::default();
        let (mut streams, mut push) = (Vec::new(), Vec::new());
        for (app, status) in overview.answering() {
            let name = app.name.as_deref();
            counts.add(status);
            let endpoints = status.push.iter().flat_map(|push| &push.endpoints);
            push.extend(endpoints.map(|it| endpoint(it, name)));
            let has_files = status.disk.is_some();
            streams.extend(status.streams.iter().map(|it| (it, name, has_files)));
        }
        // What is signed for no app stands once, in the counters of the listener.
        if let Some((_, first)) = overview.answering().next().filter(|_| overview.is_several) {
            counts.webhooks_refused += first.ingress.unclaimed.forged.load(Relaxed);
        }
        streams.sort_by(|(a, ..), (b, ..)| {
            (a.since, &a.info.stream_id).cmp(&(b.since, &b.info.stream_id))
        });
        let only = overview.answering().next().filter(|_| !overview.is_several);
        Streams {
            v: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: process.started_ms,
            now_ms: now_ms(),
            unready_reason,
            counts: Some(counts),
            push: Some(push).filter(|endpoints| !endpoints.is_empty()),
            events: only.and_then(|(_, status)| Events::from_status(status)),
            accounts: only.and_then(|(_, status)| Accounts::from_status(status)),
            keeping: only.and_then(|(_, status)| status.keeping.as_ref()?.trouble()),
            apps: overview.is_several.then(|| apps(overview, process)),
            omitted: streams.len().saturating_sub(STREAMS_MAX),
            streams: streams
                .iter()
                .take(STREAMS_MAX)
                .map(|(stream, app, has_files)| line(stream, *app, *has_files))
                .collect(),
        }
    }
}

fn apps(overview: &Overview, process: &Process) -> Vec<AppLine> {
    let running = overview.apps.iter().map(|app| AppLine {
        name: app.name.as_deref().unwrap_or_default().to_owned(),
        state: "running".to_owned(),
        streams: app.status.as_ref().map_or(0, |status| status.streams.len()),
        trouble: app.unready_reason(process),
        events: app.status.as_ref().and_then(Events::from_status),
        accounts: app.status.as_ref().and_then(Accounts::from_status),
        keeping: (app.status.as_ref()).and_then(|status| status.keeping.as_ref()?.trouble()),
    });
    let disabled = overview.disabled.iter().map(|name| AppLine {
        name: (**name).to_owned(),
        state: "disabled".to_owned(),
        streams: 0,
        trouble: Some("its configuration has a fault".to_owned()),
        events: None,
        accounts: None,
        keeping: None,
    });
    running.chain(disabled).collect()
}

fn line(stream: &StreamStatus, app: Option<&str>, has_files: bool) -> Line {
    let (info, stats) = (&stream.info, &stream.stats);
    let (state, waits_for) = state(stream);
    let media = stats.by_kind().filter(|(_, count)| count.messages > 0);
    let given_up = stream.given_up.iter();
    Line {
        app: app.map(str::to_owned),
        stream_id: info.stream_id.clone(),
        key: has_files.then(|| journal_key(info).to_string()),
        product: info.product.name().to_owned(),
        id: info.id.clone(),
        meeting_id: info.meeting_id.clone(),
        topic: info.topic.clone(),
        operator_id: info.operator_id.clone(),
        is_original_host: info.is_original_host,
        account_id: info.account_id.clone(),
        state: state.to_owned(),
        waits_for: waits_for.map(str::to_owned),
        age_s: stream.since.elapsed().as_secs(),
        media: media
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect(),
        given_up: given_up.map(|kind| kind.name().to_owned()).collect(),
        last_data_ms: stream.last_data_ms,
        reconnects: stats.readies.saturating_sub(1),
        losses: stats.losses_total(),
        keep_alives: stats.keep_alives,
    }
}
