//! RTMS itself: no socket, no clock, no file, no thread.

pub mod events;
mod language;
pub mod params;
mod product;

pub use language::Language;
pub use product::Product;
