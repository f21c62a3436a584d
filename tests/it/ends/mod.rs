//! Streams that have ended: the program that runs then, and object storage.

pub(crate) mod bucket;
mod forgotten;
mod hooks;
mod partners;
mod uploads;
