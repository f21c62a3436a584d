//! Forgetting at the wish of people: what the tables know of a meeting, an account or a person goes.

use super::Coordinator;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The meetings with these UUIDs, sessions, engagements or calls.
    Meetings(Vec<String>),
    /// A person: their Zoom ids and names.
    Person {
        /// Operator or host.
        ids: Vec<String>,
        /// Names, in lower case: a topic that has one in it goes.
        names: Vec<String>,
    },
}

impl Coordinator {
    /// Removes it. Of a meeting whose stream runs, what people see goes at once; with `ends_streams` the
    /// stream goes as well, so that no later process continues it.
    pub fn forget(&mut self, subject: &Subject, ends_streams: bool) {
        match subject {
            Subject::Meetings(ids) => self.forget_meetings(ids, ends_streams),
            Subject::Person { ids, names } => self.forget_person(ids, names),
        }
    }

    fn forget_meetings(&mut self, ids: &[String], ends_streams: bool) {
        self.streams.retain(|_, entry| {
            let is_running = entry.is_active() && !ends_streams;
            is_running || !ids.contains(&entry.started.id)
        });
        for id in ids {
            let is_running = self.has_stream(id);
            match self.meetings.get_mut(id) {
                // A repeated webhook must not start the stream again.
                Some(meeting) if is_running || meeting.is_live() => {
                    (meeting.topic, meeting.host_id) = (None, None);
                }
                Some(_) => drop(self.meetings.remove(id)),
                None => {}
            }
        }
    }

    fn forget_person(&mut self, ids: &[String], names: &[String]) {
        let is_own = |id: &Option<String>| id.as_ref().is_some_and(|id| ids.contains(id));
        let is_told = |topic: &Option<String>| {
            let topic = topic.as_deref().unwrap_or_default().to_lowercase();
            names
                .iter()
                .any(|name| !name.is_empty() && topic.contains(name.as_str()))
        };
        let meetings: Vec<String> = self.meetings.keys().cloned().collect();
        for uuid in meetings {
            let known = self.meetings.get(&uuid);
            let (host, topic) = known.map_or((false, false), |meeting| {
                (is_own(&meeting.host_id), is_told(&meeting.topic))
            });
            if (host || topic)
                && let Some(meeting) = self.meetings.get_mut(&uuid)
            {
                if host {
                    meeting.host_id = None;
                }
                if topic {
                    meeting.topic = None;
                }
            }
        }
        let streams = self.streams.iter();
        let own = streams.filter(|(_, entry)| is_own(&entry.started.operator_id));
        let own: Vec<String> = own.map(|(id, _)| id.clone()).collect();
        for id in own {
            if let Some(entry) = self.streams.get_mut(&id) {
                entry.started.operator_id = None;
            }
        }
    }
}
