//! Searches all output and files of the binary for secrets, at the most detailed log level.

use std::time::Duration;

use rtmsd::demo::{Answer, Begin, Credentials, DemoProduct};

use super::*;
use crate::harness::Secrets;

/// With a password that a server finds in its environment.
const PROXY: &str = "http://me:proxy-password@127.0.0.1:1";

#[test]
fn a_whole_run_shows_no_secret() {
    for credentials in [
        Credentials::Static,
        Credentials::Account,
        Credentials::Refresh,
    ] {
        let options = Options {
            credentials,
            keep_alive: Duration::from_millis(100),
            ..Options::default()
        };
        let mut harness = Harness::builder(options)
            .settings(&[("RTMS_LOG", "trace")])
            .prelude(&format!("export HTTPS_PROXY='{PROXY}'"))
            .start();
        let mut session = MeetingScript::plain("session");
        session.product = DemoProduct::Session;
        session.begin = Begin::AtOnce;
        let meetings = [
            meet(&harness, "meeting"),
            harness.zoom.start_meeting(session),
        ];
        for meeting in &meetings {
            assert!(meeting.wait_for_phrases(2, PATIENCE));
        }
        // Faults: Zoom refuses, webhooks are forged, tokens expire.
        for (seed, answer) in [
            ("refused", Answer::error(400, 2308, "no")),
            ("broken", Answer::Reset),
            ("limited", Answer::retry_after_seconds(600)),
            ("page", Answer::Html(403)),
        ] {
            let number = MeetingScript::plain(seed).number.to_string();
            harness.zoom.script_rest(Some(&number), answer);
            meet(&harness, seed);
        }
        harness.zoom.challenge("plain");
        harness.zoom.post_raw(
            &[("x-zm-signature", "v0=00"), ("x-zm-request-timestamp", "1")],
            b"{}",
        );
        wait_until("four errors", || harness.zoom.rest_calls().len() >= 5);
        harness.zoom.revoke_everything();
        meet(&harness, "revoked");
        wait_until("the refusal", || match credentials {
            // An account's token is simply replaced.
            Credentials::Account => harness.zoom.oauth_calls().len() >= 2,
            Credentials::Static => harness.count_logged(&["put a fresh one into access_token"]) > 0,
            Credentials::Refresh | Credentials::Consent => {
                harness.count_logged(&["authorize the app again"]) > 0
            }
        });

        let secrets = Secrets::of(&harness.zoom, &[&meetings[0]]).and("proxy", "proxy-password");
        assert_eq!(meetings[0].streams().len(), 1);
        let (stdout, stderr) = (harness.stdout(), harness.server.log().join("\n"));
        assert!(!stdout.is_empty() && stderr.contains(" TRACE "), "{stderr}");
        secrets.assert_not_in("stdout", &stdout);
        secrets.assert_not_in("stderr", &stderr);
        let id = harness.server.id();
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap();
        secrets.assert_not_in("cmdline", &line);
        assert!(secrets.assert_not_below(&harness.out(), "-") >= 2);
        // Only the token file contains tokens.
        let state = harness.state();
        secrets.assert_not_below(&state, "refresh_token.json");
        harness.server.kill();
        secrets.assert_not_below(&state, "refresh_token.json");
    }
}

#[test]
fn commands_show_no_secret() {
    for credentials in [
        Credentials::Static,
        Credentials::Account,
        Credentials::Refresh,
    ] {
        let harness = Harness::builder(Options {
            credentials,
            ..Options::default()
        })
        .settings(&[("RTMS_LOG", "trace")])
        .without_server();
        let secrets = Secrets::of(&harness.zoom, &[]).and("proxy", "proxy-password");
        let meeting = MeetingScript::plain("meeting");
        let number = meeting.number.to_string();
        for (arguments, answer) in [
            (&["check"][..], None),
            (&["check", "--online"], None),
            (
                &["start", &number, "--json"],
                Some(Answer::error(401, 124, "expired")),
            ),
            (&["start", &number], Some(Answer::Reset)),
            (
                &["start", "session", "--product", "session"],
                Some(Answer::error(401, 124, "no")),
            ),
            (&["start", &number, "--json"], None),
        ] {
            if let Some(answer) = answer {
                harness.zoom.script_rest(None, answer);
            }
            let ran = harness.run_with(&[("HTTPS_PROXY", PROXY)], arguments);
            secrets.assert_not_in("stdout", &ran.stdout);
            secrets.assert_not_in("stderr", &ran.stderr);
        }
    }
}

/// Secrets on lines with various faults.
#[test]
fn faults_of_the_configuration_show_no_secret() {
    const MARK: &str = "sEcReT-of-mine";
    let folder = TempDir::new();
    let config = folder.join("rtms.conf");
    for line in [
        format!("ZOOM_CLIENT_SECRETT={MARK}"),
        format!("ZOOM_CLIENT_SECRET={MARK}\nZOOM_CLIENT_SECRET={MARK}"),
        format!("ZOOM_CLIENT_SECRET=\"{MARK}"),
        format!("ZOOM_CLIENT_SECRET: {MARK}"),
        MARK.to_owned(),
        format!("access_token=two words {MARK}"),
        format!("access_token={MARK}\u{7f}"),
        format!("ZOOM_SECRET_TOKEN=,{MARK},,{MARK}"),
        format!("ZOOM_REFRESH_TOKEN='{MARK}\nRTMS_LOG=trace"),
        format!("ZOOM_API_URL=https://me:{MARK}@api.zoom.us"),
        format!("ZOOM_OAUTH_URL=https://zoom.us/oauth/token?secret={MARK}"),
        format!("ZOOM_CLIENT_SECRET={MARK}\nZOOM_CLIENT_SECRET_FILE=/nowhere"),
        format!("ZOOM_API_CLIENT_SECRET={MARK}"),
        format!("ZOOM_VIDEO_SDK_SECRET={MARK}"),
    ] {
        let text =
            format!("{line}\nZOOM_CLIENT_ID=app\nRTMS_LOG=trace\nRTMS_ADMIN=off\nPORT=nonsense\n");
        std::fs::write(&config, text).unwrap();
        let config = config.display().to_string();
        for arguments in [
            &["serve"][..],
            &["check"],
            &["check", "--online"],
            &["start", "1"],
        ] {
            let mut arguments = arguments.to_vec();
            arguments.extend(["--config", &config]);
            let ran = run(
                &arguments,
                &[("HTTPS_PROXY", "http://me:sEcReT-of-mine@127.0.0.1:1")],
            );
            assert_eq!(ran.code, Some(78), "{line}: {ran:?}");
            assert!(!format!("{ran:?}").contains(MARK), "{line}: {ran:?}");
        }
    }
}
