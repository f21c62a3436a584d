//! The `rtmsd demo` command: the real server as a child process, meetings from the demo's Zoom,
//! and in the end a table of what was seen.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::chaos;
use super::compare::{Comparison, compare, transcript_lines};
use super::handle::MeetingHandle;
use super::process::{ServerCommand, ServerProcess};
use super::record::{Step, left};
use super::script::{MeetingScript, Socket};
use super::table::{COLUMNS, table};
use super::{Options, Zoom, oauth, temporary_directory};
use crate::exit;

/// From its own start of a stream to the server's own stop, seconds (`RTMS_STOP_AFTER`).
const STOP_AFTER_SECONDS: u64 = 4;
/// Everything up to the last meeting's end must be seen within this.
const PLAY_MAX: Duration = Duration::from_secs(12);
const LISTEN_MAX: Duration = Duration::from_secs(10);
/// The server promises to be gone 3 s after SIGTERM.
const EXIT_MAX: Duration = Duration::from_secs(4);

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where the files of the meetings go; a temporary folder, removed at the end, if `None`.
    pub out: Option<PathBuf>,
    /// How many meetings are played at once.
    pub meetings: usize,
    /// The server to try; this very program if `None`.
    pub program: Option<PathBuf>,
    /// Breaks everything that can break, and looks for what was lost or doubled.
    pub chaos: bool,
}

impl Default for DemoOptions {
    fn default() -> DemoOptions {
        DemoOptions {
            out: None,
            meetings: 2,
            program: None,
            chaos: false,
        }
    }
}

/// Plays the demo and prints what happened. Gives the exit code: 0 only if every step was seen and
/// every phrase received once; 69 if the server could not be started; 70 otherwise.
pub fn run(options: &DemoOptions) -> u8 {
    let played = match options.chaos {
        true => chaos::play(options),
        false => play(options),
    };
    match played {
        Ok(true) => exit::OK,
        Ok(false) => exit::SOFTWARE,
        Err(error) => {
            say(&format!("demo: {error}"));
            exit::UNAVAILABLE
        }
    }
}

/// A folder that is removed when the demo ends, however it ends.
pub(super) struct Folder(pub(super) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder is left to the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn play(options: &DemoOptions) -> io::Result<bool> {
    let folder = Folder(temporary_directory()?);
    let out = match &options.out {
        Some(out) => {
            fs::create_dir_all(out)?;
            out.clone()
        }
        None => folder.0.join("out"),
    };
    fs::create_dir_all(&out)?;
    let zoom = Zoom::start(Options {
        // Often enough that a meeting of a few seconds sees several.
        keep_alive: Duration::from_secs(1),
        directory: Some(folder.0.clone()),
        ..Options::default()
    })?;
    let mut server = start_server(options, &zoom, &folder.0, &out)?;
    let Some(address) = server.address(LISTEN_MAX) else {
        for line in server.log().iter().rev().take(20).rev() {
            say(line);
        }
        return Err(io::Error::other(
            "server: found no line with its address in its log, expected `listening addr=…`; \
             what it logged last is above",
        ));
    };
    say(&format!(
        "demo: the server listens on {address}; {} meetings of about {STOP_AFTER_SECONDS} s begin",
        options.meetings
    ));
    zoom.set_webhook_target(&format!("http://{address}/webhook"))?;
    zoom.challenge("demo-plain-token");

    let seed = oauth::random();
    let meetings: Vec<MeetingHandle> = (0..options.meetings)
        .map(|n| {
            let mut script = MeetingScript::varied(&seed, n);
            script.topic = format!("Demo {}", n + 1);
            zoom.start_meeting(script)
        })
        .collect();
    let until = Instant::now() + PLAY_MAX;
    for meeting in &meetings {
        // A step that is missing shows in the table.
        let _ = meeting.wait_for(Step::StoppedAnswered, left(until))
            && meeting.wait_for(Step::Closed, left(until));
    }
    let status = server.terminate(EXIT_MAX);
    let results = meetings
        .into_iter()
        .map(|meeting| {
            let lines = transcript_lines(&out, &meeting.script().id)?;
            let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
            Ok((meeting, result))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let keep_alives = zoom.keep_alive_latencies(Socket::Signaling);
    let mut faults = zoom.stop();
    faults.extend(
        results
            .iter()
            .flat_map(|(meeting, result)| missing(meeting, result)),
    );
    if status.and_then(|status| status.code()) != Some(0) {
        let found = status.map_or("still running".to_owned(), |status| status.to_string());
        faults.push(format!(
            "server after SIGTERM: found {found}, expected exit status 0 within 4 s"
        ));
    }

    say(&format!("\n{}", table(&results)));
    if !keep_alives.is_empty() {
        say(&format!(
            "{} signaling keep-alives answered, median {:.1} ms, slowest {:.1} ms",
            keep_alives.len(),
            keep_alives.percentile(0.5).as_secs_f64() * 1000.0,
            keep_alives.percentile(1.0).as_secs_f64() * 1000.0
        ));
    }
    say(&match &options.out {
        Some(out) => format!("files are in {}", out.display()),
        None => "files were in a temporary folder; --out DIR keeps them".to_owned(),
    });
    for fault in &faults {
        say(&format!("not as it should be: {fault}"));
    }
    if faults.is_empty() {
        say("every step was seen, every phrase received once");
    }
    Ok(faults.is_empty())
}

fn start_server(
    options: &DemoOptions,
    zoom: &Zoom,
    folder: &Path,
    out: &Path,
) -> io::Result<ServerProcess> {
    let mut settings = zoom.environment();
    let stop_after = STOP_AFTER_SECONDS.to_string();
    let out = fs::canonicalize(out)?.display().to_string();
    let state = folder.join("state").display().to_string();
    for (key, value) in [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("RTMS_ADMIN", "off"),
        ("RTMS_STOP_AFTER", &stop_after),
        ("RTMS_OUT", &out),
        ("RTMS_STATE", &state),
        ("RTMS_STDOUT", "text"),
        ("RTMS_LOG_FORMAT", "text"),
    ] {
        settings.push((key.to_owned(), value.to_owned()));
    }
    ServerCommand {
        program: match &options.program {
            Some(program) => program.clone(),
            None => super::process::own_program()?,
        },
        folder: folder.to_owned(),
        settings,
        shows_stdout: true,
        shows_log: true,
    }
    .start()
}

/// What a meeting lacks, in words.
fn missing(meeting: &MeetingHandle, result: &Comparison) -> Vec<String> {
    let topic = &meeting.script().topic;
    let mut faults: Vec<String> = COLUMNS
        .iter()
        .filter(|(step, _)| meeting.time_of(*step).is_none())
        .map(|(step, _)| format!("{topic}: not seen: {}", step.name()))
        .collect();
    if result.sent == 0 || !result.is_exact() {
        faults.push(format!("{topic}: {result:?}"));
    }
    faults
}

/// Stdout is what the command is for; a reader that went away ends nothing.
pub(super) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
