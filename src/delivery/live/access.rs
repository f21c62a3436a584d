//! Whose content a request may get, and until when.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;

use crate::feed::JournalKey;

/// Whose content a request may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody's: it showed the token, or came through the Unix socket.
    All,
    /// That of one stream: it showed a link.
    Stream {
        /// This one.
        key: JournalKey,
        /// With its files.
        has_files: bool,
        /// Until when.
        term: Term,
    },
}

/// How long a link is good.
#[derive(Debug, Clone)]
pub struct Term {
    /// Unix milliseconds.
    pub expires_ms: u64,
    /// Whether all links were ended before that.
    pub is_ended: Arc<AtomicBool>,
}

impl PartialEq for Term {
    fn eq(&self, other: &Term) -> bool {
        self.expires_ms == other.expires_ms && Arc::ptr_eq(&self.is_ended, &other.is_ended)
    }
}

impl Eq for Term {}

impl Term {
    /// Whether it is over.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_ms || self.is_ended.load(Acquire)
    }
}

impl Access {
    /// Whether the content of this stream is for it.
    pub fn is_for(&self, stream: JournalKey) -> bool {
        match self {
            Access::All => true,
            Access::Stream { key, .. } => *key == stream,
        }
    }

    /// Whether the files of this stream are for it.
    pub fn is_for_files(&self, stream: JournalKey) -> bool {
        match self {
            Access::All => true,
            Access::Stream { key, has_files, .. } => *has_files && *key == stream,
        }
    }

    /// How long it is good; `None` for the token, which does not expire.
    pub fn term(&self) -> Option<&Term> {
        match self {
            Access::All => None,
            Access::Stream { term, .. } => Some(term),
        }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.term().is_some_and(|term| term.is_over(now_ms))
    }
}
