//! `rtmsd check --online`: checks token, scopes, clock and API as far as a client can, and lists
//! what else must be true at Zoom before a stream starts.
//!
//! It changes nothing at Zoom, except that a refresh token is rotated (and stored) when it is used.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::report::Report;
use crate::admin::control_socket;
use crate::cli::exit;
use crate::state::seal::StateKeys;
use crate::state::{self, StateDir};
use crate::zoom_api::{
    Api, App, CheckFailure, Error, GrantStatus, OnlineCheck, ProbeResult, Process, RestCredentials,
    TokenFacts,
};

/// A clock difference from which a warning is given.
const CLOCK_WARN_MS: i64 = 5_000;

/// A clock difference that makes webhooks stale or forged (they may be five minutes old) and Video
/// SDK tokens invalid.
const CLOCK_FAULT_MS: i64 = 60_000;

/// The scope that start, stop, pause and resume need; the second form is an account-level app's.
const CONTROL_SCOPE: &str = "meeting:update:participant_rtms_app_status";

/// The process that uses the credentials.
#[derive(Debug)]
pub enum TokenUser {
    /// This process, with the state directory if it needs that.
    Own(Option<Arc<StateDir>>),
    /// The running server, which found this.
    Server(OnlineCheck),
    /// No process now; why.
    Unused(String),
    /// No process, because of this fault.
    Failed(CheckFailure),
}

impl TokenUser {
    /// A refresh token belongs to one process: the running server, or this one if it can lock the
    /// state directory.
    pub fn find(app: &App, state: Option<&Path>, keys: &StateKeys) -> TokenUser {
        let (RestCredentials::UserRefresh { .. }, Some(path)) = (&app.rest.credentials, state)
        else {
            return TokenUser::Own(None);
        };
        let folder = path.display();
        match control_socket::check_online(path) {
            Ok(Some(found)) => return TokenUser::Server(found),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return TokenUser::Failed(CheckFailure {
                    exit_code: exit::NO_PERMISSION,
                    text: format!(
                        "the refresh token is in {folder}, which this user may not enter; run this \
                         command as root (sudo) or as the user of the server"
                    ),
                });
            }
            // No server, or one that does not answer.
            Ok(None) | Err(_) => {}
        }
        match StateDir::open_sealed(path, keys.clone()) {
            Ok(state) => TokenUser::Own(Some(Arc::new(state))),
            Err(state::Error::InUse { pid, .. }) => {
                let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                TokenUser::Unused(format!(
                    "{folder} is in use by a server{pid} that did not answer on {}; restart it if it \
                     is older than this program",
                    control_socket::NAME
                ))
            }
            Err(state::Error::NotOurs { owner, .. }) => TokenUser::Unused(format!(
                "{folder} belongs to the user of the server (id {owner}), which does not run; start \
                 it and check again"
            )),
            Err(error) => TokenUser::Failed((&Error::of_state(&error)).into()),
        }
    }
}

/// Checks and reports, one finding a line; returns the exit code of the worst finding.
///
/// `media` are the words of `RTMS_MEDIA`.
pub fn run(
    app: &App,
    process: Process,
    user: TokenUser,
    media: &[&str],
    out: &mut impl Write,
) -> u8 {
    let mut report = Report::new(out);
    check(&mut report, app, process, user, media);
    report.end()
}

fn check(
    report: &mut Report<impl Write>,
    app: &App,
    process: Process,
    user: TokenUser,
    media: &[&str],
) {
    let used_by = match user {
        TokenUser::Server(_) => "; the running server uses it and was asked",
        _ => "",
    };
    let found = match user {
        TokenUser::Server(found) => Ok(found),
        TokenUser::Own(state) => look(app.clone(), Process { state, ..process }),
        // Without a token, API and clock can still be checked.
        TokenUser::Unused(why) => {
            report.warn("token", &format!("not used: {why}"));
            return check_without_token(report, app, process, media);
        }
        TokenUser::Failed(fault) => {
            failed(report, "token", &fault);
            return check_without_token(report, app, process, media);
        }
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return failed(report, "settings", &(&error).into()),
    };
    match &found.token {
        Ok(Some(token)) => {
            let text = describe(&app.rest.credentials, token);
            report.fine("token", &format!("{text}{used_by}"));
            check_scopes(report, app, token, media);
        }
        Ok(None) => report.fine(
            "token",
            "none configured, so streams must be started by Zoom's auto-start or by a client",
        ),
        Err(failure) => failed(report, "token", failure),
    }
    check_grants(report, &found.grants);
    let has_token = matches!(found.token, Ok(Some(_)));
    check_api(report, app, &found.api, has_token);
    remember(report, app, media)
}

fn check_without_token(
    report: &mut Report<impl Write>,
    app: &App,
    process: Process,
    media: &[&str],
) {
    let mut without = app.clone();
    without.rest.credentials = RestCredentials::None;
    match look(without, process) {
        Ok(found) => check_api(report, app, &found.api, false),
        Err(error) => return failed(report, "settings", &(&error).into()),
    }
    remember(report, app, media)
}

fn check_api(
    report: &mut Report<impl Write>,
    app: &App,
    api: &Result<ProbeResult, CheckFailure>,
    has_token: bool,
) {
    match api {
        Ok(reached) => {
            let and = match has_token {
                true => " and accepts the token",
                false => "",
            };
            let url = &app.rest.api_url;
            let ms = reached.round_trip.as_millis();
            report.fine("api", &format!("{url} answered in {ms} ms{and}"));
            check_clock(report, reached)
        }
        Err(failure) => failed(report, "api", failure),
    }
}

/// With several grants the token is that of one of them.
fn check_grants(report: &mut Report<impl Write>, grants: &[GrantStatus]) {
    if grants.len() < 2 {
        return;
    }
    for grant in grants {
        let name = format!("account {} user {}", grant.account_id, grant.user_id);
        match grant.state.remedy() {
            None => report.fine("grant", &format!("{name}: works, as far as is known")),
            Some(remedy) => {
                let state = grant.state.name().replace('_', " ");
                report.warn("grant", &format!("{name}: {state}; {remedy}"));
            }
        }
    }
}

fn check_scopes(report: &mut Report<impl Write>, app: &App, token: &TokenFacts, media: &[&str]) {
    if token.scopes.is_empty() {
        return report.warn("scopes", "zoom does not report the scopes of this token");
    }
    report.fine("scopes", &token.scopes.join(" "));
    if has(&token.scopes, CONTROL_SCOPE) {
        report.fine(
            "control",
            &format!("{CONTROL_SCOPE} is there, streams can be started"),
        );
    } else {
        report.fault(
            "control",
            77,
            &format!(
                "found no {CONTROL_SCOPE} (or with :admin), expected it to start and stop streams; \
                     add it to the app in the Marketplace and authorize the app again"
            ),
        );
    }
    let wanted = media_scopes(media);
    if !is_streaming_app(app) {
        // An app that only makes the calls does not show what the receiving app may receive.
        return report.fine(
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
        if has(&token.scopes, &scope) {
            report.fine("media", &format!("{scope} is there"));
        } else {
            report.fault(
                    "media",
                    77,
                    &format!(
                        "found no {scope}, expected it for RTMS_MEDIA={}; without it zoom sends nothing of that kind and no error; \
                         add it to the app in the Marketplace and authorize the app again",
                        media.join(",")
                    ),
                );
        }
    }
}

fn check_clock(report: &mut Report<impl Write>, reached: &ProbeResult) {
    let Some(ahead_ms) = reached.clock_ahead_ms else {
        return report.warn("clock", "zoom's answer had no date to compare with");
    };
    let text = format!(
        "this machine is {:.1} s {} zoom",
        ahead_ms.unsigned_abs() as f64 / 1000.0,
        if ahead_ms < 0 { "behind" } else { "ahead of" }
    );
    match ahead_ms.abs() {
            CLOCK_FAULT_MS.. => report.fault(
                "clock",
                78,
                &format!("{text}, expected less than 60 s, or webhooks are refused as forged; set the clock (timedatectl set-ntp true)"),
            ),
            CLOCK_WARN_MS.. => report.warn("clock", &format!("{text}; set the clock (timedatectl set-ntp true)")),
            _ => report.fine("clock", &text),
        }
}

/// Prints what no token shows.
fn remember(report: &mut Report<impl Write>, app: &App, media: &[&str]) {
    report.line(
        "\nA stream starts only if all of this is true at Zoom too, which rtmsd cannot check:",
    );
    let scopes = media_scopes(media).join(" ");
    for line in [
            format!("the app {} is a General app with Realtime Media Streams, and has the scopes {scopes}", app.credentials.id),
            "the app subscribes to the events meeting.rtms_started, meeting.rtms_stopped, meeting.rtms_interrupted \
             (and to meeting.started and meeting.ended for starts by REST), with the scopes rtms:read:rtms_started, …_stopped, …_interrupted"
                .to_owned(),
            "the subscription has the method WebSocket and its address is ZOOM_EVENTS_URL; or it has the method Webhook, its \
             endpoint is this server's public HTTPS address, validated, and its secret token is ZOOM_SECRET_TOKEN"
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
            report.line(&format!("  - {line}"));
        }
}

fn failed(report: &mut Report<impl Write>, what: &str, failure: &CheckFailure) {
    report.fault(what, failure.exit_code, &failure.text)
}
/// The results of a client of this process.
fn look(app: App, process: Process) -> Result<OnlineCheck, Error> {
    Ok(Api::new(app, process)?.check_online())
}

fn describe(credentials: &RestCredentials, token: &TokenFacts) -> String {
    let kind = match credentials {
        RestCredentials::Static { .. } => "static (access_token)",
        RestCredentials::ServerToServer { .. } => "server-to-server (ZOOM_ACCOUNT_ID)",
        RestCredentials::UserRefresh { refresh_token, .. } if refresh_token.is_empty() => {
            "user (rtmsd authorize)"
        }
        RestCredentials::UserRefresh { .. } => "user (ZOOM_REFRESH_TOKEN)",
        RestCredentials::None => "none",
    };
    match token.expires_in_s {
        Some(seconds) => format!("{kind}, expires in {} min {} s", seconds / 60, seconds % 60),
        None => format!(
            "{kind}; zoom accepts such a token for one hour and does not report its end, so configure \
             ZOOM_ACCOUNT_ID or ZOOM_REFRESH_TOKEN for a server"
        ),
    }
}

/// Whether the token belongs to the app that receives the streams. A server-to-server app never
/// does.
fn is_streaming_app(app: &App) -> bool {
    matches!(&app.rest.credentials, RestCredentials::UserRefresh { client_id, .. } if *client_id == app.credentials.id)
}

/// The scopes that a token lacks for these media: those of streams only if its app receives them.
pub(crate) fn missing_scopes(app: &App, scopes: &[String], media: &[&str]) -> Vec<String> {
    let media = media_scopes(media).into_iter();
    let of_media = media.filter(|_| is_streaming_app(app));
    std::iter::once(CONTROL_SCOPE.to_owned())
        .chain(of_media)
        .filter(|scope| !has(scopes, scope))
        .collect()
}

fn has(scopes: &[String], scope: &str) -> bool {
    scopes
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
