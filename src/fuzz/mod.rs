//! What must hold for any bytes that a parser is given: the bodies of the fuzz targets.
//!
//! Compiled for `cargo fuzz` (`fuzz/` at the top level) and for the tests, which feed each of them its
//! seeds and ten thousand mutations of these.

pub mod config;
pub mod message;
pub mod request;
pub mod server_url;
pub mod webhook;

#[cfg(test)]
mod tests;
