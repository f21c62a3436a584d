//! Messages of one kind and their bytes.

use serde::{Deserialize, Serialize};

/// Messages of one kind and the bytes that carried them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Bytes of the messages as they came, without frames and TLS.
    pub bytes: u64,
}

impl Count {
    /// Adds another count to this one.
    pub(crate) fn add(&mut self, other: Count) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}
