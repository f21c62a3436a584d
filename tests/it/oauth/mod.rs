//! The whole binary with the demo's Zoom: tokens and REST calls with faults for hours, the
//! commands, proxies, and that no secret is shown.

mod commands;
mod meetings;
mod proxies;
mod rotation;
mod secrets;

use rtmsd::demo::{MeetingHandle, MeetingScript, Options};

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
