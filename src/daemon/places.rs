//! `RTMS_STREAMS_MAX`: how many streams of one account may run at one time, and which wait for a place.
//!
//! A stream that finds no place is tried again when one of its account ends, while Zoom waits for it.
//! Streams whose account Zoom does not say count as those of one account.

use std::collections::HashMap;

/// An account, if it is known.
type Account = Option<String>;

/// What has become of streams that found no place. The numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Streams that found no place.
    pub refused: u64,
    /// Of these, streams that got one later.
    pub started: u64,
    /// Of these, streams that got none while Zoom waited.
    pub given_up: u64,
}

/// The places of all accounts.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Streams that run.
    running: HashMap<Account, usize>,
    /// Streams that wait: their accounts, and how many were refused before.
    waiting: HashMap<String, (Account, u64)>,
    counts: PlaceCounts,
}

impl Places {
    /// Whether a stream of this account may begin.
    pub(super) fn has_one(&self, account: &Account, max: Option<usize>) -> bool {
        let running = self.running.get(account).copied().unwrap_or(0);
        max.is_none_or(|max| running < max)
    }

    /// A stream begins.
    pub(super) fn begins(&mut self, stream_id: &str, account: &Account) {
        *self.running.entry(account.clone()).or_default() += 1;
        if self.waiting.remove(stream_id).is_some() {
            self.counts.started += 1;
        }
    }

    /// A running stream has ended.
    pub(super) fn ends(&mut self, account: &Account) {
        if let Some(running) = self.running.get_mut(account) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(account);
            }
        }
    }

    /// A stream found no place. Whether that is the first time.
    pub(super) fn refuse(&mut self, stream_id: &str, account: &Account) -> bool {
        if self.is_waiting(stream_id) {
            return false;
        }
        let turn = self.counts.refused;
        let waits = (account.clone(), turn);
        self.waiting.insert(stream_id.to_owned(), waits);
        self.counts.refused += 1;
        true
    }

    /// A waiting stream is not tried again.
    pub(super) fn give_up(&mut self, stream_id: &str) {
        if self.waiting.remove(stream_id).is_some() {
            self.counts.given_up += 1;
        }
    }

    /// Whether it waits for a place.
    pub(super) fn is_waiting(&self, stream_id: &str) -> bool {
        self.waiting.contains_key(stream_id)
    }

    /// Whether it waits for a place of this account.
    pub(super) fn is_waiting_for(&self, stream_id: &str, account: &Account) -> bool {
        let waiting = self.waiting.get(stream_id);
        waiting.is_some_and(|(found, _)| found == account)
    }

    /// The order in which waiting streams are tried; others come first.
    pub(super) fn turn(&self, stream_id: &str) -> Option<u64> {
        self.waiting.get(stream_id).map(|(_, turn)| *turn)
    }

    /// No stream waits any more.
    pub(super) fn clear(&mut self) {
        self.counts.given_up += self.waiting.len() as u64;
        self.waiting.clear();
    }

    pub(super) fn counts(&self) -> PlaceCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_so_many_places() {
        let (a, b, unknown) = (Some("a".to_owned()), Some("b".to_owned()), None);
        let mut places = Places::default();
        for id in ["1", "2"] {
            assert!(places.has_one(&a, Some(2)), "{id}");
            places.begins(id, &a);
        }
        assert!(!places.has_one(&a, Some(2)) && places.has_one(&a, None));
        assert!(places.has_one(&b, Some(2)) && places.has_one(&unknown, Some(2)));
        assert!(places.refuse("3", &a) && !places.refuse("3", &a));
        assert!(places.is_waiting_for("3", &a) && !places.is_waiting_for("3", &b));
        places.ends(&a);
        assert!(places.has_one(&a, Some(2)));
        places.begins("3", &a);
        assert!(!places.is_waiting("3") && !places.has_one(&a, Some(2)));
        assert!(places.refuse("4", &a));
        assert_eq!((places.turn("4"), places.turn("3")), (Some(1), None));
        places.give_up("4");
        places.give_up("4");
        assert!(places.refuse("5", &a));
        places.clear();
        let expected = PlaceCounts {
            refused: 3,
            started: 1,
            given_up: 2,
        };
        assert_eq!(places.counts(), expected);
        // A limit that was lowered ends nothing.
        assert!(!places.has_one(&a, Some(1)));
        places.ends(&a);
        places.ends(&a);
        places.ends(&a);
        assert!(places.has_one(&a, Some(1)));
    }
}
