//! The newest events in memory, shared by all clients.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;
use std::ops::Range;

use super::interest::Event;
use crate::feed::key::JournalKey;
use crate::feed::line::Line;

/// Bytes of the newest events that are kept.
pub const LIVE_RING_BYTES: usize = 1 << 20;

/// All events with a position above its floor and up to its head.
#[derive(Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    floor: u64,
    head: u64,
}

#[derive(Debug)]
struct Entry {
    pos: u64,
    seq: u64,
    key: JournalKey,
    about: JournalKey,
    /// The places of the id and the type in the line.
    id: Range<u32>,
    kind: Range<u32>,
    /// Empty if consent was withdrawn.
    line: Box<[u8]>,
}

impl Entry {
    fn event(&self) -> Option<Event<'_>> {
        let text = |range: &Range<u32>| {
            let bytes = self.line.get(range.start as usize..range.end as usize)?;
            std::str::from_utf8(bytes).ok()
        };
        let line = Line {
            bytes: &self.line,
            pos: self.pos,
            seq: self.seq,
            id: text(&self.id)?,
            kind: text(&self.kind)?,
        };
        Some(Event {
            line,
            key: self.key,
            about: self.about,
        })
    }
}

impl Ring {
    /// Empty, with everything up to this position below it.
    pub fn new(pos: u64) -> Ring {
        Ring::with_limit(pos, LIVE_RING_BYTES)
    }

    fn with_limit(pos: u64, bytes_max: usize) -> Ring {
        Ring {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            floor: pos,
            head: pos,
        }
    }

    /// Every event above this position, and up to the head, is here.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The newest position that was looked at.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Adds an event with a position above the head.
    pub fn push(&mut self, event: &Event<'_>) {
        let line = event.line;
        if line.pos <= self.head {
            return;
        }
        self.head = line.pos;
        let from = line.bytes.as_ptr().addr();
        let place = |text: &str| {
            let start = u32::try_from(text.as_ptr().addr() - from).unwrap_or(0);
            start..start + text.len() as u32
        };
        self.entries.push_back(Entry {
            pos: line.pos,
            seq: line.seq,
            key: event.key,
            about: event.about,
            id: place(line.id),
            kind: place(line.kind),
            line: line.bytes.into(),
        });
        self.bytes += line.bytes.len();
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.line.len();
            self.floor = oldest.pos;
        }
    }

    /// Everything up to this position has been added.
    pub fn advance(&mut self, pos: u64) {
        self.head = self.head.max(pos);
    }

    /// There is more than it can hold: everything up to this position is read from the files.
    pub fn reset(&mut self, pos: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.head = self.head.max(pos);
        self.floor = self.head;
    }

    /// Consent to a stream was withdrawn: nothing of it is kept.
    pub fn revoke(&mut self, key: JournalKey) {
        for entry in self.entries.iter_mut().filter(|entry| entry.key == key) {
            self.bytes -= entry.line.len();
            entry.line = Box::default();
        }
    }

    /// The events behind this position, in order.
    pub fn after(&self, pos: u64) -> impl Iterator<Item = Event<'_>> {
        let from = self.entries.partition_point(|entry| entry.pos <= pos);
        self.entries.range(from..).filter_map(Entry::event)
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::tests::{key, line};
    use super::*;
    use crate::feed::kind;

    fn push(ring: &mut Ring, n: u64, pos: u64) {
        let line = line(n, 1, pos, kind::CHAT_MESSAGE);
        ring.push(&Event::new(Line::parse(&line).expect("a line")));
    }

    fn positions(ring: &Ring, after: u64) -> Vec<u64> {
        ring.after(after).map(|event| event.line.pos).collect()
    }

    #[test]
    fn l5_the_newest_are_kept_within_the_limit() {
        let size = line(1, 1, 1, kind::CHAT_MESSAGE).len() - 1;
        let mut ring = Ring::with_limit(100, 3 * size);
        assert_eq!((ring.floor(), ring.head()), (100, 100));
        for pos in 101..=103 {
            push(&mut ring, 1, pos);
        }
        assert_eq!(positions(&ring, 100), [101, 102, 103]);
        assert_eq!(ring.floor(), 100);
        push(&mut ring, 1, 104);
        assert_eq!(positions(&ring, 0), [102, 103, 104]);
        assert_eq!((ring.floor(), ring.head()), (101, 104));
        assert_eq!(positions(&ring, 103), [104]);
        assert_eq!(positions(&ring, 104), [0; 0]);
        let event = ring.after(103).next().expect("one");
        assert_eq!(event.line.kind, kind::CHAT_MESSAGE);
        assert_eq!(event.line.id, format!("{}-1", key(1)));
        // What was added is not added again.
        push(&mut ring, 1, 104);
        assert_eq!(positions(&ring, 103), [104]);
        ring.advance(200);
        assert_eq!(ring.head(), 200);
        ring.reset(300);
        assert_eq!(
            (ring.floor(), ring.head(), ring.after(0).count()),
            (300, 300, 0)
        );
    }

    #[test]
    fn j11_nothing_of_a_revoked_stream_is_left() {
        let mut ring = Ring::new(0);
        for (n, pos) in [(1, 11), (2, 12), (1, 13)] {
            push(&mut ring, n, pos);
        }
        ring.revoke(key(1));
        assert_eq!(positions(&ring, 0), [12]);
        assert_eq!(ring.head(), 13);
        let bytes: usize = ring.entries.iter().map(|entry| entry.line.len()).sum();
        assert_eq!(ring.bytes, bytes);
    }
}
