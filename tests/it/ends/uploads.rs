//! Object storage with the real binary and a strict storage of our own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha256;
use rtmsd::demo::{AudioScript, End, MeetingScript, Options};
use serde_json::Value;

use super::bucket::{BUCKET, Bucket, KEY_ID, SECRET, Trouble};
use crate::harness::{
    Builder, Harness, Secrets, files_below, meta, open, plain, wait_until, wait_until_over,
    wait_until_streaming,
};

const PREFIX: &str = "a b/c+d/v1/";
const MIB: u64 = 1 << 20;

fn builder(bucket: &Bucket) -> Builder {
    let settings = bucket.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    Harness::builder(Options::default())
        .settings(&settings)
        .admin()
}

fn manifest(bucket: &Bucket) -> Option<Value> {
    let objects = bucket.objects();
    let (_, object) = objects
        .iter()
        .find(|(key, _)| key.ends_with("/manifest.json"))?;
    serde_json::from_slice(&object.bytes).ok()
}

fn has_uploaded(harness: &Harness, streams: f64) -> bool {
    harness.metric("rtmsd_uploads_total{result=\"ok\"}") == streams
}

/// A file without a word in it, far larger than the disk space it takes.
fn put_large_file(folder: &Path, bytes: u64) -> PathBuf {
    let path = folder.join("audio-77-Grace.wav");
    let file = fs::File::create(&path).expect("a file");
    file.set_len(bytes).expect("room");
    path
}

#[test]
fn files_go_up_under_names_of_ids_and_the_manifest_comes_last() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket)
        .settings(&[
            ("RTMS_MEDIA", "transcript,audio,chat"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
        ])
        .without_server();
    let hook = harness.folder.join("hook");
    let seen = harness.folder.join("seen");
    let text = format!(
        "#!/bin/sh\nenv >'{0}.new' && mv '{0}.new' '{0}'\n",
        seen.display()
    );
    fs::write(&hook, text).expect("a script");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("ours");
    harness.set("RTMS_ON_STREAM_END", hook.to_str().expect("UTF-8"));
    harness.start_server();
    let meeting = harness.zoom.start_meeting(MeetingScript {
        topic: "the topic of topics".to_owned(),
        granted: 31,
        audio: Some(AudioScript {
            per_speaker: true,
            interval: Duration::from_millis(5),
            packets: Some(40),
            mute: Duration::ZERO,
        }),
        ..open("upload")
    });
    wait_until_streaming(&meeting);
    meeting.wait_for_audio(20, crate::harness::PATIENCE);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    wait_until("the hook has run", || seen.exists());
    let environment = fs::read_to_string(&seen).expect("a file");
    assert!(environment.contains("RTMSD_UPLOADED=on"), "{environment}");

    let folder = harness.folder_of(&meeting.streams()[0]);
    let meta = meta(&folder);
    let manifest = manifest(&bucket).expect("a manifest");
    assert_eq!(manifest["v"], 1);
    assert_eq!(manifest["stream_id"], meta["stream_id"]);
    let key = manifest["key"].as_str().expect("a key");
    let date = &meta["started"].as_str().expect("a time")[..10];
    let account = meta["account_id"].as_str().unwrap_or("unknown");
    let prefix = format!("{PREFIX}date={date}/account={account}/stream={key}/");
    let mut objects = bucket.objects();
    objects
        .remove(&format!("{prefix}manifest.json"))
        .expect("the manifest");
    let files = manifest["files"].as_array().expect("files");
    assert_eq!(files.len(), objects.len());
    let local = files_below(&folder);
    for file in files {
        let text = |key: &str| file[key].as_str().expect("a text").to_owned();
        let object = &objects[&format!("{prefix}{}", text("file"))];
        assert_eq!(
            object.bytes.len() as u64,
            file["bytes"].as_u64().expect("a number")
        );
        let digest = sha256(&object.bytes);
        assert_eq!(text("sha256"), hex::encode(digest));
        assert_eq!(object.checksum, Some(STANDARD.encode(digest)));
        assert!(!text("etag").is_empty() && !text("etag").contains('"'));
        if text("local") != "meta.json" {
            let found = local.iter().find(|(path, _)| path.ends_with(text("local")));
            assert_eq!(
                found.map(|(_, bytes)| bytes),
                Some(&object.bytes),
                "{}",
                text("local")
            );
        }
    }
    assert!(files.iter().any(|file| file["file"] == "transcript.vtt"));
    let is_sound = |file: &&Value| {
        file["file"]
            .as_str()
            .is_some_and(|f| f.starts_with("audio-"))
    };
    assert!(files.iter().filter(is_sound).count() > 0);
    // Names and topic are in no key, and the manifest was put last.
    for name in objects.keys() {
        for speaker in &meeting.script().speakers {
            assert!(!name.contains(&speaker.user_name), "{name}");
        }
        assert!(!name.contains("topic"));
    }
    let puts: Vec<String> = bucket.requests();
    assert!(
        puts.last()
            .is_some_and(|put| put.contains("/manifest.json"))
    );
    // The folder says where it is.
    let uploaded = &meta["uploaded"];
    assert_eq!(
        (&uploaded["bucket"], &uploaded["prefix"]),
        (&BUCKET.into(), &prefix.into())
    );
    assert_eq!(meta["state"], "ended");
    // Secrets are nowhere.
    let secrets = Secrets::of(&harness.zoom, &[&meeting]).and("s3", SECRET);
    secrets.assert_not_in("the log", &harness.server.log().join("\n"));
    secrets.assert_not_in("the hook's environment", &environment);
    let state = fs::read_to_string(harness.state().join("ends.json")).expect("a file");
    assert!(!state.contains(SECRET) && !state.contains(KEY_ID));
    assert!(harness.metric("rtmsd_upload_bytes_total") > 1000.0);
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 0.0);
    bucket.assert_no_violations();
    harness.end();
}

#[test]
fn what_fails_is_named_and_tried_again_until_it_works() {
    let bucket = Bucket::start();
    let harness = builder(&bucket)
        .settings(&[("RTMS_TRANSCRIPT", "vtt")])
        .start();
    let region = "<Region>eu-west-9</Region>";
    for (n, (trouble, words)) in [
        (
            Trouble::Refuse(403, "AccessDenied", ""),
            ["ERROR", "status 403, AccessDenied"],
        ),
        (
            Trouble::Refuse(400, "AuthorizationHeaderMalformed", region),
            ["ERROR", "set RTMS_S3_REGION=eu-west-9"],
        ),
        (Trouble::Redirect, ["ERROR", "redirects are not followed"]),
        (Trouble::Reset, ["WARN", "no connection, or it broke"]),
        (
            Trouble::Refuse(503, "SlowDown", ""),
            ["WARN", "limits the rate"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        bucket.trouble("PUT", trouble);
        let meeting = harness.zoom.start_meeting(plain(&format!("fails-{n}"), 3));
        wait_until_over(&meeting);
        harness.wait_until_logged(&["upload failed", words[0], words[1]]);
        wait_until("it is uploaded", || has_uploaded(&harness, n as f64 + 1.0));
    }
    harness.wait_until_logged(&["the bucket works again"]);
    bucket.set_clock_ahead(3600);
    let meeting = harness.zoom.start_meeting(plain("fails-clock", 3));
    wait_until_over(&meeting);
    harness.wait_until_logged(&["WARN", "clock is off", "seconds=3"]);
    wait_until("it is uploaded", || has_uploaded(&harness, 6.0));
    assert_eq!(bucket.troubles_left(), 0);
    assert_eq!(harness.metric("rtmsd_uploads_total{result=\"error\"}"), 6.0);
    bucket.assert_no_violations();
    harness.end();
}

#[test]
#[ignore = "slow: hashes 70 MiB several times"]
fn a_large_file_goes_up_in_parts_and_a_crash_repeats_one() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket).start();
    let meeting = harness.zoom.start_meeting(open("parts"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    put_large_file(&folder, 70 * MIB);
    let count = |word: &str| {
        bucket
            .requests()
            .iter()
            .filter(|line| line.contains(word))
            .count()
    };
    let large = "/audio-unlisted.wav ";
    bucket.trouble("POST", Trouble::Refuse(500, "InternalError", ""));
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until("two parts are there", || count("partNumber=2") == 1);
    bucket.trouble("PUT", Trouble::Hang);
    wait_until("a part hangs", || bucket.troubles_left() == 0);
    harness.server.kill();
    let begun = count("uploads=");
    let hung = bucket.requests().last().cloned().expect("a request");
    // The completion says 200 and means an error; the parts are gone with it, so all begins again.
    bucket.trouble("POST", Trouble::ErrorBehind200);
    harness.start_server();
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    let requests = bucket.requests();
    let first = |line: &str| {
        requests
            .iter()
            .position(|found| found.contains(line))
            .expect("sent")
    };
    assert!(requests[first("partNumber=1")].contains(large));
    // What hung was sent again by the next process, before any part that it had sent.
    let resumed = requests
        .iter()
        .skip_while(|line| **line != hung)
        .nth(1)
        .expect("it went on");
    assert_eq!(*resumed, hung);
    assert_eq!(
        count("uploads="),
        begun + 1,
        "started again only after the error behind 200"
    );
    harness.wait_until_logged(&["upload failed", "status 200, InternalError"]);
    let objects = bucket.objects();
    let (_, object) = objects
        .iter()
        .find(|(key, _)| key.contains("audio-unlisted"))
        .expect("it");
    assert_eq!(object.bytes.len() as u64, 70 * MIB);
    assert!(
        object
            .checksum
            .as_ref()
            .is_some_and(|text| text.ends_with("-5"))
    );
    assert_eq!(bucket.uploads_open(), 0);
    bucket.assert_no_violations();
    harness.end();
}

#[test]
fn local_files_go_once_the_bucket_shows_all_of_them() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket)
        .settings(&[("RTMS_S3_DELETE_LOCAL", "on")])
        .start();
    let first = harness.zoom.start_meeting(plain("clean-1", 3));
    wait_until_over(&first);
    let folder = harness.folder_of(&first.streams()[0]);
    let names = |folder: &Path| -> Vec<PathBuf> { files_below(folder).into_keys().collect() };
    wait_until("the files are gone", || {
        let left = names(&folder);
        left.iter()
            .all(|path| path.ends_with("meta.json") || path.ends_with("feed.jsonl"))
    });
    assert!(
        meta(&folder)["uploaded"]["files"]
            .as_u64()
            .is_some_and(|n| n >= 3)
    );
    // An object that is not there any more is sent again before anything is deleted.
    bucket.trouble("HEAD", Trouble::Refuse(404, "", ""));
    let second = harness.zoom.start_meeting(plain("clean-2", 3));
    wait_until_over(&second);
    harness.wait_until_logged(&["local files are kept", "the object is not there"]);
    let folder = harness.folder_of(&second.streams()[0]);
    wait_until("the files are gone", || names(&folder).len() <= 2);
    // A bucket that shows no checksum proves nothing.
    bucket.hide_checksums();
    let third = harness.zoom.start_meeting(plain("clean-3", 3));
    wait_until_over(&third);
    harness.wait_until_logged(&["local files are kept", "set RTMS_S3_CHECKSUM=off"]);
    assert!(names(&harness.folder_of(&third.streams()[0])).len() > 3);
    let line = harness.reload(&[("RTMS_S3_CHECKSUM", "off")]);
    assert!(line.contains("changed=RTMS_S3_CHECKSUM"), "{line}");
    let fourth = harness.zoom.start_meeting(plain("clean-4", 3));
    wait_until_over(&fourth);
    let folder = harness.folder_of(&fourth.streams()[0]);
    wait_until("the files are gone", || names(&folder).len() <= 2);
    bucket.assert_no_violations();
    harness.end();
}

#[test]
fn of_withdrawn_consent_no_object_is_left() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket).start();
    // One that is uploaded already, and of which Zoom says so afterwards.
    let done = harness.zoom.start_meeting(plain("revoked-1", 3));
    wait_until_over(&done);
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    assert!(!bucket.objects().is_empty());
    // One whose upload is under way.
    let busy = harness.zoom.start_meeting(open("revoked-2"));
    wait_until_streaming(&busy);
    bucket.trouble("PUT", Trouble::Hang);
    busy.end(End::meeting_ended());
    wait_until_over(&busy);
    wait_until("an object is on its way", || bucket.troubles_left() == 0);
    bucket.trouble("DELETE", Trouble::Refuse(503, "SlowDown", ""));
    for meeting in [&done, &busy] {
        let delivery = harness.zoom.post_webhook(&serde_json::json!({
            "event": "meeting.rtms_stopped", "event_ts": 1_767_000_000_000_u64,
            "payload": {"meeting_uuid": meeting.script().id, "stop_reason": 8,
                "rtms_stream_id": meeting.streams()[0]}}));
        assert!(delivery.is_accepted(), "{delivery:?}");
    }
    wait_until("both are deleted", || {
        harness.metric("rtmsd_uploads_total{result=\"deleted\"}") == 2.0
    });
    assert_eq!(
        bucket.objects().into_keys().collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    assert_eq!(bucket.uploads_open(), 0);
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 0.0);
    harness.wait_until_logged(&["consent withdrawn: deleted from the bucket"]);
    assert!(harness.stream_folders().is_empty());
    // A restart has nothing more to do.
    harness.server.kill();
    harness.start_server();
    harness.assert_answered();
    assert!(bucket.objects().is_empty());
    bucket.assert_no_violations();
    harness.end();
}

#[test]
fn check_says_where_content_goes_and_tries_the_bucket() {
    let bucket = Bucket::start();
    let harness = builder(&bucket).without_server();
    let ran = harness.run_apart(&["check", "--online"]);
    for text in [
        "files of streams that have ended go to the bucket \"meetings\"",
        "ok    bucket: an object was put, looked at and deleted",
    ] {
        assert!(ran.stdout.contains(text), "{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("hunter2"));
    let methods: Vec<String> = bucket.requests();
    let methods: Vec<&str> = methods
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(methods, ["PUT", "HEAD", "DELETE"]);
    assert!(bucket.objects().is_empty());
    bucket.trouble("PUT", Trouble::Refuse(404, "NoSuchBucket", ""));
    let ran = harness.run_apart(&["check", "--online"]);
    assert!(
        ran.stdout
            .contains("fault bucket: put object: there is no such bucket"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.code, Some(78));
}
