//! The cache of an access token: fetched when first needed, replaced before it expires, by one
//! thread at a time.
//!
//! How a token is requested is in `request`; how refresh tokens are stored is in `refresh_store`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request::{AccessToken, CALL, TokenSource};
use crate::domain::secret::Secret;
use crate::zoom_api::clock::Clock;
use crate::zoom_api::counters::Counters;
use crate::zoom_api::errors::{Class, Error, Kind};

/// How long an error that only a person can fix is returned again without asking Zoom.
const REFUSAL_HOLD: Duration = Duration::from_secs(30);

/// After its early replacement failed, a token that is still valid is used for this long before the
/// next attempt. Does not apply once the token has expired or Zoom has refused it: then a call
/// waits.
const EARLY_RETRY: Duration = Duration::from_secs(30);

/// How much longer than one call a thread waits for the fetching thread: time for the disk.
const DISK_GRACE: Duration = Duration::from_secs(5);

/// The access token of one kind of credentials, or of one grant.
#[derive(Debug)]
pub(crate) struct TokenCache {
    source: TokenSource,
    clock: Clock,
    counters: Arc<Counters>,
    wait_max: Duration,
    slot: Mutex<Slot>,
    fetched: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    token: Option<AccessToken>,
    /// The one that Zoom has refused: other nodes may offer it still.
    refused: Option<Secret>,
    /// How many fetches started and ended; the numbers differ during one.
    begun: u64,
    ended: u64,
    /// The result of the last fetch, for the threads that waited for it.
    outcome: Option<Result<AccessToken, Error>>,
    /// Until when no fetch is attempted, and the error to return.
    hold: Option<(Instant, Error)>,
    /// Until when a valid token is not replaced early.
    early_retry: Option<Instant>,
    /// The user removed the app.
    is_forgotten: bool,
}

impl TokenCache {
    /// `call_max` is the time limit of one call.
    pub(crate) fn new(
        source: TokenSource,
        clock: Clock,
        counters: Arc<Counters>,
        call_max: Duration,
    ) -> TokenCache {
        TokenCache {
            wait_max: call_max + DISK_GRACE + source.shared_wait(),
            source,
            clock,
            counters,
            slot: Mutex::default(),
            fetched: Condvar::new(),
        }
    }

    /// How they are requested.
    pub(crate) fn source(&self) -> &TokenSource {
        &self.source
    }

    /// Whether the token is the configured one, which cannot be replaced.
    pub(crate) fn is_static(&self) -> bool {
        self.source.static_token().is_some()
    }

    /// A token that is valid now.
    pub(crate) fn token(&self) -> Result<AccessToken, Error> {
        self.obtain(None)
    }

    /// A token other than this one, which Zoom has refused; the current one if another thread has
    /// replaced it already.
    pub(crate) fn replace(&self, refused: &AccessToken) -> Result<AccessToken, Error> {
        self.obtain(Some(refused.serial))
    }

    /// A token; another one than that with this serial number, if there is one.
    pub(crate) fn token_but(&self, refused: Option<u64>) -> Result<AccessToken, Error> {
        self.obtain(refused)
    }

    /// Exchanges an authorization code by this form: its tokens are used from then on.
    pub(crate) fn exchange(&self, form: String, secrets: &[&str]) -> Result<AccessToken, Error> {
        let slot = self.lock();
        // A fetch in progress would end after this and bring an older token.
        let (mut slot, waited) = self
            .fetched
            .wait_timeout_while(slot, self.wait_max, |slot| slot.begun != slot.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(Error::new(Kind::Timeout, CALL, ""));
        }
        slot.begun += 1;
        let serial = slot.begun;
        drop(slot);
        let now = self.clock.instant();
        let exchange = || (self.source).exchange(form, secrets, serial, now, self.clock.date());
        let exchanged = catch_unwind(AssertUnwindSafe(exchange))
            .unwrap_or_else(|_| Err(Error::new(Kind::Internal, CALL, "panicked")));
        match exchanged {
            Ok(token) => {
                self.lock().is_forgotten = false;
                self.finish(Ok(token))
            }
            Err(error) => {
                // The present token, if there is one, is as good as before.
                let mut slot = self.lock();
                slot.ended = slot.begun;
                slot.outcome = Some(match &slot.token {
                    Some(token) => Ok(token.clone()),
                    None => Err(error.clone()),
                });
                self.fetched.notify_all();
                Err(error)
            }
        }
    }

    /// Whether the user removed the app while this process ran.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.lock().is_forgotten
    }

    /// Deletes everything about the user, who removed the app.
    pub(crate) fn forget(&self) -> Result<(), Error> {
        // First, so that a fetch in progress cannot put what it got.
        self.source.forget_shared();
        let mut slot = self.lock();
        slot.token = None;
        slot.outcome = None;
        slot.is_forgotten = self.source.is_of_user();
        // A fetch in progress would store a token afterwards; it deletes that itself.
        if slot.begun != slot.ended {
            return Ok(());
        }
        self.source.erase()
    }

    fn obtain(&self, refused: Option<u64>) -> Result<AccessToken, Error> {
        if let Some(token) = self.source.static_token() {
            return Ok(token.clone());
        }
        let mut slot = self.lock();
        // Also while it is being replaced: if the fetch fails, a refused token is not returned.
        if slot.token.as_ref().map(|token| token.serial) == refused {
            slot.refused = slot
                .token
                .take()
                .map(|token| token.text)
                .or(slot.refused.take());
        }
        if slot.begun != slot.ended {
            return self.wait(slot);
        }
        if slot.is_forgotten {
            return Err(Error::new(Kind::Deauthorized, CALL, ""));
        }
        let now = self.clock.instant();
        let hold = slot.hold.as_ref().filter(|(until, _)| now < *until);
        let is_early_held = slot.early_retry.is_some_and(|until| now < until);
        match (&slot.token, hold) {
            (Some(token), _) if !token.is_due(now) => return Ok(token.clone()),
            (Some(token), _) if is_early_held && token.is_good(now) => return Ok(token.clone()),
            (Some(token), Some(_)) if token.is_good(now) => return Ok(token.clone()),
            (_, Some((_, error))) => return Err(error.clone()),
            _ => {}
        }
        slot.begun += 1;
        let serial = slot.begun;
        let present = slot.token.as_ref().map(|token| token.text.clone());
        let but = present.or_else(|| slot.refused.clone());
        drop(slot);

        log::debug!("{CALL}: begins");
        // `now` is from before the call, so that the time the call takes counts as used.
        let fetch = || {
            self.source
                .fetch(but.as_ref(), serial, now, self.clock.date())
        };
        // After a panic the waiting threads must not wait for ever.
        let fetched = catch_unwind(AssertUnwindSafe(fetch))
            .unwrap_or_else(|_| Err(Error::new(Kind::Internal, CALL, "panicked")));
        self.finish(fetched)
    }

    /// Waits for the fetching thread. The current token is not used meanwhile: it is about to
    /// expire, or was refused.
    fn wait(&self, slot: MutexGuard<'_, Slot>) -> Result<AccessToken, Error> {
        let awaited = slot.begun;
        let (slot, _) = self
            .fetched
            .wait_timeout_while(slot, self.wait_max, |slot| slot.ended < awaited)
            .unwrap_or_else(PoisonError::into_inner);
        match &slot.outcome {
            Some(outcome) if slot.ended >= awaited => outcome.clone(),
            _ if slot.is_forgotten => Err(Error::new(Kind::Deauthorized, CALL, "")),
            _ => Err(Error::new(Kind::Timeout, CALL, "")),
        }
    }

    /// Stores the result of a fetch and wakes the threads that wait for it.
    fn finish(&self, fetched: Result<AccessToken, Error>) -> Result<AccessToken, Error> {
        let now = self.clock.instant();
        let mut slot = self.lock();
        slot.ended = slot.begun;
        slot.hold = None;
        slot.early_retry = None;
        let outcome = match fetched {
            _ if slot.is_forgotten => {
                self.source
                    .erase()
                    .and(Err(Error::new(Kind::Deauthorized, CALL, "")))
            }
            Ok(token) => {
                self.counters.token_fetched();
                log::debug!(
                    "{CALL}: good for {} s",
                    token.life.unwrap_or_default().as_secs()
                );
                slot.token = Some(token.clone());
                slot.refused = None;
                Ok(token)
            }
            Err(error) => {
                self.counters.token_failed(&error);
                let present = slot.token.clone().filter(|token| token.is_good(now));
                let hold = match error.class() {
                    Class::Retry { after } => after,
                    Class::Refresh | Class::GiveUp => Some(REFUSAL_HOLD),
                };
                slot.hold = hold.map(|hold| (now + hold, error.clone()));
                slot.early_retry = Some(now + EARLY_RETRY);
                match present {
                    Some(token) => {
                        log::warn!("{error}; the current token is used while it is valid");
                        Ok(token)
                    }
                    None => Err(error),
                }
            }
        };
        slot.outcome = Some(outcome.clone());
        self.fetched.notify_all();
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // No code between lock and unlock leaves a slot in an inconsistent state.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
