//! The journal, end to end: the real binary and the demo's Zoom. Tests are named after the rules of the
//! manual's chapter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rtmsd::demo::{
    AudioScript, Begin, DemoProduct, End, MeetingHandle, MeetingScript, Options, Step,
};
use rtmsd::feed::{JournalKey, Line, SCHEMA};
use serde_json::Value;

use crate::harness::{
    Harness, PATIENCE, frequent_keep_alives, meta, open_at_once, wait_until, wait_until_more,
    wait_until_over,
};

mod schema;

const FEED: &str = "feed.jsonl";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A journal, of which every line is whole, in order, and as the schema says.
struct Journal {
    text: String,
}

impl Journal {
    fn read(folder: &Path) -> Journal {
        let journal = Journal {
            text: read(&folder.join(FEED)),
        };
        assert!(journal.text.ends_with('\n'), "{}", folder.display());
        let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
        for (line, raw) in journal.lines().into_iter().zip(journal.text.lines()) {
            let json: Value = serde_json::from_str(raw).expect("a line is JSON");
            if let Err(fault) = schema::check(&schema, &schema, &json) {
                panic!("{fault}: {raw}");
            }
            assert_eq!(json["id"], line.id);
            assert_eq!(json["timestamp"], json["time"]);
        }
        journal
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let lines = self.text.split_terminator('\n');
        lines
            .map(|line| Line::parse(line.as_bytes()).unwrap_or_else(|| panic!("no line: {line}")))
            .collect()
    }

    fn kinds(&self) -> Vec<&str> {
        self.lines().iter().map(|line| line.kind).collect()
    }

    /// The data of the lines of these kinds.
    fn data(&self, families: &[&str]) -> Vec<Value> {
        let lines = self.lines().into_iter();
        let wanted = lines.filter(|line| families.iter().any(|it| line.kind.starts_with(it)));
        wanted
            .map(|line| serde_json::from_slice(line.data()).expect("JSON"))
            .collect()
    }

    fn seqs(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line.seq).collect()
    }
}

fn jsonl(path: &Path) -> Vec<Value> {
    let text = read(path);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

fn wait_until_ended(folder: &Path) {
    wait_until("the end in meta.json", || meta(folder)["state"] == "ended");
}

/// What the journal has beside its envelope is what the other files have, event for event.
fn assert_agrees(folder: &Path) {
    let journal = Journal::read(folder);
    assert_eq!(
        journal.data(&["transcript."]),
        jsonl(&folder.join("transcript.jsonl"))
    );
    assert_eq!(journal.data(&["chat."]), jsonl(&folder.join("chat.jsonl")));
    let mut events = journal.data(&["participant.", "speaker.", "sharing.", "event."]);
    for event in &mut events {
        event.as_object_mut().expect("an object").remove("people");
    }
    assert_eq!(events, jsonl(&folder.join("events.jsonl")));
    let below = folder.ancestors().nth(3).expect("three levels");
    let key = JournalKey::of_folder(folder.strip_prefix(below).expect("below"));
    assert_eq!(meta(folder)["key"], key.to_string());
    for line in journal.lines() {
        assert_eq!(line.id, format!("{key}-{}", line.seq));
    }
    // The files that it closes have that size.
    for file in journal.data(&["file.closed"]) {
        let name = file["file"].as_str().expect("a name");
        let bytes = fs::metadata(folder.join(name)).expect("a file").len();
        assert_eq!(file["bytes"], bytes, "{name}");
    }
}

#[test]
fn j1_j2_every_product_with_everything_is_in_its_journal_event_for_event() {
    let harness = Harness::builder(frequent_keep_alives(500))
        .settings(&[
            ("RTMS_STDOUT", "off"),
            ("RTMS_MEDIA", "all"),
            ("RTMS_EVENTS", "all"),
            ("RTMS_FEED_SOURCE", "https://example.com/rtms?vm=1"),
            ("ZOOM_VIDEO_SDK_KEY", "demo-sdk-key"),
            ("ZOOM_VIDEO_SDK_SECRET", "demo-sdk-secret"),
        ])
        .start();
    let products = [
        DemoProduct::Meeting,
        DemoProduct::Webinar,
        DemoProduct::ContactCenter,
        DemoProduct::Phone,
    ];
    let play = |(n, product): (usize, DemoProduct)| -> MeetingHandle {
        harness.zoom.start_meeting(MeetingScript {
            product,
            begin: Begin::AtOnce,
            granted: 31,
            pictures: true,
            chat_every: 3,
            events: true,
            phrases: Some(40),
            phrases_per_second: 100.0,
            audio: Some(AudioScript {
                per_speaker: false,
                interval: Duration::from_millis(20),
                packets: Some(20),
                mute: Duration::ZERO,
            }),
            ..MeetingScript::varied("feed", n)
        })
    };
    let meetings: Vec<MeetingHandle> = products.into_iter().enumerate().map(play).collect();
    for meeting in &meetings {
        assert!(
            meeting.wait_for_phrases(40, PATIENCE),
            "{:?}",
            meeting.steps()
        );
        meeting.end(End::meeting_ended());
    }
    for meeting in &meetings {
        wait_until_over(meeting);
        let folder = harness.folder_of(&meeting.streams()[0]);
        wait_until_ended(&folder);
        assert_agrees(&folder);
        let journal = Journal::read(&folder);
        let kinds = journal.kinds();
        assert_eq!(kinds.first(), Some(&"stream.started"));
        assert_eq!(kinds.last(), Some(&"stream.ended"));
        assert!(kinds.contains(&"stream.receiving"));
        assert_eq!(journal.data(&["transcript.phrase"]).len(), 40);
        let has_chat = meeting.script().product != DemoProduct::Phone;
        assert_eq!(!journal.data(&["chat."]).is_empty(), has_chat);
        let count = journal.lines().len() as u64;
        assert_eq!(journal.seqs(), (1..=count).collect::<Vec<u64>>());
        assert!(
            journal
                .text
                .contains(r#""source":"https://example.com/rtms?vm=1""#)
        );
        let sound = journal.data(&["file.closed"]);
        assert!(
            sound
                .iter()
                .any(|it| it["file"].as_str().is_some_and(|f| f.starts_with("audio-")))
        );
    }
    harness.end();
}

#[test]
fn a_feed_that_is_off_leaves_no_trace() {
    let harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_FEED", "off")])
        .start();
    let meeting = harness
        .zoom
        .start_meeting(crate::harness::plain("feed off", 5));
    wait_until_over(&meeting);
    let folder = harness.stream_folder();
    wait_until_ended(&folder);
    assert!(!folder.join(FEED).exists() && !harness.out().join(FEED).exists());
    assert!(!harness.state().join("feed-pos").exists());
    let meta = meta(&folder);
    assert_eq!((meta.get("feed_seq"), meta.get("boot_id")), (None, None));
    harness.end();
}

/// SIGKILL at so many moments, with two streams and without `transcript.jsonl`.
fn kill(kills: u64) {
    let mut harness = Harness::builder(frequent_keep_alives(500))
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_TRANSCRIPT", "vtt")])
        .start();
    let meetings: Vec<MeetingHandle> = ["a", "b"]
        .into_iter()
        .map(|seed| {
            harness.zoom.start_meeting(MeetingScript {
                // So much is repeated after each kill that a fixed number of phrases would be too few.
                phrases_per_second: 100.0,
                replay: Duration::from_secs(4),
                events: true,
                ..open_at_once(seed)
            })
        })
        .collect();
    for n in 0..kills {
        for meeting in &meetings {
            wait_until_more(meeting, 5 + (n * 7919) % 97);
        }
        // What became of the life so far is on the disk, and phrases are on their way there.
        let started = "\"type\":\"stream.started\"";
        wait_until("each life in the journals", || {
            meetings.iter().all(|meeting| {
                let folders = harness.folders_of(meeting);
                let text = folders.first().map(|folder| read(&folder.join(FEED)));
                text.is_some_and(|text| text.matches(started).count() as u64 == n + 1)
            })
        });
        let readies: Vec<usize> = meetings.iter().map(|it| it.count(Step::Ready)).collect();
        harness.server.kill();
        harness.start_server();
        for (meeting, before) in meetings.iter().zip(readies) {
            assert!(meeting.wait_for_times(Step::Ready, before + 1, PATIENCE));
        }
    }
    for meeting in &meetings {
        wait_until_more(meeting, 5);
        meeting.end(End::meeting_ended());
    }
    let mut positions = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for meeting in &meetings {
        wait_until_over(meeting);
        let folder = harness.folder_of(&meeting.streams()[0]);
        wait_until_ended(&folder);
        let journal = Journal::read(&folder);
        let lines = journal.lines();
        // J3: dense, also over restarts. J4: no id twice.
        assert_eq!(
            journal.seqs(),
            (1..=lines.len() as u64).collect::<Vec<u64>>()
        );
        let mut last = 0;
        for line in &lines {
            assert!(ids.insert(line.id.to_owned()), "{} twice", line.id);
            assert!(line.pos > last, "{}", line.id);
            last = line.pos;
            // J5: no position twice, over all journals.
            let other = positions.insert(line.pos, line.id.to_owned());
            assert_eq!(other, None, "{}", line.id);
        }
        // J6: each phrase once, and the subtitles have what the journal has.
        let phrases = journal.data(&["transcript."]);
        let said: BTreeSet<String> = phrases
            .iter()
            .map(|it| format!("{} {}", it["start_ms"], it["text"]))
            .collect();
        assert_eq!(said.len(), phrases.len(), "a phrase is there twice");
        let vtt = read(&folder.join("transcript.vtt"));
        assert_eq!(vtt.matches(" --> ").count(), phrases.len());
        let texts = vtt
            .split("\n\n")
            .filter_map(|cue| cue.split_once("<v ")?.1.split_once('>'));
        let texts: Vec<&str> = texts.map(|(_, text)| text).collect();
        let expected = phrases
            .iter()
            .map(|it| it["text"].as_str().expect("a text"));
        let escaped = |text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            text.replace('>', "&gt;").replace('\n', " ")
        };
        let expected: Vec<String> = expected.map(escaped).collect();
        assert_eq!(texts, expected, "in the same order");
        assert_eq!(meta(&folder)["transcripts"], phrases.len());
        // Each restart is there to see.
        let starts = journal.data(&["stream.started"]);
        assert_eq!(starts.len() as u64, kills + 1);
        let resumed = journal.data(&["stream.resumed"]);
        assert!(resumed.iter().any(|it| it["after"] == "restart"));
        assert_eq!(
            journal
                .kinds()
                .iter()
                .filter(|it| **it == "stream.ended")
                .count(),
            1
        );
    }
    harness.terminate();
}

#[test]
fn j3_j5_j6_sigkill_leaves_numbers_positions_and_seam_right() {
    kill(4);
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn j3_j5_j6_sigkill_two_hundred_times() {
    kill(200);
}

#[test]
fn j11_j12_withdrawn_consent_is_the_servers_last_word_about_a_stream() {
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off")])
        .start();
    let meeting = harness.zoom.start_meeting(open_at_once("consent"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    let folder = harness.stream_folder();
    wait_until("phrases in the journal", || {
        read(&folder.join(FEED)).contains("transcript.phrase")
    });
    let key = meta(&folder)["key"].clone();
    meeting.end(End::stopped(8));
    wait_until("the folder is gone", || !folder.exists());
    harness.wait_until_logged(&["consent withdrawn: deleted"]);
    let journal = Journal::read(&harness.out());
    assert_eq!(journal.kinds(), ["stream.revoked"]);
    let data = &journal.data(&["stream.revoked"])[0];
    assert_eq!((&data["key"], &data["deleted"]), (&key, &true.into()));
    assert!(data["stream_seq"].as_u64().is_some_and(|seq| seq > 1));
    // Ids only.
    let topic = &meeting.script().topic;
    assert!(!journal.text.contains(topic.as_str()));
    // A restart repeats nothing but the deletion.
    harness.terminate();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("left"), "behind").expect("a file");
    harness.start_server();
    wait_until("what was left is gone", || !folder.exists());
    harness.terminate();
    assert_eq!(Journal::read(&harness.out()).kinds(), ["stream.revoked"]);
}

#[test]
fn j11_what_is_kept_has_its_last_word_in_its_own_journal() {
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_ON_REVOKED", "keep")])
        .start();
    let meeting = harness.zoom.start_meeting(open_at_once("kept"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    let folder = harness.stream_folder();
    meeting.end(End::stopped(8));
    wait_until("the last word", || {
        read(&folder.join(FEED)).contains("stream.revoked")
    });
    harness.terminate();
    let journal = Journal::read(&folder);
    assert_eq!(journal.kinds().last(), Some(&"stream.revoked"));
    assert!(!journal.kinds().contains(&"stream.ended"));
    // The doors deliver the server's line, for they read nothing of the stream any more.
    let server = Journal::read(&harness.out());
    assert_eq!(server.data(&["stream.revoked"])[0]["deleted"], false);
}

/// Where Python has the packages, its CloudEvents and JSON Schema judge every line.
#[test]
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn python_takes_every_line() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/feed_lines.py");
    let harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_MEDIA", "all")])
        .start();
    let meeting = harness.zoom.start_meeting(MeetingScript {
        granted: 31,
        chat_every: 2,
        events: true,
        ..crate::harness::plain("python", 10)
    });
    wait_until_over(&meeting);
    let folder: PathBuf = harness.stream_folder();
    wait_until_ended(&folder);
    let schema = harness.folder.join("schema.json");
    fs::write(&schema, SCHEMA).expect("writable");
    let ran = std::process::Command::new("python3")
        .arg(&script)
        .arg(&schema)
        .arg(folder.join(FEED))
        .output();
    match ran {
        Ok(ran) if ran.status.code() == Some(77) => {
            eprintln!("skipped: {}", String::from_utf8_lossy(&ran.stdout).trim());
        }
        Ok(ran) => assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        ),
        Err(error) => eprintln!("skipped: python3: {error}"),
    }
    harness.end();
}

#[test]
fn j14_a_full_disk_delays_the_journal_and_takes_nothing_from_it() {
    let mut harness = Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off"), ("RTMS_TRANSCRIPT", "off")])
        .with_limit_of_files()
        .start();
    let meeting = harness.zoom.start_meeting(open_at_once("full"));
    wait_until_more(&meeting, 10);
    let folder = harness.stream_folder();
    let size = || fs::metadata(folder.join(FEED)).map_or(0, |it| it.len());
    wait_until("the journal has begun", || size() > 0);
    // Full in the middle of a line.
    let full = size() + 1000;
    harness.limit_files(Some(full));
    harness.wait_until_logged(&[" ERROR ", "cannot write", "File too large"]);
    wait_until_more(&meeting, 10);
    assert!(size() <= full);
    let before = read(&folder.join(FEED));
    harness.limit_files(None);
    wait_until_more(&meeting, 10);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until_ended(&folder);
    let journal = Journal::read(&folder);
    let whole = before.rfind('\n').map_or(0, |at| at + 1);
    assert!(journal.text.starts_with(&before[..whole]));
    let seqs = journal.seqs();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let texts: Vec<String> = journal
        .data(&["transcript.phrase"])
        .iter()
        .map(|phrase| phrase["text"].as_str().expect("a text").to_owned())
        .collect();
    let sent: Vec<String> = meeting.sent().into_iter().map(|it| it.text).collect();
    assert_eq!(texts, sent);
    harness.terminate();
}
