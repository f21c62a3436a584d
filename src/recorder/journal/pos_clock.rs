//! The positions of lines: microseconds that only grow, over all journals and over restarts.
//!
//! A position is the moment of a write, or one more than the last where the clock stands still or was
//! set back. A mark in the state directory lies ahead of every position that was given out, so that
//! the next process begins above it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::domain::decimal::fill;
use crate::feed::line::set_positions;

/// The mark's name in the state directory: 16 digits and a line break.
pub(super) const MARK_NAME: &str = "feed-pos";
const MARK_DIGITS: usize = 16;

/// How far the mark lies ahead, in microseconds: a crash moves positions ahead of the clock by so
/// much at most, and the mark is written as seldom.
const POS_RESERVE_US: u64 = 2_000_000;

/// The same while positions are ahead of the clock and grow by one a line. Each of many crashes within
/// seconds moves them by so little.
const POS_RESERVE_AHEAD_US: u64 = 10_000;

/// Gives out positions.
#[derive(Debug, Default)]
pub(super) struct PosClock {
    last: u64,
    mark: u64,
    file: Option<File>,
    is_failing: bool,
}

impl PosClock {
    /// Begins above every position that an earlier process gave out. Without a state directory there
    /// is no mark, and the clock is believed.
    pub(super) fn open(state: Option<&Path>) -> PosClock {
        let Some(state) = state else {
            return PosClock::default();
        };
        match open_mark(&state.join(MARK_NAME)) {
            Ok((file, mark)) => PosClock {
                last: mark,
                mark,
                file: Some(file),
                is_failing: false,
            },
            Err(error) => {
                log::error!(
                    "cannot open the mark of the journal folder={} error=\"{error}\"; after a restart \
                     positions are right only if this machine's clock is",
                    state.display()
                );
                PosClock::default()
            }
        }
    }

    /// The last position given out.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// A position that is in a journal: the next one is higher.
    pub(super) fn saw(&mut self, pos: u64) {
        self.last = self.last.max(pos);
    }

    /// Fills in the positions of whole lines that are about to be written: returns how many they are,
    /// and the last position.
    pub(super) fn fill(&mut self, lines: &mut [u8], now_us: u64) -> (u64, u64) {
        let first = now_us.max(self.last + 1);
        self.last = set_positions(lines, first);
        // Before anybody can see them.
        if self.last > self.mark {
            let ahead = self.last + POS_RESERVE_AHEAD_US;
            self.write_mark(ahead.max(now_us + POS_RESERVE_US));
        }
        (self.last + 1 - first, self.last)
    }

    fn write_mark(&mut self, mark: u64) {
        let Some(file) = &self.file else {
            return;
        };
        let mut text = *b"0000000000000000\n";
        fill(&mut text[..MARK_DIGITS], mark);
        match file.write_all_at(&text, 0) {
            Ok(()) => (self.mark, self.is_failing) = (mark, false),
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::error!("cannot write the mark of the journal: {error}");
                }
            }
        }
    }
}

fn open_mark(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mut text = String::new();
    // What is no mark is as good as none.
    let read = Read::by_ref(&mut file).take(64).read_to_string(&mut text);
    let mark = read.ok().and_then(|_| text.trim_end().parse().ok());
    Ok((file, mark.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::JournalKey;
    use crate::feed::line::{Envelope, Line};
    use crate::testing::scratch;
    use std::fs;

    fn lines(count: u64) -> Vec<u8> {
        let mut envelope = Envelope::new(JournalKey::SERVER, "/x", None);
        let mut out = Vec::new();
        for seq in 1..=count {
            envelope.begin(&mut out, seq, "feed.gap", 0);
            out.extend_from_slice(b"{}");
            Envelope::end(&mut out);
        }
        out
    }

    fn positions(clock: &mut PosClock, count: u64, now_us: u64) -> Vec<u64> {
        let mut lines = lines(count);
        let filled = clock.fill(&mut lines, now_us);
        let found = lines.split(|b| *b == b'\n').filter_map(Line::parse);
        let found: Vec<u64> = found.map(|line| line.pos).collect();
        assert_eq!((count, found.last()), (filled.0, Some(&filled.1)));
        found
    }

    const NOW: u64 = 1_795_529_590_941_007;
    const HOUR: u64 = 3_600_000_000;

    #[test]
    fn j5_positions_follow_the_clock_and_never_go_back() {
        let mut clock = PosClock::default();
        assert_eq!(positions(&mut clock, 2, NOW), [NOW, NOW + 1]);
        assert_eq!(positions(&mut clock, 1, NOW), [NOW + 2]);
        assert_eq!(positions(&mut clock, 2, NOW - HOUR), [NOW + 3, NOW + 4]);
        assert_eq!(positions(&mut clock, 1, NOW + HOUR), [NOW + HOUR]);
    }

    #[test]
    fn j5_the_clock_is_set_back_an_hour_between_two_processes() {
        let state = scratch("pos-clock");
        let mut first = PosClock::open(Some(&state));
        assert_eq!(positions(&mut first, 1, NOW), [NOW]);
        // The mark is written ahead, and not again before it is reached.
        let mark = || fs::read_to_string(state.join(MARK_NAME)).expect("readable");
        let before = mark();
        assert_eq!(before, format!("{}\n", NOW + POS_RESERVE_US));
        positions(&mut first, 1, NOW + POS_RESERVE_US - 1);
        assert_eq!(mark(), before);
        let highest = positions(&mut first, 3, NOW + POS_RESERVE_US)[2];
        assert_ne!(mark(), before);
        drop(first);
        let mut second = PosClock::open(Some(&state));
        let next = positions(&mut second, 1, NOW - HOUR)[0];
        assert!(
            highest < next && next <= highest + POS_RESERVE_US + 1,
            "{next}"
        );
        assert_eq!(positions(&mut second, 1, NOW - HOUR), [next + 1]);
    }

    #[test]
    fn j5_a_hundred_crashes_in_a_minute_move_positions_little_ahead_of_the_clock() {
        let state = scratch("pos-clock-crashes");
        let mut highest = 0;
        for crash in 0..100 {
            let mut clock = PosClock::open(Some(&state));
            let now = NOW + crash * 600_000;
            let next = positions(&mut clock, 50, now);
            assert!(next[0] > highest, "{crash}");
            highest = next[49];
            let most = now + POS_RESERVE_US + 100 * POS_RESERVE_AHEAD_US;
            assert!(highest <= most, "{crash}: {} us ahead", highest - now);
        }
    }

    #[test]
    fn a_mark_that_is_none_is_as_good_as_none() {
        let state = scratch("pos-clock-odd");
        for text in ["", "x", "-5", "99999999999999999999999999", "\u{0}\u{0}"] {
            fs::write(state.join(MARK_NAME), text).expect("writable");
            assert_eq!(
                positions(&mut PosClock::open(Some(&state)), 1, NOW),
                [NOW],
                "{text}"
            );
        }
        let mut clock = PosClock::open(Some(&state.join("none")));
        clock.saw(NOW + 5);
        assert_eq!(positions(&mut clock, 1, NOW), [NOW + 6]);
    }
}
