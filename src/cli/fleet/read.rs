//! Reads a fleet from its store.

use crate::admin::fleet::FleetPage;
use crate::config::Config;
use crate::daemon::fleet_digests::events_digest;

#[cfg(feature = "fleet")]
pub(super) use of_store::Reader;

/// The node of the fleet that has the connection of this configuration's event WebSocket; `None` without one, or
/// without a fleet.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn events_node(config: &Config) -> Result<Option<String>, String> {
    let Some(mut reader) = Reader::new(config) else {
        return Ok(None);
    };
    let digest = events_digest(&config.daemon);
    let nodes = reader.read()?.nodes.into_iter();
    let mut nodes = nodes.filter(|node| node.has_events && node.events == digest);
    Ok(nodes.next().map(|node| node.name))
}

/// A binary without the feature reads no store.
#[cfg(not(feature = "fleet"))]
pub(super) struct Reader;

#[cfg(not(feature = "fleet"))]
impl Reader {
    pub(super) fn new(config: &Config) -> Option<Reader> {
        config.daemon.fleet.as_ref().map(|_| Reader)
    }

    pub(super) fn read(&mut self) -> Result<FleetPage, String> {
        Err("this binary is without the feature fleet".to_owned())
    }
}

#[cfg(feature = "fleet")]
mod of_store {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{Config, FleetPage};
    use crate::admin::fleet::{NodeLine, StreamLine, differing, has_events, state_of};
    use crate::clock::now_ms;
    use crate::coordinator::fleet::call::{Boot, Member};
    use crate::coordinator::fleet::record::Phase;
    use crate::daemon::fleet_store::Codec;
    use crate::daemon::fleet_store::advice::explained;
    use crate::daemon::fleet_store::direct::Direct;
    use crate::daemon::fleet_store::store::Reach;
    use crate::daemon::fleet_store::survey::Survey;
    use crate::domain::causes::with_causes;
    use crate::domain::fleet::FleetSettings;
    use crate::net::resolve::Resolver;
    use crate::net::tls_client::TlsClient;

    /// Asks the store, over one connection as long as that is good.
    pub(in crate::cli::fleet) struct Reader {
        config: Config,
        fleet: FleetSettings,
        direct: Option<Direct>,
    }

    impl Reader {
        /// `None` without a fleet.
        pub(in crate::cli::fleet) fn new(config: &Config) -> Option<Reader> {
            let fleet = config.daemon.fleet.clone()?;
            Some(Reader {
                config: config.clone(),
                fleet,
                direct: None,
            })
        }

        /// What the store knows now.
        pub(in crate::cli::fleet) fn read(&mut self) -> Result<FleetPage, String> {
            let mut direct = match self.direct.take() {
                Some(direct) => direct,
                None => {
                    let (id, name) = (&self.config.app().credentials.id, &self.fleet.name);
                    // The secret is not needed to read who has what.
                    let codec = Codec::new(id, "", name, stand_in(&self.fleet.node));
                    open(&self.config, &self.fleet, codec)?
                }
            };
            let survey = Survey::take(&mut direct, now_ms)
                .map_err(|fault| format!("{}: {}", self.fleet.store, explained(&fault)))?;
            let facts = direct.facts();
            let store = format!("{} at {}", facts.product(), self.fleet.store);
            self.direct = Some(direct);
            Ok(page(&self.fleet.name, store, &survey))
        }
    }

    /// A process that is no node.
    pub(in crate::cli::fleet) fn stand_in(node: &str) -> Member {
        Member {
            node: node.to_owned(),
            boot: Boot(0),
        }
    }

    /// Connects to the store of this configuration.
    pub(in crate::cli::fleet) fn open(
        config: &Config,
        fleet: &FleetSettings,
        codec: Codec,
    ) -> Result<Direct, String> {
        let tls = TlsClient::new(config.daemon.ca_file.as_deref())
            .map_err(|error| with_causes(&error))?;
        let reach = Reach {
            address: Arc::new(fleet.store.clone()),
            resolver: Resolver::default(),
            tls,
            seed: 0,
        };
        Direct::open(&reach, codec)
            .map_err(|fault| format!("{}: {}", fleet.store, explained(&fault)))
    }

    /// What is shown of it.
    pub(in crate::cli::fleet) fn page(name: &str, store: String, survey: &Survey) -> FleetPage {
        let settings = survey
            .nodes
            .iter()
            .map(|node| (node.seen.node.clone(), node.settings.clone()));
        let differing = differing(&settings.collect::<Vec<_>>());
        let nodes = survey.nodes.iter().map(|node| {
            let (seen, row) = (&node.seen, &node.seen.row);
            let age_s = seen.age.as_secs();
            NodeLine {
                name: seen.node.clone(),
                state: state_of(age_s, row.is_draining).to_owned(),
                age_s,
                version: row.version.clone(),
                streams: row.streams,
                capacity: row.capacity,
                admin: row.admin.clone(),
                has_events: has_events(seen),
                events: row
                    .events
                    .as_ref()
                    .map(|events| events.subscription.clone()),
                differs: differing.get(&seen.node).cloned().unwrap_or_default(),
            }
        });
        let live = survey
            .meetings
            .iter()
            .filter(|(_, record)| record.phase != Phase::Ended);
        let streams = live.flat_map(|(meeting, record)| {
            record
                .streams
                .iter()
                .map(move |(stream_id, phase)| StreamLine {
                    stream_id: stream_id.clone(),
                    meeting: meeting.clone(),
                    node: record.owner.node.clone(),
                    epoch: record.epoch,
                    phase: match record.phase {
                        Phase::Held => phase.name(),
                        other => other.name(),
                    }
                    .to_owned(),
                    age_s: record.age.as_secs(),
                })
        });
        let mut streams: Vec<StreamLine> = streams.collect();
        streams.sort_by(|a, b| (&a.node, &a.meeting).cmp(&(&b.node, &b.meeting)));
        let queues = survey.nodes.iter();
        FleetPage {
            v: 1,
            source: "store".to_owned(),
            fleet: name.to_owned(),
            store,
            nodes: nodes.collect(),
            streams,
            queues: queues
                .map(|node| (node.seen.node.clone(), node.queue))
                .collect::<BTreeMap<_, _>>(),
            to_delete: survey.nodes.iter().map(|node| node.to_delete).sum(),
        }
    }
}

#[cfg(feature = "fleet")]
pub(super) use of_store::{open, page, stand_in};
