//! One folder for recordings, two servers.

use rtmsd::demo::Step;

use crate::harness::{
    Harness, PATIENCE, TempDir, frequent_keep_alives, open, wait_until_step, wait_until_streaming,
};

#[test]
fn a_second_server_on_the_same_folder_says_who_has_it_and_harms_nothing() {
    let mut first = Harness::start(frequent_keep_alives(1000), &[]);
    let meeting = first.zoom.start_meeting(open("locked"));
    wait_until_streaming(&meeting);
    let out = first.out().display().to_string();

    // With a state directory of its own, so that nothing else keeps it from starting.
    let second = Harness::builder(frequent_keep_alives(1000)).settings(&[("RTMS_OUT", &out)]);
    let mut second = second.without_server();
    let mut refused = second.start_second_server();
    let status = refused.wait(PATIENCE);
    assert_eq!(status.and_then(|s| s.code()), Some(69));
    let line = refused.wait_until_logged(&["RTMS_OUT", "found a server that writes there"]);
    let pid = format!("(pid {} on ", first.server.id());
    assert!(line.contains(&pid), "{line}");

    // The same by a reload: nothing changes.
    let own = TempDir::new();
    second.set("RTMS_OUT", &own.path().display().to_string());
    second.start_server();
    let line = second.reload(&[("RTMS_OUT", &out)]);
    assert!(line.contains("configuration unchanged"), "{line}");
    second.wait_until_logged(&["found a server that writes there"]);

    // And the first one's stream still runs, in one life.
    wait_until_streaming(&meeting);
    assert_eq!(meeting.count(Step::Ready), 1);
    meeting.end(rtmsd::demo::End::meeting_ended());
    wait_until_step(&meeting, Step::Closed);

    // The lock goes with the process, however it ends.
    first.server.kill();
    let line = second.reload(&[("RTMS_OUT", &out)]);
    assert!(line.contains("configuration reloaded"), "{line}");
    second.end();
}
