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

pub mod admin;
pub mod api;
pub mod args;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod exit;
pub mod gate;
pub mod inbox;
pub mod log;
pub mod meeting;
pub mod output;
pub mod protocol;
pub mod public;
pub mod registry;
pub mod secret;
pub mod setup;
pub mod state;
pub mod systemd;
pub mod time;
pub mod waker;
pub mod webhook;
