//! The `demo` command itself, in the forms that take longest.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    KilledOnDrop, PATIENCE, RTMSD, TempDir, files_below, http, run, run_to_end, wait_until,
};

/// It lasts 70 s, because of two windows of the server and of Zoom; it needs little CPU.
#[test]
#[ignore = "takes 70 s, a sixth of what the suite may; .ci/nightly slow"]
fn every_oddity_of_the_demo_has_the_expected_result() {
    let ran = run(&["demo", "--odd"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let verdicts = ran.stdout.lines().filter(|line| line.starts_with("ok  "));
    assert_eq!(verdicts.count(), 10, "{ran:?}");
}

#[test]
fn the_demo_plays_all_media_of_every_product() {
    let out = TempDir::new();
    let mut demo = Command::new(RTMSD);
    demo.args(["demo", "--media", "all", "--product", "all", "--out"]);
    let ran = run_to_end(demo.arg(out.path()));
    let said = &ran.stdout;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for product in ["meeting", "webinar", "session", "engagement", "call"] {
        for medium in ["audio", "video", "share", "chat", "events"] {
            let is_row = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().skip(2).collect();
                words.starts_with(&[product, medium]) && words.ends_with(&["0", "0"])
            };
            assert!(said.lines().any(is_row), "{product} {medium}: {said}");
        }
    }
    assert!(
        !files_below(out.path()).is_empty(),
        "the demo kept its folder"
    );
}

#[test]
fn serve_plays_until_a_signal_and_prints_addresses_that_work() {
    let child = Command::new(RTMSD)
        .args(["demo", "--serve", "--meetings", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = KilledOnDrop(child.expect("the program can be started"));
    let stdout = child.0.stdout.take().expect("piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line))
    });
    let mut addresses = Vec::new();
    while addresses.len() < 2 {
        let line = lines.recv_timeout(PATIENCE).expect("a line");
        let words = line.split_whitespace();
        addresses.extend(words.filter(|it| it.starts_with("http")).map(str::to_owned));
    }
    drop(lines);
    // `http://HOST/#t=TOKEN` and `http://HOST/live/KEY#t=TOKEN`.
    let parts = |address: &str| {
        let (place, token) = address.split_once("#t=").expect("a token");
        let place = place.strip_prefix("http://").expect("an address");
        let (host, path) = place.split_once('/').expect("a path");
        (host.to_owned(), format!("/{path}"), token.to_owned())
    };
    let (host, page, token) = parts(&addresses[0]);
    let (_, live, same_token) = parts(&addresses[1]);
    assert_eq!((page.as_str(), &same_token), ("/", &token));
    let key = live.strip_prefix("/live/").expect("a stream");
    let admin: SocketAddr = host.parse().expect("an address");
    for page in ["/", &live] {
        assert_eq!(http::get(admin, page).0, 200, "{page}");
    }
    let target = format!("/events?stream={key}&after=begin&types=transcript.phrase&wait=25");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let answer = http::ask(admin, request.as_bytes());
    assert!(
        answer.contains("\"type\":\"transcript.phrase\""),
        "{answer}"
    );
    let id = Pid::from_child(&child.0);
    kill_process(id, Signal::INT).expect("it runs");
    let mut status = None;
    wait_until("it ends", || {
        status = child.0.try_wait().expect("a child");
        status.is_some()
    });
    let status = status.expect("it has ended");
    let _ = reader.join().expect("no panic");
    let mut said = String::new();
    let mut stderr = child.0.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}
