//! What a fleet with steady streams asks of its store.

use std::time::Duration;

use super::rig::Rig;
use super::streams_a_node;
use crate::number;
use crate::table::{Goal, Table};

/// Until joining is over.
const BEFORE: Duration = Duration::from_secs(10);

pub(super) fn steady(table: &Table) {
    let Some(rig) = Rig::start(3) else { return };
    let empty = rig.store.counted();
    let talks = rig.speak("steady", 3 * streams_a_node(), 1.0);
    std::thread::park_timeout(BEFORE);
    let seconds = number("RTMSD_BENCH_SECONDS", 20);
    let before = rig.store.counted();
    std::thread::park_timeout(Duration::from_secs(seconds));
    let after = rig.store.counted();
    // Not at the same time: what watches is sent every command too.
    let wire = rig.store.watch(Duration::from_secs(seconds));
    let a_second = |count: f64| count / seconds as f64;
    table.row("fleet: steady, streams", talks.len() as f64, 0, Goal::None);
    let sum: u64 = wire.iter().map(|(_, count)| count).sum();
    let rate = a_second(sum as f64);
    table.row("fleet: store, commands/s", rate, 1, Goal::Most(30.0));
    for (command, count) in &wire {
        let row = format!("fleet: store, {command}/s");
        table.row(&row, a_second(*count as f64), 1, Goal::None);
    }
    let inside = a_second(after.commands - before.commands);
    table.row(
        "fleet: store, with scripts', /s",
        inside,
        0,
        Goal::Most(200.0),
    );
    let bytes = a_second(after.bytes - before.bytes) / 1e6;
    // A stream with a new phrase sends 264 bytes of digests; here each has one every second.
    let most = 300.0 * talks.len() as f64 / 1e6;
    table.row("fleet: store, MB/s", bytes, 3, Goal::Most(most));
    let stored = (after.stored - empty.stored) / 1e6;
    table.row("fleet: store, MB stored", stored, 1, Goal::Most(5.0));
    rig.end(&talks);
    rig.stop();
}
