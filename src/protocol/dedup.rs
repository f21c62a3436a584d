//! Drops phrases that Zoom sends again after a reconnect.
//!
//! A phrase with the same speaker, timestamps and text as one of the last [`PHRASES_MAX`] is a
//! repeat, because nobody says the same words twice within a millisecond. Within a second that is
//! possible: a phrase with timestamps in whole seconds, or without any, counts as a repeat only
//! within a minute after a reconnect, and only once per phrase from before it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use memchr::memchr_iter;

use crate::domain::phrase::{Phrase, Precision};

/// Phrases remembered: some minutes of a lively meeting, just over two kilobytes.
pub const PHRASES_MAX: usize = 256;

/// How long after a reconnect Zoom may send again what it had sent before: it keeps 60 s of audio
/// for a disconnected client.
pub const REPLAY_MAX: Duration = Duration::from_secs(60);

/// Digests of the last phrases of a stream.
#[derive(Debug, Clone, Default)]
pub struct RecentPhrases {
    /// Digests of everything that identifies a phrase.
    digests: Vec<u64>,
    /// One byte of each digest, searched first: searching the digests themselves would be a tenth
    /// of the CPU time per phrase in a flood.
    tags: Vec<u8>,
    /// Digests without the timestamps.
    words: Vec<u32>,
    /// Whether the phrase was received before the last reconnect and not repeated since.
    may_repeat: Vec<bool>,
    /// Index of the oldest phrase, once there are [`PHRASES_MAX`]; before that always 0.
    oldest: usize,
    /// The highest timestamp so far: a phrase with a later one is new.
    newest_ms: u64,
    /// When the last media connection was accepted.
    reconnected: Option<Instant>,
}

/// Two digests of a phrase. A correction that Zoom sends later has another key.
struct PhraseKey {
    words: u32,
    all: u64,
}

impl PhraseKey {
    fn new(phrase: &Phrase<'_>) -> PhraseKey {
        let mut hasher = DefaultHasher::new();
        (&phrase.user_id, &phrase.channel_id, phrase.change).hash(&mut hasher);
        phrase.text.hash(&mut hasher);
        let words = hasher.finish() as u32;
        (phrase.start_ms, phrase.end_ms, phrase.timestamp_ms).hash(&mut hasher);
        PhraseKey {
            words,
            all: hasher.finish(),
        }
    }
}

impl RecentPhrases {
    /// A media connection that carries phrases was accepted: earlier phrases may be repeated.
    pub fn on_reconnect(&mut self, now: Instant) {
        self.may_repeat.fill(true);
        self.reconnected = Some(now);
    }

    /// Remembers a phrase. `false` if it is a repeat.
    pub fn insert_if_new(&mut self, now: Instant, phrase: &Phrase<'_>) -> bool {
        let key = PhraseKey::new(phrase);
        let is_repeat = match phrase.precision {
            Precision::Milliseconds => {
                phrase.timestamp_ms <= self.newest_ms && self.contains(key.all)
            }
            Precision::Seconds | Precision::Arrival => self.is_replay(now, phrase.precision, &key),
        };
        if !is_repeat {
            self.insert_key(&key, phrase.timestamp_ms);
        }
        !is_repeat
    }

    /// Remembers a phrase that an earlier process received.
    pub fn insert(&mut self, phrase: &Phrase<'_>) {
        self.insert_key(&PhraseKey::new(phrase), phrase.timestamp_ms);
    }

    fn insert_key(&mut self, key: &PhraseKey, timestamp_ms: u64) {
        self.newest_ms = self.newest_ms.max(timestamp_ms);
        if self.digests.len() < PHRASES_MAX {
            self.digests.push(key.all);
            self.tags.push(key.all as u8);
            self.words.push(key.words);
            self.may_repeat.push(false);
        } else {
            let at = self.oldest;
            self.digests[at] = key.all;
            self.tags[at] = key.all as u8;
            self.words[at] = key.words;
            self.may_repeat[at] = false;
            self.oldest = (at + 1) % PHRASES_MAX;
        }
    }

    fn contains(&self, digest: u64) -> bool {
        memchr_iter(digest as u8, &self.tags).any(|at| self.digests[at] == digest)
    }

    /// Whether a phrase without exact timestamps repeats one from before the last reconnect.
    fn is_replay(&mut self, now: Instant, precision: Precision, key: &PhraseKey) -> bool {
        let is_in_time = |then: Instant| now.saturating_duration_since(then) <= REPLAY_MAX;
        if !self.reconnected.is_some_and(is_in_time) {
            return false;
        }
        let is_same = |at: &usize| match precision {
            Precision::Arrival => self.words[*at] == key.words,
            _ => self.digests[*at] == key.all,
        };
        let mut old = (0..self.digests.len()).filter(|at| self.may_repeat[*at]);
        let Some(at) = old.find(is_same) else {
            return false;
        };
        self.may_repeat[at] = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Id;
    use crate::domain::phrase::Change;

    fn phrase(start_ms: u64, text: &str) -> Phrase<'_> {
        Phrase {
            user_id: Id::Number(1),
            user_name: "Ada".into(),
            channel_id: None,
            start_ms,
            end_ms: 9,
            timestamp_ms: 9,
            precision: Precision::Milliseconds,
            language: None,
            change: Change::New,
            text: text.into(),
        }
    }

    #[test]
    fn a_repeat_is_found_and_a_similar_phrase_is_new() {
        let mut recent = RecentPhrases::default();
        let now = Instant::now();
        let mut is_new = |phrase: Phrase<'_>| recent.insert_if_new(now, &phrase);
        assert!(is_new(phrase(1, "yes")));
        assert!(!is_new(phrase(1, "yes")));
        assert!(is_new(phrase(2, "yes")), "said again, later");
        assert!(is_new(phrase(1, "yes.")));
        assert!(is_new(Phrase {
            user_id: Id::Number(2),
            ..phrase(1, "yes")
        }));
        assert!(is_new(Phrase {
            channel_id: Some(Id::Number(2)),
            ..phrase(1, "yes")
        }));
        assert!(is_new(Phrase {
            change: Change::Update,
            ..phrase(1, "yes")
        }));
        assert!(!is_new(Phrase {
            user_name: "renamed".into(),
            ..phrase(1, "yes")
        }));
    }

    /// "Yes." … "Yes.", with timestamps in whole seconds or without any.
    #[test]
    fn without_exact_timestamps_a_phrase_is_a_repeat_only_after_a_reconnect() {
        for precision in [Precision::Seconds, Precision::Arrival] {
            let mut recent = RecentPhrases::default();
            let start = Instant::now();
            let mut arrived_ms = 1000;
            let mut say = |recent: &mut RecentPhrases, second: u64, text: &str| {
                arrived_ms += 1;
                let said = Phrase {
                    timestamp_ms: match precision {
                        Precision::Arrival => arrived_ms,
                        _ => 1000,
                    },
                    precision,
                    ..phrase(1000, text)
                };
                recent.insert_if_new(start + Duration::from_secs(second), &said)
            };
            for second in 0..3 {
                assert!(say(&mut recent, second, "Yes."), "{precision:?}");
            }
            recent.on_reconnect(start + Duration::from_secs(10));
            for expected in [false, false, false, true, true] {
                assert_eq!(say(&mut recent, 11, "Yes."), expected, "{precision:?}");
            }
            assert!(say(&mut recent, 11, "No."), "{precision:?}");
            recent.on_reconnect(start + Duration::from_secs(20));
            assert!(!say(&mut recent, 80, "No."), "{precision:?}");
            assert!(say(&mut recent, 81, "Yes."), "{precision:?}: too late");
        }
    }

    #[test]
    fn repeats_are_found_in_any_order() {
        let mut recent = RecentPhrases::default();
        let stamped = |timestamp_ms| Phrase {
            timestamp_ms,
            ..phrase(1, "yes")
        };
        let now = Instant::now();
        for stamp in [5, 3, 9, 0, 7] {
            assert!(recent.insert_if_new(now, &stamped(stamp)), "{stamp} is new");
        }
        for stamp in [9, 0, 5, 7, 3] {
            assert!(
                !recent.insert_if_new(now, &stamped(stamp)),
                "{stamp} was inserted"
            );
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = RecentPhrases::default();
        let now = Instant::now();
        for n in 0..10 * PHRASES_MAX as u64 {
            assert!(recent.insert_if_new(now, &phrase(n, "x")));
        }
        let lengths = (
            recent.digests.len(),
            recent.tags.len(),
            recent.words.len(),
            recent.may_repeat.len(),
        );
        assert_eq!(
            lengths,
            (PHRASES_MAX, PHRASES_MAX, PHRASES_MAX, PHRASES_MAX)
        );
        for n in 9 * PHRASES_MAX as u64..10 * PHRASES_MAX as u64 {
            assert!(
                !recent.insert_if_new(now, &phrase(n, "x")),
                "{n} is among the last"
            );
        }
        assert!(recent.insert_if_new(now, &phrase(9 * PHRASES_MAX as u64 - 1, "x")));
    }
}
