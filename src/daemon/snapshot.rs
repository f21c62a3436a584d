//! The thread that keeps what a restart needs on disk.
//!
//! Only the newest snapshot counts: one that waits is replaced, so a slow disk means an older file
//! and never a queue. [`StateDir::write_atomic`] syncs the file and its directory, so what it has
//! written survives a power cut.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::state::StateDir;

/// The file's name in the state directory.
pub(super) const FILE_NAME: &str = "registry.json";

/// The owner of the thread.
#[derive(Debug)]
pub(super) struct Snapshot {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    newest: Option<Vec<u8>>,
    is_over: bool,
}

impl Snapshot {
    /// Starts the thread.
    pub(super) fn start(state: Arc<StateDir>) -> io::Result<Snapshot> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = Builder::new()
            .name("state".to_owned())
            .stack_size(128 << 10)
            .spawn(move || own.write_until_over(&state))?;
        Ok(Snapshot { shared, thread })
    }

    /// Has this written, instead of what may still wait.
    pub(super) fn save(&self, json: Vec<u8>) {
        self.shared
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .newest = Some(json);
        self.shared.filled.notify_one();
    }

    /// Writes what waits, and ends the thread; a disk that hangs is left behind at `deadline`.
    pub(super) fn stop(self, deadline: Instant) -> bool {
        self.shared
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_over = true;
        self.shared.filled.notify_one();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

impl Shared {
    fn write_until_over(&self, state: &StateDir) {
        let mut is_troubled = false;
        loop {
            let json = {
                let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
                while slot.newest.is_none() && !slot.is_over {
                    slot = self
                        .filled
                        .wait(slot)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                match slot.newest.take() {
                    Some(json) => json,
                    None => return,
                }
            };
            match state.write_atomic(FILE_NAME, &json) {
                Ok(()) if is_troubled => {
                    is_troubled = false;
                    log::info!("the state directory takes files again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !is_troubled {
                        log::error!("{error}; a restart would not rejoin the newest streams");
                    }
                    is_troubled = true;
                    self.put_back(json);
                    if !self.pause() {
                        return;
                    }
                }
            }
        }
    }

    /// Tries again later, unless something newer has come.
    fn put_back(&self, json: Vec<u8>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.newest.get_or_insert(json);
    }

    /// A second, or less if it is over; then `false`.
    fn pause(&self) -> bool {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self
            .filled
            .wait_timeout_while(slot, Duration::from_secs(1), |s| !s.is_over);
        wait.map_or(true, |(slot, _)| !slot.is_over)
    }
}
