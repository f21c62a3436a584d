//! What a server without streams needs of its machine, as the manual has it, and what a fleet adds. The binary has
//! the feature `fleet` in both cases.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::redis::Redis;
use crate::harness::{Builder, Harness, PATIENCE, frequent_keep_alives, http};

/// Threads, open files, and how many of these are sockets.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    threads: usize,
    files: usize,
    sockets: usize,
}

fn entries(process: u32, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{process}/{folder}")).expect("it runs");
    entries.filter_map(|it| Some(it.ok()?.path())).collect()
}

fn needs(process: u32) -> Needs {
    let files = files(process);
    let is_socket = |link: &&PathBuf| link.to_string_lossy().starts_with("socket:");
    Needs {
        threads: entries(process, "task").len(),
        sockets: files.iter().filter(is_socket).count(),
        files: files.len(),
    }
}

/// What a server opened. Not what these tests were started with and pass on: what that is depends on who starts them.
fn files(process: u32) -> Vec<PathBuf> {
    let files = entries(process, "fd").into_iter();
    // One may have been closed since.
    let links = files.filter_map(|file| Some((fs::read_link(&file).ok()?, file)));
    // OpenSSL opens the certificates in the process of these tests so that a child inherits them.
    let links = links.filter(|(link, _)| !link.ends_with("ca-certificates.crt"));
    let links = links.filter(|(link, file)| !is_passed_on(file, link));
    links.map(|(link, _)| link).collect()
}

/// Whether this process has the same file open under the same number, to be inherited by what it starts.
fn is_passed_on(file: &Path, link: &Path) -> bool {
    let number = file.file_name().expect("a number").to_string_lossy();
    let Ok(about) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
        return false;
    };
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    let is_kept_over_exec = flags.is_some_and(|flags| flags & 0o2_000_000 == 0);
    // Those of input, output and errors are the server's own.
    let is_standard = ["0", "1", "2"].contains(&&*number);
    let ours = fs::read_link(format!("/proc/self/fd/{number}"));
    !is_standard && is_kept_over_exec && ours.is_ok_and(|ours| ours == link)
}

fn names(process: u32) -> Vec<String> {
    let names = entries(process, "task").into_iter();
    let names = names.filter_map(|task| fs::read_to_string(task.join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

/// One address for webhooks, one for the admin listener.
fn server() -> Builder {
    Harness::builder(frequent_keep_alives(1000)).admin()
}

#[track_caller]
fn assert_needs(harness: &Harness, expected: &Needs) {
    // Threads that look something up at the start end by themselves.
    let until = Instant::now() + PATIENCE;
    let mut found = needs(harness.server.id());
    while found != *expected && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(10));
        found = needs(harness.server.id());
    }
    let process = harness.server.id();
    let about = format!("{:?} {:#?}", names(process), files(process));
    assert_eq!(found, *expected, "{about}");
}

/// The numbers of a sentence of the manual.
fn documented(path: &str, begins: &str) -> Vec<usize> {
    let text = fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")));
    let text = text.expect("a chapter").replace('\n', " ");
    let at = text.find(begins).expect("the sentence");
    let sentence = text[at + begins.len()..]
        .split('.')
        .next()
        .unwrap_or_default();
    let words = sentence.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

fn alone() -> Needs {
    let numbers = documented("src/manual/tuning.md", "A server without streams has ");
    let [threads, files, sockets] = numbers[..] else {
        panic!("{numbers:?}");
    };
    Needs {
        threads,
        files,
        sockets,
    }
}

#[test]
fn without_a_fleet_nothing_of_it_is_there() {
    let harness = server().start();
    assert_needs(&harness, &alone());
    let names = names(harness.server.id());
    let is_of_store = |name: &&String| name.starts_with("store");
    assert_eq!(names.iter().find(is_of_store), None, "{names:?}");
    assert!(!harness.state().join("fleet.json").exists());
    // The listener that strangers reach says nothing of readiness.
    let (code, body) = http::get(harness.address(), "/readyz");
    assert!(code != 200 && code != 503, "{code} {body}");
    let log = harness.server.log().join("\n");
    assert!(!log.contains("fleet"), "{log}");
    harness.end();
}

#[test]
fn a_fleet_adds_two_threads_and_two_connections() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let store = format!("unix://{}", redis.socket().display());
    let harness = server().settings(&[("RTMS_FLEET", &store), ("RTMS_NODE", "a")]);
    let harness = harness.start();
    harness.wait_until_logged(&["store answers"]);
    let added = documented("src/manual/fleet.md", "Each server has ");
    let alone = alone();
    let expected = Needs {
        threads: alone.threads + added[0],
        files: alone.files + added[1],
        sockets: alone.sockets + added[1],
    };
    assert_needs(&harness, &expected);
    harness.leave();
}
