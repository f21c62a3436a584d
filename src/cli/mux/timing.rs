//! The time of each frame, and the spans in which there is a picture.
//!
//! H.264 has no clock of its own, so the stamps in the index decide. They come from the network and can
//! have any value; frames keep their order in any case.

use super::recording::{Frame, VideoCodec, VideoTrack};

/// A camera without frames for longer than this is off, and the picture is black. A shorter gap is
/// jitter or a short loss of the connection, and the last frame stays.
const HOLD_MS: u64 = 5_000;

/// How long the last frame stays when a camera goes off: the time of a frame at the lowest rate, one
/// frame a second.
pub(super) const TAIL_MS: u64 = 1_000;

/// The distance of frames without a usable stamp.
const STEP_MS: u64 = 40;

/// A stamp this far behind the previous one comes from another clock; less is jitter.
const BACK_MS: u64 = 10_000;

/// When the frames of a track are shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// Milliseconds after the start of the output, for each frame of the track; `None` for a frame that
    /// cannot be decoded because its key frame is missing.
    pub times: Vec<Option<u64>>,
    /// Start and end of each span with a picture, in order. `u64::MAX` is the end of the output.
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

/// Places the frames of a track in an output that starts at `origin_ms` and has at most `length_ms_max`.
pub(super) fn timing(track: &VideoTrack, origin_ms: u64, length_ms_max: u64) -> Timing {
    let times = times(&track.frames, origin_ms, length_ms_max);
    let hold_ms = match track.kind {
        // A slide may stay for an hour; the end of sharing is a meeting event.
        "share" => u64::MAX,
        _ => HOLD_MS,
    };
    let stops: Vec<u64> = track
        .stops_ms
        .iter()
        .filter_map(|stop| stop.checked_sub(origin_ms))
        .collect();
    let stop_between = |from: u64, until: u64| {
        let mut inside = stops.iter().filter(|stop| (from..=until).contains(stop));
        inside.next().copied()
    };
    let is_picture = !matches!(track.codec, VideoCodec::H264(_));
    let mut timing = Timing {
        times: vec![None; times.len()],
        spans: Vec::new(),
    };
    // The time of the last frame shown, and the start of its span.
    let mut last: Option<u64> = None;
    let mut from = 0;
    for run in runs(&track.frames, &times, hold_ms) {
        let first_key = track.frames[run.clone()]
            .iter()
            .position(|frame| frame.is_key || is_picture);
        let begin = match first_key {
            Some(key) => run.start + key,
            // A damaged picture is better than none; but a decoder cannot begin here.
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

/// The time of each frame after the start of the output; it only grows.
fn times(frames: &[Frame], origin_ms: u64, length_ms_max: u64) -> Vec<u64> {
    let mut last: Option<u64> = None;
    // What is added to stamps after their clock has jumped.
    let mut shift: i64 = 0;
    let place = |frame: &Frame| {
        let stamp = match i64::try_from(frame.stamp_ms) {
            Ok(stamp) if stamp > 0 => Some(stamp - origin_ms as i64),
            _ => None,
        };
        let next = last.map_or(0, |last| last + STEP_MS);
        let behind_min = last.map_or(0, |last| last.saturating_sub(BACK_MS));
        let time = match stamp {
            None => next,
            Some(stamp) => match u64::try_from(stamp.saturating_add(shift)) {
                Ok(time) if (behind_min..=length_ms_max).contains(&time) => {
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

/// Ranges of frames that can depend on each other: of one user, without a gap.
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

/// The times without a picture in an output of that length; the longest ones if there are more than
/// `count_max`.
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

/// Frames a second of the output: the lowest usual rate that shows every frame.
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
    use super::super::recording::{FAR_MS, Place};
    use super::*;

    const ZERO: u64 = 1_767_000_000_000;

    /// Frames of `(stamp after zero, user, key)`.
    fn track(kind: &'static str, frames: &[(i64, u64, bool)], stops: &[u64]) -> VideoTrack {
        let frame = |&(stamp, user_id, is_key): &(i64, u64, bool)| Frame {
            stamp_ms: ZERO.saturating_add_signed(stamp),
            user_id,
            size: (320, 180),
            is_key,
            bytes: 1,
            place: Place::Piece { file: 0, offset: 0 },
        };
        VideoTrack {
            kind,
            codec: VideoCodec::H264(ParameterSets::default()),
            frames: frames.iter().map(frame).collect(),
            files: Vec::new(),
            stops_ms: stops.iter().map(|stop| ZERO + stop).collect(),
        }
    }

    fn check(track: &VideoTrack, times: &[Option<u64>], spans: &[(u64, u64)]) {
        let timing = timing(track, ZERO, FAR_MS);
        assert_eq!(timing.times, times);
        assert_eq!(timing.spans, spans);
    }

    #[test]
    fn a_camera_that_was_off_returns_with_a_key_frame() {
        check(
            &track(
                "video",
                &[
                    // A decoder cannot begin here.
                    (10, 1, false),
                    (50, 1, true),
                    (90, 1, false),
                    // A loss shorter than the hold.
                    (4000, 1, false),
                    // Off for ten minutes; the next frame needs a key frame that is missing.
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
            &track(
                "video",
                &[(0, 1, true), (40, 2, false), (80, 2, true), (120, 1, false)],
                &[],
            ),
            // The last run has no key frame at all, so it is shown as it is.
            &[Some(0), None, Some(80), Some(120)],
            &[(0, 1120)],
        );
        check(
            &track("video", &[(0, 1, false), (40, 1, false)], &[]),
            &[None, None],
            &[],
        );
    }

    #[test]
    fn a_slide_stays_until_sharing_stops() {
        let frames = [(0, 1, true), (600_000, 1, false), (1_800_000, 1, true)];
        let times = [Some(0), Some(600_000), Some(1_800_000)];
        check(&track("share", &frames, &[]), &times, &[(0, u64::MAX)]);
        check(
            &track("share", &frames, &[900_000, 2_000_000, 3_000_000]),
            &times,
            &[(0, 900_000), (1_800_000, 2_000_000)],
        );
    }

    #[test]
    fn no_stamp_breaks_the_order() {
        let frames = [
            // Before the start, and impossibly late.
            (-5, 1, true),
            (i64::MAX, 1, true),
            // Jitter, twice the same, and a clock that is set back by an hour.
            (40, 1, true),
            (30, 1, true),
            (100, 1, true),
            (-3_600_000, 1, true),
            (-3_599_960, 1, true),
            // Later than the end of the recording.
            (7_200_000, 1, true),
        ];
        let track = track("video", &frames, &[]);
        let timing = timing(&track, ZERO, 3_600_000);
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
