//! SIGHUP on the real binary: every secret changes while it runs, and what failed for want of the
//! right one is begun anew.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rtmsd::demo::{Credentials, Cut, Fault, MeetingHandle, MeetingScript, Options, Socket, Step};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Harness, PATIENCE};

impl Harness {
    /// Writes these settings over those of `rtms.conf`, and has it read. Gives the log line that
    /// ends it.
    fn reload(&mut self, changes: &[(&str, &str)]) -> String {
        let path = self.folder.path().join("rtms.conf");
        let text = fs::read_to_string(&path).expect("a configuration");
        let is_changed = |line: &&str| {
            let key = line.split('=').next().unwrap_or_default();
            changes.iter().any(|(changed, _)| *changed == key)
        };
        let mut lines: Vec<String> = (text.lines().filter(|line| !is_changed(line)))
            .map(str::to_owned)
            .collect();
        let changes = changes.iter().filter(|(_, value)| !value.is_empty());
        lines.extend(changes.map(|(key, value)| format!("{key}=\"{value}\"")));
        fs::write(&path, lines.join("\n") + "\n").expect("a file");
        self.hup()
    }

    fn hup(&mut self) -> String {
        let before = self.ends_of_reloads().len();
        self.server.signal(Signal::HUP);
        self.wait_for("an end of the reload", || {
            self.ends_of_reloads().len() > before
        });
        self.ends_of_reloads().pop().unwrap_or_default()
    }

    fn ends_of_reloads(&self) -> Vec<String> {
        let is_end = |line: &String| {
            line.contains("configuration reloaded") || line.contains("configuration unchanged")
        };
        self.server.log().into_iter().filter(is_end).collect()
    }

    #[track_caller]
    fn reaches(&self, meeting: &MeetingHandle, step: Step) {
        let is_seen = meeting.wait_for(step, PATIENCE);
        assert!(is_seen, "{step:?}: {:#?}", self.server.log());
    }
}

#[test]
fn a_secret_in_a_file_of_its_own_is_read_again_and_starts_what_failed() {
    let secret = crate::harness::Folder::new();
    let path = secret.path().join("client-secret");
    fs::write(&path, "wrong\n").expect("a file");
    let options = Options::default();
    let (id, right) = (options.client_id.clone(), options.client_secret.clone());
    let mut stage = Harness::start(
        options,
        &[
            ("ZOOM_API_CLIENT_ID", &id),
            ("ZOOM_API_CLIENT_SECRET_FILE", &path.display().to_string()),
        ],
    );
    let meeting = stage.zoom.start_meeting(MeetingScript::plain("mended"));
    let refusal = stage.logged(&["zoom refuses the client id or the client secret"]);
    assert!(refusal.contains(" ERROR "), "{refusal}");
    fs::write(&path, format!("{right}\n")).expect("a file");
    let told = stage.hup();
    assert!(told.ends_with("changed=ZOOM_API_CLIENT_SECRET"), "{told}");
    stage.reaches(&meeting, Step::FirstPhrase);
    // Before the stream is left, which Zoom has nobody to tell of then.
    assert_eq!(stage.zoom.violations(), Vec::<String>::new());
    stage.terminate();
}

#[test]
fn rest_credentials_of_another_kind_take_over() {
    let options = Options::default();
    let account = options.account_id.clone();
    // None at first: the meeting waits, and then it is started.
    let mut stage = Harness::start(options, &[("ZOOM_ACCOUNT_ID", "")]);
    let meeting = stage.zoom.start_meeting(MeetingScript::plain("later"));
    stage.wait_for("meeting.started", || !stage.zoom.deliveries().is_empty());
    let told = stage.reload(&[("access_token", "of-yesterday")]);
    assert!(told.ends_with("changed=access_token"), "{told}");
    stage.logged(&["the configured access token is invalid or expired"]);
    stage.reload(&[("access_token", ""), ("ZOOM_ACCOUNT_ID", &account)]);
    stage.reaches(&meeting, Step::FirstPhrase);
    // Before the stream is left, which Zoom has nobody to tell of then.
    assert_eq!(stage.zoom.violations(), Vec::<String>::new());
    stage.terminate();
}

#[test]
fn a_refresh_token_is_replaced_and_its_chain_begins_anew() {
    let options = Options {
        credentials: Credentials::Refresh,
        ..Options::default()
    };
    let right = options.refresh_token.clone();
    let mut stage = Harness::start(options, &[("ZOOM_REFRESH_TOKEN", "of-last-year")]);
    let meeting = stage.zoom.start_meeting(MeetingScript::plain("authorized"));
    stage.logged(&["put the new refresh token into ZOOM_REFRESH_TOKEN"]);
    let told = stage.reload(&[("ZOOM_REFRESH_TOKEN", &right)]);
    assert!(told.ends_with("changed=ZOOM_REFRESH_TOKEN"), "{told}");
    stage.reaches(&meeting, Step::FirstPhrase);
    // Nothing has changed, so the access token at hand goes on.
    stage.reload(&[]);
    let calls = stage.zoom.oauth_calls().len();
    let again = stage.zoom.start_meeting(MeetingScript::plain("again"));
    stage.reaches(&again, Step::FirstPhrase);
    assert_eq!(stage.zoom.oauth_calls().len(), calls);
    // The next one is stored; the next process goes on with it.
    let file = stage.folder.path().join("state/refresh_token.json");
    let stored = fs::read_to_string(file).expect("a token");
    let newest = stage.zoom.refresh_token().expect("one that is good");
    assert!(stored.contains(&newest) && newest != right, "{stored}");
    assert_eq!(stage.zoom.violations(), Vec::<String>::new());
    stage.terminate();
}

#[test]
fn a_webhook_secret_token_changes_without_a_webhook_lost() {
    let options = Options::default();
    let right = options.secret_token.clone();
    let mut stage = Harness::start(options, &[("ZOOM_SECRET_TOKEN", "the-one-before")]);
    let webhook = json!({"event": "meeting.participant_joined",
        "event_ts": 1_767_000_000_000_u64, "payload": {"object": {"id": 1}}});
    assert!(!stage.zoom.post_webhook(&webhook).is_accepted());
    // While it is changed at Zoom, both count.
    stage.reload(&[("ZOOM_SECRET_TOKEN", &format!("the-one-before,{right}"))]);
    assert!(stage.zoom.post_webhook(&webhook).is_accepted());
    stage.reload(&[("ZOOM_SECRET_TOKEN", "the-one-after")]);
    assert!(!stage.zoom.post_webhook(&webhook).is_accepted());
    stage.terminate();
}

#[test]
fn a_client_secret_signs_new_streams_and_the_next_handshake_of_running_ones() {
    let options = Options::default();
    let right = options.client_secret.clone();
    let (api_id, api_secret) = (options.client_id.clone(), right.clone());
    let mut stage = Harness::start(
        options,
        &[
            ("ZOOM_CLIENT_SECRET", "of-the-other-app"),
            ("ZOOM_API_CLIENT_ID", &api_id),
            ("ZOOM_API_CLIENT_SECRET", &api_secret),
        ],
    );
    // It cannot prove itself; the log says why and what to do.
    let refused = stage.zoom.start_meeting(MeetingScript::plain("refused"));
    stage.logged(&["stream ended", "ZOOM_CLIENT_SECRET"]);
    drop(refused);
    stage.reload(&[("ZOOM_CLIENT_SECRET", &right)]);
    let meeting = stage.zoom.start_meeting(MeetingScript::plain("good"));
    stage.reaches(&meeting, Step::FirstPhrase);
    // A faulty file changes nothing: the stream goes on.
    let told = stage.reload(&[("ZOOM_CLIENT_SECRET", ""), ("RTMS_MEDIA", "smell")]);
    assert!(
        told.contains("configuration unchanged") && told.ends_with("faults=2"),
        "{told}"
    );
    // What is wrong now shows at the next handshake, so the running stream was told.
    stage.reload(&[("ZOOM_CLIENT_SECRET", "wrong"), ("RTMS_MEDIA", "")]);
    assert!(meeting.fault(Fault::Cut(Socket::Signaling, Cut::Reset)));
    stage.wait_for("a second refusal", || {
        let log = stage.server.log();
        let is_refusal = |line: &&String| line.contains("stream ended") && line.contains("SECRET");
        log.iter().filter(is_refusal).count() == 2
    });
    stage.terminate();
}

#[test]
fn the_admin_token_changes_but_not_with_the_address() {
    let options = Options::default();
    let mut stage = Harness::start(
        options,
        &[
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_ADMIN_TOKEN", "first-token"),
        ],
    );
    let admin = crate::admin::admin_address(&stage.server);
    let code = |token: &str| {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head =
            format!("GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
            .split(' ')
            .nth(1)
            .map(str::to_owned)
            .unwrap_or_default()
    };
    assert_eq!(
        (code("first-token"), code("second-token")),
        ("200".into(), "401".into())
    );
    stage.reload(&[("RTMS_ADMIN_TOKEN", "second-token")]);
    assert_eq!(
        (code("first-token"), code("second-token")),
        ("401".into(), "200".into())
    );
    // The listener stays where it is, so it keeps its lock, too.
    stage.reload(&[("RTMS_ADMIN_TOKEN", ""), ("RTMS_ADMIN", "127.0.0.1:9")]);
    stage.logged(&["applied by a restart only keys=RTMS_ADMIN"]);
    assert_eq!(code("second-token"), "200");
    assert_eq!(code(""), "401");
    stage.terminate();
}
