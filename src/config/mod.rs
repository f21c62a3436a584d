//! What the operator decides: `rtms.conf` and the environment become one [`Config`].
//!
//! `file` knows the form of a line, `value` the form of a value, [`keys`] which keys there are and
//! what each means, `load` who wins and which keys need each other. The process is touched in
//! `sources` alone: all else is data in, data out. Whether a path exists or a port is free is for
//! `commands::check` and for the parts that use them.

pub(crate) mod fault;
pub mod file_format;
pub mod keys;
pub(crate) mod precedence;
pub(crate) mod print;
pub(crate) mod sources;
pub(crate) mod values;

pub(crate) mod completeness;
pub(crate) mod lint;
pub mod settings;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use fault::{Fault, Warning};
pub use precedence::{Loaded, Setting, load};
pub use print::conf;
pub use sources::{ETC_FILE, FileContent, LOCAL_FILE, Needs, Sources};

use crate::daemon::{OnExit, OnRevoked};
use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::AppCredentials;
use crate::domain::secret::Secret;
use crate::gate::TlsFiles;
use crate::protocol::events::EventSelection;
use crate::protocol::params::{MediaParams, MediaSelection};
use crate::protocol::server_url::AllowedHosts;
use crate::recorder::TranscriptFormats;

/// Everything that can be configured. Each field names its key; [`keys::KEYS`] has the prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `ZOOM_CLIENT_ID`.
    pub client_id: String,
    /// `ZOOM_CLIENT_SECRET`: signs both handshakes.
    pub client_secret: Secret,
    /// `ZOOM_SECRET_TOKEN`: any of them may have signed a webhook. Empty only if they are not
    /// verified.
    pub secret_tokens: Vec<Secret>,
    /// `ZOOM_VIDEO_SDK_KEY` and `ZOOM_VIDEO_SDK_SECRET`.
    pub video_sdk: Option<AppCredentials>,

    /// `access_token`: for REST, as it is.
    pub access_token: Option<Secret>,
    /// `ZOOM_ACCOUNT_ID`: for server-to-server OAuth.
    pub account_id: Option<String>,
    /// `ZOOM_REFRESH_TOKEN`: for user OAuth.
    pub refresh_token: Option<Secret>,
    /// `ZOOM_API_CLIENT_ID` and `ZOOM_API_CLIENT_SECRET`, if REST is driven by another app; see
    /// [`Config::api_client`].
    pub api_client: Option<AppCredentials>,
    /// `ZOOM_API_URL`, without a slash at its end.
    pub api_url: String,
    /// `ZOOM_OAUTH_URL`.
    pub oauth_url: String,

    /// `HOST`.
    pub host: IpAddr,
    /// `PORT`; 0 for any free one.
    pub port: u16,
    /// `WEBHOOK_PATH`: begins with a slash.
    pub webhook_path: String,
    /// `RTMS_TLS_CERT` and `RTMS_TLS_KEY`.
    pub tls: Option<TlsFiles>,
    /// `RTMS_VERIFY_WEBHOOKS`.
    pub verify_webhooks: bool,
    /// `RTMS_WEBHOOK_MAX_AGE`: how far a webhook's signature may be from now.
    pub webhook_max_age: Duration,

    /// `RTMS_AUTO_START`.
    pub auto_start: bool,
    /// `RTMS_STOP_AFTER`; `None` until the meeting ends.
    pub stop_after: Option<Duration>,
    /// `RTMS_PARTICIPANT_USER_ID`.
    pub participant_user_id: Option<String>,

    /// `RTMS_MEDIA`.
    pub media: MediaSelection,
    /// `RTMS_EVENTS`.
    pub events: EventSelection,
    /// `RTMS_AUDIO_*`, `RTMS_VIDEO*`, `RTMS_SHARE_*`, `RTMS_TRANSCRIPT_LANGUAGE`.
    pub params: MediaParams,
    /// `RTMS_VIDEO_PARTICIPANT`: whose camera, by user id or name; `None` for the active speaker's.
    pub video_participant: Option<String>,
    /// `RTMS_BUFFER_DATA`: whether Zoom sends what was said before we connected.
    pub buffer_data: bool,

    /// `RTMS_OUT`.
    pub out: PathBuf,
    /// `RTMS_STATE`.
    pub state: PathBuf,
    /// `RTMS_TRANSCRIPT`.
    pub transcript: TranscriptFormats,
    /// `RTMS_STDOUT`; `None` for nothing.
    pub stdout: Option<StdoutFormat>,
    /// `RTMS_ON_REVOKED`.
    pub on_revoked: OnRevoked,
    /// `RTMS_ON_EXIT`.
    pub on_exit: OnExit,

    /// `RTMS_ALLOWED_HOSTS`.
    pub allowed_hosts: AllowedHosts,
    /// `RTMS_CA_FILE`.
    pub ca_file: Option<PathBuf>,

    /// `RTMS_ADMIN`; `None` for off.
    pub admin: Option<SocketAddr>,
    /// `RTMS_ADMIN_TOKEN`: there if the admin listener is not on loopback.
    pub admin_token: Option<Secret>,
    /// `RTMS_LOG`.
    pub log_level: log::LevelFilter,
    /// `RTMS_LOG_FORMAT`.
    pub log_format: LogFormat,
}

impl Config {
    /// Reads a configuration: all faults at once, or the configuration and what is odd about it.
    pub fn load(sources: &Sources<'_>) -> Result<(Config, Vec<Warning>), Vec<Fault>> {
        load(sources).map(|loaded| (loaded.config, loaded.warnings))
    }

    /// The app whose credentials obtain tokens: the API app if there is one, else the RTMS app.
    pub fn api_client(&self) -> AppCredentials {
        self.api_client.clone().unwrap_or_else(|| AppCredentials {
            id: self.client_id.clone(),
            secret: self.client_secret.clone(),
        })
    }

    /// Whether REST calls are possible at all.
    pub fn has_rest_credentials(&self) -> bool {
        self.access_token.is_some() || self.account_id.is_some() || self.refresh_token.is_some()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            client_id: String::new(),
            client_secret: Secret::new(""),
            secret_tokens: Vec::new(),
            video_sdk: None,
            access_token: None,
            account_id: None,
            refresh_token: None,
            api_client: None,
            api_url: "https://api.zoom.us".to_owned(),
            oauth_url: "https://zoom.us/oauth/token".to_owned(),
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 3000,
            webhook_path: "/webhook".to_owned(),
            tls: None,
            verify_webhooks: true,
            webhook_max_age: Duration::from_secs(300),
            auto_start: true,
            stop_after: None,
            participant_user_id: None,
            media: MediaSelection::default(),
            events: EventSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            buffer_data: true,
            out: PathBuf::from("./rtms-out"),
            state: PathBuf::from("./rtms-state"),
            transcript: TranscriptFormats::default(),
            stdout: Some(StdoutFormat::Text),
            on_revoked: OnRevoked::Delete,
            on_exit: OnExit::Leave,
            allowed_hosts: AllowedHosts::default(),
            ca_file: None,
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            admin_token: None,
            log_level: log::LevelFilter::Info,
            log_format: LogFormat::Auto,
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Text`], in the form that journald takes when it listens.
    Auto,
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
}
