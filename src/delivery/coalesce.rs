//! Write coalescing of the disk and stdout threads: 10 ms, or 256 KiB.
//!
//! After a pause, data is written at once. What arrives in the ten milliseconds after a write is
//! written together: a hundred wake-ups a second serve two thousand streams, while a wake-up per
//! phrase would cost more than everything else about it. In a flood the wait ends early, when
//! [`FLUSH_BYTES`] wait.
//!
//! A process that is killed loses what waits, so the interval is short: phrases of ten
//! milliseconds, less than what is in transit from Zoom and lost with the connection anyway.

use std::thread;
use std::time::{Duration, Instant};

/// How long a thread waits after a write.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes that end the wait.
pub const FLUSH_BYTES: usize = 256 << 10;

/// Whether `more` additional bytes end the wait.
pub fn is_enough(before: usize, more: usize) -> bool {
    before < FLUSH_BYTES && before + more >= FLUSH_BYTES
}

/// The pace of one thread that writes. The thread is woken once for a phrase that comes alone, and once in
/// ten milliseconds while more come.
#[derive(Debug, Default)]
pub struct Pace {
    wrote: Option<Instant>,
    /// The last data came within the interval, so the next will: the thread waits before it looks.
    is_busy: bool,
}

impl Pace {
    /// To be called with data at hand: waits until the interval after the last write is over, unless
    /// [`Pace::after_write`] has. [`Thread::unpark`](thread::Thread::unpark) ends either wait.
    pub fn before_write(&mut self) {
        let has_waited = self.is_busy;
        let since = self.wrote.map(|wrote| wrote.elapsed());
        // A thread that has waited finds its data a moment after the interval.
        self.is_busy = since.is_some_and(|since| since < WRITE_INTERVAL * 3 / 2);
        if let Some(left) = since.and_then(|since| WRITE_INTERVAL.checked_sub(since))
            && !has_waited
        {
            thread::park_timeout(left);
        }
    }

    /// To be called after the write.
    pub fn after_write(&mut self) {
        self.wrote = Some(Instant::now());
        if self.is_busy {
            thread::park_timeout(WRITE_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a call takes. Lower bounds only: a busy machine takes longer for everything.
    fn takes(call: impl FnOnce()) -> Duration {
        let began = Instant::now();
        call();
        began.elapsed()
    }

    #[test]
    fn what_follows_a_write_waits_once_before_or_after() {
        let nearly = WRITE_INTERVAL - Duration::from_millis(1);
        let mut pace = Pace::default();
        pace.before_write();
        pace.after_write();
        assert!(!pace.is_busy, "nothing came before");
        assert!(takes(|| pace.before_write()) >= nearly);
        assert!(pace.is_busy);
        assert!(takes(|| pace.after_write()) >= nearly);
        pace.wrote = Instant::now().checked_sub(2 * WRITE_INTERVAL);
        pace.before_write();
        assert!(!pace.is_busy, "alone again");
    }
}
