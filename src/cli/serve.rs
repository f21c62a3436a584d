//! `rtmsd serve`: the server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use crate::admin::control_socket::ControlSocket;
use crate::admin::listen::SocketFile;
use crate::admin::{Admin, ListenAddress, Served, Token, own_token};
use crate::cli::exit::{self, Failure};
use crate::cli::signals::{Signal, Signals};
use crate::config::{self, Config, Loaded};
use crate::daemon::apps::{Apps, Daemons, OnStart, WantedApp};
use crate::daemon::{Daemon, Ending, Error, Handle, Settings};
use crate::domain::app::RestCredentials;
use crate::domain::causes::with_causes;
use crate::gate::{Gate, Listener};
use crate::log::app::enter;
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

/// One app, or several.
enum Server {
    One(Box<Daemon>, Box<dyn Send>),
    Several(Apps),
}

impl Server {
    fn start(
        listeners: Vec<TcpListener>,
        loaded: &Loaded,
        on_start: Box<OnStart>,
    ) -> Result<Server, Error> {
        let settings = &loaded.config.daemon;
        match &loaded.apps {
            None => {
                let daemon = Daemon::start(listeners, settings.clone(), None)?;
                let part = on_start(&Arc::default(), &daemon.handle(), settings);
                Ok(Server::One(Box::new(daemon), part))
            }
            Some(apps) => {
                Apps::start(listeners, settings, wanted(apps), on_start).map(Server::Several)
            }
        }
    }

    fn daemons(&self) -> Daemons {
        match self {
            Server::One(daemon, _) => Daemons::One(daemon.handle()),
            Server::Several(apps) => Daemons::Several(apps.handle()),
        }
    }

    fn addresses(&self) -> &[SocketAddr] {
        match self {
            Server::One(daemon, _) => daemon.addresses(),
            Server::Several(apps) => apps.addresses(),
        }
    }

    fn gate(&self) -> Option<Gate> {
        match self {
            Server::One(daemon, _) => daemon.gate(),
            Server::Several(apps) => apps.gate(),
        }
    }

    fn run(self) -> Ending {
        match self {
            Server::One(daemon, _part) => daemon.run(),
            Server::Several(apps) => apps.run(),
        }
    }
}

/// The apps of a configuration; what is wrong with the others is logged.
pub(super) fn wanted(apps: &config::Apps) -> Vec<WantedApp> {
    let wanted = apps.apps.iter().map(|app| {
        let _app = enter(Some(&app.name));
        for fault in app.loaded.iter().flat_map(|loaded| &loaded.warnings) {
            log::warn!("{fault}");
        }
        for fault in app.loaded.as_ref().err().into_iter().flatten() {
            log::error!("{fault}");
        }
        WantedApp {
            name: Arc::clone(&app.name),
            settings: app.loaded.as_ref().ok().map(|it| it.config.daemon.clone()),
        }
    });
    let wanted: Vec<WantedApp> = wanted.collect();
    if wanted.is_empty() {
        log::warn!(
            "there is no app: RTMS_APPS={} has no NAME.conf",
            apps.folder.display()
        );
    }
    wanted
}

fn serve(loaded: &Loaded, path: Option<&Path>) -> Result<(), Failure> {
    let config = &loaded.config;
    if let Err(error) = raise_file_limit() {
        log::warn!("the limit of open files could not be raised: {error}");
    }
    let listeners = listeners(config)?;
    let (admin, _socket_files) = admin_listeners(config)?;
    let served = Served::default();
    let server = Server::start(listeners, loaded, on_start(&served, !admin.is_empty()))
        .map_err(|error| Failure(exit_code(&error), with_causes(&error)))?;
    let daemons = server.daemons();
    let no_resources = |error: io::Error| Failure(exit::UNAVAILABLE, error.to_string());
    let service = service(&daemons).map_err(no_resources)?;
    let notifier = service.as_ref().map(Service::notifier);
    let told = daemons.clone();
    let token = Token::new(config.admin.token.clone());
    token.set_url(config.admin.url.clone());
    make_own_token(config, &token);
    let mut reloading = Reloading::new(path, loaded.clone(), daemons.clone(), token.clone());
    let signals = Signals::start(move |signal| match signal {
        Signal::Stop => {
            if let Some(notifier) = &notifier {
                notifier.stopping();
            }
            told.stop();
        }
        Signal::SystemResumed => told.system_resumed(),
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
    log_events(loaded);
    for address in server.addresses() {
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
    let gate = server.gate().filter(|_| !admin.is_empty());
    let _admin = gate
        .map(|gate| {
            let state = config.daemon.state.as_deref();
            let admin = Admin::start(
                admin,
                token.clone(),
                &gate,
                daemons,
                served,
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
    match server.run() {
        Ending::DiskPanicked | Ending::Panicked => {
            let text = "ended by a bug; please report the panic in the log".to_owned();
            Err(Failure(exit::SOFTWARE, text))
        }
        Ending::NameTaken => {
            let text = "another server of the fleet has this RTMS_NODE; see the log".to_owned();
            Err(Failure(exit::UNAVAILABLE, text))
        }
        Ending::FleetTooNew => {
            let text = "the servers of the fleet have versions too far from this one; see the log";
            Err(Failure(exit::CONFIG, text.to_owned()))
        }
        _ => Ok(()),
    }
}

/// What is done for each app: the admin listener serves it, and commands use its refresh token.
fn on_start(served: &Served, has_admin: bool) -> Box<OnStart> {
    let served = has_admin.then(|| served.clone());
    Box::new(move |name, daemon, settings| {
        let name = Some(name).filter(|name| !name.is_empty());
        let served = served.as_ref();
        let served = served.map(|it| it.add(name.cloned(), daemon.clone(), settings));
        Box::new((served, control_socket(daemon, settings)))
    })
}

/// Only a refresh token must not be used by two processes: a command has other credentials itself.
fn control_socket(daemon: &Handle, settings: &Settings) -> Option<ControlSocket> {
    let credentials = &settings.app().rest.credentials;
    let is_shared = matches!(credentials, RestCredentials::UserRefresh { .. });
    let state = settings.state.as_deref().filter(|_| is_shared)?;
    let failed = |error: &io::Error| {
        log::warn!("commands beside this server cannot use its refresh token: {error}");
    };
    ControlSocket::start(state, daemon.clone())
        .inspect_err(failed)
        .ok()
}

/// Says where events come from. The token is added later, so there is no secret in it.
fn log_events(loaded: &Loaded) {
    let one = |settings: &Settings| {
        if let Some(events) = &settings.zoom_events {
            log::info!("events come by {}", events.url.as_str());
        }
    };
    let Some(apps) = &loaded.apps else {
        return one(&loaded.config.daemon);
    };
    for (app, loaded) in apps.usable() {
        let _app = enter(Some(&app.name));
        one(&loaded.config.daemon);
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

fn service(daemons: &Daemons) -> io::Result<Option<Service>> {
    let Some(notifier) = Notifier::from_process()? else {
        return Ok(None);
    };
    Service::start(notifier, Notifier::watchdog(), daemons.clone()).map(Some)
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
        | Error::Fleet(_)
        | Error::Ingress(ingress::Error::Certificate(_)) => exit::CONFIG,
        Error::Ingress(ingress::Error::Io(_)) | Error::Out(_) | Error::Io(_) => exit::UNAVAILABLE,
    }
}
