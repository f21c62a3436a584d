//! How long to wait before the next try.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use crate::domain::waits::Waits;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Draws waits: endpoints and streams that failed together come back apart.
#[derive(Debug)]
pub(super) struct Backoff(Waits);

impl Backoff {
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff(Waits::new(seed))
    }

    /// The wait after so many failures in a row, one at least, in milliseconds: 1 s, doubled to 5 min,
    /// and of that between half and all.
    pub(super) fn wait_ms(&mut self, failures: u8) -> u64 {
        let wait = self.0.draw(u32::from(failures).max(1), FIRST, LONGEST);
        wait.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let mut backoff = Backoff::new(1);
        for (failures, whole) in [
            (1, 1_000),
            (2, 2_000),
            (3, 4_000),
            (9, 256_000),
            (10, 300_000),
            (255, 300_000),
        ] {
            let waits: Vec<u64> = (0..1_000).map(|_| backoff.wait_ms(failures)).collect();
            let (least, most) = (waits.iter().min(), waits.iter().max());
            let (least, most) = (*least.expect("some"), *most.expect("some"));
            assert!(least >= whole / 2 && most <= whole, "{least} {most}");
            assert!(least < whole * 52 / 100 && most > whole * 98 / 100);
        }
    }
}
