//! What is handed from a stream's thread to the threads that write: copied once, and measured.

use crate::protocol::StreamEvent;
use crate::protocol::message::{PacketKind, Transcript};

/// A phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase<'a> {
    /// Who.
    pub user_id: u64,
    /// In words.
    pub user_name: &'a str,
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
    pub attribute: Change,
    /// What was said.
    pub text: &'a str,
}

/// `attribute` of a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// 0 or 1, or a number that is not known: the phrase stands.
    New,
    /// 2: it replaces one.
    Update,
    /// 3: it takes one back.
    Delete,
}

impl<'a> From<&'a Transcript<'_>> for Phrase<'a> {
    fn from(transcript: &'a Transcript<'_>) -> Phrase<'a> {
        Phrase {
            user_id: transcript.user_id,
            user_name: &transcript.user_name,
            channel_id: transcript.channel_id,
            start_ms: transcript.start_ms,
            end_ms: transcript.end_ms,
            timestamp_ms: transcript.timestamp_ms,
            language: transcript.language,
            attribute: match transcript.attribute {
                2 => Change::Update,
                3 => Change::Delete,
                _ => Change::New,
            },
            text: &transcript.text,
        }
    }
}

/// One thing to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A phrase.
    Phrase(Phrase<'a>),
    /// An event, as Zoom's JSON beside its number.
    Event {
        /// `event_type`, where there is one.
        event_type: Option<i64>,
        /// When, Unix milliseconds, where told.
        timestamp_ms: Option<u64>,
        /// `event` as it came.
        raw: &'a str,
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
        raw: &'a str,
    },
}

impl<'a> Record<'a> {
    /// What is written of an event; `None` for what has a way of its own.
    pub fn of(event: &'a StreamEvent<'_>) -> Option<Record<'a>> {
        match event {
            StreamEvent::Transcript(transcript) => Some(Record::Phrase(transcript.into())),
            StreamEvent::Event(event) => Some(Record::Event {
                event_type: event.event_type,
                timestamp_ms: event.timestamp_ms,
                raw: event.raw.get(),
            }),
            StreamEvent::Chat(chat) => Some(Record::Chat {
                timestamp_ms: chat.timestamp_ms,
                operation: chat.operation,
                session: chat.session,
                raw: chat.raw.get(),
            }),
            StreamEvent::Packet(PacketKind::Audio | PacketKind::Video | PacketKind::Share, _) => {
                None
            }
        }
    }

    /// Its two texts; what is no phrase has no name.
    fn texts(&self) -> (&'a str, &'a str) {
        match self {
            Record::Phrase(phrase) => (phrase.user_name, phrase.text),
            Record::Event { raw, .. } | Record::Chat { raw, .. } => ("", raw),
        }
    }

    /// The same with other texts.
    fn with<'b>(&self, name: &'b str, text: &'b str) -> Record<'b> {
        match *self {
            Record::Phrase(phrase) => Record::Phrase(Phrase {
                user_id: phrase.user_id,
                user_name: name,
                channel_id: phrase.channel_id,
                start_ms: phrase.start_ms,
                end_ms: phrase.end_ms,
                timestamp_ms: phrase.timestamp_ms,
                language: phrase.language,
                attribute: phrase.attribute,
                text,
            }),
            Record::Event {
                event_type,
                timestamp_ms,
                ..
            } => Record::Event {
                event_type,
                timestamp_ms,
                raw: text,
            },
            Record::Chat {
                timestamp_ms,
                operation,
                session,
                ..
            } => Record::Chat {
                timestamp_ms,
                operation,
                session,
                raw: text,
            },
        }
    }
}

/// Records in the order in which they came, copied into one buffer.
#[derive(Debug, Default)]
pub struct RecordBatch {
    kept: Vec<Kept>,
    text: String,
}

/// A record without its texts, and where in the buffer they end.
#[derive(Debug)]
struct Kept {
    record: Record<'static>,
    name_to: usize,
    text_to: usize,
}

impl RecordBatch {
    /// Empty, with room for as many as those.
    pub fn like(others: &RecordBatch) -> RecordBatch {
        RecordBatch {
            kept: Vec::with_capacity(others.kept.len()),
            text: String::with_capacity(others.text.len()),
        }
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.text.clear();
    }

    /// The memory that it has, used or not, in bytes.
    pub fn capacity(&self) -> usize {
        self.text.capacity() + self.kept.capacity() * size_of::<Kept>()
    }

    /// Adds a copy.
    pub fn push(&mut self, record: &Record<'_>) {
        let (name, text) = record.texts();
        if self.kept.capacity() == 0 {
            // Mostly there is one phrase at a time.
            self.kept.reserve_exact(1);
            self.text.reserve_exact(name.len() + text.len());
        }
        self.text.push_str(name);
        let name_to = self.text.len();
        self.text.push_str(text);
        self.kept.push(Kept {
            record: record.with("", ""),
            name_to,
            text_to: self.text.len(),
        });
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut from = 0;
        self.kept.iter().map(move |kept| {
            let name = &self.text[from..kept.name_to];
            from = kept.text_to;
            kept.record.with(name, &self.text[kept.name_to..from])
        })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.kept.len()
    }

    /// The memory that they hold, near enough, in bytes.
    pub fn size(&self) -> usize {
        self.text.len() + self.kept.len() * size_of::<Kept>()
    }
}
