//! The newest frames of one kind of one stream, which all its clients share.
//!
//! No stream waits for it: a frame is always taken, and the oldest ones go. Each frame has a number, so that
//! a client that is late learns how many it has missed.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::head::{Codec, Kind};
use crate::domain::id::Id;

/// Frames that are older than the newest one by more than this go.
pub const RING_MS: u64 = 2_000;
/// Payload of all frames of a ring.
pub const fn ring_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Audio => 1 << 20,
        Kind::Video | Kind::Share => 8 << 20,
    }
}
/// Payload of all frames of all rings, and of those that are being sent.
pub const MEDIA_BYTES_MAX: usize = 64 << 20;

/// Who is heard or seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Speaker {
    /// From 1, in the order of appearance since the kind is tapped.
    pub number: u32,
    /// Zoom's id.
    pub user_id: Id<'static>,
    /// The channel of a call.
    pub channel_id: Option<Id<'static>>,
    /// Empty if Zoom sent none.
    pub user_name: String,
    /// What announces it.
    pub text: String,
}

impl Speaker {
    /// Whether that text is the id of the user or of the channel.
    pub fn has_id(&self, id: &Id<'_>) -> bool {
        self.user_id == *id || self.channel_id.as_ref() == Some(id)
    }
}

/// One packet.
#[derive(Debug)]
pub struct Frame {
    /// 1, 2, 3 … of this kind since it is tapped.
    pub number: u64,
    /// The same, counting only those of this speaker.
    pub number_of_speaker: u64,
    /// Zoom's timestamp.
    pub timestamp_ms: u64,
    /// Of the payload.
    pub codec: Codec,
    /// Of the head.
    pub flags: u8,
    /// `None` for the mix, and where nothing tells them apart.
    pub speaker: Option<Arc<Speaker>>,
    /// The text that announces the format in force.
    pub format: Arc<str>,
    /// As Zoom granted it.
    pub payload: Vec<u8>,
    /// The memory it takes of all.
    pub charge: Charge,
}

/// A part of [`MEDIA_BYTES_MAX`], returned when it is dropped.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Charge {
    /// `None` if that would be too much.
    pub fn take(bytes: usize, all: &Arc<AtomicUsize>) -> Option<Charge> {
        let fits = |used: usize| used.checked_add(bytes).filter(|it| *it <= MEDIA_BYTES_MAX);
        all.fetch_update(Relaxed, Relaxed, fits).ok()?;
        let all = Arc::clone(all);
        Some(Charge { bytes, all })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ring {
    /// With the time of each; the numbers grow and may have holes.
    frames: VecDeque<(u64, Arc<Frame>)>,
    bytes: usize,
    bytes_max: usize,
    /// The number of the next frame.
    next: u64,
}

impl Ring {
    /// For so many bytes of payload.
    pub fn new(bytes_max: usize) -> Ring {
        Ring {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
            next: 1,
        }
    }

    /// The number of the next frame: one that comes is counted with it, whether it is kept or not.
    pub fn count(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The number that the next frame will have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds a frame at a time in milliseconds; older ones go. The newest always stays.
    pub fn push(&mut self, frame: Frame, now_ms: u64) {
        self.bytes += frame.payload.len();
        self.frames.push_back((now_ms, Arc::new(frame)));
        while self.frames.len() > 1 {
            let is_old = |(at, _): &(u64, Arc<Frame>)| at + RING_MS < now_ms;
            if self.bytes <= self.bytes_max && !self.frames.front().is_some_and(is_old) {
                break;
            }
            if let Some((_, oldest)) = self.frames.pop_front() {
                self.bytes -= oldest.payload.len();
            }
        }
    }

    /// The first frame from that number on.
    pub fn first_from(&self, number: u64) -> Option<&Arc<Frame>> {
        let at = self.frames.partition_point(|(_, it)| it.number < number);
        self.frames.get(at).map(|(_, frame)| frame)
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// Bytes of payload.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
