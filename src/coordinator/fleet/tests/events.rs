//! Flow (k): which node has the event WebSocket.

use std::time::Duration;

use super::super::*;
use super::simulation::world::{World, ms, secs};
use super::simulation::zoom::Duplicates;
use super::{cut, fleet, process};
use crate::domain::turn::Turn;

const ALL: [&str; 3] = ["a", "b", "c"];

fn settled() -> World {
    fleet(Duplicates::Displace, &ALL)
}

/// Whose turn it is.
fn holders(world: &World) -> Vec<String> {
    let is_ours = |name: &&String| {
        let process = world.nodes[*name].process.as_ref();
        process.is_some_and(|process| process.turn == Turn::Ours)
    };
    world.nodes.keys().filter(is_ours).cloned().collect()
}

/// The one whose turn it is.
#[track_caller]
fn holder(world: &World) -> String {
    let found = holders(world);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// What the node was told last.
fn told(world: &World, node: &str) -> (Turn, bool, Option<Duration>) {
    let told = process(world, node).events_told.last();
    *told.expect("it was told")
}

#[test]
fn flow_k_one_node_has_the_connection_and_each_knows_which() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    for node in ALL {
        let machine = &process(&world, node).machine;
        assert_eq!(machine.events_node(), Some(first.as_str()), "at {node}");
    }
    world.run(secs(600));
    assert_eq!(holder(&world), first);
    // Who starts when none has had it must know since when.
    let other = super::other(&world, &first);
    assert!(told(&world, &other).2.is_some_and(|ago| ago <= secs(2)));
    assert!(process(&world, &other).events_told.len() <= 4, "seldom");
}

#[test]
fn flow_k_a_lone_node_connects_at_once_and_none_without_a_subscription() {
    let mut world = World::new(1, Duplicates::Displace);
    world.start("a");
    world.start_with("n1", |config| config.events = None);
    world.run(ms(500));
    assert_eq!(told(&world, "a"), (Turn::Ours, false, None));
    assert!(process(&world, "n1").events_told.is_empty());
}

#[test]
fn flow_k_another_follows_a_dead_node_within_seven_seconds() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.kill(&first);
    let took = world.until(secs(7), |world| !holders(world).is_empty());
    assert!(took >= secs(4), "{took:?}");
    let heir = holder(&world);
    let (turn, replaces, elsewhere) = told(&world, &heir);
    assert_eq!((turn, replaces), (Turn::Ours, false));
    // So that is what was missed.
    assert!(elsewhere.is_some_and(|ago| ago >= took - ms(100) && ago <= took + secs(1)));
    world.run(secs(10));
    assert_eq!(holder(&world), heir);
}

#[test]
fn flow_k_a_node_that_is_killed_and_started_again_goes_on_at_once() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.kill(&first);
    world.run(ms(1500));
    world.start(&first);
    world.run(ms(200));
    assert_eq!(holder(&world), first);
}

#[test]
fn flow_k_a_node_that_comes_back_when_another_has_it_waits_until_all_know_of_it() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.kill(&first);
    world.run(secs(9));
    let heir = holder(&world);
    world.start(&first);
    world.run(secs(2));
    assert_eq!(told(&world, &first).0, Turn::Anothers);
    let machine = &process(&world, &first).machine;
    assert_eq!(machine.events_node(), Some(heir.as_str()));
    world.run(secs(5));
    assert_eq!(holder(&world), first);
}

#[test]
fn flow_k_the_heir_of_a_node_that_leaves_takes_its_place_while_it_runs() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.drain(&first);
    assert_eq!(told(&world, &first).0, Turn::Anothers);
    let took = world.until(secs(2), |world| !holders(world).is_empty());
    assert!(world.is_up(&first), "it has gone after {took:?}");
    let heir = holder(&world);
    assert!(told(&world, &heir).1, "it replaces one that runs");
    world.run(secs(10));
    assert_eq!(holder(&world), heir);
}

#[test]
fn flow_k_a_newcomer_takes_it_when_all_know_of_it() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.drain(&first);
    world.run(secs(15));
    let second = holder(&world);
    assert_ne!(first, second);
    world.start(&first);
    // Until then the other one keeps its connection.
    world.run(secs(4));
    assert!(holders(&world).is_empty());
    let machine = &process(&world, &first).machine;
    assert_eq!(machine.events_node(), Some(second.as_str()));
    world.run(secs(3));
    assert_eq!(holder(&world), first);
    assert!(told(&world, &first).1, "it replaces one that runs");
}

#[test]
fn flow_k_while_the_store_is_down_each_keeps_what_it_has() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.is_store_down = true;
    world.run(secs(30));
    for node in ALL {
        let expected = match node == first {
            true => Turn::Unsure,
            false => Turn::Anothers,
        };
        assert_eq!(told(&world, node).0, expected, "{node}");
    }
    world.is_store_down = false;
    // The rows of all are old then, and none is taken for dead.
    for _ in 0..100 {
        world.run(ms(100));
        let found = holders(&world);
        assert!(found.is_empty() || found == [first.clone()], "{found:?}");
    }
    assert_eq!(holder(&world), first);
}

#[test]
fn flow_k_a_node_that_dies_with_the_store_is_followed_when_the_store_is_back() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    world.is_store_down = true;
    world.kill(&first);
    world.run(secs(60));
    assert!(holders(&world).is_empty());
    world.is_store_down = false;
    world.run(secs(8));
    let heir = holder(&world);
    assert!(told(&world, &heir).2.is_some_and(|ago| ago >= secs(60)));
}

#[test]
fn flow_k_who_is_cut_off_from_the_store_is_followed_and_gets_it_back() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    cut(&mut world, &first, true);
    world.run(secs(10));
    assert_eq!(told(&world, &first).0, Turn::Unsure);
    let heir = holder(&world);
    assert_ne!(heir, first);
    cut(&mut world, &first, false);
    world.run(secs(10));
    assert_eq!(holder(&world), first);
}

/// These nodes get no connection when it is their turn.
fn pass_without(world: &mut World, failing: &[&str], time: Duration) {
    let until = world.now + time;
    while world.now < until {
        world.run(ms(200));
        let now = world.now;
        for node in failing {
            let is_fault = process(world, node).turn == Turn::Ours;
            world.change(node, |machine| {
                machine.set_events_state(now, false, is_fault)
            });
        }
    }
}

#[test]
fn flow_k_who_cannot_connect_leaves_it_to_another() {
    let mut world = settled();
    world.run(secs(10));
    let first = holder(&world);
    pass_without(&mut world, &[&first], secs(19));
    assert_eq!(holder(&world), first);
    pass_without(&mut world, &[&first], secs(4));
    let second = holder(&world);
    assert_ne!(second, first);
    let (_, replaces, elsewhere) = told(&world, &second);
    assert!(!replaces && elsewhere.is_some_and(|ago| ago >= secs(18)));
    // Later it tries again, in place of the other.
    pass_without(&mut world, &[&first], secs(290));
    assert_eq!(holder(&world), second);
    pass_without(&mut world, &[&first], secs(15));
    assert_eq!(holder(&world), first);
    assert!(told(&world, &first).1, "it replaces one that runs");
}

#[test]
fn flow_k_if_no_node_can_connect_one_goes_on_trying() {
    let mut world = settled();
    world.run(secs(10));
    pass_without(&mut world, &ALL, secs(120));
    let last = holder(&world);
    pass_without(&mut world, &ALL, secs(120));
    assert_eq!(holder(&world), last);
}

#[test]
fn flow_k_who_finds_its_name_taken_leaves_it() {
    let mut world = settled();
    world.run(ms(10_300));
    let first = holder(&world);
    world.pause(&first);
    world.start_twin(&first, "twin");
    world.run(secs(9));
    world.resume(&first);
    world.run(secs(3));
    assert_eq!(world.state_of(&first), NodeState::Doubled);
    assert_eq!(told(&world, &first).0, Turn::Anothers);
    assert_eq!(holder(&world), "twin");
}

#[test]
fn flow_k_the_connection_is_at_most_of_the_nodes_with_the_same_secrets() {
    let mut world = World::new(1, Duplicates::Displace);
    for node in ["a", "b", "c", "d", "e"] {
        let is_other = ["a", "b"].contains(&node);
        let must = if is_other { "z" } else { "m" };
        world.start_with(node, |config| config.must = must.to_owned());
    }
    world.run(secs(10));
    let first = holder(&world);
    assert!(["c", "d", "e"].contains(&first.as_str()), "{first}");
}

#[test]
fn flow_k_nodes_with_different_subscriptions_each_have_a_connection() {
    let mut world = settled();
    let now = world.now;
    for node in ["a", "b"] {
        world.change(node, |machine| {
            machine.set_subscription(now, Some("v".to_owned()))
        });
    }
    world.run(secs(10));
    let found = holders(&world);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.contains(&"c".to_owned()), "{found:?}");
    world.change("c", |machine| machine.set_subscription(now, None));
    world.run(secs(10));
    assert!(process(&world, "a").machine.events_node().is_some());
    assert_eq!(process(&world, "c").machine.events_node(), None);
}
