//! The live feed: `GET /events`, every event of the journals while it is written, for many clients.
//!
//! The gate hands over the sockets of requests that were judged. One thread serves all of them: it is
//! started by the first request and ends [`Times::idle`] after the last client has gone.
//!
//! | file | what |
//! | --- | --- |
//! | `query` | pure: what a request asks for |
//! | `interest` | pure: which event goes to which client |
//! | `frame` | pure: events and answers as bytes |
//! | `ring` | pure: the newest events in memory, which all clients share |
//! | `merge` | pure: the lines of several journals in the order of their positions |
//! | `catch_up` | reads from the files what a client has missed |
//! | `find` | finds the stream that a request names |
//! | `access` | whose content a request may get, and until when |
//! | `client` | one client: where it begins (`placing`), and what it is sent (`feeding`) |
//! | `thread` | the thread: epoll(7) over all clients |
//!
//! A client is a place in the journals, a filter, and how much of the present event is sent. Nothing is
//! kept for one that reads slowly, and nothing is dropped for it.

mod access;
mod catch_up;
mod client;
mod counters;
mod find;
pub mod frame;
pub mod interest;
pub mod merge;
pub mod query;
pub mod ring;
#[cfg(test)]
mod tests;
mod thread;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use access::{Access, Term};
pub use counters::Counters;

use super::clients::on_demand::{OnDemand, Stopped};
use crate::feed::Board;
use crate::log::warn_limiter::WarnLimiter;
use crate::net::file_limit::file_limit;
use crate::net::waker::{Wakeable, Waker};
use query::Ask;
use thread::Thread;

/// Most clients; a quarter of the file limit if that is less.
pub const CLIENTS_MAX: usize = 2_048;
/// When a client that was refused because of it may come again, seconds.
pub const RETRY_AFTER_S: u32 = 5;
/// Memory for all clients together that catch up from the files.
const CATCH_UP_BYTES_MAX: usize = 8 << 20;
/// How long the thread may take to end.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The times of a client and of the thread.
#[derive(Debug, Clone)]
pub struct Times {
    /// With nothing else to send, a comment is sent so often.
    pub ping: Duration,
    /// A client that takes nothing for so long is cut off.
    pub stall: Duration,
    /// For a client to close after all was sent.
    pub linger: Duration,
    /// The thread ends so long after the last client has gone.
    pub idle: Duration,
    /// For events under way, at the end of the server.
    pub stop: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            ping: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            idle: Duration::from_secs(60),
            stop: Duration::from_millis(500),
        }
    }
}

/// What the feed needs of the process.
pub struct Process {
    /// The board: `None` within while there are no journals, `None` if that cannot be said now. Asked
    /// when the thread starts.
    pub board: Box<dyn Fn() -> Option<Option<Arc<Board>>> + Send + Sync>,
    /// Positions of earlier processes are known, by the mark in the state directory.
    pub has_mark: bool,
    /// The times.
    pub times: Times,
}

/// The live feed. Dropping it ends the thread.
#[derive(Debug)]
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    process: Process,
    counters: Arc<Counters>,
    clients: OnDemand<Request>,
    unreadable: WarnLimiter,
}

/// A request that was judged: its socket, what it asks for, whose content it may get.
type Request = (OwnedFd, Ask, Access);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Live {
    /// Without a thread and a file until the first request.
    pub fn new(process: Process) -> Live {
        Live {
            shared: Arc::new(Shared {
                process,
                counters: Arc::default(),
                clients: OnDemand::new("live"),
                unreadable: WarnLimiter::default(),
            }),
        }
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// A handle for those who hand over requests.
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let within = self.shared.process.times.stop + STOP_MAX;
        if self.shared.clients.stop(within) == Stopped::Hangs {
            log::warn!("live: a disk does not answer; clients are cut off");
        }
    }
}

/// Takes requests for the feed. Never waits.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Shared>);

impl Intake {
    /// Whether there is room for one more; otherwise the refusal is counted.
    pub fn has_room(&self) -> bool {
        let files = usize::try_from(file_limit() / 4).unwrap_or(usize::MAX);
        let has_room = self.0.clients.has_room(CLIENTS_MAX.min(files));
        if !has_room {
            self.0.counters.refuses();
        }
        has_room
    }

    /// Looks whether the time of a link is over that a client has shown.
    pub fn look_at_links(&self) {
        self.0.clients.wake();
    }

    /// Serves a request from now on. The credential has been checked.
    pub fn take(&self, socket: OwnedFd, ask: Ask, access: Access) {
        let shared = Arc::clone(&self.0);
        let run = move |waker, wakeable| shared.run(waker, wakeable);
        self.0.clients.take((socket, ask, access), run);
    }
}

impl Shared {
    /// A journal cannot be read: a client is cut off, or reads it itself. It comes again and misses
    /// nothing.
    fn complain(&self, error: &io::Error) {
        if let Some(more) = self.unreadable.allow(Instant::now()) {
            log::warn!("live: a journal cannot be read error=\"{error}\"{more}");
        }
    }

    /// The thread.
    fn run(self: Arc<Shared>, waker: Waker, wakeable: Wakeable) -> io::Result<()> {
        match (self.process.board)() {
            Some(Some(board)) => Thread::new(&self, board, waker, wakeable)?.run(),
            Some(None) => thread::refuse_all(&self, 404, "the journals are off: RTMS_FEED=off"),
            None => thread::refuse_all(&self, 503, "the daemon does not answer"),
        }
        Ok(())
    }
}
