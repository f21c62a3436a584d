//! The disk: what is written, kept and removed, and what follows the end of a stream.

use std::sync::atomic::Ordering::Relaxed;

use super::facts::load;
use super::metric::Metric;
use super::metric::Value::{Count, Counts, Gauge, Gauges};
use super::metric::row;

/// What is removed for people has metrics of its own.
const FORGOTTEN: &str = crate::recorder::removal::Reason::Forgotten.name();

pub(super) const METRICS: &[Metric] = &[
    row(
        "sink_waiting_bytes",
        "Bytes of records that wait for the disk.",
        Gauge(|f| f.disk(|disk| disk.waiting_bytes.load(Relaxed) as u64)),
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
        "forgetting_waiting",
        "Requests to forget (rtmsd forget, or an account that removed the app) that are not complete.",
        Gauge(|f| load(&f.status.forgetting.waiting)),
    ),
    row(
        "forgetting_total",
        "Requests to forget by result: done, failed (an attempt that is made again), ambiguous (it means several people, and was dropped).",
        Counts("result", |f| {
            let forgetting = &f.status.forgetting;
            vec![
                ("done", load(&forgetting.done)),
                ("failed", load(&forgetting.failed)),
                ("ambiguous", load(&forgetting.ambiguous)),
            ]
        }),
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
];
