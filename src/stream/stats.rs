//! What a stream counts, readable from other threads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::message::PacketKind;
use crate::protocol::{LinkId, Loss, MediaKind, Notice, Stream, StreamEvent};

/// Counters of one stream. They only grow.
#[derive(Debug, Default)]
pub struct Stats {
    /// Phrases.
    pub transcripts: Count,
    /// Audio packets.
    pub audio: Count,
    /// Video packets.
    pub video: Count,
    /// Share packets.
    pub share: Count,
    /// Chat messages.
    pub chat: Count,
    /// Event messages.
    pub events: Count,
    /// Keep-alives answered.
    pub keep_alives: AtomicU64,
    /// Longest time from the arrival of a keep-alive to its answer, microseconds.
    pub keep_alive_worst_us: AtomicU64,
    /// Messages that were larger than the limit of their link, and skipped.
    pub oversize: AtomicU64,
    /// Kinds of media that were given up and are tried now and then, by their bits.
    pub given_up: AtomicU32,
    /// Messages of unknown type.
    pub unknown: AtomicU64,
    /// Messages that could not be read, and frames that were not UTF-8.
    pub malformed: AtomicU64,
    /// Times a link was lost.
    pub losses: AtomicU64,
    losses_by: [AtomicU64; Loss::LABELS.len()],
    /// Handshakes accepted: signaling, media.
    pub connects: [AtomicU64; 2],
    /// Times CLIENT_READY_ACK was sent.
    pub readies: AtomicU64,
    /// Unix milliseconds of the newest data; 0 before the first.
    pub last_data_ms: AtomicU64,
    /// Whether data can flow now.
    pub is_ready: AtomicBool,
    /// Phrases that came twice and were taken once.
    pub repeated: AtomicU64,
    /// Transcripts without words.
    pub blank: AtomicU64,
    /// Frames that were not UTF-8.
    undecodable: AtomicU64,
}

/// Messages of one kind and the bytes that carried them.
#[derive(Debug, Default)]
pub struct Count {
    /// How many.
    pub messages: AtomicU64,
    /// Bytes of the messages as they came, without frames and TLS.
    pub bytes: AtomicU64,
}

impl Count {
    fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

impl Stats {
    /// The count of a kind of media; for `All`, of events.
    pub fn count(&self, kind: MediaKind) -> &Count {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
            MediaKind::Share => &self.share,
            MediaKind::Transcript => &self.transcripts,
            MediaKind::Chat => &self.chat,
            MediaKind::All => &self.events,
        }
    }

    /// How often a link was lost, for each [`Loss::label`].
    pub fn losses_by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.losses_by.iter().map(|count| count.load(Relaxed));
        Loss::LABELS.into_iter().zip(counts)
    }

    pub(super) fn event(&self, event: &StreamEvent<'_>, bytes: usize) {
        let count = match event {
            StreamEvent::Transcript(_) => &self.transcripts,
            StreamEvent::Packet(PacketKind::Audio, _) => &self.audio,
            StreamEvent::Packet(PacketKind::Video, _) => &self.video,
            StreamEvent::Packet(PacketKind::Share, _) => &self.share,
            StreamEvent::Chat(_) => &self.chat,
            StreamEvent::Event(_) => &self.events,
        };
        count.add(bytes);
    }

    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Ready => {
                self.readies.fetch_add(1, Relaxed);
            }
            Notice::Lost(_, loss) => {
                self.losses.fetch_add(1, Relaxed);
                let labels = Loss::LABELS.iter().zip(&self.losses_by);
                for (_, count) in labels.filter(|(label, _)| **label == loss.label()) {
                    count.fetch_add(1, Relaxed);
                }
            }
            Notice::GivenUp { kind, .. } => {
                self.given_up.fetch_or(kind.bit(), Relaxed);
            }
            Notice::Accepted(link) => {
                match link {
                    // A new signaling connection gives every medium its chance again.
                    LinkId::Signaling => self.given_up.store(0, Relaxed),
                    LinkId::Media(kind) => {
                        self.given_up.fetch_and(!kind.bit(), Relaxed);
                    }
                }
                let [signaling, media] = &self.connects;
                let count = match link {
                    LinkId::Signaling => signaling,
                    LinkId::Media(_) => media,
                };
                count.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    /// A keep-alive was answered this long after it could be read.
    pub(super) fn keep_alive(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.keep_alive_worst_us.fetch_max(us, Relaxed);
    }

    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    pub(super) fn undecodable(&self) {
        self.undecodable.fetch_add(1, Relaxed);
    }

    /// Takes over what the protocol counts. Called when the stream is about to wait.
    pub(super) fn update(&self, stream: &Stream, had_data: bool) {
        let counters = stream.counters();
        self.keep_alives.store(counters.keep_alives, Relaxed);
        self.unknown.store(counters.unknown, Relaxed);
        self.oversize.store(counters.oversize, Relaxed);
        self.malformed
            .store(counters.malformed + self.undecodable.load(Relaxed), Relaxed);
        self.blank.store(counters.blank, Relaxed);
        self.is_ready.store(stream.is_ready(), Relaxed);
        if had_data {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.last_data_ms.store(now.as_millis() as u64, Relaxed);
        }
    }
}
