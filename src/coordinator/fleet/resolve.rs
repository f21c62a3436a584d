//! What happens to an event: ours, another node's, no node's yet.
//!
//! Events of a meeting are handled in the order of their arrival, one call at a time. [`Machine::step`] looks at
//! a meeting and makes the next call; what it does depends on nothing but what is kept of the meeting, so it may
//! be called at any time. A start whose owner does not read its queue is taken out of that order.

use std::time::{Duration, Instant};

use super::call::{Call, Claimable, Member, Message, Reply, Routed};
use super::face::{Kind, Output};
use super::machine::{Machine, TICK};
use super::meetings::{Event, Origin, Wish};
use super::record::{Record, StreamPhase};
use super::view::{DEAD, HINT, HINT_STILL, STILL};
use crate::domain::severity::Severity;

/// Answers "another node" in a row before a pause.
const MOVES_MAX: u8 = 3;

/// Pause before the same question is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// "There is no record" must hold for this long before an end is believed to be no node's.
pub(super) const NONE_MAX: Duration = Duration::from_secs(2);

/// An owner of another boot has this long to take back what is its own.
pub(super) const RESTART_MAX: Duration = Duration::from_secs(6);

/// A start whose owner's queue is full for this long is taken here, unless its owner receives the stream.
const FULL_MAX: Duration = Duration::from_secs(5);

impl Machine {
    /// An event of that meeting.
    pub(super) fn came_for(&mut self, now: Instant, id: &str, event: Event) {
        let is_store_there = self.is_store_there(now);
        let meeting = self.meetings.entry(id.to_owned()).or_default();
        if is_store_there && let Some(held) = &mut meeting.held {
            held.confirm_if_idle(now);
        }
        if meeting.is_ours_alone() && meeting.waiting.is_empty() {
            return self.deliver(event);
        }
        if (meeting.held.as_ref()).is_some_and(|held| held.shares(&event)) {
            match event.origin {
                Origin::Intent(number) => self.outputs.push_back(Output::Deliver { number }),
                Origin::Queue(_) => return self.deliver(event),
            }
        }
        meeting.waiting.push_back(event);
        self.waiting += 1;
        self.step(now, id);
    }

    /// The store says that a meeting is ours.
    pub(super) fn was_given(&mut self, now: Instant, id: &str) {
        let from = Some(self.config.me.node.clone());
        let meeting = self.meetings.entry(id.to_owned()).or_default();

        meeting.wish = Some(Wish { from, limit: DEAD });
        meeting.not_before = None;
        self.step(now, id);
    }

    /// Does what is next for a meeting.
    pub(super) fn step(&mut self, now: Instant, id: &str) {
        self.deliver_if_served(id);
        let Some(meeting) = self.meetings.get(id) else {
            return self.note(id);
        };
        let waits = meeting.not_before.is_some_and(|at| now < at);
        if meeting.call.is_some() || waits {
            return self.note(id);
        }
        if !self.is_store_there(now) {
            self.step_without_store(now, id);
            return self.note(id);
        }
        let held = meeting.held.as_ref();
        if let Some(wish) = &meeting.wish {
            let wish = wish.clone();
            self.claim(now, id, &wish);
        } else if held.is_some_and(|held| held.release.is_some()) {
            self.hand(now, id);
        } else if held.is_some_and(|held| held.is_to_publish(now)) {
            self.publish(now, id);
        } else if !meeting.waiting.is_empty() {
            self.route(now, id);
        } else if meeting.guard.as_ref().is_some_and(|guard| now >= guard.due) {
            self.look_after(now, id);
        }
        self.note(id);
    }

    /// What is ours needs no store.
    pub(super) fn deliver_if_served(&mut self, id: &str) {
        while let Some(meeting) = self.meetings.get_mut(id)
            && meeting.is_ours_alone()
            && let Some(event) = meeting.waiting.pop_front()
        {
            self.waiting -= 1;
            self.deliver(event);
        }
    }

    pub(super) fn claim(&mut self, now: Instant, id: &str, wish: &Wish) {
        let call = Call::Claim {
            meeting: id.to_owned(),
            expected: wish.from.clone(),
            to: self.config.me.clone(),
            when: Claimable::Dead(wish.limit),
            messages: Vec::new(),
        };
        self.ask_for(now, id, call);
    }

    fn route(&mut self, now: Instant, id: &str) {
        let Some(meeting) = self.meetings.get(id) else {
            return;
        };
        let Some(event) = meeting.waiting.front() else {
            return;
        };
        let call = Call::Route {
            meeting: id.to_owned(),
            expected: meeting.owner.clone(),
            dead_after: match event.about.kind {
                Kind::StreamInterrupted => HINT,
                _ => DEAD,
            },
            message: Message::Event(event.body.clone()),
        };
        self.ask_for(now, id, call);
    }

    /// The answer to the call of a meeting.
    pub(super) fn meeting_answered(&mut self, now: Instant, id: &str, call: Call, reply: Reply) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        meeting.call = None;
        let is_own = match &call {
            Call::Publish { .. } => true,
            Call::Claim { to, .. } => *to == self.config.me,
            _ => false,
        };
        let is_answered = is_own && reply != Reply::Failed;
        match (call, reply) {
            (call, Reply::Failed) => {
                meeting.not_before = Some(now + TICK);
                if matches!(call, Call::Publish { .. }) {
                    self.publish_failed(id);
                }
            }
            (Call::Route { expected, .. }, Reply::Routed(routed)) => {
                self.routed(now, id, expected, routed);
            }
            (Call::Claim { .. }, reply) if is_own => self.claimed(now, id, reply),
            (Call::Claim { to, .. }, reply) => match meeting.is_released() {
                true => self.next_heir(now, id, &to, &reply),
                false => self.placed(now, id, &to, reply),
            },
            (Call::Publish { streams, .. }, Reply::Ok { epoch }) => {
                self.published(now, id, epoch, &streams);
            }
            (Call::Publish { streams, .. }, Reply::Overwritten { epoch, before }) => {
                self.has_overwritten(now, id, epoch, &streams, before);
            }
            (Call::Publish { streams, .. }, Reply::Bare { epoch }) => {
                self.published(now, id, epoch, &streams);
                self.publish_entry(id);
            }
            (Call::Publish { .. }, Reply::Newer(record)) => self.is_anothers(now, id, &record),
            (Call::Hand { .. }, Reply::Ok { epoch }) => self.handed(now, id, Some(epoch)),
            (Call::Send { .. }, Reply::Sent { has_room: true }) => self.handed(now, id, None),
            (Call::Send { .. }, Reply::Sent { .. }) => self.take_back(now, id),
            (Call::Hand { heir, .. }, Reply::QueueFull) => self.heir_is_full(now, id, &heir),
            (Call::Hand { .. }, Reply::Newer(record)) => self.hand_refused(now, id, &record),
            (Call::Read { .. }, Reply::Read { record }) => {
                if meeting.is_released() {
                    self.given_is(now, id, record);
                } else if meeting.full_since.is_some() {
                    self.owner_does_not_read(now, id, record.as_ref());
                } else {
                    self.looked_after(now, id, record);
                }
            }
            // Not an answer to the question: asked again.
            _ => meeting.not_before = Some(now + AGAIN),
        }
        if is_answered {
            self.is_confirmed(id);
        }
        self.step(now, id);
    }

    fn routed(&mut self, now: Instant, id: &str, expected: Option<String>, routed: Routed) {
        let is_settled = self.beats.is_settled(now);
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        if !matches!(routed, Routed::None) {
            meeting.none_since = None;
        }
        if !matches!(routed, Routed::Dead) {
            meeting.dead_since = None;
        }
        if !matches!(routed, Routed::Full) {
            meeting.full_since = None;
        }
        let front = meeting.waiting.front();
        let is_shared =
            (meeting.held.as_ref().zip(front)).is_some_and(|(held, it)| held.shares(it));
        if is_shared && !matches!(routed, Routed::Moved { .. } | Routed::Dead) {
            // It was delivered here before.
            let event = meeting.waiting.pop_front();
            self.waiting -= usize::from(event.is_some());
            return event.into_iter().for_each(|event| self.settle(event));
        }
        match routed {
            Routed::Queued => {
                meeting.begin_again();
                let Some(event) = meeting.waiting.pop_front() else {
                    return;
                };
                self.waiting -= 1;
                self.guard(now, id, expected.as_deref(), event);
            }
            Routed::Mine => {
                meeting.wish = Some(Wish {
                    from: Some(self.config.me.node.clone()),
                    limit: DEAD,
                });
            }
            Routed::Moved { owner } => {
                meeting.owner = Some(owner);
                meeting.moves += 1;
                if meeting.moves > MOVES_MAX {
                    meeting.moves = 0;
                    meeting.not_before = Some(now + AGAIN);
                }
            }
            Routed::None => {
                meeting.owner = None;
                let since = *meeting.none_since.get_or_insert(now);
                let kind = meeting.waiting.front().map(|event| event.about.kind);
                let begins = matches!(
                    kind,
                    Some(Kind::StreamStarts | Kind::MeetingBegins | Kind::ParticipantJoins)
                );
                let is_sure = begins || now.saturating_duration_since(since) >= NONE_MAX;
                if !is_settled || !is_sure {
                    // Who has it may not have published it yet.
                    meeting.not_before = Some(now + AGAIN);
                } else if begins {
                    self.place(now, id, Claimable::Free, None);
                } else {
                    // No node knows it: remembered here, in case that its start comes late.
                    let event = meeting.waiting.pop_front();
                    self.waiting -= usize::from(event.is_some());
                    event.into_iter().for_each(|event| self.deliver(event));
                }
            }
            Routed::Dead => self.owner_is_dead(now, id, expected),
            Routed::Full => self.queue_is_full(now, id),
        }
    }

    /// The owner's row is silent, or another process's.
    fn owner_is_dead(&mut self, now: Instant, id: &str, owner: Option<String>) {
        let is_settled = self.beats.is_settled(now);
        let takes = self.takes_meetings();
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let since = *meeting.dead_since.get_or_insert(now);
        let kind = meeting.waiting.front().map(|event| event.about.kind);
        let (limit, still) = match kind {
            Some(Kind::StreamInterrupted) => (HINT, HINT_STILL),
            _ => (DEAD, STILL),
        };
        let is_dead = match owner.as_deref() {
            Some(node) => self.view.is_dead(node, limit, still),
            None => false,
        };
        // A process that was restarted in place has some seconds to take back what is its own.
        let is_late = now.saturating_duration_since(since) >= RESTART_MAX;
        if !is_settled || !is_dead && !is_late {
            meeting.not_before = Some(now + AGAIN);
        } else if takes {
            meeting.wish = Some(Wish { from: owner, limit });
        } else {
            self.place(now, id, Claimable::Dead(limit), owner);
        }
    }

    fn queue_is_full(&mut self, now: Instant, id: &str) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let since = *meeting.full_since.get_or_insert(now);
        let is_start = |event: &Event| event.about.kind == Kind::StreamStarts;
        if !meeting.waiting.iter().any(is_start) || now.saturating_duration_since(since) < FULL_MAX
        {
            meeting.not_before = Some(now + AGAIN);
            return;
        }
        let meeting = id.to_owned();
        self.ask_for(now, id, Call::Read { meeting });
    }

    /// The record of a meeting whose owner's queue is full.
    fn owner_does_not_read(&mut self, now: Instant, id: &str, record: Option<&Record>) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let known = record.map_or(&[][..], |record| &record.streams);
        let receives = |stream: &str| {
            (known.iter()).any(|(id, phase)| id == stream && *phase == StreamPhase::Receiving)
        };
        // A repeated start would displace a connection that runs; a newer one is needed once that is lost.
        let is_needed = |event: &Event| {
            event.about.kind == Kind::StreamStarts
                && !event.about.stream.as_deref().is_some_and(receives)
        };
        let first = meeting.waiting.iter().position(is_needed);
        let Some(event) = first.and_then(|first| meeting.waiting.remove(first)) else {
            meeting.not_before = Some(now + AGAIN);
            return;
        };
        self.waiting -= 1;
        // Who receives owns: the record follows once Zoom has let us in.
        let owner = meeting.owner.clone().unwrap_or_default();
        let text = format!(
            "node {owner} does not empty its queue: its meeting {id} is received here; look at that node"
        );
        self.log(Severity::Error, text);
        self.deliver(event);
    }

    /// Whether this node may take a meeting.
    pub(super) fn takes_meetings(&self) -> bool {
        self.drain.is_none() && !self.beats.is_doubled()
    }

    /// Gives a meeting that no node has to a node, perhaps to this one.
    fn place(&mut self, now: Instant, id: &str, when: Claimable, expected: Option<String>) {
        let takes = self.takes_meetings();
        let full = self.meetings.get(id).and_then(|m| m.is_full.clone());
        let choice = self.view.place(id, takes, full.as_deref());
        let (to, is_overfull) = match choice {
            Some(choice) => (choice.to, choice.is_overfull),
            // Better late in one place than lost.
            None => (self.config.me.clone(), false),
        };
        let is_known = self.meetings.get(id).is_none_or(|m| m.is_full.is_some());
        if is_overfull && !is_known {
            let text = format!(
                "every node has as many streams as RTMS_NODE_STREAMS allows: meeting {id} goes to {} all the same; \
                 add a node",
                to.node
            );
            self.log(Severity::Error, text);
        }
        let Some(meeting) = self.meetings.get(id) else {
            return;
        };
        let is_mine = to == self.config.me;
        let event = meeting.waiting.front().filter(|_| !is_mine);
        let call = Call::Claim {
            meeting: id.to_owned(),
            expected,
            messages: event
                .map(|event| Message::Event(event.body.clone()))
                .into_iter()
                .collect(),
            to,
            when,
        };
        self.ask_for(now, id, call);
    }

    /// The answer to giving a meeting to another node.
    fn placed(&mut self, now: Instant, id: &str, to: &Member, reply: Reply) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        match reply {
            Reply::Claimed { .. } => {
                meeting.begin_again();
                meeting.owner = Some(to.node.clone());
                let event = meeting.waiting.pop_front();
                self.waiting -= usize::from(event.is_some());
                self.view.count_placed(now, &to.node);
                if let Some(event) = event {
                    self.guard(now, id, Some(&to.node), event);
                }
            }
            // The next question is for that owner, which may be the one that an earlier call has chosen.
            Reply::Held(record) => {
                meeting.owner = Some(record.owner.node);
                meeting.not_before = Some(now + TICK);
            }
            _ => {
                meeting.is_full = Some(to.node.clone());
                meeting.not_before = Some(now + TICK);
            }
        }
    }

    /// The answer to claiming a meeting for this node.
    fn claimed(&mut self, now: Instant, id: &str, reply: Reply) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let wish = meeting.wish.take();
        match reply {
            Reply::Claimed {
                epoch,
                before,
                tails,
                silent_for,
            } => self.is_ours(now, id, epoch, before, tails, silent_for),
            Reply::Held(record) if record.owner == self.config.me => {
                // An earlier call, whose reply was lost.
                meeting.wish = Some(Wish {
                    from: Some(record.owner.node),
                    limit: DEAD,
                });
                meeting.not_before = Some(now + TICK);
            }
            Reply::Held(record) => {
                let owner = record.owner.node;
                let is_same = wish.is_some_and(|wish| wish.from.as_ref() == Some(&owner));
                // Its owner lives, by the store.
                meeting.not_before = is_same.then(|| now + AGAIN);
                if let Some(held) = &mut meeting.held {
                    held.rival = Some(owner.clone());
                    held.ask_again = Some(now + AGAIN);
                }
                meeting.owner = Some(owner);
            }
            _ => {
                meeting.wish = wish;
                meeting.not_before = Some(now + AGAIN);
            }
        }
    }
}
