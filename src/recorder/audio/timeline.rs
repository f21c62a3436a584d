//! The position of a packet in an audio file whose positions are times.
//!
//! Timestamps come from outside and may have any value. A muted speaker sends nothing, so a
//! timestamp later than the end of the file means silence; an earlier one is a repeat, a burst or a
//! clock change. No timestamp makes a file grow without limit, and no packet is dropped because of
//! a wrong timestamp.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;

/// Timestamps vary by this much without meaning silence.
const JITTER_MS: i64 = 100;

/// A packet late by up to this much belongs to a burst, and the next silence is shortened by it; a
/// packet that is later than that comes from another clock.
const BURST_MS: i64 = 10_000;

/// Longest silence that one timestamp may cause. Zoom ends a meeting after 30 hours.
const SILENCE_MS_MAX: i64 = 30 * 3_600_000;

/// Limit for all silences of a file together.
const SILENCES_MS_MAX: i64 = 2 * SILENCE_MS_MAX;

/// A timestamp from the year 2100 on is ignored.
const STAMP_MS_MAX: u64 = 4_102_444_800_000;

/// After a restart, a packet may be a repeat if it is late by less than this; Zoom keeps a lost
/// stream open for at most 65 s.
const REPLAY_MS_MAX: i64 = 65_000;

/// Tolerance when a timestamp is compared with the last one before a reconnect.
const SAME_MS: i64 = 10;

/// How many packets are remembered, to detect repeats.
const RECENT_MAX: usize = 256;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Append it.
    Next,
    /// Append it after this many milliseconds of silence.
    After(u64),
    /// Drop it: it is in the file already.
    Repeat,
}

/// The time of one speaker's file.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The timestamp of the file's first byte; adjusted when the sender's clock changes.
    zero_ms: Option<i64>,
    silences_ms: i64,
    recent: VecDeque<u64>,
    newest_ms: i64,
    /// Packets with earlier timestamps were received before the last reconnect or restart.
    replay_until_ms: Option<i64>,
}

impl Timeline {
    /// For a file of an earlier process: its first timestamp and its duration.
    pub fn resumed(zero_ms: u64, covered_ms: u64) -> Timeline {
        let zero = (zero_ms > 0 && zero_ms < STAMP_MS_MAX).then_some(zero_ms as i64);
        Timeline {
            zero_ms: zero,
            replay_until_ms: zero.map(|zero| zero + covered_ms as i64),
            ..Timeline::default()
        }
    }

    /// To be called after a reconnect: Zoom may send again what it sent on the previous connection.
    pub fn on_reconnect(&mut self) {
        if self.newest_ms > 0 {
            self.replay_until_ms = Some(self.newest_ms);
        }
    }

    /// Where to write a packet with this timestamp, in a file of `covered_ms` milliseconds.
    /// `digest` identifies the packet.
    pub fn place(&mut self, stamp_ms: u64, covered_ms: u64, digest: u64) -> Place {
        if stamp_ms == 0 || stamp_ms >= STAMP_MS_MAX {
            return Place::Next;
        }
        let (stamp, covered) = (stamp_ms as i64, covered_ms as i64);
        let zero = *self.zero_ms.get_or_insert(stamp - covered);
        let ahead = stamp - (zero + covered);
        let is_replay = ahead > -REPLAY_MS_MAX;
        let is_before = self
            .replay_until_ms
            .is_some_and(|until| stamp < until - SAME_MS);
        let is_maybe_replay = self.replay_until_ms.is_some_and(|until| stamp <= until);
        // Where timestamps are whole seconds, several packets have the same one and are no repeats.
        let is_known = stamp < self.newest_ms && ahead < -JITTER_MS;
        if is_replay && is_before
            || (is_known || is_replay && is_maybe_replay) && self.recent.contains(&digest)
        {
            return Place::Repeat;
        }
        let place = if ahead > JITTER_MS {
            if ahead > SILENCE_MS_MAX || self.silences_ms + ahead > SILENCES_MS_MAX {
                self.jump(stamp, covered)
            } else {
                self.silences_ms += ahead;
                Place::After(ahead as u64)
            }
        } else if ahead < -BURST_MS {
            self.jump(stamp, covered)
        } else {
            Place::Next
        };
        self.newest_ms = match place {
            Place::Next if ahead < -BURST_MS => stamp,
            _ => self.newest_ms.max(stamp),
        };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(digest);
        place
    }

    fn jump(&mut self, stamp: i64, covered: i64) -> Place {
        self.zero_ms = Some(stamp - covered);
        self.replay_until_ms = None;
        Place::Next
    }
}

/// Identifies a packet by its timestamp, its length and some of its bytes.
pub fn digest(stamp_ms: u64, bytes: &[u8]) -> u64 {
    // Constants of the 64-bit FNV-1a hash.
    let mix = |sum: u64, value: u64| (sum ^ value).wrapping_mul(0x0100_0000_01b3);
    let sum = mix(mix(0xcbf2_9ce4_8422_2325, stamp_ms), bytes.len() as u64);
    let step = (bytes.len() / 8).max(1);
    bytes
        .iter()
        .step_by(step)
        .fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_767_000_000_000;

    #[test]
    fn stamps_good_and_bad() {
        let mut time = Timeline::default();
        // Timestamp, duration of the file, digest, expected place.
        for (stamp, covered, digest, expected) in [
            (0, 0, 1, Place::Next),
            (T, 20, 2, Place::Next),
            (T + 20, 40, 3, Place::Next),
            // Some jitter, then two seconds of silence.
            (T + 110, 60, 4, Place::Next),
            (T + 2060, 80, 5, Place::After(2000)),
            // Received again, and a late burst.
            (T, 2100, 2, Place::Repeat),
            (T + 500, 2100, 6, Place::Next),
            // A timestamp out of range and one of the year 2080; then the clock is right again.
            (u64::MAX, 2120, 7, Place::Next),
            (T * 2 - 300_000_000_000, 2140, 8, Place::Next),
            (T + 2160, 2160, 9, Place::Next),
            (T + 2180, 2180, 10, Place::Next),
            // Backwards by an hour.
            (T - 3_600_000, 2200, 11, Place::Next),
            (T - 3_599_980, 2220, 12, Place::Next),
        ] {
            assert_eq!(
                time.place(stamp, covered, digest),
                expected,
                "{stamp} {covered}"
            );
        }
    }

    #[test]
    fn silence_is_bounded_for_any_timestamps() {
        let mut time = Timeline::default();
        let (mut stamp, mut covered) = (T, 0);
        for n in 0..1000 {
            if let Place::After(ms) = time.place(stamp, covered, n) {
                covered += ms;
            }
            covered += 20;
            stamp += SILENCE_MS_MAX as u64 - 1000;
        }
        assert!(covered < 1000 * 20 + SILENCES_MS_MAX as u64);
    }

    #[test]
    fn packets_from_before_a_restart_are_repeats() {
        let mut time = Timeline::resumed(T, 10_000);
        assert_eq!(time.place(T + 9_000, 10_000, 1), Place::Repeat);
        assert_eq!(time.place(T + 10_000, 10_000, 2), Place::Next);
        assert_eq!(time.place(T + 15_020, 10_020, 3), Place::After(5000));
    }

    #[test]
    fn packets_from_before_a_reconnect_are_repeats() {
        let mut time = Timeline::default();
        let mut covered = 0;
        let mut push = |time: &mut Timeline, n: u64| {
            let place = time.place(T + 20 * n, covered, n);
            covered += match place {
                Place::Repeat => 0,
                Place::Next => 20,
                Place::After(ms) => ms + 20,
            };
            (place, covered)
        };
        // Twenty seconds, of which Zoom repeats fourteen: more packets than are remembered.
        for n in 0..1000 {
            push(&mut time, n);
        }
        time.on_reconnect();
        for n in 300..1000 {
            assert_eq!(push(&mut time, n), (Place::Repeat, 20_000), "{n}");
        }
        assert_eq!(push(&mut time, 1000), (Place::Next, 20_020));
        assert_eq!(push(&mut time, 1010), (Place::After(180), 20_220));
        // A speaker without packets has no repeats.
        let mut time = Timeline::default();
        time.on_reconnect();
        assert_eq!(time.place(T, 0, 1), Place::Next);
    }

    /// With timestamps in whole seconds, repeats within the last second are detected by their
    /// digests.
    #[test]
    fn a_reconnect_within_one_whole_second() {
        let mut time = Timeline::default();
        for n in 0..30 {
            assert_eq!(time.place(T, 20 * n, n), Place::Next);
        }
        time.on_reconnect();
        for n in 0..30 {
            assert_eq!(time.place(T, 600, n), Place::Repeat);
        }
        for n in 30..50 {
            assert_eq!(time.place(T, 20 * n, n), Place::Next);
        }
    }

    #[test]
    fn digests_differ() {
        assert_ne!(digest(1, b"abc"), digest(2, b"abc"));
        assert_ne!(digest(1, b"abc"), digest(1, b"abd"));
        assert_ne!(digest(1, b""), digest(1, b"\0"));
    }
}
