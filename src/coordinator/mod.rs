//! The coordinator: keeps the state of each meeting and stream, and decides on the actions after
//! each event.
//!
//! Pure: an event and its time go in, [`Action`]s for the daemon come out. Webhooks arrive at least
//! once and in any order (Zoom repeats one up to 85 minutes later), so every decision compares
//! timestamps, which are kept for longer than that.
//!
//! What a meeting's events do by phase is in the table of `phase.rs`. What a stream's events do:
//!
//! | webhook | decision |
//! | --- | --- |
//! | `rtms_started`, new stream | start it, unless it is too old to be connected to |
//! | `rtms_started`, same stamp | a repetition: nothing |
//! | `rtms_started`, newer stamp, running | another server: fail over |
//! | `rtms_started`, newer stamp, while its end is under way | the end first, then start it |
//! | `rtms_started`, newer stamp than the stop | start it |
//! | `rtms_started`, older stamp | stale: nothing |
//! | `rtms_interrupted`, newer than the last | signaling is lost, if the stream runs |
//! | `rtms_stopped` | the stream ends; a started that is older than it is stale |
//! | `rtms_stopped` with reason 8, at any time | the stream ends and is deleted, once |
//!
//! The stream's id is enough for an interruption or a stop. Where webhook and socket give different
//! reasons, withdrawn consent counts first, then people's will, then what went wrong.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

pub(crate) mod ends;
pub(crate) mod entry;
pub(crate) mod eviction;
pub mod fleet;
pub mod forgetting;
pub(crate) mod gaps;
mod phase;
pub(crate) mod rest_calls;
mod resume;
mod streams;
mod table;
pub mod transfer;
pub(crate) mod webhooks;

pub(crate) mod retry;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::rest::ControlRequest;
use crate::domain::severity::Severity;
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::domain::zoom_event::{ZoomEvent, ZoomEventKind, account_label};
use crate::protocol::EndReason;
use crate::protocol::codes::StopReason;
use entry::{MeetingEntry, StreamEntry};
use gaps::EventsSeen;
use phase::Phase;
use streams::Streams;
use table::Table;

/// A started webhook older than this can no longer be connected to. Zoom waits 60 s and repeats a
/// webhook after 300 s at the earliest; the rest allows for a wrong clock.
pub const EXPIRED_AFTER: Duration = Duration::from_secs(240);

/// Minimum time for the first connection, even if the timestamps say that the minute is nearly
/// over.
const WINDOW_MIN: Duration = Duration::from_secs(15);

/// Ended entries are kept for this long: Zoom's last repeat comes after 85 minutes.
pub const RETAIN_ENDED: Duration = Duration::from_secs(2 * 3600);

/// Interval of checks for entries that can be removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Of so many streams that have ended, the rest is forgotten sooner, once a minute: 1.4 a second over the two hours.
pub const ENDED_MAX: usize = 10_000;

/// Maximum entries of each kind; above this the oldest ended ones are removed.
pub const ENTRIES_MAX: usize = 20_000;

/// Maximum bytes of each kind as JSON, with the same consequence: both kinds together are half of
/// the maximum file size that a restart reads.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// A snapshot is written into a block of this size: one of more than 32 MiB is a mapping of its own for glibc, and
/// goes back to the system when it is freed. Of smaller ones it keeps as much as the largest for later. What is not
/// written to costs no memory.
const SNAPSHOT_ROOM: usize = 33 << 20;

/// Maximum REST starts of one meeting after stops with a restart reason.
pub const RESTARTS_MAX: u32 = 5;

/// A stream whose end was reported on its socket may still be draining for this long (the
/// protocol's limit is 10 s).
const DRAIN_MAX: Duration = Duration::from_secs(12);

/// A stream whose thread could not be created is tried again after this time, while Zoom waits.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Number of former output folders that are remembered, for files that must be deleted.
const ROOTS_MAX: usize = 8;

/// How often a stream is restarted after a panic of its thread. Zoom still keeps it open, so the
/// rest of the meeting can be received; but a panic that repeats would repeat for ever.
pub const PANICS_MAX: u32 = 2;

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For timestamps, Unix milliseconds.
    pub unix_ms: u64,
}

/// Which of a meeting's streams are received: `RTMS_STREAMS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamChoice {
    /// All: one per operator who brings the app into the meeting.
    #[default]
    All,
    /// Only the original host's, and those whose operator Zoom does not name.
    Host,
}

impl StreamChoice {
    /// All of them.
    pub(crate) const ALL: [StreamChoice; 2] = [StreamChoice::All, StreamChoice::Host];

    /// The word in `RTMS_STREAMS`.
    pub const fn name(self) -> &'static str {
        match self {
            StreamChoice::All => "all",
            StreamChoice::Host => "host",
        }
    }
}

/// The settings for starting and stopping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_AUTO_START` is set, and there are credentials for it.
    pub auto_start: bool,
    /// There are credentials, so that a stream can be started again.
    pub can_call: bool,
    /// `RTMS_STOP_AFTER`.
    pub stop_after: Option<Duration>,
    /// `RTMS_STREAMS`.
    pub streams: StreamChoice,
    /// `RTMS_PARTICIPANT_USER_ID`: for whom streams are started. Zoom refuses it until they have joined.
    pub participant_user_id: Option<String>,
    /// The app's name, where a server has several.
    pub app: Option<String>,
    /// In a fleet: the name of this node.
    pub node: Option<String>,
}

/// An action for the daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make this REST call at that time. Report the outcome by [`Coordinator::handle_call`].
    CallRest(ScheduledCall),
    /// Drop the scheduled calls of a meeting.
    Cancel {
        /// The meeting's UUID.
        meeting: String,
    },
    /// Run this stream.
    Start(Box<StreamPlan>),
    /// Call [`Coordinator::start_again`] at that time: the system had no resources for this stream.
    StartLater {
        /// The time.
        at: Instant,
        /// The stream.
        stream_id: String,
    },
    /// Move a running stream to another server.
    FailOver {
        /// The stream.
        stream_id: String,
        /// Candidates, not yet checked.
        urls: Vec<String>,
    },
    /// Report to a running stream that Zoom lost its signaling connection.
    Interrupted {
        /// The stream.
        stream_id: String,
        /// When, by Zoom's clock.
        event_ts_ms: u64,
        /// New candidates, usually none.
        urls: Vec<String>,
    },
    /// Report to a running stream that it was stopped.
    Stopped {
        /// The stream.
        stream_id: String,
        /// Why.
        reason: StopReason,
    },
    /// A stream of an earlier process has ended: complete its files.
    Complete {
        /// The stream.
        info: StreamInfo,
        /// Why.
        end: EndReason,
    },
    /// Another node has this stream, or gets it: end it here without a word to Zoom. If it has no thread, its
    /// files are completed, and [`Coordinator::handle_end`] follows.
    HandOver {
        /// The stream.
        info: StreamInfo,
        /// That node, if known.
        heir: Option<String>,
    },
    /// Consent was withdrawn: delete the files of this stream.
    Discard(Withdrawal),
    /// A user removed the app: delete the stored token if it is theirs.
    Deauthorized {
        /// The user; empty if not known.
        user_id: String,
        /// The user's account; empty if not known.
        account_id: String,
    },
    /// Log a line.
    Log(Severity, String),
}

/// A scheduled REST call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledCall {
    /// The time.
    pub at: Instant,
    /// The meeting's UUID.
    pub meeting: String,
    /// Which of the meeting's calls it is, counted by this process.
    pub number: u32,
    /// The call.
    pub request: ControlRequest,
}

/// A stream to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlan {
    /// Its ids, and what its files say about it.
    pub info: StreamInfo,
    /// Candidates of the newest started webhook, not yet checked.
    pub server_urls: Vec<String>,
    /// How long Zoom still waits for us.
    pub window: Duration,
    /// Whether it ran before, so that its files are continued.
    pub is_rejoin: bool,
}

/// All meetings and streams.
#[derive(Debug, Serialize, Deserialize)]
pub struct Coordinator {
    #[serde(skip, default = "Settings::nothing")]
    settings: Settings,
    meetings: Table<MeetingEntry>,
    streams: Streams,
    /// Incremented with each change that is saved, also across restarts.
    #[serde(default)]
    version: u64,
    /// Folders that files were written to, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    roots: Vec<String>,
    /// What is known of the event WebSocket.
    #[serde(skip_serializing_if = "EventsSeen::is_nothing", default)]
    events: EventsSeen,
    /// Whether there are changes that a restart must know.
    #[serde(skip)]
    is_changed: bool,
    #[serde(skip)]
    swept: Option<Instant>,
    #[serde(skip)]
    actions: Vec<Action>,
}

/// Changed entries; `null` for a removed one.
#[derive(Serialize, Deserialize)]
struct Changes<M, S> {
    version: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default = "BTreeMap::new")]
    meetings: BTreeMap<String, Option<M>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default = "BTreeMap::new")]
    streams: BTreeMap<String, Option<S>>,
    #[serde(skip_serializing_if = "EventsSeen::is_nothing", default)]
    events: EventsSeen,
}

impl Settings {
    fn nothing() -> Settings {
        Settings {
            auto_start: false,
            can_call: false,
            stop_after: None,
            streams: StreamChoice::All,
            participant_user_id: None,
            app: None,
            node: None,
        }
    }
}

impl Coordinator {
    /// An empty coordinator.
    pub fn new(settings: Settings) -> Coordinator {
        Coordinator {
            settings,
            meetings: Table::new(),
            streams: Streams::new(),
            version: 0,
            roots: Vec::new(),
            events: EventsSeen::default(),
            is_changed: false,
            swept: None,
            actions: Vec::new(),
        }
    }

    /// Restores the state of an earlier process, from [`Coordinator::to_json`].
    pub fn from_json(settings: Settings, json: &[u8]) -> Result<Coordinator, serde_json::Error> {
        let coordinator: Coordinator = serde_json::from_slice(json)?;
        Ok(Coordinator {
            settings,
            ..coordinator
        })
    }

    /// The whole state for a restart.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        // Where there is no room for that, it grows as it is written.
        let _ = json.try_reserve_exact(SNAPSHOT_ROOM);
        match serde_json::to_writer(&mut json, self) {
            Ok(()) => json,
            Err(_) => Vec::new(),
        }
    }

    /// The changes since the last call, as JSON for [`Coordinator::apply_changes`]; its size is
    /// that of the changed entries.
    pub fn take_changes(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.version += 1;
        let changes = Changes {
            version: self.version,
            meetings: self.meetings.take_changes(),
            streams: self.streams.take_changes(),
            events: self.events,
        };
        Some(serde_json::to_vec(&changes).unwrap_or_default())
    }

    /// The whole state for a restart; it includes all changes so far.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.version += u64::from(std::mem::take(&mut self.is_changed));
        self.meetings.take_changes();
        self.streams.take_changes();
        self.to_json()
    }

    /// Applies changes that an earlier process made after its snapshot, in their order; changes
    /// that are in the snapshot already have no effect.
    ///
    /// # Errors
    /// If it is not JSON from [`Coordinator::take_changes`].
    pub fn apply_changes(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let changes: Changes<MeetingEntry, StreamEntry> = serde_json::from_slice(json)?;
        if changes.version > self.version {
            self.version = changes.version;
            self.meetings.apply(changes.meetings);
            self.streams.apply(changes.streams);
            if !changes.events.is_nothing() {
                self.events = changes.events;
            }
        }
        Ok(())
    }

    /// The version of the state: the greater of two is the newer.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sets the folder that files are written to. `true` if it is a new one: then a restart must
    /// know, and only a whole snapshot contains it.
    pub fn use_root(&mut self, root: &str) -> bool {
        if self.roots.last().is_some_and(|newest| newest == root) {
            return false;
        }
        self.roots.retain(|known| known != root);
        self.roots.push(root.to_owned());
        let excess = self.roots.len().saturating_sub(ROOTS_MAX);
        self.roots.drain(..excess);
        self.is_changed = true;
        true
    }

    /// The folders that files were written to, the newest last.
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// Replaces the settings. They may fix the cause of failed starts, so starts that were given up
    /// are made again; and if starting has become possible, meetings that started earlier are
    /// started too.
    pub fn reload(&mut self, now: Now, settings: Settings) -> Vec<Action> {
        let was_possible = self.settings.auto_start;
        self.settings = settings;
        let meetings: Vec<String> = self.meetings.keys().cloned().collect();
        for uuid in meetings {
            let Some(meeting) = self.meetings.get(&uuid) else {
                continue;
            };
            let is_due = match meeting.phase() {
                Phase::GaveUp => !self.has_stream(&uuid),
                Phase::AwaitingHost => !meeting.calls.is_starting(now.instant),
                // If the meeting had a stream, people have stopped it.
                Phase::Idle if !was_possible && meeting.started_ms.is_some() => {
                    !self.knows_stream_of(&uuid)
                }
                _ => false,
            };
            if is_due && self.settings.auto_start {
                self.start_now(now, &uuid);
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Whether a stream of the meeting runs.
    fn has_stream(&self, uuid: &str) -> bool {
        let mut streams = self.streams.of_meeting(uuid);
        streams.any(|(_, entry)| entry.is_active())
    }

    fn knows_stream_of(&self, uuid: &str) -> bool {
        self.streams.of_meeting(uuid).next().is_some()
    }

    /// The running streams, and what their files say about them.
    pub fn active(&self) -> impl Iterator<Item = StreamInfo> + '_ {
        let active = self.streams.values().filter(|entry| entry.is_active());
        active.map(|entry| self.info(entry))
    }

    /// Handles a verified Zoom event.
    pub fn handle_zoom_event(&mut self, now: Now, event: ZoomEvent) -> Vec<Action> {
        let ts = event.event_ts_ms;
        match event.event {
            ZoomEventKind::MeetingStarted(info) => self.meeting_started(now, ts, info),
            ZoomEventKind::MeetingEnded(info) => self.meeting_ended(now, ts, info),
            ZoomEventKind::ParticipantJoined(joined) => self.participant_joined(now, ts, joined),
            ZoomEventKind::StreamStarted(started) => self.rtms_started(now, ts, started),
            ZoomEventKind::StreamInterrupted(interrupted) => {
                self.rtms_interrupted(now, ts, interrupted)
            }
            ZoomEventKind::StreamStopped(stopped) => self.rtms_stopped(now, ts, stopped),
            ZoomEventKind::AppDeauthorized {
                user_id,
                account_id,
                ..
            } => self.actions.push(Action::Deauthorized {
                user_id,
                account_id,
            }),
            ZoomEventKind::Account { name, payload } => {
                let (severity, meaning) = account_event_level(&name);
                self.log(
                    severity,
                    &format!("{meaning} event={name} payload={payload}"),
                );
            }
            ZoomEventKind::UrlValidation { .. } | ZoomEventKind::Other { .. } => {}
        }
        self.forget_old(now);
        std::mem::take(&mut self.actions)
    }

    fn log(&mut self, severity: Severity, text: &str) {
        self.actions.push(Action::Log(severity, text.to_owned()));
    }

    fn info(&self, entry: &StreamEntry) -> StreamInfo {
        let meeting = self.meetings.get(&entry.started.id);
        StreamInfo {
            meeting_id: entry
                .started
                .meeting_id
                .clone()
                .or_else(|| meeting.and_then(|meeting| meeting.meeting_id.clone())),
            topic: meeting.and_then(|meeting| meeting.topic.clone()),
            operator_id: entry.started.operator_id.clone(),
            is_original_host: entry.started.is_original_host,
            account_id: entry.started.account_id.clone(),
            app: self.settings.app.clone(),
            tenure: entry.tenure.clone(),
            ..StreamInfo::new(
                entry.started.product,
                &entry.started.id,
                &entry.started.stream_id,
                entry.first_ms,
            )
        }
    }
}

/// Severity and description of an account event. The payloads of most are not published, so they
/// are logged unchanged.
fn account_event_level(name: &str) -> (Severity, &'static str) {
    match account_label(name) {
        "concurrency_limited" => (
            Severity::Error,
            "a stream was not started: the account has reached its limit of concurrent streams",
        ),
        "concurrency_near_limit" => (
            Severity::Warn,
            "the account has nearly reached its limit of concurrent streams",
        ),
        "start_failed" => (Severity::Error, "zoom could not start a stream"),
        "request_status" => (Severity::Info, "a request to start a stream was decided"),
        _ => (Severity::Warn, "unknown event about the account"),
    }
}
