//! A rolling upgrade: each of three nodes is ended by SIGTERM and started again, one after the other, while
//! all meetings speak. Zoom sends nothing again that it has sent.

use std::time::{Duration, Instant};

use super::rig::{Gaps, Rig, at_share};
use super::streams_a_node;
use crate::table::{Goal, Table};

/// The manual: at the earliest so long after a node is ready comes the next.
const BETWEEN: Duration = Duration::from_secs(10);

pub(super) fn upgrade(table: &Table) {
    roll(table, 100, 5.0);
    roll(table, 3 * streams_a_node(), 1.0);
}

fn roll(table: &Table, meetings: usize, phrases_per_second: f64) {
    let Some(mut rig) = Rig::start(3) else { return };
    let talks = rig.speak("upgrade", meetings, phrases_per_second);
    std::thread::park_timeout(BETWEEN);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for at in 0..3 {
        slowest = slowest.max(rig.terminate(at));
        rig.run(at);
        std::thread::park_timeout(BETWEEN);
    }
    let mut gaps = Gaps::since(begun, &talks);
    let comparison = rig.end(&talks);
    let row = |what: &str| format!("fleet: upgrade of {meetings}, {what}");
    let moves = gaps.seconds.len() as f64;
    table.row(&row("moves"), moves, 0, Goal::None);
    table.row(&row("not received"), gaps.open as f64, 0, Goal::Most(0.0));
    for (what, share, goal) in [("p50", 0.5, 0.5), ("p99", 0.99, 2.0), ("most", 1.0, 2.0)] {
        let gap = at_share(&mut gaps.seconds, share);
        table.row(&row(&format!("gap {what}, s")), gap, 3, Goal::Most(goal));
    }
    let slowest = slowest.as_secs_f64();
    table.row(&row("slowest hand-over, s"), slowest, 1, Goal::Most(30.0));
    table.row(&row("phrases"), comparison.sent as f64, 0, Goal::None);
    table.row(&row("lost"), comparison.lost as f64, 0, Goal::Most(0.0));
    table.row(
        &row("double"),
        comparison.doubled as f64,
        0,
        Goal::Most(0.0),
    );
    rig.stop();
}
