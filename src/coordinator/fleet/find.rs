//! An event that names only a stream which is not ours: the store is asked for its meeting.

use std::collections::VecDeque;
use std::time::Instant;

use super::call::{Call, Reply};
use super::face::{CallId, Kind};
use super::machine::{Machine, Subject};
use super::meetings::Event;
use super::resolve::NONE_MAX;

/// Events that name only a stream.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) events: VecDeque<Event>,
    call: Option<CallId>,
    none_since: Option<Instant>,
}

impl Machine {
    /// An event that names only a stream, which is not ours.
    pub(super) fn came_for_stream(&mut self, now: Instant, stream: &str, event: Event) {
        let finding = self.findings.entry(stream.to_owned()).or_default();
        finding.events.push_back(event);
        self.waiting += 1;
        self.find(now, stream);
    }

    /// Asks for the meeting of a stream.
    pub(super) fn find(&mut self, now: Instant, stream: &str) {
        let Some(finding) = self.findings.get(stream) else {
            return;
        };
        if let Some(meeting) = self.streams.get(stream).cloned() {
            return self.found(now, stream, &meeting);
        }
        if self.beats.is_unsure(now) {
            return self.find_without_store(stream);
        }
        if finding.call.is_some() || !self.can_ask(now) {
            return;
        }
        let stream_id = stream.to_owned();
        let about = Subject::Stream(stream_id.clone());
        let call = self.ask(now, about, Call::Find { stream_id });
        if let Some(finding) = self.findings.get_mut(stream) {
            finding.call = Some(call);
        }
    }

    pub(super) fn stream_found(&mut self, now: Instant, stream: &str, reply: Reply) {
        let is_settled = self.beats.is_settled(now);
        let Some(finding) = self.findings.get_mut(stream) else {
            return;
        };
        finding.call = None;
        match reply {
            Reply::Found {
                meeting: Some(meeting),
            } => self.found(now, stream, &meeting),
            Reply::Found { meeting: None } => {
                let since = *finding.none_since.get_or_insert(now);
                if is_settled && now.saturating_duration_since(since) >= NONE_MAX {
                    // No node knows it: remembered here, in case that its start comes late.
                    let events = self.take_finding(stream);
                    events.into_iter().for_each(|event| self.deliver(event));
                }
            }
            _ => {}
        }
    }

    /// A start that names no meeting is received here; the rest waits.
    fn find_without_store(&mut self, stream: &str) {
        let (starts, rest): (VecDeque<_>, VecDeque<_>) = (self.take_finding(stream).into_iter())
            .partition(|event| event.about.kind == Kind::StreamStarts);
        starts.into_iter().for_each(|event| self.deliver(event));
        if !rest.is_empty() {
            self.waiting += rest.len();
            let finding = self.findings.entry(stream.to_owned()).or_default();
            finding.events = rest;
        }
    }

    fn found(&mut self, now: Instant, stream: &str, meeting: &str) {
        for event in self.take_finding(stream) {
            self.came_for(now, meeting, event);
        }
    }

    pub(super) fn take_finding(&mut self, stream: &str) -> VecDeque<Event> {
        let finding = self.findings.remove(stream).unwrap_or_default();
        self.waiting -= finding.events.len();
        finding.events
    }
}
