//! The behavior of a stream with missing media, unusual servers, and late reports.

use serde_json::{Value, json};

use super::talk::*;
use crate::domain::product::Product;
use crate::protocol::codes::StopReason;
use crate::protocol::params::AudioStreams;
use crate::protocol::{Command, LinkId, Loss, MediaKind};

const ALL: LinkId = LinkId::Media(MediaKind::All);

fn urls() -> Value {
    json!({"transcript": "wss://t.zoom.us", "audio": "wss://a.zoom.us"})
}

fn packet(user_id: i64) -> Value {
    json!({"msg_type": 14, "content": {"user_id": user_id, "data": "AAA=", "timestamp": 1}})
}

/// Transcript and audio are requested; audio is not answered yet.
fn half_joined() -> Talk {
    let mut talk = Talk::new("transcript,audio");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(urls()));
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.skip();
    talk
}

/// Both are connected.
fn joined() -> Talk {
    let mut talk = half_joined();
    talk.open(AUDIO);
    talk.hear(AUDIO, msg4());
    talk.check_contains("* Ready");
    talk.skip();
    talk
}

/// Keeps the connected links alive, second by second, and calls `each` for the others.
fn live(talk: &mut Talk, from: u32, to: u32, mut each: impl FnMut(&mut Talk)) {
    for second in from..to {
        talk.until(f64::from(second));
        if talk.has_ended {
            return;
        }
        talk.hear(
            SIGNALING,
            keep_alive(1_767_000_000_000 + u64::from(second) * 1000),
        );
        talk.hear(TEXT, said(&second.to_string()));
        each(talk);
    }
}

#[test]
fn media_that_never_answer_are_given_up_and_the_others_continue() {
    let mut talk = half_joined();
    talk.open(AUDIO);
    // Message 7 waits for it for three seconds at most.
    talk.until(3.0);
    talk.check_contains("3.0 * Ready");
    live(&mut talk, 4, 300, |talk| talk.open(AUDIO));
    let lines = talk.take_lines();
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert!(!talk.has_ended);
    assert_eq!(count("* GivenUp { kind: Audio, loss: TimedOut }"), 1);
    assert!(lines.contains(&"65.0 * GivenUp { kind: Audio, loss: TimedOut }".to_owned()));
    assert_eq!(count("said Ada"), 296, "no phrase is lost");
    let later = lines.iter().skip_while(|line| !line.contains("GivenUp"));
    let tries = later.filter(|line| line.contains("connect media:audio"));
    assert!((3..=5).contains(&tries.count()), "once a minute");
    // Finally it answers.
    talk.until(301.0);
    live(&mut talk, 302, 370, |talk| {
        talk.open(AUDIO);
        talk.hear(AUDIO, msg4());
    });
    talk.check_contains("* Accepted(Media(Audio))");
    talk.check_contains("* Ready");
    // Afterwards it is lost like any other link.
    talk.skip();
    talk.lose(AUDIO, Loss::Closed(None));
    talk.check_contains("* Lost(Media(Audio), Closed(None))");
    talk.check_contains("connect media:audio");
}

#[test]
fn a_link_lost_before_message_7_leaves_no_deadline() {
    let mut talk = half_joined();
    talk.until(1.0);
    talk.lose(TEXT, Loss::Closed(None));
    for _ in 0..20 {
        talk.step();
    }
    assert!(
        talk.seconds() > 3.0 || talk.has_ended,
        "a deadline at {}",
        talk.seconds()
    );
}

#[test]
fn media_that_are_always_refused_or_never_connect_are_given_up() {
    let mut refused = half_joined();
    live(&mut refused, 1, 200, |talk| {
        talk.open(AUDIO);
        talk.hear(AUDIO, json!({"msg_type": 4, "status_code": 45}));
    });
    refused.check_contains("* GivenUp { kind: Audio, loss: Refused }");
    assert!(!refused.has_ended);
    let mut away = joined();
    away.lose(AUDIO, Loss::Closed(None));
    live(&mut away, 1, 200, |talk| {
        talk.lose(AUDIO, Loss::Connect("refused".into()));
    });
    away.check_contains("65.0 * GivenUp { kind: Audio, loss: Connect(\"refused\") }");
    assert!(!away.has_ended);
    // If no media link is left, the stream is over.
    away.lose(TEXT, Loss::Closed(None));
    for second in 200..=300 {
        away.until(f64::from(second));
        if second % 10 == 0 {
            away.hear(SIGNALING, keep_alive(1));
        }
    }
    away.check_contains("end media:transcript lost for good");
    // A stop by Zoom ends it as usual.
    refused.tell(Command::Stopped(StopReason(6)));
    refused.until(300.0);
    refused.check_contains("end stopped by Zoom: 6");
}

#[test]
fn after_a_new_signaling_connection_all_media_are_requested_again() {
    let mut talk = half_joined();
    live(&mut talk, 1, 70, |_| {});
    talk.check_contains("* GivenUp");
    talk.lose(SIGNALING, Loss::Closed(None));
    talk.skip();
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(urls()));
    talk.check_contains("connect media:audio");
    talk.open(AUDIO);
    talk.hear(AUDIO, msg4());
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.check_contains("* Ready");
}

#[test]
fn data_before_the_answer_counts_as_the_answer() {
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    talk.open(TEXT);
    talk.skip();
    talk.hear(TEXT, said("one"));
    talk.hear(TEXT, said("two"));
    talk.check(&[
        "0.0 said Ada: one",
        "0.0 * DataBeforeAnswer(Transcript)",
        "0.0 * Accepted(Media(Transcript))",
        "0.0 > signaling 7",
        "0.0 * Ready",
        "0.0 said Ada: two",
    ]);
    for second in (10..400).step_by(10) {
        talk.until(f64::from(second));
        talk.hear(SIGNALING, keep_alive(1));
        talk.hear(TEXT, said("more"));
    }
    assert!(!talk.has_ended, "ended although data arrived");
    // It is reported once, also after a loss.
    talk.lose(TEXT, Loss::Closed(None));
    talk.open(TEXT);
    talk.skip();
    talk.hear(TEXT, said("again"));
    talk.check(&[
        "390.0 said Ada: again",
        "390.0 * Accepted(Media(Transcript))",
        "390.0 * MediaResumed(Transcript)",
        "390.0 > signaling 7",
        "390.0 * Ready",
    ]);
    // A late answer is still used: for the granted parameters, and for encryption.
    talk.hear(
        TEXT,
        json!({"msg_type": 4, "status_code": 0, "payload_encrypted": true}),
    );
    talk.check(&["390.0 * Encrypted(Transcript)"]);
    talk.hear(TEXT, said("c2VjcmV0"));
    talk.hear(TEXT, json!({"msg_type": 4, "status_code": 45}));
    talk.check(&[]);
    // A keep-alive is not data.
    let mut talk = half_joined();
    talk.open(AUDIO);
    talk.skip();
    talk.hear(AUDIO, keep_alive(1));
    talk.check(&["0.0 > media:audio 13 1 null"]);
}

/// Zoom's published mock server: refusals without a status code, data without message 4, keep-alives
/// without `sequence` and every 30 s without `timestamp`.
#[test]
fn a_hundred_seconds_of_the_published_mock_server() {
    let mut talk = Talk::new("transcript");
    talk.open(SIGNALING);
    talk.skip();
    talk.hear(SIGNALING, json!({"msg_type": 2, "reason": "not yet"}));
    let is_reconnecting = |line: &String| line.contains(" connect signaling");
    for _ in 0..10 {
        if talk.take_lines().iter().any(is_reconnecting) {
            break;
        }
        talk.step();
    }
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    talk.open(TEXT);
    talk.skip();
    let begun = talk.seconds();
    for second in 1..=100_u32 {
        talk.until(begun + f64::from(second));
        if second <= 20 {
            talk.hear(TEXT, said(&second.to_string()));
        }
        if second.is_multiple_of(10) {
            for link in [SIGNALING, TEXT] {
                let mut message = keep_alive(u64::from(second));
                if second.is_multiple_of(30) {
                    message = json!({"msg_type": 12});
                }
                talk.hear(link, message);
            }
        }
    }
    let lines = talk.take_lines();
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count(" said Ada: "), 20, "{lines:#?}");
    assert_eq!(count(" 13 "), 20, "{lines:#?}");
    assert_eq!(count(" * DataBeforeAnswer"), 1, "{lines:#?}");
    assert_eq!(count(" close ") + count(" connect "), 0, "{lines:#?}");
    talk.tell(Command::Stopped(StopReason(6)));
    talk.until(begun + 103.0);
    let last = talk.take_lines().pop().unwrap_or_default();
    assert!(last.contains(" end stopped by Zoom: 6 "), "{last}");
}

#[test]
fn kinds_without_a_url_are_requested_on_all() {
    let only_all = || msg2(json!({"all": "wss://all.zoom.us"}));
    let begin = |product, media, answer: Value| {
        let mut config = config(media);
        config.product = product;
        config.events.clear();
        let mut talk = Talk::with(config);
        talk.open(SIGNALING);
        talk.skip();
        talk.hear(SIGNALING, answer);
        talk
    };
    // Each kind has a socket of its own.
    let mut talk = begin(Product::Meeting, "audio,transcript", only_all());
    talk.check(&[
        "0.0 * Accepted(Signaling)",
        "0.0 connect media:audio all.zoom.us",
        "0.0 connect media:transcript all.zoom.us",
    ]);
    for link in [AUDIO, TEXT] {
        talk.open(link);
        talk.hear(link, msg4());
    }
    talk.check_contains("* Ready");
    // Zoom refuses a second socket there: one for both, and unwanted data is dropped.
    let mut talk = begin(Product::Meeting, "audio,transcript", only_all());
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    talk.open(AUDIO);
    talk.skip();
    talk.hear(AUDIO, json!({"msg_type": 4, "status_code": 14}));
    talk.check_contains("close media:transcript");
    talk.check_contains("* OneSocket");
    talk.check_contains("connect media:all all.zoom.us");
    talk.open(ALL);
    talk.check_contains("> media:all 3 media_type=32");
    talk.hear(ALL, msg4());
    talk.check_contains("* Ready");
    talk.skip();
    talk.hear(ALL, said("wanted"));
    talk.hear(ALL, packet(7));
    talk.hear(
        ALL,
        json!({"msg_type": 18, "content": {"data": "not wanted"}}),
    );
    talk.check(&["0.0 said Ada: wanted", "0.0 Audio 7 AAA="]);
    assert_eq!(talk.stream.counters().ignored, 1);
    // A refusal as a duplicate is retried first.
    let mut talk = begin(Product::Meeting, "audio,transcript", only_all());
    for delay in [0.0, 0.5] {
        talk.until(delay);
        talk.skip();
        talk.open(AUDIO);
        talk.hear(AUDIO, json!({"msg_type": 4, "status_code": 16}));
    }
    talk.check_contains("* OneSocket");
    // A call has a socket per kind, even if everything is wanted, and no other socket.
    for media in ["audio,transcript", "all"] {
        let mut talk = begin(Product::Phone, media, only_all());
        talk.check_contains("connect media:audio all.zoom.us");
        talk.check_contains("connect media:transcript all.zoom.us");
        talk.open(AUDIO);
        talk.hear(AUDIO, json!({"msg_type": 4, "status_code": 16}));
        talk.open(TEXT);
        talk.hear(TEXT, msg4());
        talk.check_contains("* Ready");
    }
    let both = msg2(json!({"audio": "wss://a.zoom.us", "all": "wss://all.zoom.us"}));
    let talk = begin(Product::Phone, "audio,transcript", both);
    talk.check_contains("connect media:audio a.zoom.us");
    talk.check_contains("connect media:transcript all.zoom.us");
    // In a meeting, a list with some kinds is the list of granted kinds.
    let some = msg2(json!({"transcript": "wss://t.zoom.us", "all": "wss://all.zoom.us"}));
    let talk = begin(Product::Meeting, "audio,transcript", some);
    talk.check_contains("* NotGranted { kind: Audio");
}

#[test]
fn active_cancels_terminating() {
    let mut talk = Talk::ready();
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 3, "reason": 6}));
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 1, "reason": 0}));
    talk.until(20.0);
    talk.lose(TEXT, Loss::Closed(None));
    talk.check_contains("20.0 connect media:transcript");
    assert!(!talk.has_ended);
    // So does a new connection that Zoom accepts.
    let mut talk = Talk::ready();
    talk.hear(SIGNALING, json!({"msg_type": 8, "state": 3, "reason": 6}));
    talk.until(20.0);
    talk.tell(Command::Interrupted {
        event_ts_ms: 0,
        urls: vec![url("sig2")],
    });
    talk.join();
    talk.lose(TEXT, Loss::Closed(None));
    assert!(!talk.has_ended);
}

#[test]
fn reconnected_media_are_reported_before_their_data() {
    let mut talk = joined();
    talk.until(10.0);
    talk.lose(AUDIO, Loss::Closed(None));
    talk.open(AUDIO);
    talk.skip();
    talk.hear(AUDIO, msg4());
    talk.check(&[
        "10.0 * Accepted(Media(Audio))",
        "10.0 * MediaResumed(Audio)",
        "10.0 > signaling 7",
        "10.0 * Ready",
    ]);
    talk.lose(SIGNALING, Loss::Closed(None));
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(urls()));
    talk.skip();
    for link in [AUDIO, TEXT] {
        talk.open(link);
        talk.hear(link, msg4());
    }
    talk.check_contains("* MediaResumed(Audio)");
    talk.check_contains("* MediaResumed(Transcript)");
}

#[test]
fn an_interruption_older_than_the_connection_is_ignored() {
    const ZOOM: u64 = 1_767_000_000_000;
    let late = |event_ts_ms| Command::Interrupted {
        event_ts_ms,
        urls: Vec::new(),
    };
    let mut talk = Talk::ready();
    talk.until(10.0);
    talk.hear(SIGNALING, keep_alive(ZOOM + 10_000));
    // Each cut at 20, 40 … is reported by a webhook seven seconds later.
    for round in 1..20_u32 {
        let cut = round * 20;
        talk.until(f64::from(cut));
        talk.lose(SIGNALING, Loss::Closed(None));
        talk.join();
        talk.skip();
        talk.until(f64::from(cut) + 7.0);
        talk.tell(late(ZOOM + u64::from(cut) * 1000 - 50));
        talk.check(&[]);
        talk.hear(SIGNALING, keep_alive(ZOOM + u64::from(cut) * 1000 + 8_000));
        talk.skip();
    }
    // A newer one is a loss.
    talk.until(400.0);
    talk.tell(late(ZOOM + 399_000));
    talk.check_contains("* Lost(Signaling, Reported)");
    // Without a message from Zoom our clock is used.
    let mut talk = Talk::ready();
    talk.until(7.0);
    talk.tell(late(UNIX_MS - 1000));
    talk.check(&[]);
    talk.tell(late(UNIX_MS + 6000));
    talk.check_contains("* Lost(Signaling, Reported)");
    // After a suspend our clock is not used, and the report counts.
    let mut talk = Talk::ready();
    talk.tell(Command::SystemResumed);
    talk.join();
    talk.until(7.0);
    talk.skip();
    talk.tell(late(UNIX_MS - 1000));
    talk.check_contains("* Lost(Signaling, Reported)");
}

#[test]
fn a_newer_start_during_draining_starts_the_stream_again() {
    let mut talk = Talk::ready();
    talk.until(20.0);
    talk.tell(Command::Stopped(StopReason(6)));
    talk.until(20.5);
    talk.skip();
    talk.tell(Command::FailOver(vec![url("sig2")]));
    talk.check(&[
        "20.5 close media:transcript",
        "20.5 close signaling",
        "20.5 * Lost(Signaling, FailedOver)",
        "20.5 connect signaling sig2.zoom.us",
    ]);
    talk.join();
    talk.check_contains("* Ready");
    // The earlier stop no longer counts: a loss is retried.
    talk.until(30.0);
    talk.skip();
    talk.lose(TEXT, Loss::Closed(None));
    talk.check_contains("connect media:transcript");
    // Withdrawn consent and our own request to end are final.
    let mut talk = Talk::ready();
    talk.tell(Command::Close);
    talk.tell(Command::FailOver(vec![url("sig2")]));
    talk.until(5.0);
    talk.check_contains("end closed at our request");
    let mut talk = Talk::ready();
    talk.tell(Command::Stopped(StopReason(8)));
    talk.skip();
    talk.tell(Command::FailOver(vec![url("sig2")]));
    talk.check(&[]);
}

#[test]
fn audio_without_speakers_is_reported_once() {
    let mut config = config("audio");
    config.params.audio.streams = AudioStreams::PerSpeaker;
    let join = |config| {
        let mut talk = Talk::with(config);
        talk.open(SIGNALING);
        talk.hear(SIGNALING, msg2(json!({"audio": "wss://a.zoom.us"})));
        talk.open(AUDIO);
        talk.hear(AUDIO, msg4());
        talk
    };
    let told = |talk: &mut Talk, users: &mut dyn Iterator<Item = i64>| {
        users.for_each(|user| talk.hear(AUDIO, packet(user)));
        let lines = talk.take_lines();
        lines
            .iter()
            .filter(|line| line.contains("SpeakersUnknown"))
            .count()
    };
    let mut talk = join(config.clone());
    assert_eq!(told(&mut talk, &mut std::iter::repeat_n(-1, 499)), 0);
    assert_eq!(told(&mut talk, &mut std::iter::repeat_n(-1, 3000)), 1);
    // One named speaker shows that Zoom sends names.
    let mut talk = join(config.clone());
    let mut users = [7].into_iter().chain(std::iter::repeat_n(-1, 3000));
    assert_eq!(told(&mut talk, &mut users), 0);
    // Mixed audio was requested.
    config.params.audio.streams = AudioStreams::Mixed;
    let mut talk = join(config);
    assert_eq!(told(&mut talk, &mut std::iter::repeat_n(-1, 3000)), 0);
}

#[test]
fn a_link_has_the_size_limit_of_its_parameters_and_counts_larger_messages() {
    let mut talk = joined();
    talk.until(60.0);
    for _ in 0..3 {
        talk.oversize(TEXT, 9 << 20);
    }
    talk.check_contains("* Oversize { link: Media(Transcript), bytes: 9437184, limit: 4194304 }");
    assert_eq!(talk.stream.counters().oversize, 3);
    talk.skip();
    // It is a sign of life, and does not close the link.
    talk.until(64.0);
    talk.hear(SIGNALING, keep_alive(1));
    talk.hear(AUDIO, packet(1));
    talk.until(124.0);
    talk.hear(TEXT, said("still here"));
    talk.check_contains("said Ada: still here");
    let lines = talk.take_lines();
    assert!(!lines.iter().any(|line| line.contains("Lost")), "{lines:?}");
}
