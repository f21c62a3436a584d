//! Rounds over real folders.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::holds::Holds;
use super::plan::{Hold, Stream};
use super::*;
use crate::delivery::ends::Ends;
use crate::net::proxy::ProxyEnv;
use crate::recorder::removal::{Alone, Part, Reason, State, StreamPlace, Tombstone, tombstones};
use crate::testing::{PATIENCE, scratch, wait_until};

const DAY_MS: u64 = 86_400_000;
/// 2026-11-24, noon.
const NOON: u64 = 1_795_521_600_000;

/// What is held, by the name of the stream's folder.
#[derive(Default)]
struct Fake(HashMap<&'static str, Hold>);

impl Holds for Fake {
    fn begin(&mut self) {}

    fn hold(&mut self, _: &Path, stream: &Stream) -> Option<Hold> {
        self.0.get(stream.place.stream()).copied()
    }
}

fn keeper(root: &Path, held: &[(&'static str, Hold)]) -> Keeper {
    Keeper::new(root, Box::new(Fake(held.iter().copied().collect())))
}

/// A stream that ended then, with text and 64 KiB of sound.
fn put(root: &Path, below: &str, ended_ms: Option<u64>) {
    let folder = root.join(below);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("transcript.jsonl"), "{}\n").expect("a file");
    fs::write(folder.join("audio-1-Ada.wav"), vec![1; 64 << 10]).expect("a file");
    let mut meta = serde_json::json!({"product": "meeting", "meeting_uuid": "a/B+c==",
        "stream_id": below.rsplit('/').next(), "meeting_id": "84844962250", "topic": "Weekly",
        "started_ms": ended_ms.unwrap_or(NOON) - 60_000, "state": "receiving"});
    if let Some(ended_ms) = ended_ms {
        meta["state"] = "ended".into();
        meta["ended_ms"] = ended_ms.into();
    }
    fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
}

fn round(keeper: &mut Keeper, rules: &Rules, now_ms: u64) -> (Vec<Tombstone>, Survey) {
    let mut removed = Vec::new();
    let mut report = |it: &Tombstone| removed.push(it.clone());
    let done = keeper.round(rules, now_ms, &Alone, &|| false, &mut report);
    (removed, done.expect("a disk"))
}

fn names(removed: &[Tombstone]) -> Vec<(&str, Part, Reason)> {
    let removed = removed.iter();
    removed
        .map(|it| (it.place.stream(), it.part, it.reason))
        .collect()
}

#[test]
fn old_streams_go_and_those_that_run_or_are_held_stay() {
    let root = scratch("keeping-age");
    put(&root, "2026-10-01/m-1/s-old", Some(NOON - 50 * DAY_MS));
    put(&root, "2026-10-01/m-1/s-held", Some(NOON - 50 * DAY_MS));
    put(&root, "2026-10-01/m-2/s-open", None);
    put(&root, "2026-11-20/m-3/s-sound", Some(NOON - 4 * DAY_MS));
    put(&root, "2026-11-24/m-4/s-new", Some(NOON - 60_000));
    fs::create_dir_all(root.join("2026-10-01/m-9/foreign")).expect("a folder");
    fs::write(root.join("2026-10-01/m-9/foreign/x"), "x").expect("a file");
    let rules = Rules {
        keep: Some(Duration::from_secs(30 * 86_400)),
        keep_audio: Some(Duration::from_secs(86_400)),
        ..Rules::default()
    };
    let mut keeper = keeper(&root, &[("s-held", Hold::Push)]);
    let before = keeper.survey(&rules, NOON, &|| false).expect("readable");
    assert_eq!(before.plan.removals.len(), 2);
    assert!(root.join("2026-10-01/m-1/s-old").exists(), "only looked at");
    let (removed, survey) = round(&mut keeper, &rules, NOON);
    assert_eq!(
        names(&removed),
        [
            ("s-old", Part::All, Reason::Keep),
            ("s-sound", Part::Audio, Reason::KeepAudio)
        ]
    );
    assert_eq!(removed[0].meeting_id.as_deref(), Some("84844962250"));
    assert!(removed[0].bytes >= 64 << 10 && removed[0].files == 3);
    assert_eq!(survey.plan.held.len(), 1);
    for (folder, stays) in [
        ("2026-10-01/m-1/s-old", false),
        ("2026-10-01/m-1/s-held/audio-1-Ada.wav", true),
        ("2026-10-01/m-2/s-open/meta.json", true),
        ("2026-10-01/m-9/foreign/x", true),
        ("2026-11-20/m-3/s-sound/audio-1-Ada.wav", false),
        ("2026-11-20/m-3/s-sound/transcript.jsonl", true),
        ("2026-11-24/m-4/s-new/audio-1-Ada.wav", true),
    ] {
        assert_eq!(root.join(folder).exists(), stays, "{folder}");
    }
    // The next round finds nothing, whether it remembers or not.
    assert!(round(&mut keeper, &rules, NOON + 1000).0.is_empty());
    let mut fresh = super::tests::keeper(&root, &[("s-held", Hold::Push)]);
    assert!(round(&mut fresh, &rules, NOON + 1000).0.is_empty());
    // A stream that is over since the last look.
    put(&root, "2026-10-01/m-2/s-open", Some(NOON - 40 * DAY_MS));
    let (removed, _) = round(&mut keeper, &rules, NOON + 2000);
    assert_eq!(names(&removed), [("s-open", Part::All, Reason::Keep)]);
}

#[test]
fn the_quota_counts_everything_and_the_oldest_go() {
    let root = scratch("keeping-quota");
    for n in 1..=6 {
        let place = format!("2026-11-1{n}/m/s-{n}");
        put(&root, &place, Some(NOON - (10 - n) * DAY_MS));
    }
    put(&root, "2026-11-24/m/s-open", None);
    fs::write(root.join("2026-11-24/notes"), vec![0; 32 << 10]).expect("a file");
    let mut keeper = keeper(&root, &[("s-2", Hold::Ends)]);
    let all = keeper
        .survey(&Rules::default(), NOON, &|| false)
        .expect("readable");
    assert!(all.space.used >= 7 * (64 << 10) + (32 << 10), "{all:?}");
    let rules = Rules {
        disk_max: Some(Amount::Bytes(300 << 10)),
        ..Rules::default()
    };
    let (removed, survey) = round(&mut keeper, &rules, NOON);
    let removed: Vec<&str> = removed.iter().map(|it| it.place.stream()).collect();
    assert_eq!(removed[..2], ["s-1", "s-3"], "s-2 waits for its upload");
    assert!(survey.space.used <= 300 << 10, "{survey:?}");
    assert!(root.join("2026-11-24/m/s-open/meta.json").exists());
    // A disk that is too small for what must stay: that is told.
    let tiny = Rules {
        disk_max: Some(Amount::Bytes(64 << 10)),
        ..Rules::default()
    };
    let (_, survey) = round(&mut keeper, &tiny, NOON);
    assert!(survey.plan.over_max > 0);
    let counters = Counters::default();
    counters.round(&survey);
    let trouble = counters.trouble().expect("it is too much");
    assert!(
        trouble
            .contains("more than RTMS_DISK_MAX, and these are kept: 1 that wait for their upload"),
        "{trouble}"
    );
    assert!(counters.short() > 0);
}

#[test]
fn what_a_person_has_deleted_need_not_be_deleted_again() {
    let root = scratch("keeping-stale");
    for n in 1..=6 {
        let place = format!("2026-11-1{n}/m/s-{n}");
        put(&root, &place, Some(NOON - (10 - n) * DAY_MS));
    }
    let rules = Rules {
        disk_max: Some(Amount::Bytes(400 << 10)),
        ..Rules::default()
    };
    let mut keeper = keeper(&root, &[]);
    let before = keeper.survey(&Rules::default(), NOON, &|| false);
    assert!(before.expect("readable").space.used > 400 << 10);
    for n in 5..=6 {
        fs::remove_dir_all(root.join(format!("2026-11-1{n}"))).expect("a folder");
        fs::create_dir(root.join(format!("2026-11-1{n}"))).expect("a folder");
    }
    let (removed, survey) = round(&mut keeper, &rules, NOON + 60_000);
    assert!(removed.is_empty(), "{removed:?}");
    assert_eq!(survey.streams.len(), 4);
}

#[test]
fn what_an_earlier_process_began_is_completed() {
    let root = scratch("keeping-completed");
    put(&root, "2026-10-01/m/s-1", Some(NOON - 50 * DAY_MS));
    put(&root, "2026-10-01/m/s-2", Some(NOON - 50 * DAY_MS));
    let rules = Rules {
        keep: Some(Duration::from_secs(30 * 86_400)),
        ..Rules::default()
    };
    // It is stopped in the middle of the first folder.
    let stop = || {
        let hidden = root.join("2026-10-01/m/.removing-s-1");
        hidden.read_dir().is_ok_and(|inside| inside.count() < 3)
    };
    let stopped = keeper(&root, &[]).round(&rules, NOON, &Alone, &stop, &mut |_| ());
    assert!(stopped.is_err() && root.join("2026-10-01/m/.removing-s-1").exists());
    let known = tombstones::of_day(&root, "2026-10-01").expect("readable");
    assert_eq!(known[0].state, State::Removing);
    // Another process, which has no rules any more, completes it.
    let (removed, _) = round(&mut keeper(&root, &[]), &Rules::default(), NOON + 1000);
    assert!(removed.is_empty());
    assert!(!root.join("2026-10-01/m/.removing-s-1").exists());
    let known = tombstones::of_day(&root, "2026-10-01").expect("readable");
    assert_eq!((known.len(), known[0].state), (1, State::Removed));
    let place = StreamPlace::parse("2026-10-01/m/s-1").expect("a place");
    assert_eq!((&known[0].place, known[0].removed_ms), (&place, NOON));
    let (removed, _) = round(&mut keeper(&root, &[]), &rules, NOON + 2000);
    assert_eq!(names(&removed), [("s-2", Part::All, Reason::Keep)]);
}

#[test]
fn the_thread_looks_at_former_folders_and_tells_what_it_did() {
    let (root, former) = (scratch("keeping-now"), scratch("keeping-former"));
    put(&root, "2026-10-01/m/s-1", Some(NOON - 50 * DAY_MS));
    put(&former, "2026-10-01/m/s-2", Some(NOON - 50 * DAY_MS));
    let order = |keep_s| Order {
        rules: Rules {
            keep: Some(Duration::from_secs(keep_s)),
            ..Rules::default()
        },
        root: root.to_path_buf(),
        former: vec![former.to_path_buf(), root.join("missing")],
    };
    let process = Process {
        owner: Arc::new(Alone),
        board: None,
        ends: Ends::new(None, ProxyEnv::default(), None),
    };
    let keeping = Keeping::start(order(3600), process).expect("a thread");
    let control = keeping.control();
    let run = control.ask();
    wait_until("a round is over", || control.done() >= run);
    assert!(!root.join("2026-10-01/m").exists() && !former.join("2026-10-01/m").exists());
    assert!(!root.join("missing").exists());
    let removals: u64 = keeping.counters().removals().map(|(_, count)| count).sum();
    assert_eq!(removals, 2);
    assert_eq!(keeping.counters().trouble(), None);
    // Other rules count at once.
    put(&root, "2026-10-02/m/s-3", Some(NOON - 50 * DAY_MS));
    keeping.order(order(1000 * 86_400));
    let run = control.ask();
    wait_until("a round is over", || control.done() >= run);
    assert!(root.join("2026-10-02/m/s-3").exists());
    assert!(keeping.stop(Instant::now() + PATIENCE));
}
