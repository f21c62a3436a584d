//! Meeting events (message 6): their names, and the groups in which they are subscribed to.
//!
//! In Contact Center numbers from 8 on have another meaning, so every function takes the product.

use std::fmt;

use crate::domain::product::Product;

/// Meetings, webinars and Video SDK sessions; the index is the number (RTMS event reference; 10 to
/// 14 since July 2026).
const MEETING: [&str; 15] = [
    "UNDEFINED",
    "FIRST_PACKET_TIMESTAMP",
    "ACTIVE_SPEAKER_CHANGE",
    "PARTICIPANT_JOIN",
    "PARTICIPANT_LEAVE",
    "SHARING_START",
    "SHARING_STOP",
    "MEDIA_CONNECTION_INTERRUPTED",
    "PARTICIPANT_VIDEO_ON",
    "PARTICIPANT_VIDEO_OFF",
    "CHAT_GROUP_CREATE",
    "CHAT_GROUP_DELETE",
    "CHAT_GROUP_MEMBERS_ADD",
    "CHAT_GROUP_MEMBERS_DELETE",
    "CHAT_GROUP_MEMBER_STATUS_UPDATE",
];

/// Contact Center voice, from number 8 on. 30 to 34 exist without published names.
const CONTACT_CENTER: [&str; 22] = [
    "CONSUMER_ANSWERED",
    "CONSUMER_END",
    "USER_ANSWERED",
    "USER_END",
    "USER_HOLD",
    "USER_UNHOLD",
    "MONITOR_STARTED",
    "MONITOR_TRANSITIONED",
    "MONITOR_ENDED",
    "TAKEOVER_STARTED",
    "TRANSFER_INITIATED",
    "TRANSFER_CANCELED",
    "TRANSFER_ACCEPTED",
    "TRANSFER_COMPLETED",
    "TRANSFER_REJECTED",
    "TRANSFER_TIMEOUT",
    "CONFERENCE_CANCELED",
    "CONFERENCE_PARTICIPANT_CANCELED",
    "CONFERENCE_PARTICIPANT_INVITED",
    "CONFERENCE_PARTICIPANT_REJECTED",
    "CONFERENCE_PARTICIPANT_TIMEOUT",
    "CONFERENCE_PARTICIPANT_LEFT",
];

/// The first number with another meaning in Contact Center.
const CONTACT_CENTER_FROM: i64 = 8;

/// FIRST_PACKET_TIMESTAMP is sent without a subscription.
pub const FIRST_PACKET_TIMESTAMP: i64 = 1;
/// Another participant speaks.
pub const ACTIVE_SPEAKER_CHANGE: i64 = 2;
/// A participant joined.
pub const PARTICIPANT_JOIN: i64 = 3;
/// A participant left.
pub const PARTICIPANT_LEAVE: i64 = 4;
/// A camera was switched on; another meaning in Contact Center, which has no video.
pub const PARTICIPANT_VIDEO_ON: i64 = 8;
/// MEDIA_CONNECTION_INTERRUPTED is sent without a subscription.
pub const MEDIA_CONNECTION_INTERRUPTED: i64 = 7;

/// What an event means for the presence of its participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attendance {
    /// They joined.
    Joined,
    /// They left.
    Left,
    /// They are present, and the event may have more details about them.
    Present,
}

/// The presence that an event implies; `None` if it implies nothing.
pub fn attendance(product: Product, number: i64) -> Option<Attendance> {
    let name = event_name(product, number)?;
    let is_call = product == Product::ContactCenter && number >= CONTACT_CENTER_FROM;
    match name {
        "PARTICIPANT_JOIN" | "CONSUMER_ANSWERED" | "USER_ANSWERED" => Some(Attendance::Joined),
        "PARTICIPANT_LEAVE" | "CONSUMER_END" | "USER_END" => Some(Attendance::Left),
        _ => is_call.then_some(Attendance::Present),
    }
}

/// Zoom's name of an event; `None` for a number without a published name.
pub fn event_name(product: Product, number: i64) -> Option<&'static str> {
    let in_contact_center = product == Product::ContactCenter && number >= CONTACT_CENTER_FROM;
    let (table, index) = if in_contact_center {
        (&CONTACT_CENTER[..], number - CONTACT_CENTER_FROM)
    } else {
        (&MEETING[..], number)
    };
    table.get(usize::try_from(index).ok()?).copied()
}

/// A group of events that are subscribed to together, with a readable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventGroup {
    /// Changes of the active speaker.
    Speaker,
    /// Joins and leaves.
    Participants,
    /// Start and stop of sharing.
    Sharing,
    /// Cameras switched on and off.
    Video,
    /// Chat groups and their members.
    Chat,
    /// Contact Center: the consumer answers and hangs up.
    Consumer,
    /// Contact Center: an agent answers, ends, holds.
    Agent,
    /// Contact Center: a supervisor listens or takes over.
    Monitor,
    /// Contact Center: transfers.
    Transfer,
    /// Contact Center: conferences.
    Conference,
}

impl EventGroup {
    /// All groups.
    pub const ALL: [EventGroup; 10] = [
        EventGroup::Speaker,
        EventGroup::Participants,
        EventGroup::Sharing,
        EventGroup::Video,
        EventGroup::Chat,
        EventGroup::Consumer,
        EventGroup::Agent,
        EventGroup::Monitor,
        EventGroup::Transfer,
        EventGroup::Conference,
    ];

    /// The word in `RTMS_EVENTS`.
    pub const fn name(self) -> &'static str {
        match self {
            EventGroup::Speaker => "speaker",
            EventGroup::Participants => "participants",
            EventGroup::Sharing => "sharing",
            EventGroup::Video => "video",
            EventGroup::Chat => "chat",
            EventGroup::Consumer => "consumer",
            EventGroup::Agent => "agent",
            EventGroup::Monitor => "monitor",
            EventGroup::Transfer => "transfer",
            EventGroup::Conference => "conference",
        }
    }

    /// The group of that word.
    pub fn from_name(name: &str) -> Option<EventGroup> {
        EventGroup::ALL
            .into_iter()
            .find(|group| group.name() == name)
    }

    /// The numbers to subscribe to for a product: empty if the product has no such events, and for
    /// Phone, whose event codes are not published.
    pub const fn numbers(self, product: Product) -> &'static [i64] {
        let contact_center = match product {
            Product::Phone => return &[],
            Product::ContactCenter => true,
            Product::Meeting | Product::Webinar | Product::Session => false,
        };
        match (self, contact_center) {
            (EventGroup::Speaker, _) => &[2],
            (EventGroup::Participants, _) => &[3, 4],
            (EventGroup::Sharing, _) => &[5, 6],
            (EventGroup::Video, false) => &[8, 9],
            (EventGroup::Chat, false) => &[10, 11, 12, 13, 14],
            (EventGroup::Consumer, true) => &[8, 9],
            (EventGroup::Agent, true) => &[10, 11, 12, 13],
            (EventGroup::Monitor, true) => &[14, 15, 16, 17],
            (EventGroup::Transfer, true) => &[18, 19, 20, 21, 22, 23],
            (EventGroup::Conference, true) => &[24, 25, 26, 27, 28, 29],
            _ => &[],
        }
    }
}

/// The wanted groups: `RTMS_EVENTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSelection {
    groups: Vec<EventGroup>,
}

impl Default for EventSelection {
    fn default() -> Self {
        use EventGroup::{Participants, Sharing, Speaker};
        EventSelection {
            groups: vec![Speaker, Participants, Sharing],
        }
    }
}

/// As [`EventSelection::from_text`] reads it.
impl fmt::Display for EventSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.groups.is_empty() {
            return f.write_str("off");
        }
        let names: Vec<&str> = self.groups.iter().map(|group| group.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl EventSelection {
    /// Reads a comma-separated list of groups, `all`, or `off`.
    ///
    /// # Errors
    /// Another word; the error says what was expected.
    pub fn from_text(text: &str) -> Result<EventSelection, String> {
        let mut groups = match text {
            "all" => EventGroup::ALL.to_vec(),
            "off" => Vec::new(),
            _ => super::params::each_word(text)
                .map(EventGroup::from_name)
                .collect::<Option<Vec<EventGroup>>>()
                .ok_or_else(EventSelection::expected)?,
        };
        groups.sort_unstable();
        groups.dedup();
        Ok(EventSelection { groups })
    }

    /// The groups, in the order of [`EventGroup::ALL`].
    pub fn groups(&self) -> &[EventGroup] {
        &self.groups
    }

    /// The event numbers to subscribe to (message 5) for a product. The two events that need no
    /// subscription are never among them.
    pub fn numbers(&self, product: Product) -> Vec<i64> {
        let numbers = |group: &EventGroup| group.numbers(product).iter().copied();
        self.groups.iter().flat_map(numbers).collect()
    }

    fn expected() -> String {
        let names: Vec<&str> = EventGroup::ALL.iter().map(|group| group.name()).collect();
        format!("any of {}, or all, or off", names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_product_s_meaning() {
        for (product, number, expected) in [
            (Product::Meeting, 2, Some("ACTIVE_SPEAKER_CHANGE")),
            (Product::ContactCenter, 2, Some("ACTIVE_SPEAKER_CHANGE")),
            (Product::Meeting, 8, Some("PARTICIPANT_VIDEO_ON")),
            (Product::ContactCenter, 8, Some("CONSUMER_ANSWERED")),
            (
                Product::ContactCenter,
                29,
                Some("CONFERENCE_PARTICIPANT_LEFT"),
            ),
            (Product::ContactCenter, 30, None),
            (
                Product::Session,
                14,
                Some("CHAT_GROUP_MEMBER_STATUS_UPDATE"),
            ),
            (Product::Webinar, 15, None),
            (Product::Meeting, -1, None),
            (Product::Meeting, i64::MIN, None),
            (Product::ContactCenter, i64::MAX, None),
        ] {
            assert_eq!(
                event_name(product, number),
                expected,
                "{product:?} {number}"
            );
        }
    }

    #[test]
    fn all_numbers_of_groups_have_names() {
        let all = EventSelection::from_text("all").expect("a word");
        for product in Product::ALL {
            for number in all.numbers(product) {
                assert!(event_name(product, number).is_some());
                assert_ne!(number, FIRST_PACKET_TIMESTAMP);
                assert_ne!(number, MEDIA_CONNECTION_INTERRUPTED);
            }
        }
        let default = EventSelection::default();
        assert_eq!(default.numbers(Product::Meeting), [2, 3, 4, 5, 6]);
        assert_eq!(default.numbers(Product::Phone), [0_i64; 0]);
    }

    #[test]
    fn group_names_are_parsed() {
        let read =
            |text| EventSelection::from_text(text).map(|found| found.numbers(Product::Meeting));
        assert_eq!(read(" video , speaker,video "), Ok(vec![2, 8, 9]));
        assert_eq!(read("off"), Ok(vec![]));
        for bad in ["", "speakers", "speaker,,video", "all,video", ","] {
            let expected = "any of speaker,participants,sharing,video,chat,consumer,agent,monitor,\
                            transfer,conference, or all, or off";
            assert_eq!(read(bad), Err(expected.to_owned()), "{bad}");
        }
    }
}
