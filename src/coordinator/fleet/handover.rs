//! A planned stop: gives every meeting away, see `release`, then removes the row.
//!
//! Nothing is released while the store does not answer; what was released a moment before is connected again, by
//! the store-down rule. A meeting that no node takes stays here until the daemon's patience ends.

use std::time::{Duration, Instant};

use super::call::{Call, Member};
use super::face::Output;
use super::guard::GUARD_MAX;
use super::machine::{Machine, Subject};
use crate::domain::severity::Severity;

/// Meetings released in a tick at most: fifty a second, evenly, so that few streams join at one moment.
pub const RELEASES_A_TICK: usize = 10;

/// The row says "draining" for this long before it goes: balancers need two checks.
pub const DRAIN_MIN: Duration = Duration::from_secs(5);

/// A planned stop.
#[derive(Debug)]
pub(super) struct Drain {
    since: Instant,
    is_stuck_told: bool,
    /// The row is being removed: no beat any more.
    pub(super) is_leaving: bool,
    pub(super) is_gone: bool,
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
        self.decide_events(now, None);
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
                return self.no_node_takes(&id);
            };
            self.view.count_placed(now, &choice.to.node);
            self.release(&id, choice.to);
        }
    }

    fn no_node_takes(&mut self, id: &str) {
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

    fn leave_if_empty(&mut self, now: Instant) {
        if !self.is_empty(now) || self.beats.is_under_way {
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

    /// Whether a node that drains has nothing left.
    fn is_empty(&self, now: Instant) -> bool {
        let Some(drain) = &self.drain else {
            return false;
        };
        let since = now.saturating_duration_since(drain.since);
        // A balancer that asks no node whether it is ready sends webhooks until the end. What was passed on lies in
        // the queue of another node, and here on the disk for the next process: it is not waited for without end.
        let mut meetings = self.meetings.values();
        since >= DRAIN_MIN
            && meetings.all(|meeting| since >= GUARD_MAX && meeting.is_passed_on())
            && self.findings.is_empty()
            && self.broadcasts.is_empty()
            && self.has_no_removals()
    }

    /// The answer of the store to the removal of the row. What came to this node meanwhile is given away, too.
    pub(super) fn row_removed(&mut self, now: Instant) {
        if self.is_empty(now) {
            return self.has_left();
        }
        if let Some(drain) = &mut self.drain {
            drain.is_leaving = false;
        }
        self.beat_soon(now);
    }

    fn has_left(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.is_gone = true;
        }
        self.outputs.push_back(Output::Drained);
    }
}
