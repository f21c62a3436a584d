//! Which streams a meeting has. In a fleet each change of a meeting is looked at; looking through all streams for
//! each would be quadratic while many join.

use std::collections::{BTreeSet, HashMap};

use super::super::Coordinator;
use super::super::entry::StreamEntry;

/// The streams of each meeting, as they were when changes were last taken.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct ByMeeting {
    streams: HashMap<String, BTreeSet<String>>,
    meetings: HashMap<String, String>,
}

impl ByMeeting {
    /// A stream is of this meeting, or of none any more.
    pub(super) fn note(&mut self, stream_id: &str, meeting: Option<&str>) {
        if self.meetings.get(stream_id).map(String::as_str) == meeting {
            return;
        }
        if let Some(before) = self.meetings.remove(stream_id)
            && let Some(streams) = self.streams.get_mut(&before)
        {
            streams.remove(stream_id);
            if streams.is_empty() {
                self.streams.remove(&before);
            }
        }
        if let Some(meeting) = meeting {
            let (stream_id, meeting) = (stream_id.to_owned(), meeting.to_owned());
            let streams = self.streams.entry(meeting.clone()).or_default();
            streams.insert(stream_id.clone());
            self.meetings.insert(stream_id, meeting);
        }
    }

    fn of<'a>(&'a self, meeting: &str) -> impl Iterator<Item = &'a String> + use<'a> {
        self.streams.get(meeting).into_iter().flatten()
    }

    fn has(&self, stream_id: &str, meeting: &str) -> bool {
        self.meetings.get(stream_id).is_some_and(|it| it == meeting)
    }
}

impl Coordinator {
    /// All that is known of the streams of a meeting.
    pub(in crate::coordinator) fn entries_of<'a>(
        &'a self,
        uuid: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a StreamEntry)> {
        let index = self.by_meeting.as_ref();
        let all = self.streams.keys().filter(move |_| index.is_none());
        let known = index.into_iter().flat_map(move |it| it.of(uuid));
        // What has changed since is not in its place yet.
        let changed = self.streams.watched();
        let changed = changed.filter(move |id| index.is_some_and(|it| !it.has(id, uuid)));
        let ids = all.chain(known).chain(changed);
        let entries = ids.filter_map(|id| Some((id, self.streams.get(id)?)));
        entries.filter(move |(_, entry)| entry.started.id == uuid)
    }
}
