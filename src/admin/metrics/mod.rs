//! `/metrics`: Prometheus' text format 0.0.4, generated from tables.
//!
//! No meeting, stream or person is ever a label: every label is from a list in this program. Sums
//! over streams include ended streams, so no counter decreases.
//!
//! Where there may be several apps, what belongs to an app has the label `app`; the names come from the
//! configuration, and their number is bounded. What belongs to the process has no such label, and what may
//! belong to either has an empty one there.
//!
//! | file | |
//! | --- | --- |
//! | `metric` | a row: its kind, its labels, whose it is |
//! | `facts` | what rows read |
//! | `page` | writes samples |
//! | the others | the rows, each file about one part of the program |

mod delivery;
mod facts;
mod files;
mod fleet;
mod incoming;
mod metric;
mod page;
mod process;
mod streams;
mod zoom;

use std::fmt::Write;

use super::overview::Overview;
use super::process::Process;
use facts::{Facts, Of};
pub use metric::Metric;

/// All tables, in the order of the page.
const TABLES: [&[Metric]; 7] = [
    process::METRICS,
    incoming::METRICS,
    zoom::METRICS,
    streams::METRICS,
    files::METRICS,
    delivery::METRICS,
    fleet::METRICS,
];

/// Every metric, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    TABLES.into_iter().flatten()
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
    for metric in all() {
        metric.write(&facts, &mut page);
    }
    page
}

/// Every metric as a row of a Markdown table: name, type, labels, meaning.
pub fn table() -> String {
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in all() {
        let (name, kind, help) = (metric.name, metric.kind(), metric.help);
        let labels = metric.labels().join(", ");
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `rtmsd_{name}` | {kind} | {labels} | {help} |");
    }
    table
}
