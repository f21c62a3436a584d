//! The plan: arguments of one call of ffmpeg for a recording. Pure: it reads, writes and runs nothing.
//!
//! ffmpeg reads audio files itself. It cannot know the times of frames and of phrases, so these come
//! through pipes as Matroska, each with its time ([`super::feed`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::cues::flattened;
use super::recording::{AudioFile, AudioFormat, Cue, FAR_MS, Recording, VideoCodec, VideoTrack};
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

/// The camera beside a shared screen has this part of the width.
const INSET: u32 = 5;

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

    fn from_path(path: &Path) -> Option<Format> {
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
    /// The shared screen with the camera in a corner; the camera alone while no screen is shared.
    Both,
}

impl Picture {
    /// All, each with its word.
    pub const ALL: [(Picture, &'static str); 3] = [
        (Picture::Camera, "camera"),
        (Picture::Share, "share"),
        (Picture::Both, "both"),
    ];
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
    /// What ffmpeg reads from pipes. Both have the subtitles; those of the first are used.
    pub feeds: Vec<Feed<'a>>,
    /// Width, height and frames a second of encoded video.
    pub picture: Option<(u32, u32, u32)>,
    pub audio: usize,
    /// For ffmpeg, without the first ones and the name of the output.
    args: Vec<Arg>,
}

/// An argument of ffmpeg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arg {
    Word(OsString),
    /// The name of the pipe with that feed.
    Feed(usize),
}

/// What ffmpeg reads from a pipe.
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

/// Frames and subtitles of a recording with their times in the output: a feed for each picture, or one
/// of subtitles alone, or none.
///
/// # Errors
/// When the picture that was asked for is missing.
pub(super) fn feeds(
    recording: &Recording,
    picture: Option<Picture>,
) -> Result<Vec<Feed<'_>>, String> {
    let (camera, share) = (recording.camera.as_ref(), recording.share.as_ref());
    let tracks = match picture {
        None => camera.or(share).into_iter().collect(),
        Some(Picture::Camera) => vec![
            camera.ok_or("--picture camera: found no pictures of a camera in this recording")?,
        ],
        Some(Picture::Share) => vec![
            share
                .ok_or("--picture share: found no pictures of a shared screen in this recording")?,
        ],
        Some(Picture::Both) => camera.into_iter().chain(share).collect(),
    };
    let origin_ms = recording.origin_ms();
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
    let mut feeds: Vec<Feed<'_>> = tracks
        .into_iter()
        .map(|track| (track, timing(track, origin_ms, recording.length_ms_max())))
        .filter(|(_, timing)| timing.ends().is_some())
        .map(|track| Feed {
            track: Some(track),
            cues: cues.clone(),
        })
        .collect();
    if feeds.is_empty() && !cues.is_empty() {
        feeds.push(Feed { track: None, cues });
    }
    Ok(feeds)
}

/// Plans one output.
///
/// # Errors
/// A text for the user, when the recording has not what the output needs.
pub(super) fn plan<'a>(recording: &'a Recording, choice: &Choice) -> Result<Plan<'a>, String> {
    let named = match (&choice.out, choice.format) {
        (_, Some(format)) => Some(format),
        (None, None) => None,
        (Some(out), None) => Some(Format::from_path(out).ok_or_else(|| {
            format!(
                "--out: found {}, expected a name that ends in .mp4, .mkv or .wav, or --format",
                out.display()
            )
        })?),
    };
    let mut feeds = match named {
        Some(Format::Wav) => Vec::new(),
        _ => feeds(recording, choice.picture)?,
    };
    let has_video = feeds.iter().any(|feed| feed.track.is_some());
    let format = named.unwrap_or(match has_video {
        true => Format::Mp4,
        false => Format::Wav,
    });
    if named == Some(Format::Wav) && recording.audio.is_empty() {
        return Err("found no audio in this recording, and WAV has nothing else".to_owned());
    }
    if !has_video && recording.audio.is_empty() {
        return Err(format!(
            "{}: found neither audio nor video, expected one of them",
            recording.folder.display()
        ));
    }
    if choice.copy {
        can_be_copied(&feeds)?;
    }
    if format == Format::Wav {
        feeds.clear();
    }
    let origin_ms = recording.origin_ms();
    let ends = recording
        .audio
        .iter()
        .map(|file| recording.offset_ms(file.first_ms) + file.length_ms);
    let length_ms = ends
        .chain(feeds.iter().map(Feed::end_ms))
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
    for (n, feed) in feeds.iter().enumerate() {
        // ffmpeg moves the first block to 0; this moves it back.
        call.add(["-itsoffset", &seconds(feed.first_ms())]);
        if feed.track.is_some() && !choice.copy {
            // When the resolution changes, `scale` adapts; a new filter graph would start at 0.
            call.add(["-reinit_filter", "0"]);
        }
        call.add(["-f", "matroska", "-i"]);
        call.args.push(Arg::Feed(n));
    }
    for file in &recording.audio {
        call.audio_input(recording, file);
    }
    let mut maps: Vec<&str> = Vec::new();
    if has_video && choice.copy {
        maps.push("0:v");
    } else if has_video {
        picture = Some(call.video_filter(&feeds, length_ms));
        maps.push("[v]");
    }
    if !recording.audio.is_empty() {
        call.audio_filter(recording, format, feeds.len());
        maps.push("[a]");
    }
    if feeds.first().is_some_and(|feed| !feed.cues.is_empty()) {
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
        feeds,
        picture,
        audio: recording.audio.len(),
        args: call.args,
    })
}

impl Plan<'_> {
    /// The arguments of ffmpeg. `out` is absolute, so ffmpeg cannot read it as an option.
    pub(super) fn args(&self, out: &Path, may_replace: bool) -> Vec<Arg> {
        let begin = ["-hide_banner", "-nostdin", "-loglevel", "error"];
        let replace = if may_replace { "-y" } else { "-n" };
        let begin = begin.into_iter().chain([replace]).map(Arg::word);
        let args = begin.chain(self.args.iter().cloned());
        args.chain([Arg::word(out)]).collect()
    }
}

impl Arg {
    fn word(word: impl AsRef<OsStr>) -> Arg {
        Arg::Word(word.as_ref().to_owned())
    }
}

/// Whether H.264 can be copied: only with one resolution, because an MP4 track has one.
fn can_be_copied(feeds: &[Feed<'_>]) -> Result<(), String> {
    let [
        Feed {
            track: Some((track, timing)),
            ..
        },
    ] = feeds
    else {
        return Err(
            "--copy: expected H.264 of a camera or of a shared screen, and one of both".to_owned(),
        );
    };
    let mut sizes: Vec<(u32, u32)> = shown(track, timing).map(|frame| frame.size).collect();
    sizes.dedup();
    let [width, height] = size(feeds);
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
fn size(feeds: &[Feed<'_>]) -> [u32; 2] {
    let (mut width, mut height) = (0, 0);
    let tracks = feeds.iter().flat_map(|feed| &feed.track);
    for frame in tracks.flat_map(|(track, timing)| shown(track, timing)) {
        width = width.max(frame.size.0);
        height = height.max(frame.size.1);
    }
    if width == 0 || height == 0 {
        // No frame has a size: assume the most usual one.
        (width, height) = (1280, 720);
    }
    [width.min(WIDTH_MAX), height.min(HEIGHT_MAX)].map(|side| side.next_multiple_of(2))
}

/// An expression of ffmpeg that is not 0 while there is no picture; `None` if there always is one.
fn without_picture(timing: &Timing, length_ms: u64) -> Option<String> {
    let holes = holes(&timing.spans, length_ms, HOLES_MAX);
    let terms: Vec<String> = holes
        .into_iter()
        .map(|(from, until)| format!("gte(t,{})*lt(t,{})", seconds(from), seconds(until)))
        .collect();
    (!terms.is_empty()).then(|| terms.join("+"))
}

/// Seconds with milliseconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Arguments as they grow.
#[derive(Debug, Default)]
struct Call {
    args: Vec<Arg>,
    filters: Vec<String>,
}

impl Call {
    fn add<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) {
        self.args.extend(args.into_iter().map(Arg::word));
    }

    fn audio_input(&mut self, recording: &Recording, file: &AudioFile) {
        match file.codec {
            // The header of a growing file has an old length.
            AudioFormat::Wav if recording.ended_ms.is_none() => {
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
        let mut labels = String::new();
        for (n, file) in audio.iter().enumerate() {
            let mut chain = format!(
                "[{}:a]aresample={rate_hz},aformat=sample_fmts=fltp:channel_layouts={layout}",
                first_input + n
            );
            let delay_ms = recording.offset_ms(file.first_ms);
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
    fn video_filter(&mut self, feeds: &[Feed<'_>], length_ms: u64) -> (u32, u32, u32) {
        let [width, height] = size(feeds);
        let tracks: Vec<&(&VideoTrack, Timing)> =
            feeds.iter().flat_map(|feed| &feed.track).collect();
        let timings: Vec<&Timing> = tracks.iter().map(|(_, timing)| timing).collect();
        let rates = timings.iter().map(|timing| frame_rate(timing));
        let rate = rates.max().unwrap_or(0);
        // `fps` repeats the first frame from 0 on, `tpad` the last one until `-t` ends the output.
        let track = |input: usize| {
            // Players would guess the colours of single pictures wrong; and two tracks need the same.
            let is_h264 = matches!(tracks[input].0.codec, VideoCodec::H264(_));
            let matrix = match is_h264 {
                true => "",
                false => ":out_color_matrix=bt709",
            };
            let params = match is_h264 && tracks.len() == 1 {
                true => "",
                false => ",setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709",
            };
            format!(
                "[{input}:v]scale={width}:{height}:force_original_aspect_ratio=decrease:eval=frame:\
                 out_range=tv{matrix}{params},\
                 pad={width}:{height}:-1:-1:eval=frame,setsar=1,format=yuv420p,\
                 fps={rate}:start_time=0,tpad=stop=-1:stop_mode=clone"
            )
        };
        let black = |timing: &Timing| match without_picture(timing, length_ms) {
            None => String::new(),
            Some(times) => format!(",drawbox=color=black:t=fill:enable='{times}'"),
        };
        match timings[..] {
            [camera, share] => {
                let has_picture = |timing| match without_picture(timing, length_ms) {
                    None => "1".to_owned(),
                    Some(times) => format!("not({times})"),
                };
                let (is_on, is_shared) = (has_picture(camera), has_picture(share));
                self.filters.extend([
                    format!("{}{},split[camera][corner]", track(0), black(camera)),
                    format!(
                        "[corner]scale={}:-2[inset]",
                        (width / INSET).next_multiple_of(2)
                    ),
                    format!("{}[share]", track(1)),
                    format!("[camera][share]overlay=enable='{is_shared}'[main]"),
                    format!("[main][inset]overlay=x=W-w:y=0:enable='{is_shared}*{is_on}'[v]"),
                ]);
            }
            [one, ..] => self.filters.push(format!("{}{}[v]", track(0), black(one))),
            [] => {}
        }
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
