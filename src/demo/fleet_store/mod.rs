//! A store for a fleet, without Redis: for the simulation of the fleet's machine, and for `rtmsd demo --nodes`.

pub mod model;
pub mod resp;
mod scripts;
pub mod server;

pub use model::Model;
pub use server::Server;
