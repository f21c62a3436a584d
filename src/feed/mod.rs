//! The journal: every text event of a stream, in order, in one file that programs read.
//!
//! Only the recorder's thread writes `feed.jsonl` in a stream's folder; this folder has its format
//! and its reading side. There is no queue, no limit and no drop between the file and a reader. A
//! reader is a [`Cursor`] (key, sequence number, byte offset); the [`Board`] has the length of each
//! journal, and wakes waiting readers; the [`Reader`] returns whole lines up to there.
//!
//! ```no_run
//! use std::sync::Arc;
//! use rtmsd::feed::{Board, Chunk, Cursor, Found, Reader};
//!
//! fn print_new(board: &Arc<Board>) -> std::io::Result<()> {
//!     let reader = Reader::new(board);
//!     let mut chunk = Chunk::default();
//!     for journal in board.snapshot().journals {
//!         let mut cursor = Cursor::begin(journal.key);
//!         while reader.read(&cursor, &mut chunk)? == Found::Lines {
//!             for line in chunk.lines() {
//!                 println!("{} {}", line.id, line.kind);
//!             }
//!             cursor = chunk.end();
//!         }
//!     }
//!     Ok(())
//! }
//! ```

pub mod board;
pub mod cursor;
#[doc(hidden)]
pub mod epoch;
pub mod folders;
pub mod key;
pub mod kind;
pub mod line;
pub(crate) mod open_files;
pub mod reader;
#[cfg(test)]
pub(crate) mod tests;

pub use board::{Board, Journal, Snapshot, State, Watch};
pub use cursor::Cursor;
pub use key::JournalKey;
pub use kind::KindFilter;
pub use line::Line;
pub use reader::{Chunk, Found, Reader};

/// The JSON Schema of a line, as `rtmsd print schema` prints it.
pub const SCHEMA: &str = include_str!("schema.json");

/// The journal's name, in a stream's folder and, for the server's own, in `RTMS_OUT`.
pub const FEED_NAME: &str = "feed.jsonl";
