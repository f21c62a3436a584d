//! What is counted for `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::head::Kind;

/// Clients, frames and memory of live media.
#[derive(Debug, Default)]
pub struct Counters {
    clients: [AtomicU64; 3],
    dropped: [AtomicU64; 3],
    refused: AtomicU64,
    bytes: Arc<AtomicUsize>,
}

impl Counters {
    pub(super) fn comes(&self, kind: Kind) {
        self.clients[kind.index()].fetch_add(1, Relaxed);
    }

    pub(super) fn leaves(&self, kind: Kind) {
        self.clients[kind.index()].fetch_sub(1, Relaxed);
    }

    pub(super) fn drops(&self, kind: Kind, frames: u32) {
        self.dropped[kind.index()].fetch_add(frames.into(), Relaxed);
    }

    pub(super) fn refuses(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Payload of all frames that are kept.
    pub(super) fn bytes_of_all(&self) -> &Arc<AtomicUsize> {
        &self.bytes
    }

    fn by_kind(counts: &[AtomicU64; 3]) -> [(&'static str, u64); 3] {
        Kind::ALL.map(|kind| (kind.name(), counts[kind.index()].load(Relaxed)))
    }

    /// Clients now.
    pub fn clients(&self) -> [(&'static str, u64); 3] {
        Counters::by_kind(&self.clients)
    }

    /// Frames that clients did not get because they were too slow, of each client.
    pub fn dropped(&self) -> [(&'static str, u64); 3] {
        Counters::by_kind(&self.dropped)
    }

    /// Requests that were refused with 503 since the start of the process.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Bytes of frames that are kept.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed) as u64
    }
}
