//! The token of Video SDK calls: signed locally with the SDK's secret, without a server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::domain::app::AppCredentials;
use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::secret::Secret;

/// Lifetime of such a token: enough for one call and for a clock difference.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// How far in the past its start is set, in case this clock is ahead of Zoom's.
const BACKDATED: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
    exp: u64,
}

/// A JSON Web Token (RFC 7519, HS256) for the Video SDK's REST API.
pub(super) fn sign(sdk: &AppCredentials, now: SystemTime) -> Secret {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        alg: "HS256",
        typ: "JWT",
    };
    let claims = Claims {
        iss: &sdk.id,
        iat: now.saturating_sub(BACKDATED).as_secs(),
        exp: (now + LIFE).as_secs(),
    };
    let part = |json: serde_json::Result<Vec<u8>>| {
        URL_SAFE_NO_PAD.encode(json.expect("strings and numbers always become JSON"))
    };
    let signed = format!(
        "{}.{}",
        part(serde_json::to_vec(&header)),
        part(serde_json::to_vec(&claims))
    );
    let code = hmac_sha256(sdk.secret.expose().as_bytes(), &[signed.as_bytes()]);
    let signature = URL_SAFE_NO_PAD.encode(code);
    Secret::new(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_equals_one_computed_by_another_program() {
        let sdk = AppCredentials {
            id: "sdkkey".to_owned(),
            secret: Secret::new("sdksecret"),
        };
        let token = sign(&sdk, UNIX_EPOCH + Duration::from_secs(1_767_000_030));
        assert_eq!(token.expose(), EXPECTED);
    }

    /// Computed with Python's hmac and base64 modules.
    const EXPECTED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzZGtrZXkiLCJpYXQiOjE3NjcwMDAwMDAsImV4cCI6MTc2NzAwMDYzMH0.WlY1t4YZocKhj-aTg80Q6ysvBQFJCuccsv2smIiOOCM";
}
