//! From a connection to data: handles the answers to our handshakes, chooses the media sockets, and
//! sends CLIENT_READY_ACK.

use std::time::Instant;

use super::{MEDIA_WINDOW, Media, Output, Phase, READY_WAIT, SIGNALING_WINDOW, Socket, Stream};
use crate::domain::product::Product;
use crate::protocol::camera::Camera;
use crate::protocol::codes::{RefusalPolicy, RtmsStatus, names_duplicate};
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
        self.terminating = None;
        self.notice(Notice::Accepted(LinkId::Signaling));
        if !self.config.events.is_empty() {
            let text = message::event_subscription(&self.config.events);
            self.outputs
                .push_back(Output::Send(LinkId::Signaling, text));
        }
        // The media sockets of the previous connection were still read until now; Zoom closes them
        // anyway.
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

    /// Chooses the media sockets to open (RTMS media guide): one on `all` for everything, otherwise
    /// one per kind. Message 2 lists the granted kinds. If it lists only `all`, each wanted kind
    /// opens a socket of its own there; if Zoom refuses that, they share one. A Phone gateway sends
    /// no audio on a socket for everything, so a call always has one socket per kind.
    fn layout(&mut self, now: Instant, urls: &[(String, String)]) -> Vec<Media> {
        let is_listed = |kind: &MediaKind| urls.iter().any(|(name, _)| name == kind.url_key());
        let is_any_listed = MediaKind::SINGLE.iter().any(is_listed);
        let is_phone = self.config.product == Product::Phone;
        let mut wanted = self.config.media.kinds().to_vec();
        let mut plan = Vec::new();
        if self.config.media.is_all() {
            for kind in MediaKind::SINGLE {
                if is_any_listed && !is_listed(&kind) && !is_phone {
                    self.not_granted(kind);
                }
            }
            let is_of_calls = |kind| matches!(kind, MediaKind::Audio | MediaKind::Transcript);
            wanted.splice(
                ..,
                MediaKind::SINGLE
                    .into_iter()
                    .filter(|kind| is_listed(kind) || is_phone && is_of_calls(*kind)),
            );
        }
        let takes_all = self.config.media.is_all() && !is_phone || self.is_one_socket;
        let all = match takes_all && is_listed(&MediaKind::All) {
            true => self.media_urls(MediaKind::All, MediaKind::All, urls),
            false => None,
        };
        match all {
            Some(urls) => plan.push((MediaKind::All, urls, false)),
            None => {
                let may_share = wanted.len() == 1 || is_phone || !is_any_listed;
                for kind in wanted {
                    if let Some(urls) = self.media_urls(kind, kind, urls) {
                        plan.push((kind, urls, false));
                    } else if may_share
                        && let Some(urls) = self.media_urls(kind, MediaKind::All, urls)
                    {
                        plan.push((kind, urls, true));
                    } else {
                        self.not_granted(kind);
                    }
                }
            }
        }
        let media = plan.into_iter().map(|(kind, urls, shares_all)| {
            let seed = reconnect::seed(&self.config.stream_id, kind.bit());
            let attempts = Attempts::new(self.policy, seed);
            let mut link = Link::new(now, urls, attempts);
            link.open_window(now, MEDIA_WINDOW, &Loss::TimedOut);
            Media {
                kind,
                link,
                announced: false,
                encrypted: false,
                is_unanswered: false,
                is_given_up: false,
                shares_all,
            }
        });
        media.collect()
    }

    /// Zoom refuses several sockets on `all`: use one, and drop unwanted data.
    fn share_one_socket(&mut self, now: Instant) {
        let shared = self.media.iter().find(|media| media.shares_all);
        let Some(urls) = shared.map(|media| media.link.urls().to_vec()) else {
            return;
        };
        self.close_media();
        self.is_one_socket = true;
        self.notice(Notice::OneSocket);
        let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        let urls = (MediaKind::All.url_key().to_owned(), urls.join(","));
        self.media = self.layout(now, &[urls]);
        self.connect(now, LinkId::Media(MediaKind::All));
    }

    /// The servers for a kind in message 2, under its own key or another.
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
                self.notice(Notice::BadUrl { kind, error });
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
        let is_due = |media: &Media| {
            matches!(media.link.state, State::Handshaking { .. })
                || media.link.state == State::Up && media.is_unanswered
        };
        let Some(media) = found.filter(|media| running && is_due(media)) else {
            self.counters.ignored += 1;
            return;
        };
        if answer.status != Some(RtmsStatus::OK) {
            return self.refused(now, id, answer.status, answer.reason);
        }
        media.is_unanswered = false;
        media.encrypted = answer.is_encrypted;
        if media.link.state != State::Up {
            self.media_accepted(now, kind);
        }
        if let Some(json) = answer.media_params {
            let granted = self.config.params.granted(kind, json);
            self.notice(Notice::Granted(Box::new(granted)));
        }
        if answer.is_encrypted {
            self.notice(Notice::Encrypted(kind));
        }
        self.announce_ready(now);
    }

    /// Data arrived on a media link. Before message 4 it counts as the answer: some servers never
    /// send one.
    pub(super) fn data_arrived(&mut self, now: Instant, kind: MediaKind) {
        let found = self.media.iter_mut().find(|media| media.kind == kind);
        let is_unanswered =
            |media: &&mut Media| matches!(media.link.state, State::Handshaking { .. });
        let Some(media) = found.filter(is_unanswered) else {
            return;
        };
        if self.phase != Phase::Running {
            return;
        }
        media.is_unanswered = true;
        media.encrypted = false;
        if !std::mem::replace(&mut self.has_told_unanswered, true) {
            self.notice(Notice::DataBeforeAnswer(kind));
        }
        self.media_accepted(now, kind);
        self.announce_ready(now);
    }

    fn media_accepted(&mut self, now: Instant, kind: MediaKind) {
        let Some(media) = self.media.iter_mut().find(|media| media.kind == kind) else {
            return;
        };
        media.link.accepted(now);
        media.announced = false;
        media.is_given_up = false;
        let bits = match kind {
            MediaKind::All => MediaKind::SINGLE
                .iter()
                .fold(0, |bits, kind| bits | kind.bit()),
            kind => kind.bit(),
        };
        let is_again = self.accepted_kinds & bits != 0;
        self.accepted_kinds |= bits;
        self.notice(Notice::Accepted(LinkId::Media(kind)));
        if is_again {
            self.notice(Notice::MediaResumed(kind));
        }
    }

    /// Sends one CLIENT_READY_ACK after every media link was accepted. A link that has failed, or
    /// that takes longer than [`READY_WAIT`], does not delay the others: another CLIENT_READY_ACK
    /// follows when it is accepted.
    pub(super) fn announce_ready(&mut self, now: Instant) {
        let first_try = |media: &Media| {
            matches!(
                media.link.state,
                State::Connecting { .. } | State::Handshaking { .. }
            ) && media.link.attempts.tries() <= 1
        };
        let news = |media: &Media| media.link.state == State::Up && !media.announced;
        if self.signaling.state != State::Up || !self.media.iter().any(news) {
            self.ready_at = None;
            return;
        }
        if self.media.iter().any(first_try) {
            let at = *self.ready_at.get_or_insert(now + READY_WAIT);
            if now < at {
                return;
            }
        }
        self.ready_at = None;
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
        // A missing status code is a refusal without a cause, which may be temporary.
        let refusal = status.map_or(RefusalPolicy::Retry, |status| status.refusal(&reason));
        self.notice(Notice::Refused {
            link: id,
            status,
            reason: reason.clone(),
            policy: refusal,
        });
        if self.is_sharing_refused(id, status) {
            self.outputs.push_back(Output::Close(id));
            if let Some(link) = self.link_mut(id) {
                link.state = State::Off;
            }
            return self.share_one_socket(now);
        }
        let is_held = status.is_some_and(RtmsStatus::is_held_elsewhere) || names_duplicate(&reason);
        if id == LinkId::Signaling && is_held {
            self.signaling.held_elsewhere(now, SIGNALING_WINDOW);
        }
        match (refusal, id) {
            (RefusalPolicy::Retry, _) => self.lose(now, id, Loss::Refused, Socket::Open),
            (RefusalPolicy::NotGranted | RefusalPolicy::Configuration, LinkId::Media(kind))
                if self.media.len() > 1 =>
            {
                self.outputs.push_back(Output::Close(id));
                self.media.retain(|media| media.kind != kind);
                self.not_granted(kind);
                if self.media.iter().all(|media| media.is_given_up) {
                    return self.end(EndReason::NothingGranted);
                }
                self.announce_ready(now);
            }
            _ => self.end(EndReason::Refused {
                link: id,
                status,
                reason,
            }),
        }
    }

    /// Whether a refusal means that `all` does not accept a socket per kind: it does not know the
    /// kind there, or treats the second socket as a duplicate, even when asked again.
    fn is_sharing_refused(&self, id: LinkId, status: Option<RtmsStatus>) -> bool {
        let sharing = self.media.iter().filter(|media| media.shares_all);
        if self.config.product == Product::Phone || sharing.count() < 2 {
            return false;
        }
        let mut media = self.media.iter();
        let Some(media) = media.find(|media| LinkId::Media(media.kind) == id && media.shares_all)
        else {
            return false;
        };
        let is_first = media.link.up_since.is_none();
        match status {
            Some(RtmsStatus(7 | 14)) => is_first,
            Some(RtmsStatus(15 | 16)) => is_first && media.link.attempts.tries() > 1,
            _ => false,
        }
    }

    pub(super) fn not_granted(&mut self, kind: MediaKind) {
        let scope = kind.scope(self.config.product);
        self.notice(Notice::NotGranted { kind, scope });
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
        let message_bytes_max = self.message_bytes_max(id);
        self.outputs.push_back(Output::Connect {
            link: id,
            url,
            message_bytes_max,
        });
    }
}
