//! What was received twice is taken once.
//!
//! After a reconnection Zoom may send again what it had sent before. A phrase that agrees in
//! speaker, stamps and text with one of the last [`PHRASES_MAX`] is a repetition; people do not say
//! the same thing twice in the same millisecond.

use std::hash::{DefaultHasher, Hash, Hasher};

use memchr::memchr_iter;

use super::message::Transcript;

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

/// What makes a phrase the same phrase. A word said about it later (`attribute`) is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhraseKey<'a> {
    /// Who.
    pub user_id: u64,
    /// Begin, Unix milliseconds.
    pub start_ms: u64,
    /// End, Unix milliseconds.
    pub end_ms: u64,
    /// Stamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Whether it is an update (2) or a deletion (3), else 0.
    pub change: i64,
    /// What was said.
    pub text: &'a str,
}

impl<'a> From<&'a Transcript<'_>> for PhraseKey<'a> {
    fn from(phrase: &'a Transcript<'_>) -> PhraseKey<'a> {
        PhraseKey {
            user_id: phrase.user_id,
            start_ms: phrase.start_ms,
            end_ms: phrase.end_ms,
            timestamp_ms: phrase.timestamp_ms,
            change: if matches!(phrase.attribute, 2 | 3) {
                phrase.attribute
            } else {
                0
            },
            text: &phrase.text,
        }
    }
}

impl RecentPhrases {
    /// Whether this phrase is among the last ones; if not, it is now.
    pub fn is_repeat(&mut self, phrase: PhraseKey<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        phrase.hash(&mut hasher);
        let digest = hasher.finish();
        if phrase.timestamp_ms <= self.newest_ms && self.has(digest) {
            return true;
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
        false
    }

    fn has(&self, digest: u64) -> bool {
        memchr_iter(digest as u8, &self.tags).any(|at| self.digests[at] == digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(start_ms: u64, text: &str) -> PhraseKey<'_> {
        PhraseKey {
            user_id: 1,
            start_ms,
            end_ms: 9,
            timestamp_ms: 9,
            change: 0,
            text,
        }
    }

    #[test]
    fn a_repetition_is_found_and_a_similar_phrase_is_none() {
        let mut seam = RecentPhrases::default();
        assert!(!seam.is_repeat(phrase(1, "yes")));
        assert!(seam.is_repeat(phrase(1, "yes")));
        assert!(!seam.is_repeat(phrase(2, "yes")), "said again, later");
        assert!(!seam.is_repeat(phrase(1, "yes.")));
        assert!(!seam.is_repeat(PhraseKey {
            user_id: 2,
            ..phrase(1, "yes")
        }));
        assert!(!seam.is_repeat(PhraseKey {
            change: 2,
            ..phrase(1, "yes")
        }));
    }

    #[test]
    fn order_does_not_matter() {
        let mut seam = RecentPhrases::default();
        let stamped = |timestamp_ms| PhraseKey {
            timestamp_ms,
            ..phrase(1, "yes")
        };
        for stamp in [5, 3, 9, 0, 7] {
            assert!(!seam.is_repeat(stamped(stamp)), "{stamp} is new");
        }
        for stamp in [9, 0, 5, 7, 3] {
            assert!(seam.is_repeat(stamped(stamp)), "{stamp} was there");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut seam = RecentPhrases::default();
        for n in 0..10 * PHRASES_MAX as u64 {
            assert!(!seam.is_repeat(phrase(n, "x")));
        }
        assert_eq!(
            (seam.digests.len(), seam.tags.len()),
            (PHRASES_MAX, PHRASES_MAX)
        );
        for n in 9 * PHRASES_MAX as u64..10 * PHRASES_MAX as u64 {
            assert!(seam.is_repeat(phrase(n, "x")), "{n} is among the last");
        }
        assert!(!seam.is_repeat(phrase(9 * PHRASES_MAX as u64 - 1, "x")));
    }
}
