//! What must hold after the last fault.

use std::collections::BTreeSet;

use super::super::super::*;
use super::Play;
use super::world::secs;
use crate::domain::turn::Turn;

impl Play {
    pub(super) fn check(&mut self) {
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

    /// Of the nodes that are configured with the event WebSocket, one is to connect.
    pub(super) fn check_events(&self) {
        let processes = self
            .world
            .nodes
            .values()
            .filter_map(|node| node.process.as_ref());
        let (mut configured, mut turns) = (0, Vec::new());
        for process in processes {
            let is_sure = process.machine.node_state(self.world.now) == NodeState::Sure;
            configured += u32::from(is_sure && process.machine.events.subscription.is_some());
            turns.extend((process.turn == Turn::Ours).then(|| process.machine.name()));
        }
        assert_eq!(
            turns.len(),
            usize::from(configured > 0),
            "to connect: {turns:?}"
        );
    }

    /// The nodes that receive streams of a meeting.
    pub(super) fn receivers(&self, meeting: &str) -> BTreeSet<&str> {
        let streams = self.world.zoom.live().filter(|(_, s)| s.meeting == meeting);
        let nodes = streams.filter_map(|(_, s)| Some(s.conn.as_ref()?.1.as_str()));
        nodes.collect()
    }

    pub(super) fn end(&mut self) {
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
