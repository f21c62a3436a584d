//! The daemon: one inbox, one loop, and everything that it starts and joins.
//!
//! It decides nothing: the [`Coordinator`] returns actions for each event, and the daemon carries
//! them out. Nothing here waits for the network or for a disk.

pub(crate) mod events;
pub(crate) mod handle;
pub(crate) mod heap_trim;
pub(crate) mod rest_queue;
pub(crate) mod rest_timer;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod snapshot;
pub mod status;
pub(crate) mod streams;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::coordinator::{self, Action, Coordinator, Now, ScheduledCall};
use crate::delivery::ends::Ends;
use crate::delivery::media;
use crate::delivery::push;
use crate::delivery::push::Push;
use crate::delivery::stdout::Stdout;
use crate::domain::severity::Severity;
use crate::domain::stream_info::StreamInfo;
use crate::domain::zoom_event::ZoomEvent;
use crate::feed::Board;
use crate::inbox;
use crate::inbox::inbox;
use crate::net::ca_file::CaFileError;
use crate::net::dial::Dialer;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::protocol::server_url::{ServerUrl, UrlError};
use crate::protocol::{Command, EndReason};
use crate::recorder::{Disk, OutInUse, OutLock};
use crate::source::authorization::Authorizations;
use crate::source::events::{EventsSource, SourceReport};
use crate::source::ingress;
use crate::source::ingress::Ingress;
use crate::source::webhook::server::Accepted;
use crate::state;
use crate::state::StateDir;
use crate::stream::Sink;
use crate::zoom_api;
use crate::zoom_api::Api;
use handle::Output;
use heap_trim::TrimPolicy;
use rest_timer::{Outcome, RestTimer};
use snapshot::{Snapshot, Unsettled};
use status::{Heartbeat, StatusSnapshot, Totals};
use streams::RunningStream;

pub use crate::domain::app::{App, AppCredentials, RestCredentials, RestSettings};
pub use handle::Handle;
pub use settings::{DEFAULT_AUTO_START, DEFAULT_BUFFER_DATA, OnExit, OnRevoked, Settings};
pub use shutdown::GRACE;

/// Maximum webhooks that wait for the daemon. Each takes microseconds; if the inbox is full, a
/// webhook is answered 503, and Zoom sends it again.
const INBOX_MAX: usize = 8192;

/// While webhooks keep coming, the state is saved at least this often.
const SAVE_EVERY: Duration = Duration::from_millis(50);

/// Makes additional sinks for a stream; the extension point for embedders.
pub type SinkFactory = dyn Fn(&StreamInfo) -> Vec<Box<dyn Sink>> + Send;

/// Why the daemon cannot start, or cannot use other settings.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The webhook listener: its certificate, its directory, a socket.
    Ingress(ingress::Error),
    /// The directory of [`Settings::state`].
    State(state::Error),
    /// Another server writes to the folder of [`Settings::disk`].
    Out(OutInUse),
    /// The file of [`Settings::ca_file`].
    CaFile(CaFileError),
    /// The REST client: an address or a credential of [`App::rest`].
    Api(zoom_api::Error),
    /// [`Settings::ends`]: an address or a proxy of the object storage.
    Storage(String),
    /// [`Settings::zoom_events`]: the address may not be connected to.
    EventsUrl(UrlError),
    /// [`Settings::apps`] has this many apps, not one.
    Apps(usize),
    /// The system refuses a thread or a socket.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Ingress(error) => error.fmt(f),
            Error::State(error) => error.fmt(f),
            Error::Out(error) => error.fmt(f),
            Error::CaFile(error) => error.fmt(f),
            Error::Api(error) => error.fmt(f),
            Error::Storage(text) => f.write_str(text),
            Error::EventsUrl(error) => write!(f, "ZOOM_EVENTS_URL: {error}"),
            Error::Apps(count) => write!(f, "found {count} apps in the settings, expected one"),
            Error::Io(_) => f.write_str("cannot start"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Ingress(error) => error.source(),
            Error::State(error) => error.source(),
            Error::CaFile(error) => error.source(),
            Error::Api(error) => error.source(),
            Error::Storage(_) | Error::EventsUrl(_) | Error::Apps(_) | Error::Out(_) => None,
            Error::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// Inputs of the daemon's loop.
#[derive(Debug)]
enum Event {
    /// A Zoom event that was answered 200, or came by the event WebSocket.
    Accepted(Accepted),
    /// What the event WebSocket reports beside events.
    Events(SourceReport),
    Called(Box<Outcome>),
    Ended(String),
    SystemResumed,
    /// The intent log needs a snapshot.
    Checkpoint,
    Status(SyncSender<StatusSnapshot>),
    Heartbeat(SyncSender<Heartbeat>),
    /// A user has authorized the app, whose token is in use.
    Authorized,
    /// Asks for the REST client in use.
    Api(SyncSender<Arc<Api>>),
    /// Who delivers to endpoints, if there are any.
    Push(SyncSender<Option<push::Control>>),
    /// Asks where it writes.
    Output(SyncSender<Output>),
    Reload(Box<Reload>, SyncSender<()>),
    /// The disk thread panicked: nothing that is received is written any more.
    DiskPanicked,
    Stop,
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was told to.
    Stopped,
    /// A bug ended the thread that writes files, so that it could not go on.
    DiskPanicked,
}

/// New settings, and what was made of them by reading files. The caller does that, because the loop
/// must not wait for a disk.
#[derive(Debug)]
struct Reload {
    settings: Settings,
    /// Of another `RTMS_OUT`.
    out_lock: Option<OutLock>,
    ingress: ingress::Prepared,
    api: Arc<Api>,
}

impl From<Accepted> for Event {
    fn from(accepted: Accepted) -> Event {
        Event::Accepted(accepted)
    }
}

impl From<SourceReport> for Event {
    fn from(report: SourceReport) -> Event {
        Event::Events(report)
    }
}

/// A daemon that has bound its listener and is about to run.
pub struct Daemon {
    settings: Settings,
    inbox: inbox::Receiver<Event>,
    sender: inbox::Sender<Event>,
    coordinator: Coordinator,
    /// Boxed, because a map allocates room for up to twice as many entries as it holds.
    running: HashMap<String, Box<RunningStream>>,
    /// Streams that Zoom moved to another server after their thread had ended.
    revive: HashSet<String>,
    /// Streams to be started again at a given time, because the system had no resources for them.
    later: Vec<(Instant, String)>,
    /// The ids of these streams, also while one is being tried.
    waiting: HashSet<String>,
    trim_policy: TrimPolicy,
    dialer: Dialer,
    sinks: Option<Box<SinkFactory>>,
    api: Arc<Api>,
    rest_timer: RestTimer,
    ingress: Ingress<Event>,
    /// Authorizations that were begun here.
    authorizations: Arc<Authorizations>,
    /// The event WebSocket, if there is one.
    events: Option<EventsSource>,
    /// Those that a reload has ended.
    ended_events: Vec<EventsSource>,
    disk: Option<Disk>,
    /// Held until the process ends: streams keep their folder when another one is configured.
    out_locks: Vec<OutLock>,
    ends: Ends,
    stdout: Option<Stdout>,
    push: Option<Push>,
    /// Streams whose sound and pictures can be tapped.
    media: media::Hub,
    /// Where push keeps its progress.
    state_dir: Option<Arc<StateDir>>,
    /// Locates the system's root certificates while webhooks are answered already.
    roots: JoinHandle<()>,
    snapshot: Option<Snapshot>,
    /// Sums over ended streams.
    totals: Totals,
    is_draining: bool,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
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
        settings.check()?;
        let tls = TlsClient::new(settings.ca_file.as_deref()).map_err(Error::CaFile)?;
        let dialer = Dialer::start(tls.clone(), Resolver::default())?;
        let state = settings
            .state
            .as_ref()
            .map(StateDir::open)
            .transpose()
            .map_err(Error::State)?;
        let state = state.map(Arc::new);
        let process = zoom_api::Process {
            ca_file: settings.ca_file.clone(),
            state: state.clone(),
            proxy: settings.proxy.clone(),
            allowed_hosts: settings.allowed_hosts.clone(),
            ..zoom_api::Process::default()
        };
        let api = Arc::new(Api::new(settings.app().clone(), process).map_err(Error::Api)?);
        let (sender, inbox) = inbox(INBOX_MAX);
        let (snapshot, coordinator) = match &state {
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
        let out_lock = settings.disk.as_ref().map(|disk| OutLock::take(&disk.root));
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
        let stdout = settings.stdout.map(|_| Stdout::start()).transpose()?;
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
        let roots = tls.prepare()?;
        let intents = snapshot.as_ref().map(Snapshot::log);
        let (webhooks, apps) = (settings.webhooks.clone(), &settings.apps);
        let authorizations = Arc::new(Authorizations::default());
        let ingress = Ingress::start(
            listeners,
            webhooks,
            apps,
            sender.clone(),
            intents,
            Arc::clone(&authorizations),
        )
        .map_err(Error::Ingress)?;
        let intents = snapshot.as_ref().map(Snapshot::log);
        let events = events::start(&settings, &api, &dialer, &sender, intents)?;
        Ok(Daemon {
            settings,
            inbox,
            sender,
            coordinator,
            running: HashMap::new(),
            revive: HashSet::new(),
            later: Vec::new(),
            waiting: HashSet::new(),
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
            stdout,
            push,
            media: media::Hub::default(),
            state_dir: state,
            roots,
            snapshot,
            totals: Totals::default(),
            is_draining: false,
        })
    }

    /// Addresses at which webhooks are received.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.ingress.addresses()
    }

    /// The HTTP front, to which the owner may add further listeners, such as
    /// [`Admin`](crate::admin::Admin).
    pub fn gate(&self) -> Option<crate::gate::Gate> {
        self.ingress.gate().cloned()
    }

    /// How far the journals of its streams have grown, for those who read them; `None` without files or
    /// with journals switched off.
    pub fn board(&self) -> Option<Arc<Board>> {
        self.disk.as_ref().and_then(Disk::board).map(Arc::clone)
    }

    fn output(&self) -> Output {
        Output {
            root: self.settings.disk.as_ref().map(|disk| disk.root.clone()),
            board: self.board(),
        }
    }

    /// A handle with which other threads can end it.
    pub fn handle(&self) -> Handle {
        let authorizations = Arc::clone(&self.authorizations);
        let (sender, ends) = (self.sender.clone(), self.ends.clone());
        Handle::new(sender, ends, authorizations, self.media.clone())
    }

    /// Runs until it is stopped, and then completes files and state.
    pub fn run(mut self) -> Ending {
        let mut ending = Ending::Stopped;
        let actions = self.coordinator.resume(now());
        if !actions.is_empty() {
            log::info!(
                "resuming what an earlier process left actions={}",
                actions.len()
            );
        }
        self.remember_root();
        self.apply(actions);
        if let Some(disk) = &self.disk {
            disk.complete_orphans();
        }
        self.save();
        let (mut next, mut saved) = (None, Instant::now());
        loop {
            // These are the only deadlines of the loop; every other one belongs to another thread.
            let later = self.later.iter().map(|(at, _)| *at);
            let due = self.trim_policy.due().into_iter().chain(later).min();
            let wait = due.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(Instant::now())
            });
            let event = next.take().or_else(|| self.inbox.recv_timeout(wait));
            if (self.trim_policy).take_due(Instant::now(), self.running.len()) {
                heap_trim::trim_heap();
            }
            self.start_later_ones();
            let Some(event) = event else {
                continue;
            };
            match event {
                Event::Accepted(accepted) => {
                    let webhook = &accepted.event;
                    if let Some(word) = webhook.event.account_label() {
                        *self.totals.account.entry(word).or_default() += 1;
                    }
                    log::debug!(
                        "webhook event={:?} ts={}",
                        kind(webhook),
                        webhook.event_ts_ms
                    );
                    let actions = self.zoom_event(accepted);
                    self.apply(actions);
                }
                Event::Events(report) => self.events_report(report),
                Event::Called(outcome) => {
                    let actions = self.called(*outcome);
                    self.apply(actions);
                }
                Event::Ended(stream_id) => self.ended(&stream_id),
                Event::SystemResumed => {
                    log::warn!("system resumed from suspend; reconnecting every stream");
                    for running in self.running.values() {
                        running.handle.command(Command::SystemResumed);
                    }
                    if let Some(events) = &self.events {
                        events.system_resumed();
                    }
                }
                Event::Checkpoint => {
                    if let Some(snapshot) = &mut self.snapshot {
                        snapshot.demand();
                    }
                }
                Event::Status(reply) => drop(reply.send(self.status())),
                Event::Heartbeat(reply) => drop(reply.send(self.heartbeat())),
                Event::Authorized => {
                    log::info!("a user has authorized the app; REST calls use the new token");
                    let settings = self.settings.coordinator();
                    let actions = self.coordinator.reload(now(), settings);
                    self.apply(actions);
                }
                Event::Api(reply) => drop(reply.send(Arc::clone(&self.api))),
                Event::Push(reply) => drop(reply.send(self.push.as_ref().map(Push::control))),
                Event::Output(reply) => drop(reply.send(self.output())),
                Event::Reload(new, reply) => {
                    self.reload(*new);
                    let _ = reply.send(());
                }
                Event::DiskPanicked => {
                    log::error!("a bug ended the thread that writes files; the server ends");
                    ending = Ending::DiskPanicked;
                    break;
                }
                Event::Stop => break,
            }
            // Changes that arrive together are saved together. Only receiving shows whether more
            // have arrived: a place in the inbox may be reserved for a request that never becomes a
            // webhook.
            next = self.inbox.recv_timeout(Duration::ZERO);
            if next.is_none() || saved.elapsed() >= SAVE_EVERY {
                self.save();
                saved = Instant::now();
            }
        }
        self.stop();
        ending
    }

    /// Applies new settings to the parts that can change them at run time.
    fn reload(&mut self, reload: Reload) {
        let Reload {
            settings,
            out_lock,
            ingress,
            api,
        } = reload;
        // Streams that run keep their folder, and so its lock is kept.
        self.out_locks.extend(out_lock);
        self.ingress.reload(ingress);
        let disk_before = self.settings.disk.clone();
        let before = self.settings.clone();
        self.settings.apply(settings);
        if let (Some(disk), Some(settings)) = (&self.disk, &self.settings.disk)
            && disk_before.as_ref() != Some(settings)
        {
            disk.reload(settings.clone());
        }
        self.use_endpoints();
        self.rest_timer.use_api(Arc::clone(&api));
        self.api = api;
        self.use_events(&before);
        self.remember_root();
        self.rotate_client_secret();
        let actions = self.coordinator.reload(now(), self.settings.coordinator());
        self.apply(actions);
    }

    /// Delivers to the endpoints of the settings from now on.
    fn use_endpoints(&mut self) {
        let endpoints = self.settings.push.clone();
        if let Some(push) = &self.push
            && push.reload(endpoints.clone())
        {
            return;
        }
        self.push = None;
        let board = self.disk.as_ref().and_then(Disk::board);
        let process = push_process(&self.settings, self.state_dir.as_ref(), board);
        let process = process.filter(|_| !endpoints.is_empty());
        if let Some(process) = process {
            let started = Push::start(endpoints, process);
            let failed = |error: &io::Error| log::error!("push cannot start: {error}");
            self.push = started.inspect_err(failed).ok();
        }
    }

    /// Handles the outcome of a REST call.
    fn called(&mut self, Outcome { call, result, api }: Outcome) -> Vec<Action> {
        match result {
            // The call was made with the previous credentials.
            Err(error) if !Arc::ptr_eq(&api, &self.api) => {
                log::info!("{error}; retrying, because the configuration was reloaded meanwhile");
                let at = Instant::now();
                self.rest_timer.at(ScheduledCall { at, ..call });
                Vec::new()
            }
            result => {
                let result = result.map_err(|error| error.failed_call());
                self.coordinator.handle_call(now(), &call, result)
            }
        }
    }

    /// Remembers the output folder, so that a withdrawal of consent deletes files even after
    /// `RTMS_OUT` has changed.
    fn remember_root(&mut self) {
        let root = self.settings.disk.as_ref().and_then(|disk| {
            let root = std::path::absolute(&disk.root).ok()?;
            root.to_str().map(str::to_owned)
        });
        if root.is_some_and(|root| self.coordinator.use_root(&root))
            && let Some(snapshot) = &mut self.snapshot
        {
            snapshot.demand();
        }
    }

    fn save(&mut self) {
        match &mut self.snapshot {
            Some(snapshot) => snapshot.save(&mut self.coordinator),
            // Without a state directory the changes are dropped, because their list would only
            // grow.
            None => drop(self.coordinator.take_changes()),
        }
    }

    /// Handles a Zoom event. The next save marks it as done.
    fn zoom_event(&mut self, accepted: Accepted) -> Vec<Action> {
        if let (Some(snapshot), Some(id)) = (&mut self.snapshot, accepted.intent) {
            snapshot.settle(id);
        }
        self.coordinator.handle_zoom_event(now(), accepted.event)
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::CallRest(call) => self.rest_timer.at(call),
                Action::Cancel { meeting } => self.rest_timer.cancel(meeting),
                Action::Start(plan) => self.start_stream(*plan),
                Action::StartLater { at, stream_id } => self.later.push((at, stream_id)),
                Action::FailOver { stream_id, urls } => {
                    match ServerUrl::all(&urls, &self.settings.allowed_hosts) {
                        Ok(urls) => {
                            if !self.send_command(&stream_id, Command::FailOver(urls)) {
                                self.revive.insert(stream_id);
                            }
                        }
                        Err(error) => {
                            log::error!("failover ignored stream={stream_id}: {error}");
                        }
                    }
                }
                Action::Interrupted {
                    stream_id,
                    event_ts_ms,
                    urls,
                } => {
                    let urls = ServerUrl::all(&urls, &self.settings.allowed_hosts);
                    let urls = urls.unwrap_or_default();
                    self.send_command(&stream_id, Command::Interrupted { event_ts_ms, urls });
                }
                Action::Stopped { stream_id, reason } => {
                    self.send_command(&stream_id, Command::Stopped(reason));
                }
                Action::Complete { info, reason } => {
                    self.complete(&info, &EndReason::Stopped(reason));
                }
                Action::Discard(withdrawal) => {
                    // The intent log still has the ids that are to be forgotten.
                    if let Some(snapshot) = &mut self.snapshot {
                        snapshot.demand();
                    }
                    self.media.revoke(&withdrawal.stream_id);
                    let roots = self.coordinator.roots().iter().map(PathBuf::from);
                    match (&self.disk, self.settings.on_revoked) {
                        (Some(disk), OnRevoked::Delete) => {
                            disk.discard(withdrawal, roots.collect());
                        }
                        (Some(disk), OnRevoked::Keep) => {
                            log::error!(
                                "consent was withdrawn, and RTMS_ON_REVOKED=keep keeps the files stream={}",
                                withdrawal.stream_id
                            );
                            disk.revoke(withdrawal, roots.collect());
                        }
                        (None, _) => {}
                    }
                }
                Action::Deauthorized {
                    user_id,
                    account_id,
                } => {
                    if let Some(disk) = &self.disk {
                        disk.deauthorized(user_id.clone(), account_id.clone());
                    }
                    self.rest_timer.deauthorized(user_id, account_id);
                }
                Action::Log(severity, text) => log::log!(log_level(severity), "{text}"),
            }
        }
    }
}

fn log_level(severity: Severity) -> log::Level {
    match severity {
        Severity::Error => log::Level::Error,
        Severity::Warn => log::Level::Warn,
        Severity::Info => log::Level::Info,
        Severity::Debug => log::Level::Debug,
    }
}

/// What push needs; `None` without a state directory or without journals.
fn push_process(
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
    for Unsettled { id, event } in unsettled {
        inbox.send_always(Event::Accepted(Accepted {
            event,
            intent: Some(id),
        }));
    }
    Ok((snapshot, coordinator))
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: now_ms(),
    }
}

/// The event's name, without its content, which may be personal data.
fn kind(webhook: &ZoomEvent) -> &'static str {
    use crate::domain::zoom_event::ZoomEventKind as E;
    match &webhook.event {
        E::MeetingStarted(_) => "started",
        E::MeetingEnded(_) => "ended",
        E::ParticipantJoined(_) => "participant_joined",
        E::StreamStarted(_) => "rtms_started",
        E::StreamInterrupted(_) => "rtms_interrupted",
        E::StreamStopped(_) => "rtms_stopped",
        E::UrlValidation { .. } => "url_validation",
        E::AppDeauthorized { .. } => "app_deauthorized",
        E::Account { .. } => "account",
        E::Other { .. } => "other",
    }
}
