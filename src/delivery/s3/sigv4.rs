//! AWS Signature Version 4 for S3: a request and credentials become the value of `Authorization`.
//!
//! S3 differs from other services of AWS: a path is percent-encoded once and never normalized.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::secret::Secret;
use crate::domain::text::percent_encoded;
use crate::domain::time::Utc;

/// `x-amz-content-sha256` of a request without a body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The credentials of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Of temporary credentials; sent as `x-amz-security-token`.
    pub session_token: Option<Secret>,
}

/// The parts of a request that are signed.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: &'static str,
    /// Percent-encoded, from the first slash on; see [`encode_path`].
    pub path: &'a str,
    /// Not encoded, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// Lower-case names, `host` among them; all of them are signed.
    pub headers: &'a [(&'a str, &'a str)],
    /// Hex SHA-256 of the body.
    pub body_sha256: &'a str,
}

/// The time of a request, in the two forms that SigV4 needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// `20130524T000000Z`: `x-amz-date`.
    pub date_time: String,
}

impl Stamp {
    pub fn from_unix_ms(ms: u64) -> Stamp {
        let utc = Utc::from_unix_ms(ms);
        let digits = |text: String| text.replace(['-', ':'], "");
        Stamp {
            date_time: format!("{}T{}Z", digits(utc.date()), digits(utc.clock())),
        }
    }

    fn date(&self) -> &str {
        &self.date_time[..8]
    }
}

/// The value of `Authorization`. The headers must contain `x-amz-date` with this time already.
pub fn authorization(
    request: &Request<'_>,
    credentials: &Credentials,
    region: &str,
    stamp: &Stamp,
) -> Secret {
    let scope = format!("{}/{region}/s3/aws4_request", stamp.date());
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        stamp.date_time,
        hex_sha256(canonical(request).as_bytes())
    );
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let mut key = hmac_sha256(secret.as_bytes(), &[stamp.date().as_bytes()]);
    for part in [region, "s3", "aws4_request", to_sign.as_str()] {
        key = hmac_sha256(&key, &[part.as_bytes()]);
    }
    Secret::new(format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={}",
        credentials.access_key_id,
        signed_headers(request),
        hex::encode(key)
    ))
}

/// The canonical form of a request, which is hashed.
fn canonical(request: &Request<'_>) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method,
        request.path,
        encode_query(request.query)
    );
    for (name, value) in sorted(request.headers) {
        let _ = writeln!(text, "{name}:{}", value.trim());
    }
    let _ = write!(
        text,
        "\n{}\n{}",
        signed_headers(request),
        request.body_sha256
    );
    text
}

fn signed_headers(request: &Request<'_>) -> String {
    let names: Vec<&str> = sorted(request.headers)
        .iter()
        .map(|(name, _)| *name)
        .collect();
    names.join(";")
}

fn sorted<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = headers.to_vec();
    headers.sort_unstable();
    headers
}

/// The query as it is sent and signed: encoded, sorted, `name=` for an empty value.
pub fn encode_query(query: &[(&str, &str)]) -> String {
    let pairs = query.iter();
    let mut pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// A path with each of its segments encoded once; its slashes stay.
pub fn encode_path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(percent_encoded).collect();
    segments.join("/")
}

/// Hex SHA-256.
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "examplebucket.s3.amazonaws.com";

    /// The four examples of AWS's documentation of SigV4 for S3: method, path, query, further headers,
    /// body, hash of the canonical request, signature.
    #[test]
    fn the_examples_of_the_specification() {
        type Row = (
            &'static str,
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static [(&'static str, &'static str)],
            &'static str,
            &'static str,
            &'static str,
        );
        let rows: [Row; 4] = [
            (
                "GET",
                "/test.txt",
                &[],
                &[("range", "bytes=0-9")],
                "",
                "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test$file.text",
                &[],
                &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                "Welcome to Amazon S3.",
                "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/",
                &[("lifecycle", "")],
                &[],
                "",
                "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/",
                &[("prefix", "J"), ("max-keys", "2")],
                &[],
                "",
                "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ];
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let stamp = Stamp::from_unix_ms(1_369_353_600_000);
        assert_eq!(stamp.date_time, "20130524T000000Z");
        for (method, path, query, further, body, hash, signature) in rows {
            let body_sha256 = hex_sha256(body.as_bytes());
            let mut headers = vec![
                ("host", HOST),
                ("x-amz-content-sha256", body_sha256.as_str()),
                ("x-amz-date", stamp.date_time.as_str()),
            ];
            headers.extend(further);
            let path = encode_path(path);
            let request = Request {
                method,
                path: &path,
                query,
                headers: &headers,
                body_sha256: &body_sha256,
            };
            assert_eq!(hex_sha256(canonical(&request).as_bytes()), hash, "{path}");
            let value = authorization(&request, &credentials, "us-east-1", &stamp);
            let value = value.expose();
            assert!(
                value.ends_with(&format!("Signature={signature}")),
                "{value}"
            );
            assert!(value.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                 SignedHeaders="
            ));
        }
        assert_eq!(EMPTY_SHA256, hex_sha256(b""));
    }

    #[test]
    fn a_path_is_encoded_once_and_never_normalized() {
        for (path, expected) in [
            ("/a b+c/ü$", "/a%20b%2Bc/%C3%BC%24"),
            ("/a//../b/./c", "/a//../b/./c"),
            (
                "/date=2026-11-24/~x_y-z.%41",
                "/date%3D2026-11-24/~x_y-z.%2541",
            ),
        ] {
            assert_eq!(encode_path(path), expected);
        }
        assert_eq!(encode_query(&[("uploads", "")]), "uploads=");
        assert_eq!(
            encode_query(&[("uploadId", "a+/="), ("partNumber", "1")]),
            "partNumber=1&uploadId=a%2B%2F%3D"
        );
    }

    #[test]
    fn a_header_is_trimmed_and_its_line_is_sorted_by_name() {
        let request = Request {
            method: "PUT",
            path: "/k",
            query: &[],
            headers: &[("x-amz-date", " d "), ("host", "h"), ("content-type", "t")],
            body_sha256: EMPTY_SHA256,
        };
        let expected = format!(
            "PUT\n/k\n\ncontent-type:t\nhost:h\nx-amz-date:d\n\ncontent-type;host;x-amz-date\n\
             {EMPTY_SHA256}"
        );
        assert_eq!(canonical(&request), expected);
    }
}
