//! Runs programs to their end, or kills them.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The binary under test.
pub(crate) const RTMSD: &str = env!("CARGO_BIN_EXE_rtmsd");

/// The longest commands play whole meetings or encode a video.
const COMMAND_MAX: Duration = Duration::from_secs(180);

/// The exit code and output of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary with only this in its environment.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    run_to_end(
        Command::new(RTMSD)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir(std::env::temp_dir()),
    )
}

/// Runs a command without input.
pub(crate) fn run_to_end(command: &mut Command) -> Ran {
    let output = output_of(command);
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The same for output that is not text. A command that does not end is killed.
pub(crate) fn output_of(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let pid = Pid::from_child(&child);
    let (ended, end) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(COMMAND_MAX) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output();
        drop(ended);
        output.expect("its output can be read")
    })
}

/// A process that is killed at the end of the test.
pub(crate) struct KilledOnDrop(pub(crate) Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
