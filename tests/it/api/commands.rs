//! `start`, `stop`, `pause`, `resume` and `check --online`, and that none of them shows a secret.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rtmsd::cli::check::online;
use rtmsd::cli::control;
use rtmsd::domain::app::AppCredentials;
use rtmsd::domain::product::Product;
use rtmsd::log::SENSITIVE_LOG_TARGETS;
use rtmsd::state::StateDir;
use rtmsd::zoom_api::{Clock, RestAction};

use super::*;
use crate::harness::scripted::{Answer, Scripted};

fn options(id: &str, json: bool) -> control::Options {
    control::Options {
        account_id: None,
        action: RestAction::Start,
        id: id.to_owned(),
        participant_user_id: None,
        product: Product::Meeting,
        json,
    }
}

fn run(options: &control::Options, settings: Settings) -> (u8, String) {
    let mut out = Vec::new();
    let code = control::run(
        options,
        None,
        || Ok((settings.app(), settings.process())),
        &mut out,
    );
    (code, String::from_utf8(out).unwrap())
}

fn check(settings: &Settings, media: &[&str]) -> (u8, String) {
    let mut out = Vec::new();
    let code = online::run(
        &settings.app(),
        settings.process(),
        online::TokenUser::Own(settings.state.clone()),
        media,
        &mut out,
    );
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn one_line_of_result() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let settings = settings(&zoom, server_to_server());
    assert_eq!(
        run(&options("812 3456-7890", false), settings.clone()),
        (
            0,
            "start meeting 81234567890: accepted by zoom; the stream has started when its webhook comes\n"
                .to_owned()
        )
    );
    let stop = control::Options {
        action: RestAction::Stop,
        product: Product::from_unit("call").expect("a word"),
        ..options("c1", true)
    };
    assert_eq!(
        run(&stop, settings),
        (
            0,
            "{\"ok\":true,\"action\":\"stop\",\"product\":\"phone\",\"id\":\"c1\"}\n".to_owned()
        )
    );
    let paths: Vec<_> = zoom.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths[1], "/v2/live_meetings/81234567890/rtms_app/status");
    assert_eq!(paths[3], "/v2/phone/calls/c1/rtms_app/status");
}

#[test]
fn exit_codes_by_class() {
    for (answer, code, error) in [
        (
            Answer::json(400, r#"{"code":2308,"message":"no"}"#),
            77,
            "not_permitted",
        ),
        (
            Answer::json(400, r#"{"code":2310,"message":"no"}"#),
            77,
            "operation_failed",
        ),
        (
            Answer::json(404, r#"{"code":3001,"message":"no"}"#),
            69,
            "meeting_unknown",
        ),
        (
            Answer::json(401, r#"{"code":124,"message":"no"}"#),
            78,
            "fresh_token_refused",
        ),
        (Answer::empty(500), 69, "server_fault"),
    ] {
        let (zoom, _) = zoom(move |_| answer.clone());
        let settings = settings(&zoom, server_to_server());
        let (found, line) = run(&options("1", true), settings);
        assert_eq!(found, code, "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["error"], error);
        assert!(
            json["message"]
                .as_str()
                .unwrap()
                .starts_with("start meeting 1: ")
        );
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn a_uuid_is_no_meeting_number() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    for id in ["a/B+c==", "", "../users/me"] {
        let (code, line) = run(&options(id, false), settings(&zoom, server_to_server()));
        assert_eq!(code, 64, "{line}");
        assert!(
            line.contains("found ") && line.contains("expected "),
            "{line}"
        );
    }
    assert!(zoom.requests().is_empty());
}

/// A Zoom with this clock difference to ours, and these scopes of its token.
fn checked(scopes: &'static str, clock_off_s: i64, media: &[&str]) -> (u8, String) {
    let noon = UNIX_EPOCH + Duration::from_secs(1_767_009_600);
    let date = UNIX_EPOCH + Duration::from_secs((1_767_009_600 + clock_off_s) as u64);
    let zoom = Scripted::start(move |request| {
        if is_oauth(request) {
            Answer::json(
                200,
                format!(
                    r#"{{"access_token":"{MARK}-a","expires_in":3599,"scope":"{scopes}","refresh_token":"{MARK}-r"}}"#
                ),
            )
        } else {
            assert_eq!(
                (request.method.as_str(), request.path.as_str()),
                ("GET", "/v2/users/me")
            );
            Answer::json(400, r#"{"code":4711,"message":"Invalid access token, does not contain scopes:[user:read:user]."}"#)
                .with("date", &httpdate::fmt_http_date(date))
        }
    });
    let folder = TempDir::new();
    let begun = std::time::Instant::now();
    let settings = Settings {
        state: Some(Arc::new(StateDir::open(folder.path()).unwrap())),
        clock: Clock::new(move || (begun, noon)),
        ..settings(
            &zoom,
            Credentials::UserRefresh {
                client_id: "app1".to_owned(),
                client_secret: secret("client"),
                refresh_token: secret("r0"),
            },
        )
    };
    check(&settings, media)
}

#[test]
fn a_check_without_findings() {
    let (code, text) = checked(
        "meeting:update:participant_rtms_app_status meeting:read:meeting_transcript meeting:read:meeting_screenshare:admin",
        0,
        &["transcript", "share"],
    );
    assert_eq!(code, 0, "{text}");
    for line in [
        "ok    token: user (ZOOM_REFRESH_TOKEN), expires in 59 min 59 s",
        "ok    media: meeting:read:meeting_transcript is there",
        "ok    media: meeting:read:meeting_screenshare is there",
        "ok    clock: this machine is 0.5 s behind zoom",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("2308") && text.contains("2310"), "{text}");
}

#[test]
fn missing_scopes_are_named() {
    let (code, text) = checked("meeting:read:meeting_audio", 0, &["all"]);
    assert_eq!(code, 77, "{text}");
    for scope in [
        "meeting:update:participant_rtms_app_status",
        "meeting:read:meeting_transcript",
        "meeting:read:meeting_video",
        "meeting:read:meeting_screenshare",
        "meeting:read:meeting_chat",
    ] {
        assert!(
            text.contains(&format!("found no {scope}")),
            "{scope}\n{text}"
        );
    }
    assert!(
        !text.contains("found no meeting:read:meeting_audio"),
        "{text}"
    );
}

#[test]
fn a_wrong_clock_is_reported() {
    let scopes = "meeting:update:participant_rtms_app_status";
    let (code, text) = checked(scopes, -30, &[]);
    assert_eq!(code, 0);
    assert!(
        text.contains("warn  clock: this machine is 29.5 s ahead of zoom"),
        "{text}"
    );
    let (code, text) = checked(scopes, 600, &[]);
    assert_eq!(code, 78);
    assert!(
        text.contains("fault clock: this machine is 600.5 s behind zoom"),
        "{text}"
    );
}

#[test]
fn the_media_of_another_app_are_not_checked() {
    let (zoom, _) = zoom(|_| Answer::json(200, "{}"));
    let (code, text) = check(&settings(&zoom, server_to_server()), &["audio"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("unknown with this token"), "{text}");
}

#[test]
fn a_check_without_a_connection_to_zoom() {
    let zoom = Scripted::start(|_| Answer::Reset);
    let (code, text) = check(&settings(&zoom, server_to_server()), &["transcript"]);
    assert_eq!(code, 69, "{text}");
    assert!(
        text.starts_with("fault token: fetch access token: the connection broke"),
        "{text}"
    );
    let credentials = Credentials::Static {
        token: secret("static"),
    };
    let (zoom, _) = super::zoom(|_| Answer::json(401, r#"{"code":124,"message":"expired"}"#));
    let (code, text) = check(&settings(&zoom, credentials), &["transcript"]);
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("fault api: reach the zoom api: the configured access token"),
        "{text}"
    );
}

/// Everything that may be shown: error texts, outputs of commands, `Debug` of every type that has
/// it, and the whole log at trace level, with a Zoom that repeats every secret it receives.
#[test]
fn no_secret_is_ever_shown() {
    let parrot = |status: u16| {
        Scripted::start(move |request| {
            let authorization = request.header("authorization");
            let body = serde_json::json!({
                "code": 1, "error": format!("{} {}", authorization, request.body),
                "message": format!("you said {authorization} and {}", request.body),
            });
            match (status, is_oauth(request)) {
                (200, true) => token(1, 3600),
                (200, false) => Answer::json(400, body.to_string()),
                _ => Answer::json(status, body.to_string()),
            }
        })
    };
    let mut shown: Vec<String> = Vec::new();
    for status in [200, 400, 401, 500] {
        for credentials in [
            server_to_server(),
            Credentials::Static {
                token: secret("static"),
            },
            Credentials::UserRefresh {
                client_id: "app1".to_owned(),
                client_secret: secret("client"),
                refresh_token: secret("refresh"),
            },
        ] {
            let zoom = parrot(status);
            let folder = TempDir::new();
            let settings = Settings {
                state: Some(Arc::new(StateDir::open(folder.path()).unwrap())),
                video_sdk: Some(AppCredentials {
                    id: "sdkkey".to_owned(),
                    secret: secret("sdk"),
                }),
                ..settings(&zoom, credentials)
            };
            let api = settings.api().unwrap();
            let error = api.control(&start("1")).unwrap_err();
            shown.push(format!(
                "{error} {error:?} {api:?} {settings:?} {:?}",
                api.token()
            ));
            for product in [Product::Meeting, Product::Session] {
                for json in [false, true] {
                    let options = control::Options {
                        product,
                        ..options("1", json)
                    };
                    shown.push(run(&options, settings.clone()).1);
                }
            }
            shown.push(check(&settings, &["all"]).1);
        }
    }
    let logged = super::logs::lines();
    let is_captured = logged.iter().any(|line| line.contains("rtmsd::zoom_api"));
    assert!(is_captured, "the log has lines of the client");
    assert!(SENSITIVE_LOG_TARGETS.contains(&"ureq_proto"));
    shown.extend(logged);
    // Secrets may appear as they are, or within Basic, where three bytes become four letters.
    let basics = ["s2s", "app1"].map(|id| STANDARD.encode(format!("{id}:{MARK}-client")));
    let jwt_head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";
    for text in &shown {
        assert!(!text.contains(MARK), "{text}");
        assert!(!text.contains(jwt_head), "{text}");
        for basic in &basics {
            assert!(!text.contains(basic.as_str()), "{text}");
        }
    }
}

#[test]
fn each_session_call_has_a_new_token() {
    let (zoom, _) = zoom(|_| Answer::json(401, r#"{"code":124,"message":"bad"}"#));
    let mut settings = settings(&zoom, Credentials::None);
    settings.video_sdk = Some(AppCredentials {
        id: "sdkkey".to_owned(),
        secret: secret("sdk"),
    });
    let session = control::Options {
        product: Product::Session,
        ..options("s/1", false)
    };
    let (code, line) = run(&session, settings);
    assert_eq!(code, 78);
    assert!(line.contains("ZOOM_VIDEO_SDK_SECRET"), "{line}");
    let requests = zoom.requests();
    assert_eq!(requests.len(), 1);
    let claims = requests[0]
        .header("authorization")
        .split('.')
        .nth(1)
        .unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let (iat, exp) = (
        claims["iat"].as_u64().unwrap(),
        claims["exp"].as_u64().unwrap(),
    );
    assert!(iat < now && now < exp && exp - iat < 3600);
}
