//! One endpoint: which streams are ready, what is in flight, when the next try is due.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

mod answers;
mod lag;
mod rest;

use std::collections::{BTreeSet, VecDeque};

use super::backoff::Backoff;
use super::slot::{Phase, Slot};
use super::{Counts, End, Job, Mode, Note, NoteKind, Now, Outcome, Settings};
use crate::delivery::push::answer::Answer;
use crate::feed::cursor::Cursor;
use crate::feed::key::JournalKey;
use answers::{Failed, Place};
use lag::Lag;
use rest::Rest;

/// See the module.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) settings: Settings,
    pub(super) mode: Mode,
    /// By the number of the stream.
    pub(super) slots: Vec<Slot>,
    /// Streams that wait for their turn. An entry whose slot is not ready counts for nothing.
    ready: VecDeque<u32>,
    timers: BTreeSet<(u64, u32)>,
    in_flight: u32,
    /// No request before this moment: `Retry-After`.
    not_before: u64,
    rest: Option<Rest>,
    /// Failures since the last success.
    fails: u8,
    /// Failed probes since the last success.
    probes: u8,
    failed: Failed,
    /// Requests under way of streams whose consent was withdrawn: the server's own journal, which
    /// says so, comes after them.
    revoked_in_flight: u32,
    /// Time during which the endpoint rested or was paused, which does not count towards giving up.
    frozen_ms: u64,
    frozen_since: Option<u64>,
    /// The last success, seconds of the endpoint's own clock.
    success_s: u32,
    /// Slots whose cursor is not in the file.
    dirty: Vec<u32>,
    pub(super) counts: Counts,
    pub(super) last_ok_unix_ms: Option<u64>,
    pub(super) last_failure: Option<Answer>,
    lag: Lag,
}

impl Endpoint {
    pub(super) fn new(settings: Settings, mode: Mode, now: Now) -> Endpoint {
        Endpoint {
            settings,
            mode,
            slots: Vec::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            not_before: 0,
            rest: None,
            fails: 0,
            probes: 0,
            failed: Failed::No,
            revoked_in_flight: 0,
            frozen_ms: 0,
            frozen_since: (mode != Mode::Running).then_some(now.ms),
            success_s: 0,
            dirty: Vec::new(),
            counts: Counts::default(),
            last_ok_unix_ms: None,
            last_failure: None,
            lag: Lag::default(),
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.rest.is_some()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn slot(&self, stream: u32) -> Option<&Slot> {
        self.slots.get(stream as usize)
    }

    pub(super) fn slot_mut(&mut self, stream: u32) -> &mut Slot {
        let at = stream as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::default());
        }
        &mut self.slots[at]
    }

    fn touch(&mut self, stream: u32) {
        let slot = self.slot_mut(stream);
        if !slot.is_dirty() {
            slot.set_dirty(true);
            self.dirty.push(stream);
        }
    }

    /// The streams whose cursors changed since this was last called.
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        let dirty = std::mem::take(&mut self.dirty);
        for stream in &dirty {
            self.slots[*stream as usize].set_dirty(false);
        }
        dirty
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes a stream up at this place.
    pub(super) fn begin(&mut self, stream: u32, cursor: &Cursor, end: &End, now: Now) {
        let slot = self.slot_mut(stream);
        // One whose request is under way becomes another stream's with that request's end.
        *slot = Slot::at(cursor.seq, cursor.offset);
        self.touch(stream);
        self.schedule(stream, end, now);
    }

    /// Whether nothing of the stream has to be sent here any more, as far as is known.
    pub(super) fn is_done(&self, stream: u32, end: &End) -> bool {
        self.slot(stream).is_none_or(|slot| match slot.phase {
            Phase::Absent => true,
            Phase::InFlight => false,
            _ => slot.seq >= end.seq,
        })
    }

    /// The stream has grown, or has ended.
    pub(super) fn schedule(&mut self, stream: u32, end: &End, now: Now) {
        let settings = self.settings;
        let slot = self.slot_mut(stream);
        let was = slot.phase;
        if !matches!(was, Phase::Idle | Phase::Lingering) || slot.seq >= end.seq {
            return;
        }
        if was == Phase::Idle {
            slot.behind_s = (now.unix_ms / 1000) as u32;
        }
        let is_enough = end.seq - slot.seq >= u64::from(settings.batch);
        let is_due = is_enough || end.is_ended || settings.linger_ms == 0 || settings.batch < 2;
        match (is_due, was) {
            (true, Phase::Lingering) => {
                let timer = (slot.due, stream);
                self.timers.remove(&timer);
                self.make_ready(stream, now);
            }
            (true, _) => self.make_ready(stream, now),
            (false, Phase::Idle) => {
                self.set_timer(stream, Phase::Lingering, now.ms + settings.linger_ms)
            }
            (false, _) => {}
        }
    }

    fn set_timer(&mut self, stream: u32, phase: Phase, due: u64) {
        let slot = self.slot_mut(stream);
        (slot.phase, slot.due) = (phase, due);
        self.timers.insert((due, stream));
    }

    fn make_ready(&mut self, stream: u32, now: Now) {
        let slot = self.slot_mut(stream);
        slot.phase = Phase::Ready;
        let is_fresh = slot.tries == 0;
        let (failed, not_before) = (self.failed, self.not_before);
        match &mut self.rest {
            // What has not failed is the better question to an endpoint that may be well.
            Some(rest) if is_fresh => {
                self.ready.push_front(stream);
                // All failures were one stream's: another one finds out at once whether it is poison.
                if matches!(failed, Failed::One(other) if other != stream) {
                    rest.probe_at = now.ms.max(not_before);
                }
            }
            _ => self.ready.push_back(stream),
        }
    }

    /// Ends the timers that are due.
    pub(super) fn ring(&mut self, now: Now) {
        while let Some(&(due, stream)) = self.timers.first()
            && due <= now.ms
        {
            self.timers.pop_first();
            self.make_ready(stream, now);
        }
    }

    /// When something becomes possible that is not possible now.
    pub(super) fn next_deadline(&self, now: Now) -> Option<u64> {
        if self.mode != Mode::Running {
            return None;
        }
        let timer = self.timers.first().map(|(due, _)| *due);
        let probe = self.rest.filter(|rest| !rest.is_probing);
        let rest = probe.map_or(self.not_before, |rest| rest.probe_at.max(self.not_before));
        let has_ready = !self.ready.is_empty();
        let rest = (has_ready && rest > now.ms).then_some(rest);
        timer.into_iter().chain(rest).min()
    }

    /// How many requests may be begun now, for streams that wait for that.
    pub(super) fn startable(&self, now: Now, connections: u32) -> u32 {
        let is_open = self.mode == Mode::Running && now.ms >= self.not_before;
        let room = match &self.rest {
            Some(rest) => (!rest.is_probing && now.ms >= rest.probe_at).into(),
            None => connections,
        };
        let room = room.min(connections.saturating_sub(self.in_flight));
        match is_open {
            true => room.min(self.ready.len() as u32),
            false => 0,
        }
    }

    /// The next request, if there may be one now.
    pub(super) fn next_job(
        &mut self,
        now: Now,
        connections: u32,
        ends: impl Fn(u32) -> (JournalKey, End),
    ) -> Option<Job> {
        if self.startable(now, connections) == 0 {
            return None;
        }
        // Those that have to wait for others keep their places.
        for _ in 0..self.ready.len() {
            let stream = self.ready.pop_front()?;
            let slot = self.slots[stream as usize];
            if slot.phase != Phase::Ready {
                continue;
            }
            let (key, end) = ends(stream);
            if key == JournalKey::SERVER && self.revoked_in_flight > 0 {
                self.ready.push_back(stream);
                continue;
            }
            return Some(self.start(stream, key, end));
        }
        None
    }

    fn start(&mut self, stream: u32, key: JournalKey, end: End) -> Job {
        self.in_flight += 1;
        let is_probe = self.rest.is_some();
        if let Some(rest) = &mut self.rest {
            rest.is_probing = true;
        }
        let settings = self.settings;
        let slot = self.slot_mut(stream);
        slot.phase = Phase::InFlight;
        let until = slot.until();
        let events_max = match slot.events_max {
            0 => settings.batch,
            small => small.min(settings.batch),
        };
        Job {
            stream,
            cursor: Cursor {
                key,
                seq: slot.seq,
                offset: slot.offset,
            },
            end,
            until,
            events_max,
            filter: until.map_or(settings.filter, |_| slot.filter),
            is_probe,
        }
    }

    /// What came of a request.
    pub(super) fn finish(
        &mut self,
        job: &Job,
        outcome: Outcome,
        end: &End,
        now: Now,
        backoff: &mut Backoff,
    ) -> Vec<Note> {
        self.in_flight -= 1;
        if job.is_probe
            && let Some(rest) = &mut self.rest
        {
            rest.is_probing = false;
        }
        let mut notes = Vec::new();
        let slot = self.slot_mut(job.stream);
        let (is_moved, is_dropped) = (slot.is_moved(), slot.is_dropped());
        slot.set_moved(false);
        slot.phase = Phase::Idle;
        if is_dropped {
            *slot = Slot::default();
            self.revoked_in_flight -= 1;
        }
        let is_current = !is_moved && !is_dropped;
        match outcome {
            Outcome::Passed(cursor) => {
                if is_current {
                    self.advance(job.stream, cursor.seq, cursor.offset);
                }
                self.probe_again(now);
            }
            Outcome::Unread => {
                if is_current {
                    let wait = backoff.wait_ms(3);
                    self.set_timer(job.stream, Phase::Waiting, now.ms + wait);
                }
                self.probe_again(now);
            }
            Outcome::Lost => {
                if is_current {
                    let slot = self.slot_mut(job.stream);
                    let events = end.seq.saturating_sub(slot.seq);
                    *slot = Slot::default();
                    self.counts.expired += events;
                    notes.push(Note::new(
                        job.cursor.key,
                        job.cursor.seq,
                        NoteKind::Expired { events },
                    ));
                }
                self.probe_again(now);
            }
            Outcome::Answered {
                range,
                unix_s,
                answer,
            } => {
                let place = Place {
                    job,
                    range,
                    unix_s,
                    is_current,
                };
                self.answered(&place, answer, now, backoff, &mut notes);
            }
        }
        if self
            .slot(job.stream)
            .is_some_and(|slot| slot.phase == Phase::Idle)
        {
            self.schedule_again(job.stream, end, now);
        }
        notes
    }

    /// Like [`schedule`](Self::schedule) for a stream whose events have waited before.
    fn schedule_again(&mut self, stream: u32, end: &End, now: Now) {
        let behind_s = self.slot_mut(stream).behind_s;
        self.schedule(stream, end, now);
        let slot = self.slot_mut(stream);
        if slot.phase != Phase::Idle {
            slot.behind_s = behind_s;
        }
    }

    fn advance(&mut self, stream: u32, seq: u64, offset: u64) {
        self.slot_mut(stream).advance(seq, offset);
        self.touch(stream);
    }

    /// The stream's consent was withdrawn, or its journal is gone: nothing more of it is sent.
    pub(super) fn drop_stream(&mut self, stream: u32) {
        let Some(slot) = self.slots.get_mut(stream as usize) else {
            return;
        };
        match slot.phase {
            Phase::InFlight if !slot.is_dropped() => {
                slot.set_dropped(true);
                self.revoked_in_flight += 1;
            }
            Phase::InFlight => {}
            phase => {
                let timer = (slot.due, stream);
                *slot = Slot::default();
                if matches!(phase, Phase::Waiting | Phase::Lingering) {
                    self.timers.remove(&timer);
                }
            }
        }
    }

    /// Puts the cursor somewhere else: old events come again, before newer ones.
    pub(super) fn replay(&mut self, stream: u32, cursor: &Cursor, end: &End, now: Now) {
        let slot = self.slot_mut(stream);
        if slot.is_dropped() {
            return;
        }
        let (phase, due) = (slot.phase, slot.due);
        let behind_s = slot.behind_s;
        *slot = Slot::at(cursor.seq, cursor.offset);
        slot.behind_s = behind_s;
        match phase {
            Phase::InFlight => {
                slot.phase = Phase::InFlight;
                slot.set_moved(true);
            }
            Phase::Waiting | Phase::Lingering => drop(self.timers.remove(&(due, stream))),
            _ => {}
        }
        self.dirty.retain(|dirty| *dirty != stream);
        self.touch(stream);
        self.schedule(stream, end, now);
    }

    /// Other settings; ranges that were formed stay as they are.
    pub(super) fn change(&mut self, settings: Settings) {
        self.settings = settings;
    }
}
