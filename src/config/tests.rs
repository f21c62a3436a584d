//! Tests of whole configurations: from a file, an environment and secret files to a [`Config`] or
//! its faults.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::admin::ListenAddress;
#[cfg(feature = "fleet")]
use crate::daemon::OnExit;
use crate::domain::app::RestCredentials;
#[cfg(feature = "fleet")]
use crate::domain::fleet::{FleetSettings, StoreAddress};
use crate::gate::TlsFiles;
use crate::protocol::events::EventSelection;
use crate::protocol::params::{AudioCodec, MediaKind, SampleRate, VideoCodec};
use crate::protocol::server_url::AllowedHosts;
use crate::recorder::TranscriptFormats;

const MINIMAL: &str = "ZOOM_CLIENT_ID=id\nZOOM_CLIENT_SECRET=hunter2\nZOOM_SECRET_TOKEN=token\n\
                       RTMS_AUTO_START=off\n";

fn tcp(text: &str) -> ListenAddress {
    ListenAddress::Tcp(text.parse().expect("an address"))
}

/// The sources of a test.
#[derive(Default)]
struct World {
    needs: Option<Needs>,
    mode: Option<u32>,
    environment: Vec<(&'static str, &'static str)>,
    files: HashMap<PathBuf, &'static [u8]>,
}

impl World {
    fn with(environment: &[(&'static str, &'static str)]) -> World {
        World {
            environment: environment.to_vec(),
            ..World::default()
        }
    }

    fn file(mut self, path: &str, bytes: &'static [u8]) -> World {
        self.files.insert(PathBuf::from(path), bytes);
        self
    }

    /// The names of the files in a folder.
    fn listed(&self, folder: &Path) -> io::Result<Vec<String>> {
        let files = self
            .files
            .keys()
            .filter(|path| path.parent() == Some(folder));
        let names = files.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        match names.collect::<Vec<String>>() {
            names if names.is_empty() => Err(io::Error::from(io::ErrorKind::NotFound)),
            names => Ok(names),
        }
    }

    fn load(&self, file: impl AsRef<[u8]>) -> Result<Loaded, Vec<String>> {
        let read = |path: &Path| match self.files.get(path) {
            Some(bytes) => Ok(FileContent {
                bytes: bytes.to_vec(),
                mode: None,
            }),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let list = |folder: &Path| self.listed(folder);
        let content = FileContent {
            bytes: file.as_ref().to_vec(),
            mode: self.mode,
        };
        let environment = self.environment.iter();
        let sources = Sources {
            needs: self.needs.unwrap_or(Needs::Serve),
            file: Some(("rtms.conf".to_owned(), content)),
            environment: environment
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            host_name: "vm1.example.com".to_owned(),
            read: &read,
            list: &list,
        };
        load(&sources).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    fn config(&self, file: &str) -> Config {
        self.load(file).expect("a right configuration").config
    }

    /// Checks the exact list of faults.
    fn faults(&self, file: impl AsRef<[u8]>, expected: &[&str]) {
        let found = self
            .load(file)
            .map(|loaded| loaded.config)
            .expect_err("faults");
        assert_eq!(found, expected);
    }

    /// Checks the exact list of warnings.
    fn warnings(&self, file: &str, expected: &[&str]) {
        let warnings = self.load(file).expect("a right configuration").warnings;
        let found: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}

/// Checks the faults of some lines, added to a valid configuration. The lines are counted from 5.
fn faults(lines: &str, expected: &[&str]) {
    World::default().faults(format!("{MINIMAL}{lines}"), expected);
}

fn config(lines: &str) -> Config {
    World::default().config(&format!("{MINIMAL}{lines}"))
}

/// The result of the minimal configuration.
fn minimal() -> Config {
    let mut minimal = Config::default();
    minimal.daemon.auto_start = false;
    let app = &mut minimal.daemon.apps[0];
    app.credentials.id = "id".to_owned();
    app.credentials.secret = Secret::new("hunter2");
    app.secret_tokens = vec![Secret::new("token")];
    minimal
}

fn client_secret(config: &Config) -> &Secret {
    &config.app().credentials.secret
}

#[test]
fn the_example_is_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rtms.conf.example");
    if std::env::var_os("RTMSD_WRITE_EXAMPLE").is_some() {
        std::fs::write(&path, conf()).expect("the source tree is writable");
    }
    let file = std::fs::read_to_string(&path).expect("the example is part of the source");
    assert!(
        file == conf(),
        "rtms.conf.example differs; run with RTMSD_WRITE_EXAMPLE=1"
    );
    assert!(file.lines().all(|line| line.len() <= 100));
}

#[test]
fn a_question_to_the_server_needs_no_secrets() {
    let world = World {
        needs: Some(Needs::Admin),
        ..World::default()
    };
    let config = world.config("ZOOM_VIDEO_SDK_KEY=key\nRTMS_ADMIN=127.0.0.1:9\n");
    assert_eq!(config.admin.listen, [tcp("127.0.0.1:9")]);
}

#[test]
fn every_default_of_the_example_is_the_default() {
    let example = conf();
    assert!(example.contains("\nRTMS_STOP_AFTER=10\n"));
    let admin = World {
        needs: Some(Needs::Admin),
        ..World::default()
    };
    let mut all = String::new();
    for key in keys::KEYS {
        let line = format!("#{}={}", key.name, key.default());
        if key.example.is_none() {
            assert!(example.lines().any(|found| found == line), "{line}");
        }
        let line = line.trim_start_matches('#');
        all.push_str(line);
        all.push('\n');
        assert_eq!(admin.config(line), Config::default(), "{line}");
    }
    assert_eq!(admin.config(&all), Config::default());
}

#[test]
fn a_quickstart_env_and_what_it_lacks() {
    let env = "ZOOM_CLIENT_ID=abc\nZOOM_CLIENT_SECRET=def\nPORT=3000\naccess_token=\"eyJ.a.b\"\n";
    World::default().faults(
        env,
        &[
            "rtms.conf: ZOOM_SECRET_TOKEN: not given, expected the app's webhook secret token (a \
         quickstart's .env has none: copy it from the app's page in the Zoom Marketplace, \
         Features, Access), or RTMS_VERIFY_WEBHOOKS=off for a trial",
        ],
    );
    let config = World::default().config(&format!("{env}ZOOM_SECRET_TOKEN=a, b\n"));
    let app = config.app();
    assert_eq!(app.secret_tokens, [Secret::new("a"), Secret::new("b")]);
    let token = Secret::new("eyJ.a.b");
    assert_eq!(app.rest.credentials, RestCredentials::Static { token });
    assert_eq!(app.credentials.id, "abc");
    let config = World::default().config(&format!("{env}RTMS_VERIFY_WEBHOOKS=off\n"));
    assert!(!config.daemon.webhooks.webhook.verify);
    assert!(config.app().secret_tokens.is_empty());
}

#[test]
fn an_empty_configuration() {
    let secret_token = "rtms.conf: ZOOM_SECRET_TOKEN: not given, expected the app's webhook secret \
        token (a quickstart's .env has none: copy it from the app's page in the Zoom Marketplace, \
        Features, Access), or RTMS_VERIFY_WEBHOOKS=off for a trial";
    let id = "rtms.conf: ZOOM_CLIENT_ID: not given, expected the client id of the app that \
              receives the streams";
    let secret = "rtms.conf: ZOOM_CLIENT_SECRET: not given, expected that app's client secret";
    World::default().faults("", &[id, secret, secret_token]);
    let rest = World {
        needs: Some(Needs::Rest),
        ..World::default()
    };
    rest.faults(
        "",
        &[
            id,
            secret,
            "rtms.conf: ZOOM_ACCOUNT_ID: not given, expected this, ZOOM_REFRESH_TOKEN, ZOOM_REDIRECT_URL or \
         access_token: a REST call needs one of them",
        ],
    );
    rest.config("ZOOM_CLIENT_ID=id\naccess_token=x");
    let config = rest.config(
        "ZOOM_CLIENT_ID=id\nZOOM_ACCOUNT_ID=a\nZOOM_API_CLIENT_ID=b\nZOOM_API_CLIENT_SECRET=c",
    );
    let expected = RestCredentials::ServerToServer {
        account_id: "a".to_owned(),
        client_id: "b".to_owned(),
        client_secret: Secret::new("c"),
    };
    assert_eq!(config.app().rest.credentials, expected);
    let admin = World {
        needs: Some(Needs::Admin),
        ..World::default()
    };
    assert_eq!(admin.config(""), Config::default());
}

#[test]
fn all_faults_at_once() {
    faults(
        "PORT=http\nRTMS_STOP_AFTER=1h\nRTMS_STOPAFTER=10\nZOOM_NOTHING_LIKE_IT=1\nFOREIGN=\0\n\
         RTMS_MEDIA=sound\nhunter2\nPORT=1\nRTMS_TRANSCRIPT=pdf\nRTMS_LOG=loud\nRTMS_OUT=a\0b\n",
        &[
            "rtms.conf:11: found a line without \"=\", expected KEY=VALUE",
            "rtms.conf:7: RTMS_STOPAFTER: found an unknown key, expected one of those in \
             \"rtmsd print conf\"; did you mean RTMS_STOP_AFTER?",
            "rtms.conf:8: ZOOM_NOTHING_LIKE_IT: found an unknown key, expected one of those in \
             \"rtmsd print conf\"",
            "rtms.conf:12: PORT: found again, expected once; it stands in rtms.conf:5",
            "rtms.conf:5: PORT: found \"http\", expected a port from 0 to 65535 (0: any free one), or off",
            "rtms.conf:6: RTMS_STOP_AFTER: found \"1h\", expected seconds from 0 to 604800; write \
             3600",
            "rtms.conf:10: RTMS_MEDIA: found \"sound\", expected any of \
             transcript,audio,video,share,chat, or all",
            "rtms.conf:15: RTMS_OUT: found \"a\\0b\", expected text in UTF-8 without control \
             characters",
            "rtms.conf:13: RTMS_TRANSCRIPT: found \"pdf\", expected any of jsonl,txt,vtt,srt, or \
             off",
            "rtms.conf:14: RTMS_LOG: found \"loud\", expected off, error, warn, info, debug or \
             trace",
        ],
    );
}

#[test]
fn invalid_values() {
    faults(
        "RTMS_CA_FILE='a\nb'",
        &[
            "rtms.conf:5: RTMS_CA_FILE: found \"a\\nb\", expected text in UTF-8 without control \
         characters",
        ],
    );
    faults(
        "RTMS_OUT=/srv\\\n",
        &[
            "rtms.conf:5: RTMS_OUT: found \"/srv\\\\\", expected a value on one line; put it in \
         single quotes if it ends in a backslash",
        ],
    );
    faults(
        &format!("HOST={}", "x".repeat(1000)),
        &[&format!(
            "rtms.conf:5: HOST: found \"{}…\", expected an address of this machine, as in 127.0.0.1, \
         0.0.0.0 or ::",
            "x".repeat(60)
        )],
    );
    let broken = [MINIMAL.as_bytes(), b"RTMS_OUT=caf\xe9\n"].concat();
    World::default().faults(
        broken,
        &[
            "rtms.conf:5: RTMS_OUT: found \"caf\u{fffd}\", expected text in UTF-8 without control \
         characters",
        ],
    );
    World {
        needs: Some(Needs::Admin),
        ..World::default()
    }
    .faults(
        vec![0; file_format::FILE_BYTES_MAX + 1],
        &["rtms.conf: found 262145 bytes, expected at most 262144"],
    );
    faults(
        "ZOOM_API_URL=http://api.zoom.us",
        &[
            "rtms.conf:5: ZOOM_API_URL: found \"http://api.zoom.us\", expected \
         https://host[:port][/path] (http:// to a loopback address only)",
        ],
    );
}

#[test]
fn a_secret_is_in_no_fault() {
    faults(
        "access_token='hunter2 with space'",
        &[
            "rtms.conf:5: access_token: found 18 characters, not shown, expected at most 8192 \
         letters, digits and signs without spaces",
        ],
    );
    let loaded = World::default()
        .load(MINIMAL)
        .expect("a right configuration");
    let text = format!("{loaded:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn keys_that_need_each_other() {
    faults(
        "RTMS_TLS_CERT=/c.pem\nZOOM_VIDEO_SDK_SECRET=x\nZOOM_API_CLIENT_ID=y",
        &[
            "rtms.conf:5: RTMS_TLS_KEY: not given, expected beside RTMS_TLS_CERT",
            "rtms.conf:6: ZOOM_VIDEO_SDK_KEY: not given, expected beside ZOOM_VIDEO_SDK_SECRET",
            "rtms.conf:7: ZOOM_API_CLIENT_SECRET: not given, expected beside ZOOM_API_CLIENT_ID",
        ],
    );
    faults(
        "RTMS_ADMIN=0.0.0.0:9464",
        &[
            "rtms.conf:5: RTMS_ADMIN_TOKEN: not given, expected a token, as RTMS_ADMIN is not a \
         loopback address",
        ],
    );
    let open = config("RTMS_ADMIN=[::]:9464\nRTMS_ADMIN_TOKEN=t");
    assert_eq!(open.admin.token, Some(Secret::new("t")));
    assert_eq!(config("RTMS_ADMIN=off").admin.listen, []);
    assert_eq!(
        config("RTMS_ADMIN=localhost:0").admin.listen,
        [tcp("127.0.0.1:0")]
    );
    let list = "RTMS_ADMIN=\"127.0.0.1:9464, [::1]:9464,unix:/run/rtmsd/admin.sock\"";
    let unix = ListenAddress::Unix("/run/rtmsd/admin.sock".into());
    assert_eq!(
        config(list).admin.listen,
        [tcp("127.0.0.1:9464"), tcp("[::1]:9464"), unix]
    );
    let url = config("RTMS_ADMIN_URL=https://ops.example.com/rtms/")
        .admin
        .url;
    assert_eq!(
        url.map(|url| url.to_string()).as_deref(),
        Some("https://ops.example.com/rtms")
    );
}

#[test]
fn media_parameters_are_checked_against_the_matrix() {
    faults(
        "RTMS_AUDIO_CODEC=opus\nRTMS_AUDIO_SAMPLE_RATE=16k\nRTMS_VIDEO_CODEC=jpg\n\
            RTMS_VIDEO_FPS=30\nRTMS_SHARE_CODEC=flash",
        &[
            "rtms.conf:9: RTMS_SHARE_CODEC: found \"flash\", expected jpg, png or h264",
            "rtms.conf:6: RTMS_AUDIO_SAMPLE_RATE: found 16000, expected 48000 with codec opus",
            "rtms.conf:8: RTMS_VIDEO_FPS: found 30, expected 1 to 5 with codec jpg",
        ],
    );
    let config = config(
        "RTMS_MEDIA=audio,video,share,transcript\nRTMS_AUDIO_CODEC=OPUS\n\
                         RTMS_VIDEO_FPS=30\nRTMS_SHARE_CODEC=h264\nRTMS_TRANSCRIPT_LANGUAGE=de,pin",
    );
    assert_eq!(config.daemon.params.audio.codec, AudioCodec::Opus);
    assert_eq!(config.daemon.params.audio.sample_rate, SampleRate::Hz48000);
    assert_eq!(config.daemon.params.video.codec, VideoCodec::H264);
    assert_eq!(config.daemon.params.share.fps, 10);
    assert_eq!(
        config
            .daemon
            .params
            .to_json(MediaKind::Transcript)
            .as_deref(),
        Some(r#"{"transcript":{"content_type":5,"src_language":14,"enable_lid":false}}"#)
    );
}

#[test]
fn the_environment_overrides() {
    let world = World::with(&[
        ("PORT", "0"),
        ("ZOOM_CLIENT_SECRET", "better"),
        ("RTMS_LOG", ""),
        ("RTMS_NEW", "1"),
        ("PATH", "/bin"),
    ]);
    let file = format!("{MINIMAL}PORT=4000\nRTMS_LOG=debug\nZOOM_CLIENT_ID_FILE=\n");
    world.faults(
        file,
        &[
            "rtms.conf:7: ZOOM_CLIENT_ID_FILE: found an unknown key, expected one of those in \
         \"rtmsd print conf\"",
        ],
    );
    let file = format!("{MINIMAL}PORT=4000\nRTMS_LOG=debug\n");
    let config = world.config(&file);
    assert_eq!(config.port, Some(0));
    assert_eq!(client_secret(&config), &Secret::new("better"));
    assert_eq!(config.log.level, ::log::LevelFilter::Debug);
    world.warnings(
        &file,
        &[
            "environment: RTMS_NEW: found an unknown key, expected one of those in \
         \"rtmsd print conf\"",
        ],
    );
    World::with(&[("PORT", "x")]).faults(
        MINIMAL,
        &["environment: PORT: found \"x\", expected a port from 0 to 65535 (0: any free one), or off"],
    );
}

#[test]
fn systemd_gives_directories() {
    fn out(config: &Config) -> &Path {
        &config.daemon.disk.as_ref().expect("files").root
    }
    let world = World::with(&[("STATE_DIRECTORY", "/var/lib/rtmsd:/var/lib/other")]);
    let config = world.config(MINIMAL);
    assert_eq!(out(&config), Path::new("/var/lib/rtmsd/meetings"));
    assert_eq!(
        config.daemon.state.as_deref(),
        Some(Path::new("/var/lib/rtmsd"))
    );
    let config = world.config(&format!("{MINIMAL}RTMS_OUT=/srv/meetings"));
    assert_eq!(out(&config), Path::new("/srv/meetings"));
}

#[test]
fn secrets_from_files_of_their_own() {
    let file = "ZOOM_CLIENT_ID=id\nZOOM_SECRET_TOKEN=t\nRTMS_AUTO_START=off\n";
    let credentials = ("CREDENTIALS_DIRECTORY", "/run/c");
    let world = World::with(&[credentials]).file("/run/c/ZOOM_CLIENT_SECRET", b"from systemd\n");
    world.faults(file, &[
        "credentials: ZOOM_CLIENT_SECRET: found 12 characters, not shown, expected at most 8192 \
         letters, digits and signs without spaces",
    ]);
    let world = World::with(&[credentials])
        .file("/run/c/ZOOM_CLIENT_SECRET", b"systemd\n")
        .file("/s", b"named\n");
    assert_eq!(client_secret(&world.config(file)), &Secret::new("systemd"));
    world.faults(format!("{file}ZOOM_CLIENT_SECRET=x"), &[
        "rtms.conf:4: ZOOM_CLIENT_SECRET: found here and in $CREDENTIALS_DIRECTORY, expected one \
         of the two",
    ]);
    // An empty credential of the unit does not hide a secret from another source.
    let world = World::with(&[credentials]).file("/run/c/ZOOM_CLIENT_SECRET", b"\n");
    let config = world.config(&format!("{file}ZOOM_CLIENT_SECRET=x"));
    assert_eq!(client_secret(&config), &Secret::new("x"));
    let world = World::default()
        .file("/s", b"named\n")
        .file("/empty", b" \n");
    let config = world.config(&format!("{file}ZOOM_CLIENT_SECRET_FILE=/s"));
    assert_eq!(client_secret(&config), &Secret::new("named"));
    world.faults(format!("{file}ZOOM_CLIENT_SECRET_FILE=/s\nZOOM_CLIENT_SECRET=x"), &[
        "rtms.conf:4: ZOOM_CLIENT_SECRET_FILE: found beside ZOOM_CLIENT_SECRET, expected one of \
         the two",
    ]);
    world.faults(
        format!("{file}ZOOM_CLIENT_SECRET_FILE=/empty"),
        &["rtms.conf:4: ZOOM_CLIENT_SECRET_FILE: found an empty file, expected the secret"],
    );
    world.faults(format!("{file}ZOOM_CLIENT_SECRET_FILE=/nowhere"), &[
        "rtms.conf:4: ZOOM_CLIENT_SECRET_FILE: found \"/nowhere\", which cannot be read: entity \
         not found",
    ]);
    let world = World::with(&[("ZOOM_CLIENT_SECRET_FILE", "/s")]).file("/s", b"named\n");
    let config = world.config(&format!("{file}ZOOM_CLIENT_SECRET=x"));
    assert_eq!(client_secret(&config), &Secret::new("named"));
    faults(
        "access_token=a\nZOOM_ACCESS_TOKEN=b",
        &["rtms.conf:6: ZOOM_ACCESS_TOKEN: found beside access_token, expected one of the two"],
    );
}

#[test]
fn warnings_about_unusual_settings() {
    let check = |lines: &str, expected: &[&str]| {
        World::default().warnings(&format!("{MINIMAL}{lines}"), expected);
    };
    check("", &[]);
    check(
        "RTMS_STOP_AFTER=10\nRTMS_AUDIO_CODEC=opus\nRTMS_VIDEO_PARTICIPANT=Ada\n",
        &[
            "rtms.conf:5: RTMS_STOP_AFTER: no REST credentials: no stream is started here, so none \
         is stopped either",
            "rtms.conf:7: RTMS_VIDEO_PARTICIPANT: not used without RTMS_VIDEO=individual",
            "rtms.conf:6: RTMS_AUDIO_CODEC: not used, as RTMS_MEDIA does not name audio",
            "rtms.conf:7: RTMS_VIDEO_PARTICIPANT: not used, as RTMS_MEDIA does not name video",
        ],
    );
    check(
        "access_token=a\nZOOM_ACCOUNT_ID=b\nRTMS_VERIFY_WEBHOOKS=off\n",
        &[
            "rtms.conf:7: RTMS_VERIFY_WEBHOOKS: webhooks are not verified: anyone who reaches the port \
         can start and stop streams",
            "rtms.conf:6: ZOOM_ACCOUNT_ID: not used, as access_token is given too",
        ],
    );
    let world = |mode| World {
        mode: Some(mode),
        ..World::default()
    };
    world(0o100_640).warnings(MINIMAL, &[]);
    world(0o100_644).warnings(
        MINIMAL,
        &["rtms.conf: everyone on this machine may read the secrets in it; chmod o-r rtms.conf"],
    );
    world(0o100_646).warnings(
        MINIMAL,
        &["rtms.conf: everyone on this machine may change it; chmod o-w rtms.conf"],
    );
    let automatic = MINIMAL.replace("RTMS_AUTO_START=off", "");
    World::default().warnings(
        &automatic,
        &[
            "rtms.conf: RTMS_AUTO_START: no REST credentials: only streams that Zoom starts by \
         itself are received; give ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN or access_token, or write \
         RTMS_AUTO_START=off",
        ],
    );
}

#[test]
fn valid_values() {
    let found = config(
        "HOST=[::1]\nRTMS_STOP_AFTER=10\nRTMS_WEBHOOK_MAX_AGE=60\n\
                        RTMS_TRANSCRIPT=txt,srt\nRTMS_STDOUT=JSONL\nRTMS_EVENTS=off\n\
                        RTMS_TLS_CERT=/c\nRTMS_TLS_KEY='/k y'\nRTMS_ALLOWED_HOSTS=ws://127.0.0.1\n\
                        ZOOM_API_URL=http://127.0.0.1:4000/\nRTMS_BUFFER_DATA=no\n",
    );
    let mut expected = minimal();
    expected.host = "::1".parse().expect("an address");
    let settings = &mut expected.daemon;
    settings.stop_after = Some(Duration::from_secs(10));
    settings.webhooks.webhook.max_age = Duration::from_secs(60);
    settings.webhooks.tls = Some(TlsFiles {
        cert: "/c".into(),
        key: "/k y".into(),
    });
    settings.disk = Some(RecorderSettings {
        formats: TranscriptFormats {
            jsonl: false,
            txt: true,
            vtt: false,
            srt: true,
        },
        ..RecorderSettings::default()
    });
    settings.stdout = Some(StdoutFormat::Jsonl);
    settings.events = EventSelection::from_text("off").expect("a word");
    settings.allowed_hosts = AllowedHosts::parse("ws://127.0.0.1").expect("a host");
    settings.apps[0].rest.api_url = "http://127.0.0.1:4000".to_owned();
    settings.buffer_data = false;
    assert_eq!(found, expected);
}

#[test]
fn noise_is_refused_or_ignored_without_a_panic() {
    // A linear congruential generator (the constants of Knuth's MMIX): the same noise every time.
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).expect("24 bits")
    };
    let alphabet: &[&[u8]] = &[
        b"RTMS_MEDIA",
        b"ZOOM_CLIENT_SECRET_FILE",
        b"export ",
        b"=",
        b"=",
        b"\n",
        b"\n",
        b"\r\n",
        b"'",
        b"\"",
        b"\\",
        b"#",
        b" ",
        b"\0",
        b"\xff",
        "ä".as_bytes(),
        b"all,",
        b"-1",
        b"9e9",
    ];
    for _ in 0..3000 {
        let parts = next() % 40;
        let file: Vec<u8> = (0..parts)
            .flat_map(|_| alphabet[next() % alphabet.len()].iter().copied())
            .collect();
        let _ = World::default().load(file);
    }
}

#[test]
fn changed_keys_are_named_without_values() {
    let file = |token: &str, more: &str| {
        format!("ZOOM_CLIENT_ID=a\nZOOM_CLIENT_SECRET=b\nZOOM_SECRET_TOKEN={token}\n{more}")
    };
    let load = |text: String| World::default().load(text).expect("no faults");
    let earlier = load(file("hunter1", "RTMS_LOG=info\nRTMS_STOP_AFTER=5\n"));
    let later = load(file("hunter2", "RTMS_LOG=info\nPORT=1\n"));
    assert_eq!(
        later.changed_since(&earlier),
        ["ZOOM_SECRET_TOKEN", "PORT", "RTMS_STOP_AFTER"]
    );
    assert!(later.changed_since(&later).is_empty());
    assert!(!format!("{later:?}").contains("hunter"));
}

#[test]
fn who_asks_the_server_needs_none_of_its_secrets() {
    let world = |needs| World {
        needs: Some(needs),
        ..World::default()
    };
    let file =
        "ZOOM_CLIENT_ID=a\nZOOM_API_CLIENT_ID=b\nZOOM_VIDEO_SDK_KEY=c\nRTMS_ADMIN=127.0.0.1:1\n";
    assert!(world(Needs::Serve).load(file).is_err());
    let loaded = world(Needs::Admin).load(file).expect("no faults");
    assert_eq!(loaded.config.admin.listen, [tcp("127.0.0.1:1")]);
}

#[test]
fn endpoints_of_http_push() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let file = format!(
        "{MINIMAL}RTMS_PUSH_URL=https://hooks.example.com/x?token=hunter2\nRTMS_PUSH_SECRET={SECRET}, {SECRET}\n\
         RTMS_PUSH_CRM_URL=http://127.0.0.1:5678/y\nRTMS_PUSH_CRM_SECRET={SECRET}\nRTMS_PUSH_CRM_BATCH=100\n\
         RTMS_PUSH_CRM_LINGER=500\nRTMS_PUSH_CRM_EVENTS=transcript.*\nRTMS_PUSH_CRM_FORMAT=cloudevents\n\
         RTMS_PUSH_CRM_AUTHORIZATION=Bearer hunter2\nRTMS_PUSH_CRM_GIVE_UP=60\nRTMS_PUSH_CRM_CONNECTIONS=2\n"
    );
    let config = World::default().config(&file);
    let [first, crm] = config.daemon.push.as_slice() else {
        panic!("{:?}", config.daemon.push);
    };
    assert_eq!(
        (first.name.as_str(), first.batch, first.secrets.len()),
        ("default", 1, 2)
    );
    assert_eq!(
        (crm.name.as_str(), crm.batch, crm.connections),
        ("crm", 100, 2)
    );
    assert!(crm.events.wants("transcript.phrase") && !crm.events.wants("chat.message"));
    assert_eq!(crm.give_up, Some(std::time::Duration::from_secs(60)));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(World::default().config(MINIMAL).daemon.push.is_empty());

    for (lines, expected) in [
        (
            "RTMS_PUSH_URL=https://a.test/",
            "rtms.conf:5: RTMS_PUSH_SECRET: not given, expected beside RTMS_PUSH_URL",
        ),
        (
            "RTMS_PUSH_CRM_URL=https://a.test/",
            "rtms.conf:5: RTMS_PUSH_CRM_SECRET: not given, expected beside RTMS_PUSH_CRM_URL",
        ),
        (
            "RTMS_PUSH_CRM_SECRET=hunter2hunter2",
            "rtms.conf:5: RTMS_PUSH_CRM_SECRET: found 14 characters, not shown, expected whsec_ followed \
             by base64 of 24 to 64 random bytes; \"rtmsd push secret\" prints one",
        ),
        (
            "RTMS_PUSH_CRM_EVNTS=all",
            "rtms.conf:5: RTMS_PUSH_CRM_EVNTS: found an unknown key, expected one of those in \"rtmsd \
             print conf\"",
        ),
    ] {
        let found = World::default()
            .load(format!("{MINIMAL}{lines}\n"))
            .expect_err("faults");
        assert_eq!(found, [expected], "{lines}");
    }
    let plain = "RTMS_PUSH_URL=http://a.test/x\n";
    let plain = format!("{MINIMAL}{plain}RTMS_PUSH_SECRET={SECRET}\n");
    let found = World::default().load(&plain).expect_err("faults");
    assert!(
        found[0].contains("RTMS_PUSH_URL: found http://a.test, expected https"),
        "{found:?}"
    );
    World::default().config(&format!("{plain}RTMS_PLAINTEXT=on\n"));
    let off = plain.replace("http://", "https://") + "RTMS_FEED=off\n";
    let found = World::default().load(&off).expect_err("faults");
    assert!(
        found[0].contains("RTMS_PUSH_URL: found with RTMS_FEED=off"),
        "{found:?}"
    );
    let many: String = (1..=9)
        .map(|n| format!("RTMS_PUSH_N{n}_URL=https://a.test/\nRTMS_PUSH_N{n}_SECRET={SECRET}\n"))
        .collect();
    let found = World::default()
        .load(format!("{MINIMAL}{many}"))
        .expect_err("faults");
    assert!(
        found[0].contains("found 9 endpoints, expected 8 at most"),
        "{found:?}"
    );
}

#[cfg(feature = "fleet")]
fn fleet(lines: &str) -> FleetSettings {
    let config = config(&format!(
        "RTMS_FLEET=rediss://rtmsd@store\nRTMS_STATE=/s\n{lines}"
    ));
    config.daemon.fleet.expect("a fleet")
}

#[test]
#[cfg(feature = "fleet")]
fn a_server_of_a_fleet() {
    assert_eq!(config("").daemon.fleet, None);
    let store = StoreAddress::parse("rediss://rtmsd@store").expect("an address");
    assert_eq!(fleet(""), FleetSettings::new(store, "vm1.example.com"));
    let all = fleet(
        "RTMS_FLEET_PASSWORD=hunter2\nRTMS_FLEET_NAME=trial\nRTMS_NODE=b\nRTMS_NODE_STREAMS=50\n",
    );
    assert_eq!(all.store.password, Some(Secret::new("hunter2")));
    assert_eq!(
        (all.name.as_str(), all.node.as_str(), all.streams),
        ("trial", "b", Some(50))
    );
    let admin = |lines: &str| fleet(&format!("RTMS_ADMIN_TOKEN=t\n{lines}")).admin;
    assert_eq!(admin(""), "", "no other machine reaches it");
    assert_eq!(admin("RTMS_ADMIN=127.0.0.1:1,10.0.0.7:2\n"), "10.0.0.7:2");
    assert_eq!(admin("RTMS_ADMIN=0.0.0.0:9464\n"), "vm1.example.com:9464");
    let url = "RTMS_ADMIN_URL=https://rtms.example.com\n";
    assert_eq!(admin(url), "https://rtms.example.com");
    let on_exit = |lines: &str| config(&format!("RTMS_STATE=/s\n{lines}")).daemon.on_exit;
    assert_eq!(on_exit(""), OnExit::Leave);
    assert_eq!(on_exit("RTMS_FLEET=redis://[::1]\n"), OnExit::HandOver);
    let leaves = "RTMS_FLEET=redis://[::1]\nRTMS_ON_EXIT=leave\n";
    assert_eq!(on_exit(leaves), OnExit::Leave);
    let systemd = World::with(&[("STATE_DIRECTORY", "/var/lib/rtmsd")]);
    let systemd = systemd.config(&format!("{MINIMAL}RTMS_FLEET=unix:///r.sock\n"));
    assert!(systemd.daemon.fleet.is_some());
}

#[test]
#[cfg(feature = "fleet")]
fn what_a_fleet_needs() {
    faults(
        "RTMS_FLEET=redis://:a@localhost\nRTMS_FLEET_PASSWORD=b\nRTMS_FLEET_NAME=a b\nRTMS_NODE=a:b\n\
         RTMS_NODE_STREAMS=0\n",
        &[
            "rtms.conf:7: RTMS_FLEET_NAME: found \"a b\", expected a name of 1 to 63 letters, digits, \".\", \"_\" and \"-\"",
            "rtms.conf:8: RTMS_NODE: found \"a:b\", expected a name of 1 to 63 letters, digits, \".\", \"_\" and \"-\"",
            "rtms.conf:9: RTMS_NODE_STREAMS: found \"0\", expected a number from 1 to 100000",
            "rtms.conf:5: RTMS_STATE: not given, expected beside RTMS_FLEET: only with its state directory can a server prove after a restart which streams were its own",
            "rtms.conf:6: RTMS_FLEET_PASSWORD: found beside a password in RTMS_FLEET, expected one of the two",
        ],
    );
    let sentinel = "RTMS_FLEET=redis+sentinel://a:26379/primary/0\nRTMS_ON_EXIT=hand-over\n";
    let found = World::default().load(format!("{MINIMAL}{sentinel}"));
    let found = found.expect_err("a fault");
    assert!(
        found.len() == 1 && found[0].contains("does not ask Sentinels"),
        "{found:?}"
    );
    faults(
        "RTMS_ON_EXIT=hand-over\n",
        &[
            "rtms.conf:5: RTMS_ON_EXIT: found hand-over, expected leave or stop, or RTMS_FLEET: there is no node to hand streams over to",
        ],
    );
}

#[test]
#[cfg(not(feature = "fleet"))]
fn a_binary_without_the_feature_is_in_no_fleet() {
    let found = World::default().load(format!(
        "{MINIMAL}RTMS_STATE=/s\nRTMS_FLEET=redis://[::1]\n"
    ));
    assert!(found.expect_err("a fault")[0].contains("--features fleet"));
}

#[test]
#[cfg(feature = "fleet")]
fn unusual_settings_of_a_fleet() {
    let warnings = |lines: &str, expected: &[&str]| {
        World::default().warnings(&format!("{MINIMAL}RTMS_STATE=/s\n{lines}"), expected);
    };
    warnings(
        "RTMS_NODE=a\n",
        &["rtms.conf:6: RTMS_NODE: not used without RTMS_FLEET"],
    );
    warnings(
        "RTMS_FLEET=redis://store\n",
        &[
            "rtms.conf:6: RTMS_FLEET: redis:// to another machine: the password, ids and topics of meetings can be read on the way; use rediss://, or RTMS_PLAINTEXT=on within a network that only you can read",
        ],
    );
    warnings("RTMS_FLEET=redis://store\nRTMS_PLAINTEXT=on\n", &[]);
}

#[test]
#[cfg(feature = "fleet")]
fn a_reload_changes_of_a_fleet_only_capacity_and_what_an_end_does() {
    let base = "RTMS_STATE=/s\nRTMS_FLEET=redis://[::1]\n";
    let old = config(base).daemon;
    let mut running = old.clone();
    let new = config(&format!(
        "{base}RTMS_NODE=b\nRTMS_NODE_STREAMS=9\nRTMS_ON_EXIT=stop\n"
    ));
    running.apply(new.daemon);
    let mut expected = old.fleet.clone().expect("a fleet");
    expected.streams = Some(9);
    assert_eq!(running.fleet, Some(expected));
    assert_eq!(running.on_exit, OnExit::Stop);
    // A fleet cannot be added to a running server.
    let mut alone = config("RTMS_STATE=/s\n").daemon;
    alone.apply(old);
    assert_eq!((alone.fleet, alone.on_exit), (None, OnExit::Leave));
}

fn apps(
    common: &str,
    files: &[(&str, &'static [u8])],
) -> Vec<(String, Result<Config, Vec<String>>)> {
    let mut world = World::default();
    for (name, bytes) in files {
        world = world.file(&format!("/d/{name}"), bytes);
    }
    let loaded = world
        .load(format!("RTMS_APPS=/d\n{common}"))
        .expect("no common fault");
    let apps = loaded.apps.expect("there are apps").apps;
    let app = |app: AppConf| {
        let loaded = app.loaded.map(|loaded| loaded.config);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        (app.name.to_string(), loaded.map_err(faults))
    };
    apps.into_iter().map(app).collect()
}

const ACME: &[u8] = b"ZOOM_CLIENT_ID=a\nZOOM_CLIENT_SECRET=s\nZOOM_SECRET_TOKEN=t1\n";
const BETA: &[u8] =
    b"ZOOM_CLIENT_ID=b\nZOOM_CLIENT_SECRET=s\nZOOM_SECRET_TOKEN=t2\nRTMS_MEDIA=audio\nRTMS_OUT=/x\n";

#[test]
fn an_app_has_its_keys_above_those_that_are_common() {
    let common = "RTMS_MEDIA=chat\nRTMS_OUT=/out\nRTMS_STATE=/state\nRTMS_AUTO_START=off\n";
    let found = apps(
        common,
        &[
            ("beta.conf", BETA),
            ("acme.conf", ACME),
            ("notes.txt", b"?"),
        ],
    );
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["acme", "beta"]);
    let [acme, beta] = found.as_slice() else {
        panic!("two apps");
    };
    let (acme, beta) = (
        acme.1.as_ref().expect("right"),
        beta.1.as_ref().expect("right"),
    );
    let root = |config: &Config| config.daemon.disk.as_ref().map(|disk| disk.root.clone());
    assert_eq!(
        (&*acme.app().name, &*acme.app().credentials.id),
        ("acme", "a")
    );
    assert_eq!(root(acme), Some("/out/acme".into()));
    assert_eq!(root(beta), Some("/x".into()), "its own, as it is");
    assert_eq!(acme.daemon.state, Some("/state/apps/acme".into()));
    assert_eq!(acme.server_state(), Some(Path::new("/state")));
    assert!(acme.daemon.media.is_wanted(MediaKind::Chat));
    assert!(beta.daemon.media.is_wanted(MediaKind::Audio));
    assert!(!beta.daemon.media.is_wanted(MediaKind::Chat));
    assert!(!acme.daemon.auto_start && !beta.daemon.auto_start);
}

#[test]
fn a_faulty_file_disables_its_app_alone() {
    let found = apps(
        "RTMS_AUTO_START=off\n",
        &[
            ("acme.conf", ACME),
            (
                "bad.conf",
                b"PORT=1\nRTMS_ADMIN_TOKEN_FILE=/t\nRTMS_MEDIA=smell\n",
            ),
            ("b d.conf", ACME),
        ],
    );
    let faults = |name: &str| {
        let mut apps = found.iter();
        let app = apps.find(|(it, _)| it == name).expect("it is there");
        app.1.as_ref().err().cloned().unwrap_or_default()
    };
    assert!(faults("acme").is_empty());
    let of_the_server =
        "found in the file of an app, expected in rtms.conf: it is for the whole server";
    let bad = faults("bad");
    assert_eq!(bad[0], format!("/d/bad.conf:1: PORT: {of_the_server}"));
    assert_eq!(
        bad[1],
        format!("/d/bad.conf:2: RTMS_ADMIN_TOKEN_FILE: {of_the_server}")
    );
    assert!(
        bad[2].starts_with("/d/bad.conf:3: RTMS_MEDIA: found \"smell\""),
        "{bad:?}"
    );
    assert!(bad.contains(
        &"/d/bad.conf: ZOOM_CLIENT_ID: not given, expected the client id of the app that receives the streams"
            .to_owned()
    ));
    assert_eq!(
        faults("b d"),
        [
            "/d/b d.conf: found the name \"b d\", expected 1 to 32 letters, digits, \"_\" and \"-\" before .conf"
        ]
    );
}

#[test]
fn what_two_apps_may_not_share_is_a_fault_of_both() {
    let other: &[u8] =
        b"ZOOM_CLIENT_ID=b\nZOOM_CLIENT_SECRET=s\nZOOM_SECRET_TOKEN=t3,t1\nRTMS_OUT=/out/acme/in\n";
    let files: [(&str, &'static [u8]); 3] = [
        ("acme.conf", ACME),
        ("beta.conf", BETA),
        ("other.conf", other),
    ];
    let found = apps("RTMS_OUT=/out\nRTMS_AUTO_START=off\n", &files);
    let faults: Vec<String> = found
        .into_iter()
        .filter_map(|(_, app)| app.err())
        .flatten()
        .collect();
    assert_eq!(
        faults,
        [
            "/d/acme.conf:3: ZOOM_SECRET_TOKEN: found a secret token that is also that of app other, expected another one",
            "rtms.conf:2: RTMS_OUT: found a folder that is also that, or lies in it, of app other, expected another one",
            "/d/other.conf:3: ZOOM_SECRET_TOKEN: found a secret token that is also that of app acme, expected another one",
            "/d/other.conf:4: RTMS_OUT: found a folder that is also that, or lies in it, of app acme, expected another one",
        ]
    );
}

#[test]
fn an_app_replaces_the_way_to_a_token_and_may_lack_a_common_key() {
    let own: &[u8] =
        b"ZOOM_CLIENT_ID=b\nZOOM_CLIENT_SECRET=s\nZOOM_SECRET_TOKEN=t2\nZOOM_ACCOUNT_ID=acc\n\
                       ZOOM_API_CLIENT_ID=\nZOOM_API_CLIENT_SECRET=\n";
    let common = "access_token=common\nZOOM_API_CLIENT_ID=api\nZOOM_API_CLIENT_SECRET=x\n";
    let found = apps(common, &[("acme.conf", ACME), ("own.conf", own)]);
    let credentials = |at: usize| {
        let config = found[at].1.as_ref().expect("a right configuration");
        config.app().rest.credentials.clone()
    };
    assert_eq!(
        credentials(0),
        RestCredentials::Static {
            token: Secret::new("common")
        }
    );
    let expected = RestCredentials::ServerToServer {
        account_id: "acc".to_owned(),
        client_id: "b".to_owned(),
        client_secret: Secret::new("s"),
    };
    assert_eq!(credentials(1), expected);
}

#[test]
fn what_is_common_is_no_app() {
    let files: [(&str, &'static [u8]); 1] = [("acme.conf", ACME)];
    assert_eq!(apps("", &files).len(), 1);
    let world = World::default();
    world.faults(
        "RTMS_APPS=/none\n",
        &["rtms.conf:1: RTMS_APPS: found /none, which cannot be read: entity not found; expected a folder of NAME.conf"],
    );
    world.faults(
        "RTMS_APPS=/d\nRTMS_TLS_CERT=/c\n",
        &["rtms.conf:2: RTMS_TLS_KEY: not given, expected beside RTMS_TLS_CERT"],
    );
}
