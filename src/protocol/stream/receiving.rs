//! What follows from each message: an event for the sinks, an answer, a change of state.

use std::borrow::Cow;
use std::time::Instant;

use super::{DRAIN_QUIET, Output, Phase, Stream, ZoomClock};
use crate::domain::id::Id;
use crate::domain::product::Product;
use crate::protocol::codes::StopReason;
use crate::protocol::event::{EndReason, LinkId, Notice, StreamEvent};
use crate::protocol::events::MEDIA_CONNECTION_INTERRUPTED;
use crate::protocol::link::State;
use crate::protocol::message;
use crate::protocol::message::{DecodeError, Message, Packet, PacketKind};
use crate::protocol::params::MediaKind;

/// After this many audio packets without a speaker, `SpeakersUnknown` is reported for a stream with
/// a track per speaker: ten seconds of packets.
const UNNAMED_PACKETS_MAX: u32 = 500;

impl Stream {
    /// One message, text or binary, received on a link.
    ///
    /// Returns its data, borrowed from it; what it causes is returned by `poll_output`.
    ///
    /// # Errors
    /// It is no message of RTMS. The stream is as before; the error is for the log.
    pub fn handle_message<'m>(
        &mut self,
        now: Instant,
        id: LinkId,
        data: &'m str,
    ) -> Result<Option<StreamEvent<'m>>, DecodeError> {
        let Some(link) = self.link_mut(id) else {
            self.counters.ignored += 1;
            return Ok(None);
        };
        link.heard = now;
        let arrival_ms = self.unix_ms(now);
        let message = match message::decode(data, arrival_ms) {
            Ok(message) => message,
            Err(error) => {
                self.counters.malformed += 1;
                return Err(error);
            }
        };
        Ok(self.on_message(now, id, message))
    }

    fn on_message<'m>(
        &mut self,
        now: Instant,
        id: LinkId,
        message: Message<'m>,
    ) -> Option<StreamEvent<'m>> {
        let event = match message {
            Message::Transcript(phrase) if phrase.is_blank() => {
                self.counters.blank += 1;
                return None;
            }
            Message::Transcript(mut phrase) => {
                if phrase.user_name.is_empty()
                    && let Some(name) =
                        (self.names).name_of(&phrase.user_id, phrase.channel_id.as_ref())
                {
                    phrase.user_name = Cow::Owned(name.to_owned());
                }
                StreamEvent::Transcript(phrase)
            }
            Message::Packet(kind, packet) => StreamEvent::Packet(kind, packet),
            Message::Chat(chat) => StreamEvent::Chat(chat),
            Message::Event(event) => {
                if event.event_type == Some(MEDIA_CONNECTION_INTERRUPTED) {
                    self.media_reported_lost(now);
                }
                if is_call(self.config.product) {
                    self.names.on_participants(&event.participants);
                }
                let wanted = self.camera.as_mut().and_then(|c| c.handle_event(&event));
                self.subscribe_video(now, wanted);
                return Some(StreamEvent::Event(event));
            }
            Message::KeepAlive(request) => {
                self.counters.keep_alives += 1;
                let stamp_ms = request.timestamp_ms(self.unix_ms(now));
                self.zoom_spoke(now, id, stamp_ms);
                self.outputs
                    .push_back(Output::Send(id, message::keep_alive_answer(&request)));
                return None;
            }
            Message::SignalingHandshake(answer) => {
                self.signaling_answered(now, id, answer);
                return None;
            }
            Message::MediaHandshake(answer) => {
                self.media_answered(now, id, answer);
                return None;
            }
            Message::StreamState {
                state,
                reason,
                timestamp_ms,
            } => {
                self.zoom_spoke(now, id, timestamp_ms);
                self.stream_state(now, state, reason);
                return None;
            }
            Message::SessionState { state, reason } => {
                self.notice(Notice::Session { state, reason });
                // Withdrawn consent counts in whatever message it is reported.
                if reason == StopReason::STREAM_REVOKED {
                    self.stopped(now, reason);
                }
                return None;
            }
            Message::StreamClose(_) => {
                if matches!(self.phase, Phase::Closing { .. }) {
                    self.end(EndReason::ClosedByUs);
                }
                return None;
            }
            Message::VideoSubscription { user_id, status } => {
                self.notice(Notice::VideoSubscription { user_id, status });
                return None;
            }
            Message::Unknown(_) => {
                self.counters.unknown += 1;
                return None;
            }
        };
        if let LinkId::Media(kind) = id {
            self.data_arrived(now, kind);
        }
        let encrypted = matches!(id, LinkId::Media(kind)
            if self.media.iter().any(|media| media.kind == kind && media.encrypted));
        let unwanted = self.is_one_socket
            && event_kind(&event).is_some_and(|kind| !self.config.media.is_wanted(kind));
        // After the end a socket is read once more before it is closed: earlier data is passed on,
        // unless consent for it was withdrawn.
        if encrypted || unwanted || self.is_revoked {
            self.counters.ignored += 1;
            return None;
        }
        if let StreamEvent::Packet(PacketKind::Audio, packet) = &event {
            self.note_speaker(packet);
        }
        if let (Phase::Draining { until, limit, .. }, LinkId::Media(_)) = (&mut self.phase, id) {
            *until = (now + DRAIN_QUIET).min(*limit);
        }
        Some(event)
    }

    fn zoom_spoke(&mut self, now: Instant, id: LinkId, stamp_ms: Option<u64>) {
        let Some(stamp_ms) = stamp_ms.filter(|_| id == LinkId::Signaling) else {
            return;
        };
        self.zoom_clock_ms = self.zoom_clock_ms.max(stamp_ms);
        // A timestamp is late by its transmission time; the one with the shortest transmission is
        // the most exact.
        let is_truer = |clock: ZoomClock| !self.has_zoom_clock || clock.at(now) < stamp_ms;
        if self.zoom_clock.is_none_or(is_truer) {
            self.zoom_clock = Some(ZoomClock { stamp_ms, at: now });
            self.has_zoom_clock = true;
        }
    }

    /// Reports once if a track per speaker was requested and no packet has a speaker.
    fn note_speaker(&mut self, packet: &Packet<'_>) {
        let Some(count) = &mut self.unnamed_packets else {
            return;
        };
        let is_named = packet.user_id != Id::UNKNOWN || packet.channel_id.is_some();
        *count += 1;
        let is_told = *count == UNNAMED_PACKETS_MAX;
        if is_named || is_told {
            self.unnamed_packets = None;
        }
        if is_told && !is_named {
            self.notice(Notice::SpeakersUnknown);
        }
    }

    /// Sends message 28 for the participant whose camera is wanted now.
    pub(super) fn subscribe_video(&mut self, now: Instant, wanted: Option<u64>) {
        let is_up = self.signaling.state == State::Up && self.phase == Phase::Running;
        if let Some(user_id) = wanted.filter(|_| is_up) {
            // Zoom's newest timestamp is its clock; before the first one our clock is used.
            let stamp_ms = match self.zoom_clock_ms {
                0 => self.unix_ms(now),
                stamp => stamp,
            };
            let text = message::video_subscription(user_id, true, stamp_ms);
            self.outputs
                .push_back(Output::Send(LinkId::Signaling, text));
        }
    }
}

/// The kind of media of an event's data; `None` for meeting events.
fn event_kind(event: &StreamEvent<'_>) -> Option<MediaKind> {
    match event {
        StreamEvent::Transcript(_) => Some(MediaKind::Transcript),
        StreamEvent::Packet(PacketKind::Audio, _) => Some(MediaKind::Audio),
        StreamEvent::Packet(PacketKind::Video, _) => Some(MediaKind::Video),
        StreamEvent::Packet(PacketKind::Share, _) => Some(MediaKind::Share),
        StreamEvent::Chat(_) => Some(MediaKind::Chat),
        StreamEvent::Event(_) => None,
    }
}

/// Whether the product has channels instead of users.
fn is_call(product: Product) -> bool {
    matches!(product, Product::ContactCenter | Product::Phone)
}
