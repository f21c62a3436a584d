//! The flows: (a) an event for another's meeting, (b) placing, (c) a killed node, (d) a lost machine, (e) a node
//! that is cut off, (f) the store down, (i) draining, (n) one name twice.

use super::super::*;
use super::simulation::process::Told;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{both, fleet};

/// A stream that is received, and by whom.
fn receiver_of(world: &mut World, stream: &str) -> String {
    world.until(secs(10), |world| world.receiver(stream).is_some());
    world.run(ms(500));
    world.receiver(stream).expect("it was").to_owned()
}

fn other(world: &World, node: &str) -> String {
    let mut names = world.nodes.keys().filter(|name| *name != node);
    names.next().expect("there are several").clone()
}

#[test]
fn flow_a_an_event_reaches_the_owner_at_whichever_node_it_arrives() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let other = other(&world, &owner);
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
        // It beats, and does not read its queue.
        world
            .nodes
            .get_mut("b")
            .expect("there")
            .process
            .as_mut()
            .expect("runs")
            .inbox_after = format!("{}-0", u64::MAX);
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
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let other = other(&world, &owner);
        world.begin("m1", "s2", Some(&other));
        assert_eq!(receiver_of(&mut world, "s2"), owner);
    });
}

#[test]
fn flow_c_a_killed_nodes_streams_are_taken_over_within_ten_seconds() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..30 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
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
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let other = other(&world, &owner);
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
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
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
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let other = other(&world, &owner);
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
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..10 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
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
fn flow_e_a_node_that_is_cut_off_drops_nothing() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        for n in 0..10 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
        let cut = |world: &mut World, is_cut| {
            let node = world.nodes.get_mut("b").expect("there");
            (node.is_cut_to, node.is_cut_from) = (is_cut, is_cut);
        };
        cut(&mut world, true);
        world.run(secs(30));
        assert_eq!(world.state_of("b"), NodeState::Unsure);
        assert!(world.zoom.live().all(|(_, s)| s.conn.is_some()));
        cut(&mut world, false);
        world.run(secs(10));
        assert_eq!(world.state_of("b"), NodeState::Sure);
        for n in 0..10 {
            let stream = &world.zoom.streams[&format!("s{n}")];
            let (_, receiver) = stream.conn.clone().expect("received");
            let most = match duplicates {
                Duplicates::Displace => 2,
                Duplicates::Refuse => 1,
            };
            assert!(
                stream.accepted <= most,
                "s{n} was connected {} times",
                stream.accepted
            );
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(record.owner.node, receiver, "m{n}");
        }
    });
}

#[test]
fn flow_f_a_store_that_is_down_costs_no_stream_and_no_start() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        for n in 0..4 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
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
        let mut world = fleet(duplicates, &["a", "b"]);
        for n in 0..4 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
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
    });
}

#[test]
fn flow_i_a_drained_node_gives_everything_away() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..30 {
            world.begin(&format!("m{n}"), &format!("s{n}"), None);
        }
        world.run(secs(3));
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
fn flow_i_an_heir_that_does_not_take_is_replaced() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        for n in 0..10 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(3));
        world
            .nodes
            .get_mut("b")
            .expect("there")
            .process
            .as_mut()
            .expect("runs")
            .inbox_after = format!("{}-0", u64::MAX);
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

#[test]
fn flow_n_who_wakes_and_finds_its_name_taken_is_doubled() {
    let mut world = fleet(Duplicates::Refuse, &["a", "b"]);
    world.begin("m1", "s1", Some("a"));
    let owner = receiver_of(&mut world, "s1");
    world.pause(&owner);
    world.start_twin(&owner, "twin");
    world.run(secs(9));
    world.resume(&owner);
    world.run(secs(3));
    assert_eq!(world.state_of(&owner), NodeState::Doubled);
    assert_eq!(world.state_of("twin"), NodeState::Sure);
    assert_eq!(world.zoom.streams["s1"].accepted, 1, "its stream runs on");
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
            let stream = &world.zoom.streams[&format!("s{n}")];
            let (_, receiver) = stream.conn.clone().expect("received");
            let most = match duplicates {
                Duplicates::Displace => 2,
                Duplicates::Refuse => 1,
            };
            assert!(
                stream.accepted <= most,
                "s{n} was connected {} times",
                stream.accepted
            );
            let record = world.record(&format!("m{n}")).expect("it has a record");
            assert_eq!(record.owner.node, receiver, "m{n}");
            let other = if receiver == "a" { "b" } else { "a" };
            assert!(
                world.running(other, &format!("s{n}")).is_none(),
                "{other} still has s{n}"
            );
        }
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

#[test]
fn withdrawn_consent_reaches_every_node() {
    let mut world = fleet(Duplicates::Displace, &["a", "b", "c"]);
    world.begin("m1", "s1", Some("a"));
    world.run(secs(2));
    world.withdraw("a", "s1");
    world.run(secs(2));
    for node in ["b", "c"] {
        let process = world.nodes[node].process.as_ref().expect("runs");
        assert!(process.discarded.contains("s1"), "{node}");
    }
    world.tell(Kind::Everyone, "", "", Some("b"));
    world.run(secs(2));
    for node in ["a", "b", "c"] {
        assert_eq!(
            world.nodes[node].process.as_ref().expect("runs").everyone,
            1,
            "{node}"
        );
    }
}
