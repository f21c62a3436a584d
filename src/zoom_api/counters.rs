//! Counters of the REST client, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::errors::{Class, Error, Kind};

/// Counters that never decrease; read them with [`Ordering::Relaxed`].
#[derive(Debug)]
pub struct Counters {
    /// REST calls that were accepted.
    pub calls_ok: AtomicU64,
    /// REST calls that failed and may be retried.
    pub calls_retry: AtomicU64,
    /// REST calls whose token was refused; each was repeated with a new one.
    pub calls_refresh: AtomicU64,
    /// REST calls that failed for good.
    pub calls_give_up: AtomicU64,
    /// Access tokens fetched.
    pub tokens_fetched: AtomicU64,
    /// Failed attempts to fetch a token.
    pub tokens_failed: AtomicU64,
    errors: [AtomicU64; Kind::COUNT],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            calls_ok: AtomicU64::new(0),
            calls_retry: AtomicU64::new(0),
            calls_refresh: AtomicU64::new(0),
            calls_give_up: AtomicU64::new(0),
            tokens_fetched: AtomicU64::new(0),
            tokens_failed: AtomicU64::new(0),
            errors: [const { AtomicU64::new(0) }; Kind::COUNT],
        }
    }
}

impl Counters {
    /// Number of errors of this kind, in calls and token fetches together.
    pub fn errors(&self, kind: Kind) -> u64 {
        self.errors[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn call_failed(&self, error: &Error) {
        let by_class = match error.class() {
            Class::Retry { .. } => &self.calls_retry,
            Class::Refresh => &self.calls_refresh,
            Class::GiveUp => &self.calls_give_up,
        };
        by_class.fetch_add(1, Ordering::Relaxed);
        self.errors[error.kind() as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn call_done(&self) {
        self.calls_ok.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn token_fetched(&self) {
        self.tokens_fetched.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn token_failed(&self, error: &Error) {
        self.tokens_failed.fetch_add(1, Ordering::Relaxed);
        self.errors[error.kind() as usize].fetch_add(1, Ordering::Relaxed);
    }
}
