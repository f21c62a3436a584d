//! How long to wait between connections: the server's word first, then doubling, with jitter, up to a
//! bound.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

/// The first delay, where the server has named none; it names two seconds itself.
const FIRST: Duration = Duration::from_secs(2);
/// No shorter one, whatever a server names.
const FIRST_MIN: Duration = Duration::from_millis(100);
/// No longer one: a server that is back is found within so long.
pub(super) const MAX: Duration = Duration::from_secs(30);

/// The delays of one outage.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The connection works.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The delay before the next try: between half and all of the doubled one, by a random number.
    /// `named` is what the server wants before the first.
    pub(super) fn next(&mut self, named: Option<Duration>, random: u64) -> Duration {
        let first = named.unwrap_or(FIRST).clamp(FIRST_MIN, MAX);
        let whole = first.saturating_mul(1 << self.tries.min(16)).min(MAX);
        self.tries = self.tries.saturating_add(1);
        whole / 2 + (whole / 2).mul_f64(random as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l9_delays_double_up_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let seconds = |backoff: &mut Backoff, random| backoff.next(None, random).as_secs_f64();
        for whole in [2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let least = seconds(&mut backoff.clone(), 0);
            let most = seconds(&mut backoff, u64::MAX);
            assert_eq!((least, most), (whole / 2.0, whole));
        }
        for _ in 0..100 {
            assert!(backoff.next(None, 1 << 63) <= MAX);
        }
        backoff.reset();
        assert_eq!(seconds(&mut backoff, u64::MAX), 2.0);
    }

    #[test]
    fn l9_the_server_names_the_first_delay_within_reason() {
        for (named_ms, first_ms) in [(0, 100), (2000, 2000), (500, 500), (u64::MAX, 30_000)] {
            let named = Some(Duration::from_millis(named_ms));
            let found = Backoff::default().next(named, u64::MAX);
            assert_eq!(found, Duration::from_millis(first_ms));
        }
    }
}
