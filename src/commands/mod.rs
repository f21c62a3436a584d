//! The commands beside the server.

pub mod check_online;
pub mod control;
