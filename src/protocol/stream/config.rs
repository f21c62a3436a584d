//! What a stream needs.

use std::time::Duration;

use super::SIGNALING_WINDOW;
use crate::domain::product::Product;
use crate::domain::secret::Secret;
use crate::protocol::params::{MediaParams, MediaSelection};
use crate::protocol::server_url::{AllowedHosts, ServerUrl};

/// What a stream needs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamConfig {
    /// The product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The app's client id, or the Video SDK key.
    pub client_id: String,
    /// The app's client secret, or the Video SDK secret.
    pub client_secret: Secret,
    /// The servers for the signaling link, in the order in which they are tried.
    pub urls: Vec<ServerUrl>,
    /// Hosts that media URLs may have.
    pub allowed_hosts: AllowedHosts,
    /// The wanted media.
    pub media: MediaSelection,
    /// Their parameters.
    pub params: MediaParams,
    /// Whose camera, with individual video: a user id or a name; `None` for the active speaker's.
    pub video_participant: Option<String>,
    /// Event types to subscribe to.
    pub events: Vec<i64>,
    /// `buffer_data` of message 1; absent for Zoom's default.
    pub buffer_data: Option<bool>,
    /// How long from now Zoom waits for our first connection.
    pub window: Duration,
    /// Our wall clock, Unix milliseconds. Zoom's timestamps are checked against it, and our
    /// requests use it until Zoom has sent a timestamp of its own.
    pub unix_ms: u64,
}

impl StreamConfig {
    /// A stream with every default: its transcript, no events, Zoom's hosts, and a minute until
    /// Zoom gives up waiting for the first connection.
    pub fn new(
        product: Product,
        id: impl Into<String>,
        stream_id: impl Into<String>,
        urls: Vec<ServerUrl>,
        client_id: impl Into<String>,
        client_secret: Secret,
    ) -> StreamConfig {
        StreamConfig {
            product,
            id: id.into(),
            stream_id: stream_id.into(),
            client_id: client_id.into(),
            client_secret,
            urls,
            allowed_hosts: AllowedHosts::default(),
            media: MediaSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            events: Vec::new(),
            buffer_data: None,
            window: SIGNALING_WINDOW,
            unix_ms: 0,
        }
    }
}
