//! A clock that is passed in, so that tests need not wait.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Both clocks: `Instant` for deadlines, `SystemTime` for dates.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> (Instant, SystemTime) + Send + Sync>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::new(|| (Instant::now(), SystemTime::now()))
    }

    /// A clock that returns what the function returns.
    pub fn new(now: impl Fn() -> (Instant, SystemTime) + Send + Sync + 'static) -> Clock {
        Clock { now: Arc::new(now) }
    }

    /// The time for deadlines.
    pub fn instant(&self) -> Instant {
        (self.now)().0
    }

    /// The time for dates.
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
