//! `rtmsd merge` over what the nodes left of a stream.

use std::path::{Path, PathBuf};

use rtmsd::demo::compare;
use serde_json::Value;

use super::{end, fleet, speaking};
use crate::harness::{Ran, TempDir, meta, run, wait_until_more};

fn merge(folders: &[PathBuf], out: &Path) -> Ran {
    let words = folders.iter().map(|folder| folder.to_str().expect("text"));
    let out = ["--out", out.to_str().expect("text"), "--json"];
    let words: Vec<&str> = ["merge"].into_iter().chain(words).chain(out).collect();
    run(&words, &[])
}

#[test]
fn flow_j_what_several_nodes_received_becomes_one_folder() {
    let Some(mut fleet) = fleet(3) else { return };
    let meetings = speaking(&fleet, "merged", 1);
    let meeting = &meetings[0];
    let stream = meeting.streams()[0].clone();
    // The first node is killed, the second one leaves.
    let mut nodes = vec![0, 1, 2];
    for is_killed in [true, false] {
        let receiver = fleet.wait_for_receiver(&stream, &nodes);
        nodes.retain(|at| *at != receiver);
        match is_killed {
            true => fleet.kill(receiver),
            false => fleet.terminate(receiver),
        }
        fleet.wait_for_receiver(&stream, &nodes);
        wait_until_more(meeting, 20);
    }
    let folders = fleet.folders(&stream);
    assert_eq!(folders.len(), 3, "{folders:?}");
    let place = TempDir::new();
    let out = place.path().join("whole");
    let early = merge(&folders, &out);
    assert_eq!(early.code, Some(64), "{early:?}");
    assert!(early.stderr.contains("that is still received"), "{early:?}");
    end(&fleet, &meetings);

    let ran = merge(&folders, &out);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        answer["epochs"].as_array().map(Vec::len),
        Some(3),
        "{answer}"
    );
    assert_eq!(answer["notes"], serde_json::json!([]), "{answer}");
    let text = std::fs::read_to_string(out.join("transcript.jsonl")).expect("a transcript");
    let whole = compare(&meeting.sent(), text.lines());
    let apart = fleet.comparison(meeting);
    assert_eq!((whole.doubled, whole.foreign), (0, 0), "{whole:?}");
    // Nothing that a node has is missing, and what two have stands once. The last phrase of the killed node may
    // stand in its journal alone, which is written first, and which only `merge` reads.
    let from_journal = apart.lost.checked_sub(whole.lost);
    let from_journal = from_journal.unwrap_or_else(|| panic!("{whole:?} {apart:?}"));
    assert_eq!(
        whole.received + apart.doubled,
        apart.received + from_journal
    );
    assert_eq!(answer["phrases"], whole.received);
    let meta = meta(&out);
    assert_eq!(meta["transcripts"], whole.received, "{meta}");
    let ends: Vec<&Value> = [0, 1, 2].map(|at| &meta["epochs"][at]["end"]).into();
    assert_eq!(ends[1], "handed_over", "{ends:?}");
    assert_eq!(ends[2], &meta["end"], "{ends:?}");
    let cues = std::fs::read_to_string(out.join("transcript.vtt")).expect("subtitles");
    assert_eq!(cues.matches(" --> ").count(), whole.received);
}
