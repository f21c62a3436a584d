//! Grants that users gave by `rtmsd authorize` on one node.

use std::time::Duration;

use rtmsd::demo::{Credentials, Options};
use serde_json::Value;

use super::{nine_meetings_for_each_of_three_tokens, options};
use crate::authorize::{Authorizing, follow};
use crate::harness::fleet::Fleet;
use crate::harness::{PATIENCE, run, wait_until};

/// The account of the one user.
const ACCOUNT: &str = "DemoAccount-7Qx";

/// A user authorizes the app at a node.
fn authorize(fleet: &Fleet, at: usize) {
    let command = Authorizing::start(&fleet.nodes[at].config());
    let address = command.address();
    let location = fleet.zoom.consent(&address, true).expect("a page");
    let server = fleet.nodes[at]
        .server
        .address(PATIENCE)
        .expect("a listener");
    let (status, said) = follow(server, &location);
    assert_eq!(status, 200, "{said}");
    let (code, said) = command.end();
    assert_eq!(code, 0, "{said}");
}

/// The accounts that a command with this configuration shows.
fn accounts(config: &std::path::Path) -> Vec<String> {
    let config = config.display().to_string();
    let ran = run(&["accounts", "--json", "--config", &config], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let text = |it: &Value| it["account_id"].as_str().unwrap_or_default().to_owned();
    found.iter().map(text).collect()
}

#[test]
fn flow_g_a_grant_that_one_node_was_given_serves_on_all_until_its_user_removes_the_app() {
    const LIFETIME: Duration = Duration::from_secs(3);
    let options = Options {
        credentials: Credentials::Consent,
        token_lifetime: LIFETIME,
        ..options()
    };
    let Some(mut fleet) = Fleet::start(3, options, &[]) else {
        return;
    };
    authorize(&fleet, 1);
    // A machine with the configuration alone.
    let apart = fleet.configuration_apart();
    for config in fleet
        .nodes
        .iter()
        .map(|node| node.config())
        .chain([apart.clone()])
    {
        assert_eq!(accounts(&config), [ACCOUNT], "{}", config.display());
    }
    let nodes = nine_meetings_for_each_of_three_tokens(&fleet, LIFETIME, |round, meetings| {
        if round == 0 {
            let number = meetings[0].script().number.to_string();
            let config = apart.display().to_string();
            let ran = run(&["pause", &number, "--config", &config], &[]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    // Authorized again at another node, the first grant is over on all of them.
    authorize(&fleet, 2);
    for at in 0..3 {
        assert_eq!(accounts(&fleet.nodes[at].config()), [ACCOUNT]);
        wait_until("one grant", || fleet.nodes[at].stored_grants() == 1);
    }
    // That user removes the app: every node hears of it.
    fleet.zoom.post_webhook(&serde_json::json!({
        "event": "app_deauthorized", "event_ts": 1_795_000_000_000_u64,
        "payload": {"user_id": "DemoUser-1", "account_id": ACCOUNT}}));
    for at in 0..3 {
        wait_until("no grant is left", || {
            accounts(&fleet.nodes[at].config()).is_empty() && fleet.nodes[at].stored_grants() == 0
        });
    }
    fleet.kill(0);
    assert_eq!(accounts(&fleet.nodes[0].config()), [""; 0]);
    assert_eq!(accounts(&apart), [""; 0]);
    assert_eq!(fleet.end(), Vec::<String>::new());
}
