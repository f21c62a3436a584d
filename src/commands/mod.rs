//! The commands beside the server: each writes its answer to a writer and returns an exit code.

pub mod check;
mod check_machine;
pub mod check_online;
pub mod control;
mod reload;
pub mod serve;
pub mod status;
pub mod unit;
