//! SIGHUP: reads the configuration again. What can change while the server runs changes, for what
//! begins from then on; what cannot is named; with any fault, nothing changes.

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Needs, Sources};
use crate::daemon::Handle;
use crate::{log, setup};

/// The daemon takes settings in milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Reads, compares with what the process was started with, and hands over. Tells the log what came
/// of it.
pub(super) fn reload(path: Option<&Path>, started: &Config, daemon: &Handle) {
    let loaded = Sources::of_process(path, Needs::Serve)
        .map_err(|fault| vec![fault])
        .and_then(|sources| Config::load(&sources));
    let (config, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => {
            for fault in &faults {
                ::log::error!("reload: {fault}");
            }
            return ::log::error!("reload: nothing was changed faults={}", faults.len());
        }
    };
    let settings = match setup::daemon(&config) {
        Ok(settings) => settings,
        Err(fault) => return ::log::error!("reload: nothing was changed: {fault}"),
    };
    match daemon.reload(settings, ANSWER_MAX) {
        Some(Ok(())) => {}
        Some(Err(error)) => return ::log::error!("reload: nothing was changed: {error}"),
        None => return ::log::error!("reload: the daemon does not answer"),
    }
    log::set_level(config.log_level);
    for warning in warnings {
        ::log::warn!("{warning}");
    }
    let fixed = needing_restart(started, &config);
    if !fixed.is_empty() {
        ::log::warn!(
            "reload: changed, but only a restart makes it so keys={}",
            fixed.join(",")
        );
    }
    ::log::info!("configuration reloaded");
}

/// The keys that differ and that only a restart can change.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let is_off = |config: &Config| config.stdout == crate::config::StdoutMode::Off;
    let listens = (old.host, old.port) != (new.host, new.port);
    let rest = old.access_token != new.access_token
        || old.account_id != new.account_id
        || old.refresh_token != new.refresh_token
        || old.api_client() != new.api_client()
        || old.api_url != new.api_url
        || old.oauth_url != new.oauth_url
        || old.participant_user_id != new.participant_user_id
        || old.video_sdk != new.video_sdk;
    [
        ("HOST,PORT", listens),
        ("the credentials and addresses for REST", rest),
        ("RTMS_CA_FILE", old.ca_file != new.ca_file),
        ("RTMS_STATE", old.state != new.state),
        ("RTMS_STDOUT", is_off(old) != is_off(new)),
        ("RTMS_ADMIN", old.admin != new.admin),
        ("RTMS_ADMIN_TOKEN", old.admin_token != new.admin_token),
        ("RTMS_LOG_FORMAT", old.log_format != new.log_format),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn only_what_a_restart_needs_is_named() {
        let old = Config::default();
        assert!(needing_restart(&old, &old).is_empty());
        let changes_at_once = Config {
            secret_tokens: vec![Secret::new("new")],
            auto_start: false,
            log_level: ::log::LevelFilter::Debug,
            allowed_hosts: Vec::new(),
            ..old.clone()
        };
        assert!(needing_restart(&old, &changes_at_once).is_empty());
        let fixed = Config {
            port: 1,
            admin: None,
            access_token: Some(Secret::new("t")),
            ..old.clone()
        };
        let expected = [
            "HOST,PORT",
            "the credentials and addresses for REST",
            "RTMS_ADMIN",
        ];
        assert_eq!(needing_restart(&old, &fixed), expected);
    }
}
