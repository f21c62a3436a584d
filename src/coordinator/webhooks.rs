//! Reactions to each Zoom event; see the tables of [`super`] and [`super::phase`].

use std::time::Duration;

use super::entry::{MeetingEntry, Start, StreamEntry};
use super::phase::Phase;
use super::{Action, Coordinator, EXPIRED_AFTER, Now, StreamChoice, StreamPlan, WINDOW_MIN};
use crate::domain::product::Product;
use crate::domain::severity::Severity;
use crate::domain::zoom_event::{
    MeetingInfo, ParticipantJoined, StreamInterrupted, StreamStarted, StreamStopped,
};
use crate::protocol::SIGNALING_WINDOW;
use crate::protocol::codes::StopReason;

/// Whether a stop with that stamp belongs to a later run of the meeting than the one that ended.
pub(super) fn is_after_end(stop_ms: u64, ended_ms: u64) -> bool {
    stop_ms >= first_of_next(ended_ms)
}

/// The first time of a stop that belongs to the run after an end.
pub(super) fn first_of_next(ended_ms: u64) -> u64 {
    ended_ms.saturating_add(STOPS_WITHIN_MS + 1)
}

/// Stores a value if there is one; returns whether it is new.
fn learn(known: &mut Option<String>, told: Option<String>) -> bool {
    let is_news = told.is_some() && *known != told;
    if is_news {
        *known = told;
    }
    is_news
}

/// After the end of a meeting its streams stop within this time.
const STOPS_WITHIN_MS: u64 = 10_000;

impl Coordinator {
    pub(super) fn meeting_started(&mut self, now: Now, ts: u64, info: MeetingInfo) {
        if info.meeting_uuid.is_empty() || info.meeting_id.is_empty() {
            return self.log(
                Severity::Warn,
                "ignoring meeting.started without id or uuid",
            );
        }
        self.meeting_lives(now, ts, info, true);
    }

    /// Participants join all the time: only a join that changes something updates the meeting.
    pub(super) fn participant_joined(&mut self, now: Now, ts: u64, joined: ParticipantJoined) {
        let ParticipantJoined {
            meeting: info,
            participant_ids,
        } = joined;
        let uuid = info.meeting_uuid.clone();
        let Some(meeting) = self.meetings.get(&uuid) else {
            return match info.meeting_id.is_empty() {
                true => {}
                false => self.meeting_lives(now, ts, info, false),
            };
        };
        let host_id = info.host_id.as_ref().or(meeting.host_id.as_ref());
        let named = self.settings.participant_user_id.as_ref();
        // Zoom refuses a start for a named participant who has not joined, as it does without a host.
        let who = match participant_ids.iter().any(|id| Some(id) == host_id) {
            true => Some("the host"),
            false => (participant_ids.iter().any(|id| Some(id) == named))
                .then_some("the participant of RTMS_PARTICIPANT_USER_ID"),
        };
        match meeting.phase() {
            // A meeting stays idle only if it is not to be started.
            Phase::Idle if meeting.started_ms.is_none() || self.settings.auto_start => {
                self.meeting_lives(now, ts, info, false)
            }
            Phase::Ended => self.meeting_lives(now, ts, info, false),
            Phase::AwaitingHost => {
                if let Some(who) = who {
                    self.awaited_joined(now, &uuid, who);
                }
            }
            _ => {}
        }
    }

    fn awaited_joined(&mut self, now: Now, uuid: &str, who: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        if meeting.calls.is_starting(now.instant) {
            meeting.calls.has_joined = true;
            return;
        }
        let id = meeting.meeting_id.clone().unwrap_or_default();
        self.log(
            Severity::Info,
            &format!("{who} joined: starting meeting={id} id={uuid}"),
        );
        self.start_now(now, uuid);
    }

    /// A sign that a meeting is running, perhaps the first one; `begins` for `meeting.started`, which each
    /// of its runs has once.
    fn meeting_lives(&mut self, now: Now, ts: u64, info: MeetingInfo, begins: bool) {
        let uuid = info.meeting_uuid.clone();
        if !self.has_room_for_meeting(&uuid) {
            return self.log(
                Severity::Error,
                "too many meetings: ignoring a started meeting",
            );
        }
        let meeting = self
            .meetings
            .get_or_insert_with(&uuid, || MeetingEntry::new(&info));
        meeting.touched_ms = now.unix_ms;
        let meeting_id = Some(info.meeting_id).filter(|id| !id.is_empty());
        self.is_changed |= learn(&mut meeting.topic, info.topic)
            | learn(&mut meeting.host_id, info.host_id)
            | learn(&mut meeting.account_id, info.account_id)
            | learn(&mut meeting.meeting_id, meeting_id);
        if meeting.started_ms.is_some_and(|known| ts <= known)
            || meeting.ended_ms.is_some_and(|ended| ts <= ended)
        {
            if begins && meeting.is_live() && meeting.life_ms.is_none() {
                // A participant was announced first: the run is as old as its start.
                meeting.life_ms = Some(ts);
                self.is_changed = true;
            }
            return;
        }
        // If the run is known only by its streams, a beginning after a stop belongs to another run.
        let is_next = begins
            && meeting.phase() == Phase::Stopped
            && meeting.started_ms.is_none()
            && meeting.stream_ms.is_some_and(|stream| ts > stream);
        let ended_ms = meeting.ended_ms;
        if !meeting.is_live() || is_next {
            meeting.begin_life(ts);
        }
        meeting.started_ms = Some(ts);
        if begins {
            meeting.life_ms.get_or_insert(ts);
        } else if let Some(ended) = ended_ms {
            // The run began some time before this sign of it, and after the previous one.
            meeting.life_ms = Some(first_of_next(ended).min(ts));
        }
        self.is_changed = true;
        let is_wanted = matches!(meeting.phase(), Phase::Idle | Phase::GaveUp);
        // An event older than a stream was overtaken by it, or by those who stopped it.
        let is_newer = meeting.stream_ms.is_none_or(|stream| ts > stream);
        if self.settings.auto_start && is_wanted && is_newer && !self.has_stream(&uuid) {
            self.start_now(now, &uuid);
        }
    }

    pub(super) fn meeting_ended(&mut self, now: Now, ts: u64, info: MeetingInfo) {
        let uuid = info.meeting_uuid.clone();
        if uuid.is_empty() || !self.has_room_for_meeting(&uuid) {
            return;
        }
        // Also for a meeting whose start we did not see: it may arrive late.
        let meeting = self
            .meetings
            .get_or_insert_with(&uuid, || MeetingEntry::new(&info));
        meeting.touched_ms = now.unix_ms;
        self.meeting_over(now, ts, &uuid);
    }

    /// The meeting ended at that time, which may be the end of a previous run.
    pub(super) fn meeting_over(&mut self, now: Now, ts: u64, uuid: &str) {
        let Some(meeting) = self.meetings.get_mut(uuid) else {
            return;
        };
        if meeting.ended_ms.is_some() {
            return;
        }
        match meeting.started_ms {
            Some(started) if ts < started => {
                // Of a previous run; or of this one, reported after the next start.
                match meeting.life_ms {
                    Some(life) if ts >= life => self.is_changed = true,
                    Some(_) => return,
                    None => {
                        meeting.life_ms = Some(first_of_next(ts).min(started));
                        self.is_changed = true;
                        return;
                    }
                }
                if meeting.stream_ms.is_some_and(|stream| stream >= started) {
                    // What streams decided since then belongs to the new run.
                    meeting.life_ms = Some(started);
                    return;
                }
                let is_yielded = meeting.is_yielded;
                self.cancel_calls(now, uuid);
                if let Some(meeting) = self.meetings.get_mut(uuid) {
                    meeting.begin_life(started);
                    meeting.is_yielded = is_yielded;
                }
                if self.settings.auto_start && !is_yielded && !self.has_stream(uuid) {
                    self.start_now(now, uuid);
                }
            }
            _ if meeting.phase() == Phase::Stopped
                && !meeting.is_yielded
                && meeting
                    .stream_ms
                    .is_some_and(|stream| is_after_end(stream, ts)) =>
            {
                // People stopped a stream of the next run, whose beginning arrives late.
                meeting.begin_untold_life(first_of_next(ts));
                meeting.start = Start::Stopped;
                self.is_changed = true;
            }
            _ => {
                meeting.ended_ms = Some(ts);
                meeting.stop_at_ms = None;
                meeting.awaits_host = false;
                if matches!(meeting.start, Start::Trying { .. }) {
                    meeting.start = Start::None;
                }
                self.is_changed = true;
                self.cancel_calls(now, uuid);
            }
        }
    }

    pub(super) fn rtms_started(&mut self, now: Now, ts: u64, started: StreamStarted) {
        let stream_id = started.stream_id.clone();
        if self.streams.contains_key(&stream_id) {
            return self.rtms_started_again(now, ts, started);
        }
        if !self.has_room_for_stream() {
            return self.log(
                Severity::Error,
                &format!("too many streams: ignoring rtms_started stream={stream_id}"),
            );
        }
        // A webhook without a timestamp counts from its arrival.
        let stamp = if ts == 0 { now.unix_ms } else { ts };
        let age = Duration::from_millis(now.unix_ms.saturating_sub(stamp));
        let mut entry = StreamEntry::new(started, stamp, ts);
        self.is_changed = true;
        let uuid = entry.started.id.clone();
        if age > EXPIRED_AFTER {
            entry.ended_ms = Some(now.unix_ms);
            self.streams.insert(stream_id.clone(), entry);
            let age_s = age.as_secs();
            return self.log(
                Severity::Error,
                &format!(
                    "stream missed stream={stream_id} id={uuid}: rtms_started is {age_s} s old and \
                     Zoom waits 60 s; was the server down, or is this machine's clock wrong?"
                ),
            );
        }
        if self.settings.streams == StreamChoice::Host
            && entry.started.is_original_host == Some(false)
        {
            entry.ended_ms = Some(now.unix_ms);
            self.streams.insert(stream_id.clone(), entry);
            return self.log(
                Severity::Info,
                &format!(
                    "stream ignored stream={stream_id} id={uuid}: it is not the host's, and \
                     RTMS_STREAMS=host receives only the host's"
                ),
            );
        }
        let window = SIGNALING_WINDOW.saturating_sub(age).max(WINDOW_MIN);
        let (number, product) = (entry.started.meeting_id.clone(), entry.started.product);
        let account = entry.started.account_id.clone();
        self.streams.insert(stream_id.clone(), entry);
        if self.has_room_for_meeting(&uuid) {
            let meeting = self
                .meetings
                .get_or_insert_with(&uuid, || MeetingEntry::from_stream(product, &uuid));
            meeting.meeting_id = number.or(meeting.meeting_id.take());
            meeting.account_id = meeting.account_id.take().or(account);
            self.stream_came(now, ts, &uuid);
        }
        self.start_stream(now, &stream_id, window, false);
    }

    /// A start of a known stream.
    pub(super) fn rtms_started_again(&mut self, now: Now, ts: u64, started: StreamStarted) {
        let stream_id = started.stream_id.clone();
        let Some(entry) = self.streams.get_mut(&stream_id) else {
            return;
        };
        if ts <= entry.newest_ms || entry.stopped_ms.is_some_and(|stopped| ts <= stopped) {
            return;
        }
        self.streams.set_meeting(&stream_id, &started.id);
        let Some(entry) = self.streams.get_mut(&stream_id) else {
            return;
        };
        entry.newest_ms = ts;
        entry.started = started;
        self.is_changed = true;
        if !entry.is_active() {
            return self.begin_next_life(now, &stream_id);
        }
        // A stream that is about to leave for another node begins again here: Zoom told this node.
        let is_leaving = entry.leaving.take().is_some();
        if entry.stopped_ms.take().is_some() || is_leaving {
            entry.is_superseded = true;
        }
        if entry.is_superseded {
            return self.log(
                Severity::Info,
                &format!("started again while it is ending stream={stream_id}"),
            );
        }
        entry.moved = Some(now.instant);
        let urls = entry.started.server_urls.clone();
        self.actions.push(Action::FailOver { stream_id, urls });
    }

    /// Runs a stream because of a start that is newer than its end.
    pub(super) fn begin_next_life(&mut self, now: Now, stream_id: &str) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        entry.begin_life();
        let (ts, uuid) = (entry.newest_ms, entry.started.id.clone());
        self.is_changed = true;
        self.stream_came(now, ts, &uuid);
        self.start_stream(now, stream_id, SIGNALING_WINDOW, true);
    }

    /// Starts a stream.
    pub(super) fn start_stream(
        &mut self,
        now: Now,
        stream_id: &str,
        window: Duration,
        is_rejoin: bool,
    ) {
        let Some(entry) = self.streams.get_mut(stream_id) else {
            return;
        };
        entry.connect_until = Some(now.instant + window);
        let server_urls = entry.started.server_urls.clone();
        self.begin_tenure(stream_id);
        let Some(entry) = self.streams.get(stream_id) else {
            return;
        };
        self.actions.push(Action::Start(Box::new(StreamPlan {
            info: self.info(entry),
            server_urls,
            window,
            is_rejoin,
        })));
    }

    pub(super) fn rtms_interrupted(&mut self, now: Now, ts: u64, event: StreamInterrupted) {
        let Some(entry) = self.streams.get_mut(&event.stream_id) else {
            // An unknown stream, but with URLs: treated like a start.
            if let (Some(id), false) = (event.id, event.server_urls.is_empty()) {
                let started = StreamStarted {
                    server_urls: event.server_urls,
                    ..bare(event.product, id, event.stream_id)
                };
                return self.rtms_started(now, ts, started);
            }
            return self.log(
                Severity::Warn,
                &format!(
                    "rtms_interrupted for an unknown stream; nothing to reconnect to \
                     stream={}",
                    event.stream_id
                ),
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

    pub(super) fn rtms_stopped(&mut self, now: Now, ts: u64, event: StreamStopped) {
        let reason = StopReason(event.stop_reason.unwrap_or(0));
        let is_withdrawal = reason == StopReason::STREAM_REVOKED;
        let Some(entry) = self.streams.get_mut(&event.stream_id) else {
            return self.unknown_stopped(now, ts, event);
        };
        let is_before_start = ts != 0 && ts < entry.newest_ms;
        let is_repeat = entry.stopped_ms.is_some_and(|known| ts != 0 && ts <= known);
        // Withdrawn consent is handled once, however late it arrives.
        let is_known = match is_withdrawal {
            true => {
                is_repeat && entry.is_revoked || entry.revoked_ms.is_some_and(|known| ts <= known)
            }
            false => true,
        };
        if is_known && (is_before_start || is_repeat) {
            return;
        }
        let was_revoked = entry.is_revoked;
        let stream_id = event.stream_id;
        self.is_changed = true;
        // A stop that did not name the meeting may have come first.
        if entry.started.id.is_empty() {
            let meeting = event.id.unwrap_or_default();
            self.streams.set_meeting(&stream_id, &meeting);
        }
        let Some(entry) = self.streams.get_mut(&stream_id) else {
            return;
        };
        if is_withdrawal {
            entry.is_revoked = true;
            entry.stop_reason = event.stop_reason;
            if is_before_start && entry.is_active() {
                // It is about a run before the newest start, whose files are deleted before that one goes on.
                entry.revoked_ms = entry.revoked_ms.max(Some(ts));
                if !std::mem::replace(&mut entry.is_superseded, true) {
                    self.actions.push(Action::Stopped { stream_id, reason });
                }
                return;
            }
        } else if !was_revoked {
            entry.stop_reason = event.stop_reason;
        }
        entry.stopped_ms = entry.stopped_ms.max(Some(ts));
        entry.is_superseded = false;
        let uuid = entry.started.id.clone();
        let (product, is_active) = (entry.started.product, entry.is_active());
        self.meeting_saw_stop(now, ts, product, &uuid);
        if is_active {
            self.meeting_after_stop(now, &stream_id, reason);
            self.actions.push(Action::Stopped { stream_id, reason });
        } else if !(is_withdrawal && was_revoked) {
            self.after_stop(now, &stream_id, reason);
        } else if !self
            .streams
            .of_meeting(&uuid)
            .any(|(_, stream)| stream.newest_ms > ts)
        {
            // Its socket said so before, without a timestamp: an older start was announced meanwhile.
            self.meeting_after_stop(now, &stream_id, reason);
        }
    }

    /// Stopped before started, or removed: a later started webhook is stale.
    fn unknown_stopped(&mut self, now: Now, ts: u64, event: StreamStopped) {
        let StreamStopped {
            product,
            id,
            stream_id,
            stop_reason,
        } = event;
        if !self.has_room_for_stream() {
            return;
        }
        let uuid = id.unwrap_or_default();
        let mut entry = StreamEntry::new(bare(product, uuid.clone(), stream_id.clone()), ts, 0);
        entry.stopped_ms = Some(ts);
        entry.stop_reason = stop_reason;
        entry.ended_ms = Some(now.unix_ms);
        self.streams.insert(stream_id.clone(), entry);
        self.is_changed = true;
        self.meeting_saw_stop(now, ts, product, &uuid);
        self.after_stop(now, &stream_id, StopReason(stop_reason.unwrap_or(0)));
    }

    /// A stream of a meeting stopped. The meeting may be unknown: its beginning may come late, or the
    /// stream was never received.
    fn meeting_saw_stop(&mut self, now: Now, ts: u64, product: Product, uuid: &str) {
        if uuid.is_empty() || !self.has_room_for_meeting(uuid) {
            return;
        }
        let meeting = self
            .meetings
            .get_or_insert_with(uuid, || MeetingEntry::from_stream(product, uuid));
        meeting.touched_ms = now.unix_ms;
        meeting.saw_stream(ts);
    }
}

/// A start with known ids only.
fn bare(product: Product, id: String, stream_id: String) -> StreamStarted {
    StreamStarted {
        product,
        id,
        stream_id,
        server_urls: Vec::new(),
        meeting_id: None,
        operator_id: None,
        is_original_host: None,
        account_id: None,
    }
}
