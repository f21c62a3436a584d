//! Meetings that move between the nodes of a fleet.
//!
//! What is coupled in this table moves together: a meeting with its REST starts, its scheduled stop and its
//! streams. The order of a hand-over:
//!
//! | here | there |
//! | --- | --- |
//! | [`Coordinator::release`]: its streams leave | |
//! | [`Coordinator::export`], when they have left | |
//! | [`Coordinator::yield_up`]: its calls are cancelled | [`Coordinator::adopt`] |
//!
//! After a death the last export that was published is adopted. Who was thought dead and is not yields up what
//! another has. What stays is memory, so that a repeated webhook does nothing: the meeting counts as stopped
//! here. Only what Zoom announces to this node after that makes it this node's again.

mod adopt;
mod told;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::entry::{Leaving, MeetingEntry, StreamEntry};
use super::{Action, Coordinator, Now};
use crate::domain::stream_info::{Predecessor, Tenure};

/// Data layout of an export. Unknown fields are dropped by who reads it, so a new field that matters needs a new
/// number.
const LAYOUT: u32 = 1;

/// Most streams of an export. A meeting has one per operator who brings the app in.
const STREAMS_MAX: usize = 64;

/// Ended streams of an export, the newest of them: their stamps make repeated webhooks harmless.
const ENDED_MAX: usize = 16;

/// A meeting that is this node's: it is running, or a stream of it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMeeting {
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// Its open streams.
    pub streams: Vec<String>,
}

/// What another node needs to go on.
#[derive(Serialize)]
struct Export<'a> {
    v: u32,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meeting: Option<MeetingEntry>,
    /// A start call waits, or is on its way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_start: bool,
    streams: BTreeMap<&'a str, StreamEntry>,
}

impl Coordinator {
    /// The meetings that are this node's.
    pub fn meetings(&self) -> Vec<LiveMeeting> {
        let own = self.meetings.iter().filter(|(_, meeting)| is_own(meeting));
        let mut streams: BTreeMap<&str, Vec<String>> =
            own.map(|(id, _)| (id.as_str(), Vec::new())).collect();
        for (stream_id, entry) in self.streams.iter().filter(|(_, e)| e.is_open()) {
            let of_meeting = streams.entry(&entry.started.id).or_default();
            of_meeting.push(stream_id.clone());
        }
        let live = streams.into_iter().map(|(id, mut streams)| {
            streams.sort_unstable();
            let id = id.to_owned();
            LiveMeeting { id, streams }
        });
        live.collect()
    }

    /// One of them; `None` if it is over, another's, or unknown.
    pub fn live_meeting(&self, uuid: &str) -> Option<LiveMeeting> {
        let own = self
            .streams
            .of_meeting(uuid)
            .filter(|(_, entry)| entry.is_open());
        let streams: Vec<String> = own.map(|(id, _)| id.to_owned()).collect();
        let is_live = !streams.is_empty() || self.meetings.get(uuid).is_some_and(is_own);
        is_live.then(|| LiveMeeting {
            id: uuid.to_owned(),
            streams,
        })
    }

    /// The meeting of a stream, if it is known.
    pub fn meeting_of(&self, stream_id: &str) -> Option<&str> {
        let entry = self.streams.get(stream_id)?;
        Some(entry.started.id.as_str()).filter(|id| !id.is_empty())
    }

    /// From now on [`Coordinator::changed_meetings`] knows which meetings may have changed.
    pub fn watch(&mut self) {
        self.meetings.watch();
        self.streams.watch();
    }

    /// The meetings that may have changed since the last call, or a stream of which may have.
    pub fn changed_meetings(&mut self) -> BTreeSet<String> {
        let mut changed: BTreeSet<String> = self.meetings.take_watched().into_iter().collect();
        for stream_id in self.streams.take_watched() {
            changed.extend(self.meeting_of(&stream_id).map(str::to_owned));
        }
        changed
    }

    /// What another node needs to go on with a meeting, as JSON; `None` if nothing is known of it. The same
    /// state gives the same bytes.
    pub fn export(&self, uuid: &str) -> Option<Vec<u8>> {
        let (mut streams, mut ended): (Vec<_>, Vec<_>) = self
            .streams
            .of_meeting(uuid)
            .partition(|(_, entry)| entry.is_active() || entry.is_open() || entry.is_revoked);
        ended.sort_by_key(|(id, entry)| (std::cmp::Reverse(entry.ended_ms), *id));
        ended.truncate(ENDED_MAX);
        streams.append(&mut ended);
        streams.truncate(STREAMS_MAX);
        let meeting = self.meetings.get(uuid);
        if meeting.is_none() && streams.is_empty() {
            return None;
        }
        let export = Export {
            v: LAYOUT,
            id: uuid,
            has_start: meeting.is_some_and(|meeting| meeting.calls.start.is_some()),
            meeting: meeting.map(|meeting| MeetingEntry {
                is_yielded: false,
                ..meeting.clone()
            }),
            streams: streams.into_iter().map(exported).collect(),
        };
        let mut packed = serde_json::to_vec(&export).ok()?;
        // It is kept as long as the meeting.
        packed.shrink_to_fit();
        Some(packed)
    }

    /// The epoch under which a meeting was held last, if it is known.
    pub fn epoch_of(&self, uuid: &str) -> Option<u64> {
        self.meetings.get(uuid)?.epoch
    }

    /// The epoch under which the meeting is this node's. It counts for streams that begin here from now on.
    pub fn set_epoch(&mut self, uuid: &str, epoch: u64) {
        if let Some(meeting) = self.meetings.get_mut(uuid)
            && meeting.epoch != Some(epoch)
        {
            meeting.epoch = Some(epoch);
            self.is_changed = true;
        }
    }

    /// The last number of a stream's journal so far, for the node that goes on with it.
    pub fn note_seq(&mut self, stream_id: &str, seq: u64) {
        if let Some(entry) = self.streams.get_mut(stream_id) {
            entry.seq = entry.seq.max(Some(seq));
            self.is_changed = true;
        }
    }

    /// In a fleet: from now on this node receives the stream. What it has received already it continues.
    pub(super) fn begin_tenure(&mut self, stream_id: &str) {
        let tenure = (self.streams.get(stream_id)).and_then(|entry| entry.tenure.as_ref());
        let had_it = tenure.is_some_and(|tenure| Some(&tenure.node) == self.settings.node.as_ref());
        if !had_it {
            self.begin_next_tenure(stream_id);
        }
    }

    /// The same where this node's name had it, but not this disk.
    fn begin_next_tenure(&mut self, stream_id: &str) {
        let Some(node) = self.settings.node.clone() else {
            return;
        };
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        let meeting = self.meetings.get(&entry.started.id);
        let epoch = meeting.and_then(|meeting| meeting.epoch).unwrap_or(1);
        let before = entry.tenure.take();
        let (seq, until_ms) = (entry.seq.take(), entry.until_ms.take());
        let predecessor = before.map(|before| Predecessor {
            node: before.node,
            epoch: before.epoch,
            seq,
            until_ms,
        });
        entry.tenure = Some(Box::new(Tenure {
            node,
            epoch,
            predecessor,
        }));
        self.is_changed = true;
    }

    /// The meeting is about to be given away: its streams leave, see [`Action::HandOver`]. Until
    /// [`Coordinator::yield_up`] it is this node's, and [`Coordinator::resume_meeting`] takes it back once they
    /// have left.
    pub fn release(&mut self, uuid: &str, heir: Option<&str>) -> Vec<Action> {
        for stream_id in self.streams_of(uuid) {
            self.let_go(&stream_id, Leaving::Released, heir);
        }
        std::mem::take(&mut self.actions)
    }

    /// The meeting is another node's: its calls are cancelled, none of its streams is started by REST, and
    /// these streams leave. Others of it that run here run on until they end.
    pub fn yield_up(
        &mut self,
        now: Now,
        uuid: &str,
        streams: &[String],
        heir: Option<&str>,
    ) -> Vec<Action> {
        self.cancel_calls(now, uuid);
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            meeting.is_yielded = true;
            meeting.touched_ms = now.unix_ms;
            self.is_changed = true;
        }
        for stream_id in self.streams_of(uuid) {
            let entry = self.streams.get(&stream_id);
            let was_released = entry.is_some_and(|entry| entry.leaving.is_some());
            if was_released || streams.contains(&stream_id) {
                self.let_go(&stream_id, Leaving::Given, heir);
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// The streams of a meeting that run here or have been released.
    fn streams_of(&self, uuid: &str) -> Vec<String> {
        let has_any = |entry: &StreamEntry| entry.is_active() || entry.leaving.is_some();
        let own = self
            .streams
            .of_meeting(uuid)
            .filter(|(_, entry)| has_any(entry));
        own.map(|(id, _)| id.to_owned()).collect()
    }

    fn let_go(&mut self, stream_id: &str, leaving: Leaving, heir: Option<&str>) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        self.is_changed = true;
        let is_told = entry.leaving.is_some();
        entry.leaving = match (entry.is_active(), leaving) {
            // It has left.
            (false, Leaving::Given) => None,
            _ => Some(leaving),
        };
        if let Some(entry) = self.streams.get(stream_id).filter(|_| !is_told) {
            let info = self.info(entry);
            let heir = heir.map(str::to_owned);
            self.actions.push(Action::HandOver { info, heir });
        }
    }
}

fn is_own(meeting: &MeetingEntry) -> bool {
    meeting.is_live() && !meeting.is_yielded
}

/// A stream that was handed over is running, for who goes on with it. Of one that is over its stamps are needed.
fn exported<'a>((stream_id, entry): (&'a str, &StreamEntry)) -> (&'a str, StreamEntry) {
    let mut entry = entry.clone();
    if entry.leaving.take().is_some() {
        entry.ended_ms = None;
    }
    if !entry.is_active() {
        entry.started.server_urls.clear();
    }
    (stream_id, entry)
}
