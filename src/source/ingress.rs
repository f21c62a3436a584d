//! The webhook listener: a route of the gate together with the webhook handler.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::app::App;
use crate::domain::secret::Secret;
use crate::gate;
use crate::gate::{
    CertificateError, EXCHANGES_MAX, Gate, Limits, Listeners, OpenRoute, Tls, TlsFiles,
};
use crate::inbox;
use crate::source::authorization::Authorizations;
use crate::source::webhook::respond;
use crate::source::webhook::server;
use crate::source::webhook::server::Accepted;
use crate::state::intents::IntentLog;

/// The settings of the webhook listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What a webhook is, and how it is verified.
    pub webhook: respond::Settings,
    /// Limits for unauthenticated clients.
    pub limits: Limits,
    /// `RTMS_TLS_CERT` and `RTMS_TLS_KEY`; `None` for plain HTTP behind a proxy.
    pub tls: Option<TlsFiles>,
    /// The path at which Zoom sends people back who have authorized the app, if it is this listener's.
    pub oauth_path: Option<String>,
    /// Where the private directory of the inner socket is created; `None` for `$RUNTIME_DIRECTORY`
    /// or else the directory for temporary files. Read once, at the start.
    pub socket_parent: Option<PathBuf>,
}

/// Settings whose certificate was read.
#[derive(Debug)]
pub struct Prepared {
    webhook: respond::Settings,
    secret_tokens: Vec<Secret>,
    oauth_path: Option<String>,
    gate: gate::Config,
}

impl Settings {
    /// Reads the certificate and its key, so that [`Ingress::reload`] waits for no disk.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub fn prepare(&self, apps: &[App]) -> Result<Prepared, Error> {
        Ok(Prepared {
            gate: self.gate()?,
            webhook: self.webhook.clone(),
            oauth_path: self.oauth_path.clone(),
            secret_tokens: secret_tokens(apps),
        })
    }

    fn gate(&self) -> Result<gate::Config, CertificateError> {
        let tls = self.tls.as_ref().map(Tls::load).transpose()?;
        if let Some(days_left) = tls.as_ref().map(Tls::days_left).filter(|&days| days < 14) {
            log::warn!("the certificate of the webhook listener expires in {days_left} days");
        }
        Ok(gate::Config {
            limits: self.limits,
            tls,
        })
    }
}

/// Why the webhook listener cannot start or reload.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The certificate or its key cannot be used: `tls` of the settings.
    Certificate(CertificateError),
    /// The system refuses a socket, a directory or a thread.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Certificate(error) => error.fmt(f),
            Error::Io(_) => f.write_str("webhook listener: cannot start"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Certificate(error) => error.source(),
            Error::Io(error) => Some(error),
        }
    }
}

impl From<CertificateError> for Error {
    fn from(error: CertificateError) -> Error {
        Error::Certificate(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// Counters of the webhook listener; clones read the same counters.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Connections, refusals, times.
    pub gate: Arc<gate::Counters>,
    /// Webhooks.
    pub webhook: Arc<server::Counters>,
}

/// The running webhook listener; `T` is the item type of the owner's inbox. Dropping it stops it.
#[derive(Debug)]
pub struct Ingress<T> {
    route: OpenRoute,
    server: Arc<server::Server<T>>,
}

impl<T: From<Accepted> + Send + 'static> Ingress<T> {
    /// Starts to serve these listeners. Webhooks signed with an app's secret token are stored in
    /// `intents`, answered, and then sent to `inbox`.
    ///
    /// # Errors
    /// If the certificate cannot be used, or a directory, socket or thread cannot be created.
    pub fn start(
        listeners: Vec<TcpListener>,
        settings: Settings,
        apps: &[App],
        inbox: inbox::Sender<T>,
        intents: Option<Arc<IntentLog>>,
        authorizations: Arc<Authorizations>,
    ) -> Result<Ingress<T>, Error> {
        let config = settings.gate()?;
        let socket_parent = settings
            .socket_parent
            .clone()
            .unwrap_or_else(default_socket_parent);
        let server = Arc::new(server::Server::new(
            server::Expected {
                webhook: settings.webhook,
                secret_tokens: secret_tokens(apps),
                oauth_path: settings.oauth_path,
            },
            inbox,
            intents,
            authorizations,
        ));
        let handler = {
            let server = Arc::clone(&server);
            Arc::new(move |requests| server.handle_requests(requests))
        };
        let route = Gate::start(socket_parent)?.open(Listeners {
            name: "webhook",
            listeners: listeners.into_iter().map(Into::into).collect(),
            config,
            in_flight_max: EXCHANGES_MAX,
            handler,
            hand_over: None,
        })?;
        Ok(Ingress { route, server })
    }

    /// Replaces the settings. Requests in progress end under the old ones.
    pub fn reload(&self, prepared: Prepared) {
        self.route.reload(prepared.gate);
        self.server.reload(server::Expected {
            webhook: prepared.webhook,
            secret_tokens: prepared.secret_tokens,
            oauth_path: prepared.oauth_path,
        });
    }
}

impl<T> Ingress<T> {
    /// The addresses of the listeners, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.route.addresses()
    }

    /// The gate, where further listeners may be opened; `None` after [`Ingress::stop`].
    pub fn gate(&self) -> Option<&Gate> {
        self.route.gate()
    }

    /// Why a webhook would not be answered, if so, as of the last turn (see [`Ingress::request_turn`]).
    pub fn unready_reason(&self) -> Option<&'static str> {
        self.route.unready_reason()
    }

    /// Makes the gate turn once and ask tiny_http for an answer; see [`Ingress::last_turn`].
    pub fn request_turn(&self) {
        if let Some(gate) = self.gate() {
            gate.request_turn();
        }
    }

    /// When the gate's loop took its last turn, for a watchdog. It takes none while nothing
    /// happens.
    pub fn last_turn(&self) -> Instant {
        // After the stop there is nothing to watch.
        self.gate().map_or_else(Instant::now, Gate::last_turn)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        Counters {
            gate: Arc::clone(self.route.counters()),
            webhook: Arc::clone(self.server.counters()),
        }
    }

    /// Stops accepting at once and gives requests in progress a second to end. The gate itself ends
    /// with its last route.
    pub fn stop(&mut self) {
        self.route.close();
    }
}

fn secret_tokens(apps: &[App]) -> Vec<Secret> {
    apps.iter()
        .flat_map(|app| app.secret_tokens.clone())
        .collect()
}

/// systemd's directory, which systemd deletes even after a crash; there may be several.
pub(crate) fn default_socket_parent() -> PathBuf {
    std::env::var_os("RUNTIME_DIRECTORY")
        .and_then(|list| std::env::split_paths(&list).next())
        .filter(|first| first.is_absolute())
        .unwrap_or_else(std::env::temp_dir)
}
