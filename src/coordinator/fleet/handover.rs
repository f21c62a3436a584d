//! Gives everything away: a planned stop.
//!
//! Per meeting: [`Output::Release`] closes its sockets so that Zoom keeps its streams open; when the daemon says
//! that they are closed, the record goes to the heir, with what it needs; the coordinator then ends its streams
//! as handed over. The heir has five seconds to take it, else the next one gets it. "Taken" means that the
//! heir's record says so, not that it receives: from then on its own rules hold.
//!
//! Nothing is released while the store does not answer; what was released a moment before is connected again, by
//! the store-down rule. A stream of a meeting whose record another node has stays here to the end: no node could
//! be told of it.

use std::time::{Duration, Instant};

use super::call::{Call, Claimable, Member, Tail};
use super::face::Output;
use super::machine::{Machine, Subject, TICK};
use super::meetings::{Guard, Guarded, Parcel, Release};
use super::record::Record;
use super::resolve::End;
use super::view::DEAD;
use crate::domain::severity::Severity;

/// Meetings released in a tick at most: fifty a second, evenly, so that few streams join at one moment.
pub const RELEASES_A_TICK: usize = 10;

/// The row says "draining" for this long before it goes: balancers need two checks.
pub const DRAIN_MIN: Duration = Duration::from_secs(5);

/// An heir has this long to take a meeting.
const HEIR_MAX: Duration = Duration::from_secs(5);

/// How soon after a hand-over its record is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A planned stop.
#[derive(Debug)]
pub(super) struct Drain {
    since: Instant,
    is_stuck_told: bool,
    /// The row is being removed: no beat any more.
    pub(super) is_leaving: bool,
    pub(super) is_gone: bool,
}

impl Parcel {
    fn call(&self, id: &str, heir: &Member) -> Call {
        Call::Hand {
            meeting: id.to_owned(),
            epoch: self.epoch,
            heir: heir.clone(),
            entry: self.entry.clone(),
            tails: self.tails.clone(),
        }
    }
}

impl Machine {
    pub(super) fn begin_drain(&mut self, now: Instant) {
        if self.drain.is_some() {
            return;
        }
        self.drain = Some(Drain {
            since: now,
            is_stuck_told: false,
            is_leaving: false,
            is_gone: false,
        });
        self.drop_takeovers();
        self.beat_soon(now);
    }

    /// Once a tick: releases some meetings, the smallest first; leaves when there is none.
    pub(super) fn drain_some(&mut self, now: Instant) {
        if self.drain.as_ref().is_none_or(|drain| drain.is_leaving) {
            return;
        }
        if self.is_store_there(now) {
            self.release_some(now);
        }
        self.leave_if_empty(now);
    }

    fn release_some(&mut self, now: Instant) {
        let mut ids: Vec<(usize, String)> = Vec::new();
        for (id, meeting) in &self.meetings {
            if let Some(held) = &meeting.held
                && meeting.is_served()
                && meeting.wish.is_none()
                && held.epoch > 0
                && held.rival.is_none()
                && !held.is_over
                && held.entry.is_some()
            {
                ids.push((held.streams.len(), id.clone()));
            }
        }
        ids.sort_unstable();
        for (_, id) in ids.into_iter().take(RELEASES_A_TICK) {
            let Some(choice) = self.view.place(&id, false, None) else {
                return self.nobody_takes(&id);
            };
            self.view.count_placed(now, &choice.to.node);
            let Some(held) = self.meetings.get_mut(&id).and_then(|m| m.held.as_mut()) else {
                continue;
            };
            let heir = choice.to.node.clone();
            held.release = Some(Release {
                heir: choice.to,
                parcel: None,
            });
            self.outputs.push_back(Output::Release {
                meeting: id.clone(),
                heir,
            });
            self.note(&id);
        }
    }

    fn nobody_takes(&mut self, id: &str) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        if !std::mem::replace(&mut drain.is_stuck_told, true) {
            let text = format!(
                "no other node takes meeting {id}: start one, or this one's streams wait for its restart"
            );
            self.log(Severity::Error, text);
        }
    }

    /// The sockets are closed.
    pub(super) fn released(
        &mut self,
        now: Instant,
        id: &str,
        entry: Vec<u8>,
        tails: Vec<(String, Tail)>,
    ) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        let epoch = held.epoch;
        let Some(release) = &mut held.release else {
            return;
        };
        release.parcel = Some(Parcel {
            epoch,
            entry,
            tails,
        });
        self.step(now, id);
    }

    /// Gives the record to the heir.
    pub(super) fn hand(&mut self, now: Instant, id: &str) {
        let Some(held) = self.meetings.get(id).and_then(|m| m.held.as_ref()) else {
            return;
        };
        if let Some(Release {
            heir,
            parcel: Some(parcel),
        }) = &held.release
        {
            let call = parcel.call(id, heir);
            self.ask_for(now, id, call);
        }
    }

    /// The store has lost the record before the heir has taken it.
    pub(super) fn hand_again(&mut self, now: Instant, id: &str) {
        let choice = self.view.place(id, false, None);
        let Some(guard) = self.meetings.get_mut(id).and_then(|m| m.guard.as_mut()) else {
            return;
        };
        guard.due = now + LOOK_AFTER;
        if let (Some(choice), Some(parcel)) = (choice, &guard.parcel) {
            let call = parcel.call(id, &choice.to);
            self.ask_for(now, id, call);
        }
    }

    /// The heir has the record.
    pub(super) fn handed(&mut self, now: Instant, id: &str, heir: &Member, epoch: u64) {
        let held = self.meetings.get_mut(id).and_then(|m| m.held.as_mut());
        let parcel = held.and_then(|held| held.release.take()?.parcel);
        self.hand_done(id, &heir.node);
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let guard = meeting.guard.get_or_insert_with(|| Guard {
            node: heir.node.clone(),
            since: now,
            due: now,
            what: Guarded::Handed,
            events: Vec::new(),
            parcel,
        });
        heir.node.clone_into(&mut guard.node);
        guard.since = now;
        guard.due = now + LOOK_AFTER;
        if let Some(parcel) = &mut guard.parcel {
            parcel.epoch = epoch;
        }
    }

    /// The heir's queue has no room: the next one gets it, or the same one later.
    pub(super) fn heir_is_full(&mut self, now: Instant, id: &str, heir: &Member) {
        let choice = self.view.place(id, false, Some(&heir.node));
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        meeting.not_before = Some(now + TICK);
        if let (Some(choice), Some(held)) = (choice, &mut meeting.held)
            && let Some(release) = &mut held.release
        {
            release.heir = choice.to;
        }
    }

    /// The record is another's already: what that one does not know runs on here.
    pub(super) fn hand_refused(&mut self, now: Instant, id: &str, record: &Record) {
        self.take_back(id);
        self.is_anothers(now, id, record);
    }

    /// No node can get what was released: it is connected again.
    pub(super) fn take_back(&mut self, id: &str) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        if held.release.take().is_some() {
            let meeting = id.to_owned();
            self.outputs.push_back(Output::Resume { meeting });
        }
    }

    fn hand_done(&mut self, id: &str, owner: &str) {
        let Some(held) = self.meetings.get(id).and_then(|m| m.held.as_ref()) else {
            return;
        };
        let streams = held.streams.iter().map(|s| s.stream_id.clone()).collect();
        self.let_go(id, streams, true, Some(owner.to_owned()));
        if let Some(meeting) = self.meetings.get_mut(id) {
            meeting.owner = Some(owner.to_owned());
        }
    }

    /// The heir has not taken it yet: the next one gets it.
    pub(super) fn heir_is_slow(&mut self, now: Instant, id: &str, record: &Record) {
        let Some(guard) = self.meetings.get_mut(id).and_then(|m| m.guard.as_mut()) else {
            return;
        };
        let heir = record.owner.node.clone();
        guard.due = now + LOOK_AFTER;
        if now.saturating_duration_since(guard.since) < HEIR_MAX {
            return;
        }
        let Some(choice) = self.view.place(id, false, Some(&heir)) else {
            // It is the only one; it finds the meeting in its queue, or among its own.
            return self.end_guard(id, End::Done);
        };
        let text = format!(
            "node {heir} does not take meeting {id}: given to {}",
            choice.to.node
        );
        self.log(Severity::Warn, text);
        let call = Call::Claim {
            meeting: id.to_owned(),
            expected: Some(heir),
            to: choice.to,
            when: Claimable::Dead(DEAD),
            messages: Vec::new(),
        };
        self.ask_for(now, id, call);
    }

    fn leave_if_empty(&mut self, now: Instant) {
        let Some(drain) = &self.drain else {
            return;
        };
        let is_empty = self.meetings.is_empty()
            && self.findings.is_empty()
            && self.broadcasts.is_empty()
            && self.has_no_removals()
            && !self.beats.is_under_way;
        if !is_empty || now.saturating_duration_since(drain.since) < DRAIN_MIN {
            return;
        }
        let is_store_there = self.is_store_there(now);
        if let Some(drain) = &mut self.drain {
            drain.is_leaving = true;
        }
        if is_store_there {
            let Member { node, boot } = self.config.me.clone();
            self.ask(now, Subject::OwnRow, Call::RemoveRow { node, boot });
        } else {
            self.has_left();
        }
    }

    pub(super) fn has_left(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.is_gone = true;
        }
        self.outputs.push_back(Output::Drained);
    }
}
