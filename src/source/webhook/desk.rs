//! Where the webhooks of one app arrive: its inbox, its intent log, what is counted.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::readiness::Readiness;
use super::respond::Settings;
use crate::domain::secret::Secret;
use crate::domain::zoom_event::ZoomEvent;
use crate::gate::{Answer, HttpRequest, bump};
use crate::inbox;
use crate::log::warn_limiter::WarnLimiter;
use crate::source::authorization::Authorizations;
use crate::state::intents::{EventId, IntentLog, NotKept};

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
    /// `GET /`, and with a fleet `GET /readyz`.
    pub up: AtomicU64,
    /// 404.
    pub wrong_path: AtomicU64,
    /// 405.
    pub wrong_method: AtomicU64,
}

/// What requests are compared with; may change while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// What a webhook is.
    pub webhook: Settings,
    /// Any of them may have signed it.
    pub secret_tokens: Vec<Secret>,
    /// The path of callbacks of `rtmsd authorize`.
    pub oauth_path: Option<String>,
}

/// Where the webhooks of one app arrive.
#[derive(Debug)]
pub struct Desk<T> {
    pub(super) name: Option<Arc<str>>,
    pub(super) expected: Mutex<Arc<Expected>>,
    pub(super) authorizations: Arc<Authorizations>,
    inbox: inbox::Sender<T>,
    pub(super) intents: Option<Arc<IntentLog>>,
    pub(super) counters: Arc<Counters>,
    pub(super) readiness: Readiness,
    /// Events that have a place in the inbox and are not in it yet.
    under_way: AtomicUsize,
    is_closed: AtomicBool,
    /// No other node of a fleet needs them.
    drops_bodies: AtomicBool,
    pub(super) stale_warning: WarnLimiter,
    pub(super) incomplete_warning: WarnLimiter,
    full_warning: WarnLimiter,
    not_kept_warning: WarnLimiter,
}

/// What a desk gives to the app's own process, and what it gets from there.
#[derive(Debug)]
pub struct DeskParts<T> {
    /// The app's name; `None` if it is the only one and has none.
    pub name: Option<Arc<str>>,
    /// What requests are compared with.
    pub expected: Expected,
    /// Where events are passed on to.
    pub inbox: inbox::Sender<T>,
    /// Where events are stored.
    pub intents: Option<Arc<IntentLog>>,
    /// Authorizations of users that were begun.
    pub authorizations: Arc<Authorizations>,
}

impl<T> Desk<T> {
    pub(super) fn new(parts: DeskParts<T>, counters: Arc<Counters>) -> Desk<T> {
        let DeskParts {
            name,
            expected,
            inbox,
            intents,
            authorizations,
        } = parts;
        Desk {
            name,
            expected: Mutex::new(Arc::new(expected)),
            authorizations,
            inbox,
            intents,
            counters,
            readiness: Readiness::default(),
            under_way: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            drops_bodies: AtomicBool::new(false),
            stale_warning: WarnLimiter::default(),
            incomplete_warning: WarnLimiter::default(),
            full_warning: WarnLimiter::default(),
            not_kept_warning: WarnLimiter::default(),
        }
    }

    /// The counters of the app; those of the whole listener if it has no name.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// From now on `GET /readyz` is answered, by this flag.
    pub fn show_readiness(&self, is_ready: Arc<AtomicBool>) {
        self.readiness.set(is_ready);
    }

    /// There is no fleet: webhooks are passed on without their bodies.
    pub fn drop_bodies(&self) {
        self.drops_bodies.store(true, Relaxed);
    }

    pub(super) fn expected(&self) -> Arc<Expected> {
        Arc::clone(&self.expected.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on its events are answered 503, so that Zoom repeats them. Waits until those under way
    /// are in the inbox, but not beyond that time.
    pub fn close(&self, until: Instant) {
        self.is_closed.store(true, Release);
        while self.under_way.load(Acquire) > 0 && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// An event that was answered 200.
#[derive(Debug)]
pub struct Accepted {
    /// The event.
    pub event: ZoomEvent,
    /// Its id in the intent log; `None` without one.
    pub intent: Option<EventId>,
    /// The webhook's body, for another node of a fleet; may be empty without one.
    pub body: Box<[u8]>,
}

impl From<Accepted> for ZoomEvent {
    fn from(accepted: Accepted) -> ZoomEvent {
        accepted.event
    }
}

/// A request that will be answered 200 once its event is stored.
pub(super) struct Pending<'a, T> {
    pub(super) desk: &'a Desk<T>,
    pub(super) request: HttpRequest,
    pub(super) place: inbox::Permit<'a, T>,
    pub(super) accepted: Accepted,
    pub(super) _under_way: UnderWay<'a>,
}

/// Counts an event until it is in the inbox.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

impl<T> Desk<T> {
    /// Reserves a place in the inbox and appends the event to the intent log.
    pub(super) fn accept(&self, request: HttpRequest, event: ZoomEvent) -> Option<Pending<'_, T>> {
        self.under_way.fetch_add(1, AcqRel);
        let under_way = UnderWay(&self.under_way);
        let is_closed = self.is_closed.load(Acquire);
        let Some(place) = self.inbox.reserve().filter(|_| !is_closed) else {
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
        let body = match self.drops_bodies.load(Relaxed) {
            true => Box::default(),
            false => request.body().into(),
        };
        let accepted = Accepted {
            event,
            intent,
            body,
        };
        Some(Pending {
            desk: self,
            request,
            place,
            accepted,
            _under_way: under_way,
        })
    }

    /// Answers 503 to an event that cannot be stored, so that Zoom sends it again: without storage
    /// a crash would lose it.
    pub(super) fn put_off(&self, request: HttpRequest, not_kept: &NotKept) {
        bump(&self.counters.not_kept);
        if let Some(more) = self.not_kept_warning.allow(Instant::now()) {
            log::warn!("webhook answered 503: {not_kept}; Zoom will retry{more}");
        }
        request
            .answer(Answer::text(503, "not stored, send again later\n").with("Retry-After", "60"));
    }
}
