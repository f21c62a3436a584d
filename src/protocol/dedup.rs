//! Drops phrases that Zoom sends again after a reconnect.
//!
//! A phrase that agrees in speaker, stamps and text with one of the last [`PHRASES_MAX`] is a
//! repetition; people do not say the same thing twice in the same millisecond.

use std::hash::{DefaultHasher, Hash, Hasher};

use memchr::memchr_iter;

use crate::domain::id::Id;
use crate::domain::phrase::{Change, Phrase};

/// Phrases remembered: some minutes of a lively meeting, more than two kilobytes.
pub const PHRASES_MAX: usize = 256;

/// The last phrases of a stream, as digests.
#[derive(Debug, Clone, Default)]
pub struct RecentPhrases {
    digests: Vec<u64>,
    /// A byte of each, looked through first: the digests themselves would be a tenth of everything
    /// that is done with a phrase of a flood.
    tags: Vec<u8>,
    /// Where the oldest is, once there are [`PHRASES_MAX`]; below that number always.
    oldest: usize,
    /// The highest stamp so far: what is stamped later was not there before.
    newest_ms: u64,
}

/// What makes a phrase the same phrase. A change of it that Zoom sends later is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhraseKey<'a> {
    /// Who spoke.
    pub user_id: &'a Id<'a>,
    /// In which channel of a call.
    pub channel_id: Option<&'a Id<'a>>,
    /// Begin, Unix milliseconds.
    pub start_ms: u64,
    /// End, Unix milliseconds.
    pub end_ms: u64,
    /// Stamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Whether it is a change of an older one.
    pub change: Change,
    /// What was said.
    pub text: &'a str,
}

impl<'a> PhraseKey<'a> {
    /// What identifies that phrase.
    pub fn new(phrase: &'a Phrase<'_>) -> PhraseKey<'a> {
        PhraseKey {
            user_id: &phrase.user_id,
            channel_id: phrase.channel_id.as_ref(),
            start_ms: phrase.start_ms,
            end_ms: phrase.end_ms,
            timestamp_ms: phrase.timestamp_ms,
            change: phrase.change,
            text: &phrase.text,
        }
    }
}

impl RecentPhrases {
    /// Remembers a phrase. `false` if it is among the last ones already.
    pub fn insert_if_new(&mut self, phrase: PhraseKey<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        phrase.hash(&mut hasher);
        let digest = hasher.finish();
        if phrase.timestamp_ms <= self.newest_ms && self.contains(digest) {
            return false;
        }
        self.newest_ms = self.newest_ms.max(phrase.timestamp_ms);
        if self.digests.len() < PHRASES_MAX {
            self.digests.push(digest);
            self.tags.push(digest as u8);
        } else {
            self.digests[self.oldest] = digest;
            self.tags[self.oldest] = digest as u8;
            self.oldest = (self.oldest + 1) % PHRASES_MAX;
        }
        true
    }

    fn contains(&self, digest: u64) -> bool {
        memchr_iter(digest as u8, &self.tags).any(|at| self.digests[at] == digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(start_ms: u64, text: &str) -> PhraseKey<'_> {
        PhraseKey {
            user_id: &Id::Number(1),
            channel_id: None,
            start_ms,
            end_ms: 9,
            timestamp_ms: 9,
            change: Change::New,
            text,
        }
    }

    #[test]
    fn a_repetition_is_found_and_a_similar_phrase_is_none() {
        let mut recent = RecentPhrases::default();
        assert!(recent.insert_if_new(phrase(1, "yes")));
        assert!(!recent.insert_if_new(phrase(1, "yes")));
        assert!(recent.insert_if_new(phrase(2, "yes")), "said again, later");
        assert!(recent.insert_if_new(phrase(1, "yes.")));
        assert!(recent.insert_if_new(PhraseKey {
            user_id: &Id::Number(2),
            ..phrase(1, "yes")
        }));
        assert!(recent.insert_if_new(PhraseKey {
            channel_id: Some(&Id::Number(2)),
            ..phrase(1, "yes")
        }));
        assert!(recent.insert_if_new(PhraseKey {
            change: Change::Update,
            ..phrase(1, "yes")
        }));
    }

    #[test]
    fn order_does_not_matter() {
        let mut recent = RecentPhrases::default();
        let stamped = |timestamp_ms| PhraseKey {
            timestamp_ms,
            ..phrase(1, "yes")
        };
        for stamp in [5, 3, 9, 0, 7] {
            assert!(recent.insert_if_new(stamped(stamp)), "{stamp} is new");
        }
        for stamp in [9, 0, 5, 7, 3] {
            assert!(!recent.insert_if_new(stamped(stamp)), "{stamp} was there");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = RecentPhrases::default();
        for n in 0..10 * PHRASES_MAX as u64 {
            assert!(recent.insert_if_new(phrase(n, "x")));
        }
        assert_eq!(
            (recent.digests.len(), recent.tags.len()),
            (PHRASES_MAX, PHRASES_MAX)
        );
        for n in 9 * PHRASES_MAX as u64..10 * PHRASES_MAX as u64 {
            assert!(
                !recent.insert_if_new(phrase(n, "x")),
                "{n} is among the last"
            );
        }
        assert!(recent.insert_if_new(phrase(9 * PHRASES_MAX as u64 - 1, "x")));
    }
}
