//! The daemon's settings.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use crate::coordinator::{self, StreamChoice};
use crate::delivery::ends;
use crate::delivery::push::settings::EndpointSettings;
use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::App;
use crate::domain::fleet::FleetSettings;
use crate::keeping::Rules;
use crate::net::file_limit::{file_limit, streams_max};
use crate::net::proxy::ProxyEnv;
use crate::protocol::events::EventSelection;
use crate::protocol::server_url::AllowedHosts;
use crate::protocol::{MediaParams, MediaSelection};
use crate::recorder::RecorderSettings;
use crate::source::events;
use crate::source::ingress;
use crate::state::seal::StateKeys;

/// What SIGTERM does to streams: `RTMS_ON_EXIT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExit {
    /// Streams stay open at Zoom, so that the next process can rejoin them.
    #[default]
    Leave,
    /// Streams are stopped at Zoom.
    Stop,
    /// Each stream is given to a living server of the fleet; what is left then stays open.
    HandOver,
}

impl OnExit {
    /// All of them.
    pub(crate) const ALL: [OnExit; 3] = [OnExit::Leave, OnExit::Stop, OnExit::HandOver];

    /// The word in `RTMS_ON_EXIT`.
    pub const fn name(self) -> &'static str {
        match self {
            OnExit::Leave => "leave",
            OnExit::Stop => "stop",
            OnExit::HandOver => "hand-over",
        }
    }
}

/// What withdrawn consent (stop reason 8) does to a stream's files: `RTMS_ON_REVOKED`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnRevoked {
    /// The files are deleted at once.
    #[default]
    Delete,
    /// The files stay, and an error is logged.
    Keep,
}

impl OnRevoked {
    /// All of them.
    pub(crate) const ALL: [OnRevoked; 2] = [OnRevoked::Delete, OnRevoked::Keep];

    /// The word in `RTMS_ON_REVOKED`.
    pub const fn name(self) -> &'static str {
        match self {
            OnRevoked::Delete => "delete",
            OnRevoked::Keep => "keep",
        }
    }
}

/// What an account's removal of the app (`app_deauthorized`) does to its data:
/// `RTMS_ON_DEAUTHORIZED`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDeauthorized {
    /// It stays.
    #[default]
    Keep,
    /// It is forgotten, unless the event says that the app may keep it.
    Delete,
}

impl OnDeauthorized {
    /// Every choice.
    pub const ALL: [OnDeauthorized; 2] = [OnDeauthorized::Keep, OnDeauthorized::Delete];

    /// The word in `RTMS_ON_DEAUTHORIZED`.
    pub const fn name(self) -> &'static str {
        match self {
            OnDeauthorized::Keep => "keep",
            OnDeauthorized::Delete => "delete",
        }
    }
}

/// `RTMS_AUTO_START` where it is not set.
pub const DEFAULT_AUTO_START: bool = true;
/// `RTMS_BUFFER_DATA` where it is not set: Zoom's default.
pub const DEFAULT_BUFFER_DATA: bool = true;

/// Capacity of a node without a limit of open files.
const CAPACITY_MAX: u32 = 100_000;

/// Everything that an operator can set for the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The app whose streams are received: exactly one. For several apps start a daemon for each, with
    /// folders and listeners of its own.
    pub apps: Vec<App>,
    /// The webhook listener.
    pub webhooks: ingress::Settings,
    /// `ZOOM_EVENTS_URL`: the event WebSocket; `None` to receive webhooks only.
    pub zoom_events: Option<events::Settings>,
    /// `RTMS_AUTO_START`: whether a meeting's stream is started by REST, if there are credentials.
    pub auto_start: bool,
    /// `RTMS_STOP_AFTER`: time from our start to our stop; `None`: until the meeting ends.
    pub stop_after: Option<Duration>,
    /// `RTMS_STREAMS_MAX`: most streams of one account at one time; `None` for no limit.
    pub streams_max: Option<usize>,
    /// `RTMS_STREAMS`: which streams of a meeting are received.
    pub streams: StreamChoice,
    /// `RTMS_MEDIA`.
    pub media: MediaSelection,
    /// `RTMS_AUDIO_*`, `RTMS_VIDEO_*`, `RTMS_SHARE_*`, `RTMS_TRANSCRIPT_LANGUAGE`.
    pub params: MediaParams,
    /// `RTMS_VIDEO_PARTICIPANT`: whose camera, with individual video, by user id or name; `None`
    /// for the active speaker's.
    pub video_participant: Option<String>,
    /// `RTMS_EVENTS`.
    pub events: EventSelection,
    /// `RTMS_BUFFER_DATA`; `true` is Zoom's default and not sent.
    pub buffer_data: bool,
    /// `RTMS_ALLOWED_HOSTS`: hosts that streams may be received from.
    pub allowed_hosts: AllowedHosts,
    /// `RTMS_CA_FILE`: root certificates in addition to the system's, for every connection to Zoom.
    /// Read at the start.
    pub ca_file: Option<PathBuf>,
    /// The proxies of REST calls. Read at the start.
    pub proxy: ProxyEnv,
    /// Settings of the recorder; `None` to write no files.
    pub disk: Option<RecorderSettings>,
    /// `RTMS_STDOUT`; `None` to write nothing.
    pub stdout: Option<StdoutFormat>,
    /// `RTMS_PUSH_*`: where events are sent.
    pub push: Vec<EndpointSettings>,
    /// `RTMS_STATE`; `None` to keep no state for the next process. Read at the start.
    pub state: Option<PathBuf>,
    /// `RTMS_STATE_KEY_FILE`: the keys of encrypted files in [`Settings::state`]. Read at the start.
    pub state_keys: StateKeys,
    /// `RTMS_ON_STREAM_END`, `RTMS_S3_*`: what is done once a stream has ended.
    pub ends: ends::Settings,
    /// `RTMS_KEEP*`, `RTMS_DISK_*`: which recordings are removed; none by default.
    pub keeping: Rules,
    /// `RTMS_ON_REVOKED`.
    pub on_revoked: OnRevoked,
    /// `RTMS_ON_DEAUTHORIZED`.
    pub on_deauthorized: OnDeauthorized,
    /// `RTMS_ON_EXIT`.
    pub on_exit: OnExit,
    /// `RTMS_FLEET`, `RTMS_NODE` and their like: the other servers; `None` for a server that is alone. Read at
    /// the start, but for the capacity.
    pub fleet: Option<FleetSettings>,
}

impl Settings {
    /// Defaults for an app: transcripts and events, no state directory, no files and no standard
    /// output; data goes only to the sinks that [`Daemon::start`](super::Daemon::start) is given.
    pub fn new(app: App) -> Settings {
        Settings {
            apps: vec![app],
            webhooks: ingress::Settings::default(),
            zoom_events: None,
            auto_start: DEFAULT_AUTO_START,
            stop_after: None,
            streams_max: None,
            streams: StreamChoice::default(),
            media: MediaSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            events: EventSelection::default(),
            buffer_data: DEFAULT_BUFFER_DATA,
            allowed_hosts: AllowedHosts::default(),
            ca_file: None,
            proxy: ProxyEnv::default(),
            disk: None,
            stdout: None,
            push: Vec::new(),
            state: None,
            state_keys: StateKeys::default(),
            ends: ends::Settings::default(),
            keeping: Rules::default(),
            on_revoked: OnRevoked::default(),
            on_deauthorized: OnDeauthorized::default(),
            on_exit: OnExit::default(),
            fleet: None,
        }
    }

    /// The app whose streams are received.
    ///
    /// # Panics
    /// Without any app: [`Settings::check`] comes first.
    pub(crate) fn app(&self) -> &App {
        &self.apps[0]
    }

    /// Checks that there is exactly one app, and that a fleet has what it needs.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.apps.len() != 1 {
            return Err(Error::Apps(self.apps.len()));
        }
        match &self.fleet {
            Some(_) if !cfg!(feature = "fleet") => Err(Error::Fleet(
                "found in a binary without the feature fleet, expected one with it",
            )),
            Some(_) if self.state.is_none() => Err(Error::Fleet(
                "found without a state directory, expected one beside it",
            )),
            _ => Ok(()),
        }
    }

    /// Streams beyond which this node gets no new meetings: `RTMS_NODE_STREAMS`, or as many as the limit of
    /// open files allows now. With several apps each of them counts for itself.
    pub fn fleet_capacity(&self) -> u32 {
        let chosen = self.fleet.as_ref().and_then(|fleet| fleet.streams);
        chosen.unwrap_or_else(|| {
            let allowed = u32::try_from(streams_max(file_limit())).unwrap_or(u32::MAX);
            allowed.clamp(1, CAPACITY_MAX)
        })
    }

    /// Takes the new settings, except those that a running process cannot change.
    pub(crate) fn apply(&mut self, new: Settings) {
        let old = self.clone();
        let fleet = old.fleet.map(|old| FleetSettings {
            streams: new.fleet.as_ref().and_then(|new| new.streams),
            ..old
        });
        let on_exit = match (new.on_exit, &fleet) {
            // The fleet came with a reload, which cannot add it.
            (OnExit::HandOver, None) => old.on_exit,
            (on_exit, _) => on_exit,
        };
        // A part that was not started cannot be given settings; a running part cannot be removed.
        *self = Settings {
            ca_file: old.ca_file,
            proxy: old.proxy,
            state: old.state,
            state_keys: old.state_keys,
            disk: old.disk.and_then(|old| new.disk.or(Some(old))),
            stdout: old.stdout.and_then(|old| new.stdout.or(Some(old))),
            fleet,
            on_exit,
            ..new
        };
    }

    /// The coordinator's settings.
    pub(super) fn coordinator(&self) -> coordinator::Settings {
        let can_call = self.app().rest.credentials.is_some();
        coordinator::Settings {
            auto_start: self.auto_start && can_call,
            can_call,
            stop_after: self.stop_after,
            streams: self.streams,
            participant_user_id: self.app().rest.participant_user_id.clone(),
            app: Some(self.app().name.clone()).filter(|name| !name.is_empty()),
            node: self.fleet.as_ref().map(|fleet| fleet.node.clone()),
        }
    }
}
