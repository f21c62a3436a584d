//! The rules and flows, each as a test. Every one runs with both kinds of Zoom.

mod apart;
mod counts;
mod events;
mod flows;
mod home;
mod known;
mod leaving;
mod simulation;
mod store_down;
mod view;

use simulation::process::Process;
use simulation::world::{World, ms, secs};
use simulation::zoom::Duplicates;

/// A fleet of these nodes that has settled.
fn fleet(duplicates: Duplicates, nodes: &[&str]) -> World {
    let mut world = World::new(1, duplicates);
    world.interruptions = false;
    nodes.iter().for_each(|node| world.start(node));
    world.run(secs(7));
    world
}

/// With both kinds of Zoom.
fn both(test: impl Fn(Duplicates)) {
    test(Duplicates::Displace);
    test(Duplicates::Refuse);
}

/// A fleet that receives so many meetings, m0 with its stream s0 and so on.
fn with_meetings(duplicates: Duplicates, nodes: &[&str], count: usize) -> World {
    let mut world = fleet(duplicates, nodes);
    for n in 0..count {
        world.begin(&format!("m{n}"), &format!("s{n}"), None);
    }
    world.run(secs(3));
    world
}

/// A fleet that receives s1 of m1, the node that does, and another one.
fn with_stream(duplicates: Duplicates, nodes: &[&str]) -> (World, String, String) {
    let mut world = fleet(duplicates, nodes);
    world.begin("m1", "s1", Some(nodes[0]));
    let owner = receiver_of(&mut world, "s1");
    let other = other(&world, &owner);
    (world, owner, other)
}

/// Two nodes receive a stream of m1 each: s1 where the record says so, s2 another one, which was cut off when that
/// stream began, and still is. Their names.
fn apart(world: &mut World) -> (String, String) {
    world.begin("m1", "s1", Some("a"));
    let owner = receiver_of(world, "s1");
    let away = other(world, &owner);
    cut(world, &away, true);
    world.run(secs(6));
    world.begin("m1", "s2", Some(&away));
    world.run(secs(1));
    assert_eq!(world.receiver("s2"), Some(away.as_str()));
    (owner, away)
}

/// Who receives a stream.
fn receiver_of(world: &mut World, stream: &str) -> String {
    world.until(secs(10), |world| world.receiver(stream).is_some());
    world.run(ms(500));
    world.receiver(stream).expect("it was").to_owned()
}

/// Another node; there is always one where it is asked for.
fn other(world: &World, node: &str) -> String {
    let mut names = world.nodes.keys().filter(|name| *name != node);
    names.next().cloned().unwrap_or_default()
}

fn process<'a>(world: &'a World, node: &str) -> &'a Process {
    world.nodes[node].process.as_ref().expect("it runs")
}

/// The ways between a node and the store.
fn cut(world: &mut World, node: &str, is_cut: bool) {
    let node = world.nodes.get_mut(node).expect("there");
    (node.is_cut_to, node.is_cut_from) = (is_cut, is_cut);
}

/// It beats, and does not read its queue.
fn deafen(world: &mut World, node: &str) {
    let process = world.nodes.get_mut(node).expect("there").process.as_mut();
    process.expect("it runs").inbox_after = format!("{}-0", u64::MAX);
}
