//! When to try again to open a connection.

use std::time::Duration;

use crate::domain::split_mix::SplitMix;

/// The plan: at once, then after 0.5, 1, 2, 2, … s, each up to a quarter more or less, so that nodes that lost
/// the same store do not come at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    tries: u32,
    random: SplitMix,
}

impl Backoff {
    /// For one connection.
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff {
            tries: 0,
            random: SplitMix::new(seed),
        }
    }

    /// How long to wait before the next try.
    pub(crate) fn delay(&mut self) -> Duration {
        let ms = match self.tries {
            0 => 0,
            1 => 500,
            2 => 1000,
            _ => 2000,
        };
        self.tries = self.tries.saturating_add(1);
        Duration::from_millis(ms * (750 + self.random.next() % 501) / 1000)
    }

    /// A connection has been of use.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_once_and_then_less_often() {
        let mut backoff = Backoff::new(7);
        for _ in 0..2 {
            for (least, most) in [(0, 0), (375, 625), (750, 1250), (1500, 2500), (1500, 2500)] {
                let delay = backoff.delay().as_millis();
                assert!((least..=most).contains(&delay), "{delay}");
            }
            backoff.reset();
        }
    }
}
