//! Zoom's webhook signatures and URL challenges: no clock, no header names, no JSON.
//!
//! `x-zm-signature` is `v0=` and the hex HMAC-SHA256, keyed with the webhook secret token, of the text
//! `v0:TIMESTAMP:BODY`: the header `x-zm-request-timestamp` and the body as received. The answer to a
//! challenge is the HMAC of its `plainToken` with **the same key**, so a client that chooses that
//! token freely could have webhooks signed; [`is_plain_token`] prevents that.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use crate::domain::hmac_sha256::{hmac_sha256, is_hmac_sha256};
use crate::domain::secret::Secret;

/// Maximum bytes of a `plainToken`; Zoom's have 22.
pub const PLAIN_TOKEN_BYTES_MAX: usize = 128;

/// The index of the secret token that made this signature; `None` if none did.
///
/// Every token is tried, and each comparison takes constant time, so that the time shows nothing.
/// An empty token never matches.
pub fn signer(tokens: &[Secret], timestamp: &str, body: &[u8], signature: &str) -> Option<usize> {
    let mut claimed = [0; 32];
    let hex_digits = signature.strip_prefix("v0=")?;
    hex::decode_to_slice(hex_digits, &mut claimed).ok()?;
    let mut found = None;
    for (n, token) in tokens.iter().enumerate() {
        let is_signer = is_hmac_sha256(
            token.expose().as_bytes(),
            &signed(timestamp, body),
            &claimed,
        );
        if is_signer && !token.is_empty() && found.is_none() {
            found = Some(n);
        }
    }
    found
}

/// The difference between `timestamp` (Unix seconds, digits) and `now_s`; `None` if it is not a
/// timestamp.
pub fn age(timestamp: &str, now_s: u64) -> Option<Duration> {
    if timestamp.is_empty() || !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let sent_s: u64 = timestamp.parse().ok()?;
    Some(Duration::from_secs(now_s.abs_diff(sent_s)))
}

/// Whether a challenge's token may be signed.
///
/// A text that Zoom signs always has a colon (`v0:…`), a challenge's token never has: without this
/// rule anyone could send the text of a webhook as a challenge and get its signature in the answer.
pub fn is_plain_token(token: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_+/=. ~".contains(&b);
    (1..=PLAIN_TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(is_allowed)
}

/// `encryptedToken` for a challenge; check [`is_plain_token`] first.
pub fn encrypted_token(token: &Secret, plain_token: &str) -> String {
    let key = token.expose().as_bytes();
    hex::encode(hmac_sha256(key, &[plain_token.as_bytes()]))
}

/// The value of `x-zm-signature` for this body: what Zoom computes, for the demo and for tests.
pub fn sign(token: &Secret, timestamp: &str, body: &[u8]) -> String {
    let key = token.expose().as_bytes();
    let code = hmac_sha256(key, &signed(timestamp, body));
    format!("v0={}", hex::encode(code))
}

/// What a webhook's signature is made of.
fn signed<'a>(timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 4] {
    [b"v0:", timestamp.as_bytes(), b":", body]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors(text: &str) -> Vec<Value> {
        serde_json::from_str(text).expect("the vectors are JSON")
    }

    fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
        vector[key].as_str().expect("a string")
    }

    #[test]
    fn signatures_equal_the_vectors() {
        for vector in vectors(include_str!("../../../tests/data/webhook_signature.json")) {
            let token = Secret::new(text(&vector, "secret_token"));
            let (timestamp, body) = (text(&vector, "timestamp"), text(&vector, "body"));
            let signature = text(&vector, "signature");
            let found = signer(
                std::slice::from_ref(&token),
                timestamp,
                body.as_bytes(),
                signature,
            );
            assert_eq!(
                found.is_some(),
                vector["valid"] == true,
                "{}",
                vector["note"]
            );
            if found.is_some() {
                assert_eq!(sign(&token, timestamp, body.as_bytes()), signature);
            }
        }
        for vector in vectors(include_str!("../../../tests/data/url_validation.json")) {
            let token = Secret::new(text(&vector, "secret_token"));
            let encrypted = encrypted_token(&token, text(&vector, "plain_token"));
            assert_eq!(encrypted, text(&vector, "encrypted_token"));
        }
    }

    #[test]
    fn any_of_several_tokens_may_sign_but_an_empty_one_never() {
        let tokens = [Secret::new("a"), Secret::new(""), Secret::new("c")];
        let by = |token: &str| signer(&tokens, "1", b"{}", &sign(&Secret::new(token), "1", b"{}"));
        assert_eq!(by("a"), Some(0));
        assert_eq!(by("c"), Some(2));
        assert_eq!(by(""), None);
        assert_eq!(by("b"), None);
        assert_eq!(
            signer(&[], "1", b"{}", &sign(&Secret::new(""), "1", b"{}")),
            None
        );
    }

    #[test]
    fn malformed_signatures_are_wrong() {
        let tokens = [Secret::new("a")];
        let right = sign(&tokens[0], "1", b"{}");
        assert_eq!(signer(&tokens, "1", b"{}", &right), Some(0));
        let longer = format!("{right}00");
        for wrong in [
            "",
            "v0=",
            "v1=00",
            "v0=\u{e9}",
            &right[3..],
            &longer,
            &right[..66],
        ] {
            assert_eq!(signer(&tokens, "1", b"{}", wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_age_counts_in_either_direction() {
        assert_eq!(age("100", 130), Some(Duration::from_secs(30)));
        assert_eq!(age("130", 100), Some(Duration::from_secs(30)));
        for wrong in ["", "-1", "+1", " 1", "1.5", "x", "99999999999999999999999"] {
            assert_eq!(age(wrong, 1), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_challenge_cannot_be_used_to_sign_a_webhook() {
        assert!(is_plain_token("qgg8vlvZRS6UYooatFL8Aw"));
        for wrong in ["", "v0:1:{}", "a\nb", "\u{e9}", &"x".repeat(129)] {
            assert!(!is_plain_token(wrong), "{wrong:?}");
        }
    }
}
