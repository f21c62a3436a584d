//! One kind of one stream while it is tapped: its ring, its speakers, and what a decoder needs.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::h264::{Entry, ParameterSets};
use super::head::{Codec, KEY, Kind, MIX};
use super::ring::{Charge, Frame, Ring, Speaker, ring_bytes};
use super::text;
use crate::domain::id::Id;
use crate::domain::text::bounded;

/// Speakers that are told apart; further ones have the number 0.
const SPEAKERS_MAX: usize = 1_000;
/// Of a speaker's name.
const NAME_BYTES_MAX: usize = 256;

/// What a packet is besides its payload.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// [`Id::UNKNOWN`] for the mix.
    pub user_id: &'a Id<'a>,
    /// The channel of a call.
    pub channel_id: Option<&'a Id<'a>>,
    /// Empty if Zoom sent none.
    pub user_name: &'a str,
    /// Zoom's timestamp.
    pub timestamp_ms: u64,
    /// Of the payload.
    pub codec: Codec,
}

/// See the module.
#[derive(Debug)]
pub struct Tap {
    kind: Kind,
    ring: Ring,
    /// With the number of frames of each.
    speakers: Vec<(Arc<Speaker>, u64)>,
    sets: ParameterSets,
    /// The text of the format in force, once it is granted.
    format: Option<Arc<str>>,
    /// Memory for all taps.
    all_bytes: Arc<AtomicUsize>,
    /// How many clients there are.
    pub clients: usize,
}

impl Tap {
    /// Without a client.
    pub fn new(kind: Kind, format: Option<Arc<str>>, all_bytes: &Arc<AtomicUsize>) -> Tap {
        Tap {
            kind,
            ring: Ring::new(ring_bytes(kind)),
            speakers: Vec::new(),
            sets: ParameterSets::default(),
            format,
            all_bytes: Arc::clone(all_bytes),
            clients: 0,
        }
    }

    /// What its clients read.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The format in force.
    pub fn format(&self) -> Option<&Arc<str>> {
        self.format.as_ref()
    }

    /// That of the frames that follow; it is announced, also if it is the same.
    pub fn set_format(&mut self, format: Arc<str>) {
        self.format = Some(format);
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.ring.clear();
    }

    /// Takes a packet at a time in milliseconds.
    pub fn push(&mut self, meta: &Meta<'_>, mut payload: Vec<u8>, now_ms: u64) {
        let Some(format) = self.format.clone() else {
            return;
        };
        let mut flags = 0;
        if meta.codec == Codec::H264 {
            match self.sets.entry(&payload) {
                Entry::None => {}
                Entry::WithSets => {
                    payload = self.sets.in_front_of(&payload);
                    flags |= KEY;
                }
                Entry::Whole => flags |= KEY,
            }
        }
        let is_mix = meta.user_id.is_unknown() && meta.channel_id.is_none();
        if is_mix && self.kind == Kind::Audio {
            flags |= MIX;
        }
        let number = self.ring.count();
        let (speaker, number_of_speaker) = match is_mix {
            true => (None, 0),
            false => self.speaker(meta),
        };
        // Without memory for it the frame is dropped for all clients.
        let Some(charge) = Charge::take(payload.capacity(), &self.all_bytes) else {
            return;
        };
        let frame = Frame {
            number,
            number_of_speaker,
            timestamp_ms: meta.timestamp_ms,
            codec: meta.codec,
            flags,
            speaker,
            format,
            payload,
            charge,
        };
        self.ring.push(frame, now_ms);
    }

    /// Who sent a packet, and how many it has sent.
    fn speaker(&mut self, meta: &Meta<'_>) -> (Option<Arc<Speaker>>, u64) {
        let is_it = |(known, _): &(Arc<Speaker>, u64)| {
            known.user_id == *meta.user_id && known.channel_id.as_ref() == meta.channel_id
        };
        let name = bounded(meta.user_name, NAME_BYTES_MAX);
        let new = |number: u32| {
            Arc::new(Speaker {
                number,
                user_id: meta.user_id.clone().into_owned(),
                channel_id: meta.channel_id.map(|id| id.clone().into_owned()),
                user_name: name.to_owned(),
                text: text::speaker(number, meta.user_id, name, meta.channel_id),
            })
        };
        let known = self.speakers.len();
        match self.speakers.iter_mut().find(|known| is_it(known)) {
            Some((speaker, count)) => {
                *count += 1;
                if !name.is_empty() && speaker.user_name != name {
                    *speaker = new(speaker.number);
                }
                (Some(Arc::clone(speaker)), *count)
            }
            None if known < SPEAKERS_MAX => {
                let number = u32::try_from(known + 1).unwrap_or(0);
                let speaker = new(number);
                self.speakers.push((Arc::clone(&speaker), 1));
                (Some(speaker), 1)
            }
            None => (None, 0),
        }
    }
}
