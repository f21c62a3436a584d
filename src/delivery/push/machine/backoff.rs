//! How long to wait before the next try.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// The first wait, and the longest, in milliseconds.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 300_000;

/// Draws waits (SplitMix64): endpoints and streams that failed together come back apart.
#[derive(Debug)]
pub(super) struct Backoff(u64);

impl Backoff {
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff(seed)
    }

    /// The wait after so many failures in a row, in milliseconds: 1 s, doubled to 5 min, and of that
    /// between half and all.
    pub(super) fn wait_ms(&mut self, failures: u8) -> u64 {
        let doublings = failures.saturating_sub(1).min(16);
        let whole = (FIRST_MS << doublings).min(LONGEST_MS);
        let half = whole / 2;
        half + self.next() % (whole - half + 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
