//! Who may ask what of the admin listener.
//!
//! Health, metrics and the list of streams need the configured token, if there is one. Content, and
//! commands, always need a credential, also on a loopback address, where every user of this machine can
//! connect: the configured token, else the server's own, or the Unix socket, whose mode says who may
//! open it. A link is a credential for reading one stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::host::{AdminUrl, Authority, is_own_origin};
use super::line;
use super::links::key::{Key, LinkKey};
use super::links::ticket::Ticket;
use super::links::token::Link;
use crate::clock::now_ms;
use crate::delivery::live::{Access, Term};
use crate::domain::secret::Secret;
use crate::feed::JournalKey;
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
    /// `RTMS_ADMIN_URL`.
    url: Option<AdminUrl>,
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

    /// The address by which browsers reach the listener through a proxy.
    pub fn set_url(&self, url: Option<AdminUrl>) {
        self.lock().url = url;
    }

    pub(super) fn url(&self) -> Option<AdminUrl> {
        self.lock().url.clone()
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
    /// What signs links.
    pub(super) links: LinkKey,
}

impl Guard {
    /// Whether a request may see health, metrics and streams.
    pub(super) fn status(&self, request: &Request<'_>) -> Result<(), Answer> {
        self.host(request)?;
        let configured = self.token.lock().configured.clone();
        match configured.filter(|_| request.door != Door::Unix) {
            Some(token) if !is_shown(&token, shown(request.authorization)) => Err(unauthorized(
                "the bearer token of RTMS_ADMIN_TOKEN is missing or wrong",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a request may get a page, which holds no content.
    pub(super) fn page(&self, request: &Request<'_>) -> Result<(), Answer> {
        self.host(request)
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

    /// Whose content a request for a file may get: with a ticket that of this file.
    pub(super) fn file(
        &self,
        request: &Request<'_>,
        key: JournalKey,
        file: &str,
        ticket: Option<&str>,
    ) -> Result<Access, Answer> {
        let Some(ticket) = ticket else {
            return self.content(request);
        };
        self.host(request)?;
        let signing = self.links.get();
        let is_good = |signing: &Key| {
            let ticket = Ticket::read(ticket, key, file, &signing.secret);
            ticket.is_some_and(|ticket| !ticket.is_expired(now_ms()))
        };
        let Some(signing) = signing.filter(is_good) else {
            let text =
                "this ticket is for another file, or has expired; ask /tickets for another one";
            return Err(unauthorized(text));
        };
        Ok(Access::Stream {
            key,
            has_files: true,
            term: Term {
                // What has begun may take longer.
                expires_ms: u64::MAX,
                is_ended: signing.is_replaced,
            },
        })
    }

    /// Whether a request may give a command: not one that a page of another site makes a browser send,
    /// and not one with a link, which is for reading.
    pub(super) fn command(&self, request: &Request<'_>) -> Result<(), Answer> {
        match self.post(request)? {
            Access::All => Ok(()),
            Access::Stream { .. } => Err(line(403, "a link is for reading")),
        }
    }

    /// Whose content a request with a body may get.
    pub(super) fn post(&self, request: &Request<'_>) -> Result<Access, Answer> {
        self.host(request)?;
        if request.method != "POST" {
            let answer = line(405, "this method is not allowed here");
            return Err(answer.with("Allow", "POST"));
        }
        let access = self.credential(request)?;
        self.origin(request)?;
        // No form of a web page can send this type.
        let is_json = request.content_type.is_some_and(|value| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
        match is_json {
            true => Ok(access),
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
            let url = self.token.url();
            host.is_loopback() || url.is_some_and(|url| url.authority().has_host_of(&host))
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
        let token = configured.or(own);
        let shown = shown(request.authorization);
        if token.as_ref().is_some_and(|token| is_shown(token, shown)) {
            return Ok(Access::All);
        }
        if let Some(access) = shown.and_then(|shown| self.link(shown)) {
            return match access.is_over(now_ms()) {
                true => Err(unauthorized("this link has expired")),
                false => Ok(access),
            };
        }
        match token {
            Some(_) => Err(unauthorized(
                "the bearer token is missing or wrong; it is RTMS_ADMIN_TOKEN, or else in the file \
                 admin-token of RTMS_STATE; a link may have been revoked",
            )),
            None => Err(line(
                403,
                "this needs a token: set RTMS_ADMIN_TOKEN, or RTMS_STATE so that the server can \
                 make one",
            )),
        }
    }

    /// What a link is for, expired or not.
    fn link(&self, shown: &str) -> Option<Access> {
        let signing = self.links.get()?;
        let link = Link::read(shown, &signing.secret)?;
        Some(Access::Stream {
            key: link.key,
            has_files: link.has_files,
            term: Term {
                expires_ms: link.expires_s.saturating_mul(1000),
                is_ended: signing.is_replaced,
            },
        })
    }

    fn origin(&self, request: &Request<'_>) -> Result<(), Answer> {
        let Some(origin) = request.origin else {
            return Ok(());
        };
        let host = request.host.and_then(Authority::parse);
        let url = self.token.url();
        let url = url.as_ref().map(AdminUrl::authority);
        match is_own_origin(origin, host.as_ref(), url) {
            true => Ok(()),
            false => Err(line(403, "requests of another web page are not taken")),
        }
    }
}

fn unauthorized(text: &str) -> Answer {
    line(401, text).with("WWW-Authenticate", "Bearer")
}

/// The bearer token of a header field.
fn shown(authorization: Option<&str>) -> Option<&str> {
    let (scheme, shown) = authorization?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(shown.trim())
}

/// Compares digests, so that the time taken shows neither the first difference nor the length.
fn is_shown(token: &Secret, shown: Option<&str>) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    shown.is_some_and(|shown| openssl::memcmp::eq(&digest(shown), &digest(token.expose())))
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
        token.set_url(AdminUrl::parse("https://ops.example.com").ok());
        Guard {
            token,
            links: LinkKey::default(),
        }
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
        for (given, expected) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer  s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cret2"), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_shown(&token, shown(given)), expected, "{given:?}");
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

    #[test]
    fn g3_a_link_is_a_credential_until_it_expires_or_its_key_is_replaced() {
        let guard = guard(Some("set"), None);
        let key = guard.links.get_or_make().expect("a key");
        let link = |expires_s, has_files| Link {
            key: "bdd2d51ed67606f5".parse().expect("a key"),
            has_files,
            expires_s,
        };
        let shown = |link: &Link| format!("Bearer {}", link.sign(&key.secret));
        let content = |shown: &str| {
            guard.content(&Request {
                authorization: Some(shown),
                ..GET
            })
        };
        let good = link(now_ms() / 1000 + 100, true);
        let access = content(&shown(&good)).expect("it is good");
        assert!(access.is_for_files(good.key) && !access.is_over(now_ms()));
        assert!(!access.is_for("bdd2d51ed67606f6".parse().expect("a key")));
        let captions = content(&shown(&link(good.expires_s, false))).expect("it is good");
        assert!(captions.is_for(good.key) && !captions.is_for_files(good.key));
        let expired = content(&shown(&link(now_ms() / 1000 - 1, true))).expect_err("it expired");
        assert_eq!(expired.status, 401);
        assert_eq!(expired.body, b"this link has expired\n");
        // A ticket is for one file, and of the query alone.
        let ticket = |file| {
            let ticket = Ticket {
                key: good.key,
                file,
                expires_s: good.expires_s,
            };
            ticket.sign(&key.secret)
        };
        let file = |file, ticket: Option<&str>| guard.file(&GET, good.key, file, ticket);
        let wav = file("a.wav", Some(&ticket("a.wav"))).expect("it is good");
        assert!(wav.is_for_files(good.key));
        assert_eq!(status(file("b.wav", Some(&ticket("a.wav")))), 401);
        assert_eq!(status(file("a.wav", Some(""))), 401);
        assert_eq!(status(file("a.wav", None)), 401);
        let rebound = Request {
            host: Some("rebound.example"),
            ..GET
        };
        let answer = guard.file(&rebound, good.key, "a.wav", Some(&ticket("a.wav")));
        assert_eq!(status(answer), 421);
        // It gives no command, and opens no status page.
        let shown = shown(&good);
        let post = Request {
            method: "POST",
            authorization: Some(&shown),
            content_type: Some("application/json"),
            ..GET
        };
        assert_eq!(status(guard.command(&post)), 403);
        assert_eq!(guard.post(&post).as_ref(), Ok(&access));
        assert_eq!(status(guard.status(&post)), 401);
        guard.links.replace().expect("another key");
        assert_eq!(status(content(&shown)), 401);
        assert_eq!(status(file("a.wav", Some(&ticket("a.wav")))), 401);
        assert!(wav.is_over(now_ms()));
        assert!(access.is_over(now_ms()), "what is being read ends, too");
    }
}
