//! A batch of audio, video and share packets for the disk thread, decoded into one buffer.

use std::borrow::Cow;

use crate::domain::id::Id;
use crate::domain::text::bounded;
use crate::protocol::message::{Packet, PacketKind};

/// A buffer larger than this is reused only if it was filled: in a flood the next batch fills it
/// again.
const BUFFER_KEPT_BYTES: usize = 4 << 10;
/// A buffer larger than this, because of a huge frame, is never reused.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Longest name that is kept; it becomes part of a file name and of `meta.json`.
const NAME_BYTES_MAX: usize = 256;

/// One packet of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedPacket<'a> {
    /// Audio, video or share.
    pub kind: PacketKind,
    /// The sender; [`Id::UNKNOWN`] for the mix of all speakers, and where only the channel
    /// identifies the sender.
    pub user_id: Id<'a>,
    /// The channel of a call.
    pub channel_id: Option<Id<'a>>,
    /// The name of that user; empty if Zoom sent none.
    pub user_name: &'a str,
    /// Timestamp, Unix milliseconds; 0 if Zoom sent none.
    pub timestamp_ms: u64,
    /// The payload.
    pub bytes: &'a [u8],
}

/// One packet without its payload and texts.
#[derive(Debug, Clone, Copy)]
struct PacketHeader {
    kind: PacketKind,
    user_id: IdRange,
    channel_id: Option<IdRange>,
    timestamp_ms: u64,
    /// End of its payload in the buffer.
    end: usize,
    name: Range,
}

/// A range of the batch's texts.
type Range = (usize, usize);

#[derive(Debug, Clone, Copy)]
enum IdRange {
    Number(u64),
    Text(Range),
}

/// Packets in the order in which they were received.
#[derive(Debug, Default)]
pub struct PacketBatch {
    headers: Vec<PacketHeader>,
    bytes: Vec<u8>,
    texts: String,
    /// Packets whose base64 was invalid.
    pub malformed: u64,
}

impl PacketBatch {
    /// Decodes and adds a packet.
    pub fn push(&mut self, kind: PacketKind, packet: &Packet<'_>) {
        if packet.decode_into(&mut self.bytes).is_err() {
            self.malformed += 1;
            return;
        }
        // Consecutive packets of one speaker share ids and name.
        let name = bounded(&packet.user_name, NAME_BYTES_MAX);
        let last = self.headers.last().copied().filter(|last| {
            self.text(last.name) == name
                && self.id(last.user_id) == packet.user_id
                && last.channel_id.map(|id| self.id(id)) == packet.channel_id
        });
        let (user_id, channel_id, name) = match last {
            Some(last) => (last.user_id, last.channel_id, last.name),
            None => (
                self.push_id(&packet.user_id),
                packet.channel_id.as_ref().map(|id| self.push_id(id)),
                self.push_text(name),
            ),
        };
        self.headers.push(PacketHeader {
            kind,
            user_id,
            channel_id,
            timestamp_ms: packet.timestamp_ms,
            end: self.bytes.len(),
            name,
        });
    }

    fn push_text(&mut self, text: &str) -> Range {
        let from = self.texts.len();
        self.texts.push_str(text);
        (from, self.texts.len())
    }

    fn push_id(&mut self, id: &Id<'_>) -> IdRange {
        match id {
            Id::Number(n) => IdRange::Number(*n),
            Id::Text(text) => IdRange::Text(self.push_text(text)),
        }
    }

    fn text(&self, (from, to): Range) -> &str {
        &self.texts[from..to]
    }

    fn id(&self, id: IdRange) -> Id<'_> {
        match id {
            IdRange::Number(n) => Id::Number(n),
            IdRange::Text(range) => Id::Text(Cow::Borrowed(self.text(range))),
        }
    }

    /// The packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = DecodedPacket<'_>> {
        let mut from = 0;
        self.headers.iter().map(move |header| {
            let bytes = &self.bytes[from..header.end];
            from = header.end;
            DecodedPacket {
                kind: header.kind,
                user_id: self.id(header.user_id),
                channel_id: header.channel_id.map(|id| self.id(id)),
                user_name: self.text(header.name),
                timestamp_ms: header.timestamp_ms,
                bytes,
            }
        })
    }

    /// Whether the batch has no packet.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.malformed == 0
    }

    /// Number of packets.
    pub fn count(&self) -> usize {
        self.headers.len()
    }

    /// Approximate memory use in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.texts.len() + self.headers.len() * size_of::<PacketHeader>()
    }

    /// Empties the batch for reuse, and frees its memory if it is too large to keep.
    pub fn clear(&mut self) {
        let room = self.bytes.capacity();
        let is_filled = self.bytes.len() >= room / 4;
        if room > BUFFER_BYTES_MAX || room > BUFFER_KEPT_BYTES && !is_filled {
            *self = PacketBatch::default();
        }
        self.headers.clear();
        self.bytes.clear();
        self.texts.clear();
        self.malformed = 0;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::recorder) fn packet<'a>(
        user_id: u64,
        name: &'a str,
        stamp: u64,
        data: &'a str,
    ) -> Packet<'a> {
        Packet {
            user_id: Id::Number(user_id),
            user_name: Cow::Borrowed(name),
            channel_id: None,
            timestamp_ms: stamp,
            data: Cow::Borrowed(data),
        }
    }

    #[test]
    fn packets_are_decoded_and_bad_base64_is_counted() {
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
            let found: Vec<(Id<'_>, usize, &[u8])> = batch
                .packets()
                .map(|packet| (packet.user_id, packet.user_name.len(), packet.bytes))
                .collect();
            let expected: [(u64, usize, &[u8]); 4] = [
                (1, 3, &[1, 2, 3]),
                (1, 3, &[1]),
                (2, 0, &[1]),
                (3, 256, &[]),
            ];
            assert_eq!(
                found,
                expected.map(|(id, name, bytes)| (Id::Number(id), name, bytes))
            );
            assert_eq!((batch.malformed, batch.count()), (3, 4));
            batch.clear();
            assert!(batch.is_empty());
        }
    }

    #[test]
    fn two_channels_without_names_are_distinct() {
        let mut batch = PacketBatch::default();
        for channel in ["123abc", "456edf", "123abc", "7"] {
            let packet = Packet {
                channel_id: Id::from_text(channel),
                ..packet(0, "", 5, "AQID")
            };
            batch.push(PacketKind::Audio, &packet);
        }
        let channels: Vec<String> = batch
            .packets()
            .filter_map(|packet| packet.channel_id)
            .map(|id| id.to_string())
            .collect();
        assert_eq!(channels, ["123abc", "456edf", "123abc", "7"]);
    }
}
