//! One client's connection, from the first byte to the close.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::PollFlags;

use super::answer;
use super::counters::bump;
use super::exchange::{Exchange, Progress};
use super::handover::LeavingRequest;
use super::http_request::{Arrival, Collector, HttpRefusal, Request, Verdict};
use super::tls::Stream;
use super::{Limits, Route, TIMES};

/// Maximum discarded bytes before a closing connection is cut.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
/// How often a request is tried before the client gets 503.
const TRIES_MAX: u32 = 3;

/// What a step needs besides the connection.
pub(super) struct StepContext<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) now: Instant,
}

/// A complete request that waits for its answer.
struct Waiting {
    request: Request,
    complete_at: Instant,
    tries: u32,
}

enum Stage {
    /// The TLS handshake, if any, and the request.
    Collect(Collector),
    /// Waits until the backend may have one more.
    Queued(Waiting),
    /// With the backend.
    Exchange(Waiting, Exchange),
    /// The answer on its way; the time is that of a POST answered with 2xx.
    Answer(Vec<u8>, usize, Option<Instant>),
    /// All is sent. Reading on until the client closes keeps a reset from overtaking the answer.
    Linger(usize),
    Over,
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) route: Arc<Route>,
    /// The number of its listener within the route.
    listener: usize,
    stream: Stream,
    stage: Stage,
    /// When it was accepted: determines which one is closed for another.
    pub(super) since: Instant,
    /// The deadline of the current stage.
    pub(super) deadline: Instant,
}

impl Connection {
    pub(super) fn new(
        route: Arc<Route>,
        listener: usize,
        stream: Stream,
        limits: &Limits,
        now: Instant,
    ) -> Connection {
        let arrival = Arrival {
            route: route.number,
            listener,
            leaves: (route.hand_over.as_ref()).map_or(|_| false, |it| it.leaves),
        };
        Connection {
            stage: Stage::Collect(Collector::new(limits.sizes(), arrival)),
            listener,
            route,
            stream,
            since: now,
            deadline: now + Duration::from_millis(limits.request_ms),
        }
    }

    /// What to poll for; `None` for nothing.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.stage {
            Stage::Collect(_) | Stage::Linger(_) => Some((self.stream.fd()?, PollFlags::IN)),
            Stage::Answer(..) => Some((self.stream.fd()?, PollFlags::OUT)),
            Stage::Exchange(_, relay) if relay.wants_to_write() => {
                Some((relay.fd(), PollFlags::IN | PollFlags::OUT))
            }
            Stage::Exchange(_, relay) => Some((relay.fd(), PollFlags::IN)),
            Stage::Queued(_) | Stage::Over => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.stage, Stage::Collect(_))
    }

    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.stage, Stage::Linger(_))
    }

    /// Whether nothing of a request has arrived, so that closing it loses nothing.
    pub(super) fn is_idle(&self) -> bool {
        match &self.stage {
            Stage::Collect(collector) => collector.is_empty(),
            Stage::Linger(_) => true,
            _ => false,
        }
    }

    /// When its request was complete, if it waits for the backend.
    pub(super) fn queued_since(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Queued(waiting) => Some(waiting.complete_at),
            _ => None,
        }
    }

    /// The number of the server that has its request.
    pub(super) fn generation(&self) -> Option<u64> {
        match &self.stage {
            Stage::Exchange(_, relay) => Some(relay.generation),
            _ => None,
        }
    }

    /// Memory of the request, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Collect(collector) => collector.held_bytes(),
            Stage::Queued(waiting) | Stage::Exchange(waiting, _) => waiting.request.bytes.len(),
            _ => 0,
        }
    }

    /// Proceeds as far as possible without blocking. Returns the number of a server that failed.
    pub(super) fn step(&mut self, context: &mut StepContext<'_>) -> Option<u64> {
        loop {
            let was_blocked = match &self.stage {
                Stage::Collect(_) => self.collect(context),
                Stage::Exchange(..) => return self.exchange(context),
                Stage::Answer(..) => self.answer(context),
                Stage::Linger(_) => self.linger(context),
                Stage::Queued(_) | Stage::Over => true,
            };
            if was_blocked {
                return None;
            }
        }
    }

    /// Each of these returns whether to wait.
    fn collect(&mut self, context: &mut StepContext<'_>) -> bool {
        if !self.stream.is_ready() {
            return match self.stream.handshake() {
                Ok(()) => false,
                Err(e) if is_blocked(&e) => true,
                Err(_) => {
                    bump(&self.route.counters.tls_failures);
                    self.close()
                }
            };
        }
        let Stage::Collect(collector) = &mut self.stage else {
            return true;
        };
        let verdict = match self.stream.read(context.scratch) {
            Ok(0) if collector.is_empty() => {
                bump(&self.route.counters.abandoned);
                return self.close();
            }
            Ok(0) => Verdict::Refuse(HttpRefusal::Malformed("the request ends too early")),
            Ok(n) => collector.handle_bytes(&context.scratch[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return false,
            Err(e) if is_blocked(&e) => return true,
            Err(_) => {
                bump(&self.route.counters.abandoned);
                return self.close();
            }
        };
        match verdict {
            Verdict::More => {}
            Verdict::Continue => match self.stream.write(answer::CONTINUE) {
                Ok(n) if n == answer::CONTINUE.len() => {}
                // Nothing was sent before, so these few bytes fit into the socket unless the client
                // is gone.
                _ => {
                    bump(&self.route.counters.abandoned);
                    return self.close();
                }
            },
            Verdict::Refuse(refusal) => self.refuse(refusal, context),
            Verdict::Complete => {
                if let Stage::Collect(collector) = std::mem::replace(&mut self.stage, Stage::Over) {
                    let request = collector.into_request();
                    if request.is_leaving {
                        return self.hand_over(&request, context);
                    }
                    self.deadline = context.now + TIMES.exchange;
                    self.stage = Stage::Queued(Waiting {
                        request,
                        complete_at: context.now,
                        tries: 0,
                    });
                }
            }
        }
        false
    }

    /// Gives a request away with its socket, or answers it.
    fn hand_over(&mut self, request: &Request, context: &mut StepContext<'_>) -> bool {
        let route = Arc::clone(&self.route);
        let Some(hand_over) = &route.hand_over else {
            return self.close();
        };
        let leaving = LeavingRequest::new(&request.bytes, self.listener);
        match (hand_over.decide)(&leaving).into_parts(request.is_head) {
            Ok(bytes) => {
                self.deadline = context.now + TIMES.answer;
                self.stage = Stage::Answer(bytes, 0, None);
                false
            }
            Err(take) => {
                let stream = std::mem::replace(&mut self.stream, Stream::Gone);
                // Such a listener has no TLS of its own.
                if let Some(socket) = stream.into_plain() {
                    take(socket);
                }
                self.close()
            }
        }
    }

    /// Passes a queued request on. `Err` if no connection to the backend can be opened.
    pub(super) fn start_exchange(&mut self, relay: io::Result<Exchange>) -> io::Result<()> {
        match (std::mem::replace(&mut self.stage, Stage::Over), relay) {
            (Stage::Queued(waiting), Ok(relay)) => {
                self.stage = Stage::Exchange(waiting, relay);
                Ok(())
            }
            (stage, relay) => {
                self.stage = stage;
                relay.map(drop)
            }
        }
    }

    fn exchange(&mut self, context: &mut StepContext<'_>) -> Option<u64> {
        let Stage::Exchange(waiting, relay) = &mut self.stage else {
            return None;
        };
        let request = &waiting.request;
        let failed = match relay.step(&request.bytes, request.is_head, context.scratch) {
            Progress::Pending => return None,
            // tiny_http answers 500 if no handler did: a server that was just replaced.
            Progress::Answered(500, _) if waiting.tries == 0 => None,
            Progress::Answered(code, bytes) => {
                let is_ack = request.is_post && (200..300).contains(&code);
                let ack_since = is_ack.then_some(waiting.complete_at);
                self.start_answer(bytes, ack_since, context);
                return None;
            }
            Progress::Failed => Some(relay.generation),
        };
        if let Stage::Exchange(mut waiting, _) = std::mem::replace(&mut self.stage, Stage::Over) {
            waiting.tries += 1;
            let is_enough = waiting.tries >= TRIES_MAX;
            self.stage = Stage::Queued(waiting);
            if is_enough {
                self.refuse(HttpRefusal::Unavailable, context);
                self.step(context);
            }
        }
        failed
    }

    /// Answers without the backend; the caller continues with the next step.
    pub(super) fn refuse(&mut self, refusal: HttpRefusal, context: &mut StepContext<'_>) {
        bump(self.route.counters.refused(refusal));
        let is_head = match &self.stage {
            Stage::Collect(collector) => collector.is_head(),
            Stage::Queued(waiting) | Stage::Exchange(waiting, _) => waiting.request.is_head,
            _ => false,
        };
        let bytes = answer::refusal(refusal, is_head, SystemTime::now());
        self.deadline = context.now + TIMES.answer;
        self.stage = Stage::Answer(bytes, 0, None);
    }

    fn start_answer(
        &mut self,
        bytes: Vec<u8>,
        ack_since: Option<Instant>,
        context: &mut StepContext<'_>,
    ) {
        self.deadline = context.now + TIMES.answer;
        self.stage = Stage::Answer(bytes, 0, ack_since);
        self.step(context);
    }

    fn answer(&mut self, context: &mut StepContext<'_>) -> bool {
        let Stage::Answer(bytes, sent_bytes, ack_since) = &mut self.stage else {
            return true;
        };
        match self
            .stream
            .write(bytes.get(*sent_bytes..).unwrap_or_default())
        {
            Ok(n) => *sent_bytes += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_blocked(&e) => return true,
            Err(_) => return self.close(),
        }
        if *sent_bytes >= bytes.len() {
            if let Some(since) = ack_since {
                self.route.counters.ack.record(since.elapsed());
            }
            if self.stream.finish().is_err() {
                return self.close();
            }
            self.deadline = context.now + TIMES.linger;
            self.stage = Stage::Linger(0);
        }
        false
    }

    fn linger(&mut self, context: &mut StepContext<'_>) -> bool {
        let Stage::Linger(discarded_bytes) = &mut self.stage else {
            return true;
        };
        match self.stream.discard(context.scratch) {
            Ok(n) if n > 0 && *discarded_bytes < DISCARDED_BYTES_MAX => *discarded_bytes += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_blocked(&e) => return true,
            _ => return self.close(),
        }
        false
    }

    /// Handles a passed deadline. Returns the number of a server that did not answer.
    pub(super) fn handle_deadline(&mut self, context: &mut StepContext<'_>) -> Option<u64> {
        let generation = self.generation();
        match &self.stage {
            Stage::Collect(_) if !self.stream.is_ready() => {
                let counters = &self.route.counters;
                bump(match self.stream {
                    Stream::Fresh(..) => &counters.silent,
                    _ => &counters.tls_failures,
                });
                self.close();
            }
            Stage::Collect(collector) if collector.is_empty() => {
                bump(&self.route.counters.silent);
                self.close();
            }
            Stage::Collect(_) => self.refuse(HttpRefusal::TooSlow, context),
            Stage::Queued(_) | Stage::Exchange(..) => {
                self.refuse(HttpRefusal::Unavailable, context)
            }
            Stage::Answer(..) => {
                bump(&self.route.counters.unread_answers);
                self.close();
            }
            Stage::Linger(_) | Stage::Over => {
                self.close();
            }
        }
        self.step(context);
        generation
    }

    /// Closes it for another one: one attempt to send a refusal, then the close.
    pub(super) fn evict(&mut self) {
        bump(&self.route.counters.evicted);
        if self.stream.is_ready() && !self.is_idle() {
            let bytes = answer::refusal(HttpRefusal::Unavailable, false, SystemTime::now());
            let _ = self.stream.write(&bytes);
        }
        self.close();
    }

    fn close(&mut self) -> bool {
        self.stream = Stream::Gone;
        self.stage = Stage::Over;
        true
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
