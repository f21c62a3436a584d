//! The machine itself: its inputs.

use std::collections::VecDeque;
use std::time::Instant;

use super::call::{Queued, Reply, Tail};
use super::face::{CallId, Config, Incoming, Left, MeetingState, NodeState, Output};
use super::view::View;

/// A node's part in the fleet.
#[derive(Debug)]
pub struct Machine {
    view: View,
    outputs: VecDeque<Output>,
    now: Instant,
}

impl Machine {
    /// A node that joins. `left` are the live meetings of its state directory: they are neither resumed nor
    /// served until the machine says so.
    pub fn new(now: Instant, _config: Config, _left: Vec<Left>) -> Machine {
        Machine {
            view: View::default(),
            outputs: VecDeque::new(),
            now,
        }
    }

    /// An event from the own listener, the event WebSocket or the intent log. It is settled by one
    /// [`Output::Settle`] in the end.
    pub fn handle_event(&mut self, _now: Instant, _event: Incoming) {}

    /// An entry of the own queue. The same one may be given again.
    pub fn handle_queued(&mut self, _now: Instant, _queued: Queued) {}

    /// Whether entries of the own queue may be given. While not, the inbox does not read.
    pub fn has_room(&self) -> bool {
        true
    }

    /// What was delivered with these tickets is saved or done.
    pub fn handle_saved(&mut self, _now: Instant, _tickets: &[u64]) {}

    /// The store's answer.
    pub fn handle_reply(&mut self, _now: Instant, _id: CallId, _reply: Reply) {}

    /// What the coordinator has of a meeting has changed.
    pub fn meeting_is(&mut self, _now: Instant, _state: MeetingState) {}

    /// The sockets of a meeting are closed, see [`Output::Release`].
    pub fn handle_released(
        &mut self,
        _now: Instant,
        _meeting: &str,
        _entry: Vec<u8>,
        _tails: Vec<(String, Tail)>,
    ) {
    }

    /// Consent was withdrawn: the other nodes delete their files of the stream, too. To be repeated by the
    /// next process until the coordinator no longer knows of it.
    pub fn withdraw(&mut self, _now: Instant, _stream_id: &str, _withdrawal: Vec<u8>) {}

    /// The time of [`Machine::due`] has come.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Gives all meetings away, then removes the row.
    pub fn drain(&mut self, _now: Instant) {}

    /// `RTMS_NODE_STREAMS` was changed.
    pub fn set_capacity(&mut self, _capacity: u32) {}

    /// What is to be done next. To be called until there is nothing, after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::handle_timeout`] is due.
    pub fn due(&self) -> Instant {
        self.now
    }

    /// The epoch of a meeting that is held; 0 if the store has not heard of it yet.
    pub fn epoch(&self, _meeting: &str) -> Option<u64> {
        None
    }

    /// What this node is in the fleet.
    pub fn node_state(&self, _now: Instant) -> NodeState {
        NodeState::Joining
    }

    /// All nodes, as the last good beat showed them.
    pub fn view(&self) -> &View {
        &self.view
    }
}
