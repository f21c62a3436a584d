//! Some bytes and a MAC over them and over what they are for, as text: what links and tickets are made of.
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

use crate::domain::hmac_sha256::{hmac_sha256, is_hmac_sha256};

/// Bytes of the key that signs.
pub const SECRET_BYTES: usize = 32;
/// The key that signs.
pub type Secret = [u8; SECRET_BYTES];
const MAC_BYTES: usize = 32;

/// Characters of the text for so many bytes: base64url without padding.
pub const fn chars(bytes: usize) -> usize {
    ((bytes + MAC_BYTES) * 4).div_ceil(3)
}

/// Signs the bytes. The MAC begins with the purpose, so that none of another purpose is one of this; what
/// is known where the text is read may be covered too and is not in it.
pub fn sign(secret: &Secret, purpose: &[u8], bytes: &[u8], covered: &[&[u8]]) -> String {
    let parts = [&[purpose, bytes][..], covered].concat();
    let mac = hmac_sha256(secret, &parts);
    URL_SAFE_NO_PAD.encode([bytes, &mac].concat())
}

/// The bytes of a text that was signed so; `None` for any other text. The MAC is compared in constant time
/// and before anything is believed.
pub fn read<const N: usize>(
    secret: &Secret,
    purpose: &[u8],
    text: &str,
    covered: &[&[u8]],
) -> Option<[u8; N]> {
    if text.len() != chars(N) {
        return None;
    }
    let decoded = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (bytes, mac) = decoded.split_first_chunk::<N>()?;
    let parts = [&[purpose, bytes][..], covered].concat();
    is_hmac_sha256(secret, &parts, mac.try_into().ok()?).then_some(*bytes)
}
