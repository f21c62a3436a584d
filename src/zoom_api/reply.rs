//! Interprets Zoom's answers: a pure function from status, headers and body to a row of the error
//! table.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::errors::{Error, Kind};
use super::http_call::{Failure, Server};

/// Maximum delay accepted from `Retry-After`. Zoom may ask to wait until midnight if a day's quota
/// is used up; a retry every ten minutes does no harm and lets a meeting start as soon as possible.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);

/// Maximum length of a server's message in our errors, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) date: Option<SystemTime>,
    pub(super) is_html: bool,
    pub(super) body: Vec<u8>,
    /// Why the body is missing, if it could not be read.
    pub(super) fault: Option<Failure>,
}

/// Zoom's REST errors have `code` and `message`, its OAuth errors `reason` and `error`.
#[derive(Debug, Default, Deserialize)]
struct Fault {
    #[serde(default, alias = "errorCode", alias = "error_code")]
    code: serde_json::Value,
    #[serde(default, alias = "errorMessage", alias = "error_description")]
    message: serde_json::Value,
    #[serde(default)]
    reason: serde_json::Value,
    #[serde(default)]
    error: serde_json::Value,
}

impl Reply {
    /// Any 2xx is success, with or without a body, complete or not; except an HTML page, which a
    /// captive portal sends with status 200 and Zoom never does.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !self.is_html && !self.looks_like_html()
    }

    /// The error in this answer, even if its status says success.
    ///
    /// `secrets` are the secrets of the call: they are removed from the server's message.
    pub(super) fn error(&self, server: Server, call: &str, secrets: &[&str]) -> Error {
        let parsed: Option<Fault> = serde_json::from_slice(&self.body).ok();
        let is_json = parsed.is_some();
        let fault = parsed.unwrap_or_default();
        let code = number(&fault.code).or_else(|| number(&fault.error));
        let word = fault.error.as_str().unwrap_or_default();
        let message = [&fault.message, &fault.reason, &fault.error]
            .into_iter()
            .find_map(|value| value.as_str().filter(|text| !text.is_empty()))
            .unwrap_or_default();
        let kind = self.kind(server, code, word, is_json);
        Error {
            status: Some(self.status),
            code,
            after: self.retry_after,
            ..Error::new(kind, call, clean(message, secrets))
        }
    }

    fn kind(&self, server: Server, code: Option<i64>, word: &str, is_json: bool) -> Kind {
        match self.status {
            300..400 => return Kind::Redirected,
            407 => return Kind::ProxyLogin,
            429 => return Kind::RateLimited,
            _ => {}
        }
        if let Some(fault) = &self.fault
            && (self.is_success() || fault.kind == Kind::Stopping)
        {
            return fault.kind;
        }
        if !is_json && (self.is_html || self.looks_like_html()) {
            return Kind::HtmlPage;
        }
        match code {
            Some(124) => return Kind::TokenRefused,
            Some(2308) => return Kind::NotPermitted,
            Some(2310) => return Kind::OperationFailed,
            Some(3001) => return Kind::MeetingUnknown,
            Some(4700) if server == Server::OAuth => return Kind::TokenRequestFailed,
            Some(4702 | 4704) => return Kind::ClientCredentials,
            Some(4705 | 4706 | 4709) => return Kind::TokenRequestMalformed,
            Some(4711) => return Kind::Scope,
            Some(4733) => return Kind::CodeExpired,
            Some(4735) => return Kind::Owner,
            Some(4717 | 4738) => return Kind::DisabledByAdmin,
            Some(4741) => return Kind::Revoked,
            _ => {}
        }
        // Errors of RFC 6749, section 5.2, where Zoom sends no number.
        match (server, word) {
            (Server::OAuth, "invalid_client" | "unauthorized_client") => {
                return Kind::ClientCredentials;
            }
            (Server::OAuth, "invalid_grant") => return Kind::Revoked,
            (Server::OAuth, "invalid_scope") => return Kind::Scope,
            _ => {}
        }
        match (server, self.status) {
            (Server::Api, 401) => Kind::TokenRefused,
            (Server::OAuth, 401) => Kind::ClientCredentials,
            (_, 403) => Kind::Forbidden,
            (_, 404) => Kind::NotFound,
            (_, 408 | 500..) => Kind::ServerFault,
            (_, 400..500) => Kind::Refused,
            _ => Kind::Malformed,
        }
    }

    fn looks_like_html(&self) -> bool {
        let start = self.body.trim_ascii_start();
        start.first() == Some(&b'<')
    }
}

impl Failure {
    /// The error for this failure.
    pub(super) fn error(&self, call: &str) -> Error {
        Error::new(self.kind, call, self.text.clone())
    }
}

fn number(value: &serde_json::Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
}

/// The server's message, fit for a log line: one line, bounded, without these secrets.
pub(super) fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[secret]");
    }
    let mut cleaned = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MESSAGE_CHARS_MAX {
            cleaned.push('…');
            break;
        }
        cleaned.push(match c {
            '"' => '\'',
            c if c.is_control() || is_invisible(c) => ' ',
            c => c,
        });
    }
    cleaned
}

/// Characters that reorder or hide text on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::severity::Severity;
    use crate::zoom_api::Class;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            retry_after: None,
            date: None,
            is_html: false,
            body: body.as_bytes().to_vec(),
            fault: None,
        }
    }

    #[test]
    fn every_answer_has_its_row() {
        use Kind::*;
        use Server::{Api, OAuth};
        for (server, status, body, kind, class) in [
            (
                Api,
                400,
                r#"{"code":2308,"message":"m"}"#,
                NotPermitted,
                "give_up",
            ),
            (
                Api,
                400,
                r#"{"code":2310,"message":"m"}"#,
                OperationFailed,
                "give_up",
            ),
            (
                Api,
                404,
                r#"{"code":3001,"message":"m"}"#,
                MeetingUnknown,
                "give_up",
            ),
            (
                Api,
                401,
                r#"{"code":124,"message":"m"}"#,
                TokenRefused,
                "refresh",
            ),
            (
                Api,
                400,
                r#"{"code":"124","message":"m"}"#,
                TokenRefused,
                "refresh",
            ),
            (Api, 401, "", TokenRefused, "refresh"),
            (Api, 400, r#"{"code":4711,"message":"m"}"#, Scope, "give_up"),
            (
                OAuth,
                400,
                r#"{"code":4702,"message":"m"}"#,
                ClientCredentials,
                "give_up",
            ),
            (
                OAuth,
                400,
                r#"{"errorCode":4704}"#,
                ClientCredentials,
                "give_up",
            ),
            (
                OAuth,
                401,
                r#"{"reason":"m","error":"invalid_client"}"#,
                ClientCredentials,
                "give_up",
            ),
            (OAuth, 401, "", ClientCredentials, "give_up"),
            (OAuth, 400, r#"{"code":4733}"#, CodeExpired, "give_up"),
            (OAuth, 400, r#"{"code":4735}"#, Owner, "give_up"),
            (OAuth, 400, r#"{"code":4738}"#, DisabledByAdmin, "give_up"),
            (OAuth, 400, r#"{"code":4741}"#, Revoked, "give_up"),
            (
                OAuth,
                400,
                r#"{"code":4700,"reason":"Unknown"}"#,
                TokenRequestFailed,
                "retry",
            ),
            (OAuth, 400, r#"{"code":4717}"#, DisabledByAdmin, "give_up"),
            (
                OAuth,
                400,
                r#"{"code":4705,"error":"invalid_grant"}"#,
                TokenRequestMalformed,
                "give_up",
            ),
            (
                OAuth,
                400,
                r#"{"code":4706}"#,
                TokenRequestMalformed,
                "give_up",
            ),
            (
                OAuth,
                400,
                r#"{"code":4709}"#,
                TokenRequestMalformed,
                "give_up",
            ),
            (
                OAuth,
                400,
                r#"{"reason":"Invalid Token!","error":"invalid_grant"}"#,
                Revoked,
                "give_up",
            ),
            (
                OAuth,
                400,
                r#"{"error":"invalid_request"}"#,
                Refused,
                "give_up",
            ),
            (
                Api,
                429,
                r#"{"code":429,"message":"m"}"#,
                RateLimited,
                "retry",
            ),
            (OAuth, 429, "<html>", RateLimited, "retry"),
            (Api, 500, "", ServerFault, "retry"),
            (Api, 503, r#"{"code":500}"#, ServerFault, "retry"),
            (Api, 599, "gone", ServerFault, "retry"),
            (Api, 502, "<html><h1>Bad gateway</h1>", HtmlPage, "retry"),
            (Api, 403, " \n<!doctype html>", HtmlPage, "retry"),
            (OAuth, 200, "<html>log in", HtmlPage, "retry"),
            (Api, 403, "{}", Forbidden, "give_up"),
            (Api, 404, "{}", NotFound, "give_up"),
            (Api, 400, "{}", Refused, "give_up"),
            (Api, 400, "[1", Refused, "give_up"),
            (Api, 302, "", Redirected, "give_up"),
            (Api, 407, "<html>", ProxyLogin, "give_up"),
            (OAuth, 200, "{}", Malformed, "retry"),
            (Api, 101, "", Malformed, "retry"),
        ] {
            let error = reply(status, body).error(server, "start meeting 1", &[]);
            assert_eq!(error.kind(), kind, "{status} {body}");
            assert_eq!(error.class().name(), class, "{status} {body}");
            let line = error.to_string();
            assert!(line.starts_with("start meeting 1: "), "{line}");
            assert!(line.contains(&format!("status {status}")), "{line}");
            assert!(line.ends_with(&format!("; {}", error.remedy())), "{line}");
        }
    }

    #[test]
    fn an_error_line_has_all_facts() {
        let error = reply(400, r#"{"code":2310,"message":"Operation \"failed\""}"#).error(
            Server::Api,
            "start meeting 1",
            &[],
        );
        assert_eq!(
            error.to_string(),
            "start meeting 1: zoom could not do it, usually because the account has no RTMS plan or its credits lapsed \
             (status 400, code 2310, \"Operation 'failed'\"); \
             check plan and credits in the Zoom web portal, and wait two minutes after buying"
        );
        assert_eq!(error.class(), Class::GiveUp);
        assert_eq!(error.severity(), Severity::Error);
    }

    #[test]
    fn messages_of_servers_are_cleaned() {
        assert_eq!(clean("a\n\x1b[31mb\u{202e}\"", &[]), "a  [31mb '");
        assert_eq!(
            clean("token hunter2 bad", &["hunter2", ""]),
            "token [secret] bad"
        );
        assert_eq!(clean(&"ä".repeat(5000), &[]).chars().count(), 201);
    }
}
