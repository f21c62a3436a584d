//! The `demo` command itself, in the forms that take longest.

use std::process::Command;

use crate::harness::{RTMSD, TempDir, files_below, run, run_to_end};

/// It lasts 70 s, because of two windows of the server and of Zoom; it needs little CPU.
#[test]
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
