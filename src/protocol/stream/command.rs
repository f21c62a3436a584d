//! Commands of the daemon to a stream, and their effects.

use std::time::Instant;

use super::{CLOSE_ANSWER_MAX, Output, Phase, REPORT_REPEAT, Stream};
use crate::domain::secret::Secret;
use crate::protocol::codes::StopReason;
use crate::protocol::event::{EndReason, LinkId, Loss};
use crate::protocol::link::State;
use crate::protocol::message;
use crate::protocol::server_url::ServerUrl;

/// A command of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// `rtms_interrupted`: Zoom lost our signaling link.
    Interrupted {
        /// When, by Zoom's clock, Unix milliseconds.
        event_ts_ms: u64,
        /// New servers, in the rare event that has any.
        urls: Vec<ServerUrl>,
    },
    /// A newer `rtms_started`: connect to these servers at once.
    FailOver(Vec<ServerUrl>),
    /// `rtms_stopped`.
    Stopped(StopReason),
    /// End the stream at Zoom (message 21).
    Close,
    /// Leave without a message to Zoom, so that another process can take the stream over.
    Leave,
    /// Leave for good: another node of the fleet receives the stream from now on.
    HandOver {
        /// That node, if known.
        heir: Option<String>,
    },
    /// The system resumed from suspend; connections may be dead without an error.
    SystemResumed,
    /// The app has a new secret; it signs the handshakes from now on.
    ClientSecret(Secret),
}

impl Stream {
    /// Handles a command.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        if self.phase == Phase::Ended {
            return;
        }
        match command {
            Command::Interrupted { event_ts_ms, urls } => {
                // Zoom sent a message on the current connection after the event, or accepted it
                // after the event: the event is about an earlier connection.
                let accepted_ms = match (self.zoom_clock, self.signaling.up_since) {
                    (Some(clock), Some(since)) => clock.at(since),
                    _ => 0,
                };
                let is_stale =
                    event_ts_ms != 0 && event_ts_ms <= self.zoom_clock_ms.max(accepted_ms);
                // The webhook for a loss that we detected ourselves arrives after the reconnect.
                // Reacting to it would cause another loss, with a webhook of its own, and so on.
                let is_repeat = urls.is_empty()
                    && self
                        .signaling
                        .up_since
                        .is_some_and(|since| now.saturating_duration_since(since) < REPORT_REPEAT);
                let is_up = self.signaling.state == State::Up;
                if self.phase != Phase::Running
                    || is_stale
                    || is_repeat
                    || !is_up && urls.is_empty()
                {
                    self.counters.ignored += 1;
                    return;
                }
                if !urls.is_empty() {
                    self.signaling.set_urls(urls);
                }
                self.signaling.attempts.reset();
                self.restart_signaling(now, Loss::Reported);
            }
            Command::FailOver(urls) => {
                // A newer start while the rest of a stopped stream is read: the stream starts
                // again.
                let is_alive = matches!(self.phase, Phase::Running | Phase::Draining { .. });
                if !is_alive || urls.is_empty() {
                    self.counters.ignored += 1;
                    return;
                }
                self.phase = Phase::Running;
                self.signaling.set_urls(urls);
                self.signaling.attempts.reset();
                // Zoom waits for us at the new server as at the start.
                self.signaling.window = None;
                self.terminating = None;
                self.close_media();
                self.restart_signaling(now, Loss::FailedOver);
            }
            Command::Stopped(reason) => self.stopped(now, reason),
            Command::Close => {
                if self.signaling.state == State::Up && self.phase == Phase::Running {
                    let text = message::stream_close(&self.config.stream_id);
                    self.outputs
                        .push_back(Output::Send(LinkId::Signaling, text));
                    self.phase = Phase::Closing {
                        until: now + CLOSE_ANSWER_MAX,
                    };
                    self.close_windows();
                } else if self.phase == Phase::Running {
                    self.end(EndReason::ClosedByUs);
                } else if let Phase::Draining { reason, .. } = &self.phase {
                    let reason = reason.clone();
                    self.end(reason);
                }
            }
            Command::Leave => self.end(EndReason::Left),
            Command::HandOver { heir } => {
                let reason = match &self.phase {
                    // It is over: there is nothing to hand over.
                    Phase::Draining { reason, .. } => reason.clone(),
                    Phase::Closing { .. } => EndReason::ClosedByUs,
                    Phase::Running | Phase::Ended => EndReason::HandedOver { heir },
                };
                self.end(reason);
            }
            Command::ClientSecret(secret) => {
                self.config.client_secret = secret;
                self.signature = super::signature(&self.config);
            }
            Command::SystemResumed => {
                self.zoom_clock = None;
                self.has_zoom_clock = false;
                if self.phase == Phase::Running && self.signaling.is_open() {
                    self.signaling.attempts.reset();
                    self.close_media();
                    self.restart_signaling(now, Loss::SystemResumed);
                }
            }
        }
    }
}
