//! The handle of a meeting: waits for steps, causes faults, ends the meeting, and returns what was
//! sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Meeting;
use super::content::Phrase;
use super::script::{End, Fault, HandshakeFault, MeetingScript, Socket};
use crate::demo::media::sent_log::Sent;
use crate::demo::zoom::record::Step;
use crate::demo::zoom::shared::Shared;
use crate::demo::zoom::webhooks::Delivery;

/// A meeting that is being played. Clones refer to the same meeting.
#[derive(Clone)]
pub struct MeetingHandle {
    pub(in crate::demo) shared: Arc<Shared>,
    pub(in crate::demo) meeting: Arc<Meeting>,
    pub(in crate::demo) begun: Instant,
}

impl MeetingHandle {
    /// The script of the meeting.
    pub fn script(&self) -> &MeetingScript {
        &self.meeting.script
    }

    /// Waits until the step has been reached at least once; `false` if not within that time.
    pub fn wait_for(&self, step: Step, within: Duration) -> bool {
        self.wait_for_times(step, 1, within)
    }

    /// Waits until the step has been reached `times` times.
    pub fn wait_for_times(&self, step: Step, times: usize, within: Duration) -> bool {
        self.meeting.wait(within, |look| look.count(step) >= times)
    }

    /// Waits until `count` phrases have been sent.
    pub fn wait_for_phrases(&self, count: u64, within: Duration) -> bool {
        self.meeting.wait(within, |look| look.sent_count() >= count)
    }

    /// Waits until `packets` audio packets of each series have been sent, or skipped because of a
    /// mute.
    pub fn wait_for_audio(&self, packets: u64, within: Duration) -> bool {
        self.meeting.wait(within, |look| {
            look.audio_reached()
                .iter()
                .min()
                .is_some_and(|n| *n >= packets)
        })
    }

    /// Every step so far with the time since the meeting's start.
    pub fn steps(&self) -> Vec<(Step, Duration)> {
        self.meeting
            .steps()
            .into_iter()
            .map(|(step, at)| (step, at.saturating_duration_since(self.begun)))
            .collect()
    }

    /// How often the step has been reached.
    pub fn count(&self, step: Step) -> usize {
        self.meeting.look(|look| look.count(step))
    }

    /// The time from the start to the first such step.
    pub fn time_of(&self, step: Step) -> Option<Duration> {
        self.steps()
            .into_iter()
            .find(|(s, _)| *s == step)
            .map(|(_, at)| at)
    }

    /// Every phrase sent, in order, without replays. Empty if only the number is kept.
    pub fn sent(&self) -> Vec<Phrase> {
        self.meeting.look(|look| look.sent())
    }

    /// How many phrases were sent.
    pub fn sent_count(&self) -> u64 {
        self.meeting.look(|look| look.sent_count())
    }

    /// How many phrases were sent again after a loss.
    pub fn replayed(&self) -> u64 {
        self.meeting.look(|look| look.replayed())
    }

    /// How many audio packets of each series were sent again after a loss.
    pub fn audio_replayed(&self) -> u64 {
        self.meeting.look(|look| look.audio_replayed())
    }

    /// Everything sent except phrases, each kind in order. Events are those of the current stream.
    /// Empty, except for events, if only numbers are kept.
    pub fn media_sent(&self) -> Vec<Sent> {
        self.meeting.look(|look| look.media_sent())
    }

    /// The ids of its streams, oldest first.
    pub fn streams(&self) -> Vec<String> {
        self.meeting.look(|look| look.streams())
    }

    /// The numbers of the events that the client of the current stream subscribed to.
    pub fn subscribed(&self) -> Vec<u64> {
        self.meeting.look(|look| look.subscribed())
    }

    /// The participants whose camera the client of the current stream subscribed to, in order
    /// (message 28).
    pub fn cameras(&self) -> Vec<u64> {
        self.meeting.look(|look| look.cameras())
    }

    /// The stop reason of the current stream, once it has ended.
    pub fn stop_reason(&self) -> Option<i64> {
        self.meeting.look(|look| look.stop_reason())
    }

    /// Causes a fault; `false` if there is nothing that it could happen to.
    pub fn fault(&self, fault: Fault) -> bool {
        self.meeting.fault(&self.shared, fault)
    }

    /// The target of URLs of that kind of socket from now on.
    pub fn set_door(&self, socket: Socket, door: HandshakeFault) {
        self.meeting.set_door(socket, door);
    }

    /// Ends the stream, and the meeting if requested.
    pub fn end(&self, end: End) {
        self.meeting.end(&self.shared, end);
    }

    /// The host joins, if the meeting started without a host.
    pub fn host_joins(&self) {
        self.meeting.host_joins(&self.shared);
    }

    /// Opens a stream as if another user had started it; `false` if one is live.
    pub fn open_stream(&self) -> bool {
        let is_free = self.meeting.reserve_stream();
        if is_free {
            self.meeting.open_stream(&self.shared);
        }
        is_free
    }

    /// Posts the last `rtms_started` again, unchanged, like Zoom's retries. `None` before the
    /// first.
    pub fn repeat_started(&self) -> Option<Delivery> {
        let body = self.meeting.last_started(&self.shared)?;
        Some(self.shared.webhooks.post_now(&self.shared, &body))
    }

    /// The body of the last `rtms_started`. `None` before the first.
    pub fn last_started(&self) -> Option<Value> {
        self.meeting.last_started(&self.shared)
    }
}
