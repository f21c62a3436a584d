//! `rtmsd tail` with the real server.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rtmsd::demo::{End, MeetingScript, Options};

use super::Following;
use super::fake::Place;
use crate::harness::{Harness, KilledOnDrop, open, wait_until, wait_until_more, wait_until_over};

impl Following {
    /// With the configuration of the server.
    fn of(harness: &Harness, arguments: &[&str]) -> Following {
        let child = harness
            .client("tail")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Following(KilledOnDrop(child.expect("the program can be started")))
    }
}

/// The lines of the journal of the only stream.
fn journal(harness: &Harness) -> Vec<String> {
    let text = fs::read_to_string(harness.stream_folder().join("feed.jsonl")).expect("a journal");
    text.lines().map(str::to_owned).collect()
}

fn script(seed: &str) -> MeetingScript {
    MeetingScript {
        replay: Duration::from_secs(10),
        ..open(seed)
    }
}

#[test]
fn l9_a_meeting_is_followed_over_a_kill_of_the_server_to_its_end() {
    // The same for both processes.
    let place = Place::new();
    let tcp = place.address().to_string();
    let mut harness = Harness::builder(Options::default()).without_server();
    let socket = format!("unix:{}", harness.folder.join("admin.sock").display());
    harness.set("RTMS_ADMIN", &format!("{tcp},{socket}"));
    harness.set("RTMS_TRANSCRIPT", "txt");
    harness.start_server();
    let nothing = harness.run(&["tail"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (Some(0), ""),
        "{nothing:?}"
    );
    assert!(
        nothing.stderr.contains("no stream is running"),
        "{nothing:?}"
    );

    let meeting = harness.zoom.start_meeting(script("followed"));
    assert!(meeting.wait_for_phrases(20, crate::harness::PATIENCE));
    wait_until("phrases in the journal", || journal(&harness).len() > 20);
    let id = meeting.script().id.clone();
    let number = meeting.script().number.to_string();
    let key = harness.streams()["streams"][0]["key"]
        .as_str()
        .expect("a key")
        .to_owned();
    let followers = [
        Following::of(&harness, &[&key[..6], "--json", "--follow", "-n", "all"]),
        Following::of(
            &harness,
            &[&meeting.streams()[0], "--json", "--follow", "-n", "all"],
        ),
    ];
    let phrases = Following::of(&harness, &[&key, "--follow", "-n", "all"]);
    for name in [&key, &id, &number] {
        let last = harness.run(&["tail", name, "-n", "3"]);
        assert_eq!(last.code, Some(0), "{last:?}");
        assert_eq!(last.stdout.lines().count(), 3, "{last:?}");
    }
    // Through the socket, no token is needed.
    let apart = [("RTMS_ADMIN", socket.as_str()), ("RTMS_STATE", "none")];
    let last = harness.run_with(&apart, &["tail", "-n", "3"]);
    assert_eq!(last.stdout.lines().count(), 3, "{last:?}");
    let unknown = harness.run(&["tail", "000000"]);
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    wait_until("followers", || {
        harness.metric("rtmsd_live_clients{kind=\"sse\"}") == 3.0
    });
    harness.server.kill();
    harness.start_server();
    wait_until_more(&meeting, 20);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    for follower in followers {
        let ran = follower.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let printed: Vec<&str> = ran.stdout.lines().collect();
        let written = journal(&harness);
        // A file may be closed after the end was told.
        assert_eq!(printed, written);
    }
    let ran = phrases.end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let transcript = fs::read_to_string(harness.stream_folder().join("transcript.txt"));
    assert_eq!(ran.stdout, transcript.expect("a transcript"));

    // All of it again, when it is over.
    let again = harness.run(&["tail", &number, "--json", "-n", "all"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(again.stdout.lines().collect::<Vec<_>>(), journal(&harness));
    harness.terminate();
    let gone = harness.run_with(&[("RTMS_ADMIN", &tcp)], &["tail", "--follow"]);
    assert_eq!(gone.code, Some(69), "{gone:?}");
}
