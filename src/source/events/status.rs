//! What the events thread shares with the admin listener: its state and its counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::State;
use crate::domain::turn::Turn;

/// Counters; they never decrease.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events passed on to the daemon.
    pub accepted: AtomicU64,
    /// Events that are not known, and are ignored.
    pub unknown: AtomicU64,
    /// Known events without a required field.
    pub incomplete: AtomicU64,
    /// Messages that cannot be read, or are too long.
    pub malformed: AtomicU64,
    /// Of those that were accepted: could not be stored first, so that a crash would lose them.
    pub not_kept: AtomicU64,
    /// Connections that Zoom accepted.
    pub connects: AtomicU64,
    /// Connections that failed or were lost.
    pub losses: AtomicU64,
    /// Time in which nothing could arrive, in milliseconds, the present gap not included.
    pub gap_ms: AtomicU64,
}

impl Counters {
    /// Every result of an event, for the metrics.
    pub fn results(&self) -> Vec<(&'static str, u64)> {
        [
            ("accepted", &self.accepted),
            ("unknown", &self.unknown),
            ("incomplete", &self.incomplete),
            ("malformed", &self.malformed),
            ("not_kept", &self.not_kept),
        ]
        .map(|(word, count)| (word, count.load(Relaxed)))
        .to_vec()
    }
}

/// The connection as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether events arrive.
    pub state: State,
    /// Unix milliseconds: since when nothing can arrive; `None` while connected.
    pub deaf_since_ms: Option<u64>,
    /// Unix milliseconds: when Zoom was heard last.
    pub heard_ms: Option<u64>,
}

/// The part that both threads see.
#[derive(Debug)]
pub struct Shared {
    /// The counters.
    pub counters: Counters,
    snapshot: Mutex<Snapshot>,
    trouble: Mutex<String>,
}

impl Shared {
    pub(super) fn new(now_ms: u64, turn: Turn) -> Arc<Shared> {
        let is_elsewhere = turn == Turn::Anothers;
        Arc::new(Shared {
            counters: Counters::default(),
            snapshot: Mutex::new(Snapshot {
                state: match is_elsewhere {
                    true => State::Elsewhere,
                    false => State::Connecting,
                },
                deaf_since_ms: Some(now_ms).filter(|_| !is_elsewhere),
                heard_ms: None,
            }),
            trouble: Mutex::default(),
        })
    }

    /// The connection as it is now.
    pub fn snapshot(&self) -> Snapshot {
        *self.lock()
    }

    /// Why there is no connection, or why there was none last; empty if there was no trouble yet.
    pub fn trouble(&self) -> String {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_trouble(&self, text: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut trouble);
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        *self.lock() = snapshot;
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
