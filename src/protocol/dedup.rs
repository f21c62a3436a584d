//! Drops phrases that Zoom sends again after a reconnect.
//!
//! A phrase with the same speaker, timestamps and text as one of the last [`REMEMBERED`] is a repeat,
//! because no person says the same words twice within a millisecond. Within a second that is possible: a
//! phrase with timestamps in whole seconds, or without any, counts as a repeat only within a minute
//! after a reconnect, and only once per phrase from before it.
//!
//! What is remembered is bounded by time, because so is what Zoom repeats: a fixed number of phrases
//! is too small for a burst and too large for a quiet meeting.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::domain::phrase::{Phrase, Precision};

/// How long after a reconnect Zoom may send again what it had sent before: it keeps 60 s of audio
/// for a disconnected client.
pub const REPLAY_MAX: Duration = Duration::from_secs(60);

/// Phrases are remembered until their timestamp is this much older than the newest: what was said in
/// the minute before a loss is repeated up to a minute later.
pub const REMEMBERED: Duration = Duration::from_secs(120);

/// Phrases remembered however old they are: timestamps may be wrong.
const PHRASES_MIN: usize = 64;

/// Maximum phrases remembered, whatever their timestamps are: 34 a second, which is more than a
/// meeting with all its corrections has. Then they take 112 KiB.
pub const PHRASES_MAX: usize = 4096;

/// Digests of the last phrases of a stream.
#[derive(Debug, Clone, Default)]
pub struct RecentPhrases {
    /// The oldest first.
    phrases: VecDeque<Remembered>,
    /// Number of the newest phrase in each bucket. In a flood, a search through all phrases would be
    /// a tenth of the CPU time per phrase.
    newest: Vec<u32>,
    /// Phrases so far; the newest has this number.
    count: u32,
    /// The highest timestamp so far: a phrase with a later one is new.
    newest_ms: u64,
    /// When the last media connection was accepted.
    reconnected: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    /// Digest of everything that identifies the phrase.
    all: u64,
    /// Digest without the timestamps.
    words: u32,
    /// Its timestamp, Unix seconds.
    stamp_s: u32,
    /// How many phrases before it the next older one of its bucket is; 0 for none.
    back: u16,
    /// Whether it was received before the last reconnect and not repeated since.
    may_repeat: bool,
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
        for phrase in &mut self.phrases {
            phrase.may_repeat = true;
        }
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

    /// The highest timestamp, Unix milliseconds; 0 without a phrase.
    pub fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Whether phrases from before all of these would not be remembered.
    pub fn is_complete(&self) -> bool {
        self.count as usize > self.phrases.len()
    }

    fn insert_key(&mut self, key: &PhraseKey, timestamp_ms: u64) {
        self.newest_ms = self.newest_ms.max(timestamp_ms);
        while self.phrases.len() >= PHRASES_MIN && self.is_oldest_unneeded() {
            self.phrases.pop_front();
        }
        self.count = self.count.wrapping_add(1);
        self.phrases.push_back(Remembered {
            all: key.all,
            words: key.words,
            stamp_s: seconds(timestamp_ms),
            back: 0,
            may_repeat: false,
        });
        let length = self.phrases.len();
        if length > self.newest.len() {
            let buckets = (2 * length).next_power_of_two();
            self.newest = vec![0; buckets.max(PHRASES_MIN / 4)];
            (0..length).for_each(|at| self.index(at));
        } else {
            self.index(length - 1);
        }
    }

    fn is_oldest_unneeded(&self) -> bool {
        let is_old = |oldest: &Remembered| {
            let age_s = seconds(self.newest_ms).saturating_sub(oldest.stamp_s);
            u64::from(age_s) > REMEMBERED.as_secs()
        };
        self.phrases.len() >= PHRASES_MAX || self.phrases.front().is_some_and(is_old)
    }

    /// Makes the phrase at this place the newest of its bucket.
    fn index(&mut self, at: usize) {
        let bucket = self.bucket(self.phrases[at].all);
        let behind = self.phrases.len() - 1 - at;
        let number = self.count.wrapping_sub(behind as u32);
        let back = number.wrapping_sub(self.newest[bucket]) as usize;
        // One that is not remembered any more, or none.
        self.phrases[at].back = if back > at { 0 } else { back as u16 };
        self.newest[bucket] = number;
    }

    fn bucket(&self, digest: u64) -> usize {
        // Their number is a power of two.
        digest as usize & (self.newest.len() - 1)
    }

    fn contains(&self, digest: u64) -> bool {
        if self.phrases.is_empty() {
            return false;
        }
        let newest = self.newest[self.bucket(digest)];
        let mut back = self.count.wrapping_sub(newest) as usize + 1;
        let mut at = self.phrases.len();
        while back > 0 && back <= at {
            at -= back;
            let phrase = &self.phrases[at];
            if phrase.all == digest {
                return true;
            }
            back = phrase.back.into();
        }
        false
    }

    /// Whether a phrase without exact timestamps repeats one from before the last reconnect.
    fn is_replay(&mut self, now: Instant, precision: Precision, key: &PhraseKey) -> bool {
        let is_in_time = |then: Instant| now.saturating_duration_since(then) <= REPLAY_MAX;
        if !self.reconnected.is_some_and(is_in_time) {
            return false;
        }
        let is_same = |phrase: &&mut Remembered| match precision {
            Precision::Arrival => phrase.words == key.words,
            _ => phrase.all == key.all,
        };
        let mut old = self.phrases.iter_mut().filter(|phrase| phrase.may_repeat);
        let Some(phrase) = old.find(is_same) else {
            return false;
        };
        phrase.may_repeat = false;
        true
    }
}

/// Whole seconds. A timestamp behind the year 2106 counts as the last one before it.
fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
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

    /// Everybody speaks at once, or a machine that stalled catches up: Zoom repeats more than usual.
    #[test]
    fn a_burst_is_remembered_for_two_minutes() {
        let mut recent = RecentPhrases::default();
        let now = Instant::now();
        let at = |n: u64| Phrase {
            timestamp_ms: 1_767_000_000_000 + n * 50,
            ..phrase(n, "yes")
        };
        // 2,400 phrases in two minutes.
        for n in 0..2400 {
            assert!(recent.insert_if_new(now, &at(n)), "{n} is new");
        }
        recent.on_reconnect(now);
        for n in 0..2400 {
            assert!(!recent.insert_if_new(now, &at(n)), "{n} was there");
        }
        // A quiet hour later little is left of it.
        for n in 0..300 {
            let later = 1_000_000 + n * 60;
            assert!(recent.insert_if_new(now, &at(later)), "{n} is new");
            assert!(!recent.insert_if_new(now, &at(later)), "{n} was there");
        }
        assert!(recent.phrases.len() < 64 + 64, "{}", recent.phrases.len());
    }

    #[test]
    fn whatever_comes_the_index_finds_what_is_remembered() {
        let mut recent = RecentPhrases::default();
        let now = Instant::now();
        let mut state = 7_u64;
        // Numbers begin again.
        recent.count = u32::MAX - 3000;
        for n in 0..20_000_u64 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(n | 1);
            let stamp_ms = 1_767_000_000_000 + n * 20 + (state >> 33) % 90_000;
            let new = Phrase {
                timestamp_ms: stamp_ms,
                ..phrase(n, "x")
            };
            assert!(recent.insert_if_new(now, &new));
            let place = (state >> 20) as usize % recent.phrases.len();
            let digest = recent.phrases[place].all;
            assert!(
                recent.contains(digest),
                "{place} of {}",
                recent.phrases.len()
            );
            assert!(!recent.contains(digest ^ 1));
        }
        assert!(recent.phrases.len() <= PHRASES_MAX);
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = RecentPhrases::default();
        let now = Instant::now();
        for n in 0..10 * PHRASES_MAX as u64 {
            assert!(recent.insert_if_new(now, &phrase(n, "x")));
        }
        assert_eq!(recent.phrases.len(), PHRASES_MAX);
        let bytes = recent.phrases.capacity() * size_of::<Remembered>()
            + recent.newest.capacity() * size_of::<u32>();
        assert!(bytes <= 112 << 10, "{bytes} bytes");
        for n in 9 * PHRASES_MAX as u64..10 * PHRASES_MAX as u64 {
            assert!(
                !recent.insert_if_new(now, &phrase(n, "x")),
                "{n} is among the last"
            );
        }
        assert!(recent.insert_if_new(now, &phrase(9 * PHRASES_MAX as u64 - 1, "x")));
    }
}
