//! A seeded simulation of a fleet in virtual time, and the world that the rule tests use.
//!
//! Two to five nodes, a store, a Zoom of either kind, a balancer; nodes that are killed, stopped, cut off and
//! drained, machines that are lost, a store that restarts with all, with what it had a second ago, or with
//! nothing, that has no memory left, or full queues, whose clock jumps; replies that are lost or slow, one name twice.
//!
//! At every step: no connection without a permit or the store-down rule, no running connection closed but for an
//! end, a hand-over or a greater epoch that receives, no connection displaced more often than the rules do,
//! no epoch that goes down at a node (`world`). After the last fault: every live stream is received by one
//! node, which the record names, and nothing is left behind (`check`). Excused are only streams of which nothing was
//! left at any node, on any disk or in the store (`faults`).
//!
//! A node's machine has no wall clock, so its jumps are not played; what a real store does besides, as scripts that it
//! has forgotten, is played against real ones.
//!
//! A failure prints its seed; `RTMSD_SEED` replays one (`RTMSD_TRACE=1` shows all that happens), and
//! `RTMSD_SEEDS` says how many to play.

mod check;
mod faults;
pub(crate) mod process;
pub(crate) mod world;
pub(crate) mod zoom;

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::*;
use crate::demo::fleet_store::Model;
use faults::Fault;
use world::{World, ms, secs};
use zoom::Duplicates;

const SEEDS: u64 = 60;

/// Played besides, because nothing else fails when the rule that each needs is taken away.
const ALSO: [u64; 2] = [
    // Who has written its record a moment ago lives (`publish`).
    66_608,
    // What is taken back is not received until it is connected again (`release`).
    322_670,
];

struct Play {
    world: World,
    names: Vec<String>,
    faults: Vec<(Instant, Fault)>,
    /// What the store had a second ago.
    snapshots: Vec<Model>,
    meetings: u64,
    streams: u64,
    /// Streams that no node can be blamed for.
    excused: BTreeSet<String>,
    has_lost_machine: bool,
    /// When the store's clock jumped backwards last.
    set_back: Option<Instant>,
    twins: u32,
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("RTMSD_SEED") {
        Some(seed) => (seed..seed + number("RTMSD_SEEDS").unwrap_or(1)).collect(),
        None => (0..number("RTMSD_SEEDS").unwrap_or(SEEDS))
            .chain(ALSO)
            .collect(),
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "which seed failed, and how")]
fn every_stream_is_received_by_one_node_after_the_last_fault() {
    let is_failure = |seed: &u64| {
        let played = std::panic::catch_unwind(|| play(*seed));
        if let Err(panic) = &played {
            let text = panic.downcast_ref::<String>();
            println!("RTMSD_SEED={seed} {}", text.map_or("", |text| text));
        }
        played.is_err()
    };
    let failed: Vec<u64> = seeds().into_iter().filter(is_failure).collect();
    assert!(failed.is_empty(), "RTMSD_SEED={}", failed[0]);
}

fn play(seed: u64) {
    let duplicates = match seed % 2 {
        0 => Duplicates::Displace,
        _ => Duplicates::Refuse,
    };
    let mut world = World::new(seed, duplicates);
    let names: Vec<String> = (0..2 + world.random.below(4))
        .map(|n| format!("n{n}"))
        .collect();
    names.iter().for_each(|name| world.start(name));
    let time = world.random.below(9000);
    world.run(ms(time));
    let mut play = Play {
        world,
        names,
        faults: Vec::new(),
        snapshots: Vec::new(),
        meetings: 0,
        streams: 0,
        excused: BTreeSet::new(),
        has_lost_machine: false,
        set_back: None,
        twins: 0,
    };
    play.chaos();
    play.heal();
    play.check();
    play.check_events();
    play.end();
}

impl Play {
    fn below(&mut self, n: u64) -> u64 {
        self.world.random.below(n)
    }

    fn chaos(&mut self) {
        let begin = self.world.now;
        let time = secs(10 + self.below(40));
        let rate = 2 + self.below(30);
        (0..self.below(8)).for_each(|_| self.begin());
        while self.world.now - begin < time {
            self.world.run(ms(500));
            self.keep_snapshot();
            self.end_faults(false);
            self.supervise();
            if self.world.random.one_in(5) {
                self.live();
            }
            if self.world.random.one_in(rate) {
                self.fault();
            }
        }
    }

    /// A process that has exited is started again.
    fn supervise(&mut self) {
        for name in self.names.clone() {
            if self.world.nodes[&name].process.is_none() && !self.has_fault_of(&name) {
                self.world.start(&name);
            }
        }
    }

    fn keep_snapshot(&mut self) {
        if !self.world.is_store_down {
            self.snapshots.push(self.world.store.clone());
            let excess = self.snapshots.len().saturating_sub(3);
            self.snapshots.drain(..excess);
        }
    }

    fn live(&mut self) {
        match self.below(8) {
            0..4 => self.begin(),
            4 if self.meetings > 0 => {
                let meeting = format!("m{}", self.below(self.meetings.max(1)));
                self.world.end(&meeting);
            }
            5 if self.streams > 0 => {
                let stream = format!("s{}", self.below(self.streams.max(1)));
                self.world.move_stream(&stream);
            }
            6 if self.meetings > 0 => {
                let meeting = format!("m{}", self.below(self.meetings.max(1)));
                self.world.tell(Kind::ParticipantJoins, &meeting, "", None);
            }
            _ => self.world.tell(Kind::Everyone, "", "", None),
        }
    }

    fn begin(&mut self) {
        // Mostly a new meeting, sometimes one more stream of a known one.
        let is_new = self.meetings == 0 || !self.world.random.one_in(4);
        self.meetings += u64::from(is_new);
        let known = if is_new {
            self.meetings - 1
        } else {
            self.below(self.meetings)
        };
        let meeting = format!("m{known}");
        if self.world.random.one_in(4) {
            self.world.tell(Kind::MeetingBegins, &meeting, "", None);
        }
        let stream = format!("s{}", self.streams);
        self.streams += 1;
        self.world.begin(&meeting, &stream, None);
    }

    fn heal(&mut self) {
        self.end_faults(true);
        self.world.note(|| "-- all faults have ended".to_owned());
        // A process whose name was taken meanwhile has exited: its supervisor starts it again.
        self.world.run(secs(2));
        for name in self.names.clone() {
            if self.world.nodes[&name].process.is_none() {
                self.world.start(&name);
            }
        }
        let wait = match self.has_lost_machine {
            true => secs(48),
            false => secs(22),
        };
        // A jump of the store's clock backwards hides deaths for a while (`view`).
        let hides = (self.set_back).is_some_and(|at| self.world.now < at + secs(25));
        self.world.run(wait + secs(10 * u64::from(hides)));
    }
}
