//! The webhook listener: a route of the gate together with the webhook handler.
//!
//! A [`Door`] is the listener, which several apps may share; an [`Ingress`] is one app's part of it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::app::App;
use crate::domain::secret::Secret;
use crate::gate;
use crate::gate::{
    CertificateError, EXCHANGES_MAX, Gate, Limits, Listeners, OpenRoute, Tls, TlsFiles,
};
use crate::inbox;
use crate::source::authorization::Authorizations;
use crate::source::webhook::desk::{
    Accepted, Counters as WebhookCounters, Desk, DeskParts, Expected,
};
use crate::source::webhook::respond;
use crate::source::webhook::server::Server;
use crate::state::intents::IntentLog;

/// For events under way, at the end of an app.
const CLOSE_MAX: Duration = Duration::from_secs(1);

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
    expected: Expected,
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
            expected: self.expected(apps),
        })
    }

    fn expected(&self, apps: &[App]) -> Expected {
        Expected {
            webhook: self.webhook.clone(),
            oauth_path: self.oauth_path.clone(),
            secret_tokens: secret_tokens(apps),
        }
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
    /// Webhooks of the app.
    pub webhook: Arc<WebhookCounters>,
    /// Webhooks of no app; those of the only app if it has no name.
    pub unclaimed: Arc<WebhookCounters>,
}

/// The webhook listener; `T` is the item type of the apps' inboxes.
#[derive(Debug)]
pub struct Door<T> {
    server: Arc<Server<T>>,
    route: Mutex<Option<OpenRoute>>,
    opened: OnceLock<Opened>,
}

/// What stays of the listener after it was closed.
#[derive(Debug)]
struct Opened {
    addresses: Vec<SocketAddr>,
    counters: Arc<gate::Counters>,
}

impl<T> Default for Door<T> {
    fn default() -> Door<T> {
        Door {
            server: Arc::default(),
            route: Mutex::default(),
            opened: OnceLock::new(),
        }
    }
}

impl<T: From<Accepted> + Send + 'static> Door<T> {
    /// Adds an app. From when the listener is open, webhooks signed with its secret tokens are stored in
    /// its `intents`, answered, and then sent to its `inbox`.
    pub fn add(
        self: &Arc<Self>,
        name: Option<Arc<str>>,
        settings: &Settings,
        apps: &[App],
        inbox: inbox::Sender<T>,
        intents: Option<Arc<IntentLog>>,
        authorizations: Arc<Authorizations>,
    ) -> Ingress<T> {
        let desk = self.server.add(DeskParts {
            name,
            expected: settings.expected(apps),
            inbox,
            intents,
            authorizations,
        });
        Ingress {
            door: Arc::clone(self),
            desk,
            is_own: false,
        }
    }

    /// Starts to serve these listeners.
    ///
    /// # Errors
    /// If the certificate cannot be used, or a directory, socket or thread cannot be created.
    pub fn open(&self, listeners: Vec<TcpListener>, settings: &Settings) -> Result<(), Error> {
        let config = settings.gate()?;
        let socket_parent = settings
            .socket_parent
            .clone()
            .unwrap_or_else(default_socket_parent);
        let handler = {
            let server = Arc::clone(&self.server);
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
        self.opened.get_or_init(|| Opened {
            addresses: route.addresses().to_vec(),
            counters: Arc::clone(route.counters()),
        });
        *self.route() = Some(route);
        Ok(())
    }
}

impl<T> Door<T> {
    fn route(&self) -> MutexGuard<'_, Option<OpenRoute>> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of the listeners, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.opened.get().map_or(&[], |opened| &opened.addresses)
    }

    /// The gate, where further listeners may be opened; `None` while the listener is not open.
    pub fn gate(&self) -> Option<Gate> {
        self.route().as_ref().and_then(OpenRoute::gate).cloned()
    }

    /// The counters of the whole listener.
    pub fn counters(&self) -> Counters {
        let opened = self.opened.get();
        Counters {
            gate: opened.map_or_else(Arc::default, |opened| Arc::clone(&opened.counters)),
            webhook: Arc::clone(self.server.counters()),
            unclaimed: Arc::clone(self.server.counters()),
        }
    }

    /// Replaces what is not of one app: limits and certificate.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub fn reload(&self, settings: &Settings) -> Result<(), Error> {
        self.use_config(settings.gate()?);
        Ok(())
    }

    fn use_config(&self, config: gate::Config) {
        if let Some(route) = &*self.route() {
            route.reload(config);
        }
    }

    /// Stops accepting at once and gives requests in progress a second to end. The gate itself ends
    /// with its last route.
    pub fn close(&self) {
        let route = self.route().take();
        drop(route);
    }
}

/// One app's part of the webhook listener. Dropping it ends that part.
#[derive(Debug)]
pub struct Ingress<T> {
    door: Arc<Door<T>>,
    desk: Arc<Desk<T>>,
    /// The listener is for this app alone.
    is_own: bool,
}

impl<T: From<Accepted> + Send + 'static> Ingress<T> {
    /// Starts to serve these listeners for one app alone. Webhooks signed with an app's secret token are
    /// stored in `intents`, answered, and then sent to `inbox`.
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
        let door = Arc::new(Door::default());
        let ingress = door.add(None, &settings, apps, inbox, intents, authorizations);
        ingress.open(listeners, &settings)
    }

    /// Opens the listener, for this app alone.
    ///
    /// # Errors
    /// As [`Door::open`].
    pub fn open(
        mut self,
        listeners: Vec<TcpListener>,
        settings: &Settings,
    ) -> Result<Ingress<T>, Error> {
        self.door.open(listeners, settings)?;
        self.is_own = true;
        Ok(self)
    }
}

impl<T> Ingress<T> {
    /// Replaces the settings. Requests in progress end under the old ones.
    pub fn reload(&self, prepared: Prepared) {
        if self.is_own {
            self.door.use_config(prepared.gate);
        }
        self.door.server.reload(&self.desk, prepared.expected);
    }

    /// The addresses of the listeners, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.door.addresses()
    }

    /// The gate, where further listeners may be opened; `None` after [`Ingress::stop`].
    pub fn gate(&self) -> Option<Gate> {
        self.door.gate()
    }

    /// Why a webhook would not be answered, if so, as of the last turn (see [`Ingress::request_turn`]).
    pub fn unready_reason(&self) -> Option<&'static str> {
        match &*self.door.route() {
            Some(route) => route.unready_reason(),
            None => Some("the gate has stopped"),
        }
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
        self.gate()
            .map_or_else(Instant::now, |gate| gate.last_turn())
    }

    /// The counters: those of the whole gate, and those of this app's webhooks.
    pub fn counters(&self) -> Counters {
        Counters {
            webhook: Arc::clone(self.desk.counters()),
            ..self.door.counters()
        }
    }

    /// From now on the listener answers `GET /readyz`, for the load balancer of a fleet: 200 while the flag
    /// says so, else 503. Nothing changes while it is not called.
    pub fn show_readiness(&self, is_ready: Arc<AtomicBool>) {
        self.desk.show_readiness(is_ready);
    }

    /// There is no fleet: webhooks come without their bodies, which are for other nodes alone.
    pub fn drop_bodies(&self) {
        self.desk.drop_bodies();
    }

    /// The app was removed: what may be for another app is for that one, which may be the same under
    /// another name.
    pub fn set_back(&self) {
        self.door.server.set_back(&self.desk);
    }

    /// Stops accepting at once and gives requests in progress a second to end. A listener that other apps
    /// use stays open.
    pub fn stop(&mut self) {
        if self.is_own {
            self.door.close();
        }
        self.desk.close(Instant::now() + CLOSE_MAX);
        self.door.server.remove(&self.desk);
    }
}

impl<T> Drop for Ingress<T> {
    fn drop(&mut self) {
        self.stop();
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
