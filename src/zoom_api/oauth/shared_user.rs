//! A user's refresh token that several nodes share.
//!
//! Each node that reads a refresh token keeps it with its generation in its own state directory, as it does with
//! one that it was given by Zoom, so that a store that loses writes loses no grant.
//!
//! When the store answers again it gets what it missed ([`UserTokens::make_up`]), and who noticed the outage waits a
//! little before a refresh.
//!
//! Without the store only the node that put last refreshes. That is not proof: another may have put since this
//! node last looked. It looks whenever its own token is due, and no node refreshes before that, so this needs a
//! store that fails in the minutes between two nodes' looks, or that is out of reach for this node alone while
//! another refreshes. Then Zoom may void the grant.

use std::time::{Duration, Instant};

use super::refresh_store::fingerprint;
use super::request::{AccessToken, CALL, Client, UserTokens, storage};
use super::shared::{Share, SharedState, SharedTokens, StoreDown};
use crate::domain::secret::Secret;
use crate::zoom_api::errors::{Error, Kind};

/// After an outage of the store, nodes that were not the last to put wait this long before they refresh, so that
/// the one that was can say what it did meanwhile.
const SETTLE: Duration = Duration::from_secs(5);

/// Why there is no token.
enum Fault {
    /// The store does not answer.
    Down(StoreDown),
    /// Anything else.
    Of(Error),
}

impl From<StoreDown> for Fault {
    fn from(down: StoreDown) -> Fault {
        Fault::Down(down)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Of(error)
    }
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) serial: u64,
    /// The token that is due or was refused.
    pub(super) but: Option<&'a Secret>,
}

impl UserTokens {
    /// The next access token: one that another node has put, or that of a refresh.
    pub(super) fn fetch_shared(
        &mut self,
        share: &Share,
        client: &Client,
        wanted: &Wanted<'_>,
    ) -> Result<AccessToken, Error> {
        self.claim()?;
        // What Zoom gave before and the disk did not take.
        if let Some(token) = self.store_unstored(wanted.serial, share.clock().instant())? {
            self.publish(share, &token);
            return Ok(token);
        }
        let now = share.clock().instant();
        // Known to another cache of this process, as to the one in which it was authorized.
        if let Some(token) = &self.newest
            && !token.is_due(now)
            && Some(&token.text) != wanted.but
        {
            return Ok(AccessToken {
                serial: wanted.serial,
                ..token.clone()
            });
        }
        let until = now + share.wait();
        match self.agree(share, client, wanted, until) {
            Ok(token) => Ok(token),
            Err(Fault::Of(error)) => Err(error),
            Err(Fault::Down(down)) => {
                self.was_down = true;
                self.without_store(share, client, wanted, &down)
            }
        }
    }

    /// Lets other nodes use it from now on, if it can be used. `false` if it cannot, or its name cannot be
    /// stored. What the store misses it gets later.
    pub(super) fn begin_sharing(&mut self, share: impl FnOnce(&str) -> Share) -> bool {
        if self.claim().is_err() || self.has_unstored() || self.current().is_empty() {
            return false;
        }
        let began_with = fingerprint(self.current());
        let share = share(&began_with);
        self.name(began_with);
        let current = self.current().clone();
        if let Err(error) = self.keep(&current, 1, true) {
            log::warn!("{error}; a grant is not shared with other nodes yet");
            self.name(String::new());
            return false;
        }
        if let Err(down) = share.restore(1, &self.for_others(&share)) {
            log::warn!(
                "the store of the fleet does not have this node's grant yet: {}",
                down.0
            );
        }
        self.set_share(share);
        true
    }

    /// The newest tokens, as other nodes get them.
    fn for_others(&self, share: &Share) -> SharedTokens {
        let refresh = self.current().clone();
        match &self.newest {
            Some(token) => share.tokens(token, refresh),
            None => SharedTokens::only(refresh),
        }
    }

    fn without_store(
        &mut self,
        share: &Share,
        client: &Client,
        wanted: &Wanted<'_>,
        down: &StoreDown,
    ) -> Result<AccessToken, Error> {
        if !self.facts().is_last_to_put {
            return Err(Error::new(Kind::FleetStore, CALL, down.0.as_str()));
        }
        log::warn!(
            "{CALL}: the store of the fleet cannot be asked: {}; this node was the last to refresh the grant and does so again",
            down.0
        );
        self.rotate_once(share, client, wanted, self.facts().generation + 1)
    }

    /// The store answers again: it gets what it has not.
    pub(super) fn make_up(&mut self, share: &Share) {
        if self.claim().is_err() || self.has_unstored() {
            return;
        }
        let made_up = share
            .read()
            .map_err(Fault::from)
            .and_then(|found| self.caught_up(share, found));
        match made_up {
            Ok(_) => {}
            Err(Fault::Down(down)) => log::warn!(
                "the store of the fleet does not have this node's grant yet: {}",
                down.0
            ),
            Err(Fault::Of(error)) => log::warn!("{error}"),
        }
    }

    fn agree(
        &mut self,
        share: &Share,
        client: &Client,
        wanted: &Wanted<'_>,
        until: Instant,
    ) -> Result<AccessToken, Fault> {
        let usable = |found: &SharedState| {
            share.usable(
                found.tokens.as_ref(),
                wanted.but,
                client.http(),
                wanted.serial,
            )
        };
        let mut settle = None;
        loop {
            let found = self.caught_up(share, share.read()?)?;
            if let Some(token) = usable(&found) {
                self.learn(&token, share);
                return Ok(token);
            }
            if std::mem::take(&mut self.was_down) && !self.facts().is_last_to_put {
                settle = Some(share.clock().instant() + SETTLE);
            }
            if settle.is_some_and(|until| share.clock().instant() < until) {
                share.pause(client.http(), until)?;
                continue;
            }
            let (is_ours, locked) = share.lock()?;
            if !is_ours {
                // Who has the lock will be the last to put.
                self.mark(self.facts().generation, false);
                share.pause(client.http(), until)?;
                continue;
            }
            let locked = self.caught_up(share, locked)?;
            if locked.generation < self.facts().generation {
                // It was restored, which gave the lock back.
                share.pause(client.http(), until)?;
                continue;
            }
            if let Some(token) = usable(&locked) {
                // Another node was done between the two looks.
                self.learn(&token, share);
                self.give_back(share, locked);
                return Ok(token);
            }
            let refreshed = self.rotate_once(share, client, wanted, locked.generation + 1);
            match &refreshed {
                Ok(token) => self.publish(share, token),
                // The refresh token that could not be stored is newer than what others could have.
                Err(_) if self.has_unstored() => {}
                Err(_) => self.give_back(share, locked),
            }
            return Ok(refreshed?);
        }
    }

    /// Takes over what the store has, or gives it what it has not.
    fn caught_up(&mut self, share: &Share, found: SharedState) -> Result<SharedState, Fault> {
        if found.is_forgotten {
            self.erase()?;
            return Err(Error::new(Kind::Deauthorized, CALL, "").into());
        }
        let own = self.facts().generation;
        if found.generation < own {
            log::warn!(
                "the store of the fleet has generation {} of a grant, and this node {own}; it gets that",
                found.generation
            );
            share.restore(own, &self.for_others(share))?;
            return Ok(found);
        }
        match &found.tokens {
            Some(tokens) => {
                let is_known = found.generation == own && tokens.refresh == *self.current();
                if !is_known && !tokens.refresh.is_empty() {
                    self.keep(&tokens.refresh, found.generation, false)
                        .map_err(|error| storage(&error))?;
                }
            }
            None if found.generation > own => {
                let text = "the shared grant cannot be read; do all nodes have the same ZOOM_CLIENT_SECRET?";
                return Err(Error::new(Kind::FleetStore, CALL, text).into());
            }
            None => {}
        }
        Ok(found)
    }

    /// A refresh at Zoom, whose refresh token is stored here before anything is used.
    fn rotate_once(
        &mut self,
        share: &Share,
        client: &Client,
        wanted: &Wanted<'_>,
        generation: u64,
    ) -> Result<AccessToken, Error> {
        let (now, date) = (share.clock().instant(), share.clock().date());
        self.ask(client, wanted.serial, now, date, Some(generation))
    }

    /// Puts what was stored here. If the store does not take it, that is made up for with the next look.
    fn publish(&mut self, share: &Share, token: &AccessToken) {
        let generation = self.facts().generation;
        let tokens = share.tokens(token, self.current().clone());
        let put = share.put(generation, &tokens).and_then(|is_put| {
            if is_put {
                return Ok(true);
            }
            // The lock has ended meanwhile. Zoom has taken our token last, so what others have is over.
            let found = share.read()?;
            let next = generation.max(found.generation + 1);
            let current = self.current().clone();
            if let Err(error) = self.keep(&current, next, true) {
                log::warn!("{error}; the generation of the grant is not stored");
            }
            share.restore(next, &tokens)
        });
        match put {
            Ok(true) => {}
            Ok(false) => log::warn!("{CALL}: another node has put another token meanwhile"),
            Err(down) => log::warn!(
                "{CALL}: the store of the fleet does not have the new token yet: {}",
                down.0
            ),
        }
    }

    /// Gives the lock back. The store knows no other way than the next generation.
    fn give_back(&mut self, share: &Share, locked: SharedState) {
        let generation = locked.generation + 1;
        let current = self.current().clone();
        let tokens = locked
            .tokens
            .unwrap_or_else(|| SharedTokens::only(current.clone()));
        if let Err(error) = self.keep(&current, generation, true) {
            log::warn!("{error}; other nodes wait until the lock of the grant ends");
            return;
        }
        if let Err(down) = share.put(generation, &tokens) {
            log::debug!("{CALL}: the lock of the grant ends by itself: {}", down.0);
        }
    }
}
