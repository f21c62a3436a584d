use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use super::tombstone::tests::tombstone;
use super::*;
use crate::testing::scratch;

const DAY: &str = "2026-11-24";
const GO_ON: IsStopping<'static> = &|| false;

/// A stream with text, sound, a video and single pictures.
fn put(root: &Path, stream: &str) {
    let folder = root.join(tombstone(stream).place.path());
    for below in ["video", "share"] {
        fs::create_dir_all(folder.join(below)).expect("a folder");
    }
    for name in [
        "transcript.jsonl",
        "feed.jsonl",
        "audio-1-Ada.wav",
        "audio-mixed.opus",
        "video.h264",
        "video/frames.jsonl",
        "share/1.jpg",
        "share/2.jpg",
    ] {
        fs::write(folder.join(name), "some content").expect("a file");
    }
    let meta = serde_json::json!({"product": "meeting", "meeting_uuid": "a/B+c==", "stream_id": stream,
        "started_ms": 1, "state": "ended", "ended_ms": 2, "topic": "Weekly", "newer": {"kept": 1}});
    fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
}

fn has(root: &Path, below: &str) -> bool {
    root.join(DAY).join("m-1").join(below).exists()
}

fn meta_of(root: &Path, stream: &str) -> serde_json::Value {
    let path = root.join(DAY).join("m-1").join(stream).join("meta.json");
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn known(root: &Path) -> Vec<Tombstone> {
    tombstones::of_day(root, DAY).expect("readable")
}

fn of_part(stream: &str, part: Part, reason: Reason) -> Tombstone {
    Tombstone {
        part,
        reason,
        ..tombstone(stream)
    }
}

#[test]
fn a_stream_is_removed_and_a_tombstone_stays() {
    let root = scratch("removal");
    put(&root, "s-1");
    put(&root, "s-2");
    let (first, second) = (tombstone("s-1"), tombstone("s-2"));
    let removed = remove(&root, &first, &Alone, GO_ON).expect("a disk");
    assert_eq!(removed, first.in_state(State::Removed));
    assert!(!has(&root, "s-1") && has(&root, "s-2/transcript.jsonl"));
    assert_eq!(known(&root), [first.in_state(State::Removed)]);
    remove(&root, &second, &Alone, GO_ON).expect("a disk");
    assert!(!has(&root, ""), "the meeting's folder is empty");
    let text = fs::read_to_string(root.join(DAY).join("removed.jsonl")).expect("a file");
    assert_eq!(text.lines().count(), 4);
    assert!(!text.contains("Weekly"), "no content: {text}");
    // Again: nothing is there, and that is no error.
    remove(&root, &first, &Alone, GO_ON).expect("a disk");
}

#[test]
fn sound_goes_and_the_rest_stays_and_meta_says_so() {
    let root = scratch("removal-audio");
    put(&root, "s-1");
    let audio = of_part("s-1", Part::Audio, Reason::KeepAudio);
    remove(&root, &audio, &Alone, GO_ON).expect("a disk");
    for (name, stays) in [
        ("s-1/audio-1-Ada.wav", false),
        ("s-1/audio-mixed.opus", false),
        ("s-1/.removing-audio", false),
        ("s-1/.meta.json.removed", false),
        ("s-1/transcript.jsonl", true),
        ("s-1/video.h264", true),
        ("s-1/share/2.jpg", true),
    ] {
        assert_eq!(has(&root, name), stays, "{name}");
    }
    let video = of_part("s-1", Part::Video, Reason::KeepVideo);
    remove(&root, &video, &Alone, GO_ON).expect("a disk");
    for (name, stays) in [
        ("s-1/video.h264", false),
        ("s-1/video", false),
        ("s-1/share", false),
        ("s-1/transcript.jsonl", true),
    ] {
        assert_eq!(has(&root, name), stays, "{name}");
    }
    let meta = meta_of(&root, "s-1");
    assert_eq!(meta["removed"]["audio"]["by"], "RTMS_KEEP_AUDIO");
    assert_eq!(meta["removed"]["video"]["reason"], "keep_video");
    assert_eq!(
        (&meta["topic"], &meta["newer"]["kept"]),
        (&"Weekly".into(), &1.into())
    );
    assert_eq!(known(&root).len(), 2);
}

#[test]
fn a_removal_that_was_cut_off_anywhere_is_completed() {
    for part in Part::ALL {
        for files in 0..30_u32 {
            let root = scratch("removal-cut");
            put(&root, "s-1");
            let tombstone = of_part("s-1", part, Reason::DiskMax);
            let left = Cell::new(files);
            let stop = || left.replace(left.get().saturating_sub(1)) == 0;
            let cut = remove(&root, &tombstone, &Alone, &stop);
            if cut.is_ok() {
                assert!(files > 1, "{part:?}");
                break;
            }
            // Out of sight, and known to be under way.
            assert_eq!(known(&root), [tombstone.in_state(State::Removing)]);
            assert!(part != Part::All || !has(&root, "s-1"));
            assert!(part != Part::Audio || !has(&root, "s-1/audio-1-Ada.wav"));
            let done = complete_day(&root, DAY, &Alone, GO_ON).expect("a disk");
            assert_eq!(
                done,
                [tombstone.in_state(State::Removed)],
                "{part:?} {files}"
            );
            assert_eq!(known(&root), done);
            assert!(!has(&root, ".removing-s-1") && !has(&root, "s-1/.removing-audio"));
            assert!(!has(&root, "s-1/.removing-video"));
            if part != Part::All {
                assert_eq!(meta_of(&root, "s-1")["removed"][part.name()]["files"], 7);
            }
            assert!(
                complete_day(&root, DAY, &Alone, GO_ON)
                    .expect("a disk")
                    .is_empty()
            );
        }
    }
}

#[test]
fn what_was_only_announced_is_given_up_and_what_was_only_not_confirmed_is_done() {
    for part in Part::ALL {
        let root = scratch("removal-announced");
        put(&root, "s-1");
        let tombstone = of_part("s-1", part, Reason::Keep);
        tombstones::append(&root, &tombstone).expect("a disk");
        let done = complete_day(&root, DAY, &Alone, GO_ON).expect("a disk");
        assert!(done.is_empty() && has(&root, "s-1/audio-1-Ada.wav"));
        assert_eq!(known(&root), [tombstone.in_state(State::Kept)]);
        // Everything but the last line was written.
        remove(&root, &tombstone, &Alone, GO_ON).expect("a disk");
        tombstones::append(&root, &tombstone).expect("a disk");
        let done = complete_day(&root, DAY, &Alone, GO_ON).expect("a disk");
        assert_eq!(done, [tombstone.in_state(State::Removed)], "{part:?}");
    }
}

/// A stream that lives again.
struct Refuses;

impl FolderOwner for Refuses {
    fn detach(&self, _: &Path, _: &StreamPlace, _: Part) -> io::Result<()> {
        Err(io::Error::other("the stream lives again"))
    }

    fn publish_meta(&self, _: &Path, _: &StreamPlace, _: u64) -> io::Result<()> {
        Err(io::Error::other("the stream lives again"))
    }
}

#[test]
fn a_stream_that_lives_again_is_kept() {
    let root = scratch("removal-kept");
    put(&root, "s-1");
    let error = remove(&root, &tombstone("s-1"), &Refuses, GO_ON).expect_err("it lives");
    assert_eq!(error.to_string(), "the stream lives again");
    assert!(has(&root, "s-1/transcript.jsonl"));
    assert_eq!(known(&root), [tombstone("s-1").in_state(State::Kept)]);
}

#[test]
fn no_link_is_followed() {
    use std::os::unix::fs::symlink;
    let (root, other) = (scratch("removal-links"), scratch("removal-other"));
    put(&other, "s-1");
    let target = other.join(DAY).join("m-1").join("s-1");
    let safe = || {
        assert!(target.join("transcript.jsonl").exists() && target.join("share/1.jpg").exists());
    };
    // A link in the folder of a stream goes, and what it names stays.
    put(&root, "s-2");
    symlink(&target, root.join(DAY).join("m-1/s-2/video/link")).expect("a link");
    symlink(&target, root.join(DAY).join("m-1/s-2/audio-9-link")).expect("a link");
    remove(&root, &tombstone("s-2"), &Alone, GO_ON).expect("a disk");
    assert!(!has(&root, "s-2"));
    safe();
    // The folder of a stream is a link.
    put(&root, "s-3");
    symlink(&target, root.join(DAY).join("m-1/s-1")).expect("a link");
    let audio = of_part("s-1", Part::Audio, Reason::Keep);
    assert!(remove(&root, &audio, &Alone, GO_ON).is_err());
    let _ = remove(&root, &tombstone("s-1"), &Alone, GO_ON);
    safe();
    // That of a meeting, and that of a day.
    fs::remove_dir_all(root.join(DAY)).expect("a folder");
    fs::create_dir(root.join(DAY)).expect("a folder");
    symlink(other.join(DAY).join("m-1"), root.join(DAY).join("m-1")).expect("a link");
    assert!(remove(&root, &tombstone("s-1"), &Alone, GO_ON).is_err());
    safe();
    fs::remove_dir_all(root.join(DAY)).expect("a folder");
    symlink(other.join(DAY), root.join(DAY)).expect("a link");
    assert!(remove(&root, &tombstone("s-1"), &Alone, GO_ON).is_err());
    assert!(!other.join(DAY).join("removed.jsonl").exists());
    safe();
}

#[test]
fn half_a_line_does_not_hide_the_next_one() {
    let root = scratch("removal-torn");
    put(&root, "s-1");
    let path = root.join(DAY).join("removed.jsonl");
    fs::write(&path, &tombstone("s-9").to_line()[..50]).expect("a file");
    remove(&root, &tombstone("s-1"), &Alone, GO_ON).expect("a disk");
    assert_eq!(known(&root), [tombstone("s-1").in_state(State::Removed)]);
}

#[test]
fn leftovers_without_a_tombstone_are_deleted() {
    let root = scratch("removal-leftovers");
    put(&root, "s-1");
    put(&root, "s-2");
    folders::detach(&root, &tombstone("s-1").place, Part::All).expect("a disk");
    let count = |root: &Path| delete_leftovers(root, DAY, "m-1", GO_ON).expect("a disk");
    assert_eq!((count(&root), count(&root)), (1, 0));
    assert!(!has(&root, ".removing-s-1") && has(&root, "s-2/meta.json"));
    assert_eq!(
        delete_leftovers(&root, DAY, "none", GO_ON).expect("no folder"),
        0
    );
}

#[test]
fn sizes_are_what_is_allocated() {
    let root = scratch("removal-sizes");
    put(&root, "s-1");
    let folder = root.join(DAY).join("m-1").join("s-1");
    let sparse = fs::File::create(folder.join("audio-2-Bo.wav")).expect("a file");
    sparse.set_len(1 << 30).expect("a sparse file");
    fs::write(folder.join("video/1.jpg"), vec![1; 200_000]).expect("a file");
    let sizes = folders::measure(&root, &tombstone("s-1").place).expect("readable");
    let sizes = sizes.expect("a folder");
    assert_eq!((sizes.audio.files, sizes.video.files), (3, 5));
    assert_eq!(sizes.of(Part::All).files, 3 + 5 + 3);
    assert!(sizes.audio.bytes < 1 << 20, "{sizes:?}");
    assert!(sizes.video.bytes >= 200_000, "{sizes:?}");
    let none = folders::measure(&root, &tombstone("s-7").place).expect("readable");
    assert_eq!(none, None);
    for (name, part) in [
        ("audio-mixed.wav", Some(Part::Audio)),
        ("video.2.h264", Some(Part::Video)),
        ("share", Some(Part::Video)),
        ("video-16778240.h264", Some(Part::Video)),
        ("videos", None),
        ("audio", None),
        ("meta.json", None),
    ] {
        assert_eq!(folders::part_of(name), part, "{name}");
    }
}
