//! The retry policy of a link: when the next try is due.
//!
//! At once after a loss, then after 0.5, 1, 2, 3, 3 … seconds, as long as Zoom keeps the stream
//! open. Zoom's own advice (3, 6, 12, 24, 30 s; RTMS failover guide) is for a server that is down:
//! with two tries in a minute a fault of one second can lose a stream. An accepted handshake
//! restarts the series. A server that accepts and closes in a loop is limited by the number of
//! tries per minute.

use std::time::{Duration, Instant};

use crate::domain::split_mix;

/// Delays before the tries of one series; the last one repeats.
const DELAYS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];

/// The last try before a window ends starts this long before its end, so that it has time to
/// succeed.
pub const LAST_TRY: Duration = Duration::from_secs(5);

/// Tries that may follow each other without a delay in any case.
const BURST_MAX: u32 = 10;

/// One more try is allowed each time this has passed: with [`BURST_MAX`] at most 30 in the 65 s
/// that Zoom keeps a media link, and fewer in the 60 s of a signaling link.
const TRY_EVERY: Duration = Duration::from_millis(3250);

/// The retry policy of a link.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// Delays before the tries of one series; the last one repeats.
    pub delays: &'static [Duration],
    /// A link that was accepted for less than this continues its series.
    pub steady: Duration,
    /// Whether delays are shortened at random, by at most a quarter.
    pub has_jitter: bool,
    /// Whether each refusal because of another connection begins the window again, or only the first.
    pub is_always_renewed: bool,
}

impl Policy {
    fn delay(&self, round: usize) -> Duration {
        let last = self.delays.len().saturating_sub(1);
        self.delays
            .get(round.min(last))
            .copied()
            .unwrap_or_default()
    }
}

/// The policy in force.
pub const POLICY: Policy = Policy {
    delays: &DELAYS,
    steady: Duration::ZERO,
    has_jitter: true,
    is_always_renewed: false,
};

/// The policy of a node of a fleet: a connection that another node takes at once is tried more and more slowly,
/// or two that displace each other would do so without an end. Between two tries the store says who has it: a node
/// that is refused because of another one ends its stream when the store names that one, or Zoom no longer knows the
/// stream, and until then that one may die.
pub static IN_FLEET: Policy = Policy {
    delays: &DELAYS,
    steady: Duration::from_secs(5),
    has_jitter: true,
    is_always_renewed: true,
};

/// The tries of one link.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    policy: &'static Policy,
    /// Tries since the last accepted handshake.
    tries: usize,
    /// Until then, fewer than [`BURST_MAX`] tries are left.
    full_until: Option<Instant>,
    up_since: Option<Instant>,
    /// Whether the last try of the current window was made.
    has_made_last: bool,
    /// State of the random generator.
    random: u64,
}

impl Attempts {
    /// Before the first try. The same seed gives the same jitter.
    pub fn new(policy: &'static Policy, seed: u64) -> Attempts {
        Attempts {
            policy,
            tries: 0,
            full_until: None,
            up_since: None,
            has_made_last: false,
            random: seed,
        }
    }

    /// Starts a try; `window` is when Zoom closes the stream if none succeeds.
    pub fn begin(&mut self, now: Instant, window: Option<Instant>) {
        self.tries += 1;
        self.has_made_last |= window.is_some_and(|end| now + LAST_TRY >= end);
        let full = self.full_until.map_or(now, |full| full.max(now));
        // Tries that were forced beyond the limit are not counted later.
        let most = now + TRY_EVERY * BURST_MAX;
        self.full_until = Some((full + TRY_EVERY).min(most));
    }

    /// The try that was begun last is not made.
    pub fn take_back(&mut self) {
        self.tries = self.tries.saturating_sub(1);
        self.full_until = self.full_until.and_then(|full| full.checked_sub(TRY_EVERY));
        self.has_made_last = false;
    }

    /// See [`Policy::is_always_renewed`].
    pub fn is_always_renewed(&self) -> bool {
        self.policy.is_always_renewed
    }

    /// The window ends later than it did: its last try is still to come.
    pub fn window_renewed(&mut self) {
        self.has_made_last = false;
    }

    /// The handshake was accepted.
    pub fn accepted(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// Starts a new series: for another server or a new cause.
    pub fn reset(&mut self) {
        self.tries = 0;
        self.up_since = None;
        self.has_made_last = false;
    }

    /// Tries since the last accepted handshake, including one in progress.
    pub fn tries(&self) -> usize {
        self.tries
    }

    /// When the next try is due after a loss or a failed try. With several servers each is tried
    /// before there is a delay.
    pub fn next(&mut self, now: Instant, window: Option<Instant>, servers: usize) -> Instant {
        let was_up = self.up_since.take();
        if was_up.is_some_and(|since| now.saturating_duration_since(since) >= self.policy.steady) {
            self.reset();
        }
        let servers = servers.max(1);
        let delay = match self.tries % servers {
            0 => self.delay(self.tries / servers),
            _ => Duration::ZERO,
        };
        let mut at = now + delay;
        if let Some(end) = window
            && !delay.is_zero()
            && !self.has_made_last
        {
            // A try that would start shortly before the last one is delayed to be the last one.
            let last = end.checked_sub(LAST_TRY).unwrap_or(now).max(now);
            if at + self.policy.delay(self.tries / servers + 1) > last {
                at = last;
            }
        }
        let allowed = self.full_until.map(|full| {
            let burst = TRY_EVERY * (BURST_MAX - 1);
            full.checked_sub(burst).unwrap_or(now)
        });
        allowed.map_or(at, |allowed| at.max(allowed))
    }

    fn delay(&mut self, round: usize) -> Duration {
        let delay = self.policy.delay(round);
        match self.policy.has_jitter {
            true => self.shortened(delay),
            false => delay,
        }
    }

    /// A delay shortened at random, by at most a quarter, in 1024 steps.
    pub fn shortened(&mut self, delay: Duration) -> Duration {
        self.random = split_mix::nth(self.random, 1);
        delay * 3 / 4 + delay / 4 * (self.random >> 54) as u32 / 1024
    }
}

/// A seed from a stream's id and a number.
pub(super) fn seed(stream_id: &str, number: u32) -> u64 {
    // 64-bit FNV-1a.
    let bytes = stream_id.bytes().chain(number.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    /// The tries of one window at a server that refuses at once, as seconds since the loss.
    fn tries(seed: u64, servers: usize) -> Vec<f64> {
        let lost = Instant::now();
        let end = lost + WINDOW;
        let mut attempts = Attempts::new(&POLICY, seed);
        attempts.begin(lost, None);
        attempts.accepted(lost);
        let mut tries = Vec::new();
        let mut now = lost;
        loop {
            now = attempts.next(now, Some(end), servers);
            if now >= end {
                return tries;
            }
            attempts.begin(now, Some(end));
            tries.push((now - lost).as_secs_f64());
        }
    }

    #[test]
    fn tries_become_slower_and_the_last_is_before_the_windows_end() {
        for seed in 0..2000 {
            let tries = tries(seed, 1);
            let gaps: Vec<f64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(tries[0], 0.0, "at once");
            for (gap, most) in gaps.iter().zip([0.5, 1.0, 2.0, 3.0, 3.0, 3.0]) {
                assert!((0.75 * most..=most).contains(gap), "{gaps:?}");
            }
            assert!(gaps.iter().all(|gap| *gap <= 6.0), "{gaps:?}");
            assert!(tries.len() <= 30, "{} tries", tries.len());
            let last = tries.last().copied().unwrap_or_default();
            assert!((55.0..60.0).contains(&last), "{last}");
            assert!(
                tries.contains(&55.0),
                "one has five seconds left: {tries:?}"
            );
        }
        assert_ne!(tries(1, 1), tries(2, 1), "streams try at different times");
        assert_eq!(tries(1, 1), tries(1, 1));
    }

    #[test]
    fn each_server_is_tried_before_there_is_a_delay() {
        let tries = tries(1, 3);
        assert_eq!(tries[..3], [0.0; 3]);
        assert!((0.375..=0.5).contains(&tries[3]), "{tries:?}");
        assert_eq!((tries[4], tries[5]), (tries[3], tries[3]));
    }

    #[test]
    fn a_server_that_accepts_and_closes_is_tried_at_most_30_times_a_minute() {
        let mut now = Instant::now();
        let mut attempts = Attempts::new(&POLICY, 7);
        let mut tries = Vec::new();
        for _ in 0..500 {
            attempts.begin(now, None);
            tries.push(now);
            attempts.accepted(now);
            now = attempts.next(now, None, 1);
        }
        assert_eq!(tries[9], tries[0], "the first ten tries have no delay");
        for (n, from) in tries.iter().enumerate() {
            let minute = tries[n..].iter().take_while(|at| **at < *from + WINDOW);
            assert!(minute.count() <= 30);
        }
        // After a quiet minute, the next loss is retried at once.
        now += WINDOW;
        assert_eq!(attempts.next(now, None, 1), now);
    }

    #[test]
    fn an_accepted_handshake_restarts_the_series() {
        let mut now = Instant::now();
        let mut attempts = Attempts::new(&POLICY, 7);
        for _ in 0..3 {
            for _ in 0..3 {
                attempts.begin(now, None);
                let next = attempts.next(now, None, 1);
                assert!(next > now);
                now = next + Duration::from_secs(5);
            }
            attempts.begin(now, None);
            attempts.accepted(now);
            assert_eq!(attempts.next(now, None, 1), now);
        }
    }
}
