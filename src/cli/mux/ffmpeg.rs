//! The ffmpeg process: its input, its progress, and its end together with ours.
//!
//! ffmpeg reads audio files itself and ignores a closed pipe, so after a SIGKILL of this program it
//! would continue, for as long as an hour of audio takes. So the kernel ends it: this program is
//! started once more, requests a signal at the end of its parent, which survives an exec(2), and
//! becomes ffmpeg.
//! exec(2), and becomes ffmpeg.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::feed;
use super::plan::{Arg, Plan};
use crate::recorder::append_file::create_file;

/// Bytes that are collected for one write to a pipe.
const FEED_BYTES: usize = 256 << 10;

/// Lines of ffmpeg's standard error that an error shows.
const TAIL_LINES: usize = 12;

/// How often signals and the child are checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The first argument with which this program becomes ffmpeg; the process id of its parent, the program
/// and its arguments follow.
pub(in crate::cli) const BECOME_FFMPEG: &str = "--become-ffmpeg";

/// This program, even if its file was replaced.
const OURSELVES: &str = "/proc/self/exe";

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

/// Runs `ffmpeg` into a temporary file beside the plan's output, and renames it when it is complete.
///
/// `folder` is the recording's; `progress` is called with the milliseconds done.
pub(super) fn run(
    plan: &Plan<'_>,
    folder: &Path,
    progress: impl Fn(u64) + Send,
) -> Result<(), Failure> {
    // 0: none yet.
    let signal = Arc::new(AtomicUsize::new(0));
    // Not SIGHUP, which nohup(1) ignores.
    let registered: Vec<_> = [SIGINT, SIGTERM]
        .into_iter()
        .filter_map(|n| flag::register_usize(n, Arc::clone(&signal), n as usize).ok())
        .collect();
    let temporary = Temporary::beside(&plan.out);
    let result = run_into(&temporary.0, plan, folder, progress, &signal);
    for id in registered {
        signal_hook::low_level::unregister(id);
    }
    result?;
    let put = || {
        File::open(&temporary.0)?.sync_all()?;
        fs::rename(&temporary.0, &plan.out)
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

/// Becomes another program that ends with its parent. The arguments are those behind
/// [`BECOME_FFMPEG`].
pub(in crate::cli) fn become_ffmpeg(
    mut args: impl Iterator<Item = OsString>,
) -> io::Result<Infallible> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let parent = args.next().ok_or_else(missing)?;
    let program = args.next().ok_or_else(missing)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before that.
    let is_orphan = getppid().map(pid_text).as_deref() != parent.to_str();
    match is_orphan {
        true => Err(missing()),
        false => Err(Command::new(program).args(args).exec()),
    }
}

fn pid_text(pid: Pid) -> String {
    pid.as_raw_nonzero().to_string()
}

/// ffmpeg in PATH.
fn find_ffmpeg() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("ffmpeg"));
    programs.find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
}

/// The program with its pipes, and our ends of those that it reads.
fn start(temporary: &Path, plan: &Plan<'_>) -> Result<(Running, Vec<PipeWriter>), Failure> {
    let pipes = plan.feeds.iter().map(|_| io::pipe());
    let pipes: io::Result<Vec<_>> = pipes.collect();
    let (readers, writers): (Vec<_>, Vec<_>) = pipes.map_err(Failure::Io)?.into_iter().unzip();
    let mut names = vec!["pipe:0".to_owned()];
    for reader in readers.iter().skip(1) {
        // This one stays open in the child, under its number.
        fcntl_setfd(reader, FdFlags::empty()).map_err(|error| Failure::Io(error.into()))?;
        names.push(format!("pipe:{}", reader.as_raw_fd()));
    }
    let program = find_ffmpeg().ok_or(Failure::NotInstalled)?;
    let mut command = match Path::new(OURSELVES).exists() {
        true => {
            let mut command = Command::new(OURSELVES);
            command.args([OsStr::new(BECOME_FFMPEG), OsStr::new(&pid_text(getpid()))]);
            command.arg(program);
            command
        }
        // On a system without /proc it continues after a SIGKILL.
        false => Command::new(program),
    };
    command.args(["-nostats", "-progress", "pipe:1"]);
    command.args(plan.args(temporary, true).into_iter().map(|arg| match arg {
        Arg::Word(word) => word,
        Arg::Feed(n) => OsString::from(&names[n]),
    }));
    let mut readers = readers.into_iter();
    command
        .stdin(readers.next().map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => Ok((Running(child), writers)),
        Err(error) => Err(Failure::Io(error)),
    }
}

fn run_into(
    temporary: &Path,
    plan: &Plan<'_>,
    folder: &Path,
    progress: impl Fn(u64) + Send,
    signal: &AtomicUsize,
) -> Result<(), Failure> {
    // ffmpeg keeps the mode of a file that exists: only the user and the group may read it.
    create_file(temporary).map_err(Failure::Io)?;
    let (mut running, writers) = start(temporary, plan)?;
    let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
    thread::scope(|scope| {
        let feeds = plan.feeds.iter().zip(writers);
        let feeding: Vec<_> = feeds
            .map(|(feed, writer)| {
                let mut writer = BufWriter::with_capacity(FEED_BYTES, writer);
                scope.spawn(move || feed::write(&mut writer, folder, feed))
            })
            .collect();
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
        let mut fed = Ok(());
        for thread in feeding {
            let panicked = |_| Err(io::Error::other("a thread that feeds ffmpeg panicked"));
            match thread.join().unwrap_or_else(panicked) {
                // ffmpeg needs no input after the end of the output.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                result => fed = fed.and(result),
            }
        }
        match status.success() {
            true => fed.map_err(Failure::Io),
            false => Err(Failure::Failed(status, last_lines)),
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
