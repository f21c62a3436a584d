//! What an operator decides about one endpoint: `RTMS_PUSH_*`.

use std::time::Duration;

use super::batch::Format;
use super::signature::SigningSecret;
use super::url::PushUrl;
use crate::domain::secret::Secret;
use crate::feed::kind::KindFilter;

/// Most endpoints.
pub const ENDPOINTS_MAX: usize = 8;

/// The endpoint without a name of its own.
pub const DEFAULT_NAME: &str = "default";

/// `RTMS_PUSH_CONNECTIONS` where it is not set, and the most.
pub const CONNECTIONS: u32 = 8;
/// See [`CONNECTIONS`].
pub const CONNECTIONS_MAX: u32 = 32;

/// The longest `RTMS_PUSH_LINGER`, milliseconds.
pub const LINGER_MS_MAX: u64 = 1000;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `default`, or the name in its keys, in lower case.
    pub name: String,
    /// `RTMS_PUSH_URL`.
    pub url: PushUrl,
    /// `RTMS_PUSH_SECRET`: one, or several while it is changed.
    pub secrets: Vec<SigningSecret>,
    /// `RTMS_PUSH_EVENTS`.
    pub events: KindFilter,
    /// `RTMS_PUSH_BATCH`: most events in a request.
    pub batch: u8,
    /// `RTMS_PUSH_LINGER`: how long to wait for more events, with a batch above 1.
    pub linger: Duration,
    /// `RTMS_PUSH_FORMAT`.
    pub format: Format,
    /// `RTMS_PUSH_AUTHORIZATION`: the value of an `Authorization` header.
    pub authorization: Option<Secret>,
    /// `RTMS_PUSH_CONNECTIONS`: requests under way at once.
    pub connections: u32,
    /// `RTMS_PUSH_GIVE_UP`: after so long an event that is refused is skipped; `None` for never.
    pub give_up: Option<Duration>,
}

impl EndpointSettings {
    /// An endpoint with every default.
    pub fn new(name: &str, url: PushUrl, secrets: Vec<SigningSecret>) -> EndpointSettings {
        EndpointSettings {
            name: name.to_owned(),
            url,
            secrets,
            events: KindFilter::default(),
            batch: 1,
            linger: Duration::ZERO,
            format: Format::default(),
            authorization: None,
            connections: CONNECTIONS,
            give_up: None,
        }
    }
}
