//! How a file holds sound, and what `meta.json` tells of it.

use super::ogg;
use crate::domain::id::Id;
use crate::protocol::params::{AudioCodec, AudioParams};

/// How a file holds sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Linear PCM with 16 bits, little-endian, in WAV.
    Linear {
        /// Samples a second.
        rate_hz: u32,
        /// One or two.
        channels: u16,
        /// It comes as A-law and is expanded.
        is_alaw: bool,
    },
    /// Opus in Ogg.
    Opus {
        /// One or two.
        channels: u8,
    },
    /// G.722 as it comes, 64 kbit/s.
    G722,
}

impl Format {
    /// The file format for parameters in force.
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

    /// The codec's word, samples a second, and channels.
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

    /// Of a file's name.
    pub(in crate::recorder) fn extension(self) -> &'static str {
        match self {
            Format::Linear { .. } => "wav",
            Format::Opus { .. } => "opus",
            Format::G722 => "g722",
        }
    }

    /// Bytes of the file for one step of its clock, and steps a second. Opus counts samples.
    pub(in crate::recorder) fn unit(self) -> (u64, u64) {
        match self {
            Format::Linear {
                rate_hz, channels, ..
            } => (2 * u64::from(channels), u64::from(rate_hz)),
            Format::Opus { .. } => (1, u64::from(ogg::RATE_HZ)),
            Format::G722 => (1, 8000),
        }
    }
}

/// What `meta.json` tells of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in the stream's folder.
    pub file: String,
    /// Whose; [`Id::NOBODY`] for the mix of all, and where only the channel says whose.
    pub user_id: Id<'static>,
    /// The name, as first told.
    pub user_name: String,
    /// The channel of a call.
    pub channel_id: Option<Id<'static>>,
    /// How it is coded.
    pub format: Format,
    /// The stamp of its first sound, Unix milliseconds; 0 if there was none.
    pub first_ms: u64,
}
