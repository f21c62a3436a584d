//! `GET /readyz` at the webhook listener, for the load balancer of a fleet.
//!
//! It is answered only where there is a fleet, and without a reason: it tells strangers only that a node is
//! about to leave. The admin listener has the reasons.

use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::sync::{Arc, OnceLock};

use crate::gate::Answer;

/// The path that a load balancer asks.
const PATH: &str = "/readyz";

/// One app's part of the answer; without a flag, the app has none.
#[derive(Debug, Default)]
pub(super) struct Readiness(OnceLock<Arc<AtomicBool>>);

impl Readiness {
    /// From now on the flag says whether webhooks should be sent here.
    pub(super) fn set(&self, is_ready: Arc<AtomicBool>) {
        // It has one owner, who sets it once.
        let _ = self.0.set(is_ready);
    }

    fn is_ready(&self) -> Option<bool> {
        self.0.get().map(|flag| flag.load(Acquire))
    }
}

/// The answer to such a request; `None` if it is another one, or if no app is in a fleet. A listener that
/// several apps share is ready when all of them are.
pub(super) fn answer<'a>(
    method: &str,
    path: &str,
    apps: impl Iterator<Item = &'a Readiness>,
) -> Option<Answer> {
    if path != PATH || !matches!(method, "GET" | "HEAD") {
        return None;
    }
    let is_ready = apps.filter_map(Readiness::is_ready).reduce(|a, b| a && b)?;
    let answer = match is_ready {
        true => Answer::text(200, "ready\n"),
        false => Answer::text(503, "not ready\n"),
    };
    Some(answer.with("Cache-Control", "no-store"))
}
