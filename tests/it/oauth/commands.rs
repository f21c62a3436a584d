//! `rtmsd start|stop|pause|resume` and `rtmsd check --online`.

use std::net::TcpListener;

use serde_json::Value;

use rtmsd::demo::{Answer, Begin, Credentials, DemoProduct, Options, Step};

use super::*;
use crate::harness::scripted;

#[test]
fn each_product_is_started_and_stopped() {
    let harness = Harness::start(Options::default(), &[]);
    // A running server receives the streams that commands start.

    for (product, word, id) in [
        (DemoProduct::Meeting, "meeting", None),
        (DemoProduct::Webinar, "webinar", None),
        (DemoProduct::Session, "session", Some("/ses+sion==")),
        (DemoProduct::ContactCenter, "engagement", Some("eng-1")),
        (DemoProduct::Phone, "call", Some("call-1")),
    ] {
        let mut script = MeetingScript::plain(word);
        script.product = product;
        script.begin = Begin::Silent;
        if let Some(id) = id {
            script.id = id.to_owned();
        }
        let meeting = harness.zoom.start_meeting(script);
        let id = id.map_or(meeting.script().number.to_string(), str::to_owned);
        for action in ["start", "pause", "resume", "stop"] {
            let ran = harness.run_apart(&[action, &id, "--product", word]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let line = format!(
                "{action} {}",
                if word == "meeting" { "meeting" } else { "" }
            );
            assert!(ran.stdout.starts_with(line.trim()), "{ran:?}");
            assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
            if action == "start" {
                wait_until_step(&meeting, Step::Ready);
            }
        }
        wait_until_step(&meeting, Step::StoppedAnswered);
    }
    harness.leave();
}

/// Each use of a refresh token invalidates the previous one, so only the server can use it: it
/// makes the calls of the commands.
#[test]
fn with_a_refresh_token_commands_ask_the_server() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    // As systemd has it with DynamicUser=: the state directory is a link into a private folder.
    let mut harness = Harness::builder(refreshing()).without_server();
    for folder in ["private", "private/state"] {
        let path = harness.folder.join(folder);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::symlink("private/state", harness.state()).unwrap();
    harness.start_server();
    let meeting = meet(&harness, "asked");
    wait_until_step(&meeting, Step::FirstPhrase);
    let state = harness.state();
    let socket = state.join("control.sock");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&socket)), (0o700, 0o600));
    let number = meeting.script().number.to_string();
    let calls = harness.zoom.oauth_calls().len();
    for action in ["pause", "resume"] {
        let ran = harness.run(&[action, &number]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let line = format!("{action} meeting {number}: accepted by zoom\n");
        assert_eq!(ran.stdout, line);
    }
    harness
        .zoom
        .script_rest(None, Answer::error(404, 3001, "no"));
    let ran = harness.run(&["pause", "1", "--json"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(line["error"], "meeting_unknown");
    assert_eq!(line["status"], 404);
    assert_eq!(line["code"], 3001);
    // `check --online`, too.
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in [
        "ok    token: user (ZOOM_REFRESH_TOKEN), expires in ",
        " s; the running server uses it and was asked\n",
        "ok    media: meeting:read:meeting_transcript is there\n",
        " and accepts the token\n",
        "ok    clock: this machine is 0.",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let ran = harness.run(&["stop", &number]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until_step(&meeting, Step::StoppedAnswered);
    assert_eq!(harness.zoom.oauth_calls().len(), calls, "one token for all");
    // A server that does not answer keeps its token to itself.
    let aside = state.join("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let pid = harness.server.id();
    let words = format!("is in use by a server (pid {pid}) that did not answer on control.sock");
    assert!(ran.stdout.contains("warn  token: not used: "), "{ran:?}");
    assert!(ran.stdout.contains(&words), "{ran:?}");
    assert!(ran.stdout.contains("ok    clock: "), "{ran:?}");
    assert_eq!(harness.zoom.oauth_calls().len(), calls, "left alone");
    std::fs::rename(&aside, &socket).unwrap();
    harness.assert_no_violations();
    harness.terminate();
    // Without a server the command uses the stored token itself.
    assert!(!socket.exists());
    let ran = harness.run(&["pause", "1"]);
    assert!(!ran.stdout.contains("state"), "{ran:?}");
    assert!(harness.zoom.oauth_calls().len() > calls);
    // Unless the directory is of the server's user: then what is written there must be, too.
    let ours = state.metadata().unwrap().uid();
    if std::os::unix::fs::chown(&state, Some(ours + 1), None).is_ok() {
        let calls = harness.zoom.oauth_calls().len();
        let ran = harness.run(&["check", "--online"]);
        std::os::unix::fs::chown(&state, Some(ours), None).unwrap();
        let theirs = ours + 1;
        let words = format!("belongs to the user of the server (id {theirs}), which does not run");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&words), "{ran:?}");
        assert_eq!(harness.zoom.oauth_calls().len(), calls, "left alone");
    }
}

#[test]
fn a_participant_is_named_to_zoom() {
    let zoom = scripted::Scripted::start(|request| match request.path.as_str() {
        "/oauth/token" => scripted::Answer::json(200, r#"{"access_token":"t","expires_in":3600}"#),
        _ => scripted::Answer::empty(204),
    });
    let environment = [
        ("ZOOM_API_URL", zoom.url()),
        ("ZOOM_OAUTH_URL", format!("{}/oauth/token", zoom.url())),
        ("ZOOM_CLIENT_ID", "app".to_owned()),
        ("ZOOM_CLIENT_SECRET", "s".to_owned()),
        ("ZOOM_ACCOUNT_ID", "acc".to_owned()),
        ("RTMS_PARTICIPANT_USER_ID", "by-default".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    for (arguments, expected) in [
        (&["start", "812 3456 7890"][..], "by-default"),
        (
            &["pause", "81234567890", "--participant", "by-hand"],
            "by-hand",
        ),
    ] {
        let ran = run(arguments, &environment);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let body: Value = serde_json::from_str(&zoom.requests().last().unwrap().body).unwrap();
        assert_eq!(body["action"], arguments[0]);
        assert_eq!(body["settings"]["participant_user_id"], expected);
        assert_eq!(body["settings"]["client_id"], "app");
    }
}

#[test]
fn the_exit_code_shows_the_class() {
    let harness = Harness::builder(Options::default()).without_server();
    let start = |answer: Option<Answer>| {
        if let Some(answer) = answer {
            harness.zoom.script_rest(None, answer);
        }
        let ran = harness.run_apart(&["start", "81234567890", "--json"]);
        let line: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(ran.stdout.lines().count(), 1);
        assert_eq!(
            (&line["ok"], &line["id"]),
            (&Value::Bool(false), &"81234567890".into())
        );
        let word = |key: &str| line[key].as_str().unwrap().to_owned();
        assert!(
            word("message").contains("; "),
            "the remedy is missing: {line}"
        );
        (ran.code.unwrap(), word("error"), word("class"))
    };
    let no = |status, code| Some(Answer::error(status, code, "no"));
    for (answer, code, error, class) in [
        // There is no such meeting, maybe because it is too early.
        (None, 69, "meeting_unknown", "retry"),
        (no(400, 2308), 77, "not_permitted", "give_up"),
        (no(400, 2310), 77, "operation_failed", "give_up"),
        (no(400, 4711), 77, "scope", "give_up"),
        (no(500, 500), 69, "server_fault", "retry"),
        (
            Some(Answer::retry_after_seconds(9)),
            69,
            "rate_limited",
            "retry",
        ),
        (Some(Answer::Reset), 69, "connection_lost", "retry"),
        (Some(Answer::Html(403)), 69, "html_page", "retry"),
    ] {
        let expected = (code, error.to_owned(), class.to_owned());
        assert_eq!(start(answer), expected);
    }
    harness
        .zoom
        .script_oauth(Answer::error(401, 4702, "Invalid client"));
    assert_eq!(start(None).0, 78);
    harness.zoom.script_oauth(Answer::Truncated(200));
    assert_eq!(
        start(None),
        (69, "truncated".to_owned(), "retry".to_owned())
    );

    // The command line, then the configuration.
    for arguments in [
        &["start"][..],
        &["start", "81234567890", "--product", "party"],
        &["start", "a/B+c=="],
        &["start", "81234567890", "--participant"],
    ] {
        let ran = harness.run_apart(arguments);
        assert_eq!(ran.code, Some(64), "{ran:?}");
    }
    let ran = run(&["start", "81234567890"], &[]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.stderr.contains("ZOOM_ACCOUNT_ID: not given"), "{ran:?}");
}

/// Video SDK credentials are enough for a session only.
#[test]
fn a_session_needs_no_other_credentials() {
    let zoom = scripted::Scripted::start(|_| scripted::Answer::empty(204));
    let url = zoom.url();
    let environment = [
        ("ZOOM_API_URL", url.as_str()),
        ("ZOOM_CLIENT_ID", "app"),
        ("ZOOM_CLIENT_SECRET", "s"),
        ("ZOOM_VIDEO_SDK_KEY", "key"),
        ("ZOOM_VIDEO_SDK_SECRET", "sdk-secret"),
    ];
    let ran = run(&["start", "s/1", "--product", "session"], &environment);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&["start", "81234567890"], &environment);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.stdout.contains("ZOOM_ACCOUNT_ID"), "{ran:?}");
    assert_eq!(zoom.requests().len(), 1);
}

#[test]
fn check_online_shows_the_facts() {
    let harness = Harness::builder(Options::default()).without_server();
    let ran = harness.run(&["check", "--online"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in [
        "ok    token: server-to-server (ZOOM_ACCOUNT_ID), expires in ",
        "ok    scopes: meeting:update:participant_rtms_app_status:admin ",
        "ok    control: ",
        "ok    api: http://127.0.0.1:",
        "ok    clock: this machine is 0.",
        "the account has an RTMS plan with credits left",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert!(!harness.state().exists());
    harness.assert_no_violations();
}

#[test]
fn check_online_names_a_scope_that_is_missing() {
    let harness = Harness::builder(Options {
        credentials: Credentials::Refresh,
        scopes: "meeting:update:participant_rtms_app_status meeting:read:meeting_audio".to_owned(),
        ..Options::default()
    })
    .without_server();
    for _ in 0..2 {
        let ran = harness.run(&["check", "--online"]);
        assert_eq!(ran.code, Some(77), "{ran:?}");
        assert!(
            ran.stdout
                .contains("fault media: found no meeting:read:meeting_transcript")
        );
    }
    // The second command used the token that the first one stored.
    let calls = harness.zoom.oauth_calls();
    assert!(
        calls.len() == 2 && calls.iter().all(|call| call.status == 200),
        "{calls:?}"
    );
}

#[test]
fn check_online_without_a_token() {
    let harness = Harness::builder(Options::default()).without_server();
    let url = harness.zoom.api_url();
    let mut environment = vec![
        ("ZOOM_API_URL", url.as_str()),
        ("ZOOM_CLIENT_ID", "app"),
        ("ZOOM_CLIENT_SECRET", "s"),
        ("ZOOM_SECRET_TOKEN", "t"),
    ];
    let ran = run(&["check", "--online"], &environment);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains("ok    token: none configured"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("ok    api: "), "{ran:?}");
    assert!(ran.stdout.contains("ok    clock: "), "{ran:?}");

    // An expired token is reported as a fault, and the clock is checked anyway.
    environment.push(("access_token", "over"));
    let ran = run(&["check", "--online"], &environment);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(
        ran.stdout.contains("put a fresh one into access_token"),
        "{ran:?}"
    );

    environment.pop();
    environment[0].1 = "http://127.0.0.1:1";
    let ran = run(&["check", "--online"], &environment);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(
        ran.stdout
            .contains("fault api: reach the zoom api: no connection"),
        "{ran:?}"
    );
}

#[test]
fn check_alone_makes_no_call() {
    let zoom = TcpListener::bind("127.0.0.1:0").unwrap();
    zoom.set_nonblocking(true).unwrap();
    let folder = TempDir::new();
    let url = format!("http://{}", zoom.local_addr().unwrap());
    let config = folder.join("rtms.conf");
    let state = folder.join("state").display().to_string();
    let out = folder.join("out").display().to_string();
    let text = format!(
        "ZOOM_CLIENT_ID=app\nZOOM_CLIENT_SECRET=s\nZOOM_SECRET_TOKEN=t\nZOOM_REFRESH_TOKEN=r\n\
         ZOOM_API_URL={url}\nZOOM_OAUTH_URL={url}/oauth/token\nRTMS_STATE={state}\nRTMS_OUT={out}\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let ran = run(&["check", "--config", &config], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let names: Vec<_> = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["rtms.conf"]);
    let accepted = zoom.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(accepted, Err(std::io::ErrorKind::WouldBlock));
}
