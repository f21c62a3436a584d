//! The words that all parts share: plain data, no socket, clock, file or thread.

pub mod product;
pub mod secret;
pub mod stream_info;
pub mod text;
pub mod time;
pub mod zoom_event;
