//! Who lives, and who gets a meeting.
//!
//! A node is dead if the store and this process both say so: silent for [`DEAD`] by the store's clock, and not
//! seen to move for [`STILL`] by our own. So no jump of the store's clock alone kills a node. Dead it stays until it
//! is seen to move. A jump backwards hides deaths that were not seen yet, for as long as it was; and for some seconds
//! all of them from who begins when the store's clock passes the dead node's last beat again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::call::{Member, Row, SeenRow};
use crate::domain::split_mix;

/// A node that is silent for this long by the store's clock is dead.
pub const DEAD: Duration = Duration::from_secs(5);

/// And not seen to move for this long by our own clock.
pub const STILL: Duration = Duration::from_secs(4);

/// [`DEAD`] for the owner of a stream that Zoom says is interrupted.
pub const HINT: Duration = Duration::from_millis(2500);

/// [`STILL`] for such an owner.
pub const HINT_STILL: Duration = Duration::from_secs(2);

/// A node that is silent for longer gets nothing new.
pub const QUIET: Duration = Duration::from_secs(3);

/// A placed meeting counts as load until the node's row must show it.
const PLACED_COUNTS: Duration = Duration::from_secs(5);

/// How much busier than the best choice we may be and still take a meeting ourselves: no hop.
const NEAR: f64 = 0.1;

/// How far beyond its capacity a node takes what a dead node had.
const TAKEOVER_LOAD: f64 = 1.25;

/// Nodes of a fleet that this version is meant for.
pub const NODES_MAX: usize = 64;

/// Names of nodes that are remembered.
const KNOWN_MAX: usize = 4 * NODES_MAX;

/// All nodes, as the last good beat showed them.
#[derive(Debug)]
pub struct View {
    me: Member,
    layout: u32,
    must: String,
    rows: Vec<SeenRow>,
    /// All others that had a row since this process began: a node that has left has files, too.
    known: BTreeSet<String>,
    /// By node: when its row was last seen to change.
    moved: BTreeMap<String, Moved>,
    /// When the rows were read.
    looked: Option<Instant>,
    /// What was placed lately, and where.
    placed: Vec<(Instant, String)>,
}

#[derive(Debug)]
struct Moved {
    boot: super::call::Boot,
    seq: u64,
    at: Instant,
    was_dead: bool,
}

/// Where a meeting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) to: Member,
    /// Every node is at its capacity.
    pub(super) is_overfull: bool,
}

impl View {
    pub(super) fn new(me: Member, layout: u32, must: String) -> View {
        View {
            me,
            layout,
            must,
            rows: Vec::new(),
            known: BTreeSet::new(),
            moved: BTreeMap::new(),
            looked: None,
            placed: Vec::new(),
        }
    }

    /// All rows, the own one too.
    pub fn rows(&self) -> &[SeenRow] {
        &self.rows
    }

    /// Whether more living nodes have other settings than ours than have the same.
    pub fn is_minority(&self) -> bool {
        let living = self.rows.iter().filter(|row| self.is_living(row));
        let (same, other): (Vec<_>, Vec<_>) = living.partition(|row| row.row.must == self.must);
        other.len() > same.len()
    }

    /// Takes in what a beat showed. `true` if so many died in one look that we had better doubt ourselves.
    pub(super) fn look(&mut self, now: Instant, rows: Vec<SeenRow>) -> bool {
        self.rows = rows;
        self.looked = Some(now);
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let others = self.rows.iter().filter(|row| row.node != self.me.node);
        self.known.extend(others.map(|row| row.node.clone()));
        self.placed
            .retain(|(at, _)| now.saturating_duration_since(*at) < PLACED_COUNTS);
        let mut moved = BTreeMap::new();
        let (mut died, mut lived) = (0, 0);
        for row in &self.rows {
            let known = self.moved.remove(&row.node);
            let known =
                known.filter(|known| known.boot == row.row.boot && known.seq == row.row.seq);
            let (at, was_dead) = known.map_or((now, false), |known| (known.at, known.was_dead));
            let is_dead = was_dead || row.age >= DEAD && now.saturating_duration_since(at) >= STILL;
            if row.node != self.me.node {
                lived += usize::from(!was_dead);
                died += usize::from(is_dead && !was_dead);
            }
            let (boot, seq) = (row.row.boot, row.row.seq);
            moved.insert(
                row.node.clone(),
                Moved {
                    boot,
                    seq,
                    at,
                    was_dead: is_dead,
                },
            );
        }
        self.moved = moved;
        // Of one other node nothing can be told.
        died >= 2 && died * 2 > lived
    }

    /// The row of a node.
    pub(super) fn row(&self, node: &str) -> Option<&SeenRow> {
        self.rows.iter().find(|row| row.node == node)
    }

    /// Whether a node is dead by these limits. One without a row is.
    pub(super) fn is_dead(&self, node: &str, silent: Duration, still: Duration) -> bool {
        let (Some(row), Some(looked)) = (self.row(node), self.looked) else {
            return true;
        };
        let Some(moved) = self.moved.get(node) else {
            return row.age >= silent;
        };
        let rest = looked.saturating_duration_since(moved.at);
        moved.was_dead || row.age >= silent && rest >= still
    }

    /// For how long a node has been silent. The store's clock may have jumped: not for longer than we have not seen
    /// it move.
    pub(super) fn silence(&self, now: Instant, owner: &Member, by_store: Duration) -> Duration {
        let moved = self.moved.get(&owner.node);
        let moved = moved.filter(|moved| moved.boot == owner.boot);
        moved.map_or(by_store, |moved| {
            by_store.min(now.saturating_duration_since(moved.at))
        })
    }

    /// Whether a node's row was seen to change after that time.
    pub(super) fn has_moved_since(&self, node: &str, since: Instant) -> bool {
        self.moved.get(node).is_some_and(|moved| moved.at > since)
    }

    /// Nodes that are dead, and have not removed their row.
    pub(super) fn dead(&self) -> impl Iterator<Item = &SeenRow> {
        (self.rows.iter())
            .filter(|row| row.node != self.me.node && self.is_dead(&row.node, DEAD, STILL))
    }

    /// The other nodes, dead or alive.
    pub(super) fn others(&self) -> impl Iterator<Item = &SeenRow> {
        (self.rows.iter()).filter(|row| row.node != self.me.node)
    }

    /// The other nodes, also those that have left.
    pub(super) fn known(&self) -> impl Iterator<Item = &String> {
        self.known.iter()
    }

    /// A living node whose data layout we cannot share.
    pub(super) fn stranger(&self) -> Option<&SeenRow> {
        let mut living = self.rows.iter().filter(|row| self.is_living(row));
        living.find(|row| row.row.layout.abs_diff(self.layout) > 1)
    }

    /// Where a new meeting goes: of the two living nodes that rendezvous hashing puts first, the one with less
    /// load; we ourselves when we are nearly as free. `None` if no node takes any.
    ///
    /// `takes_me` says whether we take any; `not` is a node that has just refused.
    pub(super) fn place(&self, meeting: &str, takes_me: bool, not: Option<&str>) -> Option<Choice> {
        let all: Vec<&SeenRow> = (self.candidates(takes_me))
            .filter(|row| Some(row.node.as_str()) != not)
            .collect();
        let mut free: Vec<&SeenRow> = (all.iter().copied())
            .filter(|row| self.load(row) < 1.0)
            .collect();
        let is_overfull = free.is_empty();
        let best = if is_overfull {
            (all.iter().copied()).min_by(|a, b| self.load(a).total_cmp(&self.load(b)))?
        } else {
            free.sort_by_key(|row| std::cmp::Reverse(weight(meeting, &row.node)));
            let two = free.iter().copied().take(2);
            let best = two.min_by(|a, b| self.load(a).total_cmp(&self.load(b)))?;
            let mut own = free.iter().copied().filter(|row| self.is_me(row));
            own.find(|row| self.load(row) <= self.load(best) + NEAR)
                .unwrap_or(best)
        };
        Some(Choice {
            to: Member {
                node: best.node.clone(),
                boot: best.row.boot,
            },
            is_overfull,
        })
    }

    /// Counts a meeting that was just given to a node.
    pub(super) fn count_placed(&mut self, now: Instant, node: &str) {
        self.placed.push((now, node.to_owned()));
    }

    /// Whether we are the one who takes this from a dead node before all others.
    pub(super) fn is_first(&self, key: &str) -> bool {
        let able = (self.candidates(true)).filter(|row| self.load(row) < TAKEOVER_LOAD);
        first(key, able).is_some_and(|row| self.is_me(row))
    }

    /// Whether there is room for one more stream of a dead node.
    pub(super) fn has_takeover_room(&self, streams: usize, capacity: u32) -> bool {
        (streams as f64) < f64::from(capacity) * TAKEOVER_LOAD
    }

    fn is_me(&self, row: &SeenRow) -> bool {
        row.node == self.me.node && row.row.boot == self.me.boot
    }

    fn is_living(&self, row: &SeenRow) -> bool {
        let moved = self.moved.get(&row.node);
        let was_dead = moved.is_some_and(|moved| moved.was_dead);
        row.age < QUIET && !was_dead || self.is_me(row)
    }

    /// Nodes that may get something.
    fn candidates(&self, takes_me: bool) -> impl Iterator<Item = &SeenRow> {
        self.rows.iter().filter(move |row| {
            self.is_living(row)
                && row.row.must == self.must
                && row.row.layout.abs_diff(self.layout) <= 1
                && match self.is_me(row) {
                    true => takes_me,
                    false => !row.row.is_draining,
                }
        })
    }

    /// The part of its capacity that a node uses.
    fn load(&self, row: &SeenRow) -> f64 {
        let Row {
            streams, capacity, ..
        } = row.row;
        let placed = self.placed.iter().filter(|(_, node)| *node == row.node);
        (f64::from(streams) + placed.count() as f64) / f64::from(capacity.max(1))
    }
}

/// The node that rendezvous hashing puts first.
pub(super) fn first<'a>(key: &str, rows: impl Iterator<Item = &'a SeenRow>) -> Option<&'a SeenRow> {
    rows.max_by_key(|row| weight(key, &row.node))
}

/// Rendezvous hashing: each node has a weight for each key, the same in all processes and versions.
fn weight(key: &str, node: &str) -> u64 {
    let bytes = key.bytes().chain([0]).chain(node.bytes());
    bytes.fold(0, |hash, byte| split_mix::nth(hash ^ u64::from(byte), 1))
}
