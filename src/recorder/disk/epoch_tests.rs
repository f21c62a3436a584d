//! A stream that several nodes of a fleet received, one of them twice: what lies beside each other on its disk,
//! and that everything that looks for a stream finds all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Disk, RecorderSettings, StopTimes};
use crate::domain::stream_info::{Predecessor, StreamInfo, Tenure, Withdrawal};
use crate::feed::{FEED_NAME, Line};
use crate::forgetting::record::Target;
use crate::forgetting::search::search;
use crate::keeping::inventory::Inventory;
use crate::protocol::codes::StopReason;
use crate::protocol::{EndReason, LinkId, MediaKind, MediaParams, Notice, StreamEvent};
use crate::recorder::catalog::{Query, Search};
use crate::recorder::jsonl::tests::{info, phrase};
use crate::recorder::path::{folder_of, journal_key, stream_folder};
use crate::recorder::stream_files::Recorder;
use crate::recorder::{Opening, TranscriptFormats, crash_recovery, load_recent_phrases};
use crate::stream::Sink;
use crate::testing::{PATIENCE, scratch};

/// The part that node `a` receives under that epoch.
fn part(epoch: u64, before: Option<(&str, u64, Option<u64>)>) -> StreamInfo {
    let predecessor = before.map(|(node, epoch, seq)| Predecessor {
        node: node.to_owned(),
        epoch,
        seq,
        until_ms: seq.map(|_| 1_000),
    });
    StreamInfo {
        tenure: Some(Box::new(Tenure {
            node: "a".to_owned(),
            epoch,
            predecessor,
        })),
        ..info()
    }
}

fn disk(root: &Path) -> Disk {
    let settings = RecorderSettings {
        root: root.to_path_buf(),
        ..RecorderSettings::default()
    };
    Disk::start(settings).expect("a thread")
}

fn stop(disk: Disk) {
    let until = Instant::now() + PATIENCE;
    let times = StopTimes {
        write_until: until,
        sync_until: until,
        sync_min: Duration::ZERO,
    };
    assert!(disk.stop(times).wait().is_complete());
}

fn receive(sink: &mut impl Sink, text: &str) {
    for link in [LinkId::Signaling, LinkId::Media(MediaKind::Transcript)] {
        sink.on_notice(&Notice::Accepted(link));
    }
    sink.on_notice(&Notice::Ready);
    sink.on_event(&StreamEvent::Transcript(phrase(text)));
    sink.flush();
}

fn meta(folder: &Path) -> Value {
    let bytes = fs::read(folder.join("meta.json")).expect("readable");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Type and data of each line of a journal.
fn lines(folder: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(folder.join(FEED_NAME)).expect("readable");
    let lines = text.lines().map(|line| {
        let line = Line::parse(line.as_bytes()).expect("a line");
        let data = serde_json::from_slice(line.data()).expect("JSON");
        (line.kind.to_owned(), data)
    });
    lines.collect()
}

/// The first and the third part, of the stream of [`info`].
fn two_parts(root: &Path) -> [PathBuf; 2] {
    let disk = disk(root);
    let (first, third) = (part(1, None), part(3, Some(("b", 2, Some(41)))));
    let folders = [&first, &third].map(|info| root.join(folder_of(info)));
    let mut sink = disk.sink(first);
    receive(&mut sink, "one");
    let heir = Some("b".to_owned());
    sink.on_end(&EndReason::HandedOver { heir });
    // It comes back at once.
    let mut sink = disk.sink_for(third, Opening::Rejoin);
    receive(&mut sink, "two");
    sink.on_end(&EndReason::Stopped(StopReason::MEETING_ENDED));
    stop(disk);
    folders
}

#[test]
fn each_epoch_has_files_of_its_own_that_name_the_others() {
    let root = scratch("epochs");
    let [first, third] = two_parts(&root);
    let name = |folder: &Path| folder.file_name().expect("a name").to_owned();
    assert_eq!(
        first,
        root.join(stream_folder(info().started_ms, &info().id, "5f0c1d"))
    );
    let beside = format!("{}.e3", name(&first).to_str().expect("text"));
    assert_eq!(third, first.with_file_name(beside));
    let text = |folder: &Path| fs::read_to_string(folder.join("transcript.jsonl"));
    assert!(text(&first).expect("readable").contains("one"));
    assert!(text(&third).expect("readable").contains("two"));
    let (before, after) = (meta(&first), meta(&third));
    assert_eq!(
        (&before["node"], &before["epoch"]),
        (&json!("a"), &json!(1))
    );
    assert_eq!(
        (&before["state"], &before["end"], &before["heir"]),
        (&json!("ended"), &json!("handed_over"), &json!("b"))
    );
    assert_eq!(before["predecessor"], Value::Null);
    assert_eq!((&after["epoch"], &after["heir"]), (&json!(3), &Value::Null));
    let predecessor = json!({"node": "b", "epoch": 2, "seq": 41, "until_ms": 1000});
    assert_eq!(after["predecessor"], predecessor);
    assert_eq!(after["key"], journal_key(&part(3, None)).to_string());

    let kinds: Vec<String> = lines(&first).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds[1], "stream.receiving");
    assert_eq!(kinds.last().map(String::as_str), Some("stream.ended"));
    let (kind, resumed) = &lines(&third)[1];
    assert_eq!(kind, "stream.resumed");
    assert_eq!(resumed["after"], "takeover");
    // Since the other node received it, and not since this one has begun to connect.
    assert!(
        resumed["gap_ms"].as_u64() > Some(1_000_000_000_000),
        "{resumed}"
    );
    let key = journal_key(&part(2, None)).to_string();
    let predecessor = json!({"node": "b", "epoch": 2, "key": key, "seq": 41});
    assert_eq!(resumed["predecessor"], predecessor);
}

#[test]
fn all_who_look_for_streams_find_every_epoch() {
    let root = scratch("epochs-found");
    let mut folders = two_parts(&root).to_vec();
    folders.sort_unstable();
    let everything = Query::default();
    let mut found: Vec<PathBuf> = Search::new(&root, &everything)
        .map(|it| it.folder)
        .collect();
    found.sort_unstable();
    assert_eq!(found, folders, "the catalog");
    let mut kept = Inventory::default();
    kept.refresh(&root, info().started_ms, true, None, &|| false)
        .expect("readable");
    assert_eq!(kept.streams().len(), 2, "what is removed by age");
    let roots = [root.to_path_buf()];
    let user = Target::User {
        word: "Ada".to_owned(),
        meeting: None,
    };
    for target in [Target::Meeting(info().id), user] {
        let found = search(&roots, &target, None, &|| true).expect("readable");
        let mut found = found.folders;
        found.sort_unstable();
        assert_eq!(found, folders, "what is forgotten: {target:?}");
    }
    // What a restart continues is its own epoch.
    let now = Instant::now();
    for (info, own, other) in [(part(1, None), "one", "two"), (part(3, None), "two", "one")] {
        let mut recent = load_recent_phrases(&root, &info);
        assert!(!recent.insert_if_new(now, &phrase(own)), "{own}");
        assert!(recent.insert_if_new(now, &phrase(other)), "{other}");
    }
}

#[test]
fn withdrawn_consent_deletes_every_epoch() {
    for is_open in [false, true] {
        let root = scratch("epochs-revoked");
        let folders = two_parts(&root);
        let disk = disk(&root);
        let board = Arc::clone(disk.board().expect("journals are on"));
        let fifth = part(5, Some(("b", 4, None)));
        let mut open = is_open.then(|| disk.sink(fifth.clone()));
        if let Some(sink) = &mut open {
            receive(sink, "three");
        }
        disk.discard(
            Withdrawal {
                id: Some(info().id),
                stream_id: info().stream_id,
                is_repeat: false,
            },
            Vec::new(),
        );
        drop(open);
        stop(disk);
        for folder in folders.iter().chain([&root.join(folder_of(&fifth))]) {
            assert!(!folder.exists(), "{}", folder.display());
        }
        for epoch in [1, 3] {
            assert!(board.is_revoked(journal_key(&part(epoch, None))), "{epoch}");
        }
    }
}

#[test]
fn a_part_whose_process_was_killed_is_completed_in_its_folder() {
    let root = scratch("epochs-orphan");
    let left = part(2, Some(("b", 1, None)));
    let formats = TranscriptFormats::default();
    let mut recorder = Recorder::open(&root, left.clone(), formats, MediaParams::default(), 1);
    recorder.write().expect("writable");
    let folder = recorder.folder().to_owned();
    drop(recorder);
    let found = crash_recovery::complete(&root, &folder, formats, None, 9, |announced| {
        assert_eq!(*announced, left);
        Ok(())
    });
    let mut recorder = found.expect("readable").expect("it is ours");
    assert_eq!(recorder.folder(), folder);
    recorder.write().expect("writable");
    let targets = recorder.take_unsynced().expect("writable");
    assert!(targets.sync(&|| true).expect("writable"));
    assert!(recorder.publish().expect("writable"));
    let meta = meta(&folder);
    assert_eq!(
        (&meta["end"], &meta["epoch"]),
        (&json!("abandoned"), &json!(2))
    );
    assert_eq!(meta["predecessor"], json!({"node": "b", "epoch": 1}));
}
