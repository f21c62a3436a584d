//! What the machine is told about meetings and streams.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use super::Fleet;
use crate::coordinator::fleet::{MeetingState, StreamPhase, StreamState, Tail};
use crate::daemon::Daemon;
use crate::daemon::streams::RunningStream;
use crate::stream;

/// What the machine was told of a meeting.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    /// Digest of what another node needs.
    entry: u64,
    streams: Vec<StreamState>,
    /// How often each of them had been let in by then.
    connects: Vec<u64>,
}

impl Reported {
    /// A stream may be let in and lost again between two looks: that is how a node that is cut off sees that
    /// another has it. The streams as they were in between, if so.
    fn let_in_and_lost_since(&self, before: &Reported) -> Option<Vec<StreamState>> {
        let mut streams = self.streams.clone();
        let mut is_any = false;
        for (stream, connects) in streams.iter_mut().zip(&self.connects) {
            let mut known = before.streams.iter().zip(&before.connects);
            let known = known.find(|(known, _)| known.stream_id == stream.stream_id);
            let was_lost = known.is_some_and(|(known, before)| {
                known.phase != StreamPhase::Receiving && before < connects
            });
            if was_lost && stream.phase == StreamPhase::Lost {
                stream.phase = StreamPhase::Receiving;
                is_any = true;
            }
        }
        is_any.then_some(streams)
    }
}

impl Daemon {
    /// Tells what has changed since the last time.
    pub(super) fn report_changes(&mut self, is_look_due: bool) {
        for meeting in self.coordinator.changed_meetings() {
            self.report(&meeting, false);
        }
        if is_look_due {
            self.report_phases();
        }
    }

    /// Streams have connected or were lost. What another node needs of their meetings is as before, so it is
    /// not made again.
    fn report_phases(&mut self) {
        let mut changed = Vec::new();
        for (meeting, before) in self.fleet.iter().flat_map(|it| &it.reported) {
            let ids = before.streams.iter().map(|stream| &stream.stream_id);
            let now = self.look_at(before.entry, ids);
            if now != *before {
                changed.push((meeting.clone(), now));
            }
        }
        if let Some(fleet) = &mut self.fleet {
            for (meeting, now) in changed {
                fleet.tell_live(&meeting, now, None);
            }
        }
    }

    /// Tells what there is of a meeting; `must` also if nothing has changed.
    pub(super) fn report(&mut self, meeting: &str, must: bool) {
        let live = self.coordinator.live_meeting(meeting);
        let export = self.coordinator.export(meeting).filter(|_| live.is_some());
        let ids = live.iter().flat_map(|live| &live.streams);
        let now = self.look_at(digest(&export), ids);
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let before = fleet.reported.get(meeting);
        if live.is_none() && before.is_none() && !must {
            return;
        }
        if before == Some(&now) && live.is_some() && !must {
            return;
        }
        let is_entry_new = before.is_none_or(|before| before.entry != now.entry);
        // Of a stream that is over before it has begun here, the last phrases are not needed.
        let is_open = |id: &String| now.streams.iter().any(|stream| stream.stream_id == *id);
        let before = before.into_iter().flat_map(|before| &before.streams);
        for stream in before.filter(|stream| !is_open(&stream.stream_id)) {
            fleet.tails.remove(&stream.stream_id);
        }
        if live.is_some() {
            return fleet.tell_live(meeting, now, export.filter(|_| is_entry_new));
        }
        fleet.reported.remove(meeting);
        let state = MeetingState {
            meeting: meeting.to_owned(),
            streams: Vec::new(),
            is_over: true,
            entry: None,
        };
        fleet.machine.meeting_is(Instant::now(), state);
    }

    fn look_at<'a>(&self, entry: u64, ids: impl Iterator<Item = &'a String>) -> Reported {
        let streams = ids.map(|id| (self.stream_state(id), self.connects(id)));
        let (streams, connects) = streams.unzip();
        Reported {
            entry,
            streams,
            connects,
        }
    }

    fn stream_state(&self, stream_id: &str) -> StreamState {
        let running = self.running.get(stream_id);
        let (phase, is_refused) = running.map_or((StreamPhase::Joining, false), |running| {
            (phase(running), running.handle.is_held_elsewhere())
        });
        StreamState {
            stream_id: stream_id.to_owned(),
            phase,
            is_refused,
        }
    }

    fn connects(&self, stream_id: &str) -> u64 {
        let running = self.running.get(stream_id);
        running.map_or(0, |running| running.handle.connects())
    }

    /// The epoch of a meeting changes with a reply of the store.
    fn note_new_epochs(&mut self) {
        let Some(fleet) = &self.fleet else {
            return;
        };
        let is_new = |meeting: &&String| {
            let epoch = fleet.machine.epoch(meeting).filter(|epoch| *epoch > 0);
            epoch.is_some() && epoch != self.coordinator.epoch_of(meeting)
        };
        let changed: Vec<String> = fleet.reported.keys().filter(is_new).cloned().collect();
        for meeting in changed {
            self.note_epoch(&meeting);
        }
    }

    /// What is done four times a second.
    pub(super) fn after_look(&mut self) {
        self.tell_released();
        self.note_new_epochs();
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        for (stream_id, running) in &self.running {
            if fleet.once.remove(stream_id) {
                running.handle.permit_once();
            }
            let count = running.handle.tail_count();
            let sent = fleet.tails_sent.get(stream_id).copied().unwrap_or(0);
            if count != sent
                && let Some(tail) = running.handle.tail()
            {
                fleet.tails_sent.insert(stream_id.clone(), count);
                fleet.store.set_tail(stream_id, tail.to_bytes());
            }
        }
        if let Some(snapshot) = &self.snapshot {
            fleet.tell_saved(snapshot);
        }
    }

    /// Meetings whose streams have left are given to their heirs.
    pub(super) fn tell_released(&mut self) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let running = self.running.values();
        let open: std::collections::HashSet<&str> =
            running.map(|running| running.info.id.as_str()).collect();
        let has_left = |meeting: &&String| !open.contains(meeting.as_str());
        let left: Vec<String> = fleet.releasing.iter().filter(has_left).cloned().collect();
        for meeting in left {
            fleet.releasing.remove(&meeting);
            let entry = self.coordinator.export(&meeting).unwrap_or_default();
            let live = self.coordinator.live_meeting(&meeting);
            let streams = live.map(|live| live.streams).unwrap_or_default();
            let tails = streams.into_iter().filter_map(|stream| {
                let tail = fleet.left_tails.remove(&stream)?;
                Some((stream, tail))
            });
            let tails = tails.collect();
            fleet
                .machine
                .handle_released(Instant::now(), &meeting, entry, tails);
        }
    }

    /// A stream's thread has ended.
    pub(in crate::daemon) fn fleet_stream_ended(&mut self, running: &RunningStream) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let info = &running.info;
        let tail: Option<Tail> = running.handle.tail().map(|tail| tail.to_bytes());
        if fleet.releasing.contains(&info.id) {
            fleet.has_one_left = true;
            if let Some(tail) = tail {
                fleet.left_tails.insert(info.stream_id.clone(), tail);
            }
        }
        fleet.tails.remove(&info.stream_id);
        fleet.once.remove(&info.stream_id);
        fleet.tails_sent.remove(&info.stream_id);
        fleet.store.drop_tail(&info.stream_id);
    }
}

impl Fleet {
    /// Tells the machine of a meeting that is this node's.
    fn tell_live(&mut self, meeting: &str, now: Reported, entry: Option<Vec<u8>>) {
        let before = self.reported.get(meeting);
        let missed = before.and_then(|before| now.let_in_and_lost_since(before));
        let streams = now.streams.clone();
        self.reported.insert(meeting.to_owned(), now);
        let states = missed.into_iter().map(|streams| (streams, None));
        for (streams, entry) in states.chain([(streams, entry)]) {
            let state = MeetingState {
                meeting: meeting.to_owned(),
                streams,
                is_over: false,
                entry,
            };
            self.machine.meeting_is(Instant::now(), state);
        }
    }

    /// After a save of the coordinator: what was taken out of the queue until now is in it.
    pub(in crate::daemon) fn note_save(&mut self, mark: u64) {
        if !self.delivered.is_empty() {
            let tickets = std::mem::take(&mut self.delivered);
            self.saved.push_back((mark, tickets));
        }
    }

    fn tell_saved(&mut self, snapshot: &crate::daemon::snapshot::Snapshot) {
        while let Some((mark, tickets)) = self.saved.pop_front() {
            if !snapshot.has_written(mark) {
                self.saved.push_front((mark, tickets));
                return;
            }
            self.machine.handle_saved(Instant::now(), &tickets);
        }
    }
}

fn phase(running: &RunningStream) -> StreamPhase {
    match running.handle.phase() {
        stream::StreamPhase::Joining => StreamPhase::Joining,
        stream::StreamPhase::Receiving => StreamPhase::Receiving,
        stream::StreamPhase::Lost => StreamPhase::Lost,
    }
}

fn digest(bytes: &Option<Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(phase: StreamPhase, connects: u64) -> Reported {
        let stream = StreamState {
            stream_id: "s".to_owned(),
            phase,
            is_refused: false,
        };
        Reported {
            entry: 0,
            streams: vec![stream],
            connects: vec![connects],
        }
    }

    #[test]
    fn what_was_let_in_and_lost_between_two_looks_is_told() {
        use StreamPhase::{Lost, Receiving};
        for (before, now, is_told) in [
            ((Lost, 1), (Lost, 2), true),
            ((Lost, 1), (Lost, 1), false),
            ((Lost, 1), (Receiving, 2), false),
            ((Receiving, 1), (Lost, 2), false),
        ] {
            let (before, now) = (reported(before.0, before.1), reported(now.0, now.1));
            let told = now.let_in_and_lost_since(&before);
            let phases = told.map(|streams| streams[0].phase);
            assert_eq!(phases, is_told.then_some(Receiving), "{before:?} {now:?}");
        }
    }
}
