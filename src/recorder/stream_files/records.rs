//! What a stream receives, as records in its files: phrases, events, chat, packets.

use std::borrow::Cow;

use super::{MediaChange, Recorder};
use crate::domain::phrase::{Change, Phrase};
use crate::domain::product::Product;
use crate::feed::kind;
use crate::protocol::Granted;
use crate::protocol::events::event_name;
use crate::recorder::journal::lifecycle::Lifecycle;
use crate::recorder::packet_batch::PacketBatch;
use crate::recorder::record_batch::Record;

impl Recorder {
    /// Adds a record; [`Recorder::write`] writes it.
    pub fn push(&mut self, record: &Record<'_>) {
        match record {
            Record::Phrase(phrase) => {
                self.meta.phrases += 1;
                let zero_ms = self.info.started_ms;
                // A restart loses the names from events; `meta.json` keeps them.
                let participants = &self.meta.participants;
                let name = match phrase.user_name.trim() {
                    "" => participants.name_of(&phrase.user_id, phrase.channel_id.as_ref()),
                    _ => None,
                };
                let named = name.map(|name| Phrase {
                    user_name: Cow::Borrowed(name),
                    ..phrase.borrowed()
                });
                let phrase = named.as_ref().unwrap_or(phrase);
                self.meta.summary.on_phrase(phrase);
                let line = self.transcripts.push(&self.lines, zero_ms, phrase);
                if let Some(journal) = &mut self.journal {
                    let (kind, at_ms) = (phrase_kind(phrase.change), phrase.timestamp_ms);
                    match line {
                        Some(line) => journal.push(kind, at_ms, line, None),
                        None => {
                            let lines = &self.lines;
                            journal.push_with(kind, at_ms, |out| lines.phrase(out, phrase));
                        }
                    }
                }
            }
            Record::Event(event) => {
                let is_news = self.meta.participants.on_event(
                    self.info.product,
                    event.event_type,
                    event.timestamp_ms,
                    event.participants,
                );
                if is_news {
                    self.media.on_names(&mut self.meta);
                    self.is_meta_stale = true;
                }
                let out = self.events.record_buf();
                let from = out.len();
                self.lines.event(out, event);
                if let Some(journal) = &mut self.journal {
                    let kind = event_kind(self.info.product, event.event_type);
                    let is_attendance =
                        matches!(kind, kind::PARTICIPANT_JOINED | kind::PARTICIPANT_LEFT);
                    let people = is_attendance.then_some(event.participants);
                    journal.push(kind, event.timestamp_ms, &out[from..out.len() - 1], people);
                }
            }
            Record::Chat(chat) => {
                let out = self.chat.record_buf();
                let from = out.len();
                self.lines.chat(out, chat);
                if let Some(journal) = &mut self.journal {
                    let line = &out[from..out.len() - 1];
                    journal.push(kind::CHAT_MESSAGE, chat.timestamp_ms, line, None);
                }
            }
            Record::Notice(notice) => self.on_notice(notice),
        }
    }

    fn on_notice(&mut self, notice: &Lifecycle) {
        if let Some(journal) = &mut self.journal {
            let granted = &self.meta.granted;
            journal.on_notice(notice, || {
                serde_json::to_string(granted).unwrap_or_default()
            });
        }
    }

    /// Adds a batch of packets; [`Recorder::write`] writes it.
    pub fn push_packets(&mut self, batch: &PacketBatch) {
        let missed = self.media.push(batch, &mut self.meta);
        self.meta.dropped += missed.dropped;
        self.meta.malformed += missed.malformed;
        self.is_meta_stale |= missed.is_meta_stale;
    }

    /// Applies a change of a media link.
    pub fn on_media_change(&mut self, change: &MediaChange) {
        match change {
            MediaChange::Resumed(kind) => self.media.on_reconnect(*kind),
            MediaChange::GivenUp(kind, why) => {
                let kind = kind.name().to_owned();
                self.meta.given_up.insert(kind, why.clone());
                self.is_meta_stale = true;
            }
            MediaChange::Back(kind) => {
                self.is_meta_stale |= self.meta.given_up.remove(kind.name()).is_some();
            }
        }
    }

    /// Sets the media parameters that Zoom granted.
    pub fn on_granted(&mut self, granted: &Granted) {
        self.media.on_granted(granted);
        let json = serde_json::from_str(&granted.json).unwrap_or_default();
        let kind = granted.kind.name().to_owned();
        self.meta.granted.insert(kind, json);
        self.is_meta_stale = true;
    }

    /// Adds to the number of dropped records.
    pub fn dropped(&mut self, count: u64) {
        self.meta.dropped += count;
        self.is_meta_stale = true;
    }
}

fn phrase_kind(change: Change) -> &'static str {
    match change {
        Change::New => kind::TRANSCRIPT_PHRASE,
        Change::Update => kind::TRANSCRIPT_UPDATED,
        Change::Delete => kind::TRANSCRIPT_DELETED,
    }
}

fn event_kind(product: Product, number: Option<i64>) -> &'static str {
    match number.and_then(|number| event_name(product, number)) {
        Some("PARTICIPANT_JOIN") => kind::PARTICIPANT_JOINED,
        Some("PARTICIPANT_LEAVE") => kind::PARTICIPANT_LEFT,
        Some("ACTIVE_SPEAKER_CHANGE") => kind::SPEAKER_CHANGED,
        Some("SHARING_START") => kind::SHARING_STARTED,
        Some("SHARING_STOP") => kind::SHARING_STOPPED,
        _ => kind::EVENT_OTHER,
    }
}
