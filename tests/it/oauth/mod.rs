//! The whole binary with the demo's Zoom: tokens and REST calls with faults for hours, the
//! commands, proxies, and that no secret is shown.

mod commands;
mod meetings;
mod proxies;
mod rotation;
mod secrets;

use std::time::Duration;

use rtmsd::demo::{MeetingHandle, MeetingScript, Options, Step};

use crate::harness::{Harness, PATIENCE, TempDir, run, wait_until, wait_until_step};

/// Starts a meeting whose stream must be started by REST.
fn meet(harness: &Harness, seed: &str) -> MeetingHandle {
    harness.zoom.start_meeting(MeetingScript::plain(seed))
}

/// The statuses of all calls to the OAuth server, in order.
fn oauth_statuses(harness: &Harness) -> Vec<u16> {
    let calls = harness.zoom.oauth_calls();
    calls.iter().map(|call| call.status).collect()
}

/// A server whose Zoom issues refresh tokens.
fn refreshing() -> Options {
    Options {
        credentials: rtmsd::demo::Credentials::Refresh,
        ..Options::default()
    }
}

/// A server that has started a meeting after its first token had expired, and got another one for that.
fn outlive_a_token(options: Options) -> Harness {
    const LIFETIME: Duration = Duration::from_secs(2);
    let options = Options {
        token_lifetime: LIFETIME,
        ..options
    };
    let harness = Harness::start(options, &[]);
    // Starts without streams, which this test does not need.
    let start = |seed: &str| {
        let meeting = harness.zoom.start_meeting(MeetingScript {
            start_delay: PATIENCE,
            ..MeetingScript::plain(seed)
        });
        wait_until_step(&meeting, Step::StartCalled);
    };
    start("first");
    let first = harness.zoom.oauth_calls();
    wait_until("the end of the last token", || {
        first.last().unwrap().at.elapsed() > LIFETIME
    });
    start("second");
    let calls = harness.zoom.oauth_calls();
    assert!(calls.len() > first.len(), "{calls:?}");
    harness
}
