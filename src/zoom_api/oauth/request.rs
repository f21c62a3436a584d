//! One request for an access token, with each of the three kinds of credentials.
//!
//! When it is made is decided in `cache`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::grants::facts::{Facts, GrantState, SharedFacts};
use super::refresh_store::{RefreshTokenFile, RefreshTokenStore};
use super::shared::Share;
use super::shared_user::Wanted;
use crate::domain::app::{AppCredentials, RestCredentials};
use crate::domain::secret::Secret;
use crate::domain::text::percent_encoded as encode;
use crate::net::address::Address;
use crate::state;
use crate::zoom_api::errors::{Error, Kind};
use crate::zoom_api::http_call::{Http, HttpCall, Server};

/// What the request is called in errors.
pub(crate) const CALL: &str = "fetch access token";

/// Assumed lifetime of a token if Zoom does not send one.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(5 * 60);

/// Maximum lifetime: a token that is fetched daily does no harm.
pub(super) const TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Maximum length of a token; Zoom's have up to 2 KB, and a token must fit into a request's header.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A token is replaced this long before it expires (Zoom's guides: a few minutes early; its tokens
/// are valid for an hour).
const EARLY_MAX: Duration = Duration::from_secs(5 * 60);

/// An access token and what Zoom said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    pub(crate) text: Secret,
    /// The scopes, if Zoom sent them; empty for a static token.
    pub scopes: Vec<String>,
    /// Its lifetime when it was fetched; `None` for a static token.
    pub life: Option<Duration>,
    /// When it expires.
    pub expires_at: Option<Instant>,
    /// Where Zoom wants REST calls with it, if that may be followed.
    pub(crate) api: Option<Address>,
    /// The number of the fetch that it came from; 0 for the static one.
    pub(crate) serial: u64,
}

impl AccessToken {
    /// The header's value.
    pub(crate) fn bearer(&self) -> Secret {
        Secret::new(format!("Bearer {}", self.text.expose()))
    }

    /// Whether it is still valid, by the lifetime that Zoom gave.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it should be replaced.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.renew_at().is_some_and(|at| at <= now)
    }

    /// When it should be replaced: five minutes before its end or, with a lifetime below 25 minutes,
    /// after four fifths of it. `None` if its end is not known.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        let end = self.expires_at?;
        Some(
            end.checked_sub(EARLY_MAX.min(self.life? / 5))
                .unwrap_or(end),
        )
    }
}

/// With what credentials a token is requested.
#[derive(Debug)]
pub(crate) enum TokenSource {
    /// No credentials, so no token.
    None,
    Static(AccessToken),
    ServerToServer {
        client: Client,
        account_id: String,
        share: Option<Share>,
    },
    /// The app itself, for its event subscription.
    App {
        client: Client,
    },
    /// The grant of one user.
    User {
        client: Client,
        file: Arc<RefreshTokenFile>,
        tokens: Arc<Mutex<UserTokens>>,
        share: Option<Share>,
    },
}

/// The credentials of a client of the OAuth server, and the connection to it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Arc<Http>,
    id: String,
    basic: Secret,
    client_secret: Secret,
}

/// The tokens of one user.
#[derive(Debug)]
pub(crate) struct UserTokens {
    store: RefreshTokenStore,
    facts: Arc<SharedFacts>,
    /// The next refresh token, which could not be stored yet, and the access token it came with.
    unstored: Option<(Secret, AccessToken)>,
    /// The other nodes' part; `None` without a fleet.
    share: Option<Share>,
    /// The newest access token, for other nodes.
    pub(super) newest: Option<AccessToken>,
    /// The store did not answer the last time.
    pub(super) was_down: bool,
}

/// The OAuth server's answer.
#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    api_url: Option<String>,
}

impl TokenSource {
    /// Of credentials that are no user's: grants of users are in [`super::grants`].
    pub(crate) fn new(
        credentials: &RestCredentials,
        http: &Arc<Http>,
    ) -> Result<TokenSource, Error> {
        Ok(match credentials {
            RestCredentials::None | RestCredentials::UserRefresh { .. } => TokenSource::None,
            RestCredentials::Static { token } => {
                if !is_token(token.expose()) {
                    return Err(configuration(
                        "access_token: found characters that no token has, expected one word",
                    ));
                }
                TokenSource::Static(AccessToken {
                    text: token.clone(),
                    scopes: Vec::new(),
                    life: None,
                    expires_at: None,
                    api: None,
                    serial: 0,
                })
            }
            RestCredentials::ServerToServer {
                account_id,
                client_id,
                client_secret,
            } => TokenSource::ServerToServer {
                client: Client::new(http, client_id, client_secret),
                account_id: account_id.clone(),
                share: None,
            },
        })
    }

    /// Tokens of the app itself (`client_credentials`).
    pub(crate) fn of_app(app: &AppCredentials, http: &Arc<Http>) -> TokenSource {
        TokenSource::App {
            client: Client::new(http, &app.id, &app.secret),
        }
    }

    /// The configured access token, for that kind of source.
    pub(crate) fn static_token(&self) -> Option<&AccessToken> {
        match self {
            TokenSource::Static(token) => Some(token),
            _ => None,
        }
    }

    /// Whether the tokens are one user's, and end when that user removes the app.
    pub(crate) fn is_of_user(&self) -> bool {
        matches!(self, TokenSource::User { .. })
    }

    /// Deletes what is stored about the user.
    pub(crate) fn erase(&self) -> Result<(), Error> {
        match self {
            TokenSource::User { file, .. } => file.erase().map_err(|e| storage(&e)),
            _ => Ok(()),
        }
    }

    /// Tells other nodes that no node is to use it any more, as far as the store can be reached.
    pub(crate) fn forget_shared(&self) {
        let Some(share) = self.share() else {
            return;
        };
        if self.is_of_user()
            && let Err(down) = share.forget()
        {
            log::warn!(
                "the store of the fleet was not told that a grant is over: {}; other nodes find out from Zoom",
                down.0
            );
        }
    }

    /// Gives the store of the fleet what it misses.
    pub(crate) fn publish_shared(&self) {
        if let TokenSource::User {
            tokens,
            share: Some(share),
            ..
        } = self
        {
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.make_up(share);
        }
    }

    /// How long another node's refresh may be waited for.
    pub(crate) fn shared_wait(&self) -> Duration {
        self.share().map(|share| share.wait()).unwrap_or_default()
    }

    fn share(&self) -> Option<Share> {
        match self {
            TokenSource::ServerToServer { share, .. } => share.clone(),
            TokenSource::User { share, .. } => share.clone(),
            _ => None,
        }
    }

    /// With the other nodes of the fleet.
    pub(crate) fn shared_by(mut self, by: impl FnOnce(&str, &str) -> Option<Share>) -> TokenSource {
        if let TokenSource::ServerToServer {
            client,
            account_id,
            share,
        } = &mut self
        {
            *share = by(&client.id, account_id);
        }
        self
    }

    /// Requests a token, other than this one, which is due or was refused. One thread at a time does.
    pub(crate) fn fetch(
        &self,
        but: Option<&Secret>,
        serial: u64,
        now: Instant,
        date: SystemTime,
    ) -> Result<AccessToken, Error> {
        match self {
            TokenSource::None => Err(configuration(
                "found no credentials, expected access_token, ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN or ZOOM_REDIRECT_URL",
            )),
            TokenSource::Static(token) => Ok(token.clone()),
            TokenSource::ServerToServer {
                client,
                account_id,
                share,
            } => {
                let form = format!(
                    "grant_type=account_credentials&account_id={}",
                    encode(account_id)
                );
                let fetch = |now, date| {
                    let reply = client.request("", form.clone(), &[], date)?;
                    Ok(reply.into_token(&client.http, serial, now).0)
                };
                match share {
                    None => fetch(now, date),
                    Some(share) => share.app_token(&client.http, but, serial, || {
                        fetch(share.clock().instant(), share.clock().date())
                    }),
                }
            }
            TokenSource::App { client } => Ok(client
                // Zoom wants the grant in the query, and an empty body.
                .request("?grant_type=client_credentials", String::new(), &[], date)?
                .into_token(&client.http, serial, now)
                .0),
            TokenSource::User { client, tokens, .. } => tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .refresh(client, but, serial, now, date),
        }
    }
}

impl UserTokens {
    pub(crate) fn new(store: RefreshTokenStore, facts: Arc<SharedFacts>) -> UserTokens {
        UserTokens {
            store,
            facts,
            unstored: None,
            share: None,
            newest: None,
            was_down: false,
        }
    }

    /// With the other nodes of the fleet.
    pub(crate) fn shared_by(mut self, share: Option<Share>) -> UserTokens {
        self.share = share;
        self
    }

    pub(super) fn set_share(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// How other nodes call it; stored with the next token.
    pub(super) fn name(&self, name: String) {
        self.facts.update(|facts| facts.shared_as = name);
    }

    pub(super) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts.get()
    }

    /// The refresh token in use.
    pub(super) fn current(&self) -> &Secret {
        self.store.current()
    }

    /// Stores a refresh token of this generation, and whether this node has put it.
    pub(super) fn keep(
        &mut self,
        token: &Secret,
        generation: u64,
        is_last_to_put: bool,
    ) -> Result<(), state::Error> {
        let facts = Facts {
            generation,
            is_last_to_put,
            ..self.facts.get()
        };
        self.store.advance(token, &facts)?;
        self.mark(generation, is_last_to_put);
        Ok(())
    }

    /// The same in memory alone.
    pub(super) fn mark(&self, generation: u64, is_last_to_put: bool) {
        self.facts.update(|facts| {
            facts.generation = generation;
            facts.is_last_to_put = is_last_to_put;
        });
    }

    /// Learns from a token that another node has fetched.
    pub(super) fn learn(&mut self, token: &AccessToken, share: &Share) {
        self.newest = Some(token.clone());
        let date = share.clock().date();
        (self.facts).update(|facts| facts.learn(&token.text, &token.scopes, date));
    }

    /// Deletes what is stored: the user has removed the app.
    pub(super) fn erase(&self) -> Result<(), Error> {
        self.store.erase().map_err(|e| storage(&e))
    }

    pub(super) fn claim(&self) -> Result<(), Error> {
        match self.store.claim() {
            true => Ok(()),
            false => Err(Error::new(Kind::Superseded, CALL, "")),
        }
    }

    /// Whether a token waits to be stored.
    pub(crate) fn has_unstored(&self) -> bool {
        self.unstored.is_some()
    }

    /// Stores what is known of the grant beside its token.
    pub(crate) fn note(&self) -> Result<(), state::Error> {
        match &self.unstored {
            // The one that is stored is used up.
            Some(_) => Ok(()),
            None => self.store.note(&self.facts.get()),
        }
    }

    /// Another grant has taken the place of this one.
    pub(crate) fn retire(&mut self) -> Result<(), state::Error> {
        self.unstored = None;
        self.store.retire()
    }

    /// Asks for the next tokens, and notes whether the grant works.
    fn refresh(
        &mut self,
        client: &Client,
        but: Option<&Secret>,
        serial: u64,
        now: Instant,
        date: SystemTime,
    ) -> Result<AccessToken, Error> {
        let refreshed = match self.share.clone() {
            None => self.rotate(client, serial, now, date),
            Some(share) => self.fetch_shared(&share, client, &Wanted { serial, but }),
        };
        if let Err(error) = &refreshed
            && let Some(state) = GrantState::of(error.kind())
            && self.facts.update(|facts| facts.state = state)
            && let Err(error) = self.note()
        {
            log::warn!("{error}; the state of the grant is not stored");
        }
        refreshed
    }

    fn rotate(
        &mut self,
        client: &Client,
        serial: u64,
        now: Instant,
        date: SystemTime,
    ) -> Result<AccessToken, Error> {
        self.claim()?;
        match self.store_unstored(serial, now)? {
            Some(token) => Ok(token),
            None => self.ask(client, serial, now, date, None),
        }
    }

    /// Stores what the disk did not take before. Returns the access token that came with it, if it is good.
    pub(super) fn store_unstored(
        &mut self,
        serial: u64,
        now: Instant,
    ) -> Result<Option<AccessToken>, Error> {
        let Some((next, token)) = &self.unstored else {
            return Ok(None);
        };
        self.store
            .advance(next, &self.facts.get())
            .map_err(|e| storage(&e))?;
        let token = AccessToken {
            serial,
            ..token.clone()
        };
        self.unstored = None;
        Ok(token.is_good(now).then_some(token))
    }

    /// Asks Zoom, and stores the next refresh token, as that of this generation in a fleet.
    pub(super) fn ask(
        &mut self,
        client: &Client,
        serial: u64,
        now: Instant,
        date: SystemTime,
        generation: Option<u64>,
    ) -> Result<AccessToken, Error> {
        let current = self.store.current();
        if current.is_empty() {
            return Err(Error::new(Kind::NotAuthorized, CALL, ""));
        }
        self.store.preflight_write().map_err(|e| storage(&e))?;
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            encode(current.expose())
        );
        let reply = client.request("", form, &[current.expose()], date)?;
        let (token, next) = reply.into_token(&client.http, serial, now);
        (self.facts).update(|facts| facts.learn(&token.text, &token.scopes, date));
        if let Some(generation) = generation {
            self.newest = Some(token.clone());
            self.mark(generation, true);
        }
        // Zoom may leave the refresh token as it is; its generation is stored.
        let next = next.or_else(|| generation.map(|_| self.store.current().clone()));
        if let Some(next) = next
            && let Err(e) = self.store.advance(&next, &self.facts.get())
        {
            self.unstored = Some((next, token));
            return Err(storage(&e));
        }
        Ok(token)
    }
}

impl UserTokens {
    /// Exchanges an authorization code, and continues with its refresh token.
    pub(super) fn exchange(
        &mut self,
        client: &Client,
        form: String,
        secrets: &[&str],
        serial: u64,
        now: Instant,
        date: SystemTime,
    ) -> Result<AccessToken, Error> {
        if !self.store.claim() {
            return Err(Error::new(Kind::Superseded, CALL, ""));
        }
        // A code can be used once: first it must be certain that its token can be stored.
        self.store.preflight_write().map_err(|e| storage(&e))?;
        let reply = client.request("", form, secrets, date)?;
        let (token, next) = reply.into_token(&client.http, serial, now);
        (self.facts).update(|facts| facts.learn(&token.text, &token.scopes, date));
        let Some(next) = next else {
            return Err(Error::new(Kind::Malformed, CALL, "no refresh token"));
        };
        self.unstored = None;
        self.newest = Some(token.clone());
        if let Err(e) = self.store.advance(&next, &self.facts.get()) {
            self.unstored = Some((next, token));
            return Err(storage(&e));
        }
        Ok(token)
    }
}

impl Client {
    pub(crate) fn new(http: &Arc<Http>, id: &str, secret: &Secret) -> Client {
        Client {
            http: Arc::clone(http),
            id: id.to_owned(),
            basic: Secret::new(format!(
                "Basic {}",
                STANDARD.encode(format!("{id}:{}", secret.expose()))
            )),
            client_secret: secret.clone(),
        }
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    fn request(
        &self,
        query: &str,
        form: String,
        secrets: &[&str],
        date: SystemTime,
    ) -> Result<TokenReply, Error> {
        let call = HttpCall {
            server: Server::OAuth,
            base: None,
            method: "POST",
            path: query,
            authorization: Some(&self.basic),
            body: Some(("application/x-www-form-urlencoded", form.into_bytes())),
        };
        let reply = self.http.call(call, date).map_err(|e| e.error(CALL))?;
        let parsed: Option<TokenReply> = if reply.is_success() {
            serde_json::from_slice(&reply.body).ok()
        } else {
            None
        };
        parsed
            .filter(|parsed| is_token(&parsed.access_token))
            .ok_or_else(|| {
                // The form contains it percent-encoded.
                let encoded: Vec<String> = secrets.iter().map(|secret| encode(secret)).collect();
                let mut all = vec![
                    self.basic.expose(),
                    self.basic.expose().trim_start_matches("Basic "),
                    self.client_secret.expose(),
                ];
                all.extend(secrets);
                all.extend(encoded.iter().map(String::as_str));
                reply.error(Server::OAuth, CALL, &all)
            })
    }
}

impl TokenReply {
    /// The access token, which was requested at `now`, and the next refresh token.
    fn into_token(self, http: &Http, serial: u64, now: Instant) -> (AccessToken, Option<Secret>) {
        let seconds = self
            .expires_in
            .as_u64()
            .or_else(|| self.expires_in.as_str()?.trim().parse().ok());
        let life = seconds.map_or(DEFAULT_TOKEN_TTL, |s| {
            Duration::from_secs(s).min(TOKEN_TTL_MAX)
        });
        let token = AccessToken {
            text: Secret::new(self.access_token),
            scopes: scopes(self.scope.as_deref().unwrap_or_default()),
            life: Some(life),
            expires_at: Some(now + life),
            api: self.api_url.and_then(|url| http.named_api(&url)),
            serial,
        };
        let next = self.refresh_token.filter(|token| is_token(token));
        (token, next.map(Secret::new))
    }
}

/// Scopes are separated by blanks, in older answers by commas.
fn scopes(text: &str) -> Vec<String> {
    text.split([' ', ','])
        .filter(|scope| !scope.is_empty())
        .take(1000)
        .map(|scope| crate::zoom_api::reply::clean(scope, &[]))
        .collect()
}

/// Whether it is valid in a header and in a form.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

fn configuration(text: &str) -> Error {
    Error::new(Kind::Configuration, CALL, text)
}

pub(crate) fn storage(error: &state::Error) -> Error {
    Error::new(Kind::Storage, CALL, error.to_string())
}
