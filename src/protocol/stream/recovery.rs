//! Retries of lost links, within the window that Zoom gives.

use std::time::Instant;

use super::{
    GIVEN_UP_RETRY, MEDIA_WINDOW, Media, Output, Phase, REPORT_REPEAT, SIGNALING_WINDOW, Socket,
    Stream,
};
use crate::protocol::event::{EndReason, LinkId, Loss, Notice};
use crate::protocol::link::State;
use crate::protocol::params::MediaKind;

impl Stream {
    pub(super) fn media_reported_lost(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        let is_old = |media: &Media| {
            let up_for = media
                .link
                .up_since
                .map(|since| now.saturating_duration_since(since));
            media.link.state == State::Up && up_for.is_some_and(|time| time >= REPORT_REPEAT)
        };
        let lost: Vec<MediaKind> = self
            .media
            .iter()
            .filter(|media| is_old(media))
            .map(|media| media.kind)
            .collect();
        for kind in lost {
            self.lose(now, LinkId::Media(kind), Loss::Reported, Socket::Open);
        }
    }

    /// Drops the signaling link in any state, and connects again at once.
    pub(super) fn restart_signaling(&mut self, now: Instant, loss: Loss) {
        if self.signaling.is_open() {
            self.outputs.push_back(Output::Close(LinkId::Signaling));
        }
        self.signaling.open_window(now, SIGNALING_WINDOW, &loss);
        self.notice(Notice::Lost(LinkId::Signaling, loss));
        self.counters.losses += 1;
        self.silence_media_attempts();
        self.connect(now, LinkId::Signaling);
    }

    /// A link was not connected again within Zoom's window. Without signaling the stream is over; a
    /// lost media link is given up and retried now and then, while the others continue.
    pub(super) fn give_up(&mut self, now: Instant, id: LinkId, loss: Loss) {
        let LinkId::Media(kind) = id else {
            return self.end(EndReason::Lost(id, loss));
        };
        let Some(media) = self.media.iter_mut().find(|media| media.kind == kind) else {
            return;
        };
        media.is_given_up = true;
        if self.media.iter().all(|media| media.is_given_up) {
            return self.end(EndReason::Lost(id, loss));
        }
        if let Some(link) = self.link_mut(id) {
            link.window = None;
            let is_open = link.is_open();
            let delay = link.attempts.shortened(GIVEN_UP_RETRY);
            link.state = State::Waiting { until: now + delay };
            if is_open {
                self.outputs.push_back(Output::Close(id));
            }
        }
        self.notice(Notice::GivenUp { kind, loss });
        self.announce_ready(now);
    }

    /// Whether a kind of media was given up, so that its failures are not reported again.
    fn is_given_up(&self, id: LinkId) -> bool {
        let mut media = self.media.iter();
        media.any(|media| LinkId::Media(media.kind) == id && media.is_given_up)
    }

    pub(super) fn lose(&mut self, now: Instant, id: LinkId, loss: Loss, socket: Socket) {
        if socket == Socket::Open {
            self.outputs.push_back(Output::Close(id));
        }
        let mut was_up = false;
        if let Some(link) = self.link_mut(id) {
            was_up = link.state == State::Up;
            link.state = State::Off;
        }
        match &self.phase {
            Phase::Draining { reason, .. } => {
                if !self.media.iter().any(|media| media.link.is_open()) {
                    let reason = reason.clone();
                    self.end(reason);
                }
                return;
            }
            Phase::Closing { .. } => {
                if id == LinkId::Signaling {
                    self.end(EndReason::ClosedByUs);
                }
                return;
            }
            Phase::Ended => return,
            Phase::Running => {}
        }
        if let Some(reason) = self.terminating {
            return self.stopped(now, reason);
        }
        if self.is_given_up(id) && self.signaling.state == State::Up {
            if let Some(link) = self.link_mut(id) {
                link.next_url();
                let delay = link.attempts.shortened(GIVEN_UP_RETRY);
                link.state = State::Waiting { until: now + delay };
            }
            return;
        }
        self.counters.losses += 1;
        self.notice(Notice::Lost(id, loss.clone()));
        let length = match id {
            LinkId::Signaling => {
                self.silence_media_attempts();
                SIGNALING_WINDOW
            }
            // Without signaling a media socket is of no use; it is opened again afterwards.
            LinkId::Media(_) if self.signaling.state != State::Up => return,
            LinkId::Media(_) => MEDIA_WINDOW,
        };
        let Some(link) = self.link_mut(id) else {
            return;
        };
        link.open_window(now, length, &loss);
        if !was_up {
            link.next_url();
        }
        let at = link.next_try(now);
        if at <= now {
            self.connect(now, id);
        } else {
            link.state = State::Waiting { until: at };
        }
        if id != LinkId::Signaling {
            self.announce_ready(now);
        }
    }

    /// Accepted media links are still read until signaling is connected again; connection attempts
    /// are stopped.
    pub(super) fn silence_media_attempts(&mut self) {
        self.ready_at = None;
        for media in &mut self.media {
            media.announced = false;
            if media.link.state != State::Up {
                if media.link.is_open() {
                    self.outputs
                        .push_back(Output::Close(LinkId::Media(media.kind)));
                }
                media.link.state = State::Off;
                media.link.window = None;
            }
        }
    }
}
