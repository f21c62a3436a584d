//! A phrase: a few words of one speaker, with their time.

use std::borrow::Cow;

use super::id::Id;

/// What one message 17 says. The decoder fills it, sinks receive it, the recorder writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phrase<'a> {
    /// Who spoke; names repeat and change, this does not within a session. [`Id::NOBODY`] where
    /// Zoom does not say, as in Contact Center, where the channel tells speakers apart.
    pub user_id: Id<'a>,
    /// The speaker's name; empty where Zoom does not say.
    pub user_name: Cow<'a, str>,
    /// The channel of a call (Phone, Contact Center).
    pub channel_id: Option<Id<'a>>,
    /// Begin of the phrase, Unix milliseconds.
    pub start_ms: u64,
    /// End of the phrase, Unix milliseconds; not before its begin.
    pub end_ms: u64,
    /// Stamp of the phrase, Unix milliseconds.
    pub timestamp_ms: u64,
    /// How exactly Zoom says when it was said.
    pub precision: Precision,
    /// Its language, where Zoom says.
    pub language: Option<LanguageId>,
    /// Whether it is new, or changes an older one.
    pub change: Change,
    /// What was said.
    pub text: Cow<'a, str>,
}

impl Phrase<'_> {
    /// Whether it says nothing: no words, and it takes none back.
    pub fn is_blank(&self) -> bool {
        self.change != Change::Delete && self.text.trim().is_empty()
    }

    /// The same without a copy of its texts.
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

/// How exactly the stamps of a phrase say when it was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// To the millisecond.
    #[default]
    Milliseconds,
    /// To the second.
    Seconds,
    /// Zoom does not say, or nothing that can be true: the stamps are the time of arrival.
    Arrival,
}

/// `attribute` of a phrase (RTMS media reference).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// 0 or 1, or a number that is not known: the phrase stands.
    #[default]
    New,
    /// 2: it replaces an older one.
    Update,
    /// 3: it takes an older one back.
    Delete,
}

impl Change {
    /// The change of Zoom's number.
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

    /// The change of a word in `transcript.jsonl`.
    pub fn from_name(name: &str) -> Change {
        match name {
            "update" => Change::Update,
            "delete" => Change::Delete,
            _ => Change::New,
        }
    }
}

/// Zoom's number of a language, known to us or not; see
/// [`Language`](crate::protocol::Language::from_number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LanguageId(pub i64);
