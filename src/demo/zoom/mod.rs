//! The endpoints of the demo's Zoom.

pub(crate) mod certificate;
pub(crate) mod clock;
pub(crate) mod connection_queue;
pub(crate) mod events;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod listeners;
pub(crate) mod media;
pub(crate) mod oauth;
pub(crate) mod opening;
pub(crate) mod record;
pub(crate) mod rest;
pub(crate) mod shared;
pub(crate) mod signaling;
pub(crate) mod webhook_bodies;
pub(crate) mod webhooks;
