//! What we know of each meeting and each stream, and what follows from what happens to them.
//!
//! Pure: it is told what happened and when, and answers with [`Action`]s that the daemon carries
//! out. Webhooks come at least once and in any order (Zoom repeats one up to 85 minutes later), so
//! every decision is made by stamps that are kept for longer than that:
//!
//! | webhook | decision |
//! | --- | --- |
//! | `meeting.started` | a REST start, unless there was one or a stream is there |
//! | `rtms_started`, new stream | start it, unless it is too old to be connected to |
//! | `rtms_started`, same stamp | a repetition: nothing |
//! | `rtms_started`, newer stamp, running | another server: fail over |
//! | `rtms_started`, newer stamp than the stop | it lives again: start it |
//! | `rtms_started`, older stamp | stale: nothing |
//! | `rtms_interrupted`, newer than the last | signaling is lost, if the stream runs |
//! | `rtms_stopped` | the stream ends; a started that is older than it is stale |
//! | `meeting.ended` | no more starts and stops for this meeting |

mod entry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::{self, Control, StartRetry};
use crate::output::StreamInfo;
use crate::protocol::codes::{StopPolicy, StopReason};
use crate::protocol::{EndReason, SIGNALING_WINDOW};
use crate::webhook::{
    Event, MeetingLife, RtmsInterrupted, RtmsStarted, RtmsStopped, Webhook, account_word,
};
use entry::{MeetingEntry, Start, StreamEntry};

/// A started webhook of this age can no longer be connected to. Zoom waits 60 s and repeats a
/// webhook after 300 s at the earliest; the rest is room for a clock that is wrong.
pub const EXPIRED_AFTER: Duration = Duration::from_secs(240);

/// The first connection gets this long even if the stamps say that the minute is nearly over.
const WINDOW_MIN: Duration = Duration::from_secs(15);

/// What is over is remembered for this long: Zoom's last repetition comes after 85 minutes.
pub const MEMORY: Duration = Duration::from_secs(2 * 3600);

/// How often there is a look at what can be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Most entries of each kind; beyond this the oldest that is over is forgotten.
pub const ENTRIES_MAX: usize = 20_000;

/// Most REST starts of one meeting that follow a stop with a restart reason.
pub const RESTARTS_MAX: u32 = 5;

/// Most times that a stream whose thread panicked is taken up again. Zoom still holds it open, so
/// what broke us need not cost the rest of the meeting; what breaks us again would do so for ever.
pub const PANICS_MAX: u32 = 2;

/// The moment of an input, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For stamps, Unix milliseconds.
    pub unix_ms: u64,
}

/// What an operator decides about starting and stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_AUTO_START`, and credentials are there to do it with.
    pub auto_start: bool,
    /// Credentials are there, so that a stream can be started again.
    pub can_call: bool,
    /// `RTMS_STOP_AFTER`.
    pub stop_after: Option<Duration>,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make this REST call at that moment. The outcome comes back by
    /// [`Registry::handle_call`].
    Call(Call),
    /// Forget the calls that are due for a meeting.
    Cancel {
        /// The meeting's UUID.
        meeting: String,
    },
    /// Run this stream.
    Start(Box<StreamPlan>),
    /// Move a running stream to another server.
    FailOver {
        /// Which.
        stream_id: String,
        /// Candidates, not yet trusted.
        urls: Vec<String>,
    },
    /// Tell a running stream that Zoom lost its signaling connection.
    Interrupted {
        /// Which.
        stream_id: String,
        /// When, by Zoom's clock.
        event_ts_ms: u64,
        /// New candidates, usually none.
        urls: Vec<String>,
    },
    /// Tell a running stream that it is over.
    Stopped {
        /// Which.
        stream_id: String,
        /// Why.
        reason: StopReason,
    },
    /// A stream of an earlier process is over: complete its files.
    Complete {
        /// Which.
        info: StreamInfo,
        /// Why.
        reason: StopReason,
    },
    /// Consent was withdrawn: delete what this stream left behind.
    Discard(StreamInfo),
    /// A user took the app away: forget their token.
    ForgetToken,
    /// Something for a person to read.
    Log(log::Level, String),
}

/// A REST call that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When.
    pub at: Instant,
    /// For which meeting, by UUID.
    pub meeting: String,
    /// What.
    pub control: Control,
}

/// A stream to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlan {
    /// The started webhook.
    pub started: RtmsStarted,
    /// What its files say about it.
    pub info: StreamInfo,
    /// How long Zoom still waits for us.
    pub window: Duration,
    /// Whether it ran in an earlier process, so that files and phrases go on.
    pub is_rejoin: bool,
}

/// All meetings and streams.
#[derive(Debug, Serialize, Deserialize)]
pub struct Registry {
    #[serde(skip, default = "Settings::nothing")]
    settings: Settings,
    meetings: HashMap<String, MeetingEntry>,
    streams: HashMap<String, StreamEntry>,
    /// Grows with each change that was asked for, over restarts too.
    #[serde(default)]
    version: u64,
    /// Whether there is something that a restart would have to know.
    #[serde(skip)]
    is_changed: bool,
    #[serde(skip)]
    swept: Option<Instant>,
    #[serde(skip)]
    actions: Vec<Action>,
}

impl Settings {
    fn nothing() -> Settings {
        Settings {
            auto_start: false,
            can_call: false,
            stop_after: None,
        }
    }
}

impl Registry {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Registry {
        Registry {
            settings,
            meetings: HashMap::new(),
            streams: HashMap::new(),
            version: 0,
            is_changed: false,
            swept: None,
            actions: Vec::new(),
        }
    }

    /// What an earlier process knew, from [`Registry::to_json`].
    pub fn from_json(settings: Settings, json: &[u8]) -> Result<Registry, serde_json::Error> {
        let registry: Registry = serde_json::from_slice(json)?;
        Ok(Registry {
            settings,
            ..registry
        })
    }

    /// Everything that a restart needs.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether something changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        self.version += u64::from(self.is_changed);
        std::mem::take(&mut self.is_changed)
    }

    /// The greater of two is the newer.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Other settings, for what happens from here on.
    pub fn reload(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The streams that run, and what their files say about them.
    pub fn active(&self) -> impl Iterator<Item = StreamInfo> + '_ {
        let active = self.streams.values().filter(|entry| entry.is_active());
        active.map(|entry| self.info(entry))
    }

    /// After a restart: the streams that ran are to run again, and scheduled calls are due.
    pub fn resume(&mut self, now: Now) -> Vec<Action> {
        let meetings: Vec<String> = self.meetings.keys().cloned().collect();
        for uuid in meetings {
            let Some(meeting) = self.meetings.get_mut(&uuid) else {
                continue;
            };
            let is_due = match meeting.start {
                Start::Trying { .. } => true,
                // What was wrong may have been mended by this restart: a token, a plan.
                Start::GaveUp => {
                    let streams = self.streams.values();
                    let mut of_it = streams.filter(|e| e.is_active() && e.started.id == uuid);
                    self.settings.auto_start && of_it.next().is_none()
                }
                Start::None | Start::Done | Start::Stopped => false,
            };
            if is_due && meeting.is_live() {
                meeting.start = Start::Trying {
                    attempts: 0,
                    since: Some(now.instant),
                };
                self.call(now.instant, &uuid, api::Action::Start);
            }
            if let Some(stop_at_ms) = self.meetings.get(&uuid).and_then(|m| m.stop_at_ms) {
                let wait = Duration::from_millis(stop_at_ms.saturating_sub(now.unix_ms));
                self.call(now.instant + wait, &uuid, api::Action::Stop);
            }
        }
        // The process before may have ended, or its disk hung, before everything was deleted.
        let revoked = self.streams.values().filter(|entry| entry.is_revoked);
        let revoked = revoked.map(|entry| Action::Discard(self.info(entry)));
        let revoked: Vec<Action> = revoked.collect();
        self.actions.extend(revoked);
        let active: Vec<StreamEntry> = self
            .streams
            .values()
            .filter(|entry| entry.is_active())
            .cloned()
            .collect();
        for entry in active {
            if entry.stopped_ms.is_some() {
                // Its end came when the earlier process was about to go.
                self.complete(now, &entry);
                continue;
            }
            self.rejoin(&entry.started.stream_id);
        }
        std::mem::take(&mut self.actions)
    }

    fn complete(&mut self, now: Now, entry: &StreamEntry) {
        let reason = entry.told_reason(StopReason::UNDEFINED);
        let stream_id = &entry.started.stream_id;
        if let Some(entry) = self.streams.get_mut(stream_id) {
            entry.ended_ms = Some(now.unix_ms);
            self.is_changed = true;
        }
        let info = self.info(entry);
        self.actions.push(Action::Complete { info, reason });
        self.after_stop(now, stream_id, reason);
    }

    /// A webhook came, verified.
    pub fn handle_webhook(&mut self, now: Now, webhook: Webhook) -> Vec<Action> {
        let ts = webhook.event_ts_ms;
        match webhook.event {
            Event::MeetingStarted(life) => self.meeting_started(now, ts, life),
            Event::MeetingEnded(life) => self.meeting_ended(now, ts, life),
            Event::RtmsStarted(started) => self.rtms_started(now, ts, started),
            Event::RtmsInterrupted(interrupted) => self.rtms_interrupted(now, ts, interrupted),
            Event::RtmsStopped(stopped) => self.rtms_stopped(now, ts, stopped),
            Event::AppDeauthorized { .. } => {
                self.log(
                    log::Level::Error,
                    "a user removed the app; its stored token is deleted",
                );
                self.actions.push(Action::ForgetToken);
            }
            Event::Account { name, payload } => {
                let level = match account_word(&name) {
                    // A meeting is not received.
                    "concurrency_limited" | "start_failed" => log::Level::Error,
                    "request_status" => log::Level::Info,
                    _ => log::Level::Warn,
                };
                self.log(level, &format!("event={name} payload={payload:?}"));
            }
            Event::UrlValidation { .. } | Event::Other { .. } => {}
        }
        self.forget_old(now);
        std::mem::take(&mut self.actions)
    }

    /// A REST call came to its end.
    pub fn handle_call(
        &mut self,
        now: Now,
        call: &Call,
        result: Result<(), api::Error>,
    ) -> Vec<Action> {
        match (call.control.action, result) {
            (api::Action::Start, Ok(())) => {
                self.log(
                    log::Level::Info,
                    &format!("start accepted id={}", call.control.id),
                );
                self.start_succeeded(now, &call.meeting);
            }
            (api::Action::Start, Err(error)) => self.start_failed(now, call, &error),
            (_, Ok(())) => {
                self.log(
                    log::Level::Info,
                    &format!("stop accepted id={}", call.control.id),
                );
                self.stop_done(&call.meeting);
            }
            (_, Err(error)) => self.stop_failed(now, call, &error),
        }
        std::mem::take(&mut self.actions)
    }

    /// The thread of a stream is over.
    pub fn handle_end(&mut self, now: Now, stream_id: &str, end: &EndReason) -> Vec<Action> {
        // One that was left is still ours: the next process takes it over.
        if *end == EndReason::Left {
            return Vec::new();
        }
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return Vec::new();
        };
        self.is_changed = true;
        if *end == EndReason::Panicked && entry.stopped_ms.is_none() && entry.panics < PANICS_MAX {
            entry.panics += 1;
            self.rejoin(stream_id);
            return std::mem::take(&mut self.actions);
        }
        entry.ended_ms = Some(now.unix_ms);
        let uuid = entry.started.id.clone();
        let reason = match end {
            EndReason::Stopped(reason) => Some(entry.told_reason(*reason)),
            // The webhook was told to a stream that ended of something else just then.
            _ => entry.stopped_ms.and(entry.stop_reason).map(StopReason),
        };
        if let Some(reason) = reason {
            self.after_stop(now, stream_id, reason);
        }
        let is_last = !self
            .streams
            .values()
            .any(|e| e.is_active() && e.started.id == uuid);
        // A stream that ended before its scheduled stop needs none; one that is started again
        // keeps it.
        if is_last
            && self.meetings.get(&uuid).is_some_and(|meeting| {
                meeting.stop_at_ms.is_some() && !matches!(meeting.start, Start::Trying { .. })
            })
        {
            self.stop_done(&uuid);
        }
        std::mem::take(&mut self.actions)
    }

    /// A stream whose thread was over before it could be told to move runs again.
    pub fn revive(&mut self, stream_id: &str) -> Vec<Action> {
        if let Some(entry) = self.streams.get_mut(stream_id)
            && !entry.is_active()
        {
            entry.ended_ms = None;
            self.is_changed = true;
            self.rejoin(stream_id);
        }
        std::mem::take(&mut self.actions)
    }

    fn rejoin(&mut self, stream_id: &str) {
        let Some(entry) = self.streams.get(stream_id) else {
            return;
        };
        let plan = StreamPlan {
            started: entry.started.clone(),
            info: self.info(entry),
            window: SIGNALING_WINDOW,
            is_rejoin: true,
        };
        self.actions.push(Action::Start(Box::new(plan)));
    }

    fn meeting_started(&mut self, now: Now, ts: u64, life: MeetingLife) {
        let uuid = life.meeting_uuid.clone();
        if uuid.is_empty() || life.meeting_id.is_empty() {
            return self.log(
                log::Level::Warn,
                "meeting.started without id or uuid is ignored",
            );
        }
        let has_stream = self
            .streams
            .values()
            .any(|e| e.is_active() && e.started.id == uuid);
        if !self.has_room_for_meeting(&uuid) {
            return self.log(
                log::Level::Error,
                "too many meetings: meeting.started is ignored",
            );
        }
        let entry = self
            .meetings
            .entry(uuid.clone())
            .or_insert_with(|| MeetingEntry::new(&life));
        entry.touched_ms = now.unix_ms;
        entry.topic = life.topic.or(entry.topic.take());
        entry.meeting_id = Some(life.meeting_id);
        if entry.started_ms.is_some_and(|known| ts <= known)
            || entry.ended_ms.is_some_and(|ended| ts <= ended)
        {
            return;
        }
        entry.started_ms = Some(ts);
        entry.ended_ms = None;
        self.is_changed = true;
        let is_wanted = matches!(entry.start, Start::None | Start::GaveUp);
        if self.settings.auto_start && is_wanted && !has_stream {
            entry.start = Start::Trying {
                attempts: 0,
                since: Some(now.instant),
            };
            self.call(now.instant, &uuid, api::Action::Start);
        }
    }

    fn meeting_ended(&mut self, now: Now, ts: u64, life: MeetingLife) {
        let uuid = life.meeting_uuid.clone();
        if uuid.is_empty() || !self.has_room_for_meeting(&uuid) {
            return;
        }
        // Also for a meeting whose beginning we did not see: it may come late.
        let entry = self
            .meetings
            .entry(uuid.clone())
            .or_insert_with(|| MeetingEntry::new(&life));
        entry.touched_ms = now.unix_ms;
        if entry.ended_ms.is_some() || entry.started_ms.is_some_and(|started| ts < started) {
            return;
        }
        entry.ended_ms = Some(ts);
        entry.stop_at_ms = None;
        if matches!(entry.start, Start::Trying { .. }) {
            entry.start = Start::None;
        }
        self.is_changed = true;
        self.actions.push(Action::Cancel { meeting: uuid });
    }

    fn rtms_started(&mut self, now: Now, ts: u64, started: RtmsStarted) {
        let stream_id = started.stream_id.clone();
        if let Some(entry) = self.streams.get_mut(&stream_id) {
            if ts <= entry.newest_ms || entry.stopped_ms.is_some_and(|stopped| ts <= stopped) {
                return;
            }
            entry.newest_ms = ts;
            entry.stopped_ms = None;
            self.is_changed = true;
            if entry.is_active() {
                let urls = started.server_urls.clone();
                entry.started = started;
                self.actions.push(Action::FailOver { stream_id, urls });
                return;
            }
            entry.started = started;
            entry.ended_ms = None;
            entry.is_restarted = false;
            entry.is_revoked = false;
            entry.stop_reason = None;
            let uuid = entry.started.id.clone();
            self.start_succeeded(now, &uuid);
            return self.rejoin(&stream_id);
        }
        if self.streams.len() >= ENTRIES_MAX && !self.forget_oldest_stream() {
            return self.log(
                log::Level::Error,
                "too many streams: rtms_started is ignored",
            );
        }
        // A webhook without a stamp is as old as its arrival.
        let stamp = if ts == 0 { now.unix_ms } else { ts };
        let age = Duration::from_millis(now.unix_ms.saturating_sub(stamp));
        let is_expired = age > EXPIRED_AFTER;
        let mut entry = StreamEntry::new(started, stamp, ts);
        self.is_changed = true;
        let uuid = entry.started.id.clone();
        if is_expired {
            entry.ended_ms = Some(now.unix_ms);
            self.streams.insert(stream_id, entry);
            let age_s = age.as_secs();
            return self.log(
                log::Level::Error,
                &format!(
                    "stream missed: rtms_started is {age_s} s old and Zoom waits 60 s; was the \
                     server down, or is this machine's clock wrong?"
                ),
            );
        }
        let (id, product) = (entry.started.meeting_id.clone(), entry.started.product);
        self.streams.insert(stream_id.clone(), entry);
        if self.has_room_for_meeting(&uuid) {
            let meeting = self
                .meetings
                .entry(uuid.clone())
                .or_insert_with(|| MeetingEntry::of(product, &uuid));
            meeting.touched_ms = now.unix_ms;
            meeting.meeting_id = id.or(meeting.meeting_id.take());
            // Our start worked, whatever became of the answer to it: no second one.
            self.start_succeeded(now, &uuid);
        }
        let window = SIGNALING_WINDOW.saturating_sub(age).max(WINDOW_MIN);
        let info = self.info_of(&stream_id);
        let Some(entry) = self.streams.get(&stream_id) else {
            return;
        };
        let plan = StreamPlan {
            started: entry.started.clone(),
            info,
            window,
            is_rejoin: false,
        };
        self.actions.push(Action::Start(Box::new(plan)));
    }

    fn rtms_interrupted(&mut self, now: Now, ts: u64, event: RtmsInterrupted) {
        let Some(entry) = self.streams.get_mut(&event.stream_id) else {
            // Unknown here, but told where to go: as good as a started.
            if !event.server_urls.is_empty() {
                let started = RtmsStarted {
                    product: event.product,
                    id: event.id,
                    stream_id: event.stream_id,
                    server_urls: event.server_urls,
                    meeting_id: None,
                    operator_id: None,
                    account_id: None,
                };
                return self.rtms_started(now, ts, started);
            }
            return self.log(
                log::Level::Warn,
                "rtms_interrupted for a stream that is not known here; nothing to reconnect to",
            );
        };
        if !entry.is_active() || entry.interrupted_ms.is_some_and(|known| ts <= known) {
            return;
        }
        entry.interrupted_ms = Some(ts);
        self.is_changed = true;
        self.actions.push(Action::Interrupted {
            stream_id: event.stream_id,
            event_ts_ms: ts,
            urls: event.server_urls,
        });
    }

    fn rtms_stopped(&mut self, now: Now, ts: u64, event: RtmsStopped) {
        let reason = StopReason(event.stop_reason.unwrap_or(0));
        let stream_id = event.stream_id;
        let Some(entry) = self.streams.get_mut(&stream_id) else {
            // Stopped before started: the started that may still come is stale.
            if self.streams.len() >= ENTRIES_MAX && !self.forget_oldest_stream() {
                return;
            }
            let started = RtmsStarted {
                product: event.product,
                id: event.id,
                stream_id: stream_id.clone(),
                server_urls: Vec::new(),
                meeting_id: None,
                operator_id: None,
                account_id: None,
            };
            let mut entry = StreamEntry::new(started, ts, 0);
            entry.stopped_ms = Some(ts);
            entry.stop_reason = event.stop_reason;
            entry.ended_ms = Some(now.unix_ms);
            self.streams.insert(stream_id.clone(), entry);
            self.is_changed = true;
            return self.after_stop(now, &stream_id, reason);
        };
        let is_old = entry.stopped_ms.is_some_and(|known| ts <= known) || ts < entry.newest_ms;
        if is_old && ts != 0 {
            return;
        }
        entry.stopped_ms = Some(ts);
        entry.stop_reason = event.stop_reason;
        self.is_changed = true;
        if entry.is_active() {
            self.actions.push(Action::Stopped { stream_id, reason });
        } else {
            self.after_stop(now, &stream_id, reason);
        }
    }

    /// What a stop reason asks for once the stream is over.
    fn after_stop(&mut self, now: Now, stream_id: &str, reason: StopReason) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        let uuid = entry.started.id.clone();
        match reason.policy() {
            StopPolicy::Finish => {}
            StopPolicy::FinishAndAlert => self.log(
                log::Level::Error,
                &format!("stopped: {reason}; an admin switched the app off"),
            ),
            StopPolicy::Delete => {
                // Only the ids are kept, so that the stream is not taken up again.
                entry.started.server_urls.clear();
                entry.started.operator_id = None;
                entry.started.account_id = None;
                entry.is_revoked = true;
                self.is_changed = true;
                let info = self.info_of(stream_id);
                self.actions.push(Action::Discard(info));
                let is_needed = |e: &StreamEntry| e.is_active() && e.started.id == uuid;
                if !self.streams.values().any(is_needed)
                    && let Some(meeting) = self.meetings.get_mut(&uuid)
                {
                    meeting.topic = None;
                }
            }
            StopPolicy::Restart | StopPolicy::RestartOnce => {
                if !std::mem::replace(&mut entry.is_restarted, true) {
                    self.restart(now, &uuid, reason);
                }
            }
        }
    }

    fn restart(&mut self, now: Now, uuid: &str, reason: StopReason) {
        let has_stream = self
            .streams
            .values()
            .any(|e| e.is_active() && e.started.id == uuid);
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        let once = reason.policy() == StopPolicy::RestartOnce;
        let limit = if once { 1 } else { RESTARTS_MAX };
        let refusal = if !self.settings.can_call {
            Some("there are no credentials for REST")
        } else if !meeting.is_live() {
            Some("the meeting is over")
        } else if meeting.start == Start::Stopped {
            Some("it was stopped by schedule")
        } else if has_stream {
            Some("another stream of the meeting runs")
        } else if meeting.meeting_id.is_none() {
            Some("its meeting number is not known")
        } else if meeting.restarts >= limit {
            Some("it was started again too often")
        } else {
            None
        };
        if once {
            let text = format!(
                "stopped: {reason}; check that ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are the pair \
                 (development or production) of the app that was started"
            );
            self.actions.push(Action::Log(log::Level::Error, text));
        }
        if let Some(why) = refusal {
            let text = format!("stopped: {reason}; not started again, for {why}");
            return self.log(log::Level::Warn, &text);
        }
        let delay = Duration::from_secs(1 << meeting.restarts.min(5));
        meeting.restarts += 1;
        meeting.start = Start::Trying {
            attempts: 0,
            since: Some(now.instant + delay),
        };
        self.is_changed = true;
        self.log(
            log::Level::Warn,
            &format!("stopped: {reason}; starting again by REST"),
        );
        self.call(now.instant + delay, uuid, api::Action::Start);
    }

    /// A stream of the meeting is there, so a start worked, whatever became of the answer to it:
    /// one that is still due would be a second one.
    fn start_succeeded(&mut self, now: Now, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        // A late answer to a call that has become pointless.
        if !matches!(meeting.start, Start::Trying { .. }) {
            return;
        }
        meeting.start = Start::Done;
        self.is_changed = true;
        // No second start, should the answer to the first have been an error that was none.
        self.actions.push(Action::Cancel {
            meeting: uuid.to_owned(),
        });
        let Some(after) = self.settings.stop_after.filter(|_| meeting.is_live()) else {
            return;
        };
        // A stream that was started again keeps the stop of the first.
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let stop_at_ms = *meeting
            .stop_at_ms
            .get_or_insert(now.unix_ms.saturating_add(after_ms));
        let wait = Duration::from_millis(stop_at_ms.saturating_sub(now.unix_ms));
        self.call(now.instant + wait, uuid, api::Action::Stop);
    }

    fn start_failed(&mut self, now: Now, call: &Call, error: &api::Error) {
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        let Start::Trying { attempts, since } = &mut meeting.start else {
            return;
        };
        *attempts += 1;
        let (attempts, since) = (*attempts, since.unwrap_or(now.instant));
        let elapsed = now.instant.saturating_duration_since(since);
        let delay = match meeting.is_live() {
            true => StartRetry::new(seed(&call.meeting)).delay(attempts, elapsed, error),
            false => None,
        };
        match delay {
            Some(delay) => self.try_again(now, call, error, delay),
            None => {
                if let Some(meeting) = self.meetings.get_mut(&call.meeting) {
                    meeting.start = Start::GaveUp;
                }
                self.is_changed = true;
                self.log(error.log_level(), &told(call, error));
            }
        }
    }

    fn try_again(&mut self, now: Now, call: &Call, error: &api::Error, delay: Duration) {
        let text = format!(
            "{}; will be tried again in {:.1} s",
            told(call, error),
            delay.as_secs_f32()
        );
        self.log(log::Level::Warn, &text);
        self.call(now.instant + delay, &call.meeting, call.control.action);
    }

    fn stop_failed(&mut self, now: Now, call: &Call, error: &api::Error) {
        let Some(meeting) = self.meetings.get_mut(&call.meeting) else {
            return;
        };
        let Some(stop_at_ms) = meeting.stop_at_ms else {
            return;
        };
        meeting.stop_attempts += 1;
        let elapsed = Duration::from_millis(now.unix_ms.saturating_sub(stop_at_ms));
        let retry = StartRetry::new(seed(&call.meeting));
        match retry
            .delay(meeting.stop_attempts, elapsed, error)
            .filter(|_| meeting.is_live())
        {
            Some(delay) => self.try_again(now, call, error, delay),
            None => {
                self.log(error.log_level(), &told(call, error));
                self.stop_done(&call.meeting);
            }
        }
    }

    fn stop_done(&mut self, uuid: &str) {
        if let Some(meeting) = self.meetings.get_mut(uuid) {
            meeting.stop_at_ms = None;
            meeting.stop_attempts = 0;
            // Also a restart under way: what was to be stopped is not started again.
            if matches!(meeting.start, Start::Done | Start::Trying { .. }) {
                meeting.start = Start::Stopped;
            }
            self.is_changed = true;
            self.actions.push(Action::Cancel {
                meeting: uuid.to_owned(),
            });
        }
    }

    fn call(&mut self, at: Instant, uuid: &str, action: api::Action) {
        let Some(meeting) = self.meetings.get(uuid) else {
            return;
        };
        let Some(id) = &meeting.meeting_id else {
            return;
        };
        let control = Control::new(action, meeting.product, id.clone());
        self.actions.push(Action::Call(Call {
            at,
            meeting: uuid.to_owned(),
            control,
        }));
    }

    fn log(&mut self, level: log::Level, text: &str) {
        self.actions.push(Action::Log(level, text.to_owned()));
    }

    fn info(&self, entry: &StreamEntry) -> StreamInfo {
        let meeting = self.meetings.get(&entry.started.id);
        StreamInfo {
            product: entry.started.product,
            id: entry.started.id.clone(),
            stream_id: entry.started.stream_id.clone(),
            meeting_id: entry
                .started
                .meeting_id
                .clone()
                .or_else(|| meeting.and_then(|meeting| meeting.meeting_id.clone())),
            topic: meeting.and_then(|meeting| meeting.topic.clone()),
            started_ms: entry.first_ms,
        }
    }

    fn info_of(&self, stream_id: &str) -> StreamInfo {
        // Asked only for streams that were just found or inserted.
        self.streams
            .get(stream_id)
            .map(|entry| self.info(entry))
            .unwrap_or_else(|| StreamInfo {
                product: crate::protocol::Product::Meeting,
                id: String::new(),
                stream_id: stream_id.to_owned(),
                meeting_id: None,
                topic: None,
                started_ms: 0,
            })
    }

    fn has_room_for_meeting(&mut self, uuid: &str) -> bool {
        if self.meetings.contains_key(uuid) || self.meetings.len() < ENTRIES_MAX {
            return true;
        }
        let oldest = self
            .meetings
            .iter()
            .filter(|(_, meeting)| !meeting.is_live())
            .min_by_key(|(_, meeting)| meeting.touched_ms)
            .map(|(uuid, _)| uuid.clone());
        oldest.is_some_and(|uuid| self.meetings.remove(&uuid).is_some())
    }

    fn forget_oldest_stream(&mut self) -> bool {
        let oldest = self
            .streams
            .iter()
            .filter_map(|(id, entry)| Some((entry.ended_ms?, id.clone())))
            .min();
        oldest.is_some_and(|(_, id)| self.streams.remove(&id).is_some())
    }

    /// Forgets what is over for longer than Zoom repeats webhooks.
    fn forget_old(&mut self, now: Now) {
        let is_due = |swept: Instant| now.instant.saturating_duration_since(swept) >= SWEEP_EVERY;
        if !self.swept.is_none_or(is_due) {
            return;
        }
        self.swept = Some(now.instant);
        let before = now.unix_ms.saturating_sub(MEMORY.as_millis() as u64);
        // A meeting whose end we never heard of lasts thirty hours at the most.
        let abandoned = now.unix_ms.saturating_sub(30 * 3_600_000);
        self.streams
            .retain(|_, entry| entry.ended_ms.is_none_or(|ended| ended >= before));
        let streams = &self.streams;
        self.meetings.retain(|uuid, meeting| {
            let is_kept = if meeting.is_live() { abandoned } else { before };
            meeting.touched_ms >= is_kept || streams.values().any(|entry| entry.started.id == *uuid)
        });
    }
}

/// An error with the call that it stopped, which one about a token does not name.
fn told(call: &Call, error: &api::Error) -> String {
    let text = error.to_string();
    let (action, id) = (call.control.action.name(), &call.control.id);
    match text.starts_with(action) {
        true => text,
        false => format!("{action} {} {id}: {text}", call.control.product.name()),
    }
}

/// Keeps the tries of meetings apart that began at the same moment.
fn seed(uuid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}
