//! One node with a fleet beside a server without one: the same streams.

use std::time::Duration;

use super::rig::Rig;
use super::streams_a_node;
use crate::number;
use crate::process::Usage;
use crate::table::{Goal, Table};

/// Until joining is over.
const BEFORE: Duration = Duration::from_secs(10);

pub(super) fn costs(table: &Table) {
    let Some(alone) = Rig::start_alone().map(measure) else {
        return;
    };
    let Some(node) = Rig::start(1).map(measure) else {
        return;
    };
    table.row(
        "fleet: costs, streams",
        streams_a_node() as f64,
        0,
        Goal::None,
    );
    table.row("fleet: RSS without, MiB", alone.rss_mib, 1, Goal::None);
    let rss = node.rss_mib - alone.rss_mib;
    table.row("fleet: RSS more with one, MiB", rss, 1, Goal::Most(4.0));
    let share = |usage: &Usage| 100.0 * usage.cpu_seconds / seconds() as f64;
    table.row(
        "fleet: CPU without, % of a core",
        share(&alone),
        2,
        Goal::None,
    );
    let more = share(&node) - share(&alone);
    table.row("fleet: CPU more with one, %", more, 2, Goal::Most(2.0));
}

fn seconds() -> u64 {
    number("RTMSD_BENCH_SECONDS", 30)
}

fn measure(rig: Rig) -> Usage {
    let talks = rig.speak("costs", streams_a_node(), 1.0);
    std::thread::park_timeout(BEFORE);
    let before = rig.usage();
    std::thread::park_timeout(Duration::from_secs(seconds()));
    let used = rig.usage().since(&before);
    rig.end(&talks);
    rig.stop();
    used
}
