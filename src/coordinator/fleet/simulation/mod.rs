//! A seeded simulation of a fleet in virtual time, and the world that the rule tests use.

pub(crate) mod process;
pub(crate) mod world;
pub(crate) mod zoom;
