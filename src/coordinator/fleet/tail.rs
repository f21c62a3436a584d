//! The last phrases of a stream, so that the next node does not write them again.
//!
//! Digests are keyed with the client secret: who reads the store cannot test guesses of what was said.

use std::collections::VecDeque;

use super::call::Tail;
use crate::domain::hmac_sha256::hmac_sha256;

/// Phrases in a tail.
pub const PHRASES_MAX: usize = 32;

/// Bytes of a phrase's digest.
pub const DIGEST_LEN: usize = 8;

/// Bytes of the newest timestamp.
const STAMP_LEN: usize = 8;

/// Eight bytes of a phrase's HMAC-SHA256.
pub type Digest = [u8; DIGEST_LEN];

/// The digest of what identifies a phrase, its parts each preceded by their length.
pub fn digest(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let mac = hmac_sha256(key, &[&all]);
    let mut digest = Digest::default();
    digest.copy_from_slice(&mac[..DIGEST_LEN]);
    digest
}

/// The last phrases of a stream, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastPhrases {
    /// The greatest timestamp so far, in ms.
    newest_ms: u64,
    digests: VecDeque<Digest>,
}

impl LastPhrases {
    /// Adds a phrase that was kept.
    pub fn push(&mut self, stamp_ms: u64, digest: Digest) {
        self.newest_ms = self.newest_ms.max(stamp_ms);
        if self.digests.len() == PHRASES_MAX {
            self.digests.pop_front();
        }
        self.digests.push_back(digest);
    }

    /// Whether the phrase is one of them.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// The greatest timestamp so far, in ms; 0 without any.
    pub fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Whether nothing was kept yet.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// As it stands in the store.
    pub fn pack(&self) -> Tail {
        let mut tail = Vec::with_capacity(STAMP_LEN + self.digests.len() * DIGEST_LEN);
        tail.extend_from_slice(&self.newest_ms.to_be_bytes());
        self.digests
            .iter()
            .for_each(|digest| tail.extend_from_slice(digest));
        tail
    }

    /// Reads what stands in the store; `None` if it is not from [`LastPhrases::pack`].
    pub fn unpack(tail: &[u8]) -> Option<LastPhrases> {
        let (stamp, digests) = tail.split_first_chunk::<STAMP_LEN>()?;
        let (digests, rest) = digests.as_chunks::<DIGEST_LEN>();
        let is_whole = rest.is_empty() && digests.len() <= PHRASES_MAX;
        is_whole.then(|| LastPhrases {
            newest_ms: u64::from_be_bytes(*stamp),
            digests: digests.iter().copied().collect(),
        })
    }
}
