//! The end hook with the real binary: what it gets, when it runs, and that it runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rtmsd::delivery::ends::entry::Entries;
use rtmsd::demo::{End, MeetingScript, Options};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::harness::{
    Harness, meta, open, plain, wait_until, wait_until_over, wait_until_streaming,
};

/// A program that takes down what it gets, in a folder of its own for each run. Then it does `then`.
fn hook(harness: &Harness, then: &str) -> PathBuf {
    let (path, runs) = (harness.folder.join("hook"), harness.folder.join("runs"));
    fs::create_dir_all(&runs).expect("a folder");
    let text = format!(
        "#!/bin/sh\nrun=$(mktemp -d '{}/XXXXXX')\ncat >\"$run/stdin\"\nenv >\"$run/env\"\npwd >\"$run/pwd\"\n\
         echo $$ >\"$run/pid\"\nfor word; do printf '%s\\n' \"$word\" >>\"$run/argv\"; done\n\
         touch \"$run/begun\"\n{then}\ntouch \"$run/done\"\n",
        runs.display()
    );
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

/// The runs that have come so far: `begun` or `done`.
fn runs(harness: &Harness, mark: &str) -> Vec<PathBuf> {
    let runs = fs::read_dir(harness.folder.join("runs"));
    let runs = runs
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut runs: Vec<PathBuf> = runs.filter(|run| run.join(mark).exists()).collect();
    runs.sort_by_key(|run| {
        fs::metadata(run.join("begun"))
            .and_then(|meta| meta.modified())
            .ok()
    });
    runs
}

fn read(run: &Path, name: &str) -> String {
    fs::read_to_string(run.join(name)).unwrap_or_default()
}

fn environment(run: &Path) -> BTreeMap<String, String> {
    let text = read(run, "env");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn ends_json(harness: &Harness) -> String {
    fs::read_to_string(harness.state().join("ends.json")).unwrap_or_default()
}

/// Whether a process runs. One that is over may still be listed, where no process waits for orphans.
fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    status.is_ok_and(|text| {
        !text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

/// Nothing is to be done for any stream any more.
fn is_all_done(harness: &Harness) -> bool {
    let (entries, odd) = Entries::read(ends_json(harness).as_bytes());
    assert_eq!(odd, 0);
    harness.state().join("ends.json").exists() && entries.is_empty()
}

#[test]
fn h1_the_hook_gets_the_stream_and_no_secret() {
    let mut harness = Harness::builder(Options::default())
        .admin()
        .without_server();
    let path = hook(
        &harness,
        "echo out; echo \"err $(printf '\\033[31m')red\" >&2",
    );
    let command = format!("{} --lang de $(id) `id` ;x", path.display());
    harness.set("RTMS_ON_STREAM_END", &command);
    harness.start_server();
    let topic = "Q3; $(touch pwned) `id` \"quoted\" 'x' & more";
    let meeting = harness.zoom.start_meeting(MeetingScript {
        topic: topic.to_owned(),
        ..plain("hook", 5)
    });
    wait_until_over(&meeting);
    wait_until("the hook has run", || runs(&harness, "done").len() == 1);
    let run = &runs(&harness, "done")[0];
    let folder = harness.folder_of(&meeting.streams()[0]);
    let meta = meta(&folder);
    let stdin: Value = serde_json::from_str(&read(run, "stdin")).expect("meta.json");
    assert_eq!(
        (&stdin["state"], &stdin["stream_id"]),
        (&"ended".into(), &meta["stream_id"])
    );
    assert_eq!(read(run, "argv"), "--lang\nde\n$(id)\n`id`\n;x\n");
    assert_eq!(
        Path::new(read(run, "pwd").trim_end()),
        folder.canonicalize().expect("a folder")
    );
    let mut environment = environment(run);
    // A shell's own.
    for name in ["PWD", "_", "OLDPWD", "SHLVL"] {
        environment.remove(name);
    }
    let kept = ["PATH", "LANG", "TZ", "HOME"];
    let (ours, others): (Vec<_>, Vec<_>) = environment
        .iter()
        .partition(|(name, _)| name.starts_with("RTMSD_"));
    assert!(
        others.iter().all(|(name, _)| kept.contains(&name.as_str())),
        "{others:?}"
    );
    assert_eq!(ours.len(), 16, "{ours:?}");
    let value = |name: &str| environment[name].as_str();
    let text = |key: &str| meta[key].as_str().unwrap_or_default();
    for (name, expected) in [
        ("RTMSD_EVENT", "stream.ended"),
        ("RTMSD_STREAM_ID", text("stream_id")),
        ("RTMSD_PRODUCT", "meeting"),
        ("RTMSD_ID", text("meeting_uuid")),
        ("RTMSD_MEETING_ID", text("meeting_id")),
        ("RTMSD_TOPIC", topic),
        ("RTMSD_FOLDER", folder.to_str().expect("UTF-8")),
        ("RTMSD_STARTED", text("started")),
        ("RTMSD_ENDED", text("ended")),
        ("RTMSD_END", "stopped"),
        ("RTMSD_PHRASES", "5"),
        ("RTMSD_UPLOADED", "off"),
        ("RTMSD_ATTEMPT", "1"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert_eq!(value("RTMSD_KEY").len(), 16);
    assert!(!folder.join("pwned").exists());
    harness.wait_until_logged(&["hook stream=", " : out"]);
    harness.wait_until_logged(&["hook stream=", " : err [31mred"]);
    wait_until("it is counted", || {
        harness.metric("rtmsd_hooks_total{result=\"ok\"}") == 1.0
    });
    wait_until("it is forgotten", || is_all_done(&harness));
    harness.end();
}

#[test]
fn h6_check_says_whether_the_program_can_be_run() {
    let mut harness = Harness::builder(Options::default()).without_server();
    let path = harness.folder.join("hook");
    let name = path.to_str().expect("UTF-8").to_owned();
    harness.set("RTMS_ON_STREAM_END", &name);
    for (mode, expected, code) in [
        (0, "fault hook: {} does not exist", Some(78)),
        (
            0o644,
            "fault hook: {} cannot be executed by this user: chmod +x",
            Some(77),
        ),
        // A folder that systemd hides is a warning where there is systemd.
        (0o755, " hook: {}", Some(0)),
    ] {
        if mode > 0 {
            fs::write(&path, "#!/bin/sh\n").expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        }
        let ran = harness.run_apart(&["check"]);
        let expected = expected.replace("{}", &name);
        assert!(ran.stdout.contains(&expected), "{expected}: {}", ran.stdout);
        assert_eq!(ran.code, code, "{}", ran.stdout);
    }
}

#[test]
fn h1_h2_a_hook_that_was_killed_with_the_server_runs_again() {
    let mut harness = Harness::builder(Options::default()).without_server();
    let gate = harness.folder.join("gate");
    let then = format!("while [ ! -e '{}' ]; do sleep 0.05; done", gate.display());
    let path = hook(&harness, &then);
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    harness.start_server();
    let meeting = harness.zoom.start_meeting(plain("killed", 3));
    wait_until_over(&meeting);
    wait_until("the hook runs", || runs(&harness, "begun").len() == 1);
    // SIGKILL during the run: the old one lives on.
    harness.server.kill();
    harness.start_server();
    wait_until("it runs again", || runs(&harness, "begun").len() == 2);
    // SIGTERM: the server ends its hook, which has not been tried then.
    harness.terminate();
    let second = read(&runs(&harness, "begun")[1], "pid");
    wait_until("it is gone", || !is_alive(&second));
    harness.start_server();
    wait_until("it runs a third time", || {
        runs(&harness, "begun").len() == 3
    });
    let third = &runs(&harness, "begun")[2];
    assert_eq!(environment(third)["RTMSD_ATTEMPT"], "1");
    fs::write(&gate, "").expect("a file");
    wait_until("it is over", || is_all_done(&harness));
    // After exit 0 a crash changes nothing.
    harness.server.kill();
    harness.start_server();
    harness.assert_answered();
    assert_eq!(runs(&harness, "begun").len(), 3);
    harness.end();
}

#[test]
fn h1_a_stream_that_ended_while_the_server_was_away_gets_its_hook() {
    let mut harness = Harness::builder(Options::default()).without_server();
    let path = hook(&harness, "");
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    harness.start_server();
    let meeting = harness.zoom.start_meeting(open("away"));
    wait_until_streaming(&meeting);
    // The state is lost, so only its files know the stream.
    harness.server.kill();
    fs::remove_dir_all(harness.state()).expect("ours");
    meeting.end(End::meeting_ended());
    harness.start_server();
    wait_until("the hook has run", || runs(&harness, "done").len() == 1);
    let environment = environment(&runs(&harness, "done")[0]);
    assert_eq!(environment["RTMSD_END"], "abandoned");
    wait_until("it is forgotten", || is_all_done(&harness));
    harness.terminate();
}

#[test]
fn h2_h3_a_hook_that_fails_or_hangs_is_tried_again_and_its_children_go_with_it() {
    let mut harness = Harness::builder(Options::default()).without_server();
    // It forks, ignores SIGTERM itself, and its child holds the pipe.
    let path = hook(
        &harness,
        "trap '' TERM; sleep 600 & echo $! >\"$run/child\"; wait",
    );
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    harness.set("RTMS_HOOK_TIMEOUT", "1");
    harness.start_server();
    let meeting = harness.zoom.start_meeting(plain("hangs", 3));
    wait_until_over(&meeting);
    let line = harness.wait_until_logged(&["WARN", "hook failed", "RTMS_HOOK_TIMEOUT=1"]);
    assert!(line.contains("again in 10 s"), "{line}");
    let run = &runs(&harness, "begun")[0];
    wait_until("both are gone", || {
        !is_alive(&read(run, "pid")) && !is_alive(&read(run, "child"))
    });
    harness.terminate();
}

#[test]
fn h3_a_child_that_keeps_the_pipe_holds_no_place_and_two_run_at_a_time() {
    ends_at_once(20);
}

#[test]
#[ignore = "takes half a minute; .ci/nightly slow"]
fn h3_of_a_hundred_streams_that_end_at_once_two_hooks_run_at_a_time() {
    ends_at_once(100);
}

fn ends_at_once(streams: usize) {
    let mut harness = Harness::builder(Options::default()).without_server();
    let running = harness.folder.join("running");
    fs::create_dir_all(&running).expect("a folder");
    // Each one takes down how many there are, and leaves a child behind that keeps its output open.
    let then = format!(
        "mkdir '{0}'/$$; ls '{0}' | wc -l >\"$run/count\"; sleep 0.1; rmdir '{0}'/$$; sleep 60 &",
        running.display()
    );
    let path = hook(&harness, &then);
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    harness.start_server();
    let script = |n: usize| plain(&format!("many-{n}"), 2);
    let meetings: Vec<_> = (0..streams)
        .map(|n| harness.zoom.start_meeting(script(n)))
        .collect();
    meetings.iter().for_each(wait_until_over);
    wait_until("all hooks have run", || {
        runs(&harness, "done").len() == streams
    });
    let runs = runs(&harness, "done");
    let counts = runs
        .iter()
        .map(|run| read(run, "count").trim().parse::<u32>().expect("a number"));
    let most = counts.max();
    assert!(most.is_some_and(|most| most <= 2), "{most:?}");
    let mut ids: Vec<String> = runs
        .iter()
        .map(|run| environment(run)["RTMSD_STREAM_ID"].clone())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), streams);
    for run in &runs {
        let pid: i32 = read(run, "pid").trim().parse().expect("a number");
        let _ = kill_process_group(Pid::from_raw(pid).expect("a process"), Signal::KILL);
    }
    harness.end();
}

/// S8: secrets of the ways out, from the environment, from a file of their own and from `rtms.conf`.
#[test]
fn s8_h4_no_secret_of_push_and_bucket_reaches_a_hook_and_little_of_its_output_the_log() {
    let secrets = [
        ("RTMS_PUSH_URL", "http://127.0.0.1:9/hook/hunter2-path"),
        ("RTMS_PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("RTMS_PUSH_AUTHORIZATION", "Bearer hunter2-authorization"),
        ("RTMS_S3_ACCESS_KEY_ID", "hunter2-key-id"),
        ("RTMS_S3_SECRET_ACCESS_KEY", "hunter2-key"),
        ("RTMS_S3_SESSION_TOKEN", "hunter2-session"),
    ];
    let (in_environment, session) = secrets[5];
    let mut harness = Harness::builder(Options::default())
        .prelude(&format!("export {in_environment}={session}"))
        .without_server();
    let path = hook(&harness, "yes 'twenty thousand bytes' | head -c 20000");
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    for (key, value) in &secrets[..4] {
        harness.set(key, value);
    }
    let file = harness.folder.join("secret");
    fs::write(&file, secrets[4].1).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let file = file.to_str().expect("UTF-8").to_owned();
    harness.set("RTMS_S3_SECRET_ACCESS_KEY_FILE", &file);
    harness.start_server();
    let meeting = harness.zoom.start_meeting(plain("secrets", 3));
    wait_until_over(&meeting);
    wait_until("the hook has run", || runs(&harness, "done").len() == 1);
    let run = &runs(&harness, "done")[0];
    for place in ["env", "stdin", "argv"] {
        let text = read(run, place);
        for (key, secret) in secrets {
            assert!(
                !text.contains(secret) && !text.contains("hunter2"),
                "{key} in {place}"
            );
            assert!(!text.contains(key), "{key} in {place}");
        }
    }
    harness.wait_until_logged(&["hook stream=", " : more output is not logged"]);
    let log = harness.server.log();
    let printed = log.iter().filter(|line| line.contains("twenty thousand"));
    let bytes: usize = printed
        .map(|line| line.matches("twenty thousand bytes").count() * 22)
        .sum();
    assert!((15_000..=16 << 10).contains(&bytes), "{bytes}");
    assert!(!log.join("\n").contains("hunter2"));
    harness.end();
}

#[test]
fn h5_after_a_withdrawal_the_hook_hears_of_it_with_ids_alone() {
    let mut harness = Harness::builder(Options::default()).without_server();
    let path = hook(&harness, "");
    harness.set("RTMS_ON_STREAM_END", path.to_str().expect("UTF-8"));
    harness.start_server();
    let meeting = harness.zoom.start_meeting(MeetingScript {
        topic: "a secret topic".to_owned(),
        ..open("revoked")
    });
    wait_until_streaming(&meeting);
    meeting.end(End::stopped(8));
    wait_until("the hook has run", || runs(&harness, "done").len() == 1);
    let run = &runs(&harness, "done")[0];
    let environment = environment(run);
    assert_eq!(environment["RTMSD_EVENT"], "stream.revoked");
    assert_eq!(environment["RTMSD_STREAM_ID"], meeting.streams()[0]);
    assert_eq!(environment["RTMSD_STOP_REASON"], "8");
    for name in [
        "RTMSD_FOLDER",
        "RTMSD_TOPIC",
        "RTMSD_PHRASES",
        "RTMSD_ENDED",
    ] {
        assert_eq!(environment[name], "", "{name}");
    }
    let stdin: Value = serde_json::from_str(&read(run, "stdin")).expect("JSON");
    assert_eq!(stdin["event"], "stream.revoked");
    assert_eq!(stdin["stream_id"], meeting.streams()[0].as_str());
    for place in ["stdin", "env"] {
        assert!(!read(run, place).contains("secret topic"), "{place}");
    }
    wait_until("it is forgotten", || is_all_done(&harness));
    assert!(!ends_json(&harness).contains("secret topic"));
    assert!(harness.stream_folders().is_empty());
    harness.end();
}
