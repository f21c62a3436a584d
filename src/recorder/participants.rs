//! The participant list of `meta.json`: who attended and when, from the join and leave events. A
//! person who comes back with the same id gets a new entry.

use serde::{Deserialize, Serialize};

use crate::domain::id::Id;
use crate::domain::participant::Participant;
use crate::domain::product::Product;
use crate::protocol::events::{Attendance, attendance};

/// Maximum entries, so that a webinar's audience does not make the file huge.
const ENTRIES_MAX: usize = 5000;

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantLog {
    entries: Vec<Presence>,
}

/// One presence of one person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Presence {
    user_id: Option<Id<'static>>,
    user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<Id<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_name: Option<String>,
    joined_ms: Option<u64>,
    left_ms: Option<u64>,
}

impl ParticipantLog {
    /// Whether no participant is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Limits a list read from a file, and drops entries without an id.
    pub fn sanitize(&mut self) {
        self.entries
            .retain(|entry| entry.user_id.is_some() || entry.channel_id.is_some());
        self.entries.truncate(ENTRIES_MAX);
    }

    /// Applies an event to the list. Returns whether the list has changed.
    pub fn on_event(
        &mut self,
        product: Product,
        event_type: Option<i64>,
        timestamp_ms: u64,
        participants: &[Participant],
    ) -> bool {
        let Some(attendance) = event_type.and_then(|n| attendance(product, n)) else {
            return false;
        };
        participants.iter().fold(false, |is_changed, person| {
            self.on_person(attendance, person, timestamp_ms) | is_changed
        })
    }

    fn on_person(&mut self, attendance: Attendance, person: &Participant, at_ms: u64) -> bool {
        let is_full = self.entries.len() >= ENTRIES_MAX;
        let here = self.entries.iter_mut().rev().find(|entry| {
            entry.left_ms.is_none()
                && person.has_ids(entry.user_id.as_ref(), entry.channel_id.as_ref())
        });
        let is_join = attendance == Attendance::Joined;
        match here {
            // Zoom repeats the event after a reconnect, possibly with more detail.
            Some(entry) => {
                let is_changed = entry.merge(person);
                if attendance == Attendance::Left {
                    entry.left_ms = Some(at_ms);
                }
                is_changed || attendance == Attendance::Left
            }
            None if is_full || attendance == Attendance::Present => false,
            None => {
                let mut entry = Presence {
                    joined_ms: is_join.then_some(at_ms),
                    left_ms: (!is_join).then_some(at_ms),
                    ..Presence::default()
                };
                entry.merge(person);
                self.entries.push(entry);
                true
            }
        }
    }

    /// Adds the list of a node that went on with the stream: who had not left, or joined at the same
    /// moment, is the same person, of whom the other node knows more.
    pub(crate) fn continue_with(&mut self, later: ParticipantLog) {
        for newer in later.entries {
            let is_full = self.entries.len() >= ENTRIES_MAX;
            let here = self.entries.iter_mut().rev().find(|entry| {
                let is_same = match (&entry.user_id, &newer.user_id) {
                    (Some(own), Some(other)) => own == other,
                    _ => entry.channel_id.is_some() && entry.channel_id == newer.channel_id,
                };
                let is_here = entry.left_ms.is_none() || entry.joined_ms == newer.joined_ms;
                is_same && is_here
            });
            match here {
                Some(entry) => entry.replace_with(newer),
                None if is_full => {}
                None => self.entries.push(newer),
            }
        }
    }

    /// The name of a speaker whose audio packet or phrase has no name: that of the newest entry
    /// with these ids, or else the caller's if the speaker is the caller.
    pub fn name_of(&self, user_id: &Id<'_>, channel_id: Option<&Id<'_>>) -> Option<&str> {
        let user_id = Some(user_id).filter(|id| !id.is_unknown());
        let mut entries = self.entries.iter().rev();
        entries
            .find(|entry| match (&entry.user_id, user_id) {
                (Some(own), Some(other)) => own == other,
                _ => entry.channel_id.is_some() && entry.channel_id.as_ref() == channel_id,
            })
            .map(|entry| match entry.user_name.trim() {
                "" => entry.mode.as_deref().unwrap_or_default(),
                name => name,
            })
            .filter(|name| !name.is_empty())
    }
}

impl Presence {
    /// Takes over what a later node knows of the same presence; its start is the earlier node's.
    fn replace_with(&mut self, newer: Presence) {
        *self = Presence {
            user_id: newer.user_id.or(self.user_id.take()),
            user_name: match newer.user_name.is_empty() {
                true => std::mem::take(&mut self.user_name),
                false => newer.user_name,
            },
            channel_id: newer.channel_id.or(self.channel_id.take()),
            mode: newer.mode.or(self.mode.take()),
            queue_id: newer.queue_id.or(self.queue_id.take()),
            queue_name: newer.queue_name.or(self.queue_name.take()),
            joined_ms: self.joined_ms.or(newer.joined_ms),
            left_ms: newer.left_ms.or(self.left_ms),
        };
    }

    /// Merges what the event has about the person. Returns whether anything changed.
    fn merge(&mut self, person: &Participant) -> bool {
        let before = self.clone();
        let set = |own: &mut Option<String>, new: &Option<String>| {
            if new.is_some() {
                own.clone_from(new);
            }
        };
        if let Some(name) = &person.user_name {
            self.user_name.clone_from(name);
        }
        if self.user_id.is_none() {
            self.user_id.clone_from(&person.user_id);
        }
        if person.channel_id.is_some() {
            self.channel_id.clone_from(&person.channel_id);
        }
        set(&mut self.mode, &person.mode);
        set(&mut self.queue_id, &person.queue_id);
        set(&mut self.queue_name, &person.queue_name);
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Message, decode};

    #[test]
    fn the_list_of_a_later_node_continues_that_of_an_earlier_one() {
        let list = |text| serde_json::from_str::<ParticipantLog>(text).expect("a list");
        let mut whole = list(
            r#"[{"user_id":1,"user_name":"Ada","joined_ms":10},
                {"user_id":2,"user_name":"Bo","joined_ms":20,"left_ms":30},
                {"user_id":3,"user_name":"Cy","joined_ms":25,"left_ms":40}]"#,
        );
        whole.continue_with(list(
            r#"[{"user_id":1,"user_name":"Ada L.","joined_ms":50,"left_ms":90},
                {"user_id":2,"user_name":"Bo","joined_ms":60},
                {"user_id":3,"user_name":"","joined_ms":25},
                {"user_id":4,"user_name":"Di","joined_ms":70}]"#,
        ));
        let expected = list(
            r#"[{"user_id":1,"user_name":"Ada L.","joined_ms":10,"left_ms":90},
                {"user_id":2,"user_name":"Bo","joined_ms":20,"left_ms":30},
                {"user_id":3,"user_name":"Cy","joined_ms":25,"left_ms":40},
                {"user_id":2,"user_name":"Bo","joined_ms":60},
                {"user_id":4,"user_name":"Di","joined_ms":70}]"#,
        );
        assert_eq!(whole, expected);
    }

    /// Applies an event, given as JSON.
    fn on_event(log: &mut ParticipantLog, product: Product, event: &str) -> bool {
        let json = format!(r#"{{"msg_type":6,"event":{event}}}"#);
        let Ok(Message::Event(event)) = decode(&json, 0) else {
            panic!("no event: {json}");
        };
        log.on_event(
            product,
            event.event_type,
            event.timestamp_ms,
            &event.participants,
        )
    }

    #[test]
    fn joins_and_leaves_are_listed() {
        let mut log = ParticipantLog::default();
        let mut on = |event: &str| on_event(&mut log, Product::Meeting, event);
        let join = r#"[{"user_id":1,"user_name":"Ada"},{"user_id":"2"},{}]"#;
        assert!(on(&format!(
            r#"{{"event_type":3,"timestamp":10,"participants":{join}}}"#
        )));
        let again = format!(r#"{{"event_type":3,"timestamp":20,"participants":{join}}}"#);
        assert!(!on(&again), "said again");
        assert!(on(
            r#"{"event_type":4,"timestamp":30,"participants":[{"user_id":1}]}"#
        ));
        assert!(on(
            r#"{"event_type":3,"event_ts":40,"participant_info":{"user_id":1}}"#
        ));
        for people in ["[]", "7", "[3]", "null"] {
            let event = format!(r#"{{"event_type":3,"timestamp":50,"participants":{people}}}"#);
            assert!(!on(&event), "{people}");
        }
        assert!(!on(&format!(r#"{{"event_type":2,"participants":{join}}}"#)));
        let json = serde_json::to_string(&log).expect("JSON");
        assert_eq!(
            json,
            concat!(
                r#"[{"user_id":1,"user_name":"Ada","joined_ms":10,"left_ms":30},"#,
                r#"{"user_id":2,"user_name":"","joined_ms":10,"left_ms":null},"#,
                r#"{"user_id":1,"user_name":"","joined_ms":40,"left_ms":null}]"#
            )
        );
        assert_eq!(
            serde_json::from_str::<ParticipantLog>(&json).expect("ours"),
            log
        );
    }

    #[test]
    fn contact_center_participants_have_their_channels() {
        let mut log = ParticipantLog::default();
        let mut on = |event: &str| on_event(&mut log, Product::ContactCenter, event);
        // Both spellings; the consumer's event may lack the channel at first.
        assert!(on(
            r#"{"event_type":8,"event_ts":10,"paticipant_info":{"user_id":"customer-1","participant_mode":"caller","queue_id":"q1","queue_name":"Sales"}}"#
        ));
        assert!(on(
            r#"{"event_type":10,"event_ts":11,"participant_info":{"user_id":"agent","display_name":"Bo","channel_id":"456edf","participant_mode":"callee"}}"#
        ));
        assert!(on(
            r#"{"event_type":12,"event_ts":12,"participant_info":{"user_id":"customer-1","channel_id":"123abc"}}"#
        ));
        assert!(on(
            r#"{"event_type":9,"event_ts":13,"participant_info":{"channel_id":"123abc"}}"#
        ));
        let name = |user: &Id<'_>, channel| {
            let channel = Id::from_text(channel);
            log.name_of(user, channel.as_ref()).map(str::to_owned)
        };
        assert_eq!(name(&Id::UNKNOWN, "123abc").as_deref(), Some("caller"));
        assert_eq!(name(&Id::UNKNOWN, "456edf").as_deref(), Some("Bo"));
        assert_eq!(name(&Id::UNKNOWN, "other"), None);
        assert_eq!(name(&Id::Text("agent".into()), "x").as_deref(), Some("Bo"));
        assert_eq!(name(&Id::Number(7), "x"), None);
        let list = serde_json::to_value(&log).expect("JSON");
        assert_eq!(
            list[0],
            serde_json::json!({"user_id": "customer-1", "user_name": "", "channel_id": "123abc",
                "mode": "caller", "queue_id": "q1", "queue_name": "Sales",
                "joined_ms": 10, "left_ms": 13})
        );
    }
}
