//! The plan: arguments of one call of ffmpeg for a recording. Pure: it reads, writes and runs nothing.
//!
//! ffmpeg reads audio files itself. It cannot know the times of frames and of phrases, so these come
//! through its standard input as Matroska, each with its time ([`super::feed`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::cues::flattened;
use super::recording::{
    AudioFile, AudioFormat, Cue, FAR_MS, Recording, VideoCodec, VideoTrack, since,
};
use super::timing::{Timing, frame_rate, holes, timing};
use crate::domain::time::Utc;

/// The oldest ffmpeg with all that is used here (`amix` with `normalize`).
pub(super) const FFMPEG_MIN: &str = "4.4";

/// Most times without a picture; each is a term of an expression in one argument, which can have 128
/// KiB on Linux.
const HOLES_MAX: usize = 1000;

/// The largest picture in pixels; larger ones are scaled down.
const WIDTH_MAX: u32 = 3840;
const HEIGHT_MAX: u32 = 2160;

/// The container of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// H.264, AAC, timed text.
    Mp4,
    /// H.264, AAC, SubRip.
    Mkv,
    /// Audio alone, linear PCM.
    Wav,
}

impl Format {
    /// All, each with its word, which is also the extension of files.
    pub const ALL: [(Format, &'static str); 3] = [
        (Format::Mp4, "mp4"),
        (Format::Mkv, "mkv"),
        (Format::Wav, "wav"),
    ];

    fn name(self) -> &'static str {
        let found = Format::ALL.into_iter().find(|(format, _)| *format == self);
        found.map_or("", |(_, name)| name)
    }

    fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        let found = Format::ALL.into_iter().find(|(_, name)| *name == extension);
        found.map(|(format, _)| format)
    }
}

/// Which pictures are in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// Cameras.
    Camera,
    /// The shared screen.
    Share,
}

impl Picture {
    /// All, each with its word.
    pub const ALL: [(Picture, &'static str); 2] =
        [(Picture::Camera, "camera"), (Picture::Share, "share")];

    /// Its word.
    pub(super) fn name(self) -> &'static str {
        let found = Picture::ALL
            .into_iter()
            .find(|(picture, _)| *picture == self);
        found.map_or("", |(_, name)| name)
    }
}

/// What the user can choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The default is a file in the recording's folder.
    pub out: Option<PathBuf>,
    /// The default is the extension of `out`, else MP4, or WAV without video.
    pub format: Option<Format>,
    /// The default is cameras if there are any, else share.
    pub picture: Option<Picture>,
    /// Keep H.264 as received.
    pub copy: bool,
}

/// One call of ffmpeg.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub out: PathBuf,
    pub length_ms: u64,
    /// What ffmpeg reads from standard input.
    pub feed: Option<Feed<'a>>,
    /// Width, height and frames a second of encoded video.
    pub picture: Option<(u32, u32, u32)>,
    pub audio: usize,
    /// For ffmpeg, without the first ones and the name of the output.
    args: Vec<OsString>,
}

/// What ffmpeg reads from standard input.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    pub track: Option<(&'a VideoTrack, Timing)>,
    /// Start and end in milliseconds after the start of the output, and text.
    pub cues: Vec<(u64, u64, String)>,
}

impl Feed<'_> {
    /// The time of the first block.
    fn first_ms(&self) -> u64 {
        let frame = self.track.as_ref().and_then(|(_, timing)| timing.ends());
        let cue = self.cues.first().map(|(start, ..)| *start);
        frame
            .map(|(first, _)| first)
            .into_iter()
            .chain(cue)
            .min()
            .unwrap_or(0)
    }

    fn end_ms(&self) -> u64 {
        let frame = self.track.as_ref().and_then(|(_, timing)| timing.ends());
        let cue = self.cues.iter().map(|(_, end, _)| *end);
        frame
            .map(|(_, last)| last + 40)
            .into_iter()
            .chain(cue)
            .max()
            .unwrap_or(0)
    }
}

/// Frames and subtitles of a recording with their times in the output.
///
/// # Errors
/// When the picture that was asked for is missing.
pub(super) fn feed(
    recording: &Recording,
    picture: Option<Picture>,
    has_pictures: bool,
) -> Result<Feed<'_>, String> {
    let track =
        match picture {
            _ if !has_pictures => None,
            None => recording.camera.as_ref().or(recording.share.as_ref()),
            Some(Picture::Camera) => Some(
                recording
                    .camera
                    .as_ref()
                    .ok_or("--picture camera: found no pictures of a camera in this recording")?,
            ),
            Some(Picture::Share) => Some(recording.share.as_ref().ok_or(
                "--picture share: found no pictures of a shared screen in this recording",
            )?),
        };
    let origin_ms = recording.origin_ms();
    let track = track
        .map(|track| (track, timing(track, origin_ms)))
        .filter(|(_, timing)| timing.ends().is_some());
    let place = |cue: &Cue| {
        let start = cue
            .start_ms
            .checked_sub(origin_ms)
            .filter(|ms| *ms <= FAR_MS);
        start.map(|start| (start, start + (cue.end_ms - cue.start_ms).min(FAR_MS)))
    };
    let cues: Vec<(u64, u64, &str)> = recording
        .cues
        .iter()
        .filter_map(|cue| place(cue).map(|(start, end)| (start, end, cue.text.as_str())))
        .collect();
    let cues = flattened(&cues);
    Ok(Feed { track, cues })
}

/// Plans one output.
///
/// # Errors
/// A text for the user, when the recording has not what the output needs.
pub(super) fn plan<'a>(recording: &'a Recording, choice: &Choice) -> Result<Plan<'a>, String> {
    let named = match (&choice.out, choice.format) {
        (_, Some(format)) => Some(format),
        (None, None) => None,
        (Some(out), None) => Some(Format::of(out).ok_or_else(|| {
            format!(
                "--out: found {}, expected a name that ends in .mp4, .mkv or .wav, or --format",
                out.display()
            )
        })?),
    };
    let feed = feed(recording, choice.picture, named != Some(Format::Wav))?;
    let format = named.unwrap_or(match feed.track {
        Some(_) => Format::Mp4,
        None => Format::Wav,
    });
    if named == Some(Format::Wav) && recording.audio.is_empty() {
        return Err("found no audio in this recording, and WAV has nothing else".to_owned());
    }
    if feed.track.is_none() && recording.audio.is_empty() {
        return Err(format!(
            "{}: found neither audio nor video, expected one of them",
            recording.folder.display()
        ));
    }
    if choice.copy {
        can_be_copied(&feed)?;
    }
    let is_fed = format != Format::Wav && (feed.track.is_some() || !feed.cues.is_empty());
    let feed = is_fed.then_some(feed);
    let origin_ms = recording.origin_ms();
    let ends = recording
        .audio
        .iter()
        .map(|file| since(origin_ms, file.first_ms) + file.length_ms);
    let length_ms = ends
        .chain(feed.as_ref().map(Feed::end_ms))
        .max()
        .unwrap_or(0);
    let out = match &choice.out {
        Some(out) => std::path::absolute(out).map_err(|error| format!("--out: {error}"))?,
        None => recording
            .folder
            .join(format!("recording.{}", format.name())),
    };
    let mut call = Call::default();
    let mut picture = None;
    if let Some(feed) = &feed {
        // ffmpeg moves the first block to 0; this moves it back.
        call.add(["-itsoffset", &seconds(feed.first_ms())]);
        if feed.track.is_some() && !choice.copy {
            // When the resolution changes, `scale` adapts; a new filter graph would start at 0.
            call.add(["-reinit_filter", "0"]);
        }
        call.add(["-f", "matroska", "-i", "pipe:0"]);
    }
    for file in &recording.audio {
        call.audio_input(recording, file);
    }
    let mut maps: Vec<&str> = Vec::new();
    match feed.as_ref().and_then(|feed| feed.track.as_ref()) {
        Some(_) if choice.copy => maps.push("0:v"),
        Some((track, timing)) => {
            picture = Some(call.video_filter(track, timing, length_ms));
            maps.push("[v]");
        }
        None => {}
    }
    if !recording.audio.is_empty() {
        call.audio_filter(recording, format, usize::from(is_fed));
        maps.push("[a]");
    }
    if feed.as_ref().is_some_and(|feed| !feed.cues.is_empty()) {
        maps.push("0:s");
    }
    call.finish_filters();
    for map in maps {
        call.add(["-map", map]);
    }
    call.codecs(format, picture.map(|(_, _, rate)| rate), choice.copy);
    if !recording.title.is_empty() {
        call.add(["-metadata", &format!("title={}", recording.title)]);
    }
    if format != Format::Wav {
        let created = Utc::from_unix_ms(origin_ms);
        call.add(["-metadata", &format!("creation_time={created}")]);
    }
    call.add(["-t", &seconds(length_ms), "-f"]);
    call.add([match format {
        Format::Mkv => "matroska",
        other => other.name(),
    }]);
    Ok(Plan {
        out,
        length_ms,
        feed,
        picture,
        audio: recording.audio.len(),
        args: call.args,
    })
}

impl Plan<'_> {
    /// The arguments of ffmpeg. `out` is absolute, so ffmpeg cannot read it as an option.
    pub(super) fn args(&self, out: &Path, may_replace: bool) -> Vec<OsString> {
        let begin = ["-hide_banner", "-nostdin", "-loglevel", "error"];
        let replace = if may_replace { "-y" } else { "-n" };
        let begin = begin.into_iter().chain([replace]).map(OsString::from);
        let args = begin.chain(self.args.iter().cloned());
        args.chain([out.as_os_str().to_owned()]).collect()
    }
}

/// Whether H.264 can be copied: only with one resolution, because an MP4 track has one.
fn can_be_copied(feed: &Feed<'_>) -> Result<(), String> {
    let Some((track, timing)) = &feed.track else {
        return Err("--copy: found no video in what is to be made, expected H.264".to_owned());
    };
    let mut sizes: Vec<(u32, u32)> = shown(track, timing).map(|frame| frame.size).collect();
    sizes.dedup();
    let [width, height] = size(track, timing);
    match &track.codec {
        VideoCodec::H264(_) if sizes.len() == 1 => Ok(()),
        VideoCodec::H264(_) => Err(format!(
            "--copy: found pictures that change their size, up to {width}x{height}; without --copy \
             they are scaled to one"
        )),
        _ => Err("--copy: found single pictures, expected H.264".to_owned()),
    }
}

fn shown<'a>(
    track: &'a VideoTrack,
    timing: &'a Timing,
) -> impl Iterator<Item = &'a super::recording::Frame> {
    let times = track.frames.iter().zip(&timing.times);
    times.filter_map(|(frame, time)| time.map(|_| frame))
}

/// Width and height that fit every frame, even because of 4:2:0 chroma.
fn size(track: &VideoTrack, timing: &Timing) -> [u32; 2] {
    let (mut width, mut height) = (0, 0);
    for frame in shown(track, timing) {
        width = width.max(frame.size.0);
        height = height.max(frame.size.1);
    }
    if width == 0 || height == 0 {
        // No frame has a size: assume the most usual one.
        (width, height) = (1280, 720);
    }
    [width.min(WIDTH_MAX), height.min(HEIGHT_MAX)].map(|side| side.next_multiple_of(2))
}

/// Seconds with milliseconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Arguments as they grow.
#[derive(Debug, Default)]
struct Call {
    args: Vec<OsString>,
    filters: Vec<String>,
}

impl Call {
    fn add<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    }

    fn audio_input(&mut self, recording: &Recording, file: &AudioFile) {
        match file.codec {
            // The header of a growing file has an old length.
            AudioFormat::Wav if !recording.is_ended => {
                self.add(["-ignore_length", "1", "-f", "wav"])
            }
            AudioFormat::Wav => self.add(["-f", "wav"]),
            AudioFormat::OggOpus => self.add(["-f", "ogg"]),
            AudioFormat::G722 => self.add(["-f", "g722"]),
        }
        self.add(["-i".as_ref(), recording.folder.join(&file.file).as_os_str()]);
    }

    /// Delays every file to its start, and mixes all.
    fn audio_filter(&mut self, recording: &Recording, format: Format, first_input: usize) {
        let audio = &recording.audio;
        let rate_hz = match format {
            Format::Wav => audio.iter().map(|file| file.rate_hz).max().unwrap_or(0),
            // All players and browsers support it.
            Format::Mp4 | Format::Mkv => 48_000,
        };
        let layout = match audio.iter().any(|file| file.channels == 2) {
            true => "stereo",
            false => "mono",
        };
        let origin_ms = recording.origin_ms();
        let mut labels = String::new();
        for (n, file) in audio.iter().enumerate() {
            let mut chain = format!(
                "[{}:a]aresample={rate_hz},aformat=sample_fmts=fltp:channel_layouts={layout}",
                first_input + n
            );
            let delay_ms = since(origin_ms, file.first_ms);
            if delay_ms > 0 {
                chain += &format!(",adelay={delay_ms}:all=1");
            }
            if audio.len() == 1 {
                chain += "[a]";
            } else {
                chain += &format!("[a{n}]");
                labels += &format!("[a{n}]");
            }
            self.filters.push(chain);
        }
        if audio.len() > 1 {
            let count = audio.len();
            self.filters
                .push(format!("{labels}amix=inputs={count}:normalize=0[a]"));
        }
    }

    /// Every frame at its time and in one size, black in between. Returns width, height and rate.
    fn video_filter(
        &mut self,
        track: &VideoTrack,
        timing: &Timing,
        length_ms: u64,
    ) -> (u32, u32, u32) {
        let [width, height] = size(track, timing);
        let rate = frame_rate(timing);
        // `fps` repeats the first frame from 0 on, `tpad` the last one until `-t` ends the output.
        let mut chain = format!(
            "[0:v]scale={width}:{height}:force_original_aspect_ratio=decrease:eval=frame,\
             pad={width}:{height}:-1:-1:eval=frame,setsar=1,format=yuv420p,\
             fps={rate}:start_time=0,tpad=stop=-1:stop_mode=clone"
        );
        let holes = holes(&timing.spans, length_ms, HOLES_MAX);
        if !holes.is_empty() {
            let terms: Vec<String> = holes
                .into_iter()
                .map(|(from, until)| format!("gte(t,{})*lt(t,{})", seconds(from), seconds(until)))
                .collect();
            chain += &format!(",drawbox=color=black:t=fill:enable='{}'", terms.join("+"));
        }
        self.filters.push(chain + "[v]");
        (width, height, rate)
    }

    fn finish_filters(&mut self) {
        if !self.filters.is_empty() {
            let graph = std::mem::take(&mut self.filters).join(";");
            self.add(["-filter_complex", &graph]);
        }
    }

    fn codecs(&mut self, format: Format, rate: Option<u32>, copy: bool) {
        if let Some(rate) = rate {
            // A key frame every five seconds for seeking.
            let key = (5 * rate).to_string();
            self.add([
                "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", &key,
            ]);
        } else if copy {
            self.add(["-c:v", "copy"]);
        }
        match format {
            Format::Mp4 => self.add([
                "-c:a",
                "aac",
                "-b:a",
                "128k",
                "-c:s",
                "mov_text",
                "-movflags",
                "+faststart",
            ]),
            Format::Mkv => self.add(["-c:a", "aac", "-b:a", "128k", "-c:s", "subrip"]),
            Format::Wav => self.add(["-c:a", "pcm_s16le", "-rf64", "auto"]),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
