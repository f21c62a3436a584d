//! The thread `store`: carries the machine's calls to the store, and the tails once a second.
//!
//! Calls wait in a bounded queue; what waits is sent in one write. Each has a deadline from the moment it was
//! asked: a beat 0.8 s, others 0.5 s; then its reply is [`Reply::Failed`], whatever the store says later. While there is no
//! connection calls fail at once; while one is being opened they wait for it until their deadline.

mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use self::work::Work;
use super::encode::Codec;
use super::facts::Facts;
use super::wire::Net;
use crate::coordinator::fleet::call::{Call, Reply, Tail};
use crate::domain::fleet::StoreAddress as Address;
use crate::log::app::inherit;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;

/// Most calls that wait.
const QUEUE_MAX: usize = 1024;
const STACK_BYTES: usize = 256 << 10;

/// Where the store is, and how it is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The address.
    pub address: Arc<Address>,
    /// Looks its name up.
    pub resolver: Resolver,
    /// For `rediss://`.
    pub tls: TlsClient,
    /// Spreads the tries of several nodes.
    pub seed: u64,
}

/// How long calls may take, from the moment when they are asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A beat.
    pub beat: Duration,
    /// Any other call.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            beat: Duration::from_millis(800),
            call: Duration::from_millis(500),
        }
    }
}

impl Reach {
    pub(super) fn net(&self) -> Net {
        Net {
            resolver: self.resolver.clone(),
            tls: self.tls.clone(),
            is_ending: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// What the thread says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// To a call.
    Reply(u64, Reply),
    /// There is a connection. What the store is.
    Up(Facts),
    /// There is none. Said once for each reason.
    Down(String),
    /// The store has refused a call and the connection is good: it has no memory left, or we lack a right. Said
    /// once for each reason.
    Refused(String),
}

/// Takes the news, on the thread of the store: it must not wait.
pub type OnNews = Box<dyn Fn(News) + Send>;

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were opened.
    pub opened: AtomicU64,
    /// Tries that failed.
    pub not_opened: AtomicU64,
    /// Connections that were lost or given up.
    pub lost: AtomicU64,
    /// Calls without a reply in time.
    pub late: AtomicU64,
    /// Calls that the store refused, by an error.
    pub refused: AtomicU64,
    /// Calls that found no place in the queue.
    pub full: AtomicU64,
}

/// The thread. Dropping it ends it; what waits then is sent once more, or fails.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    limits: Limits,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Inbox {
    asked: VecDeque<Asked>,
    tails: BTreeMap<String, Kept>,
    /// Streams whose tails are to be removed.
    gone: BTreeSet<String>,
    /// Digests of the own settings.
    settings: Vec<(&'static str, String)>,
    /// They were never sent.
    are_settings_new: bool,
    /// There is an outcome of opening.
    is_opened: bool,
    is_ending: bool,
}

#[derive(Debug)]
struct Asked {
    id: u64,
    call: Call,
    deadline: Instant,
}

#[derive(Debug)]
struct Kept {
    tail: Tail,
    is_changed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Starts the thread, which connects at once.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(reach: &Reach, codec: Codec, on_news: OnNews) -> io::Result<Store> {
        Store::start_within(Limits::default(), reach, codec, on_news)
    }

    /// Likewise, with other limits.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start_within(
        limits: Limits,
        reach: &Reach,
        codec: Codec,
        on_news: OnNews,
    ) -> io::Result<Store> {
        let shared = Arc::new(Shared::default());
        let mut work = Work::new(&shared, reach, codec, limits, on_news);
        let thread = Builder::new()
            .name("store".to_owned())
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(inherit(move || work.run()))?;
        Ok(Store {
            shared,
            limits,
            thread: Some(thread),
        })
    }

    /// What other nodes compare: sent at once, with each new connection, and every hour.
    pub fn set_settings(&self, digests: Vec<(&'static str, String)>) {
        let mut inbox = self.shared.lock();
        (inbox.settings, inbox.are_settings_new) = (digests, true);
    }

    /// Asks. False if too many calls wait, or the end was told: then there is no reply.
    #[must_use]
    pub fn ask(&self, id: u64, call: Call) -> bool {
        let most = match call {
            Call::Beat { .. } => self.limits.beat,
            _ => self.limits.call,
        };
        let mut inbox = self.shared.lock();
        if inbox.is_ending {
            return false;
        }
        if inbox.asked.len() >= QUEUE_MAX {
            self.shared.counters.full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let deadline = Instant::now() + most;
        inbox.asked.push_back(Asked { id, call, deadline });
        drop(inbox);
        self.shared.wake.notify_one();
        true
    }

    /// The last phrases of a stream, to be sent within the next second.
    pub fn set_tail(&self, stream_id: &str, tail: Tail) {
        let kept = Kept {
            tail,
            is_changed: true,
        };
        let mut inbox = self.shared.lock();
        inbox.gone.remove(stream_id);
        inbox.tails.insert(stream_id.to_owned(), kept);
    }

    /// The stream is over, or another node's: its tail is removed.
    pub fn drop_tail(&self, stream_id: &str) {
        let mut inbox = self.shared.lock();
        if inbox.tails.remove(stream_id).is_some() {
            inbox.gone.insert(stream_id.to_owned());
        }
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Tells the thread to end, without waiting for it.
    pub fn end(&self) {
        self.shared.lock().is_ending = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
