//! The store-down rule, clause by clause, and rule 1.

use super::super::*;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{both, cut, fleet};

/// A node that has received a stream, and is unsure since.
fn alone(duplicates: Duplicates) -> World {
    let mut world = fleet(duplicates, &["a"]);
    world.begin("m1", "s1", None);
    world.run(secs(2));
    world.is_store_down = true;
    world.run(secs(6));
    world
}

#[test]
fn rule_1_nothing_connects_without_a_permit() {
    both(|duplicates| {
        let mut world = alone(duplicates);
        // The connection is lost: nothing is tried for ten seconds.
        world.drop_connection("s1");
        world.run(secs(9));
        assert_eq!(world.receiver("s1"), None);
        world.run(secs(2));
        assert_eq!(world.receiver("s1"), Some("a"));
        assert_eq!(world.tries_without_permit, 1);
    });
}

#[test]
fn rule_1_a_stream_that_is_lost_while_the_permit_holds_comes_back_at_once() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a"]);
        world.begin("m1", "s1", None);
        world.run(secs(6));
        world.is_store_down = true;
        world.run(secs(1));
        world.drop_connection("s1");
        world.run(ms(500));
        assert_eq!(world.receiver("s1"), Some("a"));
        assert_eq!(world.tries_without_permit, 0);
    });
}

#[test]
fn store_down_2_an_end_of_anothers_stream_waits() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        world.run(secs(2));
        let owner = world.receiver("s1").expect("received").to_owned();
        let other = if owner == "a" { "b" } else { "a" };
        world.is_store_down = true;
        world.run(secs(6));
        world.tell(Kind::Ends, "m1", "s1", Some(other));
        world.run(secs(5));
        assert!(world.running(&owner, "s1").is_some());
        assert_eq!(world.nodes[other].disk.intents.len(), 1);
        world.is_store_down = false;
        world.run(secs(9));
        assert!(world.running(&owner, "s1").is_none());
        assert!(world.nodes[other].disk.intents.is_empty());
    });
}

#[test]
fn store_down_3_many_lost_at_once_are_not_tried() {
    let mut world = fleet(Duplicates::Displace, &["a"]);
    for n in 0..5 {
        world.begin(&format!("m{n}"), &format!("s{n}"), None);
    }
    world.run(secs(2));
    world.is_store_down = true;
    world.run(secs(6));
    (0..5).for_each(|n| world.drop_connection(&format!("s{n}")));
    world.run(secs(30));
    assert_eq!(world.tries_without_permit, 0);
    world.is_store_down = false;
    world.run(secs(3));
    assert!(world.zoom.live().all(|(_, s)| s.conn.is_some()));
}

#[test]
fn store_down_3_who_is_displaced_after_its_try_gives_the_stream_up() {
    let mut world = alone(Duplicates::Displace);
    world.displace("s1");
    world.run(secs(12));
    assert_eq!(world.receiver("s1"), Some("a"), "one try");
    world.displace("s1");
    // Who has displaced it may give it up: it is kept until Zoom would have closed it.
    world.run(secs(44));
    assert_eq!(world.receiver("s1"), Some("stranger"));
    assert!(world.running("a", "s1").is_some());
    world.run(secs(2));
    assert!(world.running("a", "s1").is_none());
    assert_eq!(world.tries_without_permit, 1);
}

#[test]
fn store_down_3_who_is_displaced_goes_on_when_the_store_says_that_it_has_the_stream() {
    let mut world = alone(Duplicates::Displace);
    world.displace("s1");
    world.run(secs(12));
    world.displace("s1");
    world.run(ms(100));
    // Who has displaced it was a node that gave it up at once.
    world.drop_connection("s1");
    world.run(secs(1));
    world.is_store_down = false;
    world.until(secs(5), |world| world.receiver("s1") == Some("a"));
}

#[test]
fn rule_1_who_is_displaced_again_waits_for_the_store_though_the_permit_holds() {
    let mut world = fleet(Duplicates::Displace, &["a"]);
    world.begin("m1", "s1", None);
    world.run(ms(5100));
    world.is_store_down = true;
    world.displace("s1");
    world.run(ms(100));
    assert_eq!(world.receiver("s1"), Some("a"), "at once");
    world.displace("s1");
    world.run(secs(2));
    assert_eq!(world.receiver("s1"), Some("stranger"));
    world.is_store_down = false;
    world.until(secs(5), |world| world.receiver("s1") == Some("a"));
}

#[test]
fn store_down_3_a_newer_start_is_followed_at_once() {
    both(|duplicates| {
        let mut world = alone(duplicates);
        world.move_stream("s1");
        world.run(secs(1));
        assert_eq!(world.receiver("s1"), Some("a"));
    });
}

#[test]
fn store_down_3_a_start_that_comes_again_allows_no_try() {
    both(|duplicates| {
        let mut world = alone(duplicates);
        world.repeat_start("s1", "a");
        world.run(secs(1));
        world.drop_connection("s1");
        world.run(secs(9));
        assert_eq!(world.receiver("s1"), None);
        assert_eq!(world.tries_without_permit, 0);
        world.until(secs(3), |world| world.receiver("s1") == Some("a"));
    });
}

#[test]
fn store_down_4_a_process_that_starts_meanwhile_resumes_its_own() {
    both(|duplicates| {
        let mut world = alone(duplicates);
        world.kill("a");
        world.run(secs(1));
        world.start("a");
        world.run(secs(9));
        assert_eq!(world.receiver("s1"), None);
        world.run(secs(13));
        assert_eq!(world.receiver("s1"), Some("a"));
        assert!(world.nodes["a"].exits.is_empty());
    });
}

#[test]
fn store_down_5_two_that_cross_end_with_one_owner() {
    both(|duplicates| {
        let mut world = fleet(duplicates, &["a", "b"]);
        world.begin("m1", "s1", Some("a"));
        world.run(secs(2));
        cut(&mut world, "a", true);
        cut(&mut world, "b", true);
        world.run(secs(8));
        // Zoom moves the stream, and tells the other node.
        let owner = world.receiver("s1").expect("received").to_owned();
        let other = if owner == "a" { "b" } else { "a" };
        world.tell(Kind::StreamStarts, "m1", "s1", Some(other));
        world.run(secs(20));
        cut(&mut world, "a", false);
        cut(&mut world, "b", false);
        world.run(secs(15));
        let receiver = world.receiver("s1").expect("received").to_owned();
        let record = world.record("m1").expect("it has a record");
        assert_eq!(record.owner.node, receiver);
        let other = if receiver == "a" { "b" } else { "a" };
        assert!(world.running(other, "s1").is_none());
    });
}
