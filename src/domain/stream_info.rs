//! The ids of one stream and of the meeting it belongs to.

use serde::{Deserialize, Serialize};

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
    /// In a fleet: which part of the stream is received here.
    #[doc(hidden)]
    pub tenure: Option<Box<Tenure>>,
}

/// The part of a stream that one node of a fleet receives. It has a folder and a journal of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// The node.
    pub node: String,
    /// Grows each time the meeting gets another node; 1 for the first.
    pub epoch: u64,
    /// Who received the stream before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub predecessor: Option<Predecessor>,
}

/// The node that received a stream before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The node.
    pub node: String,
    /// Under which epoch.
    pub epoch: u64,
    /// The last number of its journal, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
    /// Since when it has not received the stream, Unix milliseconds, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until_ms: Option<u64>,
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
            tenure: None,
        }
    }

    /// The epoch in whose folder it is written: 1 without a fleet.
    pub fn epoch(&self) -> u64 {
        self.tenure.as_ref().map_or(1, |tenure| tenure.epoch)
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
