//! Sources of Zoom's account events.

pub mod events;
pub mod ingress;
pub mod webhook;
