//! When a link is tried again, and when it is given up.

use std::time::{Duration, Instant};

/// Zoom's delays between attempts (RTMS failover guide); the last one repeats.
pub const BACKOFF: [Duration; 5] = [
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(12),
    Duration::from_secs(24),
    Duration::from_secs(30),
];

/// A link that lived shorter than this was no recovery: its loss is met by the backoff and not by
/// an immediate try, or a server that accepts and closes at once would be hammered.
pub const STEADY: Duration = Duration::from_secs(3);

/// The attempts at one link since it was last steady.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    failed: usize,
    up_since: Option<Instant>,
}

impl Attempts {
    /// The handshake was accepted.
    pub fn accepted(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// Whether the next loss of this link would be met by an immediate try.
    fn was_steady(&self, now: Instant) -> bool {
        self.up_since
            .is_some_and(|since| now.saturating_duration_since(since) >= STEADY)
    }

    /// How long to wait after a loss or a failed attempt: not at all after a steady connection,
    /// else by [`BACKOFF`].
    pub fn delay_after_loss(&mut self, now: Instant) -> Duration {
        if self.was_steady(now) {
            *self = Attempts::default();
            return Duration::ZERO;
        }
        self.up_since = None;
        let delay = BACKOFF[self.failed.min(BACKOFF.len() - 1)];
        self.failed += 1;
        delay
    }

    /// Forgets what was: other URLs, or a new cause.
    pub fn reset(&mut self) {
        *self = Attempts::default();
    }

    /// Failed attempts in a row.
    pub fn failed(&self) -> usize {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_after_a_steady_connection_then_ever_slower() {
        let t0 = Instant::now();
        let mut attempts = Attempts::default();
        attempts.accepted(t0);
        let lost = t0 + Duration::from_secs(60);
        let delays: Vec<u64> = (0..7)
            .map(|_| attempts.delay_after_loss(lost).as_secs())
            .collect();
        assert_eq!(delays, [0, 3, 6, 12, 24, 30, 30]);
    }

    #[test]
    fn a_server_that_accepts_and_closes_is_not_hammered() {
        let t0 = Instant::now();
        let mut attempts = Attempts::default();
        for expected in [3, 6, 12] {
            attempts.accepted(t0);
            assert_eq!(attempts.delay_after_loss(t0).as_secs(), expected);
        }
    }
}
