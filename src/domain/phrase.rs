//! A phrase: a few words of one speaker, with their time.

use std::borrow::Cow;

use super::id::Id;

/// The content of one message 17. The decoder fills it, sinks receive it, the recorder writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phrase<'a> {
    /// The speaker; names repeat and change, the id does not within a session. [`Id::UNKNOWN`] if
    /// Zoom sends none, as in Contact Center, where the channel identifies the speaker.
    pub user_id: Id<'a>,
    /// The speaker's name; empty if Zoom sent none.
    pub user_name: Cow<'a, str>,
    /// The channel of a call (Phone, Contact Center).
    pub channel_id: Option<Id<'a>>,
    /// Start of the phrase, Unix milliseconds.
    pub start_ms: u64,
    /// End of the phrase, Unix milliseconds; not before its start.
    pub end_ms: u64,
    /// Timestamp of the phrase, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Precision of its times.
    pub precision: Precision,
    /// Its language, if Zoom sent it.
    pub language: Option<LanguageId>,
    /// Whether it is new, or changes an older one.
    pub change: Change,
    /// The words.
    pub text: Cow<'a, str>,
}

impl Phrase<'_> {
    /// Whether it has no words and deletes no other phrase.
    pub fn is_blank(&self) -> bool {
        self.change != Change::Delete && self.text.trim().is_empty()
    }

    /// The same phrase without a copy of its texts.
    pub fn borrowed(&self) -> Phrase<'_> {
        Phrase {
            user_id: self.user_id.borrowed(),
            user_name: Cow::Borrowed(&self.user_name),
            channel_id: self.channel_id.as_ref().map(Id::borrowed),
            text: Cow::Borrowed(&self.text),
            ..*self
        }
    }
}

/// The precision of a phrase's times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// To the millisecond.
    #[default]
    Milliseconds,
    /// To the second.
    Seconds,
    /// Zoom sent no time, or an implausible one: the times are those of arrival.
    Arrival,
}

/// `attribute` of a phrase (RTMS media reference).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// 0 or 1, or an unknown number: a new phrase.
    #[default]
    New,
    /// 2: it replaces an older one.
    Update,
    /// 3: it deletes an older one.
    Delete,
}

impl Change {
    /// The change with Zoom's number.
    pub fn from_number(number: i64) -> Change {
        match number {
            2 => Change::Update,
            3 => Change::Delete,
            _ => Change::New,
        }
    }

    /// The word in `transcript.jsonl`; a new phrase has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Change::New => None,
            Change::Update => Some("update"),
            Change::Delete => Some("delete"),
        }
    }

    /// The change with a word in `transcript.jsonl`.
    pub fn from_name(name: &str) -> Change {
        match name {
            "update" => Change::Update,
            "delete" => Change::Delete,
            _ => Change::New,
        }
    }
}

/// Zoom's number of a language, possibly unknown to us; see
/// [`Language`](crate::protocol::Language::from_number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LanguageId(pub i64);
