//! The threads that keep what a restart needs on disk.
//!
//! There are two files, each with a thread of its own. One is synced and survives a power cut, but
//! a busy disk takes its time for that; the other is only handed to the kernel, within a
//! millisecond, and survives the end of the process however soon it comes. The newer one that can
//! be read counts.
//!
//! Only the newest snapshot counts: one that waits is replaced, so a slow disk means an older file
//! and never a queue. [`StateDir::write_atomic`] syncs the file and its directory.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::coordinator;
use crate::coordinator::Coordinator;
use crate::state::StateDir;

/// The files' names in the state directory: the synced one, and the quick one.
const FILE_NAMES: [&str; 2] = ["registry.json", "registry-unsynced.json"];

/// What the process before knew, by the newer of its files that can be read.
pub(super) fn restore(state: &StateDir, settings: coordinator::Settings) -> Coordinator {
    let mut newest: Option<Coordinator> = None;
    for name in FILE_NAMES {
        let read = state.read(name).map_err(|error| error.to_string());
        let parse = |json: Option<Vec<u8>>| match json {
            Some(json) => Coordinator::from_json(settings, &json)
                .map(Some)
                .map_err(|error| format!("{name}: {error}")),
            None => Ok(None),
        };
        match read.and_then(parse) {
            Ok(Some(found))
                if newest
                    .as_ref()
                    .is_none_or(|n| n.version() < found.version()) =>
            {
                newest = Some(found);
            }
            Ok(_) => {}
            Err(error) => log::error!(
                "the state directory has a file that cannot be read: {error}; it is ignored, and \
                 newer streams of the process before may not be rejoined"
            ),
        }
    }
    newest.unwrap_or_else(|| Coordinator::new(settings))
}

/// The owner of the threads.
#[derive(Debug)]
pub(super) struct Snapshot {
    writers: Vec<(Arc<Shared>, JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
    is_troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    newest: Option<Arc<[u8]>>,
    is_over: bool,
}

impl Snapshot {
    /// Starts the threads.
    pub(super) fn start(state: &Arc<StateDir>) -> io::Result<Snapshot> {
        let mut writers = Vec::new();
        for (name, is_synced) in FILE_NAMES.into_iter().zip([true, false]) {
            let shared = Arc::new(Shared::default());
            let (own, state) = (Arc::clone(&shared), Arc::clone(state));
            let thread = Builder::new()
                .name(if is_synced { "state" } else { "state quick" }.to_owned())
                .stack_size(128 << 10)
                .spawn(move || own.write_until_over(&state, name, is_synced))?;
            writers.push((shared, thread));
        }
        Ok(Snapshot { writers })
    }

    /// Whether the last try to write failed.
    pub(super) fn is_troubled(&self) -> bool {
        let is_troubled = |(shared, _): &(Arc<Shared>, _)| shared.is_troubled.load(Relaxed);
        self.writers.iter().any(is_troubled)
    }

    /// Has this written, instead of what may still wait.
    pub(super) fn save(&self, json: &Arc<[u8]>) {
        // The quick one first.
        for (shared, _) in self.writers.iter().rev() {
            shared.lock().newest = Some(Arc::clone(json));
            shared.filled.notify_one();
        }
    }

    /// Writes what waits, and ends the threads; a disk that hangs is left behind at `deadline`.
    pub(super) fn stop(self, deadline: Instant) -> bool {
        for (shared, _) in &self.writers {
            shared.lock().is_over = true;
            shared.filled.notify_one();
        }
        let mut is_saved = true;
        for (_, thread) in self.writers {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            is_saved &= thread.is_finished() && thread.join().is_ok();
        }
        is_saved
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_over(&self, state: &StateDir, name: &str, is_synced: bool) {
        loop {
            let json = {
                let mut slot = self.lock();
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
            let written = match is_synced {
                true => state.write_atomic(name, &json),
                false => state.write_unsynced(name, &json),
            };
            match written {
                Ok(()) => {
                    let was_troubled = self.is_troubled.swap(false, Relaxed);
                    if was_troubled && is_synced {
                        log::info!("the state directory takes files again");
                    }
                }
                Err(error) => {
                    // It is one directory, so one of the two tells.
                    if !self.is_troubled.swap(true, Relaxed) && is_synced {
                        log::error!("{error}; a restart would not rejoin the newest streams");
                    }
                    self.put_back(json);
                    if !self.pause() {
                        return;
                    }
                }
            }
        }
    }

    /// Tries again later, unless something newer has come.
    fn put_back(&self, json: Arc<[u8]>) {
        let mut slot = self.lock();
        slot.newest.get_or_insert(json);
    }

    /// A second, or less if it is over; then `false`.
    fn pause(&self) -> bool {
        let slot = self.lock();
        let wait = self
            .filled
            .wait_timeout_while(slot, Duration::from_secs(1), |s| !s.is_over);
        wait.map_or(true, |(slot, _)| !slot.is_over)
    }
}
