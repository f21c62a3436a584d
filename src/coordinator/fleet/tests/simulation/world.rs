//! Machines, a store, Zoom and a balancer, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::super::*;
use super::process::{Disk, Entry, Process, Running, Told, read};
use super::zoom::{Answer, ConnId, Duplicates, WINDOW, Zoom};
use crate::daemon::fleet_store::{Codec, Value};
use crate::demo::fleet_store::Model;
use crate::domain::severity::Severity;
use crate::protocol::tests::random::Random;

/// Unix milliseconds at the begin.
const T0: u64 = 1_767_000_000_000;

/// A fault may displace the connection of a stream so often.
const DISPLACED_MAX: u32 = 6;

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
    /// The store's clock runs ahead by so many milliseconds.
    pub(crate) store_ahead: i64,
    /// One in so many replies is lost; 0: none. The same for slow ones.
    pub(crate) lost_replies: u64,
    pub(crate) slow_replies: u64,
    pub(crate) zoom: Zoom,
    pub(crate) nodes: BTreeMap<String, Node>,
    events: BTreeMap<(Instant, u64), Event>,
    next: u64,
    next_conn: ConnId,
    next_boot: u64,
    /// 0..=20 s, or never (one in so many).
    pub(crate) interruptions: bool,
    /// Starts that a node has accepted.
    pub(crate) accepted: BTreeMap<String, Instant>,
    pub(crate) tells: bool,
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
        let event = Event { node, run, what };
        self.events.insert((at.max(self.now), self.next), event);
    }

    fn after(&mut self, delay: Duration, node: &str, what: Happens) {
        let run = self.nodes.get(node).map_or(0, |node| node.run);
        self.at(self.now + delay, node, run, what);
    }

    // Nodes.

    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, |_| {});
    }

    pub(crate) fn start_with(&mut self, name: &str, change: impl FnOnce(&mut Config)) {
        self.next_boot += 1;
        let boot = Boot(0xb007_0000 + self.next_boot);
        let (now, since_ms) = (self.now, self.unix_ms());
        let node = self.nodes.entry(name.to_owned()).or_default();
        node.run += 1;
        node.backlog = None;
        node.wakes_at = None;
        let me = Member {
            node: name.to_owned(),
            boot,
        };
        let mut config = Config {
            me: me.clone(),
            previous: node.disk.boot.replace(boot),
            layout: 1,
            version: "1".to_owned(),
            must: "m".to_owned(),
            capacity: 100,
            admin: String::new(),
            since_ms,
            read,
        };
        change(&mut config);
        node.disk.boot = Some(config.me.boot);
        let saved = node.disk.meetings.clone();
        let (left, over): (BTreeMap<_, _>, BTreeMap<_, _>) = saved
            .into_iter()
            .partition(|(_, entry): &(String, Entry)| !entry.is_over());
        let lefts = left.iter().map(|(meeting, entry)| Left {
            meeting: meeting.clone(),
            epoch: entry.epoch,
            entry: entry.pack(),
            streams: entry.streams.keys().cloned().collect(),
        });
        let machine = Machine::new(now, config, lefts.collect());
        node.process = Some(Process {
            machine,
            me,
            meetings: over,
            left,
            entries: BTreeMap::new(),
            permit: None,
            to_settle: Default::default(),
            to_save: Vec::new(),
            is_save_due: false,
            inbox_after: "0".to_owned(),
            logs: Vec::new(),
            newer: BTreeMap::new(),
            is_draining: false,
            discarded: Default::default(),
            everyone: 0,
            closing: Vec::new(),
            took: Vec::new(),
        });
        let intents = node.disk.intents.clone();
        self.note(|| format!("{name} starts as {boot}"));
        for (number, body) in intents {
            if let (Some(process), Some(told)) = (self.process(name), Told::parse(&body)) {
                let about = told.about();
                process.machine.handle_event(
                    now,
                    Incoming {
                        number,
                        about,
                        body,
                    },
                );
            }
        }
        self.after(ms(30), name, Happens::Inbox);
        self.after(ms(0), name, Happens::Wake);
        self.drain_outputs(name);
    }

    fn process(&mut self, name: &str) -> Option<&mut Process> {
        self.nodes.get_mut(name)?.process.as_mut()
    }

    pub(crate) fn is_up(&self, name: &str) -> bool {
        (self.nodes.get(name)).is_some_and(|node| node.process.is_some() && node.backlog.is_none())
    }

    /// SIGKILL: the kernel closes the sockets.
    pub(crate) fn kill(&mut self, name: &str) {
        self.note(|| format!("{name} is killed"));
        let conns = self.end_process(name);
        for (stream, conn) in conns {
            self.at(self.now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
    }

    /// The machine is gone: no node closes anything.
    pub(crate) fn lose_machine(&mut self, name: &str) {
        self.note(|| format!("{name}'s machine is gone"));
        for (stream, conn) in self.end_process(name) {
            let after = secs(30) + ms(self.random.below(10_000));
            self.at(self.now + after, "", 0, Happens::Missed { stream, conn });
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.is_lost = true;
        }
    }

    fn end_process(&mut self, name: &str) -> Vec<(String, ConnId)> {
        let Some(node) = self.nodes.get_mut(name) else {
            return Vec::new();
        };
        node.run += 1;
        node.backlog = None;
        let process = node.process.take();
        let mut conns = Vec::new();
        for entry in process.iter().flat_map(|process| process.meetings.values()) {
            for (id, stream) in &entry.streams {
                let both = [stream.conn, stream.connecting];
                conns.extend(both.into_iter().flatten().map(|conn| (id.clone(), conn)));
            }
        }
        conns
    }

    pub(crate) fn pause(&mut self, name: &str) {
        self.note(|| format!("{name} is paused"));
        if let Some(node) = self.nodes.get_mut(name) {
            node.backlog.get_or_insert_default();
        }
        // Zoom misses its answers after a while.
        let held: Vec<(String, ConnId)> = (self.zoom.live())
            .filter_map(|(id, stream)| {
                let (conn, node) = stream.conn.as_ref()?;
                (node == name).then(|| (id.clone(), *conn))
            })
            .collect();
        let run = self.nodes.get(name).map_or(0, |node| node.run);
        for (stream, conn) in held {
            let after = secs(30) + ms(self.random.below(10_000));
            // Only if it is still paused then: see `Missed`.
            self.at(
                self.now + after,
                name,
                run,
                Happens::Missed { stream, conn },
            );
        }
    }

    pub(crate) fn resume(&mut self, name: &str) {
        self.note(|| format!("{name} goes on"));
        let backlog = self
            .nodes
            .get_mut(name)
            .and_then(|node| node.backlog.take());
        for event in backlog.into_iter().flatten() {
            // Answers are read in their order.
            self.at(self.now, &event.node.clone(), event.run, event.what);
        }
    }

    pub(crate) fn drain(&mut self, name: &str) {
        self.note(|| format!("{name} is drained"));
        let now = self.now;
        if let Some(process) = self.process(name) {
            process.is_draining = true;
            process.machine.drain(now);
        }
        self.drain_outputs(name);
    }

    /// Another process, on another disk, that is configured with the same name.
    pub(crate) fn start_twin(&mut self, name: &str, key: &str) {
        let name = name.to_owned();
        self.start_with(key, |config| config.me.node = name);
        if let Some(process) = self.process(key) {
            process.me.node = process.machine.name().to_owned();
        }
    }

    pub(crate) fn webhook(&mut self, node: &str, told: Told) {
        self.after(ms(1), node, Happens::Webhook(told, 0));
    }

    pub(crate) fn withdraw(&mut self, node: &str, stream: &str) {
        let now = self.now;
        if let Some(process) = self.process(node) {
            process.machine.withdraw(now, stream, b"{}".to_vec());
        }
        self.drain_outputs(node);
    }

    // Zoom.

    /// The network closes a connection.
    pub(crate) fn drop_connection(&mut self, stream: &str) {
        let conn = self.zoom.streams.get(stream).and_then(|s| s.conn.clone());
        if let Some((conn, node)) = conn {
            let stream = stream.to_owned();
            self.missed(&stream, conn);
            self.after(ms(5), &node, Happens::Closed { stream, conn });
        }
    }

    /// A process that is not of this fleet displaces the connection.
    pub(crate) fn displace(&mut self, stream: &str) {
        self.next_conn += 1;
        if let Answer::Accepted(Some((conn, node))) =
            self.zoom.connect(stream, self.next_conn, "stranger")
        {
            let stream = stream.to_owned();
            self.after(ms(5), &node, Happens::Closed { stream, conn });
        }
    }

    /// A stream starts. The webhook goes to some node, or to this one.
    pub(crate) fn begin(&mut self, meeting: &str, stream: &str, node: Option<&str>) {
        let (now, stamp) = (self.now, self.unix_ms());
        self.zoom.begin(now, meeting, stream, stamp);
        self.at(
            now + WINDOW,
            "",
            0,
            Happens::WindowEnds {
                stream: stream.to_owned(),
            },
        );
        self.tell(Kind::StreamStarts, meeting, stream, node);
    }

    /// The stream moves to another server: the connection is closed, a newer start follows.
    pub(crate) fn move_stream(&mut self, stream: &str) {
        let (now, stamp) = (self.now, self.unix_ms());
        let Some(known) = self.zoom.streams.get_mut(stream).filter(|s| !s.is_over) else {
            return;
        };
        known.stamp = stamp;
        let meeting = known.meeting.clone();
        if let Some((conn, node)) = known.conn.take() {
            known.free_since = now;
            let closed = Happens::Closed {
                stream: stream.to_owned(),
                conn,
            };
            self.after(ms(10), &node, closed);
        }
        self.at(
            now + WINDOW,
            "",
            0,
            Happens::WindowEnds {
                stream: stream.to_owned(),
            },
        );
        self.tell(Kind::StreamStarts, &meeting, stream, None);
    }

    pub(crate) fn tell(&mut self, kind: Kind, meeting: &str, stream: &str, node: Option<&str>) {
        let told = Told {
            kind,
            meeting: meeting.to_owned(),
            stream: stream.to_owned(),
            stamp: self.unix_ms(),
            is_named: !matches!(kind, Kind::Ends | Kind::StreamInterrupted)
                || stream.is_empty()
                || self.random.below(2) == 0,
        };
        match node {
            Some(node) => self.after(ms(5), node, Happens::Webhook(told, 0)),
            None => self.at(self.now + ms(5), "", 0, Happens::Tell(told, 0)),
        }
    }

    /// The meeting ends: streams stop, and webhooks say so.
    pub(crate) fn end(&mut self, meeting: &str) {
        let streams: Vec<String> = (self.zoom.live())
            .filter(|(_, stream)| stream.meeting == meeting)
            .map(|(id, _)| id.clone())
            .collect();
        for stream in streams {
            if let Some((conn, node)) = self.zoom.end(&stream) {
                let closed = Happens::Closed {
                    stream: stream.clone(),
                    conn,
                };
                self.after(ms(300), &node, closed);
            }
            self.tell(Kind::Ends, meeting, &stream, None);
        }
        self.tell(Kind::Ends, meeting, "", None);
    }

    /// Who receives a stream, by Zoom.
    pub(crate) fn receiver(&self, stream: &str) -> Option<&str> {
        let (_, node) = self.zoom.streams.get(stream)?.conn.as_ref()?;
        Some(node)
    }

    fn missed(&mut self, stream: &str, conn: ConnId) {
        if !self.zoom.lost(self.now, stream, conn) {
            return;
        }
        self.note(|| format!("zoom misses the connection of {stream}"));
        let id = stream.to_owned();
        self.at(
            self.now + WINDOW,
            "",
            0,
            Happens::WindowEnds { stream: id.clone() },
        );
        if self.interruptions && self.random.below(4) > 0 {
            let meeting = self.zoom.streams[stream].meeting.clone();
            let told = Told {
                kind: Kind::StreamInterrupted,
                meeting,
                stream: id,
                stamp: self.unix_ms(),
                is_named: self.random.below(2) == 0,
            };
            let delay = match self.random.below(3) {
                0 => ms(self.random.below(20_000)),
                _ => ms(self.random.below(300)),
            };
            self.at(self.now + delay, "", 0, Happens::Tell(told, 0));
        }
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
            self.handle(event);
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
                return self.is_for_nobody(event);
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

    fn is_for_nobody(&mut self, event: Event) {
        if let Happens::Webhook(told, tries) = event.what {
            self.at(self.now + ms(250), "", 0, Happens::Tell(told, tries + 1));
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

    // Balancer.

    fn balance(&mut self, told: Told, tries: u32) {
        if tries >= 4 {
            return self.note(|| format!("no node takes {told:?}"));
        }
        let names: Vec<String> = (self.nodes.iter())
            .filter(|(_, node)| !node.is_lost && node.process.is_some())
            .filter(|(_, node)| !node.process.as_ref().is_some_and(|p| p.is_draining))
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return self.at(self.now + ms(500), "", 0, Happens::Tell(told, tries + 1));
        }
        let name = &names[self.random.below(names.len() as u64) as usize];
        self.after(ms(2), name, Happens::Webhook(told, tries));
    }

    /// Fsynced and answered 200.
    fn accept(&mut self, name: &str, told: Told) {
        let now = self.now;
        self.note(|| format!("{name} accepts {told:?}"));
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(process) = &mut node.process else {
            return;
        };
        node.disk.next_intent += 1;
        let number = node.disk.next_intent;
        let body = told.body();
        node.disk.intents.insert(number, body.clone());
        let about = told.about();
        process.machine.handle_event(
            now,
            Incoming {
                number,
                about,
                body,
            },
        );
        if told.kind == Kind::StreamStarts {
            self.accepted.entry(told.stream).or_insert(now);
        }
        self.drain_outputs(name);
    }

    // Store.

    fn asked(&mut self, name: &str, run: u64, id: CallId, call: &Call, sent: Instant) {
        let node = &self.nodes[name];
        let is_cut = node.is_cut_to || node.is_lost || self.is_store_down;
        let late = sent + ms(800);
        let mut reply = Reply::Failed;
        let mut at = late;
        if !is_cut {
            let Some(me) = self.me_of(name, run) else {
                return;
            };
            let codec = codec(me);
            let store_ms = self.store_ms();
            let commands = codec.encode(call);
            let values: Vec<Value> = (commands.iter())
                .map(|command| self.store.call(store_ms, command))
                .collect();
            let is_lost = self.nodes[name].is_cut_from
                || self.lost_replies > 0 && self.random.one_in(self.lost_replies);
            if !is_lost {
                reply = codec.decode(call, sent, &values);
                let slow = self.slow_replies > 0 && self.random.one_in(self.slow_replies);
                at = self.now
                    + ms(if slow {
                        self.random.below(1500)
                    } else {
                        self.random.below(4)
                    });
                if at > late {
                    (reply, at) = (Reply::Failed, late);
                }
                assert!(
                    reply != Reply::Failed || at == late || self.store.is_full,
                    "{call:?} -> {values:?}"
                );
            }
        } else if self.is_store_down && self.random.below(2) == 0 {
            // The connection is refused.
            at = self.now + ms(1);
        }
        if !matches!(call, Call::Beat { .. }) {
            self.note(|| format!("{name} asks {call:?} -> {reply:?}"));
        }
        if let Reply::Newer(record) = &reply
            && let Call::Publish { meeting, .. } | Call::Hand { meeting, .. } = call
            && let Some(process) = self.process(name)
        {
            process.newer.insert(meeting.clone(), record.clone());
        }
        self.at(at, name, run, Happens::Answered { id, reply });
    }

    fn me_of(&self, name: &str, run: u64) -> Option<Member> {
        let node = self.nodes.get(name).filter(|node| node.run == run)?;
        Some(node.process.as_ref()?.me.clone())
    }

    fn read_inbox(&mut self, name: &str) {
        self.after(ms(20), name, Happens::Inbox);
        let (store_ms, now) = (self.store_ms(), self.now);
        let node = &self.nodes[name];
        let is_cut = node.is_cut_to || node.is_cut_from || self.is_store_down;
        let Some(process) = &node.process else {
            return;
        };
        if is_cut || !process.machine.has_room() {
            return;
        }
        let codec = codec(process.me.clone());
        let command = codec.read_messages(&process.inbox_after);
        let value = self.store.call(store_ms, &command);
        let (queued, last) = codec.messages(&value).expect("entries of a queue");
        let Some(process) = self.process(name) else {
            return;
        };
        if let Some(last) = last {
            process.inbox_after = last;
        }
        for queued in queued {
            process.machine.handle_queued(now, queued);
        }
        self.drain_outputs(name);
    }

    /// Connections to the store were dropped: the queue is read from its begin.
    pub(crate) fn reread(&mut self) {
        for process in self
            .nodes
            .values_mut()
            .filter_map(|node| node.process.as_mut())
        {
            process.inbox_after = "0".to_owned();
        }
    }

    // The process.

    fn save(&mut self, name: &str) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(process) = &mut node.process else {
            return;
        };
        process.is_save_due = false;
        let mut saved = process.left.clone();
        for (meeting, entry) in &process.meetings {
            let mut entry = entry.clone();
            entry.epoch = process.machine.epoch(meeting).unwrap_or(0);
            saved.insert(meeting.clone(), entry);
        }
        node.disk.meetings = saved;
        for number in std::mem::take(&mut process.to_settle) {
            node.disk.intents.remove(&number);
        }
        let tickets = std::mem::take(&mut process.to_save);
        process.machine.handle_saved(now, &tickets);
        self.drain_outputs(name);
    }

    fn save_soon(&mut self, name: &str) {
        let delay = ms(20 + self.random.below(100));
        if let Some(process) = self.process(name)
            && !std::mem::replace(&mut process.is_save_due, true)
        {
            self.after(delay, name, Happens::Save);
        }
    }

    fn coordinate(&mut self, name: &str, told: &Told) {
        let (now, unix_ms) = (self.now, self.unix_ms());
        // The coordinator finds the meeting of a stream among its own.
        let Some(process) = self.process(name) else {
            return;
        };
        process.coordinate(now, unix_ms, told);
        for (stream, conn) in std::mem::take(&mut process.closing) {
            self.at(now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        if !told.meeting.is_empty() {
            self.state_changed(name, &told.meeting.clone());
        }
    }

    fn state_changed(&mut self, name: &str, meeting: &str) {
        let now = self.now;
        let Some(process) = self.process(name) else {
            return;
        };
        let state = process.state(meeting);
        let streams: Vec<String> = state.streams.iter().map(|s| s.stream_id.clone()).collect();
        process.machine.meeting_is(now, state);
        for stream in streams {
            let due = self.process(name).and_then(|process| {
                let (_, stream) = process.stream_mut(&stream)?;
                (stream.phase != StreamPhase::Receiving && stream.connecting.is_none())
                    .then_some(stream.next_try)
            });
            if let Some(due) = due {
                let run = self.nodes[name].run;
                self.at(due, name, run, Happens::Try { stream });
            }
        }
        self.save_soon(name);
        self.drain_outputs(name);
    }

    fn drain_outputs(&mut self, name: &str) {
        while let Some(output) = self.process(name).and_then(|p| p.machine.poll_output()) {
            self.output(name, output);
        }
        self.wake(name);
    }

    fn output(&mut self, name: &str, output: Output) {
        let now = self.now;
        if !matches!(output, Output::Call(..) | Output::Permit { .. }) {
            self.note(|| format!("{name}: {output:?}"));
        }
        match output {
            Output::Call(id, call) => {
                let second = (now - self.began).as_secs();
                self.calls.0 = if self.calls.1 == second {
                    self.calls.0 + 1
                } else {
                    0
                };
                self.calls.1 = second;
                assert!(
                    self.calls.0 < CALLS_MAX,
                    "{name} asks again and again: {call:?}"
                );
                // One connection: questions arrive in their order.
                let arrives = now + ms(self.random.below(3));
                let node = self.nodes.get_mut(name).expect("it has just said so");
                node.asks_at = node.asks_at.max(Some(arrives));
                let (at, run) = (node.asks_at.unwrap_or(arrives), node.run);
                self.at(
                    at,
                    name,
                    run,
                    Happens::Asked {
                        id,
                        call,
                        sent: now,
                    },
                );
            }
            Output::Deliver { number } => {
                let body = self.nodes[name].disk.intents.get(&number).cloned();
                if let Some(told) = body.and_then(|body| Told::parse(&body)) {
                    self.coordinate(name, &told);
                }
            }
            Output::DeliverQueued { ticket, body } => {
                if let Some(told) = Told::parse(&body) {
                    self.coordinate(name, &told);
                }
                if let Some(process) = self.process(name) {
                    process.to_save.push(ticket);
                }
                self.save_soon(name);
            }
            Output::Settle { number } => {
                if let Some(process) = self.process(name) {
                    process.to_settle.insert(number);
                }
                self.save_soon(name);
            }
            Output::Adopt(adoption) => {
                if let Some(process) = self.process(name) {
                    let entry = process
                        .meetings
                        .entry(adoption.meeting.clone())
                        .or_default();
                    entry.adopt(now, &adoption.record.entry, adoption.window);
                }
                self.state_changed(name, &adoption.meeting.clone());
            }
            Output::Resume { meeting } => {
                if let Some(process) = self.process(name) {
                    process.resume(now, &meeting);
                }
                self.state_changed(name, &meeting);
            }
            Output::GiveUp {
                meeting,
                streams,
                is_all,
                ..
            } => {
                self.give_up(name, &meeting, &streams, is_all);
            }
            Output::Release { meeting, heir } => {
                self.after(ms(30), name, Happens::Released { meeting, heir });
            }
            Output::Permit { until } => {
                assert!(until <= now + secs(4), "a permit that outlives its beat");
                if let Some(process) = self.process(name) {
                    process.permit = Some(until);
                }
            }
            Output::Once { stream_id } => {
                let process = self.process(name).expect("it has just said so");
                assert!(
                    process.permit.is_none_or(|until| now >= until),
                    "a try beside the permit"
                );
                if let Some((_, stream)) = process.stream_mut(&stream_id) {
                    stream.has_once = true;
                    if stream.connecting.is_none() {
                        let run = self.nodes[name].run;
                        self.at(now, name, run, Happens::Try { stream: stream_id });
                    }
                }
            }
            Output::Discard {
                ticket, stream_id, ..
            } => {
                if let Some(process) = self.process(name) {
                    process.discarded.insert(stream_id);
                    process.to_save.push(ticket);
                }
                self.save_soon(name);
            }
            Output::Took(took, time) => {
                if let Some(process) = self.process(name) {
                    process.took.push((took, time));
                }
            }
            Output::Log(severity, text) => {
                if severity > Severity::Debug
                    && let Some(process) = self.process(name)
                {
                    process.logs.push((now, text));
                }
            }
            Output::Exit(_, text) => {
                self.end_process(name);
                if let Some(node) = self.nodes.get_mut(name) {
                    node.exits.push(text);
                }
            }
            Output::Drained => {
                let conns = self.end_process(name);
                assert!(conns.is_empty(), "{name} leaves with {conns:?}");
            }
        }
    }

    fn give_up(&mut self, name: &str, meeting: &str, streams: &[String], is_all: bool) {
        let process = self.process(name).expect("it has just said so");
        let newer = process.newer.get(meeting).cloned();
        let epoch = process.machine.epoch(meeting);
        match process.left.get_mut(meeting) {
            Some(left) if !is_all => left.streams.retain(|id, _| !streams.contains(id)),
            _ => {
                process.left.remove(meeting);
            }
        }
        let Some(entry) = process.meetings.get_mut(meeting) else {
            return;
        };
        let mut closed = Vec::new();
        for id in streams {
            let Some(stream) = entry.streams.remove(id) else {
                continue;
            };
            if stream.phase == StreamPhase::Receiving {
                let record = newer
                    .as_ref()
                    .expect("no node has said that it is another's");
                let theirs = record.streams.iter().find(|(theirs, _)| theirs == id);
                assert!(
                    theirs.is_some_and(|(_, phase)| *phase == StreamPhase::Receiving)
                        && epoch.is_none_or(|epoch| record.epoch > epoch),
                    "{name} closes {id}, which it receives under {epoch:?}, for {record:?}"
                );
            }
            closed.extend(
                [stream.conn, stream.connecting]
                    .into_iter()
                    .flatten()
                    .map(|c| (id.clone(), c)),
            );
        }
        if is_all {
            entry.is_live = false;
            assert!(entry.streams.is_empty(), "{name} has more than it gives up");
            process.meetings.remove(meeting);
        }
        process.entries.remove(meeting);
        for (stream, conn) in closed {
            self.at(self.now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        if is_all {
            self.save_soon(name);
        } else {
            self.state_changed(name, meeting);
        }
    }

    /// The sockets are closed for the heir.
    fn released(&mut self, name: &str, meeting: &str, _heir: &str) {
        let now = self.now;
        let Some(process) = self.process(name) else {
            return;
        };
        let Some(entry) = process.meetings.get_mut(meeting) else {
            return;
        };
        let mut closed = Vec::new();
        let parcel = entry.pack();
        for (id, stream) in &mut entry.streams {
            closed.extend(
                [stream.conn.take(), stream.connecting.take()]
                    .into_iter()
                    .flatten()
                    .map(|c| (id.clone(), c)),
            );
            stream.phase = StreamPhase::Lost;
            // It does not connect again.
            stream.next_try = now + secs(1000);
        }
        let tails = entry
            .streams
            .keys()
            .map(|id| (id.clone(), vec![0; 8]))
            .collect();
        process.machine.handle_released(now, meeting, parcel, tails);
        for (stream, conn) in closed {
            self.at(now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        self.drain_outputs(name);
    }

    // Connections.

    fn try_stream(&mut self, name: &str, id: &str) {
        let now = self.now;
        let run = self.nodes[name].run;
        self.next_conn += 1;
        let conn = self.next_conn;
        let Some(process) = self.process(name) else {
            return;
        };
        let is_permitted = process.permit.is_some_and(|until| now < until);
        let Some((meeting, stream)) = process.stream_mut(id) else {
            return;
        };
        let meeting = meeting.clone();
        if stream.phase == StreamPhase::Receiving || stream.connecting.is_some() {
            return;
        }
        if now >= stream.until {
            let stamp = stream.stamp;
            let entry = process.meetings.get_mut(&meeting).expect("it was there");
            entry.end(id, stamp);
            self.note(|| format!("{name}: the window of {id} is over"));
            return self.state_changed(name, &meeting);
        }
        let is_once = stream.has_once;
        if now < stream.next_try && !is_once {
            return;
        }
        if !is_permitted && !is_once {
            stream.next_try = now + ms(50);
            return self.at(
                now + ms(50),
                name,
                run,
                Happens::Try {
                    stream: id.to_owned(),
                },
            );
        }
        stream.has_once = false;
        stream.connecting = Some(conn);
        if !is_permitted {
            self.tries_without_permit += 1;
        }
        self.note(|| format!("{name} connects to {id}"));
        let delay = ms(3 + self.random.below(40));
        self.at(
            now + delay,
            name,
            run,
            Happens::Connects {
                stream: id.to_owned(),
                conn,
            },
        );
    }

    fn connects(&mut self, name: &str, run: u64, stream: String, conn: ConnId) {
        // The process may be gone, or have given the stream up.
        let is_there = self
            .nodes
            .get(name)
            .is_some_and(|node| node.run == run && node.process.is_some());
        if !is_there {
            return;
        }
        let answer = self.zoom.connect(&stream, conn, name);
        self.note(|| format!("zoom answers {name} for {stream}: {answer:?}"));
        let (phase, is_refused) = match answer {
            Answer::Accepted(displaced) => {
                if let Some((conn, node)) = displaced {
                    let closed = Happens::Closed {
                        stream: stream.clone(),
                        conn,
                    };
                    self.after(ms(5), &node, closed);
                }
                let displaced = self.zoom.streams[&stream].displaced;
                assert!(
                    displaced <= DISPLACED_MAX,
                    "{stream} is displaced again and again"
                );
                (Some(StreamPhase::Receiving), false)
            }
            Answer::Refused => (None, true),
            Answer::Unknown => (None, false),
        };
        let answer = Happens::Answer {
            stream,
            conn,
            answer: phase,
            is_refused,
        };
        self.at(self.now + ms(5), name, run, answer);
    }

    fn answered(
        &mut self,
        name: &str,
        id: &str,
        conn: ConnId,
        answer: Option<StreamPhase>,
        is_refused: bool,
    ) {
        let (now, unix_ms) = (self.now, self.unix_ms());
        let Some(process) = self.process(name) else {
            return;
        };
        let found = process
            .stream_mut(id)
            .filter(|(_, stream)| stream.connecting == Some(conn));
        let Some((meeting, stream)) = found else {
            // It was given up meanwhile.
            if answer.is_some() {
                self.at(
                    now + ms(5),
                    "",
                    0,
                    Happens::Missed {
                        stream: id.to_owned(),
                        conn,
                    },
                );
            }
            return;
        };
        let meeting = meeting.clone();
        stream.connecting = None;
        match answer {
            Some(_) => {
                stream.conn = Some(conn);
                stream.phase = StreamPhase::Receiving;
                stream.is_refused = false;
                stream.accepted_ms = unix_ms;
                stream.accepted = Some(now);
            }
            None if is_refused => {
                stream.is_refused = true;
                stream.next_try = now + secs(3);
            }
            None => {
                let stamp = stream.stamp;
                let entry = process.meetings.get_mut(&meeting).expect("it was there");
                entry.end(id, stamp);
            }
        }

        self.state_changed(name, &meeting);
    }

    fn closed(&mut self, name: &str, id: &str, conn: ConnId) {
        let now = self.now;
        let is_over = self
            .zoom
            .streams
            .get(id)
            .is_none_or(|stream| stream.is_over);
        let Some(process) = self.process(name) else {
            return;
        };
        let found = process.stream_mut(id);
        let Some((meeting, _)) =
            found.filter(|(_, s)| s.conn == Some(conn) || s.connecting == Some(conn))
        else {
            return;
        };
        let meeting = meeting.clone();
        self.note(|| format!("{name}: the connection of {id} is closed"));
        let process = self.process(name).expect("it was there");
        let entry = process.meetings.get_mut(&meeting).expect("it was there");
        if is_over {
            let stamp = entry.streams[id].stamp;
            entry.end(id, stamp);
        } else if let Some(stream) = entry.streams.get_mut(id) {
            stream.lose(now);
        }
        self.state_changed(name, &meeting);
    }

    /// The record of a meeting.
    pub(crate) fn record(&mut self, meeting: &str) -> Option<Record> {
        let codec = codec(Member {
            node: "unknown".to_owned(),
            boot: Boot(1),
        });
        let call = Call::Read {
            meeting: meeting.to_owned(),
        };
        let store_ms = self.store_ms();
        let values: Vec<Value> = (codec.encode(&call).iter())
            .map(|command| self.store.call(store_ms, command))
            .collect();
        match codec.decode(&call, self.now, &values) {
            Reply::Read { record } => record,
            reply => panic!("{reply:?}"),
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

fn codec(me: Member) -> Codec {
    Codec::new("app", "secret", "default", me)
}
