//! Tests of the files of one stream.

use std::borrow::Cow;
use std::fs;

use super::*;
use crate::domain::phrase::{Change, Phrase};
use crate::protocol::codes::StopReason;
use crate::protocol::dedup::PHRASES_MAX;
use crate::recorder::jsonl::tests::{info, phrase};
use crate::recorder::record_batch::Record;
use crate::testing::scratch;

const ALL: TranscriptFormats = TranscriptFormats {
    jsonl: true,
    txt: true,
    vtt: true,
    srt: true,
};

fn read(recorder: &Recorder, name: &str) -> String {
    fs::read_to_string(recorder.folder().join(name)).unwrap_or_default()
}

#[test]
fn every_format_is_continued_after_a_restart() {
    let root = scratch("recorder-grow");
    let mut first = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
    first.push(&Record::Phrase(phrase("one")));
    first.write().expect("writable");
    assert_eq!(read(&first, "transcript.jsonl").lines().count(), 1);
    assert!(read(&first, "transcript.vtt").starts_with("WEBVTT\n\n1\n"));
    // Killed in the middle of a write.
    let vtt = first.folder().join("transcript.vtt");
    let torn = read(&first, "transcript.vtt") + "2\n00:00:0";
    fs::write(&vtt, torn).expect("writable");
    drop(first);

    let mut second = Recorder::open(&root, info(), ALL, MediaParams::default(), 9);
    second.push(&Record::Phrase(phrase("two")));
    second.end(&EndReason::Stopped(StopReason(6)), 10);
    second.write().expect("writable");
    assert_eq!(
        read(&second, "transcript.vtt"),
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\n<v Ada>one\n\n\
         2\n00:00:01.000 --> 00:00:02.500\n<v Ada>two\n\n"
    );
    assert_eq!(read(&second, "transcript.txt").lines().count(), 2);
    assert!(read(&second, "transcript.srt").contains("\n\n2\n"));
    // A `meta.json` that says that the files are complete is written after they are on the disk.
    assert!(read(&second, "meta.json").contains("receiving"));
    assert!(!second.publish().expect("writable"));
    let targets = second.take_unsynced().expect("writable");
    assert!(targets.sync(&|| true).expect("writable"));
    assert!(second.publish().expect("writable"));
    let meta: serde_json::Value = serde_json::from_str(&read(&second, "meta.json")).expect("JSON");
    assert_eq!(meta["transcripts"], 2);
    assert_eq!(meta["openings"], 2);
    assert_eq!(meta["opened_ms"], 5);
    assert_eq!(meta["stop_reason"], 6);
    assert_eq!(meta["meeting_uuid"], "a/B+c==");
    assert_eq!(meta["state"], "ended");
}

#[test]
fn a_restart_loads_the_last_phrases() {
    let root = scratch("recorder-recent-phrases");
    let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
    let said = phrase("");
    let text = |n: u64| format!("\"quoted\" {n} – {}", "x".repeat(100));
    for n in 0..PHRASES_MAX as u64 + 9 {
        let text = text(n);
        recorder.push(&Record::Phrase(Phrase {
            text: Cow::Borrowed(&text),
            ..said.borrowed()
        }));
    }
    recorder.write().expect("writable");
    let mut recent = crate::recorder::seam::load_recent_phrases(&root, &info());
    for (n, expected) in [
        (8, false),
        (9, false),
        (20, true),
        (PHRASES_MAX as u64, true),
    ] {
        let text = text(n);
        let again = Phrase {
            text: Cow::Borrowed(&text),
            ..said.borrowed()
        };
        let is_new = recent.insert_if_new(std::time::Instant::now(), &again);
        assert_eq!(is_new, !expected, "{n}");
    }
}

/// After a crash, `meta.json` is old and a line is torn.
#[test]
fn phrases_are_counted_from_the_files() {
    for formats in ["jsonl", "txt", "vtt"] {
        let root = scratch(&format!("recorder-count-{formats}"));
        let formats = TranscriptFormats {
            jsonl: formats == "jsonl",
            txt: formats == "txt",
            vtt: formats == "vtt",
            srt: false,
        };
        let open = || Recorder::open(&root, info(), formats, MediaParams::default(), 5);
        let mut first = open();
        for n in 0..7 {
            first.push(&Record::Phrase(phrase(&format!("{n}"))));
            first.write().expect("writable");
        }
        assert!(read(&first, "meta.json").contains("\"transcripts\": 1,"));
        for name in ["transcript.jsonl", "transcript.txt"] {
            let path = first.folder().join(name);
            if path.exists() {
                fs::write(&path, read(&first, name) + "torn").expect("writable");
            }
        }
        let mut second = open();
        second.write().expect("writable");
        assert!(
            read(&second, "meta.json").contains("\"transcripts\": 7,"),
            "{formats:?}"
        );
    }
}

/// Subtitles of a version that accepted every timestamp.
#[test]
fn an_impossible_cue_does_not_hold_up_the_next_one() {
    let root = scratch("recorder-ahead");
    let now_ms = info().started_ms + 10_000;
    let mut first = Recorder::open(&root, info(), ALL, MediaParams::default(), now_ms);
    let mut ahead = phrase("ahead");
    ahead.start_ms += 400 * 86_400_000;
    ahead.end_ms = ahead.start_ms;
    first.push(&Record::Phrase(ahead));
    first.write().expect("writable");
    let mut second = Recorder::open(&root, info(), ALL, MediaParams::default(), now_ms);
    second.push(&Record::Phrase(phrase("then")));
    second.write().expect("writable");
    for (name, time) in [
        ("transcript.vtt", "2\n00:00:10.000 --> "),
        ("transcript.srt", "2\n00:00:10,000 --> "),
    ] {
        assert!(
            read(&second, name).contains(time),
            "{}",
            read(&second, name)
        );
    }
}

#[test]
fn a_deleted_phrase_is_a_record_and_no_cue() {
    let root = scratch("recorder-delete");
    let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
    let mut gone = phrase("gone");
    gone.change = Change::Delete;
    recorder.push(&Record::Phrase(gone));
    recorder.write().expect("writable");
    assert!(read(&recorder, "transcript.jsonl").contains("\"attribute\":\"delete\""));
    assert_eq!(read(&recorder, "transcript.vtt"), "");
}

#[test]
fn deleting_a_stream_leaves_other_streams_complete() {
    let root = scratch("recorder-discard");
    let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
    let mut neighbour = info();
    neighbour.stream_id = "other".to_owned();
    let mut neighbour = Recorder::open(&root, neighbour, ALL, MediaParams::default(), 0);
    for recorder in [&mut recorder, &mut neighbour] {
        recorder.push(&Record::Phrase(phrase("secret")));
        recorder.write().expect("writable");
    }
    recorder.push(&Record::Phrase(phrase("still in memory")));
    let folder = recorder.folder().to_owned();
    assert_eq!(recorder.discard().expect("deletable"), 5);
    assert!(!folder.exists());
    assert!(read(&neighbour, "transcript.txt").contains("secret"));
    neighbour.discard().expect("deletable");
    assert_eq!(fs::read_dir(&root).expect("readable").count(), 0);
}
