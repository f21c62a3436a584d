//! The one rule by which the two threads that write gather.
//!
//! What comes after a pause is written at once. Then the thread rests for [`PAUSE`], and what has
//! come meanwhile is written together: a hundred wake-ups a second serve two thousand streams,
//! where a wake-up for each phrase would cost more than everything else that is done with it. A
//! flood ends the rest early, when [`BYTES`] wait.
//!
//! A process that is killed loses what waits, so the pause is short: phrases of ten milliseconds,
//! less than what is on its way from Zoom at any moment and lost with the connection as well.

use std::time::Duration;

/// How long a thread rests after it has written.
pub const PAUSE: Duration = Duration::from_millis(10);

/// Bytes that end the rest.
pub const BYTES: usize = 256 << 10;

/// Whether so many more bytes are the ones that end the rest.
pub fn is_enough(before: usize, more: usize) -> bool {
    before < BYTES && before + more >= BYTES
}
