//! Stores rotating refresh tokens on disk.
//!
//! Each use of a refresh token yields the next one and invalidates the previous one, so the next
//! one is stored before the access token that came with it is used. A crash before the store leaves
//! the old token, which Zoom accepts as long as nothing that came after it was used; a crash after
//! the store leaves the new one. (If a server invalidates the old token as soon as it sends the new
//! one, no client can prevent a loss between the sending and our disk.)

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::secret::Secret;
use crate::state;
use crate::state::StateDir;

/// The file in the state directory.
pub(crate) const FILE: &str = "refresh_token.json";

/// Written and deleted to check that the disk has room, before a token is used.
const PROBE_FILE: &str = "refresh_token.room";

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    v: u32,
    /// Fingerprint of the configured token with which this chain started.
    #[serde(borrow)]
    began_with: Cow<'a, str>,
    #[serde(borrow)]
    refresh_token: Cow<'a, str>,
}

/// The file. Only the newest chain may write it: when another token is configured during a call
/// with the previous one, that call's result must not overwrite it.
#[derive(Debug)]
pub(crate) struct RefreshTokenFile {
    state: Arc<StateDir>,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    /// Number of chains opened.
    opened: u64,
    /// The newest chain that was used: the owner of the file.
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

    /// Deletes what is stored.
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
    /// Continues the stored chain if it started with the configured token, and so is newer than it;
    /// otherwise starts a new one, because another token was configured since.
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
                        "{}: found no refresh token in it, using the configured one",
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

    /// Makes this chain the owner of the file, before its token is used. `false` if a newer chain
    /// is the owner.
    pub(crate) fn claim(&self) -> bool {
        let mut numbers = self.file.lock();
        numbers.owner = numbers.owner.max(self.number);
        numbers.owner == self.number
    }

    /// The token to use next.
    pub(crate) fn current(&self) -> &Secret {
        &self.current
    }

    /// Fails if the next token could not be stored, while the current one is still unused.
    pub(crate) fn preflight_write(&self) -> Result<(), state::Error> {
        // The size of what will be stored, with room for a longer token.
        let room = vec![b' '; self.current.expose().len() + 1024];
        self.file.state.write_atomic(PROBE_FILE, &room)?;
        self.file.state.remove(PROBE_FILE)
    }

    /// Stores the next token. Until this returns, the access token that came with it must not be
    /// used.
    pub(crate) fn advance(&mut self, next: &Secret) -> Result<(), state::Error> {
        let record = Record {
            v: 1,
            began_with: Cow::Borrowed(&self.began_with),
            refresh_token: Cow::Borrowed(next.expose()),
        };
        let bytes = serde_json::to_vec(&record).expect("strings and a number always become JSON");
        // Held during the write, so that the first use of a newer chain waits for it.
        let numbers = self.file.lock();
        if numbers.owner == self.number {
            self.file.state.write_atomic(FILE, &bytes)?;
        }
        drop(numbers);
        self.current = next.clone();
        Ok(())
    }
}

/// Distinguishes configured tokens without revealing them.
fn fingerprint(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rtmsd configured refresh token\0");
    hash.update(token.expose().as_bytes());
    hex::encode(hash.finalize())
}
