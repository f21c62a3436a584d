//! `rtmsd tail` against a server of the test's own, which breaks connections wherever it likes.

pub(crate) mod fake;
mod real;

use std::io::Read;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{KilledOnDrop, RTMSD, Ran, run, wait_until};
use fake::{Fake, KEY, OTHER_KEY, event, phrase};

const TOKEN: &str = "hunter2-hunter2-hunter2-hunter2";

fn environment(address: &str) -> [(&str, &str); 2] {
    [("RTMS_ADMIN", address), ("RTMS_ADMIN_TOKEN", TOKEN)]
}

fn tail(fake: &Fake, arguments: &[&str]) -> Ran {
    let arguments = [&["tail"], arguments].concat();
    run(&arguments, &environment(&fake.address().to_string()))
}

/// A `tail` that goes on.
struct Following(KilledOnDrop);

impl Following {
    fn start(fake: &Fake, arguments: &[&str]) -> Following {
        let child = Command::new(RTMSD)
            .arg("tail")
            .args(arguments)
            .env_clear()
            .envs(environment(&fake.address().to_string()))
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Following(KilledOnDrop(child.expect("the program can be started")))
    }

    fn child(&mut self) -> &mut Child {
        &mut self.0.0
    }

    /// Waits for its end; returns the code, and what it has printed.
    fn end(mut self) -> Ran {
        let child = self.child();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("text");
        }
        let mut pipe = child.stderr.take().expect("a pipe");
        pipe.read_to_string(&mut stderr).expect("text");
        Ran {
            code: child.wait().expect("it ends").code(),
            stdout,
            stderr,
        }
    }
}

#[test]
fn l9_the_last_phrases_of_what_runs() {
    let fake = Fake::start(TOKEN);
    let none = tail(&fake, &[]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "{none:?}");
    assert!(none.stderr.contains("no stream is running"), "{none:?}");

    fake.run_stream(KEY);
    for n in 0..30 {
        fake.add(KEY, &phrase(n, "Ada"));
        fake.add(KEY, &event("chat.message"));
    }
    // It has ended a moment ago, and is not shown.
    fake.add(OTHER_KEY, &phrase(99, "Eve"));
    let lines = |ran: &Ran| -> Vec<String> {
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        ran.stdout.lines().map(str::to_owned).collect()
    };
    let text = |from: u64| -> Vec<String> {
        (from..30)
            .map(|n| format!("14:13:09  Ada: phrase {n}"))
            .collect()
    };
    assert_eq!(lines(&tail(&fake, &[])), text(20));
    assert_eq!(lines(&tail(&fake, &["-n", "3"])), text(27));
    assert_eq!(lines(&tail(&fake, &["-n", "0"])), text(30));
    assert_eq!(lines(&tail(&fake, &["-n", "all"])), text(0));
    assert_eq!(lines(&tail(&fake, &[KEY, "-n", "100"])), text(0));

    // With --json lines of every type count, and each is that of the journal.
    let all = fake.lines(KEY);
    assert_eq!(
        lines(&tail(&fake, &["--json", "-n", "5"])),
        all[all.len() - 5..]
    );
    assert_eq!(lines(&tail(&fake, &["--json", "-n", "all"])), all);

    fake.run_stream(OTHER_KEY);
    let both = lines(&tail(&fake, &["-n", "2"]));
    assert_eq!(
        both,
        [
            "84844962250  14:13:09  Ada: phrase 29",
            "84844962250  14:13:09  Eve: phrase 99"
        ]
    );
}

#[test]
fn l9_a_name_is_a_stream_or_a_meeting_and_faults_have_their_codes() {
    let fake = Fake::start(TOKEN);
    fake.run_stream(KEY);
    fake.add(KEY, &phrase(1, "Ada"));
    for name in [KEY, &KEY[..6], "84844962250", "848 4496 2250", "55key=="] {
        let ran = tail(&fake, &[name]);
        assert_eq!(ran.stdout, "14:13:09  Ada: phrase 1\n", "{name}: {ran:?}");
    }
    // The streams of that name are several.
    let ambiguous = tail(&fake, &["several"]);
    assert_eq!(ambiguous.code, Some(64), "{ambiguous:?}");
    for name in ["none", "99999999999"] {
        let unknown = tail(&fake, &[name]);
        assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(64), ""));
        assert!(unknown.stderr.contains("neither a stream nor a meeting"));
    }

    fake.set_token("another");
    for arguments in [&[][..], &[KEY], &["--follow"]] {
        let ran = tail(&fake, arguments);
        assert_eq!(ran.code, Some(77), "{ran:?}");
        assert!(ran.stderr.contains("token"), "{ran:?}");
    }
    let address = fake.stop().to_string();
    for arguments in [&["tail"][..], &["tail", "--follow"]] {
        let ran = run(arguments, &environment(&address));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(69), ""), "{ran:?}");
        assert!(ran.stderr.contains("is the server running?"), "{ran:?}");
    }
}

#[test]
fn l9_broken_connections_and_restarts_lose_and_repeat_nothing() {
    let mut fake = Fake::start(TOKEN);
    fake.run_stream(KEY);
    fake.add(KEY, &phrase(0, "Ada"));
    let following = Following::start(&fake, &[KEY, "--json", "--follow", "-n", "all"]);
    wait_until("a request", || fake.followers() == 1);
    for n in 1..60_u64 {
        // Anywhere in the head, in a line, between two events.
        fake.cut_next((n * 7919) % 1500);
        fake.add(KEY, &phrase(n, "Zoë 日本"));
        match n {
            10 | 40 => fake.refuse_next(1),
            20 => wait_until("a new connection", || fake.followers() > 5),
            30 => {
                // There is no listener for a while.
                let (address, state) = fake.stop_for_restart();
                fake = Fake::restart(address, state);
            }
            _ => {}
        }
    }
    fake.add(KEY, &event("stream.ended"));
    fake.end_stream(KEY);
    let ran = following.end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let printed: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(printed, fake.lines(KEY));
}

#[test]
fn l9_follow_waits_for_the_first_stream_and_ends_by_itself_only_with_one_that_was_named() {
    let fake = Fake::start(TOKEN);
    let mut following = Following::start(&fake, &["--follow"]);
    wait_until("a request", || fake.followers() == 1);
    fake.run_stream(KEY);
    fake.add(KEY, &event("stream.started"));
    fake.add(KEY, &phrase(1, "Ada"));
    fake.add(KEY, &event("stream.ended"));
    fake.end_stream(KEY);
    fake.run_stream(OTHER_KEY);
    fake.add(OTHER_KEY, &phrase(2, "Eve"));
    let expected = "14:13:09  Ada: phrase 1\n84844962250  14:13:09  Eve: phrase 2\n";
    let mut printed = vec![0; expected.len()];
    let pipe = following.child().stdout.as_mut().expect("a pipe");
    pipe.read_exact(&mut printed).expect("what is expected");
    assert_eq!(String::from_utf8_lossy(&printed), expected);

    // A signal ends it at once. Not that of Ctrl-C: a shell that runs the tests in the background has it
    // ignored, and a child inherits that.
    let pid = Pid::from_child(following.child());
    kill_process(pid, Signal::TERM).expect("it runs");
    let ran = following.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (None, ""), "{ran:?}");
    assert!(ran.stderr.contains("no stream is running; waiting"));
}

#[test]
fn l9_a_meeting_that_has_not_begun_is_waited_for() {
    let fake = Fake::start(TOKEN);
    let following = Following::start(&fake, &["848 4496 2250", "--follow"]);
    wait_until("a request that waits", || fake.polls() > 1);
    fake.run_stream(KEY);
    fake.add(KEY, &phrase(1, "Ada"));
    wait_until("a request for what comes", || fake.followers() == 1);
    fake.add(KEY, &phrase(2, "Ada"));
    fake.end_stream(KEY);
    let ran = following.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = "14:13:09  Ada: phrase 1\n14:13:09  Ada: phrase 2\n";
    assert_eq!(ran.stdout, expected);
    assert!(ran.stderr.contains("waiting"), "{ran:?}");
}

#[test]
fn l9_a_reader_that_is_gone_ends_it_quietly() {
    let fake = Fake::start(TOKEN);
    fake.run_stream(KEY);
    fake.add(KEY, &phrase(1, "Ada"));
    // While it waits for something to come; no line is needed to notice.
    let mut following = Following::start(&fake, &["--follow"]);
    wait_until("a request", || fake.followers() == 1);
    drop(following.child().stdout.take());
    let ran = following.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");

    // While it waits for a server.
    let mut following = Following::start(&fake, &["--follow"]);
    wait_until("a request", || fake.followers() == 2);
    let (address, state) = fake.stop_for_restart();
    drop(following.child().stdout.take());
    let ran = following.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // While it prints more than a pipe holds.
    let fake = Fake::restart(address, state);
    for n in 0..2000 {
        fake.add(KEY, &phrase(n, "Ada"));
    }
    let mut following = Following::start(&fake, &["-n", "all", "--json"]);
    let mut first = [0; 8];
    let mut pipe = following.child().stdout.take().expect("a pipe");
    pipe.read_exact(&mut first).expect("a line");
    drop(pipe);
    let ran = following.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}
