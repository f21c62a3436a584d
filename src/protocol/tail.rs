//! The tail of a stream: its last phrases as keyed digests, for the node that goes on with it.
//!
//! That node has none of the files here. With the tail it recognizes what Zoom sends again. The digests are
//! keyed, so that who reads them cannot test guesses; and unlike those in [`super::dedup`] they are the same in
//! every version of the program.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::dedup::REPLAY_MAX;
use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::id::Id;
use crate::domain::phrase::{Change, Phrase, Precision};
use crate::domain::secret::Secret;

/// Number of phrases: as many as are said in the seconds that a take-over lasts.
pub const TAIL_PHRASES: usize = 32;

const DIGEST_BYTES: usize = 8;

/// Signs nothing else.
const PURPOSE: &[u8] = b"rtmsd tail 1\0";

/// The last phrases of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The highest timestamp, Unix milliseconds.
    newest_ms: u64,
    /// The oldest first.
    digests: Vec<u64>,
}

impl Tail {
    /// The highest timestamp, Unix milliseconds; 0 without a phrase.
    pub fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Number of phrases.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Packed: the highest timestamp, and then the digests; each in eight bytes, big endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all = std::iter::once(&self.newest_ms).chain(&self.digests);
        all.flat_map(|number| number.to_be_bytes()).collect()
    }

    /// Unpacks it; `None` if it is none. Further digests are dropped.
    pub fn from_bytes(bytes: &[u8]) -> Option<Tail> {
        let (numbers, rest) = bytes.as_chunks::<DIGEST_BYTES>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let newest_ms = numbers.next().filter(|_| rest.is_empty())?;
        let digests = numbers.take(TAIL_PHRASES).collect();
        Some(Tail { newest_ms, digests })
    }
}

/// The digest of everything that identifies a phrase. One without exact times is identified by what remains of
/// them: where the times are those of arrival, another node has others.
fn digest(key: &Secret, phrase: &Phrase<'_>) -> u64 {
    let times = match phrase.precision {
        Precision::Arrival => [0; 3],
        Precision::Milliseconds | Precision::Seconds => {
            [phrase.start_ms, phrase.end_ms, phrase.timestamp_ms]
        }
    };
    let [start, end, stamp] = times.map(u64::to_be_bytes);
    let change = match phrase.change {
        Change::New => b'n',
        Change::Update => b'u',
        Change::Delete => b'd',
    };
    let exactness = match phrase.precision {
        Precision::Milliseconds => b'm',
        Precision::Seconds => b's',
        Precision::Arrival => b'a',
    };
    let user = id_bytes(Some(&phrase.user_id));
    let channel = id_bytes(phrase.channel_id.as_ref());
    let text = phrase.text.as_bytes();
    // Each part has its length in front, so that two phrases never look alike.
    let lengths =
        [user.len(), channel.len(), text.len()].map(|length| (length as u64).to_be_bytes());
    let parts: [&[u8]; 10] = [
        PURPOSE,
        &[change, exactness],
        &start,
        &end,
        &stamp,
        lengths.as_flattened(),
        &user,
        &channel,
        text,
        &[],
    ];
    let code = hmac_sha256(key.expose().as_bytes(), &parts);
    let (first, _) = code.as_chunks::<DIGEST_BYTES>();
    u64::from_be_bytes(first[0])
}

fn id_bytes(id: Option<&Id<'_>>) -> Vec<u8> {
    match id {
        None => Vec::new(),
        Some(Id::Number(number)) => [&b"#"[..], &number.to_be_bytes()].concat(),
        Some(Id::Text(text)) => [b"t", text.as_bytes()].concat(),
    }
}

/// Where a stream keeps its tail. Its thread writes, others read at any time, and neither waits.
#[derive(Debug)]
pub struct TailRing {
    key: Secret,
    newest_ms: AtomicU64,
    digests: [AtomicU64; TAIL_PHRASES],
    /// Phrases so far.
    count: AtomicU64,
}

impl TailRing {
    /// An empty one, with the key of its digests.
    pub fn new(key: Secret) -> TailRing {
        TailRing {
            key,
            newest_ms: AtomicU64::new(0),
            digests: Default::default(),
            count: AtomicU64::new(0),
        }
    }

    /// Adds a phrase that is kept. Only one thread calls this.
    pub fn add(&self, phrase: &Phrase<'_>) {
        let count = self.count.load(Ordering::Relaxed);
        let place = count as usize % TAIL_PHRASES;
        self.digests[place].store(digest(&self.key, phrase), Ordering::Release);
        self.newest_ms
            .fetch_max(phrase.timestamp_ms, Ordering::Release);
        self.count.store(count + 1, Ordering::Release);
    }

    /// Phrases so far: if it is the same as before, so is the tail.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The tail. A phrase that is added meanwhile is in it, or is not; it may take the place of the oldest.
    pub fn snapshot(&self) -> Tail {
        let count = self.count() as usize;
        let first = count.saturating_sub(TAIL_PHRASES);
        let places = (first..count).map(|n| n % TAIL_PHRASES);
        Tail {
            digests: places
                .map(|at| self.digests[at].load(Ordering::Acquire))
                .collect(),
            newest_ms: self.newest_ms.load(Ordering::Acquire),
        }
    }
}

/// The tail of the node that had the stream before, while Zoom may send its phrases again.
#[derive(Debug)]
pub struct Predecessor {
    key: Secret,
    tail: Tail,
    /// When the first connection that carries phrases was accepted.
    since: Option<Instant>,
}

impl Predecessor {
    /// With the key of the digests.
    pub fn new(key: Secret, tail: Tail) -> Predecessor {
        let since = None;
        Predecessor { key, tail, since }
    }

    /// A connection that carries phrases was accepted.
    pub fn on_connect(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether Zoom repeats nothing any more.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_long_ago = |since| now.saturating_duration_since(since) > REPLAY_MAX;
        self.tail.is_empty() || self.since.is_some_and(is_long_ago)
    }

    /// Whether the former node had this phrase. Where times are not exact, as many alike are found as it had.
    pub fn has(&mut self, phrase: &Phrase<'_>) -> bool {
        let is_exact = phrase.precision == Precision::Milliseconds;
        if is_exact && phrase.timestamp_ms > self.tail.newest_ms {
            return false;
        }
        let digest = digest(&self.key, phrase);
        let place = self.tail.digests.iter().position(|known| *known == digest);
        if let Some(place) = place.filter(|_| !is_exact) {
            self.tail.digests.remove(place);
        }
        place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> Secret {
        Secret::new("key of the tails")
    }

    fn phrase(n: u64, text: &str) -> Phrase<'_> {
        Phrase {
            user_id: Id::Number(7),
            user_name: "Ada".into(),
            channel_id: None,
            start_ms: n,
            end_ms: n + 1,
            timestamp_ms: n + 2,
            precision: Precision::Milliseconds,
            language: None,
            change: Change::New,
            text: text.into(),
        }
    }

    fn after(phrases: &[Phrase<'_>]) -> Predecessor {
        let ring = TailRing::new(key());
        phrases.iter().for_each(|phrase| ring.add(phrase));
        let packed = ring.snapshot().to_bytes();
        Predecessor::new(key(), Tail::from_bytes(&packed).expect("ours"))
    }

    /// They are compared between versions of the program: they must not change.
    #[test]
    fn digests_are_the_same_in_every_version() {
        let of = |phrase: &Phrase<'_>| format!("{:016x}", digest(&key(), phrase));
        assert_eq!(of(&phrase(1_767_000_000_000, "yes")), "da8fab5c193b9f48");
        let other = Phrase {
            user_id: Id::Text("a".into()),
            channel_id: Some(Id::Number(2)),
            precision: Precision::Arrival,
            change: Change::Update,
            ..phrase(1_767_000_000_000, "ja 日本")
        };
        assert_eq!(of(&other), "6a856f8e05ab4008");
    }

    #[test]
    fn everything_that_identifies_a_phrase_is_in_its_digest() {
        let said = phrase(5, "yes");
        let user_id = Id::Text("7".into());
        let channel_id = Some(Id::Number(7));
        let variants = [
            phrase(6, "yes"),
            phrase(5, "yes."),
            Phrase {
                user_id: Id::Number(8),
                ..said.clone()
            },
            Phrase {
                user_id,
                ..said.clone()
            },
            Phrase {
                channel_id,
                ..said.clone()
            },
            Phrase {
                start_ms: 4,
                ..said.clone()
            },
            Phrase {
                end_ms: 7,
                ..said.clone()
            },
            Phrase {
                timestamp_ms: 6,
                ..said.clone()
            },
            Phrase {
                change: Change::Update,
                ..said.clone()
            },
            Phrase {
                change: Change::Delete,
                ..said.clone()
            },
            Phrase {
                precision: Precision::Seconds,
                ..said.clone()
            },
        ];
        let digests: std::collections::BTreeSet<u64> = variants
            .iter()
            .chain([&said])
            .map(|phrase| digest(&key(), phrase))
            .collect();
        assert_eq!(digests.len(), 12);
        let renamed = Phrase {
            user_name: "Bea".into(),
            ..said.clone()
        };
        assert_eq!(digest(&key(), &renamed), digest(&key(), &said));
        assert_ne!(
            digest(&Secret::new("another"), &said),
            digest(&key(), &said)
        );
    }

    #[test]
    fn the_last_phrases_are_kept() {
        let ring = TailRing::new(key());
        assert!(ring.snapshot().is_empty());
        assert_eq!(ring.snapshot().to_bytes(), [0; 8]);
        for n in 0..40 {
            assert_eq!(ring.count(), n);
            ring.add(&phrase(n, "yes"));
        }
        let tail = ring.snapshot();
        assert_eq!((tail.len(), tail.newest_ms()), (TAIL_PHRASES, 41));
        let oldest_first: Vec<u64> = (8..40).map(|n| digest(&key(), &phrase(n, "yes"))).collect();
        assert_eq!(tail.digests, oldest_first);
        let packed = tail.to_bytes();
        assert_eq!(packed.len(), 264);
        assert_eq!(Tail::from_bytes(&packed), Some(tail.clone()));
        let longer = [packed.as_slice(), &[1; 80]].concat();
        assert_eq!(Tail::from_bytes(&longer), Some(tail));
        assert_eq!(Tail::from_bytes(&packed[..263]), None);
        assert_eq!(Tail::from_bytes(&[]), None);
    }

    #[test]
    fn repeats_are_recognized_for_a_minute() {
        let said: Vec<Phrase<'_>> = (0..40).map(|n| phrase(n, "yes")).collect();
        let mut before = after(&said);
        for phrase in &said[8..] {
            assert!(before.has(phrase) && before.has(phrase), "{phrase:?}");
        }
        assert!(!before.has(&said[7]), "further back than the tail");
        assert!(!before.has(&phrase(20, "no")));
        assert!(!before.has(&phrase(41, "yes")));
        let now = Instant::now();
        assert!(
            !before.is_over(now + Duration::from_secs(3600)),
            "not connected yet"
        );
        before.on_connect(now);
        before.on_connect(now + REPLAY_MAX);
        assert!(!before.is_over(now + REPLAY_MAX));
        assert!(before.is_over(now + REPLAY_MAX + Duration::from_millis(1)));
        assert!(after(&[]).is_over(now));
    }

    #[test]
    fn without_exact_times_as_many_are_repeats_as_there_were() {
        for precision in [Precision::Seconds, Precision::Arrival] {
            let said = |n| Phrase {
                precision,
                // Those of another arrival, or of the same second.
                timestamp_ms: if precision == Precision::Arrival {
                    n
                } else {
                    9000
                },
                ..phrase(9000, "Yes.")
            };
            let mut before = after(&[said(1), said(2)]);
            let found: Vec<bool> = (50..54).map(|n| before.has(&said(n))).collect();
            assert_eq!(found, [true, true, false, false], "{precision:?}");
        }
    }
}
