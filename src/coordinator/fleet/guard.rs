//! Keeps what was sent to another node until that has acted on it.
//!
//! A start, and the begin of a meeting: until the record says that its owner has it. An interruption, by which Zoom
//! says that a node may be gone: until that node is seen to live.

use std::time::{Duration, Instant};

use super::call::Call;
use super::face::Kind;
use super::machine::Machine;
use super::meetings::{Event, Guard, Guarded, Wish};
use super::record::{Phase, Record};
use super::resolve::AGAIN;
use super::view::{DEAD, HINT, HINT_STILL, STILL};
use crate::domain::severity::Severity;

/// After this time a start is repeated whose receiver has not acted on it.
pub const GUARD: Duration = Duration::from_secs(3);

/// A guard that has found nothing ends after this time.
pub(super) const GUARD_MAX: Duration = Duration::from_secs(12);

/// Events that a guard repeats at most.
const GUARDED_MAX: usize = 8;

/// Starts are sent again so often.
const REPEATS_MAX: u8 = 2;

/// What becomes of the events of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// They have reached their coordinator.
    Done,
    /// They are handled again.
    Again,
}

impl Machine {
    /// Keeps what was sent to another node until that has acted on it.
    pub(super) fn guard(&mut self, now: Instant, id: &str, node: Option<&str>, event: Event) {
        self.was_passed_on(now, &event);
        let what = match event.about.kind {
            Kind::StreamStarts | Kind::MeetingBegins => Guarded::Start,
            Kind::StreamInterrupted => Guarded::Interruption,
            _ => return self.settle(event),
        };
        let (Some(node), Some(meeting)) = (node, self.meetings.get_mut(id)) else {
            return self.settle(event);
        };
        let guard = meeting.guard.get_or_insert_with(|| {
            Box::new(Guard {
                node: node.to_owned(),
                since: now,
                due: now + GUARD,
                what,
                events: Vec::new(),
            })
        });
        node.clone_into(&mut guard.node);
        // An interruption needs less: a start among them decides.
        if guard.what == Guarded::Interruption {
            guard.what = what;
        }
        guard.since = now;
        guard.due = now + GUARD;
        if guard.events.len() < GUARDED_MAX {
            guard.events.push(event);
            self.waiting += 1;
        } else {
            self.settle(event);
        }
    }

    /// Looks whether a node has acted on what it was sent.
    pub(super) fn look_after(&mut self, now: Instant, id: &str) {
        let is_settled = self.beats.is_settled(now);
        let takes = self.takes_meetings();
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(guard) = &mut meeting.guard else {
            return;
        };
        let (limit, still) = match guard.what {
            Guarded::Interruption => (HINT, HINT_STILL),
            Guarded::Start => (DEAD, STILL),
        };
        if is_settled && takes && self.view.is_dead(&guard.node, limit, still) {
            let from = Some(guard.node.clone());

            self.end_guard(id, End::Again);
            if let Some(meeting) = self.meetings.get_mut(id) {
                meeting.wish = Some(Wish { from, limit });
            }
            return self.step(now, id);
        }
        if guard.what == Guarded::Interruption {
            let has_moved = self.view.has_moved_since(&guard.node, guard.since);
            let is_over = now.saturating_duration_since(guard.since) >= GUARD_MAX;
            guard.due = now + AGAIN;
            if is_over || has_moved && !self.view.is_dead(&guard.node, HINT, Duration::ZERO) {
                self.end_guard(id, End::Done);
            }
            return;
        }
        // Nothing waits, so this is not asked because of a full queue.
        meeting.full_since = None;
        let meeting = id.to_owned();
        self.ask_for(now, id, Call::Read { meeting });
    }

    /// Ends a guard: what it kept is done, or is handled again.
    pub(super) fn end_guard(&mut self, id: &str, end: End) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(guard) = meeting.guard.take() else {
            return;
        };
        match end {
            End::Done => {
                self.waiting -= guard.events.len();
                guard
                    .events
                    .into_iter()
                    .for_each(|event| self.settle(event));
            }
            End::Again => {
                for mut event in guard.events.into_iter().rev() {
                    event.repeats += 1;
                    meeting.waiting.push_front(event);
                }
            }
        }
    }

    /// The store has lost what was written, and perhaps what was sent: it counts as never sent.
    pub(super) fn forget_repeats(&mut self) {
        for meeting in self.meetings.values_mut() {
            let guarded = meeting.guard.iter_mut().flat_map(|guard| &mut guard.events);
            for event in guarded.chain(&mut meeting.waiting) {
                event.repeats = 0;
            }
        }
    }

    /// The record of a meeting that was given to another node.
    pub(super) fn looked_after(&mut self, now: Instant, id: &str, record: Option<Record>) {
        let takes = self.takes_meetings();
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(guard) = &mut meeting.guard else {
            return;
        };
        let is_late = now.saturating_duration_since(guard.since) >= GUARD_MAX;
        let Some(record) = record else {
            // The store has lost it.
            return self.end_guard(id, End::Again);
        };
        let is_there = record.owner.node == guard.node;
        let is_waiting = matches!(record.phase, Phase::Placed | Phase::Handing);
        if !is_there {
            meeting.owner = Some(record.owner.node);
            return self.end_guard(id, End::Again);
        }
        if is_waiting && takes {
            let from = Some(guard.node.clone());
            let text = format!(
                "node {} does not take meeting {id}: it is taken here",
                guard.node
            );
            self.log(Severity::Warn, text);
            self.end_guard(id, End::Again);
            if let Some(meeting) = self.meetings.get_mut(id) {
                meeting.wish = Some(Wish { from, limit: DEAD });
            }
            return;
        }
        if is_waiting {
            guard.due = now + AGAIN;
            if is_late {
                self.end_guard(id, End::Again);
            }
            return;
        }
        let knows = |event: &Event| {
            let stream = event.about.stream.as_ref();
            let is_start = event.about.kind == Kind::StreamStarts;
            let is_named =
                stream.is_none_or(|id| record.streams.iter().any(|(known, _)| known == id));
            !is_start || is_named || event.repeats >= REPEATS_MAX
        };
        let is_done = guard.events.iter().all(knows);
        self.end_guard(id, if is_done { End::Done } else { End::Again });
    }
}
