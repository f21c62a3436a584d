//! The server as a child of `rtmsd setup`: what it logs, until the first phrase.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// After so long without the next step, what to look at is said; and again after twice that time.
const HINT_AFTER: Duration = Duration::from_secs(45);
/// The server must have ended by then.
const END_MAX: Duration = Duration::from_secs(20);

/// A step on the way to the first phrase: words of the log that show it, what is said then, and what to
/// do if it does not come.
struct Step {
    signs: &'static [&'static str],
    seen: &'static str,
    hint: &'static str,
}

/// The steps in their order; a later one includes those before it.
const STEPS: [Step; 4] = [
    Step {
        signs: &["events connected", "listening addr="],
        seen: "the server is up, and events can come",
        hint: "the server is not up: its last lines say why",
    },
    Step {
        signs: &["webhook event="],
        seen: "an event has come from Zoom",
        hint: "No event has come. Start a meeting as the user who authorized the app, or in the account of the \
               app. On the app's page: is the event subscription saved, with Meeting started and RTMS started? \
               Is the app added to the account (Local Test, Add App Now)?",
    },
    Step {
        signs: &["stream started stream="],
        seen: "a stream has started",
        hint: "No stream has started. In the account settings: Share realtime meeting content with apps, with this \
               app in its list. The account needs RTMS (a plan or credits). Lines with ERROR say what Zoom refuses.",
    },
    Step {
        signs: &[" receiving"],
        seen: "the stream is connected; say something in the meeting",
        hint: "The stream does not connect. The firewall must allow outgoing TCP to Zoom, and the client secret \
               must be that of the app that receives the streams.",
    },
];

const PHRASE_HINT: &str = "No phrase has come. Speak for a while; captions must be allowed in the meeting, and \
                           the app needs the scope meeting:read:meeting_transcript.";

/// How the watch ended.
pub(super) enum Watched {
    /// When the first phrase came.
    Phrase(Duration),
    /// The server ended by itself.
    Ended(Option<i32>),
}

enum Line {
    Log(String),
    Phrase(String),
    End,
}

/// The running server. Dropping it ends it.
pub(super) struct Server {
    child: Child,
    lines: Receiver<Line>,
}

impl Server {
    /// Starts it with this configuration.
    pub(super) fn start(program: &Path, config: &Path) -> io::Result<Server> {
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(config)
            // What is watched for is in lines of these forms.
            .env("RTMS_LOG", "debug")
            .env("RTMS_LOG_FORMAT", "text")
            .env("RTMS_STDOUT", "text")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        if let Some(stdout) = stdout {
            read(stdout, sender.clone(), Line::Phrase)?;
        }
        if let Some(stderr) = stderr {
            read(stderr, sender, Line::Log)?;
        }
        Ok(Server { child, lines })
    }

    /// Says each step once it is seen, and what to do if one does not come.
    pub(super) fn watch(&mut self, begun: Instant, out: &mut impl Write) -> io::Result<Watched> {
        let (mut done, mut hints) = (0, 0_u32);
        let mut since = Instant::now();
        loop {
            let hint_at = since + HINT_AFTER * 2_u32.saturating_pow(hints);
            let left = hint_at.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(Line::Phrase(phrase)) => {
                    // It may be read before the lines of the log that came first.
                    for step in &STEPS[done..] {
                        writeln!(out, "ok    {}", step.seen)?;
                    }
                    writeln!(out, "ok    the first phrase: {phrase}")?;
                    return Ok(Watched::Phrase(begun.elapsed()));
                }
                Ok(Line::Log(line)) => {
                    let step = STEPS
                        .iter()
                        .position(|step| step.signs.iter().any(|sign| line.contains(sign)));
                    if let Some(step) = step.filter(|step| *step >= done) {
                        for step in &STEPS[done..=step] {
                            writeln!(out, "ok    {}", step.seen)?;
                        }
                        out.flush()?;
                        (done, hints, since) = (step + 1, 0, Instant::now());
                    }
                    if line.contains(" ERROR ") || line.contains(" WARN ") {
                        writeln!(out, "log   {line}")?;
                        out.flush()?;
                    }
                }
                Ok(Line::End) => {
                    if let Some(status) = self.child.try_wait()? {
                        return Ok(Watched::Ended(status.code()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let hint = STEPS.get(done).map_or(PHRASE_HINT, |step| step.hint);
                    writeln!(out, "wait  {hint}")?;
                    out.flush()?;
                    hints += 1;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return Ok(Watched::Ended(status.code()));
                }
            }
        }
    }

    /// Ends it; streams stay open at Zoom for the next server.
    pub(super) fn end(&mut self) {
        if let (Ok(None), Some(pid)) = (
            self.child.try_wait(),
            Pid::from_raw(self.child.id().cast_signed()),
        ) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            // Its pipes are read, so that it is not held up by them.
            let _ = self.lines.recv_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(
    pipe: impl io::Read + Send + 'static,
    sender: Sender<Line>,
    kind: fn(String) -> Line,
) -> io::Result<()> {
    let work = move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(kind(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(Line::End);
    };
    Builder::new()
        .name("setup-pipe".to_owned())
        .stack_size(128 << 10)
        .spawn(work)?;
    Ok(())
}
