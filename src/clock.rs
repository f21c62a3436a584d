//! The wall clock of this process. Pure parts take the time as an argument instead.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock in Unix microseconds; as [`now_ms`].
pub fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

/// The wall clock in Unix milliseconds; 0 if it is set before 1970. Not for deadlines, it jumps.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
