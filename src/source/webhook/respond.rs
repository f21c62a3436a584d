//! Answers the requests that the gate lets through: verifies, parses, reserves a place, stores the
//! event, answers, and passes it on.
//!
//! The signature is checked over the raw bytes before the JSON is parsed; an event is on disk
//! before its 200 is written, and is passed on only after that. A forged request costs an HMAC and
//! a counter; it is logged above debug level only until the first valid signature. The daemon
//! handles repeated events.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::payload;
use super::payload::Fault;
use super::signature;
use crate::clock::now_ms;
use crate::domain::secret::Secret;
use crate::domain::text::bounded;
use crate::domain::zoom_event::{ZoomEvent, ZoomEventKind};
use crate::gate::{Answer, HttpRequest, bump};
use crate::inbox;
use crate::log::warn_limiter::WarnLimiter;
use crate::state::intents::{EventId, IntentLog, NotKept};

/// Maximum size of an unsigned challenge, in bytes.
const UNSIGNED_BYTES_MAX: usize = 4096;

/// Time limit for storing events. The gate waits for an answer for 2 s, and Zoom for 3 s.
const KEEP_WAIT: Duration = Duration::from_millis(1500);

/// The body of the answer to `GET /`.
const UP: &str = "rtmsd is up\n";

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

/// Counters of answers. They never decrease.
#[derive(Debug, Default)]
pub struct Counters {
    /// Webhooks passed on to the daemon.
    pub accepted: AtomicU64,
    /// 401: no signature, or a wrong one.
    pub forged: AtomicU64,
    /// 401: validly signed, but the timestamp is too far from our clock.
    pub stale: AtomicU64,
    /// 400: signed (or unchecked), but not a webhook.
    pub malformed: AtomicU64,
    /// 200, but not acted on: a known event without a required field.
    pub incomplete: AtomicU64,
    /// 200, but not acted on: an unknown event.
    pub unknown: AtomicU64,
    /// Challenges answered.
    pub challenges: AtomicU64,
    /// Challenges refused: a token that must not be signed, or no secret token to sign with.
    pub challenges_refused: AtomicU64,
    /// 503: the daemon's inbox was full.
    pub inbox_full: AtomicU64,
    /// 503: the event could not be stored in the state directory.
    pub not_kept: AtomicU64,
    /// 200: `GET /`.
    pub up: AtomicU64,
    /// 404.
    pub wrong_path: AtomicU64,
    /// 405.
    pub wrong_method: AtomicU64,
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
pub fn reply(settings: &Settings, tokens: &[Secret], call: &WebhookRequest<'_>) -> WebhookAnswer {
    let is_webhook_path = is_same_path(call.path, &settings.path);
    match call.method {
        "POST" if is_webhook_path => posted(settings, tokens, call),
        "GET" | "HEAD" if call.path == "/" => WebhookAnswer::Up,
        _ if is_webhook_path && call.path == "/" => WebhookAnswer::WrongMethod("GET, HEAD, POST"),
        _ if is_webhook_path => WebhookAnswer::WrongMethod("POST"),
        _ if call.path == "/" => WebhookAnswer::WrongMethod("GET, HEAD"),
        "POST" => WebhookAnswer::WrongPath {
            is_signed: is_signed(tokens, call),
        },
        _ => WebhookAnswer::WrongPath { is_signed: false },
    }
}

/// Whether two paths are the same endpoint, ignoring a slash at the end.
fn is_same_path(a: &str, b: &str) -> bool {
    let bare = |path: &str| path.trim_end_matches('/').len();
    a[..bare(a)] == b[..bare(b)] && !a.is_empty() && !b.is_empty()
}

fn is_signed(tokens: &[Secret], call: &WebhookRequest<'_>) -> bool {
    let (Some(signature), Some(timestamp)) = (call.signature, call.timestamp) else {
        return false;
    };
    signature::signer(tokens, timestamp, call.body, signature).is_some()
}

fn posted(settings: &Settings, tokens: &[Secret], call: &WebhookRequest<'_>) -> WebhookAnswer {
    let signer = match (call.signature, call.timestamp) {
        _ if !settings.verify => None,
        (Some(signature), Some(timestamp)) => {
            match signature::signer(tokens, timestamp, call.body, signature) {
                Some(signer) => Some(signer),
                None => return WebhookAnswer::Forged,
            }
        }
        // Zoom may send challenges with or without a signature. Any other unsigned request is
        // forged.
        (None, _) if call.body.len() <= UNSIGNED_BYTES_MAX => {
            return match payload::webhook(call.body) {
                Ok(ZoomEvent {
                    event: ZoomEventKind::UrlValidation { plain_token },
                    ..
                }) => challenge(tokens, None, &plain_token),
                _ => WebhookAnswer::Forged,
            };
        }
        _ => return WebhookAnswer::Forged,
    };
    let webhook = payload::webhook(call.body);
    if let Ok(ZoomEvent {
        event: ZoomEventKind::UrlValidation { plain_token },
        ..
    }) = &webhook
    {
        return challenge(tokens, signer, plain_token);
    }
    if settings.verify {
        let age = call.timestamp.and_then(|t| signature::age(t, call.now_s));
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

/// The state that the worker threads share.
#[derive(Debug)]
pub struct Server<T> {
    settings: Mutex<Arc<(Settings, Vec<Secret>)>>,
    inbox: inbox::Sender<T>,
    intents: Option<Arc<IntentLog>>,
    counters: Arc<Counters>,
    stale_warning: WarnLimiter,
    incomplete_warning: WarnLimiter,
    full_warning: WarnLimiter,
    not_kept_warning: WarnLimiter,
    forged_warning: WarnLimiter,
    path_warning: WarnLimiter,
    /// Whether any signature was valid since the start or the last reload.
    has_verified: AtomicBool,
}

impl<T> Server<T> {
    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// An event that was answered 200.
#[derive(Debug)]
pub struct Accepted {
    /// The event.
    pub event: ZoomEvent,
    /// Its id in the intent log; `None` without one.
    pub intent: Option<EventId>,
}

impl From<Accepted> for ZoomEvent {
    fn from(accepted: Accepted) -> ZoomEvent {
        accepted.event
    }
}

/// A request that will be answered 200 once its event is stored.
struct Pending<'a, T> {
    request: HttpRequest,
    place: inbox::Permit<'a, T>,
    accepted: Accepted,
}

impl<T: From<Accepted>> Server<T> {
    /// A handler that stores events in `intents` and passes them on to `inbox`.
    pub fn new(
        settings: Settings,
        tokens: Vec<Secret>,
        inbox: inbox::Sender<T>,
        intents: Option<Arc<IntentLog>>,
    ) -> Server<T> {
        Server {
            settings: Mutex::new(Arc::new((settings, tokens))),
            inbox,
            intents,
            counters: Arc::default(),
            stale_warning: WarnLimiter::default(),
            incomplete_warning: WarnLimiter::default(),
            full_warning: WarnLimiter::default(),
            not_kept_warning: WarnLimiter::default(),
            forged_warning: WarnLimiter::default(),
            path_warning: WarnLimiter::default(),
            has_verified: AtomicBool::new(false),
        }
    }

    /// Replaces the settings for future requests.
    pub fn reload(&self, settings: Settings, tokens: Vec<Secret>) {
        let mut current = self.settings.lock().unwrap_or_else(|e| e.into_inner());
        if current.1 != tokens {
            self.has_verified.store(false, Relaxed);
        }
        *current = Arc::new((settings, tokens));
    }

    /// Answers requests that arrived together, with one sync for all their events. Waits only for
    /// that sync.
    pub(crate) fn handle_requests(&self, requests: Vec<HttpRequest>) {
        let mut pending = Vec::new();
        for request in requests {
            pending.extend(self.handle_request(request));
        }
        let deadline = Instant::now() + KEEP_WAIT;
        for Pending {
            request,
            place,
            accepted,
        } in pending
        {
            let kept = match (&self.intents, accepted.intent) {
                (Some(intents), Some(id)) => intents.wait(id, deadline),
                _ => Ok(()),
            };
            if let Err(not_kept) = kept {
                self.put_off(request, &not_kept);
                continue;
            }
            bump(&self.counters.accepted);
            request.answer(Answer::text(200, ""));
            place.send(T::from(accepted));
        }
    }

    /// Answers a request, unless it has an event that must be stored first.
    fn handle_request(&self, request: HttpRequest) -> Option<Pending<'_, T>> {
        let current = Arc::clone(&self.settings.lock().unwrap_or_else(|e| e.into_inner()));
        let (settings, tokens) = &*current;
        let reply = reply(
            settings,
            tokens,
            &WebhookRequest {
                method: request.method(),
                path: request.path(),
                signature: request.header("x-zm-signature"),
                timestamp: request.header("x-zm-request-timestamp"),
                body: request.body(),
                now_s: now_ms() / 1000,
            },
        );
        if let Some(tracking_id) = request.header("x-zm-trackingid") {
            log::debug!("webhook tracking id {:?}", bounded(tracking_id, 64));
        }
        self.note(&request, &reply, settings);
        let answer = match reply {
            WebhookAnswer::Accept(event) => return self.accept(request, event),
            WebhookAnswer::Up => Answer::text(200, UP),
            WebhookAnswer::Challenge(json) => Answer::text(200, json).of_type("application/json"),
            WebhookAnswer::Unknown(_) | WebhookAnswer::Incomplete(_) => Answer::text(200, ""),
            WebhookAnswer::Malformed => Answer::text(400, "this is not a webhook\n"),
            WebhookAnswer::ChallengeRefused => Answer::text(400, "this is not a plain token\n"),
            WebhookAnswer::Forged => Answer::text(401, "the signature is wrong\n"),
            WebhookAnswer::Stale(_) => Answer::text(401, "the timestamp is not fresh\n"),
            WebhookAnswer::WrongPath { .. } => Answer::text(404, "nothing is here\n"),
            WebhookAnswer::WrongMethod(allowed) => {
                Answer::text(405, "this method is not allowed here\n").with("Allow", allowed)
            }
            WebhookAnswer::NoSecretToken => Answer::text(500, "no secret token is configured\n"),
        };
        request.answer(answer);
        None
    }

    /// Logs a wrong signature only while no signature has been valid: anyone may send one, but
    /// until then the cause is probably the configuration, and no other line would show it.
    fn note_forged(&self) {
        if self.has_verified.load(Relaxed) {
            return;
        }
        if let Some(more) = self.forged_warning.allow(Instant::now()) {
            log::warn!(
                "webhook refused: the signature is missing or wrong, and none has been valid so far; \
                 check that ZOOM_SECRET_TOKEN is the app's, and that no proxy changes the body or \
                 drops the header x-zm-signature{more}"
            );
        }
    }

    /// Warns that Zoom posts to a path that we do not serve: its events are lost until one of the
    /// two is changed.
    fn note_wrong_path(&self, found: &str, expected: &str) {
        if let Some(more) = self.path_warning.allow(Instant::now()) {
            log::warn!(
                "webhook answered 404: signature valid, path {:?}, expected {expected:?}; change the \
                 endpoint at Zoom or WEBHOOK_PATH{more}",
                bounded(found, 200)
            );
        }
    }

    /// Reserves a place in the inbox and appends the event to the intent log.
    fn accept(&self, request: HttpRequest, event: ZoomEvent) -> Option<Pending<'_, T>> {
        let Some(place) = self.inbox.reserve() else {
            bump(&self.counters.inbox_full);
            if let Some(more) = self.full_warning.allow(Instant::now()) {
                log::warn!("webhook answered 503: inbox full; Zoom will retry{more}");
            }
            request.answer(
                Answer::text(503, "no room now, send again later\n").with("Retry-After", "60"),
            );
            return None;
        };
        let intent = match self.intents.as_ref().map(|log| log.append(request.body())) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(not_kept)) => {
                self.put_off(request, &not_kept);
                return None;
            }
        };
        Some(Pending {
            request,
            place,
            accepted: Accepted { event, intent },
        })
    }

    /// Answers 503 to an event that cannot be stored, so that Zoom sends it again: without storage
    /// a crash would lose it.
    fn put_off(&self, request: HttpRequest, not_kept: &NotKept) {
        bump(&self.counters.not_kept);
        if let Some(more) = self.not_kept_warning.allow(Instant::now()) {
            log::warn!("webhook answered 503: {not_kept}; Zoom will retry{more}");
        }
        request
            .answer(Answer::text(503, "not stored, send again later\n").with("Retry-After", "60"));
    }

    /// Counts and logs. Lines that an unauthenticated client can cause are debug lines; lines that
    /// only Zoom can cause may have a higher level.
    fn note(&self, request: &HttpRequest, reply: &WebhookAnswer, settings: &Settings) {
        let counters = &self.counters;
        if matches!(
            reply,
            WebhookAnswer::Accept(_)
                | WebhookAnswer::Unknown(_)
                | WebhookAnswer::Incomplete(_)
                | WebhookAnswer::Malformed
                | WebhookAnswer::Stale(_)
        ) {
            self.has_verified.store(true, Relaxed);
        }
        match reply {
            WebhookAnswer::Accept(_) => {}
            WebhookAnswer::Up => bump(&counters.up),
            WebhookAnswer::Challenge(_) => bump(&counters.challenges),
            WebhookAnswer::Unknown(name) => {
                bump(&counters.unknown);
                log::debug!("unknown webhook event {name:?}");
            }
            WebhookAnswer::Incomplete(fault) => {
                bump(&counters.incomplete);
                if !settings.verify {
                    log::debug!("webhook not acted on: {fault}");
                } else if let Some(more) = self.incomplete_warning.allow(Instant::now()) {
                    log::warn!("webhook not acted on: {fault}{more}");
                }
            }
            WebhookAnswer::Malformed => bump(&counters.malformed),
            WebhookAnswer::ChallengeRefused | WebhookAnswer::NoSecretToken => {
                bump(&counters.challenges_refused)
            }
            WebhookAnswer::Forged => {
                bump(&counters.forged);
                self.note_forged();
            }
            WebhookAnswer::Stale(age) => {
                bump(&counters.stale);
                if let Some(more) = self.stale_warning.allow(Instant::now()) {
                    let age_s = age.map_or(-1, |age| age.as_secs().cast_signed());
                    log::warn!(
                        "webhook refused: signature valid, timestamp {age_s} s off; check this \
                         machine's clock{more}"
                    );
                }
            }
            WebhookAnswer::WrongPath { is_signed } => {
                bump(&counters.wrong_path);
                if *is_signed {
                    self.note_wrong_path(request.path(), &settings.path);
                }
            }
            WebhookAnswer::WrongMethod(_) => bump(&counters.wrong_method),
        }
    }
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

    fn reply(
        (settings, tokens): &(Settings, Vec<Secret>),
        call: &WebhookRequest<'_>,
    ) -> WebhookAnswer {
        super::reply(settings, tokens, call)
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
            assert_eq!(reply(&s, &call(method, path)), expected, "{method} {path}");
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
            reply(&s, &call)
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
            |call: &WebhookRequest<'_>| matches!(reply(&s, call), WebhookAnswer::Accept(_));
        for token in ["old", "new"] {
            assert!(is_accepted(&post(BODY, Some(&signed(token, BODY)))));
        }
        let right = signed("new", BODY);
        let stranger = signed("x", BODY);
        assert_eq!(
            reply(&s, &post(BODY, Some(&stranger))),
            WebhookAnswer::Forged
        );
        assert_eq!(reply(&s, &post(BODY, None)), WebhookAnswer::Forged);
        assert_eq!(
            reply(&s, &post(b"not json", Some(&right))),
            WebhookAnswer::Forged
        );
        let right = signed("new", b"not json");
        assert_eq!(
            reply(&s, &post(b"not json", Some(&right))),
            WebhookAnswer::Malformed
        );
        let untimed = WebhookRequest {
            timestamp: None,
            ..post(BODY, Some(&right))
        };
        assert_eq!(reply(&s, &untimed), WebhookAnswer::Forged);
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
                matches!(reply(&s, &at(now_s)), WebhookAnswer::Accept(_)),
                "{now_s}"
            );
        }
        for now_s in [699, 1301] {
            let age = Some(Duration::from_secs(301));
            assert_eq!(reply(&s, &at(now_s)), WebhookAnswer::Stale(age));
        }
        let odd = signature::sign(&Secret::new("t"), "soon", BODY);
        let call = WebhookRequest {
            timestamp: Some("soon"),
            ..post(BODY, Some(&odd))
        };
        assert_eq!(reply(&s, &call), WebhookAnswer::Stale(None));
    }

    #[test]
    fn verification_off_skips_only_the_signature() {
        let mut s = settings(&[]);
        s.0.verify = false;
        assert!(matches!(
            reply(&s, &post(BODY, None)),
            WebhookAnswer::Accept(_)
        ));
        assert!(matches!(
            reply(&s, &post(BODY, Some("v0=00"))),
            WebhookAnswer::Accept(_)
        ));
        assert_eq!(reply(&s, &post(b"no json", None)), WebhookAnswer::Malformed);
        let ask = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#;
        assert_eq!(reply(&s, &post(ask, None)), WebhookAnswer::NoSecretToken);
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
        assert_eq!(reply(&s, &post(ask, None)), by("old"));
        assert_eq!(reply(&s, &post(ask, Some(&signed("new", ask)))), by("new"));
        assert_eq!(
            reply(&s, &post(ask, Some(&signed("x", ask)))),
            WebhookAnswer::Forged
        );
        let late = WebhookRequest {
            now_s: 1_000_000,
            ..post(ask, None)
        };
        assert_eq!(reply(&s, &late), by("old"));
    }

    #[test]
    fn an_unauthenticated_client_cannot_have_a_webhook_signed() {
        let s = settings(&["t"]);
        let ask = br#"{"event":"endpoint.url_validation","payload":{"plainToken":"v0:1000:{}"}}"#;
        assert_eq!(reply(&s, &post(ask, None)), WebhookAnswer::ChallengeRefused);
        assert_eq!(
            reply(&s, &post(ask, Some(&signed("t", ask)))),
            WebhookAnswer::ChallengeRefused
        );
        let mut large =
            br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p1"}}"#.to_vec();
        large.resize(UNSIGNED_BYTES_MAX + 1, b' ');
        assert_eq!(reply(&s, &post(&large, None)), WebhookAnswer::Forged);
    }

    #[test]
    fn verified_requests_without_use_are_distinguished() {
        let s = settings(&["t"]);
        let of = |body: &[u8]| reply(&s, &post(body, Some(&signed("t", body))));
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
