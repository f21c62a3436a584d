//! When an endpoint gets nothing: it rests because it fails, or it is paused or gone.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::Endpoint;
use super::answers::Failed;
use crate::delivery::push::answer::Answer;
use crate::delivery::push::machine::slot::Phase;
use crate::delivery::push::machine::{Mode, Note, NoteKind, Now};
use crate::feed::key::JournalKey;

/// The endpoint fails: one request at a time finds out when that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    pub(super) since_ms: u64,
    pub(super) probe_at: u64,
    pub(super) is_probing: bool,
}

impl Endpoint {
    /// The endpoint rests, with its next probe at this moment.
    pub(super) fn rest_from(
        &mut self,
        now: Now,
        probe_at: u64,
        answer: Answer,
        notes: &mut Vec<Note>,
    ) {
        if let Some(rest) = &mut self.rest {
            rest.probe_at = rest.probe_at.max(probe_at);
            return;
        }
        self.rest = Some(Rest {
            since_ms: now.ms,
            probe_at,
            is_probing: false,
        });
        self.freeze(now);
        notes.push(Note::new(JournalKey::SERVER, 0, NoteKind::Rests { answer }));
        // Those that wait because the endpoint failed are asked in turn; refused ones wait alone.
        let slots = &self.slots;
        let is_failing = |stream: u32| {
            let slot = &slots[stream as usize];
            slot.phase == Phase::Waiting && !slot.is_refused()
        };
        let failing: Vec<(u64, u32)> = (self.timers.iter().copied())
            .filter(|(_, stream)| is_failing(*stream))
            .collect();
        for timer in failing {
            self.timers.remove(&timer);
            self.slots[timer.1 as usize].phase = Phase::Ready;
            self.ready.push_back(timer.1);
        }
    }

    /// A probe that asked the endpoint nothing, or learned nothing of it.
    pub(super) fn probe_again(&mut self, now: Now) {
        if let Some(rest) = &mut self.rest
            && !rest.is_probing
        {
            rest.probe_at = rest.probe_at.min(now.ms);
        }
    }

    /// Pauses it, ends it, or lets it go on from where it is.
    pub(in crate::delivery::push::machine) fn set_mode(&mut self, mode: Mode, now: Now) {
        let is_running = mode == Mode::Running;
        if is_running && self.mode != Mode::Running {
            (self.fails, self.probes, self.failed) = (0, 0, Failed::No);
            (self.rest, self.not_before) = (None, 0);
            self.thaw(now);
            // A person says that it is well: what waits is tried at once.
            let waiting: Vec<(u64, u32)> = self.timers.iter().copied().collect();
            for (due, stream) in waiting {
                if self.slots[stream as usize].phase == Phase::Waiting {
                    self.timers.remove(&(due, stream));
                    self.make_ready(stream, now);
                }
            }
        } else if !is_running {
            self.freeze(now);
        }
        self.mode = mode;
    }

    pub(super) fn freeze(&mut self, now: Now) {
        self.frozen_since.get_or_insert(now.ms);
    }

    pub(super) fn thaw(&mut self, now: Now) {
        if let Some(since) = self.frozen_since.take() {
            self.frozen_ms += now.ms.saturating_sub(since);
        }
    }

    /// Seconds of a clock that stands still while the endpoint takes nothing.
    pub(super) fn clock_s(&self, now: Now) -> u32 {
        let until = self.frozen_since.unwrap_or(now.ms);
        (until.saturating_sub(self.frozen_ms) / 1000) as u32 + 1
    }
}
