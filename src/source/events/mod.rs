//! Zoom events over an outgoing WebSocket: no public port, no certificate, no signature.
//!
//! ```text
//! thread ─▶ machine (pure: what to do next) ─▶ wire (pure: what a message means)
//!    │
//!    └────▶ delivery ─▶ the intent log and the daemon's inbox, as for webhooks
//! ```
//!
//! The connection is trusted as far as its server is: the host is among `RTMS_ALLOWED_HOSTS`, and its
//! certificate was verified. Zoom sends each event once and repeats nothing, so each gap is reported.

pub mod address;
mod delivery;
pub mod machine;
pub mod status;
pub mod thread;
pub(crate) mod wire;

use std::time::{Duration, Instant};

pub use address::EventsUrl;
pub use machine::{HEARTBEAT_EVERY, State, TokenFailure};
pub use status::{Shared, Snapshot};
pub use thread::{EventsSource, Process};

use crate::domain::secret::Secret;

/// The settings of the event WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `ZOOM_EVENTS_URL`.
    pub url: EventsUrl,
    /// Interval of heartbeats; no key changes it.
    pub heartbeat: Duration,
}

impl Settings {
    /// With Zoom's interval of heartbeats.
    pub fn new(url: EventsUrl) -> Settings {
        Settings {
            url,
            heartbeat: HEARTBEAT_EVERY,
        }
    }
}

/// An access token for the connection.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub text: Secret,
    /// Distinguishes tokens of the same kind.
    pub serial: u64,
    /// When it should be replaced; `None` if it is not known when it ends.
    pub renew_at: Option<Instant>,
}

/// Where tokens come from. Several kinds of credentials may be configured, and the subscription belongs
/// to one of their apps.
pub trait Tokens: Send + Sync + std::fmt::Debug {
    /// How many kinds there are: at least one.
    fn kinds(&self) -> usize;

    /// A token of that kind that is valid now, and not the one with this serial number, which Zoom
    /// refused. Blocks until Zoom's answer.
    ///
    /// # Errors
    /// Why there is none.
    fn token(&self, kind: usize, refused: Option<u64>) -> Result<Token, TokenFailure>;
}

/// What the daemon should know about the connection, apart from events. Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceReport {
    /// Zoom was heard at that time; sent now and then, for the next process.
    Heard {
        /// The time.
        ms: u64,
    },
    /// Events may arrive from `until_ms` on; those since `since_ms` were not received. Without a start,
    /// since the previous process.
    GapOver {
        /// When Zoom was heard last.
        since_ms: Option<u64>,
        /// Now.
        until_ms: u64,
    },
}
