//! A store for a fleet, without Redis: for the simulation of the fleet's machine, and for `rtmsd demo --nodes`.

pub mod model;
mod scripts;

pub use model::Model;
