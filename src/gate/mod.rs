//! The gate: what stands between the internet and tiny_http.
//!
//! tiny_http 0.12 must not meet a hostile client: one declared length aborts the process, one
//! reset panics, one `HTTP/2.0` line leaks a thread, slow clients hold threads without limit, one
//! failed `accept` ends the listener. So one thread of ours owns the public listeners, polls all
//! connections nonblocking, and takes in one complete request each, under one deadline and fixed
//! limits ([`Limits`]). Only complete, sane requests go on, written anew, to a tiny_http server on
//! a Unix socket in a directory of mode 0700; its answer is relayed under a deadline, and the
//! connection closed so that the client surely gets it. TLS, where configured, ends here too.
//!
//! | file | what |
//! | --- | --- |
//! | [`http_request`] | pure: bytes in, verdict out |
//! | `answer` | pure: our own answers; those of the server behind made fit |
//! | `connection` | one client from the first byte to the close |
//! | `exchange`, `backend` | the way to tiny_http; tiny_http and its workers, rebuilt when dead |
//! | `poll_loop` | the thread |
//! | `tls` | certificate files, handshake |
//!
//! Threads: the gate's, two workers, and tiny_http's own (one that accepts, four that parse). No
//! thread wakes up while nothing happens.

pub(crate) mod answer;
pub(crate) mod backend;
pub(crate) mod connection;
pub(crate) mod counters;
pub(crate) mod exchange;
pub mod http_request;
pub(crate) mod poll_loop;
pub(crate) mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use crate::net::file_limit::{file_limit, raise_file_limit};
pub use counters::{BUCKET_ENDS_US, Counters, Histogram};
pub use tls::{Tls, TlsError, TlsFiles};

pub(crate) use backend::Handler;
pub(crate) use counters::bump;

use backend::Backend;
use poll_loop::PollLoop;

use crate::net::waker::{Waker, waker};

/// The stack of the gate's thread: OpenSSL's handshake is what needs most of it.
const STACK_BYTES: usize = 512 << 10;

/// Times that nobody needs to set.
struct Times {
    /// The server behind must have answered.
    relay: Duration,
    /// The client must have taken the answer.
    answer: Duration,
    /// The client should have closed.
    linger: Duration,
    /// No accepting after a failure of the system.
    accept_pause: Duration,
    /// No handing on after a failure of the system.
    relay_pause: Duration,
    /// What was begun when the gate is stopped may take this long.
    stop_grace: Duration,
}

const TIMES: Times = Times {
    relay: Duration::from_secs(2),
    answer: Duration::from_secs(5),
    linger: Duration::from_secs(2),
    accept_pause: Duration::from_millis(100),
    relay_pause: Duration::from_millis(20),
    stop_grace: Duration::from_millis(1000),
};

/// How much of the machine strangers may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header fields together, in bytes. Beyond: 431.
    pub head_bytes_max: usize,
    /// A body, in bytes. Beyond: 413.
    pub body_bytes_max: usize,
    /// TLS handshake, head and body together, in milliseconds. Beyond: 408.
    pub request_ms: u64,
    /// Open connections (or half of the file limit, if that is less). Beyond: the one that has
    /// been incomplete longest gives way.
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

/// What may change while the gate runs.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The limits.
    pub limits: Limits,
    /// The certificate; `None` speaks plain HTTP.
    pub tls: Option<Tls>,
}

/// What the gate's thread shares with its owner.
struct Shared {
    waker: Waker,
    counters: Arc<Counters>,
    config: Mutex<Arc<Config>>,
    stop: AtomicBool,
    probe: AtomicBool,
    accept_fails: AtomicBool,
    inner_is_up: AtomicBool,
    start: Instant,
    turned_ms: AtomicU64,
}

impl Shared {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn handle_turn(&self, now: Instant) {
        let turned_ms = poll_loop::since_ms(self.start, now);
        self.turned_ms.store(turned_ms, Ordering::Release);
    }
}

/// A running gate. Dropping it stops it.
pub struct Gate {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Starts the thread, and tiny_http on a socket in a new directory under `socket_parent`.
    /// `handler` answers the requests, on the worker threads; it must not wait for anything.
    ///
    /// # Errors
    /// When the directory, a socket or a thread is not to be had.
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        config: Config,
        socket_parent: PathBuf,
        handler: Handler,
    ) -> io::Result<Gate> {
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            poll_loop::prepare(listener)?;
            addresses.push(listener.local_addr()?);
        }
        let (waker, wakeable) = waker()?;
        let counters = Arc::new(Counters::default());
        let inner = Backend::start(socket_parent, handler, waker.clone(), Arc::clone(&counters))?;
        let shared = Arc::new(Shared {
            waker,
            counters,
            config: Mutex::new(Arc::new(config)),
            stop: AtomicBool::new(false),
            probe: AtomicBool::new(false),
            accept_fails: AtomicBool::new(false),
            inner_is_up: AtomicBool::new(true),
            start: Instant::now(),
            turned_ms: AtomicU64::new(0),
        });
        let poll_loop = PollLoop::new(listeners, Arc::clone(&shared), wakeable, inner);
        let for_thread = Arc::clone(&shared);
        let thread = Builder::new()
            .name("gate".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(poll_loop, &for_thread))?;
        Ok(Gate {
            shared,
            addresses,
            thread: Some(thread),
        })
    }

    /// Where the listeners listen, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Takes other limits or another certificate, for connections accepted from now on.
    pub fn reload(&self, config: Config) {
        let mut current = self.shared.config.lock().unwrap_or_else(|e| e.into_inner());
        *current = Arc::new(config);
    }

    /// What is wrong, if anything.
    pub fn trouble(&self) -> Option<&'static str> {
        let shared = &self.shared;
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            Some("the gate has stopped")
        } else if shared.accept_fails.load(Ordering::Relaxed) {
            Some("the webhook listener cannot accept")
        } else if !shared.inner_is_up.load(Ordering::Relaxed) {
            Some("the http server behind the gate is down")
        } else {
            None
        }
    }

    /// Makes the gate turn once and ask the server behind for an answer, so that
    /// [`Gate::last_turn`] and [`Gate::trouble`] tell the present. For a watchdog: an idle gate
    /// never turns by itself.
    pub fn request_turn(&self) {
        self.shared.probe.store(true, Ordering::Release);
        self.shared.waker.wake();
    }

    /// When the gate's loop last turned.
    pub fn last_turn(&self) -> Instant {
        let turned_ms = self.shared.turned_ms.load(Ordering::Acquire);
        self.shared.start + Duration::from_millis(turned_ms)
    }

    /// Stops accepting at once, lets running requests finish for a second at most, joins the
    /// threads. Again does nothing.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics; there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut poll_loop: PollLoop, shared: &Shared) {
    while catch_unwind(AssertUnwindSafe(|| poll_loop.run())).is_err() {
        bump(&shared.counters.panics);
        log::error!("the gate panicked and goes on with new connections; please report");
        poll_loop.clear();
        // Should it panic at every turn, it must not take the machine with it.
        std::thread::park_timeout(TIMES.accept_pause);
    }
    poll_loop.stop();
}
