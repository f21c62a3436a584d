//! Checks that the threads that everything depends on make progress.
//!
//! At each check every thread is asked to take a turn, so it must have taken one by the next check,
//! even if it is idle. A thread that hangs has not.

use std::time::{Duration, Instant};

use crate::daemon::status::Heartbeat;

/// The gate reports its turns in whole milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// What was seen at the last check.
#[derive(Debug, Default)]
pub struct ProgressCheck {
    last: Option<(Instant, u64)>,
}

impl ProgressCheck {
    /// Checks the answer to a request made at `asked`; `None` for no answer.
    ///
    /// # Errors
    /// The name of the thread that hangs.
    pub fn check(
        &mut self,
        asked: Instant,
        heartbeat: Option<Heartbeat>,
    ) -> Result<(), &'static str> {
        let Some(heartbeat) = heartbeat else {
            return Err("the daemon's loop");
        };
        let Some((before, turns)) = self.last.replace((asked, heartbeat.timer_turns)) else {
            return Ok(());
        };
        if heartbeat.gate_turned + GRAIN < before {
            return Err("the gate");
        }
        if heartbeat.timer_turns == turns {
            return Err("the timer");
        }
        Ok(())
    }
}
