//! What a stream counts: by its own thread, to be read by others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::now_ms;
use crate::domain::count::Count;
use crate::protocol::message::PacketKind;
use crate::protocol::{LinkId, Loss, MediaKind, Notice, RtmsStatus, Stream, StreamEvent};

/// The words of the kinds of messages in metrics and JSON, in the order in which they are shown.
pub(crate) const KIND_LABELS: [&str; 6] =
    ["transcript", "audio", "video", "share", "chat", "event"];

/// What a stream does, as far as others need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPhase {
    /// Zoom has not accepted a connection yet.
    Joining,
    /// Zoom has accepted the signaling connection, so no other client has the stream.
    Receiving,
    /// It had one, and tries again.
    Lost,
}

/// What a stream, or several together, have counted up to one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
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
    /// Meeting events.
    pub events: Count,
    /// Accepted handshakes of signaling links.
    pub signaling_connects: u64,
    /// Accepted handshakes of media links.
    pub media_connects: u64,
    /// Times that data began to flow.
    pub readies: u64,
    /// Refusals because another client has the stream: status 8, 15 or 16.
    pub refused_elsewhere: u64,
    /// Lost links, by [`Loss::label`]; a cause that never came is left out.
    pub losses: BTreeMap<&'static str, u64>,
    /// Keep-alives answered.
    pub keep_alives: u64,
    /// Longest time from receiving a keep-alive to answering it, microseconds.
    pub keep_alive_worst_us: u64,
    /// Phrases that came twice and were passed on once.
    pub repeated: u64,
    /// Transcripts without words.
    pub blank: u64,
    /// Messages of unknown type.
    pub unknown: u64,
    /// Messages that could not be parsed, and frames that were not UTF-8.
    pub malformed: u64,
    /// Messages that were larger than the limit of their link, and skipped.
    pub oversize: u64,
}

impl StatsSnapshot {
    /// The count of each kind of message, with its word of [`KIND_LABELS`].
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (&'static str, Count)> {
        let counts = [
            self.transcripts,
            self.audio,
            self.video,
            self.share,
            self.chat,
            self.events,
        ];
        KIND_LABELS.into_iter().zip(counts)
    }

    /// Lost links of every cause.
    pub(crate) fn losses_total(&self) -> u64 {
        self.losses.values().sum()
    }

    /// Adds what another stream has counted.
    pub(crate) fn add(&mut self, other: &StatsSnapshot) {
        self.transcripts.add(other.transcripts);
        self.audio.add(other.audio);
        self.video.add(other.video);
        self.share.add(other.share);
        self.chat.add(other.chat);
        self.events.add(other.events);
        self.signaling_connects += other.signaling_connects;
        self.media_connects += other.media_connects;
        self.readies += other.readies;
        self.refused_elsewhere += other.refused_elsewhere;
        for (cause, times) in &other.losses {
            *self.losses.entry(cause).or_default() += times;
        }
        self.keep_alives += other.keep_alives;
        self.keep_alive_worst_us = self.keep_alive_worst_us.max(other.keep_alive_worst_us);
        self.repeated += other.repeated;
        self.blank += other.blank;
        self.unknown += other.unknown;
        self.malformed += other.malformed;
        self.oversize += other.oversize;
    }
}

/// The counters of one stream. Its thread writes them.
#[derive(Debug, Default)]
pub(crate) struct StreamCounters {
    transcripts: MessageCounter,
    audio: MessageCounter,
    video: MessageCounter,
    share: MessageCounter,
    chat: MessageCounter,
    events: MessageCounter,
    signaling_connects: AtomicU64,
    media_connects: AtomicU64,
    readies: AtomicU64,
    refused_elsewhere: AtomicU64,
    /// In the order of [`Loss::LABELS`].
    losses: [AtomicU64; Loss::LABELS.len()],
    keep_alives: AtomicU64,
    keep_alive_worst_us: AtomicU64,
    repeated: AtomicU64,
    blank: AtomicU64,
    unknown: AtomicU64,
    malformed: AtomicU64,
    oversize: AtomicU64,
    /// Frames that were not UTF-8.
    undecodable: AtomicU64,
    /// Bits of the media kinds that were given up and are retried now and then.
    given_up: AtomicU32,
    /// Time of the newest data, Unix milliseconds; 0 before the first.
    last_data_ms: AtomicU64,
    is_ready: AtomicBool,
    has_signaling: AtomicBool,
    /// Whether it was refused last because another client has it.
    is_held_elsewhere: AtomicBool,
}

#[derive(Debug, Default)]
struct MessageCounter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl MessageCounter {
    fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn snapshot(&self) -> Count {
        Count {
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

impl StreamCounters {
    /// What was counted so far.
    pub(crate) fn snapshot(&self) -> StatsSnapshot {
        let losses = Loss::LABELS.into_iter().zip(&self.losses);
        let losses = losses.map(|(cause, count)| (cause, count.load(Relaxed)));
        StatsSnapshot {
            transcripts: self.transcripts.snapshot(),
            audio: self.audio.snapshot(),
            video: self.video.snapshot(),
            share: self.share.snapshot(),
            chat: self.chat.snapshot(),
            events: self.events.snapshot(),
            signaling_connects: self.signaling_connects.load(Relaxed),
            media_connects: self.media_connects.load(Relaxed),
            readies: self.readies.load(Relaxed),
            refused_elsewhere: self.refused_elsewhere.load(Relaxed),
            losses: losses.filter(|(_, times)| *times > 0).collect(),
            keep_alives: self.keep_alives.load(Relaxed),
            keep_alive_worst_us: self.keep_alive_worst_us.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            blank: self.blank.load(Relaxed),
            unknown: self.unknown.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            oversize: self.oversize.load(Relaxed),
        }
    }

    /// Whether data can arrive now.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }

    /// What the stream does.
    pub(crate) fn phase(&self) -> StreamPhase {
        match self.has_signaling.load(Relaxed) {
            true => StreamPhase::Receiving,
            false if self.signaling_connects.load(Relaxed) == 0 => StreamPhase::Joining,
            false => StreamPhase::Lost,
        }
    }

    /// How often signaling was let in.
    pub(crate) fn connects(&self) -> u64 {
        self.signaling_connects.load(Relaxed)
    }

    /// Whether it was refused last because another client has it.
    pub(crate) fn is_held_elsewhere(&self) -> bool {
        self.is_held_elsewhere.load(Relaxed)
    }

    /// Unix milliseconds of the newest data.
    pub(crate) fn last_data_ms(&self) -> Option<u64> {
        Some(self.last_data_ms.load(Relaxed)).filter(|&ms| ms > 0)
    }

    /// Kinds of media that were given up and are tried once a minute.
    pub(crate) fn given_up(&self) -> Vec<MediaKind> {
        let bits = self.given_up.load(Relaxed);
        let kinds = [
            MediaKind::Transcript,
            MediaKind::Audio,
            MediaKind::Video,
            MediaKind::Share,
            MediaKind::Chat,
            MediaKind::All,
        ];
        let kinds = kinds.into_iter();
        kinds.filter(|kind| bits & kind.bit() != 0).collect()
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
                let labels = Loss::LABELS.iter().zip(&self.losses);
                for (_, count) in labels.filter(|(label, _)| **label == loss.label()) {
                    count.fetch_add(1, Relaxed);
                }
            }
            Notice::Refused { status, .. } => {
                let is_held = status.is_some_and(RtmsStatus::is_held_elsewhere);
                self.is_held_elsewhere.store(is_held, Relaxed);
                self.refused_elsewhere.fetch_add(is_held.into(), Relaxed);
            }
            Notice::GivenUp { kind, .. } => {
                self.given_up.fetch_or(kind.bit(), Relaxed);
            }
            Notice::Accepted(LinkId::Signaling) => {
                // After a new signaling connection every media kind is requested again.
                self.given_up.store(0, Relaxed);
                self.is_held_elsewhere.store(false, Relaxed);
                self.has_signaling.store(true, Relaxed);
                self.signaling_connects.fetch_add(1, Relaxed);
            }
            Notice::Accepted(LinkId::Media(kind)) => {
                self.given_up.fetch_and(!kind.bit(), Relaxed);
                self.is_held_elsewhere.store(false, Relaxed);
                self.media_connects.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    /// Records the time from when a keep-alive could be read to its answer.
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

    /// Copies the protocol's counters. Called when the stream is about to wait.
    pub(super) fn update(&self, stream: &Stream, had_data: bool) {
        let counters = stream.counters();
        self.keep_alives.store(counters.keep_alives, Relaxed);
        self.unknown.store(counters.unknown, Relaxed);
        self.oversize.store(counters.oversize, Relaxed);
        self.malformed
            .store(counters.malformed + self.undecodable.load(Relaxed), Relaxed);
        self.blank.store(counters.blank, Relaxed);
        self.is_ready.store(stream.is_ready(), Relaxed);
        self.has_signaling.store(stream.has_signaling(), Relaxed);
        if had_data {
            self.last_data_ms.store(now_ms(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codes::RefusalPolicy;

    #[test]
    fn what_is_given_up_is_listed_until_it_is_accepted() {
        let counters = StreamCounters::default();
        let given_up = |kind| Notice::GivenUp {
            kind,
            loss: Loss::Silent,
        };
        for kind in [MediaKind::Audio, MediaKind::Transcript, MediaKind::All] {
            counters.notice(&given_up(kind));
        }
        let all = [MediaKind::Transcript, MediaKind::Audio, MediaKind::All];
        assert_eq!(counters.given_up(), all);
        let media = LinkId::Media(MediaKind::Audio);
        counters.notice(&Notice::Accepted(media));
        assert_eq!(counters.given_up(), [MediaKind::Transcript, MediaKind::All]);
        counters.notice(&Notice::Accepted(LinkId::Signaling));
        assert_eq!(counters.given_up(), []);
        let stats = counters.snapshot();
        assert_eq!((stats.signaling_connects, stats.media_connects), (1, 1));
    }

    #[test]
    fn a_refusal_that_names_another_client_counts_until_the_next_answer() {
        let counters = StreamCounters::default();
        let refused = |link, status: Option<i64>| Notice::Refused {
            link,
            status: status.map(RtmsStatus),
            reason: String::new(),
            policy: RefusalPolicy::Retry,
        };
        assert_eq!(counters.phase(), StreamPhase::Joining);
        let media = LinkId::Media(MediaKind::Audio);
        for status in [8, 15, 16] {
            counters.notice(&refused(LinkId::Signaling, Some(status)));
            assert!(counters.is_held_elsewhere(), "{status}");
            counters.notice(&refused(LinkId::Signaling, Some(45)));
            assert!(!counters.is_held_elsewhere());
        }
        counters.notice(&refused(LinkId::Signaling, Some(8)));
        counters.notice(&Notice::Accepted(LinkId::Signaling));
        assert!(!counters.is_held_elsewhere());
        assert_eq!(counters.phase(), StreamPhase::Receiving);
        counters.notice(&refused(media, Some(16)));
        assert!(counters.is_held_elsewhere());
        counters.notice(&refused(media, None));
        assert!(!counters.is_held_elsewhere());
    }

    #[test]
    fn streams_are_summed() {
        let counters = StreamCounters::default();
        counters.notice(&Notice::Ready);
        counters.notice(&Notice::Lost(LinkId::Signaling, Loss::Silent));
        counters.keep_alive(Duration::from_millis(2));
        let one = counters.snapshot();
        assert_eq!((one.losses["silent"], one.losses.len()), (1, 1));
        counters.notice(&Notice::Lost(LinkId::Signaling, Loss::TimedOut));
        counters.keep_alive(Duration::from_millis(1));
        let mut sum = counters.snapshot();
        sum.add(&one);
        assert_eq!((sum.readies, sum.losses_total()), (2, 3));
        assert_eq!((sum.losses["silent"], sum.keep_alive_worst_us), (2, 2000));
    }
}
