//! What is counted for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Clients now, and requests that were refused because there are too many.
#[derive(Debug, Default)]
pub struct Counters {
    sse: AtomicU64,
    page: AtomicU64,
    refused: AtomicU64,
}

/// The form of a client's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sse,
    Page,
}

impl Counters {
    fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Sse => &self.sse,
            Kind::Page => &self.page,
        }
    }

    pub(super) fn comes(&self, kind: Kind) {
        self.of(kind).fetch_add(1, Relaxed);
    }

    pub(super) fn leaves(&self, kind: Kind) {
        self.of(kind).fetch_sub(1, Relaxed);
    }

    pub(super) fn refuses(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Clients now, by the form of their answer.
    pub fn clients(&self) -> [(&'static str, u64); 2] {
        [
            ("sse", self.sse.load(Relaxed)),
            ("json", self.page.load(Relaxed)),
        ]
    }

    /// Requests that were refused with 503 since the start of the process.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}
