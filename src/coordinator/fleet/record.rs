//! The record of a meeting in the store.

use std::time::Duration;

use super::call::Member;

/// Who has a meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The process that owns it.
    pub owner: Member,
    /// Grows by one each time the meeting gets another owner.
    pub epoch: u64,
    /// What its owner does.
    pub phase: Phase,
    /// How long ago it was written, by the store's clock.
    pub age: Duration,
    /// How long ago the owner's last beat was, by the store's clock; `None` if it has no row, or another process
    /// of its name has it.
    pub silent_for: Option<Duration>,
    /// Its streams that are not over.
    pub streams: Vec<(String, StreamPhase)>,
    /// What its owner published for others to go on with; empty if nothing yet.
    pub entry: Vec<u8>,
}

/// What the owner of a meeting does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Another node chose it; it has not answered yet.
    Placed,
    /// It has the meeting.
    Held,
    /// The former owner gave it; it has not answered yet.
    Handing,
    /// The meeting is over. Its former owner knows what came of it.
    Ended,
}

/// What the owner of a meeting does with one of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPhase {
    /// It connects for the first time.
    Joining,
    /// Data can flow.
    Receiving,
    /// It was connected, and tries again.
    Lost,
}

impl Record {
    /// Whether its owner receives a stream of it.
    pub fn receives(&self) -> bool {
        let mut phases = self.streams.iter().map(|(_, phase)| *phase);
        self.phase == Phase::Held && phases.any(|phase| phase == StreamPhase::Receiving)
    }
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 4] = [Phase::Placed, Phase::Held, Phase::Handing, Phase::Ended];

    /// The word in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Placed => "placed",
            Phase::Held => "held",
            Phase::Handing => "handing",
            Phase::Ended => "ended",
        }
    }
}

impl StreamPhase {
    /// All of them.
    pub const ALL: [StreamPhase; 3] = [
        StreamPhase::Joining,
        StreamPhase::Receiving,
        StreamPhase::Lost,
    ];

    /// The word in the store.
    pub const fn name(self) -> &'static str {
        match self {
            StreamPhase::Joining => "joining",
            StreamPhase::Receiving => "receiving",
            StreamPhase::Lost => "lost",
        }
    }
}
