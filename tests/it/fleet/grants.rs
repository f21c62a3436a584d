//! One user's grant, whose refresh token rotates, on several nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use rtmsd::demo::{Credentials, MeetingScript, Options, Step};

use super::{end, options};
use crate::harness::fleet::Fleet;
use crate::harness::{PATIENCE, wait_until, wait_until_more};

#[test]
fn flow_g_nodes_with_one_grant_use_no_refresh_token_twice() {
    const LIFETIME: Duration = Duration::from_secs(3);
    let options = Options {
        credentials: Credentials::Refresh,
        token_lifetime: LIFETIME,
        ..options()
    };
    let Some(fleet) = Fleet::start(3, options, &[]) else {
        return;
    };
    let mut used = 0;
    let mut nodes = BTreeSet::new();
    for round in 0..3 {
        let meetings: Vec<_> = (0..9)
            .map(|n| {
                let seed = format!("grant-{round}-{n}");
                fleet.zoom.start_meeting(MeetingScript {
                    phrases_per_second: 20.0,
                    ..MeetingScript::plain(&seed)
                })
            })
            .collect();
        for meeting in &meetings {
            let is_started = meeting.wait_for(Step::StartedAnswered, PATIENCE);
            assert!(is_started, "{:?}", meeting.steps());
            wait_until_more(meeting, 5);
        }
        end(&fleet, &meetings);
        for meeting in &meetings {
            let holders = fleet.holders(&meeting.streams()[0]);
            nodes.extend(holders.into_iter().map(|(at, _)| at));
            let comparison = fleet.comparison(meeting);
            assert!(comparison.is_exact(), "{comparison:?}");
        }
        let calls = fleet.zoom.oauth_calls();
        // A refresh token that is used twice is refused, and ends the grant.
        let refused = calls.iter().filter(|call| call.status != 200).count();
        assert_eq!(refused, 0, "{calls:?}");
        assert!(calls.len() > used, "no refresh in round {round}");
        used = calls.len();
        let last = calls.last().map(|call| call.at);
        wait_until("the end of the last token", || {
            last.is_some_and(|at| at.elapsed() > LIFETIME)
        });
    }
    // Each of them has started streams.
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    assert_eq!(fleet.end(), Vec::<String>::new());
}
