//! The end of a stream: stopped by Zoom, closed by us, or because no link is left.

use std::time::Instant;

use super::{DRAIN_MAX, DRAIN_QUIET, Media, Output, Phase, Stream};
use crate::protocol::codes::{StopReason, StreamState};
use crate::protocol::event::{EndReason, LinkId, Notice};
use crate::protocol::link::State;

impl Stream {
    pub(super) fn stream_state(&mut self, now: Instant, state: StreamState, reason: StopReason) {
        self.notice(Notice::State { state, reason });
        match state {
            StreamState::Terminated => self.stopped(now, reason),
            StreamState::Terminating => self.terminating = Some(reason),
            // The stream continues after all: the next loss is an ordinary one again.
            StreamState::Active | StreamState::Resumed => self.terminating = None,
            StreamState::Interrupted if reason == StopReason::DATA_CONNECTION_INTERRUPTED => {
                self.media_reported_lost(now);
            }
            _ => {}
        }
    }

    pub(super) fn stopped(&mut self, now: Instant, reason: StopReason) {
        let end = EndReason::Stopped(reason);
        let is_up = |media: &Media| media.link.state == State::Up;
        self.is_revoked |= reason == StopReason::STREAM_REVOKED;
        if self.is_revoked || !self.media.iter().any(is_up) {
            return self.end(end);
        }
        match &mut self.phase {
            Phase::Running | Phase::Closing { .. } => {
                self.phase = Phase::Draining {
                    until: now + DRAIN_QUIET,
                    limit: now + DRAIN_MAX,
                    reason: end,
                };
                self.close_windows();
            }
            // Of two messages about one end, the one with a reason counts.
            Phase::Draining { reason: told, .. } => {
                if *told == EndReason::Stopped(StopReason::UNDEFINED) {
                    *told = end;
                }
            }
            Phase::Ended => {}
        }
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        if self.phase == Phase::Ended {
            return;
        }
        self.close_media();
        if self.signaling.is_open() {
            self.outputs.push_back(Output::Close(LinkId::Signaling));
        }
        self.signaling.state = State::Off;
        self.close_windows();
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(reason));
    }

    /// Stops all retries.
    pub(super) fn close_windows(&mut self) {
        self.signaling.window = None;
        self.ready_at = None;
        for media in &mut self.media {
            media.link.window = None;
        }
    }

    pub(super) fn close_media(&mut self) {
        self.ready_at = None;
        for media in &mut self.media {
            media.announced = false;
            if media.link.is_open() {
                self.outputs
                    .push_back(Output::Close(LinkId::Media(media.kind)));
            }
            media.link.state = State::Off;
        }
    }
}
