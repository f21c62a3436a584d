//! Answers the requests that the gate lets through: reserves a place, stores the event, answers, and
//! passes it on.
//!
//! An event is on disk before its 200 is written, and is passed on only after that. A forged request
//! costs an HMAC and a counter; it is logged above debug level only until the first valid signature.
//! The daemon handles repeated events.
//!
//! Each app has a [`Desk`] with its own inbox and intent log, so that an app whose inbox is full is
//! answered 503 alone.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::desk::{Accepted, Counters, Desk, DeskParts, Expected, Pending};
use super::readiness;
use super::respond::{Settings, WebhookAnswer, WebhookRequest};
use super::route::{Candidate, respond_for};
use crate::clock::now_ms;
use crate::domain::text::bounded;
use crate::gate::{Answer, HttpRequest, bump};
use crate::log::app;
use crate::log::warn_limiter::WarnLimiter;
use crate::source::authorization::Callback;

/// Time limit for storing events. The gate waits for an answer for 2 s, and Zoom for 3 s.
const KEEP_WAIT: Duration = Duration::from_millis(1500);

/// The body of the answer to `GET /`.
const UP: &str = "rtmsd is up\n";

/// The state that the worker threads share.
#[derive(Debug)]
pub struct Server<T> {
    desks: Mutex<Desks<T>>,
    /// What is about no app.
    counters: Arc<Counters>,
    forged_warning: WarnLimiter,
    path_warning: WarnLimiter,
    challenge_warning: WarnLimiter,
    /// Whether any signature was valid since the start or the last reload.
    has_verified: AtomicBool,
}

/// The apps that are served.
type Desks<T> = Arc<[Arc<Desk<T>>]>;

impl<T> Default for Server<T> {
    fn default() -> Server<T> {
        Server {
            desks: Mutex::new(Arc::new([])),
            counters: Arc::default(),
            forged_warning: WarnLimiter::default(),
            path_warning: WarnLimiter::default(),
            challenge_warning: WarnLimiter::default(),
            has_verified: AtomicBool::new(false),
        }
    }
}

impl<T> Server<T> {
    /// The counters of what is about no app.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn desks(&self) -> Desks<T> {
        Arc::clone(&self.desks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_desks(&self, change: impl FnOnce(&mut Vec<Arc<Desk<T>>>)) {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = desks.to_vec();
        change(&mut list);
        *desks = list.into();
    }

    /// From now on the webhooks of an app are accepted.
    pub fn add(&self, parts: DeskParts<T>) -> Arc<Desk<T>> {
        let counters = match &parts.name {
            None => Arc::clone(&self.counters),
            Some(_) => Arc::default(),
        };
        let desk = Arc::new(Desk::new(parts, counters));
        // Before one that was removed and may be the same app.
        self.change_desks(|desks| desks.insert(0, Arc::clone(&desk)));
        desk
    }

    /// From now on a request that may be for another app, too, is not for that one.
    pub fn set_back(&self, desk: &Arc<Desk<T>>) {
        self.change_desks(|desks| {
            desks.retain(|it| !Arc::ptr_eq(it, desk));
            desks.push(Arc::clone(desk));
        });
    }

    /// From now on no request is for that app.
    pub fn remove(&self, desk: &Arc<Desk<T>>) {
        self.change_desks(|desks| desks.retain(|it| !Arc::ptr_eq(it, desk)));
    }

    /// Replaces the settings of an app for future requests.
    pub fn reload(&self, desk: &Desk<T>, expected: Expected) {
        let mut current = desk.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if current.secret_tokens != expected.secret_tokens {
            self.has_verified.store(false, Relaxed);
        }
        *current = Arc::new(expected);
    }
}

impl<T: From<Accepted>> Server<T> {
    /// Answers requests that arrived together, with one sync for all their events. Waits only for
    /// that sync.
    pub(crate) fn handle_requests(&self, requests: Vec<HttpRequest>) {
        let desks = self.desks();
        let mut pending = Vec::new();
        for request in requests {
            pending.extend(self.handle_request(&desks, request));
        }
        let deadline = Instant::now() + KEEP_WAIT;
        for Pending {
            desk,
            request,
            place,
            accepted,
            _under_way,
        } in pending
        {
            let kept = match (&desk.intents, accepted.intent) {
                (Some(intents), Some(id)) => intents.wait(id, deadline),
                _ => Ok(()),
            };
            if let Err(not_kept) = kept {
                let _app = app::enter(desk.name.as_ref());
                desk.put_off(request, &not_kept);
                continue;
            }
            bump(&desk.counters.accepted);
            request.answer(Answer::text(200, ""));
            place.send(T::from(accepted));
        }
    }

    /// Answers a request, unless it has an event that must be stored first.
    fn handle_request<'a>(
        &self,
        desks: &'a [Arc<Desk<T>>],
        request: HttpRequest,
    ) -> Option<Pending<'a, T>> {
        let shown = desks.iter().map(|desk| &desk.readiness);
        if let Some(answer) = readiness::answer(request.method(), request.path(), shown) {
            bump(&self.counters.up);
            request.answer(answer);
            return None;
        }
        let expected: Vec<Arc<Expected>> = desks.iter().map(|desk| desk.expected()).collect();
        if request.method() == "GET" {
            let asked = desks.iter().zip(&expected);
            let asked = asked.filter(|(_, it)| it.oauth_path.as_deref() == Some(request.path()));
            let asked: Vec<&Desk<T>> = asked.map(|(desk, _)| &**desk).collect();
            if !asked.is_empty() {
                answer_callback(&asked, request);
                return None;
            }
        }
        let candidates = desks
            .iter()
            .zip(&expected)
            .map(|(desk, expected)| Candidate {
                name: desk.name.as_deref(),
                settings: &expected.webhook,
                tokens: &expected.secret_tokens,
            });
        let candidates: Vec<Candidate<'_>> = candidates.collect();
        let (app, answer) = respond_for(
            &candidates,
            &WebhookRequest {
                method: request.method(),
                path: request.path(),
                signature: request.header("x-zm-signature"),
                timestamp: request.header("x-zm-request-timestamp"),
                body: request.body(),
                now_s: now_ms() / 1000,
            },
        );
        let desk = app.and_then(|number| desks.get(number));
        let _app = app::enter(desk.and_then(|desk| desk.name.as_ref()));
        if let Some(tracking_id) = request.header("x-zm-trackingid") {
            log::debug!("webhook tracking id {:?}", bounded(tracking_id, 64));
        }
        let settings = candidates.get(app.unwrap_or(0)).map(|app| app.settings);
        self.note(&request, &answer, desk.map(|desk| &**desk), settings);
        let http = match answer {
            WebhookAnswer::Accept(event) => return desk?.accept(request, event),
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
        request.answer(http);
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

    /// Warns that the app of a challenge is not known: anyone may send one, but it is probably Zoom's.
    fn note_challenge(&self, settings: Option<&Settings>) {
        let path = settings.map_or("", |settings| &settings.path);
        if let Some(more) = self.challenge_warning.allow(Instant::now()) {
            log::warn!(
                "a challenge without a signature could not be answered: several apps are served here; \
                 set the app's endpoint at Zoom to {path}/NAME{more}"
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

    /// Counts and logs. Lines that an unauthenticated client can cause are debug lines; lines that
    /// only Zoom can cause may have a higher level.
    fn note(
        &self,
        request: &HttpRequest,
        answer: &WebhookAnswer,
        desk: Option<&Desk<T>>,
        settings: Option<&Settings>,
    ) {
        let counters = desk.map_or(&self.counters, |desk| &desk.counters);
        if matches!(
            answer,
            WebhookAnswer::Accept(_)
                | WebhookAnswer::Unknown(_)
                | WebhookAnswer::Incomplete(_)
                | WebhookAnswer::Malformed
                | WebhookAnswer::Stale(_)
        ) {
            self.has_verified.store(true, Relaxed);
        }
        match answer {
            WebhookAnswer::Accept(_) => {}
            WebhookAnswer::Up => bump(&counters.up),
            WebhookAnswer::Challenge(_) => bump(&counters.challenges),
            WebhookAnswer::Unknown(name) => {
                bump(&counters.unknown);
                log::debug!("unknown webhook event {name:?}");
            }
            WebhookAnswer::Incomplete(fault) => {
                bump(&counters.incomplete);
                let Some(desk) = desk.filter(|_| settings.is_some_and(|it| it.verify)) else {
                    return log::debug!("webhook not acted on: {fault}");
                };
                if let Some(more) = desk.incomplete_warning.allow(Instant::now()) {
                    log::warn!("webhook not acted on: {fault}{more}");
                }
            }
            WebhookAnswer::Malformed => bump(&counters.malformed),
            WebhookAnswer::ChallengeRefused => bump(&counters.challenges_refused),
            WebhookAnswer::NoSecretToken => {
                bump(&counters.challenges_refused);
                if desk.is_none() {
                    self.note_challenge(settings);
                }
            }
            WebhookAnswer::Forged => {
                bump(&counters.forged);
                self.note_forged();
            }
            WebhookAnswer::Stale(age) => {
                bump(&counters.stale);
                let desk = desk.map(|desk| &desk.stale_warning);
                if let Some(more) = desk.and_then(|it| it.allow(Instant::now())) {
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
                    let expected = settings.map_or("", |settings| &settings.path);
                    self.note_wrong_path(request.path(), expected);
                }
            }
            WebhookAnswer::WrongMethod(_) => bump(&counters.wrong_method),
        }
    }
}

/// Answers a person whom Zoom sent back after they authorized the app. The code is exchanged by the
/// command that waits for it. Any node may send such a request, so what is not expected is a debug line.
fn answer_callback<T>(asked: &[&Desk<T>], request: HttpRequest) {
    let callback = |desk: &&Desk<T>| {
        desk.authorizations
            .callback(Instant::now(), request.query())
    };
    let found = asked
        .iter()
        .map(callback)
        .find(|it| *it != Callback::Unknown);
    let found = found.unwrap_or(Callback::Unknown);
    let answer = match found {
        Callback::Accepted => Answer::text(
            200,
            "rtmsd has received it. You can close this page; the terminal says what became of it.\n",
        ),
        Callback::Refused => Answer::text(
            200,
            "rtmsd was not authorized. You can close this page; the terminal says more.\n",
        ),
        Callback::Unknown => Answer::text(
            400,
            "This is not an authorization that was begun here, or it was used or is older than ten \
             minutes.\n",
        ),
    };
    log::debug!("a callback of an authorization: {found:?}");
    request.answer(
        answer
            .with("Cache-Control", "no-store")
            .with("Referrer-Policy", "no-referrer"),
    );
}
