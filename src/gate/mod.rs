//! The HTTP front: one thread between the network and tiny_http, for all listeners.
//!
//! tiny_http 0.12 must not meet a hostile client: one declared length aborts the process, one
//! reset panics, one `HTTP/2.0` line leaks a thread, slow clients hold threads without limit, one
//! failed `accept` ends the listener. So a thread of the gate owns the listeners, polls all connections
//! without blocking, and reads one complete request from each, under one deadline and fixed limits
//! ([`Limits`]). It writes only complete, well-formed requests to a tiny_http server on a Unix socket
//! in a directory of mode 0700, passes the answer back under a deadline, and closes the connection so
//! that the client receives all of it. TLS, where configured, ends here too.
//!
//! A route is a set of listeners with limits, a certificate and a handler of their own: webhooks are
//! one, the admin listener is another. All routes share the gate's threads.
//!
//! | file | what |
//! | --- | --- |
//! | [`http_request`], `chunked` | pure: bytes in, verdict out |
//! | `answer` | pure: the gate's own answers; those of the backend, as the client gets them |
//! | `connection` | one client from the first byte to the close |
//! | `exchange` | one request to the backend, and its answer |
//! | `handover` | requests that leave the gate with their sockets |
//! | `backend` | tiny_http and its workers, built again when they fail |
//! | `poll_loop` | the thread |
//! | `tls` | certificate files, handshake |
//!
//! Threads: the gate's, two workers, and tiny_http's own (one that accepts, four that parse). No
//! thread wakes up while nothing happens. One connection to the backend for each request, not a kept
//! one for each worker: as many requests as possible must reach the workers at once, so that their
//! events share one sync of the disk, and tiny_http would hold a thread for each kept connection.

pub(crate) mod answer;
pub(crate) mod backend;
mod chunked;
pub(crate) mod connection;
pub(crate) mod counters;
pub(crate) mod exchange;
mod handover;
pub mod http_request;
mod listener;
pub(crate) mod poll_loop;
pub(crate) mod tls;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use counters::Counters;
pub use listener::Listener;
pub use tls::{CertificateError, Tls, TlsFiles};

pub(crate) use answer::{answer_bytes, open_answer_bytes};
pub(crate) use backend::{Answer, Handler, HttpRequest};
pub(crate) use counters::bump;
pub(crate) use handover::{Decision, HandOver, LeavingRequest};
pub(crate) use poll_loop::EXCHANGES_MAX;

use backend::Backend;
use poll_loop::{Open, PollLoop};

use crate::net::waker::{Waker, waker};

/// The stack of the gate's thread: OpenSSL's handshake needs most of it.
const STACK_BYTES: usize = 512 << 10;

/// Time limits that are not configurable.
struct Times {
    /// For the backend's answer.
    exchange: Duration,
    /// For the client to read the answer.
    answer: Duration,
    /// For the client to close.
    linger: Duration,
    /// Pause of accepting after a failure of the system.
    accept_pause: Duration,
    /// Pause of passing requests on after a failure of the system.
    exchange_pause: Duration,
    /// Time limit for requests in progress when a route is closed.
    stop_grace: Duration,
}

const TIMES: Times = Times {
    exchange: Duration::from_secs(2),
    answer: Duration::from_secs(5),
    linger: Duration::from_secs(2),
    accept_pause: Duration::from_millis(100),
    exchange_pause: Duration::from_millis(20),
    stop_grace: Duration::from_millis(1000),
};

/// Limits for the clients of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header fields together, in bytes. Above: 431.
    pub head_bytes_max: usize,
    /// A body, in bytes. Above: 413.
    pub body_bytes_max: usize,
    /// TLS handshake, head and body together, in milliseconds. Above: 408.
    pub request_ms: u64,
    /// Open connections (or half of the file limit, if that is less). Above: the one that has been
    /// incomplete longest is closed.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes_max: 16 << 10,
            body_bytes_max: 256 << 10,
            request_ms: 5_000,
            connections_max: 512,
        }
    }
}

impl Limits {
    fn sizes(&self) -> http_request::SizeLimits {
        http_request::SizeLimits {
            head_bytes_max: self.head_bytes_max,
            body_bytes_max: self.body_bytes_max,
        }
    }
}

/// The configuration that may change while a route is open.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The limits.
    pub limits: Limits,
    /// The certificate; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

/// The state that the gate's thread shares with its owner.
struct Shared {
    waker: Waker,
    routes: Arc<Routes>,
    /// Of the whole gate: failures of the backend, panics.
    counters: Arc<Counters>,
    stop: AtomicBool,
    probe: AtomicBool,
    backend_is_up: AtomicBool,
    start: Instant,
    turned_ms: AtomicU64,
}

impl Shared {
    fn handle_turn(&self, now: Instant) {
        let turned_ms = poll_loop::since_ms(self.start, now);
        self.turned_ms.store(turned_ms, Ordering::Release);
    }
}

/// The routes, in the order in which they were opened; none is ever removed.
#[derive(Default)]
struct Routes {
    all: Mutex<Vec<Arc<Route>>>,
    /// Listeners that the gate's thread has not taken over yet.
    opened: Mutex<Vec<Open>>,
}

impl Routes {
    fn all(&self) -> Vec<Arc<Route>> {
        lock(&self.all).clone()
    }
}

/// State shared by the listeners of one route.
struct Route {
    /// Its index in [`Routes`].
    number: usize,
    /// For the log: "webhook", "admin".
    name: &'static str,
    handler: Handler,
    hand_over: Option<HandOver>,
    /// Maximum of its requests at the backend at one time.
    in_flight_max: usize,
    config: Mutex<Arc<Config>>,
    counters: Arc<Counters>,
    accept_fails: AtomicBool,
    is_closing: AtomicBool,
    is_closed: Mutex<bool>,
    closed: Condvar,
}

impl Route {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A running gate. Clones refer to the same gate, which stops when the last of them is dropped.
#[derive(Clone)]
pub struct Gate(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

/// Listeners to open at a [`Gate`].
pub(crate) struct Listeners {
    /// For the log: "webhook", "admin".
    pub(crate) name: &'static str,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) config: Config,
    /// Maximum requests at the workers at one time; the workers have two threads.
    pub(crate) in_flight_max: usize,
    /// Answers the requests, on the worker threads.
    pub(crate) handler: Handler,
    /// Requests that leave the gate with their sockets, if there are such.
    pub(crate) hand_over: Option<HandOver>,
}

impl Gate {
    /// Starts the thread, and tiny_http on a socket in a new directory under `socket_parent`.
    ///
    /// # Errors
    /// If the directory, a socket or a thread cannot be created.
    pub(crate) fn start(socket_parent: PathBuf) -> io::Result<Gate> {
        let (waker, wakeable) = waker()?;
        let counters = Arc::new(Counters::default());
        let routes = Arc::new(Routes::default());
        let backend = Backend::start(
            socket_parent,
            Arc::clone(&routes),
            waker.clone(),
            Arc::clone(&counters),
        )?;
        let shared = Arc::new(Shared {
            waker,
            routes,
            counters,
            stop: AtomicBool::new(false),
            probe: AtomicBool::new(false),
            backend_is_up: AtomicBool::new(true),
            start: Instant::now(),
            turned_ms: AtomicU64::new(0),
        });
        let poll_loop = PollLoop::new(Arc::clone(&shared), wakeable, backend);
        let for_thread = Arc::clone(&shared);
        let thread = Builder::new()
            .name("gate".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(poll_loop, &for_thread))?;
        Ok(Gate(Arc::new(Owner {
            shared,
            thread: Some(thread),
        })))
    }

    /// Serves further listeners.
    ///
    /// # Errors
    /// If a socket cannot be prepared.
    pub(crate) fn open(&self, listeners: Listeners) -> io::Result<OpenRoute> {
        let count = listeners.listeners.len();
        let mut addresses = Vec::with_capacity(count);
        for listener in &listeners.listeners {
            poll_loop::prepare(listener)?;
            addresses.extend(listener.address()?);
        }
        let shared = &self.0.shared;
        let route = {
            let mut all = lock(&shared.routes.all);
            // The failures of the backend and the gate are reported with the webhooks.
            let counters = match all.is_empty() {
                true => Arc::clone(&shared.counters),
                false => Arc::default(),
            };
            let route = Arc::new(Route {
                number: all.len(),
                name: listeners.name,
                handler: listeners.handler,
                hand_over: listeners.hand_over,
                in_flight_max: listeners.in_flight_max,
                config: Mutex::new(Arc::new(listeners.config)),
                counters,
                accept_fails: AtomicBool::new(false),
                is_closing: AtomicBool::new(false),
                is_closed: Mutex::new(false),
                closed: Condvar::new(),
            });
            all.push(Arc::clone(&route));
            route
        };
        let opened = listeners.listeners.into_iter().enumerate();
        let opened = opened.map(|(number, listener)| Open {
            route: Arc::clone(&route),
            number,
            listener,
        });
        lock(&shared.routes.opened).extend(opened);
        shared.waker.wake();
        Ok(OpenRoute {
            gate: Some(self.clone()),
            route,
            listeners: count,
            addresses,
        })
    }

    /// Makes the gate take a turn and probe the backend, so that [`Gate::last_turn`] and
    /// `OpenRoute::unready_reason` are current. For a watchdog: an idle gate takes no turn by
    /// itself.
    pub fn request_turn(&self) {
        self.0.shared.probe.store(true, Ordering::Release);
        self.0.shared.waker.wake();
    }

    /// When the gate's loop took its last turn.
    pub fn last_turn(&self) -> Instant {
        let turned_ms = self.0.shared.turned_ms.load(Ordering::Acquire);
        self.0.shared.start + Duration::from_millis(turned_ms)
    }

    fn is_running(&self) -> bool {
        let thread = self.0.thread.as_ref();
        thread.is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics, so the result has no information.
            let _ = thread.join();
        }
    }
}

/// An open route of a gate. Dropping it closes it.
pub(crate) struct OpenRoute {
    /// `None` once it is closed, so that the gate can end.
    gate: Option<Gate>,
    route: Arc<Route>,
    listeners: usize,
    addresses: Vec<SocketAddr>,
}

impl std::fmt::Debug for OpenRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRoute")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl OpenRoute {
    /// The gate of the route, until it is closed.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// The addresses of the listeners that have one, in their order.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The counters.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.route.counters
    }

    /// Replaces limits or certificate, for connections accepted from now on.
    pub(crate) fn reload(&self, config: Config) {
        *lock(&self.route.config) = Arc::new(config);
    }

    /// Why requests would not be answered; `None` if they would.
    pub(crate) fn unready_reason(&self) -> Option<&'static str> {
        let Some(gate) = self.gate.as_ref().filter(|gate| gate.is_running()) else {
            return Some("the gate has stopped");
        };
        if self.route.accept_fails.load(Ordering::Relaxed) {
            Some("the webhook listener cannot accept")
        } else if !gate.0.shared.backend_is_up.load(Ordering::Relaxed) {
            Some("the HTTP backend is down")
        } else {
            None
        }
    }

    /// Stops accepting at once, and gives requests in progress a second to end. The gate ends with
    /// its last route. The second call does nothing.
    pub(crate) fn close(&mut self) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        self.route.is_closing.store(true, Ordering::Release);
        gate.0.shared.waker.wake();
        if self.listeners == 0 {
            return;
        }
        // A gate that hangs must not block the owner of a route for ever.
        let wait = TIMES.stop_grace * 2;
        let closed = lock(&self.route.is_closed);
        let is_open = |is_closed: &mut bool| !*is_closed && gate.is_running();
        let _ = self.route.closed.wait_timeout_while(closed, wait, is_open);
    }
}

impl Drop for OpenRoute {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(mut poll_loop: PollLoop, shared: &Shared) {
    while catch_unwind(AssertUnwindSafe(|| poll_loop.run())).is_err() {
        bump(&shared.counters.panics);
        log::error!("the gate panicked and continues with new connections; please report");
        poll_loop.clear();
        // If it panics at every turn, it must not use up the CPU.
        std::thread::park_timeout(TIMES.accept_pause);
    }
    poll_loop.stop();
}
