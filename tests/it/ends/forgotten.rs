//! What is forgotten goes from the bucket as well.

use std::fs;
use std::path::Path;

use rtmsd::demo::{End, Options};
use serde_json::Value;

use super::bucket::Bucket;
use crate::harness::{Harness, meta, open, wait_until, wait_until_over, wait_until_streaming};

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("transcript.jsonl")).expect("a transcript");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn a_person_is_blanked_in_the_bucket_and_a_meeting_goes() {
    let bucket = Bucket::start();
    let settings = bucket.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut harness = Harness::builder(Options::default())
        .settings(&settings)
        .admin()
        .start();
    let meeting = harness.zoom.start_meeting(open("forget-bucket"));
    wait_until_streaming(&meeting);
    let folder = harness.folder_of(&meeting.streams()[0]);
    wait_until("there is a phrase", || {
        fs::read_to_string(folder.join("transcript.jsonl")).is_ok_and(|text| text.contains('\n'))
    });
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until("it is uploaded", || {
        harness.metric("rtmsd_uploads_total{result=\"ok\"}") == 1.0
    });
    let said = lines(&folder);
    let name = said[0]["user_name"].as_str().expect("a name").to_owned();
    let own = said
        .iter()
        .filter(|line| line["user_name"] == name.as_str());
    let mut gone: Vec<String> = own
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect();
    gone.push(name.clone());
    let has = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|it| it == word.as_bytes());
    let is_left = |bucket: &Bucket| {
        let objects = bucket.objects();
        let mut all = objects.values();
        all.any(|object| gone.iter().any(|word| has(&object.bytes, word)))
    };
    assert!(is_left(&bucket));
    let done = harness.run(&["forget", "--user", &name, "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!is_left(&bucket));
    let receipt: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(
        receipt["total"]["objects_replaced"].as_u64() > Some(2),
        "{receipt}"
    );
    let uuid = meta(&folder)["meeting_uuid"]
        .as_str()
        .expect("an id")
        .to_owned();

    // Without a server, the command talks to the bucket itself.
    harness.terminate();
    let before = bucket.objects().len() as u64;
    let done = harness.run(&["forget", "--meeting", &uuid, "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(bucket.objects().len(), 0, "{:?}", bucket.objects().keys());
    let receipt: Value = serde_json::from_str(&done.stdout).expect("JSON");
    // All but the manifest.
    assert_eq!(
        receipt["total"]["objects_deleted"].as_u64(),
        Some(before - 1)
    );
    assert!(!folder.exists() && !harness.state().join("ends.json").exists());
}
