//! Which app a request at the webhook listener is for, where several are served: pure.
//!
//! An app is chosen by its own path, `WEBHOOK_PATH/NAME`, or by the secret token that signed the
//! request. At its own path an app has no other secret tokens than its own, so that what is signed for
//! one app never reaches another.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::respond::{Settings, WebhookAnswer, WebhookRequest, is_same_path, respond};
use super::signature;
use crate::domain::secret::Secret;

/// What an app's requests are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name; `None` if it is the only app and has none.
    pub name: Option<&'a str>,
    /// What a webhook is.
    pub settings: &'a Settings,
    /// Any of them may have signed it.
    pub tokens: &'a [Secret],
}

/// The answer, and the number of the app that the request is for; `None` if that cannot be said.
pub fn respond_for(
    apps: &[Candidate<'_>],
    request: &WebhookRequest<'_>,
) -> (Option<usize>, WebhookAnswer) {
    if let [only] = apps
        && only.name.is_none()
    {
        return (Some(0), respond(only.settings, only.tokens, request));
    }
    for (number, app) in apps.iter().enumerate() {
        let own = own_path(&app.settings.path, app.name.unwrap_or_default());
        if is_same_path(request.path, &own) {
            let settings = Settings {
                path: own,
                ..app.settings.clone()
            };
            return (Some(number), respond(&settings, app.tokens, request));
        }
    }
    if request.method == "POST"
        && let Some(number) = signing_app(apps, request)
        && let Some(app) = apps.get(number)
    {
        let answer = respond(app.settings, app.tokens, request);
        // Who posts to another path is not served, even if they have a token.
        let is_found = !matches!(answer, WebhookAnswer::WrongPath { .. });
        return (is_found.then_some(number), answer);
    }
    // It is signed by no app.
    let settings = apps.first().map(|app| Settings {
        verify: true,
        ..app.settings.clone()
    });
    let answer = respond(&settings.unwrap_or_default(), &[], request);
    (None, answer)
}

/// The path of one app's webhooks.
pub fn own_path(path: &str, name: &str) -> String {
    format!("{}/{name}", path.trim_end_matches('/'))
}

/// The first app one of whose secret tokens signed this.
fn signing_app(apps: &[Candidate<'_>], request: &WebhookRequest<'_>) -> Option<usize> {
    let (signature, timestamp) = (request.signature?, request.timestamp?);
    // Every app is tried, so that the time shows nothing.
    let mut found = None;
    for (number, app) in apps.iter().enumerate() {
        let signer = signature::signer(app.tokens, timestamp, request.body, signature);
        if signer.is_some() && found.is_none() {
            found = Some(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        br#"{"event":"meeting.ended","event_ts":1,"payload":{"object":{"id":1,"uuid":"u"}}}"#;
    const ASK: &[u8] = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#;

    /// The answer to a POST for the apps `acme` (token `a`) and `beta` (token `b`).
    fn posted(path: &str, token: Option<&str>, body: &[u8]) -> (Option<usize>, WebhookAnswer) {
        let settings = Settings::default();
        let tokens = ["a", "b"].map(|token| [Secret::new(token)]);
        let candidate = |n: usize, name| Candidate {
            name: Some(name),
            settings: &settings,
            tokens: &tokens[n],
        };
        let signature = token.map(|token| signature::sign(&Secret::new(token), "1000", body));
        let request = WebhookRequest {
            method: "POST",
            path,
            signature: signature.as_deref(),
            timestamp: Some("1000"),
            body,
            now_s: 1000,
        };
        respond_for(&[candidate(0, "acme"), candidate(1, "beta")], &request)
    }

    fn is_accepted((app, answer): (Option<usize>, WebhookAnswer), expected: usize) -> bool {
        app == Some(expected) && matches!(answer, WebhookAnswer::Accept(_))
    }

    #[test]
    fn the_token_that_signed_or_the_path_chooses_the_app() {
        for (path, token, app) in [
            ("/webhook", "a", 0),
            ("/webhook/", "b", 1),
            ("/webhook/acme", "a", 0),
            ("/webhook/beta/", "b", 1),
        ] {
            assert!(is_accepted(posted(path, Some(token), BODY), app), "{path}");
        }
    }

    #[test]
    fn at_an_apps_path_another_apps_token_is_forged() {
        let (app, answer) = posted("/webhook/acme", Some("b"), BODY);
        assert_eq!((app, answer), (Some(0), WebhookAnswer::Forged));
        assert_eq!(
            posted("/webhook", Some("c"), BODY),
            (None, WebhookAnswer::Forged)
        );
        assert_eq!(
            posted("/webhook", None, BODY),
            (None, WebhookAnswer::Forged)
        );
        for path in ["/webhook/gamma", "/webhookacme", "/other"] {
            let (app, answer) = posted(path, Some("a"), BODY);
            assert_eq!(app, None);
            assert_eq!(answer, WebhookAnswer::WrongPath { is_signed: true });
            let (app, answer) = posted(path, Some("x"), BODY);
            assert_eq!(app, None);
            assert_eq!(answer, WebhookAnswer::WrongPath { is_signed: false });
        }
    }

    #[test]
    fn a_challenge_is_answered_with_the_token_of_its_app() {
        let by = |token: &str| {
            let encrypted = signature::encrypted_token(&Secret::new(token), "p1");
            WebhookAnswer::Challenge(format!(
                r#"{{"plainToken":"p1","encryptedToken":"{encrypted}"}}"#
            ))
        };
        assert_eq!(posted("/webhook", Some("b"), ASK), (Some(1), by("b")));
        assert_eq!(posted("/webhook/beta", None, ASK), (Some(1), by("b")));
        // Nothing says which app is asked.
        assert_eq!(
            posted("/webhook", None, ASK),
            (None, WebhookAnswer::NoSecretToken)
        );
    }

    #[test]
    fn without_verification_only_the_path_chooses() {
        let settings = Settings {
            verify: false,
            ..Settings::default()
        };
        let app = |name| Candidate {
            name: Some(name),
            settings: &settings,
            tokens: &[],
        };
        let at = |path| {
            let request = WebhookRequest {
                method: "POST",
                path,
                signature: None,
                timestamp: None,
                body: BODY,
                now_s: 1000,
            };
            respond_for(&[app("acme"), app("beta")], &request)
        };
        assert!(is_accepted(at("/webhook/beta"), 1));
        assert_eq!(at("/webhook"), (None, WebhookAnswer::Forged));
    }

    #[test]
    fn other_methods_are_about_no_app() {
        let settings = Settings::default();
        let app = Candidate {
            name: Some("acme"),
            settings: &settings,
            tokens: &[],
        };
        let at = |apps: &[Candidate<'_>], method, path| {
            let request = WebhookRequest {
                method,
                path,
                signature: None,
                timestamp: None,
                body: b"",
                now_s: 1000,
            };
            respond_for(apps, &request)
        };
        assert_eq!(at(&[app], "GET", "/"), (None, WebhookAnswer::Up));
        assert_eq!(at(&[], "GET", "/"), (None, WebhookAnswer::Up));
        assert_eq!(
            at(&[], "POST", "/webhook"),
            (None, WebhookAnswer::Forged),
            "no app is served"
        );
        let wrong = WebhookAnswer::WrongMethod("POST");
        assert_eq!(at(&[app], "GET", "/webhook/acme"), (Some(0), wrong));
    }
}
