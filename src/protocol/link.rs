//! One link as the protocol sees it: how far it has come and which deadline it is under.

use std::time::{Duration, Instant};

use super::reconnect::Attempts;
use super::server_url::ServerUrl;

/// Time to connect: name, TCP, TLS and WebSocket together. Three attempts with their delays
/// (10 + 3 + 10 + 6 + 10 s) fit into the minute that Zoom keeps a stream open.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Time for Zoom to answer our handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Longest silence on a link (RTMS failover guide: redo the handshake after 65 s without
/// keep-alive; Zoom asks every 10 s).
pub const SILENCE_MAX: Duration = Duration::from_secs(65);

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected, and nothing waits.
    Off,
    /// When the delay before the next attempt is over, connect.
    Waiting { until: Instant },
    /// When connecting takes longer than this, it failed.
    Connecting { until: Instant },
    /// When the answer to the handshake has not come by then, it failed.
    Handshaking { until: Instant },
    /// Accepted. When nothing comes for [`SILENCE_MAX`], it is lost.
    Up,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    pub(super) url: Option<ServerUrl>,
    pub(super) attempts: Attempts,
    pub(super) heard: Instant,
    /// When this link last became [`State::Up`].
    pub(super) up_since: Option<Instant>,
}

impl Link {
    pub(super) fn new(now: Instant) -> Link {
        let attempts = Attempts::default();
        Link {
            state: State::Off,
            url: None,
            attempts,
            heard: now,
            up_since: None,
        }
    }

    /// Whether a socket exists, or is being made.
    pub(super) fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Connecting { .. } | State::Handshaking { .. } | State::Up
        )
    }

    /// The next moment at which this link needs attention if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Waiting { until }
            | State::Connecting { until }
            | State::Handshaking { until } => Some(until),
            State::Up => Some(self.heard + SILENCE_MAX),
        }
    }
}
