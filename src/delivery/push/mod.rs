//! HTTP push: the events of the journals, signed and in order, to the endpoints of the operator.
//!
//! One thread tells the machine how far the journals go, keeps the files and starts workers; a worker
//! reads a journal from its cursor on and makes one request after another. There is no queue: what is
//! to be sent stands in the journals, and all that is remembered of an endpoint is a place in each.
//! Without endpoints there is no thread and no file.

pub mod answer;
pub mod awaited;
pub mod batch;
pub mod command;
pub mod cursor_file;
pub mod cursors;
pub mod known;
pub mod machine;
pub mod request;
pub mod settings;
pub(crate) mod shared;
pub mod signature;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
pub mod url;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::domain::histogram::Histogram;
use crate::feed::board::Board;
use crate::log::app::inherit;
use crate::net::proxy::ProxyEnv;
use crate::net::waker::waker;
use crate::state::StateDir;
use command::{Command, CommandError};
use machine::Report;
use request::Client;
use settings::EndpointSettings;
use shared::Shared;
use thread::Thread;

/// What is written of cursors at the end needs this of the time that there is.
const LAST_WRITE: Duration = Duration::from_millis(200);

/// The push thread reads folders and files.
const STACK_BYTES: usize = 256 << 10;

/// What push has of its process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Where cursors are kept.
    pub state: Arc<StateDir>,
    /// What says how far the journals go.
    pub board: Arc<Board>,
    /// The way to endpoints.
    pub proxy: ProxyEnv,
    /// `RTMS_CA_FILE`.
    pub ca_file: Option<PathBuf>,
}

/// The running push.
#[derive(Debug)]
pub struct Push {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// Asks a running push, from any thread.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

/// An endpoint at one moment.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Scheme and host.
    pub host: String,
    /// How it is.
    pub report: Report,
}

/// All endpoints at one moment.
#[derive(Clone)]
pub struct PushStatus {
    /// Each.
    pub endpoints: Vec<EndpointStatus>,
    shared: Arc<Shared>,
}

impl PushStatus {
    /// How long requests took.
    pub fn seconds(&self) -> &Histogram {
        &self.shared.seconds
    }
}

impl fmt::Debug for PushStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints.fmt(f)
    }
}

impl Push {
    /// Whether there is anything for it to do: endpoints, or files of endpoints that were taken out of
    /// the configuration.
    pub fn is_needed(endpoints: &[EndpointSettings], state: &StateDir) -> bool {
        !endpoints.is_empty() || state.path().join(thread::KNOWN_NAME).exists()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// No thread, or no file to wake it with.
    pub fn start(endpoints: Vec<EndpointSettings>, process: Process) -> io::Result<Push> {
        let client = Client::new(process.proxy, process.ca_file);
        let (waker, wakeable) = waker()?;
        // What earlier processes left is needed until it has been looked at.
        process.board.await_consumer();
        let shared = Arc::new(Shared::new(process.board, client, waker));
        shared.lock().wanted = Some(endpoints);
        let thread = Thread::new(&shared, process.state, wakeable);
        let thread = Builder::new()
            .name("push".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || thread.run()))?;
        Ok(Push { shared, thread })
    }

    /// Other endpoints, or other settings of the same. `false` if its thread has ended meanwhile,
    /// because the last endpoint was taken out of the configuration: another one is to be started.
    pub fn reload(&self, endpoints: Vec<EndpointSettings>) -> bool {
        let mut state = self.shared.lock();
        if state.is_over {
            return false;
        }
        state.wanted = Some(endpoints);
        drop(state);
        self.shared.waker.wake();
        true
    }

    /// To ask it from elsewhere.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.shared))
    }

    /// How the endpoints are.
    pub fn status(&self) -> PushStatus {
        let now = self.shared.now();
        let state = self.shared.lock();
        let endpoints = state.endpoints.iter().filter_map(|endpoint| {
            Some(EndpointStatus {
                name: endpoint.settings.name.clone(),
                host: endpoint.settings.url.origin().to_owned(),
                report: state.machine.report(endpoint.number, now)?,
            })
        });
        let endpoints = endpoints.collect();
        PushStatus {
            endpoints,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Nothing more is sent; requests under way may finish.
    pub fn begin_stop(&self) {
        let mut state = self.shared.lock();
        state.is_stopping = true;
        let endpoints = state.endpoints.iter();
        endpoints.for_each(|endpoint| endpoint.wake.notify_all());
        drop(state);
        self.shared.waker.wake();
    }

    /// Waits for the requests under way and the last cursors, at the latest until `deadline`. `false`
    /// if that was not enough.
    pub fn stop(self, deadline: Instant) -> bool {
        self.begin_stop();
        let cut_off = deadline.checked_sub(LAST_WRITE).unwrap_or(deadline);
        while !self.thread.is_finished() && Instant::now() < cut_off {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.shared.client.shutdown();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

impl Control {
    /// Has the push thread carry out a command.
    ///
    /// # Errors
    /// Why it did not.
    pub fn command(&self, command: Command, within: Duration) -> Result<(), CommandError> {
        let (reply, answer) = sync_channel(1);
        {
            let mut state = self.0.lock();
            if state.is_stopping || state.is_over {
                return Err(CommandError::Stopping);
            }
            state.commands.push((command, reply));
        }
        self.0.waker.wake();
        answer
            .recv_timeout(within)
            .unwrap_or(Err(CommandError::Stopping))
    }
}
