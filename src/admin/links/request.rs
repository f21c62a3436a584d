//! `POST /links`: a link to one stream, or the end of all links.

use serde::Deserialize;
use serde_json::{Value, json};

use super::token::Link;
use super::{LINK_FOR_S, LINK_FOR_S_MAX};
use crate::domain::time::Utc;
use crate::feed::JournalKey;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) enum LinkRequest {
    /// A link.
    Make {
        /// A stream or a meeting, as people name it.
        name: String,
        for_s: u64,
        has_files: bool,
    },
    /// Every link that was made is good for nothing from now on.
    RevokeAll,
}

#[derive(Deserialize)]
struct Body {
    stream: Option<String>,
    for_s: Option<u64>,
    #[serde(default)]
    files: bool,
    #[serde(default)]
    revoke_all: bool,
}

impl LinkRequest {
    /// Reads a body; an error is the status and what was expected.
    pub(in crate::admin) fn parse(body: &[u8]) -> Result<LinkRequest, (u16, String)> {
        let expected = |text: &str| (400, text.to_owned());
        let body: Body = serde_json::from_slice(body).map_err(|_| {
            expected("expected {\"stream\":\"STREAM\"}, with \"for_s\" and \"files\" if need be")
        })?;
        if body.revoke_all {
            return Ok(LinkRequest::RevokeAll);
        }
        let name = body.stream.unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            return Err(expected("stream: expected a stream or a meeting"));
        }
        let for_s = body.for_s.unwrap_or(LINK_FOR_S);
        if !(1..=LINK_FOR_S_MAX).contains(&for_s) {
            let text = format!("for_s: expected seconds from 1 to {LINK_FOR_S_MAX}");
            return Err((400, text));
        }
        Ok(LinkRequest::Make {
            name,
            for_s,
            has_files: body.files,
        })
    }
}

/// The answer: where a browser opens the link, and until when.
pub(in crate::admin) fn answer(link: &Link, token: &str, base: &str) -> Value {
    let expires_ms = link.expires_s.saturating_mul(1000);
    let key: JournalKey = link.key;
    json!({
        "url": format!("{base}/live/{key}#s={token}"),
        "expires": Utc::from_unix_ms(expires_ms).to_string(),
        "expires_ms": expires_ms,
        "key": key.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g3_a_request_names_a_stream_and_a_time_within_limits() {
        let make = |name: &str, for_s, has_files| LinkRequest::Make {
            name: name.to_owned(),
            for_s,
            has_files,
        };
        for (body, expected) in [
            (r#"{"stream":"bdd2d5"}"#, make("bdd2d5", 7200, false)),
            (
                r#"{"stream":" 848 ","for_s":604800,"files":true}"#,
                make("848", 604_800, true),
            ),
            (r#"{"revoke_all":true}"#, LinkRequest::RevokeAll),
        ] {
            assert_eq!(LinkRequest::parse(body.as_bytes()), Ok(expected), "{body}");
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"stream":""}"#,
            r#"{"stream":7}"#,
            r#"{"stream":"bdd2d5","for_s":0}"#,
            r#"{"stream":"bdd2d5","for_s":604801}"#,
            r#"{"stream":"bdd2d5","for_s":-1}"#,
            r#"{"stream":"bdd2d5","files":"yes"}"#,
            r#"{"revoke_all":false}"#,
        ] {
            let (status, text) = LinkRequest::parse(body.as_bytes()).expect_err(body);
            assert_eq!(status, 400);
            assert!(text.contains("expected"), "{text}");
        }
    }
}
