//! One running stream, as clients tap it, and the sink through which it comes.
//!
//! While a kind has no client, a packet of it costs one relaxed load: nothing is copied, decoded or kept.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Shared;
use super::head::{Codec, Kind};
use super::place::Place;
use super::tap::{Meta, Tap};
use super::text;
use crate::domain::id::Id;
use crate::domain::stream_info::StreamInfo;
use crate::feed::JournalKey;
use crate::protocol::codes::StopReason;
use crate::protocol::message::Packet;
use crate::protocol::{EndReason, MediaKind, MediaParams, MediaSelection, Notice, StreamEvent};
use crate::recorder::path::journal_key;
use crate::recorder::video::headers::annex_b;
use crate::stream::Sink;

/// The reason of an end by which consent was withdrawn.
pub(super) const REVOKED: &str = "revoked";

/// A stream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) key: JournalKey,
    pub(super) stream_id: String,
    /// Bits of the kinds that are tapped.
    tapped: AtomicU32,
    /// From then on nothing of it leaves.
    is_revoked: AtomicBool,
    begun: Instant,
    state: Mutex<State>,
}

/// What changes of a stream.
#[derive(Debug)]
pub(super) struct State {
    /// As requested, until Zoom grants them.
    params: MediaParams,
    /// Bits of the kinds that it has, and of those whose parameters are granted.
    kinds: u32,
    granted: u32,
    taps: [Option<Box<Tap>>; 3],
    /// Why it has ended.
    pub(super) end: Option<&'static str>,
}

const fn bit(kind: Kind) -> u32 {
    kind.media().bit()
}

impl State {
    fn has(&self, kind: Kind) -> bool {
        self.kinds & bit(kind) != 0
    }

    pub(super) fn tap(&self, kind: Kind) -> Option<&Tap> {
        self.taps[kind.index()].as_deref()
    }

    fn format(&self, kind: Kind) -> Option<Arc<str>> {
        let is_granted = self.granted & bit(kind) != 0;
        is_granted.then(|| text::format(kind, &self.params).into())
    }

    fn codec(&self, kind: Kind) -> Codec {
        match kind {
            Kind::Audio => Codec::of_audio(&self.params.audio),
            Kind::Video => Codec::of_pictures(self.params.video.codec),
            Kind::Share => Codec::of_pictures(self.params.share.codec),
        }
    }

    /// Announces the format of a kind, also if it is the same as before.
    fn announce(&mut self, kind: Kind) {
        let format = self.format(kind);
        if let (Some(tap), Some(format)) = (&mut self.taps[kind.index()], format) {
            tap.set_format(format);
        }
    }
}

impl Source {
    pub(super) fn new(info: &StreamInfo, media: &MediaSelection, params: MediaParams) -> Source {
        let wanted = Kind::ALL
            .into_iter()
            .filter(|it| media.is_wanted(it.media()));
        let state = State {
            params,
            kinds: wanted.fold(0, |bits, kind| bits | bit(kind)),
            granted: 0,
            taps: [None, None, None],
            end: None,
        };
        Source {
            key: journal_key(info),
            stream_id: info.stream_id.clone(),
            tapped: AtomicU32::new(0),
            is_revoked: AtomicBool::new(false),
            begun: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Relaxed)
    }

    /// Whether a kind can be tapped, or of one speaker of it; otherwise why not.
    pub(super) fn refusal(&self, kind: Kind, of_speaker: bool) -> Option<String> {
        let state = self.lock();
        if !state.has(kind) {
            let name = kind.name();
            return Some(format!(
                "this stream has no {name}: it is not in RTMS_MEDIA, or Zoom does not grant it"
            ));
        }
        let is_mixed = kind == Kind::Audio && text::is_mixed(&state.params.audio);
        (is_mixed && of_speaker).then(|| {
            "the sound of this stream is mixed, RTMS_AUDIO_STREAMS=per-speaker keeps speakers apart"
                .to_owned()
        })
    }

    /// One more client of a kind, from now on.
    pub(super) fn open_tap(
        &self,
        kind: Kind,
        speaker: Option<Id<'static>>,
        shared: &Shared,
    ) -> Place {
        let mut state = self.lock();
        let format = state.format(kind);
        let tap = state.taps[kind.index()].get_or_insert_with(|| {
            let bytes = shared.counters.bytes_of_all();
            Box::new(Tap::new(kind, format, bytes))
        });
        tap.clients += 1;
        self.tapped.fetch_or(bit(kind), Relaxed);
        Place::new(kind, speaker, tap.ring())
    }

    /// One less; with the last one all is freed.
    pub(super) fn close_tap(&self, kind: Kind) {
        let mut state = self.lock();
        let tap = &mut state.taps[kind.index()];
        let left = tap.as_mut().map_or(0, |tap| {
            tap.clients = tap.clients.saturating_sub(1);
            tap.clients
        });
        if left == 0 {
            *tap = None;
            self.tapped.fetch_and(!bit(kind), Relaxed);
        }
    }

    fn end(&self, reason: &'static str) {
        let mut state = self.lock();
        if reason == REVOKED {
            self.is_revoked.store(true, Relaxed);
            state.taps.iter_mut().flatten().for_each(|tap| tap.clear());
        }
        state.end.get_or_insert(reason);
    }

    /// Consent was withdrawn: nothing of it leaves from then on.
    pub(super) fn revoke(&self) {
        self.end(REVOKED);
    }
}

/// Receives what a stream receives, for those who tap it.
#[derive(Debug)]
pub struct MediaSink {
    source: Arc<Source>,
    shared: Arc<Shared>,
    /// Clients have something to read.
    has_news: bool,
}

impl MediaSink {
    pub(super) fn new(source: Arc<Source>, shared: Arc<Shared>) -> MediaSink {
        MediaSink {
            source,
            shared,
            has_news: false,
        }
    }

    fn take(&mut self, kind: Kind, packet: &Packet<'_>) {
        let mut payload = Vec::new();
        if packet.decode_into(&mut payload).is_err() || payload.is_empty() {
            return;
        }
        let source = &self.source;
        let mut state = source.lock();
        let codec = state.codec(kind);
        if codec == Codec::H264 {
            payload = annex_b(&payload).into_owned();
        }
        let Some(tap) = &mut state.taps[kind.index()] else {
            return;
        };
        let meta = Meta {
            user_id: &packet.user_id,
            channel_id: packet.channel_id.as_ref(),
            user_name: &packet.user_name,
            timestamp_ms: packet.timestamp_ms,
            codec,
        };
        let now_ms = u64::try_from(source.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tap.push(&meta, payload, now_ms);
        self.has_news = true;
    }

    fn each_of(kind: MediaKind) -> impl Iterator<Item = Kind> {
        let is_of = move |it: &Kind| kind == it.media() || kind == MediaKind::All;
        Kind::ALL.into_iter().filter(is_of)
    }

    fn end(&mut self, reason: &'static str) {
        self.source.end(reason);
        self.shared.ended(&self.source);
        self.shared.clients.wake();
    }
}

impl Sink for MediaSink {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Packet(kind, packet) = event {
            let kind = Kind::of(*kind);
            if self.source.tapped.load(Relaxed) & bit(kind) != 0 {
                self.take(kind, packet);
            }
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Granted(granted) => {
                let mut state = self.source.lock();
                for kind in MediaSink::each_of(granted.kind) {
                    match kind {
                        Kind::Audio => state.params.audio = granted.params.audio,
                        Kind::Video => state.params.video = granted.params.video,
                        Kind::Share => state.params.share = granted.params.share,
                    }
                    state.granted |= bit(kind);
                    state.announce(kind);
                }
            }
            // Clients may have to know that what follows may repeat what came before.
            Notice::MediaResumed(kind) => {
                let mut state = self.source.lock();
                MediaSink::each_of(*kind).for_each(|kind| state.announce(kind));
            }
            Notice::NotGranted { kind, .. } => self.source.lock().kinds &= !kind.bit(),
            _ => return,
        }
        self.has_news = true;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.has_news) && self.source.tapped.load(Relaxed) != 0 {
            self.shared.clients.wake();
        }
    }

    fn on_end(&mut self, reason: &EndReason) {
        self.end(match reason {
            EndReason::Stopped(StopReason::STREAM_REVOKED) => REVOKED,
            reason => reason.label(),
        });
    }
}

/// Ends it even if the stream's thread panicked, or never started.
impl Drop for MediaSink {
    fn drop(&mut self) {
        if self.source.lock().end.is_none() {
            self.end(EndReason::Panicked.label());
        }
    }
}
