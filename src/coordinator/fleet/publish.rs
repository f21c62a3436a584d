//! What this node holds, and how the record follows.
//!
//! Who receives owns: a publish that says "receiving" takes a record whose owner does not. A record of another
//! living owner ends here what it receives, and what is received nowhere; what really flows here runs on.

use std::time::{Duration, Instant};

use super::call::Call;
use super::face::{MeetingState, Output, StreamState};
use super::machine::Machine;
use super::meetings::{Held, Wish};
use super::record::{Phase, Record, StreamPhase};
use super::resolve::RESTART_MAX;
use super::store_down::Loss;
use super::view::{DEAD, QUIET, STILL};
use crate::domain::severity::Severity;

/// Who is refused at Zoom, as another has the stream, asks again after this time whether that one has the record
/// by now.
const ASK_REFUSED: Duration = Duration::from_secs(5);

/// So long after the store's word a meeting of which nothing is received is ours without asking.
const FRESH: Duration = Duration::from_secs(5);

/// Less than the pause before the second try of a connection that did not last.
const ASK_SOON: Duration = Duration::from_millis(300);

/// How often who is displaced asks.
const ASK_DISPLACED: Duration = Duration::from_secs(1);

/// What another node was given and has not taken after this time is taken back.
const NOT_TAKEN: Duration = Duration::from_secs(5);

/// What flows here while another has the record is published again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(2);

impl Held {
    /// Of this meeting nothing is received: its record may be another's without our knowledge.
    pub(super) fn confirm_if_idle(&mut self, now: Instant) {
        let is_fresh = (self.touched).is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        if self.epoch > 0 && !self.is_left && !self.receives() && !is_fresh && !self.is_to_confirm {
            self.is_to_confirm = true;
            self.touch();
        }
    }

    /// Who is displaced soon after it was let in asks once more before it tries again: the other one's word may
    /// have come to the store after ours, which said that no node receives.
    fn ask_if_displaced(&mut self, now: Instant) {
        if self.is_lost(Loss::is_short) {
            self.ask_again = Some(now + ASK_SOON);
        }
    }

    /// And goes on asking: no message says who has the record by now.
    fn ask_while_displaced(&mut self, now: Instant) {
        if self.ask_again.is_none() && self.is_lost(Loss::is_short) {
            self.ask_again = Some(now + ASK_DISPLACED);
        }
    }

    /// Whether a stream of it is lost, in that way.
    fn is_lost(&self, how: impl Fn(&Loss) -> bool) -> bool {
        let is_it = |s: &StreamState| {
            let loss = self.losses.get(&s.stream_id);
            s.phase == StreamPhase::Lost && loss.is_some_and(&how)
        };
        self.streams.iter().any(is_it)
    }

    /// Who is refused wants to know who has the stream.
    fn ask_if_refused(&mut self, now: Instant) {
        let is_refused = |s: &StreamState| s.is_refused && s.phase != StreamPhase::Receiving;
        if self.ask_again.is_none() && self.streams.iter().any(is_refused) {
            self.ask_again = Some(now + ASK_REFUSED);
        }
    }
}

impl Machine {
    /// The coordinator's state of a meeting has changed.
    pub(super) fn state_changed(&mut self, now: Instant, state: MeetingState) {
        let id = state.meeting.as_str();
        let is_known = self.meetings.get(id).is_some_and(|m| m.held.is_some());
        if !is_known && state.is_over {
            return;
        }
        let is_unsure = self.beats.lacks_permit(now);
        let meeting = self.meetings.entry(id.to_owned()).or_default();
        let held = meeting.held.get_or_insert_with(Held::default);
        if held.is_left {
            return;
        }
        let lost = held.note_losses(now, &state.streams);
        for stream in &state.streams {
            if let (StreamPhase::Receiving, Some(gap)) = (stream.phase, &mut held.gap) {
                self.outputs.extend(gap.ends(now, &stream.stream_id));
            }
        }
        for stream in &held.streams {
            self.streams.remove(&stream.stream_id);
        }
        for stream in &state.streams {
            let id = id.to_owned();
            self.streams.insert(stream.stream_id.clone(), id);
        }
        if is_unsure {
            self.losses.add(now, lost, self.streams.len());
        }
        let is_news = held.streams.len() != state.streams.len()
            || held.is_over != state.is_over
            || (held.streams.iter().zip(&state.streams))
                .any(|(a, b)| a.stream_id != b.stream_id || a.phase != b.phase)
            || held.is_silent
            || held.epoch == 0 && held.version == 0;
        held.is_silent = false;
        held.streams = state.streams;
        held.is_over = state.is_over;
        if let Some(entry) = state.entry {
            let is_new = held.entry.as_ref() != Some(&entry);
            held.is_entry_new |= is_new;
            held.version += u64::from(is_new);
            held.entry = Some(entry);
        }
        if is_news {
            held.touch();
            held.ask_if_displaced(now);
        }
        let is_quarrel = is_news && held.release.is_none() && held.is_lost(Loss::is_quarrel);
        held.ask_if_refused(now);
        if held.is_over {
            // It ended before it was closed for its heir.
            held.release = None;
        }
        let id = state.meeting;
        if is_quarrel {
            self.withhold(now, &id);
        }
        self.end_quarrels(&id);
        self.step(now, &id);
    }

    /// Two nodes that have no record of a stream, as a third one has its meeting's, would displace each other
    /// for ever.
    fn end_quarrels(&mut self, id: &str) {
        let Some(held) = self.meetings.get(id).and_then(|m| m.held.as_ref()) else {
            return;
        };
        let is_others = |stream: &&StreamState| {
            let loss = held.losses.get(&stream.stream_id);
            stream.phase == StreamPhase::Lost && loss.is_some_and(Loss::is_quarrel)
        };
        let others = held.streams.iter().filter(is_others);
        let others: Vec<String> = others.map(|stream| stream.stream_id.clone()).collect();
        if held.rival.is_some() && !others.is_empty() {
            self.give_up(id, others, false, None);
        }
    }

    /// Says what we have of a meeting, if that is news.
    pub(super) fn publish(&mut self, now: Instant, id: &str) {
        let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) else {
            return;
        };
        let is_entry_new = held.is_entry_new;
        let phases = held.streams.iter();
        let call = Call::Publish {
            meeting: id.to_owned(),
            epoch: held.epoch,
            previous: self.config.previous,
            streams: phases.map(|s| (s.stream_id.clone(), s.phase)).collect(),
            is_over: held.is_over,
            entry: held.entry.clone().filter(|_| is_entry_new),
        };
        if self.ask_for(now, id, call)
            && let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut())
        {
            held.asked = held.version;
            if held.ask_again.is_some_and(|at| now >= at) {
                held.ask_again = None;
            }
            held.is_entry_asked = std::mem::take(&mut held.is_entry_new);
        }
    }

    /// It is not known whether the store was told: it is asked again, also where nothing has changed.
    pub(super) fn publish_failed(&mut self, id: &str) {
        if let Some(held) = self.meetings.get_mut(id).and_then(|m| m.held.as_mut()) {
            held.is_entry_new |= std::mem::take(&mut held.is_entry_asked);
            held.touch();
        }
    }

    /// The record is ours.
    pub(super) fn published(
        &mut self,
        now: Instant,
        id: &str,
        epoch: u64,
        streams: &[(String, StreamPhase)],
    ) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(held) = &mut meeting.held else {
            return;
        };
        held.epoch = epoch;
        held.rival = None;
        held.is_to_confirm = false;
        held.published = held.asked;
        held.touched = Some(now);
        held.is_entry_asked = false;
        held.listed = streams.iter().map(|(id, _)| id.clone()).collect();
        if std::mem::take(&mut held.is_left) {
            let meeting = id.to_owned();
            self.outputs.push_back(Output::Resume { meeting });
        } else if held.is_over && held.published == held.version {
            meeting.held = None;
        } else {
            held.ask_if_refused(now);
            held.ask_while_displaced(now);
        }
    }

    /// The store has lost the entry of a record that is ours.
    pub(super) fn publish_entry(&mut self, id: &str) {
        let held = self.meetings.get_mut(id).and_then(|m| m.held.as_mut());
        if let Some(held) = held.filter(|held| held.entry.is_some()) {
            held.is_entry_new = true;
            held.touch();
        }
    }

    /// The record is another node's.
    pub(super) fn is_anothers(&mut self, now: Instant, id: &str, record: &Record) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(held) = &mut meeting.held else {
            return;
        };
        held.published = held.asked;
        held.is_to_confirm = false;
        held.is_entry_new |= std::mem::take(&mut held.is_entry_asked);
        meeting.owner = Some(record.owner.node.clone());
        if held.is_over {
            meeting.held = None;
            return;
        }
        // What a dead node knew is adopted; a publish alone would lose it.
        // Whose row is old may have been without the store as we were: that is for a take-over to judge, which finds
        // in the record what is given up here.
        let is_settled = self.beats.is_settled(now);
        let is_silent = is_settled && self.view.is_dead(&record.owner.node, DEAD, STILL);
        // Who wrote the record a moment ago lives, whatever its row says; but for the process before this one, whose
        // state directory this one has.
        let is_previous = record.owner.node == self.config.me.node
            && Some(record.owner.boot) == self.config.previous;
        let has_written = !is_previous && record.phase == Phase::Held && record.age < DEAD;
        let is_absent = !has_written && record.silent_for.is_none_or(|silent| silent >= QUIET);
        let is_dead =
            is_absent && (record.silent_for).is_none_or(|silent| silent >= DEAD && is_silent);
        let is_own_name = record.owner.node == self.config.me.node;
        let takes = self.drain.is_none() && !self.beats.is_doubled();
        // Nothing is connected of what lies in the state directory: that can wait until its owner is seen.
        if is_dead || held.is_left && is_absent {
            held.rival = Some(record.owner.node.clone());
            held.ask_again = Some(now + ASK_AGAIN);
            // What lies in the state directory is published until the store has said whose it is.
            meeting.not_before = Some(now + ASK_SOON);
            let since = *meeting.dead_since.get_or_insert(now);
            let is_late = now.saturating_duration_since(since) >= RESTART_MAX;
            if is_own_name || takes && is_settled && (is_silent || is_late) {
                meeting.wish = Some(Wish {
                    from: Some(record.owner.node.clone()),
                    limit: DEAD,
                });
            }
            return;
        }
        meeting.dead_since = None;
        // It was given to another node, which has not taken it.
        if matches!(record.phase, Phase::Placed | Phase::Handing) {
            held.ask_again = Some(now + ASK_AGAIN);
            meeting.not_before = Some(now + ASK_SOON);
            if takes && record.age >= NOT_TAKEN {
                let from = Some(record.owner.node.clone());
                meeting.wish = Some(Wish { from, limit: DEAD });
            }
            return;
        }
        // The record says what its owner did then: who was let in since has the stream.
        let is_older = |stream: &StreamState| {
            let loss = held.losses.get(&stream.stream_id);
            let let_in = loss.and_then(|loss| loss.let_in);
            let_in.is_some_and(|at| now.saturating_duration_since(at) < record.age)
        };
        let is_theirs = |stream: &StreamState| {
            let theirs = record
                .streams
                .iter()
                .find(|(id, _)| *id == stream.stream_id);
            match (theirs.map(|(_, phase)| *phase), stream.phase) {
                // Only what really flows is worth a quarrel, and only with an older epoch.
                (Some(StreamPhase::Receiving), StreamPhase::Receiving) => {
                    record.epoch > held.epoch && !is_older(stream)
                }
                (Some(_), StreamPhase::Receiving) => false,
                (Some(_), _) => true,
                // Its owner does not know this stream.
                (None, _) => false,
            }
        };
        let (gone, kept): (Vec<_>, Vec<_>) = held.streams.iter().partition(|s| is_theirs(s));
        let gone: Vec<String> = gone.into_iter().map(|s| s.stream_id.clone()).collect();
        let is_all = kept.is_empty();
        let is_left = std::mem::take(&mut held.is_left);
        if !is_all {
            held.ask_again = Some(now + ASK_AGAIN);
            held.rival = Some(record.owner.node.clone());
        }
        if is_all || !gone.is_empty() {
            let heir = Some(record.owner.node.clone());
            self.give_up(id, gone, is_all, heir);
        }
        if is_left && !is_all {
            let meeting = id.to_owned();
            self.outputs.push_back(Output::Resume { meeting });
        }
        if !is_all {
            self.send_home(now, id, record);
        }
    }

    /// Others have these streams, or the whole meeting.
    pub(super) fn give_up(
        &mut self,
        id: &str,
        streams: Vec<String>,
        is_all: bool,
        heir: Option<String>,
    ) {
        self.counts.yielded += streams.len() as u64;
        self.let_go(id, streams, is_all, heir);
    }

    /// Ends what is another's, or was handed over.
    pub(super) fn let_go(
        &mut self,
        id: &str,
        streams: Vec<String>,
        is_all: bool,
        heir: Option<String>,
    ) {
        let Some(meeting) = self.meetings.get_mut(id) else {
            return;
        };
        let Some(held) = &mut meeting.held else {
            return;
        };
        held.streams.retain(|s| !streams.contains(&s.stream_id));
        held.listed.retain(|id| !streams.contains(id));
        streams.iter().for_each(|stream| {
            held.losses.remove(stream);
            self.streams.remove(stream);
        });
        if is_all {
            held.streams.iter().for_each(|stream| {
                self.streams.remove(&stream.stream_id);
            });
            meeting.held = None;
        }
        if !streams.is_empty() {
            let to = heir.as_deref().unwrap_or("another node");
            let text = format!("meeting {id}: {to} has {}", streams.join(", "));
            self.outputs.push_back(Output::Log(Severity::Info, text));
        }
        self.outputs.push_back(Output::GiveUp {
            meeting: id.to_owned(),
            streams,
            is_all,
            heir,
        });
    }
}
