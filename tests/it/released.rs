//! What `.ci/release` made, used as its users do: a meeting of a Zoom outside, received by a server that
//! `.ci/try-release` starts from the image, or under an emulator.
//!
//! `RTMSD_SERVER` is a shell command that becomes the server, with the settings in `$FOLDER/rtms.conf`;
//! it writes to `$FOLDER/data/meetings`. `RTMSD_HEALTH` may be one that succeeds while the server runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use rtmsd::demo::{End, MeetingScript, Options, Step, Zoom, compare, transcript_lines};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    KilledOnDrop, TempDir, free_port, post_meaningless, report, run_to_end, wait_until,
    wait_until_more, wait_until_step,
};

#[test]
#[ignore = "needs what .ci/release makes; .ci/try-release"]
fn a_meeting_from_outside() {
    let command = std::env::var("RTMSD_SERVER").expect("the command of a server");
    let folder = TempDir::new();
    let certificates = folder.path().join("zoom");
    for made in [certificates.clone(), folder.path().join("data")] {
        fs::create_dir(made).expect("a folder");
    }
    let zoom = Zoom::start(Options {
        directory: Some(certificates),
        webhook_retries: vec![Duration::from_millis(300); 300],
        ..Options::default()
    })
    .expect("a Zoom");
    let (port, admin) = (free_port(), free_port());
    let mut settings: String = (zoom.environment().iter())
        .map(|(key, value)| format!("{key}=\"{value}\"\n"))
        .collect();
    settings += &format!("HOST=127.0.0.1\nPORT={port}\nRTMS_ADMIN=127.0.0.1:{admin}\n");
    let conf = folder.path().join("rtms.conf");
    fs::write(&conf, settings).expect("a file");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).expect("ours");

    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).env("FOLDER", folder.path());
    let mut server = KilledOnDrop(shell.spawn().expect("a shell"));
    let target = format!("http://127.0.0.1:{port}/webhook");
    zoom.set_webhook_target(&target).expect("a target");
    wait_until("the server", || post_meaningless(&zoom).is_accepted());

    let meeting = zoom.start_meeting(MeetingScript::plain("released"));
    wait_until_more(&meeting, 20);
    if let Some(health) = std::env::var("RTMSD_HEALTH")
        .ok()
        .filter(|it| !it.is_empty())
    {
        let ran = run_to_end(Command::new("sh").args(["-c", &health]));
        report(&format!("health: {}", ran.stdout.trim()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    meeting.end(End::meeting_ended());
    wait_until_step(&meeting, Step::Closed);

    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    let mut status = None;
    wait_until("the end of the server", || {
        status = server.0.try_wait().expect("a child");
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let meetings = folder.path().join("data/meetings");
    let lines = transcript_lines(&meetings, &meeting.script().id).expect("files");
    let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
    report(&format!("{result:?}"));
    assert!(result.is_exact(), "{result:?}");
}
