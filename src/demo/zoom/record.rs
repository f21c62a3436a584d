//! What the demo's Zoom observed: steps with their times, latencies, violations.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A step of a meeting, as seen from Zoom's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// `meeting.started` was answered with 2xx.
    MeetingAnswered,
    /// REST `start` arrived and was accepted.
    StartCalled,
    /// `rtms_started` was answered with 2xx.
    StartedAnswered,
    /// A signaling socket finished its WebSocket upgrade.
    SignalingConnected,
    /// Message 1 was accepted.
    SignalingHandshake,
    /// A media socket finished its WebSocket upgrade.
    MediaConnected,
    /// Message 3 was accepted.
    MediaHandshake,
    /// CLIENT_READY_ACK arrived.
    Ready,
    /// The first phrase was sent.
    FirstPhrase,
    /// The last phrase of the script was sent.
    LastPhrase,
    /// A connection of a live stream was lost or cut.
    Lost,
    /// REST `stop` arrived and was accepted.
    StopCalled,
    /// The stream ended for any reason.
    Ended,
    /// `rtms_stopped` was answered with 2xx.
    StoppedAnswered,
    /// All sockets of the ended stream are closed.
    Closed,
}

impl Step {
    /// The name for a table.
    pub const fn name(self) -> &'static str {
        match self {
            Step::MeetingAnswered => "webhook answered",
            Step::StartCalled => "start called",
            Step::StartedAnswered => "stream announced",
            Step::SignalingConnected => "signaling connected",
            Step::SignalingHandshake => "signaling",
            Step::MediaConnected => "media connected",
            Step::MediaHandshake => "media",
            Step::Ready => "ready",
            Step::FirstPhrase => "first phrase",
            Step::LastPhrase => "last phrase",
            Step::Lost => "connection lost",
            Step::StopCalled => "stop called",
            Step::Ended => "stream ended",
            Step::StoppedAnswered => "stop announced",
            Step::Closed => "closed",
        }
    }
}

/// Measured times, for percentiles. At most four million are kept.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    const COUNT_MAX: usize = 4_000_000;

    pub(in crate::demo) fn add(&mut self, taken: Duration) {
        if self.micros.len() < Self::COUNT_MAX {
            self.micros
                .push(u32::try_from(taken.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// How many were measured.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Whether none was measured.
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The time that this share of all did not exceed: 0.5 is the median, 1.0 the slowest. Zero if
    /// nothing was measured.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        let micros = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0);
        Duration::from_micros(u64::from(micros))
    }
}

/// Every violation as a text. At most a thousand are kept; further ones are counted.
#[derive(Debug, Default)]
pub(in crate::demo) struct Violations {
    texts: Vec<String>,
    beyond: usize,
}

impl Violations {
    const COUNT_MAX: usize = 1000;

    pub(in crate::demo) fn add(&mut self, text: String) {
        if self.texts.len() < Self::COUNT_MAX {
            self.texts.push(text);
        } else {
            self.beyond += 1;
        }
    }

    pub(in crate::demo) fn list(&self) -> Vec<String> {
        let mut texts = self.texts.clone();
        if self.beyond > 0 {
            texts.push(format!("and {} more", self.beyond));
        }
        texts
    }
}

/// The current time in milliseconds since 1970: the unit of all of Zoom's times.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Locks, and uses the value as it is after a panic elsewhere: the demo reports that panic as a
/// violation and must still be able to stop.
pub(in crate::demo) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time until then, or zero.
pub(crate) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.99), Duration::ZERO);
        for ms in (1..=100).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        assert_eq!(latencies.percentile(0.5), Duration::from_millis(50));
        assert_eq!(latencies.percentile(0.99), Duration::from_millis(99));
        assert_eq!(latencies.percentile(1.0), Duration::from_millis(100));
        assert_eq!(latencies.percentile(0.0), Duration::from_millis(1));
    }
}
