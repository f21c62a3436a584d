use std::collections::{HashMap, HashSet};

use super::super::rules::Amount;
use super::*;

const DAY_MS: u64 = 86_400_000;
const NOW: u64 = 1_800_000_000_000;

fn stream(n: u64, ended_ms: Option<u64>, [audio, video, rest]: [u64; 3]) -> Stream {
    Stream {
        place: StreamPlace::new("2026-11-24", "m", &format!("s-{n:04}")).expect("names"),
        started_ms: ended_ms.unwrap_or(NOW).saturating_sub(3_600_000),
        ended_ms,
        audio_bytes: audio,
        video_bytes: video,
        rest_bytes: rest,
    }
}

fn days(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n * 86_400))
}

fn ended(days_ago: u64) -> Option<u64> {
    Some(NOW - days_ago * DAY_MS)
}

/// Stream, part and reason of each removal.
fn removed(plan: &Plan) -> Vec<(usize, Part, Reason)> {
    let removals = plan.removals.iter();
    removals.map(|it| (it.stream, it.part, it.reason)).collect()
}

fn decide(rules: &Rules, space: Space, streams: &[Stream]) -> Plan {
    plan(NOW, rules, space, streams, &mut |_| None)
}

#[test]
fn without_rules_everything_is_kept() {
    let streams = [stream(1, ended(10_000), [1 << 40; 3])];
    let full = Space {
        used: u64::MAX,
        free: 0,
        total: u64::MAX,
        coming: 0,
    };
    assert_eq!(decide(&Rules::default(), full, &streams), Plan::default());
}

#[test]
fn by_age_the_stream_goes_or_the_parts_that_are_named() {
    let rules = Rules {
        keep: days(30),
        keep_audio: days(7),
        keep_video: days(2),
        ..Rules::default()
    };
    let streams = [
        stream(0, ended(1), [10, 20, 5]),
        stream(1, ended(31), [10, 20, 5]),
        stream(2, ended(8), [10, 20, 5]),
        stream(3, ended(3), [10, 20, 5]),
        stream(4, None, [10, 20, 5]),
        stream(5, ended(9), [0, 0, 5]),
        stream(6, ended(30), [10, 20, 5]),
    ];
    let plan = decide(&rules, Space::default(), &streams);
    assert_eq!(
        removed(&plan),
        [
            (1, Part::All, Reason::Keep),
            (6, Part::All, Reason::Keep),
            (2, Part::Audio, Reason::KeepAudio),
            (2, Part::Video, Reason::KeepVideo),
            (3, Part::Video, Reason::KeepVideo),
        ]
    );
    assert_eq!(plan.bytes(), 35 + 35 + 30 + 20);
    assert!(plan.held.is_empty());
}

#[test]
fn by_space_the_oldest_go_until_it_is_enough() {
    let rules = Rules {
        disk_max: Some(Amount::Bytes(320)),
        ..Rules::default()
    };
    // Ten are kept free, so 310 are allowed.
    let streams = [
        stream(0, ended(1), [100, 0, 0]),
        stream(1, ended(3), [0, 0, 100]),
        stream(2, ended(2), [0, 100, 0]),
        stream(3, None, [100, 0, 0]),
    ];
    let at = |used| Space {
        used,
        free: 1000,
        total: 2000,
        coming: 0,
    };
    assert!(removed(&decide(&rules, at(310), &streams)).is_empty());
    // Two more are expected until the next look.
    let coming = Space {
        coming: 2,
        ..at(309)
    };
    let plan = decide(&rules, coming, &streams);
    assert_eq!(removed(&plan), [(1, Part::All, Reason::DiskMax)]);
    assert_eq!(plan.over_max, 0, "nothing is over the limit yet");
    let plan = decide(&rules, at(311), &streams);
    assert_eq!(removed(&plan), [(1, Part::All, Reason::DiskMax)]);
    let plan = decide(&rules, at(450), &streams);
    assert_eq!(plan.removals.len(), 2);
    assert_eq!(plan.removals[1].stream, 2);
    let plan = decide(&rules, at(650), &streams);
    assert_eq!(
        (plan.removals.len(), plan.over_max, plan.under_free),
        (3, 30, 0)
    );
}

#[test]
fn free_space_is_an_amount_or_a_share() {
    let streams = [
        stream(0, ended(2), [100, 0, 0]),
        stream(1, ended(1), [100, 0, 0]),
    ];
    let space = Space {
        used: 200,
        free: 60,
        total: 1000,
        coming: 0,
    };
    for (amount, expected) in [
        (Amount::Bytes(60), 0),
        (Amount::Bytes(61), 1),
        (Amount::Percent(16), 1),
        (Amount::Percent(17), 2),
    ] {
        let rules = Rules {
            disk_free_min: Some(amount),
            ..Rules::default()
        };
        let plan = decide(&rules, space, &streams);
        assert_eq!(plan.removals.len(), expected, "{amount:?}");
        let reasons = plan.removals.iter().map(|it| it.reason);
        assert!(reasons.into_iter().all(|it| it == Reason::DiskFreeMin));
    }
}

#[test]
fn what_is_held_stays_and_the_next_one_is_taken() {
    let rules = Rules {
        keep: days(30),
        disk_max: Some(Amount::Bytes(128)),
        ..Rules::default()
    };
    let streams = [
        stream(0, ended(40), [50, 0, 0]),
        stream(1, ended(20), [50, 0, 0]),
        stream(2, ended(10), [50, 0, 0]),
        stream(3, Some(NOW - 5_000), [50, 0, 0]),
    ];
    let space = Space {
        used: 200,
        free: 9,
        total: 1000,
        coming: 0,
    };
    let mut hold = |stream: &Stream| match stream.place.stream() {
        "s-0000" => Some(Hold::Push),
        "s-0001" => Some(Hold::Ends),
        _ => None,
    };
    let plan = plan(NOW, &rules, space, &streams, &mut hold);
    assert_eq!(removed(&plan), [(2, Part::All, Reason::DiskMax)]);
    let held: Vec<_> = plan
        .held
        .iter()
        .map(|it| (it.stream, it.reason, it.hold))
        .collect();
    assert_eq!(
        held,
        [
            (0, Reason::Keep, Hold::Push),
            (1, Reason::DiskMax, Hold::Ends),
            // It ended five seconds ago.
            (3, Reason::DiskMax, Hold::Open),
        ]
    );
    assert_eq!(plan.over_max, 22);
}

#[test]
fn a_stream_whose_sound_is_old_goes_as_a_whole_where_space_is_short() {
    let rules = Rules {
        keep_audio: days(7),
        disk_max: Some(Amount::Bytes(64)),
        ..Rules::default()
    };
    let streams = [
        stream(0, ended(9), [50, 0, 50]),
        stream(1, ended(8), [50, 0, 50]),
    ];
    let at = |used| Space {
        used,
        free: 0,
        total: 1000,
        coming: 0,
    };
    let plan = decide(&rules, at(200), &streams);
    assert_eq!(
        removed(&plan),
        [
            (0, Part::All, Reason::DiskMax),
            (1, Part::Audio, Reason::KeepAudio)
        ]
    );
    assert_eq!(plan.bytes(), 150);
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_old() {
    let rules = Rules {
        keep: Some(Duration::from_secs(1)),
        ..Rules::default()
    };
    let streams = [stream(0, Some(NOW + DAY_MS), [1, 1, 1])];
    let plan = decide(&rules, Space::default(), &streams);
    assert!(plan.removals.is_empty());
}

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| value(self))
    }
}

fn random_stream(dice: &mut Dice, n: u64) -> Stream {
    let is_open = dice.roll(6) == 0;
    let ended_ms = (!is_open).then(|| NOW - dice.roll(60 * DAY_MS));
    let bytes = [dice.roll(3) * 4096, dice.roll(4) * 4096, 4096];
    stream(n, ended_ms, bytes)
}

fn random_rules(dice: &mut Dice, used: u64) -> Rules {
    let span = |dice: &mut Dice| Duration::from_millis(dice.roll(70 * DAY_MS));
    let amount = |dice: &mut Dice| Amount::Bytes(dice.roll(used + used / 4 + 1));
    Rules {
        keep: dice.maybe(span),
        keep_audio: dice.maybe(span),
        keep_video: dice.maybe(span),
        disk_max: dice.maybe(amount),
        disk_free_min: dice.maybe(amount),
    }
}

/// The streams as they are when a plan was carried out.
fn apply(plan: &Plan, streams: &[Stream]) -> Vec<Stream> {
    let mut left: Vec<Option<Stream>> = streams.iter().cloned().map(Some).collect();
    for removal in &plan.removals {
        let Some(stream) = &mut left[removal.stream] else {
            panic!("removed twice: {removal:?}");
        };
        match removal.part {
            Part::All => left[removal.stream] = None,
            Part::Audio => stream.audio_bytes = 0,
            Part::Video => stream.video_bytes = 0,
        }
    }
    left.into_iter().flatten().collect()
}

#[test]
fn random_recordings() {
    for seed in 1..2000 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let count = dice.roll(40);
        let streams: Vec<Stream> = (0..count).map(|n| random_stream(&mut dice, n)).collect();
        let used: u64 = streams.iter().map(Stream::bytes).sum::<u64>() + 4096;
        let rules = random_rules(&mut dice, used);
        let space = Space {
            used,
            free: dice.roll(used),
            total: used * 3,
            coming: 0,
        };
        let holds: HashMap<StreamPlace, Hold> = streams
            .iter()
            .filter_map(|it| Some((it.place.clone(), dice.maybe(|_| Hold::Push)?)))
            .collect();
        let mut hold = |stream: &Stream| holds.get(&stream.place).copied();
        let plan_at = |now_ms, space, streams: &[Stream]| {
            plan(now_ms, &rules, space, streams, &mut |it| {
                holds.get(&it.place).copied()
            })
        };
        let decided = plan(NOW, &rules, space, &streams, &mut hold);

        let mut parts = HashSet::new();
        for removal in &decided.removals {
            let stream = &streams[removal.stream];
            let ended_ms = stream.ended_ms.expect("no open stream goes");
            assert!(NOW - ended_ms >= REST.as_millis() as u64);
            assert!(!holds.contains_key(&stream.place), "a held stream stays");
            assert_eq!(removal.bytes, stream.bytes_of(removal.part));
            assert!(parts.insert((removal.stream, removal.part)), "once");
        }
        for (at, part) in &parts {
            assert!(*part == Part::All || !parts.contains(&(*at, Part::All)));
        }
        let ages: Vec<_> = decided
            .removals
            .iter()
            .map(|it| streams[it.stream].ended_ms)
            .collect();
        assert!(ages.is_sorted(), "the oldest first");

        // Afterwards the rules are kept, or everything that may go is gone.
        let left = apply(&decided, &streams);
        let freed = used - 4096 - left.iter().map(Stream::bytes).sum::<u64>();
        assert_eq!(freed, decided.bytes());
        let after = Space {
            used: used - freed,
            free: space.free + freed,
            ..space
        };
        let is_short = decided.over_max > 0 || decided.under_free > 0;
        let may_go = |it: &&Stream| {
            let is_old = it.ended_ms.is_some_and(|at| NOW - at >= 10_000);
            is_old && !holds.contains_key(&it.place)
        };
        if is_short {
            assert_eq!(left.iter().filter(may_go).count(), 0, "seed {seed}");
        } else {
            let max = rules.disk_max.map_or(u64::MAX, |it| it.bytes(0));
            let free_min = rules.disk_free_min.map_or(0, |it| it.bytes(0));
            assert!(after.used <= max && after.free >= free_min, "seed {seed}");
        }
        // Once more: nothing is left to do.
        let again = plan_at(NOW, after, &left);
        assert!(again.removals.is_empty(), "seed {seed}: {again:?}");

        // No stream goes for space while an older one could go instead.
        let for_space = decided
            .removals
            .iter()
            .filter(|it| matches!(it.reason, Reason::DiskMax | Reason::DiskFreeMin));
        if let Some(newest) = for_space.map(|it| streams[it.stream].ended_ms).max() {
            let older = left.iter().filter(may_go).any(|it| it.ended_ms < newest);
            assert!(!older, "seed {seed}");
        }
        // Later, no stream that is removed now by its age is kept.
        let later = plan_at(NOW + DAY_MS, space, &streams);
        for removal in &decided.removals {
            if removal.reason == Reason::Keep {
                assert!(
                    later
                        .removals
                        .iter()
                        .any(|it| { it.stream == removal.stream && it.part == Part::All })
                );
            }
        }
    }
}
