//! One OS thread for each active stream.
//!
//! [`StreamHandle::spawn`] makes the thread; it runs the driver, which runs the protocol over two or
//! more sockets and gives what comes to the [`Sink`]s. The thread ends when the stream does.

pub(crate) mod commands;
pub(crate) mod driver;
pub(crate) mod poller;
pub(crate) mod sink;
pub(crate) mod stats;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

pub use crate::net::tls_client::{TlsClient, TlsError};
pub use sink::Sink;
pub use stats::{Count, Stats};

use crate::net::dial::Dialer;
use crate::net::waker::{Waker, waker};
use crate::protocol::codes::{RefusalPolicy, StreamState};
use crate::protocol::dedup::RecentPhrases;
use crate::protocol::{Command, EndReason, Notice, Stream, StreamConfig};
use commands::{CommandError, CommandSender, command_queue};
use driver::{Backpressure, Driver};
use poller::Poller;

/// Only what is touched becomes memory. JSON of the deepest nesting that the parser takes, in a
/// debug build, needs about half of it.
const STACK_BYTES: usize = 512 << 10;

/// A stream at work.
#[derive(Debug)]
pub struct StreamHandle {
    thread: JoinHandle<EndReason>,
    commands: CommandSender,
    waker: Waker,
    stats: Arc<Stats>,
}

/// Commands that came in the moment in which a stream ended. To be asked after it was joined.
#[derive(Debug)]
pub(crate) struct Unhandled(CommandSender);

impl Unhandled {
    /// Whether a newer `rtms_started` is among them.
    pub(crate) fn has_fail_over(&self) -> bool {
        let commands = self.0.take_unhandled();
        commands
            .iter()
            .any(|command| matches!(command, Command::FailOver(_)))
    }
}

/// The thread of a stream has panicked. The panic itself was printed where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread of the stream panicked")
    }
}

impl std::error::Error for Panicked {}

/// What a stream's thread is made from.
#[non_exhaustive]
pub struct StreamOptions {
    /// What is asked of Zoom.
    pub config: StreamConfig,
    /// What opens its connections.
    pub dialer: Dialer,
    /// Where its data goes.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Called at the very end, on the stream's thread, also after a panic; it must not block.
    pub on_end: Box<dyn FnOnce() + Send>,
    /// Loads the last phrases that an earlier process received. Called on the stream's thread, while the
    /// first connection opens and before anything is read from it, so it may wait for a disk.
    #[doc(hidden)]
    pub recent: Box<dyn FnOnce() -> RecentPhrases + Send>,
}

impl StreamOptions {
    /// A stream without sinks, of which nobody waits for the end.
    pub fn new(config: StreamConfig, dialer: Dialer) -> StreamOptions {
        StreamOptions {
            config,
            dialer,
            sinks: Vec::new(),
            on_end: Box::new(|| {}),
            recent: Box::new(RecentPhrases::default),
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
    /// The system refuses a thread, or the files that the thread waits on.
    pub fn spawn(options: StreamOptions) -> io::Result<StreamHandle> {
        let StreamOptions {
            mut config,
            dialer,
            mut sinks,
            on_end,
            recent,
        } = options;
        if config.unix_ms == 0 {
            config.unix_ms = crate::clock::now_ms();
        }
        let (waker, wakeable) = waker()?;
        let watch = Poller::new(wakeable)?;
        let (commands, obeyed) = command_queue();
        let stats = Arc::new(Stats::default());
        // Fifteen bytes are what Linux keeps of a thread's name.
        let short: String = config
            .stream_id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let name = format!(
            "rtms {}",
            short.get(..short.len().min(10)).unwrap_or_default()
        );
        let (thread_waker, thread_stats) = (waker.clone(), Arc::clone(&stats));
        // Boxed, and a function of its own: what is used up at the beginning would else lie at the
        // foot of the thread's stack for as long as it runs, a page of memory a stream.
        let start = Box::new(move || {
            crate::log::set_thread_stream(&config.stream_id);
            for sink in &mut sinks {
                sink.on_start(thread_waker.clone());
            }
            let now = Instant::now();
            let mut driver = Box::new(Driver {
                stream: Stream::new(now, config),
                dialer,
                commands: obeyed,
                waker: thread_waker,
                watch,
                sinks,
                seam: RecentPhrases::default(),
                stats: thread_stats,
                // Signaling and, most often, one of media.
                sockets: Vec::with_capacity(2),
                hold: Backpressure::No,
                media_paused_since: None,
                packets: 0,
                had_data: false,
                ended: None,
                now,
                readable: now,
            });
            driver.drain_outputs();
            driver.seam = recent();
            driver
        });
        let thread = Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _ended = OnDrop(Some(on_end));
                begin(start).run()
            })?;
        Ok(StreamHandle {
            thread,
            commands,
            waker,
            stats,
        })
    }

    /// Tells the stream something. `false` if it is over, or stuck.
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

    /// For the commands that the stream will not have handled when it ends.
    pub(crate) fn unhandled(&self) -> Unhandled {
        Unhandled(self.commands.clone())
    }

    /// What it has counted so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Whether the thread has ended, so that [`StreamHandle::join`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the thread.
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

/// The log adds which stream it is.
fn log_notice(notice: &Notice) {
    match notice {
        Notice::Accepted(link) => log::debug!("handshake accepted link={link}"),
        Notice::Granted(granted) => {
            let media = granted.kind.name();
            log::debug!("granted media={media} params={}", granted.json);
            for field in &granted.unknown {
                log::warn!("media parameter granted that is not known: {field}; taken as asked");
            }
        }
        Notice::Ready => log::info!("receiving"),
        Notice::Lost(link, loss) => log::warn!("lost link={link} cause=\"{loss}\""),
        Notice::MediaResumed(kind) => log::debug!("media resumed media={}", kind.name()),
        Notice::GivenUp { kind, loss } => log::warn!(
            "media given up media={} cause=\"{loss}\"; the other media go on, this one is tried once \
             a minute",
            kind.name()
        ),
        Notice::DataBeforeAnswer(kind) => log::warn!(
            "data before message 4 media={}; taken as the answer to the handshake",
            kind.name()
        ),
        Notice::OneSocket => log::warn!(
            "one media socket for all kinds: Zoom refuses one for each; unwanted media are dropped"
        ),
        // The driver logs the first one.
        Notice::Oversize { .. } => {}
        Notice::SpeakersUnknown => log::warn!(
            "no audio packet names its speaker, though RTMS_AUDIO_STREAMS asks for one track each: \
             the audio is one mixed track; transcripts name speakers (RTMS_MEDIA=audio,transcript), \
             and so do the active speaker events in events.jsonl"
        ),
        Notice::Refused {
            link,
            status,
            reason,
            policy,
        } => {
            let status = status.map_or("no status code".to_owned(), |status| status.to_string());
            let next = match policy {
                RefusalPolicy::Retry => "; will be tried again",
                _ => "",
            };
            log::warn!("refused link={link} status=\"{status}\" reason={reason:?}{next}");
        }
        Notice::NotGranted(kind, Some(scope)) => {
            log::warn!(
                "not granted media={}; the app needs the scope {scope}",
                kind.name()
            );
        }
        Notice::NotGranted(kind, None) => log::warn!("not granted media={}", kind.name()),
        Notice::BadUrl(kind, error) => log::warn!("media={} {error}", kind.name()),
        Notice::Encrypted(kind) => log::error!(
            "payload is encrypted media={}; its data is dropped; have payload encryption \
             switched off for the app",
            kind.name()
        ),
        Notice::State(state, reason) => match state {
            StreamState::Unknown(n) => log::debug!("stream state={n} reason=\"{reason}\""),
            state => log::debug!("stream state={} reason=\"{reason}\"", state.name()),
        },
        Notice::VideoSubscription(_, status) => log::debug!("video subscription status={status}"),
        Notice::Session(state, reason) => {
            let name = crate::protocol::codes::session_state_name(*state);
            log::debug!("session state={name} reason=\"{reason}\"");
        }
    }
}
