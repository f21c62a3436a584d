//! The state of one link, and its deadlines.

use std::time::{Duration, Instant};

use super::event::Loss;
use super::reconnect::{Attempts, LAST_TRY};
use super::server_url::ServerUrl;

/// Time limit for connecting: name, TCP, TLS and WebSocket together. Five tries of this length and
/// their delays fit into the minute that Zoom keeps a stream open.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The same while another server of this link has not been tried.
pub const CONNECT_FIRST_MAX: Duration = Duration::from_secs(3);

/// If a try has at least this much time until the last try of its window, it ends when that one
/// starts.
const TRY_MIN: Duration = Duration::from_secs(3);

/// Time limit for Zoom's answer to our handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Longest silence on a link (RTMS failover guide: repeat the handshake after 65 s without a
/// keep-alive; Zoom sends one every 10 s).
pub const SILENCE_MAX: Duration = Duration::from_secs(65);

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected, and no try is planned.
    Off,
    /// Connect when the delay is over.
    Waiting { until: Instant },
    /// To be connected once the driver may.
    Withheld,
    /// Connecting; fails if it takes longer than this.
    Connecting { until: Instant },
    /// Handshake sent; fails if the answer has not arrived by then.
    Handshaking { until: Instant },
    /// Accepted. Lost if nothing arrives for [`SILENCE_MAX`].
    Up,
}

/// Until when Zoom waits for a link, and why it is not connected.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) until: Instant,
    /// The newest cause.
    pub(super) loss: Loss,
    /// Whether it has begun again.
    is_renewed: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    /// The servers for this link; never empty.
    urls: Vec<ServerUrl>,
    /// The one that is tried or connected to.
    url_index: usize,
    pub(super) attempts: Attempts,
    pub(super) heard: Instant,
    /// When this link last became [`State::Up`].
    pub(super) up_since: Option<Instant>,
    /// Open from the first loss to the next accepted handshake. Only [`Link::held_elsewhere`] extends it.
    pub(super) window: Option<Window>,
}

impl Link {
    pub(super) fn new(now: Instant, urls: Vec<ServerUrl>, attempts: Attempts) -> Link {
        Link {
            state: State::Off,
            urls,
            url_index: 0,
            attempts,
            heard: now,
            up_since: None,
            window: None,
        }
    }

    /// The servers for this link.
    pub(super) fn urls(&self) -> &[ServerUrl] {
        &self.urls
    }

    /// Replaces the servers.
    pub(super) fn set_urls(&mut self, urls: Vec<ServerUrl>) {
        self.urls = urls;
        self.url_index = 0;
    }

    /// The server to try, or the connected one.
    pub(super) fn url(&self) -> Option<&ServerUrl> {
        self.urls.get(self.url_index)
    }

    /// The current server did not accept; the next try goes to the next server.
    pub(super) fn next_url(&mut self) {
        self.url_index = (self.url_index + 1) % self.urls.len().max(1);
    }

    /// Repeated losses do not extend the window; they only update the cause.
    pub(super) fn open_window(&mut self, now: Instant, length: Duration, loss: &Loss) {
        match &mut self.window {
            Some(window) => window.loss = loss.clone(),
            None => {
                self.window = Some(Window {
                    until: now + length,
                    loss: loss.clone(),
                    is_renewed: false,
                });
            }
        }
    }

    /// Zoom refuses because of another connection: so the stream is alive, and Zoom waits again for `length` once it
    /// misses that one. Of a machine that is already gone it does so within 40 s, so the window begins again with
    /// the first such refusal. In a fleet it does with each: the other connection may be a node's that dies later.
    pub(super) fn held_elsewhere(&mut self, now: Instant, length: Duration) {
        let is_always = self.attempts.is_always_renewed();
        let window = self.window.as_mut();
        if let Some(window) = window.filter(|window| is_always || !window.is_renewed) {
            window.is_renewed = true;
            window.until = window.until.max(now + length);
            self.attempts.window_renewed();
        }
    }

    /// Starts a try.
    pub(super) fn begin_try(&mut self, now: Instant) {
        let window = self.window_end();
        self.attempts.begin(now, window);
        let is_round_over = self.attempts.tries().is_multiple_of(self.urls.len().max(1));
        let length = match is_round_over {
            true => CONNECT_MAX,
            false => CONNECT_FIRST_MAX,
        };
        self.state = State::Connecting {
            until: self.limit(now, length),
        };
        self.heard = now;
    }

    /// The try that has begun is not made for now.
    pub(super) fn withhold(&mut self) {
        self.attempts.take_back();
        self.state = State::Withheld;
    }

    /// The deadline of a step of a try: `length` from now, but no later than the start of the
    /// window's last try.
    pub(super) fn limit(&self, now: Instant, length: Duration) -> Instant {
        let last = self.window_end().and_then(|end| end.checked_sub(LAST_TRY));
        match last {
            Some(last) if now + TRY_MIN <= last => last.min(now + length),
            _ => now + length,
        }
    }

    /// When the next try is due, after a loss or a failed try.
    pub(super) fn next_try(&mut self, now: Instant) -> Instant {
        let window = self.window_end();
        self.attempts.next(now, window, self.urls.len())
    }

    fn window_end(&self) -> Option<Instant> {
        self.window.as_ref().map(|window| window.until)
    }

    /// The handshake was accepted.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.state = State::Up;
        self.attempts.accepted(now);
        self.up_since = Some(now);
        self.window = None;
    }

    /// Whether a socket exists or is being connected.
    pub(super) fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Connecting { .. } | State::Handshaking { .. } | State::Up
        )
    }

    /// When this link needs attention if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.window_end()
            .into_iter()
            .chain(self.step_deadline())
            .min()
    }

    /// The same without its window.
    pub(super) fn step_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off | State::Withheld => None,
            State::Waiting { until }
            | State::Connecting { until }
            | State::Handshaking { until } => Some(until),
            State::Up => Some(self.heard + SILENCE_MAX),
        }
    }
}
