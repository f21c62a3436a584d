//! Passes events on as the webhook listener does: parsed by the same parser, stored in the intent log,
//! then sent to the daemon.
//!
//! One thing differs: Zoom sends an event here once. So nothing is refused. While the daemon's inbox is
//! full the connection is not read, and Zoom waits; an event that cannot be stored is passed on all the
//! same, because to refuse it would lose it for certain.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::status::Shared;
use crate::domain::zoom_event::ZoomEventKind;
use crate::gate::bump;
use crate::inbox;
use crate::log::warn_limiter::WarnLimiter;
use crate::source::webhook::desk::Accepted;
use crate::source::webhook::payload;
use crate::source::webhook::payload::Fault;
use crate::state::intents::{IntentLog, NotKept};

/// Time limit for storing events that came together.
const KEEP_WAIT: Duration = Duration::from_millis(1500);

/// How often a full inbox is looked at.
const FULL_WAIT: Duration = Duration::from_millis(1);

pub(super) struct Delivery<T> {
    inbox: inbox::Sender<T>,
    intents: Option<Arc<IntentLog>>,
    shared: Arc<Shared>,
    is_stopping: Arc<AtomicBool>,
    full_warning: WarnLimiter,
    not_kept_warning: WarnLimiter,
    incomplete_warning: WarnLimiter,
}

impl<T: From<Accepted>> Delivery<T> {
    pub(super) fn new(
        inbox: inbox::Sender<T>,
        intents: Option<Arc<IntentLog>>,
        shared: Arc<Shared>,
        is_stopping: Arc<AtomicBool>,
    ) -> Delivery<T> {
        Delivery {
            inbox,
            intents,
            shared,
            is_stopping,
            full_warning: WarnLimiter::default(),
            not_kept_warning: WarnLimiter::default(),
            incomplete_warning: WarnLimiter::default(),
        }
    }

    /// Sends something that is not an event, without a limit: there is little of it.
    pub(super) fn tell(&self, item: T) {
        self.inbox.send_always(item);
    }

    /// Passes on events that arrived together, with one sync for all of them.
    pub(super) fn deliver(&self, bodies: Vec<Vec<u8>>) {
        let mut waiting: Vec<(inbox::Permit<'_, T>, Accepted)> = Vec::new();
        for body in bodies {
            let Some(mut accepted) = self.parse(&body) else {
                continue;
            };
            let place = loop {
                if let Some(place) = self.inbox.reserve() {
                    break place;
                }
                // What was appended must reach the daemon, or it would never empty its inbox.
                self.send(std::mem::take(&mut waiting));
                if self.is_stopping.load(Relaxed) {
                    // The daemon takes no more; what is not stored is lost with the process.
                    return;
                }
                if let Some(more) = self.full_warning.allow(Instant::now()) {
                    log::warn!("events wait: the daemon's inbox is full{more}");
                }
                std::thread::sleep(FULL_WAIT);
            };
            match self.intents.as_ref().map(|log| log.append(&body)) {
                None => {}
                Some(Ok(id)) => accepted.intent = Some(id),
                Some(Err(not_kept)) => self.note_not_kept(&not_kept),
            }
            waiting.push((place, accepted));
        }
        self.send(waiting);
    }

    fn send(&self, waiting: Vec<(inbox::Permit<'_, T>, Accepted)>) {
        let deadline = Instant::now() + KEEP_WAIT;
        for (place, mut accepted) in waiting {
            if let (Some(log), Some(id)) = (&self.intents, accepted.intent)
                && let Err(not_kept) = log.wait(id, deadline)
            {
                self.note_not_kept(&not_kept);
                accepted.intent = None;
            }
            bump(&self.shared.counters.accepted);
            place.send(T::from(accepted));
        }
    }

    fn note_not_kept(&self, not_kept: &NotKept) {
        bump(&self.shared.counters.not_kept);
        if let Some(more) = self.not_kept_warning.allow(Instant::now()) {
            log::error!(
                "an event is handled without being stored first, and a crash now would lose it: {not_kept}{more}"
            );
        }
    }

    fn parse(&self, body: &[u8]) -> Option<Accepted> {
        let counters = &self.shared.counters;
        match payload::webhook(body) {
            Ok(event) => match &event.event {
                ZoomEventKind::Other { name } => {
                    bump(&counters.unknown);
                    log::debug!("unknown event {name:?}");
                    None
                }
                // A challenge proves the owner of an HTTP endpoint; there is none here.
                ZoomEventKind::UrlValidation { .. } => {
                    bump(&counters.unknown);
                    None
                }
                _ => Some(Accepted {
                    event,
                    intent: None,
                    body: body.into(),
                }),
            },
            Err(Fault::NotAWebhook) => {
                bump(&counters.malformed);
                log::debug!("a message on the event WebSocket is not an event");
                None
            }
            Err(fault) => {
                bump(&counters.incomplete);
                if let Some(more) = self.incomplete_warning.allow(Instant::now()) {
                    log::warn!("event not acted on: {fault}{more}");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::turn::Turn;
    use crate::inbox::inbox;

    fn body(n: usize) -> Vec<u8> {
        let text = format!(
            r#"{{"event":"meeting.ended","event_ts":{n},"payload":{{"object":{{"id":1,"uuid":"u"}}}}}}"#
        );
        text.into_bytes()
    }

    fn delivery(limit: usize) -> (Delivery<Accepted>, inbox::Receiver<Accepted>) {
        let (sender, receiver) = inbox(limit);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let delivery = Delivery::new(sender, None, Shared::new(0, Turn::Ours), is_stopping);
        (delivery, receiver)
    }

    #[test]
    fn a_full_inbox_delays_events_and_loses_none() {
        const COUNT: usize = 50;
        let (delivery, receiver) = delivery(2);
        let stamps = std::thread::scope(|scope| {
            scope.spawn(|| delivery.deliver((0..COUNT).map(body).collect()));
            let mut stamps = Vec::new();
            while stamps.len() < COUNT {
                let next = receiver.recv_timeout(Duration::from_secs(20));
                stamps.push(next.expect("the next event").event.event_ts_ms);
            }
            stamps
        });
        assert_eq!(stamps, (0..COUNT as u64).collect::<Vec<_>>());
        assert_eq!(
            delivery.shared.counters.accepted.load(Relaxed),
            COUNT as u64
        );
    }

    #[test]
    fn a_server_that_stops_does_not_wait_for_room() {
        let (delivery, _receiver) = delivery(1);
        delivery.is_stopping.store(true, Relaxed);
        delivery.deliver((0..3).map(body).collect());
        assert_eq!(delivery.shared.counters.accepted.load(Relaxed), 1);
    }

    #[test]
    fn what_is_no_event_is_counted() {
        let (delivery, receiver) = delivery(8);
        let texts: [&[u8]; 4] = [
            b"no json",
            br#"{"event":"user.created"}"#,
            br#"{"event":"meeting.rtms_started"}"#,
            br#"{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}"#,
        ];
        delivery.deliver(texts.map(<[u8]>::to_vec).to_vec());
        assert!(receiver.is_empty());
        let results = delivery.shared.counters.results();
        let expected = [
            ("accepted", 0),
            ("unknown", 2),
            ("incomplete", 1),
            ("malformed", 1),
            ("not_kept", 0),
        ];
        assert_eq!(results, expected);
    }
}
