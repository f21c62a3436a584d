//! RTMS itself: no socket, no clock, no file, no thread.

mod product;

pub use product::Product;
