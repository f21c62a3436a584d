//! The event WebSocket: which of the nodes with one subscription has the connection. Zoom has one for each
//! subscription, and a second one closes the first, so:
//!
//! - The store knows nothing of it but what each row says ([`EventsRow`]): the first of the living nodes that take
//!   meetings, by rendezvous hash, connects. It takes the place of another node that still runs: no gap. That one
//!   keeps its connection until Zoom closes it, and then does not connect again.
//! - A node judges others dead, and takes a connection that was not its own, when it has been sure for `SETTLE`:
//!   all others have seen its row by then. Sooner only who is alone, or goes on in place and finds it free.
//! - Whose turn it is and who does not get a connection for [`FAULT_MAX`] leaves it to the others for [`YIELD`].
//! - An unsure node may make its own connection again, see [`Turn::Unsure`]; whose it was not waits for the store.

use std::time::{Duration, Instant};

use super::call::{EventsRow, Row, SeenRow};
use super::face::{NodeState, Output};
use super::machine::Machine;
use super::view::{DEAD, STILL, first};
use crate::domain::severity::Severity;
use crate::domain::turn::Turn;

/// How often it is told that another node has the connection, for who starts when no node has had it for a while.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// Who gets no connection for this long lets another node try.
const FAULT_MAX: Duration = Duration::from_secs(20);

/// For this long; that one keeps the connection until the next one works.
const YIELD: Duration = Duration::from_secs(300);

/// What is known of the connection.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// `None` without a subscription.
    pub(super) subscription: Option<String>,
    /// Whether this process has the connection.
    is_connected: bool,
    /// Since when no connection can be made here though it is our turn, and until when it is left to others.
    fault_since: Option<Instant>,
    yields_until: Option<Instant>,
    /// What was told last.
    turn: Option<Turn>,
    /// When another node had it last, as far as known, and what was told of that.
    elsewhere: Option<Instant>,
    elsewhere_told: Option<Instant>,
}

impl Events {
    pub(super) fn new(subscription: Option<String>) -> Events {
        Events {
            subscription,
            ..Events::default()
        }
    }

    /// What the own row says.
    pub(super) fn row(&self) -> Option<EventsRow> {
        self.subscription.as_ref().map(|subscription| EventsRow {
            subscription: subscription.clone(),
            is_connected: self.is_connected,
            is_failing: self.yields_until.is_some(),
        })
    }
}

impl Machine {
    /// The event WebSocket of the settings, in few letters; `None` without one. The daemon's begins as another
    /// node's ([`Turn::Anothers`]).
    pub fn set_subscription(&mut self, now: Instant, subscription: Option<String>) {
        if self.events.subscription == subscription {
            return;
        }
        if subscription.is_none() || self.events.subscription.is_none() {
            self.events = Events::new(subscription);
        } else {
            self.events.subscription = subscription;
        }
        self.beat_soon(now);
        self.pump(now);
    }

    /// Whether the event WebSocket is connected here, or cannot be: Zoom is not reached, or refuses the token.
    pub fn set_events_state(&mut self, now: Instant, is_connected: bool, is_fault: bool) {
        let events = &mut self.events;
        events.is_connected = is_connected;
        events.yields_until = events.yields_until.filter(|until| now < *until);
        if !is_fault || events.turn != Some(Turn::Ours) {
            events.fault_since = None;
            return;
        }
        let since = *events.fault_since.get_or_insert(now);
        if now.saturating_duration_since(since) < FAULT_MAX {
            return;
        }
        events.fault_since = None;
        if events.yields_until.replace(now + YIELD).is_none() {
            let text = "no events can come to this node: another one that has ZOOM_EVENTS_URL is to connect, if \
                        there is one"
                .to_owned();
            self.log(Severity::Warn, text);
        }
    }

    /// The node that has the connection of our subscription, as the last good beat showed it.
    pub fn events_node(&self) -> Option<&str> {
        let subscription = self.events.subscription.as_ref()?;
        let rows = self.view.rows().iter();
        let mut having = rows.filter(|row| has_it(row, subscription) && !self.is_gone(row));
        having.next().map(|row| row.node.as_str())
    }

    /// To be called after a beat, and when this node's state may have changed. `before` is the own row before that
    /// beat.
    pub(super) fn decide_events(&mut self, now: Instant, before: Option<&Row>) {
        let Some(subscription) = self.events.subscription.clone() else {
            return;
        };
        let told = self.events.turn;
        let turn = match self.node_state(now) {
            NodeState::Sure => self.turn_of_sure(now, &subscription, before),
            NodeState::Unsure if told == Some(Turn::Ours) => Turn::Unsure,
            NodeState::Unsure | NodeState::Joining => return,
            NodeState::Draining | NodeState::Doubled | NodeState::Gone => Turn::Anothers,
        };
        self.events.turn = Some(turn);
        let others = self.view.others();
        let having: Vec<&SeenRow> = others.filter(|row| has_it(row, &subscription)).collect();
        let replaces = having.iter().any(|row| !self.is_gone(row));
        let seen = having.iter().filter_map(|row| now.checked_sub(row.age));
        let elsewhere = seen.max().max(self.events.elsewhere);
        self.events.elsewhere = elsewhere;
        let is_due = match (elsewhere, self.events.elsewhere_told) {
            (Some(at), Some(told)) => at.saturating_duration_since(told) >= TELL_EVERY,
            (at, _) => at.is_some(),
        };
        if told.unwrap_or(Turn::Anothers) == turn && !is_due {
            return;
        }
        self.events.elsewhere_told = elsewhere;
        self.outputs.push_back(Output::Events {
            turn,
            replaces,
            elsewhere: elsewhere.map(|at| now.saturating_duration_since(at)),
        });
    }

    fn turn_of_sure(&self, now: Instant, subscription: &str, before: Option<&Row>) -> Turn {
        let is_settled = self.beats.is_settled(now);
        let all: Vec<&SeenRow> = (self.view.rows().iter())
            .filter(|row| is_of(&row.row, subscription) && !row.row.is_draining)
            .filter(|row| !is_settled || !self.is_gone(row))
            .collect();
        // If no node gets a connection, it is not for want of another one.
        let is_failing = |row: &&SeenRow| row.row.events.as_ref().is_some_and(|it| it.is_failing);
        let all: Vec<&SeenRow> = match all.iter().all(is_failing) {
            true => all,
            false => all.into_iter().filter(|row| !is_failing(row)).collect(),
        };
        // Meetings are placed among nodes that have the same secrets: the connection is for most of them.
        let alike = |must: &str| all.iter().filter(|row| row.row.must == must).count();
        let musts = all.iter().map(|row| row.row.must.as_str());
        let must = musts.max_by_key(|must| (alike(must), *must));
        let among = all.iter().copied();
        let among = among.filter(|row| Some(row.row.must.as_str()) == must);
        let is_first = first(subscription, among).is_some_and(|row| row.node == self.name());
        let was_ours = matches!(self.events.turn, Some(Turn::Ours | Turn::Unsure));
        let is_in_place = before.is_some_and(|row| is_of(row, subscription));
        let is_free = !all.iter().any(|row| has_it(row, subscription));
        let is_early = self.events.turn.is_none() && is_free && (all.len() == 1 || is_in_place);
        match is_first && (was_ours || is_settled || is_early) {
            true => Turn::Ours,
            false => Turn::Anothers,
        }
    }

    /// Another node that is dead.
    fn is_gone(&self, row: &SeenRow) -> bool {
        row.node != self.name() && self.view.is_dead(&row.node, DEAD, STILL)
    }
}

fn is_of(row: &Row, subscription: &str) -> bool {
    let events = row.events.as_ref();
    events.is_some_and(|events| events.subscription == subscription)
}

fn has_it(row: &SeenRow, subscription: &str) -> bool {
    let events = row.row.events.as_ref();
    events.is_some_and(|events| events.subscription == subscription && events.is_connected)
}
