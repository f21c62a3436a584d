//! The daemon: one inbox, one loop, and everything that it starts and joins.
//!
//! It decides nothing: the [`Coordinator`] returns actions for each event, and the daemon carries
//! them out. Nothing here waits for the network or for a disk.

pub(crate) mod actions;
pub(crate) mod apps;
pub(crate) mod error;
pub(crate) mod events;
#[cfg(feature = "fleet")]
pub(crate) mod fleet;
pub mod fleet_digests;
pub mod fleet_status;
pub mod fleet_store;
pub(crate) mod forget_alone;
pub(crate) mod forgetting;
pub(crate) mod handle;
pub(crate) mod heap_trim;
pub(crate) mod keep;
pub(crate) mod leaving;
#[cfg(not(feature = "fleet"))]
pub(crate) mod no_fleet;
pub(crate) mod places;
pub(crate) mod rest_queue;
pub(crate) mod rest_timer;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod snapshot;
pub(crate) mod start;
pub mod status;
pub(crate) mod streams;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::coordinator::{Action, Coordinator, Now, ScheduledCall};
use crate::delivery::ends::Ends;
use crate::delivery::media;
use crate::delivery::push;
use crate::delivery::push::Push;
use crate::delivery::stdout::Stdout;
use crate::domain::stream_info::StreamInfo;
use crate::domain::zoom_event::ZoomEvent;
use crate::feed::Board;
use crate::inbox;
use crate::inbox::inbox;
use crate::keeping::{self, Keeping};
use crate::net::dial::Dialer;
use crate::protocol::Command;
use crate::recorder::{Disk, OutLock};
use crate::source::authorization::Authorizations;
use crate::source::events::{EventsSource, SourceReport};
use crate::source::ingress;
use crate::source::ingress::Ingress;
use crate::source::webhook::desk::Accepted;
use crate::state::StateDir;
use crate::stream::Sink;
use crate::zoom_api::Api;
#[cfg(feature = "fleet")]
use fleet::{Fleet, FleetNews};
use forgetting::Forgetting;
use handle::Output;
use heap_trim::TrimPolicy;
use leaving::Leaving;
#[cfg(not(feature = "fleet"))]
use no_fleet::Fleet;
use places::Places;
use rest_timer::{Outcome, RestTimer};
use snapshot::Snapshot;
use start::push_process;
pub(crate) use start::shared_grants;
use status::{Heartbeat, StatusSnapshot, Totals};
use streams::RunningStream;

pub use crate::domain::app::{App, AppCredentials, RestCredentials, RestSettings};
pub use error::Error;
pub use handle::Handle;
pub use settings::{
    DEFAULT_AUTO_START, DEFAULT_BUFFER_DATA, OnDeauthorized, OnExit, OnRevoked, Settings,
};
pub use shutdown::GRACE;

/// Maximum webhooks that wait for the daemon. Each takes microseconds; if the inbox is full, a
/// webhook is answered 503, and Zoom sends it again.
const INBOX_MAX: usize = 8192;

/// While webhooks keep coming, the state is saved at least this often.
const SAVE_EVERY: Duration = Duration::from_millis(50);

/// Makes additional sinks for a stream; the extension point for embedders.
pub type SinkFactory = dyn Fn(&StreamInfo) -> Vec<Box<dyn Sink>> + Send;

/// Inputs of the daemon's loop.
#[derive(Debug)]
enum Event {
    /// A Zoom event that was answered 200, or came by the event WebSocket.
    Accepted(Accepted),
    /// What the event WebSocket reports beside events.
    Events(SourceReport),
    /// What the threads of the fleet's store say.
    #[cfg(feature = "fleet")]
    Fleet(FleetNews),
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
    /// Who removes recordings, if a rule is set.
    Keeping(SyncSender<Option<keeping::Control>>),
    /// What is needed to forget.
    Forgetting(Box<forgetting::Ask>),
    /// Asks where it writes.
    Output(SyncSender<Output>),
    Reload(Box<Reload>, SyncSender<()>),
    /// The disk thread panicked: nothing that is received is written any more.
    DiskPanicked,
    /// The app was taken out of the configuration.
    Leave,
    Stop,
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was told to.
    Stopped,
    /// Its app was taken out of the configuration, and its last stream has ended.
    Left,
    /// A bug ended the thread that writes files, so that it could not go on.
    DiskPanicked,
    /// A bug ended the daemon of one of several apps.
    Panicked,
    /// Another process of the fleet has this node's name.
    NameTaken,
    /// The fleet's data has a layout that this program cannot read.
    FleetTooNew,
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
    /// Streams of each account.
    places: Places,
    /// The other nodes, where there are some.
    fleet: Option<Box<Fleet>>,
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
    stdout: Option<Arc<Stdout>>,
    forgetting: Forgetting,
    push: Option<Push>,
    /// Where a rule is set.
    keeping: Option<Keeping>,
    /// Streams whose sound and pictures can be tapped.
    media: media::Hub,
    /// Where push keeps its progress.
    state_dir: Option<Arc<StateDir>>,
    /// Locates the system's root certificates while webhooks are answered already.
    /// `None` if another daemon does.
    roots: Option<JoinHandle<()>>,
    snapshot: Option<Snapshot>,
    /// Sums over ended streams.
    totals: Totals,
    /// Its app was removed: it begins nothing, and ends with its last stream.
    leaving: Option<Leaving>,
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
    /// Addresses at which webhooks are received.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.ingress.addresses()
    }

    /// The HTTP front, to which the owner may add further listeners, such as
    /// [`Admin`](crate::admin::Admin).
    pub fn gate(&self) -> Option<crate::gate::Gate> {
        self.ingress.gate()
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
        let media = self.media.clone();
        Handle::new(sender, ends, authorizations, media, self.forgetting.clone())
    }

    /// Runs until it is stopped, and then completes files and state.
    pub fn run(mut self) -> Ending {
        let mut ending = Ending::Stopped;
        self.remember_root();
        self.resume();
        if let Some(disk) = &self.disk {
            disk.complete_orphans();
        }
        self.keep();
        self.forgetting.resume();
        self.save();
        let (mut next, mut saved) = (None, Instant::now());
        loop {
            self.fleet_turn();
            if let Some(found) = self.fleet_ending() {
                ending = found;
                break;
            }
            // These are the only deadlines of the loop; every other one belongs to another thread.
            let later = self.later.iter().map(|(at, _)| *at);
            let has_streams = !self.running.is_empty();
            let fleet = self.fleet.as_ref().map(|fleet| fleet.due(has_streams));
            let own = self.trim_policy.due().into_iter().chain(fleet);
            let due = own.chain(later).min();
            let longest = match self.leaving {
                Some(_) => leaving::LOOK_EVERY,
                None => Duration::from_secs(3600),
            };
            let wait = due.map_or(longest, |at| {
                longest.min(at.saturating_duration_since(Instant::now()))
            });
            let event = next.take().or_else(|| self.inbox.recv_timeout(wait));
            if (self.trim_policy).take_due(Instant::now(), self.running.len()) {
                heap_trim::trim_heap();
            }
            self.start_later_ones();
            let Some(event) = event else {
                if self.has_left() {
                    ending = Ending::Left;
                    break;
                }
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
                    if let Some(accepted) = self.for_fleet(accepted) {
                        let actions = self.zoom_event(accepted);
                        self.apply(actions);
                    }
                }
                #[cfg(feature = "fleet")]
                Event::Fleet(news) => self.fleet_news(news),
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
                    let settings = self.coordinator_settings();
                    let actions = self.coordinator.reload(now(), settings);
                    self.apply(actions);
                }
                Event::Api(reply) => drop(reply.send(Arc::clone(&self.api))),
                Event::Keeping(reply) => {
                    drop(reply.send(self.keeping.as_ref().map(Keeping::control)));
                }
                Event::Push(reply) => drop(reply.send(self.push.as_ref().map(Push::control))),
                Event::Forgetting(ask) => self.forgetting_asks(*ask),
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
                Event::Leave => self.leave(),
                Event::Stop if self.begins_hand_over() => {}
                Event::Stop => break,
            }
            self.fleet_turn();
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
        self.keep();
        self.rotate_client_secret();
        self.reload_fleet();
        // An app that was removed is back.
        self.leaving = None;
        let actions = self.coordinator.reload(now(), self.coordinator_settings());
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
        self.note_fleet_save();
    }

    /// Handles a Zoom event. The next save marks it as done.
    fn zoom_event(&mut self, accepted: Accepted) -> Vec<Action> {
        // What an account leaves behind counts as handled once it is sure to be forgotten.
        let data = self.data_to_forget(&accepted);
        if let (Some(snapshot), Some(id)) = (&mut self.snapshot, accepted.intent)
            && data.is_none()
        {
            snapshot.settle(id);
        }
        if let Some(account_id) = data {
            self.forgetting.deauthorized(account_id, accepted.intent);
        }
        if self.is_refused(&accepted.event) {
            log::info!(
                "not acted on, because the app was removed or is disabled event={}",
                kind(&accepted.event)
            );
            return Vec::new();
        }
        self.coordinator.handle_zoom_event(now(), accepted.event)
    }
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
