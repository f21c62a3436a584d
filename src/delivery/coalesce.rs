//! Write coalescing of the disk and stdout threads: 10 ms, or 256 KiB.
//!
//! After a pause, data is written at once. Then the thread waits for [`WRITE_INTERVAL`], and
//! everything that arrived meanwhile is written together: a hundred wake-ups a second serve two
//! thousand streams, while a wake-up per phrase would cost more than everything else about it. In a
//! flood the wait ends early, when [`FLUSH_BYTES`] wait.
//!
//! A process that is killed loses what waits, so the interval is short: phrases of ten
//! milliseconds, less than what is in transit from Zoom and lost with the connection anyway.

use std::time::Duration;

/// How long a thread waits after a write.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes that end the wait.
pub const FLUSH_BYTES: usize = 256 << 10;

/// Whether `more` additional bytes end the wait.
pub fn is_enough(before: usize, more: usize) -> bool {
    before < FLUSH_BYTES && before + more >= FLUSH_BYTES
}
