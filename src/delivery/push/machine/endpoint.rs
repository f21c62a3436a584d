//! One endpoint: which streams are ready, what is in flight, when it rests, when the next try is due.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::{BTreeSet, VecDeque};

use super::backoff::Backoff;
use super::slot::{Phase, Slot};
use super::{Counts, End, Job, Mode, Note, NoteKind, Now, Outcome, Settings};
use crate::delivery::push::answer::{Answer, Verdict};
use crate::delivery::push::batch::{BATCH_MAX, Range};
use crate::feed::cursor::Cursor;
use crate::feed::key::JournalKey;

/// So many failures in a row, without a success between them, and the endpoint rests.
const FAILS_TO_REST: u8 = 3;

/// Which streams have failed since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    No,
    /// The endpoint may be well, and an event of this stream poison.
    One(u32),
    Several,
}

/// The endpoint fails: one request at a time finds out when that is over.
#[derive(Debug, Clone, Copy)]
struct Rest {
    since_ms: u64,
    probe_at: u64,
    is_probing: bool,
}

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

/// What the warning of growing lag is decided by.
#[derive(Debug, Clone, Copy, Default)]
struct Lag {
    events: u64,
    delivered: u64,
    growing: u8,
    is_told: bool,
}

/// So many looks in a row at growing lag are `LAG_WARN`, 60 s.
const LAG_LOOKS: u8 = 6;

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

    /// A probe that asked the endpoint nothing, or learned nothing of it.
    fn probe_again(&mut self, now: Now) {
        if let Some(rest) = &mut self.rest
            && !rest.is_probing
        {
            rest.probe_at = rest.probe_at.min(now.ms);
        }
    }

    fn answered(
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

    /// The endpoint rests, with its next probe at this moment.
    fn rest_from(&mut self, now: Now, probe_at: u64, answer: Answer, notes: &mut Vec<Note>) {
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

    fn make_ready_if(&mut self, place: &Place<'_>, now: Now) {
        if place.is_current {
            self.make_ready(place.job.stream, now);
        }
    }

    /// Seconds of a clock that stands still while the endpoint takes nothing.
    fn clock_s(&self, now: Now) -> u32 {
        let until = self.frozen_since.unwrap_or(now.ms);
        (until.saturating_sub(self.frozen_ms) / 1000) as u32 + 1
    }

    fn freeze(&mut self, now: Now) {
        self.frozen_since.get_or_insert(now.ms);
    }

    fn thaw(&mut self, now: Now) {
        if let Some(since) = self.frozen_since.take() {
            self.frozen_ms += now.ms.saturating_sub(since);
        }
    }

    /// Pauses it, ends it, or lets it go on from where it is.
    pub(super) fn set_mode(&mut self, mode: Mode, now: Now) {
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

    /// Looks at the lag; every ten seconds. Whether it has grown for a minute although requests
    /// succeed, for the first time.
    pub(super) fn is_lag_growing(&mut self, events: u64) -> bool {
        let delivered = self.counts.events;
        let is_growing = events > self.lag.events && delivered > self.lag.delivered;
        self.lag.growing = match is_growing {
            true => self.lag.growing.saturating_add(1),
            false => 0,
        };
        (self.lag.events, self.lag.delivered) = (events, delivered);
        self.lag.is_told &= events > 0;
        let is_due = self.lag.growing >= LAG_LOOKS && !self.lag.is_told;
        self.lag.is_told |= is_due;
        is_due
    }
}

/// The request that an answer is about.
struct Place<'a> {
    job: &'a Job,
    range: Range,
    unix_s: u32,
    /// The stream still waits for this answer.
    is_current: bool,
}

const _: () = assert!(BATCH_MAX < u8::MAX);
