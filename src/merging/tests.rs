//! Folders that the recorder wrote, merged: the whole is what one node would have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Fault, Merged, merge};
use crate::domain::phrase::Phrase;
use crate::domain::split_mix::SplitMix;
use crate::domain::stream_info::{Predecessor, StreamInfo, Tenure};
use crate::feed::{Board, FEED_NAME, Line, kind};
use crate::protocol::codes::StopReason;
use crate::protocol::{EndReason, MediaParams};
use crate::recorder::jsonl::tests::{info, phrase};
use crate::recorder::record_batch::Record;
use crate::recorder::stream_files::Recorder;
use crate::recorder::{JournalHost, Opening, OutLock, TranscriptFormats};
use crate::testing::{TempDir, scratch};

const ALL: TranscriptFormats = TranscriptFormats {
    jsonl: true,
    txt: true,
    vtt: true,
    srt: true,
};

const TEXTS: [&str; 3] = ["transcript.txt", "transcript.vtt", "transcript.srt"];

/// The part of a stream that node `n<epoch>` receives; 0 outside a fleet.
fn part(epoch: u64) -> StreamInfo {
    let predecessor = (epoch > 1).then(|| Predecessor {
        node: format!("n{}", epoch - 1),
        epoch: epoch - 1,
        seq: None,
        until_ms: None,
    });
    let tenure = Tenure {
        node: format!("n{epoch}"),
        epoch,
        predecessor,
    };
    StreamInfo {
        tenure: (epoch > 0).then(|| Box::new(tenure)),
        ..info()
    }
}

fn said(n: u64, stamp_ms: u64) -> Phrase<'static> {
    let mut said = phrase("");
    said.text = format!("phrase {n}").into();
    said.user_name = ["Ada", "Ines", ""][n as usize % 3].into();
    said.start_ms += stamp_ms;
    said.end_ms += stamp_ms;
    said.timestamp_ms += stamp_ms;
    said
}

/// What a node writes. One that is killed leaves neither an end nor whole lines.
struct Node {
    formats: TranscriptFormats,
    has_journal: bool,
    end: Option<EndReason>,
}

impl Node {
    fn record(&self, root: &Path, info: StreamInfo, phrases: &[Phrase<'_>]) -> PathBuf {
        let now_ms = 1_767_000_900_000;
        let mut recorder = Recorder::open(root, info, self.formats, MediaParams::default(), now_ms);
        if self.has_journal {
            let host = JournalHost::new(&Board::new(root), Some("/x"), None);
            recorder = recorder.with_journal(&host, Opening::Start, now_ms);
        }
        for phrase in phrases {
            recorder.push(&Record::Phrase(phrase.borrowed()));
        }
        let folder = recorder.folder().to_owned();
        let Some(end) = &self.end else {
            recorder.write().expect("writable");
            let jsonl = folder.join("transcript.jsonl");
            let torn = text(&folder, "transcript.jsonl") + "{\"v\":1,\"ty";
            fs::write(&jsonl, torn).expect("writable");
            return folder;
        };
        recorder.end(end, now_ms);
        recorder.write().expect("writable");
        let targets = recorder.take_unsynced().expect("writable");
        targets.sync(&|| true).expect("writable");
        assert!(recorder.publish().expect("writable"));
        folder
    }
}

fn ended(formats: TranscriptFormats, has_journal: bool) -> Node {
    Node {
        formats,
        has_journal,
        end: Some(EndReason::Stopped(StopReason::MEETING_ENDED)),
    }
}

/// Every file below a folder, with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.insert(path.clone(), fs::read(path).expect("a file"));
                }
            }
        }
    }
    found
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn meta(folder: &Path) -> Value {
    serde_json::from_str(&text(folder, "meta.json")).expect("JSON")
}

fn edit_meta(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let mut found = meta(folder);
    edit(&mut found);
    fs::write(folder.join("meta.json"), found.to_string()).expect("writable");
}

/// Merges folders of a server that is gone.
fn merged(root: &TempDir, folders: &[PathBuf]) -> (PathBuf, Merged) {
    let before = content(root);
    let out = scratch("merged").join("whole");
    fs::create_dir_all(out.parent().expect("above")).expect("a folder");
    let merged = merge(folders, &out).expect("merged");
    assert!(content(root) == before, "the folders were changed");
    (out, merged)
}

fn refused(folders: &[PathBuf], out: &Path) -> String {
    match merge(folders, out) {
        Err(Fault::Input(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A meeting is spread over nodes at random places; what came in the last second before a death stands in two
/// folders.
#[test]
fn the_whole_is_what_one_node_would_have_written() {
    for seed in 0..40 {
        let mut random = SplitMix::new(seed);
        let mut below = |n: u64| random.next() % n;
        let count = 1 + below(40);
        let mut stamp_ms = 0;
        let phrases: Vec<Phrase<'_>> = (0..count)
            .map(|n| {
                stamp_ms += below(3) * 700;
                said(n, stamp_ms)
            })
            .collect();
        let root = scratch("merging-split");
        let one = ended(ALL, true).record(&root.join("one"), part(0), &phrases);

        let epochs = 1 + below(4);
        let (mut from, mut overlaps) = (0, 0);
        let mut folders = Vec::new();
        for epoch in 1..=epochs {
            let overlap = below(6).min(from as u64);
            overlaps += overlap;
            let to = match epoch == epochs {
                true => phrases.len(),
                false => from + below((phrases.len() - from) as u64 + 1) as usize,
            };
            let is_killed = epoch < epochs && below(2) == 0;
            let node = Node {
                end: match is_killed {
                    true => None,
                    false if epoch < epochs => Some(EndReason::HandedOver {
                        heir: Some(format!("n{}", epoch + 1)),
                    }),
                    false => Some(EndReason::Stopped(StopReason::MEETING_ENDED)),
                },
                formats: ALL,
                has_journal: below(4) > 0,
            };
            let own = &phrases[from - overlap as usize..to];
            folders.push(node.record(&root.join(format!("n{epoch}")), part(epoch), own));
            from = to;
        }
        // In any order.
        folders.reverse();
        let (out, merged) = merged(&root, &folders);
        assert_eq!(
            (merged.phrases, merged.repeated),
            (count, overlaps),
            "seed {seed}"
        );
        assert_eq!(merged.notes, [""; 0], "seed {seed}");
        for name in ["transcript.jsonl"].iter().chain(&TEXTS) {
            assert_eq!(text(&out, name), text(&one, name), "seed {seed}: {name}");
        }
        let (found, expected) = (meta(&out), meta(&one));
        for key in [
            "transcripts",
            "words",
            "speakers",
            "languages",
            "started_ms",
            "stream_id",
            "meeting_uuid",
            "state",
            "end",
            "stop_reason",
        ] {
            assert_eq!(found[key], expected[key], "seed {seed}: {key}");
        }
        let parts = found["epochs"].as_array().expect("a list");
        assert_eq!(parts.len() as u64, epochs);
        for (at, part) in parts.iter().enumerate() {
            assert_eq!(part["node"], format!("n{}", at + 1));
        }
        for key in ["node", "epoch", "heir", "key", "feed_seq", "boot_id"] {
            assert_eq!(found.get(key), None, "{key}");
        }
    }
}

/// The journals follow each other: what is about an epoch stays, phrases stand once.
#[test]
fn journals_follow_each_other() {
    let root = scratch("merging-journal");
    let phrases: Vec<Phrase<'_>> = (0..6).map(|n| said(n, n * 100)).collect();
    let node = ended(ALL, true);
    let first = node.record(&root.join("a"), part(1), &phrases[..4]);
    let second = node.record(&root.join("b"), part(2), &phrases[2..]);
    let (out, _) = merged(&root, &[first.clone(), second.clone()]);
    let whole = text(&out, FEED_NAME);
    let lines: Vec<Line<'_>> = whole
        .lines()
        .map(|line| Line::parse(line.as_bytes()).expect("a line"))
        .collect();
    let of = |wanted: &str| lines.iter().filter(|line| line.kind == wanted).count();
    assert_eq!(of(kind::TRANSCRIPT_PHRASE), phrases.len());
    assert_eq!(of(kind::STREAM_ENDED), 2);
    // Each line as it was, in the order of epoch and number.
    let [first, second] = [&first, &second].map(|folder| text(folder, FEED_NAME));
    let mut both = first.lines().chain(second.lines());
    for line in whole.lines() {
        assert!(both.any(|original| original == line), "{line}");
    }
}

/// Without lines and without a journal the cues are all there is.
#[test]
fn texts_alone_are_merged_as_texts() {
    let root = scratch("merging-texts");
    let phrases: Vec<Phrase<'_>> = (0..9).map(|n| said(n, n * 1000)).collect();
    let formats = TranscriptFormats {
        jsonl: false,
        ..ALL
    };
    let node = ended(formats, false);
    let one = node.record(&root.join("one"), part(0), &phrases);
    let folders = [
        node.record(&root.join("a"), part(1), &phrases[..5]),
        node.record(&root.join("b"), part(2), &phrases[3..]),
    ];
    let (out, merged) = merged(&root, &folders);
    assert_eq!((merged.phrases, merged.repeated), (9, 2));
    for name in TEXTS {
        assert_eq!(text(&out, name), text(&one, name), "{name}");
    }
    assert_eq!(meta(&out)["transcripts"], 9);
}

#[test]
fn sound_and_pictures_lie_beside_each_other() {
    let root = scratch("merging-media");
    let mut folders = Vec::new();
    for epoch in [1, 2] {
        let node = ended(ALL, true);
        let folder = node.record(&root.join(format!("{epoch}")), part(epoch), &[]);
        for below in ["video", "share"] {
            fs::create_dir(folder.join(below)).expect("a folder");
        }
        for (name, content) in [
            ("audio-1-Ada.wav", "sound"),
            ("video.h264", "film"),
            ("video.2.h264", "more film"),
            ("share/00000000-5-1.jpg", "picture"),
            ("recording.mp4", "of mux"),
        ] {
            fs::write(folder.join(name), format!("{content} {epoch}")).expect("writable");
        }
        let video = [
            json!({"frame": 0, "timestamp_ms": 5, "offset": 0, "bytes": 4}),
            json!({"frame": 1, "timestamp_ms": 6, "offset": 0, "bytes": 4, "file": "video.2.h264"}),
        ];
        let video = format!("{}\n{}\n{{\"torn", video[0], video[1]);
        fs::write(folder.join("video/frames.jsonl"), video).expect("writable");
        let share = json!({"frame": 0, "timestamp_ms": 5, "file": "00000000-5-1.jpg"});
        fs::write(folder.join("share/frames.jsonl"), format!("{share}\n")).expect("writable");
        let first_ms = 1_767_000_000_000 + 1000 * epoch;
        edit_meta(&folder, |meta| {
            meta["audio"] = json!([{"file": "audio-1-Ada.wav", "user_id": 1, "codec": "l16",
                "sample_rate": 16000, "channels": 1, "first_ms": first_ms, "offset_ms": 7}]);
            meta["video"] = json!({"file": "video.h264", "index": "video/frames.jsonl",
                "codec": "h264", "first_ms": first_ms, "offset_ms": 7});
        });
        folders.push(folder);
    }
    let (out, merged) = merged(&root, &folders);
    for (name, content) in [
        ("audio-1-Ada.wav", "sound 1"),
        ("audio-1-Ada.e2.wav", "sound 2"),
        ("video.h264", "film 1"),
        ("video.e2.h264", "film 2"),
        ("video.2.e2.h264", "more film 2"),
        ("share/00000000-5-1.jpg", "picture 1"),
        ("share/00000000-5-1.e2.jpg", "picture 2"),
    ] {
        assert_eq!(text(&out, name), content, "{name}");
    }
    assert_eq!(
        merged.notes.len(),
        2,
        "the films of mux: {:?}",
        merged.notes
    );
    assert!(!out.join("recording.mp4").exists());
    let rows = |name: &str| -> Vec<(Value, Value)> {
        let lines = text(&out, name);
        let rows = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            (line["frame"].clone(), line["file"].clone())
        });
        rows.collect()
    };
    assert_eq!(
        rows("video/frames.jsonl"),
        [
            (json!(0), Value::Null),
            (json!(1), json!("video.2.h264")),
            (json!(2), json!("video.e2.h264")),
            (json!(3), json!("video.2.e2.h264")),
        ]
    );
    assert_eq!(
        rows("share/frames.jsonl"),
        [
            (json!(0), json!("00000000-5-1.jpg")),
            (json!(1), json!("00000000-5-1.e2.jpg")),
        ]
    );
    let meta = meta(&out);
    let audio = meta["audio"].as_array().expect("a list");
    let audio: Vec<_> = audio
        .iter()
        .map(|row| (row["file"].as_str(), row["offset_ms"].as_i64()))
        .collect();
    assert_eq!(
        audio,
        [
            (Some("audio-1-Ada.wav"), Some(1000)),
            (Some("audio-1-Ada.e2.wav"), Some(2000))
        ]
    );
    assert_eq!(meta["video"]["offset_ms"], 1000);
}

#[test]
fn two_nodes_may_have_one_epoch() {
    let root = scratch("merging-twins");
    let node = ended(ALL, true);
    let first = node.record(&root.join("a"), part(1), &[said(1, 0)]);
    let twins = ["b", "c"].map(|name| {
        let folder = node.record(&root.join(name), part(2), &[said(2, 5), said(3, 9)]);
        fs::write(folder.join("audio-1-Ada.opus"), name).expect("writable");
        edit_meta(&folder, |meta| meta["node"] = name.into());
        folder
    });
    let (out, merged) = merged(&root, &[first, twins[0].clone(), twins[1].clone()]);
    assert_eq!((merged.phrases, merged.repeated), (3, 2));
    assert_eq!(text(&out, "audio-1-Ada.e2.opus"), "b");
    assert_eq!(text(&out, "audio-1-Ada.e2-c.opus"), "c");
}

#[test]
fn what_is_missing_is_named() {
    let root = scratch("merging-missing");
    let mut node = ended(ALL, true);
    node.end = Some(EndReason::HandedOver {
        heir: Some("n4".to_owned()),
    });
    let folder = node.record(&root.join("c"), part(3), &[said(1, 0)]);
    let (_, merged) = merged(&root, &[folder]);
    assert_eq!(
        merged.notes,
        [
            "epoch 3 of node n3 follows epoch 2 of node n2, of which there is no folder here",
            "epoch 3 of node n3 was handed over to node n4, of which there is no folder here",
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let root = scratch("merging-refused");
    let node = ended(ALL, true);
    let first = node.record(&root.join("a"), part(1), &[said(1, 0)]);
    let second = node.record(&root.join("b"), part(2), &[said(2, 5)]);
    let both = [first.clone(), second.clone()];
    let elsewhere = scratch("merging-refused-out");
    let out = elsewhere.join("whole");

    let other = StreamInfo {
        stream_id: "another".to_owned(),
        ..part(2)
    };
    let other = node.record(&root.join("b"), other, &[]);
    let text = refused(&[first.clone(), other], &out);
    assert!(
        text.contains("found stream_id \"another\", expected \"5f0c1d\""),
        "{text}"
    );

    let text = refused(&[first.clone(), first.clone()], &out);
    assert!(text.contains("found epoch 1 of node n1, which"), "{text}");

    let text = refused(&[root.join("a").join("2025-12-29")], &out);
    assert!(text.contains("found no meta.json"), "{text}");

    let existing = elsewhere.join("existing");
    fs::create_dir(&existing).expect("a folder");
    let text = refused(&both, &existing);
    assert!(text.contains("expected a new folder"), "{text}");

    // What is received now, what was when it was copied, and what a dead node left.
    edit_meta(&second, |meta| meta["state"] = "receiving".into());
    let text = refused(&both, &out);
    assert!(
        text.contains("found the newest epoch, and it has no end"),
        "{text}"
    );
    edit_meta(&second, |meta| meta["state"] = "ended".into());
    edit_meta(&first, |meta| meta["state"] = "receiving".into());
    let recordings = root.join("a");
    let lock = OutLock::take(&recordings).expect("no server");
    let text = refused(&both, &out);
    assert!(
        text.contains("found a stream that is still received"),
        "{text}"
    );
    drop(lock);

    let text = refused(&both, &recordings.join("whole"));
    assert!(
        text.contains("where a server writes its recordings"),
        "{text}"
    );

    assert_eq!(fs::read_dir(&*elsewhere).expect("a folder").count(), 1);
    merge(&both, &out).expect("a node that is gone");
    assert_eq!(fs::read_dir(&*elsewhere).expect("a folder").count(), 2);
}
