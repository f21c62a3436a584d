//! A batch of records for the disk thread: copied once, with a known size.

use std::borrow::Cow;

use crate::domain::id::Id;
use crate::domain::participant::Participant;
use crate::domain::phrase::{Change, LanguageId, Phrase, Precision};
use crate::protocol::StreamEvent;
use crate::protocol::message::{Chat, MeetingEvent};
use crate::recorder::journal::lifecycle::Lifecycle;

/// Approximate memory use of an event's participant, in bytes.
const PARTICIPANT_BYTES: usize = size_of::<Participant>() + 32;

/// One line to write to one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A phrase.
    Phrase(Phrase<'a>),
    /// A meeting event.
    Event(EventRecord<'a>),
    /// A chat message.
    Chat(ChatRecord<'a>),
    /// A notice about the stream, for the journal.
    Notice(&'a Lifecycle),
}

/// The fields of a meeting event that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRecord<'a> {
    /// `event_type`, if Zoom sent one.
    pub event_type: Option<i64>,
    /// Timestamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// The participants named in it.
    pub participants: &'a [Participant],
    /// Zoom's JSON under `event`.
    pub raw: &'a str,
}

/// The fields of a chat message that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatRecord<'a> {
    /// Timestamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// `operation_type`, if Zoom sent one.
    pub operation: Option<i64>,
    /// The type of its `chat_session`, if Zoom sent one.
    pub session: Option<i64>,
    /// The sender, if known.
    pub sender: Option<&'a Participant>,
    /// The text, if known.
    pub text: Option<&'a str>,
    /// Zoom's JSON under `content`.
    pub raw: &'a str,
}

/// Records in the order in which they were received. Their texts are in one buffer, one after the
/// other.
#[derive(Debug, Default)]
pub struct RecordBatch {
    rows: Vec<Row>,
    text: String,
    participants: Vec<Participant>,
    /// Rows that are notices, which count as no record.
    notices: usize,
}

/// A record without its texts; it has their lengths, in their order in the buffer.
#[derive(Debug)]
enum Row {
    Phrase {
        user_id: IdRow,
        channel_id: Option<IdRow>,
        name_bytes: u32,
        text_bytes: u32,
        start_ms: u64,
        end_ms: u64,
        timestamp_ms: u64,
        precision: Precision,
        language: Option<LanguageId>,
        change: Change,
    },
    Event {
        event_type: Option<i64>,
        timestamp_ms: u64,
        participants: u32,
        raw_bytes: u32,
    },
    Chat {
        timestamp_ms: u64,
        operation: Option<i64>,
        session: Option<i64>,
        has_sender: bool,
        text_bytes: Option<u32>,
        raw_bytes: u32,
    },
    Notice(Box<Lifecycle>),
}

#[derive(Debug, Clone, Copy)]
enum IdRow {
    Number(u64),
    TextBytes(u32),
}

impl RecordBatch {
    /// An empty batch with the capacity of `others`.
    pub fn like(others: &RecordBatch) -> RecordBatch {
        RecordBatch {
            rows: Vec::with_capacity(others.rows.len()),
            text: String::with_capacity(others.text.len()),
            participants: Vec::new(),
            notices: 0,
        }
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.text.clear();
        self.participants.clear();
        self.notices = 0;
    }

    /// Allocated bytes, used or not.
    pub fn capacity(&self) -> usize {
        self.text.capacity()
            + self.rows.capacity() * size_of::<Row>()
            + self.participants.capacity() * PARTICIPANT_BYTES
    }

    /// Copies the parts of an event that are written; packets have a batch of their own.
    pub fn push(&mut self, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::Transcript(phrase) => self.push_phrase(phrase),
            StreamEvent::Event(event) => self.push_event(event),
            StreamEvent::Chat(chat) => self.push_chat(chat),
            StreamEvent::Packet(..) => {}
        }
    }

    /// Adds a notice about the stream, behind what came before it.
    pub fn push_notice(&mut self, notice: Lifecycle) {
        self.rows.push(Row::Notice(Box::new(notice)));
        self.notices += 1;
    }

    fn push_phrase(&mut self, phrase: &Phrase<'_>) {
        let (name, text) = (&*phrase.user_name, &*phrase.text);
        self.reserve(name.len() + text.len());
        let row = Row::Phrase {
            user_id: self.push_id(&phrase.user_id),
            channel_id: phrase.channel_id.as_ref().map(|id| self.push_id(id)),
            name_bytes: self.push_text(name),
            text_bytes: self.push_text(text),
            start_ms: phrase.start_ms,
            end_ms: phrase.end_ms,
            timestamp_ms: phrase.timestamp_ms,
            precision: phrase.precision,
            language: phrase.language,
            change: phrase.change,
        };
        self.rows.push(row);
    }

    fn push_event(&mut self, event: &MeetingEvent<'_>) {
        self.reserve(event.raw.len());
        self.participants.extend_from_slice(&event.participants);
        let row = Row::Event {
            event_type: event.event_type,
            timestamp_ms: event.timestamp_ms,
            participants: event.participants.len() as u32,
            raw_bytes: self.push_text(event.raw),
        };
        self.rows.push(row);
    }

    fn push_chat(&mut self, chat: &Chat<'_>) {
        let text = chat.text.as_deref();
        self.reserve(chat.raw.len() + text.map_or(0, str::len));
        self.participants.extend(chat.sender.iter().cloned());
        let row = Row::Chat {
            timestamp_ms: chat.timestamp_ms,
            operation: chat.operation,
            session: chat.session,
            has_sender: chat.sender.is_some(),
            text_bytes: text.map(|text| self.push_text(text)),
            raw_bytes: self.push_text(chat.raw),
        };
        self.rows.push(row);
    }

    fn reserve(&mut self, text_bytes: usize) {
        if self.rows.capacity() == 0 {
            // Usually there is one phrase at a time.
            self.rows.reserve_exact(1);
            self.text.reserve_exact(text_bytes);
        }
    }

    /// Adds a text and returns its length. A message has at most 64 MiB.
    fn push_text(&mut self, text: &str) -> u32 {
        self.text.push_str(text);
        text.len() as u32
    }

    fn push_id(&mut self, id: &Id<'_>) -> IdRow {
        match id {
            Id::Number(n) => IdRow::Number(*n),
            Id::Text(text) => IdRow::TextBytes(self.push_text(text)),
        }
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = Remaining {
            text: &self.text,
            participants: &self.participants,
        };
        self.rows.iter().map(move |row| rest.record(row))
    }

    /// Number of records, notices not counted.
    pub fn count(&self) -> usize {
        self.rows.len() - self.notices
    }

    /// Whether there is neither a record nor a notice.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Approximate memory use in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
            + self.rows.len() * size_of::<Row>()
            + self.participants.len() * PARTICIPANT_BYTES
    }
}

/// The texts and participants of the rows not yet read.
struct Remaining<'a> {
    text: &'a str,
    participants: &'a [Participant],
}

impl<'a> Remaining<'a> {
    fn record(&mut self, row: &'a Row) -> Record<'a> {
        match *row {
            Row::Notice(ref notice) => Record::Notice(notice),
            Row::Phrase {
                user_id,
                channel_id,
                name_bytes,
                text_bytes,
                start_ms,
                end_ms,
                timestamp_ms,
                precision,
                language,
                change,
            } => Record::Phrase(Phrase {
                user_id: self.id(user_id),
                channel_id: channel_id.map(|id| self.id(id)),
                user_name: Cow::Borrowed(self.text(name_bytes)),
                text: Cow::Borrowed(self.text(text_bytes)),
                start_ms,
                end_ms,
                timestamp_ms,
                precision,
                language,
                change,
            }),
            Row::Event {
                event_type,
                timestamp_ms,
                participants,
                raw_bytes,
            } => Record::Event(EventRecord {
                event_type,
                timestamp_ms,
                participants: self.participants(participants as usize),
                raw: self.text(raw_bytes),
            }),
            Row::Chat {
                timestamp_ms,
                operation,
                session,
                has_sender,
                text_bytes,
                raw_bytes,
            } => Record::Chat(ChatRecord {
                timestamp_ms,
                operation,
                session,
                sender: self.participants(usize::from(has_sender)).first(),
                text: text_bytes.map(|bytes| self.text(bytes)),
                raw: self.text(raw_bytes),
            }),
        }
    }

    fn text(&mut self, bytes: u32) -> &'a str {
        let (text, rest) = self.text.split_at(bytes as usize);
        self.text = rest;
        text
    }

    fn participants(&mut self, count: usize) -> &'a [Participant] {
        let (own, rest) = self.participants.split_at(count);
        self.participants = rest;
        own
    }

    fn id(&mut self, id: IdRow) -> Id<'a> {
        match id {
            IdRow::Number(n) => Id::Number(n),
            IdRow::TextBytes(bytes) => Id::Text(Cow::Borrowed(self.text(bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Message, decode};

    fn event(json: &str) -> StreamEvent<'_> {
        match decode(json, 1_767_000_000_000).expect("a message") {
            Message::Transcript(phrase) => StreamEvent::Transcript(phrase),
            Message::Event(event) => StreamEvent::Event(event),
            Message::Chat(chat) => StreamEvent::Chat(chat),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_come_out_in_order() {
        let messages = [
            r#"{"msg_type":17,"content":{"user_id":"cust\"1","channel_id":"12ab","user_name":"Ada","start_time":1767000001000,"data":"one"}}"#,
            r#"{"msg_type":6,"event":{"event_type":3,"participants":[{"user_id":1},{"user_id":"x","user_name":"Bo"}]}}"#,
            r#"{"msg_type":18,"content":{"data":"hi","operation_type":2,"sender":{"user_id":1,"user_name":"Ada"}}}"#,
            r#"{"msg_type":18,"content":{"data":["no text"]}}"#,
            r#"{"msg_type":6,"event":{"event_type":4,"participants":[{"user_id":1}]}}"#,
            r#"{"msg_type":17,"content":{"user_id":7,"data":"two","attribute":3,"language":9}}"#,
        ];
        let mut batch = RecordBatch::default();
        for _ in 0..2 {
            for message in messages {
                batch.push(&event(message));
            }
            assert_eq!(batch.count(), messages.len());
            for (record, message) in batch.iter().zip(messages) {
                match (record, event(message)) {
                    (Record::Phrase(found), StreamEvent::Transcript(sent)) => {
                        assert_eq!(found, sent);
                    }
                    (Record::Event(found), StreamEvent::Event(sent)) => {
                        assert_eq!(found.participants, sent.participants);
                        assert_eq!((found.event_type, found.raw), (sent.event_type, sent.raw));
                    }
                    (Record::Chat(found), StreamEvent::Chat(sent)) => {
                        assert_eq!((found.operation, found.raw), (sent.operation, sent.raw));
                        assert_eq!(found.sender, sent.sender.as_ref());
                        assert_eq!(found.text, sent.text.as_deref());
                    }
                    other => panic!("{other:?}"),
                }
            }
            batch.clear();
            assert_eq!(batch.size(), 0);
        }
    }
}
