//! Refresh tokens that rotate, through kills and restarts of the binary, and the state directory
//! that keeps them.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rtmsd::demo::{Answer, Credentials, Options, Step};

use super::*;

fn user() -> Options {
    Options {
        credentials: Credentials::Refresh,
        ..Options::default()
    }
}

#[test]
fn a_killed_server_goes_on_with_the_token_it_stored() {
    let stage = Harness::new(user());
    for seed in ["first", "second", "third"] {
        let mut server = stage.serve("a");
        let meeting = stage.meet(seed);
        wait_for(&meeting, Step::StartedAnswered, &server);
        server.kill();
    }
    let statuses: Vec<u16> = stage
        .zoom
        .oauth_calls()
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [200, 200, 200]);

    let state = stage.scratch.path().join("a/state");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state), 0o700);
    for entry in state.read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
    }
    let stored = std::fs::read_to_string(state.join("refresh_token.json")).unwrap();
    assert!(stored.contains(&stage.zoom.refresh_token().unwrap()));
}

#[test]
fn a_kill_during_the_fetch_costs_nothing() {
    let stage = Harness::new(user());
    for seed in ["first", "second"] {
        stage.zoom.script_oauth(Answer::Hang(WITHIN));
        let before = stage.zoom.oauth_calls().len();
        let mut server = stage.serve("a");
        stage.meet(seed);
        until("a token request", || {
            stage.zoom.oauth_calls().len() > before
        });
        server.kill();
    }
    let server = stage.serve("a");
    let meeting = stage.meet("third");
    wait_for(&meeting, Step::StartedAnswered, &server);
    assert_eq!(stage.zoom.oauth_calls().last().unwrap().status, 200);
}

#[test]
fn a_newly_configured_token_wins() {
    let old = Harness::new(user());
    let server = old.serve("a");
    let meeting = old.meet("old");
    wait_for(&meeting, Step::StartedAnswered, &server);
    old.ends_well(server);

    // The app was authorized again: another token, the same state directory.
    let new = Harness::new(Options {
        refresh_token: "demo-refresh-token-of-another-day".to_owned(),
        ..user()
    });
    let mut command = new.command("a");
    let state = old.scratch.path().join("a/state").display().to_string();
    for (_, value) in command
        .settings
        .iter_mut()
        .filter(|(key, _)| key == "RTMS_STATE")
    {
        value.clone_from(&state);
    }
    for seed in ["new", "newer"] {
        let mut server = command.start().unwrap();
        new.follow(&server);
        let meeting = new.meet(seed);
        wait_for(&meeting, Step::StartedAnswered, &server);
        assert_eq!(server.terminate(WITHIN).and_then(|s| s.code()), Some(0));
    }
    let statuses: Vec<u16> = new
        .zoom
        .oauth_calls()
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [200, 200]);
}

#[test]
fn a_second_process_is_refused_and_told_what_to_do() {
    let stage = Harness::new(user());
    let server = stage.serve("a");
    let mut second = stage.command("a").start().unwrap();
    let status = second.wait(WITHIN).unwrap();
    assert_eq!(status.code(), Some(69));
    let pid = server.id();
    logged(
        &second,
        &[
            " ERROR ",
            "in use by another process",
            &format!("(pid {pid})"),
            "stop that one, or give this one an RTMS_STATE of its own",
        ],
    );

    // A command must not have the refresh token either, so the server makes its call.
    let ran = stage.run("a", &["stop", "81234567890"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.stdout.contains("code 3001"), "{ran:?}");
    let ran = stage.run("a", &["stop", "81234567890", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, line["error"].as_str()),
        (Some(69), Some("meeting_unknown"))
    );
    // A session needs no token, and so no state.
    let ran = stage.run("a", &["stop", "none", "--product", "session"]);
    assert!(ran.stdout.contains("code 3001"), "{ran:?}");
    // What does not need the token is told all the same.
    let ran = stage.run("a", &["check", "--online"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(
        ran.stdout.contains("fault token: open state directory"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("\nok    api: "), "{ran:?}");
    assert!(ran.stdout.contains("\nok    clock: "), "{ran:?}");

    // The server has lost nothing by all this.
    let meeting = stage.meet("after");
    wait_for(&meeting, Step::StartedAnswered, &server);
    stage.ends_well(server);
    let ran = stage.run("a", &["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_state_directory_that_others_can_read_is_refused() {
    let stage = Harness::new(user());
    let state = stage.scratch.path().join("a/state");
    std::fs::create_dir_all(state.join("other")).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = stage.command("a").start().unwrap();
    assert_eq!(server.wait(WITHIN).unwrap().code(), Some(77));
    logged(
        &server,
        &[" ERROR ", "found mode 0755, expected 0700", "chmod 700"],
    );
}

/// The user removes the app in the Marketplace while the server runs.
#[test]
fn a_removed_app_leaves_no_token_behind() {
    let stage = Harness::new(user());
    let server = stage.serve("a");
    let meeting = stage.meet("first");
    wait_for(&meeting, Step::StartedAnswered, &server);
    let file = stage.scratch.path().join("a/state/refresh_token.json");
    assert!(file.exists());
    stage.zoom.post_webhook(&serde_json::json!({
        "event": "app_deauthorized", "event_ts": 1_795_000_000_000_u64,
        "payload": {"user_id": "u1", "account_id": "a1"}}));
    until("the token is deleted", || !file.exists());
    logged(&server, &[" ERROR ", "a user removed the app"]);
    stage.meet("second");
    logged(
        &server,
        &[
            " ERROR ",
            "put the new refresh token into ZOOM_REFRESH_TOKEN and reload",
        ],
    );
    assert_eq!(stage.zoom.oauth_calls().len(), 1);
    stage.ends_well(server);
}

#[test]
fn a_token_that_ends_is_rotated_in_mid_run() {
    const LIFETIME: Duration = Duration::from_secs(2);
    let stage = Harness::new(Options {
        token_lifetime: LIFETIME,
        ..user()
    });
    let server = stage.serve("a");
    // Starts without streams: those are not what this is about.
    let start = |seed: &str| {
        let meeting = stage.zoom.start_meeting(MeetingScript {
            start_delay: WITHIN,
            ..MeetingScript::plain(seed)
        });
        wait_for(&meeting, Step::StartCalled, &server);
    };
    start("first");
    let first = stage.zoom.oauth_calls();
    until("the end of the last token", || {
        first.last().unwrap().at.elapsed() > LIFETIME
    });
    start("second");
    let calls = stage.zoom.oauth_calls();
    assert!(calls.len() > first.len(), "{calls:?}");
    let is_well = calls.iter().all(|call| call.status == 200);
    assert!(is_well, "{calls:?}\n{:?}", server.log());
    stage.ends_well(server);
}
