//! Nodes: they start, are killed, lost, stopped and drained.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::super::super::*;
use super::super::process::{Entry, Process, Told, read};
use super::store::codec;
use super::{ConnId, Happens, World, ms, secs};
use crate::domain::turn::Turn;

impl World {
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
            // One of the nodes has none.
            events: Some("w".to_owned()).filter(|_| name != "n1"),
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
            codec: Rc::new(codec(me.clone())),
            me,
            meetings: over,
            left,
            entries: BTreeMap::new(),
            permit: None,
            to_settle: Default::default(),
            to_save: Vec::new(),
            is_save_due: false,
            inbox_after: "0".to_owned(),
            inbox_read: None,
            inbox_idle: None,
            logs: Vec::new(),
            newer: BTreeMap::new(),
            is_draining: false,
            discarded: Default::default(),
            everyone: 0,
            rolled_back: 0,
            closing: Vec::new(),
            took: Vec::new(),
            turn: Turn::Anothers,
            events_told: Vec::new(),
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

    pub(super) fn end_process(&mut self, name: &str) -> Vec<(String, ConnId)> {
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

    /// The settings of a process change.
    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut Machine)) {
        if let Some(process) = self.process(name) {
            change(&mut process.machine);
        }
        self.drain_outputs(name);
    }

    /// Another process, on another disk, that is configured with the same name.
    pub(crate) fn start_twin(&mut self, name: &str, key: &str) {
        let name = name.to_owned();
        self.start_with(key, |config| config.me.node = name);
        if let Some(process) = self.process(key) {
            process.me.node = process.machine.name().to_owned();
            process.codec = Rc::new(codec(process.me.clone()));
        }
    }
}
