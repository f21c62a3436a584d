//! The whole binary against the demo's Zoom: tokens and REST calls over hours of trouble, the
//! commands, proxies, and that no secret shows anywhere.

mod commands;
mod meetings;
mod proxies;
mod rotation;
mod secrets;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rtmsd::demo::{
    MeetingHandle, MeetingScript, Options, ServerCommand, ServerProcess, Step, Zoom,
};

pub(crate) use crate::api::rotation::Scratch;

/// The binary under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_rtmsd");

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(30);

/// A Zoom, a folder, and what a server needs to work with both.
struct Harness {
    zoom: Zoom,
    scratch: Scratch,
}

impl Harness {
    fn new(options: Options) -> Harness {
        Harness {
            zoom: Zoom::start(options).unwrap(),
            scratch: Scratch::new(),
        }
    }

    /// The settings of a server in a folder of that name below ours.
    fn settings(&self, folder: &str) -> Vec<(String, String)> {
        let folder = self.scratch.path().join(folder);
        let mut settings = self.zoom.environment();
        for (key, value) in [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
            ("RTMS_ADMIN", "off".to_owned()),
            ("RTMS_OUT", folder.join("out").display().to_string()),
            ("RTMS_STATE", folder.join("state").display().to_string()),
            ("RTMS_LOG_FORMAT", "text".to_owned()),
        ] {
            settings.push((key.to_owned(), value));
        }
        settings
    }

    fn command(&self, folder: &str) -> ServerCommand {
        let path = self.scratch.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        ServerCommand {
            program: PROGRAM.into(),
            folder: path,
            settings: self.settings(folder),
            shows_stdout: false,
            shows_log: false,
        }
    }

    /// Starts a server and has Zoom post to it.
    fn serve(&self, folder: &str) -> ServerProcess {
        let server = self.command(folder).start().unwrap();
        self.follow(&server);
        server
    }

    fn follow(&self, server: &ServerProcess) {
        let Some(address) = server.address(WITHIN) else {
            panic!("the server does not listen: {:#?}", server.log());
        };
        let url = format!("http://{address}/webhook");
        self.zoom.set_webhook_target(&url).unwrap();
    }

    /// Begins a meeting that waits for REST.
    fn meet(&self, seed: &str) -> MeetingHandle {
        self.zoom.start_meeting(MeetingScript::plain(seed))
    }

    /// The statuses of all REST calls for a meeting, in order.
    fn statuses(&self, meeting: &MeetingHandle) -> Vec<u16> {
        let number = meeting.script().number.to_string();
        let calls = self.zoom.rest_calls().into_iter();
        calls
            .filter(|call| call.target == number)
            .map(|call| call.status)
            .collect()
    }

    /// Zoom saw no rule broken, and the server ends as it should.
    #[track_caller]
    fn ends_well(&self, mut server: ServerProcess) {
        // Before the server leaves its streams, which Zoom tells nobody then.
        assert_eq!(self.zoom.violations(), Vec::<String>::new());
        let status = server.terminate(WITHIN);
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }

    /// Runs a command of the binary with the configuration of a folder.
    fn run(&self, folder: &str, arguments: &[&str]) -> Ran {
        let path = self.scratch.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        let config = path.join("command.conf");
        let lines = self.settings(folder).into_iter();
        let text: String = lines
            .map(|(key, value)| format!("{key}=\"{value}\"\n"))
            .collect();
        std::fs::write(&config, text).unwrap();
        let mut arguments = arguments.to_vec();
        let config = config.display().to_string();
        arguments.extend(["--config", &config]);
        run(&arguments, &[])
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary with nothing in its environment but this.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Waits for a condition.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a line of the log that holds all of these.
#[track_caller]
fn logged(server: &ServerProcess, words: &[&str]) -> String {
    let find = || {
        let lines = server.log().into_iter();
        lines
            .rev()
            .find(|line| words.iter().all(|word| line.contains(word)))
    };
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(line) = find() {
            return line;
        }
        assert!(
            Instant::now() < deadline,
            "no {words:?} in {:#?}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn wait_for(meeting: &MeetingHandle, step: Step, server: &ServerProcess) {
    let is_seen = meeting.wait_for(step, WITHIN);
    assert!(
        is_seen,
        "{step:?} of {}: {:#?}",
        meeting.script().topic,
        server.log()
    );
}
