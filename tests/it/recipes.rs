//! The programs of the manual's recipes, run as they are printed but for the address and the token.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rtmsd::demo::Options;

use crate::harness::{Harness, KilledOnDrop, TempDir, http, plain, report, wait_until};
use crate::tail::fake::{Fake, KEY, phrase};

const TOKEN: &str = "hunter2-hunter2-hunter2-hunter2";

/// The blocks in that language.
fn blocks(language: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/recipes.md");
    let text = fs::read_to_string(path).expect("a chapter");
    let begin = format!("```{language}\n");
    let pieces = text.split(&begin).skip(1);
    let blocks = pieces.map(|piece| piece.split("```").next().unwrap_or_default());
    blocks.map(str::to_owned).collect()
}

/// A program in Python that runs beside the test, and prints to `printed` in the folder.
struct Program {
    folder: TempDir,
    running: Option<KilledOnDrop>,
}

impl Program {
    /// Writes it, for a server at this address; `None` without Python.
    fn new(code: &str, address: SocketAddr) -> Option<Program> {
        let version = Command::new("python3").arg("--version").output();
        if version.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            report("skipped: needs python3");
            return None;
        }
        let folder = TempDir::new();
        let token = folder.join("admin-token");
        fs::write(&token, format!("{TOKEN}\n")).expect("a file");
        let code = code
            .replace("127.0.0.1:9464", &address.to_string())
            .replace("/var/lib/rtmsd/admin-token", &token.display().to_string());
        fs::write(folder.join("program.py"), code).expect("a file");
        fs::write(folder.join("printed"), "").expect("a file");
        Some(Program {
            folder,
            running: None,
        })
    }

    fn start(&mut self) {
        let mut options = fs::OpenOptions::new();
        let printed = options.append(true).open(self.folder.join("printed"));
        let child = Command::new("python3")
            .arg("program.py")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(printed.expect("a file"))
            .spawn();
        self.running = Some(KilledOnDrop(child.expect("python3 can be started")));
    }

    fn kill(&mut self) {
        self.running = None;
    }

    /// The lines so far that contain this.
    fn printed(&self, word: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("printed")).expect("a file");
        let lines = text.lines().filter(|line| line.contains(word));
        lines.map(str::to_owned).collect()
    }
}

/// Runs a program that prints a line with `word` for each phrase, over a broken connection and a kill.
/// `follows` is whether it has asked for what comes.
fn resumes(code: &str, word: &str, line: impl Fn(u64) -> String, follows: impl Fn(&Fake) -> bool) {
    let fake = Fake::start(TOKEN);
    fake.run_stream(KEY);
    fake.add(KEY, &phrase(99, "Eve"));
    let Some(mut program) = Program::new(code, fake.address()) else {
        return;
    };
    program.start();
    wait_until("a request", || follows(&fake));
    let add = |from, to| (from..to).for_each(|n| fake.add(KEY, &phrase(n, "Ada")));
    add(0, 10);
    wait_until("phrases", || program.printed(word).len() == 10);
    // The connection that waits, and the next one in the middle of an event.
    fake.cut_next(400);
    fake.cut_next(400);
    add(10, 20);
    wait_until("phrases after a cut", || program.printed(word).len() == 20);
    program.kill();
    add(20, 30);
    program.start();
    // Events that were handled and not noted come again: with the long poll those of one answer.
    let once = |program: &Program| {
        let (mut lines, mut seen) = (program.printed(word), HashSet::new());
        lines.retain(|line| seen.insert(line.clone()));
        lines
    };
    wait_until("phrases after a kill", || once(&program).len() >= 30);
    program.kill();
    assert_eq!(once(&program), (0..30).map(line).collect::<Vec<_>>());
}

#[test]
fn the_follower_in_python_resumes() {
    let line = |n| format!("Ada: phrase {n}");
    resumes(&blocks("python")[0], "Ada", line, |fake| {
        fake.followers() > 0
    });
}

#[test]
fn the_long_poll_in_python_resumes() {
    // The first phrase was there before the program.
    let line = |n| format!("{KEY}-{} transcript.phrase", n + 2);
    resumes(&blocks("python")[1], KEY, line, |fake| fake.polls() > 0);
}

#[test]
fn both_follow_the_real_server() {
    let settings = [("RTMS_ADMIN", "127.0.0.1:0"), ("RTMS_ADMIN_TOKEN", TOKEN)];
    let harness = Harness::start(Options::default(), &settings);
    let programs = blocks("python").into_iter();
    let mut programs: Vec<Program> = programs
        .filter_map(|code| Program::new(&code, harness.admin()))
        .collect();
    if programs.is_empty() {
        return;
    }
    programs.iter_mut().for_each(Program::start);
    let clients = |kind: &str| -> usize {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        let page = http::ask(harness.admin(), request.as_bytes());
        let series = format!("rtmsd_live_clients{{kind=\"{kind}\"}} ");
        let mut values = page.lines().filter_map(|line| line.strip_prefix(&series));
        values
            .next()
            .map_or(0, |value| value.parse().expect("a number"))
    };
    wait_until("both ask", || clients("sse") == 1 && clients("json") == 1);
    let meeting = harness.zoom.start_meeting(plain("recipes", 40));
    harness.wait_until_ended(&meeting);
    wait_until("both have everything", || {
        programs[0].printed(": ").len() == 40 && !programs[1].printed("stream.ended").is_empty()
    });
    assert_eq!(programs[1].printed("transcript.phrase").len(), 40);
    harness.end();
}

#[test]
fn the_rules_of_the_bucket_are_json() {
    let [rules] = &blocks("json")[..] else {
        panic!("one block of JSON");
    };
    let rules: serde_json::Value = serde_json::from_str(rules).expect("JSON");
    assert_eq!(rules["Rules"].as_array().map(Vec::len), Some(4));
}
