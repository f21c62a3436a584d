//! How an access token is asked for: the three kinds of credentials and one call to the OAuth
//! server.
//!
//! When it is asked for is decided in `token`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::cache::{AccessToken, CALL};
use super::refresh_store::{RefreshTokenStore, Store};
use crate::domain::app::RestCredentials;
use crate::domain::secret::Secret;
use crate::net::address::encode;
use crate::state;
use crate::state::StateDir;
use crate::zoom_api::errors::{Error, Kind};
use crate::zoom_api::http_call::{Http, HttpCall, Server};

/// How long a token is believed to be good for when Zoom does not say.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(5 * 60);

/// The longest life that is believed: a token that is asked for daily does no harm.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest token; Zoom's have up to 2 KB, and it must fit into a request's head.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What the OAuth server gave us.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) token: Secret,
    pub(crate) scopes: Vec<String>,
    pub(crate) life: Duration,
}

/// The way to a token.
#[derive(Debug)]
pub(crate) enum TokenSource {
    /// No credentials, so no token.
    None,
    Static(AccessToken),
    ServerToServer {
        client: Client,
        account_id: String,
    },
    User {
        client: Client,
        store: Arc<Store>,
        /// The configured one.
        refresh_token: Secret,
        tokens: Arc<Mutex<UserTokens>>,
    },
}

/// Who we are to the OAuth server, and the way to it.
#[derive(Debug)]
pub(crate) struct Client {
    http: Arc<Http>,
    basic: Secret,
    client_secret: Secret,
}

#[derive(Debug)]
pub(crate) struct UserTokens {
    chain: RefreshTokenStore,
    /// What came from Zoom and could not be stored yet, and when it came.
    unstored: Option<(Secret, Fetched, SystemTime)>,
}

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    scope: Option<String>,
}

impl TokenSource {
    /// `before` is the grant that this one replaces, if there is one.
    pub(crate) fn new(
        credentials: &RestCredentials,
        state: Option<&Arc<StateDir>>,
        http: &Arc<Http>,
        before: Option<&TokenSource>,
    ) -> Result<TokenSource, Error> {
        let client = |id: &str, secret: &Secret| Client {
            http: Arc::clone(http),
            basic: Secret::new(format!(
                "Basic {}",
                STANDARD.encode(format!("{id}:{}", secret.expose()))
            )),
            client_secret: secret.clone(),
        };
        Ok(match credentials {
            RestCredentials::None => TokenSource::None,
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
                    serial: 0,
                })
            }
            RestCredentials::ServerToServer {
                account_id,
                client_id,
                client_secret,
            } => TokenSource::ServerToServer {
                client: client(client_id, client_secret),
                account_id: account_id.clone(),
            },
            RestCredentials::UserRefresh {
                client_id,
                client_secret,
                refresh_token,
            } => {
                let state = state.ok_or_else(|| {
                    configuration("ZOOM_REFRESH_TOKEN: found no state directory, expected RTMS_STATE to keep rotated tokens in")
                })?;
                let client = client(client_id, client_secret);
                if let Some(TokenSource::User {
                    refresh_token: known,
                    store,
                    tokens,
                    ..
                }) = before
                    && known == refresh_token
                {
                    // The same chain with another client secret. It may be in use at this moment.
                    return Ok(TokenSource::User {
                        client,
                        store: Arc::clone(store),
                        refresh_token: refresh_token.clone(),
                        tokens: Arc::clone(tokens),
                    });
                }
                let store = match before {
                    Some(TokenSource::User { store, .. }) => Arc::clone(store),
                    _ => Arc::new(Store::new(Arc::clone(state))),
                };
                let chain = RefreshTokenStore::open(Arc::clone(&store), refresh_token)
                    .map_err(|e| storage(&e))?;
                TokenSource::User {
                    client,
                    store,
                    refresh_token: refresh_token.clone(),
                    tokens: Arc::new(Mutex::new(UserTokens {
                        chain,
                        unstored: None,
                    })),
                }
            }
        })
    }

    /// The configured token, if it is that kind.
    pub(crate) fn static_token(&self) -> Option<&AccessToken> {
        match self {
            TokenSource::Static(token) => Some(token),
            _ => None,
        }
    }

    /// Whether the grant is one user's, and ends when that user removes the app.
    pub(crate) fn is_of_user(&self) -> bool {
        matches!(self, TokenSource::User { .. })
    }

    /// Removes what is stored about the user.
    pub(crate) fn erase(&self) -> Result<(), Error> {
        match self {
            TokenSource::User { store, .. } => store.erase().map_err(|e| storage(&e)),
            _ => Ok(()),
        }
    }

    /// Asks for a token. Only one thread at a time does.
    pub(crate) fn fetch(&self, now: SystemTime) -> Result<Fetched, Error> {
        match self {
            TokenSource::None => Err(configuration(
                "found no credentials, expected access_token, ZOOM_ACCOUNT_ID or ZOOM_REFRESH_TOKEN",
            )),
            TokenSource::Static(token) => Ok(Fetched {
                token: token.text.clone(),
                scopes: Vec::new(),
                life: TOKEN_TTL_MAX,
            }),
            TokenSource::ServerToServer { client, account_id } => {
                let form = format!(
                    "grant_type=account_credentials&account_id={}",
                    encode(account_id)
                );
                Ok(client.ask(form, "", now)?.0)
            }
            TokenSource::User { client, tokens, .. } => tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .refresh(client, now),
        }
    }
}

impl UserTokens {
    fn refresh(&mut self, client: &Client, now: SystemTime) -> Result<Fetched, Error> {
        if !self.chain.claim() {
            return Err(Error::new(Kind::Superseded, CALL, ""));
        }
        if let Some((next, fetched, at)) = &self.unstored {
            self.chain.advance(next).map_err(|e| storage(&e))?;
            let age = now.duration_since(*at).unwrap_or(TOKEN_TTL_MAX);
            let left = fetched.life.saturating_sub(age);
            let fetched = Fetched {
                life: left,
                ..fetched.clone()
            };
            self.unstored = None;
            if !left.is_zero() {
                return Ok(fetched);
            }
        }
        self.chain.preflight_write().map_err(|e| storage(&e))?;
        let current = self.chain.current();
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            encode(current.expose())
        );
        let (fetched, next) = client.ask(form, current.expose(), now)?;
        if let Some(next) = next
            && let Err(e) = self.chain.advance(&next)
        {
            self.unstored = Some((next, fetched, now));
            return Err(storage(&e));
        }
        Ok(fetched)
    }
}

impl Client {
    fn ask(
        &self,
        form: String,
        refresh_token: &str,
        now: SystemTime,
    ) -> Result<(Fetched, Option<Secret>), Error> {
        let call = HttpCall {
            server: Server::OAuth,
            method: "POST",
            path: "",
            authorization: Some(&self.basic),
            body: Some(("application/x-www-form-urlencoded", form.into_bytes())),
        };
        let reply = self.http.call(call, now).map_err(|e| e.error(CALL))?;
        let parsed: Option<TokenReply> = if reply.is_success() {
            serde_json::from_slice(&reply.body).ok()
        } else {
            None
        };
        let Some(parsed) = parsed.filter(|parsed| is_token(&parsed.access_token)) else {
            // The form has it percent-encoded.
            let encoded = encode(refresh_token);
            let secrets = [
                self.basic.expose(),
                self.basic.expose().trim_start_matches("Basic "),
                self.client_secret.expose(),
                refresh_token,
                &encoded,
            ];
            return Err(reply.error(Server::OAuth, CALL, &secrets));
        };
        let seconds = parsed
            .expires_in
            .as_u64()
            .or_else(|| parsed.expires_in.as_str()?.trim().parse().ok());
        let fetched = Fetched {
            token: Secret::new(parsed.access_token),
            scopes: scopes(parsed.scope.as_deref().unwrap_or_default()),
            life: seconds.map_or(DEFAULT_TOKEN_TTL, |s| {
                Duration::from_secs(s).min(TOKEN_TTL_MAX)
            }),
        };
        let next = parsed.refresh_token.filter(|token| is_token(token));
        Ok((fetched, next.map(Secret::new)))
    }
}

/// Zoom separates scopes by blanks, older answers by commas.
fn scopes(text: &str) -> Vec<String> {
    text.split([' ', ','])
        .filter(|scope| !scope.is_empty())
        .take(1000)
        .map(|scope| crate::zoom_api::reply::clean(scope, &[]))
        .collect()
}

/// Whether it fits into a header and a form.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

fn configuration(text: &str) -> Error {
    Error::new(Kind::Configuration, CALL, text)
}

fn storage(error: &state::Error) -> Error {
    Error::new(Kind::Storage, CALL, error.to_string())
}
