//! `rtmsd list`: finds what the demo left behind.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{RTMSD, Ran, TempDir, run_to_end};

fn list(out: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(RTMSD);
    command.arg("list").args(args).env("RTMS_OUT", out);
    run_to_end(&mut command)
}

fn json(out: &Path, args: &[&str]) -> Vec<Value> {
    let found = list(out, &[&["--json"], args].concat());
    assert_eq!(found.code, Some(0), "{found:?}");
    let lines = found.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

#[test]
fn recordings_are_found_by_what_people_remember() {
    let top = TempDir::new();
    let out = top.path();
    let mut demo = Command::new(RTMSD);
    demo.args(["demo", "--meetings", "2", "--out"]).arg(out);
    let played = run_to_end(&mut demo);
    assert_eq!(played.code, Some(0), "{played:?}");

    let all = json(out, &[]);
    assert_eq!(all.len(), 2);
    for found in &all {
        let text = |name: &str| found[name].as_str().unwrap_or_default();
        let meta = std::fs::read(Path::new(text("folder")).join("meta.json")).expect("a file");
        let meta: Value = serde_json::from_slice(&meta).expect("JSON");
        for name in [
            "topic",
            "meeting_id",
            "started_ms",
            "ended_ms",
            "state",
            "words",
        ] {
            assert_eq!(found[name], meta[name], "{name}");
        }
        assert_eq!(found["id"], meta["meeting_uuid"]);
        assert_eq!(text("key").len(), 16);
        assert!(
            found["words"].as_u64() > found["duration_s"].as_u64(),
            "{found}"
        );
        let files = found["files"].as_array().expect("names");
        assert!(files.contains(&"transcript.jsonl".into()), "{files:?}");
        for by in [text("topic"), text("meeting_id"), text("id"), text("key")] {
            assert_eq!(json(out, &[by])[0]["folder"], found["folder"], "{by}");
        }
        let speaker = found["speakers"][0]
            .as_str()
            .expect("a name")
            .to_ascii_uppercase();
        assert!(json(out, &["--speaker", &speaker]).contains(found));
    }
    assert_eq!(json(out, &["-n", "1"]), all[..1]);
    assert_eq!(json(out, &["--since", "1h"]), all);
    assert_eq!(json(out, &["--since", "0s"]), Vec::<Value>::new());

    let page = list(out, &[]);
    for (line, found) in page.stdout.lines().zip(&all) {
        for part in [&found["topic"], &found["meeting_id"], &found["folder"]] {
            assert!(line.contains(part.as_str().expect("text")), "{line}");
        }
    }
    assert_eq!(list(out, &["no such meeting"]).stdout, "");

    let missing = list(&out.join("missing"), &[]);
    assert_eq!(missing.code, Some(69), "{missing:?}");
    assert!(missing.stderr.contains("RTMS_OUT: found "), "{missing:?}");
}
