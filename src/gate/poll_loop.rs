//! The gate's thread: one poll(2) over listeners, clients and the backend.
//!
//! It sleeps without a time-out while no connection is open.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backend::Backend;
use super::connection::{Connection, StepContext};
use super::counters::bump;
use super::exchange::{Exchange, Progress};
use super::listener::Listener;
use super::tls::Stream;
use super::{Config, Route, Shared, TIMES, lock};
use crate::log::warn_limiter::WarnLimiter;
use crate::net::file_limit::file_limit;
use crate::net::waker::Wakeable;

/// Maximum requests at the backend at one time. Their events share a sync of the disk: with 16, and syncs that
/// take 10 to 50 ms, a third of 1,000 webhooks at once was too late for Zoom. The backend's socket holds 128.
pub(crate) const EXCHANGES_MAX: usize = 64;
/// Maximum bytes of requests in memory; above it the largest incomplete one is closed.
const HELD_BYTES_MAX: usize = 16 << 20;
/// A connection has this long for its request before it may be closed for another one. In a burst
/// many are accepted before their first byte; without this time each would be closed for the next
/// one.
const YIELD_AFTER: Duration = Duration::from_millis(250);
/// Maximum connections accepted from one listener before the others have their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Maximum bytes per read.
const SCRATCH_BYTES: usize = 64 << 10;
/// The gate's own request to the backend.
const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";

#[derive(Clone, Copy)]
enum Owner {
    Waker,
    Listener(usize),
    Connection(usize),
    Probe,
}

/// A listener, with its number within its route.
pub(super) struct Open {
    pub(super) route: Arc<Route>,
    pub(super) number: usize,
    pub(super) listener: Listener,
}

/// The state of the gate's thread.
pub(super) struct PollLoop {
    listeners: Vec<Open>,
    shared: Arc<Shared>,
    wakeable: Wakeable,
    backend: Backend,
    connections: Vec<Connection>,
    scratch: Vec<u8>,
    probe: Option<(Exchange, Instant)>,
    accept_paused_until: Option<Instant>,
    exchanges_paused_until: Option<Instant>,
    /// Routes that are being closed, and when their last connections are cut.
    closing: Vec<(Arc<Route>, Instant)>,
    accept_warning: WarnLimiter,
}

impl PollLoop {
    pub(super) fn new(shared: Arc<Shared>, wakeable: Wakeable, backend: Backend) -> PollLoop {
        PollLoop {
            listeners: Vec::new(),
            shared,
            wakeable,
            backend,
            connections: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            probe: None,
            accept_paused_until: None,
            exchanges_paused_until: None,
            closing: Vec::new(),
            accept_warning: WarnLimiter::default(),
        }
    }

    /// Runs until the stop flag is set and the requests in progress are over.
    pub(super) fn run(&mut self) {
        loop {
            let now = Instant::now();
            self.listeners.append(&mut lock(&self.shared.routes.opened));
            self.close_routes(now);
            if self.shared.stop.load(Ordering::Acquire) {
                self.listeners.clear();
                self.connections.clear();
                return;
            }
            let ready = self.poll(now);
            let now = Instant::now();
            self.shared.handle_turn(now);
            for owner in ready {
                match owner {
                    Owner::Waker => self.wakeable.clear(),
                    Owner::Connection(n) => self.step(n, now),
                    Owner::Listener(n) => self.accept(n, now),
                    Owner::Probe => self.step_probe(now),
                }
            }
            self.handle_deadlines(now);
            self.poll_backend(now);
            self.connections.retain(|connection| !connection.is_over());
            self.keep_within_memory();
        }
    }

    /// Closes the connections of routes that are being closed, as far as no answer is lost.
    fn close_routes(&mut self, now: Instant) {
        let closing = &mut self.closing;
        self.listeners.retain(|Open { route, .. }| {
            let is_closing = route.is_closing.load(Ordering::Acquire);
            let is_known = |(known, _): &(Arc<Route>, Instant)| known.number == route.number;
            if is_closing && !closing.iter().any(is_known) {
                closing.push((Arc::clone(route), now + TIMES.stop_grace));
            }
            !is_closing
        });
        for (route, cut_at) in &self.closing {
            let is_of_route = |connection: &Connection| connection.route.number == route.number;
            let is_cut = now >= *cut_at;
            self.connections
                .retain(|one| !is_of_route(one) || !(is_cut || one.is_idle()));
            if !self.connections.iter().any(is_of_route) {
                *lock(&route.is_closed) = true;
                route.closed.notify_all();
            }
        }
    }

    /// Ends the backend.
    pub(super) fn stop(self) {
        self.backend.stop();
    }

    /// After a panic: every connection is lost, the listeners and the backend stay.
    pub(super) fn clear(&mut self) {
        self.connections.clear();
        self.probe = None;
    }

    /// Waits for events, and returns what they belong to: connections before listeners, because
    /// accepting may move connections.
    fn poll(&mut self, now: Instant) -> Vec<Owner> {
        let mut fds = Vec::with_capacity(self.connections.len() + 4);
        let mut owners = Vec::with_capacity(self.connections.len() + 4);
        let mut until: Option<Instant> = None;
        let mut earliest = |at: Option<Instant>| {
            until = match (until, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        };
        for (n, connection) in self.connections.iter().enumerate() {
            earliest(Some(connection.deadline));
            if let Some((fd, flags)) = connection.interest() {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                owners.push(Owner::Connection(n));
            }
        }
        for (route, cut_at) in &self.closing {
            earliest((!*lock(&route.is_closed)).then_some(*cut_at));
        }
        if let Some((probe, deadline)) = &self.probe {
            fds.push(PollFd::from_borrowed_fd(probe.fd(), PollFlags::IN));
            owners.push(Owner::Probe);
            earliest(Some(*deadline));
        }
        fds.push(PollFd::from_borrowed_fd(
            self.wakeable.as_fd(),
            PollFlags::IN,
        ));
        owners.push(Owner::Waker);
        earliest(self.backend.rebuild_at());
        earliest(self.exchanges_paused_until);
        if self.accept_paused_until.is_some_and(|at| now < at) {
            earliest(self.accept_paused_until);
        } else {
            for (n, open) in self.listeners.iter().enumerate() {
                let Open {
                    route, listener, ..
                } = open;
                if self.has_room(route, now) {
                    fds.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
                    owners.push(Owner::Listener(n));
                } else {
                    earliest(self.room_at(route));
                }
            }
        }
        let wait = until.map(|at| at.saturating_duration_since(now));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        if let Err(error) = poll(&mut fds, wait.as_ref()) {
            if error != rustix::io::Errno::INTR {
                // The kernel is out of memory: nothing else can fail here.
                std::thread::park_timeout(TIMES.accept_pause);
            }
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        (fds.iter().zip(owners))
            .filter(|(fd, _)| is_ready(fd))
            .map(|(_, owner)| owner)
            .collect()
    }

    fn connections_max(&self, config: &Config) -> usize {
        // Half of the files are reserved for the rest of the daemon, under any load of the gate.
        let files = usize::try_from(file_limit() / 2).unwrap_or(usize::MAX);
        config.limits.connections_max.min(files).max(1)
    }

    fn count(&self, route: &Route) -> usize {
        let of_route = |connection: &&Connection| connection.route.number == route.number;
        self.connections.iter().filter(of_route).count()
    }

    fn has_room(&self, route: &Route, now: Instant) -> bool {
        self.count(route) < self.connections_max(&route.config())
            || self.next_to_yield(route, now).is_some()
    }

    /// When a connection of a full route may be closed for another one, if none ends before.
    fn room_at(&self, route: &Route) -> Option<Instant> {
        let collecting = |c: &&Connection| c.route.number == route.number && c.is_collecting();
        let collecting = self.connections.iter().filter(collecting);
        collecting.map(|c| c.since + YIELD_AFTER).min()
    }

    /// The connection of a route to close for another one: one that only lingers, otherwise the one
    /// that has been incomplete longest.
    fn next_to_yield(&self, route: &Route, now: Instant) -> Option<usize> {
        let is_late = |c: &Connection| c.is_collecting() && now >= c.since + YIELD_AFTER;
        let can_yield =
            |c: &Connection| c.route.number == route.number && (c.is_lingering() || is_late(c));
        (self.connections.iter().enumerate())
            .filter(|(_, connection)| can_yield(connection))
            .min_by_key(|(_, connection)| (!connection.is_lingering(), connection.since))
            .map(|(n, _)| n)
    }

    fn evict(&mut self, n: usize) {
        self.connections.swap_remove(n).evict();
    }

    fn step_context(&mut self, now: Instant) -> (&mut Vec<Connection>, StepContext<'_>) {
        let context = StepContext {
            scratch: &mut self.scratch,
            now,
        };
        (&mut self.connections, context)
    }

    fn step(&mut self, n: usize, now: Instant) {
        let (connections, mut context) = self.step_context(now);
        let Some(connection) = connections.get_mut(n) else {
            return;
        };
        let was_relayed = connection.generation().is_some();
        let failed = connection.step(&mut context);
        let is_answered = was_relayed && failed.is_none() && connection.generation().is_none();
        if let Some(generation) = failed {
            self.backend.handle_failure(generation, now);
        } else if is_answered {
            self.backend.handle_success();
        }
    }

    fn accept(&mut self, n: usize, now: Instant) {
        let Some(open) = self.listeners.get(n) else {
            return;
        };
        let (route, number) = (Arc::clone(&open.route), open.number);
        let config = route.config();
        let connections_max = self.connections_max(&config);
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(Open { listener, .. }) = self.listeners.get(n) else {
                return;
            };
            if self.count(&route) >= connections_max {
                match self.next_to_yield(&route, now) {
                    Some(oldest) => self.evict(oldest),
                    None => return,
                }
                continue;
            }
            match listener.accept() {
                Ok(socket) => {
                    route.accept_fails.store(false, Ordering::Relaxed);
                    bump(&route.counters.accepted);
                    let Ok(stream) = socket else {
                        continue;
                    };
                    let stream = Stream::new(stream, config.tls.as_ref());
                    self.connections.push(Connection::new(
                        Arc::clone(&route),
                        number,
                        stream,
                        &config.limits,
                        now,
                    ));
                    self.step(self.connections.len() - 1, now);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    route.accept_fails.store(false, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    let is_awaited = is_awaited(listener);
                    self.handle_accept_error(&route, &error, is_awaited, now);
                    return;
                }
            }
        }
    }

    fn handle_accept_error(
        &mut self,
        route: &Route,
        error: &io::Error,
        is_awaited: bool,
        now: Instant,
    ) {
        let is_aborted = error.kind() == io::ErrorKind::ConnectionAborted;
        // Linux looks for a free file before it checks the queue, so there may be no client.
        if !is_aborted && !is_awaited {
            return;
        }
        bump(&route.counters.accept_errors);
        // A client that closed while it waited is not our fault.
        if is_aborted {
            return;
        }
        route.accept_fails.store(true, Ordering::Relaxed);
        self.accept_paused_until = Some(now + TIMES.accept_pause);
        if let Some(more) = self.accept_warning.allow(now) {
            log::warn!(
                "the {} listener cannot accept: {error}; trying again; raise the limit of open files \
                 if this stays{more}",
                route.name
            );
        }
        if let Some(oldest) = self.next_to_yield(route, now) {
            self.evict(oldest);
        }
    }

    fn handle_deadlines(&mut self, now: Instant) {
        let due = |connection: &Connection| now >= connection.deadline;
        for n in 0..self.connections.len() {
            if self.connections.get(n).is_some_and(due) {
                let (connections, mut context) = self.step_context(now);
                let failed = connections
                    .get_mut(n)
                    .and_then(|connection| connection.handle_deadline(&mut context));
                if let Some(generation) = failed {
                    self.backend.handle_failure(generation, now);
                }
            }
        }
        let probe_is_due = |(_, deadline): &mut (Exchange, Instant)| now >= *deadline;
        if let Some((probe, _)) = self.probe.take_if(probe_is_due) {
            self.backend.handle_failure(probe.generation, now);
        }
    }

    /// Keeps a backend running, probes it for the watchdog, and passes queued requests on.
    fn poll_backend(&mut self, now: Instant) {
        if self.shared.probe.swap(false, Ordering::AcqRel) && self.probe.is_none() {
            self.start_probe(now);
        }
        self.exchanges_paused_until.take_if(|at| now >= *at);
        if self.backend.server(now).is_some() && self.exchanges_paused_until.is_none() {
            self.start_exchanges(now);
        }
        let is_up = self.backend.is_up();
        self.shared.backend_is_up.store(is_up, Ordering::Relaxed);
    }

    fn start_exchanges(&mut self, now: Instant) {
        // The next of the waiting requests depends on how many of its route are at the backend:
        // counted once per start, because in a burst there are hundreds of connections.
        let mut of_route: Vec<usize> = Vec::new();
        loop {
            of_route.clear();
            for connection in &self.connections {
                let number = connection.route.number;
                of_route.resize(of_route.len().max(number + 1), 0);
                of_route[number] += usize::from(connection.generation().is_some());
            }
            if of_route.iter().sum::<usize>() >= EXCHANGES_MAX {
                return;
            }
            let queued = (self.connections.iter().enumerate())
                .filter(|(_, one)| of_route[one.route.number] < one.route.in_flight_max)
                .filter_map(|(n, connection)| Some((connection.queued_since()?, n)))
                .min();
            let Some((_, n)) = queued else {
                return;
            };
            let Some((socket, generation)) = self.backend.server(now) else {
                return;
            };
            let exchange = Exchange::start(socket, generation);
            let Some(connection) = self.connections.get_mut(n) else {
                return;
            };
            if let Err(error) = connection.start_exchange(exchange) {
                match error.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        self.backend.handle_failure(generation, now);
                    }
                    // Probably no file descriptor: the request keeps waiting.
                    _ => {
                        self.exchanges_paused_until = Some(now + TIMES.exchange_pause);
                        return;
                    }
                }
            } else {
                self.step(n, now);
            }
        }
    }

    fn start_probe(&mut self, now: Instant) {
        let Some((socket, generation)) = self.backend.server(now) else {
            return;
        };
        match Exchange::start(socket, generation) {
            Ok(probe) => {
                self.probe = Some((probe, now + TIMES.exchange));
                self.step_probe(now);
            }
            Err(_) => self.backend.handle_failure(generation, now),
        }
    }

    fn step_probe(&mut self, now: Instant) {
        let Some((probe, _)) = &mut self.probe else {
            return;
        };
        let generation = probe.generation;
        match probe.step(PROBE, false, &mut self.scratch) {
            Progress::Pending => return,
            Progress::Answered(..) => self.backend.handle_success(),
            Progress::Failed => self.backend.handle_failure(generation, now),
        }
        self.probe = None;
    }

    fn keep_within_memory(&mut self) {
        let mut held_bytes: usize = self.connections.iter().map(Connection::held_bytes).sum();
        while held_bytes > HELD_BYTES_MAX {
            let largest = (self.connections.iter().enumerate())
                .filter(|(_, connection)| connection.is_collecting())
                .max_by_key(|(_, connection)| connection.held_bytes())
                .map(|(n, connection)| (n, connection.held_bytes()));
            let Some((n, bytes)) = largest else {
                return;
            };
            self.evict(n);
            held_bytes = held_bytes.saturating_sub(bytes.max(1));
        }
    }
}

/// Whether a client waits in the listener's queue; also `true` if the kernel does not say.
fn is_awaited(listener: &Listener) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// Sets the options that the gate needs on a listener.
pub(super) fn prepare(listener: &Listener) -> io::Result<()> {
    listener.set_nonblocking()?;
    // A longer queue than the standard library's, for bursts; the kernel caps it.
    Ok(rustix::net::listen(listener, 1024)?)
}

/// Converts a time to the form that other threads read.
pub(super) fn since_ms(start: Instant, now: Instant) -> u64 {
    let since: Duration = now.saturating_duration_since(start);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
