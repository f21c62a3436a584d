//! The flows: (a) an event for another's meeting, (b) placing, (c) a killed node, (d) a lost machine, (m) nodes that
//! differ.

use super::super::*;
use super::simulation::process::Told;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{both, deafen, fleet, receiver_of, with_meetings, with_stream};

#[test]
fn flow_a_an_event_reaches_the_owner_at_whichever_node_it_arrives() {
    both(|duplicates| {
        let (mut world, owner, other) = with_stream(duplicates, &["a", "b"]);
        for kind in [Kind::Ends, Kind::Ends] {
            world.tell(kind, "m1", "s1", Some(&other));
        }
        world.run(secs(1));
        assert!(
            world.running(&owner, "s1").is_none(),
            "{owner} has not heard"
        );
        world.run(secs(5));
        for node in ["a", "b"] {
            assert!(
                world.nodes[node].disk.intents.is_empty(),
                "{node} keeps an intent"
            );
        }
    });
}

#[test]
fn flow_b_a_new_meeting_is_placed_once_and_joined() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..20 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
            world.run(ms(50));
        }
        world.run(secs(2));
        for n in 0..20 {
            let stream = format!("s{n}");
            let receiver = world
                .receiver(&stream)
                .map(str::to_owned)
                .expect("it is received");
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(record.owner.node, receiver);
            assert_eq!(world.zoom.streams[&stream].accepted, 1);
        }
        world.run(secs(5));
        assert!(
            world
                .nodes
                .values()
                .all(|node| node.disk.intents.is_empty())
        );
    });
}

#[test]
fn flow_b_a_meeting_goes_to_the_one_with_less_load() {
    let mut world = World::new(1, Duplicates::Displace);
    world.start_with("a", |config| config.capacity = 2);
    world.start("b");
    world.run(secs(7));
    for n in 0..6 {
        world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        world.run(secs(2));
    }
    let at_a = (0..6)
        .filter(|n| world.receiver(&format!("s{n}")) == Some("a"))
        .count();
    assert!(at_a <= 1, "{at_a} at a");
}

#[test]
fn flow_b_without_capacity_a_meeting_is_taken_all_the_same_and_it_is_an_error() {
    let mut world = World::new(1, Duplicates::Displace);
    for node in ["a", "b"] {
        world.start_with(node, |config| config.capacity = 1);
    }
    world.run(secs(7));
    for n in 0..4 {
        world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        world.run(secs(2));
        assert!(world.receiver(&format!("s{n}")).is_some());
    }
    assert!(
        world.logs("a").contains("add a node"),
        "{}",
        world.logs("a")
    );
}

#[test]
fn flow_b_the_guarantor_takes_what_the_other_does_not() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        deafen(&mut world, "b");
        for n in 0..8 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(5));
        for n in 0..8 {
            assert_eq!(world.receiver(&format!("s{n}")), Some("a"));
        }
        world.run(secs(5));
        assert!(world.nodes["a"].disk.intents.is_empty());
    });
}

#[test]
fn flow_b_a_second_stream_follows_its_meeting() {
    both(|duplicates| {
        let (mut world, owner, other) = with_stream(duplicates, &["a", "b"]);
        world.begin("m1", "s2", Some(&other));
        assert_eq!(receiver_of(&mut world, "s2"), owner);
    });
}

#[test]
fn flow_c_a_killed_nodes_streams_are_taken_over_within_ten_seconds() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b", "c"], 30);
        world.kill("b");
        let took = world.until(secs(12), |world| {
            world
                .zoom
                .live()
                .all(|(_, s)| s.conn.as_ref().is_some_and(|(_, node)| node != "b"))
        });
        assert!(took < secs(10), "{took:?}");
        world.run(secs(3));
        for n in 0..30 {
            let receiver = world.receiver(&format!("s{n}")).map(str::to_owned);
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(Some(record.owner.node), receiver);
        }
    });
}

#[test]
fn flow_c_an_interruption_that_zoom_tells_is_acted_on_sooner() {
    both(|duplicates| {
        let (mut world, owner, other) = with_stream(duplicates, &["a", "b", "c"]);
        world.run(ms(700));
        world.kill(&owner);
        world.run(ms(30));
        world.tell(Kind::StreamInterrupted, "m1", "s1", Some(&other));
        let took = world.until(secs(12), |world| world.receiver("s1").is_some());
        assert!(took < ms(4500), "{took:?}");
    });
}

#[test]
fn flow_c_a_restart_in_place_keeps_the_epoch() {
    both(|duplicates| {
        let (mut world, owner, _) = with_stream(duplicates, &["a", "b"]);
        world.kill(&owner);
        world.run(secs(1));
        world.start(&owner);
        let took = world.until(secs(3), |world| world.receiver("s1").is_some());
        assert!(took < ms(500), "{took:?}");
        world.run(secs(10));
        assert_eq!(world.receiver("s1"), Some(owner.as_str()));
        let record = world.record("m1").expect("it has a record");
        assert_eq!((record.owner.node, record.epoch), (owner, 1));
    });
}

#[test]
fn flow_c_what_waits_in_the_dead_nodes_queue_is_not_lost() {
    both(|duplicates| {
        let (mut world, owner, other) = with_stream(duplicates, &["a", "b"]);
        world.kill(&owner);
        // A stop that names the meeting: in the queue before the node is known to be dead.
        let told = Told {
            kind: Kind::Ends,
            meeting: "m1".to_owned(),
            stream: "s1".to_owned(),
            stamp: world.unix_ms(),
            is_named: true,
        };
        world.zoom.end("s1");
        world.webhook(&other, told);
        world.run(secs(12));
        assert!(world.running(&other, "s1").is_none());
        assert!(
            world
                .record("m1")
                .is_none_or(|record| record.phase == Phase::Ended)
        );
    });
}

#[test]
fn flow_d_a_lost_machines_streams_come_back_when_zoom_lets_go() {
    both(|duplicates| {
        let mut world = with_meetings(duplicates, &["a", "b", "c"], 10);
        world.lose_machine("b");
        let most = match duplicates {
            Duplicates::Displace => secs(10),
            Duplicates::Refuse => secs(44),
        };
        let took = world.until(secs(60), |world| {
            world
                .zoom
                .live()
                .all(|(_, s)| s.conn.as_ref().is_some_and(|(_, node)| node != "b"))
        });
        assert!(took <= most, "{took:?}");
        assert_eq!(world.zoom.live().count(), 10);
    });
}

#[test]
fn flow_m_other_settings_get_no_meetings() {
    let mut world = World::new(1, Duplicates::Displace);
    world.start("a");
    world.start_with("b", |config| config.must = "other".to_owned());
    world.run(secs(7));
    for n in 0..6 {
        world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        world.run(secs(1));
        assert_eq!(world.receiver(&format!("s{n}")), Some("a"));
    }
    assert!(world.logs("a").contains("give all nodes the same"));
}

#[test]
fn flow_m_a_layout_that_is_too_far_away_is_refused() {
    let mut world = fleet(Duplicates::Displace, &["a"]);
    world.start_with("b", |config| config.layout = 3);
    world.run(secs(2));
    assert_eq!(world.nodes["b"].exits.len(), 1);
    assert!(world.is_up("a"));
}
