//! Reads the folder of a stream: `meta.json`, the indexes, lengths of files, the transcript.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::cues;
use super::h264::ParameterSets;
use super::recording::{Coding, Cue, Film, Frame, Place, Recording, Sound, SoundCodec};
use crate::domain::text::one_line;

/// No frame is larger; what says so is broken.
pub(super) const FRAME_BYTES_MAX: u32 = 64 << 20;

/// A text file of a recording that is larger than this is not ours.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Names of files that a user gets to see at most.
const NAMED_MAX: usize = 5;

/// The recording in a folder, or in the only one below it.
///
/// # Errors
/// In words for the user: what was expected and what is there.
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
    recording.camera = film(&folder, "video", Vec::new(), notes);
    recording.share = film(&folder, "share", stops_ms, notes);
    for sound in &mut recording.sounds {
        let path = folder.join(&sound.file);
        match length_ms(&path, sound) {
            Ok(length) => sound.length_ms = length,
            Err(error) => notes.push(format!("left out: {}: {error}", path.display())),
        }
    }
    recording.sounds.retain(|sound| sound.length_ms > 0);
    recording.cues = transcript(&folder, recording.started_ms);
    Ok(recording)
}

/// The folder that holds `meta.json`: that one, or the only one in it, up to the day's folder.
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

/// What `meta.json` tells.
fn from_meta(folder: PathBuf, meta: &Value) -> Recording {
    let text = |key: &str| meta[key].as_str().map(|text| one_line(text).into_owned());
    let ids = ["topic", "meeting_id", "stream_id"];
    // The year 2100: later stamps are none.
    let started_ms = meta["started_ms"]
        .as_u64()
        .filter(|ms| *ms < 4_102_444_800_000);
    Recording {
        folder,
        title: ids.into_iter().find_map(text).unwrap_or_default(),
        started_ms: started_ms.unwrap_or(0),
        is_ended: meta["state"] == "ended",
        sounds: meta["audio"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(sound)
            .collect(),
        ..Recording::default()
    }
}

fn sound(value: &Value) -> Option<Sound> {
    let number = |key: &str| value[key].as_u64();
    let file = value["file"].as_str().filter(|name| is_name(name))?;
    Some(Sound {
        file: file.to_owned(),
        codec: match value["codec"].as_str()? {
            "opus" => SoundCodec::OggOpus,
            "g722" => SoundCodec::G722,
            _ => SoundCodec::Wav,
        },
        rate_hz: number("sample_rate").filter(|hz| (8000..=48_000).contains(hz))? as u32,
        channels: number("channels").filter(|n| (1..=2).contains(n))? as u32,
        first_ms: number("first_ms").unwrap_or(0),
        length_ms: 0,
    })
}

/// Whether a name stays in its folder.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// How long a file of sound lasts.
fn length_ms(path: &Path, sound: &Sound) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let rate = u64::from(sound.rate_hz);
    Ok(match sound.codec {
        // A head of 44 bytes, samples of two.
        SoundCodec::Wav => bytes.saturating_sub(44) * 1000 / (2 * rate * u64::from(sound.channels)),
        // 64 kbit/s.
        SoundCodec::G722 => bytes / 8,
        SoundCodec::OggOpus => last_granule(&mut file, bytes)? / 48,
    })
}

/// The position that the last page of an Ogg stream gives, in samples (RFC 3533): a page has 64 KiB
/// at most.
fn last_granule(file: &mut File, bytes: u64) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(bytes.saturating_sub(128 << 10)))?;
    let mut tail = Vec::new();
    file.take(128 << 10).read_to_end(&mut tail)?;
    let mut pages = memchr::memmem::rfind_iter(&tail, b"OggS");
    let position = |at: usize| {
        let bytes = tail.get(at + 6..at + 14)?.try_into().ok()?;
        // -1 is that of a page on which no packet ends.
        u64::try_from(i64::from_le_bytes(bytes)).ok()
    };
    Ok(pages.find_map(position).unwrap_or(0))
}

/// A line of an index, as far as it is needed.
#[derive(Deserialize)]
struct Line<'a> {
    timestamp_ms: u64,
    #[serde(default)]
    user_id: u64,
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

/// The pictures of a kind; `None` where there are none that can be used.
fn film(
    folder: &Path,
    kind: &'static str,
    stops_ms: Vec<u64>,
    notes: &mut Vec<String>,
) -> Option<Film> {
    let index = BufReader::new(File::open(folder.join(kind).join("frames.jsonl")).ok()?);
    let mut film = Film {
        kind,
        coding: Coding::Jpg,
        frames: Vec::new(),
        files: Vec::new(),
        stops_ms,
    };
    // Zoom keeps one codec for a session; a setting that changed at a restart can make it two.
    let mut counts = [0_usize; 3];
    let mut codings = Vec::new();
    for line in index.split(b'\n') {
        // A line that was torn says nothing.
        let Ok(line) = line else { break };
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) else {
            continue;
        };
        let (coding, place) = match (line.offset, line.file) {
            (Some(offset), file) => {
                let default = format!("{kind}.h264");
                let file = file.filter(|name| is_name(name)).unwrap_or(&default);
                let known = film.files.iter().position(|name| name == file);
                let file = known.unwrap_or_else(|| {
                    film.files.push(file.to_owned());
                    film.files.len() - 1
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
        counts[coding] += 1;
        codings.push(coding as u8);
        film.frames.push(Frame {
            stamp_ms: line.timestamp_ms,
            user_id: line.user_id,
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
    if count < film.frames.len() {
        let others = film.frames.len() - count;
        notes.push(format!(
            "{kind}: {others} frames of another codec are left out"
        ));
        let mut codings = codings.into_iter();
        film.frames.retain(|_| codings.next() == Some(most as u8));
    }
    film.coding = match most {
        0 => Coding::H264(parameter_sets(folder, &film)?),
        1 => Coding::Jpg,
        _ => Coding::Png,
    };
    if let Coding::H264(sets) = &film.coding {
        let missing = match film.frames.iter().any(|frame| frame.is_key) {
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
    Some(film)
}

/// The first ones, which the first frame has as a rule.
fn parameter_sets(folder: &Path, film: &Film) -> Option<ParameterSets> {
    let mut frames = Frames::new(folder, film);
    let mut sets = ParameterSets::default();
    let mut bytes = Vec::new();
    for frame in &film.frames {
        if frames.read(frame, &mut bytes).is_ok() {
            sets.update(&bytes);
        }
        if sets.is_complete() {
            break;
        }
    }
    Some(sets)
}

/// The bytes of frames.
pub(super) struct Frames<'a> {
    folder: PathBuf,
    kind: &'static str,
    files: &'a [String],
    /// The file read last.
    open: Option<(u16, File)>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(folder: &Path, film: &'a Film) -> Frames<'a> {
        Frames {
            folder: folder.to_owned(),
            kind: film.kind,
            files: &film.files,
            open: None,
        }
    }

    /// # Errors
    /// When the frame is not, or not wholly, where the index says.
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

/// What was said, from the file that knows most of it.
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
