//! Chooses the participant for video subscriptions (message 28), if video is one participant's: the
//! named one, or the active speaker. One at a time; a new subscription replaces the old one (RTMS
//! media guide).

use super::events::{ACTIVE_SPEAKER_CHANGE, PARTICIPANT_JOIN, PARTICIPANT_VIDEO_ON};
use super::message::MeetingEvent;
use crate::domain::id::Id;
use crate::domain::participant::Participant;

/// The rule, and the current subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Camera {
    /// A user id or a name; `None` for the active speaker.
    wanted: Option<String>,
    subscribed: Option<u64>,
}

impl Camera {
    /// For the participant with that user id or name; `None` for the active speaker.
    pub fn new(wanted: Option<String>) -> Camera {
        Camera {
            wanted,
            subscribed: None,
        }
    }

    /// The events that the rule needs.
    pub fn events(&self) -> [i64; 2] {
        match self.wanted {
            Some(_) => [PARTICIPANT_JOIN, PARTICIPANT_VIDEO_ON],
            None => [ACTIVE_SPEAKER_CHANGE, PARTICIPANT_VIDEO_ON],
        }
    }

    /// A new connection has no subscription. A participant wanted by user id can be subscribed to
    /// at once.
    pub fn handle_ready(&mut self) -> Option<u64> {
        self.subscribed = None;
        let number = self.wanted.as_ref()?.parse().ok()?;
        self.subscribe(number, false)
    }

    /// The participant to subscribe to after this event, if that changes.
    pub fn handle_event(&mut self, event: &MeetingEvent<'_>) -> Option<u64> {
        let is_on = event.event_type == Some(PARTICIPANT_VIDEO_ON);
        let is_wanted = |wanted: &str, user_id: u64, name: Option<&str>| {
            wanted.parse() == Ok(user_id) || name.is_some_and(|name| name == wanted)
        };
        match (&self.wanted, event.event_type?) {
            (None, ACTIVE_SPEAKER_CHANGE) => {
                let speaker = event.user_id.as_ref().and_then(Id::number)?;
                self.subscribe(speaker, false)
            }
            // The speaker's camera was switched on after the subscription, which may have been
            // refused.
            (None, PARTICIPANT_VIDEO_ON) => {
                let speaker = self.subscribed?;
                let mut numbers = event.participants.iter().filter_map(number);
                let is_theirs = numbers.any(|number| number == speaker);
                is_theirs.then_some(speaker)
            }
            (Some(wanted), PARTICIPANT_JOIN | PARTICIPANT_VIDEO_ON) => {
                let found = event.participants.iter().find_map(|person| {
                    let number = number(person)?;
                    let is_found = is_wanted(wanted, number, person.user_name.as_deref())
                        || is_on && self.subscribed == Some(number);
                    is_found.then_some(number)
                });
                self.subscribe(found?, is_on)
            }
            _ => None,
        }
    }

    fn subscribe(&mut self, user_id: u64, again: bool) -> Option<u64> {
        let is_news = self.subscribed.replace(user_id) != Some(user_id);
        (is_news || again).then_some(user_id)
    }
}

/// Message 28 names a participant by number; a participant with another kind of id cannot be
/// subscribed to.
fn number(person: &Participant) -> Option<u64> {
    person.user_id.as_ref().and_then(Id::number)
}
