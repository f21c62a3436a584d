//! We call Zoom: streams are started and stopped by REST, tokens come from OAuth.
//!
//! Everything here blocks, has a deadline, and sleeps nowhere: who wants to try again later asks
//! [`StartRetry`] when, and comes back. Nothing here reads the configuration or the environment
//! by itself; it is all in [`Settings`].
//!
//! ```text
//! control ─ token (one fetch for all who wait) ─ grant ─ chain (refresh tokens on disk)
//!    │                                             │
//!    └──────────────── http ───────────────────────┘
//!                       │
//!                     reply ─ error (the table)      retry (when to try again)
//! ```

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod counters;
pub(crate) mod errors;
pub(crate) mod http_call;
pub(crate) mod jwt;
pub mod oauth;
pub(crate) mod reply;
pub(crate) mod ureq_resolver;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use crate::domain::rest::{ControlRequest, RestAction};
pub use crate::net::proxy::ProxyEnv;
pub use clock::Clock;
pub use counters::Counters;
pub use errors::{Class, Error, Kind};
pub use oauth::cache::AccessToken;
pub use reply::RETRY_AFTER_MAX;

use crate::domain::app::AppCredentials;
use crate::domain::secret::Secret;
use crate::state::StateDir;
use http_call::{Http, HttpCall, Server};
use oauth::cache::TokenCache;
use oauth::request::TokenSource;

/// Log targets (and all below them) that a logger must hold to `warn` at any level: at `trace`
/// they print what goes over the wire, tokens and transcripts included.
pub const SENSITIVE_LOG_TARGETS: [&str; 3] = ["ureq", "ureq_proto", "tungstenite"];

/// How to call Zoom, and as whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ZOOM_API_URL`: `https`, or `http` to loopback.
    pub api_url: String,
    /// `ZOOM_OAUTH_URL`: likewise.
    pub oauth_url: String,
    /// Whose token the calls are made with.
    pub credentials: Credentials,
    /// The app that receives the streams (the one that signs handshakes), sent as
    /// `settings.client_id`.
    pub client_id: String,
    /// `RTMS_PARTICIPANT_USER_ID`, sent as `settings.participant_user_id`.
    pub participant_user_id: Option<String>,
    /// `ZOOM_VIDEO_SDK_KEY` and `ZOOM_VIDEO_SDK_SECRET`, for Video SDK sessions.
    pub video_sdk: Option<AppCredentials>,
    /// `RTMS_CA_FILE`: roots beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Where rotated refresh tokens are kept; only [`Credentials::UserRefresh`] needs it.
    pub state: Option<Arc<StateDir>>,
    /// How long one call may take, from the look-up of the name to the last byte.
    pub timeout: Duration,
    /// The proxies of the environment.
    pub proxy: ProxyEnv,
    /// What time it is.
    pub clock: Clock,
}

impl Settings {
    /// Zoom's public cloud, ten seconds a call, no proxy, nothing optional.
    pub fn new(credentials: Credentials, client_id: impl Into<String>) -> Settings {
        Settings {
            api_url: "https://api.zoom.us".to_owned(),
            oauth_url: "https://zoom.us/oauth/token".to_owned(),
            credentials,
            client_id: client_id.into(),
            participant_user_id: None,
            video_sdk: None,
            ca_file: None,
            state: None,
            timeout: Duration::from_secs(10),
            proxy: ProxyEnv::default(),
            clock: Clock::system(),
        }
    }
}

/// Whose token the calls are made with. Where several are configured, the first of this order is
/// to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token as it is, good until it expires.
    Static {
        /// The access token.
        token: Secret,
    },
    /// A server-to-server app of the account.
    ServerToServer {
        /// The account.
        account_id: String,
        /// The app.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// An app that a user has authorized.
    UserRefresh {
        /// The app.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// The configured refresh token; the stored one wins if it stems from this one.
        refresh_token: Secret,
    },
    /// Nobody's: streams are started by others. Only Video SDK sessions can be controlled.
    None,
}

/// The client: one per process at a time, shared by all threads.
#[derive(Debug)]
pub struct Api {
    settings: Settings,
    http: Arc<Http>,
    tokens: Arc<TokenCache>,
    counters: Arc<Counters>,
}

/// How the API server answered a harmless question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// The HTTP status.
    pub status: u16,
    /// How far our clock is ahead of the server's (negative: behind), in milliseconds, give or
    /// take half a second and half the round trip; `None` if the answer had no `Date`.
    pub clock_ahead_ms: Option<i64>,
    /// How long it took.
    pub round_trip: Duration,
}

impl Api {
    /// Prepares the client. Nothing is sent; roots and stored tokens are read.
    pub fn new(settings: Settings) -> Result<Api, Error> {
        let http = http(&settings)?;
        let grant = TokenSource::new(&settings, &http, None)?;
        Ok(Api::with(settings, http, grant, Arc::default()))
    }

    fn with(
        settings: Settings,
        http: Arc<Http>,
        grant: TokenSource,
        counters: Arc<Counters>,
    ) -> Api {
        let tokens = TokenCache::new(
            grant,
            settings.clock.clone(),
            Arc::clone(&counters),
            settings.timeout,
        );
        Api {
            settings,
            http,
            tokens: Arc::new(tokens),
            counters,
        }
    }

    /// A client with other credentials or addresses, for calls from now on; those under way end
    /// with this one. What is the same goes over: connections, the access token, the chain of
    /// refresh tokens, the counters. Roots, state directory, proxy, timeout and clock belong to the
    /// process and stay as they are here, whatever the settings say.
    ///
    /// Nothing is sent. It may read the state directory, and the system's roots.
    ///
    /// # Errors
    /// As in [`Api::new`]; then this client is as good as before.
    pub fn renewed(&self, settings: Settings) -> Result<Api, Error> {
        let old = &self.settings;
        let settings = Settings {
            ca_file: old.ca_file.clone(),
            state: old.state.clone(),
            timeout: old.timeout,
            proxy: old.proxy.clone(),
            clock: old.clock.clone(),
            ..settings
        };
        let has_same_servers =
            (&settings.api_url, &settings.oauth_url) == (&old.api_url, &old.oauth_url);
        let http = match has_same_servers {
            true => Arc::clone(&self.http),
            false => http(&settings)?,
        };
        if has_same_servers && settings.credentials == old.credentials {
            return Ok(Api {
                settings,
                http,
                tokens: Arc::clone(&self.tokens),
                counters: Arc::clone(&self.counters),
            });
        }
        let grant = TokenSource::new(&settings, &http, Some(self.tokens.grant()))?;
        Ok(Api::with(settings, http, grant, Arc::clone(&self.counters)))
    }

    /// What was done so far, in numbers.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An access token that is good now; fetched if there is none.
    pub fn token(&self) -> Result<AccessToken, Error> {
        self.tokens.token()
    }

    /// Forgets the user's tokens, in memory and on disk (`app_deauthorized`).
    pub fn forget(&self) -> Result<(), Error> {
        self.tokens.forget()
    }

    /// Ends calls under way and refuses further ones, so that a stopping process need not wait
    /// for them. Look-ups of names and connects under way still take up to half a timeout.
    pub fn stop(&self) {
        self.http.stop();
    }

    /// Asks the API who we are: without side effects. With a token, any answer of Zoom's own but
    /// 401 shows that the server is there and knows the token; without one, any at all.
    pub fn probe(&self, token: Option<&AccessToken>) -> Result<ProbeResult, Error> {
        const CALL: &str = "reach the zoom api";
        let begun: (Instant, SystemTime) =
            (self.settings.clock.instant(), self.settings.clock.date());
        let bearer = token.map(AccessToken::bearer);
        let call = HttpCall {
            server: Server::Api,
            method: "GET",
            path: "/v2/users/me",
            authorization: bearer.as_ref(),
            body: None,
        };
        let reply = self.http.call(call, begun.1).map_err(|e| e.error(CALL))?;
        let round_trip = self
            .settings
            .clock
            .instant()
            .saturating_duration_since(begun.0);
        let secret = token.map_or("", |token| token.text.expose());
        let error = reply.error(Server::Api, CALL, &[secret]);
        match error.kind() {
            _ if reply.is_success() => {}
            Kind::TokenRefused if token.is_none() => {}
            Kind::TokenRefused => {
                let kind = if self.tokens.is_static() {
                    Kind::StaticTokenRefused
                } else {
                    Kind::FreshTokenRefused
                };
                return Err(Error { kind, ..error });
            }
            // No scope for this question, or no such user: Zoom's own words all the same.
            _ if error.code().is_some() && error.class() == Class::GiveUp => {}
            _ => return Err(error),
        }
        Ok(ProbeResult {
            status: reply.status,
            clock_ahead_ms: reply.date.map(|date| {
                // A `Date` is cut to seconds, so on average the server was half of one further.
                let there = millis(date) + 500;
                let here = millis(begun.1) + round_trip.as_millis() as i64 / 2;
                here - there
            }),
            round_trip,
        })
    }
}

fn http(settings: &Settings) -> Result<Arc<Http>, Error> {
    let http = Http::new(settings)
        .map_err(|fault| Error::new(Kind::Configuration, "prepare calls to zoom", fault))?;
    Ok(Arc::new(http))
}

fn millis(date: SystemTime) -> i64 {
    let since = date.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
