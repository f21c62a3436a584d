//! The chain of rotating refresh tokens, on disk.
//!
//! Each use of a refresh token yields the next one and ends the one before, so the next one is
//! stored before anything is done with what came with it. A crash before the store leaves the old
//! token, which Zoom takes again as long as nothing that came after it was used; a crash behind
//! the store leaves the new one. (A server that ends the old token the moment it sends the new one
//! leaves a gap between its sending and our disk that no client can close.)

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::secret::Secret;
use crate::state;
use crate::state::StateDir;

/// The file in the state directory.
pub(crate) const FILE: &str = "refresh_token.json";

/// Written and removed to learn whether the disk has room, before a token is spent.
const PROBE_FILE: &str = "refresh_token.room";

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    v: u32,
    /// Fingerprint of the configured token that this chain began with.
    #[serde(borrow)]
    began_with: Cow<'a, str>,
    #[serde(borrow)]
    refresh_token: Cow<'a, str>,
}

/// The file. It belongs to one chain at a time: when another token is configured while a call with
/// the one before is still under way, what that call brings must not be stored over it.
#[derive(Debug)]
pub(crate) struct RefreshTokenFile {
    state: Arc<StateDir>,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    /// Chains opened.
    opened: u64,
    /// The newest that was used: the file's owner.
    owner: u64,
}

impl RefreshTokenFile {
    /// The file in this state directory.
    pub(crate) fn new(state: Arc<StateDir>) -> RefreshTokenFile {
        RefreshTokenFile {
            state,
            numbers: Mutex::default(),
        }
    }

    /// Removes what is stored.
    pub(crate) fn erase(&self) -> Result<(), state::Error> {
        self.state.remove(FILE)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refresh token in use.
#[derive(Debug)]
pub(crate) struct RefreshTokenStore {
    file: Arc<RefreshTokenFile>,
    number: u64,
    began_with: String,
    current: Secret,
}

impl RefreshTokenStore {
    /// Takes up the stored chain if it began with the configured token, so is newer than it;
    /// else begins a new one, because another token was configured since.
    pub(crate) fn open(
        file: Arc<RefreshTokenFile>,
        configured: &Secret,
    ) -> Result<RefreshTokenStore, state::Error> {
        let began_with = fingerprint(configured);
        let bytes = file.state.read(FILE)?.unwrap_or_default();
        let current = match serde_json::from_slice::<Record<'_>>(&bytes) {
            Ok(record) if record.v == 1 && record.began_with == began_with => {
                Secret::new(record.refresh_token)
            }
            Ok(_) => configured.clone(),
            Err(_) => {
                if !bytes.is_empty() {
                    log::warn!(
                        "{}: found no refresh token in it, so the configured one is used",
                        file.state.path().join(FILE).display()
                    );
                }
                configured.clone()
            }
        };
        let number = {
            let mut numbers = file.lock();
            numbers.opened += 1;
            numbers.opened
        };
        Ok(RefreshTokenStore {
            file,
            number,
            began_with,
            current,
        })
    }

    /// Makes the file this chain's, before its token is used. `false` if a newer chain has it.
    pub(crate) fn claim(&self) -> bool {
        let mut numbers = self.file.lock();
        numbers.owner = numbers.owner.max(self.number);
        numbers.owner == self.number
    }

    /// The token to use next.
    pub(crate) fn current(&self) -> &Secret {
        &self.current
    }

    /// Fails if the next token could not be stored, while the present one is still unspent.
    pub(crate) fn preflight_write(&self) -> Result<(), state::Error> {
        // As large as what will be stored, with some room for a token that has grown.
        let room = vec![b' '; self.current.expose().len() + 1024];
        self.file.state.write_atomic(PROBE_FILE, &room)?;
        self.file.state.remove(PROBE_FILE)
    }

    /// Stores the next token. Until this returns, nothing that came with it may be used.
    pub(crate) fn advance(&mut self, next: &Secret) -> Result<(), state::Error> {
        let record = Record {
            v: 1,
            began_with: Cow::Borrowed(&self.began_with),
            refresh_token: Cow::Borrowed(next.expose()),
        };
        let bytes = serde_json::to_vec(&record).expect("strings and a number always become JSON");
        // Held while it is written, so that a newer chain waits with its first use.
        let numbers = self.file.lock();
        if numbers.owner == self.number {
            self.file.state.write_atomic(FILE, &bytes)?;
        }
        drop(numbers);
        self.current = next.clone();
        Ok(())
    }
}

/// Tells one configured token from another without being one.
fn fingerprint(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rtmsd configured refresh token\0");
    hash.update(token.expose().as_bytes());
    hex::encode(hash.finalize())
}
