//! Deliveries of live data: standard output.

pub mod coalesce;
pub mod ends;
pub mod push;
pub mod s3;
pub mod stdout;
