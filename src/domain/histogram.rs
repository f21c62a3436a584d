//! How long things took, in buckets as Prometheus wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets of [`Histogram`], in microseconds; a last bucket has no end.
pub const BUCKET_ENDS_US: [u64; 10] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 3_000_000,
];

/// How long something took, in buckets.
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
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many measurements there are.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 3_000_000, 3_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let counts = histogram.buckets.iter();
        let counts: Vec<u64> = counts.map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.count(), 5);
    }
}
