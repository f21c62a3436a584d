//! A seeded simulation of a fleet in virtual time, and the world that the rule tests use.
//!
//! Two to five nodes, a store, a Zoom of either kind, a balancer; nodes that are killed, stopped, cut off and
//! drained, machines that are lost, a store that restarts with all, with what it had a second ago, or with
//! nothing, clocks that jump, replies that are lost or slow, one name twice. At every step: no connection
//! without a permit or the store-down rule, no running connection closed but for an end, a hand-over or a
//! greater epoch that receives (`world.rs`). After the last fault: every live stream is received by one node,
//! which the record names, and nothing is left behind.
//!
//! A failure prints its seed; `RTMSD_SEED` replays one (`RTMSD_TRACE=1` shows all that happens), and
//! `RTMSD_SEEDS` says how many to play.

pub(crate) mod process;
pub(crate) mod world;
pub(crate) mod zoom;

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::*;
use crate::demo::fleet_store::Model;
use world::{World, ms, secs};
use zoom::Duplicates;

const SEEDS: u64 = 60;

/// A fault that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Killed(String),
    Paused(String),
    Cut(String),
    StoreDown(Restart),
    Replies,
    Twin(String),
    Full,
}

/// What the store has after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    All,
    Short,
    Empty,
}

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
    store_lost: Option<Instant>,
    /// Processes that died for good, and what they had.
    deaths: Vec<(Instant, BTreeSet<String>)>,
    has_lost_machine: bool,
    twins: u32,
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("RTMSD_SEED") {
        Some(seed) => seed..seed + number("RTMSD_SEEDS").unwrap_or(1),
        None => 0..number("RTMSD_SEEDS").unwrap_or(SEEDS),
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
    let failed: Vec<u64> = seeds().filter(is_failure).collect();
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
        store_lost: None,
        deaths: Vec::new(),
        has_lost_machine: false,
        twins: 0,
    };
    play.chaos();
    play.heal();
    play.check();
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

    // What people do.

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

    // Faults.

    fn lasts(&mut self, fault: Fault, most_ms: u64) {
        let until = self.world.now + ms(300 + self.below(most_ms));
        self.world.note(|| format!("-- {fault:?}"));
        for stream in self.world.zoom.streams.values_mut() {
            stream.displaced = 0;
        }
        self.faults.push((until, fault));
    }

    fn has_fault_of(&self, name: &str) -> bool {
        self.faults.iter().any(|(_, fault)| match fault {
            Fault::Killed(node) | Fault::Paused(node) | Fault::Cut(node) | Fault::Twin(node) => {
                node == name
            }
            _ => false,
        })
    }

    fn fault(&mut self) {
        let which = self.below(self.names.len() as u64) as usize;
        let name = self.names[which].clone();
        let is_free = self.world.is_up(&name) && !self.has_fault_of(&name);
        let is_store_up = !self.world.is_store_down;
        match self.below(14) {
            0 | 1 if is_free => {
                self.excuse(&name, false);
                self.world.kill(&name);
                let most = if self.below(2) == 0 { 3000 } else { 20_000 };
                self.lasts(Fault::Killed(name), most);
            }
            2 if is_free && self.names.len() > 2 => {
                // Away for good.
                self.excuse(&name, true);
                self.names.retain(|known| *known != name);
                if self.below(2) == 0 {
                    self.world.kill(&name);
                } else {
                    self.has_lost_machine = true;
                    self.world.lose_machine(&name);
                }
                self.lasts(Fault::Replies, 1);
            }
            3 | 4 if is_free => {
                self.world.pause(&name);
                self.lasts(Fault::Paused(name), 25_000);
            }
            5 | 6 if is_free => {
                let which = self.below(3);
                let node = self.world.nodes.get_mut(&name).expect("a node");
                node.is_cut_to = which != 1;
                node.is_cut_from = which != 0;
                self.lasts(Fault::Cut(name), 20_000);
            }
            7 | 8 if is_store_up => {
                let restart = match self.below(3) {
                    0 => Restart::All,
                    1 => Restart::Short,
                    _ => Restart::Empty,
                };
                self.world.is_store_down = true;
                let most = if self.below(2) == 0 { 1500 } else { 15_000 };
                self.lasts(Fault::StoreDown(restart), most);
            }
            9 => {
                let seconds = [1_i64, 3, 6, 20, 3600][self.below(5) as usize];
                let sign = if self.below(2) == 0 { 1 } else { -1 };
                self.world.store_ahead += sign * seconds * 1000;
                self.lasts(Fault::Replies, 1);
            }
            10 => {
                self.world.lost_replies = 2 + self.below(10);
                self.world.slow_replies = 2 + self.below(10);
                self.lasts(Fault::Replies, 10_000);
            }
            11 if is_free && self.names.len() > 1 => {
                self.world.drain(&name);
                self.lasts(Fault::Killed(name), 20_000);
            }
            12 if is_free && !self.faults.iter().any(|(_, f)| matches!(f, Fault::Twin(_))) => {
                self.twins += 1;
                let key = format!("twin{}", self.twins);
                self.world.start_twin(&name, &key);
                self.lasts(Fault::Twin(key), 15_000);
            }
            13 => {
                self.world.store.is_full = true;
                self.lasts(Fault::Full, 8000);
            }
            _ => {}
        }
    }

    /// A process dies. What only it knew is lost for as long as its disk is away.
    fn excuse(&mut self, name: &str, is_for_good: bool) {
        let world = &self.world;
        let node = &world.nodes[name];
        let Some(process) = &node.process else {
            return;
        };
        if !is_for_good {
            return;
        }
        for body in node.disk.intents.values() {
            if let Some(told) = process::Told::parse(body) {
                self.excused.insert(told.stream);
            }
        }
        let entries = process.meetings.values().chain(process.left.values());
        let had: BTreeSet<String> = entries
            .flat_map(|entry| entry.streams.keys().cloned())
            .collect();
        self.deaths.push((world.now, had.clone()));
        let is_blind = process.machine.node_state(world.now) != NodeState::Sure
            || world.is_store_down
            || world.store.is_full
            || world.lost_replies > 0
            || node.is_cut_to
            || node.is_cut_from
            || self.store_lost.is_some_and(|at| world.now - at < secs(8));
        // A stream of a meeting whose record another node has is known to no other node.
        let split = had.iter().filter(|id| {
            let meeting = world.zoom.streams.get(*id).map(|stream| &stream.meeting);
            meeting.is_some_and(|meeting| process.machine.has_rival(meeting))
        });
        self.excused.extend(split.cloned());
        if is_blind {
            self.excused.extend(had);
            // Its queue, and what was placed there, may be known to no other node.
            self.excused
                .extend(self.world.zoom.live().map(|(id, _)| id.clone()));
        }
    }

    fn end_faults(&mut self, is_all: bool) {
        let now = self.world.now;
        let faults = std::mem::take(&mut self.faults);
        for (until, fault) in faults {
            if now < until && !is_all {
                self.faults.push((until, fault));
                continue;
            }
            self.world.note(|| format!("-- end of {fault:?}"));
            for stream in self.world.zoom.streams.values_mut() {
                stream.displaced = 0;
            }
            match fault {
                Fault::Killed(name) => {
                    if self.world.nodes[&name].process.is_some() {
                        // Drained, and not done: what it was handing over may be known to the store alone.
                        let free = self.world.zoom.live().filter(|(_, s)| s.conn.is_none());
                        let free: BTreeSet<String> = free.map(|(id, _)| id.clone()).collect();
                        if self.store_lost.is_some_and(|at| now - at < secs(16)) {
                            self.excused.extend(free.iter().cloned());
                        }
                        self.deaths.push((now, free));
                        self.world.kill(&name);
                    }
                    self.world.start(&name);
                }
                Fault::Paused(name) => self.world.resume(&name),
                Fault::Cut(name) => {
                    let node = self.world.nodes.get_mut(&name).expect("a node");
                    (node.is_cut_to, node.is_cut_from) = (false, false);
                }
                Fault::StoreDown(restart) => {
                    self.world.is_store_down = false;
                    match restart {
                        Restart::All => {}
                        Restart::Short => {
                            if let Some(snapshot) = self.snapshots.first() {
                                let is_full = self.world.store.is_full;
                                self.world.store = snapshot.clone();
                                self.world.store.is_full = is_full;
                            }
                        }
                        Restart::Empty => self.world.store.clear(),
                    }
                    if restart != Restart::All {
                        self.store_lost = Some(now);
                        // What no node has taken over is lost with the store.
                        let dead = self.deaths.iter().flat_map(|(_, had)| had.iter());
                        let lost = dead.filter(|id| {
                            let mut names = self.world.nodes.keys();
                            !names.any(|name| self.world.running(name, id).is_some())
                        });
                        self.excused.extend(lost.cloned());
                    }
                    self.world.reread();
                }
                Fault::Replies => {
                    self.world.lost_replies = 0;
                    self.world.slow_replies = 0;
                }
                Fault::Twin(key) => {
                    let bodies = self.world.nodes[&key].disk.intents.values();
                    let told = bodies.filter_map(|body| process::Told::parse(body));
                    self.excused.extend(told.map(|told| told.stream));
                    if self.world.nodes[&key].process.is_some() {
                        self.excuse(&key, true);
                        self.world.kill(&key);
                    }
                }
                Fault::Full => self.world.store.is_full = false,
            }
        }
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
        self.world.run(wait);
    }

    // What must hold then.

    fn check(&mut self) {
        let live: Vec<String> = self.world.zoom.live().map(|(id, _)| id.clone()).collect();
        for id in &live {
            let stream = &self.world.zoom.streams[id];
            let is_accepted = self.world.accepted.contains_key(id);
            if !is_accepted || self.excused.contains(id) {
                continue;
            }
            let Some((conn, node)) = stream.conn.clone() else {
                panic!("{id} is received by no node");
            };
            let meeting = stream.meeting.clone();
            let running = self.world.running(&node, id);
            assert!(
                running.is_some_and(|running| running.conn == Some(conn)),
                "{node} does not receive {id}: {running:?}"
            );
            let others = self.world.nodes.keys().filter(|name| **name != node);
            let also: Vec<&String> = others
                .filter(|name| self.world.running(name, id).is_some())
                .collect();
            // Each of two nodes receives a stream of the meeting: one knows nothing of the other's.
            let is_split = self.receivers(&meeting).len() > 1;
            assert!(
                also.is_empty() || is_split,
                "{id} is at {node}, and {also:?} try as well"
            );
            let Some(record) = self.world.record(&meeting) else {
                panic!("{meeting} of {id}, received by {node}, has no record");
            };
            let owner = record.owner.node.clone();

            let receives = self.world.name_of(&node) == owner;
            assert!(
                receives || is_split,
                "{id} is received by {node}, and the record says {record:?}"
            );
        }
        let missed = self
            .world
            .zoom
            .streams
            .iter()
            .filter(|(_, stream)| stream.is_missed);
        for (id, _) in missed {
            let is_accepted = self.world.accepted.contains_key(id);
            assert!(!is_accepted || self.excused.contains(id), "{id} was missed");
        }
    }

    /// The nodes that receive streams of a meeting.
    fn receivers(&self, meeting: &str) -> BTreeSet<&str> {
        let streams = self.world.zoom.live().filter(|(_, s)| s.meeting == meeting);
        let nodes = streams.filter_map(|(_, s)| Some(s.conn.as_ref()?.1.as_str()));
        nodes.collect()
    }

    fn end(&mut self) {
        for n in 0..self.meetings {
            self.world.end(&format!("m{n}"));
        }
        self.world.run(secs(40));
        for name in &self.names {
            let node = &self.world.nodes[name];
            let process = node.process.as_ref().expect("it runs");
            assert_eq!(process.machine.waiting(), 0, "{name} keeps events");
            assert!(
                node.disk.intents.is_empty(),
                "{name} keeps {:?}",
                node.disk.intents
            );
            let held: Vec<&String> = (process.machine.held())
                .filter(|id| {
                    process
                        .meetings
                        .get(*id)
                        .is_none_or(|m| !m.streams.is_empty())
                })
                .collect();
            assert!(held.is_empty(), "{name} holds {held:?}");
        }
    }
}
