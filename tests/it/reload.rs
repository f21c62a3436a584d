//! SIGHUP on the real binary: every secret changes at run time, and what failed because of a wrong
//! secret is started again.

use std::fs;

use rtmsd::demo::{Credentials, Cut, Fault, MeetingScript, Options, Socket, Step};

use crate::harness::http::{ask, status};
use crate::harness::{Harness, TempDir, post_meaningless, wait_until, wait_until_step};

#[test]
fn a_secret_in_a_separate_file_is_reread_and_failed_meetings_start() {
    let secret = TempDir::new();
    let path = secret.join("client-secret");
    fs::write(&path, "wrong\n").expect("a file");
    let options = Options::default();
    let (id, right) = (options.client_id.clone(), options.client_secret.clone());
    let mut harness = Harness::start(
        options,
        &[
            ("ZOOM_API_CLIENT_ID", &id),
            ("ZOOM_API_CLIENT_SECRET_FILE", &path.display().to_string()),
        ],
    );
    let meeting = harness.zoom.start_meeting(MeetingScript::plain("fixed"));
    let refusal = harness.wait_until_logged(&["zoom refuses the client id or the client secret"]);
    assert!(refusal.contains(" ERROR "), "{refusal}");
    fs::write(&path, format!("{right}\n")).expect("a file");
    let told = harness.hup();
    assert!(told.ends_with("changed=ZOOM_API_CLIENT_SECRET"), "{told}");
    wait_until_step(&meeting, Step::FirstPhrase);
    harness.leave();
}

#[test]
fn rest_credentials_of_another_kind_take_over() {
    let options = Options::default();
    let account = options.account_id.clone();
    // None at first: the meeting waits, and then it is started.
    let mut harness = Harness::start(options, &[("ZOOM_ACCOUNT_ID", "")]);
    let meeting = harness.zoom.start_meeting(MeetingScript::plain("later"));
    wait_until("meeting.started", || !harness.zoom.deliveries().is_empty());
    let told = harness.reload(&[("access_token", "of-yesterday")]);
    assert!(told.ends_with("changed=access_token"), "{told}");
    harness.wait_until_logged(&["the configured access token is invalid or expired"]);
    harness.reload(&[("access_token", ""), ("ZOOM_ACCOUNT_ID", &account)]);
    wait_until_step(&meeting, Step::FirstPhrase);
    harness.leave();
}

#[test]
fn a_refresh_token_is_replaced_and_its_chain_starts_again() {
    let options = Options {
        credentials: Credentials::Refresh,
        ..Options::default()
    };
    let right = options.refresh_token.clone();
    let mut harness = Harness::start(options, &[("ZOOM_REFRESH_TOKEN", "of-last-year")]);
    let meeting = harness
        .zoom
        .start_meeting(MeetingScript::plain("authorized"));
    harness.wait_until_logged(&["put the new refresh token into ZOOM_REFRESH_TOKEN"]);
    let told = harness.reload(&[("ZOOM_REFRESH_TOKEN", &right)]);
    assert!(told.ends_with("changed=ZOOM_REFRESH_TOKEN"), "{told}");
    wait_until_step(&meeting, Step::FirstPhrase);
    // Nothing has changed, so the current access token stays in use.
    harness.reload(&[]);
    let calls = harness.zoom.oauth_calls().len();
    let again = harness.zoom.start_meeting(MeetingScript::plain("again"));
    wait_until_step(&again, Step::FirstPhrase);
    assert_eq!(harness.zoom.oauth_calls().len(), calls);
    // The next one is stored; the next process continues with it.
    let file = harness.state().join("refresh_token.json");
    let stored = fs::read_to_string(file).expect("a token");
    let newest = harness.zoom.refresh_token().expect("one that is good");
    assert!(stored.contains(&newest) && newest != right, "{stored}");
    harness.leave();
}

#[test]
fn a_webhook_secret_token_changes_without_a_webhook_lost() {
    let options = Options::default();
    let right = options.secret_token.clone();
    let mut harness = Harness::start(options, &[("ZOOM_SECRET_TOKEN", "the-one-before")]);
    assert!(!post_meaningless(&harness.zoom).is_accepted());
    // While it is changed at Zoom, both are accepted.
    harness.reload(&[("ZOOM_SECRET_TOKEN", &format!("the-one-before,{right}"))]);
    harness.assert_answered();
    harness.reload(&[("ZOOM_SECRET_TOKEN", "the-one-after")]);
    assert!(!post_meaningless(&harness.zoom).is_accepted());
    harness.terminate();
}

#[test]
fn a_client_secret_signs_new_streams_and_the_next_handshake_of_running_ones() {
    let options = Options::default();
    let right = options.client_secret.clone();
    let (api_id, api_secret) = (options.client_id.clone(), right.clone());
    let mut harness = Harness::start(
        options,
        &[
            ("ZOOM_CLIENT_SECRET", "of-the-other-app"),
            ("ZOOM_API_CLIENT_ID", &api_id),
            ("ZOOM_API_CLIENT_SECRET", &api_secret),
        ],
    );
    // Its signature is wrong; the log says why and what to do.
    let refused = harness.zoom.start_meeting(MeetingScript::plain("refused"));
    harness.wait_until_logged(&["stream ended", "ZOOM_CLIENT_SECRET"]);
    drop(refused);
    harness.reload(&[("ZOOM_CLIENT_SECRET", &right)]);
    let meeting = harness.zoom.start_meeting(MeetingScript::plain("good"));
    wait_until_step(&meeting, Step::FirstPhrase);
    // A faulty file changes nothing: the stream continues.
    let told = harness.reload(&[("ZOOM_CLIENT_SECRET", ""), ("RTMS_MEDIA", "smell")]);
    assert!(
        told.contains("configuration unchanged") && told.ends_with("faults=2"),
        "{told}"
    );
    // The wrong secret shows at the next handshake, so the running stream has received it.
    harness.reload(&[("ZOOM_CLIENT_SECRET", "wrong"), ("RTMS_MEDIA", "")]);
    assert!(meeting.fault(Fault::Cut(Socket::Signaling, Cut::Reset)));
    wait_until("a second refusal", || {
        harness.count_logged(&["stream ended", "SECRET"]) == 2
    });
    harness.terminate();
}

#[test]
fn the_admin_token_changes_but_not_with_the_address() {
    let options = Options::default();
    let mut harness = Harness::start(
        options,
        &[
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_ADMIN_TOKEN", "first-token"),
        ],
    );
    let admin = harness.admin();
    let code = |token: &str| {
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        status(&ask(admin, head.as_bytes()))
    };
    assert_eq!((code("first-token"), code("second-token")), (200, 401));
    harness.reload(&[("RTMS_ADMIN_TOKEN", "second-token")]);
    assert_eq!((code("first-token"), code("second-token")), (401, 200));
    // The listener keeps its address, so it keeps its token, too.
    harness.reload(&[("RTMS_ADMIN_TOKEN", ""), ("RTMS_ADMIN", "127.0.0.1:9")]);
    harness.wait_until_logged(&["applied by a restart only keys=RTMS_ADMIN"]);
    assert_eq!(code("second-token"), 200);
    assert_eq!(code(""), 401);
    harness.terminate();
}
