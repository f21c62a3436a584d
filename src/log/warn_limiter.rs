//! Something worth a warning, but not one per occurrence.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One warning a minute is enough to be seen.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets one occurrence a minute through and counts the others.
#[derive(Debug, Default)]
pub(crate) struct WarnLimiter(Mutex<(Option<Instant>, u64)>);

impl WarnLimiter {
    /// How many occurrences were silent since the last warning, or `None` to be silent now.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (last, silent) = &mut *state;
        if last.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            *silent += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_and_the_rest_is_counted() {
        let (seldom, start) = (WarnLimiter::default(), Instant::now());
        assert_eq!(seldom.allow(start), Some(0));
        assert_eq!(seldom.allow(start), None);
        assert_eq!(seldom.allow(start + PAUSE / 2), None);
        assert_eq!(seldom.allow(start + PAUSE), Some(2));
    }
}
