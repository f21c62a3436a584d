//! Forgetting: everything of a meeting, of an account or of one person goes, wherever it is.
//!
//! ```text
//! request ─▶ record (forgetting.json) ─▶ search ─▶ one folder after the other ─▶ bucket ─▶ state ─▶ receipt
//! ```
//!
//! A request is on the disk before anything changes, and leaves it once everything is done: after a
//! crash the next run or the next server goes on. What is about to be done in a folder is on the disk
//! before it is done, so that the receipt is right all the same.
//!
//! Pure: [`json`], [`person`], [`lines`], [`texts`]. [`blank`] is about the files of one stream,
//! wherever they are; [`folder`] and [`bucket`] are the two places. [`run`] carries a request out, for
//! the server and for the command alike.

pub mod blank;
pub mod bucket;
pub mod counters;
pub mod folder;
pub mod json;
pub mod lines;
pub mod person;
pub mod receipt;
pub mod record;
pub mod run;
pub mod search;
pub mod texts;

pub use counters::Counters;
pub use receipt::Receipt;
pub use record::{Request, Target};
