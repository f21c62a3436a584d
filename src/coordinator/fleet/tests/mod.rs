//! The rules and flows, each as a test. Every one runs with both kinds of Zoom.

mod counts;
mod flows;
mod simulation;
mod store_down;
mod view;

use simulation::world::{World, secs};
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
