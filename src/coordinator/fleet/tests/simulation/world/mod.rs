//! Machines, a store, Zoom and a balancer, in virtual time.

mod connections;
mod nodes;
mod outputs;
mod outside;
mod store;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::super::*;
use super::process::{Disk, Process, Running, Told};
use super::zoom::{Answer, ConnId, Duplicates, WINDOW, Zoom};
use crate::demo::fleet_store::Model;
use crate::protocol::tests::random::Random;

/// Unix milliseconds at the begin.
const T0: u64 = 1_767_000_000_000;

/// Calls that all machines together make in a second at most.
const CALLS_MAX: u32 = 600;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What happens at a time.
#[derive(Debug, Clone)]
enum Happens {
    Wake,
    /// A call reaches the store.
    Asked {
        id: CallId,
        call: Call,
        sent: Instant,
    },
    Answered {
        id: CallId,
        reply: Reply,
    },
    Inbox,
    Save,
    Webhook(Told, u32),
    Try {
        stream: String,
    },
    /// A connection attempt reaches Zoom.
    Connects {
        stream: String,
        conn: ConnId,
    },
    Answer {
        stream: String,
        conn: ConnId,
        answer: Option<StreamPhase>,
        is_refused: bool,
    },
    Closed {
        stream: String,
        conn: ConnId,
    },
    /// Zoom misses a connection.
    Missed {
        stream: String,
        conn: ConnId,
    },
    WindowEnds {
        stream: String,
    },
    Tell(Told, u32),
    Released {
        meeting: String,
        heir: String,
    },
}

#[derive(Debug)]
struct Event {
    node: String,
    /// Of which process; 0 for what happens outside.
    run: u64,
    what: Happens,
}

/// A node: its disk, and its process if one runs.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    run: u64,
    wakes_at: Option<Instant>,
    asks_at: Option<Instant>,
    /// Stopped by SIGSTOP; what happens meanwhile.
    backlog: Option<Vec<Event>>,
    /// The ways to and from the store are cut.
    pub(crate) is_cut_to: bool,
    pub(crate) is_cut_from: bool,
    /// The machine is gone.
    pub(crate) is_lost: bool,
    pub(crate) exits: Vec<String>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    began: Instant,
    pub(crate) random: Random,
    pub(crate) store: Model,
    pub(crate) is_store_down: bool,
    /// How often the store was asked: without a call more, a queue has no message more.
    asked: u64,
    /// The store's clock runs ahead by so many milliseconds.
    pub(crate) store_ahead: i64,
    /// One in so many replies is lost; 0: none. The same for slow ones.
    pub(crate) lost_replies: u64,
    pub(crate) slow_replies: u64,
    pub(crate) zoom: Zoom,
    pub(crate) nodes: BTreeMap<String, Node>,
    events: BTreeMap<(Instant, u64), Box<Event>>,
    next: u64,
    next_conn: ConnId,
    next_boot: u64,
    /// 0..=20 s, or never (one in so many).
    pub(crate) interruptions: bool,
    /// Starts that a node has accepted.
    pub(crate) accepted: BTreeMap<String, Instant>,
    pub(crate) tells: bool,
    /// How long it takes to close the sockets of a meeting that is given away.
    pub(crate) closing: Duration,
    pub(crate) tries_without_permit: u32,
    /// Calls of all machines in this second.
    calls: (u32, u64),
}

impl World {
    pub(crate) fn new(seed: u64, duplicates: Duplicates) -> World {
        let now = Instant::now();
        World {
            now,
            began: now,
            random: Random::new(seed),
            store: Model::new(),
            is_store_down: false,
            asked: 0,
            store_ahead: 0,
            lost_replies: 0,
            slow_replies: 0,
            zoom: Zoom::new(duplicates),
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            next: 0,
            next_conn: 0,
            next_boot: 0,
            interruptions: true,
            accepted: BTreeMap::new(),
            tells: std::env::var("RTMSD_TRACE").is_ok(),
            closing: ms(30),
            tries_without_permit: 0,
            calls: (0, 0),
        }
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        T0 + (self.now - self.began).as_millis() as u64
    }

    fn store_ms(&self) -> u64 {
        self.unix_ms().saturating_add_signed(self.store_ahead)
    }

    #[expect(clippy::print_stdout, reason = "on request")]
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tells {
            let at = (self.now - self.began).as_millis();
            let line = format!("{:>7}.{:03} {}", at / 1000, at % 1000, text());
            println!("{line}");
        }
    }

    fn at(&mut self, at: Instant, node: &str, run: u64, what: Happens) {
        self.next += 1;
        let node = node.to_owned();
        let event = Box::new(Event { node, run, what });
        self.events.insert((at.max(self.now), self.next), event);
    }

    fn after(&mut self, delay: Duration, node: &str, what: Happens) {
        let run = self.nodes.get(node).map_or(0, |node| node.run);
        self.at(self.now + delay, node, run, what);
    }

    fn process(&mut self, name: &str) -> Option<&mut Process> {
        self.nodes.get_mut(name)?.process.as_mut()
    }

    pub(crate) fn is_up(&self, name: &str) -> bool {
        (self.nodes.get(name)).is_some_and(|node| node.process.is_some() && node.backlog.is_none())
    }

    // Time.

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(entry) = self.events.first_entry() {
            let (at, _) = *entry.key();
            if at > until {
                break;
            }
            let event = entry.remove();
            self.now = at;
            self.handle(*event);
        }
        self.now = until;
    }

    /// Runs until it holds.
    pub(crate) fn until(
        &mut self,
        most: Duration,
        mut holds: impl FnMut(&World) -> bool,
    ) -> Duration {
        let began = self.now;
        while !holds(self) {
            assert!(self.now - began < most, "it does not hold after {most:?}");
            self.run(ms(10));
        }
        self.now - began
    }

    fn handle(&mut self, event: Event) {
        if let Some(node) = self.nodes.get_mut(&event.node) {
            let is_outside = matches!(
                event.what,
                Happens::Missed { .. } | Happens::Connects { .. }
            );
            if event.run != node.run && !is_outside && !matches!(event.what, Happens::Asked { .. })
            {
                return self.is_for_no_node(event);
            }
            let reaches = matches!(event.what, Happens::Asked { .. }) || is_outside;
            if let Some(backlog) = &mut node.backlog
                && !reaches
            {
                if let Happens::Webhook(told, tries) = &event.what {
                    // The balancer gives up and asks another.
                    let (told, tries) = (told.clone(), *tries);
                    backlog.push(event);
                    return self.at(self.now + ms(1100), "", 0, Happens::Tell(told, tries + 1));
                }
                backlog.push(event);
                return;
            }
        }
        let name = event.node.clone();
        match event.what {
            Happens::Wake => {
                let now = self.now;
                if let Some(process) = self.process(&name) {
                    process.machine.handle_timeout(now);
                    assert!(process.machine.due() > now, "{name} would spin");
                }
                self.drain_outputs(&name);
            }
            Happens::Asked { id, call, sent } => self.asked(&name, event.run, id, &call, sent),
            Happens::Answered { id, reply } => {
                let now = self.now;
                if let Some(process) = self.process(&name) {
                    process.machine.handle_reply(now, id, reply);
                }
                self.drain_outputs(&name);
            }
            Happens::Inbox => self.read_inbox(&name),
            Happens::Save => self.save(&name),
            Happens::Tell(told, tries) => self.balance(told, tries),
            Happens::Webhook(told, _) => self.accept(&name, told),
            Happens::Try { stream } => self.try_stream(&name, &stream),
            Happens::Connects { stream, conn } => self.connects(&name, event.run, stream, conn),
            Happens::Answer {
                stream,
                conn,
                answer,
                is_refused,
            } => {
                self.answered(&name, &stream, conn, answer, is_refused);
            }
            Happens::Closed { stream, conn } => self.closed(&name, &stream, conn),
            Happens::Missed { stream, conn } => {
                // A process that was paused and went on has answered.
                let is_alive = !name.is_empty() && self.is_up(&name);
                if !is_alive {
                    self.missed(&stream, conn);
                    if !name.is_empty() {
                        self.after(ms(10), &name, Happens::Closed { stream, conn });
                    }
                }
            }
            Happens::WindowEnds { stream } => {
                if self.zoom.window_ends(self.now, &stream) {
                    self.note(|| format!("zoom ends {stream}: no node came"));
                    let meeting = self.zoom.streams[&stream].meeting.clone();
                    self.tell(Kind::Ends, &meeting, &stream, None);
                }
            }
            Happens::Released { meeting, heir } => self.released(&name, &meeting, &heir),
        }
    }

    /// Its deadline may have changed.
    fn wake(&mut self, name: &str) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(process) = &node.process else {
            return;
        };
        let due = process.machine.due().max(now + ms(1));
        if node.wakes_at.is_none_or(|at| at > due || at <= now) {
            node.wakes_at = Some(due);
            let run = node.run;
            self.at(due, name, run, Happens::Wake);
        }
    }

    /// The name of the node that runs there.
    pub(crate) fn name_of(&self, key: &str) -> String {
        let process = self.nodes.get(key).and_then(|node| node.process.as_ref());
        process.map_or_else(|| key.to_owned(), |process| process.me.node.clone())
    }

    pub(crate) fn running(&self, name: &str, stream: &str) -> Option<&Running> {
        let process = self.nodes.get(name)?.process.as_ref()?;
        process
            .meetings
            .values()
            .find_map(|entry| entry.streams.get(stream))
    }

    pub(crate) fn state_of(&self, name: &str) -> NodeState {
        let process = self.nodes[name].process.as_ref().expect("it runs");
        process.machine.node_state(self.now)
    }

    pub(crate) fn logs(&self, name: &str) -> String {
        let process = self.nodes[name].process.as_ref().expect("it runs");
        process
            .logs
            .iter()
            .map(|(_, text)| format!("{text}\n"))
            .collect()
    }
}
