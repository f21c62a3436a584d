//! The start of a daemon: what is its own, and what it shares with the daemons of other apps.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::Arc;

#[cfg(feature = "fleet")]
use super::fleet::Fleet;
use super::forgetting::Forgetting;
use super::heap_trim::TrimPolicy;
#[cfg(not(feature = "fleet"))]
use super::no_fleet::Fleet;
use super::places::Places;
use super::rest_timer::RestTimer;
use super::snapshot::{Snapshot, Unsettled};
use super::status::Totals;
use super::{Daemon, Error, Event, INBOX_MAX, Settings, SinkFactory, events};
use crate::coordinator::{self, Coordinator};
use crate::delivery::ends::Ends;
use crate::delivery::media;
use crate::delivery::push::{self, Push};
use crate::delivery::stdout::Stdout;
use crate::feed::Board;
use crate::inbox::{self, inbox};
use crate::net::dial::Dialer;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::recorder::{Disk, OutLock};
use crate::source::authorization::Authorizations;
use crate::source::ingress::{Door, Ingress};
use crate::source::webhook::desk::Accepted;
use crate::state::StateDir;
use crate::zoom_api::{self, Api};

/// What a daemon is given by those that started it before its own settings count.
pub(super) struct Given {
    /// The app's name, where several are served.
    pub(super) app: Option<Arc<str>>,
    /// The webhook listener.
    pub(super) door: Arc<Door<Event>>,
    /// The listeners that the daemon opens the door with; `None` if it shares the door.
    pub(super) listeners: Option<Vec<TcpListener>>,
    /// What all connections verify servers with.
    pub(super) tls: TlsClient,
    /// Standard output that it shares.
    pub(super) stdout: Option<Arc<Stdout>>,
}

/// What a node of a fleet needs of the daemon that is being started.
#[cfg_attr(
    not(feature = "fleet"),
    expect(dead_code, reason = "only a node reads it")
)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a Settings,
    pub(super) state: Option<&'a Arc<StateDir>>,
    pub(super) coordinator: &'a mut Coordinator,
    pub(super) sender: &'a inbox::Sender<Event>,
    pub(super) tls: &'a TlsClient,
    pub(super) ingress: &'a Ingress<Event>,
}

impl Daemon {
    /// Starts everything except the streams; webhooks are answered from here on.
    ///
    /// # Errors
    /// The settings have not one app; a file that they name (certificate, roots, state directory)
    /// cannot be used; the system refuses a socket or a thread.
    pub fn start(
        listeners: Vec<TcpListener>,
        settings: Settings,
        sinks: Option<Box<SinkFactory>>,
    ) -> Result<Daemon, Error> {
        let tls = TlsClient::new(settings.ca_file.as_deref()).map_err(Error::CaFile)?;
        let given = Given {
            app: None,
            door: Arc::default(),
            listeners: Some(listeners),
            tls,
            stdout: None,
        };
        Daemon::start_in(given, settings, sinks)
    }

    /// Starts a daemon in its surroundings. If it does not open the door, its webhooks are answered from
    /// when another one has.
    pub(super) fn start_in(
        given: Given,
        settings: Settings,
        sinks: Option<Box<SinkFactory>>,
    ) -> Result<Daemon, Error> {
        settings.check()?;
        let Given {
            app,
            door,
            listeners,
            tls,
            stdout,
        } = given;
        let dialer = Dialer::start(tls.clone(), Resolver::default())?;
        let state = settings
            .state
            .as_ref()
            .map(|path| StateDir::open_sealed(path, settings.state_keys.clone()))
            .transpose()
            .map_err(Error::State)?;
        let state = state.map(Arc::new);
        let process = zoom_api::Process {
            ca_file: settings.ca_file.clone(),
            state: state.clone(),
            proxy: settings.proxy.clone(),
            allowed_hosts: settings.allowed_hosts.clone(),
            shared: shared_grants(&settings, &tls).map_err(Error::Io)?,
            ..zoom_api::Process::default()
        };
        let api = Arc::new(Api::new(settings.app().clone(), process).map_err(Error::Api)?);
        let (sender, inbox) = inbox(INBOX_MAX);
        let (snapshot, mut coordinator) = match &state {
            Some(state) => {
                let (snapshot, coordinator) = restore(state, settings.coordinator(), &sender)?;
                (Some(snapshot), coordinator)
            }
            None => (None, Coordinator::new(settings.coordinator())),
        };
        let ends = Ends::new(
            state.clone(),
            settings.proxy.clone(),
            settings.ca_file.clone(),
        );
        let out_lock = settings.disk.as_ref().map(|disk| {
            let node = settings.fleet.as_ref().map(|fleet| fleet.node.as_str());
            OutLock::take_as(&disk.root, node)
        });
        let out_lock = out_lock.transpose().map_err(Error::Out)?.flatten();
        let announced = ends.clone();
        let disk = settings.disk.clone().map(|disk| {
            let panicked = sender.clone();
            let on_panic = move || panicked.send_always(Event::DiskPanicked);
            Disk::start_watched(
                disk,
                settings.state.clone(),
                Some(announced.clone()),
                on_panic,
            )
        });
        let disk = disk.transpose()?;
        if let Some(disk) = &disk {
            ends.attach(disk.folder_jobs());
        }
        let prepared = ends.prepare(&settings.ends).map_err(Error::Storage)?;
        let own_stdout = settings
            .stdout
            .filter(|_| stdout.is_none() && listeners.is_some());
        let own_stdout = own_stdout.map(|_| Stdout::start()).transpose()?;
        let stdout = stdout.or(own_stdout.map(Arc::new));
        let board = disk.as_ref().and_then(Disk::board);
        let process = push_process(&settings, state.as_ref(), board);
        let process = process.filter(|it| Push::is_needed(&settings.push, &it.state));
        let push = process.map(|process| Push::start(settings.push.clone(), process));
        let push = push.transpose()?;
        // After push, which may need journals that an upload would delete.
        ends.configure(prepared)?;
        let report = sender.clone();
        let rest_timer = RestTimer::start(Arc::clone(&api), move |outcome| {
            report.send_always(Event::Called(Box::new(outcome)));
        })?;
        let roots = listeners.is_some().then(|| tls.prepare()).transpose()?;
        let authorizations = Arc::new(Authorizations::default());
        let ingress = door.add(
            app,
            &settings.webhooks,
            &settings.apps,
            sender.clone(),
            snapshot.as_ref().map(Snapshot::log),
            Arc::clone(&authorizations),
        );
        let ingress = match listeners {
            Some(listeners) => ingress.open(listeners, &settings.webhooks),
            None => Ok(ingress),
        };
        let ingress = ingress.map_err(Error::Ingress)?;
        let fleet = Fleet::start(Surroundings {
            settings: &settings,
            state: state.as_ref(),
            coordinator: &mut coordinator,
            sender: &sender,
            tls: &tls,
            ingress: &ingress,
        })?;
        if fleet.is_none() {
            ingress.drop_bodies();
        }
        let forgetting = Forgetting::new(
            state.clone(),
            disk.as_ref().map(Disk::works),
            ends.clone(),
            (settings.proxy.clone(), settings.ca_file.clone()),
            sender.clone(),
        );
        let intents = snapshot.as_ref().map(Snapshot::log);
        let turn = events::first_turn(fleet.is_some());
        let events = events::start(&settings, turn, &api, &dialer, &sender, intents)?;
        Ok(Daemon {
            settings,
            inbox,
            sender,
            coordinator,
            running: HashMap::new(),
            revive: HashSet::new(),
            later: Vec::new(),
            waiting: HashSet::new(),
            places: Places::default(),
            fleet: fleet.map(Box::new),
            trim_policy: TrimPolicy::default(),
            dialer,
            sinks,
            api,
            rest_timer,
            ingress,
            authorizations,
            events,
            ended_events: Vec::new(),
            disk,
            out_locks: Vec::from_iter(out_lock),
            ends,
            forgetting,
            stdout,
            push,
            keeping: None,
            media: media::Hub::default(),
            state_dir: state,
            roots,
            snapshot,
            totals: Totals::default(),
            leaving: None,
            is_draining: false,
        })
    }
}

/// What push needs; `None` without a state directory or without journals.
pub(super) fn push_process(
    settings: &Settings,
    state: Option<&Arc<StateDir>>,
    board: Option<&Arc<Board>>,
) -> Option<push::Process> {
    Some(push::Process {
        state: Arc::clone(state?),
        board: Arc::clone(board?),
        proxy: settings.proxy.clone(),
        ca_file: settings.ca_file.clone(),
    })
}

/// Reads the previous process's state. Events that it answered but did not act on go to the inbox
/// before any new webhook.
fn restore(
    state: &Arc<StateDir>,
    settings: coordinator::Settings,
    inbox: &inbox::Sender<Event>,
) -> Result<(Snapshot, Coordinator), Error> {
    let asker = inbox.clone();
    let ask = move || asker.send_always(Event::Checkpoint);
    let (snapshot, coordinator, unsettled) =
        Snapshot::open(state, settings, ask).map_err(Error::State)?;
    if !unsettled.is_empty() {
        log::info!(
            "handling webhooks that an earlier process answered but did not handle count={}",
            unsettled.len()
        );
    }
    for Unsettled { id, event, body } in unsettled {
        inbox.send_always(Event::Accepted(Accepted {
            event,
            intent: Some(id),
            body,
        }));
    }
    Ok((snapshot, coordinator))
}

/// The grants that the nodes of the fleet share; `None` without one.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn shared_grants(
    settings: &Settings,
    tls: &TlsClient,
) -> std::io::Result<Option<Arc<dyn zoom_api::SharedGrant>>> {
    #[cfg(feature = "fleet")]
    return super::fleet_store::grants::StoreGrants::of(settings, tls);
    // The settings name no fleet in a binary without the feature.
    #[cfg(not(feature = "fleet"))]
    {
        let _ = (settings, tls);
        Ok(None)
    }
}
