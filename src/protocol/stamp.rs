//! Judges stamps from outside: in which unit they are, and whether they can be true.
//!
//! A stamp that cannot be true counts as absent, so that one odd message does not move what is
//! written after it: subtitles only go forward, and a file of audio grows with its stamps. What is
//! plausible is judged against the time of arrival.

/// No stamp is this much later than its arrival: it was made before it was sent. Both clocks may be
/// wrong, but a webhook is refused when they differ by more than some minutes.
pub const AHEAD_MS_MAX: u64 = 2 * 3_600_000;

/// No stamp is this much earlier than its arrival: a meeting lasts 30 hours at most.
const BEHIND_MS_MAX: u64 = 48 * 3_600_000;

/// A stamp in Unix milliseconds, if it can be true; `arrival_ms` is when it arrived.
pub fn plausible(stamp: u64, arrival_ms: u64) -> Option<u64> {
    let stamp_ms = milliseconds(stamp);
    let earliest = arrival_ms.saturating_sub(BEHIND_MS_MAX);
    let latest = arrival_ms.saturating_add(AHEAD_MS_MAX);
    (stamp_ms != 0 && (earliest..=latest).contains(&stamp_ms)).then_some(stamp_ms)
}

/// Clients have met seconds, milliseconds and microseconds, and some systems count nanoseconds; the
/// size tells which.
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
    fn stamps_in_every_unit_and_stamps_that_cannot_be_true() {
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
    fn an_odd_arrival_is_no_panic() {
        for arrival in [0, 1, u64::MAX] {
            for stamp in [0, 1, T, u64::MAX] {
                let _ = plausible(stamp, arrival);
            }
        }
    }
}
