//! What is handed from a stream's thread to the threads that write: owned, and measured.

use crate::protocol::message::{PacketKind, Transcript};
use crate::protocol::{Product, StreamEvent};

/// Which stream a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Which product.
    pub product: Product,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The meeting number, where known.
    pub meeting_id: Option<String>,
    /// The topic, where known.
    pub topic: Option<String>,
    /// `event_ts` of the first `rtms_started`, Unix milliseconds: zero of the subtitles' time.
    pub started_ms: u64,
}

/// A phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// Who.
    pub user_id: u64,
    /// In words.
    pub user_name: String,
    /// The leg of a call.
    pub channel_id: Option<u64>,
    /// Begin, Unix milliseconds.
    pub start_ms: u64,
    /// End, Unix milliseconds.
    pub end_ms: u64,
    /// Stamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Zoom's language number.
    pub language: Option<i64>,
    /// New, or a change of an older one.
    pub attribute: Attribute,
    /// What was said.
    pub text: String,
}

/// `attribute` of a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// 0 or 1, or a number that is not known: the phrase stands.
    New,
    /// 2: it replaces one.
    Update,
    /// 3: it takes one back.
    Delete,
}

impl From<&Transcript<'_>> for Phrase {
    fn from(transcript: &Transcript<'_>) -> Phrase {
        Phrase {
            user_id: transcript.user_id,
            user_name: transcript.user_name.as_ref().to_owned(),
            channel_id: transcript.channel_id,
            start_ms: transcript.start_ms,
            end_ms: transcript.end_ms,
            timestamp_ms: transcript.timestamp_ms,
            language: transcript.language,
            attribute: match transcript.attribute {
                2 => Attribute::Update,
                3 => Attribute::Delete,
                _ => Attribute::New,
            },
            text: transcript.text.as_ref().to_owned(),
        }
    }
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A phrase.
    Phrase(Phrase),
    /// An event, as Zoom's JSON beside its number.
    Event {
        /// `event_type`, where there is one.
        event_type: Option<i64>,
        /// When, Unix milliseconds, where told.
        timestamp_ms: Option<u64>,
        /// `event` as it came.
        raw: String,
    },
    /// A chat message, as Zoom's JSON.
    Chat {
        /// When, Unix milliseconds.
        timestamp_ms: u64,
        /// `operation_type`, where told.
        operation: Option<i64>,
        /// The type of its `chat_session`, where told.
        session: Option<i64>,
        /// `content` as it came.
        raw: String,
    },
}

impl Record {
    /// A copy of what is written of an event; `None` for what has no file.
    pub fn of(event: &StreamEvent<'_>) -> Option<Record> {
        match event {
            StreamEvent::Transcript(transcript) => Some(Record::Phrase(transcript.into())),
            StreamEvent::Event(event) => Some(Record::Event {
                event_type: event.event_type,
                timestamp_ms: event.timestamp_ms,
                raw: event.raw.get().to_owned(),
            }),
            StreamEvent::Chat(chat) => Some(Record::Chat {
                timestamp_ms: chat.timestamp_ms,
                operation: chat.operation,
                session: chat.session,
                raw: chat.raw.get().to_owned(),
            }),
            StreamEvent::Packet(PacketKind::Audio | PacketKind::Video | PacketKind::Share, _) => {
                None
            }
        }
    }

    /// The memory that it holds, near enough, in bytes.
    pub fn size(&self) -> usize {
        let held = match self {
            Record::Phrase(phrase) => phrase.text.len() + phrase.user_name.len(),
            Record::Event { raw, .. } | Record::Chat { raw, .. } => raw.len(),
        };
        size_of::<Record>() + held
    }
}
