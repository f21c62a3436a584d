//! Access tokens: cached, requested, and the refresh tokens on disk.

pub(crate) mod cache;
pub(crate) mod refresh_store;
pub(crate) mod request;
pub(crate) mod user_grant;
