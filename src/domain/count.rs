//! A count of messages and their bytes.

use serde::{Deserialize, Serialize};

/// Number of messages of one kind, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Number of messages.
    pub messages: u64,
    /// Bytes of the messages, without frame headers and TLS.
    pub bytes: u64,
}

impl Count {
    /// Adds another count to this one.
    pub(crate) fn add(&mut self, other: Count) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}
