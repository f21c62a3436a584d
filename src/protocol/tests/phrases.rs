//! How a stream handles phrases and timestamps.

use serde_json::json;

use super::talk::{SIGNALING, TEXT, Talk, UNIX_MS, config, keep_alive, msg2, msg4};
use crate::domain::product::Product;
use crate::protocol::StreamEvent;

/// What the stream passes on of a message.
fn hear(talk: &mut Talk, message: &serde_json::Value) -> Option<(u64, String, String)> {
    let text = message.to_string();
    let event = talk.stream.handle_message(talk.now(), TEXT, &text);
    match event.expect("a message") {
        Some(StreamEvent::Transcript(said)) => Some((
            said.start_ms,
            said.user_name.into_owned(),
            said.text.into_owned(),
        )),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_phrase_without_words_is_counted_and_not_passed_on() {
    let mut talk = Talk::ready();
    for content in [
        json!({}),
        json!({"data": ""}),
        json!({"data": null}),
        json!({"data": " \t\n"}),
        json!({"data": 7}),
        json!({"data": " ", "attribute": 2}),
        json!(""),
        json!(null),
    ] {
        let message = json!({"msg_type": 17, "content": content});
        assert_eq!(hear(&mut talk, &message), None, "{message}");
    }
    assert_eq!(talk.stream.counters().blank, 8);
    // A deleted phrase needs no text.
    let deleted = json!({"msg_type": 17, "content": {"data": "", "attribute": 3}});
    assert!(hear(&mut talk, &deleted).is_some());
    assert_eq!(talk.stream.counters().blank, 8);
}

#[test]
fn an_implausible_timestamp_is_replaced_by_the_time_of_arrival() {
    let mut talk = Talk::ready();
    talk.until(7.0);
    let stamp = UNIX_MS + 400 * 86_400_000;
    let message = json!({"msg_type": 17, "content": {"data": "x", "start_time": stamp}});
    let said = hear(&mut talk, &message).expect("a phrase");
    assert_eq!(said.0, UNIX_MS + 7000);
}

/// Zoom's clock shows which report of a loss is old; one wrong timestamp must not make all of them
/// old.
#[test]
fn a_keep_alive_from_the_future_does_not_move_the_clock() {
    let mut talk = Talk::ready();
    talk.hear(SIGNALING, keep_alive(UNIX_MS + 5000));
    talk.hear(SIGNALING, keep_alive(u64::MAX / 2));
    talk.hear(SIGNALING, keep_alive(UNIX_MS * 3));
    assert_eq!(talk.stream.zoom_clock_ms(), UNIX_MS + 5000);
}

/// Contact Center: phrases have a channel and no name; an event has the name.
#[test]
fn a_phrase_gets_its_name_from_an_event_of_its_channel() {
    let mut config = config("transcript");
    config.product = Product::ContactCenter;
    let mut talk = Talk::with(config);
    talk.open(SIGNALING);
    talk.hear(SIGNALING, msg2(json!({"transcript": "wss://m.zoom.us"})));
    talk.open(TEXT);
    talk.hear(TEXT, msg4());
    let said = json!({"msg_type": 17, "content": {"data": "hello", "channel_id": "123abc"}});
    let name = |talk: &mut Talk| hear(talk, &said).map(|said| said.1);
    assert_eq!(name(&mut talk).as_deref(), Some(""));
    talk.hear(
        SIGNALING,
        json!({"msg_type": 6, "event": {"event_type": 10, "paticipant_info": {
            "channel_id": "123abc", "user_id": "agent-1", "display_name": "Bo"}}}),
    );
    assert_eq!(name(&mut talk).as_deref(), Some("Bo"));
}
