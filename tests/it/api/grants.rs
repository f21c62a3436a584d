//! Grants of several accounts with a strict server: each is used for its account, rotated for itself, and
//! none is lost or used twice.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rtmsd::domain::secret::Secret;
use rtmsd::domain::severity::Severity;
use rtmsd::state::{Moment, StateDir, Step};
use rtmsd::zoom_api::{Deauthorized, GrantState, Kind};

use super::rotation::open_state;
use super::tokens::ManualClock;
use super::*;
use crate::harness::scripted::{Answer, Request, Scripted};

/// What the scripted Zoom knows of a user; codes and ids are made of the account's name.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// The number of the newest tokens.
    pub(super) issued: u32,
    /// The newest number that was used: tokens with a smaller one are over.
    confirmed: u32,
    is_revoked: bool,
    /// A refresh token that is over was used.
    pub(super) is_reused: bool,
    /// The REST calls with its tokens.
    calls: Vec<String>,
}

pub(super) type Grants = Arc<Mutex<BTreeMap<String, Grant>>>;

/// A Zoom that exchanges the code `code-NAME` for tokens `…-NAME-NUMBER`.
pub(super) fn zoom_of_many() -> (Scripted, Grants) {
    let grants: Grants = Arc::default();
    let of_server = Arc::clone(&grants);
    let zoom = Scripted::start(move |request: &Request| {
        let mut grants = of_server.lock().unwrap();
        let field = |name: &str| {
            let mut fields = request
                .body
                .split('&')
                .filter_map(|pair| pair.split_once('='));
            fields
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        if let Some(code) = field("code") {
            let name = code.trim_start_matches("code-").to_owned();
            let grant = grants.entry(name.clone()).or_default();
            grant.issued += 1;
            grant.confirmed = grant.issued;
            grant.is_revoked = false;
            return tokens(&name, grant.issued);
        }
        if let Some(shown) = field("refresh_token") {
            let mut parts = shown.rsplit('-');
            let number: u32 = parts.next().unwrap().parse().unwrap();
            let name = parts.next().unwrap().to_owned();
            let grant = grants.get_mut(&name).unwrap();
            grant.is_reused |= number < grant.confirmed;
            if grant.is_revoked || grant.is_reused {
                return Answer::json(400, r#"{"code":4741,"error":"invalid_grant"}"#);
            }
            grant.confirmed = number;
            grant.issued += 1;
            return tokens(&name, grant.issued);
        }
        let bearer = request.header("authorization").to_owned();
        let mut parts = bearer.rsplit('-');
        let number: u32 = parts.next().unwrap().parse().unwrap();
        let name = parts.next().unwrap().to_owned();
        if request.path == "/v2/users/me" {
            return match name.starts_with("nameless") {
                true => Answer::json(400, r#"{"code":4711,"message":"no scope"}"#),
                // Two users of one account have a digit behind its name.
                false => Answer::json(
                    200,
                    format!(
                        r#"{{"id":"user-{name}","account_id":"{}","display_name":"{name}"}}"#,
                        name.trim_end_matches(char::is_numeric)
                    ),
                ),
            };
        }
        let grant = grants.get_mut(&name).unwrap();
        grant.confirmed = grant.confirmed.max(number);
        if grant.is_revoked || number < grant.confirmed {
            return Answer::json(401, r#"{"code":124,"message":"Invalid access token."}"#);
        }
        let id = request.path.split('/').nth(3).unwrap_or_default();
        grant.calls.push(id.to_owned());
        Answer::empty(204)
    });
    (zoom, grants)
}

fn tokens(name: &str, number: u32) -> Answer {
    // Zoom's own tokens are JWTs, which say whose they are.
    let claims = match name {
        "jwt" => {
            let json = format!(r#"{{"uid":"user-{name}","aid":"{name}"}}"#);
            format!(".{}.", URL_SAFE_NO_PAD.encode(json))
        }
        _ => String::new(),
    };
    Answer::json(
        200,
        format!(
            r#"{{"access_token":"{MARK}{claims}-access-{name}-{number}","expires_in":3600,"scope":"a b","refresh_token":"{MARK}-refresh-{name}-{number}"}}"#
        ),
    )
}

fn client_with(zoom: &Scripted, state: StateDir, configured: &str) -> Api {
    client_at(zoom, state, configured, Clock::system())
}

fn client_at(zoom: &Scripted, state: StateDir, configured: &str, clock: Clock) -> Api {
    let credentials = Credentials::UserRefresh {
        client_id: "app1".to_owned(),
        client_secret: secret("client"),
        refresh_token: Secret::new(configured),
    };
    let settings = Settings {
        state: Some(Arc::new(state)),
        clock,
        ..settings(zoom, credentials)
    };
    let mut app = settings.app();
    app.rest.redirect_url = Some("https://rtms.example.com/oauth".to_owned());
    Api::new(app, settings.process()).unwrap()
}

fn client_in(zoom: &Scripted, folder: &Path) -> Api {
    let state = open_state(folder, |path| StateDir::open(path));
    client_with(zoom, state, "")
}

pub(super) fn authorize(api: &Api, name: &str) {
    let code = Secret::new(format!("code-{name}"));
    let grant = api.authorize(&code, &Secret::new("verifier")).unwrap();
    assert_eq!(grant.scopes, ["a", "b"]);
}

/// A start of a meeting of that account.
pub(super) fn start_of(account: &str, id: &str) -> ControlRequest {
    ControlRequest {
        account_id: Some(account.to_owned()),
        ..start(id)
    }
}

fn calls(grants: &Grants, name: &str) -> Vec<String> {
    grants.lock().unwrap()[name].calls.clone()
}

pub(super) fn accounts(api: &Api) -> Vec<(String, GrantState)> {
    let status = api.grant_status();
    status
        .into_iter()
        .map(|it| (it.user_id, it.state))
        .collect()
}

#[test]
fn each_meeting_is_started_with_the_grant_of_its_account() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    assert_eq!(
        api.control(&start_of("a", "1")).unwrap_err().kind(),
        Kind::NotAuthorized
    );
    for name in ["a", "b", "c"] {
        authorize(&api, name);
    }
    for (account, id) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")] {
        api.control(&start_of(account, id)).unwrap();
    }
    drop(api);
    // The next process has all of them.
    let api = client_in(&zoom, folder.path());
    api.control(&start_of("b", "5")).unwrap();
    assert_eq!(calls(&grants, "a"), ["1", "4"]);
    assert_eq!(calls(&grants, "b"), ["2", "5"]);
    assert_eq!(calls(&grants, "c"), ["3"]);
    // Without an account it cannot be known whose token to use.
    assert_eq!(
        api.control(&start("6")).unwrap_err().kind(),
        Kind::AccountUnknown
    );
    // An account without an authorization is named, and only once as an error.
    let error = api.control(&start_of("d", "7")).unwrap_err();
    assert_eq!(
        (error.kind(), error.severity()),
        (Kind::NoGrant, Severity::Error)
    );
    let text = error.to_string();
    assert!(
        text.contains("account d") && text.contains("rtmsd authorize"),
        "{text}"
    );
    let error = api.control(&start_of("d", "8")).unwrap_err();
    assert_eq!(error.severity(), Severity::Info);
    assert_eq!(api.accounts_without_grant(), [("d".to_owned(), 2)]);
    assert_eq!(api.counters().errors(Kind::NoGrant), 2);
    assert!(
        grants
            .lock()
            .unwrap()
            .values()
            .all(|grant| !grant.is_reused)
    );
}

#[test]
fn a_revoked_grant_stops_no_other_and_says_what_to_do() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    for name in ["a", "b"] {
        authorize(&api, name);
        api.control(&start_of(name, "1")).unwrap();
    }
    grants.lock().unwrap().get_mut("a").unwrap().is_revoked = true;
    let error = api.control(&start_of("a", "2")).unwrap_err();
    assert_eq!(error.kind(), Kind::Revoked, "{error}");
    api.control(&start_of("b", "2")).unwrap();
    let expected = [
        ("user-a".to_owned(), GrantState::Revoked),
        ("user-b".to_owned(), GrantState::Ok),
    ];
    assert_eq!(accounts(&api), expected);
    drop(api);
    // A restart does not forget that.
    let api = client_in(&zoom, folder.path());
    assert_eq!(accounts(&api), expected);
    // Authorized again, its file is replaced.
    authorize(&api, "a");
    api.control(&start_of("a", "3")).unwrap();
    assert_eq!(accounts(&api)[0].1, GrantState::Ok);
    let is_grant = |name: &String| name.starts_with("grant-");
    let files = std::fs::read_dir(folder.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(is_grant).count(), 2);
}

#[test]
fn another_user_of_the_account_takes_over() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    authorize(&api, "a1");
    authorize(&api, "a2");
    let hosted = |host: &str, id: &str| ControlRequest {
        host_id: Some(host.to_owned()),
        ..start_of("a", id)
    };
    api.control(&hosted("user-a1", "1")).unwrap();
    api.control(&hosted("user-a2", "2")).unwrap();
    grants.lock().unwrap().get_mut("a2").unwrap().is_revoked = true;
    api.control(&hosted("user-a2", "3")).unwrap();
    assert_eq!(calls(&grants, "a1"), ["1", "3"]);
    assert_eq!(calls(&grants, "a2"), ["2"]);
}

#[test]
fn a_user_who_removes_the_app_takes_only_the_own_grant() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    for name in ["a1", "a2", "b"] {
        authorize(&api, name);
    }
    assert_eq!(
        api.deauthorized("user-x", "a").unwrap(),
        Deauthorized::OfAnother
    );
    assert_eq!(
        api.deauthorized("user-a1", "b").unwrap(),
        Deauthorized::OfAnother
    );
    assert_eq!(api.grant_status().len(), 3);
    assert_eq!(
        api.deauthorized("user-b", "b").unwrap(),
        Deauthorized::Forgotten
    );
    let left = api.grant_status();
    assert_eq!(
        left.iter()
            .map(|it| it.user_id.as_str())
            .collect::<Vec<_>>(),
        ["user-a1", "user-a2"]
    );
    assert_eq!(
        api.control(&start_of("b", "1")).unwrap_err().kind(),
        Kind::Deauthorized
    );
    api.control(&start_of("a", "2")).unwrap();
    drop(api);
    let api = client_in(&zoom, folder.path());
    assert_eq!(
        api.control(&start_of("b", "1")).unwrap_err().kind(),
        Kind::NoGrant
    );
    // An account as a whole.
    assert_eq!(api.deauthorized("", "a").unwrap(), Deauthorized::Forgotten);
    assert!(api.grant_status().is_empty());
    assert!(grants.lock().unwrap()["b"].calls.is_empty());
}

#[test]
fn the_one_grant_of_an_earlier_version_goes_on_beside_others() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    grants.lock().unwrap().entry("a".to_owned()).or_default();
    let configured = format!("{MARK}-refresh-a-0");
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = client_with(&zoom, state, &configured);
    // As long as it is the only one, it serves every account.
    api.control(&start_of("a", "1")).unwrap();
    api.control(&start_of("x", "2")).unwrap();
    // With a second one, whose it is becomes known.
    authorize(&api, "b");
    api.control(&start_of("a", "3")).unwrap();
    api.control(&start_of("b", "4")).unwrap();
    assert_eq!(
        api.control(&start_of("x", "5")).unwrap_err().kind(),
        Kind::NoGrant
    );
    assert!(folder.join("refresh_token.json").exists());
    // The same user authorizes: the configured token is over, also for the next process.
    authorize(&api, "a");
    drop(api);
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = client_with(&zoom, state, &configured);
    api.control(&start_of("a", "6")).unwrap();
    assert_eq!(api.grant_status().len(), 2);
    assert_eq!(calls(&grants, "a"), ["1", "2", "3", "6"]);
    assert!(!grants.lock().unwrap()["a"].is_reused);
}

#[test]
fn a_grant_of_an_unknown_account_is_usable_as_the_only_one() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    authorize(&api, "nameless1");
    authorize(&api, "nameless2");
    api.control(&start_of("a", "1")).unwrap();
    api.control(&start("2")).unwrap();
    // Two that cannot be told apart are one: the newer.
    assert_eq!(api.grant_status().len(), 1);
    assert_eq!(calls(&grants, "nameless2"), ["1", "2"]);
    authorize(&api, "b");
    api.control(&start_of("b", "3")).unwrap();
    api.control(&start_of("a", "4")).unwrap();
    assert_eq!(calls(&grants, "nameless2"), ["1", "2", "4"]);
}

#[test]
fn a_damaged_file_stops_no_other_grant() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let api = client_in(&zoom, folder.path());
    authorize(&api, "a");
    authorize(&api, "b");
    drop(api);
    std::fs::write(folder.join("grant-1.json"), "{").unwrap();
    let api = client_in(&zoom, folder.path());
    assert_eq!(
        api.control(&start_of("a", "1")).unwrap_err().kind(),
        Kind::NoGrant
    );
    api.control(&start_of("b", "2")).unwrap();
    // Authorized again it gets another file, and the damaged one is not overwritten.
    authorize(&api, "a");
    api.control(&start_of("a", "3")).unwrap();
    assert_eq!(
        std::fs::read_to_string(folder.join("grant-1.json")).unwrap(),
        "{"
    );
    assert_eq!(calls(&grants, "a"), ["3"]);
}

/// The user's grant by `rtmsd authorize` was revoked; a new refresh token is put into the configuration.
#[test]
fn a_newly_configured_token_takes_the_place_of_a_broken_grant() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let clock = ManualClock::new();
    let open = |configured: &str| {
        let state = open_state(folder.path(), |path| StateDir::open(path));
        client_at(&zoom, state, configured, clock.reading())
    };
    let api = open("");
    authorize(&api, "jwt");
    grants.lock().unwrap().get_mut("jwt").unwrap().is_revoked = true;
    assert_eq!(
        api.control(&start_of("jwt", "1")).unwrap_err().kind(),
        Kind::Revoked
    );
    drop(api);
    let number = {
        let mut grants = grants.lock().unwrap();
        let grant = grants.get_mut("jwt").unwrap();
        grant.is_revoked = false;
        grant.issued += 1;
        grant.confirmed = grant.issued;
        grant.issued
    };
    clock.forward(60);
    let api = open(&format!("{MARK}-refresh-jwt-{number}"));
    api.control(&start_of("jwt", "2")).unwrap();
    assert_eq!(calls(&grants, "jwt"), ["2"]);
    // Whose it is is in its token, so the broken one is gone.
    assert_eq!(accounts(&api), [("user-jwt".to_owned(), GrantState::Ok)]);
    assert!(!folder.join("grant-1.json").exists());
    assert!(!grants.lock().unwrap()["jwt"].is_reused);
}

/// Zoom lets a refresh token expire that is not used for about 90 days.
#[test]
fn grants_that_are_not_used_are_renewed() {
    let (zoom, grants) = zoom_of_many();
    let folder = TempDir::new();
    let clock = ManualClock::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = client_at(&zoom, state, "", clock.reading());
    authorize(&api, "a");
    authorize(&api, "b");
    let day = 24 * 3600;
    clock.forward(29 * day);
    assert_eq!(api.keep_grants(), 0);
    api.control(&start_of("a", "1")).unwrap();
    let issued = |name: &str| grants.lock().unwrap()[name].issued;
    let before = (issued("a"), issued("b"));
    clock.forward(2 * day);
    assert_eq!(api.keep_grants(), 1);
    assert_eq!((issued("a"), issued("b")), (before.0, before.1 + 1));
    // One that does not work is left to its user.
    grants.lock().unwrap().get_mut("b").unwrap().is_revoked = true;
    clock.forward(31 * day);
    assert_eq!(api.keep_grants(), 2);
    clock.forward(31 * day);
    assert_eq!(api.keep_grants(), 1);
}

/// A crash before or after each step of storing one grant's next token loses neither it nor another grant.
#[test]
fn a_crash_while_one_is_rotated_loses_none() {
    // The first write only checks for room, the second one stores the token.
    for (write, step) in [1, 2]
        .into_iter()
        .flat_map(|n| Step::ALL.map(|step| (n, step)))
    {
        for moment in [Moment::Before(step), Moment::After(step)] {
            let (zoom, grants) = zoom_of_many();
            let folder = TempDir::new();
            let api = client_in(&zoom, folder.path());
            authorize(&api, "a");
            authorize(&api, "b");
            drop(api);
            let passed = Arc::new(AtomicUsize::new(0));
            let state = open_state(folder.path(), |path| {
                let passed = Arc::clone(&passed);
                StateDir::open_observed(path, move |now| {
                    if now == moment && passed.fetch_add(1, Ordering::SeqCst) + 1 == write {
                        resume_unwind(Box::new("crash"));
                    }
                })
            });
            let api = client_with(&zoom, state, "");
            let crashed = catch_unwind(AssertUnwindSafe(|| api.control(&start_of("a", "1"))));
            assert!(!matches!(crashed, Ok(Ok(()))), "{write} {moment:?}");
            assert!(
                calls(&grants, "a").is_empty(),
                "no call with a token that is not stored"
            );
            drop(api);
            let api = client_in(&zoom, folder.path());
            for name in ["b", "a"] {
                api.control(&start_of(name, "2"))
                    .unwrap_or_else(|e| panic!("{name} {write} {moment:?}: {e}"));
            }
            assert!(
                grants
                    .lock()
                    .unwrap()
                    .values()
                    .all(|grant| !grant.is_reused)
            );
        }
    }
}
