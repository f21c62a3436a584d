//! Object storage with the S3 protocol: names, signatures, and the calls.

pub mod object_names;
pub mod sigv4;
pub mod xml;
