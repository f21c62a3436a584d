//! The event WebSocket of the daemon: its tokens, its start, and what a reload changes.

use std::sync::Arc;

use super::{Daemon, Error, Event, Settings, inbox, now};
use crate::domain::turn::Turn;
use crate::net::dial::Dialer;
use crate::source::events::{self, EventsSource, SourceReport, Token, TokenFailure, Tokens};
use crate::state::intents::IntentLog;
use crate::zoom_api::{Api, Class};

/// Tokens of the REST client.
#[derive(Debug)]
pub(crate) struct ApiTokens(Arc<Api>);

impl ApiTokens {
    pub(crate) fn new(api: Arc<Api>) -> ApiTokens {
        ApiTokens(api)
    }
}

impl Tokens for ApiTokens {
    fn kinds(&self) -> usize {
        self.0.events_grants().len()
    }

    fn token(&self, kind: usize, refused: Option<u64>) -> Result<Token, TokenFailure> {
        let grants = self.0.events_grants();
        let grant = grants[kind.min(grants.len() - 1)];
        log::debug!("events: token wanted kind=\"{}\"", grant.name());
        match self.0.events_token(grant, refused) {
            Ok(token) => Ok(Token {
                renew_at: token.renew_at(),
                serial: token.serial,
                text: token.text,
            }),
            Err(error) => Err(TokenFailure {
                text: error.to_string(),
                is_final: error.class() == Class::GiveUp,
                retry_after: match error.class() {
                    Class::Retry { after } => after,
                    _ => None,
                },
            }),
        }
    }
}

/// Whose turn it is at the start: a fleet says when it is ours.
pub(super) fn first_turn(has_fleet: bool) -> Turn {
    match has_fleet {
        true => Turn::Anothers,
        false => Turn::Ours,
    }
}

/// Starts the thread, if the settings have an address.
pub(super) fn start(
    settings: &Settings,
    turn: Turn,
    api: &Arc<Api>,
    dialer: &Dialer,
    sender: &inbox::Sender<Event>,
    intents: Option<Arc<IntentLog>>,
) -> Result<Option<EventsSource>, Error> {
    let Some(events) = &settings.zoom_events else {
        return Ok(None);
    };
    let server = (events.url.server(&settings.allowed_hosts)).map_err(Error::EventsUrl)?;
    let process = events::Process {
        dialer: dialer.clone(),
        proxy: settings.proxy.clone(),
        inbox: sender.clone(),
        intents,
    };
    let tokens = Arc::new(ApiTokens(Arc::clone(api)));
    Ok(Some(EventsSource::start(
        server,
        turn,
        events.heartbeat,
        tokens,
        process,
    )?))
}

impl Settings {
    /// Whether an event connection that was made with `old` must be made again.
    fn has_other_events(&self, old: &Settings) -> bool {
        let (new_app, old_app) = (self.app(), old.app());
        self.zoom_events != old.zoom_events
            || self.allowed_hosts != old.allowed_hosts
            || new_app.credentials != old_app.credentials
            || new_app.rest.credentials != old_app.rest.credentials
            || new_app.rest.oauth_url != old_app.rest.oauth_url
    }
}

impl Daemon {
    /// Receives events by the address and the credentials of the new settings.
    pub(super) fn use_events(&mut self, old: &Settings) {
        let Some(events) = &self.settings.zoom_events else {
            if let Some(source) = self.events.take() {
                source.begin_stop();
                self.ended_events.push(source);
            }
            return;
        };
        let server = match events.url.server(&self.settings.allowed_hosts) {
            Ok(server) => server,
            // The configuration checks it.
            Err(error) => return log::error!("ZOOM_EVENTS_URL: {error}"),
        };
        match &self.events {
            Some(source) => {
                let tokens = Arc::new(ApiTokens(Arc::clone(&self.api)));
                source.reload(server, tokens, self.settings.has_other_events(old));
            }
            None => {
                let intents = self.snapshot.as_ref().map(super::Snapshot::log);
                let started = start(
                    &self.settings,
                    first_turn(self.fleet.is_some()),
                    &self.api,
                    &self.dialer,
                    &self.sender,
                    intents,
                );
                match started {
                    Ok(source) => self.events = source,
                    Err(error) => log::error!("events cannot be received: {error}"),
                }
            }
        }
    }

    /// What the events thread reports beside events.
    pub(super) fn events_report(&mut self, report: SourceReport) {
        match report {
            SourceReport::Heard { ms } => self.coordinator.events_heard(ms),
            SourceReport::GapOver { since_ms, until_ms } => {
                let actions = self.coordinator.after_gap(now(), since_ms, until_ms);
                self.apply(actions);
            }
        }
    }
}
