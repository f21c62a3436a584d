//! One run of the hook: a process group of its own, a time limit, and what it prints as log lines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, fcntl_setfl, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use serde_json::Value;

use super::super::entry::{EndKind, Entry};
use super::super::queue::HookEnd;
use super::{HookSettings, environment, inherited};
use crate::domain::text::{bounded, one_line};
use crate::net::waker::{Wakeable, Waker, waker};

/// From SIGTERM to SIGKILL, for a hook that took too long or whose stream was revoked.
pub const KILL_AFTER: Duration = Duration::from_secs(10);
/// What of a run's output is logged.
const LOG_BYTES_MAX: usize = 16 << 10;
/// Longest line of a log; longer ones are cut into several.
const LINE_BYTES_MAX: usize = 2048;
/// How often a process is asked whether it has ended, where the kernel cannot say so.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// The largest `meta.json` that variables are taken from.
const META_BYTES_MAX: u64 = 16 << 20;

/// Ends a run from outside.
#[derive(Debug, Clone)]
pub struct Stopper {
    waker: Waker,
    is_stopped: Arc<AtomicBool>,
    /// The server ends, so there is no time: SIGKILL comes when [`Stopper::kill`] is called.
    is_killed: Arc<AtomicBool>,
}

impl Stopper {
    /// For one run, and what the run waits on.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<(Stopper, Wakeable)> {
        let (waker, wakeable) = waker()?;
        let stopper = Stopper {
            waker,
            is_stopped: Arc::default(),
            is_killed: Arc::default(),
        };
        Ok((stopper, wakeable))
    }

    /// SIGTERM now, SIGKILL later.
    pub fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
        self.waker.wake();
    }

    /// SIGKILL now.
    pub fn kill(&self) {
        self.is_killed.store(true, Relaxed);
        self.stop();
    }
}

/// Runs the hook to its end.
pub fn run(
    settings: &HookSettings,
    entry: &Entry,
    attempt: u32,
    (stopper, wakeable): (&Stopper, &Wakeable),
) -> HookEnd {
    match start(settings, entry, attempt) {
        Ok((child, output)) => {
            let run = Run {
                group: i32::try_from(child.id()).ok().and_then(Pid::from_raw),
                child,
                output: Some(output),
                lines: Lines::new(&entry.ids.stream_id),
                stopper,
                wakeable,
                ended: None,
            };
            run.wait(settings.timeout)
        }
        Err(error) => HookEnd::Failed(format!("cannot start: {error}")),
    }
}

/// Starts it; what it prints comes out of the second.
fn start(
    settings: &HookSettings,
    entry: &Entry,
    attempt: u32,
) -> io::Result<(Child, io::PipeReader)> {
    let (meta, input) = match entry.kind {
        EndKind::Ended => {
            let path = entry.folder.join("meta.json");
            let mut text = Vec::new();
            File::open(&path)?
                .take(META_BYTES_MAX)
                .read_to_end(&mut text)?;
            let meta = serde_json::from_slice(&text).unwrap_or_default();
            (meta, File::open(&path)?)
        }
        EndKind::Revoked => (Value::Null, memory_file(&environment::ids(entry))?),
    };
    let (reader, writer) = io::pipe()?;
    let mut command = inherited::command(&settings.program(), &settings.command[1..]);
    command
        .env_clear()
        .envs(
            settings
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .envs(environment::variables(entry, &meta, attempt))
        .stdin(Stdio::from(input))
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    match entry.kind {
        EndKind::Ended => command.current_dir(&entry.folder),
        EndKind::Revoked => command.current_dir("/"),
    };
    let child = command.spawn()?;
    let flags = fcntl_getfl(&reader)?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK)?;
    Ok((child, reader))
}

/// A file without a name, to be read from its beginning.
fn memory_file(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("rtmsd-hook", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Why a run is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    TimeOut,
    Stopped,
}

struct Run<'a> {
    child: Child,
    group: Option<Pid>,
    output: Option<io::PipeReader>,
    lines: Lines<'a>,
    stopper: &'a Stopper,
    wakeable: &'a Wakeable,
    ended: Option<Ended>,
}

impl Run<'_> {
    fn wait(mut self, timeout: Duration) -> HookEnd {
        let process = self
            .group
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut deadline = Instant::now() + timeout;
        let status = loop {
            self.read_output();
            if self.has_exited() {
                if self.ended.is_some() {
                    // Children of a run that we ended do not live on beside the next one.
                    self.signal(Signal::KILL);
                }
                break self.child.wait();
            }
            let now = Instant::now();
            if self.stopper.is_killed.load(Relaxed) {
                self.ended = Some(Ended::Stopped);
                self.signal(Signal::KILL);
                deadline = now + KILL_AFTER;
            } else if self.stopper.is_stopped.load(Relaxed) && self.ended != Some(Ended::Stopped) {
                self.ended = Some(Ended::Stopped);
                self.signal(Signal::TERM);
                deadline = now + KILL_AFTER;
            } else if now >= deadline {
                match self.ended {
                    None => {
                        self.ended = Some(Ended::TimeOut);
                        self.signal(Signal::TERM);
                    }
                    Some(_) => self.signal(Signal::KILL),
                }
                deadline = now + KILL_AFTER;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = match process {
                Some(_) => left,
                None => left.min(ASK_EVERY),
            };
            self.poll(process.as_ref(), left);
        };
        self.lines.end_line();
        let HookEnd::Failed(how) = outcome(status) else {
            return match self.ended {
                Some(Ended::Stopped) => HookEnd::Cancelled,
                _ => HookEnd::Fine,
            };
        };
        match self.ended {
            None => HookEnd::Failed(how),
            Some(Ended::Stopped) => HookEnd::Cancelled,
            Some(Ended::TimeOut) => {
                let seconds = timeout.as_secs();
                HookEnd::Failed(format!("no end within RTMS_HOOK_TIMEOUT={seconds}, {how}"))
            }
        }
    }

    /// Whether the process has exited. It is not waited for yet, so that its id and the name of its
    /// group stay its own.
    fn has_exited(&self) -> bool {
        let Some(pid) = self.group else {
            return true;
        };
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Without an answer, waiting for it says what is wrong.
        !matches!(waitid(WaitId::Pid(pid), how), Ok(None))
    }

    /// Waits for output, the end of the process, or a word from outside.
    fn poll(&self, process: Option<&impl AsFd>, at_most: Duration) {
        let mut files = vec![PollFd::new(self.wakeable, PollFlags::IN)];
        files.extend(process.map(|process| PollFd::new(process, PollFlags::IN)));
        files.extend(
            self.output
                .iter()
                .map(|output| PollFd::new(output, PollFlags::IN)),
        );
        let wait = Timespec {
            tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // An interrupted wait is one that was short.
        let _ = poll(&mut files, Some(&wait));
        self.wakeable.clear();
    }

    fn read_output(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(output) = &mut self.output {
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(bytes) => self.lines.push(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    /// To the whole group, which has its name as long as its leader was not waited for.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended at this moment.
            let _ = kill_process_group(group, signal);
        }
    }
}

fn outcome(status: io::Result<ExitStatus>) -> HookEnd {
    match status {
        Ok(status) if status.success() => HookEnd::Fine,
        Ok(status) => HookEnd::Failed(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown".to_owned(),
        }),
        Err(error) => HookEnd::Failed(format!("cannot be waited for: {error}")),
    }
}

/// What a hook prints, cut into lines.
struct Lines<'a> {
    stream_id: &'a str,
    line: Vec<u8>,
    bytes: usize,
}

impl<'a> Lines<'a> {
    fn new(stream_id: &'a str) -> Lines<'a> {
        let line = Vec::new();
        Lines {
            stream_id,
            line,
            bytes: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.bytes >= LOG_BYTES_MAX {
                return;
            }
            self.bytes += 1;
            match byte {
                b'\n' => self.end_line(),
                byte => self.line.push(*byte),
            }
            if self.line.len() >= LINE_BYTES_MAX {
                self.end_line();
            }
            if self.bytes == LOG_BYTES_MAX {
                self.end_line();
                let stream = self.stream_id;
                log::info!("hook stream={stream} : more output is not logged");
            }
        }
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = one_line(&text);
        if !text.is_empty() {
            let text = bounded(&text, 2 * LINE_BYTES_MAX);
            log::info!("hook stream={} : {text}", self.stream_id);
        }
        self.line.clear();
    }
}
