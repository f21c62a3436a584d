//! Everything that the daemon is told by its operator.

use std::path::PathBuf;
use std::time::Duration;

use crate::coordinator;
use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::AppCredentials;
use crate::domain::product::Product;
use crate::domain::secret::Secret;
use crate::protocol::events::EventSelection;
use crate::protocol::server_url::AllowedHosts;
use crate::protocol::{MediaParams, MediaSelection};
use crate::recorder::RecorderSettings;
use crate::source::ingress;
use crate::zoom_api;

/// What SIGTERM does to streams: `RTMS_ON_EXIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They stay open at Zoom, so that the next process can take them over.
    Leave,
    /// They are ended at Zoom.
    Stop,
}

/// What withdrawn consent (stop reason 8) does to a stream's files: `RTMS_ON_REVOKED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRevoked {
    /// They are deleted at once.
    Delete,
    /// They stay, and an error is logged.
    Keep,
}

/// Everything that the daemon is told by its operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public edge.
    pub public: ingress::Settings,
    /// REST; [`zoom_api::Credentials::None`] for none. Its `state` is set by the daemon.
    pub api: zoom_api::Settings,
    /// Starting and stopping.
    pub auto_start: bool,
    /// Seconds from our start to our stop.
    pub stop_after: Option<Duration>,
    /// The app whose streams we take.
    pub app: AppCredentials,
    /// For Video SDK sessions.
    pub video_sdk: Option<AppCredentials>,
    /// What is wanted of a stream.
    pub media: MediaSelection,
    /// With which parameters.
    pub params: MediaParams,
    /// Whose camera, with individual video: user id or name; `None` for the active speaker's.
    pub video_participant: Option<String>,
    /// Which events.
    pub events: EventSelection,
    /// `RTMS_BUFFER_DATA`; `true` is Zoom's default and not sent.
    pub buffer_data: bool,
    /// Where streams may come from.
    pub allowed_hosts: AllowedHosts,
    /// Roots beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Files; `None` for none.
    pub disk: Option<RecorderSettings>,
    /// Standard output; `None` for silence.
    pub stdout: Option<StdoutFormat>,
    /// The state directory; `None` for a process that forgets.
    pub state: Option<PathBuf>,
    /// What withdrawn consent does to a stream's files.
    pub on_revoked: OnRevoked,
    /// What the end of the process does to streams.
    pub on_exit: OnExit,
}

impl Settings {
    /// An app, the secret tokens of its webhooks, and every default: transcripts and events, no
    /// REST credentials (so no start of our own), no state directory, and nothing written
    /// anywhere: data goes to the sinks that [`Daemon::start`](super::Daemon::start) is given.
    pub fn new(app: AppCredentials, secret_tokens: Vec<Secret>) -> Settings {
        Settings {
            public: ingress::Settings {
                secret_tokens,
                ..ingress::Settings::default()
            },
            api: zoom_api::Settings::new(zoom_api::Credentials::None, app.id.clone()),
            auto_start: true,
            stop_after: None,
            app,
            video_sdk: None,
            media: MediaSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            events: EventSelection::default(),
            buffer_data: true,
            allowed_hosts: AllowedHosts::default(),
            ca_file: None,
            disk: None,
            stdout: None,
            state: None,
            on_revoked: OnRevoked::Delete,
            on_exit: OnExit::Leave,
        }
    }

    /// Becomes the new ones, as far as a running process can.
    pub(super) fn take(&mut self, new: Settings) {
        let old = self.clone();
        // A part that was not started has nobody to hand the settings to, and one that runs goes on.
        *self = Settings {
            ca_file: old.ca_file,
            state: old.state,
            disk: old.disk.and_then(|old| new.disk.or(Some(old))),
            stdout: old.stdout.and_then(|old| new.stdout.or(Some(old))),
            ..new
        };
    }

    /// The id and secret that sign the handshakes of a product's streams.
    pub(super) fn keys(&self, product: Product) -> &AppCredentials {
        match (product, &self.video_sdk) {
            (Product::Session, Some(keys)) => keys,
            _ => &self.app,
        }
    }

    /// What of it the registry decides by.
    pub(super) fn coordinator(&self) -> coordinator::Settings {
        let can_call = !matches!(self.api.credentials, zoom_api::Credentials::None);
        coordinator::Settings {
            auto_start: self.auto_start && can_call,
            can_call,
            stop_after: self.stop_after,
        }
    }
}
