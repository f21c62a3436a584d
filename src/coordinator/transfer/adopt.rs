//! Going on with a meeting that another node had.

use std::time::Duration;

use super::told::Told;
use crate::coordinator::entry::{MeetingEntry, StreamEntry};
use crate::coordinator::{Action, Coordinator, Now};
use crate::domain::product::Product;
use crate::domain::severity::Severity;
use crate::domain::zoom_event::StreamStopped;
use crate::protocol::codes::{StopPolicy, StopReason};

/// A start call of the former owner may be on its way for so long: a REST call takes at most ten seconds. Until
/// then none is made here, so that a meeting is not started twice.
const CALL_MAX: Duration = Duration::from_secs(12);

impl Coordinator {
    /// Goes on with a meeting, from the [`Coordinator::export`] of the node that had it. Open streams are
    /// rejoined: Zoom waits for `window`. What is known here already counts where its stamps are newer. A stream
    /// that is active here has a thread, or is about to get one, and is only told what is new. `epoch` is that
    /// of the record from now on; with another epoch a stream gets another folder, unless this node had it last.
    /// `silent_for` is how long no node may have received its streams.
    pub fn adopt(
        &mut self,
        now: Now,
        uuid: &str,
        json: &[u8],
        epoch: u64,
        window: Duration,
        silent_for: Duration,
    ) -> Vec<Action> {
        match Told::read(now, uuid, json) {
            Ok(told) => {
                let silent_ms = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX);
                let until_ms = now.unix_ms.saturating_sub(silent_ms);
                self.go_on(now, uuid, told, epoch, (window, until_ms));
            }
            Err(why) => self.log(
                Severity::Error,
                &format!("what another node knew of a meeting cannot be used: {why} id={uuid}"),
            ),
        }
        std::mem::take(&mut self.actions)
    }

    fn go_on(&mut self, now: Now, uuid: &str, told: Told, epoch: u64, times: (Duration, u64)) {
        let Told {
            meeting,
            has_start,
            streams,
            unusable,
        } = told;
        if unusable > 0 {
            let text = format!(
                "some of what another node knew of a meeting cannot be used entries={unusable} id={uuid}"
            );
            self.log(Severity::Warn, &text);
        }
        let product = |stream: &StreamEntry| stream.started.product;
        let product = streams.values().next().map_or(Product::Meeting, product);
        let meeting = meeting.unwrap_or_else(|| MeetingEntry::from_stream(product, uuid));
        let mut is_adopted = false;
        match self.has_room_for_meeting(uuid) {
            true => is_adopted = self.adopt_meeting(now, uuid, meeting, has_start),
            false => self.log(
                Severity::Error,
                &format!("too many meetings: another node's is not taken id={uuid}"),
            ),
        }
        self.set_epoch(uuid, epoch);
        // Those that have left and ended since.
        let is_gone = |(id, entry): &(&str, &StreamEntry)| {
            entry.leaving.is_some() && !entry.is_active() && !streams.contains_key(*id)
        };
        let gone: Vec<String> = (self.streams.of_meeting(uuid).filter(is_gone))
            .map(|(id, _)| id.to_owned())
            .collect();
        for stream_id in gone {
            if let Some(entry) = self.streams.get_mut(&stream_id) {
                entry.leaving = None;
            }
        }
        for (stream_id, entry) in streams {
            if self.streams.contains_key(&stream_id) || self.has_room_for_stream() {
                self.adopt_stream(now, &stream_id, entry, times);
            } else {
                let text = format!("too many streams: one is not taken stream={stream_id}");
                self.log(Severity::Error, &text);
            }
        }
        // After the streams: a meeting with a stream is not started.
        if is_adopted {
            self.resume_calls(now, uuid);
        }
        self.is_changed = true;
    }

    /// Whether what was told counts, so that the calls are to be made again.
    fn adopt_meeting(&mut self, now: Now, uuid: &str, told: MeetingEntry, has_start: bool) -> bool {
        let local = self.meetings.get(uuid);
        let is_own = local.is_some_and(|local| !local.is_yielded);
        let is_told_newer = local.is_none_or(|local| {
            let (told_ms, local_ms) = (newest_ms(&told), newest_ms(local));
            told_ms > local_ms || told_ms == local_ms && local.is_yielded
        });
        if is_own && !is_told_newer {
            return false;
        }
        let calls = local.map(|local| local.calls).unwrap_or_default();
        let has_start = has_start || calls.start.is_some();
        self.cancel_calls(now, uuid);
        let mut calls = calls.renumbered();
        if has_start {
            calls.hold = Some(now.instant + CALL_MAX);
        }
        let meeting = match self.meetings.get(uuid) {
            Some(local) if !is_told_newer => merged(local, &told),
            Some(local) => merged(&told, local),
            None => told,
        };
        let meeting = MeetingEntry {
            touched_ms: now.unix_ms,
            is_yielded: false,
            calls,
            ..meeting
        };
        self.meetings.insert(uuid.to_owned(), meeting);
        true
    }

    fn adopt_stream(
        &mut self,
        now: Now,
        stream_id: &str,
        told: StreamEntry,
        (window, until_ms): (Duration, u64),
    ) {
        let local = self.streams.get(stream_id).cloned();
        if let Some(local) = local.as_ref().filter(|local| local.is_active()) {
            return self.tell_active(now, local, told);
        }
        let was_open = told.is_active();
        let is_of_other_disk = self.is_of_other_disk(local.as_ref(), &told);
        // Where nothing of it was received, nothing is left.
        let is_repeat = local.as_ref().is_none_or(|local| local.is_revoked);
        let mut entry = match &local {
            Some(local) => merged_stream(local, told),
            None => told,
        };
        // Its consent was withdrawn there for a run before the present one: what is here of it goes, too.
        let has_old = (local.as_ref()).is_some_and(|local| local.revoked_ms < entry.revoked_ms);
        entry.is_superseded |= has_old && !entry.is_stopped();
        let is_superseded = entry.is_superseded && was_open;
        let is_revoked = entry.is_revoked || has_old;
        let is_over = entry.is_stopped() && !is_superseded;
        let has_url = !entry.started.server_urls.is_empty();
        let runs = was_open && has_url && !is_over && (!is_revoked || is_superseded);
        match runs {
            true => entry.ended_ms = None,
            false => {
                entry.is_superseded = false;
                entry.ended_ms.get_or_insert(now.unix_ms);
            }
        }
        let reason = StopReason(entry.stop_reason.unwrap_or(0));
        let is_restarted = entry.is_restarted;
        entry.until_ms = Some(until_ms);
        self.streams.insert(stream_id.to_owned(), entry);
        if is_revoked {
            self.withdraw(now, stream_id, is_repeat);
        }
        if runs && is_of_other_disk {
            self.begin_next_tenure(stream_id);
        }
        match runs {
            true if is_superseded => self.begin_next_life(now, stream_id),
            true => self.start_stream(now, stream_id, window, true),
            // Its end came while the other node was ending.
            false if was_open && is_over && !is_revoked && !is_restarted => {
                self.after_stop(now, stream_id, reason);
            }
            false => {}
        }
    }

    /// Whether a process of this name had the stream last, and wrote it elsewhere: what is known here is older, and
    /// the record was not claimed as that of an earlier process with this state, which keeps its epoch.
    fn is_of_other_disk(&self, local: Option<&StreamEntry>, told: &StreamEntry) -> bool {
        let Some(tenure) = told.tenure.as_deref().filter(|_| told.is_active()) else {
            return false;
        };
        let here = local.and_then(|local| local.tenure.as_deref());
        let is_known = here.is_some_and(|here| here.epoch == tenure.epoch);
        let is_kept = self.epoch_of(&told.started.id) == Some(tenure.epoch);
        self.settings.node.as_deref() == Some(tenure.node.as_str()) && !is_known && !is_kept
    }

    /// A stream that is active here hears what another node heard, as if it had come here.
    fn tell_active(&mut self, now: Now, local: &StreamEntry, told: StreamEntry) {
        let stream_id = &local.started.stream_id;
        let is_stopped = told.is_stopped() && !told.is_superseded;
        if told.newest_ms > local.newest_ms && !told.started.server_urls.is_empty() {
            self.rtms_started_again(now, told.newest_ms, told.started.clone());
        } else if local.leaving.is_some()
            && !is_stopped
            && told.is_active()
            && let Some(entry) = self.streams.get_mut(stream_id)
        {
            // It is about to leave, and begins again after that.
            entry.leaving = None;
            entry.is_superseded = true;
        }
        if is_stopped && told.stopped_ms > local.stopped_ms {
            let event = StreamStopped {
                product: told.started.product,
                id: Some(told.started.id.clone()),
                stream_id: stream_id.clone(),
                stop_reason: told.stop_reason,
            };
            self.rtms_stopped(now, told.stopped_ms.unwrap_or(0), event);
        }
        if let Some(entry) = self.streams.get_mut(stream_id) {
            entry.interrupted_ms = entry.interrupted_ms.max(told.interrupted_ms);
        }
    }
}

/// The newest that is known of a meeting.
fn newest_ms(meeting: &MeetingEntry) -> Option<u64> {
    let stamps = [
        meeting.started_ms,
        meeting.ended_ms,
        meeting.life_ms,
        meeting.stream_ms,
    ];
    stamps.into_iter().max().flatten()
}

/// Two states of one meeting, of which the first is the newer.
fn merged(newer: &MeetingEntry, older: &MeetingEntry) -> MeetingEntry {
    let is_same_life = newer.life_ms == older.life_ms;
    MeetingEntry {
        meeting_id: newer.meeting_id.clone().or(older.meeting_id.clone()),
        account_id: newer.account_id.clone().or(older.account_id.clone()),
        stream_ms: newer.stream_ms.max(older.stream_ms),
        restarts: match is_same_life {
            true => newer.restarts.max(older.restarts),
            false => newer.restarts,
        },
        ..newer.clone()
    }
}

impl StreamEntry {
    /// Whether its newest run was stopped.
    fn is_stopped(&self) -> bool {
        self.stopped_ms
            .is_some_and(|stopped| stopped >= self.newest_ms)
    }

    fn stamp_ms(&self) -> u64 {
        self.newest_ms.max(self.stopped_ms.unwrap_or(0))
    }
}

/// What is known here of a stream that does not run here, with what another node knew.
fn merged_stream(local: &StreamEntry, told: StreamEntry) -> StreamEntry {
    // The node that had it last tells who comes before this node.
    let (tenure, seq) = match told.is_active() {
        true => (told.tenure.clone(), told.seq),
        false => (local.tenure.clone(), local.seq),
    };
    let (mut entry, other) = match told.stamp_ms() >= local.stamp_ms() {
        true => (told, local.clone()),
        false => (local.clone(), told),
    };
    // Zero in one that was first heard of by its stop.
    let starts = [&entry, &other].into_iter().filter(|e| e.newest_ms > 0);
    entry.first_ms = (starts.map(|e| e.first_ms).min()).unwrap_or(entry.first_ms);
    if entry.newest_ms < other.newest_ms {
        (entry.newest_ms, entry.started) = (other.newest_ms, other.started);
    } else if entry.newest_ms == other.newest_ms {
        entry.is_restarted |= other.is_restarted;
        entry.is_revoked |= other.is_revoked;
    }
    if other.stopped_ms.is_some_and(|ms| ms >= entry.newest_ms) && !entry.is_superseded {
        let is_later = other.stopped_ms > entry.stopped_ms;
        let is_withdrawal = |reason: Option<i64>| {
            reason.is_some_and(|reason| StopReason(reason).policy() == StopPolicy::Delete)
        };
        if is_later && !is_withdrawal(entry.stop_reason) {
            entry.stop_reason = other.stop_reason;
        }
        entry.stopped_ms = entry.stopped_ms.max(other.stopped_ms);
    }
    entry.interrupted_ms = entry.interrupted_ms.max(other.interrupted_ms);
    entry.revoked_ms = entry.revoked_ms.max(other.revoked_ms);
    entry.panics = entry.panics.max(other.panics);
    (entry.tenure, entry.seq) = (tenure, seq);
    entry.leaving = None;
    entry
}
