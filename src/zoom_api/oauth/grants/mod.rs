//! The grants of an app: one for each user who has authorized it, each with tokens, a file and a state of
//! its own. A fault of one stops no other.
//!
//! | file | grant |
//! | --- | --- |
//! | `refresh_token.json` | the one of `ZOOM_REFRESH_TOKEN`, and of versions that knew only one |
//! | `grant-N.json` | one by `rtmsd authorize` |
//!
//! Which one a call is made with is in [`choose`]; how the nodes of a fleet share them in [`sharing`].

pub(crate) mod choose;
pub(crate) mod facts;
mod grant;
pub(crate) mod sharing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::refresh_store::{FILE, RefreshTokenFile, Stored, stored};
use super::request::{AccessToken, CALL, Client, TokenSource, storage};
use super::shared::SharedGrant;
use crate::domain::secret::Secret;
use crate::state::StateDir;
use crate::zoom_api::clock::Clock;
use crate::zoom_api::counters::Counters;
use crate::zoom_api::errors::{Error, Kind};
use crate::zoom_api::reply::clean;
use choose::{Candidate, Lack, best, choose};
use facts::{Facts, GrantState, GrantStatus, unix_ms};
pub(crate) use grant::Grant;

/// Maximum grants: far more users than one server has meetings of.
pub(crate) const GRANTS_MAX: usize = 1000;
/// Maximum accounts without a grant whose name was logged.
const MISSING_MAX: usize = 1000;

/// What the files of grants by authorization begin with.
const PREFIX: &str = "grant-";

/// Whether a file of the state directory is that of a grant by authorization.
fn is_grant(name: &str) -> bool {
    let number = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(".json"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// What every cache of tokens needs.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    /// Time limit of one call.
    pub(crate) call_max: Duration,
    /// What the nodes of a fleet share.
    pub(crate) shared: Option<Arc<dyn SharedGrant>>,
}

/// All grants of an app.
#[derive(Debug)]
pub(crate) struct Grants {
    client: Client,
    state: Arc<StateDir>,
    parts: Parts,
    /// `ZOOM_REFRESH_TOKEN`; empty without one.
    configured: Secret,
    list: Mutex<Vec<Arc<Grant>>>,
    /// Accounts for which there was no grant, and how often.
    missing: Mutex<BTreeMap<String, u64>>,
    /// When the list of a fleet was read; locked while that is done.
    looked: Mutex<Option<Instant>>,
}

impl Grants {
    /// Reads what is stored. A file that cannot be used is named in the log, and the others are used.
    ///
    /// # Errors
    /// The state directory, or the file of the configured grant, cannot be read.
    pub(crate) fn open(
        client: Client,
        state: &Arc<StateDir>,
        parts: Parts,
        configured: &Secret,
    ) -> Result<Grants, Error> {
        let file = Arc::new(RefreshTokenFile::new(Arc::clone(state), FILE));
        let first = of_configuration(&client, &parts, file, configured)?;
        let mut list = Vec::from_iter(first);
        let names = state.names(PREFIX).map_err(|e| storage(&e))?;
        for name in names
            .into_iter()
            .filter(|name| is_grant(name))
            .take(GRANTS_MAX)
        {
            list.extend(of_file(&client, &parts, state, name));
        }
        let grants = Grants {
            client,
            state: Arc::clone(state),
            parts,
            configured: configured.clone(),
            list: Mutex::new(list.into_iter().map(Arc::new).collect()),
            missing: Mutex::default(),
            looked: Mutex::default(),
        };
        // Other nodes are told with the first look.
        grants.take_twins().iter().for_each(|grant| retire(grant));
        Ok(grants)
    }

    /// The same grants, with a client of another secret, and perhaps with another configured token. Chains
    /// of tokens that may be in use at this moment go on.
    ///
    /// # Errors
    /// As those of [`Grants::open`].
    pub(crate) fn renewed(&self, client: Client, configured: &Secret) -> Result<Grants, Error> {
        let mut list = Vec::new();
        let mut file = None;
        for grant in self.lock().iter() {
            let TokenSource::User { file: own, .. } = grant.tokens.source() else {
                continue;
            };
            if grant.is_configured && *configured != self.configured {
                file = Some(Arc::clone(own));
            } else if !grant.is_removed() {
                list.extend(grant.again(&client, &self.parts));
            }
        }
        if *configured != self.configured {
            let new = || Arc::new(RefreshTokenFile::new(Arc::clone(&self.state), FILE));
            let file = file.unwrap_or_else(new);
            let first = of_configuration(&client, &self.parts, file, configured)?;
            list.splice(0..0, first.map(Arc::new));
        }
        Ok(Grants {
            client,
            state: Arc::clone(&self.state),
            parts: self.parts.clone(),
            configured: configured.clone(),
            list: Mutex::new(list),
            missing: Mutex::default(),
            looked: Mutex::default(),
        })
    }

    /// The grants for a call, the best first.
    ///
    /// # Errors
    /// There is none; the error names the account, and is less severe when it is repeated.
    pub(crate) fn for_call(
        &self,
        account: Option<&str>,
        host: Option<&str>,
    ) -> Result<Vec<Arc<Grant>>, Error> {
        self.look_if_due();
        let mut chosen = self.choose(account, host);
        let works = |grant: &Arc<Grant>| grant.candidate().works();
        if !chosen.as_ref().is_ok_and(|found| found.iter().any(works)) {
            // Another node may have one since the last look.
            self.look();
            chosen = self.choose(account, host);
        }
        chosen.map_err(|lack| self.lacks(lack, account.unwrap_or_default()))
    }

    fn choose(&self, account: Option<&str>, host: Option<&str>) -> Result<Vec<Arc<Grant>>, Lack> {
        let list = self.all();
        let candidates: Vec<Candidate> = list.iter().map(|grant| grant.candidate()).collect();
        let places = choose(&candidates, account, host)?;
        let chosen = places.into_iter().map(|place| Arc::clone(&list[place]));
        Ok(chosen.collect())
    }

    fn lacks(&self, lack: Lack, account: &str) -> Error {
        match lack {
            Lack::NoGrant => Error::new(Kind::NotAuthorized, CALL, ""),
            Lack::Unnamed => Error::new(Kind::AccountUnknown, CALL, ""),
            Lack::Account => {
                let mut missing = lock(&self.missing);
                let is_known = missing.contains_key(account);
                if is_known || missing.len() < MISSING_MAX {
                    *missing.entry(account.to_owned()).or_default() += 1;
                }
                Error {
                    account: Some(clean(account, &[])),
                    is_repeated: is_known,
                    ..Error::new(Kind::NoGrant, CALL, "")
                }
            }
        }
    }

    /// That there is no grant for calls of this account.
    pub(crate) fn none_for(&self, account: &str) -> Error {
        self.lacks(Lack::Account, account)
    }

    /// The best grant of any account.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn any(&self) -> Result<Arc<Grant>, Error> {
        self.look_if_due();
        let list = self.all();
        let candidates: Vec<Candidate> = list.iter().map(|grant| grant.candidate()).collect();
        let place = best(&candidates).ok_or_else(|| self.lacks(Lack::NoGrant, ""))?;
        Ok(Arc::clone(&list[place]))
    }

    /// Exchanges an authorization code by this form: a grant of its own, whose owner is not known yet.
    pub(crate) fn exchange(
        &self,
        form: String,
        secrets: &[&str],
    ) -> Result<(Arc<Grant>, AccessToken), Error> {
        let name = self.free_name()?;
        let file = Arc::new(RefreshTokenFile::new(Arc::clone(&self.state), name));
        let facts = Facts {
            authorized_ms: unix_ms(self.parts.clock.date()),
            ..Facts::default()
        };
        let none = Secret::new("");
        let grant = Grant::with(&self.client, &self.parts, file, &none, none.clone(), facts);
        let grant = Arc::new(grant);
        let exchanged = grant.tokens.exchange(form, secrets);
        // A token that could not be stored yet is stored before its first use.
        let is_kept = exchanged.is_ok()
            || (grant.user_tokens()).is_some_and(|tokens| lock(&tokens).has_unstored());
        if is_kept {
            self.lock().push(Arc::clone(&grant));
        }
        exchanged.map(|token| (grant, token))
    }

    fn free_name(&self) -> Result<String, Error> {
        let used = self.state.names(PREFIX).map_err(|e| storage(&e))?;
        let list = self.lock();
        let in_memory: Vec<&str> = list.iter().filter_map(|grant| file_name(grant)).collect();
        let mut names = (1..=GRANTS_MAX).map(|n| format!("{PREFIX}{n}.json"));
        let is_free = |name: &String| !used.contains(name) && !in_memory.contains(&name.as_str());
        names.find(is_free).ok_or_else(|| {
            let text = format!("found {GRANTS_MAX} grants in RTMS_STATE, which is the maximum");
            Error::new(Kind::Configuration, CALL, text)
        })
    }

    /// It is known now whose grant it is, or that this cannot be known. Others of the same user are over.
    pub(crate) fn settle(&self, grant: &Arc<Grant>, owner: impl FnOnce(&mut Facts)) {
        if grant.facts.update(owner) {
            grant.note();
        }
        let facts = grant.facts();
        lock(&self.missing).remove(&facts.account_id);
        if !facts.has_owner() {
            // They cannot be told apart, so there is one, as there was before accounts were known.
            let mut others = self.without_owner();
            others.retain(|it| !Arc::ptr_eq(it, grant));
            others.iter().for_each(|other| self.remove(other));
        }
        self.remove_twins();
        self.look();
    }

    /// Of several grants of one user, only the newest stays.
    fn remove_twins(&self) {
        for grant in self.take_twins() {
            end(&grant);
        }
    }

    /// Takes those out of the list that are over because their user has authorized the app again.
    fn take_twins(&self) -> Vec<Arc<Grant>> {
        let mut list = self.lock();
        let all = list.clone();
        let is_over = |place: usize| {
            let (facts, is_removed) = (all[place].facts(), all[place].is_removed());
            let mut others = all.iter().enumerate().filter(|(other, _)| *other != place);
            others.any(|(other, it)| {
                let theirs = it.facts();
                // All nodes have the same one.
                let newest = |facts: &Facts| (facts.authorized_ms, facts.shared_as.clone());
                let is_newer = (newest(&theirs), other) > (newest(&facts), place);
                !it.is_removed() && theirs.has_owner_of(&facts) && (is_newer || is_removed)
            })
        };
        let over = (0..all.len()).filter(|place| is_over(*place));
        let over: Vec<Arc<Grant>> = over.map(|place| Arc::clone(&all[place])).collect();
        list.retain(|grant| !over.iter().any(|it| Arc::ptr_eq(grant, it)));
        over
    }

    /// Grants whose owner is not known.
    pub(crate) fn without_owner(&self) -> Vec<Arc<Grant>> {
        let list = self.lock();
        let mut unknown = list.clone();
        unknown.retain(|grant| !grant.is_removed() && !grant.facts().has_owner());
        unknown
    }

    /// Removes a grant that does not work and of which nothing is known.
    pub(crate) fn remove(&self, grant: &Arc<Grant>) {
        self.lock().retain(|it| !Arc::ptr_eq(it, grant));
        end(grant);
    }

    /// Those that work and were not used for that long, so that their refresh tokens may expire.
    pub(crate) fn idle(&self, longer_than: Duration) -> Vec<Arc<Grant>> {
        let now_ms = unix_ms(self.parts.clock.date());
        let idle_ms = u64::try_from(longer_than.as_millis()).unwrap_or(u64::MAX);
        let list = self.lock();
        let mut idle = list.clone();
        idle.retain(|grant| {
            let facts = grant.facts();
            let is_idle = now_ms.saturating_sub(facts.newest_ms()) >= idle_ms;
            is_idle && facts.state == GrantState::Ok && !grant.is_removed()
        });
        idle
    }

    /// Those that are known to be of this user, or of this account if no user is named.
    pub(crate) fn of_user(&self, user_id: &str, account_id: &str) -> Vec<Arc<Grant>> {
        let list = self.lock();
        let mut found = list.clone();
        found.retain(|grant| {
            let facts = grant.facts();
            !grant.is_removed() && facts.has_owner() && facts.may_be_of(user_id, account_id)
        });
        found
    }

    /// Every grant.
    pub(crate) fn all(&self) -> Vec<Arc<Grant>> {
        self.lock().clone()
    }

    /// For those who look: every grant but those whose user has removed the app.
    pub(crate) fn status(&self) -> Vec<GrantStatus> {
        let list = self.lock();
        let mut seen: Vec<GrantStatus> = (list.iter())
            .filter(|grant| !grant.is_removed())
            .map(|grant| grant.facts().status(grant.is_configured))
            .collect();
        seen.sort_by(|a, b| (&a.account_id, &a.user_id).cmp(&(&b.account_id, &b.user_id)));
        seen
    }

    /// The accounts for which there was no grant, and how often one was needed.
    pub(crate) fn missing(&self) -> Vec<(String, u64)> {
        let missing = lock(&self.missing);
        missing.iter().map(|(id, n)| (id.clone(), *n)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Grant>>> {
        lock(&self.list)
    }
}

/// What the state directory has of grants, without using any: for a process beside the one that uses them.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn look(
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, crate::state::Error>,
    names: &[String],
    configured: &Secret,
) -> Result<Vec<GrantStatus>, crate::state::Error> {
    let mut found = Vec::new();
    let first = read(FILE)?.unwrap_or_default();
    match stored(&first, configured) {
        Some(Stored::Chain(_, facts)) => found.push(facts.status(true)),
        Some(Stored::Over) => {}
        Some(Stored::Nothing) | None if configured.is_empty() => {}
        Some(Stored::Nothing) | None => found.push(Facts::default().status(true)),
    }
    for name in names.iter().filter(|name| is_grant(name)) {
        let bytes = read(name)?.unwrap_or_default();
        if let Some(Stored::Chain(_, facts)) = stored(&bytes, &Secret::new("")) {
            found.push(facts.status(false));
        }
    }
    found.sort_by(|a, b| (&a.account_id, &a.user_id).cmp(&(&b.account_id, &b.user_id)));
    Ok(found)
}

/// The grant of the configuration; `None` without a token.
fn of_configuration(
    client: &Client,
    parts: &Parts,
    file: Arc<RefreshTokenFile>,
    configured: &Secret,
) -> Result<Option<Grant>, Error> {
    let stored = match file.read(configured) {
        // The next token would overwrite it, and perhaps the configured one is used up.
        Err(error @ crate::state::Error::Sealed { .. }) => {
            log::error!("{error}; this grant is not used, others are");
            return Ok(None);
        }
        stored => stored.map_err(|e| storage(&e))?,
    };
    let (current, facts) = match stored {
        Stored::Chain(current, mut facts) => {
            if facts.generation == 0 && parts.shared.is_some() && current != *configured {
                // It was rotated before there was a fleet: newer than what nodes without a state have.
                (facts.generation, facts.is_last_to_put) = (1, true);
            }
            (current, facts)
        }
        Stored::Over => return Ok(None),
        Stored::Nothing if configured.is_empty() => return Ok(None),
        // It is newer than what was stored before it was configured.
        Stored::Nothing => {
            let facts = Facts {
                authorized_ms: unix_ms(parts.clock.date()),
                ..Facts::default()
            };
            (configured.clone(), facts)
        }
    };
    let grant = Grant::with(client, parts, file, configured, current, facts);
    Ok(Some(grant))
}

/// A grant by an authorization; `None` if its file is damaged.
fn of_file(client: &Client, parts: &Parts, state: &Arc<StateDir>, name: String) -> Option<Grant> {
    let file = Arc::new(RefreshTokenFile::new(Arc::clone(state), name));
    let none = Secret::new("");
    match file.read(&none) {
        Ok(Stored::Chain(current, facts)) => {
            Some(Grant::with(client, parts, file, &none, current, facts))
        }
        Ok(_) => None,
        Err(error) => {
            log::error!("{error}; this grant is not used, the others are");
            None
        }
    }
}

fn file_name(grant: &Arc<Grant>) -> Option<&str> {
    match grant.tokens.source() {
        TokenSource::User { file, .. } => Some(file.name()),
        _ => None,
    }
}

/// It is over, here and for other nodes. The configured one serves them until they know of the newer one.
fn end(grant: &Grant) {
    if !grant.is_configured {
        grant.tokens.source().forget_shared();
    }
    retire(grant);
}

fn retire(grant: &Grant) {
    let Some(tokens) = grant.user_tokens() else {
        return;
    };
    if let Err(error) = lock(&tokens).retire() {
        log::error!("{error}; a grant that is over is still stored");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
