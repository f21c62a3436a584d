//! What a node does while the store does not answer.
//!
//! It cannot tell "the store is down" from "I am cut off", so it does what is right in both:
//!
//! 1. Running streams run. Nothing is closed.
//! 2. A start that Zoom delivers here is received here: Zoom delivers it once. What belongs to others waits as
//!    an intent until the store answers; that a participant has joined there is dropped.
//! 3. A stream that is lost reconnects while the permit holds. Later it waits [`WAIT`], then tries every
//!    [`WAIT`] until it is let in, but once: let in and lost again within [`STEADY`], another node seems to have it,
//!    as where Zoom refuses it. It is given up as that one's after [`TRY_MAX`], not sooner: a refusal may also be
//!    the old connection, which Zoom has not missed yet, and who has displaced it may give it up as well. Many
//!    lost at once are a take-over by a node that sees the store: no try at all.
//! 4. The same holds for a process that starts meanwhile, for the streams of its state directory.
//! 5. When the store answers, all is published, and the record decides; then what waits is routed.
//!
//! What this costs: where Zoom lets a newer connection displace an older one, a node that is cut off alone may
//! interrupt a stream once, for one connect. In an outage of the store in which Zoom's side fails too, so that
//! a fifth of the streams are lost at once, these are tried again only when the store answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::face::{Kind, Output, StreamState};
use super::machine::Machine;
use super::meetings::Held;
use super::record::StreamPhase;
use crate::domain::severity::Severity;

/// A lost stream is left to others for this long before each try.
pub const WAIT: Duration = Duration::from_secs(10);

/// A stream that runs for this long after a try is ours.
pub const STEADY: Duration = Duration::from_secs(60);

/// A stream that seems to be another's for this long is given up.
pub const TRY_MAX: Duration = Duration::from_secs(45);

/// A stream of a meeting whose record another node has is given up when it was lost so often soon after it
/// was let in.
const QUARREL: u32 = 2;

/// A fresh start tries again after this time.
const JOIN_AGAIN: Duration = Duration::from_secs(3);

/// So many lost streams within this time are a take-over, if they are more than a fifth of all.
const MANY: usize = 3;
const MANY_WITHIN: Duration = Duration::from_secs(10);

/// What is known of a stream's loss.
#[derive(Debug, Clone, Default)]
pub(super) struct Loss {
    /// When it was lost, or first planned.
    since: Option<Instant>,
    tried: Option<Instant>,
    /// When it was let in after a try.
    accepted: Option<Instant>,
    /// When it was let in last, and how often in a row it was lost within [`STEADY`] after that.
    pub(super) let_in: Option<Instant>,
    short: u32,
}

/// Streams lost lately while unsure.
#[derive(Debug, Default)]
pub(super) struct Losses {
    lost: VecDeque<Instant>,
    /// Others have taken what we had: nothing is tried until the store answers.
    are_taken: bool,
}

impl Losses {
    pub(super) fn forget(&mut self) {
        self.lost.clear();
        self.are_taken = false;
    }

    /// So many of that many streams were lost now.
    pub(super) fn add(&mut self, now: Instant, lost: usize, of: usize) {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > MANY_WITHIN;
        while self.lost.front().is_some_and(is_old) {
            self.lost.pop_front();
        }
        self.lost.extend((0..lost).map(|_| now));
        self.are_taken |= self.lost.len() >= MANY && self.lost.len() * 5 > of;
    }
}

impl Held {
    /// Compares the streams with what is known. Returns how many were lost just now.
    pub(super) fn note_losses(&mut self, now: Instant, streams: &[StreamState]) -> usize {
        let mut lost = 0;
        self.losses
            .retain(|id| streams.iter().any(|stream| stream.stream_id == id));
        for stream in streams {
            let before = self
                .streams
                .iter()
                .find(|s| s.stream_id == stream.stream_id);
            let was_receiving = before.is_some_and(|s| s.phase == StreamPhase::Receiving);
            let loss = self.losses.of(&stream.stream_id);
            match stream.phase {
                StreamPhase::Receiving if !was_receiving => {
                    loss.let_in = Some(now);
                    if loss.tried.is_some() {
                        loss.accepted = Some(now);
                    }
                }
                StreamPhase::Receiving => {}
                StreamPhase::Lost if was_receiving => {
                    lost += 1;
                    let is_steady = |at: Instant| now.saturating_duration_since(at) >= STEADY;
                    let short = if loss.let_in.is_none_or(is_steady) {
                        0
                    } else {
                        loss.short + 1
                    };
                    loss.short = short;
                    loss.since = Some(now);
                    if !loss.is_displaced(now) {
                        *loss = Loss {
                            since: Some(now),
                            short,
                            ..Loss::default()
                        };
                    }
                }
                StreamPhase::Lost | StreamPhase::Joining => {
                    loss.since.get_or_insert(now);
                }
            }
        }
        lost
    }
}

impl Loss {
    /// The store's word counts from now on.
    pub(super) fn forget(&mut self) {
        *self = Loss {
            let_in: self.let_in,
            ..Loss::default()
        };
    }

    /// This node closed it itself: that is no sign of another node.
    pub(super) fn begin_again(&mut self, now: Instant) {
        *self = Loss {
            since: Some(now),
            ..Loss::default()
        };
    }

    /// Let in and soon lost again.
    pub(super) fn is_short(&self) -> bool {
        self.short > 0
    }

    /// Let in and soon lost again, and that twice: another node does the same.
    pub(super) fn is_quarrel(&self) -> bool {
        self.short >= QUARREL
    }

    /// Let in after a try, and lost again soon.
    fn is_displaced(&self, now: Instant) -> bool {
        self.accepted
            .is_some_and(|at| now.saturating_duration_since(at) < STEADY)
    }
}

impl Machine {
    /// The store has been silent for too long.
    pub(super) fn store_went_down(&mut self, now: Instant) {
        let ids: Vec<String> = self.meetings.keys().cloned().collect();
        for id in ids {
            self.step(now, &id);
        }
        self.try_lost(now);
    }

    /// What is done with a meeting while the store does not answer.
    pub(super) fn step_without_store(&mut self, now: Instant, id: &str) {
        if !self.beats.is_unsure(now) {
            return;
        }
        let held = self.meetings.get(id).and_then(|m| m.held.as_ref());
        let release = held.and_then(|held| held.release.as_ref());
        if release.is_some_and(|release| release.parcel.is_some()) {
            self.take_back(now, id);
        }
        let Some(mut meeting) = self.meetings.remove(id) else {
            return;
        };
        if let Some(held) = &mut meeting.held
            && std::mem::take(&mut held.is_left)
        {
            let text = format!("meeting {id} resumed without the store");
            let id = id.to_owned();
            self.outputs.push_back(Output::Resume { meeting: id });
            self.outputs.push_back(Output::Log(Severity::Info, text));
        }
        if let Some(held) = &mut meeting.held {
            held.is_to_confirm = false;
        } else {
            let waiting = std::mem::take(&mut meeting.waiting);
            for event in waiting {
                match event.about.kind {
                    Kind::StreamStarts | Kind::MeetingBegins => {
                        self.waiting -= 1;
                        self.deliver(event);
                    }
                    Kind::ParticipantJoins => {
                        self.waiting -= 1;
                        self.settle(event);
                    }
                    _ => meeting.waiting.push_back(event),
                }
            }
        }
        self.meetings.insert(id.to_owned(), meeting);
        self.deliver_if_served(id);
    }

    /// A newer start is an order from Zoom: its stream may connect at once.
    pub(super) fn follow_start(&mut self, now: Instant, stream_id: &str) {
        if !self.beats.lacks_permit(now) {
            return;
        }
        // What follows is not a displacement.
        let meeting = self.streams.get(stream_id);
        let meeting = meeting.and_then(|id| self.meetings.get_mut(id));
        if let Some(held) = meeting.and_then(|meeting| meeting.held.as_mut()) {
            held.losses.remove(stream_id);
        }
        let stream_id = stream_id.to_owned();
        self.outputs.push_back(Output::Once { stream_id });
    }

    /// Lets lost streams try, and gives up those that others have.
    pub(super) fn try_lost(&mut self, now: Instant) {
        if !self.beats.lacks_permit(now) {
            return;
        }
        let mut given_up = Vec::new();
        for (id, meeting) in &mut self.meetings {
            let Some(held) = &mut meeting.held else {
                continue;
            };
            if held.is_left || held.release.is_some() {
                continue;
            }
            let mut gone = Vec::new();
            for stream in &held.streams {
                let loss = held.losses.of(&stream.stream_id);
                match loss.next(now, stream, self.losses.are_taken) {
                    Next::Wait => {}
                    Next::Try => {
                        loss.tried = Some(now);
                        let stream_id = stream.stream_id.clone();
                        self.outputs.push_back(Output::Once { stream_id });
                    }
                    Next::GiveUp => gone.push(stream.stream_id.clone()),
                }
            }
            if !gone.is_empty() {
                given_up.push((id.clone(), gone));
            }
        }
        for (id, gone) in given_up {
            self.give_up(&id, gone, false, None);
        }
    }
}

/// What a stream does that is not received.
enum Next {
    Wait,
    Try,
    GiveUp,
}

impl Loss {
    fn next(&self, now: Instant, stream: &StreamState, are_taken: bool) -> Next {
        let wait = match stream.phase {
            StreamPhase::Receiving => return Next::Wait,
            StreamPhase::Lost => WAIT,
            StreamPhase::Joining => JOIN_AGAIN,
        };
        let Some(since) = self.since else {
            return Next::Wait;
        };
        let for_long = |at: Instant, long| now.saturating_duration_since(at) >= long;
        let is_displaced = self.accepted.is_some();
        let is_others = is_displaced || stream.is_refused && self.tried.is_some();
        if is_others && for_long(since, TRY_MAX) {
            Next::GiveUp
        } else if is_displaced || stream.phase == StreamPhase::Lost && are_taken {
            Next::Wait
        } else if for_long(self.tried.unwrap_or(since), wait) {
            Next::Try
        } else {
            Next::Wait
        }
    }
}
