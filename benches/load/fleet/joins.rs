//! How many streams one node joins in a second: all are announced at once.

use std::time::Instant;

use super::rig::{BOTH, Rig};
use super::streams_a_node;
use crate::table::{Goal, Table};

pub(super) fn joins(table: &Table) {
    let Some(rig) = Rig::start(1) else { return };
    let streams = streams_a_node();
    let (node, own, begun) = (rig.usage(), Rig::zoom_cpu(), Instant::now());
    let talks: Vec<_> = (0..streams)
        .map(|n| rig.begin(&format!("join {n}"), BOTH[n % 2], 1.0))
        .collect();
    talks.iter().for_each(|talk| talk.wait_until_received());
    let took = begun.elapsed().as_secs_f64();
    let each = |seconds: f64| 1000.0 * seconds / streams as f64;
    let (node, own) = (rig.usage().since(&node).cpu_seconds, Rig::zoom_cpu() - own);
    table.row("fleet: joins, streams", streams as f64, 0, Goal::None);
    let rate = streams as f64 / took;
    table.row(
        "fleet: joins a second, one node",
        rate,
        0,
        Goal::Least(100.0),
    );
    table.row("fleet: CPU ms a join, node", each(node), 2, Goal::None);
    table.row("fleet: CPU ms a join, Zoom", each(own), 2, Goal::None);
    rig.end(&talks);
    rig.stop();
}
