//! Two nodes each receive a stream of one meeting.

use super::super::*;
use super::simulation::world::{World, ms, secs};
use super::{apart, both, cut, deafen, fleet, process};

/// The same, and the store is there for both again.
fn split(world: &mut World) -> (String, String) {
    let (owner, away) = apart(world);
    cut(world, &away, false);
    (owner, away)
}

#[test]
fn streams_of_one_meeting_at_two_nodes_come_together() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        let (owner, away) = split(&mut world);
        world.run(secs(5));
        for stream in ["s1", "s2"] {
            assert_eq!(world.receiver(stream), Some(owner.as_str()), "{stream}");
            assert!(
                world.running(&away, stream).is_none(),
                "{away} has {stream}"
            );
        }
        let accepted = ["s1", "s2"].map(|stream| world.zoom.streams[stream].accepted);
        assert_eq!(accepted, [1, 2], "one connect more for what was given");
        // So another node finds both.
        world.lose_machine(&owner);
        world.until(secs(60), |world| {
            let mut streams = ["s1", "s2"].iter();
            streams.all(|stream| world.receiver(stream) == Some(away.as_str()))
        });
    });
}

#[test]
fn a_stream_that_the_owner_of_its_meeting_does_not_take_runs_on_where_it_is() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        let (owner, away) = split(&mut world);
        deafen(&mut world, &owner);
        world.run(secs(8));
        world.until(secs(8), |world| world.receiver("s2") == Some(away.as_str()));
        assert_eq!(world.receiver("s1"), Some(owner.as_str()));
        world.reread();
        world.run(secs(40));
        assert_eq!(world.receiver("s2"), Some(owner.as_str()), "later it does");
    });
}

#[test]
fn what_becomes_ours_while_it_is_being_given_away_is_received() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        let (owner, away) = split(&mut world);
        // It closes its stream for the owner, which gives its meeting away at that moment.
        world.closing = secs(3);
        world.run(secs(1));
        world.closing = ms(30);
        world.drain(&owner);
        world.run(secs(1));
        let is_taken = world.record("m1").is_some_and(|it| it.owner.node == away);
        assert!(is_taken && world.receiver("s2") == Some(away.as_str()));
        world.run(secs(4));
        for stream in ["s1", "s2"] {
            assert_eq!(world.receiver(stream), Some(away.as_str()), "{stream}");
        }
        assert_eq!(world.zoom.streams["s2"].accepted, 2);
    });
}

#[test]
fn what_an_owner_that_leaves_did_not_take_in_runs_on_where_it_is() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b", "c"]);
        let (owner, away) = split(&mut world);
        let third = ["a", "b", "c"]
            .into_iter()
            .find(|name| *name != owner && *name != away);
        let third = third.expect("there are three");
        deafen(&mut world, &owner);
        deafen(&mut world, third);
        world.until(secs(5), |world| world.receiver("s2").is_none());
        // Its owner gives the meeting to the third node before it has read of s2, and is gone.
        let record = world.record("m1").expect("it has a record");
        let heir = process(&world, third).me.clone();
        let hand = Call::Hand {
            meeting: "m1".to_owned(),
            epoch: record.epoch,
            heir,
            entry: record.entry,
            tails: Vec::new(),
        };
        let values = world.ask_as(record.owner, &hand);
        assert!(matches!(values, Reply::Ok { .. }), "{values:?}");
        world.lose_machine(&owner);
        world.until(secs(30), |world| world.receiver("s2").is_some());
    });
}
