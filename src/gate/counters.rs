//! The gate's counters. They never decrease.

use std::sync::atomic::{AtomicU64, Ordering};

use super::http_request::HttpRefusal;
use crate::domain::histogram::Histogram;

/// The gate's counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// `accept` failed (no file descriptors, aborted by the peer, ...).
    pub accept_errors: AtomicU64,
    /// Connections that were closed for a new one because the gate was full.
    pub evicted: AtomicU64,
    /// Connections closed at the deadline without a byte having arrived.
    pub silent: AtomicU64,
    /// Connections the peer closed or reset before its request was complete.
    pub abandoned: AtomicU64,
    /// TLS handshakes that failed or were not finished in time.
    pub tls_failures: AtomicU64,
    /// Answers that the client did not read in time.
    pub unread_answers: AtomicU64,
    /// Refused with 400: malformed.
    pub refused_400: AtomicU64,
    /// Refused with 405: unknown method (known ones on a wrong path are the backend's).
    pub refused_405: AtomicU64,
    /// Refused with 408: too slow.
    pub refused_408: AtomicU64,
    /// Refused with 411: no length.
    pub refused_411: AtomicU64,
    /// Refused with 413: body too large.
    pub refused_413: AtomicU64,
    /// Refused with 417: unknown expectation.
    pub refused_417: AtomicU64,
    /// Refused with 431: head too large.
    pub refused_431: AtomicU64,
    /// Refused with 503: the backend did not answer in time, or the gate was full.
    pub refused_503: AtomicU64,
    /// Refused with 505: not HTTP/1.
    pub refused_505: AtomicU64,
    /// The backend was found dead or silent.
    pub backend_failures: AtomicU64,
    /// The backend was rebuilt.
    pub backend_rebuilds: AtomicU64,
    /// The gate's thread panicked and continued with new connections; a bug.
    pub panics: AtomicU64,
    /// Time from the last byte of a `POST` to its 2xx answer in the socket.
    pub ack: Histogram,
}

impl Counters {
    pub(super) fn refused(&self, refusal: HttpRefusal) -> &AtomicU64 {
        match refusal {
            HttpRefusal::Malformed(_) => &self.refused_400,
            HttpRefusal::MethodUnknown => &self.refused_405,
            HttpRefusal::TooSlow => &self.refused_408,
            HttpRefusal::LengthRequired => &self.refused_411,
            HttpRefusal::BodyTooLarge => &self.refused_413,
            HttpRefusal::ExpectationUnknown => &self.refused_417,
            HttpRefusal::HeadTooLarge => &self.refused_431,
            HttpRefusal::Unavailable => &self.refused_503,
            HttpRefusal::VersionUnsupported => &self.refused_505,
        }
    }
}

/// Increments a counter.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
