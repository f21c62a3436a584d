//! The bodies of the fuzz targets: each parser gets arbitrary bytes, and its invariants are
//! checked.
//!
//! Compiled for `cargo fuzz` (`fuzz/` at the top level) and for the tests, which run each of them
//! with its seeds and ten thousand mutations of these.

pub mod callback;
pub mod config;
pub mod ends;
pub mod events;
pub mod links;
pub mod live;
pub mod message;
pub mod push;
pub mod range;
pub mod request;
pub mod s3_xml;
pub mod server_url;
pub mod webhook;

#[cfg(test)]
mod tests;
