//! What follows from each webhook; the table is in the module above.

use std::time::Duration;

use super::entry::{MeetingEntry, Start, StreamEntry};
use super::{Action, Coordinator, EXPIRED_AFTER, Now, StreamPlan, WINDOW_MIN};
use crate::domain::rest::RestAction;
use crate::domain::severity::Severity;
use crate::domain::zoom_event::{MeetingInfo, StreamInterrupted, StreamStarted, StreamStopped};
use crate::protocol::SIGNALING_WINDOW;
use crate::protocol::codes::StopReason;

impl Coordinator {
    pub(super) fn meeting_started(&mut self, now: Now, ts: u64, life: MeetingInfo) {
        let uuid = life.meeting_uuid.clone();
        if uuid.is_empty() || life.meeting_id.is_empty() {
            return self.log(
                Severity::Warn,
                "meeting.started without id or uuid is ignored",
            );
        }
        let has_stream = self.has_stream(&uuid);
        if !self.has_room_for_meeting(&uuid) {
            return self.log(
                Severity::Error,
                "too many meetings: meeting.started is ignored",
            );
        }
        let entry = self
            .meetings
            .get_or_insert_with(&uuid, || MeetingEntry::new(&life));
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
            self.call(now.instant, &uuid, RestAction::Start);
        }
    }

    pub(super) fn meeting_ended(&mut self, now: Now, ts: u64, life: MeetingInfo) {
        let uuid = life.meeting_uuid.clone();
        if uuid.is_empty() || !self.has_room_for_meeting(&uuid) {
            return;
        }
        // Also for a meeting whose beginning we did not see: it may come late.
        let entry = self
            .meetings
            .get_or_insert_with(&uuid, || MeetingEntry::new(&life));
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

    pub(super) fn rtms_started(&mut self, now: Now, ts: u64, started: StreamStarted) {
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
        if !self.has_room_for_stream() {
            return self.log(
                Severity::Error,
                &format!("too many streams: rtms_started is ignored stream={stream_id}"),
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
        let (id, product) = (entry.started.meeting_id.clone(), entry.started.product);
        self.streams.insert(stream_id.clone(), entry);
        if self.has_room_for_meeting(&uuid) {
            let meeting = self
                .meetings
                .get_or_insert_with(&uuid, || MeetingEntry::of(product, &uuid));
            meeting.touched_ms = now.unix_ms;
            meeting.meeting_id = id.or(meeting.meeting_id.take());
            // Our start worked, whatever became of the answer to it: no second one.
            self.start_succeeded(now, &uuid);
        }
        let window = SIGNALING_WINDOW.saturating_sub(age).max(WINDOW_MIN);
        let Some(entry) = self.streams.get(&stream_id) else {
            return;
        };
        let plan = StreamPlan {
            started: entry.started.clone(),
            info: self.info(entry),
            window,
            is_rejoin: false,
        };
        self.actions.push(Action::Start(Box::new(plan)));
    }

    pub(super) fn rtms_interrupted(&mut self, now: Now, ts: u64, event: StreamInterrupted) {
        let Some(entry) = self.streams.get_mut(&event.stream_id) else {
            // Unknown here, but told where to go: as good as a started.
            if !event.server_urls.is_empty() {
                let started = StreamStarted {
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
                Severity::Warn,
                &format!(
                    "rtms_interrupted for a stream that is not known here; nothing to reconnect to \
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
        let stream_id = event.stream_id;
        let Some(entry) = self.streams.get_mut(&stream_id) else {
            // Stopped before started: the started that may still come is stale.
            if !self.has_room_for_stream() {
                return;
            }
            let started = StreamStarted {
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
}
