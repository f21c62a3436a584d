//! The keys of a fleet: what they need, and what of them is unusual.

use super::precedence::Loading;
use crate::admin::{self, ListenAddress};
use crate::config::keys::FleetDraft;
use crate::config::{Config, Needs};
use crate::daemon::OnExit;
use crate::domain::fleet::{DEFAULT_FLEET_NAME, FleetSettings, StoreAddress, is_name};

/// Whether this binary can be part of a fleet.
const IS_BUILT_IN: bool = cfg!(feature = "fleet");

impl Loading<'_> {
    /// Whether a server starts with these settings; a command may need only some of them.
    fn is_for_a_server(&self) -> bool {
        matches!(self.sources.needs, Needs::Serve | Needs::Common)
    }

    /// The fleet, if there is one.
    pub(super) fn fleet(
        &mut self,
        draft: FleetDraft,
        is_plaintext_allowed: bool,
    ) -> Option<FleetSettings> {
        const KEY: &str = "RTMS_FLEET";
        let mut store: StoreAddress = draft.store?;
        let place = self.place(KEY);
        if !IS_BUILT_IN && self.is_for_a_server() {
            let text = "found in a binary without the feature fleet, expected one that is built with \
                        --features fleet, as those of the package are";
            self.fault(&place, KEY, text);
        }
        if !self.is_given("RTMS_STATE")
            && self.variable("STATE_DIRECTORY").is_none()
            && self.is_for_a_server()
        {
            let text = "not given, expected beside RTMS_FLEET: only with its state directory can a server \
                        prove after a restart which streams were its own";
            self.fault(&place, "RTMS_STATE", text);
        }
        match (&store.password, draft.password) {
            (Some(_), Some(_)) => {
                let text = "found beside a password in RTMS_FLEET, expected one of the two";
                let place = self.place("RTMS_FLEET_PASSWORD");
                self.fault(&place, "RTMS_FLEET_PASSWORD", text);
            }
            (None, Some(password)) => store.password = Some(password),
            (_, None) => {}
        }
        let is_readable = store.is_readable_on_the_way() && !is_plaintext_allowed;
        if is_readable && self.sources.needs == Needs::Serve {
            self.warn(
                KEY,
                "redis:// to another machine: the password, ids and topics of meetings can be read on the \
                 way; use rediss://, or RTMS_PLAINTEXT=on within a network that only you can read",
            );
        }
        let node = draft.node.unwrap_or_else(|| {
            let host = self.sources.host_name.clone();
            // A wrong RTMS_NODE has a fault of its own.
            if !is_name(&host) && !self.is_given("RTMS_NODE") && self.is_for_a_server() {
                let text = format!(
                    "not given, and this machine's name {host:?} cannot be used; expected a name of 1 to 63 \
                     letters, digits, \".\", \"_\" and \"-\""
                );
                self.fault(&place, "RTMS_NODE", text);
            }
            host
        });
        let mut fleet = FleetSettings::new(store, node);
        fleet.name = draft.name.unwrap_or_else(|| DEFAULT_FLEET_NAME.to_owned());
        fleet.streams = draft.streams;
        Some(fleet)
    }

    /// Where other machines reach the admin listener: its URL, else the first address that is not loopback;
    /// empty if they do not.
    pub(super) fn reachable_admin(&self, admin: &admin::Settings) -> String {
        if let Some(url) = &admin.url {
            return url.to_string();
        }
        let addresses = admin.listen.iter().filter_map(|listen| match listen {
            ListenAddress::Tcp(address) if !address.ip().is_loopback() => Some(address),
            _ => None,
        });
        let first = addresses.map(|address| match address.ip().is_unspecified() {
            true => format!("{}:{}", self.sources.host_name, address.port()),
            false => address.to_string(),
        });
        first.take(1).collect()
    }

    /// `RTMS_ON_EXIT`, whose default and words depend on whether there is a fleet.
    pub(super) fn on_exit(&mut self, chosen: Option<OnExit>, has_fleet: bool) -> OnExit {
        const KEY: &str = "RTMS_ON_EXIT";
        match (chosen, has_fleet) {
            (Some(OnExit::HandOver), false) => {
                // A wrong RTMS_FLEET has a fault of its own.
                if self.is_for_a_server() && !self.is_given("RTMS_FLEET") {
                    let place = self.place(KEY);
                    let text = "found hand-over, expected leave or stop, or RTMS_FLEET: there is no node to \
                                hand streams over to";
                    self.fault(&place, KEY, text);
                }
                OnExit::default()
            }
            (Some(chosen), _) => chosen,
            (None, true) => OnExit::HandOver,
            (None, false) => OnExit::default(),
        }
    }

    /// Warns about keys that do nothing.
    pub(super) fn lint_fleet(&mut self, config: &Config) {
        if config.daemon.fleet.is_some() {
            return;
        }
        for key in [
            "RTMS_FLEET_PASSWORD",
            "RTMS_FLEET_NAME",
            "RTMS_NODE",
            "RTMS_NODE_STREAMS",
        ] {
            if self.is_given(key) {
                self.warn(key, "not used without RTMS_FLEET");
            }
        }
    }
}
