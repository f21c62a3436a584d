//! Live ways out of the daemon.

pub mod coalesce;
pub mod s3;
pub mod stdout;
