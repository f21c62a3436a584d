//! A meeting as the one who plays it holds it: wait for steps, let faults happen, end it, and
//! compare.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Meeting;
use super::content::Phrase;
use super::script::{End, Fault, HandshakeFault, MeetingScript, Socket};
use crate::demo::media::sent_log::Sent;
use crate::demo::zoom::record::Step;
use crate::demo::zoom::shared::Shared;
use crate::demo::zoom::webhooks::Delivery;

/// A meeting that is being played. Clones are the same meeting.
#[derive(Clone)]
pub struct MeetingHandle {
    pub(in crate::demo) shared: Arc<Shared>,
    pub(in crate::demo) meeting: Arc<Meeting>,
    pub(in crate::demo) begun: Instant,
}

impl MeetingHandle {
    /// The script it is played by.
    pub fn script(&self) -> &MeetingScript {
        &self.meeting.script
    }

    /// Waits until the step has been seen at least once; false if not within that time.
    pub fn wait_for(&self, step: Step, within: Duration) -> bool {
        self.wait_for_times(step, 1, within)
    }

    /// Waits until the step has been seen so many times.
    pub fn wait_for_times(&self, step: Step, times: usize, within: Duration) -> bool {
        self.meeting.wait(within, |look| look.count(step) >= times)
    }

    /// Waits until so many phrases have been sent.
    pub fn wait_for_phrases(&self, count: u64, within: Duration) -> bool {
        self.meeting.wait(within, |look| look.sent_count() >= count)
    }

    /// Waits until so many audio packets of each series have been sent, or left out for a mute.
    pub fn wait_for_audio(&self, packets: u64, within: Duration) -> bool {
        self.meeting.wait(within, |look| {
            look.audio_reached()
                .iter()
                .min()
                .is_some_and(|n| *n >= packets)
        })
    }

    /// Every step so far with the time since the meeting was begun.
    pub fn steps(&self) -> Vec<(Step, Duration)> {
        self.meeting
            .steps()
            .into_iter()
            .map(|(step, at)| (step, at.saturating_duration_since(self.begun)))
            .collect()
    }

    /// How often the step has been seen.
    pub fn count(&self, step: Step) -> usize {
        self.meeting.look(|look| look.count(step))
    }

    /// The time from the beginning to the first such step.
    pub fn time_of(&self, step: Step) -> Option<Duration> {
        self.steps()
            .into_iter()
            .find(|(s, _)| *s == step)
            .map(|(_, at)| at)
    }

    /// Every phrase sent, in order, replays not repeated. Empty where only the count is kept.
    pub fn sent(&self) -> Vec<Phrase> {
        self.meeting.look(|look| look.sent())
    }

    /// How many phrases were sent.
    pub fn sent_count(&self) -> u64 {
        self.meeting.look(|look| look.sent_count())
    }

    /// How many were sent once more after a loss.
    pub fn replayed(&self) -> u64 {
        self.meeting.look(|look| look.replayed())
    }

    /// How many audio packets of each series were sent once more after a loss.
    pub fn audio_replayed(&self) -> u64 {
        self.meeting.look(|look| look.audio_replayed())
    }

    /// Everything sent beside phrases, each kind in order. Of events those of the current stream.
    /// Empty, but for events, where only counts are kept.
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

    /// Whose camera the client of the current stream asked for, in turn (message 28).
    pub fn cameras(&self) -> Vec<u64> {
        self.meeting.look(|look| look.cameras())
    }

    /// The stop reason of the current stream, once it has ended.
    pub fn stop_reason(&self) -> Option<i64> {
        self.meeting.look(|look| look.stop_reason())
    }

    /// Lets a fault happen; false when there is nothing it could happen to.
    pub fn fault(&self, fault: Fault) -> bool {
        self.meeting.fault(&self.shared, fault)
    }

    /// Where the URLs of that kind of socket lead from now on.
    pub fn set_door(&self, socket: Socket, door: HandshakeFault) {
        self.meeting.set_door(socket, door);
    }

    /// Ends the stream, and the meeting if that is asked.
    pub fn end(&self, end: End) {
        self.meeting.end(&self.shared, end);
    }

    /// The host joins, where the meeting began without one.
    pub fn host_joins(&self) {
        self.meeting.host_joins(&self.shared);
    }

    /// Opens a stream as if someone else had started it; false if one is alive.
    pub fn open_stream(&self) -> bool {
        let is_free = self.meeting.reserve_stream();
        if is_free {
            self.meeting.open_stream(&self.shared);
        }
        is_free
    }

    /// Posts the last `rtms_started` once more, the same to the letter, as Zoom's retries are.
    /// `None` before the first.
    pub fn repeat_started(&self) -> Option<Delivery> {
        let body = self.meeting.last_started(&self.shared)?;
        Some(self.shared.webhooks.post_now(&self.shared, &body))
    }
}
