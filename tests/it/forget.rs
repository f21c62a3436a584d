//! `rtmsd forget`: what is forgotten is in no file any more, over crashes and beside a server.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rtmsd::demo::{End, MeetingHandle};
use serde_json::{Value, json};

use crate::harness::{
    Harness, PATIENCE, RTMSD, Ran, TempDir, files_below, meta, open, run_to_end, wait_until,
    wait_until_over, wait_until_streaming,
};

/// The files that have one of these words, in any form that we write.
fn files_with(folder: &Path, words: &[&str]) -> Vec<PathBuf> {
    let has = |bytes: &[u8], word: &str| {
        let escaped = word.replace('&', "&amp;").replace('<', "&lt;");
        let forms = [word.to_owned(), escaped];
        forms
            .iter()
            .any(|form| bytes.windows(form.len()).any(|it| it == form.as_bytes()))
    };
    let mut found = Vec::new();
    for (path, bytes) in files_below(folder) {
        let name = path.to_string_lossy().into_owned();
        if words
            .iter()
            .any(|word| has(&bytes, word) || name.contains(word))
        {
            found.push(path);
        }
    }
    found
}

fn receipts(state: &Path) -> Vec<Value> {
    let files = fs::read_dir(state.join("receipts")).into_iter().flatten();
    let files = files.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    files
        .map(|path| serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON"))
        .collect()
}

/// Streams as an earlier server left them: Ada speaks first and third, Bo second.
fn write_streams(out: &Path, count: usize) {
    for n in 0..count {
        let (meeting, stream) = (format!("meeting-{n}"), format!("stream-{n}"));
        let folder = out.join(rtmsd::recorder::path::stream_folder(
            1_767_000_000_000,
            &meeting,
            &stream,
        ));
        fs::create_dir_all(&folder).expect("a folder");
        let line = |id: u64, name: &str, at: u64, text: &str| {
            format!(
                r#"{{"v":1,"type":"transcript","meeting_uuid":"{meeting}","stream_id":"{stream}","user_id":{id},"user_name":"{name}","start_ms":{0},"end_ms":{0},"timestamp_ms":{0},"text":"{text}"}}"#,
                1_767_000_000_000 + at
            )
        };
        let lines = [
            line(7001, "Ada Lovelace", 1000, "the engine weaves"),
            line(7002, "Bo", 2000, "as Bo says"),
            line(7001, "Ada Lovelace", 3000, "patterns of algebra"),
        ];
        fs::write(folder.join("transcript.jsonl"), lines.join("\n") + "\n").expect("a file");
        let mut vtt = "WEBVTT\n\n".to_owned();
        for (number, name, text) in [
            (1, "Ada Lovelace", "the engine weaves"),
            (2, "Bo", "as Bo says"),
            (3, "Ada Lovelace", "patterns of algebra"),
        ] {
            vtt += &format!(
                "{number}\n00:00:0{number}.000 --> 00:00:0{number}.500\n<v {name}>{text}\n\n"
            );
        }
        fs::write(folder.join("transcript.vtt"), vtt).expect("a file");
        fs::write(folder.join("audio-7001-Ada_Lovelace.wav"), b"RIFF").expect("a file");
        fs::write(folder.join("audio-mixed.wav"), b"RIFF").expect("a file");
        let about = json!({
            "v": 1, "product": "meeting", "meeting_uuid": meeting, "stream_id": stream,
            "started_ms": 1_767_000_000_000_u64, "opened_ms": 1_767_000_000_000_u64, "openings": 1,
            "state": "ended", "ended_ms": 1_767_000_009_000_u64, "transcripts": 3,
            "topic": "Ada Lovelace's Zoom Meeting", "speakers": ["Ada Lovelace", "Bo"],
            "audio": [{"file": "audio-7001-Ada_Lovelace.wav", "user_id": 7001,
                "user_name": "Ada Lovelace", "codec": "l16", "sample_rate": 16000, "channels": 1,
                "first_ms": 1_767_000_001_000_u64}],
        });
        fs::write(folder.join("meta.json"), about.to_string()).expect("a file");
    }
}

fn command(top: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(RTMSD);
    command
        .arg("forget")
        .args(arguments)
        .env("RTMS_OUT", top.join("out"))
        .env("RTMS_STATE", top.join("state"));
    command
}

fn forget(top: &Path, arguments: &[&str]) -> Ran {
    run_to_end(&mut command(top, arguments))
}

const ADA: [&str; 6] = [
    "Ada Lovelace",
    "ada lovelace",
    "Ada_Lovelace",
    "7001",
    "the engine weaves",
    "patterns of algebra",
];

#[test]
fn a_kill_in_the_middle_is_completed_and_the_receipt_is_right() {
    const STREAMS: usize = 24;
    let top = TempDir::new();
    let (out, state) = (top.join("out"), top.join("state"));
    write_streams(&out, STREAMS);
    // Killed again and again, each time a little later.
    let mut blanked = 0;
    for wanted in [1, STREAMS / 2] {
        let mut child = command(top.path(), &["--user", "ada lovelace"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let until = Instant::now() + PATIENCE;
        while child.try_wait().expect("a child").is_none() && Instant::now() < until {
            let files = files_below(&out);
            let is_own = |path: &&PathBuf| path.to_string_lossy().contains("Ada_Lovelace");
            blanked = STREAMS - files.keys().filter(is_own).count();
            if blanked >= wanted {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    assert!(blanked > 0);
    let done = forget(top.path(), &["--user", "ada lovelace", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(files_with(top.path(), &ADA), Vec::<PathBuf>::new());
    assert!(!state.join("forgetting.json").exists());
    // A run that was not killed in time has a receipt of its own.
    let receipts = receipts(&state);
    let sum = |name: &str| -> u64 {
        let numbers = receipts
            .iter()
            .map(|it| it["total"][name].as_u64().expect("a number"));
        numbers.sum()
    };
    let streams = STREAMS as u64;
    assert_eq!(sum("files_deleted"), streams);
    assert_eq!(sum("files_blanked"), 3 * streams);
    assert_eq!(sum("records_blanked"), 5 * streams);
    assert!(
        receipts.iter().all(|it| it["completed"] == true),
        "{receipts:?}"
    );
    for (path, bytes) in files_below(&out) {
        let text = String::from_utf8_lossy(&bytes);
        if path.ends_with("transcript.jsonl") {
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            assert_eq!(lines.len(), 3);
            assert_eq!(
                (&lines[0]["forgotten"], &lines[0]["text"]),
                (&json!(true), &json!(""))
            );
            assert_eq!(lines[1]["text"], "as Bo says");
        } else if path.ends_with("transcript.vtt") {
            assert!(text.contains("2\n00:00:02.000 --> 00:00:02.500\n<v Bo>as Bo says\n\n3\n"));
        }
    }
    let count = |name: &str| {
        files_below(&out)
            .keys()
            .filter(|it| it.ends_with(name))
            .count()
    };
    assert_eq!(
        (
            count("audio-mixed.wav"),
            count("audio-7001-Ada_Lovelace.wav")
        ),
        (STREAMS, 0)
    );
}

#[test]
fn an_id_of_several_people_is_refused_and_a_meeting_goes_as_a_whole() {
    let top = TempDir::new();
    let out = top.join("out");
    write_streams(&out, 2);
    let second = files_below(&out);
    let second = second
        .keys()
        .find(|it| it.ends_with("transcript.jsonl"))
        .expect("a file");
    let text = fs::read_to_string(out.join(second)).expect("a text");
    fs::write(out.join(second), text.replace("Ada Lovelace", "Cy")).expect("a file");
    for name in ["meta.json", "transcript.vtt", "audio-7001-Ada_Lovelace.wav"] {
        fs::remove_file(out.join(second).with_file_name(name)).expect("removed");
    }
    let refused = forget(top.path(), &["--user", "7001"]);
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(
        refused.stderr.contains("names Cy") && refused.stderr.contains("--meeting"),
        "{refused:?}"
    );
    assert!(!top.join("state/forgetting.json").exists());
    let plan = forget(
        top.path(),
        &["--user", "7001", "--meeting", "meeting-0", "--dry-run"],
    );
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let before: BTreeMap<PathBuf, Vec<u8>> = files_below(&out);
    assert!(before.values().any(|bytes| bytes.starts_with(b"WEBVTT")));
    assert_eq!(receipts(&top.join("state")).len(), 0);
    for (meeting, left) in [("meeting-0", 1), ("meeting-1", 0), ("meeting-1", 0)] {
        let done = forget(top.path(), &["--meeting", meeting]);
        assert_eq!(done.code, Some(0), "{done:?}");
        let files = files_below(&out);
        let left_now = files.keys().filter(|it| it.ends_with("transcript.jsonl"));
        assert_eq!(left_now.count(), left, "{meeting}");
    }
    assert_eq!(
        forget(top.path(), &["--account", "none", "--user", "x"]).code,
        Some(64)
    );
}

fn names_of(harness: &Harness, meeting: &MeetingHandle) -> (String, Vec<String>) {
    let folder = harness.folder_of(&meeting.streams()[0]);
    let text = fs::read_to_string(folder.join("transcript.jsonl")).expect("a transcript");
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let name = lines[0]["user_name"].as_str().expect("a name").to_owned();
    let own = lines
        .iter()
        .filter(|line| line["user_name"] == name.as_str());
    let words = own.map(|line| line["text"].as_str().expect("a text").to_owned());
    let words = words.collect();
    (name, words)
}

#[test]
fn beside_a_server_a_person_goes_at_the_streams_end_and_a_running_meeting_is_ended() {
    let harness = Harness::with_admin(&[("RTMS_TRANSCRIPT", "jsonl,vtt,srt,txt")]);
    let meeting = harness.zoom.start_meeting(open("forget-user"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    wait_until("there is a phrase", || {
        fs::read_to_string(folder.join("transcript.jsonl")).is_ok_and(|text| text.contains('\n'))
    });
    let (name, words) = names_of(&harness, &meeting);
    let waits = harness.run(&["forget", "--user", &name]);
    assert_eq!(waits.code, Some(69), "{waits:?}");
    assert!(waits.stdout.contains("still received"), "{waits:?}");
    assert_ne!(files_with(&harness.out(), &[&name]), Vec::<PathBuf>::new());
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    harness.wait_until_logged(&["forgotten what=user"]);
    wait_until("the request is gone", || {
        !harness.state().join("forgetting.json").exists()
    });
    let mut gone: Vec<&str> = words.iter().map(String::as_str).collect();
    gone.push(&name);
    for place in [harness.out(), harness.state()] {
        assert_eq!(files_with(&place, &gone), Vec::<PathBuf>::new(), "{gone:?}");
    }
    assert_eq!(meta(&folder)["state"], "ended");
    let log = harness.server.log().join("\n");
    assert!(!log.contains(&name), "{log}");

    // The wish of people outranks the recording.
    let meeting = harness.zoom.start_meeting(open("forget-meeting"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    let uuid = meta(&folder)["meeting_uuid"]
        .as_str()
        .expect("an id")
        .to_owned();
    let topic = meta(&folder)["topic"].as_str().expect("a topic").to_owned();
    let done = harness.run(&["forget", "--meeting", &uuid]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!folder.exists());
    wait_until_over(&meeting);
    for place in [harness.out(), harness.state()] {
        assert_eq!(files_with(&place, &[&topic]), Vec::<PathBuf>::new());
    }
    let told = fs::read_to_string(harness.out().join("feed.jsonl")).expect("the server's journal");
    assert!(told.contains("\"cause\":\"forgotten\""), "{told}");
    harness.leave();
}

#[test]
fn an_account_that_removes_the_app_is_forgotten_unless_it_lets_the_data_be_kept() {
    let mut harness = Harness::with_admin(&[("RTMS_ON_DEAUTHORIZED", "delete")]);
    let meeting = harness.zoom.start_meeting(open("forget-account"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    meeting.end(End::meeting_ended());
    harness.wait_until_ended(&meeting);
    let account = meta(&folder)["account_id"]
        .as_str()
        .expect("an account")
        .to_owned();
    let event = |at: u64, keeps: &str| {
        json!({"event": "app_deauthorized", "event_ts": 1_795_000_000_000_u64 + at, "payload": {
            "account_id": account, "user_id": "usr1", "user_data_retention": keeps,
            "client_id": "x", "deauthorization_time": "2026-11-24T14:13:10Z"}})
    };
    harness.post(&event(1, "true"));
    harness.wait_until_logged(&["lets it keep the data"]);
    assert!(folder.exists());
    harness.post(&event(2, "false"));
    harness.wait_until_logged(&["forgotten what=account"]);
    wait_until("the folder is gone", || !folder.exists());
    wait_until("the receipt is there", || {
        let receipts = receipts(&harness.state());
        receipts
            .iter()
            .any(|it| it["completed"] == true && it["asked"] == account.as_str())
    });
    harness.terminate();
    let state = files_below(&harness.state());
    assert!(!state.keys().any(|path| path.ends_with("forgetting.json")));
}
