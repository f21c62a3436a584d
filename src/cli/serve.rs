//! `rtmsd serve`: the server.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use crate::admin::control_socket::ControlSocket;
use crate::admin::listen::SocketFile;
use crate::admin::{Admin, ListenAddress, Token, own_token};
use crate::cli::exit::{self, Failure};
use crate::cli::signals::{Signal, Signals};
use crate::config::{Config, Loaded};
use crate::daemon::{Daemon, Ending, Error};
use crate::domain::app::RestCredentials;
use crate::domain::causes::with_causes;
use crate::gate::Listener;
use crate::net::file_limit::raise_file_limit;
use crate::source::ingress;
use crate::systemd::{Notifier, Service};
use crate::{state, systemd};

use super::reload::Reloading;

/// Runs the server until a signal ends it; returns the exit code. SIGHUP reads the configuration
/// again from `path`, as on the command line.
pub fn run(loaded: &Loaded, path: Option<&Path>) -> u8 {
    match serve(loaded, path) {
        Ok(()) => exit::OK,
        Err(Failure(code, text)) => {
            log::error!("{text}");
            code
        }
    }
}

fn serve(loaded: &Loaded, path: Option<&Path>) -> Result<(), Failure> {
    let config = &loaded.config;
    if let Err(error) = raise_file_limit() {
        log::warn!("the limit of open files could not be raised: {error}");
    }
    let listeners = listeners(config)?;
    let (admin, _socket_files) = admin_listeners(config)?;
    let daemon = Daemon::start(listeners, config.daemon.clone(), None)
        .map_err(|error| Failure(exit_code(&error), with_causes(&error)))?;
    let no_resources = |error: io::Error| Failure(exit::UNAVAILABLE, error.to_string());
    let service = service(&daemon).map_err(no_resources)?;
    let notifier = service.as_ref().map(Service::notifier);
    let handle = daemon.handle();
    let token = Token::new(config.admin.token.clone());
    token.set_url(config.admin.url.clone());
    make_own_token(config, &token);
    let mut reloading = Reloading::new(path, loaded.clone(), daemon.handle(), token.clone());
    let signals = Signals::start(move |signal| match signal {
        Signal::Stop => {
            if let Some(notifier) = &notifier {
                notifier.stopping();
            }
            handle.stop();
        }
        Signal::SystemResumed => handle.system_resumed(),
        Signal::Reload => {
            if let Some(notifier) = &notifier {
                notifier.reloading();
            }
            reloading.reload();
            if let Some(notifier) = &notifier {
                notifier.reloaded();
            }
        }
    });
    let _signals = signals.map_err(|error| {
        let text = format!("signals cannot be received: {error}");
        Failure(exit::SOFTWARE, text)
    })?;
    if let Some(events) = &config.daemon.zoom_events {
        // The token is added later, so there is no secret in it.
        log::info!("events come by {}", events.url.as_str());
    }
    for address in daemon.addresses() {
        let scheme = if config.daemon.webhooks.tls.is_some() {
            "https"
        } else {
            "http"
        };
        log::info!(
            "listening addr={address} scheme={scheme} path={}",
            config.daemon.webhooks.webhook.path
        );
    }
    let gate = daemon.gate().filter(|_| !admin.is_empty());
    let _admin = gate
        .map(|gate| {
            let state = config.daemon.state.as_deref();
            let admin = Admin::start(
                admin,
                token.clone(),
                &gate,
                daemon.handle(),
                state,
                &config.daemon.state_keys,
            )?;
            for address in admin.addresses() {
                log::info!("health, metrics and streams are at http://{address}");
            }
            Ok(admin)
        })
        .transpose()
        .map_err(no_resources)?;
    for address in &config.admin.listen {
        if let ListenAddress::Unix(_) = address {
            log::info!("health, metrics and streams are at {address}");
        }
    }
    // Only a refresh token must not be used by two processes: a command has other credentials
    // itself.
    let credentials = &config.daemon.app().rest.credentials;
    let is_shared = matches!(credentials, RestCredentials::UserRefresh { .. });
    let state = config.daemon.state.as_deref().filter(|_| is_shared);
    let control = state.map(|state| ControlSocket::start(state, daemon.handle()));
    let _control = control.and_then(|control| {
        let failed = |error: &io::Error| {
            log::warn!("commands beside this server cannot use its refresh token: {error}");
        };
        control.inspect_err(failed).ok()
    });
    match daemon.run() {
        Ending::DiskPanicked => {
            let text = "ended by a bug; please report the panic in the log".to_owned();
            Err(Failure(exit::SOFTWARE, text))
        }
        _ => Ok(()),
    }
}

/// Content and commands need a token; where none is configured the server makes one, which those may
/// read who may read the state directory.
pub(super) fn make_own_token(config: &Config, token: &Token) {
    let state = config.daemon.state.as_deref();
    let is_needed = !config.admin.listen.is_empty() && config.admin.token.is_none();
    let Some(state) = state.filter(|_| is_needed) else {
        return;
    };
    match own_token::open(state, &config.daemon.state_keys) {
        Ok(own) => token.set_own(own),
        Err(error) => log::warn!(
            "/events, /media, \"rtmsd tail\", \"rtmsd tap\", \"rtmsd link\" and \"rtmsd push\" cannot be used: {} in {} cannot be made: {error}",
            own_token::NAME,
            state.display()
        ),
    }
}

/// The sockets that systemd passes, otherwise our own.
fn listeners(config: &Config) -> Result<Vec<TcpListener>, Failure> {
    let passed = systemd::listeners().map_err(|text| Failure(exit::UNAVAILABLE, text))?;
    if !passed.is_empty() {
        log::info!("the webhook port is the service manager's; HOST and PORT are not used");
        return Ok(passed);
    }
    let Some(port) = config.port else {
        return Ok(Vec::new());
    };
    let listener = TcpListener::bind((config.host, port)).map_err(|error| {
        let text = format!(
            "cannot listen addr={}:{port} error=\"{error}\"; check HOST and PORT, and what else runs \
             there",
            config.host
        );
        Failure(exit::UNAVAILABLE, text)
    })?;
    Ok(vec![listener])
}

fn service(daemon: &Daemon) -> io::Result<Option<Service>> {
    let Some(notifier) = Notifier::from_process()? else {
        return Ok(None);
    };
    Service::start(notifier, Notifier::watchdog(), daemon.handle()).map(Some)
}

fn admin_listeners(config: &Config) -> Result<(Vec<Listener>, Vec<SocketFile>), Failure> {
    let (mut listeners, mut files) = (Vec::new(), Vec::new());
    for address in &config.admin.listen {
        let (listener, file) = address.listen().map_err(|error| {
            let text = format!(
                "RTMS_ADMIN: cannot listen on {address}: {error}; is another rtmsd running? set \
                 another address, or off"
            );
            Failure(exit::UNAVAILABLE, text)
        })?;
        listeners.push(listener);
        files.extend(file);
    }
    Ok((listeners, files))
}

/// The exit code of a failed start, for scripts.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Api(error) => error.exit_code(),
        Error::State(state::Error::Sealed { .. }) => exit::CONFIG,
        Error::State(state::Error::InUse { .. } | state::Error::Io { .. }) => exit::UNAVAILABLE,
        Error::State(_) => exit::NO_PERMISSION,
        Error::CaFile(_)
        | Error::Storage(_)
        | Error::EventsUrl(_)
        | Error::Apps(_)
        | Error::Ingress(ingress::Error::Certificate(_)) => exit::CONFIG,
        Error::Ingress(ingress::Error::Io(_)) | Error::Out(_) | Error::Io(_) => exit::UNAVAILABLE,
    }
}
