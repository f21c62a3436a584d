//! The demo's timer: one thread that runs short tasks when they are due.
//!
//! Tasks must not block; webhooks go through the pool in `webhooks`.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::record::left;

type Task = Box<dyn FnOnce() + Send>;

/// Accepts tasks.
pub(in crate::demo) struct Clock {
    sender: mpsc::Sender<Option<(Instant, Task)>>,
}

impl Clock {
    /// The clock and the loop for its thread, which ends at `stop`.
    pub(in crate::demo) fn new() -> (Clock, impl FnOnce() + Send + 'static) {
        let (sender, receiver) = mpsc::channel::<Option<(Instant, Task)>>();
        let run = move || {
            let mut tasks: BTreeMap<(Instant, u64), Task> = BTreeMap::new();
            let mut count = 0;
            loop {
                let received = match tasks.first_key_value() {
                    Some((&(due, _), _)) => receiver.recv_timeout(left(due)),
                    None => receiver
                        .recv()
                        .map_err(|mpsc::RecvError| RecvTimeoutError::Disconnected),
                };
                match received {
                    Ok(Some((due, task))) => {
                        count += 1;
                        tasks.insert((due, count), task);
                    }
                    Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                while let Some(entry) = tasks.first_entry() {
                    if entry.key().0 > Instant::now() {
                        break;
                    }
                    entry.remove()();
                }
            }
        };
        (Clock { sender }, run)
    }

    /// Runs the task after that time, unless the demo is stopped before.
    pub(in crate::demo) fn after(&self, delay: Duration, task: impl FnOnce() + Send + 'static) {
        // If the thread has ended, the demo is stopping.
        let _ = self
            .sender
            .send(Some((Instant::now() + delay, Box::new(task))));
    }

    /// Ends the loop; tasks that are not yet due are dropped.
    pub(in crate::demo) fn stop(&self) {
        let _ = self.sender.send(None);
    }
}
