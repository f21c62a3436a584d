//! Zoom events as webhooks: signature, payload, answer.

pub mod payload;
pub mod respond;
pub mod route;
pub mod server;
pub mod signature;
