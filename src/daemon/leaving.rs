//! The end of a daemon whose app was taken out of the configuration: it begins nothing more, its streams
//! run to their end, and what follows their end is done.

use std::time::{Duration, Instant};

use super::Daemon;
use crate::coordinator;
use crate::domain::zoom_event::{ZoomEvent, ZoomEventKind};

/// How long uploads, hooks and HTTP push may take after the last stream. What is left then is in the
/// state directory, and goes on if the app comes back.
const DELIVERY_MAX: Duration = Duration::from_secs(600);

/// How often it is looked whether all is done.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A removed app.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Since when no stream has run.
    streams_ended: Option<Instant>,
}

impl Daemon {
    /// From now on it begins nothing, until a reload says otherwise.
    pub(super) fn leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        log::info!(
            "the app was removed or is disabled: its streams run to their end streams={}",
            self.running.len()
        );
        self.leaving = Some(Leaving::default());
        self.ingress.set_back();
        // Streams that wait for files or threads have not begun.
        self.later.clear();
        self.waiting.clear();
        self.places.clear();
        let settings = self.coordinator_settings();
        let actions = self.coordinator.reload(super::now(), settings);
        self.apply(actions);
    }

    /// The coordinator's settings: a removed app starts no stream by REST.
    pub(super) fn coordinator_settings(&self) -> coordinator::Settings {
        let settings = self.settings.coordinator();
        coordinator::Settings {
            auto_start: settings.auto_start && self.leaving.is_none(),
            ..settings
        }
    }

    /// Whether a removed app does not act on this event, because something would begin.
    pub(super) fn is_refused(&self, event: &ZoomEvent) -> bool {
        let begins = match &event.event {
            ZoomEventKind::MeetingStarted(_) | ZoomEventKind::ParticipantJoined(_) => true,
            // A running stream is moved to another server this way.
            ZoomEventKind::StreamStarted(started) => !self.running.contains_key(&started.stream_id),
            _ => false,
        };
        self.leaving.is_some() && begins
    }

    /// Whether a removed app has nothing left to do.
    pub(super) fn has_left(&mut self) -> bool {
        let has_streams = !self.running.is_empty();
        let is_delivering = self.is_delivering();
        let Some(leaving) = self.leaving.as_mut().filter(|_| !has_streams) else {
            return false;
        };
        let ended = *leaving.streams_ended.get_or_insert_with(Instant::now);
        !is_delivering || ended.elapsed() >= DELIVERY_MAX
    }

    /// Whether records, uploads, hooks or pushed events wait.
    fn is_delivering(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let disk = self.disk.as_ref().map(|disk| disk.counters());
        let writes = disk.is_some_and(|disk| disk.waiting_records.load(Relaxed) > 0);
        let ends = self.ends.counters();
        let follows = ends.uploads_waiting.load(Relaxed) + ends.hooks_waiting.load(Relaxed) > 0;
        let push = self.push.as_ref().map(|push| push.status().endpoints);
        let lags = push.unwrap_or_default();
        writes || follows || lags.iter().any(|endpoint| endpoint.report.lag_events > 0)
    }
}
