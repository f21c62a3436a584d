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

use super::signed::{self, Secret};
use crate::feed::key::JournalKey;

/// How long a ticket is good, seconds.
pub const TICKET_FOR_S: u64 = 600;
const PURPOSE: &[u8] = b"rtmsd ticket\0";
const VERSION: u8 = 1;
/// Version, expiry.
const SIGNED_BYTES: usize = 1 + 8;
/// Characters of a ticket.
pub const TICKET_CHARS: usize = signed::chars(SIGNED_BYTES);

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
    pub fn sign(&self, secret: &Secret) -> String {
        let mut bytes = [VERSION; SIGNED_BYTES];
        bytes[1..].copy_from_slice(&self.expires_s.to_be_bytes());
        let covered = [&self.key.to_bytes()[..], self.file.as_bytes()];
        signed::sign(secret, PURPOSE, &bytes, &covered)
    }

    /// Reads a credential for that file; `None` if it was not signed for it with this secret. Whether it has
    /// expired is the caller's to judge.
    pub fn read(text: &str, key: JournalKey, file: &'a str, secret: &Secret) -> Option<Ticket<'a>> {
        let covered = [&key.to_bytes()[..], file.as_bytes()];
        let bytes: [u8; SIGNED_BYTES] = signed::read(secret, PURPOSE, text, &covered)?;
        let (version, expiry) = bytes.split_last_chunk::<8>()?;
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
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::signed::SECRET_BYTES;
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
