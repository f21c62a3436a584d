//! The key of a journal: 16 hexadecimal digits, computed from the path of its folder.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Digits of a key in text.
pub const KEY_DIGITS: usize = 16;

/// The key of a journal. A folder has one journal and one key, as long as its path does not change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalKey(u64);

impl JournalKey {
    /// The server's own journal: sixteen zeros.
    pub const SERVER: JournalKey = JournalKey(0);

    /// The key of a stream's folder, by its path below `RTMS_OUT`: the first 64 bits of the SHA-256.
    pub fn of_folder(below_out: &Path) -> JournalKey {
        let digest = Sha256::digest(below_out.as_os_str().as_encoded_bytes());
        let first = digest.iter().take(size_of::<u64>());
        JournalKey(first.fold(0, |key, byte| key << 8 | u64::from(*byte)))
    }

    /// The key in eight bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The key of [`to_bytes`](JournalKey::to_bytes).
    pub fn from_bytes(bytes: [u8; 8]) -> JournalKey {
        JournalKey(u64::from_be_bytes(bytes))
    }

    /// The digits of the key.
    pub fn digits(self) -> [u8; KEY_DIGITS] {
        let mut digits = [0; KEY_DIGITS];
        let mut left = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(left & 0xf) as usize];
            left >>= 4;
        }
        digits
    }
}

impl fmt::Display for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoKey;

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a key of 16 digits from 0 to f, in lower case")
    }
}

impl std::error::Error for NoKey {}

impl FromStr for JournalKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<JournalKey, NoKey> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != KEY_DIGITS || !text.bytes().all(is_digit) {
            return Err(NoKey);
        }
        u64::from_str_radix(text, 16)
            .map(JournalKey)
            .map_err(|_| NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_from_the_folder() {
        let folder = "2026-11-24/55keyUHnM5dGxofmvVjvuQ__-b66879de0c6c/\
                      ee3a7683f46ee5521487f231f3162e21-2b4d77fafa63";
        let key = JournalKey::of_folder(Path::new(folder));
        assert_eq!(key.to_string(), "bdd2d51ed67606f5");
        assert_eq!(key.digits(), *b"bdd2d51ed67606f5");
        assert_eq!("bdd2d51ed67606f5".parse(), Ok(key));
        assert_eq!("0000000000000000".parse(), Ok(JournalKey::SERVER));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "bdd2d51ed67606f",
            "bdd2d51ed67606f5a",
            "BDD2D51ED67606F5",
            "bdd2d51ed67606g5",
            "+dd2d51ed67606f5",
            "-000000000000000",
            "ééééé",
        ] {
            assert_eq!(text.parse::<JournalKey>(), Err(NoKey), "{text}");
        }
    }
}
