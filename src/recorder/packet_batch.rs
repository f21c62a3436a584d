//! Audio, video and share on their way to the disk thread: decoded once, into one buffer a batch.

use crate::protocol::message::{Packet, PacketKind};

/// A buffer larger than this is used again only if it was filled: in a flood it will be filled again.
const BUFFER_KEPT_BYTES: usize = 4 << 10;
/// One that a huge frame made larger than this is never used again.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Longest name that is kept; it becomes part of a file's name and of `meta.json`.
const NAME_BYTES_MAX: usize = 256;

/// One packet of a batch, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// Audio, video or share.
    pub kind: PacketKind,
    /// Who; 0 for the mix of all.
    pub user_id: u64,
    /// The leg of a call.
    pub channel_id: Option<u64>,
    /// When, Unix milliseconds; 0 if not told.
    pub timestamp_ms: u64,
    to: usize,
    name: (usize, usize),
}

/// Packets in the order in which they came.
#[derive(Debug, Default)]
pub struct PacketBatch {
    heads: Vec<PacketHeader>,
    bytes: Vec<u8>,
    names: String,
    /// Packets whose base64 was none.
    pub malformed: u64,
}

impl PacketBatch {
    /// Adds a packet, decoded.
    pub fn push(&mut self, kind: PacketKind, packet: &Packet<'_>) {
        if packet.decode_into(&mut self.bytes).is_err() {
            self.malformed += 1;
            return;
        }
        // A series of packets of one speaker carries the name once.
        let last = self.heads.last().filter(|last| {
            last.user_id == packet.user_id
                && self.names[last.name.0..last.name.1] == *packet.user_name
        });
        let name = match last {
            Some(last) => last.name,
            None => {
                let mut end = packet.user_name.len().min(NAME_BYTES_MAX);
                while !packet.user_name.is_char_boundary(end) {
                    end -= 1;
                }
                let from = self.names.len();
                self.names.push_str(&packet.user_name[..end]);
                (from, self.names.len())
            }
        };
        self.heads.push(PacketHeader {
            kind,
            user_id: packet.user_id,
            channel_id: packet.channel_id,
            timestamp_ms: packet.timestamp_ms,
            to: self.bytes.len(),
            name,
        });
    }

    /// Each packet: its head, the name, its bytes.
    pub fn packets(&self) -> impl Iterator<Item = (&PacketHeader, &str, &[u8])> {
        let mut from = 0;
        self.heads.iter().map(move |head| {
            let bytes = &self.bytes[from..head.to];
            from = head.to;
            (head, &self.names[head.name.0..head.name.1], bytes)
        })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.malformed == 0
    }

    /// How many packets.
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// The memory that it holds, near enough, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.names.len() + self.heads.len() * size_of::<PacketHeader>()
    }

    /// Empties it for the next use, unless it grew too large to be kept.
    pub fn clear(&mut self) {
        let room = self.bytes.capacity();
        let is_filled = self.bytes.len() >= room / 4;
        if room > BUFFER_BYTES_MAX || room > BUFFER_KEPT_BYTES && !is_filled {
            *self = PacketBatch::default();
        }
        self.heads.clear();
        self.bytes.clear();
        self.names.clear();
        self.malformed = 0;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use super::*;

    pub(in crate::recorder) fn packet<'a>(
        user_id: u64,
        name: &'a str,
        stamp: u64,
        data: &'a str,
    ) -> Packet<'a> {
        Packet {
            user_id,
            user_name: Cow::Borrowed(name),
            channel_id: None,
            timestamp_ms: stamp,
            data: Cow::Borrowed(data),
        }
    }

    #[test]
    fn what_went_in_comes_out_and_bad_base64_is_counted() {
        let mut batch = PacketBatch::default();
        let long = "é".repeat(1000);
        for _ in 0..2 {
            for (user, name, data) in [
                (1, "Ada", "AQID"),
                (1, "Ada", "AQ=="),
                (2, "", "AQ"),
                (3, &long, ""),
                (3, "Ada", "****"),
                (3, "Ada", "AQI*"),
                (3, "Ada", "A"),
            ] {
                batch.push(PacketKind::Audio, &packet(user, name, 5, data));
            }
            let found: Vec<(u64, usize, &[u8])> = batch
                .packets()
                .map(|(head, name, bytes)| (head.user_id, name.len(), bytes))
                .collect();
            assert_eq!(
                found,
                [
                    (1, 3, &[1, 2, 3][..]),
                    (1, 3, &[1]),
                    (2, 0, &[1]),
                    (3, 256, &[])
                ]
            );
            assert_eq!((batch.malformed, batch.count()), (3, 4));
            batch.clear();
            assert!(batch.is_empty());
        }
    }
}
