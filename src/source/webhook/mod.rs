//! Zoom events as webhooks: signature, payload, answer.

pub mod desk;
pub mod payload;
mod readiness;
pub mod respond;
pub mod route;
pub mod server;
pub mod signature;
