//! What follows from an answer: the table of the rules of push.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::Endpoint;
use crate::delivery::push::answer::{Answer, Verdict};
use crate::delivery::push::batch::{BATCH_MAX, Range};
use crate::delivery::push::machine::backoff::Backoff;
use crate::delivery::push::machine::slot::Phase;
use crate::delivery::push::machine::{Job, Mode, Note, NoteKind, Now};

/// So many failures in a row, without a success between them, and the endpoint rests.
const FAILS_TO_REST: u8 = 3;

/// Which streams have failed since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    No,
    /// The endpoint may be well, and an event of this stream poison.
    One(u32),
    Several,
}

/// The request that an answer is about.
pub(super) struct Place<'a> {
    pub(super) job: &'a Job,
    pub(super) range: Range,
    pub(super) unix_s: u32,
    /// The stream still waits for this answer.
    pub(super) is_current: bool,
}

// The size of a range is kept in a byte.
const _: () = assert!(BATCH_MAX < u8::MAX);

impl Endpoint {
    pub(super) fn answered(
        &mut self,
        place: &Place<'_>,
        answer: Answer,
        now: Now,
        backoff: &mut Backoff,
        notes: &mut Vec<Note>,
    ) {
        let verdict = answer.verdict();
        self.counts.add(verdict, answer);
        let (job, range) = (place.job, &place.range);
        if verdict != Verdict::Delivered {
            self.last_failure = Some(answer);
        }
        match verdict {
            Verdict::Delivered => self.delivered(place, now, notes),
            Verdict::Gone => {
                self.failed(place, answer, notes);
                self.make_ready_if(place, now);
                self.set_mode(Mode::Gone, now);
                notes.push(Note::new(job.cursor.key, range.first, NoteKind::Gone));
            }
            Verdict::Busy(after) => {
                self.failed(place, answer, notes);
                let until = now.ms + after.as_millis() as u64;
                self.not_before = self.not_before.max(until);
                self.rest_from(now, until, answer, notes);
                self.make_ready_if(place, now);
            }
            Verdict::Failing => {
                self.failed(place, answer, notes);
                self.fails = self.fails.saturating_add(1);
                if self.skip(place, answer, now, notes) {
                    return;
                }
                if self.rest.is_some() || self.fails >= FAILS_TO_REST {
                    if job.is_probe || self.rest.is_none() {
                        self.probes = self.probes.saturating_add(1);
                        let wait = backoff.wait_ms(self.probes);
                        self.rest_from(now, now.ms + wait, answer, notes);
                    }
                    self.make_ready_if(place, now);
                } else if place.is_current {
                    let tries = self.slot_mut(job.stream).tries;
                    let due = now.ms + backoff.wait_ms(tries);
                    let due = self.not_after_giving_up(job.stream, due, now);
                    self.set_timer(job.stream, Phase::Waiting, due);
                }
            }
            Verdict::Refused(after) => {
                self.probe_again(now);
                if !place.is_current {
                    return;
                }
                let after = after.map_or(0, |after| after.as_millis() as u64);
                if range.events > 1 {
                    self.note_answer(place, answer, now);
                    self.halve(place);
                    match after {
                        0 => self.make_ready(job.stream, now),
                        _ => self.set_timer(job.stream, Phase::Waiting, now.ms + after),
                    }
                    return;
                }
                self.failed(place, answer, notes);
                self.slot_mut(job.stream).set_refused(true);
                if self.skip(place, answer, now, notes) {
                    return;
                }
                let tries = self.slot_mut(job.stream).tries;
                let due = now.ms + backoff.wait_ms(tries);
                let due = self.not_after_giving_up(job.stream, due, now);
                self.set_timer(job.stream, Phase::Waiting, due.max(now.ms + after));
            }
        }
    }

    fn delivered(&mut self, place: &Place<'_>, now: Now, notes: &mut Vec<Note>) {
        let (job, range) = (place.job, &place.range);
        self.counts.events += u64::from(range.events);
        self.last_ok_unix_ms = Some(now.unix_ms);
        if place.is_current {
            let slot = self.slot_mut(job.stream);
            if slot.is_logged() {
                let tries = slot.tries;
                notes.push(Note::new(
                    job.cursor.key,
                    range.first,
                    NoteKind::Recovered { tries },
                ));
            }
            slot.behind_s = place.unix_s;
            self.advance(job.stream, range.last, range.end);
        }
        (self.fails, self.probes, self.failed) = (0, 0, Failed::No);
        if let Some(rest) = self.rest.take() {
            let rested_ms = now.ms.saturating_sub(rest.since_ms);
            notes.push(Note::new(
                job.cursor.key,
                range.first,
                NoteKind::Woke { rested_ms },
            ));
            if self.mode == Mode::Running {
                self.thaw(now);
            }
        }
        self.success_s = self.clock_s(now);
    }

    /// What every failure of a stream has in common.
    fn failed(&mut self, place: &Place<'_>, answer: Answer, notes: &mut Vec<Note>) {
        let stream = place.job.stream;
        self.failed = match self.failed {
            Failed::No => Failed::One(stream),
            Failed::One(other) if other == stream => Failed::One(stream),
            _ => Failed::Several,
        };
        if !place.is_current {
            return;
        }
        let is_known = self.rest.is_some();
        let slot = self.slot_mut(stream);
        if slot.tries == 0 && !is_known {
            slot.set_logged(true);
            let kind = NoteKind::FirstFailure { answer };
            notes.push(Note::new(place.job.cursor.key, place.range.first, kind));
        }
        slot.tries = slot.tries.saturating_add(1);
        slot.status = answer.status().unwrap_or(0);
        slot.filter = place.job.filter;
        slot.keep(&place.range);
    }

    /// From an event's first answered failure the time to its skipping counts.
    fn note_answer(&mut self, place: &Place<'_>, answer: Answer, now: Now) {
        let clock_s = self.clock_s(now);
        let slot = self.slot_mut(place.job.stream);
        if answer.status().is_some_and(|status| status >= 400) && slot.failed_s == 0 {
            slot.failed_s = clock_s.max(1);
        }
    }

    /// The next range holds half as many events, and none behind this one is larger up to its end.
    fn halve(&mut self, place: &Place<'_>) {
        let slot = self.slot_mut(place.job.stream);
        slot.unform();
        slot.events_max = (place.range.events / 2).max(1);
        slot.small_until = slot.small_until.max(place.range.last);
    }

    /// Gives an event up that was refused for too long while the endpoint took others.
    fn skip(&mut self, place: &Place<'_>, answer: Answer, now: Now, notes: &mut Vec<Note>) -> bool {
        if !place.is_current {
            return false;
        }
        self.note_answer(place, answer, now);
        let (give_up_s, clock_s) = (self.settings.give_up_s, self.clock_s(now));
        let (success_s, is_resting) = (self.success_s, self.rest.is_some());
        let slot = self.slot_mut(place.job.stream);
        let is_over = give_up_s > 0
            && slot.failed_s > 0
            && clock_s >= slot.failed_s.saturating_add(give_up_s)
            && success_s > slot.failed_s
            && !is_resting;
        if !is_over {
            return false;
        }
        if place.range.events > 1 {
            self.halve(place);
            self.make_ready(place.job.stream, now);
            return true;
        }
        let status = answer.status().unwrap_or(0);
        self.counts.skipped += 1;
        let kind = NoteKind::Skipped { status };
        notes.push(Note::new(place.job.cursor.key, place.range.first, kind));
        self.advance(place.job.stream, place.range.last, place.range.end);
        // What was refused together with it has its own time from now on.
        self.slot_mut(place.job.stream).failed_s = 0;
        true
    }

    /// A try is made when the time to give up is over, however long the back-off.
    fn not_after_giving_up(&mut self, stream: u32, due: u64, now: Now) -> u64 {
        let (give_up_s, clock_s) = (self.settings.give_up_s, self.clock_s(now));
        let failed_s = self.slot_mut(stream).failed_s;
        if give_up_s == 0 || failed_s == 0 {
            return due;
        }
        let over_s = failed_s.saturating_add(give_up_s);
        match over_s.checked_sub(clock_s) {
            Some(left_s) if left_s > 0 => due.min(now.ms + u64::from(left_s) * 1000),
            _ => due,
        }
    }

    fn make_ready_if(&mut self, place: &Place<'_>, now: Now) {
        if place.is_current {
            self.make_ready(place.job.stream, now);
        }
    }
}
