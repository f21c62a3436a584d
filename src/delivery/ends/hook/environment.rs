//! What a hook gets to know: the variables `RTMSD_*`, and the ids of a stream whose files are gone.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use serde_json::{Map, Value, json};

use super::super::entry::{EndKind, Entry};
use crate::domain::text::{bounded, one_line};
use crate::domain::time::Utc;

/// Longest value of a variable; topics are shorter.
const VALUE_BYTES_MAX: usize = 4096;

/// The event of `RTMSD_EVENT`.
pub fn event(kind: EndKind) -> &'static str {
    match kind {
        EndKind::Ended => "stream.ended",
        EndKind::Revoked => "stream.revoked",
    }
}

/// The variables, all of them, empty where something is unknown. `meta` is the stream's `meta.json`.
pub fn variables(entry: &Entry, meta: &Value, attempt: u32) -> Vec<(&'static str, String)> {
    let ids = &entry.ids;
    let is_ended = entry.kind == EndKind::Ended;
    let meta = if is_ended { meta } else { &Value::Null };
    let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| {
        meta[key]
            .as_i64()
            .map_or_else(String::new, |n| n.to_string())
    };
    let moment = |ms: u64| Utc::from_unix_ms(ms).to_string();
    let ended_ms = meta["ended_ms"].as_u64();
    let duration = ended_ms.map(|ended| ended.saturating_sub(ids.started_ms) / 1000);
    let folder = entry.folder.to_str().filter(|_| is_ended);
    let variables = [
        ("RTMSD_EVENT", event(entry.kind).to_owned()),
        ("RTMSD_KEY", entry.key.clone()),
        ("RTMSD_STREAM_ID", ids.stream_id.clone()),
        ("RTMSD_PRODUCT", ids.product.clone()),
        ("RTMSD_ID", ids.id.clone()),
        (
            "RTMSD_MEETING_ID",
            ids.meeting_id.clone().unwrap_or_default(),
        ),
        ("RTMSD_TOPIC", text("topic")),
        ("RTMSD_FOLDER", folder.unwrap_or_default().to_owned()),
        ("RTMSD_STARTED", moment(ids.started_ms)),
        ("RTMSD_ENDED", ended_ms.map_or_else(String::new, moment)),
        (
            "RTMSD_DURATION_S",
            duration.map_or_else(String::new, |s| s.to_string()),
        ),
        ("RTMSD_END", text("end")),
        (
            "RTMSD_STOP_REASON",
            match entry.kind {
                EndKind::Ended => number("stop_reason"),
                EndKind::Revoked => "8".to_owned(),
            },
        ),
        ("RTMSD_PHRASES", number("transcripts")),
        (
            "RTMSD_UPLOADED",
            if entry.is_uploaded { "on" } else { "off" }.to_owned(),
        ),
        ("RTMSD_ATTEMPT", attempt.to_string()),
    ];
    let plain = |value: String| bounded(&one_line(&value), VALUE_BYTES_MAX).to_owned();
    variables.map(|(name, value)| (name, plain(value))).into()
}

/// What stands on the standard input of a hook for withdrawn consent: ids alone.
pub fn ids(entry: &Entry) -> String {
    let ids = &entry.ids;
    let id_name = match ids.product.as_str() {
        "session" => "session_id",
        "contact_center" => "engagement_id",
        "phone" => "call_id",
        _ => "meeting_uuid",
    };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("v", json!(1));
    put("event", json!(event(entry.kind)));
    put("key", json!(entry.key));
    put("product", json!(ids.product));
    put(id_name, json!(ids.id));
    put("stream_id", json!(ids.stream_id));
    for (name, value) in [
        ("meeting_id", &ids.meeting_id),
        ("account_id", &ids.account_id),
    ] {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    put("started_ms", json!(ids.started_ms));
    put("stop_reason", json!(8));
    format!("{}\n", Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::super::super::entry::tests::entry;
    use super::*;

    const NAMES: [&str; 16] = [
        "RTMSD_EVENT",
        "RTMSD_KEY",
        "RTMSD_STREAM_ID",
        "RTMSD_PRODUCT",
        "RTMSD_ID",
        "RTMSD_MEETING_ID",
        "RTMSD_TOPIC",
        "RTMSD_FOLDER",
        "RTMSD_STARTED",
        "RTMSD_ENDED",
        "RTMSD_DURATION_S",
        "RTMSD_END",
        "RTMSD_STOP_REASON",
        "RTMSD_PHRASES",
        "RTMSD_UPLOADED",
        "RTMSD_ATTEMPT",
    ];

    #[test]
    fn every_variable_is_always_set() {
        let entry = entry(7);
        let meta = json!({
            "topic": "Q3 $(rm -rf /) \"x\"\n\u{1b}[31m\0", "ended_ms": 1_795_529_652_999_u64,
            "end": "stopped", "stop_reason": 6, "transcripts": 42,
        });
        let found = variables(&entry, &meta, 2);
        let values: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            values,
            [
                "stream.ended",
                "0000000000000007",
                "stream-7",
                "meeting",
                "a/B+c==",
                "",
                "Q3 $(rm -rf /) \"x\" [31m",
                "/out/2026-11-24/m/7",
                "2026-11-24T14:13:10.000Z",
                "2026-11-24T14:14:12.999Z",
                "62",
                "stopped",
                "6",
                "42",
                "off",
                "2",
            ]
        );
        for meta in [
            Value::Null,
            json!([]),
            json!({"topic": 7, "ended_ms": "x", "end": null}),
        ] {
            let found = variables(&entry, &meta, 1);
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, NAMES);
            assert!(found.iter().all(|(_, value)| !value.contains('\0')));
        }
    }

    #[test]
    fn after_a_withdrawal_there_are_ids_alone() {
        let entry = Entry {
            kind: EndKind::Revoked,
            ..entry(7)
        };
        let meta = json!({"topic": "secret plans", "transcripts": 42, "end": "stopped"});
        let found = variables(&entry, &meta, 1);
        for (name, value) in &found {
            let is_id = matches!(
                *name,
                "RTMSD_EVENT"
                    | "RTMSD_KEY"
                    | "RTMSD_STREAM_ID"
                    | "RTMSD_PRODUCT"
                    | "RTMSD_ID"
                    | "RTMSD_STARTED"
                    | "RTMSD_STOP_REASON"
                    | "RTMSD_UPLOADED"
                    | "RTMSD_ATTEMPT"
            );
            assert_eq!(!value.is_empty(), is_id, "{name}={value}");
        }
        let text = ids(&entry);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["event"], "stream.revoked");
        assert_eq!(value["stream_id"], "stream-7");
        assert_eq!(value["meeting_uuid"], "a/B+c==");
        assert!(!text.contains("secret"));
    }
}
