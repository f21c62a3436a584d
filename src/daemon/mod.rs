//! The daemon: one inbox, one loop, and everything that it starts and joins.
//!
//! It holds no rule: what follows from an event is decided by the [`Registry`]; this carries it
//! out. Nothing here waits for the network or for a disk.

mod schedule;
pub mod signals;
mod snapshot;
pub mod status;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::api::{self, Api};
use crate::inbox::{self, inbox};
use crate::meeting::resolve::Resolver;
use crate::meeting::{Connector, Meeting, Network, Sink, TlsError};
use crate::output::{self, Disk, DiskSettings, Stdout, StdoutFormat, StreamInfo};
use crate::protocol::events::EventSelection;
use crate::protocol::url::{AllowedHosts, ServerUrl};
use crate::protocol::{Command, EndReason, MediaParams, MediaSelection, Product, StreamConfig};
use crate::public::{self, Public};
use crate::registry::{self, Action, Now, Registry, StreamPlan};
use crate::secret::Secret;
use crate::state::{self, StateDir};
use crate::time::now_ms;
use crate::webhook::Webhook;
use schedule::{Outcome, Schedule};
use snapshot::Snapshot;
use status::{Pulse, Status, Totals};

/// Most webhooks that wait for the daemon. Each takes microseconds; a full inbox is answered 503,
/// and Zoom delivers again.
const INBOX_MAX: usize = 8192;

/// In a storm of webhooks what a restart needs is saved at least this often.
const SAVE_EVERY: Duration = Duration::from_millis(50);

/// From the first warning that is folded to the line that tells how many were.
const FLUSH_AFTER: Duration = Duration::from_secs(60);

/// From the wish to end to the end.
pub const GRACE: Duration = Duration::from_millis(2500);

/// An app's id and secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Client id, or Video SDK key.
    pub id: String,
    /// Client secret, or Video SDK secret.
    pub secret: Secret,
}

/// What SIGTERM does to streams: `RTMS_ON_EXIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They stay open at Zoom, so that the next process can take them over.
    Leave,
    /// They are ended at Zoom.
    Stop,
}

/// Everything that the daemon is told by its operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public edge.
    pub public: public::Settings,
    /// REST; [`api::Credentials::None`] for none. Its `state` is set by the daemon.
    pub api: api::Settings,
    /// Starting and stopping.
    pub auto_start: bool,
    /// Seconds from our start to our stop.
    pub stop_after: Option<Duration>,
    /// The app whose streams we take.
    pub app: KeyPair,
    /// For Video SDK sessions.
    pub video_sdk: Option<KeyPair>,
    /// What is wanted of a stream.
    pub media: MediaSelection,
    /// With which parameters.
    pub params: MediaParams,
    /// Whose camera, with individual video: user id or name; `None` for the active speaker's.
    pub video_participant: Option<String>,
    /// Which events.
    pub events: EventSelection,
    /// `RTMS_BUFFER_DATA`; `true` is Zoom's default and not sent.
    pub buffer_data: bool,
    /// Where streams may come from.
    pub allowed_hosts: AllowedHosts,
    /// Roots beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Files; `None` for none.
    pub disk: Option<DiskSettings>,
    /// Standard output; `None` for silence.
    pub stdout: Option<StdoutFormat>,
    /// The state directory; `None` for a process that forgets.
    pub state: Option<PathBuf>,
    /// Whether withdrawn consent deletes a stream's files.
    pub delete_revoked: bool,
    /// What the end of the process does to streams.
    pub on_exit: OnExit,
}

impl Settings {
    /// An app, the secret tokens of its webhooks, and every default: transcripts and events, no
    /// REST credentials (so no start of our own), no state directory, and nothing written
    /// anywhere: data goes to the sinks that [`Daemon::start`] is given.
    pub fn new(app: KeyPair, secret_tokens: Vec<Secret>) -> Settings {
        Settings {
            public: public::Settings {
                secret_tokens,
                ..public::Settings::default()
            },
            api: api::Settings::new(api::Credentials::None, app.id.clone()),
            auto_start: true,
            stop_after: None,
            app,
            video_sdk: None,
            media: MediaSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            events: EventSelection::default(),
            buffer_data: true,
            allowed_hosts: AllowedHosts::default(),
            ca_file: None,
            disk: None,
            stdout: None,
            state: None,
            delete_revoked: true,
            on_exit: OnExit::Leave,
        }
    }
}

/// Makes further sinks for a stream: the way in for those who embed us.
pub type SinkMaker = dyn Fn(&StreamInfo) -> Vec<Box<dyn Sink>> + Send;

/// Why the daemon cannot start.
#[derive(Debug)]
pub enum Error {
    /// The public edge.
    Public(public::Error),
    /// The state directory.
    State(state::Error),
    /// TLS towards Zoom.
    Tls(TlsError),
    /// The REST client.
    Api(api::Error),
    /// A thread, a socket, a signal.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Public(error) => error.fmt(f),
            Error::State(error) => error.fmt(f),
            Error::Tls(error) => error.fmt(f),
            Error::Api(error) => error.fmt(f),
            Error::Io(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// Everything that makes the daemon do something.
#[derive(Debug)]
enum Event {
    Webhook(Webhook),
    Called(Box<Outcome>),
    Ended(String),
    Slept,
    Folded,
    Status(SyncSender<Status>),
    Pulse(SyncSender<Pulse>),
    Reload(Box<Settings>, SyncSender<Result<(), public::Error>>),
    Stop,
}

impl From<Webhook> for Event {
    fn from(webhook: Webhook) -> Event {
        Event::Webhook(webhook)
    }
}

/// Tells a running daemon to end; clones tell the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: inbox::Sender<Event>,
}

impl Handle {
    /// Ends it: [`Daemon::run`] returns within [`GRACE`] and a little.
    pub fn stop(&self) {
        self.sender.send_always(Event::Stop);
    }

    /// Warnings were folded: a minute from now it is to be told how many.
    pub fn folded(&self) {
        self.sender.send_always(Event::Folded);
    }

    /// The machine slept: connections are dead without knowing it.
    pub fn slept(&self) {
        self.sender.send_always(Event::Slept);
    }
}

/// A daemon that has bound its listener and is about to run.
pub struct Daemon {
    settings: Settings,
    inbox: inbox::Receiver<Event>,
    sender: inbox::Sender<Event>,
    registry: Registry,
    running: HashMap<String, Running>,
    /// Streams that were told to move when their thread was already over.
    revive: HashSet<String>,
    network: Network,
    sinks: Option<Box<SinkMaker>>,
    api: Arc<Api>,
    schedule: Schedule,
    public: Public<Event>,
    disk: Option<Disk>,
    stdout: Option<Stdout>,
    /// Makes the TLS configuration while webhooks are answered already.
    roots: JoinHandle<()>,
    snapshot: Option<Snapshot>,
    /// Of streams that have ended.
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

#[derive(Debug)]
struct Running {
    meeting: Meeting,
    info: StreamInfo,
    since: Instant,
}

impl Daemon {
    /// Starts everything but the streams; webhooks are answered from here on.
    pub fn start(
        listeners: Vec<TcpListener>,
        settings: Settings,
        sinks: Option<Box<SinkMaker>>,
    ) -> Result<Daemon, Error> {
        let tls = Connector::new(settings.ca_file.as_deref()).map_err(Error::Tls)?;
        let network = Network::start(tls.clone(), Resolver::default())?;
        let state = settings
            .state
            .as_ref()
            .map(StateDir::open)
            .transpose()
            .map_err(Error::State)?;
        let state = state.map(Arc::new);
        let api = api::Settings {
            state: state.clone(),
            ..settings.api.clone()
        };
        let api = Arc::new(Api::new(api).map_err(Error::Api)?);
        let registry = match &state {
            Some(state) => restore(state, settings.registry()),
            None => Registry::new(settings.registry()),
        };
        let snapshot = state.as_ref().map(Snapshot::start).transpose()?;
        let disk = settings.disk.clone().map(Disk::start).transpose()?;
        let stdout = settings.stdout.map(|_| Stdout::start()).transpose()?;
        let (sender, inbox) = inbox(INBOX_MAX);
        let report = sender.clone();
        let schedule = Schedule::start(Arc::clone(&api), move |outcome| {
            report.send_always(Event::Called(Box::new(outcome)));
        })?;
        let roots = tls.prepare()?;
        let public = Public::start(listeners, settings.public.clone(), sender.clone())
            .map_err(Error::Public)?;
        Ok(Daemon {
            settings,
            inbox,
            sender,
            registry,
            running: HashMap::new(),
            revive: HashSet::new(),
            network,
            sinks,
            api,
            schedule,
            public,
            disk,
            stdout,
            roots,
            snapshot,
            totals: Totals::default(),
            is_draining: false,
        })
    }

    /// Where webhooks are taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.public.addresses()
    }

    /// To end it from elsewhere.
    pub fn handle(&self) -> Handle {
        Handle {
            sender: self.sender.clone(),
        }
    }

    /// Works until it is told to stop, then leaves everything complete.
    pub fn run(mut self) {
        let actions = self.registry.resume(now());
        if !actions.is_empty() {
            log::info!(
                "taking up what an earlier process left actions={}",
                actions.len()
            );
        }
        self.obey(actions);
        self.save();
        let (mut next, mut saved, mut flush_at) = (None, Instant::now(), None);
        loop {
            // Nothing else is due here: every other deadline belongs to another thread.
            let wait = flush_at.map_or(Duration::from_secs(3600), |at: Instant| {
                at.saturating_duration_since(Instant::now())
            });
            let event = next.take().or_else(|| self.inbox.recv_timeout(wait));
            if flush_at.take_if(|at| Instant::now() >= *at).is_some() {
                crate::log::flush_folded();
            }
            let Some(event) = event else {
                continue;
            };
            match event {
                Event::Webhook(webhook) => {
                    log::debug!(
                        "webhook event={:?} ts={}",
                        kind(&webhook),
                        webhook.event_ts_ms
                    );
                    let actions = self.registry.handle_webhook(now(), webhook);
                    self.obey(actions);
                }
                Event::Called(outcome) => {
                    let (call, result) = *outcome;
                    let actions = self.registry.handle_call(now(), &call, result);
                    self.obey(actions);
                }
                Event::Ended(stream_id) => self.ended(&stream_id),
                Event::Slept => {
                    log::warn!("this machine slept; every stream connects again");
                    for running in self.running.values() {
                        running.meeting.command(Command::Slept);
                    }
                }
                Event::Folded => flush_at = Some(Instant::now() + FLUSH_AFTER),
                Event::Status(reply) => drop(reply.send(self.status())),
                Event::Pulse(reply) => drop(reply.send(self.pulse())),
                Event::Reload(settings, reply) => drop(reply.send(self.reload(*settings))),
                Event::Stop => break,
            }
            // What comes together is saved together. Whether more has come is asked by taking it:
            // a place in the inbox may be held for a request that never becomes a webhook.
            next = self.inbox.recv_timeout(Duration::ZERO);
            if next.is_none() || saved.elapsed() >= SAVE_EVERY {
                self.save();
                saved = Instant::now();
            }
        }
        self.stop();
    }

    /// All or nothing. What belongs to parts that live as long as the process stays as it is.
    fn reload(&mut self, new: Settings) -> Result<(), public::Error> {
        self.public.reload(new.public.clone())?;
        let old = self.settings.clone();
        let is_kept = new.disk.is_none() || new.disk.is_some() != old.disk.is_some();
        let stdout = old.stdout.and(new.stdout).or(old.stdout);
        self.settings = Settings {
            api: old.api,
            ca_file: old.ca_file,
            state: old.state,
            disk: if is_kept { old.disk } else { new.disk },
            stdout,
            ..new
        };
        self.registry.reload(self.settings.registry());
        if let (Some(disk), Some(settings)) = (&self.disk, &self.settings.disk) {
            disk.reload(settings.clone());
        }
        Ok(())
    }

    fn save(&mut self) {
        if self.registry.take_changed()
            && let Some(snapshot) = &self.snapshot
        {
            snapshot.save(&self.registry.to_json().into());
        }
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Call(call) => self.schedule.at(call),
                Action::Cancel { meeting } => self.schedule.cancel(meeting),
                Action::Start(plan) => self.start_stream(*plan),
                Action::FailOver { stream_id, urls } => {
                    match ServerUrl::first(&urls, &self.settings.allowed_hosts) {
                        Ok(url) => {
                            if !self.tell(&stream_id, Command::FailOver(url)) {
                                self.revive.insert(stream_id);
                            }
                        }
                        Err(error) => log::error!("fail-over is not followed: {error}"),
                    }
                }
                Action::Interrupted {
                    stream_id,
                    event_ts_ms,
                    urls,
                } => {
                    let url = ServerUrl::first(&urls, &self.settings.allowed_hosts).ok();
                    self.tell(&stream_id, Command::Interrupted { event_ts_ms, url });
                }
                Action::Stopped { stream_id, reason } => {
                    self.tell(&stream_id, Command::Stopped(reason));
                }
                Action::Complete { info, reason } => {
                    self.complete(&info, &EndReason::Stopped(reason));
                }
                Action::Discard(info) => match (&self.disk, self.settings.delete_revoked) {
                    (Some(disk), true) => disk.discard(info),
                    (Some(_), false) => log::error!(
                        "consent was withdrawn, and RTMS_ON_REVOKED=keep keeps the files stream={}",
                        info.stream_id
                    ),
                    (None, _) => {}
                },
                Action::ForgetToken => {
                    if let Err(error) = self.api.forget() {
                        log::error!("the stored token could not be deleted: {error}");
                    }
                }
                Action::Log(level, text) => log::log!(level, "{text}"),
            }
        }
    }

    fn tell(&self, stream_id: &str, command: Command) -> bool {
        self.running
            .get(stream_id)
            .is_some_and(|running| running.meeting.command(command))
    }

    fn start_stream(&mut self, plan: StreamPlan) {
        let stream_id = plan.info.stream_id.clone();
        let info = plan.info.clone();
        let is_rejoin = plan.is_rejoin;
        if let Err(end) = self.try_start_stream(plan) {
            if is_rejoin {
                self.complete(&info, &end);
            }
            log::error!("stream not started stream={stream_id} id={} {end}", info.id);
            let actions = self.registry.handle_end(now(), &stream_id, &end);
            self.obey(actions);
        }
    }

    fn try_start_stream(&mut self, plan: StreamPlan) -> Result<(), EndReason> {
        let StreamPlan {
            started,
            info,
            window,
            is_rejoin,
        } = plan;
        let hosts = &self.settings.allowed_hosts;
        let url = ServerUrl::first(&started.server_urls, hosts).map_err(EndReason::BadUrl)?;
        let keys = match (started.product, &self.settings.video_sdk) {
            (Product::Session, Some(keys)) => keys,
            _ => &self.settings.app,
        };
        let config = StreamConfig {
            product: started.product,
            id: started.id,
            stream_id: started.stream_id.clone(),
            client_id: keys.id.clone(),
            client_secret: keys.secret.clone(),
            url,
            allowed_hosts: hosts.clone(),
            media: self.settings.media.clone(),
            params: self.settings.params,
            video_participant: self.settings.video_participant.clone(),
            events: self.settings.events.numbers(started.product),
            buffer_data: (!self.settings.buffer_data).then_some(false),
            window,
        };
        let mut seam = Default::default();
        let mut sinks = self
            .sinks
            .as_ref()
            .map(|make| make(&info))
            .unwrap_or_default();
        if let (Some(stdout), Some(format)) = (&self.stdout, self.settings.stdout) {
            sinks.push(Box::new(stdout.sink(&info, format)));
        }
        if let (Some(disk), Some(settings)) = (&self.disk, &self.settings.disk) {
            if is_rejoin {
                seam = output::seam(&settings.root, &info);
            }
            sinks.push(Box::new(disk.sink(info.clone())));
        }
        let sender = self.sender.clone();
        let stream_id = started.stream_id.clone();
        let ended = move || sender.send_always(Event::Ended(stream_id));
        let network = self.network.clone();
        let meeting = Meeting::start(config, network, seam, sinks, ended)
            .map_err(|error| EndReason::NoResources(error.to_string()))?;
        log::info!(
            "stream begins stream={} product={} id={} rejoin={is_rejoin}",
            info.stream_id,
            info.product.name(),
            info.id
        );
        let running = Running {
            meeting,
            info,
            since: Instant::now(),
        };
        self.running.insert(started.stream_id, running);
        self.totals.begun += 1;
        self.totals.rejoined += u64::from(is_rejoin);
        Ok(())
    }

    /// Completes the files that an earlier process left of a stream.
    fn complete(&self, info: &StreamInfo, end: &EndReason) {
        if let Some(disk) = &self.disk {
            disk.sink(info.clone()).end(end);
        }
    }

    fn ended(&mut self, stream_id: &str) {
        let Some(running) = self.running.remove(stream_id) else {
            return;
        };
        let stats = Arc::clone(running.meeting.stats());
        let end = join(running);
        self.totals.add(&stats);
        *self.totals.ended.entry(end.word()).or_default() += 1;
        let mut actions = self.registry.handle_end(now(), stream_id, &end);
        if self.revive.remove(stream_id) {
            actions.extend(self.registry.revive(stream_id));
        }
        self.obey(actions);
    }

    fn stop(mut self) {
        let deadline = Instant::now() + GRACE;
        self.is_draining = true;
        log::info!("stopping streams={}", self.running.len());
        self.public.stop();
        let command = match self.settings.on_exit {
            OnExit::Leave => Command::Leave,
            OnExit::Stop => Command::Close,
        };
        for running in self.running.values() {
            running.meeting.command(command.clone());
        }
        // Streams get most of the time; their files and the snapshot need the rest.
        let streams_until = deadline - GRACE / 4;
        while !self.running.is_empty() {
            let left = streams_until.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Some(Event::Ended(stream_id)) => self.ended(&stream_id),
                Some(event) => self.last_event(event),
                None if left.is_zero() => break,
                None => {}
            }
        }
        while let Some(event) = self.inbox.recv_timeout(Duration::ZERO) {
            self.last_event(event);
        }
        for (stream_id, running) in self.running.drain() {
            log::error!("stream did not end in time stream={stream_id}");
            drop(running);
        }
        self.schedule.stop(Instant::now());
        if let Some(snapshot) = self.snapshot.take() {
            if self.registry.take_changed() {
                snapshot.save(&self.registry.to_json().into());
            }
            if !snapshot.stop(deadline) {
                log::error!("the state could not be saved in time");
            }
        }
        if let Some(disk) = self.disk.take()
            && !disk.stop(deadline)
        {
            log::error!("files could not be completed in time");
        }
        if let Some(stdout) = self.stdout.take() {
            let dropped = Arc::clone(stdout.dropped());
            stdout.stop(deadline.min(Instant::now() + Duration::from_millis(500)));
            let dropped = dropped.load(Relaxed);
            if dropped > 0 {
                log::warn!("lines of standard output that nobody read count={dropped}");
            }
        }
        if self.roots.join().is_err() {
            log::error!("the thread that reads the roots panicked");
        }
        log::info!("stopped");
    }
}

impl Daemon {
    /// Webhooks that were answered before the end are not lost: what they change is saved, and the
    /// next process acts on it. Only what is to be deleted is deleted at once.
    fn last_event(&mut self, event: Event) {
        let actions = match event {
            Event::Webhook(webhook) => self.registry.handle_webhook(now(), webhook),
            Event::Called(outcome) => self.registry.handle_call(now(), &outcome.0, outcome.1),
            // Who asked may have gone; then nobody is there to be told.
            Event::Status(reply) => {
                let _ = reply.send(self.status());
                return;
            }
            Event::Pulse(reply) => {
                let _ = reply.send(self.pulse());
                return;
            }
            Event::Ended(_) | Event::Slept | Event::Folded | Event::Reload(..) | Event::Stop => {
                return;
            }
        };
        let is_last = |action: &Action| {
            matches!(
                action,
                Action::Discard(_) | Action::ForgetToken | Action::Log(..)
            )
        };
        self.obey(actions.into_iter().filter(is_last).collect());
    }
}

impl Settings {
    fn registry(&self) -> registry::Settings {
        let can_call = !matches!(self.api.credentials, api::Credentials::None);
        registry::Settings {
            auto_start: self.auto_start && can_call,
            can_call,
            stop_after: self.stop_after,
        }
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: now_ms(),
    }
}

/// What the process before knew, by the newer of its files that can be read.
fn restore(state: &StateDir, settings: registry::Settings) -> Registry {
    let mut newest: Option<Registry> = None;
    for name in snapshot::FILE_NAMES {
        let read = state.read(name).map_err(|error| error.to_string());
        let parse = |json: Option<Vec<u8>>| match json {
            Some(json) => Registry::from_json(settings, &json)
                .map(Some)
                .map_err(|error| format!("{name}: {error}")),
            None => Ok(None),
        };
        match read.and_then(parse) {
            Ok(Some(found))
                if newest
                    .as_ref()
                    .is_none_or(|n| n.version() < found.version()) =>
            {
                newest = Some(found);
            }
            Ok(_) => {}
            Err(error) => log::error!(
                "the state directory has a file that cannot be read: {error}; it is ignored, and \
                 newer streams of the process before may not be rejoined"
            ),
        }
    }
    newest.unwrap_or_else(|| Registry::new(settings))
}

/// Joins a stream's thread, and says how it went.
fn join(running: Running) -> EndReason {
    let Running {
        meeting,
        info,
        since,
    } = running;
    let stats = Arc::clone(meeting.stats());
    let end = meeting.join().unwrap_or(EndReason::Panicked);
    let level = match &end {
        EndReason::Panicked | EndReason::Refused(..) => log::Level::Error,
        EndReason::NothingGranted | EndReason::Lost(..) => log::Level::Warn,
        _ => log::Level::Info,
    };
    let count = |count: &crate::meeting::Count| count.messages.load(Relaxed);
    log::log!(
        level,
        "stream ended stream={} id={} end=\"{end}\" seconds={:.1} transcripts={} audio={} \
         video={} share={} chat={} events={} keep_alives={} losses={} repeated={} unknown={} \
         malformed={}",
        info.stream_id,
        info.id,
        since.elapsed().as_secs_f64(),
        count(&stats.transcripts),
        count(&stats.audio),
        count(&stats.video),
        count(&stats.share),
        count(&stats.chat),
        count(&stats.events),
        stats.keep_alives.load(Relaxed),
        stats.losses.load(Relaxed),
        stats.repeated.load(Relaxed),
        stats.unknown.load(Relaxed),
        stats.malformed.load(Relaxed),
    );
    end
}

/// An event without what it carries, which may be personal.
fn kind(webhook: &Webhook) -> &'static str {
    use crate::webhook::Event as E;
    match &webhook.event {
        E::MeetingStarted(_) => "started",
        E::MeetingEnded(_) => "ended",
        E::RtmsStarted(_) => "rtms_started",
        E::RtmsInterrupted(_) => "rtms_interrupted",
        E::RtmsStopped(_) => "rtms_stopped",
        E::UrlValidation { .. } => "url_validation",
        E::AppDeauthorized { .. } => "app_deauthorized",
        E::Account { .. } => "account",
        E::Other { .. } => "other",
    }
}
