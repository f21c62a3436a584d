//! `rtmsd check --online`: token, scopes, clock and API as far as a client can see them, and what
//! else must be true at Zoom before a stream starts.
//!
//! It changes nothing at Zoom, with one exception that cannot be avoided: a refresh token is
//! rotated (and stored) when it is used.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use crate::state::StateDir;
use crate::zoom_api::{AccessToken, Api, App, Error, ProbeResult, Process, RestCredentials};

/// A clock this far off is worth a word.
const CLOCK_WARN_MS: i64 = 5_000;

/// A clock this far off makes webhooks look stale or forged (they may be five minutes old) and
/// Video SDK tokens invalid.
const CLOCK_FAULT_MS: i64 = 60_000;

/// The scope that start, stop, pause and resume need; the second form is an account-level app's.
const CONTROL_SCOPE: &str = "meeting:update:participant_rtms_app_status";

/// Checks and reports, one finding a line; returns the exit code of the worst finding.
///
/// `state` is the state directory, where the credentials need it; `media` are the words of
/// `RTMS_MEDIA`.
pub fn run(
    app: &App,
    process: Process,
    state: Result<Option<Arc<StateDir>>, Error>,
    media: &[&str],
    out: &mut impl Write,
) -> u8 {
    let mut report = Report { out, exit_code: 0 };
    // A reader that is gone does not want to know, but the exit code is still true.
    let _ = report.check(app.clone(), process, state, media);
    let _ = report.out.flush();
    report.exit_code
}

struct Report<'a, W> {
    out: &'a mut W,
    exit_code: u8,
}

impl<W: Write> Report<'_, W> {
    fn check(
        &mut self,
        mut app: App,
        mut process: Process,
        state: Result<Option<Arc<StateDir>>, Error>,
        media: &[&str],
    ) -> io::Result<()> {
        let refusal = match state {
            Ok(state) => {
                process.state = state;
                None
            }
            // Without a token, API and clock can be looked at all the same.
            Err(error) => {
                app.rest.credentials = RestCredentials::None;
                Some(error)
            }
        };
        let api = match Api::new(app, process) {
            Ok(api) => api,
            Err(error) => return self.error("settings", &error),
        };
        let token = match (refusal, &api.app().rest.credentials) {
            (Some(error), _) => Err(error),
            (None, RestCredentials::None) => Ok(None),
            (None, _) => api.token().map(Some),
        };
        match &token {
            Ok(Some(token)) => {
                self.fine("token", &describe(&api, token))?;
                self.check_scopes(api.app(), token, media)?;
            }
            Ok(None) => self.fine(
                "token",
                "none configured, so streams must be started by Zoom's auto-start or by a client",
            )?,
            Err(error) => self.error("token", error)?,
        }
        self.check_api(&api, token.ok().flatten().as_ref())?;
        self.remember(api.app(), media)
    }

    fn check_api(&mut self, api: &Api, token: Option<&AccessToken>) -> io::Result<()> {
        match api.probe(token) {
            Ok(reached) => {
                let and = match token {
                    Some(_) => " and accepts the token",
                    None => "",
                };
                let url = &api.app().rest.api_url;
                let ms = reached.round_trip.as_millis();
                self.fine("api", &format!("{url} answered in {ms} ms{and}"))?;
                self.check_clock(&reached)
            }
            Err(error) => self.error("api", &error),
        }
    }

    fn check_scopes(&mut self, app: &App, token: &AccessToken, media: &[&str]) -> io::Result<()> {
        if token.scopes.is_empty() {
            return self.warn("scopes", "zoom does not report the scopes of this token");
        }
        self.fine("scopes", &token.scopes.join(" "))?;
        if has(token, CONTROL_SCOPE) {
            self.fine(
                "control",
                &format!("{CONTROL_SCOPE} is there, streams can be started"),
            )?;
        } else {
            self.fault(
                "control",
                77,
                &format!(
                    "found no {CONTROL_SCOPE} (or with :admin), expected it to start and stop streams; \
                     add it to the app in the Marketplace and authorize the app again"
                ),
            )?;
        }
        let wanted = media_scopes(media);
        if !is_streaming_app(app) {
            // An app that only makes the calls does not show what the other one may receive.
            return self.fine(
                "media",
                &format!(
                    "unknown with this token, because another app receives the streams; \
                     check in the Marketplace that app {} has {}",
                    app.credentials.id,
                    wanted.join(" ")
                ),
            );
        }
        for scope in wanted {
            if has(token, &scope) {
                self.fine("media", &format!("{scope} is there"))?;
            } else {
                self.fault(
                    "media",
                    77,
                    &format!(
                        "found no {scope}, expected it for RTMS_MEDIA={}; without it zoom sends nothing of that kind and no error; \
                         add it to the app in the Marketplace and authorize the app again",
                        media.join(",")
                    ),
                )?;
            }
        }
        Ok(())
    }

    fn check_clock(&mut self, reached: &ProbeResult) -> io::Result<()> {
        let Some(ahead_ms) = reached.clock_ahead_ms else {
            return self.warn("clock", "zoom's answer had no date to compare with");
        };
        let text = format!(
            "this machine is {:.1} s {} zoom",
            ahead_ms.unsigned_abs() as f64 / 1000.0,
            if ahead_ms < 0 { "behind" } else { "ahead of" }
        );
        match ahead_ms.abs() {
            CLOCK_FAULT_MS.. => self.fault(
                "clock",
                78,
                &format!("{text}, expected less than 60 s, or webhooks are refused as forged; set the clock (timedatectl set-ntp true)"),
            ),
            CLOCK_WARN_MS.. => self.warn("clock", &format!("{text}; set the clock (timedatectl set-ntp true)")),
            _ => self.fine("clock", &text),
        }
    }

    /// What no token shows.
    fn remember(&mut self, app: &App, media: &[&str]) -> io::Result<()> {
        writeln!(
            self.out,
            "\nA stream starts only if all of this is true at Zoom too, which rtmsd cannot check:"
        )?;
        let scopes = media_scopes(media).join(" ");
        for line in [
            format!("the app {} is a General app with Realtime Media Streams, and has the scopes {scopes}", app.credentials.id),
            "the app subscribes to the events meeting.rtms_started, meeting.rtms_stopped, meeting.rtms_interrupted \
             (and to meeting.started and meeting.ended for starts by REST), with the scopes rtms:read:rtms_started, …_stopped, …_interrupted"
                .to_owned(),
            "the subscription's endpoint is this server's public HTTPS address, validated, and its secret token is ZOOM_SECRET_TOKEN"
                .to_owned(),
            "the account setting that shares realtime meeting content with apps is on, for the account or the host's group"
                .to_owned(),
            "the administrator allows the app, and it is installed for the host".to_owned(),
            "the account has an RTMS plan with credits left (else error 2310; a new one takes a minute or two)".to_owned(),
            "the user behind the token is the host, an alternative host who is present, or the named participant \
             is invited and has joined (else error 2308)"
                .to_owned(),
            "development credentials go with the development app, production credentials with the published one \
             (else the handshake fails with status 3, or the stream stops with reason 18)"
                .to_owned(),
        ] {
            writeln!(self.out, "  - {line}")?;
        }
        Ok(())
    }

    fn fine(&mut self, what: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "ok    {what}: {text}")
    }

    fn warn(&mut self, what: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "warn  {what}: {text}")
    }

    fn fault(&mut self, what: &str, exit_code: u8, text: &str) -> io::Result<()> {
        // The codes rise with what has to be set right first: reach, permission, configuration.
        self.exit_code = self.exit_code.max(exit_code);
        writeln!(self.out, "fault {what}: {text}")
    }

    fn error(&mut self, what: &str, error: &Error) -> io::Result<()> {
        self.fault(what, error.exit_code(), &error.to_string())
    }
}

fn describe(api: &Api, token: &AccessToken) -> String {
    let kind = match &api.app().rest.credentials {
        RestCredentials::Static { .. } => "static (access_token)",
        RestCredentials::ServerToServer { .. } => "server-to-server (ZOOM_ACCOUNT_ID)",
        RestCredentials::UserRefresh { .. } => "user (ZOOM_REFRESH_TOKEN)",
        RestCredentials::None => "none",
    };
    match left(api.process().clock.instant(), token) {
        Some(seconds) => format!("{kind}, expires in {} min {} s", seconds / 60, seconds % 60),
        None => format!(
            "{kind}; zoom accepts such a token for one hour and does not report its end, so configure \
             ZOOM_ACCOUNT_ID or ZOOM_REFRESH_TOKEN for a server"
        ),
    }
}

fn left(now: Instant, token: &AccessToken) -> Option<u64> {
    let end = token.expires_at?;
    Some(end.saturating_duration_since(now).as_secs_f64().round() as u64)
}

/// Whether the token is of the app that receives the streams. A server-to-server app never is.
fn is_streaming_app(app: &App) -> bool {
    matches!(&app.rest.credentials, RestCredentials::UserRefresh { client_id, .. } if *client_id == app.credentials.id)
}

fn has(token: &AccessToken, scope: &str) -> bool {
    token
        .scopes
        .iter()
        .any(|found| found.strip_suffix(":admin").unwrap_or(found) == scope)
}

/// The scopes that let an app receive these media of a meeting.
fn media_scopes(media: &[&str]) -> Vec<String> {
    const ALL: [&str; 5] = ["transcript", "audio", "video", "share", "chat"];
    let is_wanted = |word: &str| media.contains(&word) || media.contains(&"all");
    ALL.into_iter()
        .filter(|word| is_wanted(word))
        .map(|word| match word {
            "share" => "meeting:read:meeting_screenshare".to_owned(),
            word => format!("meeting:read:meeting_{word}"),
        })
        .collect()
}
