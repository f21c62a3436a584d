//! Whether the threads that everything depends on make progress.
//!
//! Each was made to turn when it was asked last, so each must have turned since. A thread that is
//! idle turns then too; one that hangs does not.

use std::time::{Duration, Instant};

use crate::daemon::status::Heartbeat;

/// The gate tells its turns in whole milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// What was seen at the last look.
#[derive(Debug, Default)]
pub struct ProgressCheck {
    last: Option<(Instant, u64)>,
}

impl ProgressCheck {
    /// Judges an answer to a question that was asked at this moment; `None` for no answer.
    ///
    /// # Errors
    /// The name of what hangs.
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
