//! Audio file formats, and the entry of an audio file in `meta.json`.

use super::ogg;
use crate::domain::id::Id;
use crate::protocol::params::{AudioCodec, AudioParams};

/// Format of an audio file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Linear PCM with 16 bits, little-endian, in WAV.
    Linear {
        /// Samples per second.
        rate_hz: u32,
        /// 1 or 2.
        channels: u16,
        /// Zoom sends A-law, which is expanded to linear samples.
        is_alaw: bool,
    },
    /// Opus in Ogg.
    Opus {
        /// 1 or 2.
        channels: u8,
    },
    /// G.722 as Zoom sends it, 64 kbit/s.
    G722,
}

impl Format {
    /// The file format for the granted parameters.
    pub fn from_params(params: &AudioParams) -> Format {
        let channels = params.channels.count();
        match params.codec {
            AudioCodec::L16 => Format::Linear {
                rate_hz: params.sample_rate.hz(),
                channels,
                is_alaw: false,
            },
            AudioCodec::G711 => Format::Linear {
                rate_hz: params.sample_rate.hz(),
                channels,
                is_alaw: true,
            },
            AudioCodec::Opus => Format::Opus {
                channels: channels as u8,
            },
            AudioCodec::G722 => Format::G722,
        }
    }

    /// The codec's name, samples per second, and channels.
    pub fn facts(self) -> (&'static str, u32, u16) {
        match self {
            Format::Linear {
                rate_hz,
                channels,
                is_alaw,
            } => (if is_alaw { "g711" } else { "l16" }, rate_hz, channels),
            Format::Opus { channels } => ("opus", ogg::RATE_HZ, u16::from(channels)),
            Format::G722 => ("g722", 16_000, 1),
        }
    }

    /// The extension of a file's name.
    pub(in crate::recorder) fn extension(self) -> &'static str {
        match self {
            Format::Linear { .. } => "wav",
            Format::Opus { .. } => "opus",
            Format::G722 => "g722",
        }
    }

    /// Bytes of the file per clock unit, and clock units per second. The unit of Opus is a sample.
    pub fn unit(self) -> (u64, u64) {
        match self {
            Format::Linear {
                rate_hz, channels, ..
            } => (2 * u64::from(channels), u64::from(rate_hz)),
            Format::Opus { .. } => (1, u64::from(ogg::RATE_HZ)),
            Format::G722 => (1, 8000),
        }
    }
}

/// The entry of one audio file in `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// File name within the stream's folder.
    pub file: String,
    /// The speaker; [`Id::UNKNOWN`] for the mix of all speakers, and where only the channel
    /// identifies the speaker.
    pub user_id: Id<'static>,
    /// The first name that Zoom sent for the speaker.
    pub user_name: String,
    /// The channel of a call.
    pub channel_id: Option<Id<'static>>,
    /// The file's format.
    pub format: Format,
    /// Timestamp of the first packet, Unix milliseconds; 0 if there was none.
    pub first_ms: u64,
}
