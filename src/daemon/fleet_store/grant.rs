//! A token that all nodes share: the script `grant`, its words and its replies.
//!
//! The tokens are encrypted with AES-256-GCM under a key from the client secret; grant, generation and field
//! are authenticated with them, so that none can be put in the place of another or of a newer one.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use super::command::{Command, Script};
use super::encode::Codec;
use super::value::Value;
use crate::coordinator::fleet::call::Boot;
use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::secret::Secret;

/// How long a lock holds: longer than a call to Zoom can take.
pub const LOCK: Duration = Duration::from_secs(45);

const NONCE: usize = 12;
const TAG: usize = 16;

/// What is asked about a grant. Idempotent: if a reply was lost it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantCall {
    /// What there is.
    Read,
    /// The right to refresh it, for [`LOCK`]; a holder that asks again has it for as long again.
    Lock,
    /// The tokens after a refresh: the generation that was read and one more, by the holder of the lock,
    /// which this gives back.
    Put {
        /// Of these tokens.
        generation: u64,
        /// These.
        tokens: Tokens,
    },
    /// Tokens that are kept here and newer than those in the store: it has lost writes.
    Restore {
        /// Of these tokens.
        generation: u64,
        /// These.
        tokens: Tokens,
    },
    /// No node is to use it any more. Only a [`GrantCall::Put`] begins it again.
    Forget,
}

/// The tokens of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// The refresh token; empty for an app that needs none.
    pub refresh: Secret,
}

/// A grant, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Grows by one with each refresh; 0 if the store has none.
    pub generation: u64,
    /// The tokens; `None` if there are none, or none that are by us.
    pub tokens: Option<Tokens>,
    /// Who may refresh it, and for how long.
    pub lock: Option<(Boot, Duration)>,
    /// It was forgotten.
    pub is_forgotten: bool,
}

/// The store's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantReply {
    /// To [`GrantCall::Read`].
    Read(Grant),
    /// To [`GrantCall::Lock`]: it is ours.
    Locked(Grant),
    /// To [`GrantCall::Lock`]: another process has it.
    Busy(Grant),
    /// To [`GrantCall::Put`] and [`GrantCall::Restore`]: done.
    Put,
    /// To these: not done. The store has this generation, or the lock is not ours, or it was forgotten.
    Refused {
        /// The store's.
        generation: u64,
    },
    /// To [`GrantCall::Forget`].
    Forgotten,
    /// No answer that can be used.
    Failed,
}

impl Codec {
    /// The command of a call about this grant.
    pub fn encode_grant(&self, grant: &str, call: &GrantCall) -> Command {
        let (what, tokens) = match call {
            GrantCall::Read => ("read", None),
            GrantCall::Lock => ("lock", None),
            GrantCall::Put { generation, tokens } => ("put", Some((generation, tokens))),
            GrantCall::Restore { generation, tokens } => ("restore", Some((generation, tokens))),
            GrantCall::Forget => ("forget", None),
        };
        let mut args = vec![
            what.as_bytes().to_vec(),
            self.me().boot.to_string().into_bytes(),
        ];
        if let Some((generation, tokens)) = tokens {
            let hidden = |field, token: &Secret| self.hide(grant, *generation, field, token);
            args.push(generation.to_string().into_bytes());
            args.push(hidden("access", &tokens.access));
            args.push(tokens.expires_ms.to_string().into_bytes());
            args.push(hidden("refresh", &tokens.refresh));
        }
        Command::script(Script::Grant, vec![self.names().grant(grant)], args)
    }

    /// The reply to a call about this grant.
    pub fn decode_grant(&self, grant: &str, value: &Value) -> GrantReply {
        self.grant_reply(grant, value).unwrap_or(GrantReply::Failed)
    }

    fn grant_reply(&self, grant: &str, value: &Value) -> Option<GrantReply> {
        let (word, rest) = value.array()?.split_first()?;
        let number = |value: &Value| u64::try_from(value.int()?).ok();
        Some(match (word.str()?, rest) {
            ("put", []) => GrantReply::Put,
            ("forgotten", []) => GrantReply::Forgotten,
            ("refused", [generation]) => GrantReply::Refused {
                generation: number(generation)?,
            },
            (
                word,
                [
                    generation,
                    access,
                    expires_ms,
                    refresh,
                    holder,
                    left,
                    is_forgotten,
                ],
            ) => {
                let generation = number(generation)?;
                let shown =
                    |field, value: &Value| self.show(grant, generation, field, value.bytes()?);
                let tokens = || {
                    Some(Tokens {
                        access: shown("access", access)?,
                        expires_ms: expires_ms.str()?.parse().ok()?,
                        refresh: shown("refresh", refresh)?,
                    })
                };
                let boot = holder.str().and_then(Boot::parse);
                let found = Grant {
                    generation,
                    tokens: tokens(),
                    lock: boot.zip(number(left).map(Duration::from_millis)),
                    is_forgotten: is_forgotten.int()? != 0,
                };
                match word {
                    "read" => GrantReply::Read(found),
                    "locked" => GrantReply::Locked(found),
                    "busy" => GrantReply::Busy(found),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// A nonce from the content: the same token in the same place gives the same bytes, and no nonce is used for
    /// two contents.
    fn hide(&self, grant: &str, generation: u64, field: &str, token: &Secret) -> Vec<u8> {
        let (key, place) = (self.token_key(), place(grant, generation, field));
        let token = token.expose().as_bytes();
        let nonce = &hmac_sha256(&key, &[b"nonce", &place, token])[..NONCE];
        let mut tag = [0; TAG];
        let cipher = Cipher::aes_256_gcm();
        // Only a wrong length of key or nonce could fail. An empty field is no token.
        let hidden = encrypt_aead(cipher, &key, Some(nonce), &place, token, &mut tag);
        hidden.map_or_else(|_| Vec::new(), |hidden| [nonce, &tag, &hidden].concat())
    }

    fn show(&self, grant: &str, generation: u64, field: &str, bytes: &[u8]) -> Option<Secret> {
        let (nonce, rest) = bytes.split_at_checked(NONCE)?;
        let (tag, hidden) = rest.split_at_checked(TAG)?;
        let (key, place) = (self.token_key(), place(grant, generation, field));
        let cipher = Cipher::aes_256_gcm();
        let token = decrypt_aead(cipher, &key, Some(nonce), &place, hidden, tag).ok()?;
        String::from_utf8(token).ok().map(Secret::new)
    }

    fn token_key(&self) -> [u8; 32] {
        self.seal.key_for(b"tokens")
    }
}

/// Where a token stands. The grant comes last, so that no two places are alike.
fn place(grant: &str, generation: u64, field: &str) -> Vec<u8> {
    format!("{field} {generation} {grant}").into_bytes()
}

#[cfg(all(test, feature = "demo"))]
#[path = "grant_tests.rs"]
mod tests;
