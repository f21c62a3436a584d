//! Keeping: which recordings are removed, when, and what stands in the way. By default everything is
//! kept.
//!
//! ```text
//! folders ─▶ inventory ─┐
//!  push, ends ─▶ holds ─┼─▶ plan (pure) ─▶ run ─▶ recorder::removal ─▶ tombstone, log, metrics
//!            [`Rules`] ─┘
//! ```
//!
//! [`plan`] decides, without a clock and a disk. [`run`] carries it out, for the thread of the server and
//! for `rtmsd prune` without a server. How a removal survives a crash is in
//! [`removal`](crate::recorder::removal).

pub mod counters;
pub mod holds;
pub mod inventory;
pub mod plan;
pub mod rules;
pub mod run;
pub mod thread;

pub use counters::Counters;
pub use rules::{Amount, Bytes, Rules};
pub use run::{Keeper, Survey};
pub use thread::{Control, Keeping, Order, Process};

#[cfg(test)]
mod tests;
