//! How long to wait before the next try: doubled, bounded, and spread.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use super::split_mix::SplitMix;

/// Draws waits, so that clients which lost their connections together come back apart.
#[derive(Debug)]
pub(crate) struct Waits(SplitMix);

impl Waits {
    pub(crate) fn new(seed: u64) -> Waits {
        Waits(SplitMix::new(seed))
    }

    /// `first` doubled for each failure after the first, `longest` at most, and of that between half
    /// and all. Nothing before the first failure.
    pub(crate) fn draw(&mut self, failures: u32, first: Duration, longest: Duration) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = u64::try_from(doubled.min(longest).as_millis()).unwrap_or(u64::MAX);
        let half = whole / 2;
        Duration::from_millis(half + self.0.next() % (whole - half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound() {
        let mut waits = Waits::new(7);
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(waits.draw(0, first, longest), Duration::ZERO);
        for (failures, whole_s) in [(1, 1), (2, 2), (5, 16), (6, 30), (u32::MAX, 30)] {
            for _ in 0..200 {
                let wait = waits.draw(failures, first, longest);
                let whole = Duration::from_secs(whole_s);
                assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
            }
        }
    }
}
