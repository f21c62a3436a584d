//! Access tokens: cached, requested, the grants of users, and the refresh tokens on disk.

pub(crate) mod cache;
pub(crate) mod grants;
pub(crate) mod refresh_store;
pub(crate) mod request;
pub mod shared;
mod shared_user;
pub(crate) mod user_grant;
