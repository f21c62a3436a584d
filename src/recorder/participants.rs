//! Who was there, and when: the participant list of `meta.json`, from the events of joining and
//! leaving. Somebody who comes back under the same number is listed again.

use serde_json::{Value, json};

use crate::protocol::events::{PARTICIPANT_JOIN, PARTICIPANT_LEAVE};

/// Most entries; a webinar's audience does not make the file huge.
const PEOPLE_MAX: usize = 5000;

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParticipantLog {
    stays: Vec<Presence>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Presence {
    user_id: u64,
    user_name: String,
    joined_ms: Option<u64>,
    left_ms: Option<u64>,
}

impl ParticipantLog {
    /// Goes on with the list of an earlier process.
    pub fn resume(value: &Value) -> ParticipantLog {
        let stay = |entry: &Value| {
            Some(Presence {
                user_id: entry["user_id"].as_u64()?,
                user_name: entry["user_name"].as_str().unwrap_or_default().to_owned(),
                joined_ms: entry["joined_ms"].as_u64(),
                left_ms: entry["left_ms"].as_u64(),
            })
        };
        let entries = value.as_array().into_iter().flatten();
        ParticipantLog {
            stays: entries.filter_map(stay).take(PEOPLE_MAX).collect(),
        }
    }

    /// Takes an event as it came. Says whether the list has changed.
    pub fn take(&mut self, event_type: Option<i64>, timestamp_ms: Option<u64>, raw: &str) -> bool {
        let is_join = match event_type {
            Some(PARTICIPANT_JOIN) => true,
            Some(PARTICIPANT_LEAVE) => false,
            _ => return false,
        };
        let Ok(event) = serde_json::from_str::<Value>(raw) else {
            return false;
        };
        let people = match &event["participants"] {
            Value::Null => &event["participant_info"],
            people => people,
        };
        let one = std::slice::from_ref(people);
        let mut is_changed = false;
        for person in people.as_array().map_or(one, Vec::as_slice) {
            let user_id = match &person["user_id"] {
                Value::String(text) => text.parse().ok(),
                number => number.as_u64(),
            };
            let Some(user_id) = user_id else { continue };
            let name = person["user_name"].as_str().unwrap_or_default();
            is_changed |= self.note(is_join, user_id, name, timestamp_ms);
        }
        is_changed
    }

    fn note(&mut self, is_join: bool, user_id: u64, name: &str, at_ms: Option<u64>) -> bool {
        let is_here = |stay: &&mut Presence| stay.user_id == user_id && stay.left_ms.is_none();
        let is_full = self.stays.len() >= PEOPLE_MAX;
        let here = self.stays.iter_mut().rev().find(is_here);
        match (here, is_join) {
            // Told again after a reconnection.
            (Some(stay), true) => {
                let is_renamed = !name.is_empty() && stay.user_name != name;
                if is_renamed {
                    name.clone_into(&mut stay.user_name);
                }
                is_renamed
            }
            (Some(stay), false) => {
                stay.left_ms = at_ms;
                true
            }
            (None, _) if is_full => false,
            (None, _) => {
                self.stays.push(Presence {
                    user_id,
                    user_name: name.to_owned(),
                    joined_ms: at_ms.filter(|_| is_join),
                    left_ms: at_ms.filter(|_| !is_join),
                });
                true
            }
        }
    }

    /// The list, or `None` if nobody is known.
    pub fn to_json(&self) -> Option<Value> {
        let entry = |stay: &Presence| {
            json!({
                "user_id": stay.user_id,
                "user_name": stay.user_name,
                "joined_ms": stay.joined_ms,
                "left_ms": stay.left_ms,
            })
        };
        (!self.stays.is_empty()).then(|| self.stays.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_and_went() {
        let mut people = ParticipantLog::default();
        let join = r#"{"participants":[{"user_id":1,"user_name":"Ada"},{"user_id":"2"},{}]}"#;
        assert!(people.take(Some(3), Some(10), join));
        assert!(!people.take(Some(3), Some(20), join), "told again");
        assert!(people.take(Some(4), Some(30), r#"{"participants":[{"user_id":1}]}"#));
        assert!(people.take(Some(3), Some(40), r#"{"participant_info":{"user_id":1}}"#));
        for raw in [
            "{",
            "[]",
            r#"{"participants":7}"#,
            r#"{"participants":[3]}"#,
        ] {
            assert!(!people.take(Some(3), Some(50), raw), "{raw}");
        }
        assert!(!people.take(Some(2), None, join));
        let list = people.to_json().expect("people");
        assert_eq!(list.as_array().map(Vec::len), Some(3));
        assert_eq!(
            (&list[0]["joined_ms"], &list[0]["left_ms"]),
            (&10.into(), &30.into())
        );
        assert_eq!(
            (&list[2]["joined_ms"], &list[2]["left_ms"]),
            (&40.into(), &Value::Null)
        );
        assert_eq!(ParticipantLog::resume(&list), people);
    }
}
