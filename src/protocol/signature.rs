//! The handshake signature, which proves to Zoom that we have the app's secret.

use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::secret::Secret;

/// The signature of messages 1 and 3 (RTMS event reference): lower-case hex of HMAC-SHA256(client
/// secret, `client_id,id,rtms_stream_id`), with the id as received, never percent-encoded.
pub fn handshake_signature(
    client_id: &str,
    client_secret: &Secret,
    id: &str,
    stream_id: &str,
) -> String {
    let parts = [client_id, ",", id, ",", stream_id].map(str::as_bytes);
    hex::encode(hmac_sha256(client_secret.expose().as_bytes(), &parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_equal_the_independent_vectors() {
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/data/handshake_signature.json"))
                .expect("the vectors are JSON");
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let field = |name: &str| vector[name].as_str().expect("a string").to_owned();
            let signature = handshake_signature(
                &field("client_id"),
                &Secret::new(field("client_secret")),
                &field("meeting_uuid"),
                &field("rtms_stream_id"),
            );
            assert_eq!(signature, field("signature"), "{}", vector["note"]);
        }
    }
}
