//! Calls to Zoom: REST starts and stops streams, OAuth issues tokens.
//!
//! Everything here blocks, has a deadline, and never sleeps: a caller asks `coordinator::retry`
//! when to retry. Nothing here reads the configuration or the environment; all of it is passed in
//! [`App`] and [`Process`].
//!
//! ```text
//! control ─▶ oauth/grants (whose token) ─▶ oauth/cache (one fetch for all who wait)
//!    │                                          └─▶ oauth/request ─▶ oauth/refresh_store (disk)
//!    │                                                      │
//!    └───────────────────▶ http_call ◀──────────────────────┘
//!                              │
//!                            reply ─▶ errors (the table)
//! ```

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod counters;
pub(crate) mod errors;
pub(crate) mod http_call;
pub(crate) mod jwt;
pub mod oauth;
pub(crate) mod online_check;
pub(crate) mod reply;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use crate::domain::app::{App, AppCredentials, RestCredentials, RestSettings};
pub use crate::domain::rest::{ControlRequest, RestAction};
use crate::domain::secret::Secret;
use crate::net::address::AllowedHosts;
pub use crate::net::proxy::ProxyEnv;
pub use clock::Clock;
pub use counters::Counters;
pub use errors::{Class, Error, Kind};
pub use oauth::grants::facts::{GrantState, GrantStatus};
pub use oauth::request::AccessToken;
pub use oauth::shared::{SharedGrant, SharedState, SharedTokens, StoreDown};
pub use oauth::user_grant::UserGrant;
pub use online_check::{CheckFailure, OnlineCheck, TokenFacts};
pub use reply::RETRY_AFTER_MAX;

use crate::state::StateDir;
use crate::state::seal::StateKeys;
use http_call::{Http, HttpCall, Server};
use oauth::cache::TokenCache;
use oauth::grants::{Grants, Parts};
use oauth::request::{Client, TokenSource};
use oauth::shared::Share;

/// Time limit of one REST call, from the name look-up to the last byte.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// After this time without a use the refresh token of a grant is exchanged: a third of its life.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The client's environment in its process; a reload does not change it.
#[derive(Debug, Clone)]
pub struct Process {
    /// `RTMS_CA_FILE`: root certificates in addition to the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Where rotated refresh tokens are stored; only [`RestCredentials::UserRefresh`] needs it.
    pub state: Option<Arc<StateDir>>,
    /// Time limit of one call.
    pub timeout: Duration,
    /// The proxies of the environment.
    pub proxy: ProxyEnv,
    /// `RTMS_ALLOWED_HOSTS`: Zoom's token answer may name one of these for REST calls.
    pub allowed_hosts: AllowedHosts,
    /// The clock.
    pub clock: Clock,
    /// The grants that the nodes of a fleet share; `None` without one.
    pub shared: Option<Arc<dyn SharedGrant>>,
}

impl Default for Process {
    /// The system's roots and clock, no state directory, no proxy.
    fn default() -> Process {
        Process {
            ca_file: None,
            state: None,
            timeout: DEFAULT_TIMEOUT,
            proxy: ProxyEnv::default(),
            allowed_hosts: AllowedHosts::default(),
            clock: Clock::system(),
            shared: None,
        }
    }
}

/// The client: one per process at a time, shared by all threads.
#[derive(Debug)]
pub struct Api {
    app: App,
    process: Process,
    http: Arc<Http>,
    tokens: Tokens,
    /// Tokens of the app itself, for its event subscription.
    app_tokens: Arc<TokenCache>,
    counters: Arc<Counters>,
}

/// The access tokens for REST calls.
#[derive(Debug, Clone)]
enum Tokens {
    /// Of the credentials in the configuration.
    Own(Arc<TokenCache>),
    /// Of the users who have authorized the app.
    OfUsers(Arc<Grants>),
}

/// How a token for the event WebSocket is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventsGrant {
    /// `account_credentials`, as for REST.
    ServerToServer,
    /// `client_credentials` of the app that receives the streams.
    App,
}

impl EventsGrant {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            EventsGrant::ServerToServer => "server-to-server (ZOOM_ACCOUNT_ID)",
            EventsGrant::App => "the app's own (ZOOM_CLIENT_ID)",
        }
    }
}

/// What the removal of the app by a user meant for the stored grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deauthorized {
    /// That user's grant was deleted.
    Forgotten,
    /// All are other users', and stay.
    OfAnother,
    /// It is no user's token.
    NoUser,
}

/// How the API server answered a request without side effects.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProbeResult {
    /// The HTTP status.
    pub status: u16,
    /// How far our clock is ahead of the server's (negative: behind), in milliseconds, accurate to
    /// half a second plus half the round trip; `None` if the answer had no `Date`.
    pub clock_ahead_ms: Option<i64>,
    /// Time from the request to the answer.
    pub round_trip: Duration,
}

impl Api {
    /// Prepares the client of an app. Sends nothing; reads the roots and stored tokens.
    ///
    /// # Errors
    /// If an address, a proxy or a file of roots cannot be used, or the state directory is missing
    /// or cannot be read.
    pub fn new(app: App, process: Process) -> Result<Api, Error> {
        let http = http(&app, &process)?;
        let counters = Arc::default();
        let tokens = Tokens::new(&app, &process, &http, &counters, None)?;
        Ok(Api::with(app, process, http, tokens, None, counters))
    }

    fn with(
        app: App,
        process: Process,
        http: Arc<Http>,
        tokens: Tokens,
        app_tokens: Option<Arc<TokenCache>>,
        counters: Arc<Counters>,
    ) -> Api {
        let of_app = || {
            let source = TokenSource::of_app(&app.credentials, &http);
            cache(source, &process, &counters)
        };
        let app_tokens = app_tokens.unwrap_or_else(of_app);
        Api {
            app,
            process,
            http,
            tokens,
            app_tokens,
            counters,
        }
    }

    /// A client with other credentials or addresses, for calls from now on; calls in progress
    /// finish with this one. Unchanged parts are shared: connections, the access token, the chain
    /// of refresh tokens, the counters.
    ///
    /// Sends nothing. May read the state directory and the system's roots.
    ///
    /// # Errors
    /// As in [`Api::new`]; then this client stays usable.
    pub fn renewed(&self, app: App, allowed_hosts: &AllowedHosts) -> Result<Api, Error> {
        let (new, old) = (&app.rest, &self.app.rest);
        let has_same_servers = (&new.api_url, &new.oauth_url) == (&old.api_url, &old.oauth_url)
            && self.process.allowed_hosts == *allowed_hosts;
        let process = Process {
            allowed_hosts: allowed_hosts.clone(),
            ..self.process.clone()
        };
        let http = match has_same_servers {
            true => Arc::clone(&self.http),
            false => http(&app, &process)?,
        };
        let has_same_app = has_same_servers && app.credentials == self.app.credentials;
        let app_tokens = has_same_app.then(|| Arc::clone(&self.app_tokens));
        if has_same_app && new.credentials == old.credentials {
            return Ok(Api {
                app,
                process,
                http,
                tokens: self.tokens.clone(),
                app_tokens: Arc::clone(&self.app_tokens),
                counters: Arc::clone(&self.counters),
            });
        }
        let (before, counters) = (Some(&self.tokens), Arc::clone(&self.counters));
        let tokens = Tokens::new(&app, &process, &http, &counters, before)?;
        Ok(Api::with(app, process, http, tokens, app_tokens, counters))
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The app whose credentials it uses.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Its environment in the process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The kinds of tokens that may open the event WebSocket, the likeliest first: the subscription is
    /// either of the server-to-server app or of the app that receives the streams.
    pub(crate) fn events_grants(&self) -> &'static [EventsGrant] {
        match self.app.rest.credentials {
            RestCredentials::ServerToServer { .. } => {
                &[EventsGrant::ServerToServer, EventsGrant::App]
            }
            _ => &[EventsGrant::App],
        }
    }

    /// A token of that kind, and not the one with this serial number, which Zoom refused. Blocks.
    pub(crate) fn events_token(
        &self,
        grant: EventsGrant,
        refused: Option<u64>,
    ) -> Result<AccessToken, Error> {
        match grant {
            EventsGrant::ServerToServer => match &self.tokens {
                Tokens::Own(tokens) => tokens.token_but(refused),
                Tokens::OfUsers(_) => self.token(),
            },
            EventsGrant::App => self.app_tokens.token_but(refused),
        }
    }

    /// An access token that is valid now; fetched if there is none. With grants of several users: of the
    /// one that was used last and works.
    pub fn token(&self) -> Result<AccessToken, Error> {
        match &self.tokens {
            Tokens::Own(tokens) => tokens.token(),
            Tokens::OfUsers(grants) => grants.any()?.tokens().token(),
        }
    }

    /// The grants of users, if tokens are theirs.
    pub(crate) fn grants(&self) -> Option<&Grants> {
        match &self.tokens {
            Tokens::Own(_) => None,
            Tokens::OfUsers(grants) => Some(grants),
        }
    }

    /// To be called after a user removed the app (`app_deauthorized`): deletes the user's grant, in
    /// memory and on disk. If it is known of none that it is the user's, those whose owner is not known
    /// are looked at: they are deleted if they may be the user's. Blocks; may fetch tokens to learn their
    /// owners.
    ///
    /// # Errors
    /// If Zoom could not be asked, so the token stays; or if the stored token cannot be deleted.
    pub fn deauthorized(&self, user_id: &str, account_id: &str) -> Result<Deauthorized, Error> {
        let Some(grants) = self.grants() else {
            return Ok(Deauthorized::NoUser);
        };
        let mut ended = grants.of_user(user_id, account_id);
        if ended.is_empty() {
            for grant in grants.without_owner() {
                match grant.tokens().token() {
                    Err(error) if error.kind() == Kind::Stopping => return Err(error),
                    Err(error) if matches!(error.class(), Class::Retry { .. }) => {
                        return Err(error);
                    }
                    // A grant that has ended is deleted like one that is known to be the user's.
                    _ => {}
                }
                let facts = grant.facts();
                if !facts.has_owner() || facts.may_be_of(user_id, account_id) {
                    ended.push(grant);
                }
            }
        }
        for grant in &ended {
            grant.tokens().forget()?;
        }
        grants.look();
        Ok(match ended.is_empty() {
            true => Deauthorized::OfAnother,
            false => Deauthorized::Forgotten,
        })
    }

    /// Exchanges the refresh tokens of grants that were not used for [`IDLE_MAX`]: Zoom lets one expire
    /// after about 90 days. Blocks. Returns how many there were; what fails is logged.
    pub fn keep_grants(&self) -> usize {
        let idle = self.grants().map(|grants| grants.idle(IDLE_MAX));
        let idle = idle.unwrap_or_default();
        for grant in &idle {
            if let Err(error) = grant.tokens().token() {
                let account = grant.facts().account_id;
                log::warn!(
                    "a grant that was not used for long cannot be kept alive account={account}: {error}"
                );
            }
        }
        idle.len()
    }

    /// Gives the store of the fleet what it has lost or never got of the grants. To be called when it answers
    /// again: only then may other nodes refresh. Blocks; what fails is logged.
    pub fn publish_grants(&self) {
        let Some(grants) = self.grants() else {
            return;
        };
        for grant in grants.all() {
            grant.tokens().source().publish_shared();
        }
        grants.look();
    }

    /// Agrees with the other nodes of a fleet on the grants by authorization. Blocks; what fails is logged.
    pub fn share_grants(&self) {
        if let Some(grants) = self.grants() {
            grants.look();
        }
    }

    /// Deletes the grants of all users, in memory and on disk.
    ///
    /// # Errors
    /// A file cannot be deleted.
    pub fn forget(&self) -> Result<(), Error> {
        let Some(grants) = self.grants() else {
            return Ok(());
        };
        let mut all = grants.all().into_iter();
        let forgotten = all.try_for_each(|grant| grant.tokens().forget());
        grants.look();
        forgotten
    }

    /// Aborts calls in progress and refuses further ones, so that a stopping process need not wait
    /// for them. Name look-ups and connects in progress may still last half a timeout, and the
    /// exchange of a refresh token is finished and stored.
    pub fn stop(&self) {
        self.http.stop(self.is_of_user());
    }

    /// Makes a request without side effects. With a token, any answer of Zoom's own except 401
    /// shows that the server is there and accepts the token; without one, any answer at all.
    pub fn probe(&self, token: Option<&AccessToken>) -> Result<ProbeResult, Error> {
        const CALL: &str = "reach the zoom api";
        let begun: (Instant, SystemTime) =
            (self.process.clock.instant(), self.process.clock.date());
        let bearer = token.map(AccessToken::bearer);
        let call = HttpCall {
            server: Server::Api,
            base: token.and_then(|token| token.api.as_ref()),
            method: "GET",
            path: "/v2/users/me",
            authorization: bearer.as_ref(),
            body: None,
        };
        let reply = self.http.call(call, begun.1).map_err(|e| e.error(CALL))?;
        let round_trip = self
            .process
            .clock
            .instant()
            .saturating_duration_since(begun.0);
        let secret = token.map_or("", |token| token.text.expose());
        let error = reply.error(Server::Api, CALL, &[secret]);
        match error.kind() {
            _ if reply.is_success() => {}
            Kind::TokenRefused if token.is_none() => {}
            Kind::TokenRefused => {
                let kind = if self.has_static_token() {
                    Kind::StaticTokenRefused
                } else {
                    Kind::FreshTokenRefused
                };
                return Err(Error { kind, ..error });
            }
            // The token lacks the scope for this request, or there is no such user: still an answer
            // of Zoom's own.
            _ if error.code().is_some() && error.class() == Class::GiveUp => {}
            _ => return Err(error),
        }
        Ok(ProbeResult {
            status: reply.status,
            clock_ahead_ms: reply.date.map(|date| {
                // A `Date` is truncated to seconds, so on average the server's time was half a
                // second later.
                let there = millis(date) + 500;
                let here = millis(begun.1) + round_trip.as_millis() as i64 / 2;
                here - there
            }),
            round_trip,
        })
    }
}

impl Tokens {
    /// `before` are those that these replace, if there are some.
    fn new(
        app: &App,
        process: &Process,
        http: &Arc<Http>,
        counters: &Arc<Counters>,
        before: Option<&Tokens>,
    ) -> Result<Tokens, Error> {
        let RestCredentials::UserRefresh {
            client_id,
            client_secret,
            refresh_token,
        } = &app.rest.credentials
        else {
            let source = TokenSource::new(&app.rest.credentials, http)?;
            let source = source.shared_by(|client_id, account_id| {
                let shared = process.shared.as_ref()?;
                let (clock, wait) = (&process.clock, process.timeout);
                Some(Share::of_account(
                    shared, clock, wait, client_id, account_id,
                ))
            });
            return Ok(Tokens::Own(cache(source, process, counters)));
        };
        let client = Client::new(http, client_id, client_secret);
        let grants = match before {
            Some(Tokens::OfUsers(before)) => before.renewed(client, refresh_token)?,
            _ => {
                let state = process.state.as_ref().ok_or_else(|| {
                    let text = "ZOOM_REFRESH_TOKEN: found no state directory, expected RTMS_STATE to keep rotated tokens in";
                    Error::new(Kind::Configuration, oauth::request::CALL, text)
                })?;
                let parts = Parts {
                    clock: process.clock.clone(),
                    counters: Arc::clone(counters),
                    call_max: process.timeout,
                    shared: process.shared.clone(),
                };
                Grants::open(client, state, parts, refresh_token)?
            }
        };
        Ok(Tokens::OfUsers(Arc::new(grants)))
    }
}

fn cache(source: TokenSource, process: &Process, counters: &Arc<Counters>) -> Arc<TokenCache> {
    let (clock, counters) = (process.clock.clone(), Arc::clone(counters));
    Arc::new(TokenCache::new(source, clock, counters, process.timeout))
}

/// The grants in a state directory that no process uses now; nothing is changed. `configured` is
/// `ZOOM_REFRESH_TOKEN`, or empty; `keys` those of encrypted files.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub fn stored_grants(
    state: &Path,
    keys: &StateKeys,
    configured: &Secret,
) -> Result<Vec<GrantStatus>, crate::state::Error> {
    let names = match crate::state::names(state, "") {
        Err(crate::state::Error::Io {
            kind: std::io::ErrorKind::NotFound,
            ..
        }) => Vec::new(),
        names => names?,
    };
    let read = |name: &str| crate::state::read(state, name, keys);
    oauth::grants::look(read, &names, configured)
}

/// The grants by authorization that the nodes of a fleet share, for a command where no server runs.
///
/// # Errors
/// The store does not answer.
pub fn shared_grants(shared: &Arc<dyn SharedGrant>) -> Result<Vec<GrantStatus>, StoreDown> {
    oauth::grants::sharing::look(shared, &Clock::system())
}

fn http(app: &App, process: &Process) -> Result<Arc<Http>, Error> {
    let http = Http::new(&app.rest, process)
        .map_err(|fault| Error::new(Kind::Configuration, "prepare calls to zoom", fault))?;
    Ok(Arc::new(http))
}

fn millis(date: SystemTime) -> i64 {
    let since = date.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
