//! What retention has done, and what is in its way, for metrics and `/readyz`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::plan::Hold;
use super::rules::Bytes;
use super::run::Survey;
use crate::recorder::removal::{Part, Reason, Tombstone};

/// What is counted. One place a reason, in the order of [`Reason::ALL`], and one a hold, as in
/// [`Hold::ALL`].
#[derive(Debug, Default)]
pub struct Counters {
    removed: [AtomicU64; Reason::ALL.len()],
    bytes: [AtomicU64; Reason::ALL.len()],
    held: [AtomicU64; Hold::ALL.len()],
    used: AtomicU64,
    free: AtomicU64,
    over_max: AtomicU64,
    under_free: AtomicU64,
}

impl Counters {
    /// A stream, or a part of one, was removed.
    pub(super) fn removed(&self, tombstone: &Tombstone) {
        let at = tombstone.reason as usize;
        self.removed[at].fetch_add(1, Relaxed);
        self.bytes[at].fetch_add(tombstone.bytes, Relaxed);
    }

    /// A round is over.
    pub(super) fn round(&self, survey: &Survey) {
        for (hold, count) in Hold::ALL.into_iter().zip(&self.held) {
            let held = survey.plan.held.iter().filter(|it| it.hold == hold);
            // Each stream once: its sound and its pictures may both be due.
            let held = held.filter(|it| it.part != Part::Video || !has_audio(survey, it.stream));
            count.store(held.count() as u64, Relaxed);
        }
        self.used.store(survey.space.used, Relaxed);
        self.free.store(survey.space.free, Relaxed);
        self.over_max.store(survey.plan.over_max, Relaxed);
        self.under_free.store(survey.plan.under_free, Relaxed);
    }

    /// How many streams, or parts of streams, were removed for each reason.
    pub fn removals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.removed.iter().map(|it| it.load(Relaxed));
        Reason::ALL.into_iter().map(Reason::name).zip(counts)
    }

    /// What that has set free.
    pub fn removed_bytes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.bytes.iter().map(|it| it.load(Relaxed));
        Reason::ALL.into_iter().map(Reason::name).zip(counts)
    }

    /// Streams that should go and stay, by why they stay.
    pub fn held(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.held.iter().map(|it| it.load(Relaxed));
        Hold::ALL.into_iter().map(Hold::name).zip(counts)
    }

    /// Bytes that everything below `RTMS_OUT` takes.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// By how many bytes it is above `RTMS_DISK_MAX`, or short of `RTMS_DISK_FREE_MIN`, though everything
    /// that may go is gone.
    pub fn short(&self) -> u64 {
        let over_max = self.over_max.load(Relaxed);
        over_max.max(self.under_free.load(Relaxed))
    }

    /// What is wrong, in a line; `None` if nothing is.
    pub fn trouble(&self) -> Option<String> {
        let (over_max, under_free) = (self.over_max.load(Relaxed), self.under_free.load(Relaxed));
        let what = match (over_max, under_free) {
            (0, 0) => return None,
            (0, bytes) => format!("{} are missing to RTMS_DISK_FREE_MIN", Bytes(bytes)),
            (bytes, _) => format!("recordings take {} more than RTMS_DISK_MAX", Bytes(bytes)),
        };
        let held = Hold::ALL.into_iter().zip(&self.held);
        let held: Vec<String> = held
            .map(|(hold, count)| (hold, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .map(|(hold, count)| format!("{count} {}", hold.words()))
            .collect();
        Some(match held.is_empty() {
            true => format!("{what}, and nothing else can be removed"),
            false => format!("{what}, and these are kept: {}", held.join(", ")),
        })
    }
}

fn has_audio(survey: &Survey, stream: usize) -> bool {
    let mut held = survey.plan.held.iter();
    held.any(|it| it.stream == stream && it.part == Part::Audio)
}
