//! The MAC over what we put into the store.
//!
//! A reader of the store learns ids and topics; a writer starts nothing. The key comes
//! from the client secret. The code covers what it is for (meeting, node or stream), so that an entry cannot
//! be moved to another. It does not say when: a message can be put into the same queue again, where its
//! stamps show that it is old.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::domain::hmac_sha256::{hmac_sha256, is_hmac_sha256};

/// What is sealed: a part of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The entry of a meeting's record.
    Entry,
    /// A message for a node.
    Message,
    /// The last phrases of a stream.
    Tail,
}

impl Kind {
    const fn name(self) -> &'static [u8] {
        match self {
            Kind::Entry => b"entry",
            Kind::Message => b"message",
            Kind::Tail => b"tail",
        }
    }
}

/// Bytes of the code in front of what is sealed.
const CODE: usize = 32;

/// The key of one fleet.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl Seal {
    /// Derives the key. The fleet's name is a part of it: two fleets of an app on one store stay apart.
    pub fn new(client_secret: &str, fleet: &str) -> Seal {
        // One block of HKDF-Expand (RFC 5869). The secret has enough entropy: no Extract.
        let parts: [&[u8]; 3] = [b"rtmsd fleet store 1:", fleet.as_bytes(), b"\x01"];
        Seal {
            key: hmac_sha256(client_secret.as_bytes(), &parts),
        }
    }

    /// The code, then the content. `whose` is the meeting, node or stream.
    pub fn seal(&self, kind: Kind, whose: &str, content: &[u8]) -> Vec<u8> {
        let length = (whose.len() as u64).to_be_bytes();
        let parts = [kind.name(), &[0], &length, whose.as_bytes(), content];
        let code = hmac_sha256(&self.key, &parts);
        [&code, content].concat()
    }

    /// The content; `None` if it is not by us, or for something else.
    pub fn open<'a>(&self, kind: Kind, whose: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (code, content) = sealed.split_at_checked(CODE)?;
        let length = (whose.len() as u64).to_be_bytes();
        let parts = [kind.name(), &[0], &length, whose.as_bytes(), content];
        is_hmac_sha256(&self.key, &parts, code.try_into().ok()?).then_some(content)
    }

    /// A key for something else.
    pub(super) fn key_for(&self, purpose: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.key, &[b"key\0", purpose])
    }

    /// Eight bytes that differ for each input; no other node can compute them.
    pub(super) fn number(&self, parts: [&[u8]; 3]) -> u64 {
        let code = hmac_sha256(&self.key, &[b"number\0", parts[0], parts[1], parts[2]]);
        u64::from_be_bytes(std::array::from_fn(|n| code[n]))
    }
}
