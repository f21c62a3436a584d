//! A recording as plain data: audio files, frames and subtitles with their times.

use std::path::PathBuf;

use super::h264::ParameterSets;

/// A stamp further than this from the stream's start comes from another clock; Zoom ends a meeting
/// after 30 hours.
pub(super) const FAR_MS: u64 = 30 * 3_600_000;

/// Stamps from the year 2100 on are invalid.
pub(super) const STAMP_MS_MAX: u64 = 4_102_444_800_000;

/// Maximum lead of Zoom's clock; webhooks are refused at a smaller difference.
const SKEW_MS: u64 = 600_000;

/// The content of a stream's folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Recording {
    /// Absolute.
    pub folder: PathBuf,
    /// The topic, else an id; can be empty.
    pub title: String,
    /// When the stream started, Unix milliseconds.
    pub started_ms: u64,
    /// When every file was complete, Unix milliseconds; `None` while they grow.
    pub ended_ms: Option<u64>,
    /// In the order of `meta.json`.
    pub audio: Vec<AudioFile>,
    pub camera: Option<VideoTrack>,
    pub share: Option<VideoTrack>,
    /// Sorted by start.
    pub cues: Vec<Cue>,
    /// What the user should know about missing or unusual parts.
    pub notes: Vec<String>,
}

/// One audio file, all of one speaker or of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioFile {
    /// Its name in the folder.
    pub file: String,
    pub codec: AudioFormat,
    pub rate_hz: u32,
    pub channels: u32,
    /// The stamp of its first packet, Unix milliseconds; 0 if there was none.
    pub first_ms: u64,
    pub length_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AudioFormat {
    Wav,
    OggOpus,
    /// Without a container.
    G722,
}

/// The frames of cameras, or of a shared screen.
#[derive(Debug, Clone)]
pub(super) struct VideoTrack {
    /// `video` or `share`: the folder of the index and of single pictures.
    pub kind: &'static str,
    pub codec: VideoCodec,
    /// In the order of the index.
    pub frames: Vec<Frame>,
    /// H.264 files; frames refer to them by index.
    pub files: Vec<String>,
    /// When sharing stopped, Unix milliseconds; empty for cameras.
    pub stops_ms: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VideoCodec {
    /// With the first parameter sets, which a decoder needs.
    H264(ParameterSets),
    Jpg,
    Png,
}

/// A line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Unix milliseconds, from the network: can have any value.
    pub stamp_ms: u64,
    pub user_id: u64,
    /// Width and height in pixels; 0 if unknown.
    pub size: (u32, u32),
    /// Whether a decoder can begin here.
    pub is_key: bool,
    pub bytes: u32,
    pub place: Place,
}

/// Where a frame's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A piece of a file of [`VideoTrack::files`].
    Piece { file: u16, offset: u64 },
    /// A file of its own in the folder of the kind.
    File(Box<str>),
}

/// A subtitle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cue {
    /// Unix milliseconds.
    pub start_ms: u64,
    /// Unix milliseconds.
    pub end_ms: u64,
    /// One line, with the speaker's name.
    pub text: String,
}

impl Recording {
    /// When the output starts, Unix milliseconds: with the stream, like `transcript.vtt` and every
    /// `offset_ms`; earlier if a stamp is earlier; and at the first stamp if no stamp is near the
    /// stream's start.
    pub(super) fn origin_ms(&self) -> u64 {
        let tracks = self.camera.iter().chain(&self.share);
        let pictures =
            tracks.flat_map(|track| track.frames.iter().map(|frame| frame.stamp_ms).take(1));
        let stamps = self.audio.iter().map(|file| file.first_ms);
        let stamps = stamps.chain(pictures).filter(|stamp| *stamp > 0);
        let stamps = stamps.filter(|stamp| *stamp < STAMP_MS_MAX);
        let is_near = |stamp: &u64| stamp.abs_diff(self.started_ms) <= FAR_MS;
        match stamps.clone().filter(is_near).min() {
            Some(first) => first.min(self.started_ms),
            None => stamps.min().unwrap_or(self.started_ms),
        }
    }

    /// The longest possible output, in milliseconds: no frame is later, whatever its stamp says.
    pub(super) fn length_ms_max(&self) -> u64 {
        let ended_ms = self.ended_ms.unwrap_or(u64::MAX);
        let length_ms = ended_ms.saturating_sub(self.origin_ms());
        length_ms.saturating_add(SKEW_MS).min(FAR_MS)
    }

    /// Milliseconds from the start of the output to a stamp; 0 for an impossible stamp.
    pub(super) fn offset_ms(&self, stamp_ms: u64) -> u64 {
        match stamp_ms.checked_sub(self.origin_ms()) {
            Some(ms) if ms <= self.length_ms_max() => ms,
            _ => 0,
        }
    }
}
