//! The bodies of the webhooks about a meeting, in the form of its script.

use serde_json::{Map, Value, json};

use super::record::unix_ms;
use crate::demo::player::content::id_value;
use crate::demo::player::script::{DemoProduct, HOST_ID, MeetingScript, PayloadShape};

/// `meeting.started`, or the product's counterpart; `None` if nothing announces it.
pub(in crate::demo) fn meeting_started(script: &MeetingScript, account: &str) -> Option<Value> {
    lifecycle(script, account, "started")
}

/// `meeting.participant_joined`: the host.
pub(in crate::demo) fn host_joined(script: &MeetingScript, account: &str) -> Option<Value> {
    let mut body = lifecycle(script, account, "participant_joined")?;
    body["payload"]["object"]["participant"] =
        json!({"id": HOST_ID, "participant_user_id": HOST_ID, "user_name": "The host"});
    Some(body)
}

/// `meeting.ended`, or the product's counterpart.
pub(in crate::demo) fn meeting_ended(script: &MeetingScript, account: &str) -> Option<Value> {
    lifecycle(script, account, "ended")
}

fn lifecycle(script: &MeetingScript, account: &str, what: &str) -> Option<Value> {
    let word = match script.product {
        DemoProduct::Meeting => "meeting",
        DemoProduct::Webinar => "webinar",
        DemoProduct::Session | DemoProduct::ContactCenter | DemoProduct::Phone => return None,
    };
    Some(json!({
        "event": format!("{word}.{what}"),
        "event_ts": unix_ms(),
        "payload": {"account_id": account, "object": {
            "id": id_value(script.ids, script.number),
            "uuid": script.id,
            "host_id": HOST_ID,
            "topic": script.topic,
            "type": 2,
            "duration": 60,
            "timezone": "Europe/Zurich",
        }}
    }))
}

/// `rtms_started`.
pub(in crate::demo) fn stream_started(
    script: &MeetingScript,
    account: &str,
    event_ts: u64,
    stream: &str,
    urls: &[String],
) -> Value {
    let mut fields = ids(script, stream);
    // Several URLs, one per transport or server, are allowed in one string.
    let mut urls = urls.join(",");
    if script.unknown {
        urls.push_str(", srt://127.0.0.1:9");
    }
    fields.insert("server_urls".to_owned(), json!(urls));
    if matches!(script.product, DemoProduct::Meeting | DemoProduct::Webinar) {
        let (operator_id, is_host) = &script.operator;
        fields.insert("operator_id".to_owned(), json!(operator_id));
        fields.insert("is_original_host".to_owned(), json!(is_host));
        let key = match script.product {
            DemoProduct::Webinar => "webinar_id",
            _ => "meeting_id",
        };
        fields.insert(key.to_owned(), id_value(script.ids, script.number));
    }
    webhook(script, account, "started", event_ts, fields)
}

/// `rtms_interrupted`.
pub(in crate::demo) fn stream_interrupted(
    script: &MeetingScript,
    account: &str,
    stream: &str,
) -> Value {
    webhook(
        script,
        account,
        "interrupted",
        unix_ms(),
        ids(script, stream),
    )
}

/// `rtms_stopped`.
pub(in crate::demo) fn stream_stopped(
    script: &MeetingScript,
    account: &str,
    stream: &str,
    reason: i64,
) -> Value {
    let mut fields = ids(script, stream);
    fields.insert("stop_reason".to_owned(), json!(reason));
    webhook(script, account, "stopped", unix_ms(), fields)
}

fn ids(script: &MeetingScript, stream: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert(script.product.id_key().to_owned(), json!(script.id));
    fields.insert("rtms_stream_id".to_owned(), json!(stream));
    if script.product == DemoProduct::Session {
        fields.insert("session_key".to_owned(), json!("demo-key"));
    }
    fields
}

fn webhook(
    script: &MeetingScript,
    account: &str,
    what: &str,
    event_ts: u64,
    mut fields: Map<String, Value>,
) -> Value {
    let payload = match script.payload {
        PayloadShape::Flat => {
            fields.insert("account_id".to_owned(), json!(account));
            Value::Object(fields)
        }
        PayloadShape::Object => json!({"account_id": account, "object": fields}),
    };
    let prefix = match script.odd.phone_gateway {
        true => "phone.call_rtms_",
        false => script.product.event_prefix(),
    };
    json!({
        "event": format!("{prefix}{what}"),
        "event_ts": event_ts,
        "payload": payload,
    })
}
