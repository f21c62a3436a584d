//! Object storage by others, which `.ci/partners` starts: what was uploaded is read back by boto3.

use std::fs;
use std::process::Command;

use rtmsd::demo::{End, MeetingScript, Options};

use crate::harness::{
    Harness, meta, open, output_of, plain, report, wait_until, wait_until_over,
    wait_until_streaming,
};

const BUCKET: &str = "partners-bucket";

/// Makes the bucket, or reads back what the manifest of a stream names and compares it with the folder.
const PYTHON: &str = r#"
import boto3, hashlib, json, os, sys
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=os.environ["RTMSD_S3_ENDPOINT"], region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}))
bucket = "partners-bucket"
if sys.argv[1] == "make":
    try:
        s3.create_bucket(Bucket=bucket)
    except Exception as error:
        if "Already" not in str(error) and "Exists" not in str(error):
            raise
elif sys.argv[1] == "list":
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=sys.argv[2])
    print(sum(len(page.get("Contents", [])) for page in pages))
else:
    prefix, folder = sys.argv[2], sys.argv[3]
    get = lambda name: s3.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
    manifest = json.loads(get("manifest.json"))
    for file in manifest["files"]:
        body = get(file["file"])
        assert len(body) == file["bytes"], file
        assert hashlib.sha256(body).hexdigest() == file["sha256"], file
        if file["local"] != "meta.json":
            with open(os.path.join(folder, file["local"]), "rb") as local:
                found = local.read()
                # The journal goes on with a line for each file that was uploaded.
                assert found == body or file["local"] == "feed.jsonl" and found.startswith(body), file
    print(len(manifest["files"]))
"#;

fn python(arguments: &[&str]) -> String {
    let program = std::env::var("RTMSD_S3_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = output_of(Command::new(program).args(["-c", PYTHON]).args(arguments));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
#[ignore = "needs the storage that .ci/partners starts"]
fn a_partner_takes_what_is_uploaded_and_boto3_reads_it() {
    let variable = |name: &str| std::env::var(name).expect(name);
    let endpoint = variable("RTMSD_S3_ENDPOINT");
    python(&["make"]);
    let (id, secret) = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    );
    let mut harness = Harness::builder(Options::default())
        .admin()
        .settings(&[
            ("RTMS_S3_BUCKET", BUCKET),
            ("RTMS_S3_ENDPOINT", &endpoint),
            ("RTMS_S3_PREFIX", "a b/c+d"),
            ("RTMS_S3_ACCESS_KEY_ID", &id),
            ("RTMS_S3_SECRET_ACCESS_KEY", &secret),
            ("RTMS_MEDIA", "all"),
            ("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt"),
        ])
        .without_server();
    let ran = harness.run_apart(&["check", "--online"]);
    let line = ran.stdout.lines().find(|line| line.contains("bucket: "));
    report(line.unwrap_or("nothing about the bucket"));
    assert!(
        ran.stdout.contains("ok    bucket: an object was put"),
        "{}",
        ran.stdout
    );
    harness.start_server();
    let uploaded = |harness: &Harness| harness.metric("rtmsd_uploads_total{result=\"ok\"}");
    let meeting = harness.zoom.start_meeting(MeetingScript {
        granted: 31,
        pictures: true,
        ..open("partner")
    });
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    // In parts: a gigabyte with the slow tests, else little more than the limit.
    let mib: u64 = std::env::var("RTMSD_S3_MIB").map_or(70, |n| n.parse().expect("a number"));
    let large = fs::File::create(folder.join("audio-77-Grace.wav")).expect("a file");
    large.set_len(mib << 20).expect("room");
    let most_kib = || {
        let path = format!("/proc/{}/status", harness.server.id());
        let status = fs::read_to_string(path).expect("a process");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .expect("its memory");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
    };
    let before = most_kib();
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until("it is uploaded", || uploaded(&harness) == 1.0);
    report(&format!(
        "most memory: {before} KiB before, {} KiB after {mib} MiB",
        most_kib()
    ));
    let prefix = meta(&folder)["uploaded"]["prefix"]
        .as_str()
        .expect("a prefix")
        .to_owned();
    let files = python(&["read", &prefix, folder.to_str().expect("UTF-8")]);
    report(&format!("{files} files read back by boto3"));

    // Local files go where the partner shows checksums; if not, they stay.
    harness.reload(&[("RTMS_S3_DELETE_LOCAL", "on")]);
    let second = harness.zoom.start_meeting(plain("partner-2", 3));
    wait_until_over(&second);
    wait_until("it is uploaded", || uploaded(&harness) == 2.0);
    let line = harness.server.wait_until_logged(&["local files"]);
    report(&line);

    // After a withdrawal nothing is left of the stream.
    let third = harness.zoom.start_meeting(plain("partner-3", 3));
    wait_until_over(&third);
    wait_until("it is uploaded", || uploaded(&harness) == 3.0);
    let folder = harness.folder_of(&third.streams()[0]);
    let prefix = meta(&folder)["uploaded"]["prefix"]
        .as_str()
        .expect("a prefix")
        .to_owned();
    assert_ne!(python(&["list", &prefix]), "0");
    let delivery = harness.zoom.post_webhook(&serde_json::json!({
        "event": "meeting.rtms_stopped", "event_ts": 1_767_000_000_000_u64,
        "payload": {"meeting_uuid": third.script().id, "stop_reason": 8,
            "rtms_stream_id": third.streams()[0]}}));
    assert!(delivery.is_accepted(), "{delivery:?}");
    wait_until("it is deleted", || {
        harness.metric("rtmsd_uploads_total{result=\"deleted\"}") == 1.0
    });
    assert_eq!(python(&["list", &prefix]), "0");
    harness.end();
}
