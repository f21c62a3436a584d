//! Where Zoom's account events come in.

pub mod ingress;
pub mod webhook;
