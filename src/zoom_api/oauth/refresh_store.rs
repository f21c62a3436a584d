//! Stores the rotating refresh token of one grant on disk.
//!
//! Each use of a refresh token yields the next one and invalidates the previous one, so the next
//! one is stored before the access token that came with it is used. A crash before the store leaves
//! the old token, which Zoom accepts as long as nothing that came after it was used; a crash after
//! the store leaves the new one. (If a server invalidates the old token as soon as it sends the new
//! one, no client can prevent a loss between the sending and our disk.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::grants::facts::Facts;
use crate::domain::secret::Secret;
use crate::state;
use crate::state::StateDir;

/// The file of the grant that the configuration names, and of earlier versions, which had one grant.
pub(crate) const FILE: &str = "refresh_token.json";

/// What the names of files end in.
const SUFFIX: &str = ".json";
/// The same for files that are written and deleted to check that the disk has room, before a token is used.
const PROBE_SUFFIX: &str = ".room";

/// The content of a file.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    /// Fingerprint of the configured token with which this chain started.
    began_with: String,
    /// Empty: the grant is over, and the configured token must not be used again.
    refresh_token: String,
    #[serde(flatten)]
    facts: Facts,
}

/// What a file has for a grant.
pub(crate) enum Stored {
    /// A chain to continue.
    Chain(Secret, Facts),
    /// Another grant has taken its place.
    Over,
    /// Nothing of use.
    Nothing,
}

/// A file. Only the newest chain may write it: when another token is configured during a call
/// with the previous one, that call's result must not overwrite it.
#[derive(Debug)]
pub(crate) struct RefreshTokenFile {
    state: Arc<StateDir>,
    name: String,
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
    /// The file with this name in this state directory.
    pub(crate) fn new(state: Arc<StateDir>, name: impl Into<String>) -> RefreshTokenFile {
        RefreshTokenFile {
            state,
            name: name.into(),
            numbers: Mutex::default(),
        }
    }

    /// Its name in the state directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it has for the chain that began with this configured token; empty for one that began with an
    /// authorization.
    pub(crate) fn read(&self, configured: &Secret) -> Result<Stored, state::Error> {
        let bytes = self.state.read(&self.name)?.unwrap_or_default();
        Ok(match stored(&bytes, configured) {
            Some(stored) => stored,
            None if bytes.is_empty() => Stored::Nothing,
            None => {
                log::warn!(
                    "{}: found no refresh token in it, expected one; {}",
                    self.state.path().join(&self.name).display(),
                    match self.name == FILE {
                        true => "using the configured one",
                        false => "remove the file and authorize again (rtmsd authorize)",
                    }
                );
                Stored::Nothing
            }
        })
    }

    /// Deletes what is stored.
    pub(crate) fn erase(&self) -> Result<(), state::Error> {
        self.state.remove(&self.name)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a file; `None` if it is damaged.
pub(crate) fn stored(bytes: &[u8], configured: &Secret) -> Option<Stored> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    Some(match record.v {
        1 if record.began_with != fingerprint(configured) => Stored::Nothing,
        1 if record.refresh_token.is_empty() => Stored::Over,
        1 => Stored::Chain(Secret::new(record.refresh_token), record.facts),
        _ => Stored::Nothing,
    })
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
    /// Continues with this token; empty until one comes by an authorization.
    pub(crate) fn new(
        file: Arc<RefreshTokenFile>,
        configured: &Secret,
        current: Secret,
    ) -> RefreshTokenStore {
        let number = {
            let mut numbers = file.lock();
            numbers.opened += 1;
            numbers.opened
        };
        RefreshTokenStore {
            file,
            number,
            began_with: fingerprint(configured),
            current,
        }
    }

    /// Makes this chain the owner of the file, before its token is used. `false` if a newer chain
    /// is the owner.
    pub(crate) fn claim(&self) -> bool {
        let mut numbers = self.file.lock();
        numbers.owner = numbers.owner.max(self.number);
        numbers.owner == self.number
    }

    /// Deletes what is stored, if this chain is the owner of the file.
    pub(crate) fn erase(&self) -> Result<(), state::Error> {
        let numbers = self.file.lock();
        match numbers.owner == self.number {
            true => self.file.erase(),
            false => Ok(()),
        }
    }

    /// The token to use next.
    pub(crate) fn current(&self) -> &Secret {
        &self.current
    }

    /// Fails if the next token could not be stored, while the current one is still unused.
    pub(crate) fn preflight_write(&self) -> Result<(), state::Error> {
        // The size of what will be stored, with room for a longer token.
        let room = vec![b' '; self.current.expose().len() + 1024];
        let name = self.file.name.trim_end_matches(SUFFIX).to_owned() + PROBE_SUFFIX;
        self.file.state.write_atomic(&name, &room)?;
        self.file.state.remove(&name)
    }

    /// Stores the next token. Until this returns, the access token that came with it must not be
    /// used.
    pub(crate) fn advance(&mut self, next: &Secret, facts: &Facts) -> Result<(), state::Error> {
        self.write(next, facts)?;
        self.current = next.clone();
        Ok(())
    }

    /// Stores other facts beside the present token.
    pub(crate) fn note(&self, facts: &Facts) -> Result<(), state::Error> {
        match self.current.is_empty() {
            true => Ok(()),
            false => self.write(&self.current, facts),
        }
    }

    /// Another grant has taken the place of this one: nothing of it may be used again.
    pub(crate) fn retire(&mut self) -> Result<(), state::Error> {
        self.claim();
        // The next process would use the configured token, whose place in the chain is long past.
        let is_configured = self.began_with != fingerprint(&Secret::new(""));
        let retired = match is_configured {
            true => self.write(&Secret::new(""), &Facts::default()),
            false => self.file.erase(),
        };
        self.current = Secret::new("");
        retired
    }

    fn write(&self, token: &Secret, facts: &Facts) -> Result<(), state::Error> {
        let record = Record {
            v: 1,
            began_with: self.began_with.clone(),
            refresh_token: token.expose().to_owned(),
            facts: facts.clone(),
        };
        let bytes = serde_json::to_vec(&record).expect("strings and numbers always become JSON");
        // Held during the write, so that the first use of a newer chain waits for it.
        let numbers = self.file.lock();
        match numbers.owner == self.number {
            true => self.file.state.write_atomic(&self.file.name, &bytes),
            false => Ok(()),
        }
    }
}

/// Distinguishes configured tokens without revealing them.
pub(super) fn fingerprint(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rtmsd configured refresh token\0");
    hash.update(token.expose().as_bytes());
    hex::encode(hash.finalize())
}
