//! Takes over what a dead node has left.
//!
//! Its queue is read first, so that a stop that waits there is known when the stream is taken. Then each
//! meeting is claimed by the node that rendezvous hashing puts first, and [`SECOND`] later by any node; no more
//! in a second than a node joins. What is left in the queue is routed again by the node that is first for the
//! dead node's name.
//!
//! An earlier process of the own name is treated alike, for what this process did not find in its state
//! directory: at a new disk it finds all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::call::{Boot, Call, Message, Queued, Reply};
use super::face::CallId;
use super::machine::{Machine, Subject};
use super::meetings::{Event, Origin, Wish};
use super::view::DEAD;
use crate::domain::severity::Severity;

/// After this time any node takes what no node has taken.
pub const SECOND: Duration = Duration::from_secs(2);

/// After this time even who has no room for it.
pub const THIRD: Duration = Duration::from_secs(10);

/// Meetings claimed in a second at most: less than a node joins in a second.
pub const CLAIMS_A_SECOND: u32 = 200;

/// How often the list is read again: at first, and after a minute.
const LIST_EVERY: Duration = Duration::from_secs(2);
const LIST_LATER: Duration = Duration::from_secs(60);

/// A node without meetings that is silent for so long has its row removed.
const ROW_MAX: Duration = Duration::from_secs(3600);

/// One dead node.
#[derive(Debug)]
pub(super) struct Takeover {
    /// The process that died; `None` for an earlier one of the own name.
    boot: Option<Boot>,
    since: Instant,
    call: Option<CallId>,
    has_read_queue: bool,
    /// Events of its queue whose meetings no node has claimed yet.
    entries: Vec<Event>,
    /// Meetings that it owned when last asked, and has not been asked for.
    owned: VecDeque<String>,
    list_at: Instant,
    /// Messages of its queue that tell it to delete files.
    pub(super) to_delete: usize,
}

/// How many claims are allowed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    second: Option<Instant>,
    claims: u32,
}

impl Pace {
    fn allows(&mut self, now: Instant) -> bool {
        let is_new = self
            .second
            .is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1));
        if is_new {
            self.second = Some(now);
            self.claims = 0;
        }
        self.claims += 1;
        self.claims <= CLAIMS_A_SECOND
    }
}

impl Takeover {
    fn new(now: Instant, boot: Option<Boot>) -> Takeover {
        Takeover {
            boot,
            since: now,
            call: None,
            has_read_queue: boot.is_none(),
            entries: Vec::new(),
            owned: VecDeque::new(),
            list_at: now,
            to_delete: 0,
        }
    }
}

impl Machine {
    /// What an earlier process of this name had, and this one does not know of.
    pub(super) fn take_own_leftovers(&mut self, now: Instant) {
        let node = self.config.me.node.clone();
        self.takeovers.insert(node, Takeover::new(now, None));
    }

    /// Others may have taken everything meanwhile.
    pub(super) fn drop_takeovers(&mut self) {
        let mut nodes: Vec<String> = self.takeovers.keys().cloned().collect();
        nodes.retain(|node| *node != self.config.me.node);
        nodes.iter().for_each(|node| self.drop_takeover(node));
    }

    fn drop_takeover(&mut self, node: &str) {
        for event in self
            .takeovers
            .remove(node)
            .into_iter()
            .flat_map(|t| t.entries)
        {
            self.waiting -= 1;
            self.drop_ticket(event.origin);
        }
    }

    /// Goes on with all take-overs.
    pub(super) fn take_over(&mut self, now: Instant) {
        let me = self.config.me.node.clone();
        let may = self.takes_meetings() && self.is_store_there(now);
        let dead: Vec<(String, Boot)> = match may && self.beats.is_settled(now) {
            true => (self.view.dead())
                .map(|row| (row.node.clone(), row.row.boot))
                .collect(),
            false => Vec::new(),
        };
        let is_over = |node: &String, takeover: &Takeover| {
            *node != me
                && !dead
                    .iter()
                    .any(|(dead, boot)| dead == node && Some(*boot) == takeover.boot)
        };
        let over: Vec<String> = (self.takeovers.iter())
            .filter(|(node, takeover)| is_over(node, takeover))
            .map(|(node, _)| node.clone())
            .collect();
        over.iter().for_each(|node| self.drop_takeover(node));
        for (node, boot) in dead {
            if !self.takeovers.contains_key(&node) {
                let text = format!("node {node} is silent: its meetings are taken over");
                self.log(Severity::Warn, text);
                self.takeovers.insert(node, Takeover::new(now, Some(boot)));
            }
        }
        if may {
            let nodes: Vec<String> = self.takeovers.keys().cloned().collect();
            nodes.iter().for_each(|node| self.take_over_from(now, node));
        }
    }

    fn take_over_from(&mut self, now: Instant, node: &str) {
        let Some(takeover) = self.takeovers.get(node) else {
            return;
        };
        if takeover.call.is_some() {
            return;
        }
        if !takeover.has_read_queue {
            let call = Call::ReadQueue {
                node: node.to_owned(),
            };
            return self.ask_of_dead(now, node, call);
        }
        if now >= takeover.since + SECOND {
            self.route_entries(now, node);
        }
        self.claim_some(now, node);
        let Some(takeover) = self.takeovers.get(node) else {
            return;
        };
        if takeover.owned.is_empty() && now >= takeover.list_at {
            let call = Call::Owned {
                node: node.to_owned(),
            };
            self.ask_of_dead(now, node, call);
        }
    }

    fn ask_of_dead(&mut self, now: Instant, node: &str, call: Call) {
        if !self.can_ask(now) {
            return;
        }
        let call = self.ask(now, Subject::DeadNode(node.to_owned()), call);
        if let Some(takeover) = self.takeovers.get_mut(node) {
            takeover.call = Some(call);
        }
    }

    pub(super) fn dead_answered(&mut self, now: Instant, node: &str, reply: Reply) {
        let is_me = node == self.config.me.node;
        let Some(takeover) = self.takeovers.get_mut(node) else {
            return;
        };
        takeover.call = None;
        match reply {
            Reply::Queue(entries) => {
                takeover.has_read_queue = true;
                self.keep_entries(now, node, entries);
            }
            Reply::Meetings(owned) => {
                let is_old = now.saturating_duration_since(takeover.since) >= LIST_LATER;
                takeover.list_at = now + if is_old { LIST_LATER } else { LIST_EVERY };
                // The own share comes first, also when any node may take the rest: else all claim the same ones.
                let (first, rest): (Vec<String>, Vec<String>) =
                    owned.into_iter().partition(|id| self.view.is_first(id));
                takeover.owned = first.into_iter().chain(rest).collect();
                let is_empty = takeover.owned.is_empty();
                if is_me {
                    // Once is enough: what cannot be claimed now is another's.
                    let owned = std::mem::take(&mut takeover.owned);
                    self.takeovers.remove(node);
                    for meeting in owned {
                        if self.meetings.get(&meeting).is_none_or(|m| m.held.is_none()) {
                            self.was_given(now, &meeting);
                        }
                    }
                } else if is_empty && takeover.entries.is_empty() {
                    // Without its row no node would read its queue.
                    self.remove_row_of(now, node);
                }
            }
            _ => {}
        }
        self.take_over(now);
    }

    fn remove_row_of(&mut self, now: Instant, node: &str) {
        let Some(row) = self.view.row(node) else {
            return;
        };
        if row.age >= ROW_MAX {
            let boot = row.row.boot;
            let node = node.to_owned();
            let about = Subject::DeadNode(node.clone());
            self.ask(now, about, Call::RemoveRow { node, boot });
        }
    }

    /// Events of the dead node's queue. The rest stays there for the node itself: what it must delete.
    fn keep_entries(&mut self, now: Instant, node: &str, entries: Vec<Queued>) {
        let is_discard = |it: &&Queued| matches!(it.message, Some(Message::Discard { .. }));
        if let Some(takeover) = self.takeovers.get_mut(node) {
            takeover.to_delete = entries.iter().filter(is_discard).count();
        }
        for entry in entries {
            let Some(Message::Event(body)) = entry.message else {
                continue;
            };
            let Some(about) = (self.config.read)(&body) else {
                continue;
            };
            if !self.has_room() {
                return;
            }
            let ticket = self.issue_ticket(node.to_owned(), entry.id);
            self.waiting += 1;
            if let Some(takeover) = self.takeovers.get_mut(node) {
                let origin = Origin::Queue(ticket);
                (takeover.entries).push(Event::new(now, origin, about, body));
            }
        }
    }

    /// A meeting was claimed: events that its dead owner did not take in.
    pub(super) fn give_entries(&mut self, id: &str) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        for takeover in self.takeovers.values_mut() {
            let (here, rest) = std::mem::take(&mut takeover.entries)
                .into_iter()
                .partition(|event| event.about.meeting.as_deref() == Some(id));
            takeover.entries = rest;
            let here: Vec<Event> = here;
            meeting.waiting.extend(here);
        }
    }

    /// Events that belong to no meeting that was claimed here.
    fn route_entries(&mut self, now: Instant, node: &str) {
        let is_first = self.view.is_first(node);
        let Some(takeover) = self.takeovers.get_mut(node) else {
            return;
        };
        for event in std::mem::take(&mut takeover.entries) {
            self.waiting -= 1;
            match (
                is_first,
                event.about.meeting.clone(),
                event.about.stream.clone(),
            ) {
                (true, Some(meeting), _) => self.came_for(now, &meeting, event),
                (true, None, Some(stream)) => self.came_for_stream(now, &stream, event),
                (true, None, None) => self.deliver(event),
                (false, ..) => self.drop_ticket(event.origin),
            }
        }
    }

    fn claim_some(&mut self, now: Instant, node: &str) {
        let Some(takeover) = self.takeovers.get_mut(node) else {
            return;
        };
        let age = now.saturating_duration_since(takeover.since);
        let mut owned = std::mem::take(&mut takeover.owned);
        let mut streams = self.streams.len() + self.wishes();
        while let Some(id) = owned.pop_front() {
            let is_known =
                (self.meetings.get(&id)).is_some_and(|m| m.is_ours_alone() || m.wish.is_some());
            let has_room = self.view.has_takeover_room(streams, self.config.capacity);
            if is_known || age < SECOND && !self.view.is_first(&id) || age < THIRD && !has_room {
                continue;
            }
            if !self.can_ask(now) || !self.pace.allows(now) {
                owned.push_front(id);
                break;
            }
            streams += 1;
            let meeting = self.meetings.entry(id.clone()).or_default();
            meeting.wish = Some(Wish {
                from: Some(node.to_owned()),
                limit: DEAD,
            });
            meeting.not_before = None;
            self.step(now, &id);
        }
        if let Some(takeover) = self.takeovers.get_mut(node) {
            takeover.owned = owned;
        }
    }
}
