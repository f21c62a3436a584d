//! What time it is: passed in, so that an hour passes in a test without waiting for it.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A clock with both hands: `Instant` for deadlines, `SystemTime` for what is told to others.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> (Instant, SystemTime) + Send + Sync>,
}

impl Clock {
    /// The system's.
    pub fn system() -> Clock {
        Clock::new(|| (Instant::now(), SystemTime::now()))
    }

    /// One that tells whatever the function says.
    pub fn new(now: impl Fn() -> (Instant, SystemTime) + Send + Sync + 'static) -> Clock {
        Clock { now: Arc::new(now) }
    }

    /// For deadlines.
    pub fn instant(&self) -> Instant {
        (self.now)().0
    }

    /// For dates.
    pub fn date(&self) -> SystemTime {
        (self.now)().1
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
