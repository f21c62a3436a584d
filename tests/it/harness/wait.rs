//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// A time limit far above the duration of any wait, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Delay between the first two checks; each further one is twice as long, up to a maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Checks until the condition is true; panics with `what` if it does not become true in time.
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
