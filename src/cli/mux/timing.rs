//! When each frame is shown, and when there is none to show.
//!
//! H.264 has no clock of its own, so frames are shown by the stamps in the index. Stamps come from
//! outside and may be anything; frames keep their order whatever they say.

use super::recording::{Coding, FAR_MS, Film, Frame};

/// A camera without frames for longer than this is off: black. Shorter ones are jitter, or a
/// connection that was lost for a moment, and the last frame stays.
const HOLD_MS: u64 = 5_000;

/// How long the last frame of a camera stays when it goes off: at one frame a second, a frame's time.
pub(super) const TAIL_MS: u64 = 1_000;

/// Frames without a usable stamp are this far apart.
const STEP_MS: u64 = 40;

/// Stamps that are this much behind come from another clock; less is jitter.
const BACK_MS: u64 = 10_000;

/// Frames by their place in the film, each with its time, and when there is something to see.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// Milliseconds from the output's begin, for each frame of the film; `None` for one that cannot
    /// be decoded, because the key frame before it is missing.
    pub times: Vec<Option<u64>>,
    /// From and until, in order, not touching each other. An end of `u64::MAX` is that of the output.
    pub spans: Vec<(u64, u64)>,
}

impl Timing {
    /// The first frame's time and the last one's.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        let mut shown = self.times.iter().flatten();
        let first = *shown.next()?;
        Some((first, *shown.next_back().unwrap_or(&first)))
    }
}

/// Places the frames of a film in an output that begins at `origin_ms`.
pub(super) fn timing(film: &Film, origin_ms: u64) -> Timing {
    let times = times(&film.frames, origin_ms);
    let hold_ms = match film.kind {
        // A slide may stand for an hour; that sharing stopped is an event of its own.
        "share" => u64::MAX,
        _ => HOLD_MS,
    };
    let stops: Vec<u64> = film
        .stops_ms
        .iter()
        .filter_map(|stop| stop.checked_sub(origin_ms))
        .collect();
    let stop_between = |from: u64, until: u64| {
        let mut inside = stops.iter().filter(|stop| (from..=until).contains(stop));
        inside.next().copied()
    };
    let is_still = !matches!(film.coding, Coding::H264(_));
    let mut timing = Timing {
        times: vec![None; times.len()],
        spans: Vec::new(),
    };
    // The frame shown last, and the span that it is in.
    let mut last: Option<u64> = None;
    let mut from = 0;
    for run in runs(&film.frames, &times, hold_ms) {
        let first_key = film.frames[run.clone()]
            .iter()
            .position(|frame| frame.is_key || is_still);
        let begin = match first_key {
            Some(key) => run.start + key,
            // Better a picture that builds up than none, but nothing can begin with it.
            None if last.is_some() => run.start,
            None => continue,
        };
        let shown = begin..run.end;
        for (&time, place) in times[shown.clone()].iter().zip(&mut timing.times[shown]) {
            *place = Some(time);
            if let Some(before) = last {
                let stop = stop_between(before, time);
                if time - before > hold_ms || stop.is_some() {
                    timing.spans.push((from, stop.unwrap_or(before + TAIL_MS)));
                    from = time;
                }
            } else {
                from = time;
            }
            last = Some(time);
        }
    }
    if let Some(last) = last {
        let until = match hold_ms {
            u64::MAX => stop_between(last, u64::MAX).unwrap_or(u64::MAX),
            _ => last + TAIL_MS,
        };
        timing.spans.push((from, until));
    }
    timing.spans.retain(|(from, until)| from < until);
    timing
}

/// The time of each frame, from the output's begin: never backwards.
fn times(frames: &[Frame], origin_ms: u64) -> Vec<u64> {
    let mut last: Option<u64> = None;
    // What the clock of the stamps is behind the output's, after it has jumped.
    let mut shift: i64 = 0;
    let place = |frame: &Frame| {
        let stamp = match i64::try_from(frame.stamp_ms) {
            Ok(stamp) if stamp > 0 => Some(stamp - origin_ms as i64),
            _ => None,
        };
        let next = last.map_or(0, |last| last + STEP_MS);
        let ahead_max = last.unwrap_or(0) + FAR_MS;
        let behind_min = last.map_or(0, |last| last.saturating_sub(BACK_MS));
        let time = match stamp {
            None => next,
            Some(stamp) => match u64::try_from(stamp.saturating_add(shift)) {
                Ok(time) if (behind_min..=ahead_max).contains(&time) => {
                    time.max(last.map_or(0, |last| last + 1))
                }
                _ => {
                    shift = (next as i64).saturating_sub(stamp);
                    next
                }
            },
        };
        last = Some(time);
        time
    };
    frames.iter().map(place).collect()
}

/// Stretches of frames that may depend on each other: those of one encoder, without a hole.
fn runs<'a>(
    frames: &'a [Frame],
    times: &'a [u64],
    hold_ms: u64,
) -> impl Iterator<Item = std::ops::Range<usize>> + 'a {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= frames.len() {
            return None;
        }
        let ends = |at: &usize| {
            frames[*at].user_id != frames[at - 1].user_id || times[*at] - times[at - 1] > hold_ms
        };
        let end = (start + 1..frames.len()).find(ends).unwrap_or(frames.len());
        let run = start..end;
        start = end;
        Some(run)
    })
}

/// When there is nothing to see in an output of that length: the holes between the spans, of which
/// the longest count if there are more than `count_max`.
pub(super) fn holes(spans: &[(u64, u64)], length_ms: u64, count_max: usize) -> Vec<(u64, u64)> {
    let begins = spans.iter().map(|(from, _)| *from).chain([length_ms]);
    let ends = [0].into_iter().chain(spans.iter().map(|(_, until)| *until));
    let mut holes: Vec<(u64, u64)> = ends
        .zip(begins)
        .filter(|(from, until)| from < until)
        .collect();
    if holes.len() > count_max {
        holes.sort_by_key(|(from, until)| from.abs_diff(*until));
        holes.drain(..holes.len() - count_max);
        holes.sort_unstable();
    }
    holes
}

/// Frames a second of the output: the first usual rate that shows every frame.
pub(super) fn frame_rate(timing: &Timing) -> u32 {
    let shown: Vec<u64> = timing.times.iter().flatten().copied().collect();
    let mut steps: Vec<u64> = shown.windows(2).map(|two| two[1] - two[0]).collect();
    steps.sort_unstable();
    let step = steps.get(steps.len() / 2).copied().unwrap_or(1000).max(1);
    // Within 5 %, for stamps are whole milliseconds.
    [10, 15, 25]
        .into_iter()
        .find(|rate| 105 * u64::from(*rate) * step >= 100_000)
        .unwrap_or(30)
}

#[cfg(test)]
mod tests {
    use super::super::h264::ParameterSets;
    use super::super::recording::Place;
    use super::*;

    const ZERO: u64 = 1_767_000_000_000;

    /// Frames of `(stamp from zero, user, key)`.
    fn film(kind: &'static str, frames: &[(i64, u64, bool)], stops: &[u64]) -> Film {
        let frame = |&(stamp, user_id, is_key): &(i64, u64, bool)| Frame {
            stamp_ms: ZERO.saturating_add_signed(stamp),
            user_id,
            size: (320, 180),
            is_key,
            bytes: 1,
            place: Place::Piece { file: 0, offset: 0 },
        };
        Film {
            kind,
            coding: Coding::H264(ParameterSets::default()),
            frames: frames.iter().map(frame).collect(),
            files: Vec::new(),
            stops_ms: stops.iter().map(|stop| ZERO + stop).collect(),
        }
    }

    fn check(film: &Film, times: &[Option<u64>], spans: &[(u64, u64)]) {
        let timing = timing(film, ZERO);
        assert_eq!(timing.times, times);
        assert_eq!(timing.spans, spans);
    }

    #[test]
    fn a_camera_that_was_off_returns_with_a_key_frame() {
        check(
            &film(
                "video",
                &[
                    // Nothing can begin here.
                    (10, 1, false),
                    (50, 1, true),
                    (90, 1, false),
                    // A connection that was lost for less than the hold.
                    (4000, 1, false),
                    // Ten minutes off; the first frame needs one that is gone.
                    (604_000, 1, false),
                    (604_500, 1, true),
                ],
                &[],
            ),
            &[None, Some(50), Some(90), Some(4000), None, Some(604_500)],
            &[(50, 5000), (604_500, 605_500)],
        );
    }

    #[test]
    fn another_camera_begins_with_its_own_key_frame() {
        check(
            &film(
                "video",
                &[(0, 1, true), (40, 2, false), (80, 2, true), (120, 1, false)],
                &[],
            ),
            // The last is of a run without any: it is shown rather than lost.
            &[Some(0), None, Some(80), Some(120)],
            &[(0, 1120)],
        );
        check(
            &film("video", &[(0, 1, false), (40, 1, false)], &[]),
            &[None, None],
            &[],
        );
    }

    #[test]
    fn a_slide_stays_until_sharing_stops() {
        let frames = [(0, 1, true), (600_000, 1, false), (1_800_000, 1, true)];
        let times = [Some(0), Some(600_000), Some(1_800_000)];
        check(&film("share", &frames, &[]), &times, &[(0, u64::MAX)]);
        check(
            &film("share", &frames, &[900_000, 2_000_000, 3_000_000]),
            &times,
            &[(0, 900_000), (1_800_000, 2_000_000)],
        );
    }

    #[test]
    fn no_stamp_breaks_the_order() {
        let far = FAR_MS as i64;
        let frames = [
            // Before the begin, and in no time at all.
            (-5, 1, true),
            (i64::MAX, 1, true),
            // Jitter, twice the same, and a clock that is set back by an hour.
            (40, 1, true),
            (30, 1, true),
            (100, 1, true),
            (-3_600_000, 1, true),
            (-3_599_960, 1, true),
            (far * 2, 1, true),
        ];
        let film = film("video", &frames, &[]);
        let timing = timing(&film, ZERO);
        let times: Vec<u64> = timing.times.iter().flatten().copied().collect();
        assert_eq!(times.len(), frames.len());
        assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
        assert!(times.last() < Some(&1000), "{times:?}");
    }

    #[test]
    fn holes_are_what_is_between() {
        let check = |spans: &[(u64, u64)], length, expected: &[(u64, u64)]| {
            assert_eq!(holes(spans, length, 2), expected, "{spans:?}");
        };
        check(&[], 10, &[(0, 10)]);
        check(&[(0, u64::MAX)], 10, &[]);
        check(&[(0, 10)], 10, &[]);
        check(&[(2, 4), (8, 9)], 9, &[(0, 2), (4, 8)]);
        check(&[(1, 4), (8, 9), (9, 12)], 30, &[(4, 8), (12, 30)]);
    }

    #[test]
    fn the_rate_shows_every_frame() {
        for (step, expected) in [
            (1000, 10),
            (200, 10),
            (100, 10),
            (66, 15),
            (40, 25),
            (33, 30),
            (5, 30),
        ] {
            let times = (0..100).map(|n| Some(n * step)).collect();
            let timing = Timing {
                times,
                spans: Vec::new(),
            };
            assert_eq!(frame_rate(&timing), expected, "{step}");
        }
    }
}
