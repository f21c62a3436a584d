//! The ffmpeg process: its input, its progress, and its end together with ours.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Lines of ffmpeg's standard error that an error shows.
const TAIL_LINES: usize = 12;

/// How often signals and the child are checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why there is no output.
#[derive(Debug)]
pub(super) enum Failure {
    /// No program `ffmpeg` in PATH.
    NotInstalled,
    /// The program could not be started, or its output not renamed.
    Io(io::Error),
    /// It ended with an error; with the last lines of its standard error.
    Failed(ExitStatus, String),
    /// This process got that signal.
    Signal(u8),
}

/// Runs `ffmpeg` into a temporary file beside `out`, which is renamed to `out` when it is complete.
///
/// `args` makes the arguments for a name; `feed` writes to standard input, on a thread of its own;
/// `progress` is called with the milliseconds done.
pub(super) fn run(
    out: &Path,
    args: impl FnOnce(&Path) -> Vec<OsString>,
    feed: Option<impl FnOnce(&mut BufWriter<ChildStdin>) -> io::Result<()> + Send>,
    progress: impl Fn(u64) + Send,
) -> Result<(), Failure> {
    // 0: none yet.
    let signal = Arc::new(AtomicUsize::new(0));
    // Not SIGHUP, which nohup(1) ignores.
    let registered: Vec<_> = [SIGINT, SIGTERM]
        .into_iter()
        .filter_map(|n| flag::register_usize(n, Arc::clone(&signal), n as usize).ok())
        .collect();
    let temporary = Temporary::beside(out);
    let result = run_into(&temporary.0, args(&temporary.0), feed, progress, &signal);
    for id in registered {
        signal_hook::low_level::unregister(id);
    }
    result?;
    let put = || {
        File::open(&temporary.0)?.sync_all()?;
        fs::rename(&temporary.0, out)
    };
    put().map_err(Failure::Io)
}

/// A file that is removed on drop unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(out: &Path) -> Temporary {
        let mut name = OsString::from(".");
        name.push(out.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        Temporary(out.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A child that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_into(
    temporary: &Path,
    args: Vec<OsString>,
    feed: Option<impl FnOnce(&mut BufWriter<ChildStdin>) -> io::Result<()> + Send>,
    progress: impl Fn(u64) + Send,
    signal: &AtomicUsize,
) -> Result<(), Failure> {
    let _ = fs::remove_file(temporary);
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostats", "-progress", "pipe:1"])
        .args(args)
        .stdin(if feed.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = match command.spawn() {
        Ok(child) => Running(child),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::NotInstalled),
        Err(error) => return Err(Failure::Io(error)),
    };
    let (stdin, stdout, stderr) = (
        running.0.stdin.take(),
        running.0.stdout.take(),
        running.0.stderr.take(),
    );
    thread::scope(|scope| {
        let feeding = scope.spawn(move || match (feed, stdin) {
            (Some(feed), Some(stdin)) => feed(&mut BufWriter::with_capacity(256 << 10, stdin)),
            _ => Ok(()),
        });
        let following = scope.spawn(move || follow(stdout, progress));
        let last_lines = scope.spawn(move || tail(stderr));
        // The pipes close when the child ends, and then the threads end.
        let status = loop {
            match signal.load(Ordering::Relaxed) {
                0 => {}
                number => {
                    let _ = running.0.kill();
                    let _ = running.0.wait();
                    return Err(Failure::Signal(number as u8));
                }
            }
            match running.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => thread::sleep(LOOK_EVERY),
                Err(error) => {
                    let _ = running.0.kill();
                    return Err(Failure::Io(error));
                }
            }
        };
        let _ = following.join();
        let last_lines = last_lines.join().unwrap_or_default();
        let panicked = |_| Err(io::Error::other("the thread that feeds ffmpeg panicked"));
        let fed = feeding.join().unwrap_or_else(panicked);
        match (status.success(), fed) {
            (false, _) => Err(Failure::Failed(status, last_lines)),
            // ffmpeg needs no input after the end of the output.
            (true, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Io(error))
            }
            (true, _) => Ok(()),
        }
    })
}

/// Reads `key=value` lines, of which one is the time that was reached.
fn follow(stdout: Option<impl Read>, progress: impl Fn(u64)) {
    let Some(stdout) = stdout else { return };
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        let time = line
            .strip_prefix("out_time_us=")
            .and_then(|us| us.trim().parse::<u64>().ok());
        if let Some(us) = time {
            progress(us / 1000);
        }
    }
}

/// The last lines of standard error.
fn tail(stderr: Option<impl Read>) -> String {
    let mut lines = VecDeque::new();
    let Some(stderr) = stderr else {
        return String::new();
    };
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(line) = line else { break };
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    lines
        .into_iter()
        .map(|line| format!("  {line}\n"))
        .collect()
}

/// Shows the progress if standard error is a terminal.
pub(super) fn show_progress(length_ms: u64) -> impl Fn(u64) + Send {
    let is_watched = io::stderr().is_terminal();
    move |done_ms| {
        if is_watched {
            let percent = (done_ms * 100).checked_div(length_ms).unwrap_or(0).min(100);
            let _ = write!(io::stderr(), "\r{percent:3} %\r");
        }
    }
}
