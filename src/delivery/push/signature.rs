//! The signature of Standard Webhooks 1.0.0: a receiver sees that a request is ours, whole and recent.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::hmac_sha256::hmac_sha256;

/// What a secret begins with.
pub const PREFIX: &str = "whsec_";

/// Fewest and most bytes behind the prefix.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The bytes of a `whsec_…` secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Reads `whsec_` and base64 of 24 to 64 bytes; the error says what was expected.
    pub fn parse(text: &str) -> Result<SigningSecret, String> {
        let key = text
            .strip_prefix(PREFIX)
            .and_then(|base64| STANDARD.decode(base64).ok())
            .filter(|key| KEY_BYTES.contains(&key.len()));
        key.map(SigningSecret).ok_or_else(|| {
            format!(
                "{PREFIX} followed by base64 of {} to {} random bytes; \"rtmsd push secret\" prints one",
                KEY_BYTES.start(),
                KEY_BYTES.end()
            )
        })
    }

    /// The text of a secret with these bytes.
    pub fn text(key: &[u8]) -> String {
        format!("{PREFIX}{}", STANDARD.encode(key))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The value of `webhook-signature`: one signature for each secret, separated by spaces, so that a
/// receiver that knows one of them accepts the request while secrets are changed.
///
/// `unix_s` is the moment of this try, as in `webhook-timestamp`; `body` is as it is sent.
pub fn sign(secrets: &[SigningSecret], id: &str, unix_s: u64, body: &[u8]) -> String {
    let head = format!("{id}.{unix_s}.");
    let mut value = String::with_capacity(secrets.len() * 48);
    for secret in secrets {
        let code = hmac_sha256(&secret.0, &[head.as_bytes(), body]);
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str("v1,");
        STANDARD.encode_string(code, &mut value);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret() -> SigningSecret {
        SigningSecret::parse(SECRET).expect("a secret")
    }

    #[test]
    fn the_vector_of_the_standard() {
        let signature = sign(
            &[secret()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_sign_side_by_side() {
        let other = SigningSecret::parse(&SigningSecret::text(&[7; 32])).expect("a secret");
        let (first, second) = (
            sign(&[secret()], "a-1", 5, b"{}"),
            sign(std::slice::from_ref(&other), "a-1", 5, b"{}"),
        );
        assert_ne!(first, second);
        let both = sign(&[secret(), other], "a-1", 5, b"{}");
        assert_eq!(both, format!("{first} {second}"));
    }

    #[test]
    fn what_a_secret_looks_like() {
        for length in [24, 32, 64] {
            let text = SigningSecret::text(&vec![9; length]);
            let secret = SigningSecret::parse(&text).expect("a secret");
            assert_eq!(secret.0, vec![9; length]);
            assert_eq!(format!("{secret:?}"), "[secret]");
        }
        for wrong in [
            "",
            "whsec_",
            "whsec_!",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            &SigningSecret::text(&[9; 23]),
            &SigningSecret::text(&[9; 65]),
        ] {
            let expected = SigningSecret::parse(wrong).expect_err(wrong);
            assert!(expected.starts_with("whsec_ followed by base64 of 24 to 64"));
        }
    }
}
