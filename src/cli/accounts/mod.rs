//! `rtmsd accounts`: who has authorized the app, and whether the grants work.
//!
//! The running server says it; without one, the state directory and the store of the fleet are read, and
//! nothing in them is changed.
//!
//! Exit codes: 0 shown; 69 the server does not answer; 77 this user may not read the state directory; 78
//! the configuration has no credentials of users, or the state cannot be read.

mod table;

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::admin::control_socket;
use crate::cli::check::online;
use crate::cli::exit::{self, Failure};
use crate::config::Config;
use crate::domain::app::{App, RestCredentials};
use crate::domain::secret::Secret;
use crate::state;
use crate::state::seal::StateKeys;
use crate::zoom_api::{self, GrantStatus, stored_grants};

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    grant: &'a GrantStatus,
    /// The scopes that the configuration needs and the token lacks.
    missing_scopes: Vec<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// Lists the grants. `media` are the words of `RTMS_MEDIA`.
pub(super) fn run(config: &Config, media: &[&str], is_json: bool, out: &mut impl Write) -> u8 {
    let (code, text) = match look(config) {
        Ok(found) => {
            let lines: Vec<Line<'_>> = found
                .iter()
                .map(|grant| line(config.app(), grant, media))
                .collect();
            let text = match is_json {
                true => serde_json::to_string(&lines).unwrap_or_default() + "\n",
                false => table::render(&lines),
            };
            (exit::OK, text)
        }
        Err(Failure(code, text)) => (code, format!("accounts: {text}\n")),
    };
    // A closed stdout is no error.
    let _ = out.write_all(text.as_bytes());
    code
}

fn line<'a>(app: &App, grant: &'a GrantStatus, media: &[&str]) -> Line<'a> {
    let missing_scopes = match grant.scopes.is_empty() {
        // Zoom does not report them, or no token was fetched yet.
        true => Vec::new(),
        false => online::missing_scopes(app, &grant.scopes, media),
    };
    let lacks = (!missing_scopes.is_empty()).then(|| {
        format!(
            "add {} to the app in the Marketplace and authorize again (rtmsd authorize)",
            missing_scopes.join(" ")
        )
    });
    Line {
        grant,
        remedy: grant.state.remedy().map(str::to_owned).or(lacks),
        missing_scopes,
    }
}

fn look(config: &Config) -> Result<Vec<GrantStatus>, Failure> {
    let credentials = &config.app().rest.credentials;
    let fault = |text: &str| Err(Failure(exit::CONFIG, text.to_owned()));
    let configured = match credentials {
        RestCredentials::UserRefresh { refresh_token, .. } => refresh_token,
        RestCredentials::ServerToServer { .. } => {
            return fault(
                "ZOOM_ACCOUNT_ID is used, and its tokens are the account's own: no user has to authorize the app",
            );
        }
        RestCredentials::Static { .. } => {
            return fault("access_token is used, and whose it is cannot be known");
        }
        _ => {
            return fault(
                "found no credentials of users, expected ZOOM_REDIRECT_URL (for rtmsd authorize) or ZOOM_REFRESH_TOKEN",
            );
        }
    };
    let Some(folder) = config.daemon.state.as_deref() else {
        return fault("RTMS_STATE: not given, expected the directory of the grants");
    };
    match control_socket::accounts(folder) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            let found = stored(folder, &config.daemon.state_keys, configured)?;
            with_shared(config, found)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(forbidden(folder)),
        Err(error) => {
            let text = format!(
                "the server does not answer: {error}; restart it if it is older than this program"
            );
            Err(Failure(exit::UNAVAILABLE, text))
        }
    }
}

/// The same with those that only other nodes of the fleet have.
fn with_shared(config: &Config, mut found: Vec<GrantStatus>) -> Result<Vec<GrantStatus>, Failure> {
    let Some(shared) = crate::cli::shared_grants(&config.daemon) else {
        return Ok(found);
    };
    let listed = zoom_api::shared_grants(&shared).map_err(|down| {
        let text = format!("the store of the fleet does not answer: {}", down.0);
        Failure(exit::UNAVAILABLE, text)
    })?;
    let owner = |it: &GrantStatus| (it.account_id.clone(), it.user_id.clone());
    // What the state directory says of a grant that is over is old.
    found.retain(|own| own.is_configured || listed.iter().any(|it| owner(it) == owner(own)));
    for grant in listed {
        if !found.iter().any(|own| owner(own) == owner(&grant)) {
            found.push(grant);
        }
    }
    found.sort_by_key(owner);
    Ok(found)
}

/// What the state directory has, where no server runs.
fn stored(
    folder: &Path,
    keys: &StateKeys,
    configured: &Secret,
) -> Result<Vec<GrantStatus>, Failure> {
    match stored_grants(folder, keys, configured) {
        Ok(found) => Ok(found),
        Err(state::Error::Io {
            kind: ErrorKind::PermissionDenied,
            ..
        }) => Err(forbidden(folder)),
        Err(error) => Err(Failure(exit::CONFIG, error.to_string())),
    }
}

fn forbidden(folder: &Path) -> Failure {
    let text = format!(
        "the grants are in {}, which this user may not enter; run this command as root (sudo) or as the \
         user of the server",
        folder.display()
    );
    Failure(exit::NO_PERMISSION, text)
}
