//! The schedule of retries for failed REST calls.

use std::time::Duration;

use crate::domain::rest::{FailedCall, FailureClass};
use crate::domain::split_mix;

/// How long a start that may be too early is retried (Zoom's guides: a few times in about 30 s).
pub const EARLY_WINDOW: Duration = Duration::from_secs(30);

/// How long a start is retried while Zoom or the network has a fault. Our own rule: a meeting
/// happens only once, and most of it may still follow.
pub const TROUBLE_WINDOW: Duration = Duration::from_secs(10 * 60);

const EARLY_DELAY_MAX: Duration = Duration::from_secs(8);
const TROUBLE_DELAY_MAX: Duration = Duration::from_secs(30);
/// Longest delay between two calls that a meeting without its host may refuse. Our own rule: an
/// hour of waiting is about fifteen calls.
const HOST_DELAY_MAX: Duration = Duration::from_secs(5 * 60);

/// The retry plan for the calls of one meeting.
///
/// Before each try the caller checks that the meeting is still running and has no stream yet: a
/// start that timed out may have been accepted, and a meeting is never started twice.
#[derive(Debug, Clone, Copy)]
pub struct StartRetry {
    seed: u64,
}

impl StartRetry {
    /// A plan. The seed (for instance a hash of the meeting UUID) spreads the retries of meetings
    /// that failed together.
    pub fn new(seed: u64) -> StartRetry {
        StartRetry { seed }
    }

    /// The delay before the next try; `None` if there is none.
    ///
    /// `attempts` is the number of tries so far, `elapsed` the time since the first of them.
    pub fn delay(&self, attempts: u32, elapsed: Duration, failed: &FailedCall) -> Option<Duration> {
        // A call that waits for a host has no time limit: it ends with the meeting.
        let (window, delay_max) = match failed.class {
            FailureClass::GiveUp => return None,
            FailureClass::Early => (Some(EARLY_WINDOW), EARLY_DELAY_MAX),
            FailureClass::Retry => (Some(TROUBLE_WINDOW), TROUBLE_DELAY_MAX),
            FailureClass::NotPermitted => (None, HOST_DELAY_MAX),
        };
        let after = failed.retry_after.unwrap_or_default();
        let doubled = Duration::from_secs(1 << attempts.saturating_sub(1).min(9));
        let delay = doubled.min(delay_max).max(after);
        let delay = delay + delay.mul_f64(self.share(attempts) / 4.0);
        let Some(window) = window else {
            return Some(delay);
        };
        match window.checked_sub(elapsed) {
            // The last try is at the end of the window; one shortly after it would be pointless.
            Some(left) if left >= Duration::from_secs(1) => Some(delay.min(left.max(after))),
            _ => None,
        }
    }

    /// A number from 0 to 1 that differs between meetings and tries.
    fn share(&self, attempts: u32) -> f64 {
        (split_mix::nth(self.seed, attempts.into()) >> 40) as f64 / (1u64 << 24) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::severity::Severity;

    fn failed(class: FailureClass, after_s: Option<u64>) -> FailedCall {
        FailedCall {
            class,
            retry_after: after_s.map(Duration::from_secs),
            code: None,
            severity: Severity::Warn,
            text: String::new(),
        }
    }

    /// The times of all tries if each fails at once with this error.
    fn tries(seed: u64, failed: &FailedCall) -> Vec<f64> {
        let mut at = Duration::ZERO;
        let mut times = vec![0.0];
        while let Some(delay) = StartRetry::new(seed).delay(times.len() as u32, at, failed) {
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
            let times = tries(seed, &failed(FailureClass::Early, None));
            assert!((5..=7).contains(&times.len()), "{times:?}");
            let last = *times.last().unwrap();
            assert!((29.0..=30.0).contains(&last), "{times:?}");
            assert!(times[1] < 1.3);
        }
    }

    #[test]
    fn temporary_faults_are_retried_for_ten_minutes() {
        let times = tries(1, &failed(FailureClass::Retry, None));
        let last = *times.last().unwrap();
        assert!((599.0..=600.0).contains(&last), "{times:?}");
        assert!(times.len() > 15);
    }

    #[test]
    fn waiting_for_a_host_has_no_limit_and_growing_delays() {
        let refused = failed(FailureClass::NotPermitted, None);
        let retry = StartRetry::new(3);
        let mut delays = Vec::new();
        let mut elapsed = Duration::ZERO;
        for attempts in 1..100 {
            let delay = retry.delay(attempts, elapsed, &refused).expect("a delay");
            elapsed += delay;
            delays.push(delay.as_secs_f64());
        }
        assert!((1.0..1.3).contains(&delays[0]), "{delays:?}");
        assert!(delays[..8].is_sorted(), "{delays:?}");
        assert!(
            delays[10..]
                .iter()
                .all(|delay| (300.0..=375.0).contains(delay))
        );
    }

    #[test]
    fn zooms_retry_after_is_respected() {
        let limited = failed(FailureClass::Retry, Some(45));
        for seed in 0..50 {
            let delay = StartRetry::new(seed).delay(1, Duration::ZERO, &limited);
            let delay = delay.unwrap().as_secs_f64();
            assert!((45.0..=45.0 * 1.25).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn permanent_failures_are_not_retried() {
        let never =
            StartRetry::new(0).delay(1, Duration::ZERO, &failed(FailureClass::GiveUp, None));
        assert_eq!(never, None);
    }

    #[test]
    fn retries_of_meetings_that_failed_together_are_spread() {
        let fault = failed(FailureClass::Retry, None);
        let delays: std::collections::HashSet<_> = (0..50)
            .map(|seed| StartRetry::new(seed).delay(4, Duration::ZERO, &fault))
            .collect();
        assert!(delays.len() > 40);
    }
}
