//! A person in an event: who joined, left, or answered a call.

use super::id::Id;

/// One person. Every text is bounded and untrusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// The user's id, if known. In Contact Center it is text.
    pub user_id: Option<Id<'static>>,
    /// The name, if known: `user_name` or `display_name`.
    pub user_name: Option<String>,
    /// The channel of the call, if known: audio and transcripts with this channel are this
    /// person's.
    pub channel_id: Option<Id<'static>>,
    /// `participant_mode` of Contact Center: `caller` or `callee`.
    pub mode: Option<String>,
    /// The queue of Contact Center, if known.
    pub queue_id: Option<String>,
    /// The queue's name, if known.
    pub queue_name: Option<String>,
}

impl Participant {
    /// Whether these ids are this person's. The user ids are compared if both have one, otherwise
    /// the channels.
    pub fn has_ids(&self, user_id: Option<&Id<'_>>, channel_id: Option<&Id<'_>>) -> bool {
        match (&self.user_id, user_id) {
            (Some(own), Some(other)) => own == other,
            _ => self.channel_id.is_some() && self.channel_id.as_ref() == channel_id,
        }
    }

    /// Merges data about the same person from another event; newer texts replace older ones.
    pub fn merge(&mut self, newer: &Participant) {
        fn set<T: Clone>(own: &mut Option<T>, newer: &Option<T>) {
            if newer.is_some() {
                own.clone_from(newer);
            }
        }
        set(&mut self.user_id, &newer.user_id);
        set(&mut self.user_name, &newer.user_name);
        set(&mut self.channel_id, &newer.channel_id);
        set(&mut self.mode, &newer.mode);
        set(&mut self.queue_id, &newer.queue_id);
        set(&mut self.queue_name, &newer.queue_name);
    }

    /// The name to show, if there is one; the caller of a call is shown as "caller".
    pub fn label(&self) -> Option<&str> {
        let name = self.user_name.as_deref().or(self.mode.as_deref());
        name.filter(|name| !name.trim().is_empty())
    }
}
