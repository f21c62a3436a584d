//! The server process: its configuration, its start, and its log.

use std::fs;
use std::io::{self, Write};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rtmsd::demo::{ServerCommand, ServerProcess, Zoom};

use super::{PATIENCE, RTMSD};

/// The server of a harness, which may not have been started yet.
#[derive(Default)]
pub(crate) struct Server(pub(super) Option<ServerProcess>);

impl Deref for Server {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        self.0.as_ref().expect("the server was started")
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut ServerProcess {
        self.0.as_mut().expect("the server was started")
    }
}

impl Server {
    /// Waits for a line of the log that contains all of these words; returns the first.
    #[track_caller]
    pub(crate) fn wait_until_logged(&self, words: &[&str]) -> String {
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        let line = self.wait_for_line(PATIENCE, is_it);
        line.unwrap_or_else(|| panic!("timed out: a log line with {words:?}"))
    }

    /// Whether the process is there; it may stand still.
    #[cfg(feature = "fleet")]
    pub(crate) fn is_running(&self) -> bool {
        std::fs::metadata(format!("/proc/{}/exe", self.id())).is_ok()
    }

    /// How many lines of the log contain all of these words.
    pub(crate) fn count_logged(&self, words: &[&str]) -> usize {
        let log = self.log();
        let is_it = |line: &&String| words.iter().all(|word| line.contains(word));
        log.iter().filter(is_it).count()
    }
}

/// The settings of a server, for its first and later starts.
#[derive(Clone, Default)]
pub(super) struct ServerSetup {
    settings: Vec<(String, String)>,
    prelude: String,
}

impl ServerSetup {
    /// A later value of a key replaces an earlier one. An empty value removes the key.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Shell commands that run just before the server, in its own process: with `$OUT` they choose
    /// where stdout goes.
    pub(super) fn set_prelude(&mut self, prelude: &str) {
        prelude.clone_into(&mut self.prelude);
    }

    /// The value of a key that was set.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut settings = self.settings.iter();
        let found = settings.find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is_admin_on(&self) -> bool {
        self.get("RTMS_ADMIN").is_some_and(|value| value != "off")
    }

    /// All settings of a server whose files are in that folder.
    pub(super) fn settings(&self, zoom: &Zoom, folder: &Path) -> Vec<(String, String)> {
        let mut all = zoom.environment();
        let path = |name: &str| folder.join(name).display().to_string();
        for (key, value) in [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
            ("RTMS_ADMIN", "off".to_owned()),
            ("RTMS_STDOUT", "jsonl".to_owned()),
            ("RTMS_LOG_FORMAT", "text".to_owned()),
            ("RTMS_OUT", path("out")),
            ("RTMS_STATE", path("state")),
        ] {
            all.push((key.to_owned(), value));
        }
        for (key, value) in &self.settings {
            all.retain(|(known, _)| known != key);
            all.push((key.clone(), value.clone()));
        }
        all.retain(|(_, value)| !value.is_empty());
        all
    }

    /// Writes them to a file with that name in the folder, and returns its path.
    pub(super) fn write(&self, zoom: &Zoom, folder: &Path, name: &str) -> PathBuf {
        let settings = self.settings(zoom, folder).into_iter();
        let lines = settings.map(|(key, value)| format!("{key}=\"{value}\"\n"));
        let path = folder.join(name);
        fs::write(&path, lines.collect::<String>()).expect("a configuration");
        path
    }

    /// Starts a server in that folder, with this as its stdin.
    pub(super) fn start(&self, zoom: &Zoom, folder: &Path, stdin: &dyn Fn() -> Stdio) -> Server {
        let program = folder.join("program");
        let script = format!(
            "#!/bin/sh\nOUT='{}'\n{}\nexec '{RTMSD}' \"$@\" >>\"$OUT\"\n",
            folder.join("stdout").display(),
            self.prelude,
        );
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o700);
        let mut file = file.open(&program).expect("a file");
        file.write_all(script.as_bytes()).expect("a file");
        drop(file);
        let command = ServerCommand {
            program,
            folder: folder.to_owned(),
            settings: self.settings(zoom, folder),
            environment: Vec::new(),
            shows_stdout: false,
            shows_log: std::env::var_os("RTMSD_SHOW_LOG").is_some(),
            is_apart: false,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match command.start_on(stdin()) {
                // A child of another test has the script open between its fork and its exec.
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy
                        && Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                started => return Server(Some(started.expect("the server starts"))),
            }
        }
    }
}
