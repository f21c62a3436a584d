//! Sources of Zoom's account events.

pub mod authorization;
pub mod events;
pub mod ingress;
pub mod webhook;
