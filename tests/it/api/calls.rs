//! REST calls: what is sent, and the result of every kind of answer and fault.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rtmsd::domain::app::AppCredentials;
use rtmsd::domain::product::Product;
use rtmsd::zoom_api::{Class, ControlRequest, Kind, RestAction};

use super::*;
use crate::harness::scripted::{Answer, Scripted};

#[test]
fn a_start_is_sent_as_documented() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let mut settings = settings(&zoom, server_to_server());
    settings.participant_user_id = Some("usr\"1".to_owned());
    let api = settings.api().unwrap();
    api.control(&start("81234567890")).unwrap();
    let request = &zoom.requests()[1];
    assert_eq!(request.method, "PATCH");
    assert_eq!(
        request.path,
        "/v2/live_meetings/81234567890/rtms_app/status"
    );
    assert_eq!(
        request.body,
        r#"{"action":"start","settings":{"client_id":"app1","participant_user_id":"usr\"1"}}"#
    );
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        request.header("authorization"),
        format!("Bearer {MARK}-access-1")
    );
}

#[test]
fn each_product_has_its_call() {
    let (zoom, fetches) = zoom(|_| Answer::empty(204));
    let mut settings = settings(&zoom, server_to_server());
    settings.video_sdk = Some(AppCredentials {
        id: "sdkkey".to_owned(),
        secret: secret("sdk"),
    });
    let api = settings.api().unwrap();
    for (product, action, id) in [
        (Product::Session, RestAction::Stop, "a/b="),
        (Product::ContactCenter, RestAction::Pause, "e1"),
        (Product::Phone, RestAction::Resume, "c1"),
    ] {
        api.control(&ControlRequest::new(action, product, id))
            .unwrap();
    }
    let sent: Vec<_> = zoom
        .requests()
        .into_iter()
        .filter(|r| !is_oauth(r))
        .map(|r| format!("{} {} {}", r.method, r.path, r.body))
        .collect();
    assert_eq!(
        sent,
        [
            r#"PATCH /v2/videosdk/sessions/a%252Fb%253D/rtms_app/status {"action":"stop","settings":{"client_id":"sdkkey"}}"#,
            r#"PUT /v2/contact_center/e1/rtms_app/status {"action":"pause","settings":{"client_id":"app1"}}"#,
            r#"PATCH /v2/phone/calls/c1/rtms_app/status {"action":"resume"}"#,
        ]
    );
    assert_eq!(
        zoom.requests()[0]
            .header("authorization")
            .split('.')
            .count(),
        3
    );
    assert_eq!(fetches.load(Ordering::SeqCst), 1, "sessions need no token");
}

#[test]
fn any_2xx_is_success() {
    let (zoom, _) = zoom(|request| match request.path.split('/').nth(3).unwrap() {
        "1" => Answer::json(200, r#"{"ok":true}"#),
        "2" => Answer::json(200, "no json"),
        "3" => Answer::empty(202),
        "4" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()),
        _ => Answer::empty(204),
    });
    let api = client(&zoom);
    for id in ["1", "2", "3", "4", "5"] {
        api.control(&start(id)).unwrap();
    }
}

/// One fault: the answer, its result, and whether a start is retried.
#[test]
fn every_fault_of_a_call_has_its_row() {
    let html = "<html><title>Bad gateway</title></html>";
    let page = Answer::Http {
        status: 502,
        headers: vec![(
            "content-type".to_owned(),
            "text/html; charset=utf-8".to_owned(),
        )],
        body: html.to_owned(),
    };
    let zoom_says =
        |status, code| Answer::json(status, format!(r#"{{"code":{code},"message":"m"}}"#));
    let in_a_moment =
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(1_767_000_042));
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(1_767_000_000));
    let retry = Class::Retry { after: None };
    let retry_in = |s| Class::Retry {
        after: Some(Duration::from_secs(s)),
    };
    let rows = [
        (zoom_says(400, 2308), Kind::NotPermitted, Class::GiveUp, 77),
        (
            zoom_says(400, 2310),
            Kind::OperationFailed,
            Class::GiveUp,
            77,
        ),
        (zoom_says(404, 3001), Kind::MeetingUnknown, retry, 69),
        (
            zoom_says(400, 4702),
            Kind::ClientCredentials,
            Class::GiveUp,
            78,
        ),
        (
            zoom_says(400, 4704),
            Kind::ClientCredentials,
            Class::GiveUp,
            78,
        ),
        (zoom_says(400, 4711), Kind::Scope, Class::GiveUp, 77),
        (zoom_says(400, 4733), Kind::CodeExpired, Class::GiveUp, 78),
        (zoom_says(400, 4735), Kind::Owner, Class::GiveUp, 77),
        (
            zoom_says(400, 4738),
            Kind::DisabledByAdmin,
            Class::GiveUp,
            77,
        ),
        (zoom_says(400, 4741), Kind::Revoked, Class::GiveUp, 77),
        (zoom_says(429, 429), Kind::RateLimited, retry, 69),
        (
            zoom_says(429, 429).with("retry-after", "7"),
            Kind::RateLimited,
            retry_in(7),
            69,
        ),
        (
            // A date is compared with the server's own date, whatever our clock is.
            zoom_says(429, 429)
                .with("retry-after", &in_a_moment)
                .with("date", &date),
            Kind::RateLimited,
            retry_in(42),
            69,
        ),
        (
            Answer::empty(503).with("retry-after", "86400"),
            Kind::ServerFault,
            retry_in(600),
            69,
        ),
        (Answer::empty(500), Kind::ServerFault, retry, 69),
        (Answer::json(599, "{"), Kind::ServerFault, retry, 69),
        (page, Kind::HtmlPage, retry, 69),
        // A captive portal.
        (
            Answer::json(200, "<html>Please log in"),
            Kind::HtmlPage,
            retry,
            69,
        ),
        (Answer::empty(407), Kind::ProxyLogin, Class::GiveUp, 78),
        (Answer::empty(404), Kind::NotFound, Class::GiveUp, 78),
        (
            Answer::empty(302).with("location", "/elsewhere"),
            Kind::Redirected,
            Class::GiveUp,
            78,
        ),
        (
            Answer::empty(307).with("location", "/elsewhere"),
            Kind::Redirected,
            Class::GiveUp,
            78,
        ),
        (Answer::Reset, Kind::Reset, retry, 69),
        (Answer::Raw(Vec::new()), Kind::Reset, retry, 69),
        (Answer::Raw(b"HTTP/1.1 20".to_vec()), Kind::Reset, retry, 69),
        (
            Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            Kind::Malformed,
            retry,
            69,
        ),
        (
            Answer::Raw(b"HTTP/1.1 400 Bad\r\ncontent-length: 99\r\n\r\n{\"code\":23".to_vec()),
            Kind::Refused,
            Class::GiveUp,
            69,
        ),
        (
            Answer::Raw([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 100_000]].concat()),
            Kind::Reset,
            retry,
            69,
        ),
    ];
    for (answer, kind, class, exit_code) in rows {
        let raw = match &answer {
            Answer::Http { status, body, .. } => format!("{status} {body}"),
            Answer::Raw(bytes) => {
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
            }
            _ => String::new(),
        };
        let (zoom, _) = zoom(move |_| answer.clone());
        let api = client(&zoom);
        let error = api.control(&start("81234567890")).unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (kind, class),
            "{raw}: {error}"
        );
        assert_eq!(error.exit_code(), exit_code, "{raw}");
        assert_eq!(api.counters().errors(kind), 1, "{raw}");
        let by_class = match class {
            Class::GiveUp => &api.counters().calls_give_up,
            _ => &api.counters().calls_retry,
        };
        assert_eq!(by_class.load(Ordering::Relaxed), 1, "{raw}");
        let line = error.to_string();
        assert!(line.starts_with("start meeting 81234567890: "), "{line}");
        assert!(
            line.ends_with(error.remedy()) && !line.contains('\n'),
            "{line}"
        );
        assert!(zoom.requests().iter().all(|r| r.path != "/elsewhere"));
    }
}

#[test]
fn every_fault_of_a_token_has_its_row() {
    for (answer, kind) in [
        (
            Answer::json(
                400,
                r#"{"reason":"Invalid client_id or client_secret","error":"invalid_client"}"#,
            ),
            Kind::ClientCredentials,
        ),
        (
            Answer::json(401, r#"{"code":4702}"#),
            Kind::ClientCredentials,
        ),
        (
            Answer::json(400, r#"{"code":4711,"message":"scope"}"#),
            Kind::Scope,
        ),
        (Answer::json(400, r#"{"code":4741}"#), Kind::Revoked),
        (Answer::json(200, "{}"), Kind::Malformed),
        (
            Answer::json(200, r#"{"access_token":"two words"}"#),
            Kind::Malformed,
        ),
        (
            Answer::json(200, format!(r#"{{"access_token":"{}"}}"#, "x".repeat(9000))),
            Kind::Malformed,
        ),
        (Answer::json(200, "<html>Please log in"), Kind::HtmlPage),
        (
            Answer::json(
                200,
                format!(r#"{{"access_token":"{}"}}"#, "x".repeat(100_000)),
            ),
            Kind::Truncated,
        ),
        (
            Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"access_to".to_vec()),
            Kind::Truncated,
        ),
        (Answer::empty(500), Kind::ServerFault),
        (Answer::empty(429), Kind::RateLimited),
        (
            Answer::empty(301).with("location", "/elsewhere"),
            Kind::Redirected,
        ),
        (Answer::Reset, Kind::Reset),
    ] {
        let zoom = Scripted::start(move |_| answer.clone());
        let api = client(&zoom);
        let error = api.control(&start("1")).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.to_string().starts_with("fetch access token: "),
            "{error}"
        );
        assert_eq!(api.counters().errors(kind), 1);
        assert_eq!(api.counters().tokens_failed.load(Ordering::Relaxed), 1);
        assert_eq!(zoom.requests().len(), 1);
    }
}

#[test]
fn a_server_that_hangs_costs_one_deadline() {
    let zoom = Scripted::start(|_| Answer::Hang);
    let mut settings = settings(&zoom, server_to_server());
    settings.timeout = Duration::from_millis(200);
    let api = settings.api().unwrap();
    let error = api.control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert_eq!(api.counters().errors(Kind::Timeout), 1);
}

#[test]
fn a_refused_connection_is_unreachable() {
    let zoom = Scripted::start(|_| Answer::empty(204));
    let settings = settings(&zoom, server_to_server());
    drop(zoom);
    let error = settings.api().unwrap().control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[test]
fn stopping_aborts_a_call_in_progress() {
    let zoom = Scripted::start(|_| Answer::Hang);
    let api = client(&zoom);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| api.control(&start("1")));
        wait_until("the call", || !zoom.requests().is_empty());
        api.stop();
        let error = call.join().unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (Kind::Stopping, Class::GiveUp)
        );
    });
    assert_eq!(api.control(&start("1")).unwrap_err().kind(), Kind::Stopping);
}

#[test]
fn only_some_refusals_of_a_start_may_be_too_early() {
    let code = std::sync::Arc::new(Mutex::new(0));
    let (zoom, _) = zoom({
        let code = std::sync::Arc::clone(&code);
        move |_| Answer::json(400, format!(r#"{{"code":{}}}"#, code.lock().unwrap()))
    });
    let api = client(&zoom);
    for (number, action, participant, is_early) in [
        (3001, RestAction::Start, None, true),
        (3001, RestAction::Stop, None, false),
        (2308, RestAction::Start, None, false),
        (2308, RestAction::Start, Some("usr1"), true),
        (2310, RestAction::Start, Some("usr1"), false),
    ] {
        *code.lock().unwrap() = number;
        let control = ControlRequest {
            participant_user_id: participant.map(str::to_owned),
            ..ControlRequest::new(action, Product::Meeting, "1")
        };
        let error = api.control(&control).unwrap_err();
        let is_retried = matches!(error.class(), Class::Retry { .. });
        assert_eq!(is_retried, is_early, "{error}");
    }
}

#[test]
fn unusable_addresses_and_files_are_refused() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let fine = settings(&zoom, server_to_server());
    type Spoil<'a> = &'a dyn Fn(&mut Settings);
    let faults: [(&str, Spoil<'_>); 6] = [
        ("ZOOM_API_URL", &|s| {
            s.api_url = "http://api.zoom.us".to_owned()
        }),
        ("ZOOM_OAUTH_URL", &|s| s.oauth_url = "zoom.us".to_owned()),
        ("RTMS_CA_FILE", &|s| {
            s.ca_file = Some("/nonexistent/ca.pem".into())
        }),
        ("RTMS_CA_FILE", &|s| s.ca_file = Some("/dev/null".into())),
        ("HTTPS_PROXY", &|s| {
            s.api_url = "https://api.zoom.us".to_owned();
            s.proxy.https = Some(format!("socks5://u:{MARK}@p:1"));
        }),
        ("access_token", &|s| {
            s.credentials = Credentials::Static {
                token: secret("a\r\nx: y"),
            }
        }),
    ];
    for (key, spoil) in faults {
        let mut settings = fine.clone();
        spoil(&mut settings);
        let error = settings.api().unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (Kind::Configuration, 78));
        let line = error.to_string();
        assert!(line.contains(&format!("{key}: found ")), "{line}");
        assert!(!line.contains(MARK), "{line}");
    }
}
