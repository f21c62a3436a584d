//! From a connection to data: the answers to our handshakes, which media sockets there are, and the
//! one CLIENT_READY_ACK.

use std::time::Instant;

use super::{MEDIA_WINDOW, Media, Output, Phase, Socket, Stream};
use crate::protocol::camera::Camera;
use crate::protocol::codes::{RefusalPolicy, RtmsStatus};
use crate::protocol::event::{EndReason, LinkId, Loss, Notice};
use crate::protocol::link::{Link, State};
use crate::protocol::message;
use crate::protocol::message::{MediaHandshake, SignalingHandshake};
use crate::protocol::params::MediaKind;
use crate::protocol::reconnect;
use crate::protocol::reconnect::Attempts;
use crate::protocol::server_url::ServerUrl;

impl Stream {
    pub(super) fn signaling_answered(
        &mut self,
        now: Instant,
        id: LinkId,
        answer: SignalingHandshake,
    ) {
        let is_expected = id == LinkId::Signaling
            && matches!(self.signaling.state, State::Handshaking { .. })
            && self.phase == Phase::Running;
        if !is_expected {
            self.counters.ignored += 1;
            return;
        }
        if answer.status != Some(RtmsStatus::OK) {
            return self.refused(now, id, answer.status, answer.reason);
        }
        self.signaling.accepted(now);
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
    pub(super) fn layout(&mut self, now: Instant, urls: &[(String, String)]) -> Vec<Media> {
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
            match self.media_urls(MediaKind::All, MediaKind::All, urls) {
                Some(urls) => plan.push((MediaKind::All, urls)),
                None => {
                    let each = MediaKind::EACH.into_iter();
                    plan.extend(
                        each.filter_map(|kind| Some((kind, self.media_urls(kind, kind, urls)?))),
                    );
                }
            }
        } else {
            for kind in &wanted {
                let own = self.media_urls(*kind, *kind, urls);
                let fallback = || match wanted.len() {
                    1 => self.media_urls(*kind, MediaKind::All, urls),
                    _ => None,
                };
                match own.or_else(fallback) {
                    Some(urls) => plan.push((*kind, urls)),
                    None => self.not_granted(*kind),
                }
            }
        }
        let media = plan.into_iter().map(|(kind, urls)| {
            let seed = reconnect::seed(&self.config.stream_id, kind.bit());
            let attempts = Attempts::new(self.policy, seed);
            let mut link = Link::new(now, urls, attempts);
            link.open_window(now, MEDIA_WINDOW, &Loss::TimedOut);
            Media {
                kind,
                link,
                announced: false,
                encrypted: false,
            }
        });
        media.collect()
    }

    /// The servers that message 2 names for a kind, under its own key or another.
    fn media_urls(
        &mut self,
        kind: MediaKind,
        key: MediaKind,
        urls: &[(String, String)],
    ) -> Option<Vec<ServerUrl>> {
        let (_, text) = urls.iter().find(|(name, _)| name == key.url_key())?;
        match ServerUrl::all(&[text], &self.config.allowed_hosts) {
            Ok(urls) => Some(urls),
            Err(error) => {
                self.notice(Notice::BadUrl(kind, error));
                None
            }
        }
    }

    pub(super) fn media_answered(&mut self, now: Instant, id: LinkId, answer: MediaHandshake<'_>) {
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
        if answer.status != Some(RtmsStatus::OK) {
            return self.refused(now, id, answer.status, answer.reason);
        }
        media.link.accepted(now);
        media.announced = false;
        media.encrypted = answer.is_encrypted;
        self.notice(Notice::Accepted(id));
        if let Some(json) = answer.media_params {
            let granted = self.config.params.granted(kind, json);
            self.notice(Notice::Granted(Box::new(granted)));
        }
        if answer.is_encrypted {
            self.notice(Notice::Encrypted(kind));
        }
        self.announce_ready(now);
    }

    /// One CLIENT_READY_ACK after every media link was accepted. A link that has failed already
    /// does not hold up the others: another one follows when it comes up.
    pub(super) fn announce_ready(&mut self, now: Instant) {
        let first_try = |media: &Media| {
            matches!(
                media.link.state,
                State::Connecting { .. } | State::Handshaking { .. }
            ) && media.link.attempts.tries() <= 1
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
    }

    pub(super) fn refused(
        &mut self,
        now: Instant,
        id: LinkId,
        status: Option<RtmsStatus>,
        reason: String,
    ) {
        // A missing status code is a refusal whose cause is not told: it may pass.
        let refusal = status.map_or(RefusalPolicy::Retry, |status| status.refusal(&reason));
        self.notice(Notice::Refused(id, status, reason.clone(), refusal));
        match (refusal, id) {
            (RefusalPolicy::Retry, _) => self.lose(now, id, Loss::Refused, Socket::Open),
            (RefusalPolicy::NotGranted | RefusalPolicy::Configuration, LinkId::Media(kind))
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

    pub(super) fn not_granted(&mut self, kind: MediaKind) {
        let scope = kind.scope(self.config.product);
        self.notice(Notice::NotGranted(kind, scope));
    }

    pub(super) fn connect(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let Some(url) = link.url().cloned() else {
            return;
        };
        link.begin_try(now);
        if let LinkId::Media(kind) = id
            && let Some(media) = self.media.iter_mut().find(|media| media.kind == kind)
        {
            media.announced = false;
        }
        self.outputs.push_back(Output::Connect(id, url));
    }
}
