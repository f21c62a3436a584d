//! Zoom events: the content of verified webhooks.

use crate::domain::product::Product;

/// One webhook, signature checked and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoomEvent {
    /// `event_ts`: when it happened by Zoom's clock, Unix milliseconds; 0 if absent.
    pub event_ts_ms: u64,
    /// The event.
    pub event: ZoomEventKind,
}

/// The kinds of events. Every string is bounded by the parser and untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoomEventKind {
    /// `meeting.started` (or `webinar.started`): a stream may be started by REST.
    MeetingStarted(MeetingInfo),
    /// `meeting.ended` (or `webinar.ended`).
    MeetingEnded(MeetingInfo),
    /// `meeting.participant_joined`, `meeting.participant_jbh_joined` (before the host) and those
    /// of webinars: the meeting is running.
    ParticipantJoined(ParticipantJoined),
    /// `*.rtms_started`: a stream waits for our connection.
    StreamStarted(StreamStarted),
    /// `*.rtms_interrupted`: Zoom lost our signaling connection.
    StreamInterrupted(StreamInterrupted),
    /// `*.rtms_stopped`: the stream is over.
    StreamStopped(StreamStopped),
    /// `endpoint.url_validation`: to be answered with the token and its HMAC.
    UrlValidation {
        /// The challenge.
        plain_token: String,
    },
    /// `app_deauthorized`: a user removed the app.
    AppDeauthorized {
        /// The user.
        user_id: String,
        /// The user's account.
        account_id: String,
        /// `user_data_retention`: the user lets the app keep what it has. Without a word it must go.
        keeps_data: bool,
    },
    /// `rtms.concurrency_limited`, `rtms.concurrency_near_limit`, `rtms.start_failed`,
    /// `rtms.request_status`: events about the account, logged with their payload.
    Account {
        /// The event's name.
        name: String,
        /// The payload as compact JSON, bounded.
        payload: String,
    },
    /// Any other event: answered, counted, ignored.
    Other {
        /// The event's name.
        name: String,
    },
}

/// Every [`ZoomEventKind::account_label`].
pub const ACCOUNT_LABELS: [&str; 6] = [
    "concurrency_limited",
    "concurrency_near_limit",
    "start_failed",
    "request_status",
    "app_deauthorized",
    "other",
];

/// The label of the account event with that name.
pub fn account_label(name: &str) -> &'static str {
    // An older name is `meeting.rtms_concurrency_limited`.
    let word = name.rsplit("rtms").next().unwrap_or_default();
    let known = ACCOUNT_LABELS.into_iter();
    known
        .filter(|known| *known != "app_deauthorized")
        .find(|known| word.get(1..) == Some(known))
        .unwrap_or("other")
}

impl ZoomEventKind {
    /// The label for metrics, if the event is about the account or the app and not about one
    /// stream.
    pub fn account_label(&self) -> Option<&'static str> {
        match self {
            ZoomEventKind::AppDeauthorized { .. } => Some("app_deauthorized"),
            ZoomEventKind::Account { name, .. } => Some(account_label(name)),
            _ => None,
        }
    }
}

/// A meeting that started, is running or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeetingInfo {
    /// Meeting or webinar.
    pub product: Product,
    /// The meeting number, which REST calls need.
    pub meeting_id: String,
    /// The UUID of this instance of the meeting.
    pub meeting_uuid: String,
    /// The host's user id, if known.
    pub host_id: Option<String>,
    /// The topic, if known.
    pub topic: Option<String>,
    /// The account of the meeting, if known.
    pub account_id: Option<String>,
}

/// A participant who joined a meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantJoined {
    /// The meeting; its number is empty if it is not known.
    pub meeting: MeetingInfo,
    /// The user ids of who joined: `id` and `participant_user_id`, as far as Zoom sends them. A guest
    /// has none.
    pub participant_ids: Vec<String>,
}

/// A stream that waits for our connection.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct StreamStarted {
    /// The product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id: signed, never shown as a path.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The candidates in `server_urls`, trimmed, in Zoom's order; not yet checked.
    pub server_urls: Vec<String>,
    /// The meeting number, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub meeting_id: Option<String>,
    /// Who started it, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operator_id: Option<String>,
    /// Whether that is the meeting's original host, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_original_host: Option<bool>,
    /// The account, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_id: Option<String>,
}

/// A stream whose signaling connection Zoom lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInterrupted {
    /// The product.
    pub product: Product,
    /// As in [`StreamStarted`], if known: the stream id is enough.
    pub id: Option<String>,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// Usually empty: the schema has no `server_urls` here.
    pub server_urls: Vec<String>,
}

/// A stream that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStopped {
    /// The product.
    pub product: Product,
    /// As in [`StreamStarted`], if known: the stream id is enough.
    pub id: Option<String>,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// `stop_reason`; `None` if absent or not a number.
    pub stop_reason: Option<i64>,
}
