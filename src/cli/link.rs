//! `rtmsd link`: an address by which people without a token see one stream, or the end of all of them.
//!
//! Exit codes: 0 printed, or every link is revoked; 64 there is no such stream, or its consent was
//! withdrawn; 69 the server cannot be reached, or refuses; 77 it wants another token; 78 the
//! configuration lacks something.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::admin_client;
use super::exit::{self, Failure};
use crate::admin::host::Authority;
use crate::admin::links::key;
use crate::config::Config;

/// To find a stream, the server may look into many folders.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// STREAM or MEETING; `None` for `--revoke-all`.
    pub name: Option<String>,
    /// `--for`, seconds.
    pub for_s: u64,
    /// `--files`.
    pub files: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// What the server answers.
#[derive(Debug, Deserialize)]
struct Made {
    url: String,
    expires: String,
}

/// Does what the command line asks for: the address goes to `out`, the rest to `more`.
pub fn run(options: &Options, config: &Config, out: &mut impl Write, more: &mut impl Write) -> u8 {
    let done = match &options.name {
        Some(name) => make(name, options, config, out, more),
        None => revoke_all(config, more),
    };
    match done {
        Ok(()) => exit::OK,
        Err(Failure(code, text)) => {
            // A reader that is gone does not want to know.
            let _ = writeln!(more, "link: {text}");
            code
        }
    }
}

fn ask(config: &Config, body: &serde_json::Value) -> Result<admin_client::Answer, Failure> {
    let (address, token) = admin_client::access(config)?;
    let body = Some(body.to_string());
    let path = format!("/links{}", config.app_query('?'));
    admin_client::ask(&address, &path, body, token.as_ref(), ANSWER_MAX)
}

fn make(
    name: &str,
    options: &Options,
    config: &Config,
    out: &mut impl Write,
    more: &mut impl Write,
) -> Result<(), Failure> {
    let body = json!({"stream": name, "for_s": options.for_s, "files": options.files});
    let answer = ask(config, &body)?;
    let said = answer.text.trim();
    match answer.status {
        200 => {
            let made: Made = serde_json::from_str(said)
                .map_err(|_| answer.unreachable(&"another answer than that of /links"))?;
            let _ = writeln!(out, "{}", made.url);
            let _ = out.flush();
            if is_loopback(&made.url) {
                let text =
                    "only this machine can open it; RTMS_ADMIN_URL is the address for others";
                let _ = writeln!(more, "{text}");
            }
            let _ = writeln!(
                more,
                "everybody who has this address can read the stream until {}",
                made.expires
            );
            Ok(())
        }
        status => Err(refused(&answer, status, &format!("{name}: {said}"))),
    }
}

/// Whether the host of an address is this machine to itself.
fn is_loopback(url: &str) -> bool {
    let host = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next());
    host.and_then(Authority::parse)
        .is_some_and(|host| host.is_loopback())
}

fn revoke_all(config: &Config, more: &mut impl Write) -> Result<(), Failure> {
    let answer = match ask(config, &json!({"revoke_all": true})) {
        Ok(answer) => answer,
        // The next server makes another key.
        Err(Failure(exit::UNAVAILABLE, text)) => {
            return remove_key(config, more).map_err(|error| {
                let Failure(code, why) = error;
                Failure(code, format!("{text}\nlink: {why}"))
            });
        }
        Err(failure) => return Err(failure),
    };
    match answer.status {
        204 => {
            let _ = writeln!(more, "every link is revoked");
            Ok(())
        }
        status => Err(refused(&answer, status, answer.text.trim())),
    }
}

fn remove_key(config: &Config, more: &mut impl Write) -> Result<(), Failure> {
    let Some(state) = config.server_state() else {
        return Err(Failure(exit::CONFIG, "RTMS_STATE is not set".to_owned()));
    };
    match key::remove(state) {
        Ok(_) => {
            let text = "no server answered, so the key was removed: every link is revoked; if a \
                        server hangs, restart it";
            let _ = writeln!(more, "{text}");
            Ok(())
        }
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::PermissionDenied => exit::NO_PERMISSION,
                _ => exit::UNAVAILABLE,
            };
            let place = state.join(key::NAME);
            let text = format!("{} cannot be removed: {error}", place.display());
            Err(Failure(code, text))
        }
    }
}

fn refused(answer: &admin_client::Answer, status: u16, said: &str) -> Failure {
    match status {
        401 | 403 => Failure(exit::NO_PERMISSION, said.to_owned()),
        400 | 404 | 410 => Failure(exit::USAGE, said.to_owned()),
        // Several streams, or no address that a browser can open.
        409 => Failure(exit::USAGE, said.to_owned()),
        status => answer.unreachable(&format!("{status} {said}")),
    }
}
