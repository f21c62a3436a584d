//! Queues: what other nodes have put into the own one, and a dead node's. An entry is removed when a restart would
//! know of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::call::{Call, Message, Queued, Reply};
use super::face::{Kind, Output};
use super::machine::{CALLS_MAX, EVENTS_MAX, Machine, Subject};
use super::meetings::{Event, Origin};

/// Entries of queues.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Taken in, by ticket: the node and the entry.
    tickets: BTreeMap<u64, (String, String)>,
    next_ticket: u64,
    /// Of the own queue, and known.
    pub(super) own_entries: BTreeSet<String>,
    /// To be removed, by node.
    pub(super) removals: BTreeMap<String, VecDeque<String>>,
}

impl Machine {
    pub(super) fn issue_ticket(&mut self, node: String, entry: String) -> u64 {
        self.queues.next_ticket += 1;
        self.queues
            .tickets
            .insert(self.queues.next_ticket, (node, entry));
        self.queues.next_ticket
    }

    /// Forgets an entry of a dead node's queue, which stays there.
    pub(super) fn drop_ticket(&mut self, origin: Origin) {
        if let Origin::Queue(ticket) = origin {
            self.queues.tickets.remove(&ticket);
        }
    }

    /// An entry of a queue was taken in.
    pub(super) fn remove(&mut self, ticket: u64) {
        if let Some((node, entry)) = self.queues.tickets.remove(&ticket) {
            self.queues
                .removals
                .entry(node)
                .or_default()
                .push_back(entry);
        }
    }

    pub(super) fn send_removals(&mut self, now: Instant) {
        let nodes: Vec<String> = self.queues.removals.keys().cloned().collect();
        for node in nodes {
            let about = Subject::Removal(node.clone());
            if !self.can_ask(now) || self.is_asked(&about) {
                continue;
            }
            let entries = self.queues.removals.get(&node).into_iter().flatten();
            let ids: Vec<String> = entries.take(CALLS_MAX).cloned().collect();
            self.ask(now, about, Call::Remove { node, ids });
        }
    }

    pub(super) fn removed(&mut self, node: &str, call: &Call, reply: &Reply) {
        let (Call::Remove { ids, .. }, Reply::Done) = (call, reply) else {
            return;
        };
        if let Some(entries) = self.queues.removals.get_mut(node) {
            entries.retain(|entry| !ids.contains(entry));
            if entries.is_empty() {
                self.queues.removals.remove(node);
            }
        }
        if node == self.config.me.node {
            ids.iter().for_each(|id| {
                self.queues.own_entries.remove(id);
            });
        }
    }

    pub(super) fn has_no_removals(&self) -> bool {
        self.queues.removals.is_empty() && self.queues.tickets.is_empty()
    }

    /// Whether entries of the own queue may be given. While not, the inbox does not read: events would be too
    /// many, or the queue is that of another process of our name.
    pub fn has_room(&self) -> bool {
        !self.beats.is_doubled()
            && self.waiting < EVENTS_MAX / 2
            && self.queues.tickets.len() < EVENTS_MAX
    }

    /// An entry of the own queue. The same one may be given again.
    pub fn handle_queued(&mut self, now: Instant, queued: Queued) {
        if !self.queues.own_entries.insert(queued.id.clone()) {
            return;
        }
        let ticket = self.issue_ticket(self.config.me.node.clone(), queued.id);
        match queued.message {
            None => self.remove(ticket),
            Some(Message::Take { meeting }) => {
                // If this process dies before it has claimed it, the next one finds it among its own.
                self.remove(ticket);
                self.was_given(now, &meeting);
            }
            Some(Message::Streams {
                meeting,
                from,
                entry,
                tails,
            }) => {
                self.remove(ticket);
                self.came_home(now, &meeting, from, entry, tails);
            }
            Some(Message::Discard {
                stream_id,
                withdrawal,
            }) => self.outputs.push_back(Output::Discard {
                ticket,
                stream_id,
                withdrawal,
            }),
            Some(Message::Event(body)) => match (self.config.read)(&body) {
                None => self.remove(ticket),
                Some(about) => {
                    let event = Event::new(now, Origin::Queue(ticket), about, body);
                    match event.about.kind {
                        Kind::Local | Kind::Everyone => self.deliver(event),
                        _ => self.take_in(now, event),
                    }
                }
            },
        }
        self.pump(now);
    }

    /// What was delivered with these tickets is saved or done.
    pub fn handle_saved(&mut self, now: Instant, tickets: &[u64]) {
        tickets.iter().for_each(|ticket| self.remove(*ticket));
        self.pump(now);
    }
}
