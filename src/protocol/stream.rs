//! One stream: everything that couples its links.
//!
//! See the diagram in [`super`]. Each `handle_*` method takes one thing that happened; after it,
//! [`Stream::poll_output`] is called until it says [`Output::Wait`] or [`Output::End`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::camera::Camera;
use super::codes::{Refusal, Status, StopReason, StreamState};
use super::event::{EndReason, LinkId, Loss, Notice, StreamEvent};
use super::events::MEDIA_CONNECTION_INTERRUPTED;
use super::link::{CONNECT_MAX, HANDSHAKE_MAX, Link, State};
use super::message::{self, DecodeError, MediaHandshake, Message, SignalingHandshake};
use super::params::{MediaKind, MediaParams, MediaSelection, VideoStreams};
use super::product::Product;
use super::signature::handshake_signature;
use super::url::{AllowedHosts, ServerUrl};
use crate::secret::Secret;

/// How long Zoom keeps a stream open whose signaling link is lost, and how long after
/// `rtms_started` it waits for us (RTMS failover guide).
pub const SIGNALING_WINDOW: Duration = Duration::from_secs(60);

/// How long Zoom keeps a stream open whose media link is lost (RTMS failover guide).
pub const MEDIA_WINDOW: Duration = Duration::from_secs(65);

/// A stop can overtake data that is still in the media socket; we read on until Zoom closes it, or
/// until nothing has come for so long.
pub const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// However much still comes after a stop, we read on for so long at most.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long we wait for the answer to our close request.
pub const CLOSE_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Zoom reports one loss of media in two ways, and one of signaling by a webhook; each may come
/// late. A report this soon after
/// the link came up speaks of the loss before.
const REPORT_REPEAT: Duration = Duration::from_secs(5);

/// What a stream is made from.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Which product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The app's client id, or the Video SDK key.
    pub client_id: String,
    /// The app's client secret, or the Video SDK secret.
    pub client_secret: Secret,
    /// Where signaling is.
    pub url: ServerUrl,
    /// Hosts that media URLs may name.
    pub allowed_hosts: AllowedHosts,
    /// What we want.
    pub media: MediaSelection,
    /// With which parameters.
    pub params: MediaParams,
    /// Whose camera, where video is one participant's: a user id or a name; `None` for the active
    /// speaker.
    pub video_participant: Option<String>,
    /// Event types to subscribe to.
    pub events: Vec<i64>,
    /// `buffer_data` of message 1; absent for Zoom's default.
    pub buffer_data: Option<bool>,
    /// How long after now Zoom gives up waiting for our first connection.
    pub window: Duration,
    /// What our clock says now, Unix milliseconds. Requests that carry a stamp are stamped by it
    /// until Zoom has told a stamp of its own.
    pub unix_ms: u64,
}

/// What the stream asks of its driver.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Begin to connect; the outcome comes back by `handle_opened` or `handle_closed`. A link of
    /// that id that still exists is gone.
    Connect(LinkId, ServerUrl),
    /// Send a text message.
    Send(LinkId, String),
    /// Hand over what has arrived on that link, then close it with code 1000 and forget it. No
    /// `handle_closed` follows.
    Close(LinkId),
    /// Tell those who watch.
    Notice(Notice),
    /// Nothing more to do before this moment: call `handle_timeout` then.
    Wait(Instant),
    /// It is over; every link has been closed.
    End(EndReason),
}

/// What the daemon tells a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `rtms_interrupted`: Zoom lost our signaling link.
    Interrupted {
        /// When, by Zoom's clock, Unix milliseconds.
        event_ts_ms: u64,
        /// A new URL, in the rare event that has one.
        url: Option<ServerUrl>,
    },
    /// A newer `rtms_started`: go to this server at once.
    FailOver(ServerUrl),
    /// `rtms_stopped`.
    Stopped(StopReason),
    /// End the stream at Zoom (message 21).
    Close,
    /// Leave without a word, so that another process can take the stream over.
    Leave,
    /// The machine slept; connections are dead without knowing it.
    Slept,
    /// The app has another secret; handshakes from now on are signed with it.
    ClientSecret(Secret),
}

/// What a stream counts, for those who watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Keep-alives answered.
    pub keep_alives: u64,
    /// Messages of a type that is reserved, undocumented or new.
    pub unknown: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages that were out of place and ignored.
    pub ignored: u64,
    /// Times a link was lost.
    pub losses: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Zoom ended it; we read what is left until then.
    Draining {
        until: Instant,
        /// Data puts `until` off, up to here.
        limit: Instant,
        reason: EndReason,
    },
    /// We asked Zoom to end it and wait for the answer until then.
    Closing {
        until: Instant,
    },
    Ended,
}

/// The one deadline of an interruption, fixed at its first loss.
#[derive(Debug)]
struct Window {
    until: Instant,
    link: LinkId,
    loss: Loss,
}

#[derive(Debug)]
struct Media {
    kind: MediaKind,
    link: Link,
    /// Whether CLIENT_READY_ACK was sent since it last came up.
    announced: bool,
    encrypted: bool,
}

/// The state machine of one stream.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    signature: String,
    signaling: Link,
    media: Vec<Media>,
    window: Option<Window>,
    phase: Phase,
    /// Consent was withdrawn: nothing more may be taken in.
    is_revoked: bool,
    /// Set by stream state 3: the next loss is the end and no accident.
    terminating: Option<StopReason>,
    /// The newest stamp that Zoom sent on the present signaling connection.
    zoom_clock_ms: u64,
    /// When `config.unix_ms` was true.
    made: Instant,
    /// Where video is one participant's.
    camera: Option<Camera>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

fn signature(config: &StreamConfig) -> String {
    handshake_signature(
        &config.client_id,
        &config.client_secret,
        &config.id,
        &config.stream_id,
    )
}

impl Stream {
    /// A stream that begins to connect.
    pub fn new(now: Instant, config: StreamConfig) -> Stream {
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
        let mut stream = Stream {
            signature,
            signaling: Link {
                url: Some(config.url.clone()),
                ..Link::new(now)
            },
            media: Vec::new(),
            window: Some(Window {
                until: now + config.window,
                link: LinkId::Signaling,
                loss: Loss::TimedOut,
            }),
            phase: Phase::Running,
            is_revoked: false,
            terminating: None,
            zoom_clock_ms: 0,
            made: now,
            camera,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            config,
        };
        stream.connect(now, LinkId::Signaling);
        stream
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether data can flow: both handshakes were accepted and Zoom knows that we are ready.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
            && self.signaling.state == State::Up
            && self.media.iter().any(|media| media.announced)
    }

    /// What the stream waits for, in words for a person.
    pub fn waits_for(&self) -> &'static str {
        match (&self.phase, self.signaling.state) {
            (Phase::Draining { .. }, _) => "the last data",
            (Phase::Closing { .. }, _) => "the answer to our close request",
            (Phase::Ended, _) => "nothing",
            (Phase::Running, State::Off | State::Waiting { .. }) => "the next signaling attempt",
            (Phase::Running, State::Connecting { .. }) => "the signaling connection",
            (Phase::Running, State::Handshaking { .. }) => "the signaling handshake",
            (Phase::Running, State::Up) if self.is_ready() => "data",
            (Phase::Running, State::Up) => "the media handshake",
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let media = self.media.iter().filter_map(|media| media.link.deadline());
        let links = media.chain(self.signaling.deadline());
        let phase = match &self.phase {
            Phase::Draining { until, .. } | Phase::Closing { until } => Some(*until),
            Phase::Running | Phase::Ended => None,
        };
        let window = self.window.as_ref().map(|window| window.until);
        // A running stream always has a link under a deadline or an open window.
        let next = links.chain(phase).chain(window).min();
        Output::Wait(next.unwrap_or(self.signaling.heard + SIGNALING_WINDOW))
    }

    /// A connection asked for by [`Output::Connect`] stands.
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
                until: now + HANDSHAKE_MAX,
            };
            link.heard = now;
            self.outputs.push_back(Output::Send(id, text));
        }
    }

    /// A link is gone, or could not be made.
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

    /// The deadline of [`Output::Wait`] has come, or may have.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Draining { until, reason, .. } if *until <= now => {
                let reason = reason.clone();
                return self.end(reason);
            }
            Phase::Closing { until } if *until <= now => return self.end(EndReason::ClosedByUs),
            Phase::Ended => return,
            _ => {}
        }
        if let Some(window) = self.window.as_ref().filter(|window| window.until <= now) {
            let reason = EndReason::Lost(window.link, window.loss.clone());
            return self.end(reason);
        }
        let ids: Vec<LinkId> = self.link_ids().collect();
        for id in ids {
            let Some(link) = self.link_mut(id) else {
                continue;
            };
            if link.deadline().is_none_or(|deadline| deadline > now) {
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

    /// One message, text or binary, that came on a link.
    ///
    /// What it carried for others is returned, borrowed from it; what it asks of us is polled.
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
        let message = match message::decode(data) {
            Ok(message) => message,
            Err(error) => {
                self.counters.malformed += 1;
                return Err(error);
            }
        };
        Ok(self.take(now, id, message))
    }

    fn take<'m>(
        &mut self,
        now: Instant,
        id: LinkId,
        message: Message<'m>,
    ) -> Option<StreamEvent<'m>> {
        let event = match message {
            Message::Transcript(transcript) => StreamEvent::Transcript(transcript),
            Message::Packet(kind, packet) => StreamEvent::Packet(kind, packet),
            Message::Chat(chat) => StreamEvent::Chat(chat),
            Message::Event(event) => {
                if event.event_type == Some(MEDIA_CONNECTION_INTERRUPTED) {
                    self.media_reported_lost(now);
                }
                let wanted = self.camera.as_mut().and_then(|c| c.handle_event(&event));
                self.subscribe_video(now, wanted);
                return Some(StreamEvent::Event(event));
            }
            Message::KeepAlive(request) => {
                self.counters.keep_alives += 1;
                self.zoom_spoke(id, request.timestamp_ms());
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
                self.zoom_spoke(id, timestamp_ms);
                self.stream_state(now, state, reason);
                return None;
            }
            Message::SessionState { state, reason } => {
                self.notice(Notice::Session(state, reason));
                // However it is told, withdrawn consent is obeyed.
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
                self.notice(Notice::VideoSubscription(user_id, status));
                return None;
            }
            Message::Unknown(_) => {
                self.counters.unknown += 1;
                return None;
            }
        };
        let encrypted = matches!(id, LinkId::Media(kind)
            if self.media.iter().any(|media| media.kind == kind && media.encrypted));
        // After the end a socket is read once more before it is closed: what had come by then
        // counts, unless consent for it was withdrawn.
        if encrypted || self.is_revoked {
            self.counters.ignored += 1;
            return None;
        }
        if let (Phase::Draining { until, limit, .. }, LinkId::Media(_)) = (&mut self.phase, id) {
            *until = (now + DRAIN_QUIET).min(*limit);
        }
        Some(event)
    }

    fn zoom_spoke(&mut self, id: LinkId, stamp_ms: Option<u64>) {
        if id == LinkId::Signaling {
            self.zoom_clock_ms = self.zoom_clock_ms.max(stamp_ms.unwrap_or(0));
        }
    }

    /// What the daemon wants.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        if self.phase == Phase::Ended {
            return;
        }
        match command {
            Command::Interrupted { event_ts_ms, url } => {
                // Zoom has spoken on this very connection after the event: it tells of an older one.
                let is_stale = event_ts_ms != 0 && event_ts_ms <= self.zoom_clock_ms;
                // The webhook of a loss that we noticed ourselves comes after we are back. To obey
                // it would be a loss again, with a webhook of its own, and so on.
                let is_repeat = url.is_none()
                    && self
                        .signaling
                        .up_since
                        .is_some_and(|since| now.saturating_duration_since(since) < REPORT_REPEAT);
                let is_up = self.signaling.state == State::Up;
                if self.phase != Phase::Running
                    || is_stale
                    || is_repeat
                    || !(is_up || url.is_some())
                {
                    self.counters.ignored += 1;
                    return;
                }
                if url.is_some() {
                    self.signaling.url = url;
                }
                self.signaling.attempts.reset();
                self.restart_signaling(now, Loss::Reported);
            }
            Command::FailOver(url) => {
                if self.phase != Phase::Running {
                    self.counters.ignored += 1;
                    return;
                }
                self.signaling.url = Some(url);
                self.signaling.attempts.reset();
                self.terminating = None;
                self.close_media();
                self.restart_signaling(now, Loss::FailedOver);
            }
            Command::Stopped(reason) => self.stopped(now, reason),
            Command::Close => {
                if self.signaling.state == State::Up && self.phase == Phase::Running {
                    let text = message::stream_close(&self.config.stream_id);
                    self.outputs
                        .push_back(Output::Send(LinkId::Signaling, text));
                    self.phase = Phase::Closing {
                        until: now + CLOSE_ANSWER_MAX,
                    };
                    self.window = None;
                } else if self.phase == Phase::Running {
                    self.end(EndReason::ClosedByUs);
                } else if let Phase::Draining { reason, .. } = &self.phase {
                    let reason = reason.clone();
                    self.end(reason);
                }
            }
            Command::Leave => self.end(EndReason::Left),
            Command::Slept => {
                if self.phase == Phase::Running && self.signaling.is_open() {
                    self.signaling.attempts.reset();
                    self.close_media();
                    self.restart_signaling(now, Loss::Slept);
                }
            }
            Command::ClientSecret(secret) => {
                self.config.client_secret = secret;
                self.signature = signature(&self.config);
            }
        }
    }

    fn signaling_answered(&mut self, now: Instant, id: LinkId, answer: SignalingHandshake) {
        let is_expected = id == LinkId::Signaling
            && matches!(self.signaling.state, State::Handshaking { .. })
            && self.phase == Phase::Running;
        if !is_expected {
            self.counters.ignored += 1;
            return;
        }
        if answer.status != Some(Status::OK) {
            return self.refused(now, id, answer.status, answer.reason);
        }
        self.signaling.state = State::Up;
        self.signaling.attempts.accepted(now);
        self.signaling.up_since = Some(now);
        self.zoom_clock_ms = 0;
        self.notice(Notice::Accepted(LinkId::Signaling));
        if !self.config.events.is_empty() {
            let text = message::event_subscription(&self.config.events);
            self.outputs
                .push_back(Output::Send(LinkId::Signaling, text));
        }
        // Media sockets of the connection before were read until now; Zoom cuts them anyway.
        self.close_media();
        self.media = self.layout(now, &answer.urls);
        if self.media.is_empty() {
            return self.end(EndReason::NothingGranted);
        }
        for kind in self
            .media
            .iter()
            .map(|media| media.kind)
            .collect::<Vec<_>>()
        {
            self.connect(now, LinkId::Media(kind));
        }
    }

    /// Which media sockets to open (RTMS media guide): one on `all` for everything, else one per
    /// kind. A single kind without a URL of its own may ask on `all`; several kinds may not, for
    /// Zoom refuses both layouts side by side.
    fn layout(&mut self, now: Instant, urls: &[(String, String)]) -> Vec<Media> {
        let wanted = self.config.media.kinds().to_vec();
        let mut plan = Vec::new();
        if self.config.media.is_all() {
            // Zoom lists what is granted. Where it lists nothing but `all`, nothing is known.
            let is_listed = |kind: &MediaKind| urls.iter().any(|(name, _)| name == kind.url_key());
            let (listed, missing): (Vec<MediaKind>, Vec<MediaKind>) =
                MediaKind::EACH.into_iter().partition(is_listed);
            for kind in missing.into_iter().filter(|_| !listed.is_empty()) {
                self.not_granted(kind);
            }
            match self.media_url(MediaKind::All, MediaKind::All, urls) {
                Some(url) => plan.push((MediaKind::All, url)),
                None => {
                    let each = MediaKind::EACH.into_iter();
                    plan.extend(
                        each.filter_map(|kind| Some((kind, self.media_url(kind, kind, urls)?))),
                    );
                }
            }
        } else {
            for kind in &wanted {
                let own = self.media_url(*kind, *kind, urls);
                let fallback = || match wanted.len() {
                    1 => self.media_url(*kind, MediaKind::All, urls),
                    _ => None,
                };
                match own.or_else(fallback) {
                    Some(url) => plan.push((*kind, url)),
                    None => self.not_granted(*kind),
                }
            }
        }
        let media = plan.into_iter().map(|(kind, url)| Media {
            kind,
            link: Link {
                url: Some(url),
                ..Link::new(now)
            },
            announced: false,
            encrypted: false,
        });
        media.collect()
    }

    fn media_url(
        &mut self,
        kind: MediaKind,
        key: MediaKind,
        urls: &[(String, String)],
    ) -> Option<ServerUrl> {
        let (_, text) = urls.iter().find(|(name, _)| name == key.url_key())?;
        let candidates: Vec<&str> = text.split(',').collect();
        match ServerUrl::first(&candidates, &self.config.allowed_hosts) {
            Ok(url) => Some(url),
            Err(error) => {
                self.notice(Notice::BadUrl(kind, error));
                None
            }
        }
    }

    fn media_answered(&mut self, now: Instant, id: LinkId, answer: MediaHandshake<'_>) {
        let LinkId::Media(kind) = id else {
            self.counters.ignored += 1;
            return;
        };
        let running = self.phase == Phase::Running;
        let found = self.media.iter_mut().find(|media| media.kind == kind);
        let Some(media) =
            found.filter(|media| running && matches!(media.link.state, State::Handshaking { .. }))
        else {
            self.counters.ignored += 1;
            return;
        };
        if answer.status != Some(Status::OK) {
            return self.refused(now, id, answer.status, answer.reason);
        }
        media.link.state = State::Up;
        media.link.attempts.accepted(now);
        media.link.up_since = Some(now);
        media.announced = false;
        media.encrypted = answer.is_encrypted;
        self.notice(Notice::Accepted(id));
        if let Some(raw) = answer.media_params {
            self.notice(Notice::Granted(kind, raw.get().to_owned()));
        }
        if answer.is_encrypted {
            self.notice(Notice::Encrypted(kind));
        }
        self.announce_ready(now);
    }

    /// One CLIENT_READY_ACK after every media link was accepted. A link that has failed already
    /// does not hold up the others: another one follows when it comes up.
    fn announce_ready(&mut self, now: Instant) {
        let first_try = |media: &Media| {
            matches!(
                media.link.state,
                State::Connecting { .. } | State::Handshaking { .. }
            ) && media.link.attempts.failed() == 0
        };
        let news = |media: &Media| media.link.state == State::Up && !media.announced;
        if self.signaling.state != State::Up
            || self.media.iter().any(first_try)
            || !self.media.iter().any(news)
        {
            return;
        }
        for media in self
            .media
            .iter_mut()
            .filter(|media| media.link.state == State::Up)
        {
            media.announced = true;
        }
        let text = message::client_ready(&self.config.stream_id);
        self.outputs
            .push_back(Output::Send(LinkId::Signaling, text));
        self.notice(Notice::Ready);
        let wanted = self.camera.as_mut().and_then(Camera::handle_ready);
        self.subscribe_video(now, wanted);
        if self.media.iter().all(|media| media.link.state == State::Up) {
            self.window = None;
        }
    }

    /// Message 28, for the participant whose camera is wanted now.
    fn subscribe_video(&mut self, now: Instant, wanted: Option<u64>) {
        let is_up = self.signaling.state == State::Up && self.phase == Phase::Running;
        if let Some(user_id) = wanted.filter(|_| is_up) {
            // There is no wall clock in here. Zoom's own newest stamp is one; before the first, what
            // we were told at the beginning, and the time since.
            let since = now.saturating_duration_since(self.made).as_millis() as u64;
            let stamp_ms = match self.zoom_clock_ms {
                0 => self.config.unix_ms.saturating_add(since),
                told => told,
            };
            let text = message::video_subscription(user_id, true, stamp_ms);
            self.outputs
                .push_back(Output::Send(LinkId::Signaling, text));
        }
    }

    fn refused(&mut self, now: Instant, id: LinkId, status: Option<Status>, reason: String) {
        // A missing status code is a refusal whose cause is not told: it may pass.
        let refusal = status.map_or(Refusal::Retry, |status| status.refusal(&reason));
        self.notice(Notice::Refused(id, status, reason.clone(), refusal));
        match (refusal, id) {
            (Refusal::Retry, _) => self.lose(now, id, Loss::Refused, Socket::Open),
            (Refusal::NotGranted | Refusal::Configuration, LinkId::Media(kind))
                if self.media.len() > 1 =>
            {
                self.outputs.push_back(Output::Close(id));
                self.media.retain(|media| media.kind != kind);
                self.not_granted(kind);
                self.announce_ready(now);
            }
            _ => self.end(EndReason::Refused(id, status, reason)),
        }
    }

    fn stream_state(&mut self, now: Instant, state: StreamState, reason: StopReason) {
        self.notice(Notice::State(state, reason));
        match state {
            StreamState::Terminated => self.stopped(now, reason),
            StreamState::Terminating => self.terminating = Some(reason),
            StreamState::Interrupted if reason == StopReason::DATA_CONNECTION_INTERRUPTED => {
                self.media_reported_lost(now);
            }
            _ => {}
        }
    }

    fn stopped(&mut self, now: Instant, reason: StopReason) {
        let end = EndReason::Stopped(reason);
        let is_up = |media: &Media| media.link.state == State::Up;
        self.is_revoked |= reason == StopReason::STREAM_REVOKED;
        if self.is_revoked || !self.media.iter().any(is_up) {
            return self.end(end);
        }
        match &mut self.phase {
            Phase::Running | Phase::Closing { .. } => {
                self.window = None;
                self.phase = Phase::Draining {
                    until: now + DRAIN_QUIET,
                    limit: now + DRAIN_MAX,
                    reason: end,
                };
            }
            // Of two messages about one end, the one that gives a reason counts.
            Phase::Draining { reason: told, .. } => {
                if *told == EndReason::Stopped(StopReason::UNDEFINED) {
                    *told = end;
                }
            }
            Phase::Ended => {}
        }
    }

    fn media_reported_lost(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        let is_old = |media: &Media| {
            let up_for = media
                .link
                .up_since
                .map(|since| now.saturating_duration_since(since));
            media.link.state == State::Up && up_for.is_some_and(|time| time >= REPORT_REPEAT)
        };
        let lost: Vec<MediaKind> = self
            .media
            .iter()
            .filter(|media| is_old(media))
            .map(|media| media.kind)
            .collect();
        for kind in lost {
            self.lose(now, LinkId::Media(kind), Loss::Reported, Socket::Open);
        }
    }

    /// Drops signaling, whatever its state, and begins anew at once.
    fn restart_signaling(&mut self, now: Instant, loss: Loss) {
        if self.signaling.is_open() {
            self.outputs.push_back(Output::Close(LinkId::Signaling));
        }
        self.open_window(now, LinkId::Signaling, &loss);
        self.notice(Notice::Lost(LinkId::Signaling, loss));
        self.counters.losses += 1;
        self.silence_media_attempts();
        self.connect(now, LinkId::Signaling);
    }

    fn lose(&mut self, now: Instant, id: LinkId, loss: Loss, socket: Socket) {
        if socket == Socket::Open {
            self.outputs.push_back(Output::Close(id));
        }
        if let Some(link) = self.link_mut(id) {
            link.state = State::Off;
        }
        match &self.phase {
            Phase::Draining { reason, .. } => {
                if !self.media.iter().any(|media| media.link.is_open()) {
                    let reason = reason.clone();
                    self.end(reason);
                }
                return;
            }
            Phase::Closing { .. } => {
                if id == LinkId::Signaling {
                    self.end(EndReason::ClosedByUs);
                }
                return;
            }
            Phase::Ended => return,
            Phase::Running => {}
        }
        if let Some(reason) = self.terminating {
            return self.stopped(now, reason);
        }
        self.counters.losses += 1;
        self.open_window(now, id, &loss);
        self.notice(Notice::Lost(id, loss));
        match id {
            LinkId::Signaling => self.silence_media_attempts(),
            // Without signaling a media socket is of no use; it is opened again after it.
            LinkId::Media(_) if self.signaling.state != State::Up => return,
            LinkId::Media(_) => {}
        }
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let delay = link.attempts.delay_after_loss(now);
        if delay.is_zero() {
            self.connect(now, id);
        } else {
            link.state = State::Waiting { until: now + delay };
        }
        if id != LinkId::Signaling {
            self.announce_ready(now);
        }
    }

    /// Repeated losses must not extend the deadline; the newest cause is the one worth telling.
    fn open_window(&mut self, now: Instant, link: LinkId, loss: &Loss) {
        let length = match link {
            LinkId::Signaling => SIGNALING_WINDOW,
            LinkId::Media(_) => MEDIA_WINDOW,
        };
        let until = self
            .window
            .as_ref()
            .map_or(now + length, |window| window.until);
        self.window = Some(Window {
            until,
            link,
            loss: loss.clone(),
        });
    }

    /// Media links that are up are read on until signaling stands again; attempts are stopped.
    fn silence_media_attempts(&mut self) {
        for media in &mut self.media {
            media.announced = false;
            if media.link.state != State::Up {
                if media.link.is_open() {
                    self.outputs
                        .push_back(Output::Close(LinkId::Media(media.kind)));
                }
                media.link.state = State::Off;
            }
        }
    }

    fn close_media(&mut self) {
        for media in &mut self.media {
            media.announced = false;
            if media.link.is_open() {
                self.outputs
                    .push_back(Output::Close(LinkId::Media(media.kind)));
            }
            media.link.state = State::Off;
        }
    }

    fn connect(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let Some(url) = link.url.clone() else { return };
        link.state = State::Connecting {
            until: now + CONNECT_MAX,
        };
        link.heard = now;
        if let LinkId::Media(kind) = id
            && let Some(media) = self.media.iter_mut().find(|media| media.kind == kind)
        {
            media.announced = false;
        }
        self.outputs.push_back(Output::Connect(id, url));
    }

    fn end(&mut self, reason: EndReason) {
        if self.phase == Phase::Ended {
            return;
        }
        self.close_media();
        if self.signaling.is_open() {
            self.outputs.push_back(Output::Close(LinkId::Signaling));
        }
        self.signaling.state = State::Off;
        self.window = None;
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(reason));
    }

    fn not_granted(&mut self, kind: MediaKind) {
        let scope = kind.scope(self.config.product);
        self.notice(Notice::NotGranted(kind, scope));
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

/// Whether the socket of a lost link still has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Open,
    Gone,
}
