//! The streams, and which of them each meeting has: to look through all of them for each event would be quadratic
//! while many meetings begin or end, and thousands that have ended are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::StreamEntry;
use super::table::Table;

/// Streams by id. What changes the meeting of one, or which there are, is here; all else is the table's.
#[derive(Debug)]
pub(super) struct Streams {
    table: Table<StreamEntry>,
    /// Meeting and stream, for each stream whose meeting is known.
    of_meetings: BTreeSet<(Box<str>, Box<str>)>,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams::from(Table::new())
    }

    pub(super) fn insert(&mut self, stream_id: String, entry: StreamEntry) {
        self.leave_meeting(&stream_id);
        join_meeting(&mut self.of_meetings, &stream_id, &entry.started.id);
        self.table.insert(stream_id, entry);
    }

    pub(super) fn remove(&mut self, stream_id: &str) -> Option<StreamEntry> {
        self.leave_meeting(stream_id);
        self.table.remove(stream_id)
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&str, &StreamEntry) -> bool) {
        let of_meetings = &mut self.of_meetings;
        self.table.retain(|stream_id, entry| {
            let keeps = is_kept(stream_id, entry);
            if !keeps {
                of_meetings.remove(&pair(stream_id, &entry.started.id));
            }
            keeps
        });
    }

    /// Applies the changes of an earlier process, as [`Table::apply`].
    pub(super) fn apply(&mut self, changes: BTreeMap<String, Option<StreamEntry>>) {
        for (stream_id, entry) in &changes {
            self.leave_meeting(stream_id);
            if let Some(entry) = entry {
                join_meeting(&mut self.of_meetings, stream_id, &entry.started.id);
            }
        }
        self.table.apply(changes);
    }

    /// It is of this meeting from now on.
    pub(super) fn set_meeting(&mut self, stream_id: &str, meeting: &str) {
        self.leave_meeting(stream_id);
        if let Some(entry) = self.table.get_mut(stream_id) {
            meeting.clone_into(&mut entry.started.id);
            join_meeting(&mut self.of_meetings, stream_id, meeting);
        }
    }

    /// All that are known of a meeting, by id.
    pub(super) fn of_meeting<'a>(
        &'a self,
        meeting: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a StreamEntry)> {
        let pairs = self.of_meetings.range(pair("", meeting)..);
        let pairs = pairs.take_while(move |(known, _)| **known == *meeting);
        pairs.filter_map(|(_, stream_id)| Some((&**stream_id, self.table.get(stream_id)?)))
    }

    fn leave_meeting(&mut self, stream_id: &str) {
        if let Some(entry) = self.table.get(stream_id) {
            self.of_meetings.remove(&pair(stream_id, &entry.started.id));
        }
    }
}

fn pair(stream_id: &str, meeting: &str) -> (Box<str>, Box<str>) {
    (meeting.into(), stream_id.into())
}

fn join_meeting(of_meetings: &mut BTreeSet<(Box<str>, Box<str>)>, stream_id: &str, meeting: &str) {
    // A stop need not name the meeting, and several such streams are not of one.
    if !meeting.is_empty() {
        of_meetings.insert(pair(stream_id, meeting));
    }
}

impl From<Table<StreamEntry>> for Streams {
    fn from(table: Table<StreamEntry>) -> Streams {
        let mut of_meetings = BTreeSet::new();
        for (stream_id, entry) in table.iter() {
            join_meeting(&mut of_meetings, stream_id, &entry.started.id);
        }
        Streams { table, of_meetings }
    }
}

impl Deref for Streams {
    type Target = Table<StreamEntry>;

    fn deref(&self) -> &Table<StreamEntry> {
        &self.table
    }
}

impl DerefMut for Streams {
    fn deref_mut(&mut self) -> &mut Table<StreamEntry> {
        &mut self.table
    }
}

impl Serialize for Streams {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Streams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Streams, D::Error> {
        Table::deserialize(deserializer).map(Streams::from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Coordinator;
    use super::super::forgetting::Subject;
    use super::super::tests::{T0, settings, stream_of, world};
    use crate::domain::product::Product;
    use crate::domain::split_mix;
    use crate::domain::zoom_event::{StreamStopped, ZoomEventKind};
    use crate::protocol::EndReason;
    use crate::protocol::codes::StopReason;

    #[test]
    fn a_meeting_has_the_streams_that_a_search_through_all_of_them_finds() {
        let mut world = world(settings());
        let mut saved = world.coordinator.to_json();
        let meeting = |n: u64| format!("m{}", n % 7);
        for n in 0..2000 {
            let random = split_mix::nth(7, n);
            let (uuid, stream) = (meeting(random >> 8), format!("s{}", (random >> 16) % 30));
            match random % 30 {
                0..12 => {
                    let started = ZoomEventKind::StreamStarted(stream_of(&uuid, &stream));
                    world.webhook(T0 + n, started);
                }
                12..18 => {
                    let stopped = StreamStopped {
                        product: Product::Meeting,
                        id: (random & 64 > 0).then_some(uuid),
                        stream_id: stream,
                        stop_reason: Some(2),
                    };
                    world.webhook(T0 + n, ZoomEventKind::StreamStopped(stopped));
                }
                18..26 => {
                    let end = EndReason::Stopped(StopReason(6));
                    world.coordinator.handle_end(world.now, &stream, &end);
                }
                26 => world.pass(std::time::Duration::from_secs(3600)),
                27 => {
                    let subject = Subject::Meetings(vec![uuid]);
                    world.coordinator.forget(&subject, random & 64 > 0);
                }
                28 => {
                    saved = world.coordinator.snapshot();
                    world.coordinator = Coordinator::from_json(settings(), &saved).expect("JSON");
                }
                _ => {
                    let mut next = Coordinator::from_json(settings(), &saved).expect("JSON");
                    if let Some(changes) = world.coordinator.take_changes() {
                        next.apply_changes(&changes).expect("changes");
                        saved = next.to_json();
                        world.coordinator = next;
                    }
                }
            }
            let streams = &world.coordinator.streams;
            for uuid in (0..7).map(meeting) {
                let found: Vec<&str> = streams.of_meeting(&uuid).map(|(id, _)| id).collect();
                let all = streams.iter().filter(|(_, entry)| entry.started.id == uuid);
                let mut expected: Vec<&str> = all.map(|(id, _)| id.as_str()).collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "{uuid} after {n}");
            }
            let known = streams
                .values()
                .filter(|entry| !entry.started.id.is_empty());
            assert_eq!(streams.of_meetings.len(), known.count(), "after {n}");
        }
    }
}
