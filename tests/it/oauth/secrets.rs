//! Everything that the binary says or leaves behind is searched for secrets, at the level at which
//! it says most.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use rtmsd::demo::{Answer, Begin, Credentials, DemoProduct, Options};

use super::*;

/// What must be nowhere, each with a word for it.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn of(zoom: &Zoom, meetings: &[&MeetingHandle]) -> Secrets {
        let options = zoom.options();
        let basic = format!("{}:{}", options.client_id, options.client_secret);
        let mut secrets = vec![
            ("client secret", options.client_secret.clone()),
            ("webhook token", options.secret_token.clone()),
            ("SDK webhook token", options.sdk_secret_token.clone()),
            (
                "ZCC webhook token",
                options.contact_center_secret_token.clone(),
            ),
            ("static token", options.access_token.clone()),
            ("refresh token", options.refresh_token.clone()),
            ("sdk secret", options.sdk_secret.clone()),
            // Those that the demo issues begin like this.
            ("access token", "demo-access-".to_owned()),
            ("rotated token", "demo-refresh-".to_owned()),
            ("basic", STANDARD.encode(&basic)),
            ("session token", "eyJ".to_owned()),
            ("proxy", "proxy-password".to_owned()),
        ];
        for meeting in meetings {
            let (id, streams) = (&meeting.script().id, meeting.streams());
            for stream in streams {
                let text = format!("{},{id},{stream}", options.client_id);
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(options.client_secret.as_bytes()).unwrap();
                mac.update(text.as_bytes());
                secrets.push(("signature", hex::encode(mac.finalize().into_bytes())));
            }
        }
        Secrets(secrets)
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, text: &str) {
        for (word, secret) in &self.0 {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{word} in {place}");
        }
    }

    /// Searches every file below, and says how many there were.
    #[track_caller]
    fn are_not_below(&self, folder: &Path, except: &str) -> usize {
        let mut count = 0;
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                count += self.are_not_below(&path, except);
            } else if path.is_file() && !path.ends_with(except) {
                // A running server replaces files: one may be gone since it was listed.
                let bytes = match std::fs::read(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    read => read.unwrap(),
                };
                self.are_not_in(
                    &path.display().to_string(),
                    &String::from_utf8_lossy(&bytes),
                );
                count += 1;
            }
        }
        count
    }
}

/// A server whose both outputs are files.
struct Server {
    child: Child,
    folder: std::path::PathBuf,
}

impl Server {
    fn start(stage: &Harness, folder: &str) -> Server {
        let path = stage.scratch.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        let config = path.join("rtms.conf");
        let mut settings = stage.settings(folder);
        settings.push(("RTMS_LOG".to_owned(), "trace".to_owned()));
        let lines = settings
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\"\n"));
        std::fs::write(&config, lines.collect::<String>()).unwrap();
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .env("HTTPS_PROXY", "http://me:proxy-password@127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(File::create(path.join("stdout")).unwrap())
            .stderr(File::create(path.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let server = Server {
            child,
            folder: path,
        };
        let mut address = String::new();
        until("an address", || {
            let log = server.said("stderr");
            let found = log.split_once("listening addr=");
            let found = found.and_then(|(_, rest)| rest.split_once(' '));
            address = found
                .map(|(address, _)| address.to_owned())
                .unwrap_or_default();
            !address.is_empty()
        });
        let url = format!("http://{address}/webhook");
        stage.zoom.set_webhook_target(&url).unwrap();
        server
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_whole_job_shows_no_secret() {
    for (folder, credentials) in [
        ("static", Credentials::Static),
        ("account", Credentials::Account),
        ("refresh", Credentials::Refresh),
    ] {
        let stage = Harness::new(Options {
            credentials,
            keep_alive: Duration::from_millis(100),
            ..Options::default()
        });
        let server = Server::start(&stage, folder);
        let mut session = MeetingScript::plain("session");
        session.product = DemoProduct::Session;
        session.begin = Begin::AtOnce;
        let meetings = [stage.meet("meeting"), stage.zoom.start_meeting(session)];
        for meeting in &meetings {
            assert!(
                meeting.wait_for_phrases(2, WITHIN),
                "{}",
                server.said("stderr")
            );
        }
        // Things that go wrong: Zoom refuses, strangers forge, tokens end.
        for (seed, answer) in [
            ("refused", Answer::error(400, 2308, "no")),
            ("broken", Answer::Reset),
            ("limited", Answer::retry_after_seconds(600)),
            ("page", Answer::Html(403)),
        ] {
            let number = MeetingScript::plain(seed).number.to_string();
            stage.zoom.script_rest(Some(&number), answer);
            stage.meet(seed);
        }
        stage.zoom.challenge("plain");
        stage.zoom.post_raw(
            &[("x-zm-signature", "v0=00"), ("x-zm-request-timestamp", "1")],
            b"{}",
        );
        until("four errors", || stage.zoom.rest_calls().len() >= 5);
        stage.zoom.revoke_everything();
        stage.meet("revoked");
        until("the refusal", || {
            let log = server.said("stderr");
            log.contains("put a fresh one into access_token")
                || log.contains("authorize the app again")
                // An account's token is simply replaced.
                || credentials == Credentials::Account && stage.zoom.oauth_calls().len() >= 2
        });

        let secrets = Secrets::of(&stage.zoom, &[&meetings[0]]);
        assert_eq!(meetings[0].streams().len(), 1);
        let (stdout, stderr) = (server.said("stdout"), server.said("stderr"));
        assert!(!stdout.is_empty() && stderr.contains(" TRACE "), "{stderr}");
        secrets.are_not_in("stdout", &stdout);
        secrets.are_not_in("stderr", &stderr);
        let id = server.child.id();
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap();
        secrets.are_not_in("cmdline", &line);
        assert!(secrets.are_not_below(&server.folder.join("out"), "-") >= 2);
        // Only the file that is for them has tokens.
        secrets.are_not_below(&server.folder.join("state"), "refresh_token.json");
        drop(server);
        secrets.are_not_below(
            &stage.scratch.path().join(folder).join("state"),
            "refresh_token.json",
        );
    }
}

#[test]
fn commands_show_no_secret() {
    for credentials in [
        Credentials::Static,
        Credentials::Account,
        Credentials::Refresh,
    ] {
        let stage = Harness::new(Options {
            credentials,
            ..Options::default()
        });
        let secrets = Secrets::of(&stage.zoom, &[]);
        let meeting = MeetingScript::plain("meeting");
        let number = meeting.number.to_string();
        let mut environment = stage.settings("a");
        for (key, value) in [
            ("RTMS_LOG", "trace"),
            ("HTTPS_PROXY", "http://me:proxy-password@127.0.0.1:1"),
        ] {
            environment.push((key.to_owned(), value.to_owned()));
        }
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
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
                stage.zoom.script_rest(None, answer);
            }
            let ran = run(arguments, &environment);
            secrets.are_not_in("stdout", &ran.stdout);
            secrets.are_not_in("stderr", &ran.stderr);
        }
    }
}

/// Secrets on lines that are wrong in one way or another.
#[test]
fn faults_of_the_configuration_show_no_secret() {
    const MARK: &str = "sEcReT-of-mine";
    let scratch = Scratch::new();
    let config = scratch.path().join("rtms.conf");
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
