//! The credential of one file, for what cannot send a header field: players and downloads.
//!
//! It is base64url of version, expiry and a MAC, which covers the stream and the file's name, too: these
//! stand in the path.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::token::SECRET_BYTES;
use crate::domain::hmac_sha256::{hmac_sha256, is_hmac_sha256};
use crate::feed::key::JournalKey;

/// How long a ticket is good, seconds.
pub const TICKET_FOR_S: u64 = 600;
const PURPOSE: &[u8] = b"rtmsd ticket\0";
const VERSION: u8 = 1;
/// Version, expiry.
const SIGNED_BYTES: usize = 1 + 8;
const MAC_BYTES: usize = 32;
/// Characters of a ticket, without padding.
pub const TICKET_CHARS: usize = (SIGNED_BYTES + MAC_BYTES) * 8 / 6 + 1;

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket<'a> {
    /// The stream.
    pub key: JournalKey,
    /// The file's name, as its folder lists it.
    pub file: &'a str,
    /// Until when, Unix seconds.
    pub expires_s: u64,
}

impl<'a> Ticket<'a> {
    /// The credential.
    pub fn sign(&self, secret: &[u8; SECRET_BYTES]) -> String {
        let mut bytes = [0; SIGNED_BYTES + MAC_BYTES];
        let (signed, mac) = bytes.split_at_mut(SIGNED_BYTES);
        signed[0] = VERSION;
        signed[1..].copy_from_slice(&self.expires_s.to_be_bytes());
        let key = self.key.to_bytes();
        let parts = [PURPOSE, signed, &key, self.file.as_bytes()];
        mac.copy_from_slice(&hmac_sha256(secret, &parts));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a credential for that file; `None` if it was not signed for it with this secret. Nothing in it
    /// is believed before its MAC is right. Whether it has expired is the caller's to judge.
    pub fn read(
        text: &str,
        key: JournalKey,
        file: &'a str,
        secret: &[u8; SECRET_BYTES],
    ) -> Option<Ticket<'a>> {
        if text.len() != TICKET_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, mac) = bytes.split_first_chunk::<SIGNED_BYTES>()?;
        let parts = [PURPOSE, signed, &key.to_bytes(), file.as_bytes()];
        if !is_hmac_sha256(secret, &parts, mac.try_into().ok()?) {
            return None;
        }
        let (version, expiry) = signed.split_last_chunk::<8>()?;
        (version == [VERSION]).then_some(Ticket {
            key,
            file,
            expires_s: u64::from_be_bytes(*expiry),
        })
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_s.saturating_mul(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

    fn key(n: u64) -> JournalKey {
        JournalKey::from_bytes(n.to_be_bytes())
    }

    #[test]
    fn g2_a_ticket_is_for_one_file_of_one_stream() {
        let ticket = Ticket {
            key: key(1),
            file: "video/A\u{e9}.jpg",
            expires_s: 1_795_529_590,
        };
        let text = ticket.sign(&SECRET);
        assert_eq!(text.len(), TICKET_CHARS);
        let read = |text: &str, n, file| Ticket::read(text, key(n), file, &SECRET);
        assert_eq!(read(&text, 1, ticket.file), Some(ticket));
        assert_eq!(read(&text, 2, ticket.file), None);
        assert_eq!(read(&text, 1, "video/A.jpg"), None);
        assert_eq!(read(&text, 1, ""), None);
        assert_eq!(Ticket::read(&text, key(1), ticket.file, &[8; 32]), None);
        assert!(!ticket.is_expired(1_795_529_589_999) && ticket.is_expired(1_795_529_590_000));
    }

    #[test]
    fn s2_each_bit_of_a_ticket_is_signed() {
        let ticket = Ticket {
            key: key(1),
            file: "a.wav",
            expires_s: 1,
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(ticket.sign(&SECRET))
            .expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let text = URL_SAFE_NO_PAD.encode(other);
            assert_eq!(Ticket::read(&text, key(1), "a.wav", &SECRET), None);
        }
        for text in ["", "x", "\u{e4}"] {
            assert_eq!(Ticket::read(text, key(1), "a.wav", &SECRET), None);
        }
    }
}
