//! Bodies as Zoom sends them, as its guides show them, and malformed ones.

use super::*;

fn read(body: &str) -> ZoomEventKind {
    webhook(body.as_bytes()).expect("a webhook").event
}

fn fault(body: &str) -> Fault {
    webhook(body.as_bytes()).expect_err("a fault")
}

fn started() -> StreamStarted {
    StreamStarted {
        product: Product::Meeting,
        id: "a/B+c==".into(),
        stream_id: "5f0c1d".into(),
        server_urls: vec!["wss://sig.example.test:443".into()],
        meeting_id: Some("81234567890".into()),
        operator_id: Some("usr1".into()),
        is_original_host: Some(true),
        account_id: Some("acc1".into()),
    }
}

#[test]
fn both_forms_give_the_same_event() {
    let flat = r#"{"event":"meeting.rtms_started","event_ts":1767000000123,
        "payload":{"account_id":"acc1","operator_id":"usr1","meeting_id":81234567890,
        "is_original_host":true,"meeting_uuid":"a\/B+c==","rtms_stream_id":"5f0c1d",
        "server_urls":"wss://sig.example.test:443"}}"#;
    let nested = r#"{"event":"meeting.rtms_started","event_ts":"1767000000123",
        "payload":{"account_id":"acc1","object":{"meeting_id":"81234567890",
        "meeting_uuid":"a/B+c==","operator_id":"usr1","rtms_stream_id":"5f0c1d","is_original_host":"true",
        "server_urls":"wss://sig.example.test:443"}}}"#;
    for body in [flat, nested] {
        let webhook = webhook(body.as_bytes()).expect("a webhook");
        assert_eq!(webhook.event_ts_ms, 1_767_000_000_123);
        assert_eq!(webhook.event, ZoomEventKind::StreamStarted(started()));
    }
}

#[test]
fn the_object_takes_precedence_except_for_the_account() {
    let body = r#"{"event":"meeting.rtms_started","payload":{"account_id":"acc1",
        "meeting_uuid":"outer","rtms_stream_id":7,"operator_id":"usr1","object":{"account_id":"x",
        "meeting_uuid":"a/B+c==","rtms_stream_id":"5f0c1d","meeting_id":81234567890,"is_original_host":true,
        "server_urls":"wss://sig.example.test:443"}}}"#;
    assert_eq!(read(body), ZoomEventKind::StreamStarted(started()));
}

#[test]
fn ids_keep_every_digit() {
    for (json, expected) in [
        ("123", "123"),
        (
            "18446744073709551616123456789",
            "18446744073709551616123456789",
        ),
        ("\"0042\"", "0042"),
    ] {
        let body = format!(
            r#"{{"event":"meeting.started","payload":{{"object":{{"id":{json},"uuid":"u"}}}}}}"#
        );
        match read(&body) {
            ZoomEventKind::MeetingStarted(life) => assert_eq!(life.meeting_id, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn server_urls_come_in_three_forms() {
    let urls = |json: &str| {
        let body = format!(
            r#"{{"event":"meeting.rtms_interrupted","payload":{{"meeting_uuid":"u",
            "rtms_stream_id":"s","server_urls":{json}}}}}"#
        );
        match read(&body) {
            ZoomEventKind::StreamInterrupted(it) => it.server_urls,
            other => panic!("{other:?}"),
        }
    };
    let two = ["wss://a", "srt://b"];
    assert_eq!(urls(r#""wss://a, srt://b,,""#), two);
    assert_eq!(urls(r#"["wss://a","srt://b",7,null]"#), two);
    assert_eq!(urls(r#"{"all":"wss://a,srt://b"}"#), two);
    assert_eq!(urls(r#"{"x":"wss://a","b":"srt://b","c":{}}"#), two);
    for nothing in ["null", "7", "true", "\"\"", "[]", "{}", "[[\"wss://a\"]]"] {
        assert!(urls(nothing).is_empty(), "{nothing}");
    }
    assert_eq!(
        urls(&format!("\"{}\"", "wss://a,".repeat(1000))).len(),
        URLS_MAX
    );
    assert!(urls(&format!("\"{}\"", "x".repeat(URL_BYTES_MAX + 1))).is_empty());
}

#[test]
fn every_product_has_its_names() {
    let table = [
        ("meeting.rtms_started", "meeting_uuid", Product::Meeting),
        ("webinar.rtms_started", "webinar_uuid", Product::Webinar),
        ("webinar.rtms_started", "meeting_uuid", Product::Webinar),
        ("session.rtms_started", "session_id", Product::Session),
        (
            "contact_center.voice_rtms_started",
            "engagement_id",
            Product::ContactCenter,
        ),
        ("phone.rtms_started", "call_id", Product::Phone),
        ("phone.call_rtms_started", "call_id", Product::Phone),
    ];
    for (name, key, product) in table {
        for (phase, stop_reason) in [("started", ""), ("interrupted", ""), ("stopped", "")] {
            let name = name.replace("started", phase);
            let body = format!(
                r#"{{"event":"{name}","payload":{{"{key}":"i","rtms_stream_id":"s",
                "server_urls":"wss://a"{stop_reason}}}}}"#
            );
            let (found, id) = match read(&body) {
                ZoomEventKind::StreamStarted(e) if phase == "started" => (e.product, e.id),
                ZoomEventKind::StreamInterrupted(e) if phase == "interrupted" => {
                    (e.product, e.id.expect("an id"))
                }
                ZoomEventKind::StreamStopped(e) if phase == "stopped" => {
                    (e.product, e.id.expect("an id"))
                }
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!((found, id.as_str()), (product, "i"), "{name}");
        }
    }
    for other in [
        "contactcenter.rtms_started",
        "meeting.call_rtms_started",
        "x.rtms_started",
    ] {
        let name = other.to_owned();
        assert_eq!(
            read(&format!(r#"{{"event":"{other}"}}"#)),
            ZoomEventKind::Other { name }
        );
    }
}

#[test]
fn the_first_id_in_zooms_order_is_used() {
    let body = r#"{"event":"session.rtms_stopped","payload":{"call_id":"5","engagement_id":"4",
        "session_id":"3","webinar_uuid":"2","meeting_uuid":"1","rtms_stream_id":"s"}}"#;
    match read(body) {
        ZoomEventKind::StreamStopped(e) => {
            assert_eq!((e.id.as_deref(), e.stop_reason), (Some("1"), None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn stop_reasons_are_numbers_or_nothing() {
    for (json, expected) in [
        ("6", Some(6)),
        ("\"8\"", Some(8)),
        ("null", None),
        ("{}", None),
    ] {
        let body = format!(
            r#"{{"event":"meeting.rtms_stopped","payload":{{"meeting_uuid":"u",
            "rtms_stream_id":"s","stop_reason":{json}}}}}"#
        );
        match read(&body) {
            ZoomEventKind::StreamStopped(e) => assert_eq!(e.stop_reason, expected, "{json}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn meetings_start_and_end() {
    let life = |product| MeetingInfo {
        product,
        meeting_id: "123456789".into(),
        meeting_uuid: "4444AAAiAAAAAiAiAiiAii==".into(),
        host_id: Some("x8yAAAAAAAAA".into()),
        topic: Some("Weekly".into()),
        account_id: Some("acc1".into()),
    };
    let body = |name: &str| {
        format!(
            r#"{{"event":"{name}","event_ts":1,"payload":{{"account_id":"acc1","object":{{"id":123456789,
            "uuid":"4444AAAiAAAAAiAiAiiAii==","host_id":"x8yAAAAAAAAA","topic":"Weekly"}}}}}}"#
        )
    };
    let meeting = || life(Product::Meeting);
    assert_eq!(
        read(&body("meeting.started")),
        ZoomEventKind::MeetingStarted(meeting())
    );
    assert_eq!(
        read(&body("meeting.ended")),
        ZoomEventKind::MeetingEnded(meeting())
    );
    let webinar = || life(Product::Webinar);
    assert_eq!(
        read(&body("webinar.started")),
        ZoomEventKind::MeetingStarted(webinar())
    );
    assert_eq!(
        read(&body("webinar.ended")),
        ZoomEventKind::MeetingEnded(webinar())
    );
}

#[test]
fn account_events_keep_their_payload_up_to_a_limit() {
    let body = r#"{"event":"rtms.concurrency_near_limit","payload":{ "operator_id" : "a b\" c" ,
        "concurrency_limit": 2000}}"#;
    let payload = r#"{"operator_id":"a b\" c","concurrency_limit":2000}"#.to_owned();
    let name = "rtms.concurrency_near_limit".to_owned();
    assert_eq!(read(body), ZoomEventKind::Account { name, payload });
    for name in [
        "rtms.start_failed",
        "rtms.request_status",
        "meeting.rtms_concurrency_limited",
    ] {
        let long = "é".repeat(ACCOUNT_BYTES_MAX);
        match read(&format!(r#"{{"event":"{name}","payload":["{long}"]}}"#)) {
            ZoomEventKind::Account { payload, .. } => assert!(payload.len() <= ACCOUNT_BYTES_MAX),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        read(r#"{"event":"rtms.start_failed"}"#),
        ZoomEventKind::Account { .. }
    ));
}

#[test]
fn other_bodies_are_faults() {
    for body in [
        "",
        "null",
        "[]",
        "7",
        "{",
        "{}",
        r#"{"event":7}"#,
        r#"{"event":null}"#,
        "\u{0}",
    ] {
        assert_eq!(fault(body), Fault::NotAWebhook, "{body:?}");
    }
}

#[test]
fn a_known_event_without_a_required_field_names_the_field() {
    let table = [
        (r#"{"event":"meeting.rtms_started"}"#, "rtms_stream_id"),
        (
            r#"{"event":"meeting.rtms_started","payload":7}"#,
            "rtms_stream_id",
        ),
        (
            r#"{"event":"phone.rtms_started","payload":{"rtms_stream_id":"s","server_urls":"wss://a"}}"#,
            "call_id",
        ),
        (
            r#"{"event":"phone.rtms_stopped","payload":{"call_id":"1"}}"#,
            "rtms_stream_id",
        ),
        (
            r#"{"event":"meeting.rtms_stopped","payload":{"meeting_uuid":"u"}}"#,
            "rtms_stream_id",
        ),
        (
            r#"{"event":"meeting.rtms_started","payload":{"meeting_uuid":"u","rtms_stream_id":"s"}}"#,
            "server_urls",
        ),
        (
            r#"{"event":"meeting.started","payload":{"object":{"uuid":"u"}}}"#,
            "id",
        ),
        (
            r#"{"event":"meeting.ended","payload":{"object":{"id":1}}}"#,
            "uuid",
        ),
        (
            r#"{"event":"endpoint.url_validation","payload":{}}"#,
            "plainToken",
        ),
    ];
    for (body, expected) in table {
        match fault(body) {
            Fault::Missing { field, .. } => assert_eq!(field, expected, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn everything_from_outside_is_bounded() {
    let long = "é".repeat(100_000);
    match read(&format!(r#"{{"event":"{long}"}}"#)) {
        ZoomEventKind::Other { name } => assert_eq!(name, "é".repeat(EVENT_BYTES_MAX / 2)),
        other => panic!("{other:?}"),
    }
    let body = format!(
        r#"{{"event":"meeting.started","payload":{{"id":1,"uuid":"u","topic":"{long}",
        "host_id":"{long}"}}}}"#
    );
    match read(&body) {
        ZoomEventKind::MeetingStarted(life) => {
            assert_eq!(life.topic, Some("é".repeat(TOPIC_BYTES_MAX / 2)));
            assert_eq!(life.host_id, None);
        }
        other => panic!("{other:?}"),
    }
    let digits = "9".repeat(ID_BYTES_MAX + 1);
    let body = format!(r#"{{"event":"meeting.started","payload":{{"id":{digits},"uuid":"u"}}}}"#);
    assert!(matches!(fault(&body), Fault::Missing { field: "id", .. }));
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let deep = |event: &str| format!(r#"{{"event":"{event}","payload":{open}{close}}}"#);
    assert!(matches!(read(&deep("x")), ZoomEventKind::Other { .. }));
    assert!(matches!(
        fault(&deep("meeting.rtms_started")),
        Fault::Missing { .. }
    ));
    let urls = format!(
        r#"{{"event":"meeting.rtms_started","payload":{{"object":{{"meeting_uuid":"u",
        "rtms_stream_id":"s","server_urls":{open}{close}}}}}}}"#
    );
    assert!(matches!(fault(&urls), Fault::Missing { .. }));
}

#[test]
fn a_stop_and_an_interruption_need_only_the_stream() {
    let read = |phase: &str| {
        read(&format!(
            r#"{{"event":"meeting.rtms_{phase}","payload":{{"rtms_stream_id":"s","stop_reason":2}}}}"#
        ))
    };
    assert_eq!(
        read("stopped"),
        ZoomEventKind::StreamStopped(StreamStopped {
            product: Product::Meeting,
            id: None,
            stream_id: "s".into(),
            stop_reason: Some(2),
        })
    );
    assert_eq!(
        read("interrupted"),
        ZoomEventKind::StreamInterrupted(StreamInterrupted {
            product: Product::Meeting,
            id: None,
            stream_id: "s".into(),
            server_urls: vec![],
        })
    );
}

#[test]
fn a_joined_participant_is_identified_by_the_user_id() {
    let joined = |name: &str, participant: &str| {
        let body = format!(
            r#"{{"event":"{name}","event_ts":1,"payload":{{"account_id":"acc1","object":{{"id":"123",
            "uuid":"u","host_id":"h1","topic":"Weekly","participant":{participant}}}}}}}"#
        );
        match read(&body) {
            ZoomEventKind::ParticipantJoined(joined) => {
                assert_eq!(joined.meeting.meeting_uuid, "u");
                assert_eq!(joined.meeting.meeting_id, "123");
                assert_eq!(joined.meeting.host_id.as_deref(), Some("h1"));
                (joined.meeting.product, joined.participant_ids)
            }
            other => panic!("{other:?}"),
        }
    };
    let host = vec!["h1".to_owned()];
    for (name, product) in [
        ("meeting.participant_joined", Product::Meeting),
        ("meeting.participant_jbh_joined", Product::Meeting),
        ("webinar.participant_joined", Product::Webinar),
    ] {
        let named = r#"{"id":"h1","user_id":"16778240","user_name":"Ada"}"#;
        assert_eq!(joined(name, named), (product, host.clone()));
    }
    let name = "meeting.participant_joined";
    assert_eq!(
        joined(name, r#"{"id":"","participant_user_id":"h1"}"#).1,
        host
    );
    assert_eq!(
        joined(name, r#"{"id":"h1","participant_user_id":"p1"}"#).1,
        ["h1", "p1"]
    );
    for guest in [r#"{"id":"","user_id":"16778240"}"#, "{}", "null", "7", "[]"] {
        assert_eq!(joined(name, guest).1, [""; 0], "{guest}");
    }
    // Without a number it still shows that the meeting is running.
    let body = r#"{"event":"meeting.participant_joined","payload":{"object":{"uuid":"u"}}}"#;
    assert!(matches!(read(body), ZoomEventKind::ParticipantJoined(_)));
    // Without a meeting it is ignored, and not a fault.
    let body = r#"{"event":"meeting.participant_joined","payload":{}}"#;
    let name = name.to_owned();
    assert_eq!(read(body), ZoomEventKind::Other { name });
}

#[test]
fn a_truncated_character_is_replaced_and_the_event_kept() {
    let body = |topic: &[u8]| {
        let mut body =
            br#"{"event":"meeting.started","payload":{"object":{"id":1,"uuid":"u==","topic":""#
                .to_vec();
        body.extend_from_slice(topic);
        body.extend_from_slice(br#""}}}"#);
        webhook(&body).expect("a webhook").event
    };
    for (topic, expected) in [
        (&b"fun \xf0\x9f\x98"[..], "fun \u{fffd}"),
        (b"fun \xff\xfe!", "fun \u{fffd}\u{fffd}!"),
        (br"fun \ud83d", "fun \u{fffd}"),
        (br"fun \ude00!", "fun \u{fffd}!"),
        (br"fun \ud83d\ude00", "fun \u{1f600}"),
    ] {
        match body(topic) {
            ZoomEventKind::MeetingStarted(info) => {
                assert_eq!(info.topic.as_deref(), Some(expected));
                assert_eq!(
                    (info.meeting_id.as_str(), info.meeting_uuid.as_str()),
                    ("1", "u==")
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // At any position.
    let body = b"{\"event\":\"x\",\"k\\ud800\":\"\\udfff\",\"payload\":{\"\xf0\":\"\xe2\x82\"}}";
    assert!(webhook(body).is_ok());
}
