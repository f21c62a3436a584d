//! Grants by `rtmsd authorize`, shared by the nodes of a fleet.
//!
//! Such a grant is named by the fingerprint of the refresh token with which it began, and goes through the store
//! like the configured one (see `shared`). Which ones there are is in a list there. That is a shared grant of
//! its own, whose access token is the list: so it is encrypted, and one node at a time changes it.
//!
//! A node that finds a grant in the list takes it over, with its refresh token, into its own state directory. One
//! that misses a grant of its own there adds it, unless the store says that the grant is over: a user has
//! removed the app, or has authorized it again.

use std::collections::BTreeSet;
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use super::facts::{Facts, GrantStatus};
use super::{Grant, Grants, lock};
use crate::domain::secret::Secret;
use crate::zoom_api::clock::Clock;
use crate::zoom_api::http_call::Http;
use crate::zoom_api::oauth::refresh_store::RefreshTokenFile;
use crate::zoom_api::oauth::shared::{Share, SharedGrant, SharedState, SharedTokens, StoreDown};

/// The list is read again after this time, and at once where a grant is missing.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Grants {
    /// Agrees with the other nodes on the grants, if that was not done for a while. What fails is logged, and
    /// done later.
    pub(crate) fn look_if_due(&self) {
        let now = self.parts.clock.instant();
        let is_due = match self.looked.try_lock() {
            Ok(looked) => looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY),
            // Another thread does it now.
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Poisoned(_)) => true,
        };
        if is_due {
            self.look();
        }
    }

    /// The same at once. Does nothing without a fleet.
    pub(crate) fn look(&self) {
        let Some(shared) = &self.parts.shared else {
            return;
        };
        let list = Share::of_list(shared, &self.parts.clock, self.parts.call_max);
        let mut looked = lock(&self.looked);
        *looked = Some(self.parts.clock.instant());
        if let Err(down) = self.agree(&list) {
            log::warn!(
                "the store of the fleet has not the grants of this node, or this node not those of others: {}",
                down.0
            );
        }
    }

    fn agree(&self, list: &Share) -> Result<(), StoreDown> {
        self.share_own();
        let listed = listed(list.read()?)?;
        let over = self.take_over(&listed)?;
        self.remove_twins();
        for grant in self.all() {
            let name = grant.facts().shared_as;
            let is_listed = listed.iter().any(|facts| facts.shared_as == name);
            if let Some(share) = grant.share_of_authorization()
                && !is_listed
                && !grant.is_removed()
                && share.read()?.is_forgotten
            {
                self.remove(&grant);
            }
        }
        let all = self.all().into_iter();
        let own = all.filter(|it| !it.is_removed() && it.share_of_authorization().is_some());
        let own: Vec<Facts> = own.map(|grant| grant.facts().listed()).collect();
        let is_known = |facts: &Facts| listed.iter().any(|it| it.tells_as_much_as(facts));
        if over.is_empty() && own.iter().all(is_known) {
            return Ok(());
        }
        change(list, self.client.http(), |listed| {
            listed.retain(|it| !over.contains(&it.shared_as));
            for facts in &own {
                match listed.iter_mut().find(|it| it.shared_as == facts.shared_as) {
                    Some(known) if known.tells_as_much_as(facts) => {}
                    Some(known) => known.clone_from(facts),
                    None => listed.push(facts.clone()),
                }
            }
        })
    }

    /// Grants that were made here, or before there was a fleet, get a name in the store.
    fn share_own(&self) {
        let Some(shared) = &self.parts.shared else {
            return;
        };
        let own = self.all().into_iter();
        for grant in own.filter(|it| !it.is_configured && it.facts().shared_as.is_empty()) {
            let Some(tokens) = grant.user_tokens().filter(|_| !grant.is_removed()) else {
                continue;
            };
            let begun = lock(&tokens).begin_sharing(|began_with| {
                let (clock, wait) = (&self.parts.clock, self.parts.call_max);
                Share::of_user(shared, clock, wait, began_with)
            });
            if begun {
                self.replace(&grant);
            }
        }
    }

    /// The same grant with a cache that knows of the other nodes.
    fn replace(&self, grant: &Arc<Grant>) {
        let mut list = self.lock();
        let place = list.iter_mut().find(|it| Arc::ptr_eq(it, grant));
        if let (Some(place), Some(again)) = (place, grant.again(&self.client, &self.parts)) {
            *place = again;
        }
    }

    /// Takes over what other nodes have listed. Returns the names of those that are over.
    fn take_over(&self, listed: &[Facts]) -> Result<BTreeSet<String>, StoreDown> {
        let mut over = BTreeSet::new();
        for facts in listed {
            let name = &facts.shared_as;
            let known = self.all().into_iter();
            let mut known = known.filter(|grant| grant.facts().shared_as == *name);
            if let Some(grant) = known.next() {
                if grant.is_removed() {
                    over.insert(name.clone());
                } else if !grant.facts().has_owner() && facts.has_owner() {
                    self.settle_as(&grant, facts);
                }
                continue;
            }
            let Ok(file) = self.free_name() else {
                log::error!("a grant of another node is not used here: there are too many");
                return Ok(over);
            };
            let file = Arc::new(RefreshTokenFile::new(Arc::clone(&self.state), file));
            let none = Secret::new("");
            let new = Grant::with(
                &self.client,
                &self.parts,
                file,
                &none,
                none.clone(),
                facts.clone(),
            );
            let Some(share) = new.share_of_authorization() else {
                continue;
            };
            let found = share.read()?;
            if found.is_forgotten {
                over.insert(name.clone());
            } else if found.tokens.is_some() {
                // Keeps the refresh token here.
                new.tokens.source().publish_shared();
                self.lock().push(Arc::new(new));
            }
        }
        Ok(over)
    }

    fn settle_as(&self, grant: &Arc<Grant>, listed: &Facts) {
        let is_news = grant.facts.update(|facts| {
            facts.account_id.clone_from(&listed.account_id);
            facts.user_id.clone_from(&listed.user_id);
            facts.user.clone_from(&listed.user);
        });
        if is_news {
            grant.note();
        }
    }
}

/// The grants in the list of a fleet, for a command where no server runs.
///
/// # Errors
/// The store does not answer, or has a list that is not by this app.
pub(crate) fn look(
    shared: &Arc<dyn SharedGrant>,
    clock: &Clock,
) -> Result<Vec<GrantStatus>, StoreDown> {
    let list = Share::of_list(shared, clock, Duration::ZERO);
    let listed = listed(list.read()?)?;
    Ok(listed.iter().map(|facts| facts.status(false)).collect())
}

/// What the list says; nothing if there is none yet.
fn listed(found: SharedState) -> Result<Vec<Facts>, StoreDown> {
    let unreadable = || {
        let text =
            "the list of grants cannot be read; do all nodes have the same ZOOM_CLIENT_SECRET?";
        StoreDown(text.to_owned())
    };
    match found.tokens {
        None if found.generation == 0 => Ok(Vec::new()),
        None => Err(unreadable()),
        Some(tokens) => serde_json::from_str(tokens.access.expose()).map_err(|_| unreadable()),
    }
}

/// Changes the list, as the one node that does so now.
fn change(list: &Share, http: &Http, change: impl Fn(&mut Vec<Facts>)) -> Result<(), StoreDown> {
    let until: Instant = list.clock().instant() + list.wait();
    loop {
        let (is_ours, found) = list.lock()?;
        if !is_ours {
            list.pause(http, until)
                .map_err(|error| StoreDown(error.to_string()))?;
            continue;
        }
        let generation = found.generation + 1;
        let mut listed = listed(found)?;
        change(&mut listed);
        let json = serde_json::to_string(&listed).expect("strings and numbers always become JSON");
        let tokens = SharedTokens {
            access: Secret::new(json),
            expires_ms: 0,
            refresh: Secret::new(""),
        };
        return match list.put(generation, &tokens)? {
            true => Ok(()),
            false => Err(StoreDown("another node has changed the list".to_owned())),
        };
    }
}
