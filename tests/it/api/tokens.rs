//! One access token for all calls: fetched once, replaced early, replaced if refused.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rtmsd::zoom_api::{Class, Clock, Error, Kind};

use super::*;
use crate::harness::scripted::{Answer, Scripted};

/// A clock that stands still until the test moves it.
#[derive(Clone)]
pub(super) struct ManualClock(Arc<Mutex<(Instant, SystemTime)>>);

impl ManualClock {
    pub(super) fn new() -> ManualClock {
        ManualClock(Arc::new(Mutex::new((Instant::now(), SystemTime::now()))))
    }

    pub(super) fn reading(&self) -> Clock {
        let clock = self.clone();
        Clock::new(move || *clock.0.lock().unwrap())
    }

    pub(super) fn forward(&self, seconds: u64) {
        self.forward_by(Duration::from_secs(seconds));
    }

    pub(super) fn forward_by(&self, time: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += time;
        clock.1 += time;
    }
}

/// Runs this in 50 threads; the server sees from the counter when all have started.
fn in_fifty_threads<T: Send>(begun: &AtomicUsize, call: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    call()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A token that names another address for REST calls.
fn token_for(api_url: &str) -> Answer {
    Answer::json(
        200,
        format!(r#"{{"access_token":"{MARK}-access","expires_in":3600,"api_url":"{api_url}"}}"#),
    )
}

#[test]
fn calls_go_where_the_token_says_unless_an_address_is_configured() {
    for is_configured in [false, true] {
        let region = Scripted::start(|_| Answer::empty(204));
        let named = region.url();
        let home = Scripted::start(move |request| match is_oauth(request) {
            true => token_for(&named),
            false => Answer::empty(204),
        });
        let mut settings = settings(&home, server_to_server());
        if !is_configured {
            settings.api_url = rtmsd::domain::app::DEFAULT_API_URL.to_owned();
        }
        let api = settings.api().unwrap();
        api.control(&start("81234567890")).unwrap();
        let calls = (home.requests().len(), region.requests().len());
        assert_eq!(calls, if is_configured { (2, 0) } else { (1, 1) });
    }
}

#[test]
fn fifty_starts_at_once_are_one_fetch() {
    let begun = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&begun);
    let zoom = Scripted::start(move |request| {
        if is_oauth(request) {
            wait_until("all fifty have begun", || seen.load(Ordering::SeqCst) == 50);
            token(1, 3600)
        } else {
            Answer::empty(204)
        }
    });
    let api = client(&zoom);
    for done in in_fifty_threads(&begun, || api.control(&start("81234567890"))) {
        done.unwrap();
    }
    let fetches = zoom.requests().iter().filter(|r| is_oauth(r)).count();
    assert_eq!(fetches, 1);
    assert_eq!(zoom.requests().len(), 51);
    assert_eq!(api.counters().tokens_fetched.load(Ordering::Relaxed), 1);
    assert_eq!(api.counters().calls_ok.load(Ordering::Relaxed), 50);
}

#[test]
fn fifty_starts_share_one_refusal() {
    let begun = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&begun);
    let zoom = Scripted::start(move |_| {
        wait_until("all fifty have begun", || seen.load(Ordering::SeqCst) == 50);
        Answer::json(400, r#"{"code":4738,"message":"disabled"}"#)
    });
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    for done in in_fifty_threads(&begun, || api.control(&start("1"))) {
        assert_eq!(done.unwrap_err().kind(), Kind::DisabledByAdmin);
    }
    assert_eq!(zoom.requests().len(), 1);
    assert_eq!(api.counters().errors(Kind::DisabledByAdmin), 1);
    // After a while the administrator may have changed something.
    clock.forward(31);
    api.token().unwrap_err();
    assert_eq!(zoom.requests().len(), 2);
}

#[test]
fn fifty_refused_calls_are_one_replacement() {
    let begun = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let (zoom, fetches) = zoom({
        let refused = Arc::clone(&refused);
        move |request| {
            if request.header("authorization").ends_with("-1") {
                // The refusals are sent only after all threads have used the bad token.
                refused.fetch_add(1, Ordering::SeqCst);
                wait_until("all fifty were refused", || {
                    refused.load(Ordering::SeqCst) == 50
                });
                Answer::json(401, r#"{"code":124,"message":"Invalid access token."}"#)
            } else {
                Answer::empty(204)
            }
        }
    });
    let api = client(&zoom);
    api.token().unwrap();
    for done in in_fifty_threads(&begun, || api.control(&start("1"))) {
        done.unwrap();
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    assert_eq!(api.counters().calls_refresh.load(Ordering::Relaxed), 50);
    assert_eq!(api.counters().errors(Kind::TokenRefused), 50);
    assert_eq!(api.counters().calls_ok.load(Ordering::Relaxed), 50);
}

#[test]
fn a_token_is_replaced_five_minutes_early() {
    let (zoom, fetches) = zoom(|_| Answer::empty(204));
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 0, "not before it is needed");
    let first = api.token().unwrap();
    assert_eq!(first.life, Some(Duration::from_secs(3600)));
    clock.forward(3299);
    assert_eq!(api.token().unwrap(), first);
    clock.forward(1);
    assert_ne!(api.token().unwrap(), first);
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[test]
fn a_token_with_a_short_lifetime_is_used_for_that_time() {
    for (expires_in, life) in [
        ("5", 5),
        ("\"5\"", 5),
        ("0", 0),
        ("null", 300),
        ("-3", 300),
        ("99999999999", 86400),
    ] {
        let zoom = Scripted::start(move |_| {
            Answer::json(
                200,
                format!(r#"{{"access_token":"{MARK}","expires_in":{expires_in}}}"#),
            )
        });
        let token = client(&zoom).token().unwrap();
        assert_eq!(token.life, Some(Duration::from_secs(life)), "{expires_in}");
    }
}

#[test]
fn a_valid_token_is_used_while_the_server_fails() {
    let fetches = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fetches);
    let zoom = Scripted::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => token(1, 3600),
        _ => Answer::empty(503),
    });
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    let first = api.token().unwrap();
    clock.forward(3400);
    assert_eq!(api.token().unwrap(), first);
    assert_eq!(api.token().unwrap(), first);
    assert_eq!(fetches.load(Ordering::SeqCst), 2, "not at every call");
    clock.forward(31);
    assert_eq!(api.token().unwrap(), first);
    assert_eq!(fetches.load(Ordering::SeqCst), 3);
    clock.forward(200);
    assert_eq!(api.token().unwrap_err().kind(), Kind::ServerFault);
}

#[test]
fn an_expired_token_is_replaced_at_once_after_a_failed_early_attempt() {
    let fetches = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fetches);
    let zoom = Scripted::start(move |request| match is_oauth(request) {
        false => Answer::empty(204),
        true => match counted.fetch_add(1, Ordering::SeqCst) {
            1 => Answer::empty(503),
            n => token(n, 3600),
        },
    });
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    api.control(&start("1")).unwrap();
    clock.forward(3590);
    api.control(&start("1")).unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    clock.forward(11);
    api.control(&start("1")).unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 3);
}

/// Storing a refresh token on disk can take longer than the lifetime of a short-lived access token.
#[test]
fn a_start_is_retried_if_its_new_token_expired_before_the_call() {
    let clock = ManualClock::new();
    let slow = clock.clone();
    let (zoom, fetches) = zoom(move |request| {
        if request.header("authorization").ends_with("-3") {
            return Answer::empty(204);
        }
        slow.forward(3601);
        Answer::json(401, r#"{"code":124,"message":"Invalid access token."}"#)
    });
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    let error = api.control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::TokenExpired);
    assert_eq!(error.class(), Class::Retry { after: None });
    api.control(&start("1")).unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 3);
}

/// One thread replaces a token early while Zoom refuses it to another; the OAuth server fails.
#[test]
fn a_refused_token_is_not_used_again_after_a_failed_replacement() {
    let is_refused = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&is_refused);
    let fetches = AtomicU64::new(0);
    let zoom = Scripted::start(move |request| match is_oauth(request) {
        true if fetches.fetch_add(1, Ordering::SeqCst) == 0 => token(1, 3600),
        true => {
            wait_until("the refusal", || seen.load(Ordering::SeqCst) == 1);
            // So that the refused call waits for this answer. A later call gets the same one.
            std::thread::park_timeout(Duration::from_millis(200));
            Answer::empty(503)
        }
        false => {
            wait_until("the replacement", || fetches.load(Ordering::SeqCst) == 2);
            seen.fetch_add(1, Ordering::SeqCst);
            Answer::json(401, r#"{"code":124,"message":"Invalid access token."}"#)
        }
    });
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    api.token().unwrap();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| api.control(&start("1")));
        wait_until("the call", || zoom.requests().len() == 2);
        clock.forward(3400);
        scope.spawn(|| api.token());
        let error = refused.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::ServerFault);
    });
    let calls = zoom.requests().iter().filter(|r| !is_oauth(r)).count();
    assert_eq!(calls, 1);
}

#[test]
fn a_rate_limit_of_the_token_server_is_respected() {
    let zoom = Scripted::start(|_| Answer::empty(429).with("retry-after", "60"));
    let clock = ManualClock::new();
    let mut settings = settings(&zoom, server_to_server());
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    for _ in 0..3 {
        let error = api.control(&start("1")).unwrap_err();
        let after = Some(Duration::from_secs(60));
        assert_eq!(error.class(), Class::Retry { after });
    }
    assert_eq!(zoom.requests().len(), 1);
    clock.forward(61);
    api.control(&start("1")).unwrap_err();
    assert_eq!(zoom.requests().len(), 2);
}

fn refused_with(credentials: Credentials) -> (Error, usize) {
    let (zoom, fetches) = zoom(|_| Answer::json(401, r#"{"code":124,"message":"expired"}"#));
    let api = settings(&zoom, credentials).api().unwrap();
    let error = api.control(&start("1")).unwrap_err();
    assert_eq!(error.class(), Class::GiveUp);
    assert_eq!(api.counters().calls_give_up.load(Ordering::Relaxed), 1);
    assert_eq!(api.counters().errors(error.kind()), 1);
    let calls = zoom.requests().len() - fetches.load(Ordering::SeqCst) as usize;
    (error, calls)
}

#[test]
fn a_refused_token_is_replaced_at_most_once() {
    let (error, calls) = refused_with(server_to_server());
    assert_eq!((error.kind(), calls), (Kind::FreshTokenRefused, 2));
    let (error, calls) = refused_with(Credentials::Static {
        token: secret("static"),
    });
    assert_eq!((error.kind(), calls), (Kind::StaticTokenRefused, 1));
    assert!(
        error
            .to_string()
            .contains("put a fresh one into access_token")
    );
}

#[test]
fn token_requests_are_as_documented() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let mut settings = settings(&zoom, server_to_server());
    settings.credentials = Credentials::ServerToServer {
        account_id: "a&c=1".to_owned(),
        client_id: "s2s".to_owned(),
        client_secret: secret("client"),
    };
    settings.api().unwrap().token().unwrap();
    let request = &zoom.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/oauth/token")
    );
    assert_eq!(
        request.body,
        "grant_type=account_credentials&account_id=a%26c%3D1"
    );
    assert_eq!(
        request.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("s2s:{MARK}-client"));
    assert_eq!(request.header("authorization"), format!("Basic {basic}"));
}

#[test]
fn without_credentials_nothing_is_sent() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let api = settings(&zoom, Credentials::None).api().unwrap();
    let error = api.control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(zoom.requests().is_empty());
}
