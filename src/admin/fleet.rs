//! A fleet, as `GET /fleet` and `rtmsd status --fleet --json` show it: one JSON for both, by the store's
//! knowledge or by that of one node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::daemon::fleet_status::{FleetStatus, SeenRow};

/// A node is dead after this silence, in seconds; what the store shows counts alone here.
const DEAD_S: u64 = 5;

/// The JSON. New fields may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPage {
    /// 1.
    pub v: u32,
    /// `store`: read from the store. `node`: what one node knows, without queues, settings and the streams of
    /// others.
    pub source: String,
    /// `RTMS_FLEET_NAME`.
    #[serde(default)]
    pub fleet: String,
    /// Where the store is; what it is, if it answered.
    #[serde(default)]
    pub store: String,
    /// By name.
    pub nodes: Vec<NodeLine>,
    /// By node, then by meeting.
    pub streams: Vec<StreamLine>,
    /// Messages that wait, by node.
    pub queues: BTreeMap<String, u64>,
    /// Streams whose files a node must still delete.
    pub to_delete: u64,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLine {
    /// `RTMS_NODE`.
    pub name: String,
    /// `sure`, `unsure`, `draining` or `dead`; of the asked node itself also `joining`, `doubled` or `gone`.
    pub state: String,
    /// Seconds since its row was written.
    pub age_s: u64,
    /// Of the program.
    pub version: String,
    /// Streams that it receives or joins.
    pub streams: u32,
    /// Streams beyond which it gets no new meetings.
    pub capacity: u32,
    /// Its admin listener; empty without one that others reach.
    pub admin: String,
    /// Keys whose values differ from those of most nodes.
    pub differs: Vec<String>,
    /// The subscription of its event WebSocket, in few letters: nodes that have the same share one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// Whether it has the event WebSocket's connection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_events: bool,
}

/// A stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLine {
    /// Its id.
    pub stream_id: String,
    /// The id of its meeting.
    pub meeting: String,
    /// Who has it.
    pub node: String,
    /// How many owners it has had.
    pub epoch: u64,
    /// `joining`, `receiving` or `lost`; `placed` or `handing` while its node has not taken it.
    pub phase: String,
    /// Seconds since its owner wrote the record.
    pub age_s: u64,
}

/// Whether a node has the event WebSocket's connection.
pub fn has_events(seen: &SeenRow) -> bool {
    let events = seen.row.events.as_ref();
    seen.age.as_secs() < DEAD_S && events.is_some_and(|events| events.is_connected)
}

/// The state of a node that is seen from outside.
pub fn state_of(age_s: u64, is_draining: bool) -> &'static str {
    match age_s {
        DEAD_S.. => "dead",
        _ if is_draining => "draining",
        4.. => "unsure",
        _ => "sure",
    }
}

impl FleetPage {
    /// What one node knows. Of settings it knows only whether those differ that must be alike.
    pub fn of_node(status: &FleetStatus) -> FleetPage {
        let own = status.rows.iter().find(|own| own.node == status.node);
        let nodes = status.rows.iter().map(|seen| {
            let age_s = seen.age.as_secs();
            let state = match seen.node == status.node {
                true => status.state,
                false => state_of(age_s, seen.row.is_draining),
            };
            NodeLine {
                name: seen.node.clone(),
                state: state.to_owned(),
                age_s,
                version: seen.row.version.clone(),
                streams: seen.row.streams,
                capacity: seen.row.capacity,
                admin: seen.row.admin.clone(),
                events: (seen.row.events.as_ref()).map(|events| events.subscription.clone()),
                has_events: has_events(seen),
                differs: match own.is_some_and(|own| own.row.must != seen.row.must) {
                    true => vec!["secrets or tokens".to_owned()],
                    false => Vec::new(),
                },
            }
        });
        let streams = status.streams.iter().map(|stream| StreamLine {
            stream_id: stream.stream_id.clone(),
            meeting: stream.meeting.clone(),
            node: status.node.clone(),
            epoch: stream.epoch,
            phase: stream.phase.to_owned(),
            age_s: 0,
        });
        FleetPage {
            v: 1,
            source: "node".to_owned(),
            fleet: status.fleet.clone(),
            store: status.store.clone(),
            nodes: nodes.collect(),
            streams: streams.collect(),
            queues: BTreeMap::new(),
            to_delete: 0,
        }
    }

    /// Nodes that are not dead.
    pub fn living(&self) -> impl Iterator<Item = &NodeLine> {
        self.nodes.iter().filter(|node| node.state != "dead")
    }

    /// Streams that living nodes have, and what they could carry without the largest of them. `None` with
    /// fewer than two.
    pub fn load_without_one(&self) -> Option<(u64, u64)> {
        let streams = self.living().map(|node| u64::from(node.streams)).sum();
        let capacities: Vec<u64> = self.living().map(|node| node.capacity.into()).collect();
        let largest = capacities.iter().max()?;
        let rest = capacities.iter().sum::<u64>() - largest;
        (capacities.len() > 1).then_some((streams, rest))
    }
}

/// For each node the keys whose digests differ from the most common ones. Equally common: the one of the
/// node that comes first.
pub fn differing(nodes: &[(String, BTreeMap<String, String>)]) -> BTreeMap<String, Vec<String>> {
    let keys = nodes.iter().flat_map(|(_, settings)| settings.keys());
    let keys: std::collections::BTreeSet<&String> = keys.collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in keys {
        let values = nodes.iter().filter_map(|(_, settings)| settings.get(key));
        let count = |value: &String| values.clone().filter(|it| *it == value).count();
        // `max_by_key` takes the last of equals.
        let most = values.clone().rev().max_by_key(|value| count(value));
        for (node, settings) in nodes {
            if settings.get(key).is_some_and(|value| Some(value) != most) {
                found.entry(node.clone()).or_default().push(key.clone());
            }
        }
    }
    // With another secret every digest is another one.
    for keys in found.values_mut() {
        if let Some(secret) = keys.iter().find(|key| *key == "ZOOM_CLIENT_SECRET") {
            *keys = vec![secret.clone()];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, pairs: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        (name.to_owned(), pairs.collect())
    }

    #[test]
    fn nodes_that_differ_from_most_are_named() {
        let nodes = [
            node("a", &[("RTMS_MEDIA", "1"), ("RTMS_EVENTS", "5")]),
            node("b", &[("RTMS_MEDIA", "2"), ("RTMS_EVENTS", "5")]),
            node("c", &[("RTMS_MEDIA", "1"), ("NEW", "7")]),
        ];
        let found = differing(&nodes);
        assert_eq!(found.len(), 1);
        assert_eq!(found["b"], ["RTMS_MEDIA"]);
        // Of two, the first counts.
        let found = differing(&nodes[..2]);
        assert_eq!(found["b"], ["RTMS_MEDIA"]);
        let other = [
            node("a", &[("RTMS_MEDIA", "1"), ("ZOOM_CLIENT_SECRET", "5")]),
            node("b", &[("RTMS_MEDIA", "2"), ("ZOOM_CLIENT_SECRET", "6")]),
        ];
        assert_eq!(differing(&other)["b"], ["ZOOM_CLIENT_SECRET"]);
    }

    #[test]
    fn without_the_largest_node_there_is_so_much_room() {
        let line = |name: &str, state: &str, streams, capacity| NodeLine {
            name: name.to_owned(),
            state: state.to_owned(),
            streams,
            capacity,
            ..NodeLine::default()
        };
        let mut page = FleetPage {
            nodes: vec![
                line("a", "sure", 50, 100),
                line("b", "draining", 70, 200),
                line("c", "dead", 9, 900),
            ],
            ..FleetPage::default()
        };
        assert_eq!(page.load_without_one(), Some((120, 100)));
        page.nodes.truncate(1);
        assert_eq!(page.load_without_one(), None);
    }

    #[test]
    fn the_state_of_a_node_shows_in_its_row() {
        for (age, is_draining, state) in [
            (0, false, "sure"),
            (4, false, "unsure"),
            (1, true, "draining"),
            (5, true, "dead"),
        ] {
            assert_eq!(state_of(age, is_draining), state);
        }
    }
}
