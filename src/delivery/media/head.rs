//! The head of a binary message: 24 bytes, big-endian, in front of each payload.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::protocol::MediaKind;
use crate::protocol::message::PacketKind;
use crate::protocol::params::{AudioCodec, AudioParams, Content, VideoCodec};

/// Bytes of a head.
pub const HEAD_BYTES: usize = 24;
/// The first byte of each head.
pub const VERSION: u8 = 1;
/// Flag: the sound of all speakers, mixed.
pub const MIX: u8 = 1;
/// Flag: a decoder can begin with this picture.
pub const KEY: u8 = 2;

/// What can be tapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Cameras.
    Video,
    /// The shared screen.
    Share,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Kind; 3] = [Kind::Audio, Kind::Video, Kind::Share];

    /// The kind of a packet.
    pub fn of(packet: PacketKind) -> Kind {
        match packet {
            PacketKind::Audio => Kind::Audio,
            PacketKind::Video => Kind::Video,
            PacketKind::Share => Kind::Share,
        }
    }

    /// Zoom's kind of media.
    pub const fn media(self) -> MediaKind {
        match self {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
            Kind::Share => MediaKind::Share,
        }
    }

    /// The word in queries, commands and metrics.
    pub const fn name(self) -> &'static str {
        self.media().name()
    }

    /// The kind with that word.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its place in a list of all kinds.
    pub const fn index(self) -> usize {
        match self {
            Kind::Audio => 0,
            Kind::Video => 1,
            Kind::Share => 2,
        }
    }

    /// The number in a head.
    const fn number(self) -> u8 {
        self.index() as u8 + 1
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Linear PCM, 16 bits, little-endian.
    Pcm,
    /// G.711 A-law.
    Alaw,
    /// G.722.
    G722,
    /// Opus, one packet.
    Opus,
    /// An RTP packet of the codec that was asked for.
    Rtp,
    /// A JPEG.
    Jpeg,
    /// A PNG.
    Png,
    /// H.264 with start codes (Annex B), one frame.
    H264,
}

impl Codec {
    const NUMBERS: [(Codec, u8); 8] = [
        (Codec::Pcm, 1),
        (Codec::Alaw, 2),
        (Codec::G722, 3),
        (Codec::Opus, 4),
        (Codec::Rtp, 5),
        (Codec::Jpeg, 16),
        (Codec::Png, 17),
        (Codec::H264, 18),
    ];

    /// That of sound with these parameters.
    pub fn of_audio(params: &AudioParams) -> Codec {
        match (params.content, params.codec) {
            (Content::Rtp, _) => Codec::Rtp,
            (_, AudioCodec::L16) => Codec::Pcm,
            (_, AudioCodec::G711) => Codec::Alaw,
            (_, AudioCodec::G722) => Codec::G722,
            (_, AudioCodec::Opus) => Codec::Opus,
        }
    }

    /// That of pictures.
    pub fn of_pictures(codec: VideoCodec) -> Codec {
        match codec {
            VideoCodec::Jpg => Codec::Jpeg,
            VideoCodec::Png => Codec::Png,
            VideoCodec::H264 => Codec::H264,
        }
    }

    fn number(self) -> u8 {
        let mut numbers = Codec::NUMBERS.into_iter();
        numbers.find(|it| it.0 == self).map_or(0, |it| it.1)
    }
}

/// A head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the payload.
    pub kind: Kind,
    /// Of the payload.
    pub codec: Codec,
    /// [`MIX`] and [`KEY`].
    pub flags: u8,
    /// 1, 2, 3 … since the tap began; dropped ones are counted.
    pub seq: u32,
    /// Zoom's, Unix milliseconds; 0 if Zoom sent none.
    pub timestamp_ms: u64,
    /// The number of the speaker, announced before; 0 for the mix, or if unknown.
    pub speaker: u32,
    /// Dropped for this client right before this one.
    pub dropped: u32,
}

impl Head {
    /// As it is sent.
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.kind.number();
        bytes[2] = self.codec.number();
        bytes[3] = self.flags;
        bytes[4..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.speaker.to_be_bytes());
        bytes[20..].copy_from_slice(&self.dropped.to_be_bytes());
        bytes
    }

    /// A message's head and payload; `None` for one of another version or with unknown numbers.
    pub fn parse(message: &[u8]) -> Option<(Head, &[u8])> {
        let (bytes, payload) = message.split_first_chunk::<HEAD_BYTES>()?;
        let kind = Kind::ALL.into_iter().find(|it| it.number() == bytes[1])?;
        let mut codecs = Codec::NUMBERS.into_iter();
        let (codec, _) = codecs.find(|(_, number)| *number == bytes[2])?;
        let word = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        let head = Head {
            kind,
            codec,
            flags: bytes[3],
            seq: word(4)?,
            timestamp_ms: u64::from_be_bytes(bytes[8..16].try_into().ok()?),
            speaker: word(16)?,
            dropped: word(20)?,
        };
        (bytes[0] == VERSION).then_some((head, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_place() {
        let head = Head {
            kind: Kind::Video,
            codec: Codec::H264,
            flags: KEY,
            seq: 0x0102_0304,
            timestamp_ms: 0x0506_0708_090a_0b0c,
            speaker: 0x0d0e_0f10,
            dropped: 0x1112_1314,
        };
        let bytes = head.bytes();
        assert_eq!(bytes[..4], [1, 2, 18, 2]);
        assert!(bytes[4..].iter().copied().eq(1..=20));
        let message = [&bytes[..], b"payload"].concat();
        assert_eq!(Head::parse(&message), Some((head, &b"payload"[..])));
        for (at, byte) in [(0, 2), (1, 0), (1, 4), (2, 0), (2, 6), (2, 19)] {
            let mut other = bytes;
            other[at] = byte;
            assert_eq!(Head::parse(&other), None, "{at} {byte}");
        }
        assert_eq!(Head::parse(&bytes[..23]), None);
    }

    #[test]
    fn codecs_have_the_numbers_that_are_documented() {
        let audio = |codec, content| {
            let params = AudioParams {
                content,
                ..AudioParams::of(codec)
            };
            Codec::of_audio(&params).number()
        };
        let raw = AudioCodec::ALL.iter().map(|it| audio(*it, Content::Raw));
        assert!(raw.eq([1, 2, 3, 4]));
        let rtp = AudioCodec::ALL.iter().map(|it| audio(*it, Content::Rtp));
        assert!(rtp.eq([5; 4]));
        let pictures = VideoCodec::ALL.iter().map(|it| Codec::of_pictures(*it));
        assert!(pictures.map(Codec::number).eq([16, 17, 18]));
    }
}
