//! JSONL lines: self-contained and versioned, one record per line.

use std::ops::Range;

use memchr::memchr2;

use crate::domain::product::Product;
use crate::protocol::Language;
use crate::protocol::events::event_name;

use super::record_batch::{ChatRecord, EventRecord};
use crate::domain::decimal;
use crate::domain::id::Id;
use crate::domain::phrase::Phrase;
use crate::domain::stream_info::StreamInfo;
use crate::domain::text::has_control;
use crate::protocol::chat::{operation_name, session_name};

/// Start of every line; `v` is the version of the line format.
const BEGIN: &str = "{\"v\":1,\"type\":\"";

/// Formats the lines of one stream.
#[derive(Debug, Clone)]
pub struct Lines {
    product: Product,
    /// `{"v":1,"type":"transcript","meeting_uuid":"…","stream_id":"…","user_id":`
    phrase_head: String,
    /// The range of the ids, after the type.
    ids: Range<usize>,
}

impl Lines {
    /// Lines of that stream.
    pub fn new(info: &StreamInfo) -> Lines {
        let key = info.product.id_key();
        let mut ids = format!(
            "\",\"{key}\":{},\"stream_id\":{}",
            quoted(&info.id),
            quoted(&info.stream_id)
        );
        // Distinguishes the streams of several operators in one meeting.
        let operator = info.operator_id.as_deref().map(quoted);
        let is_host = info.is_original_host.map(|is_host| is_host.to_string());
        let account = info.account_id.as_deref().map(quoted);
        let app = info.app.as_deref().map(quoted);
        for (key, value) in [
            ("operator_id", operator),
            ("is_original_host", is_host),
            ("account_id", account),
            ("app", app),
        ] {
            if let Some(value) = value {
                ids += &format!(",\"{key}\":{value}");
            }
        }
        let begin = format!("{BEGIN}transcript");
        Lines {
            product: info.product,
            phrase_head: format!("{begin}{ids},\"user_id\":"),
            ids: begin.len()..begin.len() + ids.len(),
        }
    }

    /// Appends a phrase and a line break.
    pub fn phrase(&self, out: &mut Vec<u8>, phrase: &Phrase<'_>) {
        id(out, &self.phrase_head, &phrase.user_id);
        string(out, ",\"user_name\":", &phrase.user_name);
        if let Some(channel) = &phrase.channel_id {
            id(out, ",\"channel_id\":", channel);
        }
        number(out, ",\"start_ms\":", phrase.start_ms);
        number(out, ",\"end_ms\":", phrase.end_ms);
        number(out, ",\"timestamp_ms\":", phrase.timestamp_ms);
        if let Some(language) = phrase.language {
            if let Some(known) = Language::from_number(language.0) {
                string(out, ",\"language\":", known.tag());
            }
            out.extend_from_slice(b",\"language_id\":");
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut *out, &language.0);
        }
        if let Some(change) = phrase.change.name() {
            string(out, ",\"attribute\":", change);
        }
        string(out, ",\"text\":", &phrase.text);
        out.extend_from_slice(b"}\n");
    }

    /// Appends an event and a line break: Zoom's own JSON under `event`, and the name of its type.
    pub fn event(&self, out: &mut Vec<u8>, event: &EventRecord<'_>) {
        self.begin(out, "event");
        if let Some(name) = event.event_type.and_then(|n| event_name(self.product, n)) {
            string(out, ",\"name\":", name);
        }
        number(out, ",\"timestamp_ms\":", event.timestamp_ms);
        out.extend_from_slice(b",\"event\":");
        compact(out, event.raw);
        out.extend_from_slice(b"}\n");
    }

    /// Appends a chat message and a line break: Zoom's own JSON under `content`, and, where known,
    /// the names of the operation and of the kind of chat, the sender and the text.
    pub fn chat(&self, out: &mut Vec<u8>, chat: &ChatRecord<'_>) {
        self.begin(out, "chat");
        number(out, ",\"timestamp_ms\":", chat.timestamp_ms);
        let operation = chat.operation.and_then(operation_name);
        let session = chat.session.and_then(session_name);
        for (key, name) in [(",\"operation\":", operation), (",\"session\":", session)] {
            if let Some(name) = name {
                string(out, key, name);
            }
        }
        // Same keys as in a transcript; `content` may have them in a nested object.
        if let Some(sender) = chat.sender {
            if let Some(user_id) = &sender.user_id {
                id(out, ",\"user_id\":", user_id);
            }
            if let Some(name) = &sender.user_name {
                string(out, ",\"user_name\":", name);
            }
        }
        if let Some(text) = chat.text {
            string(out, ",\"text\":", text);
        }
        out.extend_from_slice(b",\"content\":");
        compact(out, chat.raw);
        out.extend_from_slice(b"}\n");
    }

    fn begin(&self, out: &mut Vec<u8>, kind: &str) {
        out.extend_from_slice(BEGIN.as_bytes());
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(self.phrase_head[self.ids.clone()].as_bytes());
    }
}

/// Appends JSON without line breaks. Zoom's JSON was parsed, so it is valid; but it may contain a
/// line break between two tokens, which would break the line. Strings in JSON contain no raw
/// control characters, so each one found is between tokens and is replaced by a space.
fn compact(out: &mut Vec<u8>, raw: &str) {
    out.extend(raw.bytes().map(|b| if b < b' ' { b' ' } else { b }));
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn string(out: &mut Vec<u8>, key: &str, text: &str) {
    out.extend_from_slice(key.as_bytes());
    // Most texts need no escapes.
    if memchr2(b'"', b'\\', text.as_bytes()).is_none() && !has_control(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    // Writing to memory does not fail, and a string can always be written as JSON.
    let _ = serde_json::to_writer(out, text);
}

fn number(out: &mut Vec<u8>, key: &str, n: u64) {
    out.extend_from_slice(key.as_bytes());
    decimal::number(out, n);
}

fn id(out: &mut Vec<u8>, key: &str, id: &Id<'_>) {
    match id {
        Id::Number(n) => number(out, key, *n),
        Id::Text(text) => string(out, key, text),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::phrase::{Change, LanguageId, Precision};

    pub(crate) const EVENT: EventRecord<'static> = EventRecord {
        event_type: None,
        timestamp_ms: 0,
        participants: &[],
        raw: "{}",
    };

    pub(crate) const CHAT: ChatRecord<'static> = ChatRecord {
        timestamp_ms: 0,
        operation: None,
        session: None,
        sender: None,
        text: None,
        raw: "{}",
    };

    pub(crate) fn info() -> StreamInfo {
        StreamInfo {
            meeting_id: Some("81234567890".to_owned()),
            topic: Some("Weekly".to_owned()),
            ..StreamInfo::new(Product::Meeting, "a/B+c==", "5f0c1d", 1_767_000_000_000)
        }
    }

    pub(crate) fn phrase(text: &str) -> Phrase<'_> {
        Phrase {
            user_id: Id::Number(16_778_240),
            user_name: "Ada".into(),
            channel_id: None,
            start_ms: 1_767_000_001_000,
            end_ms: 1_767_000_002_500,
            timestamp_ms: 1_767_000_002_600,
            precision: Precision::Milliseconds,
            language: Some(LanguageId(9)),
            change: Change::New,
            text: text.into(),
        }
    }

    #[test]
    fn a_line_has_the_documented_form() {
        let mut out = Vec::new();
        Lines::new(&info()).phrase(&mut out, &phrase("good \"morning\"\n\u{1b}"));
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            concat!(
                r#"{"v":1,"type":"transcript","meeting_uuid":"a/B+c==","stream_id":"5f0c1d","#,
                r#""user_id":16778240,"user_name":"Ada","start_ms":1767000001000,"#,
                r#""end_ms":1767000002500,"timestamp_ms":1767000002600,"language":"en","#,
                r#""language_id":9,"text":"good \"morning\"\n\u001b"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn text_ids_are_written_as_text() {
        let mut said = phrase("hi");
        said.user_id = Id::from_text("customer \"1\"").expect("an id");
        said.channel_id = Id::from_text("123abc");
        let mut out = Vec::new();
        Lines::new(&info()).phrase(&mut out, &said);
        let line: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(line["user_id"], "customer \"1\"");
        assert_eq!(line["channel_id"], "123abc");
    }

    #[test]
    fn a_line_has_the_operator_of_the_stream() {
        let mut whose = info();
        whose.operator_id = Some("usr\"1".to_owned());
        whose.is_original_host = Some(false);
        whose.account_id = Some("acc1".to_owned());
        let lines = Lines::new(&whose);
        let mut out = Vec::new();
        lines.phrase(&mut out, &phrase("hi"));
        lines.event(&mut out, &EVENT);
        lines.chat(&mut out, &CHAT);
        for line in String::from_utf8(out).expect("UTF-8").lines() {
            assert!(
                line.contains(concat!(
                    r#""stream_id":"5f0c1d","operator_id":"usr\"1","#,
                    r#""is_original_host":false,"account_id":"acc1","#
                )),
                "{line}"
            );
        }
    }

    #[test]
    fn the_json_of_events_and_chat_is_kept_on_one_line() {
        let lines = Lines::new(&info());
        let mut out = Vec::new();
        let event = EventRecord {
            event_type: Some(2),
            timestamp_ms: 5,
            raw: "{\n  \"event_type\": 2,\r\n\t\"x\":\"a\\nb\"}",
            ..EVENT
        };
        lines.event(&mut out, &event);
        let chat = ChatRecord {
            operation: Some(1),
            raw: "{\"data\":\"hi\"}",
            ..CHAT
        };
        lines.chat(&mut out, &chat);
        let text = String::from_utf8(out).expect("UTF-8");
        let parsed: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0]["event"]["x"], "a\nb");
        assert_eq!(parsed[0]["name"], "ACTIVE_SPEAKER_CHANGE");
        assert_eq!(parsed[1]["content"]["data"], "hi");
        assert_eq!(parsed[1]["operation"], "new");
        assert_eq!(parsed[1].get("session"), None);
    }
}
