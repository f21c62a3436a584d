//! What a node knows of its fleet, for the admin listener.

use std::sync::Arc;
use std::time::Duration;

pub use crate::coordinator::fleet::call::SeenRow;
pub use crate::coordinator::fleet::{Counts, Took};
use crate::domain::histogram::Histogram;

/// A node's view at one moment.
#[derive(Debug, Clone)]
pub struct FleetStatus {
    /// `RTMS_FLEET_NAME`.
    pub fleet: String,
    /// `RTMS_NODE`.
    pub node: String,
    /// What this node is: `sure`, `unsure` and so on.
    pub state: &'static str,
    /// Where the store is, without user and password.
    pub store: String,
    /// How long the store has not been reached; `None` while it is.
    pub down_for: Option<Duration>,
    /// Whether more living nodes have other secrets or tokens than have ours.
    pub is_minority: bool,
    /// The rows, as the last beat showed them, and how old they are by now.
    pub rows: Vec<SeenRow>,
    /// The node that has the connection of this node's event WebSocket, if one is known to have it.
    pub events_node: Option<String>,
    /// Living nodes whose settings must be as ours and are not.
    pub differing: u64,
    /// Meetings that this node holds.
    pub meetings: u64,
    /// Its streams.
    pub streams: Vec<FleetStream>,
    /// Webhooks that were answered here and are not with their node.
    pub intents: u64,
    /// Messages of this node's queue that were read and are not done.
    pub queue: u64,
    /// Withdrawn streams whose files a node may still have, as far as this one knows.
    pub to_delete: u64,
    /// What the machine has counted.
    pub counts: Counts,
    /// How long things took.
    pub times: Arc<Times>,
    /// How long the store was not reached, in all.
    pub down_in_all: Duration,
    /// This node's clock minus the store's, in milliseconds; `None` before the first beat.
    pub clock_offset_ms: Option<i64>,
    /// What went wrong at the store, by kind.
    pub store_errors: [(&'static str, u64); 5],
}

/// How long things of the fleet took.
#[derive(Debug)]
pub struct Times {
    /// A beat, from the question to the answer.
    pub beat: Histogram,
    /// See [`Took::Route`].
    pub route: Histogram,
    /// See [`Took::TakeOver`].
    pub takeover: Histogram,
    /// See [`Took::HandOver`].
    pub handover: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            beat: Histogram::default(),
            route: Histogram::default(),
            takeover: Histogram::slow(),
            handover: Histogram::slow(),
        }
    }
}

impl Times {
    /// Adds what the machine says.
    pub fn record(&self, took: Took, time: Duration) {
        let histogram = match took {
            Took::Route => &self.route,
            Took::TakeOver => &self.takeover,
            Took::HandOver => &self.handover,
        };
        histogram.record(time);
    }
}

/// A stream that the node has.
#[derive(Debug, Clone)]
pub struct FleetStream {
    /// Its id.
    pub stream_id: String,
    /// Its meeting.
    pub meeting: String,
    /// Which owner this node is of it.
    pub epoch: u64,
    /// `joining`, `receiving` or `lost`.
    pub phase: &'static str,
}

impl FleetStatus {
    /// Why webhooks should go to other nodes, if so.
    pub fn unready_reason(&self) -> Option<&'static str> {
        match self.state {
            "joining" => Some("joining the fleet"),
            "draining" => Some("draining: the server hands its meetings over"),
            "doubled" => Some("another process of the fleet has this node's name (RTMS_NODE)"),
            "gone" => Some("the server has left the fleet"),
            _ if self.is_minority => {
                Some("secrets or tokens differ from those of most nodes of the fleet")
            }
            _ => None,
        }
    }

    /// What an operator should know of a node that is ready.
    pub fn trouble(&self) -> Option<String> {
        let seconds = self.down_for?.as_secs();
        Some(format!(
            "the fleet's store has not answered for {seconds} s"
        ))
    }

    /// Nodes by state, in the order of the labels of the metric.
    pub fn nodes(&self) -> [(&'static str, u64); 3] {
        let dead = |row: &&SeenRow| row.age >= Duration::from_secs(5);
        let count = |is: &dyn Fn(&&SeenRow) -> bool| self.rows.iter().filter(is).count() as u64;
        [
            ("living", count(&|row| !dead(row) && !row.row.is_draining)),
            ("draining", count(&|row| !dead(row) && row.row.is_draining)),
            ("dead", count(&dead)),
        ]
    }
}
