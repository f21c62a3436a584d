//! Links to one stream with the whole binary: `rtmsd link`, and what the server gives to those who have one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rtmsd::demo::{End, MeetingHandle};
use serde_json::Value;

use crate::harness::{
    Harness, http, open, wait_until, wait_until_more, wait_until_over, wait_until_streaming,
};
use crate::live::client::Sse;

/// What `rtmsd link` prints.
pub(crate) fn link(harness: &Harness, arguments: &[&str]) -> String {
    let made = harness.run(&[&["link"], arguments].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(
        made.stderr.contains("can read the stream until 20"),
        "{made:?}"
    );
    assert_eq!(made.stdout.lines().count(), 1, "{made:?}");
    made.stdout.trim().to_owned()
}

/// The credential of a link.
pub(crate) fn token(link: &str) -> String {
    let (_, token) = link.split_once("#s=").expect("a credential");
    token.to_owned()
}

pub(crate) fn get(harness: &Harness, target: &str, token: &str) -> (u16, String) {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    http::status_and_body(&http::ask(harness.admin(), request.as_bytes()))
}

fn sse(harness: &Harness, query: &str, token: &str) -> Sse {
    let bearer = format!("Bearer {token}");
    Sse::open(harness.admin(), query, &[("Authorization", &bearer)])
}

#[test]
fn g3_a_link_reads_one_stream_until_it_expires_or_is_revoked() {
    let harness = Harness::with_admin(&[]);
    let meetings: Vec<MeetingHandle> = (1..=2)
        .map(|n| harness.zoom.start_meeting(open(&format!("link-{n}"))))
        .collect();
    meetings.iter().for_each(wait_until_streaming);
    let keys: Vec<String> = meetings.iter().map(|it| harness.key_of(it)).collect();
    let (own, other) = (&keys[0], &keys[1]);

    assert!(!harness.state().join("link-key").exists());
    let told = harness.run(&["link", own]).stderr;
    assert!(told.contains("RTMS_ADMIN_URL"), "{told}");
    let number = meetings[0].script().number.to_string();
    let address = link(&harness, &[&number]);
    let begin = format!("http://{}/live/{own}#s=", harness.admin());
    assert!(address.starts_with(&begin), "{address}");
    let place = harness.state().join("link-key");
    let mode = fs::metadata(&place).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let captions = token(&address);
    let files = token(&link(&harness, &[&own[..6], "--for", "7d", "--files"]));

    for (target, expected) in [
        (format!("/live/{own}.vtt"), [200, 200]),
        (format!("/live/{own}.txt"), [200, 200]),
        (format!("/live/{other}.vtt"), [403, 403]),
        (format!("/events?wait=0&stream={own}"), [200, 200]),
        (format!("/events?wait=0&stream={other}"), [403, 403]),
        ("/events?wait=0".to_owned(), [403, 403]),
        (format!("/meetings/{own}?format=json"), [403, 200]),
        (format!("/meetings/{other}?format=json"), [403, 403]),
        ("/meetings?format=json".to_owned(), [403, 403]),
    ] {
        let found = [&captions, &files].map(|token| get(&harness, &target, token).0);
        assert_eq!(found, expected, "{target}");
    }
    let (_, meeting) = get(&harness, &format!("/meetings/{own}?format=json"), &files);
    let meeting: Value = serde_json::from_str(&meeting).expect("JSON");
    assert_eq!(meeting["is_open"], true);
    assert_eq!(
        (meeting.get("folder"), &meeting["key"]),
        (None, &own.as_str().into())
    );

    // One that is altered, or has expired.
    let mut altered = captions.clone();
    let last = if altered.ends_with('A') { "E" } else { "A" };
    altered.replace_range(altered.len() - 1.., last);
    assert_eq!(get(&harness, &format!("/live/{own}.vtt"), &altered).0, 401);
    let short = token(&link(&harness, &[own, "--for", "1s"]));
    wait_until("it expires", || {
        let (status, text) = get(&harness, &format!("/live/{own}.vtt"), &short);
        assert!(
            status == 200 || text == "this link has expired\n",
            "{status} {text}"
        );
        status == 401
    });

    // All are revoked, and what is read ends.
    let mut reading = sse(&harness, &format!("?stream={own}&after=begin"), &captions);
    assert_eq!(reading.next().expect("an event").kind(), "stream.started");
    let key_before = fs::read(&place).expect("a key");
    let revoked = harness.run(&["link", "--revoke-all"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert_ne!(fs::read(&place).expect("a key"), key_before);
    reading.rest();
    assert_eq!(get(&harness, &format!("/live/{own}.vtt"), &captions).0, 401);
    let again = token(&link(&harness, &[own]));
    assert_eq!(get(&harness, &format!("/live/{own}.vtt"), &again).0, 200);
    harness.leave();
}

#[test]
fn g3_a_link_to_a_revoked_stream_is_410_and_one_to_no_stream_is_not_made() {
    let mut harness = Harness::with_admin(&[("RTMS_ADMIN_URL", "https://ops.example.com/rtms")]);
    let meeting = harness.zoom.start_meeting(open("link-revoked"));
    wait_until_streaming(&meeting);
    let key = harness.key_of(&meeting);
    let address = link(&harness, &[&key]);
    let begin = format!("https://ops.example.com/rtms/live/{key}#s=");
    assert!(address.starts_with(&begin), "{address}");
    let token = token(&address);
    // It is good for the next server, too.
    harness.terminate();
    harness.start_server();
    wait_until("the captions", || {
        get(&harness, &format!("/live/{key}.txt"), &token).0 == 200
    });
    wait_until_more(&meeting, 5);
    let mut end = End::meeting_ended();
    end.reason = 8;
    meeting.end(end);
    wait_until_over(&meeting);
    wait_until("consent was withdrawn", || {
        get(&harness, &format!("/live/{key}.txt"), &token).0 == 410
    });
    assert_eq!(sse(&harness, &format!("?stream={key}"), &token).status, 410);
    for (arguments, code) in [
        (&["link", &key][..], 64),
        (&["link", "unknown"], 64),
        (&["link", "unknown", "--for", "8d"], 64),
        (&["link"], 64),
        (&["link", &key, "--revoke-all"], 64),
    ] {
        let ran = harness.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
    harness.leave();
}
