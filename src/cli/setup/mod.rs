//! `rtmsd setup`: a guided first run, from nothing to the first phrase.
//!
//! Each answer is written to `rtms.conf` (mode 0600) when it is given, and is the default the next time;
//! so it can be left at any point and taken up again. Every answer is also an option or a variable.
//!
//! Exit codes: 0 the first phrase has come; 69 Zoom or the network; 70 the server ended by a bug; 77
//! permission; 78 a setting.

mod conf_file;
mod prompt;
mod questions;
mod watch;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{authorize, exit, media_words};
use crate::cli::exit::Failure;
use crate::cli::lines::Lines;
use crate::config::{LOCAL_FILE, Loaded, Needs, Sources, load};
use crate::domain::app::RestCredentials;
use crate::domain::secret::Secret;
use crate::zoom_api::stored_grants;
use conf_file::ConfFile;
use watch::{Server, Watched};

/// The options of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--events`: `websocket` or `webhooks`.
    pub events: Option<&'static str>,
    /// `--rest`: `user`, `s2s` or `none`.
    pub rest: Option<&'static str>,
    /// `--set KEY=VALUE`, and `--set KEY_FILE=/path` for a secret.
    pub values: Vec<(String, String)>,
}

impl Answers {
    /// The answer of the command line or the environment for a key.
    fn value(&self, key: &str) -> io::Result<Option<String>> {
        let of = |name: &str| {
            let given = self.values.iter().find(|(known, _)| known == name);
            given.map(|(_, value)| value.clone())
        };
        if let Some(value) = of(key) {
            return Ok(Some(value));
        }
        match of(&format!("{key}_FILE")) {
            Some(path) => Ok(Some(fs::read_to_string(path)?.trim().to_owned())),
            None => Ok(std::env::var(key).ok().filter(|value| !value.is_empty())),
        }
    }
}

/// Why the questions end early.
enum Quit {
    /// The input has ended.
    Left,
    /// This question was answered wrongly too often.
    Refused(String),
    /// An answer of the command line is wrong.
    Fault(String),
    /// A file or the terminal fails.
    Io(io::Error),
}

impl Quit {
    fn failed(error: io::Error) -> Quit {
        Quit::Io(error)
    }
}

impl From<io::Error> for Quit {
    fn from(error: io::Error) -> Quit {
        Quit::Io(error)
    }
}

impl From<Quit> for Failure {
    fn from(quit: Quit) -> Failure {
        match quit {
            Quit::Left => Failure(
                exit::UNAVAILABLE,
                "left; rtmsd setup continues where it was".to_owned(),
            ),
            Quit::Refused(question) => Failure(
                exit::UNAVAILABLE,
                format!(
                    "no answer to \"{question}\" that can be used; rtmsd setup continues where it was"
                ),
            ),
            Quit::Fault(text) => Failure(exit::CONFIG, text),
            Quit::Io(error) => Failure(exit::UNAVAILABLE, error.to_string()),
        }
    }
}

/// Runs it. `check` is `rtmsd check --online` for that file: its exit code.
pub fn run(answers: &Answers, check: impl Fn(&Path) -> u8, out: &mut impl Write) -> u8 {
    match setup(answers, check, out) {
        Ok(()) => exit::OK,
        Err(Failure(code, text)) => {
            let _ = writeln!(out, "{text}");
            code
        }
    }
}

fn setup(
    answers: &Answers,
    check: impl Fn(&Path) -> u8,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let broken = |error: io::Error| Failure(exit::UNAVAILABLE, error.to_string());
    let path = answers.config.clone().unwrap_or_else(|| LOCAL_FILE.into());
    let shown = path.display().to_string();
    let mut file = ConfFile::open(&path)
        .map_err(|error| Failure(exit::CONFIG, format!("{shown}: {error}")))?;
    writeln!(
        out,
        "This sets up rtmsd in {shown}. Ctrl-C leaves at any point; run it again to go on."
    )
    .map_err(broken)?;
    let mut lines = Lines::default();
    questions::ask_all(&mut file, answers, &mut lines, out)?;
    file.save()
        .map_err(|error| Failure(exit::NO_PERMISSION, format!("{shown}: {error}")))?;
    writeln!(
        out,
        "\nok    {} is written, for you alone to read (mode 0600)",
        file.path().display()
    )
    .map_err(broken)?;
    let loaded = loaded(&path)?;
    authorize_first(&loaded, &mut lines, out)?;
    writeln!(out, "\nrtmsd check --online").map_err(broken)?;
    out.flush().map_err(broken)?;
    let code = check(&path);
    if code != exit::OK {
        let text = format!(
            "\nFix what \"fault\" says, then run rtmsd setup again; everything else is kept in {shown}."
        );
        return Err(Failure(code, text));
    }
    first_phrase(&path, begun, out)
}

fn loaded(path: &Path) -> Result<Loaded, Failure> {
    let sources = Sources::from_process(Some(path), Needs::Serve)
        .map_err(|fault| Failure(exit::CONFIG, fault.to_string()))?;
    load(&sources).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure(exit::CONFIG, faults.join("\n"))
    })
}

/// Where tokens are a user's: the authorization, unless there is a stored one already.
fn authorize_first(
    loaded: &Loaded,
    lines: &mut Lines,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let config = &loaded.config;
    let is_of_user = matches!(
        &config.app().rest.credentials,
        RestCredentials::UserRefresh { refresh_token, .. } if refresh_token.is_empty()
    );
    let state = config.daemon.state.as_deref();
    let grants = state
        .and_then(|state| stored_grants(state, &config.daemon.state_keys, &Secret::new("")).ok());
    let has_token = grants.is_some_and(|grants| !grants.is_empty());
    if !is_of_user || has_token {
        return Ok(());
    }
    let _ = writeln!(out, "\nrtmsd authorize");
    match authorize::run(config, &media_words(&config.daemon), lines, out) {
        exit::OK => Ok(()),
        code => Err(Failure(
            code,
            "run rtmsd setup again to try once more".to_owned(),
        )),
    }
}

/// Runs the server until the first phrase has come.
fn first_phrase(path: &Path, begun: Instant, out: &mut impl Write) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure(exit::UNAVAILABLE, error.to_string());
    let program = std::env::current_exe().map_err(broken)?;
    writeln!(
        out,
        "\nNow the server runs. Start a meeting and say something; Ctrl-C ends it."
    )
    .map_err(broken)?;
    let mut server = Server::start(&program, path).map_err(broken)?;
    let watched = server.watch(begun, out).map_err(broken)?;
    server.end();
    match watched {
        Watched::Phrase(after) => {
            writeln!(
                out,
                "\nIt works, {} s after the first question. The server has ended again; start it with\n\n  rtmsd serve --config {}\n\n\
                 or as a service: rtmsd help operating.",
                after.as_secs(),
                path.display()
            )
            .map_err(broken)?;
            Ok(())
        }
        Watched::Ended(code) => {
            let code = code
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(exit::SOFTWARE);
            let text =
                "The server has ended; the lines above say why. Fix it, and run rtmsd setup again.";
            Err(Failure(code, text.to_owned()))
        }
    }
}
