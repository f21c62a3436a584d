//! `rtmsd serve`: the server.

use std::net::TcpListener;

use crate::admin::Admin;
use crate::config::Config;
use crate::daemon::signals::{Signal, Signals};
use crate::daemon::{Daemon, Error};
use crate::gate::raise_file_limit;
use crate::{exit, setup, state};

/// Runs the server until it is told to end; returns the exit code.
pub fn run(config: &Config) -> u8 {
    if let Err(error) = raise_file_limit() {
        log::warn!("the limit of open files could not be raised: {error}");
    }
    let settings = match setup::daemon(config) {
        Ok(settings) => settings,
        Err(fault) => {
            log::error!("{fault}");
            return exit::CONFIG;
        }
    };
    let address = (config.host, config.port);
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            log::error!(
                "cannot listen addr={}:{} error=\"{error}\"; check HOST and PORT, and what else \
                 runs there",
                config.host,
                config.port
            );
            return exit::UNAVAILABLE;
        }
    };
    let admin = match admin_listener(config) {
        Ok(admin) => admin,
        Err(error) => {
            log::error!("{error}");
            return exit::UNAVAILABLE;
        }
    };
    let daemon = match Daemon::start(vec![listener], settings, None) {
        Ok(daemon) => daemon,
        Err(error) => {
            log::error!("{error}");
            return exit_code(&error);
        }
    };
    let handle = daemon.handle();
    let signals = Signals::start(move |signal| match signal {
        Signal::Stop => handle.stop(),
        Signal::Slept => handle.slept(),
        Signal::Reload => log::warn!("SIGHUP: nothing is reloaded"),
    });
    let _signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("signals cannot be received: {error}");
            return exit::SOFTWARE;
        }
    };
    for address in daemon.addresses() {
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        log::info!(
            "listening addr={address} scheme={scheme} path={}",
            config.webhook_path
        );
    }
    let admin =
        admin.map(|listener| Admin::start(listener, config.admin_token.clone(), daemon.handle()));
    let admin = match admin.transpose() {
        Ok(admin) => admin,
        Err(error) => {
            log::error!("RTMS_ADMIN: {error}");
            return exit::UNAVAILABLE;
        }
    };
    for address in admin.iter().flat_map(Admin::addresses) {
        log::info!("health, metrics and streams are at http://{address}");
    }
    daemon.run();
    exit::OK
}

fn admin_listener(config: &Config) -> Result<Option<TcpListener>, String> {
    let Some(address) = config.admin else {
        return Ok(None);
    };
    TcpListener::bind(address).map(Some).map_err(|error| {
        format!(
            "RTMS_ADMIN: cannot listen on {address}: {error}; is another rtmsd running? set \
             another address, or off"
        )
    })
}

/// What a script can make of a failed start.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Api(error) => error.exit_code(),
        Error::State(state::Error::InUse { .. } | state::Error::Io { .. }) => exit::UNAVAILABLE,
        Error::State(_) => exit::NO_PERMISSION,
        Error::Tls(_) | Error::Public(crate::public::Error::Tls(_)) => exit::CONFIG,
        Error::Public(crate::public::Error::Io(_)) | Error::Io(_) => exit::UNAVAILABLE,
    }
}
