//! The interface to systemd: readiness, status, watchdog and socket activation.
//!
//! Nothing here runs if no service manager started the process: no thread, no wake-up.

pub(crate) mod activation;
pub(crate) mod notify;
pub(crate) mod watchdog;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use activation::listeners;
pub use notify::Notifier;
pub use watchdog::ProgressCheck;

use crate::daemon::apps::Daemons;
use crate::daemon::status::Heartbeat;

/// Interval of STATUS= updates if there is no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// Sends the server's status to systemd. Dropping it ends its thread.
#[derive(Debug)]
pub struct Service {
    notifier: Arc<Notifier>,
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts the thread: it sends READY once the daemon answers, which is after the streams of an
    /// earlier process were started; then STATUS, and WATCHDOG while there is progress.
    ///
    /// # Errors
    /// If the thread cannot be created.
    pub fn start(
        notifier: Notifier,
        watchdog: Option<Duration>,
        daemon: Daemons,
    ) -> io::Result<Service> {
        let notifier = Arc::new(notifier);
        let (over, is_over) = mpsc::channel();
        let own = Arc::clone(&notifier);
        let thread = Builder::new()
            .name("systemd".to_owned())
            .stack_size(128 << 10)
            .spawn(move || {
                // Asking and waiting take a quarter each, so that there are two tries per period.
                let every = watchdog.map(|period| period / 4);
                run(&own, every, &is_over, |within| daemon.heartbeat(within));
            })?;
        Ok(Service {
            notifier,
            over: Some(over),
            thread: Some(thread),
        })
    }

    /// The notifier, for messages about reloads and the shutdown.
    pub fn notifier(&self) -> Arc<Notifier> {
        Arc::clone(&self.notifier)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    notifier: &Notifier,
    watchdog_every: Option<Duration>,
    is_over: &Receiver<()>,
    heartbeat: impl Fn(Duration) -> Option<Heartbeat>,
) {
    let every = watchdog_every.unwrap_or(STATUS_EVERY);
    let mut progress = ProgressCheck::default();
    let (mut is_ready, mut told, mut is_hung) = (false, String::new(), false);
    loop {
        let asked = Instant::now();
        let found = heartbeat(every);
        let mut lines = Vec::new();
        if let Some(found) = found {
            if !is_ready {
                lines.push("READY=1".to_owned());
                is_ready = true;
            }
            let status = status(&found);
            if status != told {
                lines.push(format!("STATUS={status}"));
                told = status;
            }
        }
        match progress.check(asked, found) {
            Ok(()) => {
                is_hung = false;
                lines.extend(watchdog_every.map(|_| "WATCHDOG=1".to_owned()));
            }
            Err(who) if !is_hung && !notifier.is_stopping() => {
                is_hung = true;
                log::error!("{who} makes no progress; not notifying the watchdog");
            }
            Err(_) => {}
        }
        if !lines.is_empty() {
            notifier.send(&lines.join("\n"));
        }
        match is_over.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn status(heartbeat: &Heartbeat) -> String {
    let (streams, receiving) = (heartbeat.streams, heartbeat.receiving);
    // The watchdog is fed all the same: a restart would lose what waits, and meet the same disk.
    let disk = "the disk under RTMS_OUT does not answer";
    let reason = heartbeat.unready_reason;
    let mut text = format!("{streams} streams, {receiving} receiving");
    if let Some(reason) = reason.or(heartbeat.is_disk_hung.then_some(disk)) {
        text += &format!("; {reason}");
    }
    // The same words as in /readyz.
    if let Some(state) = heartbeat.events_down {
        text += &format!("; events {state}");
    }
    text
}

#[cfg(test)]
mod tests;
