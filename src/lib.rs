//! `rtmsd` receives Zoom Realtime Media Streams: one synchronous daemon, one OS thread per stream.
//!
//! # The map
//!
//! Data flows one way, and the folders are the stations it passes:
//!
//! ```text
//! gate → webhook → daemon (registry) → meeting → protocol → output
//!                     ↓
//!                  schedule → api
//! ```

pub mod demo;
pub mod inbox;
pub mod protocol;
pub mod secret;
pub mod webhook;
