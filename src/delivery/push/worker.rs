//! A worker: takes one request after another of its endpoint, and ends when there is none for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Event, Room, webhook_id};
use super::machine::{Job, Outcome};
use super::settings::EndpointSettings;
use super::shared::{Shared, State};
use crate::clock::now_ms;
use crate::feed::cursor::Cursor;
use crate::feed::kind::KindFilter;
use crate::feed::{Chunk, Found, Reader};

/// Without work a worker ends after this time.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Of a journal of which nothing is wanted so much is looked at in one turn.
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// Works for the endpoint with this number until there is nothing to do.
pub(super) fn work(shared: &Arc<Shared>, number: u32) {
    let reader = Reader::new(&shared.board);
    let mut chunk = Chunk::default();
    while let Some(assignment) = next(shared, number) {
        let outcome = perform(shared, &reader, &assignment, &mut chunk);
        shared.finish(number, &assignment.job, outcome);
    }
}

/// A job, with what its endpoint is at this moment.
struct Assignment {
    job: Job,
    endpoint: Arc<EndpointSettings>,
    filter: Arc<KindFilter>,
}

/// Waits for a job; `None` when the worker is to end, which is then counted already.
fn next(shared: &Shared, number: u32) -> Option<Assignment> {
    let mut state = shared.lock();
    let until = Instant::now() + IDLE_MAX;
    loop {
        let is_stopping = state.is_stopping;
        let State {
            machine, endpoints, ..
        } = &mut *state;
        let endpoint = endpoints.iter_mut().find(|it| it.number == number)?;
        if !is_stopping && let Some(job) = machine.next_job(number, shared.now()) {
            return Some(Assignment {
                filter: endpoint.filter(job.filter),
                endpoint: Arc::clone(&endpoint.settings),
                job,
            });
        }
        let left = until.saturating_duration_since(Instant::now());
        if is_stopping || left.is_zero() {
            endpoint.workers -= 1;
            return None;
        }
        endpoint.idle += 1;
        let wake = Arc::clone(&endpoint.wake);
        state = shared.wait(&wake, state, left);
        let mut endpoints = state.endpoints.iter_mut();
        endpoints.find(|it| it.number == number)?.idle -= 1;
    }
}

fn perform(
    shared: &Shared,
    reader: &Reader,
    assignment: &Assignment,
    chunk: &mut Chunk,
) -> Outcome {
    let (job, endpoint) = (&assignment.job, &assignment.endpoint);
    let mut batch = Batch::new(endpoint.format, job.events_max, job.until);
    let mut written_us = 0;
    let place = match fill(
        shared,
        reader,
        assignment,
        chunk,
        &mut batch,
        &mut written_us,
    ) {
        Ok(place) => place,
        Err(outcome) => return outcome,
    };
    let Some(range) = batch.range() else {
        // Nothing was read, although there should be something.
        return match place == job.cursor {
            true => Outcome::Unread,
            false => Outcome::Passed(place),
        };
    };
    let key = job.cursor.key;
    if shared.board.is_revoked(key) {
        return Outcome::Unread;
    }
    let content_type = endpoint.format.content_type(range.events.into());
    let id = webhook_id(key, &range);
    let exchange = shared
        .client
        .post(endpoint, &id, content_type, batch.body(), now_ms() / 1000);
    shared.seconds.record(exchange.took);
    log::debug!(
        "push endpoint={} id={id} events={} answer={:?} ms={}",
        endpoint.name,
        range.events,
        exchange.answer,
        exchange.took.as_millis()
    );
    Outcome::Answered {
        range,
        unix_s: (written_us / 1_000_000) as u32,
        answer: exchange.answer,
    }
}

/// Reads events into the batch until it is full or there are no more; how far was looked.
fn fill(
    shared: &Shared,
    reader: &Reader,
    assignment: &Assignment,
    chunk: &mut Chunk,
    batch: &mut Batch,
    written_us: &mut u64,
) -> Result<Cursor, Outcome> {
    let mut cursor = assignment.job.cursor;
    loop {
        match reader.read(&cursor, chunk) {
            Ok(Found::Lines) => {}
            Ok(Found::Nothing | Found::Ended) => return Ok(cursor),
            // The board says so to the thread as well, which takes the stream away.
            Ok(Found::Revoked) => return Err(Outcome::Unread),
            Ok(Found::Gone) => match shared.load_again(cursor.key) {
                true => continue,
                false => return Err(Outcome::Lost),
            },
            Err(error) => {
                shared.unreadable(cursor.key, &error);
                return Err(Outcome::Unread);
            }
        }
        for (line, after) in chunk.lines_with_cursors() {
            let before = batch.range();
            let event = Event {
                seq: line.seq,
                is_wanted: assignment.filter.wants(line.kind),
                line: line.bytes,
                end: after.offset,
            };
            let room = batch.push(event);
            if batch.range() != before {
                *written_us = line.pos;
            }
            cursor = after;
            if room == Room::Full {
                return Ok(cursor);
            }
        }
        cursor = chunk.end();
        let looked = cursor.offset.saturating_sub(assignment.job.cursor.offset);
        if batch.range().is_none() && looked >= LOOK_BYTES_MAX {
            return Ok(cursor);
        }
    }
}
