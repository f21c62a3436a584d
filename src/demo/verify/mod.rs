//! Compares the files of a server with what was sent.

pub(crate) mod files;
pub(crate) mod phrases;
pub mod union;
