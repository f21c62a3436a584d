//! A fleet: what it promises, each as a row. `RTMSD_BENCH=fleet` measures all of it, `fleet-joins` and so on a
//! part; with `RTMSD_BENCH_STREAMS` streams a node.
//!
//! Three nodes, Zoom, the balancer and the store share the cores of this machine. So rows about a wave of joins
//! say what the nodes used and what Zoom used: where a goal is missed, that tells whose time it was.

mod away;
mod costs;
mod death;
mod joins;
mod rig;
mod steady;
mod store;
mod upgrade;
mod webhooks;

use crate::table::Table;

/// A part and what measures it.
type Part = (&'static str, fn(&Table));

const PARTS: [Part; 7] = [
    ("fleet-joins", joins::joins),
    ("fleet-death", death::death),
    ("fleet-store", away::away),
    ("fleet-upgrade", upgrade::upgrade),
    ("fleet-webhooks", webhooks::webhooks),
    ("fleet-steady", steady::steady),
    ("fleet-costs", costs::costs),
];

/// Measures that part, or all; `false` if there is none of that name.
pub(crate) fn fleet(table: &Table, name: &str) -> bool {
    let mut has_part = false;
    for (part, measure) in PARTS {
        if name == "fleet" || name == part {
            measure(table);
            has_part = true;
        }
    }
    has_part
}

/// Streams of each node.
fn streams_a_node() -> usize {
    crate::number("RTMSD_BENCH_STREAMS", 700) as usize
}
