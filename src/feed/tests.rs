//! What the tests of this folder share.

use crate::domain::product::Product;
use crate::domain::stream_info::StreamInfo;

/// A meeting's stream.
pub(crate) fn info(id: &str, stream_id: &str) -> StreamInfo {
    StreamInfo::new(Product::Meeting, id, stream_id, 1_767_000_000_000)
}
