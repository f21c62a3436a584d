//! `rtmsd start|stop|pause|resume MEETING_ID`: one REST call with the configured credentials. If they
//! are a refresh token, which only one process can use, and the server runs, the server makes it.
//!
//! Exit codes: 0 accepted; 64 an invalid id or product; 69 Zoom cannot be reached, has a fault,
//! limits the rate, or knows no such live meeting (a retry may help); 70 a fault of this program;
//! 77 Zoom does not permit it; 78 the configuration or its credentials are wrong.

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::admin::control_socket;
use crate::admin::control_socket::Answer;
use crate::domain::product::Product;
use crate::zoom_api::{Api, App, ControlRequest, Error, Process, RestAction};

/// The options of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The command.
    pub action: RestAction,
    /// The number of the meeting, or the id of a session, an engagement or a call. Numbers may be
    /// written as Zoom shows them, `812 3456 7890`.
    pub id: String,
    /// `--participant`.
    pub participant_user_id: Option<String>,
    /// `--account`.
    pub account_id: Option<String>,
    /// `--product`, by [`Product::from_unit`].
    pub product: Product,
    /// `--json`.
    pub json: bool,
}

/// Makes the call, writes one line of result, and returns the exit code.
///
/// `server` is the state directory of a running server that must make the call, if there is one.
/// `client` is called only if the id is valid and no server answered, because it may lock the state
/// directory.
pub fn run(
    options: &Options,
    server: Option<&Path>,
    client: impl FnOnce() -> Result<(App, Process), Error>,
    out: &mut impl Write,
) -> u8 {
    let mut control = ControlRequest::new(options.action, options.product, options.id.trim());
    if options.product.has_number() {
        control.id.retain(|c| c != ' ' && c != '-');
    }
    control.participant_user_id = options.participant_user_id.clone();
    control.account_id = options.account_id.clone();
    let answer;
    let (exit_code, line) = match control.id_fault() {
        Some(fault) => {
            let line = Line {
                message: Some(format!("{}: {fault}", options.action.name())),
                ..Line::new(&control, Some("usage"))
            };
            (64, line)
        }
        None => {
            answer = ask_or_call(&control, server, client);
            (answer.exit_code, Line::of_answer(&control, &answer))
        }
    };
    // A closed stdout is no error.
    let _ = if options.json {
        let json = serde_json::to_string(&line).expect("strings and numbers always become JSON");
        writeln!(out, "{json}")
    } else {
        writeln!(out, "{}", line.text())
    };
    exit_code
}

/// Asks the running server to make the call, or makes it.
fn ask_or_call(
    control: &ControlRequest,
    server: Option<&Path>,
    client: impl FnOnce() -> Result<(App, Process), Error>,
) -> Answer {
    if let Some(state) = server {
        match control_socket::ask(state, control) {
            Ok(Some(answer)) => return answer,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Answer::forbidden(control, state);
            }
            // If there is no server, or it ended, this process makes the call.
            Ok(None) | Err(_) => {}
        }
    }
    let result = client()
        .and_then(|(app, process)| Api::new(app, process))
        .and_then(|api| api.control(control));
    Answer::new(&result)
}

/// The result.
#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    action: &'static str,
    product: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl<'a> Line<'a> {
    fn new(control: &'a ControlRequest, error: Option<&'a str>) -> Line<'a> {
        Line {
            ok: error.is_none(),
            action: control.action.name(),
            product: control.product.name(),
            id: &control.id,
            error,
            class: None,
            status: None,
            code: None,
            message: None,
        }
    }

    fn of_answer(control: &'a ControlRequest, answer: &'a Answer) -> Line<'a> {
        let Some(failure) = &answer.failure else {
            return Line::new(control, None);
        };
        Line {
            class: Some(&failure.class),
            status: failure.status,
            code: failure.code,
            message: Some(failure.message.clone()),
            ..Line::new(control, Some(&failure.error))
        }
    }

    fn text(&self) -> String {
        match &self.message {
            Some(message) => message.clone(),
            None if self.action == RestAction::Start.name() => format!(
                "start {} {}: accepted by zoom; the stream has started when its webhook comes",
                self.product, self.id
            ),
            None => format!(
                "{} {} {}: accepted by zoom",
                self.action, self.product, self.id
            ),
        }
    }
}
