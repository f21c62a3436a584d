//! One user's grant, whose refresh token rotates, on several nodes.

use std::time::Duration;

use rtmsd::demo::{Credentials, Options};

use super::{nine_meetings_for_each_of_three_tokens, options};
use crate::harness::fleet::Fleet;

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
    let nodes = nine_meetings_for_each_of_three_tokens(&fleet, LIFETIME, |_, _| {});
    // Each of them has started streams.
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    assert_eq!(fleet.end(), Vec::<String>::new());
}
