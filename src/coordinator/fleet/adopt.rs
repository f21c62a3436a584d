//! A meeting becomes ours, with what its record knew: by a claim, or by a publish that has overwritten it.

use std::time::{Duration, Instant};

use super::call::Tail;
use super::counts::Gap;
use super::face::{Adoption, Output, Predecessor};
use super::guard::End;
use super::machine::Machine;
use super::meetings::Held;
use super::record::{Phase, Record, StreamPhase};
use crate::domain::severity::Severity;

/// Zoom lets a stream be joined for this long after its owner's last sign of life: a lost connection may be
/// noticed after 40 s, and 60 s follow.
pub const WINDOW_AFTER_DEATH: Duration = Duration::from_secs(110);

/// The same after a hand-over, where Zoom sees the connection being closed.
pub const WINDOW_AFTER_CLOSE: Duration = Duration::from_secs(60);

/// At least this.
const WINDOW_MIN: Duration = Duration::from_secs(15);

impl Machine {
    /// A claim has made a meeting ours.
    pub(super) fn is_ours(
        &mut self,
        now: Instant,
        id: &str,
        epoch: u64,
        before: Option<Record>,
        tails: Vec<(String, Tail)>,
        silent_for: Option<Duration>,
    ) {
        self.end_guard(id, End::Again);
        // Who was to get it from us is dead.
        self.take_back(now, id);
        let silent_for = (before.as_ref().zip(silent_for))
            .map(|(before, silent)| self.view.silence(now, &before.owner, silent));
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        meeting.begin_again();
        meeting.owner = None;
        // The same word a second time: nothing new.
        let is_known = (meeting.held.as_ref()).is_some_and(|held| held.epoch == epoch);
        let held = meeting.held.get_or_insert_with(|| Held {
            is_silent: true,
            ..Held::default()
        });
        if epoch < held.epoch {
            // The store has lost it meanwhile and counts from one: it is told.
            held.touch();
        }
        let epoch = epoch.max(held.epoch);
        held.epoch = epoch;
        held.rival = None;
        held.touched = Some(now);
        if std::mem::take(&mut held.is_left) {
            let meeting = id.to_owned();
            self.outputs.push_back(Output::Resume { meeting });
        }
        match before.filter(|_| !is_known) {
            // Its former owner knew that it was over; the event that came for it may say otherwise.
            Some(record) if record.phase == Phase::Ended => {
                held.is_over |= held.is_silent;
                held.touch();
            }
            // What there is to do with it comes as an event.
            Some(record) if record.entry.is_empty() => {}
            Some(record) => {
                let record = Record {
                    silent_for,
                    ..record
                };
                self.adopt(now, id, epoch, record, tails);
            }
            None => {}
        }
        self.give_entries(id);
    }

    /// The record is ours, and it listed streams that we did not: its former owner knew them, an earlier process of
    /// ours did, or the store has gone back to a time when we did. Who has the record has all of the meeting.
    pub(super) fn has_overwritten(
        &mut self,
        now: Instant,
        id: &str,
        epoch: u64,
        streams: &[(String, StreamPhase)],
        before: Record,
    ) {
        let held = self.meetings.get(id).and_then(|m| m.held.as_ref());
        let is_known = |id: &String| {
            let is_here = |held: &Held| held.streams.iter().any(|s| s.stream_id == *id);
            held.is_some_and(|held| held.listed.contains(id) || is_here(held))
        };
        let is_news = before.streams.iter().any(|(id, _)| !is_known(id));
        self.published(now, id, epoch, streams);
        if is_news && !before.entry.is_empty() {
            self.adopt(now, id, epoch, before, Vec::new());
        }
    }

    /// Gives what a record says to the coordinator.
    fn adopt(
        &mut self,
        now: Instant,
        id: &str,
        epoch: u64,
        record: Record,
        tails: Vec<(String, Tail)>,
    ) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        let silent_for = match record.phase {
            Phase::Handing => Some(record.age),
            _ => record.silent_for,
        };
        let window = match record.phase {
            Phase::Handing => WINDOW_AFTER_CLOSE,
            _ => WINDOW_AFTER_DEATH.saturating_sub(silent_for.unwrap_or_default()),
        };
        held.listed = record.streams.iter().map(|(id, _)| id.clone()).collect();
        let owner = &record.owner;
        let predecessor = (*owner != self.config.me).then(|| Predecessor {
            node: owner.node.clone(),
            epoch: record.epoch,
        });
        if let Some(predecessor) = &predecessor {
            held.gap = Gap::after(now, &record, silent_for, &held.streams).map(Box::new);
            let streams = record.streams.len();
            let text = format!(
                "meeting {id} taken over from {} with {streams} streams, epoch {epoch}",
                predecessor.node
            );
            self.outputs.push_back(Output::Log(Severity::Info, text));
        }
        let adoption = Adoption {
            meeting: id.to_owned(),
            tails,
            epoch,
            window: window.max(WINDOW_MIN),
            silent_for: silent_for.unwrap_or_default(),
            predecessor,
            entry: record.entry,
        };
        self.outputs.push_back(Output::Adopt(Box::new(adoption)));
    }
}
