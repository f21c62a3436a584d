//! Rotating refresh tokens during kills and restarts of the binary, and the state directory that
//! stores them.

use std::os::unix::fs::PermissionsExt;

use rtmsd::demo::{Answer, Options, Step};

use super::*;

#[test]
fn after_a_kill_the_stored_token_is_used() {
    let mut harness = Harness::builder(refreshing()).without_server();
    for seed in ["first", "second", "third"] {
        harness.start_server();
        let meeting = meet(&harness, seed);
        wait_until_step(&meeting, Step::StartedAnswered);
        harness.server.kill();
    }
    assert_eq!(oauth_statuses(&harness), [200, 200, 200]);

    let state = harness.state();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state), 0o700);
    for entry in state.read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
    }
    let stored = std::fs::read_to_string(state.join("refresh_token.json")).unwrap();
    assert!(stored.contains(&harness.zoom.refresh_token().unwrap()));
}

#[test]
fn a_kill_during_the_fetch_loses_no_token() {
    let mut harness = Harness::builder(refreshing()).without_server();
    for seed in ["first", "second"] {
        harness.zoom.script_oauth(Answer::Hang(PATIENCE));
        let before = harness.zoom.oauth_calls().len();
        harness.start_server();
        meet(&harness, seed);
        wait_until("a token request", || {
            harness.zoom.oauth_calls().len() > before
        });
        harness.server.kill();
    }
    harness.start_server();
    let meeting = meet(&harness, "third");
    wait_until_step(&meeting, Step::StartedAnswered);
    assert_eq!(harness.zoom.oauth_calls().last().unwrap().status, 200);
}

#[test]
fn a_newly_configured_token_is_used() {
    let mut old = Harness::start(refreshing(), &[]);
    let meeting = meet(&old, "old");
    wait_until_step(&meeting, Step::StartedAnswered);
    old.assert_no_violations();
    old.terminate();

    // The app was authorized again: another token, the same state directory.
    let options = Options {
        refresh_token: "demo-refresh-token-of-another-day".to_owned(),
        ..refreshing()
    };
    let mut new = Harness::builder(options)
        .settings(&[("RTMS_STATE", &old.state().display().to_string())])
        .without_server();
    for seed in ["new", "newer"] {
        new.start_server();
        let meeting = meet(&new, seed);
        wait_until_step(&meeting, Step::StartedAnswered);
        new.terminate();
    }
    assert_eq!(oauth_statuses(&new), [200, 200]);
}

#[test]
fn a_second_process_is_refused_with_a_remedy() {
    let mut harness = Harness::start(refreshing(), &[]);

    let mut second = harness.start_second_server();
    let status = second.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(69));
    let pid = harness.server.id();
    second.wait_until_logged(&[
        " ERROR ",
        "in use by another process",
        &format!("(pid {pid})"),
        "stop that one, or set another RTMS_STATE for this one",
    ]);

    // A command must not use the refresh token either, so the server makes its call.
    let ran = harness.run(&["stop", "81234567890"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.stdout.contains("code 3001"), "{ran:?}");
    let ran = harness.run(&["stop", "81234567890", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, line["error"].as_str()),
        (Some(69), Some("meeting_unknown"))
    );
    // A session needs no token, and so no state.
    let ran = harness.run(&["stop", "none", "--product", "session"]);
    assert!(ran.stdout.contains("code 3001"), "{ran:?}");
    // What the check needs the token for, the server does as well.
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout
            .contains("the running server uses it and was asked"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("\nok    api: "), "{ran:?}");
    assert!(ran.stdout.contains("\nok    clock: "), "{ran:?}");

    // The server is not affected by all this.
    let meeting = meet(&harness, "after");
    wait_until_step(&meeting, Step::StartedAnswered);
    harness.assert_no_violations();
    harness.terminate();
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_state_directory_that_others_can_read_is_refused() {
    let harness = Harness::builder(refreshing()).without_server();
    let state = harness.state();
    std::fs::create_dir_all(state.join("other")).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = harness.start_second_server();
    assert_eq!(server.wait(PATIENCE).unwrap().code(), Some(77));
    server.wait_until_logged(&[" ERROR ", "found mode 0755, expected 0700", "chmod 700"]);
}

/// The user removes the app in the Marketplace while the server runs.
#[test]
fn removing_the_app_deletes_the_token() {
    let harness = Harness::start(refreshing(), &[]);

    let meeting = meet(&harness, "first");
    wait_until_step(&meeting, Step::StartedAnswered);
    let file = harness.state().join("refresh_token.json");
    assert!(file.exists());
    harness.zoom.post_webhook(&serde_json::json!({
        "event": "app_deauthorized", "event_ts": 1_795_000_000_000_u64,
        "payload": {"user_id": "u1", "account_id": "a1"}}));
    wait_until("the token is deleted", || !file.exists());
    harness.wait_until_logged(&[" ERROR ", "a user removed the app"]);
    meet(&harness, "second");
    harness.wait_until_logged(&[
        " ERROR ",
        "put the new refresh token into ZOOM_REFRESH_TOKEN and reload",
    ]);
    assert_eq!(harness.zoom.oauth_calls().len(), 1);
    harness.leave();
}

#[test]
fn an_expired_token_is_rotated_at_run_time() {
    let harness = outlive_a_token(refreshing());
    let calls = harness.zoom.oauth_calls();
    let is_well = calls.iter().all(|call| call.status == 200);
    assert!(is_well, "{calls:?}");
    harness.leave();
}
