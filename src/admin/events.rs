//! The event WebSocket on the admin pages: whether events arrive, and when some may have been missed.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::daemon::status::StatusSnapshot;
use crate::domain::time::Utc;
use crate::source::events::State;

/// The event WebSocket, in `/streams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// `connected`, `connecting`, `refused`, `displaced`, or `elsewhere`: another node of the fleet is to have it.
    pub state: String,
    /// The node that has the connection while this one is `elsewhere`, if one is known to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When Zoom was heard last on the present connection, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
    /// Since when events are missed, while there is no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since_ms: Option<u64>,
    /// The last time in which events may have been missed, from the server before it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Why there is no connection, while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Events passed on to the daemon.
    pub accepted: u64,
}

/// A time in which events may have been missed, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// When Zoom was heard last before it.
    pub since_ms: u64,
    /// When events could arrive again.
    pub until_ms: u64,
}

impl Events {
    pub(super) fn from_status(status: &StatusSnapshot) -> Option<Events> {
        let shared = status.events.as_ref()?;
        let snapshot = shared.snapshot();
        Some(Events {
            state: snapshot.state.name().to_owned(),
            node: match (snapshot.state, &status.fleet) {
                (State::Elsewhere, Some(fleet)) => fleet.events_node.clone(),
                _ => None,
            },
            heard_ms: snapshot.heard_ms,
            missing_since_ms: snapshot.deaf_since_ms,
            missed: status.events_gap.map(|gap| Missed {
                since_ms: gap.since_ms,
                until_ms: gap.until_ms,
            }),
            trouble: Some(shared.trouble())
                .filter(|text| !text.is_empty() && snapshot.state.is_fault()),
            accepted: shared.counters.accepted.load(Relaxed),
        })
    }

    /// Another node of the fleet is to have the connection.
    pub fn is_elsewhere(&self) -> bool {
        self.state == State::Elsewhere.name()
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut text = format!("events {}", self.state);
        if self.is_elsewhere() {
            let node = self.node.as_deref();
            text += &node.map_or_else(
                || ": another node of the fleet is to connect, and none has yet".to_owned(),
                |node| format!(": they come to node {node}"),
            );
        }
        if let Some(since) = self.missing_since_ms {
            text += &format!(
                "; what happens is missed since {}",
                Utc::from_unix_ms(since)
            );
        }
        if let Some(trouble) = &self.trouble {
            text += &format!(" ({trouble})");
        }
        if let Some(Missed { since_ms, until_ms }) = self.missed {
            text += &format!(
                "; events may have been missed from {} to {}",
                Utc::from_unix_ms(since_ms),
                Utc::from_unix_ms(until_ms)
            );
        }
        text
    }
}

/// Why the server should get no work, if events come by the WebSocket alone and it is not connected.
pub(super) fn unready_reason(status: &StatusSnapshot) -> Option<String> {
    let is_fault = status.events.as_ref()?.snapshot().state.is_fault();
    let events = Events::from_status(status).filter(|_| is_fault && status.has_only_events)?;
    Some(events.line())
}

/// A further line of `/readyz`, if there is something to say.
pub(super) fn troubles(status: &StatusSnapshot) -> String {
    match Events::from_status(status) {
        Some(events) if events.missing_since_ms.is_some() || events.missed.is_some() => {
            format!("\n{}", events.line())
        }
        _ => String::new(),
    }
}
