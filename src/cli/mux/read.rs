//! The reader of a stream's folder: `meta.json`, frame indexes, lengths of audio files, transcript.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::cues;
use super::h264::ParameterSets;
use super::recording::{
    AudioFile, AudioFormat, Cue, Frame, Place, Recording, STAMP_MS_MAX, VideoCodec, VideoTrack,
};
use crate::domain::id::Id;
use crate::domain::text::one_line;

/// A larger frame is an error in the index; the limit of a message is 16 MiB.
pub(super) const FRAME_BYTES_MAX: u32 = 64 << 20;

/// Limit for text files that are read whole.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Most folders that an error lists.
const NAMED_MAX: usize = 5;

/// Reads the recording in a folder, or the only recording below it.
///
/// # Errors
/// A text for the user: what was found and what was expected.
pub(super) fn recording(folder: &Path) -> Result<Recording, String> {
    let folder = find(folder)?;
    let path = folder.join("meta.json");
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let meta: Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{}: found {error}, expected JSON", path.display()))?;
    let mut recording = from_meta(folder, &meta);
    let stops_ms = sharing_stops(&recording.folder);
    let folder = recording.folder.clone();
    let notes = &mut recording.notes;
    recording.camera = track(&folder, "video", Vec::new(), notes);
    recording.share = track(&folder, "share", stops_ms, notes);
    for file in &mut recording.audio {
        let path = folder.join(&file.file);
        match length_ms(&path, file) {
            Ok(length) => file.length_ms = length,
            Err(error) => notes.push(format!("left out: {}: {error}", path.display())),
        }
    }
    recording.audio.retain(|file| file.length_ms > 0);
    recording.cues = transcript(&folder, recording.started_ms);
    Ok(recording)
}

/// The folder with `meta.json`: this one, or the only one up to three levels below.
fn find(folder: &Path) -> Result<PathBuf, String> {
    let absolute =
        std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if absolute.join("meta.json").is_file() {
        return Ok(absolute);
    }
    let inside =
        fs::read_dir(&absolute).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found = Vec::new();
    below(inside, 2, &mut found);
    found.sort();
    match found.len() {
        0 => Err(format!(
            "{}: found no meta.json, expected the folder of a stream, such as \
             rtms-out/2026-11-23/MEETING/STREAM",
            folder.display()
        )),
        1 => Ok(found.remove(0)),
        count => {
            let names = found
                .iter()
                .take(NAMED_MAX)
                .map(|path| format!("\n  {}", path.display()));
            let more = if count > NAMED_MAX { "\n  …" } else { "" };
            Err(format!(
                "{}: found several recordings, expected one:{}{more}",
                folder.display(),
                names.collect::<String>()
            ))
        }
    }
}

fn below(inside: fs::ReadDir, levels: u32, found: &mut Vec<PathBuf>) {
    for entry in inside.flatten() {
        let path = entry.path();
        if path.join("meta.json").is_file() {
            found.push(path);
        } else if levels > 0
            && let Ok(inside) = fs::read_dir(path)
        {
            below(inside, levels - 1, found);
        }
    }
}

/// The recording as `meta.json` describes it.
fn from_meta(folder: PathBuf, meta: &Value) -> Recording {
    let text = |key: &str| meta[key].as_str().map(|text| one_line(text).into_owned());
    let ids = ["topic", "meeting_id", "stream_id"];
    let stamp = |key: &str| meta[key].as_u64().filter(|ms| *ms < STAMP_MS_MAX);
    Recording {
        folder,
        title: ids.into_iter().find_map(text).unwrap_or_default(),
        started_ms: stamp("started_ms").unwrap_or(0),
        ended_ms: stamp("ended_ms").filter(|_| meta["state"] == "ended"),
        audio: meta["audio"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(file)
            .collect(),
        ..Recording::default()
    }
}

fn file(value: &Value) -> Option<AudioFile> {
    let number = |key: &str| value[key].as_u64();
    let file = value["file"].as_str().filter(|name| is_name(name))?;
    Some(AudioFile {
        file: file.to_owned(),
        codec: match value["codec"].as_str()? {
            "opus" => AudioFormat::OggOpus,
            "g722" => AudioFormat::G722,
            _ => AudioFormat::Wav,
        },
        rate_hz: number("sample_rate").filter(|hz| (8000..=48_000).contains(hz))? as u32,
        channels: number("channels").filter(|n| (1..=2).contains(n))? as u32,
        first_ms: number("first_ms").unwrap_or(0),
        length_ms: 0,
    })
}

/// Whether a name is that of a file in its folder.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// The length of an audio file.
fn length_ms(path: &Path, audio: &AudioFile) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let rate = u64::from(audio.rate_hz);
    Ok(match audio.codec {
        // A header of 44 bytes, 16-bit samples.
        AudioFormat::Wav => {
            bytes.saturating_sub(44) * 1000 / (2 * rate * u64::from(audio.channels))
        }
        // 64 kbit/s.
        AudioFormat::G722 => bytes / 8,
        AudioFormat::OggOpus => last_granule(&mut file, bytes)? / 48,
    })
}

/// The position in the last page of an Ogg stream, in samples (RFC 3533). A page has at most 64 KiB.
fn last_granule(file: &mut File, bytes: u64) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(bytes.saturating_sub(128 << 10)))?;
    let mut tail = Vec::new();
    file.take(128 << 10).read_to_end(&mut tail)?;
    let mut pages = memchr::memmem::rfind_iter(&tail, b"OggS");
    let position = |at: usize| {
        let bytes = tail.get(at + 6..at + 14)?.try_into().ok()?;
        // -1: no packet ends on this page.
        u64::try_from(i64::from_le_bytes(bytes)).ok()
    };
    Ok(pages.find_map(position).unwrap_or(0))
}

/// The fields of an index line that are used here.
#[derive(Deserialize)]
struct Line<'a> {
    timestamp_ms: u64,
    user_id: Option<Id<'static>>,
    #[serde(default)]
    bytes: u32,
    offset: Option<u64>,
    #[serde(borrow)]
    file: Option<&'a str>,
    #[serde(default)]
    key: bool,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
}

/// The track of a kind; `None` if it has no frame that can be used.
fn track(
    folder: &Path,
    kind: &'static str,
    stops_ms: Vec<u64>,
    notes: &mut Vec<String>,
) -> Option<VideoTrack> {
    let index = BufReader::new(File::open(folder.join(kind).join("frames.jsonl")).ok()?);
    let mut track = VideoTrack {
        kind,
        codec: VideoCodec::Jpg,
        frames: Vec::new(),
        files: Vec::new(),
        stops_ms,
    };
    // Zoom keeps one codec for a session; settings that changed at a restart can make it two.
    let mut counts = [0_usize; 3];
    let mut codecs = Vec::new();
    for line in index.split(b'\n') {
        // Torn lines are skipped.
        let Ok(line) = line else { break };
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) else {
            continue;
        };
        let (codec, place) = match (line.offset, line.file) {
            (Some(offset), file) => {
                let default = format!("{kind}.h264");
                let file = file.filter(|name| is_name(name)).unwrap_or(&default);
                let known = track.files.iter().position(|name| name == file);
                let file = known.unwrap_or_else(|| {
                    track.files.push(file.to_owned());
                    track.files.len() - 1
                });
                (
                    0,
                    Place::Piece {
                        file: u16::try_from(file).ok()?,
                        offset,
                    },
                )
            }
            (None, Some(name)) if is_name(name) => (
                1 + usize::from(name.ends_with(".png")),
                Place::File(name.into()),
            ),
            _ => continue,
        };
        if line.bytes == 0 || line.bytes > FRAME_BYTES_MAX {
            continue;
        }
        counts[codec] += 1;
        codecs.push(codec as u8);
        track.frames.push(Frame {
            stamp_ms: line.timestamp_ms,
            user_id: line.user_id.and_then(|id| id.number()).unwrap_or(0),
            size: (line.width, line.height),
            is_key: line.key,
            bytes: line.bytes,
            place,
        });
    }
    let (most, count) = counts
        .into_iter()
        .enumerate()
        .max_by_key(|(_, count)| *count)?;
    if count == 0 {
        return None;
    }
    if count < track.frames.len() {
        let others = track.frames.len() - count;
        notes.push(format!(
            "{kind}: {others} frames of another codec are left out"
        ));
        let mut codecs = codecs.into_iter();
        track.frames.retain(|_| codecs.next() == Some(most as u8));
    }
    track.codec = match most {
        0 => VideoCodec::H264(parameter_sets(folder, &track)?),
        1 => VideoCodec::Jpg,
        _ => VideoCodec::Png,
    };
    if let VideoCodec::H264(sets) = &track.codec {
        let missing = match track.frames.iter().any(|frame| frame.is_key) {
            _ if !sets.is_complete() => Some("parameter sets"),
            false => Some("key frame"),
            true => None,
        };
        if let Some(missing) = missing {
            notes.push(format!(
                "{kind}.h264 is left out: nothing can decode it, for it has no {missing}"
            ));
            return None;
        }
    }
    Some(track)
}

/// The first parameter sets; usually the first frame has them.
fn parameter_sets(folder: &Path, track: &VideoTrack) -> Option<ParameterSets> {
    let mut frames = Frames::new(folder, track);
    let mut sets = ParameterSets::default();
    let mut bytes = Vec::new();
    for frame in &track.frames {
        if frames.read(frame, &mut bytes).is_ok() {
            sets.update(&bytes);
        }
        if sets.is_complete() {
            break;
        }
    }
    Some(sets)
}

/// Reads the bytes of frames.
pub(super) struct Frames<'a> {
    folder: PathBuf,
    kind: &'static str,
    files: &'a [String],
    /// The file read last.
    open: Option<(u16, File)>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(folder: &Path, track: &'a VideoTrack) -> Frames<'a> {
        Frames {
            folder: folder.to_owned(),
            kind: track.kind,
            files: &track.files,
            open: None,
        }
    }

    /// # Errors
    /// When the frame is missing or incomplete.
    pub(super) fn read(&mut self, frame: &Frame, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        match &frame.place {
            Place::Piece { file, offset } => {
                let is_open = self.open.as_ref().is_some_and(|(open, _)| open == file);
                if !is_open {
                    let name = &self.files[usize::from(*file)];
                    self.open = Some((*file, File::open(self.folder.join(name))?));
                }
                bytes.resize(frame.bytes as usize, 0);
                match &self.open {
                    Some((_, file)) => file.read_exact_at(bytes, *offset),
                    None => Ok(()),
                }
            }
            Place::File(name) => {
                bytes.clear();
                let path = self.folder.join(self.kind).join(&**name);
                let limit = u64::from(FRAME_BYTES_MAX);
                File::open(path)?.take(limit).read_to_end(bytes)?;
                Ok(())
            }
        }
    }
}

/// When sharing stopped, from `events.jsonl`.
fn sharing_stops(folder: &Path) -> Vec<u64> {
    let text = read_text(&folder.join("events.jsonl")).unwrap_or_default();
    let stops = text
        .lines()
        .filter(|line| line.contains("\"SHARING_STOP\""));
    stops
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["name"] == "SHARING_STOP")
        .filter_map(|event| event["timestamp_ms"].as_u64())
        .collect()
}

/// The subtitles, from the most detailed transcript file.
fn transcript(folder: &Path, started_ms: u64) -> Vec<Cue> {
    let found = |name: &str| read_text(&folder.join(name)).filter(|text| !text.is_empty());
    let cues = match found("transcript.jsonl") {
        Some(text) => cues::from_jsonl(&text),
        None => match found("transcript.srt").or_else(|| found("transcript.vtt")) {
            Some(text) => cues::from_subtitles(&text, started_ms),
            None => Vec::new(),
        },
    };
    cues::ordered(cues)
}

fn read_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(TEXT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
