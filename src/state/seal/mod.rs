//! Files of the state directory that are encrypted with the operator's key: `RTMS_STATE_KEY_FILE`.
//!
//! A sealed file is `MAGIC`, eight bytes that tell which key it is, 32 random bytes, the ciphertext of
//! AES-256-GCM, and its tag of 16 bytes. The cipher's key is derived from the operator's key and the random
//! bytes (HKDF-SHA256), so that each write has a key of its own. Everything before the ciphertext, and the
//! name of the file, are authenticated with it: a file cannot take the place of another one.

mod hkdf;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

/// Shortest key, in bytes: as long as the cipher's.
pub const KEY_BYTES_MIN: usize = 32;
/// Longest key, in bytes: a file that is longer is surely another one.
pub const KEY_BYTES_MAX: usize = 4096;
/// Maximum keys: the one in use, and those before it.
pub const KEYS_MAX: usize = 4;

/// What a sealed file begins with; another format gets another number.
const MAGIC: &[u8; 15] = b"rtmsd sealed 1\n";
const ID_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + ID_BYTES + SALT_BYTES;
const TAG_BYTES: usize = 16;
/// The key is used once, so the nonce can be constant.
const NONCE: [u8; 12] = [0; 12];
/// What the body of a sealed line begins with. JSON does not.
const LINE_PREFIX: &[u8] = b"sealed1:";

/// The operator's keys: the first one seals, all of them open. Without a key files are plain.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StateKeys(Arc<Vec<Key>>);

#[derive(PartialEq, Eq)]
struct Key {
    id: [u8; ID_BYTES],
    secret: Vec<u8>,
}

impl fmt::Debug for StateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateKeys({})", self.0.len())
    }
}

/// Why a sealed file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealFault {
    /// No key is configured.
    NoKey,
    /// It was sealed with a key that is not configured.
    OtherKey,
    /// It was changed or cut, or is another file's content.
    Damaged,
    /// There are no random numbers.
    NoRandom,
}

impl fmt::Display for SealFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealFault::NoKey => {
                "found it encrypted and no key, expected the key in RTMS_STATE_KEY_FILE"
            }
            SealFault::OtherKey => {
                "found it encrypted with another key than that of RTMS_STATE_KEY_FILE, expected the same one; \
                 name the former key behind the present one, after a comma"
            }
            SealFault::Damaged => {
                "found it encrypted and changed since, expected what was written; restore it from a backup, or \
                 move it away"
            }
            SealFault::NoRandom => "the system gives no random numbers",
        })
    }
}

impl std::error::Error for SealFault {}

impl StateKeys {
    /// These keys, the present one first.
    ///
    /// # Errors
    /// One is too short or too long, or there are too many: what was found and what is expected.
    pub fn new(secrets: Vec<Vec<u8>>) -> Result<StateKeys, String> {
        if secrets.len() > KEYS_MAX {
            return Err(format!(
                "found {} keys, expected {KEYS_MAX} at most",
                secrets.len()
            ));
        }
        let mut keys = Vec::with_capacity(secrets.len());
        for secret in secrets {
            if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&secret.len()) {
                return Err(format!(
                    "found a key of {} bytes, expected {KEY_BYTES_MIN} to {KEY_BYTES_MAX}; \
                     \"openssl rand 32\" makes one",
                    secret.len()
                ));
            }
            let derived = hkdf::derive(&secret, b"", b"rtmsd state key id 1");
            let mut id = [0; ID_BYTES];
            id.copy_from_slice(&derived[..ID_BYTES]);
            keys.push(Key { id, secret });
        }
        Ok(StateKeys(Arc::new(keys)))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content for a file of that name: sealed if there is a key.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn seal<'a>(&self, name: &str, plain: &'a [u8]) -> Result<Cow<'a, [u8]>, SealFault> {
        let Some(key) = self.0.first() else {
            return Ok(Cow::Borrowed(plain));
        };
        let mut salt = [0; SALT_BYTES];
        openssl::rand::rand_bytes(&mut salt).map_err(|_| SealFault::NoRandom)?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + TAG_BYTES);
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&salt);
        let mut tag = [0; TAG_BYTES];
        let cipher_key = hkdf::derive(&key.secret, &salt, b"rtmsd state file 1");
        let further = further(&sealed, name);
        let cipher = Cipher::aes_256_gcm();
        let text = encrypt_aead(cipher, &cipher_key, Some(&NONCE), &further, plain, &mut tag);
        sealed.extend(text.map_err(|_| SealFault::Damaged)?);
        sealed.extend_from_slice(&tag);
        Ok(Cow::Owned(sealed))
    }

    /// What is in a file of that name, sealed or plain.
    ///
    /// # Errors
    /// It is sealed and cannot be opened.
    pub fn open(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, SealFault> {
        if !is_sealed(&bytes) {
            return Ok(bytes);
        }
        if self.is_empty() {
            return Err(SealFault::NoKey);
        }
        let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(SealFault::Damaged);
        };
        let Some((text, tag)) = rest.split_last_chunk::<TAG_BYTES>() else {
            return Err(SealFault::Damaged);
        };
        let (id, salt) = head[MAGIC.len()..].split_at(ID_BYTES);
        let key = self.0.iter().find(|key| key.id == id);
        let key = key.ok_or(SealFault::OtherKey)?;
        let cipher_key = hkdf::derive(&key.secret, salt, b"rtmsd state file 1");
        let further = further(head, name);
        let cipher = Cipher::aes_256_gcm();
        decrypt_aead(cipher, &cipher_key, Some(&NONCE), &further, text, tag)
            .map_err(|_| SealFault::Damaged)
    }

    /// Whether a file should be written again: it is plain, or was sealed with an earlier key.
    pub(super) fn is_stale(&self, bytes: &[u8]) -> bool {
        let Some(key) = self.0.first() else {
            return false;
        };
        !is_sealed(bytes) || bytes.get(MAGIC.len()..MAGIC.len() + ID_BYTES) != Some(&key.id)
    }

    /// The body of a line of the file of that name, without line breaks.
    pub(super) fn seal_line<'a>(
        &self,
        name: &str,
        body: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, SealFault> {
        if self.is_empty() || body.is_empty() {
            return Ok(Cow::Borrowed(body));
        }
        let sealed = STANDARD_NO_PAD.encode(self.seal(name, body)?);
        Ok(Cow::Owned([LINE_PREFIX, sealed.as_bytes()].concat()))
    }

    /// As [`StateKeys::is_stale`], for the body of a line.
    pub(super) fn is_stale_line(&self, body: &[u8]) -> bool {
        if self.is_empty() || body.is_empty() {
            return false;
        }
        let sealed = body.strip_prefix(LINE_PREFIX);
        let sealed = sealed.and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        sealed.is_none_or(|sealed| self.is_stale(&sealed))
    }

    /// What is in the body of a line.
    pub(super) fn open_line(&self, name: &str, body: &[u8]) -> Result<Vec<u8>, SealFault> {
        let Some(text) = body.strip_prefix(LINE_PREFIX) else {
            return Ok(body.to_vec());
        };
        let sealed = STANDARD_NO_PAD.decode(text);
        self.open(name, sealed.map_err(|_| SealFault::Damaged)?)
    }
}

/// Whether the content of a file is sealed.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What is authenticated beside the ciphertext.
fn further(head: &[u8], name: &str) -> Vec<u8> {
    [head, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seeds: &[u8]) -> StateKeys {
        let secrets = seeds.iter().map(|seed| vec![*seed; KEY_BYTES_MIN]);
        StateKeys::new(secrets.collect()).expect("keys")
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_alone() {
        let one = keys(&[1]);
        let sealed = one.seal("a.json", b"a secret").expect("random numbers");
        let sealed = sealed.into_owned();
        assert!(!String::from_utf8_lossy(&sealed).contains("secret"));
        assert_ne!(
            one.seal("a.json", b"a secret").expect("random numbers"),
            sealed
        );
        let open = |keys: &StateKeys, name: &str| keys.open(name, sealed.clone());
        assert_eq!(open(&one, "a.json").as_deref(), Ok(&b"a secret"[..]));
        assert_eq!(open(&keys(&[2]), "a.json"), Err(SealFault::OtherKey));
        assert_eq!(open(&StateKeys::default(), "a.json"), Err(SealFault::NoKey));
        // The content of one file is not that of another.
        assert_eq!(open(&one, "b.json"), Err(SealFault::Damaged));
        // A former key still opens.
        assert_eq!(
            open(&keys(&[2, 1]), "a.json").as_deref(),
            Ok(&b"a secret"[..])
        );
        assert!(keys(&[2, 1]).is_stale(&sealed) && !one.is_stale(&sealed));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let one = keys(&[1]);
        let sealed = one.seal("a", b"text").expect("random numbers").into_owned();
        for place in MAGIC.len()..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(one.open("a", changed).is_err(), "{place}");
        }
        for length in MAGIC.len()..sealed.len() {
            assert!(
                one.open("a", sealed[..length].to_vec()).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn without_a_key_everything_is_plain() {
        let none = StateKeys::default();
        assert_eq!(none.seal("a", b"text").as_deref(), Ok(&b"text"[..]));
        assert_eq!(
            keys(&[1]).open("a", b"text".to_vec()).as_deref(),
            Ok(&b"text"[..])
        );
        assert!(keys(&[1]).is_stale(b"text") && !none.is_stale(b"text"));
    }

    #[test]
    fn a_line_has_no_line_break() {
        let one = keys(&[1]);
        let body = br#"{"topic":"Weekly"}"#;
        let sealed = one.seal_line("log", body).expect("random numbers");
        assert!(sealed.iter().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(one.open_line("log", &sealed).as_deref(), Ok(&body[..]));
        assert_eq!(one.open_line("log", body).as_deref(), Ok(&body[..]));
        assert_eq!(
            StateKeys::default().open_line("log", &sealed),
            Err(SealFault::NoKey)
        );
        assert_eq!(one.seal_line("log", b"").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn a_short_key_is_refused_with_a_remedy() {
        let text = StateKeys::new(vec![vec![0; 31]]).unwrap_err();
        assert!(
            text.contains("found a key of 31 bytes") && text.contains("openssl rand 32"),
            "{text}"
        );
        assert!(StateKeys::new(vec![vec![0; 4097]]).is_err());
        assert!(StateKeys::new(vec![vec![0; 32]; 5]).is_err());
        assert_eq!(format!("{:?}", keys(&[7])), "StateKeys(1)");
    }
}
