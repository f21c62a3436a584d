//! The dialer thread, which opens WebSockets for all streams.
//!
//! A TLS handshake needs a deep stack, buffers and a random generator of OpenSSL per thread, and
//! the thread keeps most of that memory until it ends. With handshakes on the streams' own threads
//! this was 17 of the 115 KiB of a stream (measured at 900 streams). Here it is needed once. A peer
//! that hangs delays no other connection: each one proceeds as far as it can without blocking.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::connect_attempt::{ConnectAttempt, FilteredSocket, Progress};
use super::connect_proxy::ConnectProxy;
use super::resolve::Resolver;
use super::tls_client::TlsClient;
use crate::log::app::inherit;
use crate::net::waker::{Wakeable, Waker, waker};
use crate::protocol::Loss;
use crate::protocol::server_url::ServerUrl;
use crate::stream::poller::limit_until;

/// OpenSSL verifies long certificate chains on it; only touched pages use memory.
const STACK_BYTES: usize = 512 << 10;

/// Maximum concurrent TLS handshakes: each needs 42 KiB of buffers, and if 2,000 streams start at
/// once, the process would keep the memory for all of them.
const HANDSHAKES_MAX: usize = 32;
/// A handshake that takes longer than this waits for its peer, and no longer counts.
const HANDSHAKE_QUICK: Duration = Duration::from_millis(500);
/// When several streams start at once, this thread yields the CPU to the threads that answer their
/// webhooks: the last of fifty is answered after 8 ms instead of 15 (median of six runs on two
/// cores). Limited, because on a busy machine a thread that yields waits long: up to 50 ms later.
const YIELDS: Duration = Duration::from_millis(50);

type Outcome = Result<Box<FilteredSocket>, Loss>;

/// Opens the WebSockets of all streams on a thread of its own, which ends and is joined with the
/// last clone. Clones are cheap.
///
/// All connections share one TLS configuration: where the system's root certificates are in one
/// file, one configuration per connection would cost 80 ms of CPU and 890 KiB of memory.
#[derive(Clone)]
pub struct Dialer {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only in `drop`.
    jobs: Mutex<Option<Sender<Job>>>,
    waker: Waker,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Job {
    url: ServerUrl,
    proxy: Option<ConnectProxy>,
    message_bytes_max: usize,
    reply_to: DialReply,
}

/// Where to send the outcome.
struct DialReply {
    answer: Sender<Outcome>,
    waker: Waker,
    is_wanted: Arc<AtomicBool>,
}

/// A requested connection. Dropping it cancels the request.
pub(crate) struct PendingConnection {
    answer: Receiver<Outcome>,
    is_wanted: Arc<AtomicBool>,
    opener: Waker,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the thread or its waker cannot be created: no file descriptors, no memory.
    pub fn start(tls: TlsClient, resolver: Resolver) -> io::Result<Dialer> {
        let (waker, wakeable) = waker()?;
        let (jobs, inbox) = mpsc::channel();
        let mut work = DialerThread {
            tls,
            resolver,
            inbox,
            waker: waker.clone(),
            wakeable,
            entries: Vec::new(),
            burst_since: None,
        };
        let thread = Builder::new()
            .name("dial".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || work.run()))?;
        Ok(Dialer {
            shared: Arc::new(Shared {
                jobs: Mutex::new(Some(jobs)),
                waker,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Starts to open that URL, directly or by the proxy; `waker` is woken when there is an outcome. Once it is open,
    /// messages of more than `message_bytes_max` bytes are skipped.
    pub(crate) fn open(
        &self,
        url: ServerUrl,
        proxy: Option<ConnectProxy>,
        message_bytes_max: usize,
        waker: Waker,
    ) -> PendingConnection {
        let (sender, answer) = mpsc::channel();
        let is_wanted = Arc::new(AtomicBool::new(true));
        let ticket = PendingConnection {
            answer,
            is_wanted: Arc::clone(&is_wanted),
            opener: self.shared.waker.clone(),
        };
        let reply_to = DialReply {
            answer: sender,
            waker,
            is_wanted,
        };
        let jobs = self.shared.jobs.lock();
        if let Some(jobs) = &*jobs.unwrap_or_else(PoisonError::into_inner) {
            // If the thread has ended, the reply channel is closed, which is an outcome.
            let _ = jobs.send(Job {
                url,
                proxy,
                message_bytes_max,
                reply_to,
            });
        }
        self.shared.waker.wake();
        ticket
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let jobs = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner);
        *jobs = None;
        self.waker.wake();
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take() {
            // The thread sees the closed channel at its next turn. If it panicked, the message was
            // printed then.
            let _ = thread.join();
        }
    }
}

impl PendingConnection {
    /// The connection, or why there is none; `None` while it is pending.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.answer.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(Loss::Connect("the dialer thread has ended".to_owned())))
            }
        }
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.is_wanted.store(false, Relaxed);
        self.opener.wake();
    }
}

struct DialerThread {
    tls: TlsClient,
    resolver: Resolver,
    inbox: Receiver<Job>,
    waker: Waker,
    wakeable: Wakeable,
    entries: Vec<Entry>,
    /// Since when there has been more than one attempt.
    burst_since: Option<Instant>,
}

/// A connection attempt.
struct Entry {
    opening: ConnectAttempt,
    reply_to: DialReply,
    /// When its TLS handshake started.
    shaking_since: Option<Instant>,
}

impl DialerThread {
    fn run(&mut self) {
        loop {
            let mut due = self.wait();
            self.wakeable.clear();
            loop {
                match self.inbox.try_recv() {
                    Ok(Job {
                        url,
                        proxy,
                        message_bytes_max,
                        reply_to,
                    }) => {
                        self.entries.push(Entry {
                            opening: ConnectAttempt::new(
                                url,
                                proxy,
                                message_bytes_max,
                                &self.resolver,
                                self.waker.clone(),
                            ),
                            reply_to,
                            shaking_since: None,
                        });
                        due.push(true);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if !self.entries.is_empty() {
                // The first call makes the configuration, while the name is being resolved.
                self.tls.make();
            }
            let now = Instant::now();
            let is_burst = self.entries.len() > 1;
            self.burst_since = is_burst.then(|| self.burst_since.unwrap_or(now));
            let yields_until = self.burst_since.map_or(now, |since| since + YIELDS);
            let mut free = HANDSHAKES_MAX.saturating_sub(self.quick(now).count());
            let tls = &self.tls;
            let mut due = due.into_iter();
            self.entries.retain_mut(|entry| {
                let is_due = due.next().unwrap_or(true);
                if is_due && Instant::now() < yields_until {
                    std::thread::yield_now();
                }
                entry.reply_to.is_wanted.load(Relaxed)
                    && entry.poll_attempt(is_due, now, tls, &mut free)
            });
        }
    }

    /// When the recent handshakes stop counting.
    fn quick(&self, now: Instant) -> impl Iterator<Item = Instant> + '_ {
        let since = self.entries.iter().filter_map(|entry| entry.shaking_since);
        since
            .map(|since| since + HANDSHAKE_QUICK)
            .filter(move |end| now < *end)
    }

    /// Waits for events; returns for each connection whether it has one.
    fn wait(&self) -> Vec<bool> {
        let now = Instant::now();
        let mut fds = Vec::with_capacity(1 + self.entries.len());
        fds.push(PollFd::from_borrowed_fd(
            self.wakeable.as_fd(),
            PollFlags::IN,
        ));
        // An attempt that waits for its name is due with the waker.
        let waker = (self.wakeable.as_fd(), PollFlags::IN);
        for entry in &self.entries {
            let (fd, flags) = entry.opening.interest().unwrap_or(waker);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        let addresses = self
            .entries
            .iter()
            .filter_map(|entry| entry.opening.deadline());
        // If an attempt waits for its handshake: the time when one may start.
        let is_waiting = self.entries.iter().any(|e| e.opening.is_connected());
        let room = is_waiting.then(|| match self.quick(now).count() < HANDSHAKES_MAX {
            true => now,
            false => self.quick(now).min().unwrap_or(now),
        });
        let deadline = addresses.chain(room).min();
        let limit = deadline.and_then(limit_until);
        // If poll is interrupted or fails, the loop simply runs once more.
        let _ = poll(&mut fds, limit.as_ref());
        fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect()
    }
}

impl Entry {
    /// Makes progress; returns `false` when the attempt is over.
    fn poll_attempt(
        &mut self,
        is_due: bool,
        now: Instant,
        tls: &TlsClient,
        free: &mut usize,
    ) -> bool {
        let opening = &mut self.opening;
        let is_late = opening.deadline().is_some_and(|deadline| deadline <= now);
        let mut progress = Progress::Pending;
        if is_due || is_late {
            progress = guarded(|| opening.advance(now));
        }
        if opening.is_connected() && *free > 0 {
            *free -= 1;
            self.shaking_since = Some(now);
            progress = guarded(|| opening.start_tls(tls));
        }
        let outcome = match progress {
            Progress::Pending => return true,
            Progress::Opened(socket) => Ok(socket),
            Progress::Failed(loss) => Err(loss),
        };
        // The receiver may just have been dropped.
        let _ = self.reply_to.answer.send(outcome);
        self.reply_to.waker.wake();
        false
    }
}

/// A panic in a library, caused by what a peer sent, must not end the thread of all streams.
fn guarded(step: impl FnOnce() -> Progress) -> Progress {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Progress::Failed(Loss::Connect("a bug: opening it panicked".to_owned()))
    })
}
