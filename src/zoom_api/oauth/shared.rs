//! A grant that several nodes share over the store of their fleet.
//!
//! A token at hand that is good is used without asking. Else the shared grant is read, and used if it is good.
//! Else it is locked, refreshed at Zoom by the one node that has the lock, kept on that node's disk, and put with
//! the next generation, which unlocks it. Other nodes look again until the time of one call is over. How a user's
//! refresh token goes through this is in `shared_user`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::grants::facts::unix_ms;
use super::request::{AccessToken, CALL, TOKEN_TTL_MAX, is_token};
use crate::domain::secret::Secret;
use crate::zoom_api::clock::Clock;
use crate::zoom_api::errors::{Error, Kind};
use crate::zoom_api::http_call::Http;

/// How often a node looks whether the holder of the lock is done.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the nodes of a fleet share of grants. Each call blocks, with a deadline of its own.
pub trait SharedGrant: fmt::Debug + Send + Sync {
    /// What there is.
    ///
    /// # Errors
    /// The store does not answer.
    fn read(&self, grant: &str) -> Result<SharedState, StoreDown>;

    /// Takes the right to refresh it, and tells whether that is ours; it ends by itself after 45 s. Who has it
    /// may ask again.
    ///
    /// # Errors
    /// The store does not answer.
    fn lock(&self, grant: &str) -> Result<(bool, SharedState), StoreDown>;

    /// Writes the generation after the present one, as the holder of the lock, which this gives back. `false`:
    /// not written, because the lock is not ours or there is another generation.
    ///
    /// # Errors
    /// The store does not answer.
    fn put(&self, grant: &str, generation: u64, tokens: &SharedTokens) -> Result<bool, StoreDown>;

    /// Writes what is newer than the store's, which has lost it or never got it. `false`: not written, because it
    /// is not newer or the grant was forgotten.
    ///
    /// # Errors
    /// The store does not answer.
    fn restore(
        &self,
        grant: &str,
        generation: u64,
        tokens: &SharedTokens,
    ) -> Result<bool, StoreDown>;

    /// No node is to use it any more.
    ///
    /// # Errors
    /// The store does not answer.
    fn forget(&self, grant: &str) -> Result<(), StoreDown>;

    /// Waits until it is time to look again.
    fn pause(&self, time: Duration);
}

/// Why the store cannot be asked, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDown(pub String);

/// A grant as the store has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedState {
    /// Grows by one with each refresh; 0 if there is none.
    pub generation: u64,
    /// `None` if there are none, or none that can be read with our client secret.
    pub tokens: Option<SharedTokens>,
    /// The user has removed the app.
    pub is_forgotten: bool,
}

/// The tokens of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTokens {
    /// The access token with what Zoom said about it, in a form of our own; empty without one.
    pub access: Secret,
    /// When that ends, Unix milliseconds.
    pub expires_ms: u64,
    /// The refresh token; empty for an app that needs none.
    pub refresh: Secret,
}

/// One grant of those that are shared.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    grants: Arc<dyn SharedGrant>,
    name: String,
    clock: Clock,
    /// How long another node's refresh is waited for.
    wait: Duration,
}

/// An access token, as it is in the store.
#[derive(Serialize, Deserialize)]
struct Access {
    token: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    api: Option<String>,
    life_s: u64,
}

impl Share {
    /// The list of the grants by authorization.
    pub(crate) fn of_list(grants: &Arc<dyn SharedGrant>, clock: &Clock, wait: Duration) -> Share {
        Share {
            grants: Arc::clone(grants),
            name: "users".to_owned(),
            clock: clock.clone(),
            wait,
        }
    }

    /// The user's grant that began with a refresh token of this fingerprint: a newly configured one begins
    /// another, and so does an authorization.
    pub(crate) fn of_user(
        grants: &Arc<dyn SharedGrant>,
        clock: &Clock,
        wait: Duration,
        began_with: &str,
    ) -> Share {
        Share {
            grants: Arc::clone(grants),
            name: format!("user.{began_with}"),
            clock: clock.clone(),
            wait,
        }
    }

    /// The server-to-server token of this client and account.
    pub(crate) fn of_account(
        grants: &Arc<dyn SharedGrant>,
        clock: &Clock,
        wait: Duration,
        client_id: &str,
        account_id: &str,
    ) -> Share {
        let mut hash = Sha256::new();
        hash.update(client_id.as_bytes());
        hash.update(b"\0");
        hash.update(account_id.as_bytes());
        Share {
            grants: Arc::clone(grants),
            name: format!("account.{}", hex::encode(hash.finalize())),
            clock: clock.clone(),
            wait,
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long another node's refresh is waited for.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    pub(super) fn read(&self) -> Result<SharedState, StoreDown> {
        self.grants.read(&self.name)
    }

    pub(super) fn lock(&self) -> Result<(bool, SharedState), StoreDown> {
        self.grants.lock(&self.name)
    }

    pub(super) fn put(&self, generation: u64, tokens: &SharedTokens) -> Result<bool, StoreDown> {
        self.grants.put(&self.name, generation, tokens)
    }

    pub(super) fn restore(
        &self,
        generation: u64,
        tokens: &SharedTokens,
    ) -> Result<bool, StoreDown> {
        self.grants.restore(&self.name, generation, tokens)
    }

    pub(super) fn forget(&self) -> Result<(), StoreDown> {
        self.grants.forget(&self.name)
    }

    /// Waits for another node that refreshes.
    ///
    /// # Errors
    /// That took too long, or this process ends.
    pub(super) fn pause(&self, http: &Http, until: std::time::Instant) -> Result<(), Error> {
        if http.is_stopping() {
            return Err(Error::new(Kind::Stopping, CALL, ""));
        }
        if self.clock.instant() >= until {
            let text = "another node is fetching it, or ended during that";
            return Err(Error::new(Kind::Timeout, CALL, text));
        }
        self.grants.pause(LOOK_EVERY);
        Ok(())
    }

    /// The tokens as they are put into the store.
    pub(super) fn tokens(&self, token: &AccessToken, refresh: Secret) -> SharedTokens {
        let left = token
            .expires_at
            .map(|end| end.saturating_duration_since(self.clock.instant()));
        let access = Access {
            token: token.text.expose().to_owned(),
            scopes: token.scopes.clone(),
            api: token.api.as_ref().map(|api| api.text().to_owned()),
            life_s: token.life.unwrap_or_default().as_secs(),
        };
        let json = serde_json::to_string(&access).expect("strings and numbers always become JSON");
        SharedTokens {
            access: Secret::new(json),
            expires_ms: unix_ms(self.clock.date() + left.unwrap_or_default()),
            refresh,
        }
    }

    /// The access token, if it is good and not the one that is to be replaced.
    pub(super) fn usable(
        &self,
        tokens: Option<&SharedTokens>,
        but: Option<&Secret>,
        http: &Http,
        serial: u64,
    ) -> Option<AccessToken> {
        let tokens = tokens?;
        let access: Access = serde_json::from_str(tokens.access.expose()).ok()?;
        let text = Secret::new(access.token);
        if !is_token(text.expose()) || Some(&text) == but {
            return None;
        }
        let end = UNIX_EPOCH.checked_add(Duration::from_millis(tokens.expires_ms))?;
        // By the clocks of two machines; one that is wrong costs a call that Zoom refuses.
        let left = end.duration_since(self.clock.date()).ok()?;
        let left = left.min(TOKEN_TTL_MAX);
        (!left.is_zero()).then(|| AccessToken {
            text,
            scopes: access.scopes,
            life: Some(Duration::from_secs(access.life_s).min(TOKEN_TTL_MAX)),
            expires_at: Some(self.clock.instant() + left),
            api: access.api.and_then(|url| http.named_api(&url)),
            serial,
        })
    }

    /// A token that needs no refresh token: from the store, or fetched and put there. Without the store each node
    /// fetches its own, as it does without a fleet.
    pub(super) fn app_token(
        &self,
        http: &Http,
        but: Option<&Secret>,
        serial: u64,
        fetch: impl Fn() -> Result<AccessToken, Error>,
    ) -> Result<AccessToken, Error> {
        let until = self.clock.instant() + self.wait;
        let down = |down: StoreDown| {
            log::warn!(
                "{CALL}: the store of the fleet cannot be asked: {}; this node fetches its own",
                down.0
            );
        };
        loop {
            let found = match self.read() {
                Ok(found) => found,
                Err(error) => {
                    down(error);
                    return fetch();
                }
            };
            if let Some(token) = self.usable(found.tokens.as_ref(), but, http, serial) {
                return Ok(token);
            }
            let (is_ours, found) = match self.lock() {
                Ok(locked) => locked,
                Err(error) => {
                    down(error);
                    return fetch();
                }
            };
            let present = self.usable(found.tokens.as_ref(), but, http, serial);
            if !is_ours {
                if let Some(token) = present {
                    return Ok(token);
                }
                self.pause(http, until)?;
                continue;
            }
            let fetched = present.map_or_else(&fetch, Ok);
            let tokens = match &fetched {
                Ok(token) => self.tokens(token, Secret::new("")),
                // Gives the lock back.
                Err(_) => found.tokens.unwrap_or_else(SharedTokens::none),
            };
            if let Err(error) = self.put(found.generation + 1, &tokens) {
                down(error);
            }
            return fetched;
        }
    }
}

impl SharedTokens {
    /// Those before the first refresh.
    pub(super) fn none() -> SharedTokens {
        SharedTokens::only(Secret::new(""))
    }

    /// A refresh token without an access token.
    pub(super) fn only(refresh: Secret) -> SharedTokens {
        SharedTokens {
            access: Secret::new(""),
            expires_ms: 0,
            refresh,
        }
    }
}
