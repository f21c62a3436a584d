//! Zoom events as webhooks: signature, payload, answer.

pub mod payload;
pub mod respond;
pub mod server;
pub mod signature;
