//! `rtmsd forget`: everything of a meeting, an account or a person goes. Where a server runs, it does the
//! work, so that there is one writer; otherwise this process does.
//!
//! Exit codes: 0 done, or planned; 64 what is asked for means several people; 69 not everything is done
//! yet, or the server cannot be reached; 77 a file or the server refuses; 78 the configuration lacks
//! something.

mod show;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::admin_client;
use super::exit::{self, Failure};
use crate::config::Config;
use crate::daemon;
use crate::daemon::forget_alone::{AloneError, forget_alone};
use crate::forgetting::receipt::{self, Candidate};
use crate::forgetting::search::Fault;
use crate::forgetting::{Receipt, Request};
use crate::state;

/// Each answer of the server.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// From one question for the receipt to the next.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// To look through years of recordings takes minutes.
const RECEIPT_MAX: Duration = Duration::from_secs(3600);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is to be forgotten.
    pub request: Request,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--json`.
    pub json: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// What the server says.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Answer {
    Running,
    Done { receipt: Box<Receipt> },
    Ambiguous { candidates: Vec<Candidate> },
    Failed { text: String },
}

/// Why there is no receipt.
enum Refusal {
    Ambiguous(Vec<Candidate>),
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Failure(failure)
    }
}

/// Does what the command line asks for: the receipt goes to `out`, the rest to `more`.
pub fn run(options: &Options, config: &Config, out: &mut impl Write, more: &mut impl Write) -> u8 {
    let receipt = match forget(options, config) {
        Ok(receipt) => receipt,
        Err(Refusal::Failure(Failure(code, text))) => {
            // A reader that is gone does not want to know.
            let _ = writeln!(more, "forget: {text}");
            return code;
        }
        Err(Refusal::Ambiguous(candidates)) => {
            let _ = write!(more, "{}", show::candidates(&candidates));
            let text = "the id means different people in different meetings; name the meeting as well: \
                        --user ID --meeting UUID, or say the name";
            let _ = writeln!(more, "forget: {text}");
            return exit::USAGE;
        }
    };
    let _ = match options.json {
        true => write!(out, "{}", receipt.text()),
        false => write!(out, "{}", show::receipt(&receipt)),
    };
    if !options.dry_run
        && let Some(state) = &config.daemon.state
    {
        let file = state
            .join(receipt::FOLDER)
            .join(format!("{}.json", receipt.id));
        let _ = writeln!(more, "receipt: {}", file.display());
    }
    match receipt.completed || options.dry_run {
        true => exit::OK,
        false => {
            let text = "not everything is done yet, see above; a running server completes it, or this \
                        command, given again";
            let _ = writeln!(more, "forget: {text}");
            exit::UNAVAILABLE
        }
    }
}

fn forget(options: &Options, config: &Config) -> Result<Receipt, Refusal> {
    match forget_alone(&config.daemon, &options.request, options.dry_run) {
        Ok(receipt) => Ok(receipt),
        Err(AloneError::Start(daemon::Error::State(state::Error::InUse { .. }))) => {
            ask_server(options, config)
        }
        // The server may be another user, whose folder this one cannot use.
        Err(AloneError::Start(daemon::Error::State(error))) => match ask_server(options, config) {
            Err(Refusal::Failure(Failure(exit::UNAVAILABLE, text))) => Err(Refusal::Failure(
                Failure(exit::NO_PERMISSION, format!("{error}\nforget: {text}")),
            )),
            other => other,
        },
        Err(AloneError::Start(error)) => {
            let text = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            Err(Failure(exit::UNAVAILABLE, text).into())
        }
        Err(AloneError::Run(Fault::Ambiguous(candidates))) => Err(Refusal::Ambiguous(candidates)),
        Err(AloneError::Run(Fault::Io(text))) => Err(Failure(exit::UNAVAILABLE, text).into()),
        Err(AloneError::Text(text)) => Err(Failure(exit::CONFIG, text).into()),
    }
}

/// Has the running server forget, and waits for the receipt.
fn ask_server(options: &Options, config: &Config) -> Result<Receipt, Refusal> {
    let (address, token) = admin_client::access(config)?;
    let mut body = serde_json::to_value(&options.request).unwrap_or_default();
    body["dry_run"] = options.dry_run.into();
    let ask = |path: &str, body: &serde_json::Value| {
        let (path, body) = (
            format!("{path}{}", config.app_query('?')),
            Some(body.to_string()),
        );
        admin_client::ask(&address, &path, body, token.as_ref(), ANSWER_MAX)
    };
    let refused = |answer: &admin_client::Answer| {
        let said = answer.text.trim();
        match answer.status {
            401 | 403 => Failure(exit::NO_PERMISSION, said.to_owned()),
            400 => Failure(exit::USAGE, said.to_owned()),
            status => answer.unreachable(&format!("{status} {said}")),
        }
    };
    let answer = ask("/forget", &body)?;
    if answer.status != 202 {
        return Err(refused(&answer).into());
    }
    let made: serde_json::Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let id = json!({"id": made["id"]});
    let until = Instant::now() + RECEIPT_MAX;
    loop {
        let answer = ask("/forget/receipt", &id)?;
        if answer.status != 200 {
            return Err(refused(&answer).into());
        }
        match serde_json::from_str(answer.text.trim()) {
            Ok(Answer::Done { receipt }) => return Ok(*receipt),
            Ok(Answer::Ambiguous { candidates }) => return Err(Refusal::Ambiguous(candidates)),
            Ok(Answer::Failed { text }) => {
                let text = format!("{text}; the server tries again");
                return Err(Failure(exit::UNAVAILABLE, text).into());
            }
            Ok(Answer::Running) if Instant::now() < until => std::thread::sleep(ASK_AGAIN),
            Ok(Answer::Running) => {
                let text = "it takes long; the server goes on, and stores the receipt";
                return Err(Failure(exit::UNAVAILABLE, text.to_owned()).into());
            }
            Err(_) => {
                let why = "another answer than that of /forget/receipt";
                return Err(answer.unreachable(&why).into());
            }
        }
    }
}
