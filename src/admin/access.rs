//! Who may ask what of the admin listener.
//!
//! Health, metrics and the list of streams need the configured token, if there is one. Content, and
//! commands, always need a credential, also on a loopback address, where every user of this machine can
//! connect: the configured token, else the server's own, or the Unix socket, whose mode says who may
//! open it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::host::{Authority, is_own_origin};
use super::line;
use crate::delivery::live::Access;
use crate::domain::secret::Secret;
use crate::gate::Answer;

/// The bearer token that every request must show, if there is one. Clones share it, so that it can
/// be changed while the listener runs.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<Mutex<Tokens>>);

#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// `RTMS_ADMIN_TOKEN`, for everything.
    configured: Option<Secret>,
    /// The server's own, for what must not be open to every user of this machine.
    own: Option<Secret>,
    /// The host of `RTMS_ADMIN_URL`.
    url: Option<Authority>,
}

impl Token {
    /// Creates it with this token.
    pub fn new(token: Option<Secret>) -> Token {
        Token(Arc::new(Mutex::new(Tokens {
            configured: token,
            ..Tokens::default()
        })))
    }

    /// Replaces the token for future requests.
    pub fn set(&self, token: Option<Secret>) {
        self.lock().configured = token;
    }

    /// The token of [`own_token`](super::own_token), which content and commands need where none is
    /// configured.
    pub fn set_own(&self, token: Secret) {
        self.lock().own = Some(token);
    }

    /// The host and port by which browsers reach the listener through a proxy.
    pub fn set_url(&self, url: Option<Authority>) {
        self.lock().url = url;
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Through which listener a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// A loopback address: every user of this machine, and every web page in a browser here.
    Loopback,
    /// Another address.
    Network,
    /// The Unix socket.
    Unix,
}

/// What is read of a request to judge it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) door: Door,
    pub(super) method: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    /// It asks for a WebSocket.
    pub(super) is_upgrade: bool,
}

/// Judges requests.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) token: Token,
}

impl Guard {
    /// Whether a request may see health, metrics and streams.
    pub(super) fn status(&self, request: &Request<'_>) -> Result<(), Answer> {
        self.host(request)?;
        let configured = self.token.lock().configured.clone();
        match configured.filter(|_| request.door != Door::Unix) {
            Some(token) if !is_shown(&token, request.authorization) => Err(unauthorized(
                "the bearer token of RTMS_ADMIN_TOKEN is missing or wrong",
            )),
            _ => Ok(()),
        }
    }

    /// Whose content a request may get.
    pub(super) fn content(&self, request: &Request<'_>) -> Result<Access, Answer> {
        self.host(request)?;
        let access = self.credential(request)?;
        if request.is_upgrade {
            self.origin(request)?;
        }
        Ok(access)
    }

    /// Whether a request may give a command: not one that a page of another site makes a browser send.
    pub(super) fn command(&self, request: &Request<'_>) -> Result<(), Answer> {
        self.host(request)?;
        if request.method != "POST" {
            let answer = line(405, "this method is not allowed here");
            return Err(answer.with("Allow", "POST"));
        }
        self.credential(request)?;
        self.origin(request)?;
        // No form of a web page can send this type.
        let is_json = request.content_type.is_some_and(|value| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
        match is_json {
            true => Ok(()),
            false => Err(line(415, "expected Content-Type: application/json")),
        }
    }

    /// Whether a request was made for this machine, and not for a name that a web page has resolved to
    /// it. One without a `Host` is of HTTP/1.0, and not from a browser.
    fn host(&self, request: &Request<'_>) -> Result<(), Answer> {
        let Some(host) = request.host.filter(|_| request.door == Door::Loopback) else {
            return Ok(());
        };
        let is_ours = Authority::parse(host).is_some_and(|host| {
            let url = self.token.lock().url.clone();
            host.is_loopback() || url.is_some_and(|url| url.has_host_of(&host))
        });
        match is_ours {
            true => Ok(()),
            false => Err(line(
                421,
                "the Host must be localhost, a loopback address, or the host of RTMS_ADMIN_URL",
            )),
        }
    }

    fn credential(&self, request: &Request<'_>) -> Result<Access, Answer> {
        if request.door == Door::Unix {
            return Ok(Access::All);
        }
        let Tokens {
            configured, own, ..
        } = self.token.lock().clone();
        let Some(token) = configured.or(own) else {
            let text = "this needs a token: set RTMS_ADMIN_TOKEN, or RTMS_STATE so that the server \
                        can make one";
            return Err(line(403, text));
        };
        match is_shown(&token, request.authorization) {
            true => Ok(Access::All),
            false => Err(unauthorized(
                "the bearer token is missing or wrong; it is RTMS_ADMIN_TOKEN, or else in the file \
                 admin-token of RTMS_STATE",
            )),
        }
    }

    fn origin(&self, request: &Request<'_>) -> Result<(), Answer> {
        let Some(origin) = request.origin else {
            return Ok(());
        };
        let host = request.host.and_then(Authority::parse);
        let url = self.token.lock().url.clone();
        match is_own_origin(origin, host.as_ref(), url.as_ref()) {
            true => Ok(()),
            false => Err(line(403, "requests of another web page are not taken")),
        }
    }
}

fn unauthorized(text: &str) -> Answer {
    line(401, text).with("WWW-Authenticate", "Bearer")
}

/// Compares digests, so that the time taken shows neither the first difference nor the length.
fn is_shown(token: &Secret, authorization: Option<&str>) -> bool {
    let shown = authorization.and_then(|value| value.split_once(' '));
    let Some((_, shown)) = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return false;
    };
    let digest = |text: &str| Sha256::digest(text.trim().as_bytes());
    openssl::memcmp::eq(&digest(shown), &digest(token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Request<'_> = Request {
        door: Door::Loopback,
        method: "GET",
        host: Some("127.0.0.1:9464"),
        origin: None,
        authorization: None,
        content_type: None,
        is_upgrade: false,
    };

    fn guard(configured: Option<&str>, own: Option<&str>) -> Guard {
        let token = Token::new(configured.map(Secret::new));
        own.into_iter()
            .for_each(|own| token.set_own(Secret::new(own)));
        token.set_url(Authority::parse("ops.example.com"));
        Guard { token }
    }

    fn status<T>(found: Result<T, Answer>) -> u16 {
        found.map_or_else(|answer| answer.status, |_| 200)
    }

    #[test]
    fn s1_content_needs_a_credential_also_on_loopback() {
        let own = guard(None, Some("own"));
        assert_eq!(status(own.status(&GET)), 200, "health needs none");
        assert_eq!(status(own.content(&GET)), 401);
        let shown = |authorization| Request {
            authorization,
            ..GET
        };
        assert_eq!(own.content(&shown(Some("Bearer own"))), Ok(Access::All));
        assert_eq!(status(own.content(&shown(Some("Bearer other")))), 401);
        let unix = Request {
            door: Door::Unix,
            host: Some("anything"),
            ..GET
        };
        assert_eq!(own.content(&unix), Ok(Access::All));
        assert_eq!(status(guard(None, None).content(&GET)), 403);
        let both = guard(Some("set"), Some("own"));
        assert_eq!(status(both.status(&GET)), 401);
        assert_eq!(status(both.status(&shown(Some("Bearer set")))), 200);
        assert_eq!(status(both.status(&unix)), 200);
        assert_eq!(status(both.content(&shown(Some("Bearer set")))), 200);
        assert_eq!(status(both.content(&shown(Some("Bearer own")))), 401);
    }

    #[test]
    fn s2_a_token_is_shown_whole() {
        let token = Secret::new("s3cret");
        for (shown, expected) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer  s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cret2"), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_shown(&token, shown), expected, "{shown:?}");
        }
    }

    #[test]
    fn s3_a_name_that_leads_here_is_misdirected_on_loopback_alone() {
        let guard = guard(Some("set"), None);
        let from = |door, host| Request {
            door,
            host,
            authorization: Some("Bearer set"),
            ..GET
        };
        for (host, expected) in [
            (Some("localhost:9464"), 200),
            (Some("ops.example.com"), 200),
            (Some("OPS.example.com.:443"), 200),
            (None, 200),
            (Some("rebound.example:9464"), 421),
            (Some("10.1.2.3"), 421),
            (Some("127.0.0.1.evil.example"), 421),
            (Some(""), 421),
        ] {
            let request = from(Door::Loopback, host);
            assert_eq!(status(guard.status(&request)), expected, "{host:?}");
            assert_eq!(status(guard.content(&request)), expected, "{host:?}");
            let request = from(Door::Network, host);
            assert_eq!(status(guard.content(&request)), 200, "{host:?}");
        }
    }

    #[test]
    fn s4_a_page_of_another_site_gives_no_command_and_opens_no_websocket() {
        let guard = guard(Some("set"), None);
        let post = Request {
            method: "POST",
            authorization: Some("Bearer set"),
            content_type: Some("application/json; charset=utf-8"),
            ..GET
        };
        let json = |content_type| Request {
            content_type,
            ..post
        };
        let by = |origin| Request {
            origin: Some(origin),
            ..post
        };
        assert_eq!(guard.command(&post), Ok(()));
        assert_eq!(status(guard.command(&json(None))), 415);
        assert_eq!(status(guard.command(&json(Some("text/plain")))), 415);
        assert_eq!(status(guard.command(&by("http://127.0.0.1:9464"))), 200);
        assert_eq!(status(guard.command(&by("https://ops.example.com"))), 200);
        assert_eq!(status(guard.command(&by("http://127.0.0.1:1"))), 403);
        assert_eq!(status(guard.command(&by("null"))), 403);
        let get = Request {
            method: "GET",
            ..post
        };
        assert_eq!(status(guard.command(&get)), 405);
        let blank = Request {
            authorization: None,
            ..post
        };
        assert_eq!(status(guard.command(&blank)), 401);
        let upgrade = Request {
            is_upgrade: true,
            ..by("https://evil.example")
        };
        assert_eq!(status(guard.content(&upgrade)), 403);
        let plain = Request {
            is_upgrade: false,
            ..upgrade
        };
        assert_eq!(status(guard.content(&plain)), 200, "it needs the header");
    }
}
