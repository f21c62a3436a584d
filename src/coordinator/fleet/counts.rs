//! What the machine has counted since it began, for the daemon's metrics. Nothing here decides anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::call::{Call, Claimable, Member, Message, Reply, Routed};
use super::face::{Kind, Output, StreamState};
use super::machine::Machine;
use super::meetings::{Event, Origin};
use super::record::{Phase, Record};
use crate::domain::severity::Severity;

/// Zoom waits for this long for a stream to be joined.
const ZOOM_WAITS: Duration = Duration::from_secs(60);

/// What the store says to an event for another node.
const ROUTED: [&str; 7] = ["queued", "mine", "moved", "none", "dead", "full", "failed"];

/// Why a meeting is claimed: no node has it, it was given to this one, its owner is dead.
const CLAIM_WHY: [&str; 3] = ["new", "given", "dead"];

/// What the store says to that.
const CLAIMED: [&str; 4] = ["claimed", "held", "full", "failed"];

/// What the store says when a meeting is handed over.
const HANDED: [&str; 4] = ["given", "newer", "full", "failed"];

/// Numbers that only grow. A word that is missing in a map was never counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers to [`Call::Route`], by `ROUTED`.
    pub routed: BTreeMap<&'static str, u64>,
    /// Answers to [`Call::Claim`], by `CLAIM_WHY` and `CLAIMED`.
    pub claims: BTreeMap<(&'static str, &'static str), u64>,
    /// Answers to [`Call::Hand`], by `HANDED`.
    pub handed: BTreeMap<&'static str, u64>,
    /// Streams that were given up because another node has them.
    pub yielded: u64,
    /// Starts that were answered here and had reached no node when Zoom stopped waiting.
    pub not_joined: u64,
    /// Times that the store had lost what was written to it.
    pub rollbacks: u64,
}

/// How long something took, see [`Output::Took`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// From a webhook's arrival here until it lay in another node's queue.
    Route,
    /// From a dead owner's last beat until its stream was received here.
    TakeOver,
    /// From a hand-over until the stream was received here.
    HandOver,
}

/// A meeting's streams that another node received, until they are received here.
#[derive(Debug)]
pub(super) struct Gap {
    took: Took,
    since: Instant,
    streams: Vec<String>,
}

impl Gap {
    /// `None` if it is not known since when nothing is received. `here` are the streams that this node has
    /// already.
    pub(super) fn after(
        now: Instant,
        before: &Record,
        silent_for: Option<Duration>,
        here: &[StreamState],
    ) -> Option<Gap> {
        let took = match before.phase {
            Phase::Handing => Took::HandOver,
            _ => Took::TakeOver,
        };
        let is_here = |id: &String| here.iter().any(|known| known.stream_id == *id);
        let streams = before.streams.iter().map(|(id, _)| id);
        Some(Gap {
            took,
            since: now.checked_sub(silent_for?)?,
            streams: streams.filter(|id| !is_here(id)).cloned().collect(),
        })
    }

    /// This stream is received. Says how long it was not, once.
    pub(super) fn ends(&mut self, now: Instant, stream_id: &str) -> Option<Output> {
        let at = self.streams.iter().position(|known| known == stream_id)?;
        self.streams.swap_remove(at);
        let time = now.saturating_duration_since(self.since);
        Some(Output::Took(self.took, time))
    }
}

impl Counts {
    /// What the store said to events for other nodes, each word from zero on.
    pub fn routed(&self) -> Vec<(&'static str, u64)> {
        from_zero(ROUTED, &self.routed)
    }

    /// Claims by why and result, each pair from zero on.
    pub fn claims(&self) -> Vec<((&'static str, &'static str), u64)> {
        let pairs = CLAIM_WHY.map(|why| CLAIMED.map(|result| (why, result)));
        from_zero(pairs.into_iter().flatten(), &self.claims)
    }

    /// What the store said to hand-overs, each word from zero on.
    pub fn handed(&self) -> Vec<(&'static str, u64)> {
        from_zero(HANDED, &self.handed)
    }

    /// Counts the answer to a call.
    pub(super) fn note(&mut self, me: &Member, call: &Call, reply: &Reply) {
        match call {
            Call::Route { .. } => count(&mut self.routed, routed(reply)),
            Call::Claim { expected, when, .. } => {
                let why = match (when, expected) {
                    (Claimable::Free, _) => "new",
                    (_, Some(node)) if *node == me.node => "given",
                    _ => "dead",
                };
                count(&mut self.claims, (why, claimed(reply)));
            }
            Call::Hand { .. } => count(&mut self.handed, handed(reply)),
            _ => {}
        }
    }
}

impl Machine {
    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Entries of the own queue that were read and are not done.
    pub fn queue_len(&self) -> usize {
        self.queues.own_entries.len()
    }

    /// Withdrawn streams whose files a node may still have, as far as this one knows: the message has not
    /// reached that node's queue, or the node is dead.
    pub fn to_delete(&self) -> usize {
        let is_discard = |message: &Message| matches!(message, Message::Discard { .. });
        let messages = self.broadcasts.iter().map(|it| it.message());
        let waiting = messages.filter(|message| is_discard(message)).count();
        let dead = self.takeovers.values().map(|takeover| takeover.to_delete);
        waiting + dead.sum::<usize>()
    }

    /// An event was passed on to another node.
    pub(super) fn was_passed_on(&mut self, now: Instant, event: &Event) {
        if event.repeats == 0 {
            let time = now.saturating_duration_since(event.at);
            self.outputs.push_back(Output::Took(Took::Route, time));
        }
    }

    /// Counts the starts for which Zoom does not wait any more, and that have reached no node.
    pub(super) fn count_late(&mut self, now: Instant) {
        let busy = self.busy.iter();
        let mut late = Vec::new();
        for id in busy {
            let waiting = self.meetings.get_mut(id).map(|it| it.waiting.iter_mut());
            late.extend(
                waiting
                    .into_iter()
                    .flatten()
                    .filter_map(|it| it.is_late(now)),
            );
        }
        let findings = self.findings.values_mut();
        late.extend(
            findings
                .flat_map(|it| &mut it.events)
                .filter_map(|it| it.is_late(now)),
        );
        for stream in late {
            self.counts.not_joined += 1;
            let text = format!(
                "stream {stream} was announced a minute ago and no node could be given it: Zoom does not wait longer; \
                 look at the store and at the nodes' queues"
            );
            self.log(Severity::Error, text);
        }
    }
}

impl Event {
    /// The stream, if this is its start and the time is over. Once.
    fn is_late(&mut self, now: Instant) -> Option<String> {
        let is_start = self.about.kind == Kind::StreamStarts;
        let is_own = matches!(self.origin, Origin::Intent(_));
        let is_late = now.saturating_duration_since(self.at) >= ZOOM_WAITS;
        let is_new =
            is_start && is_own && is_late && !std::mem::replace(&mut self.is_counted, is_late);
        is_new.then(|| self.about.stream.clone().unwrap_or_default())
    }
}

fn from_zero<K: Ord + Copy>(
    words: impl IntoIterator<Item = K>,
    counts: &BTreeMap<K, u64>,
) -> Vec<(K, u64)> {
    let words = words.into_iter();
    let count = |word: K| (word, counts.get(&word).copied().unwrap_or(0));
    words.map(count).collect()
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, word: K) {
    *counts.entry(word).or_default() += 1;
}

fn routed(reply: &Reply) -> &'static str {
    match reply {
        Reply::Routed(Routed::Queued) => "queued",
        Reply::Routed(Routed::Mine) => "mine",
        Reply::Routed(Routed::Moved { .. }) => "moved",
        Reply::Routed(Routed::None) => "none",
        Reply::Routed(Routed::Dead) => "dead",
        Reply::Routed(Routed::Full) => "full",
        _ => "failed",
    }
}

fn claimed(reply: &Reply) -> &'static str {
    match reply {
        Reply::Claimed { .. } => "claimed",
        Reply::Held(_) => "held",
        Reply::QueueFull => "full",
        _ => "failed",
    }
}

fn handed(reply: &Reply) -> &'static str {
    match reply {
        Reply::Ok { .. } => "given",
        Reply::Newer(_) => "newer",
        Reply::QueueFull => "full",
        _ => "failed",
    }
}
