//! Several accounts in one server: each with a grant of its own, and one that breaks stops no other.

use rtmsd::demo::{DemoUser, MeetingHandle, MeetingScript, Options};

use crate::authorize::{Authorizing, consent, follow};
use crate::harness::{Harness, open, wait_until, wait_until_more, wait_until_streaming};

/// The account of the demo's first user.
pub(crate) const A: &str = "DemoAccount-7Qx";
pub(crate) const B: &str = "AccountB-1";
pub(crate) const C: &str = "AccountC-2";

/// A Zoom with a user of each account, who have yet to authorize the app.
pub(crate) fn options() -> Options {
    let user = |account: &str, name: &str| DemoUser {
        account_id: account.to_owned(),
        user_id: format!("user-{name}"),
        name: name.to_owned(),
        email: format!("{name}@example.com"),
    };
    Options {
        further_users: vec![user(B, "Bea"), user(C, "Cleo")],
        ..consent()
    }
}

/// Runs `rtmsd authorize` as a user of that account.
fn authorize(harness: &Harness, account: &str) {
    authorize_with(harness, account, &[]);
}

/// Likewise, with further arguments.
pub(crate) fn authorize_with(harness: &Harness, account: &str, arguments: &[&str]) {
    let command = Authorizing::start_with(&harness.folder.join("rtms.conf"), arguments);
    let address = command.address();
    let location = harness.zoom.consent_of(account, &address, true);
    let (status, said) = follow(harness.address(), &location.expect("a page"));
    assert_eq!(status, 200, "{said}");
    let (code, said) = command.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("account  {account}")), "{said}");
}

/// A meeting that goes on.
pub(crate) fn meeting(harness: &Harness, account: &str, seed: &str) -> MeetingHandle {
    harness.zoom.start_meeting(MeetingScript {
        account: Some(account.to_owned()),
        ..open(seed)
    })
}

#[test]
fn one_grant_of_three_breaks_and_the_others_go_on() {
    let mut harness = Harness::builder(options()).admin().start();
    let accounts = [A, B, C];
    for account in accounts {
        authorize(&harness, account);
    }
    let meetings = accounts.map(|account| meeting(&harness, account, account));
    meetings.iter().for_each(wait_until_streaming);
    let listed = harness.run(&["accounts"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    for words in [A, "Bea <Bea@example.com>", C] {
        assert!(listed.stdout.contains(words), "{listed:?}");
    }
    assert_eq!(harness.metric("rtmsd_grants{state=\"ok\"}"), 3.0);

    // A user of the third account removes the app; its webhook is lost.
    harness.zoom.revoke_account(C);
    let [more_a, more_b] =
        [A, B].map(|account| meeting(&harness, account, &format!("more {account}")));
    let failed = meeting(&harness, C, "failed");
    harness.wait_until_logged(&[
        " ERROR ",
        "the grant was revoked",
        &format!("account {C}"),
        "rtmsd authorize",
    ]);
    wait_until_streaming(&more_a);
    wait_until_streaming(&more_b);
    meetings
        .iter()
        .for_each(|meeting| wait_until_more(meeting, 2));
    let line = format!(
        "account {C}: the grant of user user-Cleo is revoked: authorize again (rtmsd authorize)"
    );
    let ready = harness.admin_page("/readyz");
    assert!(
        ready.starts_with("ready") && ready.contains(&line),
        "{ready}"
    );
    let status = harness.run(&["status"]);
    assert!(status.stdout.contains(&line), "{status:?}");
    assert_eq!(harness.metric("rtmsd_grants{state=\"revoked\"}"), 1.0);
    assert_eq!(harness.metric("rtmsd_grants{state=\"ok\"}"), 2.0);
    let listed = harness.run(&["accounts"]);
    let row = listed.stdout.lines().find(|line| line.starts_with(C));
    assert!(
        row.is_some_and(|row| row.contains("  revoked  ")),
        "{listed:?}"
    );
    assert!(
        listed
            .stdout
            .contains("\n  authorize again (rtmsd authorize)\n"),
        "{listed:?}"
    );

    // A command beside the server has to name the account.
    let number = more_b.script().number.to_string();
    let ran = harness.run(&["pause", &number]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.stdout.contains("name it with --account"), "{ran:?}");
    let ran = harness.run(&["pause", &number, "--account", B]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = harness.run(&["pause", &number, "--account", "unknown"]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.stdout.contains("account unknown"), "{ran:?}");

    // Authorized again, what had failed is started.
    authorize(&harness, C);
    wait_until_streaming(&failed);
    assert_eq!(harness.metric("rtmsd_grants{state=\"ok\"}"), 3.0);

    // A user removes the app: that grant goes, and no other.
    harness.zoom.post_webhook(&serde_json::json!({
        "event": "app_deauthorized", "event_ts": 1_795_000_000_000_u64,
        "payload": {"user_id": "user-Bea", "account_id": B}}));
    harness.wait_until_logged(&[" ERROR ", "a user removed the app", &format!("account={B}")]);
    wait_until("the grant is gone", || {
        harness.metric("rtmsd_grants{state=\"ok\"}") == 2.0
    });
    assert!(harness.zoom.refresh_token_of(A).is_some());
    let json = harness.run(&["accounts", "--json"]);
    let grants: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let of_account = |n: usize| grants[n]["account_id"].as_str();
    assert_eq!(
        (of_account(0), of_account(1)),
        (Some(C), Some(A)),
        "{json:?}"
    );
    assert!(!json.stdout.contains("demo-refresh"), "{json:?}");

    // Without the server, the state directory says the same.
    harness.assert_no_violations();
    harness.terminate();
    let stored = harness.run(&["accounts"]);
    assert!(
        stored.stdout.contains(A) && stored.stdout.contains(C),
        "{stored:?}"
    );
    assert!(!stored.stdout.contains(B), "{stored:?}");
}
