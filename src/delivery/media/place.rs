//! The place of one client in a ring: which frame comes next, and how many it has missed.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::sync::Arc;

use super::head::{Codec, Head, KEY, Kind};
use super::ring::{Frame, Ring};
use crate::domain::id::Id;

/// See the module.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    /// Only frames of this speaker.
    speaker: Option<Id<'static>>,
    /// The number of the first frame that it has not seen.
    next: u64,
    /// The counts of the last frame that it saw, and of the last that was sent, among those for it.
    seen: Option<u64>,
    sent: Option<u64>,
    seq: u32,
    /// Speakers whose H.264 it can decode.
    decodable: Vec<u32>,
}

/// A frame to be sent.
#[derive(Debug)]
pub struct Delivery {
    /// Its head.
    pub head: Head,
    /// The frame.
    pub frame: Arc<Frame>,
}

impl Place {
    /// At the end of a ring: what comes from now on.
    pub fn new(kind: Kind, speaker: Option<Id<'static>>, ring: &Ring) -> Place {
        // How many one speaker has sent is known with the first frame.
        let before = speaker.is_none().then(|| ring.next() - 1);
        Place {
            kind,
            speaker,
            next: ring.next(),
            seen: before,
            sent: before,
            seq: 0,
            decodable: Vec::new(),
        }
    }

    /// The next frame for it; `None` if there is none now.
    pub fn next(&mut self, ring: &Ring) -> Option<Delivery> {
        loop {
            let frame = ring.first_from(self.next)?;
            self.next = frame.number + 1;
            let count = match &self.speaker {
                None => frame.number,
                Some(id) => match &frame.speaker {
                    Some(speaker) if speaker.has_id(id) => frame.number_of_speaker,
                    _ => continue,
                },
            };
            if self.seen.is_some_and(|seen| seen + 1 < count) {
                // What was missed may be needed to decode what comes.
                self.decodable.clear();
            }
            self.seen = Some(count);
            if self.is_decodable(frame) {
                return Some(self.deliver(count, frame));
            }
            if self.seq == 0 {
                // It has not begun, so nothing is missed.
                self.sent = Some(count);
            }
        }
    }

    fn is_decodable(&mut self, frame: &Frame) -> bool {
        if frame.codec != Codec::H264 {
            return true;
        }
        let speaker = frame.speaker.as_ref().map_or(0, |it| it.number);
        if self.decodable.contains(&speaker) {
            return true;
        }
        let is_key = frame.flags & KEY != 0;
        if is_key {
            self.decodable.push(speaker);
        }
        is_key
    }

    fn deliver(&mut self, count: u64, frame: &Arc<Frame>) -> Delivery {
        let dropped = self.sent.map_or(0, |sent| count.saturating_sub(sent + 1));
        let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        self.sent = Some(count);
        self.seq = self.seq.wrapping_add(1).wrapping_add(dropped);
        let head = Head {
            kind: self.kind,
            codec: frame.codec,
            flags: frame.flags,
            seq: self.seq,
            timestamp_ms: frame.timestamp_ms,
            speaker: frame.speaker.as_ref().map_or(0, |it| it.number),
            dropped,
        };
        Delivery {
            head,
            frame: Arc::clone(frame),
        }
    }
}
