//! A real `redis-server` on a Unix socket, which keeps a log as the manual wants it, and counts.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

/// The server. Dropping it kills it.
pub(crate) struct Store {
    program: String,
    folder: PathBuf,
    process: Option<Child>,
}

/// What it had counted at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// With those inside scripts.
    pub(crate) commands: f64,
    pub(crate) bytes: f64,
    /// What is stored, without what the server needs for itself.
    pub(crate) stored: f64,
}

impl Store {
    /// Starts it. `None`, with a line, where it is not installed; `RTMSD_REDIS` names another program.
    pub(crate) fn start(folder: &Path) -> Option<Store> {
        let program = std::env::var("RTMSD_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        if Command::new(&program).arg("--version").output().is_err() {
            println!("fleet: skipped, {program} is not installed");
            return None;
        }
        let folder = folder.join("store");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut store = Store {
            program,
            folder,
            process: None,
        };
        store.run();
        Some(store)
    }

    /// Starts the process, which loads what its log has.
    pub(crate) fn run(&mut self) {
        let process = Command::new(&self.program)
            .args(["--port", "0", "--unixsocket", "redis.sock", "--dir", "."])
            .args(["--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "everysec"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(process.expect("it starts"));
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(Instant::now() < until, "the store answers");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return false;
        };
        let mut answer = [0; 5];
        let _ = stream.set_read_timeout(Some(PATIENCE));
        // While it loads its log it answers with an error.
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && &answer == b"+PONG"
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// What nodes are told.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().map(|child| child.id() as i32);
        if let Some(pid) = id.and_then(Pid::from_raw) {
            kill_process(pid, signal).expect("it runs");
        }
    }

    /// Ends it by that signal, and waits until it is gone.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut process) = self.process.take() {
            process.wait().expect("a child");
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Removes what it has written; it must not run.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.folder.join("appendonlydir"));
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.socket()).expect("the store runs");
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("a socket");
        BufReader::new(stream)
    }

    /// What it has counted so far.
    pub(crate) fn counted(&self) -> Counted {
        let mut stream = self.connect();
        stream.get_mut().write_all(b"INFO\r\n").expect("it reads");
        let mut head = String::new();
        stream.read_line(&mut head).expect("it answers");
        let count = head[1..].trim_end().parse().expect("a length");
        let mut text = vec![0; count];
        stream.read_exact(&mut text).expect("it answers");
        let text = String::from_utf8_lossy(&text).into_owned();
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
            let found = pairs.find(|(known, _)| *known == key);
            found
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0.0)
        };
        Counted {
            commands: value("total_commands_processed"),
            bytes: value("total_net_input_bytes") + value("total_net_output_bytes"),
            stored: value("used_memory_dataset"),
        }
    }

    /// Watches for so long: how often each command came over the wire, most often first. Commands inside
    /// scripts are not among them.
    pub(crate) fn watch(&self, time: Duration) -> Vec<(String, u64)> {
        let mut stream = self.connect();
        stream
            .get_mut()
            .write_all(b"MONITOR\r\n")
            .expect("it reads");
        let until = Instant::now() + time;
        let mut counts: Vec<(String, u64)> = Vec::new();
        let mut line = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let patience = Some(left.max(Duration::from_millis(1)));
            stream
                .get_mut()
                .set_read_timeout(patience)
                .expect("a socket");
            // A line that has not come whole stays for the next time.
            if stream.read_until(b'\n', &mut line).is_err() {
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            let Some(word) = command(&text) else { continue };
            match counts.iter_mut().find(|(known, _)| known == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word.to_owned(), 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The command of a line of MONITOR, `+time [database address] "command" "argument"`; none for those inside
/// scripts, whose address is `lua`.
fn command(line: &str) -> Option<&str> {
    let (from, rest) = line.split_once("] \"")?;
    let is_inside = from.ends_with(" lua");
    rest.split('"').next().filter(|_| !is_inside)
}
