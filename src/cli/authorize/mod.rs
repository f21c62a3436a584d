//! `rtmsd authorize`: a user lets the app act for them (user OAuth), without curl.
//!
//! It prints the address of Zoom's page. The code comes back by the server's public listener, by a
//! loopback port of this command, or is pasted into the terminal; whichever is first. Where a server runs,
//! the server exchanges it and uses the token at once; else this command stores it for the server.
//!
//! Exit codes: 0 authorized; 69 Zoom cannot be reached, or no answer came back in time; 77 the person or Zoom
//! refused, or a scope is missing; 78 the configuration.

mod loopback;
mod road;

pub(crate) use loopback::target as loopback_address;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::check::online;
use crate::cli::exit::{self, Failure};
use crate::cli::lines::{Line, Lines, Refusals};
use crate::config::Config;
use crate::domain::app::{App, RestCredentials};
use crate::source::authorization::LIFE;
use crate::zoom_api::UserGrant;
use loopback::Loopback;
use road::{Outcome, Road};

/// How often the server is asked whether someone came back.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Authorizes, and writes what happens. `media` are the words of `RTMS_MEDIA`.
pub(super) fn run(config: &Config, media: &[&str], lines: &mut Lines, out: &mut impl Write) -> u8 {
    let outcome = authorize(config, lines, out).and_then(|grant| {
        // If the reader is gone, the token is stored all the same.
        let _ = show(&grant, out);
        missing_scopes(config.app(), &grant, media)
    });
    let (code, text) = match outcome {
        Ok(()) => (
            exit::OK,
            "authorized; the token is stored and in use".to_owned(),
        ),
        Err(Failure(code, text)) => (code, text),
    };
    let _ = writeln!(out, "{text}");
    code
}

/// From the address to the stored token.
fn authorize(
    config: &Config,
    lines: &mut Lines,
    out: &mut impl Write,
) -> Result<UserGrant, Failure> {
    let app = config.app();
    let redirect = redirect_url(app)?;
    let mut road = Road::find(config)?;
    let begun = road.begin()?;
    let loopback = Loopback::listen(&redirect).map_err(|error| {
        let text = format!(
            "cannot listen at {redirect}: {error}; end what uses that port, or set another \
             ZOOM_REDIRECT_URL here and on the app's page"
        );
        Failure(exit::UNAVAILABLE, text)
    })?;
    let where_to = match (&loopback, road.is_server(), config.port.is_some()) {
        (Some(_), ..) => "Then come back here; this command notices it.".to_owned(),
        (None, true, true) => format!(
            "Then come back here; the server notices it at {redirect}. If the page cannot be opened,\n\
             paste its address here."
        ),
        _ => "Then paste the address of the page that opens (or the code in it) here.".to_owned(),
    };
    let _ = writeln!(
        out,
        "Open this address in a browser, as the user whose meetings are to be received:\n\n  {}\n\n{where_to}",
        begun.address
    );
    let _ = out.flush();
    let until = Instant::now() + LIFE;
    let has_other_way = loopback.is_some() || road.is_server() && config.port.is_some();
    let mut refusals = Refusals::new();
    let mut is_over = false;
    loop {
        if let Outcome::Done(grant) = road.poll(&begun.state)? {
            return Ok(grant);
        }
        if Instant::now() >= until {
            let text = "no answer came back within ten minutes; start again";
            return Err(Failure(exit::UNAVAILABLE, text.to_owned()));
        }
        if let Some(callback) = loopback.as_ref().and_then(Loopback::next) {
            let is_ours = road.paste(&begun.state, &callback.target)?;
            callback.answer(is_ours);
            continue;
        }
        if is_over && !has_other_way {
            let text = "nothing more can be pasted; start again, and paste the address of the page that opens";
            return Err(Failure(exit::UNAVAILABLE, text.to_owned()));
        }
        if is_over {
            // Nothing can be pasted any more; the other ways still work.
            std::thread::sleep(POLL_EVERY);
            continue;
        }
        let failed = |error: io::Error| Failure(exit::UNAVAILABLE, format!("stdin: {error}"));
        match lines.next(Some(POLL_EVERY)).map_err(failed)? {
            Line::Text(line) => {
                let line = line.trim();
                if !line.is_empty() {
                    if road.paste(&begun.state, line)? {
                        continue;
                    }
                    let _ = writeln!(
                        out,
                        "That is not what Zoom's page led to for this address: expected an address with code= \
                         and state=, or the code."
                    );
                    let _ = out.flush();
                }
                // Input without an end would be read, and the server be asked, without a pause.
                is_over = refusals.add();
            }
            Line::Nothing => {}
            Line::End => is_over = true,
        }
    }
}

/// `ZOOM_REDIRECT_URL`, if tokens of a user are what the configuration uses.
fn redirect_url(app: &App) -> Result<String, Failure> {
    let fault = |text: &str| Err(Failure(exit::CONFIG, text.to_owned()));
    match (&app.rest.redirect_url, &app.rest.credentials) {
        (None, _) => fault(
            "ZOOM_REDIRECT_URL: not given, expected one of the redirect URLs on the app's page at Zoom, as in \
             http://127.0.0.1:8765/oauth",
        ),
        (_, RestCredentials::Static { .. }) => {
            fault("access_token: found, and it would be used instead; remove it")
        }
        (_, RestCredentials::ServerToServer { .. }) => {
            fault("ZOOM_ACCOUNT_ID: found, and it would be used instead; remove it")
        }
        (Some(redirect), _) => Ok(redirect.clone()),
    }
}

fn show(grant: &UserGrant, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "user     {}", grant.user)?;
    if !grant.account.is_empty() {
        writeln!(out, "account  {}", grant.account)?;
    }
    match grant.scopes.is_empty() {
        true => writeln!(out, "scopes   not reported by Zoom"),
        false => writeln!(out, "scopes   {}", grant.scopes.join(" ")),
    }
}

/// The scopes that the configuration needs and the token lacks.
fn missing_scopes(app: &App, grant: &UserGrant, media: &[&str]) -> Result<(), Failure> {
    if grant.scopes.is_empty() {
        return Ok(());
    }
    let missing = online::missing_scopes(app, &grant.scopes, media);
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let text = format!(
                "authorized, but the token lacks {}: add it to the app in the Marketplace and authorize again; \
                 until then, what needs it does not work",
                missing.join(" ")
            );
            Err(Failure(exit::NO_PERMISSION, text))
        }
    }
}

/// The state directory of the configuration, where tokens are stored.
fn state(config: &Config) -> Option<&Path> {
    config.daemon.state.as_deref()
}
