//! The harness of the end-to-end tests: the demo's Zoom, the real binary as a process of its own,
//! and a folder for all that it writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::os::unix::fs::OpenOptionsExt;

use rtmsd::demo::compare;
use rtmsd::demo::{
    Comparison, MeetingHandle, Options, ServerCommand, ServerProcess, Zoom, transcript_lines,
};
use serde_json::{Value, json};

/// Nothing in these tests takes longer unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Harness {
    pub(crate) server: ServerProcess,
    pub(crate) zoom: Zoom,
    /// With `rtms.conf`, `stdout`, `out/` and `state/`.
    pub(crate) folder: Folder,
}

/// A folder that goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "rtmsd-it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keep-alives so often that short meetings see some. One that is missed on a busy machine is no
/// fault as long as Zoom itself, which waits half a minute, would go on.
pub(crate) fn frequent_keep_alives(every_ms: u64) -> Options {
    Options {
        keep_alive: Duration::from_millis(every_ms),
        unanswered_max: (30_000 / every_ms) as usize,
        ..Options::default()
    }
}

impl Harness {
    /// Starts both. Stdout goes to a file.
    pub(crate) fn start(options: Options, settings: &[(&str, &str)]) -> Harness {
        Harness::start_in(options, settings, "")
    }

    /// Likewise, with shell commands that are run just before the server, in its own process: with
    /// `$OUT` they choose where stdout goes.
    pub(crate) fn start_in(options: Options, settings: &[(&str, &str)], before: &str) -> Harness {
        let folder = Folder::new();
        let zoom = Zoom::start(options).expect("a Zoom");
        let server = start_server(&zoom, folder.path(), settings, before);
        let stage = Harness {
            server,
            zoom,
            folder,
        };
        stage.find_server();
        stage
    }

    /// Where the server listens, once it does; Zoom posts there from then on.
    fn find_server(&self) {
        let Some(address) = self.server.address(PATIENCE) else {
            panic!("the server does not listen: {:?}", self.server.log());
        };
        self.zoom
            .set_webhook_target(&format!("http://{address}/webhook"))
            .expect("a target");
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server.address(PATIENCE).expect("it listens")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).expect("stdout")
    }

    /// The answer to a correct webhook that means nothing to anybody, and how long it took.
    pub(crate) fn assert_answered(&self) -> Duration {
        let delivery = self.zoom.post_webhook(&json!({
            "event": "meeting.participant_joined", "event_ts": 1_767_000_000_000_u64,
            "payload": {"object": {"id": 1}}}));
        assert!(delivery.is_accepted(), "{delivery:?}");
        delivery.taken
    }

    /// Waits for lines of the log that hold all of these words; gives the first.
    pub(crate) fn logged(&self, words: &[&str]) -> String {
        let mut line = String::new();
        self.wait_for(&format!("a log line with {words:?}"), || {
            let log = self.server.log();
            let found = log
                .iter()
                .find(|l| words.iter().all(|word| l.contains(word)));
            line = found.cloned().unwrap_or_default();
            found.is_some()
        });
        line
    }

    pub(crate) fn wait_for(&self, what: &str, is_true: impl FnMut() -> bool) {
        wait_for(what, is_true);
    }

    /// Ends the server by SIGTERM, and sees that it ends well within its 3 s.
    pub(crate) fn terminate(&mut self) {
        let status = self.server.terminate(Duration::from_secs(3));
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
    }

    /// What was written of a meeting against what was said in it.
    pub(crate) fn comparison(&self, meeting: &MeetingHandle) -> Comparison {
        let lines = transcript_lines(&self.out(), &meeting.script().id).expect("files");
        compare(&meeting.sent(), lines.iter().map(String::as_str))
    }

    /// Likewise while the server runs, for a stream whose files are complete.
    pub(crate) fn comparison_so_far(&self, meeting: &MeetingHandle) -> Comparison {
        let folder = stream_folder_of(&self.out(), meeting);
        self.wait_for("files are complete", || meta(&folder)["state"] == "ended");
        let lines = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
        compare(&meeting.sent(), lines.lines())
    }

    /// Every phrase of that meeting is in its file, once and in order. The server must have ended.
    pub(crate) fn is_complete(&self, meeting: &MeetingHandle) {
        let comparison = self.comparison(meeting);
        assert!(
            comparison.sent > 0 && comparison.is_exact(),
            "{}: {comparison:?}",
            meeting.script().id
        );
    }

    /// The folder of each stream that left files.
    pub(crate) fn stream_folders(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find_meta(&self.out(), &mut found);
        found.sort();
        found
    }

    /// The folder of that stream.
    pub(crate) fn folder_of(&self, stream_id: &str) -> PathBuf {
        let is_it = |folder: &PathBuf| meta(folder)["stream_id"] == stream_id;
        let found = self.stream_folders().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no folder of {stream_id}"))
    }

    /// Ends everything; Zoom had nothing to complain about.
    pub(crate) fn end(mut self) {
        self.terminate();
        assert_eq!(self.zoom.violations(), Vec::<String>::new());
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.server.log();
            let from = log.len().saturating_sub(60);
            let steps = self.zoom.violations();
            let text = format!(
                "server: {}\nzoom: {steps:?}",
                log[from..].join("\nserver: ")
            );
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
        }
    }
}

/// Where the files of a meeting's first stream are, on whichever day it began.
fn stream_folder_of(out: &Path, meeting: &MeetingHandle) -> PathBuf {
    let name = rtmsd::recorder::path::safe_name(&meeting.script().id);
    let stream = rtmsd::recorder::path::safe_name(&meeting.streams()[0]);
    let days = fs::read_dir(out).expect("a folder").flatten();
    let mut folders = days.map(|day| day.path().join(&name).join(&stream));
    folders.find(|folder| folder.exists()).expect("files")
}

pub(crate) fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn meta(folder: &Path) -> Value {
    let bytes = fs::read(folder.join("meta.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn find_meta(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_meta(&path, found);
        } else if entry.file_name() == "meta.json" {
            found.push(folder.to_owned());
        }
    }
}

/// Starts the server in that folder, again after one has ended there.
pub(crate) fn start_server(
    zoom: &Zoom,
    folder: &Path,
    settings: &[(&str, &str)],
    before: &str,
) -> ServerProcess {
    let mut all = zoom.environment();
    let text = |name: &str| folder.join(name).display().to_string();
    for (key, value) in [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("RTMS_ADMIN", "off"),
        ("RTMS_STDOUT", "jsonl"),
        ("RTMS_LOG_FORMAT", "text"),
        ("RTMS_OUT", &text("out")),
        ("RTMS_STATE", &text("state")),
    ] {
        all.push((key.to_owned(), value.to_owned()));
    }
    for (key, value) in settings {
        all.retain(|(known, _)| known != key);
        all.push(((*key).to_owned(), (*value).to_owned()));
    }
    let program = folder.join("program");
    let script = format!(
        "#!/bin/sh\nOUT='{}'\n{before}\nexec '{}' \"$@\" >>\"$OUT\"\n",
        text("stdout"),
        env!("CARGO_BIN_EXE_rtmsd")
    );
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o700);
    let written = file.open(&program);
    io::Write::write_all(&mut written.expect("a file"), script.as_bytes()).expect("a file");
    let command = ServerCommand {
        program,
        folder: folder.to_owned(),
        settings: all,
        shows_stdout: false,
        shows_log: false,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match command.start() {
            // Another test's child holds the script open between its fork and its exec.
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            started => return started.expect("the server starts"),
        }
    }
}
