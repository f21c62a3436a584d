//! The store of the fleet: what its machine asks, as commands of Redis or Valkey.
//!
//! Pure and always compiled: the words ([`command`], [`value`]), names of keys ([`names`]), the MAC ([`seal`]),
//! both directions of the translation ([`encode`], [`decode`]), and what errors mean ([`advice`]). So the simulation of the machine and the
//! store that the demo plays pass through the same translation as a real store.
//!
//! Behind the cargo feature `fleet`: the threads `store` (`store.rs`) and `store inbox` (`inbox.rs`), and calls
//! without a thread (`direct.rs`, `grants.rs`), over a connection of our own (`connection.rs`, `wire.rs`).
//!
//! # Differences from the first draft of the layout
//!
//! - `x:<node>` is a hash, stream -> sealed message, not a set: the node that deletes needs to know why.
//! - `m:<meeting>` has a field `was`, the owner before (`node|boot|epoch|phase|at_ms`), so that a claim whose reply
//!   was lost gets the same reply when it is made again. About 60 bytes a meeting.
//! - A set `o:<node>` can name a meeting that another node took by `publish`: the script cannot know the key of
//!   the set beforehand. The former owner's next `publish`, or a `claim` that expects it, removes the name.
//! - A claim writes "lost" where the former owner received: until the new one does, who receives has the record.
//! - A publish that overwrites a list with streams that it does not name says what stood there. Who took the record
//!   by it is told so with each publish (fields `had` and `had_entry`) until one has the new epoch: an answer may be
//!   lost.
//! - A publish without an entry to a record that has none says so: the store has lost it, and without it no other
//!   node could take the meeting.
//! - Nothing is placed at or handed to a node without a row: no process would read its queue if the sender dies, too.
//!   The answer is that of a full queue.
//! - A row in `nodes` is `at_ms|boot|JSON`: scripts need the boot, and not every store has a JSON parser.

pub mod advice;
#[cfg(feature = "fleet")]
pub(crate) mod backoff;
pub mod command;
#[cfg(feature = "fleet")]
pub(crate) mod connection;
pub mod decode;
#[cfg(feature = "fleet")]
pub mod direct;
pub mod encode;
pub mod facts;
pub mod grant;
#[cfg(feature = "fleet")]
pub(crate) mod grants;
#[cfg(feature = "fleet")]
pub mod inbox;
pub mod names;
pub(crate) mod row;
pub mod seal;
#[cfg(feature = "fleet")]
pub mod store;
#[cfg(feature = "fleet")]
pub mod survey;
#[cfg(all(test, feature = "demo"))]
mod tests;
pub mod value;
#[cfg(feature = "fleet")]
pub(crate) mod wire;

pub use command::{Command, Script, Verb};
pub use encode::Codec;
pub use value::Value;
