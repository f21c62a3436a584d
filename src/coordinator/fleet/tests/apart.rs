//! The flows: (e) a node that is cut off or stopped, (f) the store is down, or has lost something.

use super::super::*;
use super::simulation::process::Told;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{both, cut, deafen, fleet, process, receiver_of, with_meetings, with_stream};

/// Who receives the stream of this number, and has the record: nothing was displaced more than once, and where Zoom
/// refuses a second connection nothing at all.
fn settled(world: &mut World, duplicates: Duplicates, n: usize) -> String {
    let stream = &world.zoom.streams[&format!("s{n}")];
    let (_, receiver) = stream.conn.clone().expect("received");
    let most = match duplicates {
        Duplicates::Displace => 2,
        Duplicates::Refuse => 1,
    };
    let accepted = stream.accepted;
    assert!(accepted <= most, "s{n} was connected {accepted} times");
    let record = world.record(&format!("m{n}")).expect("it has a record");
    assert_eq!(record.owner.node, receiver, "m{n}");
    receiver
}

#[test]
fn flow_e_a_node_that_is_cut_off_drops_nothing() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b"], 10);
        cut(&mut world, "b", true);
        world.run(secs(30));
        assert_eq!(world.state_of("b"), NodeState::Unsure);
        assert!(world.zoom.live().all(|(_, s)| s.conn.is_some()));
        cut(&mut world, "b", false);
        world.run(secs(10));
        assert_eq!(world.state_of("b"), NodeState::Sure);
        for n in 0..10 {
            settled(&mut world, duplicates, n);
        }
    });
}

#[test]
fn flow_f_a_store_that_is_down_costs_no_stream_and_no_start() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b"], 4);
        world.is_store_down = true;
        world.run(secs(20));
        for n in 4..8 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(5));
        for n in 0..8 {
            assert_eq!(world.zoom.streams[&format!("s{n}")].accepted, 1, "s{n}");
        }
        world.is_store_down = false;
        world.run(secs(10));
        for n in 0..8 {
            assert_eq!(world.zoom.streams[&format!("s{n}")].accepted, 1, "s{n}");
            let receiver = world.receiver(&format!("s{n}")).map(str::to_owned);
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(Some(record.owner.node), receiver);
        }
        assert!(
            world
                .nodes
                .values()
                .all(|node| node.disk.intents.is_empty())
        );
    });
}

#[test]
fn flow_f_a_store_that_comes_back_empty_is_filled_again() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b"], 4);
        world.store.clear();
        world.reread();
        // At once: a start must not be handed out that a node runs.
        for node in ["a", "b"] {
            let told = Told {
                kind: Kind::StreamStarts,
                meeting: "m1".to_owned(),
                stream: "s1".to_owned(),
                stamp: world.zoom.streams["s1"].stamp,
                is_named: true,
            };
            world.webhook(node, told);
        }
        world.run(secs(8));
        for n in 0..4 {
            assert_eq!(world.zoom.streams[&format!("s{n}")].accepted, 1, "s{n}");
            let receiver = world.receiver(&format!("s{n}")).map(str::to_owned);
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(Some(record.owner.node), receiver);
            assert!(!record.entry.is_empty());
        }
        for node in ["a", "b"] {
            let process = process(&world, node);
            assert_eq!(process.rolled_back, 1, "its grants are put again");
        }
    });
}

#[test]
fn flow_e_a_node_that_was_stopped_yields_what_was_taken() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        for n in 0..6 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(3));
        world.pause("a");
        world.run(secs(12));
        world.resume("a");
        world.run(secs(8));
        for n in 0..6 {
            let receiver = settled(&mut world, duplicates, n);
            let other = if receiver == "a" { "b" } else { "a" };
            assert!(
                world.running(other, &format!("s{n}")).is_none(),
                "{other} still has s{n}"
            );
        }
    });
}

#[test]
fn what_the_store_has_lost_between_two_beats_is_written_again() {
    let mut world = fleet(Duplicates::Displace, &["a"]);
    // Just behind a beat.
    world.run(ms(100));
    let before = world.store.clone();
    world.begin("m1", "s1", Some("a"));
    world.until(secs(1), |world| world.receiver("s1").is_some());
    world.run(ms(20));
    world.store = before;
    world.is_store_down = true;
    world.run(ms(1000));
    world.is_store_down = false;
    world.run(secs(2));
    let record = world.record("m1").expect("it has a record");
    assert!(record.receives() && !record.entry.is_empty());
}

#[test]
fn a_meeting_that_has_ended_is_not_alive_again_because_the_store_has_lost_its_end() {
    let mut world = fleet(Duplicates::Displace, &["a", "b"]);
    world.begin("m1", "s1", Some("a"));
    receiver_of(&mut world, "s1");
    world.run(secs(2));
    let before = world.store.clone();
    world.end("m1");
    world.run(secs(3));
    assert_eq!(world.record("m1").map(|it| it.phase), Some(Phase::Ended));
    world.store = before;
    world.run(secs(3));
    assert_eq!(world.record("m1").map(|it| it.phase), Some(Phase::Ended));
}

#[test]
fn the_window_of_what_is_taken_over_does_not_follow_a_jump_of_the_stores_clock() {
    let (mut world, owner, other) = with_stream(Duplicates::Refuse, &["a", "b"]);
    world.lose_machine(&owner);
    world.run(secs(1));
    world.store_ahead += 3_600_000;
    // Zoom misses the old connection after 40 s at most.
    world.until(secs(45), |world| {
        world.receiver("s1") == Some(other.as_str())
    });
}

#[test]
fn flow_f_a_start_that_waits_in_a_queue_which_the_store_loses_is_sent_again() {
    both(|duplicates| {
        let (mut world, owner, other) = with_stream(duplicates, &["a", "b"]);
        deafen(&mut world, &owner);
        world.begin("m1", "s2", Some(&other));
        // It was sent three times.
        world.run(ms(7500));
        world.store.clear();
        world.reread();
        world.run(secs(8));
        assert_eq!(world.receiver("s2"), Some(owner.as_str()));
    });
}

#[test]
fn flow_e_who_is_taken_for_dead_because_the_stores_clock_jumps_learns_it() {
    // Its restart comes between two looks of the one that has Zoom's hint for the former process.
    for offset in 0..10 {
        let (mut world, owner, other) = with_stream(Duplicates::Refuse, &["a", "b"]);
        world.run(ms(offset * 100));
        world.kill(&owner);
        world.run(ms(30));
        world.tell(Kind::StreamInterrupted, "m1", "s1", Some(&other));
        world.run(ms(2870));
        world.start(&owner);
        world.run(ms(70));
        world.store_ahead += 3_600_000;
        world.run(secs(10));
        let receiver = world.receiver("s1").map(str::to_owned);
        let record = world.record("m1").expect("it has a record");
        assert_eq!(Some(record.owner.node), receiver, "offset {offset}");
    }
}

#[test]
fn rule_5_what_the_store_lost_while_a_node_heard_no_reply_is_written_whole() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        let before = world.store.clone();
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        world.run(secs(3));
        let hears = |world: &mut World, does: bool| {
            let node = world.nodes.get_mut(&owner).expect("a node");
            node.is_cut_from = !does;
        };
        // Its beats arrive, so its row in the store is as new as it knows.
        hears(&mut world, false);
        world.store = before.clone();
        world.run(secs(3));
        hears(&mut world, true);
        world.run(secs(3));
        let record = world.record("m1").expect("it has a record");
        assert_eq!(record.owner.node, owner);
        assert!(
            !record.entry.is_empty(),
            "who takes it over needs the entry"
        );
    });
}

#[test]
fn flow_e_who_was_stopped_for_less_than_its_permit_learns_that_its_meeting_was_taken() {
    let (mut world, owner, other) = with_stream(Duplicates::Refuse, &["a", "b"]);
    world.run(secs(3));
    world.pause(&owner);
    world.tell(Kind::StreamInterrupted, "m1", "s1", Some(&other));
    let is_taken = |world: &mut World| world.record("m1").is_some_and(|it| it.owner.node == other);
    (0..50).any(|_| {
        world.run(ms(100));
        is_taken(&mut world)
    });
    assert!(is_taken(&mut world));
    world.resume(&owner);
    world.run(secs(6));
    // Zoom's hint was for the connection that it had: one of the two has another.
    let receiver = world.receiver("s1").expect("it is received").to_owned();
    let idle = if receiver == owner { &other } else { &owner };
    assert!(world.running(idle, "s1").is_none(), "{idle} tries");
    let record = world.record("m1").expect("it has a record");
    assert_eq!(record.owner.node, receiver);
}

#[test]
fn rule_2_who_receives_says_so_again_when_the_answer_was_lost() {
    let (mut world, owner, other) = with_stream(Duplicates::Refuse, &["a", "b"]);
    // The other node is cut off when Zoom moves the stream, and the owner stands still.
    cut(&mut world, &other, true);
    world.run(secs(6));
    world.pause(&owner);
    world.move_stream("s1");
    world.until(secs(3), |world| {
        world.receiver("s1") == Some(other.as_str())
    });
    world.run(secs(3));
    cut(&mut world, &other, false);
    world.until(secs(2), |world| {
        process(world, &other).newer.contains_key("m1")
    });
    // The record names the owner as receiving. The second question, between two beats, brings no answer.
    world.run(ms(2100));
    world.lost_replies = 1;
    world.run(ms(700));
    world.lost_replies = 0;
    world.resume(&owner);
    world.run(secs(12));
    assert!(world.running(&owner, "s1").is_none(), "it tries as well");
    let record = world.record("m1").expect("it has a record");
    assert_eq!(record.owner.node, other);
}
