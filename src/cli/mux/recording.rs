//! What `mux` knows of a recording, as plain data: sounds, pictures and subtitles with their times.

use std::path::PathBuf;

use super::h264::ParameterSets;

/// A stamp further than this from the stream's zero comes from another clock; Zoom ends a meeting
/// after 30 hours.
pub(super) const FAR_MS: u64 = 30 * 3_600_000;

/// The folder of one stream, read.
#[derive(Debug, Clone, Default)]
pub(super) struct Recording {
    /// Absolute.
    pub folder: PathBuf,
    /// The topic, or the id where there is none; may be empty.
    pub title: String,
    /// The stream's zero, Unix milliseconds.
    pub started_ms: u64,
    /// Whether every file is complete.
    pub is_ended: bool,
    /// In the order of `meta.json`.
    pub sounds: Vec<Sound>,
    pub camera: Option<Film>,
    pub share: Option<Film>,
    /// By their begin.
    pub cues: Vec<Cue>,
    /// What a user should know of what was found.
    pub notes: Vec<String>,
}

/// One file of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sound {
    /// Its name in the folder.
    pub file: String,
    pub codec: SoundCodec,
    pub rate_hz: u32,
    pub channels: u32,
    /// The stamp of its first sound, Unix milliseconds; 0 if there is none.
    pub first_ms: u64,
    pub length_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SoundCodec {
    Wav,
    OggOpus,
    /// Without a container.
    G722,
}

/// The pictures of cameras, or of a shared screen.
#[derive(Debug, Clone)]
pub(super) struct Film {
    /// `video` or `share`: the folder of the index and of single pictures.
    pub kind: &'static str,
    pub coding: Coding,
    /// In the order of the index.
    pub frames: Vec<Frame>,
    /// Files that hold H.264, which frames name by their place here.
    pub files: Vec<String>,
    /// When sharing stopped, Unix milliseconds. Of cameras nothing is known but their frames.
    pub stops_ms: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    /// The parameter sets that come first; without any nothing can be decoded.
    H264(ParameterSets),
    Jpg,
    Png,
}

/// A line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Unix milliseconds, from outside: may be anything.
    pub stamp_ms: u64,
    pub user_id: u64,
    /// Width and height in pixels; 0 where they are not known.
    pub size: (u32, u32),
    /// Whether a decoder can begin with it.
    pub is_key: bool,
    pub bytes: u32,
    pub place: Place,
}

/// Where a frame's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A piece of a file of [`Film::files`].
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
    /// When the output begins, Unix milliseconds: at the stream's zero, as `transcript.vtt` and each
    /// `offset_ms` do; or where something is older than that; or, where nothing is near it, at the
    /// first stamp there is.
    pub(super) fn origin_ms(&self) -> u64 {
        let films = self.camera.iter().chain(&self.share);
        let pictures =
            films.flat_map(|film| film.frames.iter().map(|frame| frame.stamp_ms).take(1));
        let stamps = self.sounds.iter().map(|sound| sound.first_ms);
        let stamps = stamps.chain(pictures).filter(|stamp| *stamp > 0);
        let is_near = |stamp: &u64| stamp.abs_diff(self.started_ms) <= FAR_MS;
        match stamps.clone().filter(is_near).min() {
            Some(first) => first.min(self.started_ms),
            None => stamps.min().unwrap_or(self.started_ms),
        }
    }
}

/// Milliseconds from `origin_ms` to a stamp; 0 for a stamp that cannot be.
pub(super) fn since(origin_ms: u64, stamp_ms: u64) -> u64 {
    match stamp_ms.checked_sub(origin_ms) {
        Some(ms) if ms <= FAR_MS => ms,
        _ => 0,
    }
}
