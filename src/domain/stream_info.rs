//! The ids of one stream and of the meeting it belongs to.

use super::product::Product;

/// Identifies a stream and its meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The meeting number, if known.
    pub meeting_id: Option<String>,
    /// The topic, if known.
    pub topic: Option<String>,
    /// `event_ts` of the first `rtms_started`, Unix milliseconds: zero of the subtitles' time.
    pub started_ms: u64,
    /// The user who brought the app into the meeting, if known.
    pub operator_id: Option<String>,
    /// Whether the operator was the meeting's original host, if known.
    pub is_original_host: Option<bool>,
    /// The operator's account, if known.
    pub account_id: Option<String>,
    /// The app that receives it, where a server has several.
    pub app: Option<String>,
    /// The node that receives it; `None` for a server that is alone.
    pub node: Option<String>,
    /// Grows by one each time another node of the fleet receives its meeting; 1 for a server that is alone.
    pub epoch: u64,
    /// Which node had it before, if known.
    pub predecessor: Option<Predecessor>,
}

/// A node that had a stream before.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Predecessor {
    /// Its name.
    pub node: String,
    /// Its epoch.
    pub epoch: u64,
}

impl StreamInfo {
    /// A stream with known ids only.
    pub fn new(product: Product, id: &str, stream_id: &str, started_ms: u64) -> StreamInfo {
        StreamInfo {
            product,
            id: id.to_owned(),
            stream_id: stream_id.to_owned(),
            meeting_id: None,
            topic: None,
            started_ms,
            operator_id: None,
            is_original_host: None,
            account_id: None,
            app: None,
            node: None,
            epoch: 1,
            predecessor: None,
        }
    }
}

/// A stream whose files are to be deleted, in any folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Meeting UUID, session id, engagement id or call id, if known.
    pub id: Option<String>,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The deletion was ordered before, so probably nothing is left.
    pub is_repeat: bool,
}
