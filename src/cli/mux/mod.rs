//! `rtmsd mux`: one file of a recording, made with the installed ffmpeg.

mod cues;
mod feed;
mod ffmpeg;
mod h264;
mod matroska;
mod plan;
mod read;
mod recording;
mod shell;
mod timing;

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use self::ffmpeg::Failure;
use self::plan::{Arg, Choice, FFMPEG_MIN, Plan};
use self::recording::Recording;
use crate::cli::exit;
use crate::net::file_limit::raise_file_limit;

pub(super) use self::ffmpeg::{BECOME_FFMPEG, become_ffmpeg};
pub use self::plan::{Format, Picture};

/// The options of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The stream's folder, or a folder above it with no other stream.
    pub folder: PathBuf,
    /// `--out`.
    pub out: Option<PathBuf>,
    /// `--format`.
    pub format: Option<Format>,
    /// `--picture`.
    pub picture: Option<Picture>,
    /// `--copy`.
    pub copy: bool,
    /// `--force`.
    pub force: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--feed`.
    pub feed: bool,
}

/// Runs the command; results go to `out`, errors and notes to standard error.
pub fn run(options: &Options, out: &mut impl Write) -> u8 {
    match mux(options, out) {
        Ok(()) => exit::OK,
        Err((code, text)) => {
            let _ = writeln!(io::stderr(), "{text}");
            code
        }
    }
}

fn mux(options: &Options, out: &mut impl Write) -> Result<(), (u8, String)> {
    let usage = |text: String| (exit::USAGE, format!("rtmsd mux: {text}"));
    let recording = read::recording(&options.folder).map_err(usage)?;
    if options.feed {
        return write_feed(&recording, options.picture, out);
    }
    let choice = Choice {
        out: options.out.clone(),
        format: options.format,
        picture: options.picture,
        copy: options.copy,
    };
    let plan = plan::plan(&recording, &choice).map_err(usage)?;
    for note in &recording.notes {
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    if recording.ended_ms.is_none() {
        let _ = writeln!(
            io::stderr(),
            "note: the stream is still being received; the output ends with what was written so far"
        );
    }
    if options.dry_run {
        let _ = out.write_all(&command_line(&plan, &recording.folder, options.force));
        return Ok(());
    }
    if plan.out.exists() && !options.force {
        return Err(usage(format!(
            "{}: found a file of that name, expected none; --force replaces it, --out names another",
            plan.out.display()
        )));
    }
    // ffmpeg inherits the limit; a webinar can have a thousand speakers, each with a file.
    let _ = raise_file_limit();
    let progress = ffmpeg::show_progress(plan.length_ms);
    match ffmpeg::run(&plan, &recording.folder, progress) {
        Ok(()) => {
            let _ = writeln!(out, "{}", summary(&plan));
            Ok(())
        }
        Err(failure) => Err(explain(failure, &plan, &recording.folder, options, out)),
    }
}

/// `--feed`.
fn write_feed(
    recording: &Recording,
    picture: Option<Picture>,
    out: &mut impl Write,
) -> Result<(), (u8, String)> {
    let usage = |text: String| (exit::USAGE, format!("rtmsd mux: {text}"));
    let feeds = plan::feeds(recording, picture).map_err(usage)?;
    let [feed] = &feeds[..] else {
        return Err(usage(match feeds.len() {
            0 => "--feed: found neither pictures nor a transcript, expected one of them".to_owned(),
            _ => "--feed: found two pictures, expected --picture camera or share".to_owned(),
        }));
    };
    let mut out = BufWriter::with_capacity(256 << 10, out);
    match feed::write(&mut out, &recording.folder, feed) {
        // The reader needs no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err((
            exit::UNAVAILABLE,
            format!("rtmsd mux: standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// One line about the output.
fn summary(plan: &Plan<'_>) -> String {
    let mut parts = vec![format!(
        "{}.{} s",
        plan.length_ms / 1000,
        plan.length_ms % 1000 / 100
    )];
    if let Some((width, height, rate)) = plan.picture {
        parts.push(format!("{width}x{height}, {rate} frames a second"));
    }
    if plan.audio > 0 {
        parts.push(format!("{} audio files", plan.audio));
    }
    let cues = plan.feeds.first().map_or(0, |feed| feed.cues.len());
    if cues > 0 {
        parts.push(format!("{cues} subtitles"));
    }
    format!("{}: {}", plan.out.display(), parts.join(", "))
}

fn explain(
    failure: Failure,
    plan: &Plan<'_>,
    folder: &Path,
    options: &Options,
    out: &mut impl Write,
) -> (u8, String) {
    match failure {
        Failure::NotInstalled => {
            let _ = out.write_all(&command_line(plan, folder, options.force));
            let text = format!(
                "rtmsd mux: found no ffmpeg in PATH, expected version {FFMPEG_MIN} or later: install it \
                 (apt-get install ffmpeg), or run the line above on a machine that has it"
            );
            (exit::UNAVAILABLE, text)
        }
        Failure::Io(error) => {
            let code = match error.kind() {
                io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
                _ => exit::UNAVAILABLE,
            };
            let text = format!(
                "rtmsd mux: {}: {error}; --out names another file",
                plan.out.display()
            );
            (code, text)
        }
        Failure::Failed(status, last_lines) => {
            let text = format!(
                "rtmsd mux: ffmpeg failed ({status}), expected version {FFMPEG_MIN} or later; --dry-run \
                 prints the command. Its last messages:\n{last_lines}"
            );
            (exit::UNAVAILABLE, text.trim_end().to_owned())
        }
        Failure::Signal(number) => (
            128 + number,
            "rtmsd mux: stopped by a signal; no file was made".to_owned(),
        ),
    }
}

/// The command line that makes the output, for sh, or for bash if there are two feeds.
fn command_line(plan: &Plan<'_>, folder: &Path, may_replace: bool) -> Vec<u8> {
    let feed = |n: usize| {
        let kind = plan.feeds[n].track.as_ref().map(|(track, _)| track.kind);
        let picture = match kind {
            Some("share") => &["--picture", "share"][..],
            _ => &[],
        };
        let words = ["rtmsd", "mux", "--feed"].iter().chain(picture);
        let words = words.map(OsStr::new).chain([folder.as_os_str()]);
        shell::line(words)
    };
    let mut line = Vec::new();
    if !plan.feeds.is_empty() {
        line = feed(0);
        line.extend_from_slice(b" | ");
    }
    line.extend_from_slice(b"ffmpeg");
    for arg in plan.args(&plan.out, may_replace) {
        line.push(b' ');
        match arg {
            Arg::Word(word) => line.extend(shell::line([word])),
            Arg::Feed(0) => line.extend_from_slice(b"pipe:0"),
            Arg::Feed(n) => line.extend([&b"<("[..], &feed(n), b")"].concat()),
        }
    }
    line.push(b'\n');
    line
}
