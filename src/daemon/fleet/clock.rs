//! The own clock beside the store's, which all nodes share.
//!
//! A webhook that is older than five minutes by the own clock is refused, and a scheduled stop is made by it.

use std::time::Duration;

/// From this difference on an operator should know.
const WARN_MS: u64 = 2_000;

/// From this one on stops come too early or too late, and soon webhooks are refused.
const ERROR_MS: u64 = 30_000;

/// What is known of the difference.
#[derive(Debug, Default)]
pub(super) struct Clock {
    offset_ms: Option<i64>,
    told: Option<log::Level>,
}

impl Clock {
    /// A beat took so long and brought the store's time. Says it in the log when that is news.
    pub(super) fn compare(&mut self, own_ms: u64, store_ms: u64, took: Duration) {
        // The store read its clock in between.
        let half = u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX);
        let offset = own_ms.saturating_sub(half).cast_signed() - store_ms.cast_signed();
        self.offset_ms = Some(offset);
        let level = level(offset);
        if level == std::mem::replace(&mut self.told, level) {
            return;
        }
        match level {
            Some(level) => log::log!(
                level,
                "this machine's clock differs from the fleet's store seconds={:.1}; scheduled stops come early or \
                 late, and beyond five minutes webhooks are refused: set both by NTP",
                offset as f64 / 1000.0
            ),
            None => log::info!("this machine's clock is as that of the fleet's store again"),
        }
    }

    /// The own clock minus the store's; `None` before the first beat.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        self.offset_ms
    }
}

fn level(offset_ms: i64) -> Option<log::Level> {
    match offset_ms.unsigned_abs() {
        ERROR_MS.. => Some(log::Level::Error),
        WARN_MS.. => Some(log::Level::Warn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_way_is_no_difference() {
        let mut clock = Clock::default();
        assert_eq!(clock.offset_ms(), None);
        clock.compare(10_400, 10_000, Duration::from_millis(800));
        assert_eq!((clock.offset_ms(), clock.told), (Some(0), None));
    }

    #[test]
    fn two_seconds_are_a_warning_and_thirty_an_error_on_either_side() {
        for (offset, told) in [
            (1_999, None),
            (2_000, Some(log::Level::Warn)),
            (-2_000, Some(log::Level::Warn)),
            (29_999, Some(log::Level::Warn)),
            (-30_000, Some(log::Level::Error)),
            (30_000, Some(log::Level::Error)),
        ] {
            let mut clock = Clock::default();
            let own = 1_000_000_i64 + offset;
            clock.compare(own.cast_unsigned(), 1_000_000, Duration::ZERO);
            assert_eq!((clock.offset_ms(), clock.told), (Some(offset), told));
        }
    }
}
