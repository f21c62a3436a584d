//! A server that may open few files: streams wait for room, and nothing else is harmed.

use rtmsd::demo::{End, MeetingHandle, Step};

use crate::harness::{
    Harness, frequent_keep_alives, http, open_at_once, wait_until, wait_until_step,
    wait_until_streaming,
};

#[test]
fn new_streams_wait_for_files_and_running_ones_are_not_affected() {
    let builder = Harness::builder(frequent_keep_alives(1000)).admin();
    let mut harness = builder.prelude("ulimit -n 100").start();
    let meetings: Vec<MeetingHandle> = (0..12)
        .map(|n| {
            harness
                .zoom
                .start_meeting(open_at_once(&format!("few files {n}")))
        })
        .collect();
    let is_running = |meeting: &&MeetingHandle| meeting.count(Step::Ready) > 0;
    let is_waiting = |meeting: &&MeetingHandle| meeting.count(Step::Ready) == 0;
    harness.wait_until_logged(&[
        "not enough resources",
        "of 100 files are open",
        "LimitNOFILE",
    ]);
    wait_until("some run", || {
        meetings.iter().any(|meeting| is_running(&meeting))
    });
    let admin = harness.admin();
    let (mut code, mut why) = (0, String::new());
    wait_until("the limit is named", || {
        (code, why) = http::get(admin, "/readyz");
        code == 503 && why.contains("streams wait for files")
    });
    assert!(why.ends_with("raise LimitNOFILE\n"), "{why}");
    // Webhooks are answered, and those that run are heard.
    harness.assert_answered();
    let first: Vec<&MeetingHandle> = meetings.iter().filter(is_running).collect();
    first
        .iter()
        .for_each(|meeting| wait_until_streaming(meeting));
    assert!(meetings.iter().any(|meeting| is_waiting(&meeting)));

    // As they end, the others have their turn: Zoom waits a minute for each.
    for meeting in first {
        meeting.end(End::meeting_ended());
        wait_until_step(meeting, Step::Closed);
    }
    let is_over = |meeting: &MeetingHandle| meeting.count(Step::Ended) > 0;
    while !meetings.iter().all(is_over) {
        // Which of them gets room next is not promised.
        let next = || meetings.iter().find(|it| !is_over(it) && is_running(it));
        wait_until("another one runs", || next().is_some());
        let next = next().expect("it runs");
        wait_until_streaming(next);
        next.end(End::meeting_ended());
        wait_until_step(next, Step::Closed);
    }
    wait_until("ready again", || http::get(admin, "/readyz").0 == 200);
    harness.terminate();
    harness.assert_no_violations();
    for meeting in &meetings {
        assert_eq!(meeting.count(Step::Lost), 0);
        harness.assert_complete(meeting);
    }
}
