//! Limits repeated warnings to one per minute and call site; the next one has the number of
//! suppressed ones.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One warning per minute is enough to be seen. The end of a flood shows in the metric of its
/// cause.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets one warning per minute through and counts the others. One per call site and, for warnings
/// about a stream, one per stream.
#[derive(Debug, Default)]
pub(crate) struct WarnLimiter(Mutex<(Option<Instant>, u64)>);

impl WarnLimiter {
    /// `None` to log nothing now; otherwise a suffix for the line.
    pub(crate) fn allow(&self, now: Instant) -> Option<Suppressed> {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (last, silent) = &mut *state;
        if last.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            *silent += 1;
            return None;
        }
        *last = Some(now);
        Some(Suppressed(std::mem::take(silent)))
    }
}

/// The number of warnings suppressed since the last logged one: ` suppressed=12`, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " suppressed={n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_and_the_rest_is_counted() {
        let (limiter, start) = (WarnLimiter::default(), Instant::now());
        let line = |now| limiter.allow(now).map(|more| format!("disk full{more}"));
        assert_eq!(line(start).as_deref(), Some("disk full"));
        assert_eq!(line(start), None);
        assert_eq!(line(start + PAUSE / 2), None);
        let later = line(start + PAUSE);
        assert_eq!(later.as_deref(), Some("disk full suppressed=2"));
        assert_eq!(line(start + PAUSE), None);
    }
}
