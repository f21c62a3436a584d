//! Reload at SIGHUP: reads the configuration again and applies it to what starts from then on. Keys
//! that only a restart can change are logged; with any fault, nothing changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::Token;
use crate::cli::serve::{make_own_token, wanted};
use crate::config::{Config, Fault, Loaded, Needs, Sources, load};
use crate::daemon::apps::Daemons;
use crate::domain::causes::with_causes;
use crate::log;
use crate::log::app::enter;

/// A daemon applies settings within milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// For several of them, which may have to start.
const APPS_ANSWER_MAX: Duration = Duration::from_secs(120);

/// The configuration of a running server, and the parts that apply a new one.
pub(super) struct Reloading {
    path: Option<PathBuf>,
    /// At the start of the process.
    started: Config,
    newest: Loaded,
    daemons: Daemons,
    admin_token: Token,
}

impl Reloading {
    pub(super) fn new(
        path: Option<&Path>,
        loaded: Loaded,
        daemons: Daemons,
        admin_token: Token,
    ) -> Reloading {
        Reloading {
            path: path.map(Path::to_owned),
            started: loaded.config.clone(),
            newest: loaded,
            daemons,
            admin_token,
        }
    }

    /// Reads the configuration, applies it, and logs the result.
    pub(super) fn reload(&mut self) {
        match self.apply() {
            Ok(()) => {}
            Err(faults) => {
                for fault in &faults {
                    ::log::error!("reload: {fault}");
                }
                let faults = faults.len();
                ::log::error!("reload failed, configuration unchanged faults={faults}");
            }
        }
    }

    fn apply(&mut self) -> Result<(), Vec<String>> {
        let sources = Sources::from_process(self.path.as_deref(), Needs::Serve)
            .map_err(|fault| vec![fault.to_string()])?;
        let texts = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect::<Vec<_>>();
        let loaded = load(&sources).map_err(texts)?;
        let config = &loaded.config;
        self.apply_to_daemons(&loaded)?;
        log::set_level(config.log.level);
        // The token belongs to the address: one without a token may be meant for another address.
        if config.admin.listen == self.started.admin.listen {
            self.admin_token.set(config.admin.token.clone());
            self.admin_token.set_url(config.admin.url.clone());
            make_own_token(config, &self.admin_token);
        }
        for warning in &loaded.warnings {
            ::log::warn!("{warning}");
        }
        self.log_apps(&loaded);
        let fixed = needing_restart(&self.started, config);
        if !fixed.is_empty() {
            ::log::warn!(
                "reload: changed, but applied by a restart only keys={}",
                fixed.join(",")
            );
        }
        let changed = loaded.changed_since(&self.newest);
        let changed = match changed.is_empty() {
            true => "nothing".to_owned(),
            false => changed.join(","),
        };
        ::log::info!("configuration reloaded changed={changed}");
        self.newest = loaded;
        Ok(())
    }
}

impl Reloading {
    fn apply_to_daemons(&self, loaded: &Loaded) -> Result<(), Vec<String>> {
        let settings = loaded.config.daemon.clone();
        match (&self.daemons, &loaded.apps) {
            (Daemons::One(daemon), None) => match daemon.reload(settings, ANSWER_MAX) {
                Some(result) => result.map_err(|error| vec![with_causes(&error)]),
                None => Err(vec!["the daemon does not answer".to_owned()]),
            },
            (Daemons::Several(apps), Some(conf)) => {
                match apps.reload(settings, wanted(conf), APPS_ANSWER_MAX) {
                    true => Ok(()),
                    false => Err(vec!["the apps do not answer".to_owned()]),
                }
            }
            (Daemons::One(_), Some(_)) => Err(vec![
                "found RTMS_APPS, expected none: only a restart adds it".to_owned(),
            ]),
            (Daemons::Several(_), None) => Err(vec![
                "RTMS_APPS: not given, expected a folder: only a restart removes it".to_owned(),
            ]),
        }
    }

    /// What has changed of the apps.
    fn log_apps(&self, loaded: &Loaded) {
        let Some(apps) = &loaded.apps else { return };
        let before = |name: &str| {
            let mut apps = self.newest.apps.iter().flat_map(|apps| apps.usable());
            apps.find(|(app, _)| &*app.name == name)
                .map(|(_, loaded)| loaded)
        };
        for (app, loaded) in apps.usable() {
            let changed = before(&app.name).map(|before| loaded.changed_since(before));
            if let Some(changed) = changed.filter(|changed| !changed.is_empty()) {
                let _app = enter(Some(&app.name));
                ::log::info!(
                    "the app's configuration has changed keys={}",
                    changed.join(",")
                );
            }
        }
    }
}

/// The keys that differ and that only a restart can change.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let is_off = |config: &Config| config.daemon.stdout.is_none();
    let fleet = |config: &Config| match config.daemon.fleet.clone() {
        Some(fleet) => (Some(fleet.store), Some(fleet.name), Some(fleet.node)),
        None => (None, None, None),
    };
    [
        ("HOST", old.host != new.host),
        ("PORT", old.port != new.port),
        ("RTMS_CA_FILE", old.daemon.ca_file != new.daemon.ca_file),
        (
            "RTMS_STATE_KEY_FILE",
            old.daemon.state_keys != new.daemon.state_keys,
        ),
        ("RTMS_STATE", old.daemon.state != new.daemon.state),
        ("RTMS_STDOUT", is_off(old) != is_off(new)),
        ("RTMS_ADMIN", old.admin.listen != new.admin.listen),
        ("RTMS_LOG_FORMAT", old.log.format != new.log.format),
        ("RTMS_FLEET", fleet(old).0 != fleet(new).0),
        ("RTMS_FLEET_NAME", fleet(old).1 != fleet(new).1),
        ("RTMS_NODE", fleet(old).2 != fleet(new).2),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::app::RestCredentials;
    use crate::domain::fleet::{FleetSettings, StoreAddress};
    use crate::domain::secret::Secret;
    use crate::protocol::server_url::AllowedHosts;

    #[test]
    fn only_what_a_restart_needs_is_named() {
        let old = Config::default();
        assert!(needing_restart(&old, &old).is_empty());
        let mut changes_at_once = old.clone();
        let app = &mut changes_at_once.daemon.apps[0];
        app.credentials.secret = Secret::new("new");
        app.secret_tokens = vec![Secret::new("new")];
        app.rest.api_url = "https://api.zoomgov.com".to_owned();
        app.rest.credentials = RestCredentials::Static {
            token: Secret::new("new"),
        };
        changes_at_once.daemon.auto_start = false;
        changes_at_once.daemon.allowed_hosts = AllowedHosts::parse("example.com").expect("a host");
        changes_at_once.admin.token = Some(Secret::new("new"));
        changes_at_once.log.level = ::log::LevelFilter::Debug;
        assert!(needing_restart(&old, &changes_at_once).is_empty());
        let mut fixed = old.clone();
        fixed.port = Some(1);
        fixed.admin.listen.clear();
        assert_eq!(needing_restart(&old, &fixed), ["PORT", "RTMS_ADMIN"]);
        let store = StoreAddress::parse("redis://[::1]").expect("an address");
        let fleet = FleetSettings::new(store, "a");
        let mut in_a_fleet = old.clone();
        in_a_fleet.daemon.fleet = Some(fleet.clone());
        let all = ["RTMS_FLEET", "RTMS_FLEET_NAME", "RTMS_NODE"];
        assert_eq!(needing_restart(&old, &in_a_fleet), all);
        let mut renamed = in_a_fleet.clone();
        renamed.daemon.fleet = Some(FleetSettings::new(fleet.store, "b"));
        assert_eq!(needing_restart(&in_a_fleet, &renamed), ["RTMS_NODE"]);
        let mut larger = in_a_fleet.clone();
        let fleet = larger.daemon.fleet.as_mut();
        fleet.expect("it was set").streams = Some(10);
        assert!(needing_restart(&in_a_fleet, &larger).is_empty());
    }
}
