//! Ways out of the server: standard output, HTTP push, the live feed, live media, what follows a stream's end.

pub(crate) mod clients;
pub mod coalesce;
pub mod ends;
pub mod live;
pub mod media;
pub mod push;
pub mod s3;
pub mod stdout;
