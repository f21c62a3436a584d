//! The thread of a stream.
//!
//! [`StreamHandle::spawn`] starts the thread; it runs the driver, which runs the protocol over two
//! or more sockets and passes the received data to the [`Sink`]s. The thread ends with the stream.

pub(crate) mod commands;
pub(crate) mod driver;
pub(crate) mod notice_log;
#[doc(hidden)]
pub mod permit;
pub(crate) mod poller;
pub(crate) mod sink;
pub(crate) mod stats;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

#[doc(hidden)]
pub use permit::{Permit, Permits};
pub use sink::Sink;
pub use stats::StatsSnapshot;
#[doc(hidden)]
pub use stats::StreamPhase;

use crate::domain::secret::Secret;
use crate::log::app::inherit;
use crate::net::dial::Dialer;
use crate::net::waker::{Waker, waker};
use crate::protocol::dedup::RecentPhrases;
use crate::protocol::reconnect::IN_FLEET;
use crate::protocol::tail::{Predecessor, Tail, TailRing};
use crate::protocol::{Command, EndReason, Stream, StreamConfig};
use commands::{CommandError, CommandSender, command_queue};
use driver::{Backpressure, Driver};
use notice_log::NoticeLog;
use permit::Once;
use poller::Poller;
use stats::StreamCounters;

/// Only touched pages use memory. The deepest nested JSON that the parser accepts needs about half
/// of it in a debug build.
const STACK_BYTES: usize = 512 << 10;

/// A running stream.
#[derive(Debug)]
pub struct StreamHandle {
    thread: JoinHandle<EndReason>,
    commands: CommandSender,
    waker: Waker,
    counters: Arc<StreamCounters>,
    /// In a fleet only, as what follows.
    once: Option<Once>,
    tail: Option<Arc<TailRing>>,
}

/// Commands that arrived while the stream was ending. To be used after it was joined.
#[derive(Debug)]
pub(crate) struct Unhandled(CommandSender);

impl Unhandled {
    /// Whether a failover to newer URLs is among them.
    pub(crate) fn has_fail_over(&self) -> bool {
        let commands = self.0.take_unhandled();
        commands
            .iter()
            .any(|command| matches!(command, Command::FailOver(_)))
    }
}

/// The thread of a stream has panicked. The panic message was printed when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread of the stream panicked")
    }
}

impl std::error::Error for Panicked {}

/// What a stream's thread needs.
#[non_exhaustive]
pub struct StreamOptions {
    /// Ids, credentials and requested media.
    pub config: StreamConfig,
    /// Opens its connections.
    pub dialer: Dialer,
    /// Where its data goes.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Called at the very end, on the stream's thread, even after a panic; it must not block.
    pub on_end: Box<dyn FnOnce() + Send>,
    /// Loads the last phrases that an earlier process received. Called on the stream's thread,
    /// while the first connection opens and before anything is read from it, so it may wait for a
    /// disk.
    #[doc(hidden)]
    pub recent: Box<dyn FnOnce() -> RecentPhrases + Send>,
    /// In a fleet: whether it may connect.
    #[doc(hidden)]
    pub permit: Option<Permit>,
    /// In a fleet: the key of its tail.
    #[doc(hidden)]
    pub tail_key: Option<Secret>,
    /// The tail of the node that had it before; with that key.
    #[doc(hidden)]
    pub predecessor: Option<Tail>,
}

impl StreamOptions {
    /// A stream without sinks, whose end is not reported.
    pub fn new(config: StreamConfig, dialer: Dialer) -> StreamOptions {
        StreamOptions {
            config,
            dialer,
            sinks: Vec::new(),
            on_end: Box::new(|| {}),
            recent: Box::new(RecentPhrases::default),
            permit: None,
            tail_key: None,
            predecessor: None,
        }
    }
}

impl fmt::Debug for StreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamOptions")
            .field("config", &self.config)
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}

impl StreamHandle {
    /// Starts the thread of a stream.
    ///
    /// # Errors
    /// If the system cannot create the thread or the file descriptors that it waits on.
    pub fn spawn(options: StreamOptions) -> io::Result<StreamHandle> {
        let StreamOptions {
            mut config,
            dialer,
            mut sinks,
            on_end,
            recent,
            permit,
            tail_key,
            predecessor,
        } = options;
        let once = permit.as_ref().map(Permit::once);
        let predecessor = tail_key.clone().zip(predecessor);
        let before = predecessor.map(|(key, tail)| Box::new(Predecessor::new(key, tail)));
        let tail = tail_key.map(|key| Arc::new(TailRing::new(key)));
        let thread_tail = tail.clone();
        if config.unix_ms == 0 {
            config.unix_ms = crate::clock::now_ms();
        }
        let (waker, wakeable) = waker()?;
        let poller = Poller::new(wakeable)?;
        let (commands, obeyed) = command_queue();
        let counters = Arc::new(StreamCounters::default());
        // Linux keeps fifteen bytes of a thread's name.
        let short: String = config
            .stream_id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let name = format!(
            "rtms {}",
            short.get(..short.len().min(10)).unwrap_or_default()
        );
        let (thread_waker, thread_counters) = (waker.clone(), Arc::clone(&counters));
        // Boxed and in a function of its own, because values used only at the start would otherwise
        // stay at the bottom of the thread's stack: a page of memory per stream.
        let start = Box::new(move || {
            crate::log::set_thread_stream(&config.stream_id);
            for sink in &mut sinks {
                sink.on_start(thread_waker.clone());
            }
            let now = Instant::now();
            let mut driver = Box::new(Driver {
                stream: match &permit {
                    Some(_) => Stream::with_policy(now, config, &IN_FLEET),
                    None => Stream::new(now, config),
                },
                dialer,
                commands: obeyed,
                waker: thread_waker,
                poller,
                sinks,
                recent_phrases: RecentPhrases::default(),
                permit,
                is_withheld: false,
                tail: thread_tail,
                before,
                counters: thread_counters,
                notices: NoticeLog::default(),
                // Signaling and usually one media link.
                sockets: Vec::with_capacity(2),
                backpressure: Backpressure::No,
                media_paused_since: None,
                packets: 0,
                had_data: false,
                ended: None,
                now,
                readable: now,
            });
            driver.drain_outputs();
            driver.recent_phrases = recent();
            driver
        });
        let thread = Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || {
                let _ended = OnDrop(Some(on_end));
                begin(start).run()
            }))?;
        Ok(StreamHandle {
            thread,
            commands,
            waker,
            counters,
            once,
            tail,
        })
    }

    /// Sends the stream a command. `false` if it is over or stuck.
    pub fn command(&self, command: Command) -> bool {
        let sent = match self.commands.push(command) {
            Ok(()) => true,
            Err(CommandError::Full(command)) => {
                log::error!("stream is stuck, command lost command={command:?}");
                false
            }
            Err(CommandError::Over) => false,
        };
        self.waker.wake();
        sent
    }

    /// Access to the commands that the stream will not have handled when it ends.
    pub(crate) fn unhandled(&self) -> Unhandled {
        Unhandled(self.commands.clone())
    }

    /// Its counters.
    pub fn stats(&self) -> StatsSnapshot {
        self.counters.snapshot()
    }

    /// Whether data can flow now.
    pub fn is_ready(&self) -> bool {
        self.counters.is_ready()
    }

    /// Lets it try to connect once without a permit.
    #[doc(hidden)]
    pub fn permit_once(&self) {
        if let Some(once) = &self.once {
            once.give();
            self.waker.wake();
        }
    }

    /// What it does, for the fleet.
    #[doc(hidden)]
    pub fn phase(&self) -> StreamPhase {
        self.counters.phase()
    }

    /// How often Zoom let its signaling in.
    #[doc(hidden)]
    pub fn connects(&self) -> u64 {
        self.counters.connects()
    }

    /// Whether Zoom refused it last because another client has the stream (8, 15, 16).
    #[doc(hidden)]
    pub fn is_held_elsewhere(&self) -> bool {
        self.counters.is_held_elsewhere()
    }

    /// Its last phrases, if they are kept. It may be read from the end of its thread on as before.
    #[doc(hidden)]
    pub fn tail(&self) -> Option<Tail> {
        self.tail.as_ref().map(|tail| tail.snapshot())
    }

    /// Phrases that the tail has had so far: if it is the same as before, so is the tail.
    #[doc(hidden)]
    pub fn tail_count(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.count())
    }

    /// What its thread counts.
    pub(crate) fn counters(&self) -> &Arc<StreamCounters> {
        &self.counters
    }

    /// Whether the thread has ended, so that [`StreamHandle::join`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// The thread panicked: a sink of yours, or a bug.
    pub fn join(self) -> Result<EndReason, Panicked> {
        self.thread.join().map_err(|_| Panicked)
    }
}

#[inline(never)]
fn begin(start: Box<impl FnOnce() -> Box<Driver>>) -> Box<Driver> {
    start()
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

#[cfg(test)]
mod withheld_tests;
