//! Removal of old entries, so that memory is bounded.

use std::collections::HashSet;
use std::time::Instant;

use serde::Serialize;

use super::table::Table;
use super::{Coordinator, ENDED_MAX, ENTRIES_MAX, ENTRY_BYTES_MAX, Now, RETAIN_ENDED, SWEEP_EVERY};

/// A full table forgets one in so many of its entries.
const FORGOTTEN_SHARE: usize = 20;

fn has_room<V: Serialize>(table: &Table<V>) -> bool {
    table.len() < ENTRIES_MAX && table.bytes() < ENTRY_BYTES_MAX
}

/// Those to forget at once: looking for the oldest takes time proportional to the table, so not for each new entry.
fn oldest(mut over: Vec<(u64, &String)>, table_len: usize) -> Vec<String> {
    let count = (table_len / FORGOTTEN_SHARE).max(1).min(over.len());
    if count < over.len() {
        over.select_nth_unstable(count);
    }
    over.iter()
        .take(count)
        .map(|(_, id)| (*id).clone())
        .collect()
}

impl Coordinator {
    pub(super) fn has_room_for_meeting(&mut self, uuid: &str) -> bool {
        if self.meetings.contains_key(uuid) {
            return true;
        }
        while !has_room(&self.meetings) {
            if !self.forget_oldest_meetings() {
                return false;
            }
        }
        true
    }

    pub(super) fn has_room_for_stream(&mut self) -> bool {
        while !has_room(&self.streams) {
            if !self.forget_oldest_streams() {
                return false;
            }
        }
        true
    }

    /// Whether there was one to forget.
    fn forget_oldest_meetings(&mut self) -> bool {
        let meetings = self.meetings.iter();
        let over = meetings.filter(|(_, meeting)| !meeting.is_live() || meeting.is_yielded);
        let over = over.map(|(uuid, meeting)| (meeting.touched_ms, uuid));
        let oldest = oldest(over.collect(), self.meetings.len());
        oldest
            .iter()
            .for_each(|uuid| drop(self.meetings.remove(uuid)));
        !oldest.is_empty()
    }

    fn forget_oldest_streams(&mut self) -> bool {
        let streams = self.streams.iter();
        let over = streams.filter_map(|(id, entry)| Some((entry.ended_ms?, id)));
        let oldest = oldest(over.collect(), self.streams.len());
        oldest.iter().for_each(|id| drop(self.streams.remove(id)));
        !oldest.is_empty()
    }

    /// Since then [`ENDED_MAX`] streams have ended; 0 if they are fewer.
    fn since_when_enough_ended(&self) -> u64 {
        let ended = self.streams.values().filter_map(|entry| entry.ended_ms);
        let mut ended: Vec<u64> = ended.collect();
        match ended.len().checked_sub(ENDED_MAX) {
            None | Some(0) => 0,
            Some(excess) => *ended.select_nth_unstable(excess).1,
        }
    }

    /// Removes entries that ended longer ago than Zoom repeats webhooks, and before that if very many do.
    pub(super) fn forget_old(&mut self, now: Now) {
        let is_due = |swept: Instant| now.instant.saturating_duration_since(swept) >= SWEEP_EVERY;
        if !self.swept.is_none_or(is_due) {
            return;
        }
        self.swept = Some(now.instant);
        let before = now.unix_ms.saturating_sub(RETAIN_ENDED.as_millis() as u64);
        let before = before.max(self.since_when_enough_ended());
        // A meeting without a known end is assumed to last at most thirty hours.
        let abandoned = now.unix_ms.saturating_sub(30 * 3_600_000);
        self.streams
            .retain(|_, entry| entry.ended_ms.is_none_or(|ended| ended >= before));
        // Looked up by id, because the daemon's loop must not take time proportional to meetings
        // times streams.
        let with_stream: HashSet<&str> = self
            .streams
            .values()
            .map(|entry| entry.started.id.as_str())
            .collect();
        self.meetings.retain(|uuid, meeting| {
            let is_own = meeting.is_live() && !meeting.is_yielded;
            let since = if is_own { abandoned } else { before };
            meeting.touched_ms >= since || with_stream.contains(uuid)
        });
    }
}
