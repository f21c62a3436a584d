//! What is counted for metrics is what has happened.

use std::time::{Duration, Instant};

use super::super::*;
use super::simulation::process::{Told, read};
use super::simulation::world::{World, secs};
use super::{both, fleet, process};

/// How long it took, at the nodes that live.
fn times(world: &World, took: Took) -> Vec<Duration> {
    let processes = world.nodes.values().filter_map(|it| it.process.as_ref());
    let all = processes.flat_map(|it| &it.took);
    all.filter(|it| it.0 == took).map(|it| it.1).collect()
}

fn begin(world: &mut World, count: usize) {
    for n in 0..count {
        world.begin(&format!("m{n}"), &format!("s{n}"), None);
    }
    world.run(secs(3));
}

fn received_by(world: &World, node: &str) -> usize {
    let is_its = |conn: &(_, String)| conn.1 == node;
    let live = world.zoom.live();
    live.filter(|(_, stream)| stream.conn.as_ref().is_some_and(is_its))
        .count()
}

#[test]
fn a_take_over_is_measured_from_the_last_beat_of_the_dead_node() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        begin(&mut world, 20);
        let count = received_by(&world, "b");
        assert!(count > 0);
        world.kill("b");
        world.run(secs(12));
        let times = times(&world, Took::TakeOver);
        assert_eq!(times.len(), count, "{times:?}");
        let is_right = |time: &Duration| *time >= secs(5) && *time < secs(10);
        assert!(times.iter().all(is_right), "{times:?}");
        let claims = ["a", "c"].map(|node| {
            let counts = process(&world, node).machine.counts();
            counts
                .claims
                .get(&("dead", "claimed"))
                .copied()
                .unwrap_or(0)
        });
        assert_eq!(claims.iter().sum::<u64>(), count as u64);
    });
}

#[test]
fn a_hand_over_is_measured_at_the_heirs() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        begin(&mut world, 20);
        let count = received_by(&world, "a");
        assert!(count > 0);
        world.drain("a");
        world.until(secs(5), |world| received_by(world, "a") == 0);
        world.run(secs(2));
        let handed = process(&world, "a").machine.counts().handed.clone();
        assert_eq!(handed.get("given"), Some(&(count as u64)), "{handed:?}");
        let times = times(&world, Took::HandOver);
        assert_eq!(times.len(), count, "{times:?}");
        assert!(times.iter().all(|time| *time < secs(2)), "{times:?}");
        assert_eq!(process(&world, "a").machine.counts().yielded, 0);
    });
}

#[test]
fn what_is_passed_on_is_counted_and_measured() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        world.run(secs(3));
        let owner = world.receiver("s1").expect("it is received").to_owned();
        let other = if owner == "a" { "b" } else { "a" };
        let before = process(&world, other).took.len();
        world.tell(Kind::Ends, "m1", "s1", Some(other));
        world.run(secs(3));
        let process = process(&world, other);
        assert_eq!(process.machine.counts().routed.get("queued"), Some(&1));
        let [(Took::Route, time)] = process.took[before..] else {
            panic!("{:?}", process.took);
        };
        assert!(time < secs(1), "{time:?}");
    });
}

#[test]
fn what_a_node_that_is_away_must_delete_is_counted_until_it_comes_back() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        let to_delete = |world: &World| process(world, "a").machine.to_delete();
        world.begin("m1", "s1", Some("a"));
        world.run(secs(2));
        world.kill("c");
        world.withdraw("a", "s1");
        world.run(secs(8));
        assert_eq!(to_delete(&world), 1, "it is known to be dead");
        world.withdraw("a", "s2");
        world.run(secs(1));
        assert_eq!(to_delete(&world), 2, "told while it was away");
        world.start("c");
        world.run(secs(8));
        assert_eq!(to_delete(&world), 0);
    });
}

/// A store that takes beats and answers nothing else.
#[test]
fn a_start_that_reaches_no_node_for_a_minute_is_counted_once() {
    let begun = Instant::now();
    let me = Member {
        node: "a".to_owned(),
        boot: Boot(1),
    };
    let config = Config {
        me,
        previous: None,
        layout: 1,
        version: "1".to_owned(),
        must: "m".to_owned(),
        capacity: 100,
        admin: String::new(),
        since_ms: 0,
        events: None,
        read,
    };
    let mut machine = Machine::new(begun, config, Vec::new());
    let starts = Told {
        kind: Kind::StreamStarts,
        meeting: "m".to_owned(),
        stream: "s".to_owned(),
        stamp: 1,
        is_named: true,
    };
    let mut logs = Vec::new();
    let mut before = None;
    for ms in (0..70_000).step_by(50) {
        let now = begun + Duration::from_millis(ms);
        if ms == 8_000 {
            let (about, body) = (starts.about(), starts.body());
            let event = Incoming {
                number: 1,
                about,
                body,
            };
            machine.handle_event(now, event);
        }
        machine.handle_timeout(now);
        while let Some(output) = machine.poll_output() {
            let Output::Call(id, call) = output else {
                logs.extend(match output {
                    Output::Log(_, text) => Some(text),
                    _ => None,
                });
                continue;
            };
            let reply = match call {
                Call::Beat { row, .. } => Reply::Beat {
                    sent: now,
                    store_ms: ms,
                    era: 1,
                    before: before.replace(row.clone()),
                    rows: vec![SeenRow {
                        node: "a".to_owned(),
                        row,
                        age: Duration::ZERO,
                    }],
                },
                _ => Reply::Failed,
            };
            machine.handle_reply(now, id, reply);
        }
        let expected = u64::from(ms >= 68_200);
        if !(68_000..68_200).contains(&ms) {
            assert_eq!(machine.counts().not_joined, expected, "after {ms} ms");
        }
    }
    let told = logs
        .iter()
        .filter(|text| text.contains("announced a minute ago"));
    assert_eq!(told.count(), 1, "{logs:?}");
    assert!(
        machine
            .counts()
            .routed
            .get("failed")
            .is_some_and(|count| *count > 10)
    );
}
