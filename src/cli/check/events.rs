//! `rtmsd check --online`: by which way events come, whether the subscription answers, and where the
//! redirect of `rtmsd authorize` leads.
//!
//! Zoom serves one connection for each subscription. So while a server runs here, or a node of the fleet has the
//! connection, this does not connect: the server, or the store, says what it sees.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::streams::Streams;
use crate::cli::admin_client;
use crate::cli::authorize::loopback_address;
use crate::cli::exit;
use crate::cli::fleet;
use crate::config::Config;
use crate::daemon::events::ApiTokens;
use crate::domain::app::RestCredentials;
use crate::domain::turn::Turn;
use crate::inbox::inbox;
use crate::net::dial::Dialer;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::source::events::{EventsSource, Process, Settings, SourceReport, State};
use crate::source::webhook::desk::Accepted;
use crate::state::{self, StateDir};
use crate::zoom_api::{self, Api};

/// Time limit for token and connection, with a second kind of token.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// The admin listener answers in milliseconds.
const ASK_MAX: Duration = Duration::from_secs(3);

/// What arrives while the connection is looked at goes nowhere: there is no server that would act on it.
struct Nothing;

impl From<Accepted> for Nothing {
    fn from(_: Accepted) -> Nothing {
        Nothing
    }
}

impl From<SourceReport> for Nothing {
    fn from(_: SourceReport) -> Nothing {
        Nothing
    }
}

/// Checks and reports, one finding a line; returns the exit code of the worst finding.
pub(crate) fn run(config: &Config, process: zoom_api::Process, out: &mut impl Write) -> u8 {
    // If the reader is gone the report is lost, but the exit code is still right.
    let mut code = exit::OK;
    let _ = report(config, process, out, &mut code);
    code
}

fn report(
    config: &Config,
    process: zoom_api::Process,
    out: &mut impl Write,
    code: &mut u8,
) -> io::Result<()> {
    let port = config.port.is_some();
    let way = match (&config.daemon.zoom_events, port) {
        (None, _) => "webhooks".to_owned(),
        (Some(events), false) => format!("the WebSocket alone, {}", events.url.as_str()),
        (Some(events), true) => format!("webhooks, and the WebSocket {}", events.url.as_str()),
    };
    writeln!(out, "ok    events: they come by {way}")?;
    if let Some(events) = &config.daemon.zoom_events {
        let found = match (is_served(config), fleet::events_node(config)) {
            (_, Ok(Some(node))) => Ok(format!("node {node} of the fleet has the connection")),
            (true, _) => ask_server(config),
            (false, Ok(None)) => connect(config, events, process),
            (false, Err(why)) => {
                let text = format!(
                    "not tried: a node of the fleet may have the connection, and a second one would take it away; the \
                     store does not say which: {why}"
                );
                Err((0, text))
            }
        };
        match found {
            Ok(text) => writeln!(out, "ok    subscription: {text}")?,
            Err((0, text)) => writeln!(out, "warn  subscription: {text}")?,
            Err((fault, text)) => {
                *code = (*code).max(fault);
                writeln!(out, "fault subscription: {text}")?;
            }
        }
    }
    if let Some(redirect) = &config.app().rest.redirect_url {
        let text = match (loopback_address(redirect), port) {
            (Some((address, _)), _) => match TcpListener::bind(address) {
                Ok(_) => "the port is free for rtmsd authorize".to_owned(),
                Err(error) => {
                    let text = format!(
                        "{redirect}: rtmsd authorize cannot listen there: {error}; the page's address can be pasted"
                    );
                    return writeln!(out, "warn  redirect: {text}");
                }
            },
            (None, true) => {
                "the running server takes the code if this address leads to it, else the page's address is pasted"
                    .to_owned()
            }
            (None, false) => "with PORT=off the page's address is pasted".to_owned(),
        };
        writeln!(
            out,
            "ok    redirect: {redirect}: {text}; it must stand on the app's page, letter by letter"
        )?;
    }
    Ok(())
}

/// Whether a server holds the state directory.
fn is_served(config: &Config) -> bool {
    let is_there = |path: &&Path| path.exists();
    let state = config.daemon.state.as_deref().filter(is_there);
    let keys = &config.daemon.state_keys;
    let held = state.map(|path| StateDir::open_sealed(path, keys.clone()));
    matches!(
        held,
        Some(Err(
            state::Error::InUse { .. } | state::Error::NotOurs { .. }
        ))
    )
}

fn ask_server(config: &Config) -> Result<String, (u8, String)> {
    let quiet = || {
        let text = "a server runs here, and a second connection would take the subscription from it; rtmsd status \
                    says whether it is connected";
        (0, text.to_owned())
    };
    let address = admin_client::address(&config.admin).map_err(|_| quiet())?;
    let token = config.admin.token.as_ref();
    let answer =
        admin_client::ask(&address, "/streams", None, token, ASK_MAX).map_err(|_| quiet())?;
    let streams: Streams = serde_json::from_str(&answer.text).map_err(|_| quiet())?;
    let events = streams.events.ok_or_else(quiet)?;
    match events.state == State::Connected.name() || events.is_elsewhere() {
        true => Ok(format!("the running server says: {}", events.line())),
        false => Err((
            exit::UNAVAILABLE,
            format!("the running server says: {}", events.line()),
        )),
    }
}

/// Connects as the server would, and leaves again.
fn connect(
    config: &Config,
    events: &Settings,
    process: zoom_api::Process,
) -> Result<String, (u8, String)> {
    let unreachable = |text: String| (exit::UNAVAILABLE, text);
    let settings = &config.daemon;
    let mut app = config.app().clone();
    if matches!(app.rest.credentials, RestCredentials::UserRefresh { .. }) {
        // A user's token does not open it; that of the app itself does.
        app.rest.credentials = RestCredentials::None;
    }
    let api = Api::new(app, process).map_err(|error| (error.exit_code(), error.to_string()))?;
    let api = Arc::new(api);
    let tokens = Arc::new(ApiTokens::new(Arc::clone(&api)));
    let url = (events.url.server(&settings.allowed_hosts))
        .map_err(|error| (exit::CONFIG, error.to_string()))?;
    let tls = TlsClient::new(settings.ca_file.as_deref())
        .map_err(|error| (exit::CONFIG, error.to_string()))?;
    let dialer = Dialer::start(tls, Resolver::default()).map_err(|e| unreachable(e.to_string()))?;
    let (sender, _receiver) = inbox::<Nothing>(1024);
    let process = Process {
        dialer,
        proxy: settings.proxy.clone(),
        inbox: sender,
        intents: None,
    };
    let begun = Instant::now();
    let source = EventsSource::start(url, Turn::Ours, events.heartbeat, tokens, process)
        .map_err(|error| unreachable(error.to_string()))?;
    let state = loop {
        let state = source.shared().snapshot().state;
        let is_over = matches!(state, State::Connected | State::Refused | State::Displaced);
        if is_over || begun.elapsed() >= CONNECT_MAX {
            break state;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let trouble = source.shared().trouble();
    api.stop();
    source.stop(Instant::now() + Duration::from_secs(5));
    match state {
        State::Connected => Ok(format!(
            "Zoom accepts the connection, after {} ms",
            begun.elapsed().as_millis()
        )),
        State::Refused => Err((exit::NO_PERMISSION, trouble)),
        _ => Err(unreachable(format!(
            "no connection within {} s: {trouble}",
            CONNECT_MAX.as_secs()
        ))),
    }
}
