//! Live ways out of the daemon.

pub mod coalesce;
pub mod stdout;
