//! The behavior of a stream in conversations with Zoom, line by line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::talk::*;
use crate::domain::secret::Secret;
use crate::protocol::codes::StopReason;
use crate::protocol::signature::handshake_signature;
use crate::protocol::{Command, Loss, Output, Stream};

#[test]
fn the_happy_path() {
    let mut talk = Talk::new("transcript");
    talk.until(0.1);
    talk.open(SIGNALING);
    talk.until(0.2);
    talk.hear(
        SIGNALING,
        msg2(json!({"transcript": "wss://m.zoom.us", "all": "wss://a.zoom.us"})),
    );
    talk.until(0.3);
    talk.open(TEXT);
    talk.until(0.4);
    talk.hear(TEXT, msg4());
    talk.until(2.0);
    talk.hear(TEXT, said("hi"));
    talk.until(3.0);
    talk.tell(Command::Stopped(StopReason(6)));
    talk.hear(TEXT, said("last words"));
    talk.until(60.0);
    talk.check(&[
        "0.0 connect signaling sig.zoom.us",
        "0.1 > signaling 1",
        "0.2 * Accepted(Signaling)",
        "0.2 > signaling 5",
        "0.2 connect media:transcript m.zoom.us",
        "0.3 > media:transcript 3 media_type=8",
        "0.4 * Accepted(Media(Transcript))",
        "0.4 > signaling 7",
        "0.4 * Ready",
        "2.0 said Ada: hi",
        "3.0 said Ada: last words",
        "4.0 close media:transcript",
        "4.0 close signaling",
        "4.0 end stopped by Zoom: 6 MEETING_ENDED",
    ]);
}

#[test]
fn keep_alives_are_echoed_on_their_own_socket_as_they_came() {
    let mut talk = Talk::ready();
    talk.hear_text(
        SIGNALING,
        r#"{"msg_type":12,"timestamp":1767000000123,"sequence":7}"#,
    );
    talk.hear_text(TEXT, r#"{"msg_type":12,"timestamp":"1767000000124"}"#);
    talk.hear_text(TEXT, r#"{"msg_type":"12"}"#);
    talk.hear_text(
        SIGNALING,
        r#"{"sequence":1.50,"msg_type":12,"x":{"timestamp":9}}"#,
    );
    talk.check(&[
        "0.0 > signaling 13 1767000000123 7",
        "0.0 > media:transcript 13 \"1767000000124\" null",
        "0.0 > media:transcript 13 null null",
        "0.0 > signaling 13 null 1.5",
    ]);
    // They are also answered before the handshake is: Zoom counts from the connection on.
    let mut early = Talk::new("transcript");
    early.open(SIGNALING);
    early.skip();
    early.hear(SIGNALING, keep_alive(5));
    early.check(&["0.0 > signaling 13 5 null"]);
}

#[test]
fn a_keep_alive_cannot_be_used_for_amplification() {
    let mut talk = Talk::ready();
    let huge = format!(r#"{{"msg_type":12,"timestamp":"{}"}}"#, "9".repeat(100_000));
    talk.hear_text(SIGNALING, &huge);
    talk.check(&["0.0 > signaling 13 null null"]);
}

#[test]
fn unknown_messages_are_counted_and_skipped() {
    let mut talk = Talk::ready();
    for n in [0, 23, 24, 30, 99, -1] {
        talk.hear(TEXT, json!({"msg_type": n, "content": {"data": [1, 2]}}));
    }
    talk.hear_text(TEXT, "not json");
    talk.hear_text(TEXT, "[]");
    talk.hear_text(TEXT, "{}");
    talk.hear_text(TEXT, &"[".repeat(10_000));
    talk.check(&[
        "0.0 unreadable",
        "0.0 unreadable",
        "0.0 unreadable",
        "0.0 unreadable",
    ]);
    assert_eq!(talk.stream.counters().unknown, 6);
    assert_eq!(talk.stream.counters().malformed, 4);
    talk.hear(TEXT, said("still here"));
    talk.check(&["0.0 said Ada: still here"]);
}

#[test]
fn refusals_by_class() {
    let check = |answer: serde_json::Value, expected: &[&str]| {
        let mut talk = Talk::new("transcript");
        talk.open(SIGNALING);
        talk.skip();
        talk.hear(SIGNALING, answer);
        for part in expected {
            talk.check_contains(part);
        }
        talk
    };
    let refusal = |code: i64| json!({"msg_type": 2, "status_code": code, "reason": "no"});
    check(
        refusal(3),
        &[
            "end signaling refused: 3 INVALID_SIGNATURE",
            "ZOOM_CLIENT_SECRET",
        ],
    );
    check(
        refusal(2),
        &["end signaling refused: 2 INVALID_RTMS_STREAM_ID"],
    );
    check(refusal(4), &["end signaling refused: 4 INVALID_PAYLOAD"]);
    for retried in [
        refusal(8),
        refusal(45),
        refusal(77),
        json!({"msg_type": 2, "reason": "?"}),
    ] {
        let mut talk = check(retried, &["close signaling", "Refused"]);
        assert!(!talk.has_ended);
        talk.skip();
        talk.until(0.4);
        talk.check(&[]);
        talk.until(0.5);
        talk.check(&["0.5 connect signaling sig.zoom.us"]);
    }
    // An older server's number with a reason that says what is meant.
    let old = json!({"msg_type": 2, "status_code": 17, "reason": "Duplicate signal request"});
    assert!(!check(old, &["close signaling"]).has_ended);
}

#[test]
fn media_refusals() {
    let refuse = |code: i64| {
        let mut talk = Talk::new("transcript");
        talk.open(SIGNALING);
        talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
        talk.open(TEXT);
        talk.skip();
        talk.hear(TEXT, json!({"msg_type": 4, "status_code": code}));
        talk
    };
    refuse(12).check_contains("scope meeting:read:meeting_transcript");
    refuse(36).check_contains("check RTMS_TRANSCRIPT_LANGUAGE");
    refuse(3).check_contains("end media:transcript refused: 3");
    let mut talk = refuse(16);
    talk.skip();
    talk.until(0.5);
    talk.check(&["0.5 connect media:transcript m.zoom.us"]);
}

#[test]
fn a_socket_per_kind_and_one_ready_after_all_of_them() {
    let mut talk = Talk::new("transcript,audio,video");
    talk.open(SIGNALING);
    talk.skip();
    let urls = json!({"audio": "wss://au.zoom.us", "transcript": "wss://tr.zoom.us"});
    talk.hear(SIGNALING, msg2(urls));
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.open(AUDIO);
    talk.hear(
        AUDIO,
        json!({"msg_type": 4, "status_code": 9, "reason": "scope"}),
    );
    talk.check(&[
        "0.0 * Accepted(Signaling)",
        "0.0 > signaling 5",
        "0.0 * NotGranted { kind: Video, scope: Some(\"meeting:read:meeting_video\") }",
        "0.0 connect media:audio au.zoom.us",
        "0.0 connect media:transcript tr.zoom.us",
        "0.0 > media:transcript 3 media_type=8",
        "0.0 * Accepted(Media(Transcript))",
        "0.0 > media:audio 3 media_type=1",
        "0.0 * Refused { link: Media(Audio), status: Some(RtmsStatus(9)), reason: \"scope\", \
         policy: NotGranted }",
        "0.0 close media:audio",
        "0.0 * NotGranted { kind: Audio, scope: Some(\"meeting:read:meeting_audio\") }",
        "0.0 > signaling 7",
        "0.0 * Ready",
    ]);
}

#[test]
fn a_hung_media_server_does_not_delay_the_others() {
    let mut talk = Talk::new("transcript,audio");
    talk.open(SIGNALING);
    talk.hear(
        SIGNALING,
        msg2(json!({"audio": "wss://au.zoom.us", "transcript": "wss://tr.zoom.us"})),
    );
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.skip();
    talk.until(10.0);
    talk.check(&[
        "3.0 > signaling 7",
        "3.0 * Ready",
        "10.0 close media:audio",
        "10.0 * Lost(Media(Audio), TimedOut)",
    ]);
    talk.until(13.0);
    talk.open(AUDIO);
    talk.hear(AUDIO, msg4());
    talk.check_contains("13.0 > signaling 7");
}

#[test]
fn a_kind_without_a_url_uses_the_url_of_all() {
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.skip();
    talk.hear(SIGNALING, msg2(json!({"all": "wss://all.zoom.us"})));
    talk.open(TEXT);
    talk.check_contains("connect media:transcript all.zoom.us");
    talk.check_contains("> media:transcript 3 media_type=8");
    let mut all = Talk::new("all");
    all.open(SIGNALING);
    all.hear(
        SIGNALING,
        msg2(json!({"all": "wss://all.zoom.us", "audio": "wss://au.zoom.us"})),
    );
    all.check_contains("connect media:all all.zoom.us");
    // Kinds that are not listed beside it are not granted; the others are received.
    all.check_contains("NotGranted { kind: Video, scope: Some(\"meeting:read:meeting_video\") }");
    all.check_contains("NotGranted { kind: Chat, ");
    let mut unlisted = Talk::new("all");
    unlisted.open(SIGNALING);
    unlisted.skip();
    unlisted.hear(SIGNALING, msg2(json!({"all": "wss://all.zoom.us"})));
    unlisted.check(&[
        "0.0 * Accepted(Signaling)",
        "0.0 > signaling 5",
        "0.0 connect media:all all.zoom.us",
    ]);
}

#[test]
fn nothing_granted_or_nothing_allowed() {
    for urls in [
        json!({}),
        json!({"transcript": ""}),
        json!({"transcript": 5}),
        json!(null),
    ] {
        let mut talk = Talk::new("transcript");
        talk.open(SIGNALING);
        talk.hear(SIGNALING, msg2(urls));
        talk.check_contains("end no wanted media is granted");
    }
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://evil.test"})));
    talk.check_contains("BadUrl { kind: Transcript, error: Host }");
    assert!(talk.has_ended);
}

#[test]
fn stop_at_every_stage() {
    let stop = |talk: &mut Talk| {
        talk.tell(Command::Stopped(StopReason(6)));
        talk.until(30.0);
        talk.check_contains("end stopped by Zoom: 6");
        assert!(talk.has_ended);
    };
    let mut talk = Talk::new("transcript");
    stop(&mut talk);
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    stop(&mut talk);
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    stop(&mut talk);
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    talk.open(TEXT);
    stop(&mut talk);
    stop(&mut Talk::ready());
    let mut talk = Talk::ready();
    talk.lose(SIGNALING, Loss::Closed(Some(1006)));
    stop(&mut talk);
}

#[test]
fn terminated_on_the_socket_is_the_end_and_its_reason_may_follow() {
    let mut talk = Talk::ready();
    talk.hear(
        SIGNALING,
        json!({"msg_type": 8, "state": 4, "timestamp": 1}),
    );
    talk.tell(Command::Stopped(StopReason(6)));
    // Zoom closes its sockets, so nothing more is waited for.
    talk.until(0.2);
    talk.lose(TEXT, Loss::Closed(Some(1000)));
    talk.check_contains("0.2 end stopped by Zoom: 6 MEETING_ENDED");
}

#[test]
fn a_close_after_terminating_is_the_end() {
    let mut talk = Talk::ready();
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 3, "reason": 6}));
    talk.lose(SIGNALING, Loss::Closed(Some(1000)));
    talk.lose(TEXT, Loss::Closed(Some(1000)));
    talk.check_contains("end stopped by Zoom: 6");
}

/// The disk is slow when the meeting ends: what Zoom still has to send waits for us.
#[test]
fn a_pause_of_our_own_does_not_end_the_reading_after_a_stop() {
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(6)));
    for tenths in 1..=50 {
        talk.until(f64::from(tenths) / 10.0);
        talk.hold_media();
    }
    talk.check(&[]);
    talk.hear(TEXT, said("the last words"));
    talk.check_contains("the last words");
    talk.take_lines();
    talk.until(20.0);
    talk.check_contains("end stopped by Zoom: 6");
    // But not for ever.
    let mut held = Talk::ready();
    held.tell(Command::Stopped(StopReason(6)));
    for tenths in 1..=200 {
        held.until(f64::from(tenths) / 10.0);
        held.hold_media();
    }
    held.check_contains("10.0 end stopped by Zoom: 6");
}

#[test]
fn after_withdrawn_consent_no_data_is_passed_on() {
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(8)));
    talk.hear(TEXT, said("secret"));
    talk.check(&[
        "0.0 close media:transcript",
        "0.0 close signaling",
        "0.0 end stopped by Zoom: 8 STREAM_REVOKED",
    ]);
    talk.hear(TEXT, said("secret"));
    talk.check(&[]);
    let mut draining = Talk::ready();
    draining.tell(Command::Stopped(StopReason(0)));
    draining.hear(
        SIGNALING,
        json!({"msg_type": 9, "state": 5, "stop_reason": 8}),
    );
    draining.check_contains("end stopped by Zoom: 8");
}

#[test]
fn data_behind_a_stop_is_still_read() {
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(6)));
    for n in 1..=5 {
        talk.until(f64::from(n) * 0.9);
        talk.hear(TEXT, said(&format!("phrase {n}")));
    }
    talk.until(5.4);
    assert!(!talk.has_ended);
    talk.until(5.6);
    talk.check_contains("4.5 said Ada: phrase 5");
    talk.check_contains("5.5 end stopped by Zoom: 6");
    // The driver reads what is left in a socket before it closes it.
    talk.hear(TEXT, said("the rest"));
    talk.check_contains("said Ada: the rest");

    // Data that never ends is read only until the limit.
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(6)));
    for n in 1..=11 {
        talk.until(f64::from(n) * 0.9);
        talk.hear(TEXT, said("on and on"));
    }
    talk.until(20.0);
    talk.check_contains("10.0 end stopped by Zoom: 6");
}

#[test]
fn lost_signaling_is_reconnected_at_once_and_then_media() {
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.hear(TEXT, said("before"));
    talk.lose(SIGNALING, Loss::Broken("reset".into()));
    // Media is still read while its socket has data.
    talk.hear(TEXT, said("between"));
    talk.until(20.5);
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m2.zoom.us"})));
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.check(&[
        "20.0 said Ada: before",
        "20.0 * Lost(Signaling, Broken(\"reset\"))",
        "20.0 connect signaling sig.zoom.us",
        "20.0 said Ada: between",
        "20.5 > signaling 1",
        "20.5 * Accepted(Signaling)",
        "20.5 > signaling 5",
        "20.5 close media:transcript",
        "20.5 connect media:transcript m2.zoom.us",
        "20.5 > media:transcript 3 media_type=8",
        "20.5 * Accepted(Media(Transcript))",
        "20.5 * MediaResumed(Transcript)",
        "20.5 > signaling 7",
        "20.5 * Ready",
    ]);
}

/// The times of these lines, in seconds.
fn times(talk: &mut Talk, what: &str) -> Vec<f64> {
    let lines = talk.take_lines();
    let found = lines.iter().filter_map(|line| line.split_once(' '));
    let found = found.filter(|(_, line)| line.starts_with(what));
    found.map(|(at, _)| at.parse().expect("a time")).collect()
}

#[test]
fn a_refusing_server_is_retried_in_one_window_from_the_first_loss() {
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.skip();
    talk.lose(TEXT, Loss::Closed(None));
    talk.lose(SIGNALING, Loss::Closed(None));
    let mut tries = Vec::new();
    while !talk.has_ended {
        // Each try fails at once; that does not extend the window.
        let made = times(&mut talk, "connect signaling");
        if !made.is_empty() {
            tries.extend(made);
            talk.lose(SIGNALING, Loss::Connect("refused".into()));
        }
        talk.step();
    }
    let (first, last) = tries.split_at(7);
    assert_eq!(first, [20.0, 20.5, 21.5, 23.5, 26.5, 29.5, 32.5]);
    assert!(tries.len() <= 30 && last.contains(&75.0), "{tries:?}");
    assert_eq!(times(&mut talk, "end signaling lost for good"), [80.0]);
}

/// Zoom misses a connection of ours that has died 30 to 40 s later, and only then waits its minute.
#[test]
fn the_window_begins_again_once_when_another_connection_is_in_the_way() {
    let end_of = |refusal: serde_json::Value| {
        let mut short = config("transcript");
        short.window = Duration::from_secs(15);
        let mut talk = Talk::with(short);
        let mut tries = Vec::new();
        while !talk.has_ended {
            let made = times(&mut talk, "connect signaling");
            if !made.is_empty() {
                tries.extend(made);
                talk.until(talk.seconds() + 0.1);
                talk.open(SIGNALING);
                talk.hear(SIGNALING, refusal.clone());
            }
            talk.step();
        }
        let gaps = tries.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.fold(0.0, f64::max) < 7.0, "{tries:?}");
        let end = times(&mut talk, "end signaling lost for good");
        let last = *tries.last().expect("some");
        assert!(
            end[0] - last < 6.0,
            "the last try is just before the end: {tries:?}"
        );
        end
    };
    for code in [8, 15, 16] {
        assert_eq!(end_of(json!({"msg_type": 2, "status_code": code})), [60.1]);
    }
    let old = json!({"msg_type": 2, "status_code": 17, "reason": "Duplicate signal request"});
    assert_eq!(end_of(old), [60.1]);
    assert_eq!(end_of(json!({"msg_type": 2, "status_code": 45})), [15.0]);
    assert_eq!(end_of(json!({"msg_type": 2})), [15.0]);
}

/// The node in the way may die long after the first refusal, with its disk.
#[test]
fn in_a_fleet_the_window_begins_again_with_each_refusal_because_of_another_connection() {
    let mut short = config("transcript");
    short.window = Duration::from_secs(15);
    let mut talk = Talk::in_fleet(short);
    let mut tries = Vec::new();
    while talk.seconds() < 150.0 {
        let made = times(&mut talk, "connect signaling");
        tries.extend(made.iter().copied());
        if !made.is_empty() {
            talk.until(talk.seconds() + 0.1);
            match talk.seconds() < 100.0 {
                true => {
                    talk.open(SIGNALING);
                    talk.hear(SIGNALING, json!({"msg_type": 2, "status_code": 8}));
                }
                false => talk.lose(SIGNALING, Loss::Connect("refused".into())),
            }
        }
        talk.step();
        assert!(!talk.has_ended, "{} s: {tries:?}", talk.seconds());
    }
    let gaps = tries.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.fold(0.0, f64::max) < 7.0, "{tries:?}");
    // A window after the last refusal, which was shortly before 100 s.
    while !talk.has_ended {
        if !times(&mut talk, "connect signaling").is_empty() {
            talk.until(talk.seconds() + 0.1);
            talk.lose(SIGNALING, Loss::Connect("refused".into()));
        }
        talk.step();
    }
    let end = times(&mut talk, "end signaling lost for good");
    assert!((155.0..161.0).contains(&end[0]), "{end:?}");
}

#[test]
fn each_loss_after_an_accept_starts_a_series_and_a_window() {
    let mut talk = Talk::ready();
    // Accepted, cut after 0.2 s, refused twice: for minutes, and the stream still exists.
    for round in 0..60 {
        let at = f64::from(round) * 10.0;
        talk.until(at);
        talk.lose(SIGNALING, Loss::Closed(None));
        for delay in [0.0, 0.5] {
            talk.until(at + delay);
            talk.open(SIGNALING);
            talk.hear(SIGNALING, json!({"msg_type": 2, "status_code": 8}));
        }
        talk.until(at + 1.5);
        talk.skip();
        talk.join();
        talk.check_contains("* Ready");
        talk.until(at + 1.7);
    }
    assert!(!talk.has_ended);
}

#[test]
fn accepting_and_closing_in_a_loop_is_limited_by_tries_per_minute() {
    let mut talk = Talk::ready();
    let mut tries = 0;
    for tick in 0..6000 {
        talk.until(f64::from(tick) / 10.0);
        talk.join();
        tries += times(&mut talk, "connect signaling").len();
        talk.lose(SIGNALING, Loss::Closed(None));
        tries += times(&mut talk, "connect signaling").len();
    }
    assert!(!talk.has_ended);
    assert!((100..=300).contains(&tries), "{tries} tries in ten minutes");
}

#[test]
fn the_next_server_is_tried_at_once() {
    let mut with_two = config("transcript");
    with_two.urls.push(url("sig2"));
    let mut talk = Talk::with(with_two);
    talk.until(3.0);
    talk.join();
    talk.check(&[
        "0.0 connect signaling sig.zoom.us",
        "3.0 close signaling",
        "3.0 * Lost(Signaling, TimedOut)",
        "3.0 connect signaling sig2.zoom.us",
        "3.0 > signaling 1",
        "3.0 * Accepted(Signaling)",
        "3.0 > signaling 5",
        "3.0 connect media:transcript m.zoom.us",
        "3.0 > media:transcript 3 media_type=8",
        "3.0 * Accepted(Media(Transcript))",
        "3.0 > signaling 7",
        "3.0 * Ready",
    ]);
    // After a loss, the server that answered is tried first.
    talk.lose(SIGNALING, Loss::Closed(None));
    talk.lose(SIGNALING, Loss::Connect("refused".into()));
    talk.lose(SIGNALING, Loss::Connect("refused".into()));
    talk.until(3.5);
    talk.check(&[
        "3.0 * Lost(Signaling, Closed(None))",
        "3.0 connect signaling sig2.zoom.us",
        "3.0 * Lost(Signaling, Connect(\"refused\"))",
        "3.0 connect signaling sig.zoom.us",
        "3.0 * Lost(Signaling, Connect(\"refused\"))",
        "3.5 connect signaling sig2.zoom.us",
    ]);
    // A failover may have several servers, too.
    talk.tell(Command::FailOver(vec![url("dead"), url("alive")]));
    talk.lose(SIGNALING, Loss::Connect("refused".into()));
    talk.check_contains("connect signaling alive.zoom.us");
    // And so may message 2.
    talk.open(SIGNALING);
    let urls = json!({"transcript": ["wss://dead.zoom.us", "wss://alive.zoom.us"]});
    talk.hear(SIGNALING, msg2(urls));
    talk.skip();
    talk.lose(TEXT, Loss::Connect("refused".into()));
    talk.check_contains("connect media:transcript alive.zoom.us");
}

#[test]
fn lost_media_keeps_signaling_and_two_reports_are_one_loss() {
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.skip();
    talk.hear(
        SIGNALING,
        json!({"msg_type": 6, "event": {"event_type": 7, "timestamp": 1}}),
    );
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 2, "reason": 14}));
    talk.until(20.3);
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    // The other report is late.
    talk.until(21.0);
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 2, "reason": 14}));
    talk.check(&[
        "20.0 event Some(7)",
        "20.0 close media:transcript",
        "20.0 * Lost(Media(Transcript), Reported)",
        "20.0 connect media:transcript m.zoom.us",
        "20.0 * State { state: Interrupted, reason: StopReason(14) }",
        "20.3 > media:transcript 3 media_type=8",
        "20.3 * Accepted(Media(Transcript))",
        "20.3 * MediaResumed(Transcript)",
        "20.3 > signaling 7",
        "20.3 * Ready",
        "21.0 * State { state: Interrupted, reason: StopReason(14) }",
    ]);
}

#[test]
fn failover_is_followed_at_once() {
    let mut talk = Talk::ready();
    talk.until(5.0);
    talk.tell(Command::FailOver(vec![url("sig2")]));
    talk.check(&[
        "5.0 close media:transcript",
        "5.0 close signaling",
        "5.0 * Lost(Signaling, FailedOver)",
        "5.0 connect signaling sig2.zoom.us",
    ]);
    talk.join();
    talk.check_contains("* Ready");
}

#[test]
fn interrupted_is_a_loss_unless_it_is_about_an_earlier_one() {
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.hear(SIGNALING, keep_alive(1_767_000_020_000));
    talk.skip();
    talk.tell(Command::Interrupted {
        event_ts_ms: 1_767_000_010_000,
        urls: Vec::new(),
    });
    talk.check(&[]);
    talk.tell(Command::Interrupted {
        event_ts_ms: 1_767_000_021_000,
        urls: Vec::new(),
    });
    talk.check(&[
        "20.0 close signaling",
        "20.0 * Lost(Signaling, Reported)",
        "20.0 connect signaling sig.zoom.us",
    ]);
    // A repeat while we reconnect has no effect.
    talk.tell(Command::Interrupted {
        event_ts_ms: 1_767_000_022_000,
        urls: Vec::new(),
    });
    talk.check(&[]);
}

#[test]
fn the_webhook_of_a_loss_that_we_detected_causes_no_second_loss() {
    let late = |event_ts_ms| Command::Interrupted {
        event_ts_ms,
        urls: Vec::new(),
    };
    // Within seconds of the new connection, with any timestamp.
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.lose(SIGNALING, Loss::Closed(None));
    talk.join();
    talk.skip();
    talk.until(21.0);
    talk.tell(late(1_767_000_020_000));
    talk.check(&[]);
    // Later: by what Zoom has sent on the new connection since; a state counts like a keep-alive.
    talk.hear(
        SIGNALING,
        json!({"msg_type": 8, "state": 1, "reason": 0, "timestamp": 1_767_000_021_500_u64}),
    );
    talk.skip();
    talk.until(40.0);
    talk.tell(late(1_767_000_020_000));
    talk.check(&[]);
    talk.tell(late(1_767_000_039_000));
    talk.check_contains("* Lost(Signaling, Reported)");
}

#[test]
fn silence_is_a_loss() {
    let mut talk = Talk::ready();
    for n in 1..=9 {
        talk.until(f64::from(n) * 10.0);
        talk.hear(
            SIGNALING,
            keep_alive(1_767_000_000_000 + u64::try_from(n).unwrap_or(0)),
        );
    }
    talk.check_contains("65.0 * Lost(Media(Transcript), Silent)");
    let mut talk = Talk::ready();
    talk.until(65.0);
    talk.check_contains("65.0 * Lost(Signaling, Silent)");
}

#[test]
fn a_server_that_hangs_at_any_step_is_given_up_in_time() {
    // Never connects; the window of the first minute ends it.
    let mut talk = Talk::new("transcript");
    talk.until(300.0);
    talk.check(&[
        "0.0 connect signaling sig.zoom.us",
        "10.0 close signaling",
        "10.0 * Lost(Signaling, TimedOut)",
        "10.5 connect signaling sig.zoom.us",
        "20.5 close signaling",
        "20.5 * Lost(Signaling, TimedOut)",
        "21.5 connect signaling sig.zoom.us",
        "31.5 close signaling",
        "31.5 * Lost(Signaling, TimedOut)",
        "33.5 connect signaling sig.zoom.us",
        "43.5 close signaling",
        "43.5 * Lost(Signaling, TimedOut)",
        "46.5 connect signaling sig.zoom.us",
        "55.0 close signaling",
        "55.0 * Lost(Signaling, TimedOut)",
        "55.0 connect signaling sig.zoom.us",
        "60.0 close signaling",
        "60.0 end signaling lost for good: no answer in time",
    ]);
    // Connects and never answers.
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.skip();
    talk.until(10.0);
    talk.check(&["10.0 close signaling", "10.0 * Lost(Signaling, TimedOut)"]);
}

#[test]
fn a_close_instead_of_an_answer_names_the_usual_cause() {
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    for n in 0..10 {
        talk.lose(SIGNALING, Loss::Closed(Some(1000)));
        talk.until(f64::from(n) * 10.0);
        talk.open(SIGNALING);
    }
    talk.check_contains("ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are not the app's");
    assert!(talk.has_ended);
}

#[test]
fn leaving_sends_nothing_and_closing_sends_a_request() {
    let mut talk = Talk::ready();
    talk.tell(Command::Leave);
    talk.check(&[
        "0.0 close media:transcript",
        "0.0 close signaling",
        "0.0 end left; another process may take it over",
    ]);
    let mut talk = Talk::ready();
    talk.tell(Command::Close);
    talk.hear(TEXT, said("meanwhile"));
    talk.hear(SIGNALING, json!({"msg_type": 22, "status_code": 0}));
    talk.check(&[
        "0.0 > signaling 21",
        "0.0 said Ada: meanwhile",
        "0.0 close media:transcript",
        "0.0 close signaling",
        "0.0 end closed at our request",
    ]);
    let mut unanswered = Talk::ready();
    unanswered.tell(Command::Close);
    unanswered.until(5.0);
    unanswered.check_contains("1.0 end closed at our request");
}

#[test]
fn a_stream_that_is_handed_over_sends_nothing_and_passes_on_what_has_arrived() {
    let hand_over = |heir: Option<&str>| Command::HandOver {
        heir: heir.map(str::to_owned),
    };
    let mut talk = Talk::ready();
    talk.tell(hand_over(Some("b")));
    talk.check(&[
        "0.0 close media:transcript",
        "0.0 close signaling",
        "0.0 end handed over to node b",
    ]);
    // Refused, because another node has it; this one was about to try again.
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, json!({"msg_type": 2, "status_code": 8}));
    talk.skip();
    talk.tell(hand_over(None));
    talk.check(&["0.0 end another node receives it"]);
    // While it connects.
    let mut talk = Talk::new("transcript");
    talk.skip();
    talk.tell(hand_over(None));
    talk.check(&["0.0 close signaling", "0.0 end another node receives it"]);
    // What has ended is not handed over.
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(6)));
    talk.tell(hand_over(None));
    talk.check_contains("end stopped by Zoom: 6 MEETING_ENDED");
    let mut talk = Talk::ready();
    talk.tell(Command::Close);
    talk.tell(hand_over(None));
    talk.check_contains("end closed at our request");
}

#[test]
fn a_withheld_connection_is_no_failure() {
    let mut talk = Talk::new("transcript");
    talk.check(&["0.0 connect signaling sig.zoom.us"]);
    talk.withhold();
    // Longer than any step of a try.
    talk.until(30.0);
    talk.tell(Command::SystemResumed);
    talk.tell(Command::Interrupted {
        event_ts_ms: 0,
        urls: Vec::new(),
    });
    talk.check(&[]);
    talk.permit();
    talk.check(&["30.0 connect signaling sig.zoom.us"]);
    talk.permit();
    talk.check(&[]);
    // While it connects, before message 1.
    talk.withhold();
    talk.until(40.0);
    talk.permit();
    talk.check(&["40.0 connect signaling sig.zoom.us"]);
    assert_eq!(talk.stream.counters().losses, 0);
    // The series of tries begins with the first one that is made.
    talk.lose(SIGNALING, Loss::TimedOut);
    talk.until(40.5);
    talk.check(&[
        "40.0 * Lost(Signaling, TimedOut)",
        "40.5 connect signaling sig.zoom.us",
    ]);
    // The window runs on.
    talk.withhold();
    talk.until(70.0);
    talk.check(&["60.0 end signaling lost for good: no answer in time"]);
}

#[test]
fn a_lost_signaling_link_that_is_withheld_keeps_its_media() {
    let mut talk = Talk::ready();
    talk.until(5.0);
    talk.lose(SIGNALING, Loss::Closed(None));
    talk.withhold();
    talk.skip();
    talk.hear(TEXT, said("meanwhile"));
    talk.check(&["5.0 said Ada: meanwhile"]);
    // Once the handshake is under way it is not withheld any more.
    talk.permit();
    talk.open(SIGNALING);
    talk.withhold();
    talk.check(&["5.0 connect signaling sig.zoom.us", "5.0 > signaling 1"]);
    // A newer start asks again.
    talk.tell(Command::FailOver(vec![url("other")]));
    talk.withhold();
    talk.skip();
    talk.permit();
    talk.check(&["5.0 connect signaling other.zoom.us"]);
    talk.withhold();
    talk.tell(Command::HandOver { heir: None });
    talk.check(&["5.0 end another node receives it"]);
    talk.permit();
    assert!(talk.has_ended);
}

#[test]
fn after_a_suspend_the_stream_reconnects() {
    let mut talk = Talk::ready();
    talk.until(5.0);
    talk.tell(Command::SystemResumed);
    talk.check(&[
        "5.0 close media:transcript",
        "5.0 close signaling",
        "5.0 * Lost(Signaling, SystemResumed)",
        "5.0 connect signaling sig.zoom.us",
    ]);
}

#[test]
fn encrypted_payload_is_dropped() {
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    talk.open(TEXT);
    talk.hear(
        TEXT,
        json!({"msg_type": 4, "status_code": 0, "payload_encrypted": true}),
    );
    talk.skip();
    talk.hear(TEXT, said("c2VjcmV0"));
    talk.check(&[]);
    assert_eq!(talk.stream.counters().ignored, 1);
}

fn with_camera(wanted: Option<&str>) -> Talk {
    let mut config = config("video");
    config.params.video.streams = crate::protocol::params::VideoStreams::Individual;
    config.video_participant = wanted.map(str::to_owned);
    config.events.clear();
    let mut talk = Talk::with(config);
    join_video(&mut talk);
    talk
}

fn join_video(talk: &mut Talk) {
    let video = crate::protocol::LinkId::Media(crate::protocol::MediaKind::Video);
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"video": "wss://v.zoom.us"})));
    talk.open(video);
    talk.skip();
    talk.hear(video, msg4());
}

#[test]
fn a_camera_is_asked_for_only_after_the_video_handshake() {
    let mut config = config("video");
    config.params.video.streams = crate::protocol::params::VideoStreams::Individual;
    config.video_participant = Some("7".to_owned());
    let mut talk = Talk::with(config);
    let video = crate::protocol::LinkId::Media(crate::protocol::MediaKind::Video);
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"video": "wss://v.zoom.us"})));
    talk.open(video);
    assert_eq!(talk.sent_subscriptions(), [0; 0]);
    talk.hear(video, msg4());
    assert_eq!(talk.sent_subscriptions(), [7]);
}

#[test]
fn the_camera_follows_the_speaker() {
    let mut talk = with_camera(None);
    talk.skip();
    let speaks = |user: u64| json!({"msg_type": 6, "event": {"event_type": 2, "timestamp": 5, "user_id": user, "user_name": "x"}});
    let video_on = |user: u64| json!({"msg_type": 6, "event": {"event_type": 8, "participants": [{"user_id": user}]}});
    talk.hear(SIGNALING, speaks(7));
    talk.hear(SIGNALING, speaks(7));
    talk.hear(SIGNALING, video_on(9));
    talk.hear(SIGNALING, speaks(9));
    talk.hear(SIGNALING, video_on(9));
    let asked = talk.sent_subscriptions();
    assert_eq!(asked, [7, 9, 9]);
}

#[test]
fn a_subscription_has_our_timestamp_until_zoom_has_sent_one() {
    let mut talk = with_camera(None);
    let speaks = |user: u64| json!({"msg_type": 6, "event": {"event_type": 2, "user_id": user}});
    talk.until(8.0);
    talk.hear(SIGNALING, speaks(7));
    assert_eq!(talk.subscribed_ms, UNIX_MS + 8000);
    talk.hear(SIGNALING, keep_alive(1_767_000_000_000));
    talk.hear(SIGNALING, speaks(9));
    assert_eq!(talk.subscribed_ms, 1_767_000_000_000);
}

#[test]
fn the_camera_of_a_named_participant() {
    for (wanted, first) in [("Ada", None), ("7", Some(7))] {
        let mut talk = with_camera(Some(wanted));
        let mut expected: Vec<u64> = first.into_iter().collect();
        assert_eq!(talk.sent_subscriptions(), expected);
        let event = |kind: u64, user: u64, name: &str| {
            json!({"msg_type": 6, "event": {"event_type": kind,
                "participants": [{"user_id": user, "user_name": name}]}})
        };
        talk.hear(SIGNALING, event(3, 8, "Adam"));
        talk.hear(SIGNALING, event(3, 7, "Ada"));
        talk.hear(SIGNALING, event(3, 7, "Ada"));
        talk.hear(
            SIGNALING,
            json!({"msg_type": 6, "event": {"event_type": 2, "user_id": 8}}),
        );
        talk.hear(SIGNALING, event(8, 8, "Adam"));
        talk.hear(SIGNALING, event(8, 7, "Ada"));
        expected.extend(match first {
            None => vec![7, 7],
            Some(_) => vec![7],
        });
        assert_eq!(talk.sent_subscriptions(), expected);
    }
}

#[test]
fn another_secret_signs_the_next_handshake() {
    let now = Instant::now();
    let signature = |secret: Option<&str>| {
        let mut stream = Stream::new(now, config("transcript"));
        if let Some(secret) = secret {
            stream.handle_command(now, Command::ClientSecret(Secret::new(secret)));
        }
        stream.handle_opened(now, SIGNALING);
        loop {
            match stream.poll_output() {
                Output::Send(_, text) => {
                    let sent: Value = serde_json::from_str(&text).expect("JSON");
                    return sent["signature"].as_str().expect("signed").to_owned();
                }
                Output::Wait(_) | Output::End(_) => panic!("no handshake"),
                _ => {}
            }
        }
    };
    let by = |secret| handshake_signature("id", &Secret::new(secret), "a/B+c==", "5f0c1d");
    assert_eq!(signature(None), by("secret"));
    assert_eq!(signature(Some("other")), by("other"));
}
