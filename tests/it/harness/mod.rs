//! The only rig of the end-to-end tests: a Zoom of the demo, the server under test, and a folder
//! for everything that the server writes.

pub(crate) mod certificates;
mod daemon;
mod files;
#[cfg(feature = "fleet")]
pub(crate) mod fleet;
pub(crate) mod http;
mod process;
pub(crate) mod redis;
#[cfg(feature = "fleet")]
pub(crate) mod relay;
pub(crate) mod scripted;
mod scripts;
mod secrets;
mod server;
mod wait;

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rtmsd::daemon::SinkFactory;
use rtmsd::demo::{
    Comparison, EventsBy, MeetingHandle, Options, ServerProcess, Zoom, compare, transcript_lines,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

use daemon::Embedded;
pub(crate) use files::{TempDir, files_below, meta, stream_folders};
pub(crate) use process::{KilledOnDrop, RTMSD, Ran, output_of, run, run_to_end};
pub(crate) use scripts::{
    assert_another_works, frequent_keep_alives, open, open_at_once, plain, post_meaningless,
    repeat_started, report, short, wait_until_more, wait_until_over, wait_until_step,
    wait_until_streaming,
};
pub(crate) use secrets::Secrets;
use server::{Server, ServerSetup};
pub(crate) use wait::{PATIENCE, wait_until};

/// A port that is free, and that no socket gets by itself: the system chooses those from 32768 on.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (n % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A Zoom, a server, and a folder with the server's `rtms.conf`, `stdout`, `out/` and `state/`.
pub(crate) struct Harness {
    // Dropped first: a server that runs longer than its Zoom and its folder would log faults of the
    // test.
    pub(crate) server: Server,
    daemon: Option<Embedded>,
    pub(crate) zoom: Zoom,
    pub(crate) folder: TempDir,
    setup: ServerSetup,
}

/// The differences of a harness from the default one.
pub(crate) struct Builder {
    options: Options,
    setup: ServerSetup,
}

impl Builder {
    /// Settings in addition to those of every test. An empty value removes a key.
    pub(crate) fn settings(mut self, settings: &[(&str, &str)]) -> Builder {
        for (key, value) in settings {
            self.setup.set(key, value);
        }
        self
    }

    /// With an admin listener.
    pub(crate) fn admin(self) -> Builder {
        self.settings(&[("RTMS_ADMIN", "127.0.0.1:0")])
    }

    /// Shell commands that run just before the server, in its own process: with `$OUT` they choose
    /// where stdout goes.
    pub(crate) fn prelude(mut self, commands: &str) -> Builder {
        self.setup.set_prelude(commands);
        self
    }

    /// A server for [`Harness::limit_files`]: the signal of that limit is ignored, so that a write fails
    /// instead.
    pub(crate) fn with_limit_of_files(self) -> Builder {
        self.prelude("trap '' XFSZ")
    }

    /// Starts the Zoom and the server, and makes Zoom post to the server.
    pub(crate) fn start(self) -> Harness {
        let mut harness = self.without_server();
        harness.start_server();
        harness
    }

    /// Starts only the Zoom. Commands can be run, and a server be started later.
    pub(crate) fn without_server(mut self) -> Harness {
        // As Zoom does: a server on a busy disk answers 503.
        if self.options.webhook_retries.is_empty() {
            self.options.webhook_retries = vec![Duration::from_millis(100); 300];
        }
        Harness {
            server: Server::default(),
            daemon: None,
            zoom: Zoom::start(self.options).expect("a Zoom"),
            folder: TempDir::new(),
            setup: self.setup,
        }
    }

    /// Starts the Zoom, and the daemon in this process: it writes nothing, and has these sinks.
    pub(crate) fn embed(self, sinks: Box<SinkFactory>) -> Harness {
        let mut harness = self.without_server();
        harness.daemon = Some(Embedded::start(&harness.zoom, sinks));
        harness
    }
}

/// Starting and ending.
impl Harness {
    pub(crate) fn builder(options: Options) -> Builder {
        Builder {
            options,
            setup: ServerSetup::default(),
        }
    }

    /// Starts a Zoom and a server with these differences from the default.
    pub(crate) fn start(options: Options, settings: &[(&str, &str)]) -> Harness {
        Harness::builder(options).settings(settings).start()
    }

    /// Changes a setting of the servers and commands that are started from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.setup.set(key, value);
    }

    /// Starts the server, possibly after an earlier one has ended, and makes Zoom post to it.
    pub(crate) fn start_server(&mut self) {
        self.start_server_on(&Stdio::null);
    }

    /// The same, with this as its stdin.
    pub(crate) fn start_server_on(&mut self, stdin: &dyn Fn() -> Stdio) {
        self.server = self.setup.start(&self.zoom, self.folder.path(), stdin);
        if self.zoom.options().events_by == EventsBy::WebSocket {
            self.wait_until_logged(&["events connected"]);
            return;
        }
        let target = format!("http://{}/webhook", self.address());
        self.zoom.set_webhook_target(&target).expect("a target");
    }

    /// Starts a second server in the same folder, to which Zoom does not post.
    pub(crate) fn start_second_server(&self) -> Server {
        self.setup
            .start(&self.zoom, self.folder.path(), &Stdio::null)
    }

    /// Changes settings, and reloads the running server. Returns the log line of the result.
    #[track_caller]
    pub(crate) fn reload(&mut self, changes: &[(&str, &str)]) -> String {
        for (key, value) in changes {
            self.set(key, value);
        }
        self.setup
            .write(&self.zoom, self.folder.path(), "rtms.conf");
        self.hup()
    }

    /// Reloads the running server. Returns the log line of the result.
    #[track_caller]
    pub(crate) fn hup(&mut self) -> String {
        let is_end = |line: &str| {
            line.contains("configuration reloaded") || line.contains("configuration unchanged")
        };
        let log = self.server.log();
        let before = log.iter().filter(|line| is_end(line)).count();
        self.server.signal(Signal::HUP);
        let mut seen = 0;
        let line = self.server.wait_for_line(PATIENCE, |line| {
            seen += usize::from(is_end(line));
            seen > before && is_end(line)
        });
        line.expect("the end of the reload")
    }

    /// Ends the server by SIGTERM, or the daemon; it must end normally.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            return daemon.stop();
        }
        let status = self.server.terminate(PATIENCE);
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
    }

    /// Ends everything; checks that Zoom has no complaints.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.terminate();
        self.assert_no_violations();
    }

    /// The same while streams run. Zoom's webhooks about the loss reach no server, and Zoom
    /// complains about that, but it must have had no complaint before.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.assert_no_violations();
        self.terminate();
    }

    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        assert_eq!(self.zoom.violations(), Vec::<String>::new());
    }
}

/// The server's output.
impl Harness {
    /// With the admin listener, and nothing on stdout.
    pub(crate) fn with_admin(settings: &[(&str, &str)]) -> Harness {
        Harness::builder(Options::default())
            .admin()
            .settings(&[("RTMS_STDOUT", "off")])
            .settings(settings)
            .start()
    }

    /// The token that the server has made for itself.
    pub(crate) fn own_token(&self) -> String {
        let token = fs::read_to_string(self.state().join("admin-token")).expect("a token");
        token.trim().to_owned()
    }

    /// The key of a meeting's stream, once `/streams` has it.
    #[track_caller]
    pub(crate) fn key_of(&self, meeting: &MeetingHandle) -> String {
        let id = &meeting.streams()[0];
        let mut key = None;
        wait_until("the stream has a key", || {
            let streams = self.streams();
            let mut rows = streams["streams"].as_array().into_iter().flatten();
            let row = rows.find(|row| row["stream_id"] == id.as_str());
            key = row.and_then(|row| row["key"].as_str().map(str::to_owned));
            key.is_some()
        });
        key.expect("a key")
    }

    /// A command that asks the server, with its settings and nothing else.
    pub(crate) fn client(&self, command: &str) -> Command {
        let mut client = Command::new(RTMSD);
        client
            .arg(command)
            .env_clear()
            .env("RTMS_ADMIN", self.admin().to_string())
            .env("RTMS_STATE", self.state())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        client
    }

    /// The server's address, once it listens.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.server.address(PATIENCE);
        address.unwrap_or_else(|| panic!("the server does not listen: {:#?}", self.server.log()))
    }

    /// The address of its admin listener, once it listens.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        const BEFORE: &str = "health, metrics and streams are at http://";
        let line = self.wait_until_logged(&[BEFORE]);
        let (_, address) = line.split_once(BEFORE).expect("the marker");
        address.parse().expect("an address")
    }

    /// The body of a page of the admin listener. Repeated if the server is too busy to answer.
    #[track_caller]
    pub(crate) fn admin_page(&self, path: &str) -> String {
        let (admin, mut page) = (self.admin(), String::new());
        wait_until(path, || {
            let (status, body) = http::get(admin, path);
            assert!(!(400..500).contains(&status), "{path}: {status} {body}");
            page = body;
            status == 200
        });
        page
    }

    /// `/streams`.
    pub(crate) fn streams(&self) -> Value {
        serde_json::from_str(&self.admin_page("/streams")).expect("JSON")
    }

    /// The value of a series of `/metrics`.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.admin_page("/metrics");
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).expect(series)
    }

    /// Waits for a line of the log that contains all of these words; returns the first.
    #[track_caller]
    pub(crate) fn wait_until_logged(&self, words: &[&str]) -> String {
        self.server.wait_until_logged(words)
    }

    /// How many lines of the log contain all of these words.
    pub(crate) fn count_logged(&self, words: &[&str]) -> usize {
        self.server.count_logged(words)
    }

    /// Posts a webhook as Zoom does, again until it is accepted.
    #[track_caller]
    pub(crate) fn post(&self, body: &Value) {
        wait_until("the webhook is accepted", || {
            let delivery = self.zoom.post_webhook(body);
            let is_refused =
                matches!(delivery.status, Ok(status) if status != 200 && status != 503);
            assert!(!is_refused, "{delivery:?}");
            delivery.is_accepted()
        });
    }

    /// The answer to a correct webhook with an unknown event, and how long it took.
    #[track_caller]
    pub(crate) fn assert_answered(&self) -> Duration {
        let delivery = post_meaningless(&self.zoom);
        assert!(delivery.is_accepted(), "{delivery:?}");
        delivery.taken
    }

    /// Runs a command with the configuration of the server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let admin = self.setup.is_admin_on().then(|| self.admin().to_string());
        let environment = admin.as_deref().map(|admin| ("RTMS_ADMIN", admin));
        self.run_in(self.folder.path(), arguments, environment.as_slice())
    }

    /// The same with this environment.
    pub(crate) fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        self.run_in(self.folder.path(), arguments, environment)
    }

    /// The same with another state directory, so that it finds no server to ask.
    pub(crate) fn run_apart(&self, arguments: &[&str]) -> Ran {
        let folder = self.folder.join("apart");
        fs::create_dir_all(&folder).expect("a folder");
        self.run_in(&folder, arguments, &[])
    }

    fn run_in(&self, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let config = self.setup.write(&self.zoom, folder, "command.conf");
        let config = config.display().to_string();
        run(&[arguments, &["--config", &config]].concat(), environment)
    }
}

/// The server's files.
impl Harness {
    /// No file of the server may grow beyond so many bytes; `None` removes the limit. It acts like a full
    /// disk, and needs no root.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = Pid::from_raw(self.server.id().cast_signed()).expect("a process");
        let unlimited = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: bytes.or(unlimited.current),
            ..unlimited
        };
        prlimit(Some(pid), Resource::Fsize, limit).expect("a limit");
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder
            .join(self.setup.get("RTMS_OUT").unwrap_or("out"))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder
            .join(self.setup.get("RTMS_STATE").unwrap_or("state"))
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.join("stdout")).expect("stdout")
    }

    /// The folder of each stream with files.
    pub(crate) fn stream_folders(&self) -> Vec<PathBuf> {
        files::stream_folders(&self.out())
    }

    /// The folder of the only stream, once it exists.
    #[track_caller]
    pub(crate) fn stream_folder(&self) -> PathBuf {
        let mut folders = Vec::new();
        wait_until("the folder of the stream", || {
            folders = self.stream_folders();
            !folders.is_empty()
        });
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0)
    }

    /// The folder of that stream.
    #[track_caller]
    pub(crate) fn folder_of(&self, stream_id: &str) -> PathBuf {
        let is_it = |folder: &PathBuf| meta(folder)["stream_id"] == stream_id;
        let found = self.stream_folders().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no folder of {stream_id}"))
    }

    /// The folders of a meeting's streams.
    pub(crate) fn folders_of(&self, meeting: &MeetingHandle) -> Vec<PathBuf> {
        let id = meeting.script().id.as_str();
        let mut folders = self.stream_folders();
        folders.retain(|folder| meta(folder)["meeting_uuid"] == id);
        folders
    }

    /// Waits until a meeting is over at Zoom and the server has ended its streams. A busy server still
    /// reads what was sent when Zoom has closed the connections; a SIGTERM would leave it unread.
    #[track_caller]
    pub(crate) fn wait_until_ended(&self, meeting: &MeetingHandle) {
        wait_until_over(meeting);
        for stream in meeting.streams() {
            self.wait_until_logged(&["stream ended", &format!("stream={stream} ")]);
        }
    }

    /// The statuses of all REST calls for a meeting, in order.
    pub(crate) fn rest_statuses(&self, meeting: &MeetingHandle) -> Vec<u16> {
        let number = meeting.script().number.to_string();
        let calls = self.zoom.rest_calls().into_iter();
        let calls = calls.filter(|call| call.target == number);
        calls.map(|call| call.status).collect()
    }

    /// Compares the files of a meeting with what was sent.
    pub(crate) fn comparison(&self, meeting: &MeetingHandle) -> Comparison {
        let lines = transcript_lines(&self.out(), &meeting.script().id).expect("files");
        compare(&meeting.sent(), lines.iter().map(String::as_str))
    }

    /// The same while the server runs, for a stream whose files are complete.
    #[track_caller]
    pub(crate) fn comparison_so_far(&self, meeting: &MeetingHandle) -> Comparison {
        let folder = self.folder_of(&meeting.streams()[0]);
        wait_until("files are complete", || meta(&folder)["state"] == "ended");
        let lines = fs::read_to_string(folder.join("transcript.jsonl")).expect("a file");
        compare(&meeting.sent(), lines.lines())
    }

    /// Every phrase of that meeting is in its file, once and in order. The server must have ended.
    #[track_caller]
    pub(crate) fn assert_complete(&self, meeting: &MeetingHandle) {
        let mut comparison = self.comparison(meeting);
        // The folder names of several streams do not show their order.
        if meeting.streams().len() > 1 {
            comparison.disordered = 0;
        }
        assert!(
            comparison.sent > 0 && comparison.is_exact(),
            "{}: {comparison:?}",
            meeting.script().id
        );
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.server.0.as_ref().map(ServerProcess::log);
            let log = log.unwrap_or_default();
            let from = log.len().saturating_sub(60);
            let text = format!(
                "server: {}\nzoom: {:?}\n",
                log[from..].join("\nserver: "),
                self.zoom.violations()
            );
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}
