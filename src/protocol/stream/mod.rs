//! The state machine of one stream, over all its links.
//!
//! This file has the inputs and outputs; `opening`, `recovery`, `ending` and `command` have what
//! follows from them. See the diagram in [`super`]. Each `handle_*` method takes one input; after
//! it, [`Stream::poll_output`] is called until it returns [`Output::Wait`] or [`Output::End`].

pub(crate) mod command;
pub(crate) mod ending;
pub(crate) mod opening;
pub(crate) mod recovery;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use command::Command;

use super::camera::Camera;
use super::codes::StopReason;
use super::event::{EndReason, LinkId, Loss, Notice, StreamEvent};
use super::events::MEDIA_CONNECTION_INTERRUPTED;
use super::link::{HANDSHAKE_MAX, Link, State};
use super::message;
use super::message::{DecodeError, Message, Packet, PacketKind};
use super::names::Names;
use super::params::{
    AudioStreams, MESSAGE_BYTES_MAX, MediaKind, MediaParams, MediaSelection, VideoStreams,
};
use super::reconnect;
use super::reconnect::{Attempts, Policy};
use super::server_url::{AllowedHosts, ServerUrl};
use super::signature::handshake_signature;
use crate::domain::id::Id;
use crate::domain::product::Product;
use crate::domain::secret::Secret;

/// How long Zoom keeps a stream open after its signaling link was lost, and how long after
/// `rtms_started` it waits for us (RTMS failover guide).
pub const SIGNALING_WINDOW: Duration = Duration::from_secs(60);

/// How long Zoom keeps a stream open after its media link was lost (RTMS failover guide).
pub const MEDIA_WINDOW: Duration = Duration::from_secs(65);

/// A stop can arrive before data that is still in the media socket; we read on until Zoom closes
/// the socket, or until nothing has arrived for this long.
pub const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// After a stop we read on for at most this long.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long we wait for the answer to our close request.
pub const CLOSE_ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long the first accepted media links wait for the others before CLIENT_READY_ACK is sent.
/// Zoom expects one after every media handshake; a link that does not answer must not delay the
/// others.
pub(super) const READY_WAIT: Duration = Duration::from_secs(3);

/// How often a given-up kind of media is retried, while the others continue.
pub const GIVEN_UP_RETRY: Duration = Duration::from_secs(60);

/// After this many audio packets without a speaker, `SpeakersUnknown` is reported for a stream with
/// a track per speaker: ten seconds of packets.
const UNNAMED_PACKETS_MAX: u32 = 500;

/// Zoom reports a loss of media in two ways, and one of signaling by a webhook; each report may be
/// late. A report this soon after the link was accepted is about the earlier loss.
const REPORT_REPEAT: Duration = Duration::from_secs(5);

/// What a stream needs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamConfig {
    /// The product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The app's client id, or the Video SDK key.
    pub client_id: String,
    /// The app's client secret, or the Video SDK secret.
    pub client_secret: Secret,
    /// The servers for the signaling link, in the order in which they are tried.
    pub urls: Vec<ServerUrl>,
    /// Hosts that media URLs may have.
    pub allowed_hosts: AllowedHosts,
    /// The wanted media.
    pub media: MediaSelection,
    /// Their parameters.
    pub params: MediaParams,
    /// Whose camera, with individual video: a user id or a name; `None` for the active speaker's.
    pub video_participant: Option<String>,
    /// Event types to subscribe to.
    pub events: Vec<i64>,
    /// `buffer_data` of message 1; absent for Zoom's default.
    pub buffer_data: Option<bool>,
    /// How long from now Zoom waits for our first connection.
    pub window: Duration,
    /// Our wall clock, Unix milliseconds. Zoom's timestamps are checked against it, and our
    /// requests use it until Zoom has sent a timestamp of its own.
    pub unix_ms: u64,
}

impl StreamConfig {
    /// A stream with every default: its transcript, no events, Zoom's hosts, and a minute until
    /// Zoom gives up waiting for the first connection.
    pub fn new(
        product: Product,
        id: impl Into<String>,
        stream_id: impl Into<String>,
        urls: Vec<ServerUrl>,
        client_id: impl Into<String>,
        client_secret: Secret,
    ) -> StreamConfig {
        StreamConfig {
            product,
            id: id.into(),
            stream_id: stream_id.into(),
            client_id: client_id.into(),
            client_secret,
            urls,
            allowed_hosts: AllowedHosts::default(),
            media: MediaSelection::default(),
            params: MediaParams::default(),
            video_participant: None,
            events: Vec::new(),
            buffer_data: None,
            window: SIGNALING_WINDOW,
            unix_ms: 0,
        }
    }
}

/// What the stream asks its driver to do.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Start to connect; report the outcome by `handle_opened` or `handle_closed`. An earlier link
    /// with that id no longer exists.
    Connect {
        /// The link.
        link: LinkId,
        /// The server.
        url: ServerUrl,
        /// The size limit for messages, in bytes. Larger ones are to be skipped and reported by
        /// `handle_oversize`.
        message_bytes_max: usize,
    },
    /// Send a text message.
    Send(LinkId, String),
    /// Pass on what has arrived on that link, then close it with code 1000. No `handle_closed`
    /// follows.
    Close(LinkId),
    /// Pass the notice on.
    Notice(Notice),
    /// Nothing to do before this time: call `handle_timeout` then.
    Wait(Instant),
    /// The stream has ended; every link has been closed.
    End(EndReason),
}

/// Counters of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Keep-alives answered.
    pub keep_alives: u64,
    /// Messages of a type that is reserved, undocumented or new.
    pub unknown: u64,
    /// Messages that could not be parsed.
    pub malformed: u64,
    /// Transcripts without words, which are not passed on.
    pub blank: u64,
    /// Messages that were unexpected and ignored.
    pub ignored: u64,
    /// Lost links.
    pub losses: u64,
    /// Messages above the size limit of their link, which were skipped.
    pub oversize: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Zoom stopped it; the rest is read until then.
    Draining {
        until: Instant,
        /// Data extends `until`, up to here.
        limit: Instant,
        reason: EndReason,
    },
    /// We asked Zoom to end it and wait for the answer until then.
    Closing {
        until: Instant,
    },
    Ended,
}

#[derive(Debug)]
struct Media {
    kind: MediaKind,
    link: Link,
    /// Whether CLIENT_READY_ACK was sent since it was last accepted.
    announced: bool,
    encrypted: bool,
    /// It was accepted because data arrived, without message 4.
    is_unanswered: bool,
    /// It was not connected within Zoom's window; it is retried now and then.
    is_given_up: bool,
    /// It has no server of its own and uses those of `all`.
    shares_all: bool,
}

/// Zoom's clock, from a timestamp that it sent.
#[derive(Debug, Clone, Copy)]
struct ZoomClock {
    stamp_ms: u64,
    at: Instant,
}

impl ZoomClock {
    /// The clock's value at a given time.
    fn at(self, moment: Instant) -> u64 {
        let after = moment.saturating_duration_since(self.at).as_millis() as u64;
        let before = self.at.saturating_duration_since(moment).as_millis() as u64;
        self.stamp_ms.saturating_add(after).saturating_sub(before)
    }
}

/// The state machine of one stream.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    signature: String,
    signaling: Link,
    media: Vec<Media>,
    policy: &'static Policy,
    phase: Phase,
    /// Consent was withdrawn: no more data may be passed on.
    is_revoked: bool,
    /// Set by stream state 3: the next loss is the end and will not be retried.
    terminating: Option<StopReason>,
    /// The newest timestamp that Zoom sent on the current signaling connection.
    zoom_clock_ms: u64,
    /// Zoom's clock by its newest timestamps; ours before the first. `None` after a suspend, which
    /// [`Instant`] does not count.
    zoom_clock: Option<ZoomClock>,
    /// Whether `zoom_clock` comes from Zoom.
    has_zoom_clock: bool,
    /// When to send CLIENT_READY_ACK although a media link is still being connected.
    ready_at: Option<Instant>,
    /// Bits of the media kinds that have been accepted.
    accepted_kinds: u32,
    /// Several kinds have to share one socket on `all`; unwanted data is dropped.
    is_one_socket: bool,
    /// Audio packets without a speaker so far; `None` once a speaker was seen or the notice was
    /// given.
    unnamed_packets: Option<u32>,
    has_told_unanswered: bool,
    /// The parties of a call.
    names: Names,
    /// When `config.unix_ms` was current.
    made: Instant,
    /// With individual video only.
    camera: Option<Camera>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

/// The signature in both handshakes.
fn signature(config: &StreamConfig) -> String {
    handshake_signature(
        &config.client_id,
        &config.client_secret,
        &config.id,
        &config.stream_id,
    )
}

impl Stream {
    /// A new stream, which starts to connect.
    pub fn new(now: Instant, config: StreamConfig) -> Stream {
        Stream::with_policy(now, config, &reconnect::POLICY)
    }

    pub(super) fn with_policy(
        now: Instant,
        config: StreamConfig,
        policy: &'static Policy,
    ) -> Stream {
        let signature = signature(&config);
        let kinds = config.media.kinds();
        let is_individual = config.params.video.streams == VideoStreams::Individual
            && config.product != Product::ContactCenter
            && (config.media.is_all() || kinds.contains(&MediaKind::Video));
        let mut config = config;
        let camera = is_individual.then(|| Camera::new(config.video_participant.clone()));
        for event in camera.iter().flat_map(Camera::events) {
            if !config.events.contains(&event) {
                config.events.push(event);
            }
        }
        let seed = reconnect::seed(&config.stream_id, 0);
        let attempts = Attempts::new(policy, seed);
        let mut signaling = Link::new(now, config.urls.clone(), attempts);
        signaling.open_window(now, config.window, &Loss::TimedOut);
        let mut stream = Stream {
            signature,
            signaling,
            media: Vec::new(),
            policy,
            phase: Phase::Running,
            is_revoked: false,
            terminating: None,
            zoom_clock_ms: 0,
            zoom_clock: Some(ZoomClock {
                stamp_ms: config.unix_ms,
                at: now,
            }),
            has_zoom_clock: false,
            ready_at: None,
            accepted_kinds: 0,
            is_one_socket: false,
            unnamed_packets: (config.params.audio.streams == AudioStreams::PerSpeaker).then_some(0),
            has_told_unanswered: false,
            names: Names::default(),
            made: now,
            camera,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            config,
        };
        stream.connect(now, LinkId::Signaling);
        stream
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether data can arrive: both handshakes were accepted and CLIENT_READY_ACK was sent.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
            && self.signaling.state == State::Up
            && self.media.iter().any(|media| media.announced)
    }

    /// Whether there is an output other than `Wait`; cheaper than `poll_output`.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        // A running stream always has a link with a deadline.
        let next = self.deadline();
        Output::Wait(next.unwrap_or(self.signaling.heard + SIGNALING_WINDOW))
    }

    /// The next deadline.
    fn deadline(&self) -> Option<Instant> {
        let media = self.media.iter().filter_map(|media| media.link.deadline());
        let links = media.chain(self.signaling.deadline());
        let phase = match &self.phase {
            Phase::Draining { until, .. } | Phase::Closing { until } => Some(*until),
            Phase::Running | Phase::Ended => None,
        };
        links.chain(phase).chain(self.ready_at).min()
    }

    /// A connection requested by [`Output::Connect`] is open.
    pub fn handle_opened(&mut self, now: Instant, id: LinkId) {
        let text = match id {
            LinkId::Signaling => message::signaling_handshake(
                self.config.product.id_key(),
                &self.config.id,
                &self.config.stream_id,
                &self.signature,
                self.config.buffer_data,
            ),
            LinkId::Media(kind) => message::media_handshake(
                self.config.product.id_key(),
                &self.config.id,
                &self.config.stream_id,
                &self.signature,
                kind.bit(),
                self.config.params.to_json(kind).as_deref(),
            ),
        };
        let Some(link) = self.link_mut(id) else {
            return;
        };
        if matches!(link.state, State::Connecting { .. }) {
            link.state = State::Handshaking {
                until: link.limit(now, HANDSHAKE_MAX),
            };
            link.heard = now;
            self.outputs.push_back(Output::Send(id, text));
        }
    }

    /// A link was closed, or could not be connected.
    pub fn handle_closed(&mut self, now: Instant, id: LinkId, loss: Loss) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let unanswered = matches!(link.state, State::Handshaking { .. });
        if link.is_open() {
            let loss = match loss {
                Loss::Closed(code) if unanswered => Loss::Unanswered(code),
                loss => loss,
            };
            self.lose(now, id, loss, Socket::Gone);
        }
    }

    /// The deadline of [`Output::Wait`] has passed, or may have.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match &self.phase {
            Phase::Draining { until, reason, .. } if *until <= now => {
                let reason = reason.clone();
                return self.end(reason);
            }
            Phase::Closing { until } if *until <= now => return self.end(EndReason::ClosedByUs),
            Phase::Ended => return,
            _ => {}
        }
        if self.ready_at.is_some_and(|at| at <= now) {
            self.announce_ready(now);
        }
        let ids: Vec<LinkId> = self.link_ids().collect();
        for id in ids {
            let Some(link) = self.link_mut(id) else {
                continue;
            };
            if link.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            if let Some(window) = link.window.as_ref().filter(|window| window.until <= now) {
                let loss = window.loss.clone();
                self.give_up(now, id, loss);
                continue;
            }
            match link.state {
                State::Off => {}
                State::Waiting { .. } => self.connect(now, id),
                State::Connecting { .. } | State::Handshaking { .. } => {
                    self.lose(now, id, Loss::TimedOut, Socket::Open);
                }
                State::Up => self.lose(now, id, Loss::Silent, Socket::Open),
            }
        }
    }

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

    /// A message on a link was above its size limit, and was skipped.
    pub fn handle_oversize(&mut self, now: Instant, id: LinkId, bytes: u64) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        link.heard = now;
        self.counters.oversize += 1;
        let limit = self.message_bytes_max(id);
        self.notice(Notice::Oversize {
            link: id,
            bytes,
            limit,
        });
    }

    /// The size limit of a link.
    fn message_bytes_max(&self, id: LinkId) -> usize {
        match id {
            LinkId::Signaling => MESSAGE_BYTES_MAX,
            LinkId::Media(kind) => self.config.params.message_bytes_max(kind),
        }
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

    /// The newest timestamp of Zoom's clock.
    #[cfg(test)]
    pub(crate) fn zoom_clock_ms(&self) -> u64 {
        self.zoom_clock_ms
    }

    /// Our wall clock: its value at the start plus the time since. Timestamps are checked against
    /// it and not against Zoom's clock, which one wrong timestamp could have moved.
    fn unix_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.made).as_millis() as u64;
        self.config.unix_ms.saturating_add(since)
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
        let is_named = packet.user_id != Id::NOBODY || packet.channel_id.is_some();
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
    fn subscribe_video(&mut self, now: Instant, wanted: Option<u64>) {
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

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match id {
            LinkId::Signaling => Some(&mut self.signaling),
            LinkId::Media(kind) => {
                let media = self.media.iter_mut().find(|media| media.kind == kind);
                media.map(|media| &mut media.link)
            }
        }
    }

    fn link_ids(&self) -> impl Iterator<Item = LinkId> + '_ {
        let media = self.media.iter().map(|media| LinkId::Media(media.kind));
        std::iter::once(LinkId::Signaling).chain(media)
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

/// Whether the socket of a lost link must still be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Open,
    Gone,
}
