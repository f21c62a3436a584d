//! The real server as a child process: started with its own configuration file, located by the
//! address in its log, ended by signals.
//!
//! The `demo` command and the end-to-end tests start it in the same way.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Zoom;
use super::player::script::DemoProduct;
use super::zoom::record::{left, lock};

/// Time limit until a server listens.
const LISTEN_MAX: Duration = Duration::from_secs(10);
/// Maximum log lines that are kept; older ones are dropped.
const LINES_MAX: usize = 100_000;

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The `rtmsd` binary.
    pub program: PathBuf,
    /// Where its configuration is written, as `rtms.conf` (mode 0600).
    pub folder: PathBuf,
    /// Its settings. `RTMS_ADMIN` is off unless it is among them: several servers run at once.
    pub settings: Vec<(String, String)>,
    /// Added to its environment, which is ours without what only a shell has.
    pub environment: Vec<(String, String)>,
    /// Its stdout goes to ours; otherwise nowhere.
    pub shows_stdout: bool,
    /// Its log goes to our stderr too, in addition to being kept.
    pub shows_log: bool,
    /// In a process group of its own, which Ctrl-C in a terminal does not reach.
    pub is_apart: bool,
}

/// A running server. Dropping it kills it.
pub struct ServerProcess {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    /// Number of older lines that were dropped.
    dropped: usize,
    address: Option<SocketAddr>,
    is_over: bool,
}

impl ServerCommand {
    /// A server for that Zoom on a free port of loopback. Its configuration, `out` and `state` are
    /// in `folder`.
    pub fn new(program: impl Into<PathBuf>, zoom: &Zoom, folder: &Path) -> ServerCommand {
        let mut command = ServerCommand {
            program: program.into(),
            folder: folder.to_owned(),
            settings: zoom.environment(),
            environment: Vec::new(),
            shows_stdout: false,
            shows_log: false,
            is_apart: false,
        };
        for (key, value) in [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("RTMS_ADMIN", "off"),
            ("RTMS_OUT", &folder.join("out").display().to_string()),
            ("RTMS_STATE", &folder.join("state").display().to_string()),
            ("RTMS_LOG_FORMAT", "text"),
        ] {
            command.set(key, value);
        }
        command
    }

    /// Sets a setting, replacing an earlier value.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Starts the server and makes that Zoom post its webhooks to it.
    ///
    /// # Errors
    /// Those of [`ServerCommand::start`], and if it does not listen within ten seconds; then the
    /// error contains the end of its log.
    pub fn serve(&self, zoom: &Zoom) -> io::Result<ServerProcess> {
        let (server, address) = self.listen()?;
        zoom.set_webhook_target(&format!("http://{address}/webhook"))?;
        Ok(server)
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// Those of [`ServerCommand::serve`].
    pub(crate) fn listen(&self) -> io::Result<(ServerProcess, SocketAddr)> {
        let server = self.start()?;
        let Some(address) = server.address(LISTEN_MAX) else {
            return Err(server.silent("listening addr=…"));
        };
        Ok((server, address))
    }

    /// Starts a server without a port and waits until it is connected to the event WebSocket.
    ///
    /// # Errors
    /// Those of [`ServerCommand::serve`].
    pub(crate) fn connect(&self) -> io::Result<ServerProcess> {
        let server = self.start()?;
        let is_it = |line: &str| line.contains("events connected");
        match server.wait_for_line(LISTEN_MAX, is_it) {
            Some(_) => Ok(server),
            None => Err(server.silent("events connected")),
        }
    }

    /// Writes the configuration and starts `rtmsd serve --config` with it. Settings in our own
    /// environment that the server would read are removed.
    ///
    /// # Errors
    /// If the file cannot be written or the program not started.
    pub fn start(&self) -> io::Result<ServerProcess> {
        self.start_on(Stdio::piped())
    }

    /// As [`ServerCommand::start`], with this as its stdin, as systemd passes a socket.
    ///
    /// # Errors
    /// As for [`ServerCommand::start`].
    pub fn start_on(&self, stdin: Stdio) -> io::Result<ServerProcess> {
        let config = self.folder.join("rtms.conf");
        let mut settings = self.settings.clone();
        if !settings.iter().any(|(key, _)| key == "RTMS_ADMIN") {
            settings.push(("RTMS_ADMIN".to_owned(), "off".to_owned()));
        }
        write_config(&config, &settings)?;
        let mut command = self.command("serve");
        command
            .stdin(stdin)
            .stdout(match self.shows_stdout {
                true => Stdio::inherit(),
                false => Stdio::null(),
            })
            .stderr(Stdio::piped());
        if self.is_apart {
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        drop(child.stdin.take());
        let log = Arc::new(Log::default());
        let reader = match child.stderr.take() {
            Some(stderr) => {
                let (log, shows_log) = (Arc::clone(&log), self.shows_log);
                let reader = thread::Builder::new()
                    .name("demo-log".to_owned())
                    .stack_size(128 * 1024)
                    .spawn(move || log.read(stderr, shows_log))?;
                Some(reader)
            }
            None => None,
        };
        Ok(ServerProcess { child, log, reader })
    }
}

impl ServerCommand {
    /// A command of the same program with the same configuration.
    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.program);
        let config = self.folder.join("rtms.conf");
        command.arg(word).arg("--config").arg(config);
        for (key, _) in std::env::vars_os() {
            // As under systemd, which does not pass a shell's root certificates.
            let is_kept = |key: &str| !is_setting(key) && !key.starts_with("SSL_CERT_");
            if !key.to_str().is_some_and(is_kept) {
                command.env_remove(&key);
            }
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        // A closed pipe, which does not need /dev/null, because a bare chroot has none.
        command.stdin(Stdio::piped());
        command
    }

    /// Runs `rtmsd start` or `rtmsd stop` (the `word`) with the configuration of a started server.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn control(&self, word: &str, product: DemoProduct, id: &str) -> io::Result<Output> {
        let mut command = self.command(word);
        command.args(["--product", product.word(), "--", id]);
        command.output()
    }
}

/// The path of this program, to start it again. A bare chroot has no /proc; there the program's own
/// name must be a path.
///
/// # Errors
/// Those of /proc, if the name does not help.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| {
        let name = std::env::args_os().next().map(PathBuf::from);
        let path = name.filter(|name| name.components().count() > 1);
        path.and_then(|path| path.canonicalize().ok()).ok_or(error)
    })
}

/// Whether a variable with that name would affect the server.
fn is_setting(key: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "HOST",
        "PORT",
        "WEBHOOK_PATH",
        "access_token",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
        "WATCHDOG_USEC",
    ];
    key.starts_with("ZOOM_") || key.starts_with("RTMS_") || OTHERS.contains(&key)
}

fn write_config(path: &Path, settings: &[(String, String)]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    for (key, value) in settings {
        writeln!(file, "{key}=\"{value}\"")?;
    }
    Ok(())
}

impl ServerProcess {
    /// The error of a server that did not log what it should.
    fn silent(&self, expected: &str) -> io::Error {
        let log = self.log();
        let last = log[log.len().saturating_sub(20)..].join("\n");
        io::Error::other(format!(
            "server: found no such line in its log, expected `{expected}`; what it logged last:\n{last}"
        ))
    }

    /// The address it listens on, once its log has it; `None` if not in time, or if it ends.
    pub fn address(&self, within: Duration) -> Option<SocketAddr> {
        self.log.wait(within, |state| state.address)
    }

    /// The first line of the log for which `is_it` is true; `None` if there is none in time, or if
    /// the log ends before.
    pub fn wait_for_line(
        &self,
        within: Duration,
        mut is_it: impl FnMut(&str) -> bool,
    ) -> Option<String> {
        let mut seen: usize = 0;
        self.log.wait(within, |state| {
            let mut new = state.lines.iter().skip(seen.saturating_sub(state.dropped));
            seen = state.dropped + state.lines.len();
            new.find(|line| is_it(line)).cloned()
        })
    }

    /// Its log so far.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log.state).lines.clone()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits; `None` if it has not ended in time.
    pub fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(within)
    }

    /// Sends it a signal, if it is still running.
    pub fn signal(&mut self, signal: Signal) {
        let is_running = matches!(self.child.try_wait(), Ok(None));
        if let (true, Some(pid)) = (is_running, Pid::from_raw(self.child.id() as i32)) {
            // It may have ended in between; it is not reaped yet, so the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it has ended and its whole log is read.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        (self.log).wait(within, |state| state.is_over.then_some(()))?;
        // The log ends a moment before the process does.
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                _ => return None,
            }
        }
    }

    /// Kills it at once (SIGKILL), like a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    /// The result of `look`, once it finds something; `None` if the log ends or the time passes
    /// before.
    fn wait<T>(&self, within: Duration, mut look: impl FnMut(&LogState) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut state = lock(&self.state);
        loop {
            let (found, left) = (look(&state), left(until));
            if found.is_some() || state.is_over || left.is_zero() {
                return found;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn read(&self, stderr: ChildStderr, shows_log: bool) {
        for line in BufReader::new(stderr).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            if shows_log {
                // A closed stderr must not end the demo.
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
            let mut state = lock(&self.state);
            if state.address.is_none() {
                state.address = parse_address(&line);
            }
            if state.lines.len() >= LINES_MAX {
                state.lines.drain(..LINES_MAX / 2);
                state.dropped += LINES_MAX / 2;
            }
            state.lines.push(line);
            drop(state);
            self.changed.notify_all();
        }
        lock(&self.state).is_over = true;
        self.changed.notify_all();
    }
}

/// The address in a line with `listening` and `addr=…`, with or without quotes, in text or JSON.
fn parse_address(line: &str) -> Option<SocketAddr> {
    if !line.contains("listening") {
        return None;
    }
    let (_, rest) = line.split_once("addr")?;
    let rest = rest.trim_start_matches(['=', ':', '"', ' ', '\\']);
    let end = rest
        .find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']')))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_every_form_of_log() {
        let address: SocketAddr = "127.0.0.1:41234".parse().expect("it is one");
        for line in [
            "INFO listening addr=127.0.0.1:41234",
            "2026-11-23T12:00:00Z info  rtmsd: listening for webhooks, addr=127.0.0.1:41234 path=/webhook",
            r#"{"level":"info","message":"listening","addr":"127.0.0.1:41234"}"#,
            r#"<6>listening addr="127.0.0.1:41234""#,
        ] {
            assert_eq!(parse_address(line), Some(address), "{line}");
        }
        assert_eq!(parse_address("connected addr=127.0.0.1:1"), None);
    }

    #[test]
    fn a_server_that_ends_at_once_has_no_address() {
        let folder = crate::demo::temporary_directory().expect("it is made");
        let mut server = ServerCommand {
            program: "false".into(),
            folder: folder.clone(),
            settings: vec![("KEY".to_owned(), "value".to_owned())],
            environment: Vec::new(),
            shows_stdout: false,
            shows_log: false,
            is_apart: false,
        }
        .start()
        .expect("it starts");
        assert_eq!(server.address(Duration::from_secs(10)), None);
        let status = server.wait(Duration::from_secs(10)).expect("it has ended");
        assert_eq!(status.code(), Some(1));
        fs::remove_dir_all(folder).expect("it is there");
    }
}
