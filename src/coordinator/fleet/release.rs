//! Gives a meeting away: all of it to an heir, or, where another node has the record, what is here to that node.
//!
//! [`Output::Release`] closes its sockets so that Zoom keeps its streams open; when the daemon says that they are
//! closed, the record goes to the heir, or its streams as a message to who has the record. It stays here, and in
//! the state directory, until the record says that the other node has it: whatever is lost on the way, it is given
//! again, or connected again here. "Has it" does not mean that it receives: from then on its own rules hold.

use std::time::{Duration, Instant};

use super::adopt::WINDOW_AFTER_CLOSE;
use super::call::{Call, Claimable, Member, Message, Reply, Tail};
use super::face::{Adoption, Output, Predecessor};
use super::machine::{Machine, TICK};
use super::meetings::{Meeting, Parcel, Release};
use super::record::{Phase, Record};
use super::view::{DEAD, QUIET};
use crate::domain::severity::Severity;

/// How soon after a meeting was given its record is looked at, and how often.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// Who gets a meeting has this long to take it.
const HEIR_MAX: Duration = Duration::from_secs(5);

/// What another node has not taken stays here for this long before it is given again; each time twice as long.
const HOME_AGAIN: Duration = Duration::from_secs(10);
const HOME_AGAIN_MAX: Duration = Duration::from_secs(600);

impl Machine {
    /// The first step: its sockets are closed.
    pub(super) fn release(&mut self, id: &str, heir: Member) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        let node = heir.node.clone();
        let streams = held.streams.iter().map(|s| s.stream_id.clone()).collect();
        held.release = Some(Box::new(Release {
            heir,
            streams,
            parcel: None,
            given: None,
            look_at: None,
        }));
        // Nothing of it connects until then.
        self.is_confirmed(id);
        let meeting = id.to_owned();
        let heir = node;
        self.outputs.push_back(Output::Release { meeting, heir });
        self.note(id);
    }

    /// Two nodes each receive a stream of one meeting: what is here goes to who has the record, so that one
    /// node has it all, and another finds it all should that one die.
    pub(super) fn send_home(&mut self, now: Instant, id: &str, record: &Record) {
        let owner = &record.owner;
        let is_draining = (self.view.row(&owner.node)).is_some_and(|row| row.row.is_draining);
        let is_there = record.silent_for.is_some_and(|silent| silent < QUIET);
        let takes = is_there && !is_draining && record.phase == Phase::Held;
        let Some(meeting) = self.meetings.get(id).filter(|m| takes && m.is_served()) else {
            return;
        };
        let held = meeting.held.as_ref();
        if held.is_some_and(|held| held.home_again.is_none_or(|at| now >= at)) {
            self.release(id, owner.clone());
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
            // It was taken back while they were being closed.
            held.has_closed();
            let meeting = id.to_owned();
            return self.outputs.push_back(Output::Resume { meeting });
        };
        release.parcel = Some(Parcel {
            epoch,
            entry,
            tails,
        });
        self.step(now, id);
    }

    /// Gives it, then looks whether it was taken.
    pub(super) fn hand(&mut self, now: Instant, id: &str) {
        let held = self.meetings.get(id).and_then(|m| m.held.as_ref());
        let Some((held, release)) = held.and_then(|held| Some((held, held.release.as_ref()?)))
        else {
            return;
        };
        let Some(parcel) = &release.parcel else {
            return;
        };
        let meeting = id.to_owned();
        let call = match release.look_at {
            Some(at) if now < at => return,
            Some(_) => Call::Read { meeting },
            None if held.rival.is_some() => Call::Send {
                node: release.heir.node.clone(),
                message: Message::Streams {
                    meeting,
                    from: self.config.me.node.clone(),
                    entry: parcel.entry.clone(),
                    tails: parcel.tails.clone(),
                },
            },
            None => Call::Hand {
                meeting,
                epoch: parcel.epoch,
                heir: release.heir.clone(),
                entry: parcel.entry.clone(),
                tails: parcel.tails.clone(),
            },
        };
        self.ask_for(now, id, call);
    }

    fn release_of(&mut self, id: &str) -> Option<&mut Release> {
        self.meetings
            .get_mut(id)?
            .held
            .as_mut()?
            .release
            .as_deref_mut()
    }

    /// The heir's queue has it.
    pub(super) fn handed(&mut self, now: Instant, id: &str, epoch: Option<u64>) {
        let Some(release) = self.release_of(id) else {
            return;
        };
        release.given = Some(now);
        release.look_at = Some(now + LOOK_AFTER);
        if let (Some(parcel), Some(epoch)) = (&mut release.parcel, epoch) {
            parcel.epoch = epoch;
        }
    }

    /// The heir's queue has no room, or is read by no node: the next one gets it, or the same one later.
    pub(super) fn heir_is_full(&mut self, now: Instant, id: &str, heir: &Member) {
        let choice = self.view.place(id, false, Some(&heir.node));
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        meeting.not_before = Some(now + TICK);
        let Some(release) = self.release_of(id) else {
            return;
        };
        if let Some(choice) = choice {
            release.heir = choice.to;
        }
    }

    /// The record is another's already: what that one does not know is for it, too. Or it is ours with another epoch,
    /// by a publish whose answer was lost: then it is given with that epoch.
    pub(super) fn hand_refused(&mut self, now: Instant, id: &str, record: &Record) {
        if record.owner == self.config.me && record.phase == Phase::Held {
            let release = self.release_of(id);
            if let Some(parcel) = release.and_then(|release| release.parcel.as_mut()) {
                parcel.epoch = record.epoch;
            }
            return;
        }
        self.take_back(now, id);
        self.is_anothers(now, id, record);
    }

    /// It is connected again here.
    pub(super) fn take_back(&mut self, now: Instant, id: &str) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        if let Some(release) = held.release.take() {
            let wait = held.home_wait.max(HOME_AGAIN);
            held.home_again = Some(now + wait);
            held.home_wait = (2 * wait).min(HOME_AGAIN_MAX);
            held.losses
                .values_mut()
                .for_each(|loss| loss.begin_again(now));
            held.touch();
            // While the sockets are being closed nothing can be connected again.
            if release.parcel.is_some() {
                held.has_closed();
                let meeting = id.to_owned();
                self.outputs.push_back(Output::Resume { meeting });
            }
        }
    }

    /// The record of a meeting that was given.
    pub(super) fn given_is(&mut self, now: Instant, id: &str, record: Option<Record>) {
        let me = self.config.me.clone();
        let choice = self.view.place(id, false, None);
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        let is_joined = held.rival.is_some();
        let Some(release) = &mut held.release else {
            return;
        };
        let record = match record {
            Some(record) if record.owner != me => record,
            // The store has lost what it was told, or who had the record.
            _ if is_joined => return self.take_back(now, id),
            lost => {
                if let (Some(parcel), Some(lost)) = (&mut release.parcel, lost) {
                    parcel.epoch = lost.epoch;
                }
                release.heir = choice.map_or(release.heir.clone(), |choice| choice.to);
                release.look_at = None;
                return;
            }
        };
        let is_known = |id: &String| record.streams.iter().any(|(known, _)| known == id);
        let is_taken = match record.phase {
            // Who took it knows what is in the record; who joins it, or took it from elsewhere, may know less.
            Phase::Held if is_joined || record.owner.node != release.heir.node => {
                release.streams.iter().all(is_known)
            }
            Phase::Held | Phase::Ended => !is_joined,
            // The heir gives it to another node; what it was to join it may not have taken in before.
            Phase::Placed | Phase::Handing => {
                record.owner.node != release.heir.node
                    && (!is_joined || release.streams.iter().all(is_known))
            }
        };
        if record.phase == Phase::Held && record.owner.node != release.heir.node && !is_taken {
            // A third node has taken the record from elsewhere: it gets what it does not list, as a message.
            held.rival = Some(record.owner.node.clone());
            release.heir = record.owner;
            release.look_at = None;
            return;
        }
        let given = release.given.unwrap_or(now);
        let is_late = now.saturating_duration_since(given) >= HEIR_MAX;
        if is_taken {
            self.has_taken(id, record.owner.node);
        } else if !is_late {
            release.look_at = Some(now + LOOK_AFTER);
        } else if is_joined {
            self.take_back(now, id);
        } else {
            release.look_at = Some(now + LOOK_AFTER);
            self.heir_is_slow(now, id, record.owner.node);
        }
    }

    fn has_taken(&mut self, id: &str, owner: String) {
        let streams = self.release_of(id).map(|it| it.streams.clone());
        self.let_go(id, streams.unwrap_or_default(), true, Some(owner.clone()));
        if let Some(meeting) = self.meetings.get_mut(id) {
            meeting.owner = Some(owner);
        }
    }

    /// The heir has not taken it yet: the next one gets it. Without any other it waits, here and in the heir's
    /// queue.
    fn heir_is_slow(&mut self, now: Instant, id: &str, heir: String) {
        let Some(choice) = self.view.place(id, false, Some(&heir)) else {
            return;
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

    /// The answer to giving it to the next heir.
    pub(super) fn next_heir(&mut self, now: Instant, id: &str, to: &Member, reply: &Reply) {
        if let (Reply::Claimed { .. }, Some(release)) = (reply, self.release_of(id)) {
            release.heir = to.clone();
            release.given = Some(now);
            release.look_at = Some(now + LOOK_AFTER);
        }
    }

    /// Streams of a meeting of ours that another node has received. If they do not reach the coordinator, that
    /// node keeps them.
    pub(super) fn came_home(
        &mut self,
        now: Instant,
        id: &str,
        from: String,
        entry: Vec<u8>,
        tails: Vec<(String, Tail)>,
    ) {
        let Some(meeting) = self.meetings.get(id).filter(|m| m.is_served()) else {
            if self.meetings.get(id).is_none_or(|m| m.held.is_none()) {
                self.was_given(now, id);
            }
            return;
        };
        let epoch = meeting.held.as_ref().map_or(0, |held| held.epoch);
        let text = format!("meeting {id}: node {from} gives its streams to this one");
        self.log(Severity::Info, text);
        self.outputs.push_back(Output::Adopt(Box::new(Adoption {
            meeting: id.to_owned(),
            entry,
            tails,
            epoch,
            window: WINDOW_AFTER_CLOSE,
            silent_for: Duration::ZERO,
            predecessor: Some(Predecessor { node: from, epoch }),
        })));
    }
}

impl Meeting {
    /// Whether it is being given away.
    pub(super) fn is_released(&self) -> bool {
        (self.held.as_ref()).is_some_and(|held| held.release.is_some())
    }
}
