//! What one node, one disk or the store alone knows of a stream is enough for it to be received.

use super::super::*;
use super::simulation::process::Told;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{apart, both, cut, deafen, fleet, other, process, receiver_of, with_stream};
use crate::daemon::fleet_store::{Codec, Command};

/// A record by a process of this name that is gone, and that no node has seen: it receives the stream.
fn leave_record(world: &mut World, node: &str, meeting: &str, stream: &str) {
    let me = Member {
        node: node.to_owned(),
        boot: Boot(99),
    };
    let stamp = world.zoom.streams[stream].stamp;
    let call = Call::Publish {
        meeting: meeting.to_owned(),
        epoch: 1,
        previous: None,
        streams: vec![(stream.to_owned(), StreamPhase::Receiving)],
        is_over: false,
        entry: Some(format!("false {stream}={stamp}").into_bytes()),
    };
    world.ask_as(me, &call);
}

fn owner_of(world: &mut World, meeting: &str) -> Option<String> {
    Some(world.record(meeting)?.owner.node)
}

#[test]
fn what_an_old_record_lists_is_received_again_where_it_was_given_up() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        let owner = receiver_of(&mut world, "s1");
        let taker = other(&world, &owner);
        let store = world.store.clone();
        // Cut off, it loses s1 to the other node and gets s2.
        cut(&mut world, &owner, true);
        world.run(secs(5));
        world.drop_connection("s1");
        world.begin("m1", "s2", Some(&owner));
        world.until(secs(5), |world| {
            world.receiver("s1") == Some(taker.as_str())
        });
        world.run(ms(100));
        deafen(&mut world, &taker);
        cut(&mut world, &owner, false);
        world.until(secs(3), |world| world.running(&owner, "s1").is_none());
        // The taker dies with its disk, and the store goes back to a time when it had nothing.
        world.lose_machine(&taker);
        world.drop_connection("s1");
        world.store = store;
        world.reread();
        world.until(secs(10), |world| {
            let mut streams = ["s1", "s2"].iter();
            streams.all(|stream| world.receiver(stream) == Some(owner.as_str()))
        });
    });
}

#[test]
fn a_store_that_goes_back_between_two_beats_is_told_again() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a"]);
        world.run(ms(100));
        let store = world.store.clone();
        world.begin("m1", "s1", None);
        world.run(ms(500));
        assert!(world.record("m1").is_some());
        world.store = store;
        world.reread();
        world.run(secs(2));
        assert_eq!(owner_of(&mut world, "m1").as_deref(), Some("a"));
        assert_eq!(process(&world, "a").rolled_back, 0, "its beats show it");
    });
}

#[test]
fn who_sees_the_store_s_clock_jump_says_what_it_has() {
    for ahead in [6000, -6000] {
        let mut world = fleet(Duplicates::Refuse, &["a"]);
        world.begin("m1", "s1", None);
        world.run(secs(2));
        world.store_ahead += ahead;
        world.run(secs(2));
        // Another node may have taken it for dead in that moment.
        let record = world.record("m1").expect("it has one");
        assert!(record.age < secs(2), "{ahead}: {:?}", record.age);
    }
}

#[test]
fn a_record_of_a_gone_process_whose_name_lives_on_does_not_last() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        cut(&mut world, "b", true);
        world.run(secs(6));
        world.begin("m1", "s1", Some("b"));
        world.run(secs(1));
        leave_record(&mut world, "a", "m1", "s1");
        world.run(secs(6));
        cut(&mut world, "b", false);
        world.run(secs(15));
        assert_eq!(world.receiver("s1"), Some("b"));
        assert_eq!(owner_of(&mut world, "m1").as_deref(), Some("b"));
        assert_eq!(world.zoom.streams["s1"].accepted, 1);
    });
}

#[test]
fn flow_n_what_the_other_process_of_a_name_has_left_is_found() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a"]);
        world.pause("a");
        world.run(secs(6));
        world.start_twin("a", "twin");
        world.run(secs(2));
        world.resume("a");
        world.run(secs(1));
        assert_eq!(world.state_of("a"), NodeState::Doubled);
        world.kill("twin");
        world.run(secs(7));
        assert_eq!(world.state_of("a"), NodeState::Sure);
        // What that one did while it was doubled itself.
        let (now, stamp) = (world.now, world.unix_ms());
        world.zoom.begin(now, "m1", "s1", stamp);
        leave_record(&mut world, "a", "m1", "s1");
        world.until(secs(15), |world| world.receiver("s1") == Some("a"));
    });
}

#[test]
fn what_lies_on_a_disk_is_not_given_up_to_a_node_that_is_silent() {
    both(|duplicates| {
        let (mut world, owner, taker) = with_stream(duplicates, &["a", "b"]);
        world.kill(&owner);
        world.until(secs(10), |world| {
            world.receiver("s1") == Some(taker.as_str())
        });
        world.run(ms(500));
        world.pause(&taker);
        world.run(secs(6));
        world.start(&owner);
        world.run(secs(2));
        // What the record said of it is gone, and who had it.
        world.store.clear();
        world.reread();
        world.lose_machine(&taker);
        world.drop_connection("s1");
        world.until(secs(20), |world| {
            world.receiver("s1") == Some(owner.as_str())
        });
    });
}

#[test]
fn flow_i_streams_that_cross_between_two_nodes_arrive() {
    // The one that drains gives its meeting to the other, which gives it what came there meanwhile.
    for delay in 0..30 {
        both(|duplicates| {
            let mut world = fleet(duplicates, &["a", "b"]);
            let (owner, away) = apart(&mut world);
            cut(&mut world, &away, false);
            world.run(ms(10 * delay));
            world.drain(&owner);
            world.run(secs(12));
            for stream in ["s1", "s2"] {
                let receiver = world.receiver(stream);
                assert_eq!(receiver, Some(away.as_str()), "{stream}, {delay}");
            }
        });
    }
}

#[test]
fn flow_n_two_processes_of_one_name_do_not_take_a_meeting_from_each_other_again_and_again() {
    let mut world = fleet(Duplicates::Displace, &["a"]);
    world.begin("m1", "s1", None);
    world.begin("m1", "s2", None);
    world.run(ms(1500));
    // The store's clock jumps, so that the name looks free between two beats.
    world.store_ahead += 3_600_000;
    world.start_twin("a", "twin");
    world.run(secs(30));
    assert!(world.zoom.live().all(|(_, s)| s.conn.is_some()));
    let most = world.zoom.live().map(|(_, s)| s.displaced).max();
    assert!(most <= Some(2), "{most:?}");
}

#[test]
fn what_another_process_of_this_name_had_is_received_though_no_row_tells_of_it() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        cut(&mut world, "a", true);
        world.start_twin("a", "twin");
        world.run(secs(12));
        assert_eq!(world.state_of("twin"), NodeState::Sure);
        world.begin("m1", "s1", Some("twin"));
        assert_eq!(receiver_of(&mut world, "s1"), "twin");
        world.run(secs(1));
        world.kill("twin");
        // Beats of the first one arrive, and write its row; it hears no reply.
        world.nodes.get_mut("a").expect("there").is_cut_to = false;
        world.run(secs(8));
        cut(&mut world, "a", false);
        world.until(secs(5), |world| world.receiver("s1").is_some());
        assert_eq!(owner_of(&mut world, "m1").as_deref(), Some("a"));
    });
}

#[test]
fn a_start_in_the_queue_of_a_node_that_is_dead_for_hours_is_followed() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a"]);
        world.lose_machine("a");
        let (now, stamp) = (world.now, world.unix_ms());
        world.zoom.begin(now, "m1", "s1", stamp);
        let told = Told {
            kind: Kind::StreamStarts,
            meeting: "m1".to_owned(),
            stream: "s1".to_owned(),
            stamp,
            is_named: true,
        };
        let call = Call::Send {
            node: "a".to_owned(),
            message: Message::Event(told.body()),
        };
        let stranger = Member {
            node: "z".to_owned(),
            boot: Boot(99),
        };
        world.ask_as(stranger, &call);
        // The next node is started after hours, as far as the store's clock says. The dead one has no meeting.
        world.store_ahead += 7_200_000;
        world.start("b");
        world.until(secs(20), |world| world.receiver("s1") == Some("b"));
    });
}

#[test]
fn no_meeting_is_placed_at_a_node_that_the_store_does_not_know() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        // A process whose name another one has sees no rows: it knows a node that is gone, and the store does not.
        world.pause("a");
        world.run(secs(1));
        world.start_twin("a", "twin");
        world.run(secs(9));
        world.resume("a");
        world.run(secs(3));
        assert_eq!(world.state_of("a"), NodeState::Doubled);
        let gone = process(&world, "c").me.clone();
        world.lose_machine("c");
        let Member { node, boot } = gone.clone();
        world.ask_as(gone, &Call::RemoveRow { node, boot });
        for n in 0..10 {
            world.begin(&format!("m{n}"), &format!("s{n}"), Some("a"));
        }
        world.run(secs(2));
        world.lose_machine("a");
        world.run(secs(20));
        let missed = (0..10).find(|n| world.receiver(&format!("s{n}")) != Some("b"));
        assert_eq!(missed, None);
    });
}

#[test]
fn a_start_that_comes_again_displaces_nothing_while_the_queue_of_its_node_is_full() {
    let (mut world, owner, other) = with_stream(Duplicates::Displace, &["a", "b"]);
    world.store.queue_max = Some(0);
    world.repeat_start("s1", &other);
    world.run(secs(12));
    assert_eq!(world.zoom.streams["s1"].accepted, 1);
    // A start that its node needs is not waited for: it can be received here.
    world.begin("m1", "s2", Some(&other));
    world.until(secs(7), |world| world.receiver("s2") == Some(&other));
    // Nothing that has waited is left, and the meeting comes together.
    world.store.queue_max = None;
    world.run(secs(25));
    for stream in ["s1", "s2"] {
        assert_eq!(world.receiver(stream), Some(owner.as_str()));
    }
    assert_eq!(process(&world, &other).machine.waiting(), 0);
}

#[test]
fn a_stream_is_received_though_the_publish_that_took_its_record_had_no_answer() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        let (owner, away) = apart(&mut world);
        // Its owner dies, and so does who claims it then.
        world.lose_machine(&owner);
        world.run(secs(6));
        let gone = Member {
            node: "gone".to_owned(),
            boot: Boot(99),
        };
        let claim = Call::Claim {
            meeting: "m1".to_owned(),
            expected: Some(owner),
            to: gone.clone(),
            when: Claimable::Dead(secs(5)),
            messages: Vec::new(),
        };
        world.ask_as(gone, &claim);
        assert_eq!(owner_of(&mut world, "m1").as_deref(), Some("gone"));
        let stamp = world.zoom.streams["s2"].stamp;
        let publish = Call::Publish {
            meeting: "m1".to_owned(),
            epoch: 0,
            previous: None,
            streams: vec![("s2".to_owned(), StreamPhase::Receiving)],
            is_over: false,
            entry: Some(format!("false s2={stamp}").into_bytes()),
        };
        let me = process(&world, &away).me.clone();
        world.ask_as(me, &publish);
        assert_eq!(owner_of(&mut world, "m1"), Some(away.clone()));
        cut(&mut world, &away, false);
        let is_received = |world: &World| world.receiver("s1") == Some(away.as_str());
        world.until(secs(60), is_received);
    });
}

#[test]
fn a_node_goes_on_with_what_the_process_before_it_published_and_did_not_save() {
    for n in 0..20 {
        let (mut world, owner, _) = with_stream(Duplicates::Displace, &["a", "b"]);
        world.run(ms(37 * n));
        let before = process(&world, &owner).me.clone();
        let stamp = world.zoom.streams["s1"].stamp;
        world.kill(&owner);
        let publish = Call::Publish {
            meeting: "m1".to_owned(),
            epoch: 7,
            previous: None,
            streams: vec![("s1".to_owned(), StreamPhase::Receiving)],
            is_over: false,
            entry: Some(format!("false s1={stamp}").into_bytes()),
        };
        world.ask_as(before, &publish);
        // What it asks is answered in any order.
        world.slow_replies = 2;
        world.start(&owner);
        world.run(secs(2));
        world.slow_replies = 0;
        let is_received = |world: &World| world.receiver("s1") == Some(owner.as_str());
        world.until(secs(3), is_received);
    }
}

#[test]
fn a_record_without_an_entry_gets_it_from_its_owner() {
    let (mut world, owner, _) = with_stream(Duplicates::Refuse, &["a", "b"]);
    let me = process(&world, &owner).me.clone();
    // Its key alone is gone, and what its owner says next has no entry.
    let codec = Codec::new("app", "secret", "default", me.clone());
    let key = codec.names().meeting("m1");
    let now_ms = world.unix_ms();
    let deletion = Command::plain("DEL", vec![key], vec![]);
    world.store.call(now_ms, &deletion);
    world.drop_connection("s1");
    world.until(secs(3), |world| world.receiver("s1").is_some());
    world.run(secs(1));
    let record = world.record("m1").expect("it is there again");
    assert_eq!(record.owner, me);
    assert!(!record.entry.is_empty());
}
