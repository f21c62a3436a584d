//! The gate's counters. They never decrease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::http_request::HttpRefusal;

/// Upper ends of the buckets of [`Histogram`], in microseconds; a last bucket has no end.
pub const BUCKET_ENDS_US: [u64; 10] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 3_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One count per end in [`BUCKET_ENDS_US`] (not cumulative), then one for longer.
    pub buckets: [AtomicU64; BUCKET_ENDS_US.len() + 1],
    /// The sum, in microseconds.
    pub sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one measurement.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKET_ENDS_US.partition_point(|&end| end < us);
        if let Some(bucket) = self.buckets.get(at) {
            bump(bucket);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many measurements there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(read).sum()
    }
}

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

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_counted_in_the_first_bucket_that_fits() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 3_000_000, 3_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let counts: Vec<u64> = histogram.buckets.iter().map(read).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.count(), 5);
    }
}
