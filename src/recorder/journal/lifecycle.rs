//! What becomes of a stream, as events of its journal: started, receiving, interrupted, resumed.
//!
//! Pure: notices and moments go in, events come out.

use crate::feed::kind;
use crate::protocol::codes::StreamState;
use crate::protocol::{LinkId, Notice};

/// A notice about a stream, in the same batch as what was received before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// When, Unix milliseconds by our clock.
    pub at_ms: u64,
    /// What.
    pub change: Change,
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// CLIENT_READY_ACK was sent.
    Ready,
    /// A link is lost; the cause in the words of the metrics.
    Lost(LinkId, &'static str),
    /// A link is there, or there again.
    Accepted(LinkId),
    /// A medium is not waited for any more.
    GivenUp(LinkId),
    /// Zoom paused the stream.
    Paused,
    /// Zoom resumed it.
    Unpaused,
    /// So many records were dropped here.
    Dropped(u64),
}

impl Change {
    /// What a notice of the stream says, if that is for the journal.
    pub fn of_notice(notice: &Notice) -> Option<Change> {
        match notice {
            Notice::Ready => Some(Change::Ready),
            Notice::Lost(link, loss) => Some(Change::Lost(*link, loss.label())),
            Notice::Accepted(link) => Some(Change::Accepted(*link)),
            Notice::GivenUp { kind, .. } => Some(Change::GivenUp(LinkId::Media(*kind))),
            Notice::State { state, .. } => match state {
                StreamState::Paused => Some(Change::Paused),
                StreamState::Resumed | StreamState::Active => Some(Change::Unpaused),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why nothing flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Loss,
    Pause,
    Restart,
    /// Another node received it before.
    TakeOver,
}

impl Stop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Stop::Loss => "loss",
            Stop::Pause => "pause",
            Stop::Restart => "restart",
            Stop::TakeOver => "takeover",
        }
    }
}

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Receiving,
    Interrupted(LinkId, &'static str),
    Paused,
    Resumed {
        after: Stop,
        since_ms: u64,
        seq_before: u64,
    },
    Gap(u64),
}

impl Event {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Event::Receiving => kind::STREAM_RECEIVING,
            Event::Interrupted(..) => kind::STREAM_INTERRUPTED,
            Event::Paused => kind::STREAM_PAUSED,
            Event::Resumed { .. } => kind::STREAM_RESUMED,
            Event::Gap(_) => kind::FEED_GAP,
        }
    }
}

/// Whether a stream flows, and since when not.
#[derive(Debug, Default)]
pub(super) struct Flow {
    is_receiving: bool,
    lost: Vec<LinkId>,
    /// Why, since when, and the last line before.
    stopped: Option<(Stop, u64, u64)>,
}

impl Flow {
    /// A stream that an earlier process received, until `since_ms` and that line.
    pub(super) fn after_restart(since_ms: u64, seq_before: u64) -> Flow {
        Flow {
            stopped: Some((Stop::Restart, since_ms, seq_before)),
            ..Flow::default()
        }
    }

    /// A stream that another node of the fleet received before.
    pub(super) fn after_take_over(since_ms: u64, seq_before: u64) -> Flow {
        Flow {
            stopped: Some((Stop::TakeOver, since_ms, seq_before)),
            ..Flow::default()
        }
    }

    /// What follows from a notice. `last_seq` is the number of the last line.
    pub(super) fn on_change(&mut self, notice: &Lifecycle, last_seq: u64) -> Option<Event> {
        let stop = |stop| (stop, notice.at_ms, last_seq);
        match &notice.change {
            Change::Ready if !self.is_receiving => {
                self.is_receiving = true;
                Some(self.resume().unwrap_or(Event::Receiving))
            }
            Change::Ready => self.resume_if_whole(),
            Change::Lost(link, cause) => {
                if self.lost.contains(link) {
                    return None;
                }
                self.lost.push(*link);
                if !self.is_receiving {
                    return None;
                }
                self.stopped.get_or_insert(stop(Stop::Loss));
                Some(Event::Interrupted(*link, cause))
            }
            Change::Accepted(link) => {
                self.lost.retain(|lost| lost != link);
                // A medium flows from CLIENT_READY_ACK on; signaling has none of its own.
                match link {
                    LinkId::Signaling => self.resume_if_whole(),
                    _ => None,
                }
            }
            Change::GivenUp(link) => {
                self.lost.retain(|lost| lost != link);
                self.resume_if_whole()
            }
            Change::Paused if !self.is_receiving => None,
            Change::Paused => {
                let is_known = matches!(self.stopped, Some((Stop::Pause, ..)));
                let before = self.stopped.take();
                let (_, since_ms, seq) = before.unwrap_or(stop(Stop::Pause));
                self.stopped = Some((Stop::Pause, since_ms, seq));
                (!is_known).then_some(Event::Paused)
            }
            Change::Unpaused => {
                if let Some((stop @ Stop::Pause, ..)) = &mut self.stopped {
                    if self.lost.is_empty() {
                        return self.resume();
                    }
                    *stop = Stop::Loss;
                }
                None
            }
            Change::Dropped(count) => Some(Event::Gap(*count)),
        }
    }

    fn resume_if_whole(&mut self) -> Option<Event> {
        let is_loss = matches!(self.stopped, Some((Stop::Loss, ..)));
        (is_loss && self.lost.is_empty())
            .then(|| self.resume())
            .flatten()
    }

    fn resume(&mut self) -> Option<Event> {
        let (after, since_ms, seq_before) = self.stopped.take()?;
        Some(Event::Resumed {
            after,
            since_ms,
            seq_before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MediaKind;

    const AUDIO: LinkId = LinkId::Media(MediaKind::Audio);
    const WORDS: LinkId = LinkId::Media(MediaKind::Transcript);

    /// The events that follow from these changes, one a millisecond, each event one line.
    fn play(mut flow: Flow, changes: &[Change]) -> Vec<Event> {
        let mut events = Vec::new();
        for (at_ms, change) in (1..).zip(changes) {
            let notice = Lifecycle {
                at_ms,
                change: change.clone(),
            };
            events.extend(flow.on_change(&notice, 10 + events.len() as u64));
        }
        events
    }

    fn resumed(after: Stop, since_ms: u64, seq_before: u64) -> Event {
        Event::Resumed {
            after,
            since_ms,
            seq_before,
        }
    }

    #[test]
    fn it_receives_once_and_attempts_to_connect_are_no_news() {
        let events = play(
            Flow::default(),
            &[
                Change::Lost(LinkId::Signaling, "connect"),
                Change::Accepted(LinkId::Signaling),
                Change::Lost(WORDS, "connect"),
                Change::Paused,
                Change::Unpaused,
                Change::Accepted(WORDS),
                Change::Ready,
                Change::Ready,
            ],
        );
        assert_eq!(events, [Event::Receiving]);
    }

    #[test]
    fn j1_a_loss_ends_when_every_link_is_back() {
        let events = play(
            Flow::default(),
            &[
                Change::Ready,
                Change::Lost(LinkId::Signaling, "silent"),
                Change::Lost(WORDS, "signaling"),
                Change::Lost(WORDS, "connect"),
                Change::Accepted(LinkId::Signaling),
                Change::Accepted(WORDS),
                Change::Ready,
                // Signaling alone: nothing but its acceptance follows.
                Change::Lost(LinkId::Signaling, "closed"),
                Change::Accepted(LinkId::Signaling),
                // One medium does not come back; the others flow.
                Change::Lost(AUDIO, "closed"),
                Change::GivenUp(AUDIO),
            ],
        );
        assert_eq!(
            events,
            [
                Event::Receiving,
                Event::Interrupted(LinkId::Signaling, "silent"),
                Event::Interrupted(WORDS, "signaling"),
                resumed(Stop::Loss, 2, 11),
                Event::Interrupted(LinkId::Signaling, "closed"),
                resumed(Stop::Loss, 8, 14),
                Event::Interrupted(AUDIO, "closed"),
                resumed(Stop::Loss, 10, 16),
            ]
        );
    }

    #[test]
    fn a_pause_ends_with_zooms_state_6() {
        let events = play(
            Flow::default(),
            &[
                Change::Ready,
                Change::Unpaused,
                Change::Paused,
                Change::Paused,
                Change::Unpaused,
                Change::Paused,
                Change::Lost(WORDS, "closed"),
                Change::Unpaused,
                Change::Accepted(WORDS),
                Change::Ready,
                Change::Dropped(7),
            ],
        );
        assert_eq!(
            events,
            [
                Event::Receiving,
                Event::Paused,
                resumed(Stop::Pause, 3, 11),
                Event::Paused,
                Event::Interrupted(WORDS, "closed"),
                resumed(Stop::Loss, 6, 13),
                Event::Gap(7),
            ]
        );
    }

    #[test]
    fn a_restart_ends_when_it_receives_again() {
        let events = play(
            Flow::after_restart(99, 42),
            &[
                Change::Lost(LinkId::Signaling, "connect"),
                Change::Accepted(LinkId::Signaling),
                Change::Ready,
            ],
        );
        assert_eq!(events, [resumed(Stop::Restart, 99, 42)]);
        let ready = [Change::Accepted(LinkId::Signaling), Change::Ready];
        let events = play(Flow::after_take_over(99, 1), &ready);
        assert_eq!(events, [resumed(Stop::TakeOver, 99, 1)]);
    }
}
