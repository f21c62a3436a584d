//! A binary without the feature `fleet`: a fleet is never there, so the compiler removes what would serve it.

use std::convert::Infallible;
use std::time::Instant;

use super::fleet_status::FleetStatus;
use super::start::Surroundings;
use super::streams::RunningStream;
use super::{Daemon, Ending, Error, now};
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::source::webhook::desk::Accepted;
use crate::stream::StreamOptions;

/// Never made.
#[derive(Debug)]
pub(super) struct Fleet(Infallible);

impl Fleet {
    /// There is none: the settings have been checked.
    pub(super) fn start(_: Surroundings<'_>) -> Result<Option<Fleet>, Error> {
        Ok(None)
    }

    pub(super) fn due(&self, _has_streams: bool) -> Instant {
        match self.0 {}
    }
}

impl Daemon {
    /// Goes on with what an earlier process left.
    pub(super) fn resume(&mut self) {
        let actions = self.coordinator.resume(now());
        if !actions.is_empty() {
            log::info!(
                "resuming what an earlier process left actions={}",
                actions.len()
            );
        }
        self.apply(actions);
    }

    pub(super) fn for_fleet(&mut self, accepted: Accepted) -> Option<Accepted> {
        Some(accepted)
    }

    pub(super) fn fleet_turn(&mut self) {}

    pub(super) fn fleet_ending(&self) -> Option<Ending> {
        None
    }

    pub(super) fn begins_hand_over(&mut self) -> bool {
        false
    }

    pub(super) fn note_fleet_save(&mut self) {}

    pub(super) fn tell_withdrawn(&mut self, _withdrawal: &Withdrawal) {}

    pub(super) fn use_permit(&self, _info: &StreamInfo, _options: &mut StreamOptions) {}

    pub(super) fn fleet_stream_ended(&mut self, _running: &RunningStream) {}

    pub(super) fn reload_fleet(&mut self) {}

    pub(super) fn end_fleet(&mut self) {}

    pub(super) fn fleet_status(&self) -> Option<FleetStatus> {
        None
    }
}
