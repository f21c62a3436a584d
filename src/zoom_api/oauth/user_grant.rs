//! User OAuth by an authorization code: the address of Zoom's page, the exchange of the code, and what it
//! is good for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::grants::facts::{Facts, GrantState, GrantStatus};
use super::grants::{Grant, Grants};
use super::request::{AccessToken, TokenSource};
use crate::domain::app::RestCredentials;
use crate::domain::secret::Secret;
use crate::domain::text::percent_encoded as encode;
use crate::zoom_api::errors::Kind;
use crate::zoom_api::http_call::{HttpCall, Server};
use crate::zoom_api::reply::clean;
use crate::zoom_api::{Api, Error};

/// What the exchange is called in errors.
pub(crate) const CALL: &str = "exchange the authorization code";

/// A user has authorized the app. It crosses the control socket as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGrant {
    /// The user's name and address, as far as Zoom says them; else the id.
    pub user: String,
    /// The account's id; empty if Zoom does not say it.
    pub account: String,
    /// The scopes of the token; empty if Zoom does not report them.
    pub scopes: Vec<String>,
}

/// Of `GET /v2/users/me`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Me {
    id: Option<String>,
    account_id: Option<String>,
    email: Option<String>,
    display_name: Option<String>,
}

impl Api {
    /// The address of Zoom's page, where a person authorizes the app. `None` without credentials for
    /// user OAuth, or without `ZOOM_REDIRECT_URL`.
    pub fn authorization_address(&self, state: &str, challenge: &str) -> Option<String> {
        let rest = &self.app().rest;
        let RestCredentials::UserRefresh { client_id, .. } = &rest.credentials else {
            return None;
        };
        let redirect = rest.redirect_url.as_ref()?;
        let page = match rest.oauth_url.strip_suffix("/token") {
            Some(base) => format!("{base}/authorize"),
            None => format!("{}/authorize", rest.oauth_url),
        };
        Some(format!(
            "{page}?response_type=code&client_id={}&redirect_uri={}&state={}&code_challenge={}&code_challenge_method=S256",
            encode(client_id),
            encode(redirect),
            encode(state),
            encode(challenge)
        ))
    }

    /// Exchanges a code, stores the refresh token, and asks whose it is. From then on REST calls of this
    /// client use it.
    ///
    /// # Errors
    /// Zoom refuses the code, cannot be reached, or the token cannot be stored.
    pub fn authorize(&self, code: &Secret, verifier: &Secret) -> Result<UserGrant, Error> {
        let Some(redirect) = &self.app().rest.redirect_url else {
            let text = "found no ZOOM_REDIRECT_URL, expected the one that was used for the code";
            return Err(Error::new(Kind::Configuration, CALL, text));
        };
        let form = format!(
            "grant_type=authorization_code&code={}&redirect_uri={}&code_verifier={}",
            encode(code.expose()),
            encode(redirect),
            encode(verifier.expose())
        );
        let Some(grants) = self.grants() else {
            return Err(not_of_users());
        };
        let secrets = [code.expose(), verifier.expose()];
        let (grant, token) = grants.exchange(form, &secrets)?;
        let owner = self.owner(&token);
        // Only where each owner is known it is clear which grant serves which account.
        for other in grants.without_owner() {
            if !Arc::ptr_eq(&other, &grant) {
                self.identify(grants, &other);
            }
        }
        grants.settle(&grant, |facts| owner.tell(facts));
        let facts = grant.facts();
        Ok(UserGrant {
            user: [&facts.user, &facts.user_id]
                .into_iter()
                .find(|text| !text.is_empty())
                .map_or("not said by Zoom", |text| text.as_str())
                .to_owned(),
            account: facts.account_id,
            scopes: token.scopes,
        })
    }

    /// Finds out whose grant it is. One that has ended, so that this cannot be found out, is removed.
    fn identify(&self, grants: &Grants, grant: &Arc<Grant>) {
        match grant.tokens().token() {
            Ok(token) => {
                let owner = self.owner(&token);
                if !owner.is_unknown() {
                    grants.settle(grant, |facts| owner.tell(facts));
                }
            }
            Err(error) if GrantState::of(error.kind()) == Some(GrantState::Revoked) => {
                log::warn!("{error}; it is not known whose grant this was, so it is removed");
                grants.remove(grant);
            }
            Err(error) => log::warn!("{error}; it is not known whose grant this is"),
        }
    }

    /// Whose token it is. Zoom's answer needs a scope that the app may not have.
    fn owner(&self, token: &AccessToken) -> Me {
        let bearer = token.bearer();
        let call = HttpCall {
            server: Server::Api,
            base: token.api.as_ref(),
            method: "GET",
            path: "/v2/users/me",
            authorization: Some(&bearer),
            body: None,
        };
        let reply = self.http.call(call, self.process().clock.date()).ok();
        reply
            .filter(|reply| reply.is_success())
            .and_then(|reply| serde_json::from_slice(&reply.body).ok())
            .unwrap_or_default()
    }

    /// Whether tokens are those of users, so that [`Api::authorize`] is of use.
    pub fn is_of_user(&self) -> bool {
        self.grants().is_some()
    }

    /// The grants of users; empty if tokens are not those of users.
    pub fn grant_status(&self) -> Vec<GrantStatus> {
        self.grants().map(Grants::status).unwrap_or_default()
    }

    /// The accounts for which a call could not be made, because no user of theirs has authorized the app,
    /// and how many calls that were.
    pub fn accounts_without_grant(&self) -> Vec<(String, u64)> {
        self.grants().map(Grants::missing).unwrap_or_default()
    }
}

impl Me {
    fn is_unknown(&self) -> bool {
        self.account_id.is_none()
    }

    /// What Zoom does not say stays as the token has said it.
    fn tell(self, facts: &mut Facts) {
        let shown =
            |text: Option<String>| text.map(|text| clean(&text, &[])).filter(|t| !t.is_empty());
        if let Some(id) = shown(self.account_id) {
            facts.account_id = id;
        }
        if let Some(id) = shown(self.id) {
            facts.user_id = id;
        }
        let user = match (shown(self.display_name), shown(self.email)) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (name, email) => name.or(email),
        };
        if let Some(user) = user {
            facts.user = user;
        }
    }
}

fn not_of_users() -> Error {
    Error::new(
        Kind::Configuration,
        CALL,
        "found other credentials than a user's, expected ZOOM_REDIRECT_URL without ZOOM_ACCOUNT_ID and access_token",
    )
}

impl TokenSource {
    /// Exchanges a code by this form, and makes its refresh token the current one.
    pub(crate) fn exchange(
        &self,
        form: String,
        secrets: &[&str],
        serial: u64,
        now: std::time::Instant,
        date: std::time::SystemTime,
    ) -> Result<AccessToken, Error> {
        match self {
            TokenSource::User { client, tokens, .. } => tokens
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .exchange(client, form, secrets, serial, now, date),
            _ => Err(not_of_users()),
        }
    }
}
