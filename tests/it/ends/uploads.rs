//! Object storage with the real binary and a strict storage of our own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha256;
use rtmsd::demo::{AudioScript, End, MeetingScript, Options};
use serde_json::Value;

use super::bucket::{BUCKET, Bucket, HOST, KEY_ID, SECRET, Trouble};
use crate::harness::scripted::{Answer, Scripted};
use crate::harness::{
    Builder, Harness, Secrets, files_below, meta, open, output_of, plain, report, wait_until,
    wait_until_over, wait_until_streaming,
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
fn u1_u4_u5_files_go_up_under_names_of_ids_and_the_manifest_comes_last() {
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
            let (_, bytes) = found.expect("a file");
            // The journal goes on with what was uploaded.
            let is_same = match text("local").as_str() {
                "feed.jsonl" => bytes.starts_with(&object.bytes),
                _ => *bytes == object.bytes,
            };
            assert!(is_same, "{}", text("local"));
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
fn u5_s6_what_fails_is_named_and_tried_again_until_it_works() {
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

/// The bucket in the host: where AWS wants it, and through a proxy.
#[test]
fn the_bucket_in_the_host_and_through_a_proxy() {
    let bucket = Bucket::start();
    let (proxy, heads) = crate::api::tls::proxy("200 Connection established", bucket.address());
    let harness = builder(&bucket)
        .settings(&[
            ("RTMS_S3_ENDPOINT", &format!("http://{HOST}")),
            ("RTMS_S3_STYLE", "host"),
            ("RTMS_PLAINTEXT", "on"),
        ])
        .prelude(&format!("export http_proxy=http://{proxy}"))
        .start();
    let meeting = harness.zoom.start_meeting(plain("host-style", 3));
    wait_until_over(&meeting);
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    let manifest = manifest(&bucket).expect("a manifest");
    let files = manifest["files"].as_array().expect("files").len();
    let objects = bucket.objects();
    assert!(
        objects.keys().all(|key| key.starts_with(PREFIX)),
        "{:?}",
        objects.keys()
    );
    assert_eq!(objects.len(), files + 1);
    let heads = heads.lock().expect("whole").clone();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(
            head.starts_with(&format!("CONNECT {BUCKET}.{HOST}:80 ")),
            "{head}"
        );
    }
    bucket.assert_no_violations();
    harness.end();
}

/// U7: nothing is deleted from a bucket that is not configured. It is said, and done when it is again.
#[test]
fn u7_objects_of_a_former_configuration_are_deleted_once_it_is_back() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket).start();
    let meeting = harness.zoom.start_meeting(plain("former", 3));
    wait_until_over(&meeting);
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    harness.terminate();
    let settings = bucket.settings();
    for (key, _) in &settings {
        harness.set(key, "");
    }
    harness.start_server();
    harness.post(&serde_json::json!({
        "event": "meeting.rtms_stopped", "event_ts": 1_767_000_000_000_u64,
        "payload": {"meeting_uuid": meeting.script().id, "stop_reason": 8,
            "rtms_stream_id": meeting.streams()[0]}}));
    const STAYS: [&str; 3] = [
        "ERROR",
        "objects are still in the bucket \"meetings\"",
        "RTMS_S3_BUCKET is not set",
    ];
    harness.wait_until_logged(&STAYS);
    harness.wait_until_logged(&["consent withdrawn: deleted files="]);
    assert!(harness.stream_folders().is_empty() && !bucket.objects().is_empty());
    let server = fs::read_to_string(harness.out().join("feed.jsonl")).expect("a journal");
    assert!(server.contains("\"uploads\":"), "{server}");
    assert!(!server.contains("\"uploads\":0"), "{server}");
    // It is said until it is done: by the log of each start, by the metrics, and by check.
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 1.0);
    harness.terminate();
    harness.start_server();
    harness.wait_until_logged(&STAYS);
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 1.0);
    let ran = harness.run(&["check"]);
    let warning =
        "warn  bucket: consent was withdrawn, but objects of 1 stream are still in the bucket";
    assert!(ran.stdout.contains(warning), "{}", ran.stdout);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    harness.reload(&settings);
    wait_until("it is deleted", || {
        harness.metric("rtmsd_uploads_total{result=\"deleted\"}") == 1.0
    });
    assert!(bucket.objects().is_empty());
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 0.0);
    let ran = harness.run(&["check"]);
    assert!(
        !ran.stdout.contains("still in the bucket"),
        "{}",
        ran.stdout
    );
    bucket.assert_no_violations();
    harness.end();
}

/// J7 and J13: what follows `stream.ended`, and that the journal waits for an endpoint that is behind.
#[test]
fn j7_j13_uploads_are_in_the_journal_and_it_stays_until_push_has_it() {
    let bucket = Bucket::start();
    let is_down = Arc::new(AtomicBool::new(true));
    let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (down, all) = (Arc::clone(&is_down), Arc::clone(&taken));
    let receiver = Scripted::start(move |request| {
        if down.load(Relaxed) {
            return Answer::empty(503);
        }
        let event = serde_json::from_str(&request.body).expect("JSON");
        all.lock().expect("whole").push(event);
        Answer::empty(204)
    });
    let mut harness = builder(&bucket)
        .settings(&[
            ("RTMS_S3_DELETE_LOCAL", "on"),
            ("RTMS_PUSH_URL", &format!("{}/x", receiver.url())),
            ("RTMS_PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ])
        .start();
    let meeting = harness.zoom.start_meeting(plain("journal", 5));
    wait_until_over(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    let left = || -> Vec<PathBuf> { files_below(&folder).into_keys().collect() };
    wait_until("the other files are gone", || left().len() == 2);
    // The next process may not delete it either, before push has looked.
    harness.terminate();
    harness.start_server();
    harness.wait_until_logged(&["push endpoint fails"]);
    let text = fs::read_to_string(folder.join("feed.jsonl")).expect("it is needed");
    is_down.store(false, Relaxed);
    wait_until("every event", || {
        taken.lock().expect("whole").len() == text.lines().count()
    });
    let events = taken.lock().expect("whole").clone();
    let kinds: Vec<&str> = events.iter().filter_map(|it| it["type"].as_str()).collect();
    let ended = kinds.iter().position(|kind| *kind == "stream.ended");
    let uploads = &events[ended.expect("the end") + 1..];
    let manifest = manifest(&bucket).expect("a manifest");
    let files = manifest["files"].as_array().expect("files");
    assert_eq!(uploads.len(), files.len(), "{kinds:?}");
    let objects = bucket.objects();
    for (event, file) in uploads.iter().zip(files) {
        let data = &event["data"];
        assert_eq!(
            (&event["type"], &data["bucket"]),
            (&"file.uploaded".into(), &BUCKET.into())
        );
        for member in ["bytes", "etag", "sha256"] {
            assert_eq!(data[member], file[member], "{member}");
        }
        assert_eq!(data["file"], file["local"]);
        assert!(
            objects.contains_key(data["key"].as_str().expect("a key")),
            "{data}"
        );
    }
    wait_until("nothing needs it any more", || left().len() == 1);
    assert!(left()[0].ends_with("meta.json"));
    assert_eq!(meta(&folder)["feed_seq"], events.len());
    assert!(harness.metric("rtmsd_push_expired_total{endpoint=\"default\"}") == 0.0);
    bucket.assert_no_violations();
    harness.end();
}

/// Keys of the machine's role and of the container's, from services at the addresses that these have:
/// in a network of its own, where they can be given to this machine.
#[test]
fn u8_the_roles_of_a_machine_and_of_a_container() {
    const NAME: &str = "ends::uploads::u8_the_roles_of_a_machine_and_of_a_container";
    const INSIDE: &str = "RTMSD_TEST_IS_IN_A_NETWORK_OF_ITS_OWN";
    if std::env::var_os(INSIDE).is_some() {
        return with_roles();
    }
    let script = "ip link set lo up && ip addr add 169.254.169.254/32 dev lo && \
                  ip addr add 169.254.170.2/32 dev lo && exec \"$@\"";
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script, "sh"]);
        command
    };
    let can = unshare().arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return report("skipped: no network of its own by unshare -rn and ip");
    }
    let test = std::env::current_exe().expect("a program");
    let output = output_of(unshare().arg(test).args(["--exact", NAME]).env(INSIDE, "1"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn with_roles() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let keys = |role: [&str; 3]| {
        serde_json::json!({"Code": "Success", "AccessKeyId": role[0], "SecretAccessKey": role[1],
            "Token": role[2], "Expiration": "2100-01-01T00:00:00Z"})
        .to_string()
    };
    let (machine, container) = (
        ["ASIAMACHINE", "hunter2-machine", "token+machine/="],
        ["ASIACONTAINER", "hunter2-container", "token+container/="],
    );
    let imds = Scripted::at("169.254.169.254:80", move |request| {
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token")
                if request.header("x-aws-ec2-metadata-token-ttl-seconds") == "21600" =>
            {
                Answer::json(200, "the-token")
            }
            _ if request.header("x-aws-ec2-metadata-token") != "the-token" => Answer::empty(401),
            ("GET", ROLES) => Answer::json(200, "my-role"),
            ("GET", path) if path == format!("{ROLES}my-role") => Answer::json(200, keys(machine)),
            _ => Answer::empty(404),
        }
    });
    let ecs = Scripted::at("169.254.170.2:80", move |request| {
        match request.path.as_str() {
            "/v2/credentials/uuid" => Answer::json(200, keys(container)),
            _ => Answer::empty(404),
        }
    });
    let bucket = Bucket::start();
    for (source, role) in [("imds", machine), ("ecs", container)] {
        bucket.expect_role(role);
        let harness = builder(&bucket)
            .settings(&[
                ("RTMS_S3_ACCESS_KEY_ID", ""),
                ("RTMS_S3_SECRET_ACCESS_KEY", ""),
                ("RTMS_S3_CREDENTIALS", source),
            ])
            // A proxy must not be asked for this machine's own services.
            .prelude(
                "export AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/uuid \
                 http_proxy=http://127.0.0.1:9",
            )
            .start();
        let meeting = harness
            .zoom
            .start_meeting(plain(&format!("role-{source}"), 3));
        wait_until_over(&meeting);
        wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
        let log = harness.server.log().join("\n");
        assert!(!log.contains("hunter2") && !log.contains("token+"), "{log}");
        bucket.assert_no_violations();
        harness.end();
    }
    // Asked once, and kept.
    let paths = |service: &Scripted| -> Vec<String> {
        let requests = service.requests().into_iter();
        requests.map(|request| request.path).collect()
    };
    assert_eq!(
        paths(&imds),
        ["/latest/api/token", ROLES, &format!("{ROLES}my-role")]
    );
    assert_eq!(paths(&ecs), ["/v2/credentials/uuid"]);
}

/// Whatever the bucket is asked at that moment: the next process goes on from there.
#[test]
#[ignore = "slow: hashes 70 MiB several times"]
fn u2_u7_a_kill_in_every_phase_of_an_upload_and_of_a_deletion() {
    let bucket = Bucket::start();
    bucket.keep_little();
    let mut harness = builder(&bucket)
        .settings(&[("RTMS_S3_DELETE_LOCAL", "on")])
        .start();
    let meeting = harness.zoom.start_meeting(open("phases"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    put_large_file(&folder, 70 * MIB);
    let phases = [
        "PUT transcript.jsonl",
        "POST uploads=",
        "PUT partNumber=2",
        "POST uploadId=",
        "PUT manifest.json",
        "HEAD transcript.jsonl",
    ];
    bucket.trouble(phases[0], Trouble::Hang);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    for next in phases[1..].iter().copied().map(Some).chain([None]) {
        wait_until("it hangs in that phase", || bucket.troubles_left() == 0);
        harness.server.kill();
        if let Some(next) = next {
            bucket.trouble(next, Trouble::Hang);
        }
        harness.start_server();
    }
    wait_until("all is in the bucket and nothing here", || {
        files_below(&folder)
            .into_keys()
            .all(|path| path.ends_with("meta.json"))
    });
    let manifest = manifest(&bucket).expect("a manifest");
    let files = manifest["files"].as_array().expect("files");
    let objects = bucket.objects();
    assert_eq!(objects.len(), files.len() + 1);
    for file in files {
        let name = format!("/{}", file["file"].as_str().expect("a name"));
        let (_, object) = objects
            .iter()
            .find(|(key, _)| key.ends_with(&name))
            .expect("it");
        assert_eq!(
            object.size,
            file["bytes"].as_u64().expect("a number"),
            "{name}"
        );
    }
    assert_eq!(bucket.uploads_open(), 0);
    let revoked = serde_json::json!({
        "event": "meeting.rtms_stopped", "event_ts": 1_767_000_000_000_u64,
        "payload": {"meeting_uuid": meeting.script().id, "stop_reason": 8,
            "rtms_stream_id": meeting.streams()[0]}});
    bucket.trouble("GET manifest.json", Trouble::Hang);
    harness.post(&revoked);
    for next in [
        Some("DELETE transcript.jsonl"),
        Some("DELETE manifest.json"),
        None,
    ] {
        wait_until("it hangs in that phase", || bucket.troubles_left() == 0);
        harness.server.kill();
        if let Some(next) = next {
            bucket.trouble(next, Trouble::Hang);
        }
        harness.start_server();
    }
    wait_until("nothing is left", || bucket.objects().is_empty());
    wait_until("it is said", || {
        harness.metric("rtmsd_uploads_total{result=\"deleted\"}") == 1.0
    });
    bucket.assert_no_violations();
    harness.end();
}

/// 64 parts, with a SIGKILL now and then: no part is lost, few come twice, and memory stays small.
#[test]
#[ignore = "slow: hashes a gigabyte several times"]
fn u1_u2_a_gigabyte_goes_up_over_kills_in_little_memory() {
    let bucket = Bucket::start();
    bucket.keep_little();
    let mut harness = builder(&bucket).start();
    let meeting = harness.zoom.start_meeting(open("gigabyte"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    put_large_file(&folder, 1024 * MIB);
    let most_kib = |harness: &Harness| {
        let path = format!("/proc/{}/status", harness.server.id());
        let status = fs::read_to_string(path).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("a number")
    };
    let before = most_kib(&harness);
    let parts = || {
        let requests = bucket.requests();
        requests
            .iter()
            .filter(|line| line.contains("partNumber="))
            .count()
    };
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    let mut most = 0;
    for kill in 1..=4 {
        wait_until("a quarter of it", || parts() >= 14 * kill);
        most = most.max(most_kib(&harness));
        harness.server.kill();
        harness.start_server();
    }
    wait_until("it is uploaded", || has_uploaded(&harness, 1.0));
    most = most.max(most_kib(&harness));
    report(&format!(
        "memory: {before} KiB before the upload, {most} KiB at most; parts sent: {}",
        parts()
    ));
    assert!((64..=64 + 2 * 4).contains(&parts()), "{}", parts());
    let objects = bucket.objects();
    let mut large = objects
        .iter()
        .filter(|(key, _)| key.contains("audio-unlisted"));
    let (_, object) = large.next().expect("it");
    assert_eq!(object.size, 1024 * MIB);
    assert!(
        object
            .checksum
            .as_ref()
            .is_some_and(|text| text.ends_with("-64"))
    );
    assert_eq!(bucket.uploads_open(), 0);
    // Eight for the upload; the rest is what a start and a stream of that size cost anyhow.
    assert!(most <= before + (8 << 10), "{before} {most}");
    bucket.assert_no_violations();
    harness.end();
}

#[test]
#[ignore = "slow: hashes 70 MiB several times"]
fn u2_u3_a_large_file_goes_up_in_parts_and_a_crash_repeats_one() {
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
fn u6_local_files_go_once_the_bucket_shows_all_of_them() {
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
        left.len() == 1 && left[0].ends_with("meta.json")
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
    wait_until("the files are gone", || names(&folder).len() == 1);
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
    wait_until("the files are gone", || names(&folder).len() == 1);
    bucket.assert_no_violations();
    harness.end();
}

/// U5: UPLOADS_AT_ONCE is two streams, with one file each.
#[test]
fn u5_of_streams_that_end_at_once_two_go_up_at_a_time() {
    const STREAMS: usize = 20;
    let bucket = Bucket::start();
    bucket.set_delay(Duration::from_millis(5));
    let mut harness = builder(&bucket).start();
    let meetings: Vec<_> = (0..STREAMS)
        .map(|n| {
            harness
                .zoom
                .start_meeting(plain(&format!("at once {n}"), 2))
        })
        .collect();
    meetings.iter().for_each(wait_until_over);
    wait_until("all are uploaded", || {
        has_uploaded(&harness, STREAMS as f64)
    });
    assert!(bucket.most_running() <= 2, "{}", bucket.most_running());
    let manifests = bucket.objects().into_keys();
    let manifests = manifests.filter(|key| key.ends_with("/manifest.json"));
    assert_eq!(manifests.count(), STREAMS);
    bucket.assert_no_violations();
    harness.terminate();
}

/// U6: what another program removes from the bucket before the local files go is sent again; and local
/// files of which a crash has left some go, too.
#[test]
fn u6_an_object_that_was_removed_and_a_crash_during_the_deletion() {
    let bucket = Bucket::start();
    let mut harness = builder(&bucket)
        .settings(&[("RTMS_S3_DELETE_LOCAL", "on")])
        .start();
    // The server is killed while it looks for the objects.
    bucket.trouble("HEAD", Trouble::Hang);
    let meeting = harness.zoom.start_meeting(plain("removed", 3));
    wait_until_over(&meeting);
    wait_until("it looks for the objects", || bucket.troubles_left() == 0);
    harness.server.kill();
    let folder = harness.folder_of(&meeting.streams()[0]);
    let sent = bucket.objects();
    bucket.remove("/transcript.jsonl");
    // What the next process finds if the one before was killed while it deleted.
    fs::remove_file(folder.join("transcript.vtt")).expect("a file");
    harness.start_server();
    harness.wait_until_logged(&["local files are kept", "the object is not there"]);
    wait_until("only meta.json is left", || {
        let left: Vec<PathBuf> = files_below(&folder).into_keys().collect();
        left.len() == 1 && left[0].ends_with("meta.json")
    });
    let now = bucket.objects();
    assert_eq!(
        now.keys().collect::<Vec<_>>(),
        sent.keys().collect::<Vec<_>>()
    );
    for name in ["/transcript.jsonl", "/transcript.vtt"] {
        let of = |objects: &std::collections::BTreeMap<String, super::bucket::Object>| {
            let mut found = objects.iter().filter(|(key, _)| key.ends_with(name));
            found.next().map(|(_, object)| object.bytes.clone())
        };
        assert_eq!(of(&now), of(&sent), "{name}");
    }
    assert_eq!(harness.metric("rtmsd_uploads_waiting"), 0.0);
    bucket.assert_no_violations();
    harness.terminate();
}

#[test]
fn u7_of_withdrawn_consent_no_object_is_left() {
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
fn u8_s9_check_says_where_content_goes_and_tries_the_bucket() {
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
