//! The chain of rotating refresh tokens, on disk.
//!
//! Each use of a refresh token yields the next one and ends the one before, so the next one is
//! stored before anything is done with what came with it. A crash before the store leaves the old
//! token, which Zoom takes again as long as nothing that came after it was used; a crash behind
//! the store leaves the new one. (A server that ends the old token the moment it sends the new one
//! leaves a gap between its sending and our disk that no client can close.)

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::secret::Secret;
use crate::state::{self, StateDir};

/// The file in the state directory.
pub(super) const FILE: &str = "refresh_token.json";

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

/// The refresh token in use.
#[derive(Debug)]
pub(super) struct Chain {
    state: Arc<StateDir>,
    began_with: String,
    current: Secret,
}

impl Chain {
    /// Takes up the stored chain if it began with the configured token, so is newer than it;
    /// else begins a new one, because somebody has configured a token since.
    pub(super) fn open(state: Arc<StateDir>, configured: &Secret) -> Result<Chain, state::Error> {
        let began_with = fingerprint(configured);
        let bytes = state.read(FILE)?.unwrap_or_default();
        let current = match serde_json::from_slice::<Record<'_>>(&bytes) {
            Ok(record) if record.v == 1 && record.began_with == began_with => {
                Secret::new(record.refresh_token)
            }
            Ok(_) => configured.clone(),
            Err(_) => {
                if !bytes.is_empty() {
                    log::warn!(
                        "{}: found no refresh token in it, so the configured one is used",
                        state.path().join(FILE).display()
                    );
                }
                configured.clone()
            }
        };
        Ok(Chain {
            state,
            began_with,
            current,
        })
    }

    /// The token to use next.
    pub(super) fn current(&self) -> &Secret {
        &self.current
    }

    /// Fails if the next token could not be stored, while the present one is still unspent.
    pub(super) fn prove_room(&self) -> Result<(), state::Error> {
        // As large as what will be stored, with some room for a token that has grown.
        let room = vec![b' '; self.current.expose().len() + 1024];
        self.state.write_atomic(PROBE_FILE, &room)?;
        self.state.remove(PROBE_FILE)
    }

    /// Stores the next token. Until this returns, nothing that came with it may be used.
    pub(super) fn advance(&mut self, next: &Secret) -> Result<(), state::Error> {
        let record = Record {
            v: 1,
            began_with: Cow::Borrowed(&self.began_with),
            refresh_token: Cow::Borrowed(next.expose()),
        };
        let bytes = serde_json::to_vec(&record).expect("strings and a number always become JSON");
        self.state.write_atomic(FILE, &bytes)?;
        self.current = next.clone();
        Ok(())
    }

    /// Removes what is stored.
    pub(super) fn erase(state: &StateDir) -> Result<(), state::Error> {
        state.remove(FILE)
    }
}

/// Tells one configured token from another without being one.
fn fingerprint(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rtmsd configured refresh token\0");
    hash.update(token.expose().as_bytes());
    hex::encode(hash.finalize())
}
