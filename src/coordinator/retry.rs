//! When a start that failed is tried again: pure, driven by whoever owns the timer.

use std::time::Duration;

use crate::zoom_api::errors::{Class, Error};

/// How long a start that may be too early is tried (Zoom's guides: a few times over about 30 s).
pub const EARLY_WINDOW: Duration = Duration::from_secs(30);

/// How long a start is tried while Zoom or the way to it is in trouble. Our own rule: a meeting
/// happens only once, and most of it may still be ahead.
pub const TROUBLE_WINDOW: Duration = Duration::from_secs(10 * 60);

const EARLY_DELAY_MAX: Duration = Duration::from_secs(8);
const TROUBLE_DELAY_MAX: Duration = Duration::from_secs(30);

/// The plan for the starts of one meeting.
///
/// Before each further try the caller asks itself whether the meeting still goes on and has no
/// stream yet: a start that timed out may have been accepted all the same, and a meeting is never
/// started twice.
#[derive(Debug, Clone, Copy)]
pub struct StartRetry {
    seed: u64,
}

impl StartRetry {
    /// A plan. The seed (a hash of the meeting UUID, say) spreads the tries of meetings that
    /// failed together.
    pub fn new(seed: u64) -> StartRetry {
        StartRetry { seed }
    }

    /// How long to wait before the next try, or `None` when there shall be none.
    ///
    /// `attempts` is how many were made, `elapsed` the time since the first of them began.
    pub fn delay(&self, attempts: u32, elapsed: Duration, error: &Error) -> Option<Duration> {
        let Class::Retry { after } = error.class() else {
            return None;
        };
        let (window, delay_max) = if error.is_early() {
            (EARLY_WINDOW, EARLY_DELAY_MAX)
        } else {
            (TROUBLE_WINDOW, TROUBLE_DELAY_MAX)
        };
        let doubled = Duration::from_secs(1 << attempts.saturating_sub(1).min(6));
        let delay = doubled.min(delay_max).max(after.unwrap_or_default());
        let delay = delay + delay.mul_f64(self.share(attempts) / 4.0);
        match window.checked_sub(elapsed) {
            // The last try is at the end of the window; one a moment later would be pointless.
            Some(left) if left >= Duration::from_secs(1) => Some(match after {
                Some(after) => delay.min(left.max(after)),
                None => delay.min(left),
            }),
            _ => None,
        }
    }

    /// A number from 0 to 1 that differs between meetings and tries (one step of SplitMix64).
    fn share(&self, attempts: u32) -> f64 {
        let mut z = self
            .seed
            .wrapping_add(u64::from(attempts).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoom_api::Kind;

    fn error(kind: Kind, early: bool, after: Option<u64>) -> Error {
        Error {
            early,
            after: after.map(Duration::from_secs),
            ..Error::new(kind, "start meeting 1", "")
        }
    }

    /// The times of all tries if each fails at once with this error.
    fn tries(seed: u64, error: &Error) -> Vec<f64> {
        let mut at = Duration::ZERO;
        let mut times = vec![0.0];
        while let Some(delay) = StartRetry::new(seed).delay(times.len() as u32, at, error) {
            assert!(delay >= Duration::from_secs(1));
            at += delay;
            times.push(at.as_secs_f64());
            assert!(times.len() < 100);
        }
        times
    }

    #[test]
    fn an_early_start_is_tried_for_thirty_seconds() {
        for seed in 0..50 {
            let times = tries(seed, &error(Kind::MeetingUnknown, true, None));
            assert!((5..=7).contains(&times.len()), "{times:?}");
            let last = *times.last().unwrap();
            assert!((29.0..=30.0).contains(&last), "{times:?}");
            assert!(times[1] < 1.3);
        }
    }

    #[test]
    fn trouble_is_sat_out_for_ten_minutes() {
        for kind in [Kind::ServerFault, Kind::Timeout, Kind::Reset] {
            let times = tries(1, &error(kind, false, None));
            let last = *times.last().unwrap();
            assert!((599.0..=600.0).contains(&last), "{times:?}");
            assert!(times.len() > 15);
        }
    }

    #[test]
    fn what_zoom_asks_for_is_kept() {
        let limited = error(Kind::RateLimited, false, Some(45));
        for seed in 0..50 {
            let delay = StartRetry::new(seed).delay(1, Duration::ZERO, &limited);
            let delay = delay.unwrap().as_secs_f64();
            assert!((45.0..=45.0 * 1.25).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn hopeless_is_not_tried_again() {
        for kind in [Kind::NotPermitted, Kind::MeetingUnknown, Kind::Revoked] {
            let never = StartRetry::new(0).delay(1, Duration::ZERO, &error(kind, false, None));
            assert_eq!(never, None);
        }
    }

    #[test]
    fn meetings_that_failed_together_come_back_apart() {
        let fault = error(Kind::ServerFault, false, None);
        let delays: std::collections::HashSet<_> = (0..50)
            .map(|seed| StartRetry::new(seed).delay(4, Duration::ZERO, &fault))
            .collect();
        assert!(delays.len() > 40);
    }
}
