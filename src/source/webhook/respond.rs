//! The answer to a request at the webhook listener: pure, from the parts of the request.
//!
//! The signature is checked over the raw bytes before the JSON is parsed.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use super::payload;
use super::payload::Fault;
use super::signature;
use crate::domain::secret::Secret;
use crate::domain::zoom_event::{ZoomEvent, ZoomEventKind};

/// Maximum size of an unsigned challenge, in bytes.
const UNSIGNED_BYTES_MAX: usize = 4096;

/// Default of `WEBHOOK_PATH`.
pub const DEFAULT_PATH: &str = "/webhook";
/// Default of `RTMS_WEBHOOK_MAX_AGE`, in seconds. Zoom's examples allow as much.
pub const DEFAULT_MAX_AGE_S: u64 = 300;
/// `RTMS_VERIFY_WEBHOOKS` where it is not set.
pub const DEFAULT_VERIFY: bool = true;

/// What counts as a webhook, and how it is verified. May change while the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `WEBHOOK_PATH`: the path of webhooks; starts with `/`.
    pub path: String,
    /// `RTMS_VERIFY_WEBHOOKS`: whether signatures are checked. With `false` anyone who reaches the
    /// port can start streams.
    pub verify: bool,
    /// `RTMS_WEBHOOK_MAX_AGE`: maximum difference of `x-zm-request-timestamp` from our clock, in
    /// either direction.
    pub max_age: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            path: DEFAULT_PATH.to_owned(),
            verify: DEFAULT_VERIFY,
            max_age: Duration::from_secs(DEFAULT_MAX_AGE_S),
        }
    }
}

/// The parts of a request on which the answer depends.
#[derive(Debug, Clone, Copy)]
pub struct WebhookRequest<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// `x-zm-signature`.
    pub signature: Option<&'a str>,
    /// `x-zm-request-timestamp`.
    pub timestamp: Option<&'a str>,
    /// The body as it was received.
    pub body: &'a [u8],
    /// Our clock, in Unix seconds.
    pub now_s: u64,
}

/// The answer to a request, before the daemon is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// 200 to `GET /`.
    Up,
    /// 200 if the daemon has a place for it, otherwise 503.
    Accept(ZoomEvent),
    /// 200 with this JSON.
    Challenge(String),
    /// 200; the event is unknown.
    Unknown(String),
    /// 200; a known event without a required field.
    Incomplete(Fault),
    /// 400; not a webhook.
    Malformed,
    /// 400; a token that must not be signed.
    ChallengeRefused,
    /// 401; signed with none of our secret tokens.
    Forged,
    /// 401; signed, but with a timestamp that is this far from our clock (`None` if unreadable).
    Stale(Option<Duration>),
    /// 404; `is_signed` if the signature is valid, so that the request came from Zoom.
    WrongPath {
        /// Whether the signature is valid with one of our secret tokens.
        is_signed: bool,
    },
    /// 405, with these methods in `Allow`.
    WrongMethod(&'static str),
    /// 500; a challenge, and no secret token to answer it with.
    NoSecretToken,
}

/// Decides on the answer, without side effects. Any of the secret tokens may have signed; the first
/// one answers unsigned challenges.
pub fn respond(
    settings: &Settings,
    tokens: &[Secret],
    request: &WebhookRequest<'_>,
) -> WebhookAnswer {
    let is_webhook_path = is_same_path(request.path, &settings.path);
    match request.method {
        "POST" if is_webhook_path => posted(settings, tokens, request),
        "GET" | "HEAD" if request.path == "/" => WebhookAnswer::Up,
        _ if is_webhook_path && request.path == "/" => {
            WebhookAnswer::WrongMethod("GET, HEAD, POST")
        }
        _ if is_webhook_path => WebhookAnswer::WrongMethod("POST"),
        _ if request.path == "/" => WebhookAnswer::WrongMethod("GET, HEAD"),
        "POST" => WebhookAnswer::WrongPath {
            is_signed: is_signed(tokens, request),
        },
        _ => WebhookAnswer::WrongPath { is_signed: false },
    }
}

/// Whether two paths are the same endpoint, ignoring a slash at the end.
pub(super) fn is_same_path(a: &str, b: &str) -> bool {
    let bare = |path: &str| path.trim_end_matches('/').len();
    a[..bare(a)] == b[..bare(b)] && !a.is_empty() && !b.is_empty()
}

fn is_signed(tokens: &[Secret], request: &WebhookRequest<'_>) -> bool {
    let (Some(signature), Some(timestamp)) = (request.signature, request.timestamp) else {
        return false;
    };
    signature::signer(tokens, timestamp, request.body, signature).is_some()
}

fn posted(settings: &Settings, tokens: &[Secret], request: &WebhookRequest<'_>) -> WebhookAnswer {
    let signer = match (request.signature, request.timestamp) {
        _ if !settings.verify => None,
        (Some(signature), Some(timestamp)) => {
            match signature::signer(tokens, timestamp, request.body, signature) {
                Some(signer) => Some(signer),
                None => return WebhookAnswer::Forged,
            }
        }
        // Zoom may send challenges with or without a signature. Any other unsigned request is
        // forged.
        (None, _) if request.body.len() <= UNSIGNED_BYTES_MAX => {
            return match payload::webhook(request.body) {
                Ok(ZoomEvent {
                    event: ZoomEventKind::UrlValidation { plain_token },
                    ..
                }) => challenge(tokens, None, &plain_token),
                _ => WebhookAnswer::Forged,
            };
        }
        _ => return WebhookAnswer::Forged,
    };
    let webhook = payload::webhook(request.body);
    if let Ok(ZoomEvent {
        event: ZoomEventKind::UrlValidation { plain_token },
        ..
    }) = &webhook
    {
        return challenge(tokens, signer, plain_token);
    }
    if settings.verify {
        let age = request
            .timestamp
            .and_then(|t| signature::age(t, request.now_s));
        if age.is_none_or(|age| age > settings.max_age) {
            return WebhookAnswer::Stale(age);
        }
    }
    match webhook {
        Ok(ZoomEvent {
            event: ZoomEventKind::Other { name },
            ..
        }) => WebhookAnswer::Unknown(name),
        Ok(webhook) => WebhookAnswer::Accept(webhook),
        Err(Fault::NotAWebhook) => WebhookAnswer::Malformed,
        Err(fault) => WebhookAnswer::Incomplete(fault),
    }
}

fn challenge(tokens: &[Secret], signer: Option<usize>, plain_token: &str) -> WebhookAnswer {
    if !signature::is_plain_token(plain_token) {
        return WebhookAnswer::ChallengeRefused;
    }
    let first = || tokens.iter().find(|token| !token.is_empty());
    let Some(token) = signer.and_then(|n| tokens.get(n)).or_else(first) else {
        return WebhookAnswer::NoSecretToken;
    };
    // Plain tokens have only characters that need no escape in JSON.
    WebhookAnswer::Challenge(format!(
        r#"{{"plainToken":"{plain_token}","encryptedToken":"{}"}}"#,
        signature::encrypted_token(token, plain_token)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        br#"{"event":"meeting.ended","event_ts":1,"payload":{"object":{"id":1,"uuid":"u"}}}"#;

    fn settings(tokens: &[&str]) -> (Settings, Vec<Secret>) {
        let tokens = tokens.iter().map(|token| Secret::new(*token)).collect();
        (Settings::default(), tokens)
    }

    fn answer(
        (settings, tokens): &(Settings, Vec<Secret>),
        call: &WebhookRequest<'_>,
    ) -> WebhookAnswer {
        respond(settings, tokens, call)
    }

    fn post<'a>(body: &'a [u8], signature: Option<&'a str>) -> WebhookRequest<'a> {
        WebhookRequest {
            method: "POST",
            path: "/webhook",
            signature,
            timestamp: Some("1000"),
            body,
            now_s: 1100,
        }
    }

    fn signed(token: &str, body: &[u8]) -> String {
        signature::sign(&Secret::new(token), "1000", body)
    }

    #[test]
    fn posts_are_accepted_at_the_webhook_path_and_get_at_the_root() {
        let s = settings(&["t"]);
        let call = |method, path| WebhookRequest {
            method,
            path,
            ..post(b"", None)
        };
        let nothing = || WebhookAnswer::WrongPath { is_signed: false };
        for (method, path, expected) in [
            ("GET", "/", WebhookAnswer::Up),
            ("HEAD", "/", WebhookAnswer::Up),
            ("POST", "/", WebhookAnswer::WrongMethod("GET, HEAD")),
            ("GET", "/webhook", WebhookAnswer::WrongMethod("POST")),
            ("PUT", "/webhook", WebhookAnswer::WrongMethod("POST")),
            ("POST", "/webhook/", WebhookAnswer::Forged),
            ("POST", "/webhook//", WebhookAnswer::Forged),
            ("POST", "/webhooks", nothing()),
            ("POST", "/other", nothing()),
            ("POST", "/webhook", WebhookAnswer::Forged),
            ("GET", "/metrics", nothing()),
            ("OPTIONS", "*", nothing()),
        ] {
            assert_eq!(answer(&s, &call(method, path)), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_signed_webhook_at_another_path_is_recognized() {
        let s = settings(&["t"]);
        let at = |path, token: &str| {
            let signature = signed(token, BODY);
            let call = WebhookRequest {
                path,
                ..post(BODY, Some(&signature))
            };
            answer(&s, &call)
        };
        let wrong = |is_signed| WebhookAnswer::WrongPath { is_signed };
        assert_eq!(at("/zoom", "t"), wrong(true));
        assert_eq!(at("/zoom", "x"), wrong(false));
        assert!(matches!(at("/webhook/", "t"), WebhookAnswer::Accept(_)));
    }

    #[test]
    fn the_signature_is_checked_first() {
        let s = settings(&["old", "new"]);
        let is_accepted =
            |call: &WebhookRequest<'_>| matches!(answer(&s, call), WebhookAnswer::Accept(_));
        for token in ["old", "new"] {
            assert!(is_accepted(&post(BODY, Some(&signed(token, BODY)))));
        }
        let right = signed("new", BODY);
        let stranger = signed("x", BODY);
        assert_eq!(
            answer(&s, &post(BODY, Some(&stranger))),
            WebhookAnswer::Forged
        );
        assert_eq!(answer(&s, &post(BODY, None)), WebhookAnswer::Forged);
        assert_eq!(
            answer(&s, &post(b"not json", Some(&right))),
            WebhookAnswer::Forged
        );
        let right = signed("new", b"not json");
        assert_eq!(
            answer(&s, &post(b"not json", Some(&right))),
            WebhookAnswer::Malformed
        );
        let untimed = WebhookRequest {
            timestamp: None,
            ..post(BODY, Some(&right))
        };
        assert_eq!(answer(&s, &untimed), WebhookAnswer::Forged);
    }

    #[test]
    fn a_valid_signature_becomes_stale_in_either_direction() {
        let (s, right) = (settings(&["t"]), signed("t", BODY));
        let at = |now_s| WebhookRequest {
            now_s,
            ..post(BODY, Some(&right))
        };
        for now_s in [700, 1300] {
            assert!(
                matches!(answer(&s, &at(now_s)), WebhookAnswer::Accept(_)),
                "{now_s}"
            );
        }
        for now_s in [699, 1301] {
            let age = Some(Duration::from_secs(301));
            assert_eq!(answer(&s, &at(now_s)), WebhookAnswer::Stale(age));
        }
        let odd = signature::sign(&Secret::new("t"), "soon", BODY);
        let call = WebhookRequest {
            timestamp: Some("soon"),
            ..post(BODY, Some(&odd))
        };
        assert_eq!(answer(&s, &call), WebhookAnswer::Stale(None));
    }

    #[test]
    fn verification_off_skips_only_the_signature() {
        let mut s = settings(&[]);
        s.0.verify = false;
        assert!(matches!(
            answer(&s, &post(BODY, None)),
            WebhookAnswer::Accept(_)
        ));
        assert!(matches!(
            answer(&s, &post(BODY, Some("v0=00"))),
            WebhookAnswer::Accept(_)
        ));
        assert_eq!(
            answer(&s, &post(b"no json", None)),
            WebhookAnswer::Malformed
        );
        let ask = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#;
        assert_eq!(answer(&s, &post(ask, None)), WebhookAnswer::NoSecretToken);
    }

    #[test]
    fn challenges_are_answered_unless_their_signature_is_wrong() {
        let s = settings(&["old", "new"]);
        let ask = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#;
        let by = |token: &str| {
            let encrypted = signature::encrypted_token(&Secret::new(token), "p1");
            WebhookAnswer::Challenge(format!(
                r#"{{"plainToken":"p1","encryptedToken":"{encrypted}"}}"#
            ))
        };
        assert_eq!(answer(&s, &post(ask, None)), by("old"));
        assert_eq!(answer(&s, &post(ask, Some(&signed("new", ask)))), by("new"));
        assert_eq!(
            answer(&s, &post(ask, Some(&signed("x", ask)))),
            WebhookAnswer::Forged
        );
        let late = WebhookRequest {
            now_s: 1_000_000,
            ..post(ask, None)
        };
        assert_eq!(answer(&s, &late), by("old"));
    }

    #[test]
    fn an_unauthenticated_client_cannot_have_a_webhook_signed() {
        let s = settings(&["t"]);
        let ask = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"v0:1000:{}"}}"#;
        assert_eq!(
            answer(&s, &post(ask, None)),
            WebhookAnswer::ChallengeRefused
        );
        assert_eq!(
            answer(&s, &post(ask, Some(&signed("t", ask)))),
            WebhookAnswer::ChallengeRefused
        );
        let mut large =
            br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#.to_vec();
        large.resize(UNSIGNED_BYTES_MAX + 1, b' ');
        assert_eq!(answer(&s, &post(&large, None)), WebhookAnswer::Forged);
    }

    #[test]
    fn verified_requests_without_use_are_distinguished() {
        let s = settings(&["t"]);
        let of = |body: &[u8]| answer(&s, &post(body, Some(&signed("t", body))));
        assert_eq!(
            of(br#"{"event":"user.created"}"#),
            WebhookAnswer::Unknown("user.created".into())
        );
        assert!(matches!(
            of(br#"{"event":"meeting.rtms_started"}"#),
            WebhookAnswer::Incomplete(_)
        ));
    }
}
