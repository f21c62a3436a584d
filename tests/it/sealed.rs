//! Tokens and state on the disk, encrypted with the operator's key.

use std::fs;

use rtmsd::demo::{Credentials, MeetingHandle, Options, Step};

use crate::harness::{Harness, PATIENCE, Secrets, open, wait_until_streaming};

const KEY: &str = "RTMS_STATE_KEY_FILE";

fn options() -> Options {
    Options {
        credentials: Credentials::Refresh,
        ..Options::default()
    }
}

/// Everything in the state directory but the process id in the lock, as text.
fn state(harness: &Harness) -> String {
    let entries = fs::read_dir(harness.state()).expect("a folder").flatten();
    let files = entries.filter(|entry| entry.path().is_file() && entry.file_name() != "lock");
    let texts = files.map(|file| fs::read(file.path()).expect("readable"));
    texts
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// A meeting that is being received, so that a restart needs it.
fn receive(harness: &Harness, seed: &str) -> MeetingHandle {
    let meeting = harness.zoom.start_meeting(open(seed));
    wait_until_streaming(&meeting);
    meeting
}

#[test]
fn what_is_stored_is_encrypted_and_a_restart_reads_it() {
    let mut harness = Harness::builder(options()).admin().start();
    let first = receive(&harness, "first");
    let topic = first.script().topic.clone();
    assert!(
        state(&harness).contains(&topic),
        "without a key it is plain"
    );
    let write = |name: &str, byte: u8, length: usize| {
        let path = harness.folder.join(name);
        fs::write(&path, vec![byte; length]).expect("a key");
        path.display().to_string()
    };
    let (old, new, short) = (
        write("old", 200, 32),
        write("new", 10, 64),
        write("short", 1, 31),
    );
    harness.terminate();

    // With a key, the next start encrypts what is there, and the stream is joined again.
    harness.set(KEY, &old);
    harness.start_server();
    harness.wait_until_logged(&["files in the state directory encrypted"]);
    assert!(
        first.wait_for_times(Step::Ready, 2, PATIENCE),
        "it is joined again"
    );
    let second = receive(&harness, "second");
    let secrets = Secrets::of(&harness.zoom, &[&first, &second]);
    harness.terminate();
    let stored = state(&harness);
    secrets.assert_not_in("the state", &stored);
    for meeting in [&first, &second] {
        assert!(!stored.contains(&meeting.script().topic), "a topic");
        assert!(!stored.contains(&meeting.streams()[0]), "a stream");
    }
    assert!(!stored.contains("wss://"), "a server");

    // Without the key, with another, and with one that is too short, nothing starts or changes.
    for (key, words) in [
        (
            "",
            "encrypted and no key, expected the key in RTMS_STATE_KEY_FILE",
        ),
        (
            &*new,
            "encrypted with another key than that of RTMS_STATE_KEY_FILE",
        ),
        (
            &*short,
            "found a key of 31 bytes, expected 32 to 4096; \"openssl rand 32\" makes one",
        ),
    ] {
        harness.set(KEY, key);
        let mut server = harness.start_second_server();
        assert_eq!(server.wait(PATIENCE).expect("an end").code(), Some(78));
        server.wait_until_logged(&[words]);
        let checked = harness.run_with(&[(KEY, key)], &["check"]);
        assert_eq!(checked.code, Some(78), "{checked:?}");
        assert!(state(&harness) == stored, "changed: {words}");
    }

    // Another key: the old one is named behind it once.
    harness.set(KEY, &format!("{new},{old}"));
    harness.start_server();
    let third = receive(&harness, "third");
    harness.terminate();
    harness.set(KEY, &new);
    harness.start_server();
    assert!(
        third.wait_for_times(Step::Ready, 2, PATIENCE),
        "it is joined again"
    );
    let checked = harness.run_with(&[(KEY, &new)], &["check"]);
    assert!(
        checked
            .stdout
            .contains("tokens, keys and state in RTMS_STATE are encrypted"),
        "{checked:?}"
    );
    // Commands that need the server's own token read it.
    let link = harness.run_with(&[(KEY, &new)], &["accounts"]);
    assert_eq!(link.code, Some(0), "{link:?}");
    harness.assert_no_violations();
    harness.terminate();
}
