//! The names of keys in the store.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// How long a queue may get, in messages. It is never trimmed: what does not fit in is refused.
pub const QUEUE_MAX: usize = 8192;
/// How long a record lives after it was touched, in ms.
pub const RECORD_MS: u64 = 3 * 3600 * 1000;
/// How long a queue or the tails of a node live after they were touched, in ms.
pub const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long the store knows which files must be deleted, and that a grant was forgotten, in ms.
pub const DELETION_MS: u64 = 90 * DAY_MS;

/// Names all keys of one fleet: of one app, and one `RTMS_FLEET_NAME`. They share one hash tag, so that a
/// script's keys are in one slot.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Of this app and fleet.
    pub fn new(client_id: &str, fleet: &str) -> Names {
        let digest = Sha256::digest(client_id.as_bytes());
        let app = hex::encode(&digest[..8]);
        Names {
            prefix: format!("{{rtmsd:{app}:{fleet}}}:"),
        }
    }

    /// What all names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Era, birth and layout.
    pub fn fleet(&self) -> Vec<u8> {
        self.name("fleet", "")
    }

    /// Each node's row.
    pub fn nodes(&self) -> Vec<u8> {
        self.name("nodes", "")
    }

    /// A meeting's record.
    pub fn meeting(&self, meeting: &str) -> Vec<u8> {
        self.name("m:", meeting)
    }

    /// The meeting of a stream.
    pub fn stream(&self, stream: &str) -> Vec<u8> {
        self.name("i:", stream)
    }

    /// The meetings that a node owns.
    pub fn owned(&self, node: &str) -> Vec<u8> {
        self.name("o:", node)
    }

    /// The last phrases of a node's streams.
    pub fn tails(&self, node: &str) -> Vec<u8> {
        self.name("t:", node)
    }

    /// What waits for a node.
    pub fn queue(&self, node: &str) -> Vec<u8> {
        self.name("q:", node)
    }

    /// The streams whose files a node must delete.
    pub fn to_delete(&self, node: &str) -> Vec<u8> {
        self.name("x:", node)
    }

    /// A shared token.
    pub fn grant(&self, grant: &str) -> Vec<u8> {
        self.name("g:", grant)
    }

    /// Digests of a node's settings.
    pub fn settings(&self, node: &str) -> Vec<u8> {
        self.name("c:", node)
    }

    fn name(&self, kind: &str, rest: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), kind.as_bytes(), rest.as_bytes()].concat()
    }
}

/// A stream's id within a value: scripts separate ids by spaces and line breaks.
pub fn escaped(stream: &str) -> Cow<'_, str> {
    let must = |c: char| matches!(c, '%' | ' ' | '\n');
    if !stream.contains(must) {
        return Cow::Borrowed(stream);
    }
    let mut text = String::with_capacity(stream.len() + 8);
    for c in stream.chars() {
        if must(c) {
            // Writing into a string cannot fail.
            let _ = write!(text, "%{:02x}", c as u32);
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// The stream's id again.
pub fn unescaped(text: &str) -> String {
    // In this order: what follows an escaped percent sign is no escape.
    let text = text.replace("%0a", "\n").replace("%20", " ");
    text.replace("%25", "%")
}
