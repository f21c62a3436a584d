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

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use self::ffmpeg::Failure;
use self::plan::{Choice, FFMPEG_MIN, Plan};
use crate::cli::exit;
use crate::net::file_limit::raise_file_limit;

pub use self::plan::{Format, Picture};

/// What was asked for.
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
        let feed = plan::feed(&recording, options.picture, true).map_err(usage)?;
        let mut out = BufWriter::with_capacity(256 << 10, out);
        return match feed::write(&mut out, &recording.folder, &feed) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((
                exit::UNAVAILABLE,
                format!("rtmsd mux: standard output: {error}"),
            )),
            _ => Ok(()),
        };
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
    if !recording.is_ended {
        let _ = writeln!(
            io::stderr(),
            "note: the stream is still being received; the output ends with what was written so far"
        );
    }
    if options.dry_run {
        let _ = out.write_all(&command_line(&plan, &recording.folder, options));
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
    let feed = plan.feed.as_ref().map(|feed| {
        let folder = &recording.folder;
        move |stdin: &mut BufWriter<std::process::ChildStdin>| feed::write(stdin, folder, feed)
    });
    let progress = ffmpeg::show_progress(plan.length_ms);
    let made = ffmpeg::run(&plan.out, |part| plan.args(part, true), feed, progress);
    match made {
        Ok(()) => {
            let _ = writeln!(out, "{}", summary(&plan));
            Ok(())
        }
        Err(failure) => Err(explain(failure, &plan, &recording.folder, options, out)),
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
    let cues = plan.feed.as_ref().map_or(0, |feed| feed.cues.len());
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
            let _ = out.write_all(&command_line(plan, folder, options));
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
            (code, format!("rtmsd mux: {}: {error}", plan.out.display()))
        }
        Failure::Failed(status, last_lines) => {
            let text = format!(
                "rtmsd mux: ffmpeg failed ({status}); --dry-run prints the command. Its last messages:\n\
                 {last_lines}"
            );
            (exit::UNAVAILABLE, text.trim_end().to_owned())
        }
        Failure::Signal(number) => (
            128 + number,
            "rtmsd mux: stopped by a signal; no file was made".to_owned(),
        ),
    }
}

/// The command line that makes the output; `rtmsd mux --feed` writes what ffmpeg reads from standard
/// input.
fn command_line(plan: &Plan<'_>, folder: &Path, options: &Options) -> Vec<u8> {
    let mut line = Vec::new();
    if plan.feed.is_some() {
        let mut words: Vec<&OsStr> = ["rtmsd", "mux", "--feed"].map(OsStr::new).to_vec();
        if let Some(picture) = options.picture {
            words.extend(["--picture", picture.name()].map(OsStr::new));
        }
        words.push(folder.as_os_str());
        line = shell::line(words);
        line.extend_from_slice(b" | ");
    }
    let args = plan.args(&plan.out, options.force);
    let words = [OsString::from("ffmpeg")].into_iter().chain(args);
    line.extend_from_slice(&shell::line(words));
    line.push(b'\n');
    line
}
