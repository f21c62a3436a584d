//! `POST /push/<name>/pause|resume|replay`: what a person says to an endpoint of HTTP push.

use std::time::Duration;

use serde::Deserialize;

use super::line;
use crate::daemon::Handle;
use crate::delivery::push::command::{Action, Command, CommandError, From};
use crate::gate::Answer;

/// The daemon says in microseconds who delivers.
const DAEMON_MAX: Duration = Duration::from_secs(1);
/// A replay looks into every journal since its beginning.
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// The body of a replay.
#[derive(Debug, Deserialize)]
struct Replay {
    from: String,
    #[serde(default)]
    stream: Option<String>,
}

/// Whether the path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/push/")
}

/// Carries a command out. Who gives it has been checked.
pub(super) fn answer(path: &str, body: &[u8], daemon: &Handle) -> Answer {
    let command = match command(path, body) {
        Ok(command) => command,
        Err((status, text)) => return line(status, &text),
    };
    let control = match daemon.push(DAEMON_MAX) {
        None => return line(503, "the daemon does not answer"),
        Some(None) => return line(404, "no endpoint is configured; see RTMS_PUSH_URL"),
        Some(Some(control)) => control,
    };
    match control.command(command, COMMAND_MAX) {
        Ok(()) => Answer::text(204, ""),
        Err(error) => {
            let status = match error {
                CommandError::NoEndpoint | CommandError::NotFound(_) => 404,
                CommandError::Ambiguous(_) => 409,
                CommandError::Failed(_) => 500,
                CommandError::Stopping => 503,
            };
            line(status, &error.to_string())
        }
    }
}

fn command(path: &str, body: &[u8]) -> Result<Command, (u16, String)> {
    let unknown = || {
        let text = "here are /push/NAME/pause, /push/NAME/resume and /push/NAME/replay";
        (404, text.to_owned())
    };
    let rest = path.strip_prefix("/push/").ok_or_else(unknown)?;
    let (endpoint, verb) = rest.split_once('/').ok_or_else(unknown)?;
    let action = match verb {
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "replay" => {
            let expected = "expected {\"from\":\"TIME or ID\"}, and \"stream\" for one stream";
            let replay: Replay =
                serde_json::from_slice(body).map_err(|_| (400, expected.to_owned()))?;
            let from = From::parse(&replay.from);
            Action::Replay {
                from: from.map_err(|expected| (400, format!("from: expected {expected}")))?,
                stream: replay.stream,
            }
        }
        _ => return Err(unknown()),
    };
    Ok(Command {
        endpoint: endpoint.to_owned(),
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_bodies() {
        let pause = command("/push/crm/pause", b"").expect("a command");
        assert_eq!(
            (pause.endpoint.as_str(), pause.action),
            ("crm", Action::Pause)
        );
        let body = br#"{"from":"2026-11-24T14:13:10Z","stream":"bdd2d5"}"#;
        let replay = command("/push/default/replay", body).expect("a command");
        let expected = Action::Replay {
            from: From::Pos(1_795_529_590_000_000),
            stream: Some("bdd2d5".to_owned()),
        };
        assert_eq!(replay.action, expected);
        for (path, body, status) in [
            ("/push/crm", "", 404),
            ("/push/crm/", "", 404),
            ("/push/crm/stop", "", 404),
            ("/push/crm/replay", "", 400),
            ("/push/crm/replay", "{}", 400),
            ("/push/crm/replay", r#"{"from":"yesterday"}"#, 400),
        ] {
            let found = command(path, body.as_bytes()).expect_err(path);
            assert_eq!(found.0, status, "{path}");
        }
    }
}
