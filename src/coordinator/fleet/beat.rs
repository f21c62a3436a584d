//! The beat: renews the own row, shows all others, and decides what this node may do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::call::{Call, Reply, Row, SeenRow};
use super::face::{Exit, NodeState, Output, StreamState};
use super::machine::{Machine, Subject};
use super::record::StreamPhase;
use super::store_down::Loss;
use super::view::{HINT, HINT_STILL, NODES_MAX, QUIET};
use crate::domain::severity::Severity;

/// How often.
pub const BEAT: Duration = Duration::from_secs(1);

/// A beat permits new signaling connections for this long after it was sent. One second less than
/// `view::DEAD`: for the way, and for clocks' rates.
pub const UNSURE: Duration = Duration::from_secs(4);

/// Who judges others must have been sure without a break for so long.
pub const SETTLE: Duration = Duration::from_secs(5);

/// A process that starts waits for the store for this long, then follows the store-down rule.
pub const JOIN_MAX: Duration = Duration::from_secs(10);

/// How often the same trouble is logged.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How often a process beside which another one of its name has lived looks for what that one has left: of a name
/// that beats no other node takes anything over.
const LEFTOVERS_EVERY: Duration = Duration::from_secs(10);

/// A meeting that was claimed, and of which no event has come, is over after this time.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// A meeting's record is written again at least this often, so that it does not expire.
pub const TOUCH: Duration = Duration::from_secs(30 * 60);

/// The same for one of which nothing is received: another node may have it by now.
pub const TOUCH_IDLE: Duration = Duration::from_secs(5 * 60);

/// What is known from our own beats.
#[derive(Debug)]
pub(super) struct Beats {
    began: Instant,
    /// When the next one is due, and whether one is under way.
    next: Instant,
    pub(super) is_under_way: bool,
    seq: u64,
    /// The greatest number that the store has confirmed; 0 before the first.
    confirmed: u64,
    era: Option<u64>,
    /// The store's time at the last good beat.
    store_ms: u64,
    /// New signaling connections are allowed until then.
    permit: Option<Instant>,
    /// Since when we have been sure without a break, and what we know has been whole.
    sure_since: Option<Instant>,
    /// Another process of this name: as its row was seen first.
    other: Option<SeenRow>,
    is_doubled: bool,
    doubled_told: Option<Instant>,
    /// Another process of this name has lived: when to look for what it has left.
    leftovers_at: Option<Instant>,
    /// Meetings whose lost streams wait for the store's word on who has them.
    confirming: BTreeSet<String>,
    /// It was logged that the store does not answer.
    is_unsure_told: bool,
    /// A call has failed since the last good beat: the store may have lost what it took after that.
    pub(super) has_failed: bool,
    others_told: Vec<String>,
}

impl Beats {
    pub(super) fn new(now: Instant) -> Beats {
        Beats {
            began: now,
            next: now,
            is_under_way: false,
            seq: 0,
            confirmed: 0,
            era: None,
            store_ms: 0,
            permit: None,
            sure_since: None,
            other: None,
            is_doubled: false,
            doubled_told: None,
            leftovers_at: None,
            confirming: BTreeSet::new(),
            is_unsure_told: false,
            has_failed: false,
            others_told: Vec::new(),
        }
    }

    pub(super) fn due(&self) -> Instant {
        let is_named = self.is_doubled || self.other.is_some();
        let unsure = match self.permit {
            _ if self.is_unsure_told || is_named => None,
            Some(until) => Some(until),
            None => Some(self.began + JOIN_MAX),
        };
        unsure.map_or(self.next, |at| at.min(self.next))
    }

    /// Whether the store-down rule is in force.
    pub(super) fn is_told(&self) -> bool {
        self.is_unsure_told
    }

    pub(super) fn has_joined(&self) -> bool {
        self.permit.is_some()
    }

    pub(super) fn is_doubled(&self) -> bool {
        self.is_doubled
    }

    /// Whether the store has been silent for so long that no node can tell what is true.
    pub(super) fn is_unsure(&self, now: Instant) -> bool {
        match self.permit {
            Some(until) => now >= until && !self.is_doubled,
            None => now >= self.began + JOIN_MAX && self.other.is_none(),
        }
    }

    /// Whether new signaling connections need [`Output::Once`].
    pub(super) fn lacks_permit(&self, now: Instant) -> bool {
        match self.permit {
            Some(until) => now >= until,
            None => now >= self.began + JOIN_MAX,
        }
    }

    /// Whether what the store says of others can be believed.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        let since = self.sure_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= SETTLE)
    }

    pub(super) fn state(&self, now: Instant) -> NodeState {
        if self.is_doubled {
            NodeState::Doubled
        } else if self.is_unsure(now) {
            NodeState::Unsure
        } else if self.permit.is_some() {
            NodeState::Sure
        } else {
            NodeState::Joining
        }
    }
}

impl Machine {
    pub(super) fn beat_if_due(&mut self, now: Instant) {
        let has_left = self.drain.as_ref().is_some_and(|drain| drain.is_leaving);
        if self.beats.is_under_way || now < self.beats.next || has_left {
            // A due time that has passed would be due for ever.
            if now >= self.beats.next {
                self.beats.next = now + BEAT;
            }
            return;
        }
        self.beats.next = now + BEAT;
        self.beats.is_under_way = true;
        self.beats.seq += 1;
        let row = self.own_row();
        let previous = self.config.previous;
        self.ask(now, Subject::Beat, Call::Beat { row, previous });
    }

    /// Lets the fleet know at once.
    pub(super) fn beat_soon(&mut self, now: Instant) {
        self.beats.next = now;
        self.beat_if_due(now);
    }

    fn own_row(&self) -> Row {
        let config = &self.config;
        Row {
            boot: config.me.boot,
            seq: self.beats.seq,
            layout: config.layout,
            version: config.version.clone(),
            must: config.must.clone(),
            streams: u32::try_from(self.streams.len()).unwrap_or(u32::MAX),
            capacity: config.capacity,
            is_draining: self.drain.is_some(),
            admin: config.admin.clone(),
            since_ms: config.since_ms,
            events: self.events.row(),
        }
    }

    pub(super) fn beat_done(&mut self, now: Instant, reply: Reply) {
        self.beats.is_under_way = false;
        match reply {
            Reply::Beat {
                sent,
                store_ms,
                era,
                before,
                rows,
            } => self.beat_is_good(now, sent, store_ms, era, before, rows),
            Reply::Taken { other } => self.name_is_taken(now, other),
            _ => {}
        }
    }

    fn beat_is_good(
        &mut self,
        now: Instant,
        sent: Instant,
        store_ms: u64,
        era: u64,
        before: Option<Row>,
        rows: Vec<SeenRow>,
    ) {
        // An answer that took too long permits nothing.
        let until = sent + UNSURE;
        if now >= until {
            return;
        }
        let former = self.beats.permit.map(|until| until - UNSURE);
        let has_failed = std::mem::take(&mut self.beats.has_failed);
        let was_sure = (self.beats.permit).is_some_and(|until| now < until);
        let is_first = self.beats.permit.is_none();
        let is_rolled_back = self.is_rolled_back(era, before.as_ref());
        self.beats.era = Some(era);
        let former_ms = std::mem::replace(&mut self.beats.store_ms, store_ms);
        self.beats.confirmed = self.beats.seq;
        self.beats.permit = Some(until);
        self.beats.other = None;
        if std::mem::take(&mut self.beats.is_doubled) {
            self.log(
                Severity::Info,
                "the other process of this name is gone: this one takes part again".to_owned(),
            );
        }
        if self.beats.leftovers_at.is_some_and(|at| now >= at) {
            self.beats.leftovers_at = Some(now + LEFTOVERS_EVERY);
            self.take_own_leftovers(now);
        }
        if self.view.look(now, rows) {
            self.beats.sure_since = Some(now);
            self.log(
                Severity::Warn,
                "more than half of the other nodes fell silent at once: waiting 5 s before their meetings are \
                 taken over"
                    .to_owned(),
            );
        }
        if is_first {
            self.has_joined();
        }
        if !was_sure {
            self.beats.sure_since = Some(now);
            self.is_sure_again();
            // An earlier process had the name, or another one meanwhile, which leaves no trace in our row.
            self.take_own_leftovers(now);
        }
        if is_rolled_back {
            self.counts.rollbacks += 1;
            self.outputs.push_back(Output::RolledBack);
            self.beats.sure_since = Some(now);
            self.log(
                Severity::Warn,
                "the store has lost what was written: writing it again; no stream is affected"
                    .to_owned(),
            );
            self.publish_all();
            self.forget_repeats();
            // What has ended since, and what was given away, is ours again by the record.
            self.take_own_leftovers(now);
        } else if let Some(former) = former {
            // Ages are by absolute differences there: a jump backwards looks like a silence, too.
            let by_store = Duration::from_millis(store_ms.abs_diff(former_ms));
            if sent.saturating_duration_since(former) >= HINT_STILL || by_store >= HINT {
                // Still sure, and silent for long enough to be taken for dead by who has a hint of Zoom's; by the
                // store's clock, too, which may have jumped.
                self.publish_all();
            }
            if has_failed {
                self.publish_since(former);
            }
        }
        self.permit();
        self.tell_of_others();
        self.touch_old(now);
        self.decide_events(now, before.as_ref());
        self.store_is_up(now);
    }

    /// Whether the store has lost what it had confirmed.
    fn is_rolled_back(&self, era: u64, before: Option<&Row>) -> bool {
        let beats = &self.beats;
        let is_other_era = beats.era.is_some_and(|known| known != era);
        let is_older = match before {
            None => true,
            // Of another boot: as it was before we came, or another process had the name meanwhile.
            Some(row) => row.boot != self.config.me.boot || row.seq < beats.confirmed,
        };
        is_other_era || beats.confirmed > 0 && is_older
    }

    fn has_joined(&mut self) {
        let names: Vec<&str> = self.view.others().map(|row| row.node.as_str()).collect();
        let others = match names.is_empty() {
            true => "no other node".to_owned(),
            false => names.join(", "),
        };
        let node = &self.config.me.node;
        let text = format!("joined the fleet as {node}, with {others}");
        self.log(Severity::Info, text);
        if let Some(row) = self.view.stranger() {
            let text = format!(
                "node {} writes data layout {}, this program {}: upgrade one version at a time",
                row.node, row.row.layout, self.config.layout
            );
            self.outputs.push_back(Output::Exit(Exit::Layout, text));
        }
        if self.view.rows().len() > NODES_MAX {
            let text = format!(
                "the fleet has more than {NODES_MAX} nodes: this version is not made for that"
            );
            self.log(Severity::Warn, text);
        }
    }

    /// The store answers after a silence: others may have taken what is ours, so all is published.
    fn is_sure_again(&mut self) {
        if std::mem::take(&mut self.beats.is_unsure_told) {
            self.log(Severity::Info, "the store answers again".to_owned());
        }
        self.losses.forget();
        self.is_full_told = false;
        self.beats.confirming.clear();
        for (id, meeting) in &mut self.meetings {
            let Some(held) = &mut meeting.held else {
                continue;
            };
            held.losses.values_mut().for_each(Loss::forget);
            let is_lost = |s: &StreamState| s.phase != StreamPhase::Receiving;
            if !held.is_left && held.streams.iter().any(is_lost) {
                self.beats.confirming.insert(id.clone());
            }
        }
        self.publish_all();
        self.drop_takeovers();
    }

    /// The store has said who has a meeting.
    pub(super) fn is_confirmed(&mut self, id: &str) {
        if self.beats.confirming.remove(id) {
            self.permit();
        }
    }

    /// A stream of this meeting was displaced again, soon after it was let in: another node wants it, too. No
    /// connection is opened before the store has said who has the record; while it does not answer, the two would
    /// displace each other until the permit ends.
    pub(super) fn withhold(&mut self, now: Instant, id: &str) {
        self.beats.confirming.insert(id.to_owned());
        self.outputs.push_back(Output::Permit { until: now });
    }

    /// Permits new connections, unless lost streams may be another's by now.
    fn permit(&mut self) {
        if let Some(until) = self.beats.permit
            && self.beats.confirming.is_empty()
        {
            self.outputs.push_back(Output::Permit { until });
        }
    }

    /// Every meeting that is held is to be published, with its entry: a store that has lost it may have been
    /// written since by beats whose replies never came, and then shows no roll-back.
    fn publish_all(&mut self) {
        let mut ids = Vec::new();
        for (id, meeting) in &mut self.meetings {
            if let Some(held) = &mut meeting.held {
                held.touch();
                held.is_entry_new |= held.entry.is_some();
                ids.push(id.clone());
            }
        }
        ids.iter().for_each(|id| self.note(id));
    }

    /// What was published after a beat that the store still knows may be lost all the same.
    fn publish_since(&mut self, beat: Instant) {
        let mut ids = Vec::new();
        for (id, meeting) in &mut self.meetings {
            if let Some(held) = &mut meeting.held
                && held.touched.is_some_and(|at| at >= beat)
            {
                held.touch();
                held.is_entry_new |= held.entry.is_some();
                ids.push(id.clone());
            }
        }
        ids.iter().for_each(|id| self.note(id));
    }

    fn touch_old(&mut self, now: Instant) {
        let mut ids = Vec::new();
        for (id, meeting) in &mut self.meetings {
            let Some(held) = &mut meeting.held else {
                continue;
            };
            let age = held.touched.map(|at| now.saturating_duration_since(at));
            let is_silent = held.is_silent && age.is_some_and(|age| age >= SILENT_MAX);
            held.is_over |= is_silent;
            let most = if held.receives() { TOUCH } else { TOUCH_IDLE };
            if (is_silent || age.is_some_and(|age| age >= most)) && !held.has_news() {
                held.touch();
                ids.push(id.clone());
            }
        }
        ids.iter().for_each(|id| self.note(id));
    }

    /// Settings that all nodes must have alike.
    fn tell_of_others(&mut self) {
        let differs: Vec<String> = (self.view.others())
            .filter(|row| row.row.must != self.config.must && row.age < QUIET)
            .map(|row| row.node.clone())
            .collect();
        let known = std::mem::replace(&mut self.beats.others_told, differs.clone());
        for node in differs.iter().filter(|node| !known.contains(node)) {
            let text = format!(
                "node {node} has another client id, client secret, secret token or SDK key: no meeting is placed \
                 there from here, or here from there; give all nodes the same"
            );
            self.log(Severity::Error, text);
        }
    }

    /// Another process of this name lives.
    fn name_is_taken(&mut self, now: Instant, other: SeenRow) {
        if self.beats.confirmed > 0 {
            self.beats.is_doubled = true;
            self.beats.leftovers_at = Some(now);
            let told = self.beats.doubled_told;
            if told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
                self.beats.doubled_told = Some(now);
                let text = format!(
                    "another process is node {} since this one was silent: streams here run on, nothing new is \
                     taken; stop one of the two, or give it another RTMS_NODE",
                    other.node
                );
                self.log(Severity::Error, text);
            }
            self.decide_events(now, None);
            return self.store_is_up(now);
        }
        let is_same = |known: &SeenRow| known.row.boot == other.row.boot;
        match self.beats.other.as_ref().filter(|known| is_same(known)) {
            Some(known) if known.row.seq != other.row.seq => {
                let text = format!(
                    "node {} is another process, which is alive: started at {} ms, version {}, admin listener {:?}; \
                     give this one another RTMS_NODE",
                    other.node, other.row.since_ms, other.row.version, other.row.admin
                );
                self.outputs.push_back(Output::Exit(Exit::NameTaken, text));
            }
            Some(_) => {}
            None => {
                let text = format!(
                    "the row of node {} is another process's: watching whether that lives",
                    other.node
                );
                self.log(Severity::Info, text);
                self.beats.other = Some(other);
            }
        }
    }

    /// Says once that the store-down rule is in force, and applies it to what waits.
    pub(super) fn tell_if_unsure(&mut self, now: Instant) {
        if !self.beats.is_unsure(now) || std::mem::replace(&mut self.beats.is_unsure_told, true) {
            return;
        }
        self.log(
            Severity::Warn,
            "the store does not answer: running streams go on, new ones that Zoom announces here are received \
             here; nothing is taken over or handed over until it answers"
                .to_owned(),
        );
        self.decide_events(now, None);
        self.store_went_down(now);
    }
}
