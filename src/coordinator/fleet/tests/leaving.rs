//! The flows: (i) draining, (n) one name twice, and what all nodes must hear.

use super::super::*;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{both, cut, deafen, fleet, process, receiver_of, with_meetings, with_stream};
use crate::daemon::fleet_store::Codec;

#[test]
fn flow_i_a_drained_node_gives_everything_away() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b", "c"], 30);
        let mine: Vec<String> = (world.zoom.live())
            .filter(|(_, s)| s.conn.as_ref().is_some_and(|(_, node)| node == "a"))
            .map(|(id, _)| id.clone())
            .collect();
        assert!(!mine.is_empty());
        world.drain("a");
        world.run(secs(8));
        assert!(world.nodes["a"].process.is_none(), "it has not left");
        for stream in &mine {
            let known = &world.zoom.streams[stream];
            assert!(known.conn.as_ref().is_some_and(|(_, node)| node != "a"));
            assert_eq!(known.accepted, 2);
        }
        assert!(world.nodes["a"].disk.intents.is_empty());
        world.run(secs(2));
        let rows = world.nodes["b"]
            .process
            .as_ref()
            .map(|p| p.machine.view().rows().len());
        assert_eq!(rows, Some(2));
    });
}

#[test]
fn flow_i_webhooks_that_keep_coming_keep_no_node() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b", "c"], 10);
        world.drain("a");
        let mut late = 0;
        while world.nodes["a"].process.is_some() {
            assert!(late < 70, "it has not left after 14 s");
            world.begin(&format!("late{late}"), &format!("l{late}"), Some("a"));
            world.run(ms(200));
            late += 1;
        }
        world.run(secs(5));
        let missed = (0..late).find(|n| world.receiver(&format!("l{n}")).is_none());
        assert_eq!(missed, None);
    });
}

#[test]
fn flow_i_an_heir_that_does_not_take_is_replaced() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..10 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(3));
        deafen(&mut world, "b");
        world.drain("a");
        world.run(secs(12));
        for n in 0..10 {
            let receiver = world.receiver(&format!("s{n}"));
            assert!(
                receiver.is_some_and(|node| node != "a"),
                "s{n}: {receiver:?}"
            );
        }
    });
}

#[test]
fn flow_i_an_heir_that_is_started_again_meanwhile_takes_what_it_is_given() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        for n in 0..3 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(3));
        // The heir is chosen by the row of a process that is gone; the next one has its own when it is to be given.
        world.kill("b");
        world.drain("a");
        world.run(ms(100));
        world.start("b");
        world.until(secs(8), |world| world.nodes["a"].process.is_none());
        world.run(secs(3));
        for n in 0..3 {
            assert_eq!(world.receiver(&format!("s{n}")), Some("b"));
        }
    });
}

#[test]
fn flow_n_a_newcomer_with_a_living_nodes_name_exits() {
    let mut world = fleet(Duplicates::Displace, &["a", "b"]);
    world.begin("m1", "s1", Some("a"));
    world.run(secs(3));
    world.start_twin("a", "a2");
    world.run(secs(16));
    let exits = &world.nodes["a2"].exits;
    assert!(
        exits.len() == 1 && exits[0].contains("another RTMS_NODE"),
        "{exits:?}"
    );
    assert_eq!(world.state_of("a"), NodeState::Sure);
}

/// A process that was stopped, wakes and finds its name taken by a twin; its name, and the other node.
fn doubled() -> (World, String, String) {
    let (mut world, owner, other) = with_stream(Duplicates::Refuse, &["a", "b"]);
    world.pause(&owner);
    world.start_twin(&owner, "twin");
    world.run(secs(9));
    world.resume(&owner);
    world.run(secs(3));
    assert_eq!(world.state_of(&owner), NodeState::Doubled);
    (world, owner, other)
}

#[test]
fn flow_n_who_wakes_and_finds_its_name_taken_is_doubled() {
    let (world, _, _) = doubled();
    assert_eq!(world.state_of("twin"), NodeState::Sure);
    assert_eq!(world.zoom.streams["s1"].accepted, 1, "its stream runs on");
}

#[test]
fn withdrawn_consent_reaches_every_node() {
    let mut world = fleet(Duplicates::Displace, &["a", "b", "c"]);
    world.begin("m1", "s1", Some("a"));
    world.run(secs(2));
    world.withdraw("a", "s1");
    world.run(secs(2));
    for node in ["b", "c"] {
        let process = process(&world, node);
        assert!(process.discarded.contains("s1"), "{node}");
    }
    world.tell(Kind::Everyone, "", "", Some("b"));
    world.run(secs(2));
    for node in ["a", "b", "c"] {
        assert_eq!(process(&world, node).everyone, 1, "{node}");
    }
}

#[test]
fn what_a_killed_node_was_handing_over_is_resumed_though_the_store_has_lost_it() {
    both(|duplicates| {
        let (mut world, owner, heir) = with_stream(duplicates, &["a", "b"]);
        deafen(&mut world, &heir);
        world.drain(&owner);
        world.until(secs(5), |world| world.receiver("s1").is_none());
        world.run(secs(1));
        world.kill(&owner);
        world.store.clear();
        world.start(&owner);
        world.until(secs(10), |world| world.receiver("s1").is_some());
    });
}

#[test]
fn flow_i_a_record_taken_back_without_an_answer_is_given_away() {
    // The taker is refused, so that the record is free when its former owner goes on.
    let (mut world, owner, heir) = with_stream(Duplicates::Refuse, &["a", "b"]);
    world.pause(&owner);
    // Just before the taker asks again.
    world.run(ms(15_400));
    assert!(world.running(&heir, "s1").is_some(), "it has not taken it");
    world.resume(&owner);
    // Its beat is answered, its publish is not.
    world.run(ms(1));
    world.nodes.get_mut(&owner).expect("there").is_cut_from = true;
    world.drain(&owner);
    world.run(ms(600));
    let record = world.record("m1").expect("it has one");
    assert_eq!((record.owner.node, record.epoch), (owner.clone(), 3));
    assert!(world.running(&heir, "s1").is_none(), "it still tries");
    assert!(world.receiver("s1").is_none(), "it is not released");
    world.nodes.get_mut(&owner).expect("there").is_cut_from = false;
    world.until(secs(5), |world| world.receiver("s1") == Some(heir.as_str()));
}

#[test]
fn flow_n_a_doubled_process_leaves_the_queue_to_the_one_that_has_its_name() {
    let (mut world, owner, other) = doubled();
    // The twin has the meeting: an end that arrives elsewhere reaches it, once.
    world.tell(Kind::MeetingBegins, "m1", "", Some(&other));
    world.run(secs(1));
    let process = process(&world, &owner);
    assert!(!process.machine.has_room(), "it would read another's queue");
    assert_eq!(process.machine.waiting(), 0);
}

#[test]
fn withdrawn_consent_reaches_a_node_that_is_away_for_an_upgrade() {
    let mut world = fleet(Duplicates::Displace, &["a", "b"]);
    world.drain("b");
    world.until(secs(10), |world| world.nodes["b"].process.is_none());
    world.run(secs(2));
    world.withdraw("a", "s1");
    world.run(secs(2));
    world.start("b");
    world.run(secs(2));
    let process = process(&world, "b");
    assert!(process.discarded.contains("s1"));
}

#[test]
fn what_a_third_node_does_not_list_is_not_taken_by_it() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let mut others = ["a", "b", "c"].into_iter().filter(|node| **node != owner);
        let (heir, third) = (others.next().expect("two"), others.next().expect("two"));
        // The third one is cut off, and gets another stream of the meeting.
        cut(&mut world, third, true);
        world.run(secs(6));
        world.begin("m1", "s2", Some(third));
        world.until(secs(3), |world| world.receiver("s2") == Some(third));
        // The heir does not read that it was given the meeting.
        deafen(&mut world, heir);
        world.drain(&owner);
        let is_given = |world: &mut World| {
            let record = world.record("m1");
            record.is_some_and(|it| it.owner.node == heir)
        };
        (0..300).any(|_| {
            world.run(ms(10));
            is_given(&mut world)
        });
        assert!(is_given(&mut world));
        // The third one takes the record, and does not hear what stood there.
        cut(&mut world, third, false);
        (0..1500).any(|_| {
            world.run(ms(1));
            world.state_of(third) == NodeState::Sure
        });
        world.lost_replies = 1;
        world.run(ms(8));
        world.lost_replies = 0;
        assert!(world.record("m1").is_some_and(|it| it.owner.node == third));
        world.until(secs(20), |world| world.receiver("s1").is_some());
    });
}

#[test]
fn flow_i_what_comes_while_the_row_is_removed_is_given_away() {
    both(|duplicates| {
        let draining = || {
            let (mut world, owner, heir) = with_stream(duplicates, &["a", "b"]);
            world.drain(&owner);
            (world, owner, heir)
        };
        let (mut world, owner, _) = draining();
        let left = world.until(secs(8), |world| world.nodes[&owner].process.is_none());
        // Once more, and the answer that its row is removed takes a while.
        let (mut world, owner, heir) = draining();
        world.run(left - ms(20));
        world.slow_replies = 1;
        let me = process(&world, &owner).me.clone();
        let nodes = Codec::new("app", "secret", "default", me).names().nodes();
        let row = owner.as_bytes();
        let has_row = |world: &World| {
            let dump = world.store.dump();
            let mut rows = dump.iter().filter(|(key, ..)| *key == nodes);
            rows.any(|(_, values, _)| values.iter().any(|value| value == row))
        };
        while has_row(&world) {
            world.run(ms(1));
        }
        assert!(world.nodes[&owner].process.is_some(), "it has left");
        world.slow_replies = 0;
        world.begin("m2", "s2", Some(&owner));
        world.until(secs(5), |world| world.receiver("s2") == Some(&*heir));
        world.until(secs(8), |world| world.nodes[&owner].process.is_none());
        assert!(world.nodes[&owner].disk.intents.is_empty());
    });
}
