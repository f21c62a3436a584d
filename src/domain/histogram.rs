//! How long things took, in buckets as Prometheus wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ENDS: usize = 10;

/// Upper ends of the buckets for what takes milliseconds, in microseconds; a last bucket has no end.
const QUICK_US: [u64; ENDS] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 3_000_000,
];

/// The same for what takes seconds.
const SLOW_US: [u64; ENDS] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    45_000_000,
    110_000_000,
];

/// How long something took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    ends_us: &'static [u64; ENDS],
    /// One count per end (not cumulative), then one for longer.
    buckets: [AtomicU64; ENDS + 1],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::with(&QUICK_US)
    }
}

impl Histogram {
    /// For what takes seconds.
    pub fn slow() -> Histogram {
        Histogram::with(&SLOW_US)
    }

    fn with(ends_us: &'static [u64; ENDS]) -> Histogram {
        Histogram {
            ends_us,
            buckets: Default::default(),
            sum_us: AtomicU64::new(0),
        }
    }

    /// Adds one measurement.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = self.ends_us.partition_point(|&end| end < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many measurements there are.
    pub fn count(&self) -> u64 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// Each bucket's upper end in microseconds and its count, which is not cumulative. The last one has no end.
    pub fn counts(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let ends = self.ends_us.iter().copied().map(Some).chain([None]);
        let counts = self.buckets.iter().map(|it| it.load(Ordering::Relaxed));
        ends.zip(counts)
    }

    /// The sum of all measurements, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
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
        let counts: Vec<u64> = histogram.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((histogram.count(), histogram.sum_us()), (5, 6_000_502));
    }

    #[test]
    fn what_takes_seconds_has_buckets_of_seconds() {
        let histogram = Histogram::slow();
        for seconds in [1, 9, 200] {
            histogram.record(Duration::from_secs(seconds));
        }
        let counts = histogram.counts().filter(|(_, count)| *count > 0);
        let ends: Vec<Option<u64>> = counts.map(|(end, _)| end).collect();
        assert_eq!(ends, [Some(1_000_000), Some(10_000_000), None]);
    }
}
