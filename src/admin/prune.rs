//! `POST /prune`: has the server remove at once what the rules say, or tells how far it is.

use std::time::Duration;

use serde_json::json;

use super::line;
use crate::daemon::Handle;
use crate::gate::Answer;

/// The path.
pub(super) const PATH: &str = "/prune";

/// The daemon says in microseconds who removes.
const DAEMON_MAX: Duration = Duration::from_secs(1);

/// Asks for a round, unless the body says `{"ask":false}`. The answer does not wait for it: `run` is its
/// number, and it is over when `done` has come so far, which a later request tells.
pub(super) fn answer(body: &[u8], daemon: &Handle) -> Answer {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let control = match daemon.keeping(DAEMON_MAX) {
        None => return line(503, "the daemon does not answer"),
        Some(None) => {
            let text = "no rule is set: everything is kept; see RTMS_KEEP and RTMS_DISK_MAX";
            return line(404, text);
        }
        Some(Some(control)) => control,
    };
    let run = match body["ask"] != false {
        true => control.ask(),
        false => control.asked(),
    };
    let answer = json!({"v": 1, "run": run, "done": control.done()});
    Answer::text(202, format!("{answer}\n")).of_type("application/json")
}
