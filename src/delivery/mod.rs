//! Ways out of the server: standard output, HTTP push, the live feed, what follows a stream's end.

pub mod coalesce;
pub mod ends;
pub mod live;
pub mod push;
pub mod s3;
pub mod stdout;
