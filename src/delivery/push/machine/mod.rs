//! When which events are sent to which endpoint: the rules of the answers, in virtual time.
//!
//! Each endpoint has, for each stream, one place in the journal and at most one request under way, so
//! a stream's events arrive in order. Endpoints share nothing but the list of streams: what one does
//! is no other's business. There is no queue: what is to be sent stands in the journals.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

mod backoff;
mod endpoint;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::answer::{Answer, Verdict};
use super::batch::Range;
use crate::feed::cursor::Cursor;
use crate::feed::key::JournalKey;
use backoff::Backoff;
use endpoint::Endpoint;
use slot::Phase;

/// Most blocked streams that a report names.
const BLOCKED_MAX: usize = 20;

/// Between two looks at the lag, milliseconds.
const LAG_LOOK_MS: u64 = 10_000;

/// The moment of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back.
    pub ms: u64,
    /// Unix milliseconds, for people.
    pub unix_ms: u64,
}

/// What an operator decides about one endpoint, as far as the order of requests goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most events in a request.
    pub batch: u8,
    /// How long to wait for more, with a batch above 1.
    pub linger_ms: u64,
    /// Most requests under way at once.
    pub connections: u32,
    /// After so many seconds an event that is refused is skipped; 0 for never.
    pub give_up_s: u32,
    /// Which filter forms new ranges; the filters themselves are the caller's.
    pub filter: u8,
}

/// Whether an endpoint gets requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Running,
    /// A person paused it.
    Paused,
    /// It answered 410.
    Gone,
}

/// How far a journal goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// The last event's number.
    pub seq: u64,
    /// The stream has ended: nothing is waited for.
    pub is_ended: bool,
}

/// A request to make: read the journal from the cursor on, and send what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The machine's number of the stream.
    pub stream: u32,
    /// From where.
    pub cursor: Cursor,
    /// How far the journal goes.
    pub end: End,
    /// The last event of the range, where it was formed before.
    pub until: Option<u64>,
    /// Most events, where it was not.
    pub events_max: u8,
    /// Which filter.
    pub filter: u8,
    is_probe: bool,
}

/// What came of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing up to here is wanted, so nothing was sent.
    Passed(Cursor),
    /// These events were sent.
    Answered {
        /// Which.
        range: Range,
        /// When the last of them was written, Unix seconds.
        unix_s: u32,
        /// With what result.
        answer: Answer,
    },
    /// The journal cannot be read now.
    Unread,
    /// The journal is not there any more.
    Lost,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Which endpoint; its number.
    pub endpoint: u32,
    /// Which stream, if it is about one.
    pub key: JournalKey,
    /// Which event.
    pub seq: u64,
    /// What.
    pub kind: NoteKind,
}

impl Note {
    fn new(key: JournalKey, seq: u64, kind: NoteKind) -> Note {
        Note {
            endpoint: 0,
            key,
            seq,
            kind,
        }
    }
}

/// See [`Note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// The first failure of a stream while the endpoint does not rest.
    FirstFailure {
        /// With this answer.
        answer: Answer,
    },
    /// What had failed so often is delivered.
    Recovered {
        /// Failures in a row.
        tries: u8,
    },
    /// The endpoint rests.
    Rests {
        /// The last answer.
        answer: Answer,
    },
    /// The endpoint takes events again.
    Woke {
        /// How long it rested.
        rested_ms: u64,
    },
    /// The endpoint answered 410.
    Gone,
    /// An event was given up.
    Skipped {
        /// The last status.
        status: u16,
    },
    /// Events were deleted before they could be sent.
    Expired {
        /// How many, wanted or not.
        events: u64,
    },
    /// More comes than the endpoint takes.
    LagGrows {
        /// How many events wait.
        events: u64,
    },
}

/// Sums since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that delivered.
    pub delivered: u64,
    /// Answers that say that the endpoint fails.
    pub failed: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Answers with `Retry-After`.
    pub busy: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Answers 410.
    pub gone: u64,
    /// Events delivered.
    pub events: u64,
    /// Events that were deleted before.
    pub expired: u64,
    /// Events that were given up.
    pub skipped: u64,
}

impl Counts {
    fn add(&mut self, verdict: Verdict, answer: Answer) {
        let count = match verdict {
            Verdict::Delivered => &mut self.delivered,
            Verdict::Gone => &mut self.gone,
            Verdict::Busy(_) => &mut self.busy,
            Verdict::Failing if answer.status().is_none() => &mut self.unanswered,
            Verdict::Failing => &mut self.failed,
            Verdict::Refused(_) => &mut self.refused,
        };
        *count += 1;
    }
}

/// An endpoint at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// `ok`, `failing`, `resting`, `paused` or `gone`.
    pub state: &'static str,
    /// Events that are not delivered, unwanted ones included.
    pub lag_events: u64,
    /// Age of the oldest of them, seconds.
    pub lag_s: u64,
    /// Streams with such events.
    pub streams_behind: u64,
    /// Streams whose next request has failed.
    pub blocked: Vec<Blocked>,
    /// The last success, Unix milliseconds.
    pub last_ok_ms: Option<u64>,
    /// The last failure.
    pub last_failure: Option<Answer>,
    /// Sums.
    pub counts: Counts,
}

/// A stream whose next request has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Which.
    pub key: JournalKey,
    /// The first event that is not delivered.
    pub seq: u64,
    /// The last status; 0 without an answer.
    pub status: u16,
    /// Failures in a row.
    pub tries: u8,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    key: JournalKey,
    end: End,
    is_there: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    streams: Vec<Stream>,
    numbers: HashMap<JournalKey, u32>,
    free: Vec<u32>,
    /// By the number that the caller gave.
    endpoints: Vec<(u32, Endpoint)>,
    threads_max: u32,
    backoff: Backoff,
    notes: Vec<Note>,
    lag_look_at: Option<u64>,
}

impl Machine {
    /// Without endpoints and streams. All endpoints together have at most so many requests under way.
    pub fn new(threads_max: u32, seed: u64) -> Machine {
        Machine {
            streams: Vec::new(),
            numbers: HashMap::new(),
            free: Vec::new(),
            endpoints: Vec::new(),
            threads_max,
            backoff: Backoff::new(seed),
            notes: Vec::new(),
            lag_look_at: None,
        }
    }

    fn endpoint(&self, number: u32) -> Option<&Endpoint> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|(n, _)| *n == number).map(|(_, it)| it)
    }

    fn endpoint_mut(&mut self, number: u32) -> Option<&mut Endpoint> {
        let mut endpoints = self.endpoints.iter_mut();
        endpoints.find(|(n, _)| *n == number).map(|(_, it)| it)
    }

    /// Adds an endpoint, without any stream. A number is never used again.
    pub fn add_endpoint(&mut self, number: u32, settings: Settings, mode: Mode, now: Now) {
        self.endpoints
            .push((number, Endpoint::new(settings, mode, now)));
    }

    /// Takes an endpoint out. Answers that are under way change nothing any more.
    pub fn remove_endpoint(&mut self, number: u32) {
        self.endpoints.retain(|(n, _)| *n != number);
    }

    /// Changes an endpoint; ranges that were formed stay as they are.
    pub fn change(&mut self, number: u32, settings: Settings) {
        if let Some(endpoint) = self.endpoint_mut(number) {
            endpoint.change(settings);
        }
    }

    /// Pauses an endpoint or lets it run.
    pub fn set_mode(&mut self, number: u32, mode: Mode, now: Now) {
        if let Some(endpoint) = self.endpoint_mut(number) {
            endpoint.set_mode(mode, now);
        }
    }

    /// Whether it runs.
    pub fn mode(&self, number: u32) -> Option<Mode> {
        self.endpoint(number).map(|endpoint| endpoint.mode)
    }

    /// Whether a range was formed with this filter of an endpoint.
    pub fn is_filter_used(&self, number: u32, filter: u8) -> bool {
        self.endpoint(number).is_some_and(|endpoint| {
            let mut slots = endpoint.slots.iter();
            endpoint.settings.filter == filter
                || slots.any(|slot| {
                    let is_formed = slot.until().is_some() || slot.phase == Phase::InFlight;
                    is_formed && slot.filter == filter
                })
        })
    }

    /// Whether the journal is known.
    pub fn knows(&self, key: JournalKey) -> bool {
        self.numbers.contains_key(&key)
    }

    /// A journal that was not known: `cursor` says where an endpoint is in it.
    pub fn add_stream(
        &mut self,
        key: JournalKey,
        end: End,
        now: Now,
        mut cursor: impl FnMut(u32) -> Option<Cursor>,
    ) {
        if self.knows(key) {
            return;
        }
        let stream = Stream {
            key,
            end,
            is_there: true,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.streams[number as usize] = stream;
                number
            }
            None => {
                self.streams.push(stream);
                (self.streams.len() - 1) as u32
            }
        };
        self.numbers.insert(key, number);
        for (n, endpoint) in &mut self.endpoints {
            if let Some(cursor) = cursor(*n) {
                endpoint.begin(number, &cursor, &end, now);
            }
        }
    }

    /// A known journal for an endpoint that was added later.
    pub fn begin(&mut self, number: u32, cursor: &Cursor, now: Now) {
        let Some(&stream) = self.numbers.get(&cursor.key) else {
            return;
        };
        let end = self.streams[stream as usize].end;
        if let Some(endpoint) = self.endpoint_mut(number) {
            endpoint.begin(stream, cursor, &end, now);
        }
    }

    /// A known journal goes up to here.
    pub fn grew(&mut self, key: JournalKey, end: End, now: Now) {
        let Some(&number) = self.numbers.get(&key) else {
            return;
        };
        self.streams[number as usize].end = end;
        for (_, endpoint) in &mut self.endpoints {
            if endpoint.slot(number).is_some() {
                endpoint.schedule(number, &end, now);
            }
        }
    }

    /// Nothing of this journal leaves any more: consent was withdrawn.
    pub fn revoke(&mut self, key: JournalKey) {
        let Some(&number) = self.numbers.get(&key) else {
            return;
        };
        for (_, endpoint) in &mut self.endpoints {
            endpoint.drop_stream(number);
        }
        self.forget_if_absent(number);
    }

    /// Moves a cursor, so that events come again.
    pub fn replay(&mut self, number: u32, cursor: &Cursor, now: Now) {
        let Some(&stream) = self.numbers.get(&cursor.key) else {
            return;
        };
        let end = self.streams[stream as usize].end;
        if let Some(endpoint) = self.endpoint_mut(number) {
            endpoint.replay(stream, cursor, &end, now);
        }
    }

    /// Whether an endpoint that is not paused still has to send something of this journal.
    pub fn is_needed(&self, key: JournalKey) -> bool {
        let Some(&number) = self.numbers.get(&key) else {
            return false;
        };
        let end = self.streams[number as usize].end;
        let endpoints = self.endpoints.iter();
        let mut needing = endpoints.filter(|(_, it)| it.mode != Mode::Paused);
        needing.any(|(_, endpoint)| !endpoint.is_done(number, &end))
    }

    /// Whether the stream of this journal has ended, or is not known.
    pub fn has_ended(&self, key: JournalKey) -> bool {
        let number = self.numbers.get(&key);
        number.is_none_or(|number| self.streams[*number as usize].end.is_ended)
    }

    /// The last event of a journal that an endpoint is done with; `None` if it gets nothing of it.
    pub fn place(&self, number: u32, key: JournalKey) -> Option<u64> {
        let stream = *self.numbers.get(&key)?;
        let slot = self.endpoint(number)?.slot(stream)?;
        (slot.phase != Phase::Absent).then_some(slot.seq)
    }

    /// Forgets streams that have ended and are delivered everywhere; to be called with a new floor in
    /// the files of cursors.
    pub fn forget_done(&mut self) {
        for number in 0..self.streams.len() as u32 {
            let stream = self.streams[number as usize];
            let is_done = |endpoint: &Endpoint| endpoint.is_done(number, &stream.end);
            if stream.is_there
                && stream.end.is_ended
                && self.endpoints.iter().all(|(_, endpoint)| is_done(endpoint))
            {
                for (_, endpoint) in &mut self.endpoints {
                    endpoint.drop_stream(number);
                }
                self.forget_if_absent(number);
            }
        }
    }

    fn forget_if_absent(&mut self, number: u32) {
        let is_absent = |endpoint: &Endpoint| {
            let slot = endpoint.slot(number);
            slot.is_none_or(|slot| slot.phase == Phase::Absent)
        };
        let stream = &mut self.streams[number as usize];
        if stream.is_there && self.endpoints.iter().all(|(_, it)| is_absent(it)) {
            stream.is_there = false;
            self.numbers.remove(&stream.key);
            self.free.push(number);
        }
    }

    /// How many requests an endpoint may have under way: its own number, and no more than its part
    /// of all threads, so that no endpoint can take another's.
    fn connections(&self, endpoint: &Endpoint) -> u32 {
        let part = self.threads_max / (self.endpoints.len() as u32).max(1);
        endpoint.settings.connections.min(part).max(1)
    }

    /// The next request to an endpoint, if there is one to make now.
    pub fn next_job(&mut self, number: u32, now: Now) -> Option<Job> {
        let at = self.endpoints.iter().position(|(n, _)| *n == number)?;
        let connections = self.connections(&self.endpoints[at].1);
        let streams = &self.streams;
        let ends = |stream: u32| {
            let stream = &streams[stream as usize];
            (stream.key, stream.end)
        };
        self.endpoints[at].1.next_job(now, connections, ends)
    }

    /// What came of a job of an endpoint.
    pub fn finish(&mut self, number: u32, job: &Job, outcome: Outcome, now: Now) {
        let Some(at) = self.endpoints.iter().position(|(n, _)| *n == number) else {
            return;
        };
        let end = self.streams[job.stream as usize].end;
        let endpoint = &mut self.endpoints[at].1;
        let notes = endpoint.finish(job, outcome, &end, now, &mut self.backoff);
        let notes = notes.into_iter().map(|note| Note {
            endpoint: number,
            ..note
        });
        self.notes.extend(notes);
        self.forget_if_absent(job.stream);
    }

    /// Ends timers. To be called at [`next_deadline`](Self::next_deadline), and before asking for
    /// jobs.
    pub fn ring(&mut self, now: Now) {
        for (_, endpoint) in &mut self.endpoints {
            endpoint.ring(now);
        }
        if self.lag_look_at.is_none_or(|at| at <= now.ms) {
            self.look_at_lag(now);
        }
    }

    fn look_at_lag(&mut self, now: Now) {
        let mut is_behind = false;
        for at in 0..self.endpoints.len() {
            let (number, endpoint) = &self.endpoints[at];
            let (number, events) = (*number, self.lag(endpoint).0);
            is_behind |= events > 0;
            if self.endpoints[at].1.is_lag_growing(events) {
                self.notes.push(Note {
                    endpoint: number,
                    key: JournalKey::SERVER,
                    seq: 0,
                    kind: NoteKind::LagGrows { events },
                });
            }
        }
        // Without lag there is nothing to look at, and no thread is woken.
        self.lag_look_at = Some(match is_behind {
            true => now.ms + LAG_LOOK_MS,
            false => u64::MAX,
        });
    }

    /// Something has begun to wait.
    fn expect_lag(&mut self, now: Now) {
        if self.lag_look_at.is_none_or(|at| at == u64::MAX) {
            self.lag_look_at = Some(now.ms + LAG_LOOK_MS);
        }
    }

    /// When to call [`ring`](Self::ring) next.
    pub fn next_deadline(&mut self, now: Now) -> Option<u64> {
        let deadlines = self.endpoints.iter();
        let deadlines = deadlines.filter_map(|(_, endpoint)| endpoint.next_deadline(now));
        let first = deadlines.min();
        if self.endpoints.iter().any(|(_, it)| it.in_flight() > 0) || first.is_some() {
            self.expect_lag(now);
        }
        let look = self.lag_look_at.filter(|at| *at != u64::MAX);
        first.into_iter().chain(look).min()
    }

    /// What is worth a line in the log.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Whether a cursor of this endpoint has changed.
    pub fn has_changed(&self, number: u32) -> bool {
        self.endpoint(number).is_some_and(Endpoint::has_dirty)
    }

    /// The cursors of an endpoint that changed since the last call.
    pub fn changed_cursors(&mut self, number: u32) -> Vec<Cursor> {
        let Some(endpoint) = self.endpoint_mut(number) else {
            return Vec::new();
        };
        let changed = endpoint.take_dirty();
        let cursors = changed.into_iter().filter_map(|n| self.cursor(number, n));
        cursors.collect()
    }

    /// Every cursor that the file of this endpoint needs.
    pub fn live_cursors(&self, number: u32) -> Vec<Cursor> {
        let Some(endpoint) = self.endpoint(number) else {
            return Vec::new();
        };
        let is_live = |n: u32| {
            let stream = &self.streams[n as usize];
            stream.is_there && !(stream.end.is_ended && endpoint.is_done(n, &stream.end))
        };
        let numbers = 0..self.streams.len() as u32;
        let live = numbers.filter(|n| is_live(*n));
        live.filter_map(|n| self.cursor(number, n)).collect()
    }

    fn cursor(&self, number: u32, stream: u32) -> Option<Cursor> {
        let slot = self.endpoint(number)?.slot(stream)?;
        let is_there = slot.phase != Phase::Absent && !slot.is_dropped();
        is_there.then(|| Cursor {
            key: self.streams[stream as usize].key,
            seq: slot.seq,
            offset: slot.offset,
        })
    }

    /// Events that an endpoint has not taken, streams with such, and since when the oldest waits.
    fn lag(&self, endpoint: &Endpoint) -> (u64, u64, u32) {
        let (mut events, mut streams, mut oldest) = (0, 0, u32::MAX);
        for (slot, stream) in endpoint.slots.iter().zip(&self.streams) {
            let behind = stream.end.seq.saturating_sub(slot.seq);
            if slot.phase != Phase::Absent && !slot.is_dropped() && behind > 0 {
                events += behind;
                streams += 1;
                oldest = oldest.min(slot.behind_s);
            }
        }
        (events, streams, oldest)
    }

    /// How an endpoint is.
    pub fn report(&self, number: u32, now: Now) -> Option<Report> {
        let endpoint = self.endpoint(number)?;
        let (lag_events, streams_behind, oldest) = self.lag(endpoint);
        let lag_s = match lag_events {
            0 => 0,
            _ => (now.unix_ms / 1000).saturating_sub(u64::from(oldest)),
        };
        let slots = endpoint.slots.iter().zip(&self.streams);
        let is_blocked = |slot: &slot::Slot| slot.phase != Phase::Absent && slot.tries > 0;
        let blocked = slots
            .filter(|(slot, _)| is_blocked(slot))
            .map(|(slot, stream)| Blocked {
                key: stream.key,
                seq: slot.seq + 1,
                status: slot.status,
                tries: slot.tries,
            });
        let blocked: Vec<Blocked> = blocked.take(BLOCKED_MAX).collect();
        let state = match endpoint.mode {
            Mode::Paused => "paused",
            Mode::Gone => "gone",
            Mode::Running if endpoint.is_resting() => "resting",
            Mode::Running if !blocked.is_empty() => "failing",
            Mode::Running => "ok",
        };
        Some(Report {
            state,
            lag_events,
            lag_s,
            streams_behind,
            blocked,
            last_ok_ms: endpoint.last_ok_unix_ms,
            last_failure: endpoint.last_failure,
            counts: endpoint.counts,
        })
    }

    /// How many requests to an endpoint could be begun now.
    pub fn jobs(&self, number: u32, now: Now) -> u32 {
        let Some(endpoint) = self.endpoint(number) else {
            return 0;
        };
        endpoint.startable(now, self.connections(endpoint))
    }

    /// Whether there is a request to begin now.
    pub fn has_job(&self, number: u32, now: Now) -> bool {
        self.jobs(number, now) > 0
    }
}
