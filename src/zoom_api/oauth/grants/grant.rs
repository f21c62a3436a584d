//! One user's grant: its tokens, and what is known of it.

use std::sync::{Arc, Mutex};

use super::choose::Candidate;
use super::facts::{Facts, GrantState, SharedFacts};
use super::{Parts, lock};
use crate::domain::secret::Secret;
use crate::zoom_api::errors::Kind;
use crate::zoom_api::oauth::cache::TokenCache;
use crate::zoom_api::oauth::refresh_store::{
    FILE, RefreshTokenFile, RefreshTokenStore, fingerprint,
};
use crate::zoom_api::oauth::request::{Client, TokenSource, UserTokens};
use crate::zoom_api::oauth::shared::Share;

/// One user's grant.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(super) tokens: TokenCache,
    pub(super) facts: Arc<SharedFacts>,
    pub(super) is_configured: bool,
}

impl Grant {
    pub(super) fn new(
        client: &Client,
        parts: &Parts,
        file: Arc<RefreshTokenFile>,
        tokens: Arc<Mutex<UserTokens>>,
        facts: Arc<SharedFacts>,
    ) -> Grant {
        let share = lock(&tokens).share().cloned();
        let is_configured = file.name() == FILE;
        let source = TokenSource::User {
            client: client.clone(),
            file,
            tokens,
            share,
        };
        let (clock, counters) = (parts.clock.clone(), Arc::clone(&parts.counters));
        Grant {
            tokens: TokenCache::new(source, clock, counters, parts.call_max),
            facts,
            is_configured,
        }
    }

    /// One that continues with this refresh token.
    pub(super) fn with(
        client: &Client,
        parts: &Parts,
        file: Arc<RefreshTokenFile>,
        configured: &Secret,
        current: Secret,
        facts: Facts,
    ) -> Grant {
        let store = RefreshTokenStore::new(Arc::clone(&file), configured, current);
        let facts = Arc::new(SharedFacts::new(facts));
        let began_with = match configured.is_empty() {
            true => facts.get().shared_as,
            false => fingerprint(configured),
        };
        let shared = parts.shared.as_ref().filter(|_| !began_with.is_empty());
        let share =
            shared.map(|shared| Share::of_user(shared, &parts.clock, parts.call_max, &began_with));
        let tokens = UserTokens::new(store, Arc::clone(&facts)).shared_by(share);
        Grant::new(client, parts, file, Arc::new(Mutex::new(tokens)), facts)
    }

    /// The same grant, for another client or with other nodes: what is known of it stays.
    pub(super) fn again(&self, client: &Client, parts: &Parts) -> Option<Arc<Grant>> {
        let TokenSource::User { file, tokens, .. } = self.tokens.source() else {
            return None;
        };
        let (file, tokens) = (Arc::clone(file), Arc::clone(tokens));
        let again = Grant::new(client, parts, file, tokens, Arc::clone(&self.facts));
        Some(Arc::new(again))
    }

    /// How other nodes share it, if it is by an authorization and they do.
    pub(super) fn share_of_authorization(&self) -> Option<Share> {
        match self.tokens.source() {
            TokenSource::User { share, .. } if !self.is_configured => share.clone(),
            _ => None,
        }
    }

    /// Its access tokens.
    pub(crate) fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.get()
    }

    /// Whether its user has removed the app.
    pub(super) fn is_removed(&self) -> bool {
        self.tokens.is_forgotten()
    }

    /// A call with it was made, or refused for a reason that is the grant's.
    pub(crate) fn used(&self, now_ms: u64, failed: Option<Kind>) {
        let state = match failed {
            None => Some(GrantState::Ok),
            Some(kind) => GrantState::of(kind),
        };
        let is_news = self.facts.update(|facts| {
            facts.used_ms = now_ms;
            facts.state = state.unwrap_or(facts.state);
        });
        if is_news {
            self.note();
        }
    }

    /// Stores its facts.
    pub(super) fn note(&self) {
        let Some(tokens) = self.user_tokens() else {
            return;
        };
        if let Err(error) = lock(&tokens).note() {
            log::warn!("{error}; what is known of the grant is not stored");
        }
    }

    pub(super) fn user_tokens(&self) -> Option<Arc<Mutex<UserTokens>>> {
        match self.tokens.source() {
            TokenSource::User { tokens, .. } => Some(Arc::clone(tokens)),
            _ => None,
        }
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            facts: self.facts(),
            is_removed: self.is_removed(),
            is_configured: self.is_configured,
        }
    }
}
