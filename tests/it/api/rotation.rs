//! Rotating refresh tokens with a strict server, and with crashes injected before and after each
//! step of storing them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rtmsd::domain::secret::Secret;
use rtmsd::state::{Moment, StateDir, Step};
use rtmsd::zoom_api::{Class, Kind};

use super::tokens::ManualClock;
use super::*;
use crate::harness::scripted::{Answer, Request, Scripted};

/// One user's grant at the OAuth server. The next refresh token replaces the current one for good
/// once anything that came with it is used; after that, the use of an older one ends the grant.
#[derive(Default)]
pub(super) struct Family {
    pub(super) issued: u64,
    /// The newest token that was used.
    confirmed: u64,
    /// Access tokens up to this one are refused.
    pub(super) ended: u64,
    pub(super) is_dead: bool,
}

impl Family {
    fn refresh(&mut self, presented: &str) -> Answer {
        let number: Option<u64> = presented
            .strip_prefix(&format!("{MARK}-refresh-"))
            .and_then(|number| number.parse().ok());
        match number {
            Some(number) if !self.is_dead && number >= self.confirmed && number <= self.issued => {
                self.confirmed = number;
                self.issued += 1;
                let next = self.issued;
                Answer::json(
                    200,
                    format!(
                        r#"{{"access_token":"{MARK}-access-{next}","expires_in":3600,"refresh_token":"{MARK}-refresh-{next}"}}"#
                    ),
                )
            }
            _ => {
                self.is_dead |= number.is_some();
                Answer::json(
                    400,
                    r#"{"reason":"Invalid Token!","error":"invalid_grant"}"#,
                )
            }
        }
    }

    fn call(&mut self, bearer: &str) -> Answer {
        let number: u64 = bearer
            .strip_prefix(&format!("Bearer {MARK}-access-"))
            .unwrap()
            .parse()
            .unwrap();
        if self.is_dead || number <= self.ended || number < self.confirmed || number > self.issued {
            return Answer::json(401, r#"{"code":124,"message":"Invalid access token."}"#);
        }
        self.confirmed = number;
        Answer::empty(204)
    }
}

pub(super) fn strict_zoom() -> (Scripted, Arc<Mutex<Family>>) {
    let family = Arc::new(Mutex::new(Family::default()));
    let of_server = Arc::clone(&family);
    let zoom = Scripted::start(move |request: &Request| {
        let mut family = of_server.lock().unwrap();
        match request
            .body
            .strip_prefix("grant_type=refresh_token&refresh_token=")
        {
            Some(presented) => family.refresh(presented),
            None => family.call(request.header("authorization")),
        }
    });
    (zoom, family)
}

pub(super) fn user(refresh_token: &str) -> Credentials {
    Credentials::UserRefresh {
        client_id: "app1".to_owned(),
        client_secret: secret("client"),
        refresh_token: Secret::new(refresh_token),
    }
}

pub(super) fn first() -> String {
    format!("{MARK}-refresh-0")
}

/// Opens a state directory that another client has just released. If another test starts a process
/// at that moment, the child has a copy of every open file between fork and exec, including the
/// lock; so this retries while the directory is in use.
pub(super) fn open_state(
    path: &Path,
    open: impl Fn(&Path) -> Result<StateDir, rtmsd::state::Error>,
) -> StateDir {
    let mut state = None;
    wait_until("the lock of the state directory", || {
        state = match open(path) {
            Err(rtmsd::state::Error::InUse { .. }) => None,
            result => Some(result.expect("a state directory")),
        };
        state.is_some()
    });
    state.expect("it was just opened")
}

fn with_state(zoom: &Scripted, refresh_token: &str, state: StateDir) -> Settings {
    Settings {
        state: Some(Arc::new(state)),
        ..settings(zoom, user(refresh_token))
    }
}

#[test]
fn each_start_continues_with_the_stored_token() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    for _ in 0..4 {
        let state = open_state(folder.path(), |path| StateDir::open(path));
        let api = with_state(&zoom, &first(), state).api().unwrap();
        api.control(&start("1")).unwrap();
    }
    let family = family.lock().unwrap();
    assert_eq!((family.issued, family.is_dead), (4, false));
}

/// SIGTERM during the exchange of the refresh token: the server waits for the answer and stores it,
/// does not make the call that needed the token, and the next process uses the new token.
#[test]
fn a_stop_waits_for_the_exchange_of_a_refresh_token() {
    let family = Arc::new(Mutex::new(Family::default()));
    let (of_server, of_test) = (Arc::clone(&family), channel());
    let (has_come, may_answer) = (of_test.0, Mutex::new(None));
    let (answer_now, wait) = channel();
    *may_answer.lock().unwrap() = Some(wait);
    let zoom = Scripted::start(move |request: &Request| {
        let mut family = of_server.lock().unwrap();
        match request
            .body
            .strip_prefix("grant_type=refresh_token&refresh_token=")
        {
            Some(presented) => {
                let answer = family.refresh(presented);
                drop(family);
                let wait: Option<std::sync::mpsc::Receiver<()>> = may_answer.lock().unwrap().take();
                if let Some(wait) = wait {
                    has_come.send(()).unwrap();
                    wait.recv().unwrap();
                }
                answer
            }
            None => family.call(request.header("authorization")),
        }
    });
    let folder = TempDir::new();
    {
        let state = open_state(folder.path(), |path| StateDir::open(path));
        let api = with_state(&zoom, &first(), state).api().unwrap();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| api.control(&start("1")));
            of_test
                .1
                .recv_timeout(PATIENCE)
                .expect("the refresh begins");
            api.stop();
            answer_now.send(()).unwrap();
            let error = call.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), Kind::Stopping, "{error}");
        });
    }
    assert_eq!(family.lock().unwrap().issued, 1);
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = with_state(&zoom, &first(), state).api().unwrap();
    api.control(&start("1")).unwrap();
    let family = family.lock().unwrap();
    assert_eq!(
        (family.issued, family.confirmed, family.is_dead),
        (2, 2, false)
    );
    let presented: Vec<String> = zoom.requests().iter().map(|r| r.body.clone()).collect();
    assert!(
        presented.iter().any(|body| body.ends_with("-refresh-1")),
        "{presented:?}"
    );
}

#[test]
fn a_token_is_fetched_each_hour() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    let clock = ManualClock::new();
    let mut settings = with_state(
        &zoom,
        &first(),
        open_state(folder.path(), |path| StateDir::open(path)),
    );
    settings.clock = clock.reading();
    let api = settings.api().unwrap();
    for _ in 0..24 {
        api.control(&start("1")).unwrap();
        clock.forward(3600);
    }
    assert_eq!(family.lock().unwrap().issued, 24);
}

#[test]
fn after_a_crash_at_any_step_the_next_start_works() {
    // The first write only checks for room, the second one stores the token.
    for (write, step) in [1, 2]
        .into_iter()
        .flat_map(|write| Step::ALL.map(|step| (write, step)))
    {
        for moment in [Moment::Before(step), Moment::After(step)] {
            let (zoom, family) = strict_zoom();
            let folder = TempDir::new();
            // After one rotation the configured token is an old one.
            let state = open_state(folder.path(), |path| StateDir::open(path));
            let api = with_state(&zoom, &first(), state).api().unwrap();
            api.control(&start("1")).unwrap();
            drop(api);

            let passed = Arc::new(AtomicUsize::new(0));
            let state = open_state(folder.path(), |path| {
                let passed = Arc::clone(&passed);
                StateDir::open_observed(path, move |now| {
                    if now == moment && passed.fetch_add(1, Ordering::SeqCst) + 1 == write {
                        // Stops the write at this step; the disk has what a crash would leave.
                        resume_unwind(Box::new("crash"));
                    }
                })
            });
            let api = with_state(&zoom, &first(), state).api().unwrap();
            let crashed = catch_unwind(AssertUnwindSafe(|| api.control(&start("1"))));
            assert!(!matches!(crashed, Ok(Ok(()))), "{write} {moment:?}");
            let calls = zoom
                .requests()
                .iter()
                .filter(|r| r.method == "PATCH")
                .count();
            assert_eq!(calls, 1, "no call is made with a token that is not stored");
            drop(api);

            let state = open_state(folder.path(), |path| StateDir::open(path));
            let api = with_state(&zoom, &first(), state).api().unwrap();
            api.control(&start("1"))
                .unwrap_or_else(|e| panic!("{write} {moment:?}: {e}"));
            assert!(!family.lock().unwrap().is_dead, "{write} {moment:?}");
        }
    }
}

#[test]
fn a_token_that_cannot_be_stored_is_not_used_and_not_lost() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    let target = folder.join("refresh_token.json");
    let state = StateDir::open_observed(folder.path(), {
        let target = target.clone();
        let writes = AtomicUsize::new(0);
        move |now| {
            // The second write finds a directory at the path of its file.
            if now == Moment::Before(Step::Rename) && writes.fetch_add(1, Ordering::SeqCst) == 1 {
                std::fs::create_dir(&target).unwrap();
            }
        }
    })
    .unwrap();
    let api = with_state(&zoom, &first(), state).api().unwrap();
    let error = api.control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Storage, "{error}");
    assert_eq!(error.class(), Class::Retry { after: None });
    assert_eq!(error.severity(), rtmsd::domain::severity::Severity::Error);
    assert_eq!(zoom.requests().len(), 1);
    // The fault is over: the token that was received then is stored and used.
    std::fs::remove_dir(&target).unwrap();
    api.control(&start("1")).unwrap();
    assert_eq!(zoom.requests().len(), 2);
    let family = family.lock().unwrap();
    assert_eq!((family.issued, family.is_dead), (1, false));
}

#[test]
fn a_full_disk_is_detected_before_a_token_is_used() {
    let (zoom, _) = strict_zoom();
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    std::fs::create_dir(folder.join("refresh_token.room")).unwrap();
    let api = with_state(&zoom, &first(), state).api().unwrap();
    assert_eq!(api.token().unwrap_err().kind(), Kind::Storage);
    assert!(zoom.requests().is_empty());
}

#[test]
fn a_lost_answer_is_requested_again() {
    let family = Arc::new(Mutex::new(Family::default()));
    let of_server = Arc::clone(&family);
    let zoom = Scripted::start(move |request: &Request| {
        let mut family = of_server.lock().unwrap();
        match request
            .body
            .strip_prefix("grant_type=refresh_token&refresh_token=")
        {
            Some(presented) => {
                let answer = family.refresh(presented);
                if family.issued == 1 {
                    Answer::Reset
                } else {
                    answer
                }
            }
            None => family.call(request.header("authorization")),
        }
    });
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = with_state(&zoom, &first(), state).api().unwrap();
    assert_eq!(api.control(&start("1")).unwrap_err().kind(), Kind::Reset);
    api.control(&start("1")).unwrap();
    assert!(!family.lock().unwrap().is_dead);
}

#[test]
fn a_newly_configured_token_wins_over_an_older_stored_one() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    let run = |configured: &str| {
        let state = open_state(folder.path(), |path| StateDir::open(path));
        let api = with_state(&zoom, configured, state).api().unwrap();
        api.control(&start("1"))
    };
    run(&first()).unwrap();
    assert_eq!(family.lock().unwrap().issued, 1);
    // The user has authorized the app again, which started a new grant.
    *family.lock().unwrap() = Family {
        issued: 100,
        confirmed: 100,
        is_dead: false,
        ..Family::default()
    };
    let renewed = format!("{MARK}-refresh-100");
    run(&renewed).unwrap();
    run(&renewed).unwrap();
    let family = family.lock().unwrap();
    assert_eq!((family.issued, family.is_dead), (102, false));
}

#[test]
fn a_damaged_stored_file_is_replaced() {
    for garbage in [
        "",
        "{",
        "{}",
        r#"{"v":2,"began_with":"x","refresh_token":"y"}"#,
    ] {
        let (zoom, _) = strict_zoom();
        let folder = TempDir::new();
        std::fs::write(folder.join("refresh_token.json"), garbage).unwrap();
        std::fs::write(folder.join("lock"), "").unwrap();
        let state = open_state(folder.path(), |path| StateDir::open(path));
        let api = with_state(&zoom, &first(), state).api().unwrap();
        api.control(&start("1")).unwrap();
    }
}

#[test]
fn removing_the_app_deletes_the_token() {
    let (zoom, _) = strict_zoom();
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = with_state(&zoom, &first(), state).api().unwrap();
    api.control(&start("1")).unwrap();
    assert!(folder.join("refresh_token.json").exists());
    api.forget().unwrap();
    assert!(!folder.join("refresh_token.json").exists());
    let requests = zoom.requests().len();
    assert_eq!(
        api.control(&start("1")).unwrap_err().kind(),
        Kind::Deauthorized
    );
    assert_eq!(zoom.requests().len(), requests);
}

/// Other users may remove the app, too; the operator's token is not theirs.
#[test]
fn only_a_removal_by_the_owner_deletes_the_token() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rtmsd::zoom_api::Deauthorized;

    let payload = URL_SAFE_NO_PAD.encode(r#"{"uid":"usr1","aid":"acc1","exp":1}"#);
    let zoom = Scripted::start(move |_| {
        Answer::json(
            200,
            format!(
                r#"{{"access_token":"{MARK}.{payload}.s","expires_in":3600,"refresh_token":"{MARK}-r"}}"#
            ),
        )
    });
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = with_state(&zoom, &first(), state).api().unwrap();
    // Nothing was fetched yet: the client asks Zoom for the owner.
    for (user_id, account_id) in [("usr2", "acc1"), ("usr1", "acc2"), ("", "acc2")] {
        let outcome = api.deauthorized(user_id, account_id).unwrap();
        assert_eq!(outcome, Deauthorized::OfAnother, "{user_id} {account_id}");
        assert!(folder.join("refresh_token.json").exists());
        assert!(api.token().is_ok());
    }
    assert_eq!(
        api.deauthorized("usr1", "acc1").unwrap(),
        Deauthorized::Forgotten
    );
    assert!(!folder.join("refresh_token.json").exists());
    assert_eq!(api.token().unwrap_err().kind(), Kind::Deauthorized);
}

#[test]
fn removing_the_app_during_a_fetch_deletes_the_token() {
    let folder = TempDir::new();
    let api: Arc<Mutex<Option<Arc<Api>>>> = Arc::default();
    let zoom = Scripted::start({
        let api = Arc::clone(&api);
        move |_| {
            api.lock().unwrap().as_ref().unwrap().forget().unwrap();
            Answer::json(
                200,
                format!(
                    r#"{{"access_token":"{MARK}-a","expires_in":9,"refresh_token":"{MARK}-r"}}"#
                ),
            )
        }
    });
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let client = Arc::new(with_state(&zoom, &first(), state).api().unwrap());
    *api.lock().unwrap() = Some(Arc::clone(&client));
    assert_eq!(client.token().unwrap_err().kind(), Kind::Deauthorized);
    assert!(!folder.join("refresh_token.json").exists());
}

#[test]
fn a_refresh_token_needs_a_state_directory() {
    let (zoom, _) = strict_zoom();
    let error = settings(&zoom, user(&first())).api().unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.to_string().contains("RTMS_STATE"), "{error}");
}

#[test]
fn the_stored_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (zoom, _) = strict_zoom();
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let api = with_state(&zoom, &first(), state).api().unwrap();
    api.token().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    assert_eq!(mode(&folder.join("refresh_token.json")), 0o600);
}

/// With another client secret and the same refresh token the chain continues. It is not read from
/// disk again, because a call with the old secret may be about to store its next token.
#[test]
fn a_changed_client_secret_continues_the_same_chain() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let old = with_state(&zoom, &first(), state).api().unwrap();
    old.control(&start("1")).unwrap();
    let changed = Credentials::UserRefresh {
        client_id: "app1".to_owned(),
        client_secret: secret("another"),
        refresh_token: Secret::new(first()),
    };
    let new = old
        .renewed(settings(&zoom, changed).app(), &old.process().allowed_hosts)
        .unwrap();
    // Each of the two clients uses the token that the other one stored.
    new.control(&start("1")).unwrap();
    let newest = new
        .renewed(
            settings(&zoom, user(&first())).app(),
            &old.process().allowed_hosts,
        )
        .unwrap();
    newest.control(&start("1")).unwrap();
    new.control(&start("1")).unwrap();
    let family = family.lock().unwrap();
    assert_eq!((family.issued, family.is_dead), (4, false));
}

/// Nothing relevant has changed, so the current access token stays in use.
#[test]
fn a_renewed_client_keeps_what_is_the_same() {
    let (zoom, family) = strict_zoom();
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let old = with_state(&zoom, &first(), state).api().unwrap();
    old.control(&start("1")).unwrap();
    let new = old
        .renewed(
            Settings {
                participant_user_id: Some("p".to_owned()),
                ..settings(&zoom, user(&first()))
            }
            .app(),
            &old.process().allowed_hosts,
        )
        .unwrap();
    new.control(&start("1")).unwrap();
    assert_eq!(family.lock().unwrap().issued, 1);
    let calls = new.counters().calls_ok.load(Ordering::Relaxed);
    assert_eq!(calls, 2);
}

/// A call with the old token is in progress when another token is configured and used: its result
/// must not overwrite the new chain.
#[test]
fn a_replaced_chain_stores_nothing() {
    let slow = Arc::new(Mutex::new(None::<Arc<Api>>));
    let zoom = Scripted::start({
        let slow = Arc::clone(&slow);
        move |request: &Request| {
            let token = |n: u32| {
                format!(
                    r#"{{"access_token":"{MARK}-a{n}","expires_in":3600,"refresh_token":"{MARK}-r{n}"}}"#
                )
            };
            if request.body.ends_with("new") {
                return Answer::json(200, token(2));
            }
            // Before the old client has its answer, the new token is configured and used.
            if let Some(new) = slow.lock().unwrap().take() {
                new.token().unwrap();
            }
            Answer::json(200, token(1))
        }
    });
    let folder = TempDir::new();
    let state = open_state(folder.path(), |path| StateDir::open(path));
    let old = with_state(&zoom, "old", state).api().unwrap();
    let new = Arc::new(
        old.renewed(
            settings(&zoom, user("new")).app(),
            &old.process().allowed_hosts,
        )
        .unwrap(),
    );
    *slow.lock().unwrap() = Some(Arc::clone(&new));
    old.token().unwrap();
    let stored = std::fs::read_to_string(folder.join("refresh_token.json")).unwrap();
    assert!(stored.contains(&format!("{MARK}-r2")), "{stored}");
}
