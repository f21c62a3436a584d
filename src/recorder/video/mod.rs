//! Video and screen share files.

pub mod headers;
pub mod track;
