//! Write coalescing of the disk and stdout threads: 10 ms, or 256 KiB.
//!
//! What comes after a pause is written at once. Then the thread waits for [`WRITE_INTERVAL`], and what has
//! come meanwhile is written together: a hundred wake-ups a second serve two thousand streams,
//! where a wake-up for each phrase would cost more than everything else that is done with it. A
//! flood ends the wait early, when [`FLUSH_BYTES`] wait.
//!
//! A process that is killed loses what waits, so the pause is short: phrases of ten milliseconds,
//! less than what is on its way from Zoom at any moment and lost with the connection as well.

use std::time::Duration;

/// How long a thread waits after a write.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes that end the wait.
pub const FLUSH_BYTES: usize = 256 << 10;

/// Whether so many more bytes end the wait.
pub fn is_enough(before: usize, more: usize) -> bool {
    before < FLUSH_BYTES && before + more >= FLUSH_BYTES
}
