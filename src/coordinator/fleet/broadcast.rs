//! Messages for every node: a user has removed the app, consent was withdrawn.
//!
//! They go into the queue of each node that was seen since this process began, alive, dead, or gone for an upgrade: it
//! reads them when it comes back. A node that was never seen here misses them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::call::{Call, Message, Reply};
use super::face::Output;
use super::machine::{Machine, Subject, TICK};
use super::meetings::{Event, Origin};
use crate::domain::severity::Severity;

/// Broadcasts that wait at most.
const BROADCASTS_MAX: usize = 1024;

/// One message on its way.
#[derive(Debug)]
pub(super) struct Broadcast {
    number: u64,
    message: Message,
    /// The intent to be settled in the end.
    intent: Option<u64>,
    /// Nodes that do not have it, and when to try again; `None` until the nodes are known.
    left: Option<BTreeMap<String, Sending>>,
}

#[derive(Debug, Clone, Copy)]
enum Sending {
    UnderWay,
    At(Instant),
}

impl Broadcast {
    pub(super) fn message(&self) -> &Message {
        &self.message
    }
}

impl Machine {
    /// An event for every node: the own coordinator gets it at once.
    pub(super) fn tell_everyone(&mut self, now: Instant, event: Event) {
        let Origin::Intent(number) = event.origin else {
            return self.deliver(event);
        };
        self.outputs.push_back(Output::Deliver { number });
        self.broadcast(Message::Event(event.body), Some(number));
        self.send_broadcasts(now);
    }

    pub(super) fn broadcast(&mut self, message: Message, intent: Option<u64>) {
        if self.broadcasts.len() >= BROADCASTS_MAX {
            let text = "too many messages for all nodes wait for the store: one is dropped; other nodes may keep \
                        files whose consent was withdrawn, run rtmsd forget there";
            self.log(Severity::Error, text.to_owned());
            let settled = intent.map(|number| Output::Settle { number });
            return self.outputs.extend(settled);
        }
        self.next_broadcast += 1;
        self.broadcasts.push_back(Broadcast {
            number: self.next_broadcast,
            message,
            intent,
            left: None,
        });
    }

    pub(super) fn send_broadcasts(&mut self, now: Instant) {
        if !self.is_store_there(now) {
            return;
        }
        let nodes: Vec<String> = self.view.known().cloned().collect();
        let mut broadcasts: VecDeque<Broadcast> = std::mem::take(&mut self.broadcasts);
        for broadcast in &mut broadcasts {
            let at_once = || nodes.iter().map(|node| (node.clone(), Sending::At(now)));
            let left = broadcast.left.get_or_insert_with(|| at_once().collect());
            for (node, sending) in left.iter_mut() {
                let is_due = matches!(sending, Sending::At(at) if now >= *at);
                if !is_due || !self.can_ask(now) {
                    continue;
                }
                *sending = Sending::UnderWay;
                let about = Subject::Broadcast(broadcast.number, node.clone());
                let (node, message) = (node.clone(), broadcast.message.clone());
                self.ask(now, about, Call::Send { node, message });
            }
        }
        self.broadcasts = broadcasts;
        self.end_broadcasts();
    }

    pub(super) fn broadcast_done(&mut self, now: Instant, number: u64, node: &str, reply: &Reply) {
        let mut all = self.broadcasts.iter_mut();
        let Some(broadcast) = all.find(|broadcast| broadcast.number == number) else {
            return;
        };
        let Some(left) = &mut broadcast.left else {
            return;
        };
        match reply {
            Reply::Sent { has_room: true } => {
                left.remove(node);
                if let (Message::Discard { .. }, Some(dead)) =
                    (&broadcast.message, self.takeovers.get_mut(node))
                {
                    dead.to_delete += 1;
                }
            }
            _ => {
                left.insert(node.to_owned(), Sending::At(now + 5 * TICK));
            }
        }
        self.end_broadcasts();
    }

    fn end_broadcasts(&mut self) {
        let outputs = &mut self.outputs;
        self.broadcasts.retain(|broadcast| {
            let is_over = broadcast.left.as_ref().is_some_and(BTreeMap::is_empty);
            if is_over && let Some(number) = broadcast.intent {
                outputs.push_back(Output::Settle { number });
            }
            !is_over
        });
    }
}
