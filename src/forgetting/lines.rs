//! Takes one person out of a line of JSON, or out of `meta.json`.
//!
//! A line keeps its length: what becomes free is filled with blanks before the last brace, which mean
//! nothing in JSON. So the byte offsets that readers of a journal remember stay right, and a line of
//! the journal and the line of the other file stay the same text.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;

use super::json::Node;
use super::person::{ID_KEYS, NAME_KEYS, NESTED_KEY, OWNER_KEYS, Person};
use crate::domain::id::Id;

/// Says in a line or in a part of it that a person was there.
pub const MARK: &str = "forgotten";

/// What stays of an object that is about the person: which record it is, and when. Everything else may
/// be personal, also what a future version adds.
const KEPT: [&str; 32] = [
    "v",
    "type",
    "name",
    "meeting_uuid",
    "webinar_uuid",
    "session_id",
    "engagement_id",
    "call_id",
    "stream_id",
    "operator_id",
    "is_original_host",
    "account_id",
    "app",
    "timestamp_ms",
    "timestamp",
    "event_ts",
    "event_type",
    "start_ms",
    "end_ms",
    "attribute",
    "operation",
    "operation_type",
    "session",
    "message_id",
    "parent_message_id",
    "participant_mode",
    "frame",
    "offset",
    "bytes",
    "key",
    "changed",
    "resolution",
];

/// Members that readers of a line count on: they stay, without content.
const EMPTIED: [&str; 4] = ["user_id", "user_name", "text", "file"];

/// Texts in which names are only mentioned: what people said and wrote.
const SPOKEN: [&str; 2] = ["text", NESTED_KEY];

/// A line without the person, of the same length; `None` if they are not in it.
pub fn blank_line(line: &str, person: &Person) -> Option<String> {
    let node = Node::parse(line)?;
    let mut text = String::new();
    for marks in [Marks::All, Marks::Line, Marks::None] {
        let mut blanked = node.clone();
        let scrub = Scrub {
            person,
            marks,
            drops_rows: false,
        };
        if !scrub.value(&mut blanked, "") {
            return None;
        }
        if marks != Marks::None {
            mark(&mut blanked);
        }
        text = blanked.to_string();
        if text.len() <= line.len() {
            return Some(padded(text, line.len()));
        }
    }
    // Zoom wrote it in a shorter form than we do.
    let least = match node.get("type").and_then(Node::scalar) {
        Some(kind) => format!("{{\"v\":1,\"type\":{}}}", serde_json::Value::from(kind)),
        None => "{}".to_owned(),
    };
    text.clear();
    text.push_str(if least.len() <= line.len() {
        &least
    } else {
        "{}"
    });
    Some(padded(text, line.len()))
}

/// `meta.json` without the person; `None` if they are not in it. Rows about them go.
pub fn blank_meta(text: &str, person: &Person) -> Option<String> {
    let mut node = Node::parse(text)?;
    let scrub = Scrub {
        person,
        marks: Marks::None,
        drops_rows: true,
    };
    if !scrub.value(&mut node, "") {
        return None;
    }
    mark(&mut node);
    let value: serde_json::Value = serde_json::from_str(&node.to_string()).ok()?;
    Some(format!("{value:#}\n"))
}

/// Blanks before the last brace.
fn padded(mut text: String, length: usize) -> String {
    let free = length.saturating_sub(text.len());
    if free > 0 && text.pop().is_some() {
        text.push_str(&" ".repeat(free));
        text.push('}');
    }
    text
}

fn mark(node: &mut Node<'_>) {
    if let Node::Object(members) = node
        && !members.iter().any(|(key, _)| key == MARK)
    {
        members.push((MARK.into(), Node::Other("true".into())));
    }
}

/// Where it is said that a person was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// In the line and in each part of it that was about them.
    All,
    /// In the line.
    Line,
    /// Nowhere: the line has no room.
    None,
}

struct Scrub<'p> {
    person: &'p Person,
    marks: Marks,
    /// Whether elements of lists go that are about the person.
    drops_rows: bool,
}

impl Scrub<'_> {
    /// Takes the person out of a value. `key` is its own, empty for the whole line. Whether there was
    /// something to take out.
    fn value(&self, node: &mut Node<'_>, key: &str) -> bool {
        if matches!(node, Node::Object(_)) && (self.person.is_in(node) || self.is_file(node)) {
            self.own(node, key.is_empty());
            return true;
        }
        match node {
            Node::Object(members) => {
                let mut is_changed = false;
                for (key, value) in members.iter_mut() {
                    is_changed |= self.member(key, value);
                }
                is_changed
            }
            Node::List(elements) => {
                let before = elements.len();
                if self.drops_rows {
                    elements.retain(|element| !self.person.is_in(element));
                }
                let is_name = |element: &Node<'_>| matches!(element, Node::Text(text) if self.person.is_told_by(text));
                elements.retain(|element| !is_name(element));
                let mut is_changed = elements.len() < before;
                for element in elements {
                    is_changed |= self.value(element, key);
                }
                is_changed
            }
            Node::Text(_) | Node::Other(_) => false,
        }
    }

    /// Whether it tells of one of the person's files: with the name of its object, which has their id.
    fn is_file(&self, node: &Node<'_>) -> bool {
        let names = ["file", "local"].into_iter();
        let mut names = names.filter_map(|key| node.get(key)?.scalar());
        names.any(|name| self.person.files.contains(name))
    }

    fn member(&self, key: &str, value: &mut Node<'_>) -> bool {
        let Node::Text(text) = value else {
            return self.value(value, key);
        };
        if key == NESTED_KEY && text.starts_with('{') {
            let Some(mut nested) = Node::parse(text) else {
                return false;
            };
            let is_changed = self.value(&mut nested, key);
            let written = is_changed.then(|| nested.to_string());
            drop(nested);
            if let Some(written) = written {
                *text = Cow::Owned(written);
            }
            return is_changed;
        }
        let is_owner = OWNER_KEYS.contains(&key);
        let is_personal = match key {
            "topic" => self.person.is_named_in(text),
            key if SPOKEN.contains(&key) => false,
            _ if is_owner => {
                let id = Id::from_text(text.to_string());
                id.is_some_and(|id| self.person.ids.contains(&id))
            }
            key if KEPT.contains(&key) => false,
            // Ids and names of another: one of their own is decided by the object.
            key if ID_KEYS.contains(&key) || NAME_KEYS.contains(&key) => false,
            _ => self.person.is_told_by(text),
        };
        if is_personal {
            *value = Node::Text("".into());
        }
        is_personal
    }

    /// An object that is about the person.
    fn own(&self, node: &mut Node<'_>, is_line: bool) {
        let Node::Object(members) = node else { return };
        members.retain(|(key, value)| {
            let key = key.as_ref();
            let is_scalar = value.scalar().is_some() || key == "changed" || key == "resolution";
            let is_stream = key == "file" && value.scalar().is_some_and(is_shared_file);
            // Of a frame it says that it is one to begin with; of an upload it names the object.
            let is_scalar = is_scalar && (key != "key" || matches!(value, Node::Other(_)));
            (KEPT.contains(&key) && is_scalar) || is_stream || (is_line && EMPTIED.contains(&key))
        });
        for (key, value) in members.iter_mut() {
            match key.as_ref() {
                "user_id" => *value = Node::Other("0".into()),
                "file" if value.scalar().is_some_and(is_shared_file) => {}
                "user_name" | "text" | "file" => *value = Node::Text("".into()),
                key if OWNER_KEYS.contains(&key) => {
                    self.member(key, value);
                }
                _ => {}
            }
        }
        if self.marks == Marks::All {
            mark(node);
        }
    }
}

/// A file with the pictures of many, in which others still need their places.
fn is_shared_file(name: &str) -> bool {
    name.ends_with(".h264")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forgetting::person::People;

    fn ada(lines: &[&str]) -> Person {
        let mut people = People::default();
        for line in lines {
            people.add(&Node::parse(line).expect("JSON"));
        }
        let mut person = people.find("Ada").expect("she is there");
        person.files.insert("audio-7-Ada.wav".to_owned());
        person
    }

    const PHRASE: &str = r#"{"v":1,"type":"transcript","meeting_uuid":"m","stream_id":"s","user_id":7,"user_name":"Ada","start_ms":1,"end_ms":2,"timestamp_ms":3,"language":"en","language_id":9,"text":"good \"morning\""}"#;

    fn check(line: &str, expected: &str) {
        let person = ada(&[PHRASE]);
        let found = blank_line(line, &person).expect("she is in it");
        assert_eq!(found.len(), line.len(), "{line}");
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(found, expected);
        let text = found.to_string();
        assert!(!text.contains("Ada") && !text.contains(":7"), "{text}");
        assert_eq!(
            blank_line(&text, &person),
            None,
            "nothing is left to take out"
        );
    }

    #[test]
    fn lines_keep_their_length_kind_and_times() {
        check(
            PHRASE,
            r#"{"v":1,"type":"transcript","meeting_uuid":"m","stream_id":"s","user_id":0,"user_name":"","start_ms":1,"end_ms":2,"timestamp_ms":3,"text":"","forgotten":true}"#,
        );
        check(
            r#"{"v":1,"type":"event","name":"PARTICIPANT_JOIN","timestamp_ms":5,"event":{"event_type":3,"timestamp":5,"participants":[{"user_id":7,"user_name":"Ada"},{"user_id":8,"user_name":"Bo"}]},"people":[{"user_id":"7","user_name":"Ada"},{"user_id":8,"user_name":"Bo"}]}"#,
            r#"{"v":1,"type":"event","name":"PARTICIPANT_JOIN","timestamp_ms":5,"event":{"event_type":3,"timestamp":5,"participants":[{"forgotten":true},{"user_id":8,"user_name":"Bo"}]},"people":[{"forgotten":true},{"user_id":8,"user_name":"Bo"}],"forgotten":true}"#,
        );
        check(
            r#"{"v":1,"type":"chat","timestamp_ms":5,"operation":"new","user_id":7,"user_name":"Ada","text":"hi","content":{"data":"{\"sender\":{\"user_id\":7}}","future":"Ada"}}"#,
            r#"{"v":1,"type":"chat","timestamp_ms":5,"operation":"new","user_id":0,"user_name":"","text":"","forgotten":true}"#,
        );
        // A message of another to her.
        check(
            r#"{"v":1,"type":"chat","user_id":8,"user_name":"Bo","text":"hi","content":{"data":"{\"receiver\":{\"user_id\":7,\"user_name\":\"Ada\"},\"data\":\"hi\"}"}}"#,
            r#"{"v":1,"type":"chat","user_id":8,"user_name":"Bo","text":"hi","content":{"data":"{\"receiver\":{\"forgotten\":true},\"data\":\"hi\"}"},"forgotten":true}"#,
        );
        check(
            r#"{"v":1,"type":"file","file":"audio-7-Ada.wav","bytes":5}"#,
            r#"{"v":1,"type":"file","file":"","bytes":5}"#,
        );
        check(
            r#"{"v":1,"type":"stream","state":"started","topic":"Ada's Zoom Meeting"}"#,
            r#"{"v":1,"type":"stream","state":"started","topic":"","forgotten":true}"#,
        );
        check(
            r#"{"v":1,"frame":4,"timestamp_ms":5,"user_id":7,"user_name":"Ada","file":"video.2.h264","offset":5,"bytes":9,"key":true}"#,
            r#"{"v":1,"frame":4,"timestamp_ms":5,"user_id":0,"user_name":"","file":"video.2.h264","offset":5,"bytes":9,"key":true}"#,
        );
    }

    #[test]
    fn a_line_without_room_has_no_mark() {
        check(r#"{"user_id":7}"#, r#"{"user_id":0}"#);
        check(r#"{"event":{"user_id":7}}"#, r#"{"event":{}}"#);
        check(r#"{"x":["Ada"]}"#, r#"{"x":[]}"#);
    }

    #[test]
    fn lines_of_others_stay_as_they_are() {
        let person = ada(&[PHRASE]);
        for line in [
            r#"{"v":1,"type":"transcript","user_id":8,"user_name":"Bo","text":"Ada said so"}"#,
            r#"{"v":1,"type":"transcript","user_id":8,"user_name":"Ada","text":"another one"}"#,
            r#"{"user_id":70,"user_name":"Adam","bytes":7,"start_ms":7}"#,
            "no JSON, Ada",
        ] {
            assert_eq!(blank_line(line, &person), None, "{line}");
        }
    }

    #[test]
    fn meta_loses_rows_and_names() {
        let text = r#"{"v":1,"stream_id":"s","topic":"Ada's room","speakers":["Ada","Bo"],"participants":[{"user_id":7,"user_name":"Ada"},{"user_id":8,"user_name":"Bo"}],"audio":[{"file":"audio-7-Ada.wav","user_id":7,"user_name":"Ada"}],"started_ms":7}"#;
        let person = ada(&[text]);
        let found = blank_meta(text, &person).expect("she is in it");
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(
            found,
            serde_json::json!({"v": 1, "stream_id": "s", "topic": "", "speakers": ["Bo"],
                "participants": [{"user_id": 8, "user_name": "Bo"}], "audio": [], "started_ms": 7,
                "forgotten": true})
        );
        assert_eq!(blank_meta(&found.to_string(), &person), None);
    }
}
