//! Events come in, and go to the own coordinator.

use std::time::Instant;

use super::face::{About, Kind, Output};
use super::machine::{EVENTS_MAX, EVENTS_OF_MEETING_MAX, Machine};
use super::meetings::{Event, Origin};
use crate::domain::severity::Severity;

impl Machine {
    /// An event that this process must handle or send on.
    pub(super) fn take_in(&mut self, now: Instant, event: Event) {
        let About {
            meeting, stream, ..
        } = &event.about;
        let known = stream.as_ref().and_then(|stream| self.streams.get(stream));
        let meeting = meeting.clone().or_else(|| known.cloned());
        if self.is_too_much(meeting.as_deref(), &event) {
            return self.overflow(event);
        }
        // Files of an earlier epoch may be here: they go at once.
        if event.about.kind == Kind::Withdrawn
            && let Origin::Intent(number) = event.origin
        {
            self.outputs.push_back(Output::Deliver { number });
        }
        match (meeting, stream.clone()) {
            (Some(meeting), _) => self.came_for(now, &meeting, event),
            (None, Some(stream)) => self.came_for_stream(now, &stream, event),
            (None, None) => self.deliver(event),
        }
    }

    pub(super) fn is_too_much(&self, meeting: Option<&str>, event: &Event) -> bool {
        let known = meeting.and_then(|meeting| self.meetings.get(meeting));
        let of_meeting = known.map_or(0, |meeting| meeting.waiting.len());
        let most = match event.about.kind {
            Kind::ParticipantJoins => EVENTS_MAX / 4,
            _ => EVENTS_MAX,
        };
        self.waiting >= most || of_meeting >= EVENTS_OF_MEETING_MAX
    }

    /// More events wait than this process keeps.
    pub(super) fn overflow(&mut self, event: Event) {
        if event.about.kind == Kind::ParticipantJoins {
            return self.settle(event);
        }
        if !std::mem::replace(&mut self.is_full_told, true) {
            let waiting = self.waiting;
            let text = format!(
                "{waiting} events wait for the store: further ones are handled by this node, whichever node has their \
                 meetings; check the store's address, load and memory"
            );
            self.log(Severity::Error, text);
        }
        self.deliver(event);
    }

    /// Gives an event to the own coordinator, and is done with it.
    pub(super) fn deliver(&mut self, event: Event) {
        match event.origin {
            Origin::Intent(number) => {
                self.outputs.push_back(Output::Deliver { number });
                self.outputs.push_back(Output::Settle { number });
            }
            Origin::Queue(ticket) => self.outputs.push_back(Output::DeliverQueued {
                ticket,
                body: event.body,
            }),
        }
    }

    /// Another has the event for good.
    pub(super) fn settle(&mut self, event: Event) {
        match event.origin {
            Origin::Intent(number) => self.outputs.push_back(Output::Settle { number }),
            Origin::Queue(ticket) => self.remove(ticket),
        }
    }
}
