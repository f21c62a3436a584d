use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use serde_json::json;

use super::send::Outlet;
use super::*;
use crate::testing::{TempDir, scratch};

const FOLDER: &str = "2026-11-24/m/s";

fn recording(name: &str) -> (TempDir, Recording) {
    let root = scratch(name);
    let folder = root.join(FOLDER);
    fs::create_dir_all(folder.join("share")).expect("a folder");
    let meta = json!({
        "product": "meeting", "meeting_uuid": "u", "stream_id": "s", "started_ms": 1,
        "state": "receiving",
    });
    fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
    fs::write(folder.join("audio-A\u{e9}.wav"), [7; 100]).expect("a file");
    fs::write(folder.join("share/1 \"x\".jpg"), [8; 10]).expect("a file");
    fs::write(root.join("secret"), "s").expect("a file");
    std::os::unix::fs::symlink(root.join("secret"), folder.join("link.txt")).expect("a link");
    let recording = Recording::read(&root, Path::new(FOLDER)).expect("a recording");
    (root, recording)
}

fn request(name: &str, range: Option<&str>) -> FileRequest {
    FileRequest {
        key: JournalKey::of_folder(Path::new(FOLDER)),
        name: name.to_owned(),
        is_head: false,
        range: range.map(str::to_owned),
        if_range: None,
    }
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let field = answer.headers.iter().find(|(it, _)| *it == name);
    field.map(|(_, value)| value.as_str())
}

#[test]
fn g5_a_name_must_equal_one_that_the_folder_lists() {
    let (_root, recording) = recording("files-names");
    for name in ["audio-A\u{e9}.wav", "share/1 \"x\".jpg", "meta.json"] {
        let path = format!("/{}", path(recording.key.parse().expect("a key"), name));
        assert!(path.is_ascii() && !path.contains([' ', '"']), "{path}");
        let (key, decoded) = key_and_name(&path).expect("a path");
        assert_eq!(
            (key.to_string(), decoded.as_str()),
            (recording.key.clone(), name)
        );
        let opened = request(name, None).open(&recording);
        assert_eq!(opened.map(|(answer, _)| answer.status), Ok(200), "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        "../../../secret",
        "share",
        "share/",
        "share/../meta.json",
        "./meta.json",
        "/etc/passwd",
        "link.txt",
        "meta.json\0",
        "META.JSON",
    ] {
        let refused = request(name, None).open(&recording).map(|_| ());
        assert_eq!(refused.map_err(|it| it.status), Err(404), "{name}");
    }
    for path in [
        "/files/",
        "/files/x/a",
        "/files/bdd2d51ed67606f5",
        "/files/bdd2d51ed67606f5/%zz",
        "/files/bdd2d51ed67606f5/%ff",
    ] {
        assert_eq!(key_and_name(path), None, "{path}");
    }
}

#[test]
fn g5_the_head_says_what_follows_and_keeps_a_browser_from_showing_it() {
    let (_root, recording) = recording("files-head");
    let (answer, part) = request("audio-A\u{e9}.wav", Some("bytes=10-19"))
        .open(&recording)
        .expect("a file");
    assert_eq!((answer.status, answer.content_type), (206, "audio/wav"));
    let part = part.expect("a part");
    assert_eq!((part.first, part.end), (10, 20));
    for (name, value) in [
        ("Content-Range", Some("bytes 10-19/100")),
        ("Content-Length", Some("10")),
        ("Accept-Ranges", Some("bytes")),
        ("Content-Security-Policy", Some("sandbox")),
        ("X-Content-Type-Options", Some("nosniff")),
        ("Cache-Control", Some("no-store")),
        ("Content-Disposition", None),
    ] {
        assert_eq!(field(&answer, name), value, "{name}");
    }
    let etag = field(&answer, "ETag").expect("a tag").to_owned();
    let (answer, part) = request("share/1 \"x\".jpg", None)
        .open(&recording)
        .expect("a file");
    assert_eq!(
        field(&answer, "Content-Disposition"),
        Some("attachment; filename=\"1__x_.jpg\"; filename*=UTF-8''1%20%22x%22.jpg")
    );
    assert!(part.is_some_and(|part| part.end == 10));
    let head = FileRequest {
        is_head: true,
        ..request("audio-A\u{e9}.wav", None)
    };
    let (answer, part) = head.open(&recording).expect("a file");
    assert!(part.is_none());
    assert_eq!(field(&answer, "Content-Length"), Some("100"));
    // A file that has grown has another tag, and its end is its present one.
    fs::write(recording.folder.join("audio-A\u{e9}.wav"), [7; 150]).expect("a file");
    let resumed = FileRequest {
        if_range: Some(etag),
        ..request("audio-A\u{e9}.wav", Some("bytes=100-"))
    };
    let (answer, _) = resumed.open(&recording).expect("a file");
    assert_eq!(
        (answer.status, field(&answer, "Content-Length")),
        (200, Some("150"))
    );
    let gone = request("audio-A\u{e9}.wav", Some("bytes=150-"));
    let answer = gone.open(&recording).map(|_| ()).expect_err("no part");
    assert_eq!(answer.status, 416);
    assert_eq!(field(&answer, "Content-Range"), Some("bytes */150"));
}

#[test]
fn g5_a_client_that_takes_nothing_is_ended_once_it_may_not_read_any_more() {
    let (_root, recording) = recording("files-stall");
    let place = recording.folder.join("audio-A\u{e9}.wav");
    fs::write(&place, vec![7; 8 << 20]).expect("a file");
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    theirs.set_nonblocking(true).expect("a socket");
    let part = || {
        let opened = request("audio-A\u{e9}.wav", None).open(&recording);
        opened.expect("a file").1.expect("a part")
    };
    let may_go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let may_go_on = || may_go_on.load(Acquire);
            Outlet::new(&theirs, &may_go_on)?.send_file(&part())
        });
        let mut byte = [0];
        ours.read_exact(&mut byte).expect("it begins");
        may_go_on.store(false, Release);
        sending
            .join()
            .expect("no panic")
            .expect_err("it is cut off");
    });
    // A file that is deleted meanwhile is not sent to its end.
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    theirs.set_nonblocking(true).expect("a socket");
    ours.set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    std::thread::scope(|scope| {
        let part = part();
        let sending = scope.spawn(move || {
            let may_go_on = || true;
            Outlet::new(&theirs, &may_go_on)?.send_file(&part)
        });
        let mut byte = [0];
        ours.read_exact(&mut byte).expect("it begins");
        fs::remove_file(&place).expect("removable");
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).expect("it ends");
        assert!(rest.len() < 8 << 20);
        sending
            .join()
            .expect("no panic")
            .expect_err("it is cut off");
    });
}
