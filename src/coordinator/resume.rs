//! A new process goes on with what an earlier one knew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entry::{Leaving, StreamEntry};
use super::phase::Phase;
use super::{Action, Coordinator, Now};
use crate::domain::rest::RestAction;
use crate::protocol::{EndReason, SIGNALING_WINDOW};

impl Coordinator {
    /// To be called after a restart: streams that were running are started again, and scheduled
    /// calls are due. Meetings that another node has stay its.
    pub fn resume(&mut self, now: Now) -> Vec<Action> {
        self.resume_except(now, &BTreeSet::new())
    }

    /// The same without these meetings, of which it is not known yet whether they are still this node's.
    pub fn resume_except(&mut self, now: Now, unsure: &BTreeSet<String>) -> Vec<Action> {
        // Grouped once: looking through all streams for each meeting would be quadratic.
        let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (stream_id, entry) in self.streams.iter().filter(|(_, entry)| is_left(entry)) {
            let of_meeting = streams.entry(entry.started.id.clone()).or_default();
            of_meeting.push(stream_id.clone());
        }
        let mut meetings: BTreeSet<String> = self.meetings.keys().cloned().collect();
        meetings.extend(streams.keys().cloned());
        for uuid in meetings.difference(unsure) {
            let streams = streams.remove(uuid).unwrap_or_default();
            // The calls of a meeting that another node has are its.
            if !self.meetings.get(uuid).is_some_and(|m| m.is_yielded) {
                self.resume_calls(now, uuid);
            }
            self.resume_streams(now, &streams);
        }
        std::mem::take(&mut self.actions)
    }

    /// The same for one meeting, which is this node's, also if it was about to be handed over.
    pub fn resume_meeting(&mut self, now: Now, uuid: &str) -> Vec<Action> {
        let streams = self
            .streams
            .of_meeting(uuid)
            .filter(|(_, entry)| is_left(entry));
        let streams: Vec<String> = streams.map(|(id, _)| id.to_owned()).collect();
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            self.is_changed |= std::mem::take(&mut meeting.is_yielded);
        }
        // Those that wait in this process are made again.
        self.cancel_calls(now, uuid);
        self.resume_calls(now, uuid);
        self.resume_streams(now, &streams);
        std::mem::take(&mut self.actions)
    }

    /// The meeting's calls are due again.
    pub(super) fn resume_calls(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get(uuid) else {
            return;
        };
        let is_due = match meeting.phase() {
            Phase::Starting | Phase::AwaitingHost => true,
            // The cause may be fixed since: a token, a plan.
            Phase::GaveUp => self.settings.auto_start && !self.has_stream(uuid),
            Phase::Idle | Phase::Started | Phase::Stopped | Phase::Ended => false,
        };
        let calls = meeting.calls;
        if is_due && calls.start.is_none() {
            self.start_now(now, uuid);
        }
        let stop_at_ms = self.meetings.get(uuid).and_then(|m| m.stop_at_ms);
        if let Some(stop_at_ms) = stop_at_ms.filter(|_| calls.stop.is_none()) {
            let wait = Duration::from_millis(stop_at_ms.saturating_sub(now.unix_ms));
            self.call(now.instant + wait, uuid, RestAction::Stop);
        }
    }

    fn resume_streams(&mut self, now: Now, streams: &[String]) {
        for stream_id in streams {
            self.resume_stream(now, stream_id);
        }
    }

    fn resume_stream(&mut self, now: Now, stream_id: &str) {
        let Some(entry) = self.streams.get(stream_id).cloned() else {
            return;
        };
        match entry.leaving {
            // The earlier process ended before it had left.
            Some(Leaving::Given) => return self.complete_given(now, &entry),
            Some(Leaving::Released) => {
                if let Some(entry) = self.streams.get_mut(stream_id) {
                    (entry.leaving, entry.ended_ms) = (None, None);
                    self.is_changed = true;
                }
            }
            // The previous process may have ended before everything was deleted.
            None if !entry.is_active() => return self.withdraw(now, stream_id, true),
            None => {}
        }
        if entry.is_superseded {
            // A newer start arrived before the earlier process handled the end.
            if entry.is_revoked {
                self.withdraw(now, stream_id, false);
            }
            self.begin_next_life(now, stream_id);
        } else if entry.stopped_ms.is_some() {
            // Its end arrived while the earlier process was ending.
            self.complete(now, &entry);
        } else {
            self.start_stream(now, stream_id, SIGNALING_WINDOW, true);
        }
    }

    fn complete_given(&mut self, now: Now, entry: &StreamEntry) {
        let stream_id = &entry.started.stream_id;
        if let Some(entry) = self.streams.get_mut(stream_id) {
            (entry.ended_ms, entry.leaving) = (Some(now.unix_ms), None);
            self.is_changed = true;
        }
        let info = self.info(entry);
        let end = EndReason::HandedOver { heir: None };
        self.actions.push(Action::Complete { info, end });
        if entry.is_revoked {
            self.withdraw(now, stream_id, false);
        }
    }
}

/// Whether an earlier process left something to do for it.
fn is_left(entry: &StreamEntry) -> bool {
    entry.is_active() || entry.is_open() || entry.is_revoked
}
