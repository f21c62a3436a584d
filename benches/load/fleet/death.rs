//! SIGKILL of a node: until the others receive all that it had. Zoom says by webhook that it has lost its
//! connections, or says nothing.

use std::time::{Duration, Instant};

use super::rig::{BOTH, Rig, at_share};
use super::streams_a_node;
use crate::MINUTE;
use crate::table::{Goal, Table};

/// Data flows for so long before it.
const BEFORE: Duration = Duration::from_secs(10);

pub(super) fn death(table: &Table) {
    for (name, is_silent) in [("killed, told", false), ("killed, untold", true)] {
        kill_one(table, name, is_silent);
    }
}

fn kill_one(table: &Table, name: &str, is_silent: bool) {
    let Some(mut rig) = Rig::start(3) else { return };
    rig.is_loss_silent = is_silent;
    let row = |what: &str| format!("fleet: {name}, {what}");
    let talks = rig.speak("death", 3 * streams_a_node(), 1.0);
    std::thread::park_timeout(BEFORE);
    let owners = rig.owners(&talks);
    let count = |at: usize| owners.iter().filter(|owner| **owner == at).count();
    let dead = (0..3).max_by_key(|at| count(*at)).expect("three nodes");
    let orphans = talks.iter().zip(&owners);
    let orphans: Vec<_> = orphans.filter(|(_, owner)| **owner == dead).collect();
    rig.kill(dead);
    let (killed, nodes, own) = (Instant::now(), rig.usage(), Rig::zoom_cpu());
    let mut waits = [Vec::new(), Vec::new()];
    let mut missing = 0;
    for (talk, _) in &orphans {
        let kind = BOTH.iter().position(|kind| *kind == talk.duplicates());
        match talk.received_after(killed, killed + MINUTE) {
            Some(at) => waits[kind.expect("one of both")].push((at - killed).as_secs_f64()),
            None => missing += 1,
        }
    }
    let share = |seconds: f64| 100.0 * seconds / killed.elapsed().as_secs_f64();
    let shares = (
        share(rig.usage().since(&nodes).cpu_seconds),
        share(Rig::zoom_cpu() - own),
    );
    table.row(&row("streams"), orphans.len() as f64, 0, Goal::None);
    table.row(&row("not back"), f64::from(missing), 0, Goal::Most(0.0));
    for (kind, waits) in ["displacing", "refusing"].into_iter().zip(&mut waits) {
        for (what, of, goal) in [
            ("p50", 0.5, Goal::None),
            ("p99", 0.99, Goal::Most(10.0)),
            ("all", 1.0, Goal::Most(20.0)),
        ] {
            let row = row(&format!("{kind}, {what}, s"));
            table.row(&row, at_share(waits, of), 2, goal);
        }
    }
    table.row(&row("CPU of the others, %"), shares.0, 0, Goal::None);
    table.row(&row("CPU of Zoom, %"), shares.1, 0, Goal::None);
    let comparison = rig.end(&talks);
    table.row(&row("phrases lost"), comparison.lost as f64, 0, Goal::None);
    let doubled = comparison.doubled as f64;
    // What its last second had written no other node can know.
    let second = Goal::Most(orphans.len() as f64);
    table.row(&row("phrases double"), doubled, 0, second);
    rig.stop();
}
