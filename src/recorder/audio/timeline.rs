//! Where a packet belongs in a file whose place is its time.
//!
//! Stamps come from outside and may be anything. A speaker who is muted sends nothing, so a stamp
//! ahead of what the file covers means silence; a stamp behind it is a repetition, a burst or
//! another clock. No stamp makes a file grow without bound, and no packet is lost to a bad one.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;

/// Stamps wander this much without meaning silence.
const JITTER_MS: i64 = 100;

/// A packet this much behind comes from a burst, and the next silence makes up for it; one further
/// behind comes from another clock.
const BURST_MS: i64 = 10_000;

/// Longest silence that a stamp can ask for. Zoom ends a meeting after 30 hours.
const SILENCE_MS_MAX: i64 = 30 * 3_600_000;

/// All silences of a file together.
const SILENCES_MS_MAX: i64 = 2 * SILENCE_MS_MAX;

/// A stamp from here on is none: the year 2100.
const STAMP_MS_MAX: u64 = 4_102_444_800_000;

/// After a restart, what is this much behind was received before it; Zoom keeps no stream open for
/// longer than 65 s.
const REPLAY_MS_MAX: i64 = 65_000;

/// Stamps of two packets differ by more than this.
const SAME_MS: i64 = 10;

/// Packets remembered, to know a repetition.
const RECENT_MAX: usize = 256;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It follows what is there.
    Next,
    /// It follows after so many milliseconds of silence.
    After(u64),
    /// It is there already.
    Repeat,
}

/// The time of one speaker's file.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The stamp of the first byte; it moves when the clock of the stamps does.
    zero_ms: Option<i64>,
    silences_ms: i64,
    recent: VecDeque<u64>,
    newest_ms: i64,
    /// What was stamped before this had been received when the connection, or the process, was lost.
    seam_ms: Option<i64>,
}

impl Timeline {
    /// A file that an earlier process began with that stamp and filled so far.
    pub fn resumed(zero_ms: u64, covered_ms: u64) -> Timeline {
        let zero = (zero_ms > 0 && zero_ms < STAMP_MS_MAX).then_some(zero_ms as i64);
        Timeline {
            zero_ms: zero,
            seam_ms: zero.map(|zero| zero + covered_ms as i64),
            ..Timeline::default()
        }
    }

    /// The connection is another one: Zoom may send again what it sent on the one before.
    pub fn on_reconnect(&mut self) {
        if self.newest_ms > 0 {
            self.seam_ms = Some(self.newest_ms);
        }
    }

    /// Where a packet with that stamp goes, in a file that covers so many milliseconds. `digest`
    /// tells packets apart.
    pub fn place(&mut self, stamp_ms: u64, covered_ms: u64, digest: u64) -> Place {
        if stamp_ms == 0 || stamp_ms >= STAMP_MS_MAX {
            return Place::Next;
        }
        let (stamp, covered) = (stamp_ms as i64, covered_ms as i64);
        let zero = *self.zero_ms.get_or_insert(stamp - covered);
        let ahead = stamp - (zero + covered);
        let is_replay = ahead > -REPLAY_MS_MAX;
        let is_before = self.seam_ms.is_some_and(|seam| stamp < seam - SAME_MS);
        let is_at_seam = self.seam_ms.is_some_and(|seam| stamp <= seam);
        // Stamps in whole seconds are alike for a while; then it is no repetition.
        let is_known = stamp < self.newest_ms && ahead < -JITTER_MS;
        if is_replay && is_before
            || (is_known || is_replay && is_at_seam) && self.recent.contains(&digest)
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
        self.seam_ms = None;
        Place::Next
    }
}

/// Tells packets apart, near enough: the stamp, the length and some of the bytes.
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
        // Stamp, what the file covers, a digest, what follows.
        for (stamp, covered, digest, expected) in [
            (0, 0, 1, Place::Next),
            (T, 20, 2, Place::Next),
            (T + 20, 40, 3, Place::Next),
            // Some jitter, then a mute of two seconds.
            (T + 110, 60, 4, Place::Next),
            (T + 2060, 80, 5, Place::After(2000)),
            // Received again, and a burst that was late.
            (T, 2100, 2, Place::Repeat),
            (T + 500, 2100, 6, Place::Next),
            // A stamp in no time at all, and one of the year 2080; the clock returns after it.
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
    fn silence_is_bounded_whatever_the_stamps_say() {
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
    fn what_came_before_a_restart_is_not_taken_again() {
        let mut time = Timeline::resumed(T, 10_000);
        assert_eq!(time.place(T + 9_000, 10_000, 1), Place::Repeat);
        assert_eq!(time.place(T + 10_000, 10_000, 2), Place::Next);
        assert_eq!(time.place(T + 15_020, 10_020, 3), Place::After(5000));
    }

    #[test]
    fn what_came_before_a_reconnect_is_not_taken_again() {
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
        // Twenty seconds, of which Zoom sends fourteen again: more than is remembered of them.
        for n in 0..1000 {
            push(&mut time, n);
        }
        time.on_reconnect();
        for n in 300..1000 {
            assert_eq!(push(&mut time, n), (Place::Repeat, 20_000), "{n}");
        }
        assert_eq!(push(&mut time, 1000), (Place::Next, 20_020));
        assert_eq!(push(&mut time, 1010), (Place::After(180), 20_220));
        // One who has said nothing yet has nothing to repeat.
        let mut time = Timeline::default();
        time.on_reconnect();
        assert_eq!(time.place(T, 0, 1), Place::Next);
    }

    /// Stamps in whole seconds: of those of the last second, what was there is known by its content.
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
