//! Every way in which a call to Zoom can fail, as one table: class, meaning, remedy, exit code.
//!
//! `reply` assigns answers to rows; `retry` decides when to retry.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::time::Duration;

use crate::domain::rest::{FailedCall, FailureClass};
use crate::domain::severity::Severity;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later, not before `after` if that is given.
    Retry {
        /// The delay that Zoom asked for, at most [`super::RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
    /// The same call may succeed with a new token. The client does this once by itself, so it is
    /// counted but never returned.
    Refresh,
    /// Only a person can help.
    GiveUp,
}

impl Class {
    /// The name for metrics and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Retry { .. } => "retry",
            Class::Refresh => "refresh",
            Class::GiveUp => "give_up",
        }
    }
}

/// Declares the kinds and their rows together, so that none can be missing.
macro_rules! table {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $class:ident, $exit:literal, $meaning:literal, $remedy:literal;)*) => {
        /// The kind of the error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        const ROWS: &[Row] = &[$(Row {
            kind: Kind::$kind,
            name: $name,
            class: RowClass::$class,
            exit: $exit,
            meaning: $meaning,
            remedy: $remedy,
        },)*];
    };
}

#[derive(Clone, Copy)]
enum RowClass {
    Retry,
    Refresh,
    GiveUp,
}

struct Row {
    kind: Kind,
    name: &'static str,
    class: RowClass,
    exit: u8,
    meaning: &'static str,
    remedy: &'static str,
}

table! {
    // Zoom's answers to a call.
    /// 2308.
    NotPermitted, "not_permitted", GiveUp, 77,
        "the user behind the token may not do this in this meeting",
        "use the token of the host or of an alternative host who is present, or name an invited participant who has joined (RTMS_PARTICIPANT_USER_ID, --participant)";
    /// 2310.
    OperationFailed, "operation_failed", GiveUp, 77,
        "zoom could not do it, usually because the account has no RTMS plan or its credits lapsed",
        "check plan and credits in the Zoom web portal, and wait two minutes after buying";
    /// 3001. Right after a meeting began it means that Zoom's REST servers do not know it yet.
    MeetingUnknown, "meeting_unknown", GiveUp, 69,
        "zoom knows no such live meeting",
        "give the meeting number (not the UUID) of a meeting that is running, on the cloud that ZOOM_API_URL names";
    /// 124, or 401 without a code.
    TokenRefused, "token_refused", Refresh, 78,
        "the access token is invalid or expired",
        "a fresh one is fetched";
    /// 124 or 401 again, with a fresh token.
    FreshTokenRefused, "fresh_token_refused", GiveUp, 78,
        "a token fetched just now was refused as well",
        "check that ZOOM_OAUTH_URL and ZOOM_API_URL belong to the same cloud and that the app is activated";
    /// 124 or 401 with a fresh token, which has expired meanwhile.
    TokenExpired, "token_expired", Retry, 69,
        "the access token expired between its issue and the call",
        "this may be temporary; if it persists, find what slows down this machine or the disk of RTMS_STATE, where the refresh token is stored first";
    /// 124 or 401 with the configured static token.
    StaticTokenRefused, "static_token_refused", GiveUp, 78,
        "the configured access token is invalid or expired",
        "put a fresh one into access_token (it lives for an hour), or configure ZOOM_ACCOUNT_ID or ZOOM_REFRESH_TOKEN so that tokens are fetched";
    /// 124 or 401 with a Video SDK token.
    KeyRefused, "key_refused", GiveUp, 78,
        "the token signed with the Video SDK key was refused",
        "check ZOOM_VIDEO_SDK_KEY and ZOOM_VIDEO_SDK_SECRET, and that the clock of this machine is right";
    /// 4700, which Zoom sends for many kinds of faults, temporary ones included.
    TokenRequestFailed, "token_request_failed", Retry, 69,
        "zoom issued no token and gave no exact reason",
        "this may be temporary; if it persists, see Zoom's message and check that the kind of the app fits the credentials";
    /// 4705, 4706, 4709: a missing or malformed part of the token request.
    TokenRequestMalformed, "token_request_malformed", GiveUp, 78,
        "zoom finds the token request malformed",
        "check ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN, the client id and secret for missing or additional characters, ZOOM_OAUTH_URL, and that ZOOM_REDIRECT_URL stands on the app's page letter by letter";
    /// 4702, 4704.
    ClientCredentials, "client_credentials", GiveUp, 78,
        "zoom refuses the client id or the client secret",
        "check ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET (or ZOOM_API_CLIENT_ID and ZOOM_API_CLIENT_SECRET), and that they are production or development credentials as the app is used";
    /// 4711.
    Scope, "scope", GiveUp, 77,
        "the token lacks a scope",
        "add meeting:update:participant_rtms_app_status (or the scope Zoom names) to the app in the Marketplace and authorize it again";
    /// 4733.
    CodeExpired, "code_expired", GiveUp, 78,
        "the authorization code has expired, it lives for five minutes",
        "authorize the app again (rtmsd authorize)";
    /// 4735.
    Owner, "owner", GiveUp, 77,
        "the owner of the token does not exist any more",
        "authorize the app as a user who exists (rtmsd authorize), or put the new refresh token into ZOOM_REFRESH_TOKEN";
    /// 4717, 4738.
    DisabledByAdmin, "disabled_by_admin", GiveUp, 77,
        "an administrator has disabled the app",
        "ask the administrator of the Zoom account to allow the app";
    /// 4741, or a refresh token that is not accepted.
    Revoked, "revoked", GiveUp, 77,
        "the grant was revoked or its refresh token has been replaced",
        "authorize the app again (rtmsd authorize), or put the new refresh token into ZOOM_REFRESH_TOKEN";
    /// 429.
    RateLimited, "rate_limited", Retry, 69,
        "zoom limits the rate of calls",
        "this may be temporary; if it persists after the time Zoom asks for, find what else uses this account's quota";
    /// 5xx, 408.
    ServerFault, "server_fault", Retry, 69,
        "zoom reports an internal error",
        "this may be temporary; if it persists, look at status.zoom.us";
    /// 403 without a code we know.
    Forbidden, "forbidden", GiveUp, 77,
        "zoom forbids it",
        "check the scopes of the app and the account's setting that shares realtime meeting content with apps";
    /// 404 without a code we know.
    NotFound, "not_found", GiveUp, 78,
        "there is nothing at this address",
        "check the id, ZOOM_API_URL and ZOOM_OAUTH_URL";
    /// Any other 4xx.
    Refused, "refused", GiveUp, 69,
        "zoom refuses the call",
        "see Zoom's message";
    /// 3xx; redirects are not followed, because they could send a token to another server.
    Redirected, "redirected", GiveUp, 78,
        "the answer is a redirect, and redirects are not followed",
        "check ZOOM_API_URL and ZOOM_OAUTH_URL, and HTTPS_PROXY if a proxy asks for a login";

    // Faults on the way to Zoom.
    /// No answer in time.
    Timeout, "timeout", Retry, 69,
        "no answer in time",
        "this may be temporary; if it persists, check the route to Zoom, firewall and HTTPS_PROXY";
    /// The connection broke.
    Reset, "connection_lost", Retry, 69,
        "the connection broke",
        "this may be temporary; if it persists, check the route to Zoom, firewall and HTTPS_PROXY";
    /// No connection could be made.
    Unreachable, "unreachable", Retry, 69,
        "no connection",
        "this may be temporary; if it persists, check name resolution, firewall, HTTPS_PROXY, and the host in ZOOM_API_URL and ZOOM_OAUTH_URL";
    /// The server's certificate cannot be verified.
    Certificate, "certificate", GiveUp, 69,
        "the server's certificate cannot be verified",
        "if a proxy inspects TLS here, put its root certificate into RTMS_CA_FILE; else check the clock and the ca-certificates of this machine";
    /// The proxy refuses the connection.
    Proxy, "proxy", Retry, 69,
        "the proxy did not connect us",
        "this may be temporary; if it persists, check HTTPS_PROXY and NO_PROXY and what the proxy allows";
    /// 407.
    ProxyLogin, "proxy_login", GiveUp, 78,
        "the proxy asks for a login",
        "put user and password into HTTPS_PROXY, as http://user:password@host:port";
    /// An HTML page where JSON was expected.
    HtmlPage, "html_page", Retry, 69,
        "found an HTML page instead of JSON, so something between this machine and Zoom answered",
        "this may be temporary; if it persists, check HTTPS_PROXY, NO_PROXY and the firewall's log";
    /// The answer was cut off.
    Truncated, "truncated", Retry, 69,
        "the answer was cut off",
        "this may be temporary; if it persists, check the proxy between this machine and Zoom";
    /// The answer has an unknown form.
    Malformed, "malformed", Retry, 69,
        "the answer is not what Zoom documents",
        "this may be temporary; if it persists, check ZOOM_API_URL and ZOOM_OAUTH_URL, and look for a newer version";

    // Faults of this process or machine.
    /// A rotated token could not be stored.
    Storage, "storage", Retry, 78,
        "the refresh token cannot be stored",
        "make room and check the permissions in the directory RTMS_STATE; nothing is sent with the new token before it is safe";
    /// Another process uses the state directory, and with it the refresh token.
    StateInUse, "state_in_use", GiveUp, 69,
        "another process uses the refresh token, and each use ends the one before",
        "stop that process first (a server does what this command does by itself), or give this command access_token or ZOOM_ACCOUNT_ID; a state directory of its own would only break the other's token";
    /// Another node of the fleet has the refresh token, and the store between them does not answer.
    FleetStore, "fleet_store", Retry, 69,
        "the token is shared by the nodes of the fleet, and their store cannot be asked",
        "this may be temporary; if it persists, check the store that RTMS_FLEET names (rtmsd fleet check)";
    /// `ZOOM_REDIRECT_URL` without a stored token.
    NotAuthorized, "not_authorized", GiveUp, 78,
        "no user has authorized the app yet",
        "run rtmsd authorize";
    /// Several users have authorized the app, and none of the meeting's account.
    NoGrant, "no_grant", GiveUp, 78,
        "no user of this account has authorized the app",
        "run rtmsd authorize, and open its page as a user of that account";
    /// Several accounts have authorized the app, and the call does not say for which it is.
    AccountUnknown, "account_unknown", GiveUp, 78,
        "users of several accounts have authorized the app, and the account of the meeting is not known",
        "name it with --account; rtmsd accounts lists them";
    /// The user removed the app while this process was running.
    Deauthorized, "deauthorized", GiveUp, 77,
        "the user removed the app, so its tokens were deleted",
        "authorize the app again (rtmsd authorize), or put the new refresh token into ZOOM_REFRESH_TOKEN and reload (SIGHUP)";
    /// Other credentials were configured during this call.
    Superseded, "superseded", Retry, 69,
        "other credentials were configured during the call",
        "it is retried with those";
    /// Something is missing or wrong in the settings.
    Configuration, "configuration", GiveUp, 78,
        "the configuration does not allow this call",
        "complete the configuration";
    /// The process is stopping.
    Stopping, "stopping", GiveUp, 69,
        "the program is stopping",
        "nothing to do";
    /// A fault of this program.
    Internal, "internal", Retry, 70,
        "a fault in this program",
        "report it, with the lines of the log before this one";
}

impl Kind {
    pub(crate) const COUNT: usize = ROWS.len();

    /// All kinds, in the order of the table.
    pub fn all() -> impl Iterator<Item = Kind> {
        ROWS.iter().map(|row| row.kind)
    }

    /// The name for metrics and `--json`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

/// A failed call. Its text is fit for a log: bounded, one line, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(crate) kind: Kind,
    /// What was attempted, such as "start meeting 81234567890".
    pub(crate) call: String,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<i64>,
    /// The server's message, cleaned.
    pub(crate) message: String,
    pub(crate) after: Option<Duration>,
    pub(crate) early: bool,
    /// The account whose grant it is about, if that matters.
    pub(crate) account: Option<String>,
    /// The same was logged as an error before.
    pub(crate) is_repeated: bool,
}

impl Error {
    pub(crate) fn new(kind: Kind, call: impl Into<String>, message: impl Into<String>) -> Error {
        Error {
            kind,
            call: call.into(),
            status: None,
            code: None,
            message: message.into(),
            after: None,
            early: false,
            account: None,
            is_repeated: false,
        }
    }

    /// The error for a state directory that cannot be opened but is needed for a refresh token.
    pub fn of_state(error: &crate::state::Error) -> Error {
        use crate::state::Error as State;
        let call = "open state directory";
        match error {
            State::InUse { path, pid } => {
                let holder = pid.map_or("unknown".to_owned(), |pid| pid.to_string());
                let text = format!("{} is held by process {holder}", path.display());
                Error::new(Kind::StateInUse, call, text)
            }
            State::Sealed { .. } => Error::new(Kind::Configuration, call, error.to_string()),
            _ => Error::new(Kind::Storage, call, error.to_string()),
        }
    }

    /// The kind of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        match self.kind.row().class {
            _ if self.early => Class::Retry { after: None },
            RowClass::Retry => Class::Retry { after: self.after },
            RowClass::Refresh => Class::Refresh,
            RowClass::GiveUp => Class::GiveUp,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Zoom's error code, if there was one.
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// How long Zoom asks to wait before the next call, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.after
    }

    /// Severity for the log: an error if a person must act, a warning if it may be temporary.
    pub fn severity(&self) -> Severity {
        match (self.kind, self.class()) {
            (Kind::Stopping, _) => Severity::Debug,
            _ if self.is_repeated => Severity::Info,
            (Kind::Storage | Kind::Internal, _) | (_, Class::GiveUp) => Severity::Error,
            _ => Severity::Warn,
        }
    }

    /// The facts on which the coordinator decides.
    pub fn failed_call(&self) -> FailedCall {
        let class = match (self.kind, self.class()) {
            (Kind::NotPermitted | Kind::Forbidden, _) => FailureClass::NotPermitted,
            _ if self.early => FailureClass::Early,
            (_, Class::Retry { .. }) => FailureClass::Retry,
            (_, Class::Refresh | Class::GiveUp) => FailureClass::GiveUp,
        };
        FailedCall {
            class,
            retry_after: self.after,
            code: self.code,
            severity: self.severity(),
            text: self.to_string(),
        }
    }

    /// The exit code of a command that ends with this error: 69 unreachable or try again,
    /// 70 bug, 77 permission, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        self.kind.row().exit
    }

    /// What the user should do.
    pub fn remedy(&self) -> &'static str {
        self.kind.row().remedy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.kind.row();
        write!(f, "{}: {}", self.call, row.meaning)?;
        let mut facts = Vec::new();
        if let Some(account) = &self.account {
            facts.push(format!("account {account}"));
        }
        if let Some(status) = self.status {
            facts.push(format!("status {status}"));
        }
        if let Some(code) = self.code {
            facts.push(format!("code {code}"));
        }
        if !self.message.is_empty() {
            facts.push(format!("\"{}\"", self.message));
        }
        if let Some(after) = self.after {
            facts.push(format!("retry after {} s", after.as_secs()));
        }
        if self.early {
            facts.push("perhaps only too early".to_owned());
        }
        if !facts.is_empty() {
            write!(f, " ({})", facts.join(", "))?;
        }
        write!(f, "; {}", self.remedy())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_texts_of_the_table_are_printable() {
        let mut names = HashSet::new();
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.kind as usize, place);
            assert!(names.insert(row.name), "{} is listed twice", row.name);
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            for text in [row.meaning, row.remedy] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
                assert!(!text.starts_with(|c: char| c.is_uppercase()), "{text}");
            }
            assert!([69, 70, 77, 78].contains(&row.exit));
        }
    }

    #[test]
    fn a_refusal_has_the_facts_for_decisions() {
        let early = |kind| Error {
            early: true,
            ..Error::new(kind, "start meeting 1", "")
        };
        let plain = |kind| Error::new(kind, "start meeting 1", "");
        for (error, class) in [
            (plain(Kind::NotPermitted), FailureClass::NotPermitted),
            (plain(Kind::Forbidden), FailureClass::NotPermitted),
            (early(Kind::NotPermitted), FailureClass::NotPermitted),
            (early(Kind::MeetingUnknown), FailureClass::Early),
            (plain(Kind::MeetingUnknown), FailureClass::GiveUp),
            (plain(Kind::Scope), FailureClass::GiveUp),
            (plain(Kind::ServerFault), FailureClass::Retry),
        ] {
            let failed = error.failed_call();
            assert_eq!(failed.class, class, "{error}");
            assert_eq!(
                (failed.severity, failed.text),
                (error.severity(), error.to_string())
            );
        }
    }
}
