//! Meetings that many tests play, and waits for their steps.

use std::time::Duration;

use rtmsd::demo::{
    Begin, Delivery, End, Ending, MeetingHandle, MeetingScript, Options, Step, Zoom,
};

use serde_json::json;

use super::{PATIENCE, wait_until};

/// Frequent keep-alives, so that short meetings have some. A late answer on a busy machine is not a
/// fault as long as Zoom itself, which waits half a minute, would continue.
pub(crate) fn frequent_keep_alives(every_ms: u64) -> Options {
    Options {
        keep_alive: Duration::from_millis(every_ms),
        unanswered_max: (30_000 / every_ms) as usize,
        ..Options::default()
    }
}

/// A meeting with `phrases` phrases, which then ends.
pub(crate) fn short(mut script: MeetingScript, phrases: u64) -> MeetingScript {
    script.phrases = Some(phrases);
    script.phrases_per_second = 400.0;
    script.ending = Ending::AfterPhrases(End::meeting_ended());
    script
}

/// The same, as a plain meeting.
pub(crate) fn plain(seed: &str, phrases: u64) -> MeetingScript {
    short(MeetingScript::plain(seed), phrases)
}

/// A meeting that does not end by itself.
pub(crate) fn open(seed: &str) -> MeetingScript {
    MeetingScript {
        phrases_per_second: 50.0,
        ..MeetingScript::plain(seed)
    }
}

/// The same, with a stream that Zoom starts by itself.
pub(crate) fn open_at_once(seed: &str) -> MeetingScript {
    MeetingScript {
        begin: Begin::AtOnce,
        ..open(seed)
    }
}

#[track_caller]
pub(crate) fn wait_until_step(meeting: &MeetingHandle, step: Step) {
    let is_seen = meeting.wait_for(step, PATIENCE);
    let topic = &meeting.script().topic;
    assert!(is_seen, "{step:?} of {topic}: {:?}", meeting.steps());
}

/// Waits until the meeting is over for Zoom.
#[track_caller]
pub(crate) fn wait_until_over(meeting: &MeetingHandle) {
    for step in [Step::Ended, Step::StoppedAnswered, Step::Closed] {
        wait_until_step(meeting, step);
    }
}

/// Waits until `phrases` more phrases were sent.
#[track_caller]
pub(crate) fn wait_until_more(meeting: &MeetingHandle, phrases: u64) {
    let is_sent = meeting.wait_for_phrases(meeting.sent_count() + phrases, PATIENCE);
    let topic = &meeting.script().topic;
    assert!(is_sent, "{phrases} more of {topic}: {:?}", meeting.steps());
}

#[track_caller]
pub(crate) fn wait_until_streaming(meeting: &MeetingHandle) {
    wait_until_more(meeting, 3);
}

/// One whole meeting in parallel to the rest of the test.
#[track_caller]
pub(crate) fn assert_another_works(zoom: &Zoom, seed: &str) {
    let meeting = zoom.start_meeting(plain(seed, 10));
    wait_until_over(&meeting);
}

/// Posts the webhook that announced the stream again, until it is accepted.
#[track_caller]
pub(crate) fn repeat_started(meeting: &MeetingHandle) {
    wait_until("the repeated webhook is accepted", || {
        let delivery = meeting.repeat_started().expect("it has been posted");
        delivery.is_accepted()
    });
}

/// Posts a correct webhook with an unknown event.
pub(crate) fn post_meaningless(zoom: &Zoom) -> Delivery {
    zoom.post_webhook(&json!({
        "event": "meeting.participant_joined", "event_ts": 1_767_000_000_000_u64,
        "payload": {"object": {"id": 1}}}))
}

/// Prints a figure to the output of the tests.
#[expect(clippy::print_stderr, reason = "figures are the output of a test")]
pub(crate) fn report(line: &str) {
    eprintln!("{line}");
}
