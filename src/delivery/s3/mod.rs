//! Object storage that speaks S3: names, signatures, and the calls.

pub mod object_names;
pub mod sigv4;
pub mod xml;
