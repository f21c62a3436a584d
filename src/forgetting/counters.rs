//! How requests to forget went.

use std::sync::atomic::AtomicU64;

/// Since the start of the process. Plans are not counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that are not complete.
    pub waiting: AtomicU64,
    /// Requests that were completed.
    pub done: AtomicU64,
    /// Attempts that failed and are made again.
    pub failed: AtomicU64,
    /// Requests that were dropped because they meant several people.
    pub ambiguous: AtomicU64,
}
