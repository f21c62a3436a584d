//! The state machine of one stream, over all its links.
//!
//! This file has the inputs and outputs; `receiving`, `opening`, `recovery`, `ending` and `command`
//! have what follows from them. See the diagram in [`super`]. Each `handle_*` method takes one input; after
//! it, [`Stream::poll_output`] is called until it returns [`Output::Wait`] or [`Output::End`].

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod ending;
pub(crate) mod opening;
pub(crate) mod receiving;
pub(crate) mod recovery;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use command::Command;
pub use config::StreamConfig;

use super::camera::Camera;
use super::codes::StopReason;
use super::event::{EndReason, LinkId, Loss, Notice};
use super::link::{HANDSHAKE_MAX, Link, State};
use super::message;
use super::names::Names;
use super::params::{AudioStreams, MESSAGE_BYTES_MAX, MediaKind, VideoStreams};
use super::reconnect;
use super::reconnect::{Attempts, Policy};
use super::server_url::ServerUrl;
use super::signature::handshake_signature;
use crate::domain::product::Product;

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

/// Zoom reports a loss of media in two ways, and one of signaling by a webhook; each report may be
/// late. A report this soon after the link was accepted is about the earlier loss.
const REPORT_REPEAT: Duration = Duration::from_secs(5);

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

    pub(crate) fn with_policy(
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

    /// The signaling link may not be connected at present: what [`Output::Connect`] asked for is not done, or
    /// was given up before message 1. That is no failure; only the time in which Zoom waits runs on.
    #[doc(hidden)]
    pub fn handle_withheld(&mut self) {
        if matches!(self.signaling.state, State::Connecting { .. }) {
            self.signaling.withhold();
        }
    }

    /// It may be connected again.
    #[doc(hidden)]
    pub fn handle_permitted(&mut self, now: Instant) {
        if self.signaling.state == State::Withheld && self.phase == Phase::Running {
            self.connect(now, LinkId::Signaling);
        }
    }

    /// Whether Zoom has accepted the signaling link, so that the stream is ours.
    #[doc(hidden)]
    pub fn has_signaling(&self) -> bool {
        self.signaling.state == State::Up
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

    /// Media is not read at present, because what takes it is behind. After a stop this silence is ours
    /// and does not end the reading.
    pub fn handle_held_media(&mut self, now: Instant) {
        if let Phase::Draining { until, limit, .. } = &mut self.phase {
            *until = (now + DRAIN_QUIET).min(*limit);
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
                State::Off | State::Withheld => {}
                State::Waiting { .. } => self.connect(now, id),
                State::Connecting { .. } | State::Handshaking { .. } => {
                    self.lose(now, id, Loss::TimedOut, Socket::Open);
                }
                State::Up => self.lose(now, id, Loss::Silent, Socket::Open),
            }
        }
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

/// Whether the socket of a lost link must still be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Open,
    Gone,
}
