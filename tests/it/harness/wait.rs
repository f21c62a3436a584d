//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Nothing in these tests takes longer unless it is broken, on a machine that others use, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// From the first look to the second; each wait is twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Looks again and again until it is true; panics with `what` was awaited if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    while !is_true() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
