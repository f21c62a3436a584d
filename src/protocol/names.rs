//! Names of the parties of a call, from its events: phrases of Contact Center have a channel and no
//! name.

use crate::domain::id::Id;
use crate::domain::participant::Participant;

/// Maximum parties that are remembered; a call has a few, and supervisors.
const PARTIES_MAX: usize = 64;

/// The parties with a known name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    parties: Vec<Participant>,
}

impl Names {
    /// Notes the participants of an event.
    pub fn on_participants(&mut self, participants: &[Participant]) {
        for person in participants {
            let ids = |known: &Participant| {
                known.has_ids(person.user_id.as_ref(), person.channel_id.as_ref())
            };
            match self.parties.iter().position(ids) {
                Some(at) => self.parties[at].merge(person),
                None if self.parties.len() < PARTIES_MAX => self.parties.push(person.clone()),
                None => {}
            }
        }
    }

    /// The label of the newest party with these ids.
    pub fn name_of(&self, user_id: &Id<'_>, channel_id: Option<&Id<'_>>) -> Option<&str> {
        let user_id = Some(user_id).filter(|id| !id.is_unknown());
        let mut parties = self.parties.iter().rev();
        parties
            .find(|known| known.has_ids(user_id, channel_id))?
            .label()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user_id: &str, channel_id: &str, name: Option<&str>) -> Participant {
        Participant {
            user_id: Id::from_text(user_id.to_owned()),
            channel_id: Id::from_text(channel_id.to_owned()),
            user_name: name.map(str::to_owned),
            mode: Some("caller".to_owned()),
            ..Participant::default()
        }
    }

    #[test]
    fn a_channel_has_the_name_from_an_event() {
        let mut names = Names::default();
        let mut on = |people: &[Participant]| names.on_participants(people);
        on(&[person("customer-1", "", None)]);
        on(&[
            person("customer-1", "123abc", None),
            person("agent", "456edf", Some("Bo")),
        ]);
        on(&[person("agent", "", None)]);
        for n in 0..2 * PARTIES_MAX {
            on(&[person(&format!("monitor-{n}"), "", Some("x"))]);
        }
        let channel = |channel| names.name_of(&Id::UNKNOWN, Id::from_text(channel).as_ref());
        assert_eq!(channel("123abc"), Some("caller"));
        assert_eq!(channel("456edf"), Some("Bo"));
        assert_eq!(channel("7"), None);
        assert_eq!(names.name_of(&Id::Text("agent".into()), None), Some("Bo"));
        assert_eq!(names.parties.len(), PARTIES_MAX);
    }
}
