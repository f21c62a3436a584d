//! Normalizes timestamps from outside: detects the unit, and rejects implausible values.
//!
//! An implausible timestamp counts as absent, so that one wrong message does not move what is
//! written after it: subtitle times only grow, and an audio file grows with its timestamps.
//! Plausible means close to the time of arrival.

/// A timestamp is later than its arrival by at most this: it was made before it was sent. Both
/// clocks may be wrong, but a webhook is refused if they differ by more than some minutes.
pub const AHEAD_MS_MAX: u64 = 2 * 3_600_000;

/// A timestamp is earlier than its arrival by at most this: a meeting lasts 30 hours at most.
const BEHIND_MS_MAX: u64 = 48 * 3_600_000;

/// A timestamp in Unix milliseconds, if it is plausible; `arrival_ms` is when it arrived.
pub fn plausible(stamp: u64, arrival_ms: u64) -> Option<u64> {
    let stamp_ms = milliseconds(stamp);
    let earliest = arrival_ms.saturating_sub(BEHIND_MS_MAX);
    let latest = arrival_ms.saturating_add(AHEAD_MS_MAX);
    (stamp_ms != 0 && (earliest..=latest).contains(&stamp_ms)).then_some(stamp_ms)
}

/// Zoom has sent seconds, milliseconds and microseconds, and some systems count nanoseconds; the
/// magnitude shows the unit.
fn milliseconds(stamp: u64) -> u64 {
    match stamp {
        1_000_000_000_000_000_000.. => stamp / 1_000_000,
        1_000_000_000_000_000.. => stamp / 1000,
        1_000_000_000_000.. => stamp,
        1_000_000_000.. => stamp * 1000,
        _ => stamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_767_000_001_234;
    const HOUR: u64 = 3_600_000;

    #[test]
    fn timestamps_in_every_unit_and_implausible_ones() {
        for (stamp, expected) in [
            (T, Some(T)),
            (T / 1000, Some(T / 1000 * 1000)),
            (T * 1000 + 9, Some(T)),
            (T * 1_000_000 + 9, Some(T)),
            // A meeting that began yesterday; a clock that is an hour off.
            (T - 30 * HOUR, Some(T - 30 * HOUR)),
            (T + HOUR, Some(T + HOUR)),
            (0, None),
            (1, None),
            (T - 400 * 24 * HOUR, None),
            (T + 400 * 24 * HOUR, None),
            (T + 3 * HOUR, None),
            (u64::MAX, None),
        ] {
            assert_eq!(plausible(stamp, T), expected, "{stamp}");
        }
    }

    #[test]
    fn extreme_arrival_times_do_not_panic() {
        for arrival in [0, 1, u64::MAX] {
            for stamp in [0, 1, T, u64::MAX] {
                let _ = plausible(stamp, arrival);
            }
        }
    }
}
