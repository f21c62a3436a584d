//! The credential of a link: base64url of version, scope, expiry, key and a MAC of all of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::signed::{self, Secret};
use crate::feed::key::JournalKey;

const PURPOSE: &[u8] = b"rtmsd link\0";
const VERSION: u8 = 1;
const CAPTIONS: u8 = 1;
const CAPTIONS_AND_FILES: u8 = 2;
/// Version, scope, expiry, key.
const SIGNED_BYTES: usize = 1 + 1 + 8 + 8;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The stream.
    pub key: JournalKey,
    /// With its page and its files.
    pub has_files: bool,
    /// Until when, Unix seconds.
    pub expires_s: u64,
}

impl Link {
    /// The credential.
    pub fn sign(&self, secret: &Secret) -> String {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[0] = VERSION;
        bytes[1] = if self.has_files {
            CAPTIONS_AND_FILES
        } else {
            CAPTIONS
        };
        bytes[2..10].copy_from_slice(&self.expires_s.to_be_bytes());
        bytes[10..].copy_from_slice(&self.key.to_bytes());
        signed::sign(secret, PURPOSE, &bytes, &[])
    }

    /// Reads a credential; `None` if it was not signed with this secret. Whether it has expired is the
    /// caller's to judge.
    pub fn read(token: &str, secret: &Secret) -> Option<Link> {
        let signed: [u8; SIGNED_BYTES] = signed::read(secret, PURPOSE, token, &[])?;
        let (head, key) = signed.split_last_chunk::<8>()?;
        let (head, expiry) = head.split_last_chunk::<8>()?;
        let has_files = match head {
            [VERSION, CAPTIONS] => false,
            [VERSION, CAPTIONS_AND_FILES] => true,
            _ => return None,
        };
        Some(Link {
            key: JournalKey::from_bytes(*key),
            has_files,
            expires_s: u64::from_be_bytes(*expiry),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::signed::{SECRET_BYTES, chars};
    use super::*;

    const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

    fn link(has_files: bool) -> Link {
        Link {
            key: "bdd2d51ed67606f5".parse().expect("a key"),
            has_files,
            expires_s: 1_795_529_590,
        }
    }

    #[test]
    fn g3_a_link_is_read_as_it_was_signed() {
        for has_files in [false, true] {
            let token = link(has_files).sign(&SECRET);
            assert_eq!(token.len(), chars(SIGNED_BYTES));
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            assert!(token.bytes().all(is_plain), "{token}");
            assert_eq!(Link::read(&token, &SECRET), Some(link(has_files)));
            assert_eq!(Link::read(&token, &[8; SECRET_BYTES]), None);
        }
    }

    #[test]
    fn s2_each_bit_of_a_link_is_signed() {
        let bytes = URL_SAFE_NO_PAD
            .decode(link(true).sign(&SECRET))
            .expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let token = URL_SAFE_NO_PAD.encode(other);
            assert_eq!(Link::read(&token, &SECRET), None, "bit {bit}");
        }
    }

    #[test]
    fn s10_what_is_no_link_is_none() {
        let token = link(true).sign(&SECRET);
        let longer = format!("{token}A");
        let padded = format!("{token}=");
        for text in ["", "x", "=", &token[1..], &longer, &padded, "\u{e4}"] {
            assert_eq!(Link::read(text, &SECRET), None, "{text}");
        }
        // A right MAC over another version, and over another scope.
        for (version, scope) in [(0, 1), (2, 1), (1, 0), (1, 3)] {
            let mut signed = [0; SIGNED_BYTES];
            (signed[0], signed[1]) = (version, scope);
            let token = signed::sign(&SECRET, PURPOSE, &signed, &[]);
            assert_eq!(Link::read(&token, &SECRET), None);
        }
    }
}
