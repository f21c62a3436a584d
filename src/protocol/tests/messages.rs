//! Messages as Zoom and other senders write them.

use serde_json::{Value, json};

use super::talk::config;
use crate::domain::id::Id;
use crate::domain::phrase::Precision;
use crate::protocol::message;
use crate::protocol::message::{
    Message, PacketKind, event_subscription, media_handshake, replace_lone_surrogates,
    signaling_handshake,
};
use crate::protocol::{MediaKind, MediaParams, handshake_signature};

const ARRIVAL_MS: u64 = 1_767_000_003_000;

/// Decodes a message that has just arrived.
fn decode(json: &str) -> Result<Message<'_>, message::DecodeError> {
    message::decode(json, ARRIVAL_MS)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("what we send is JSON")
}

#[test]
fn our_requests_are_those_of_the_reference() {
    let config = config("transcript");
    let signature = handshake_signature(
        &config.client_id,
        &config.client_secret,
        &config.id,
        &config.stream_id,
    );
    let first = signaling_handshake("meeting_uuid", "a/B+c==", "5f0c1d", &signature, Some(false));
    assert_eq!(
        parsed(&first),
        json!({"msg_type": 1, "protocol_version": 1, "sequence": 1, "meeting_uuid": "a/B+c==",
            "rtms_stream_id": "5f0c1d", "signature": signature, "buffer_data": false})
    );
    let params = MediaParams::default().to_json(MediaKind::Transcript);
    let third = media_handshake(
        "session_id",
        "s\"1",
        "5f0c1d",
        &signature,
        8,
        params.as_deref(),
    );
    assert_eq!(parsed(&third)["session_id"], "s\"1");
    assert_eq!(parsed(&third)["media_type"], 8);
    assert_eq!(
        parsed(&event_subscription(&[2, 3])),
        json!({"msg_type": 5, "events": [
            {"event_type": 2, "subscribe": true}, {"event_type": 3, "subscribe": true}]})
    );
}

#[test]
fn transcripts_in_every_form() {
    let check =
        |json: &str, user: u64, name: &str, start: u64, end: u64, text: &str| match decode(json) {
            Ok(Message::Transcript(said)) => {
                assert_eq!(said.user_id, Id::Number(user), "{json}");
                assert_eq!(said.user_name, name, "{json}");
                assert_eq!((said.start_ms, said.end_ms), (start, end), "{json}");
                assert_eq!(said.text, text, "{json}");
            }
            other => panic!("{json} gave {other:?}"),
        };
    let full = r#"{"msg_type":17,"content":{"user_id":16778240,"user_name":"Ada","start_time":1767000001000,"end_time":1767000002500,"timestamp":1767000002600,"language":9,"data":"good morning"}}"#;
    check(
        full,
        16_778_240,
        "Ada",
        1_767_000_001_000,
        1_767_000_002_500,
        "good morning",
    );
    // Strings instead of numbers, microseconds, escapes, unknown fields of every form.
    check(
        r#"{"x":[{}],"msg_type":"17","content":{"user_id":"18446744073709551615","user_name":"A\u0064a","start_time":"1767000001000000","end_time":1767000002500000,"data":"a\n\"b\"","y":{"z":[1]}}}"#,
        u64::MAX,
        "Ada",
        1_767_000_001_000,
        1_767_000_002_500,
        "a\n\"b\"",
    );
    // Only a timestamp, in seconds; a bare string; nothing at all.
    check(
        r#"{"msg_type":17,"content":{"data":"x","timestamp":1767000001}}"#,
        0,
        "",
        1_767_000_001_000,
        1_767_000_001_000,
        "x",
    );
    check(
        r#"{"msg_type":17,"user_name":"Ada","user_id":3,"content":"bare"}"#,
        3,
        "Ada",
        ARRIVAL_MS,
        ARRIVAL_MS,
        "bare",
    );
    check(r#"{"msg_type":17}"#, 0, "", ARRIVAL_MS, ARRIVAL_MS, "");
    check(
        r#"{"msg_type":17,"content":{"user_name":5,"user_id":{},"data":["x"]}}"#,
        0,
        "",
        ARRIVAL_MS,
        ARRIVAL_MS,
        "",
    );
    // An end before its start.
    check(
        r#"{"msg_type":17,"content":{"data":"x","start_time":1767000002000,"end_time":1767000001000}}"#,
        0,
        "",
        1_767_000_002_000,
        1_767_000_002_000,
        "x",
    );
}

/// Timestamps 400 days ahead, in nanoseconds, in whole seconds, absent; and what replaces them.
#[test]
fn timestamps_are_compared_with_the_time_of_arrival() {
    const T: u64 = 1_767_000_001_234;
    const S: u64 = 1_767_000_001;
    const AHEAD: u64 = T + 400 * 86_400_000;
    use Precision::{Arrival, Milliseconds, Seconds};
    for (stamps, start, end, stamp, precision) in [
        (
            json!({"start_time": T, "end_time": T + 9, "timestamp": T + 10}),
            T,
            T + 9,
            T + 10,
            Milliseconds,
        ),
        (
            json!({"start_time": AHEAD, "end_time": AHEAD, "timestamp": T}),
            T,
            T,
            T,
            Milliseconds,
        ),
        (
            json!({"start_time": T * 1_000_000, "timestamp": T}),
            T,
            T,
            T,
            Milliseconds,
        ),
        (
            json!({"start_time": AHEAD, "timestamp": 5}),
            ARRIVAL_MS,
            ARRIVAL_MS,
            ARRIVAL_MS,
            Arrival,
        ),
        (
            json!({"end_time": T, "start_time": -1}),
            T,
            T,
            T,
            Milliseconds,
        ),
        (
            json!({"start_time": S, "end_time": S + 1}),
            S * 1000,
            S * 1000 + 1000,
            S * 1000,
            Seconds,
        ),
        (json!({}), ARRIVAL_MS, ARRIVAL_MS, ARRIVAL_MS, Arrival),
    ] {
        let message = json!({"msg_type": 17, "content": stamps}).to_string();
        let Ok(Message::Transcript(said)) = decode(&message) else {
            panic!("{message}");
        };
        let found = (said.start_ms, said.end_ms, said.timestamp_ms);
        assert_eq!(found, (start, end, stamp), "{message}");
        assert_eq!(said.precision, precision, "{message}");
    }
    for (number, stamp, expected) in [
        (14, T, T),
        (14, AHEAD, 0),
        (15, T, T),
        (15, AHEAD, ARRIVAL_MS),
        (16, 0, ARRIVAL_MS),
    ] {
        let message =
            json!({"msg_type": number, "content": {"data": "", "timestamp": stamp}}).to_string();
        let Ok(Message::Packet(_, packet)) = decode(&message) else {
            panic!("{message}");
        };
        assert_eq!(packet.timestamp_ms, expected, "{message}");
    }
    for stamp in [AHEAD, 7] {
        let event = json!({"msg_type": 6, "event": {"event_type": 2, "timestamp": stamp}});
        match decode(&event.to_string()) {
            Ok(Message::Event(event)) => assert_eq!(event.timestamp_ms, ARRIVAL_MS),
            other => panic!("{other:?}"),
        }
        let alive = json!({"msg_type": 12, "timestamp": stamp}).to_string();
        match decode(&alive) {
            Ok(Message::KeepAlive(request)) => {
                assert_eq!(request.timestamp_ms(ARRIVAL_MS), None);
                assert!(request.timestamp.is_some(), "it is echoed anyway");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn audio_with_and_without_an_object() {
    match decode(
        r#"{"msg_type":14,"content":{"user_id":0,"data":"AAA=","timestamp":1767000001000,"channel_id":2}}"#,
    ) {
        Ok(Message::Packet(PacketKind::Audio, packet)) => {
            assert_eq!(
                (packet.user_id, packet.channel_id),
                (Id::UNKNOWN, Some(Id::Number(2)))
            );
            assert_eq!(packet.data, "AAA=");
        }
        other => panic!("{other:?}"),
    }
    match decode(r#"{"msg_type":14,"user_id":4,"timestamp":1767000001000,"content":"AAA="}"#) {
        Ok(Message::Packet(PacketKind::Audio, packet)) => {
            assert_eq!(
                (packet.user_id, packet.timestamp_ms),
                (Id::Number(4), 1_767_000_001_000)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_of_both_shapes_and_of_v2() {
    let event = |json: &str| match decode(json) {
        Ok(Message::Event(event)) => (event.event_type, event.participants, event.timestamp_ms),
        other => panic!("{json} gave {other:?}"),
    };
    let (number, people, stamp) = event(
        r#"{"msg_type":6,"event":{"event_type":3,"timestamp":1767000001000,"participants":[{"user_id":"7","user_name":"Ada"},{"x":1}]}}"#,
    );
    assert_eq!((number, people.len()), (Some(3), 1));
    assert_eq!(people[0].user_id, Some(Id::Number(7)));
    assert_eq!(stamp, 1_767_000_001_000);
    let (number, people, _) = event(
        r#"{"msg_type":6,"event":{"event_type":8,"event_ts":1,"participant_info":{"user_id":7}}}"#,
    );
    assert_eq!((number, people.len()), (Some(8), 1));
    // Contact Center, in the spelling of the older page: ids are text.
    let (number, people, stamp) = event(
        r#"{"msg_type":6,"event":{"event_type":10,"event_ts":1767000001000,"paticipant_info":{"channel_id":"456edf","participant_mode":"callee","queue_id":"q","queue_name":"Sales","user_id":"agent-1","display_name":"Bo"}}}"#,
    );
    assert_eq!((number, people.len()), (Some(10), 1));
    assert_eq!(stamp, 1_767_000_001_000);
    let bo = &people[0];
    assert_eq!(bo.user_id, Id::from_text("agent-1"));
    assert_eq!(bo.channel_id, Id::from_text("456edf"));
    assert_eq!(
        [&bo.user_name, &bo.mode, &bo.queue_id, &bo.queue_name].map(Option::as_deref),
        [Some("Bo"), Some("callee"), Some("q"), Some("Sales")]
    );
    assert_eq!(event(r#"{"msg_type":6,"event":{"event_code":3}}"#).0, None);
    assert!(decode(r#"{"msg_type":6}"#).is_err());
}

#[test]
fn chat_in_every_form_is_kept() {
    let read = |content: &str| {
        let text = format!(r#"{{"msg_type":18,"content":{content}}}"#);
        match decode(&text) {
            Ok(Message::Chat(chat)) => {
                assert_eq!(chat.raw, content);
                let sender = chat.sender.and_then(|sender| sender.user_id?.number());
                let text = chat.text.map(|text| text.into_owned());
                (
                    chat.timestamp_ms,
                    chat.operation,
                    chat.session,
                    sender,
                    text,
                )
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        read(
            r#"{"timestamp":1767000000001,"operation_type":"4","chat_session":{"type":2},"sender":{"user_id":"7"},"data":"hi"}"#
        ),
        (
            1_767_000_000_001,
            Some(4),
            Some(2),
            Some(7),
            Some("hi".to_owned())
        )
    );
    // The message as a document in a string, whose own values take precedence.
    assert_eq!(
        read(
            r#"{"timestamp":1767000000001,"operation_type":1,"data":"{\"timestamp\":1767000000002,\"operation_type\":3,\"chat_session\":{\"type\":2},\"message_id\":\"m\",\"sender\":{\"userId\":7,\"userName\":\"Ada\"},\"data\":\"h\\\"i\"}"}"#
        ),
        (
            1_767_000_000_002,
            Some(3),
            Some(2),
            Some(7),
            Some("h\"i".to_owned())
        )
    );
    // The text of a chat message is JSON, or looks like it.
    for text in ["{\"a\":1}", "{\"data\":\"x\"}", "{", "{}"] {
        let content = serde_json::json!({"data": text}).to_string();
        assert_eq!(read(&content).4.as_deref(), Some(text));
    }
    for (content, session) in [
        (r#"{"chat_session":3,"sender":"Ada"}"#, Some(3)),
        (r#"{"chat_session":{},"data":{"a":1}}"#, None),
        (r#""bare""#, None),
    ] {
        assert_eq!(
            read(content),
            (ARRIVAL_MS, None, session, None, None),
            "{content}"
        );
    }
}

#[test]
fn a_status_has_two_names_and_unknown_fields_do_not_matter() {
    let status = |fields: &str| {
        let json = format!(
            r#"{{"msg_type":2,{fields},"media_server":{{"server_urls":{{"all":"wss://m.zoom.us"}},"datacenter_region":"US"}}}}"#
        );
        match decode(&json) {
            Ok(Message::SignalingHandshake(answer)) => {
                assert_eq!(answer.urls.len(), 1);
                answer.status.map(|status| status.0)
            }
            other => panic!("{other:?}"),
        }
    };
    for (fields, expected) in [
        (r#""status_code":0"#, Some(0)),
        (r#""status":8"#, Some(8)),
        (r#""status":8,"status_code":0"#, Some(0)),
        (r#""status_code":0,"status":8"#, Some(0)),
        (r#""status":"busy""#, None),
        (r#""status":{"code":1}"#, None),
        (r#""reason":"no""#, None),
    ] {
        assert_eq!(status(fields), expected, "{fields}");
    }
}

#[test]
fn a_lone_surrogate_is_replaced_and_the_phrase_kept() {
    let broken =
        r#"{"msg_type":17,"content":{"data":"a \ud83d b \ude00 \\ud83d \ud83d\ude00 \n"}}"#;
    assert!(
        decode(broken).is_err(),
        "otherwise there is nothing to replace"
    );
    let replaced = replace_lone_surrogates(broken).expect("a lone surrogate");
    match decode(&replaced) {
        Ok(Message::Transcript(said)) => {
            assert_eq!(said.text, "a \u{fffd} b \u{fffd} \\ud83d \u{1f600} \n");
        }
        other => panic!("{other:?}"),
    }
    for whole in [
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\\ud83d"}"#,
        "{}",
        "\\",
        "\\u",
        "\\ud8",
    ] {
        assert_eq!(replace_lone_surrogates(whole), None, "{whole}");
    }
}
