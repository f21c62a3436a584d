//! Lists of records become one: each list keeps its own order, records of several lists are ordered by
//! time, and what stands in two lists is taken once.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::HashMap;

/// A digest of what makes two records the same.
pub type Identity = [u8; 16];

/// A record of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its timestamp, Unix milliseconds; 0 if it has none.
    pub stamp_ms: u64,
    /// What makes another one the same.
    pub identity: Identity,
    /// Its text, as it stands in the file, without the line break.
    pub text: Vec<u8>,
}

/// The records of several lists, the earlier list first where two have the same time.
///
/// If a list has a record twice, as when a person says "yes" twice in a second, it was received twice: a record
/// comes as often as in the list that has it most often.
#[derive(Debug)]
pub struct Union<I, E> {
    lists: Vec<List<I, E>>,
    /// How often each record came already.
    given: HashMap<Identity, u32>,
    repeated: u64,
}

#[derive(Debug)]
struct List<I, E> {
    records: I,
    next: Option<Result<Record, E>>,
    /// The latest time so far: a record with an earlier one keeps its place in the list.
    stamp_ms: u64,
    /// How often each record stood in it so far.
    seen: HashMap<Identity, u32>,
}

impl<I: Iterator<Item = Result<Record, E>>, E> Union<I, E> {
    /// Of these lists, the first epoch's first.
    pub fn of(lists: impl IntoIterator<Item = I>) -> Union<I, E> {
        let lists = lists.into_iter().map(|records| {
            let mut list = List {
                records,
                next: None,
                stamp_ms: 0,
                seen: HashMap::new(),
            };
            list.advance();
            list
        });
        Union {
            lists: lists.collect(),
            given: HashMap::new(),
            repeated: 0,
        }
    }

    /// How many records were left out so far, because another list had them.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

impl<I: Iterator<Item = Result<Record, E>>, E> Iterator for Union<I, E> {
    type Item = Result<Record, E>;

    fn next(&mut self) -> Option<Result<Record, E>> {
        loop {
            let waiting = self.lists.iter_mut().filter(|list| list.next.is_some());
            // Of several with the same time this is the first.
            let list = waiting.min_by_key(|list| list.stamp_ms)?;
            let record = match list.next.take()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            list.advance();
            let seen = list.seen.entry(record.identity).or_default();
            *seen += 1;
            let given = self.given.entry(record.identity).or_default();
            if *seen > *given {
                *given += 1;
                return Some(Ok(record));
            }
            self.repeated += 1;
        }
    }
}

impl<I: Iterator<Item = Result<Record, E>>, E> List<I, E> {
    fn advance(&mut self) {
        self.next = self.records.next();
        if let Some(Ok(next)) = &self.next {
            self.stamp_ms = self.stamp_ms.max(next.stamp_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::domain::split_mix::SplitMix;

    fn record(stamp_ms: u64, text: &str) -> Record {
        let mut identity = Identity::default();
        identity[..8].copy_from_slice(&stamp_ms.to_be_bytes());
        let bytes = text.as_bytes();
        identity[8..8 + bytes.len()].copy_from_slice(bytes);
        Record {
            stamp_ms,
            identity,
            text: bytes.to_vec(),
        }
    }

    /// The records of these lists in order, and how many were left out.
    fn union(lists: &[Vec<Record>]) -> (Vec<Record>, u64) {
        let lists = lists.iter().cloned();
        let lists = lists.map(|list| list.into_iter().map(Ok::<_, Infallible>));
        let mut union = Union::of(lists);
        let found = union.by_ref().map(|Ok(record)| record).collect();
        (found, union.repeated())
    }

    fn texts(records: &[Record]) -> Vec<String> {
        let text = |it: &Record| String::from_utf8_lossy(&it.text).into_owned();
        records.iter().map(text).collect()
    }

    #[test]
    fn the_second_of_a_death_stands_once() {
        let first = vec![record(1, "a"), record(2, "b"), record(3, "c")];
        let second = vec![record(2, "b"), record(3, "c"), record(4, "d")];
        let (found, repeated) = union(&[first, second]);
        assert_eq!(texts(&found), ["a", "b", "c", "d"]);
        assert_eq!(repeated, 2);
    }

    #[test]
    fn what_one_node_received_twice_stays_twice() {
        let yes = record(1, "yes");
        let twice = vec![yes.clone(), yes.clone()];
        for lists in [
            vec![twice.clone(), vec![yes.clone()]],
            vec![vec![yes.clone()], twice.clone()],
            vec![twice.clone(), twice.clone()],
        ] {
            assert_eq!(union(&lists).0.len(), 2);
        }
        assert_eq!(union(&[vec![yes.clone()], vec![yes]]).0.len(), 1);
    }

    #[test]
    fn a_node_that_had_the_stream_before_and_after_is_in_order_of_time() {
        let before_and_after = vec![record(1, "a"), record(2, "b"), record(5, "e")];
        let between = vec![record(3, "c"), record(4, "d")];
        let (found, _) = union(&[before_and_after, between]);
        assert_eq!(texts(&found), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_list_keeps_its_order_whatever_its_stamps_are() {
        let late = vec![record(9, "late"), record(1, "early"), record(0, "none")];
        let (found, _) = union(&[late, vec![record(5, "other")]]);
        assert_eq!(texts(&found), ["other", "late", "early", "none"]);
        // Without stamps one list follows the other.
        let lists = ["a", "b"].map(|text| vec![record(0, text), record(0, "end")]);
        assert_eq!(texts(&union(&lists).0), ["a", "end", "b"]);
        assert_eq!(union(&[]), (Vec::new(), 0));
    }

    /// A meeting is spread over epochs at random places, with overlaps of random length: the union is the
    /// meeting.
    #[test]
    fn the_union_of_random_splits_is_exact() {
        for seed in 0..2_000 {
            let mut random = SplitMix::new(seed);
            let mut below = |n: u64| random.next() % n;
            let mut stamp_ms = 0;
            let count = below(200);
            let whole: Vec<Record> = (0..count)
                .map(|n| {
                    // Some have the same time.
                    stamp_ms += below(4) * 100;
                    record(stamp_ms, &n.to_string())
                })
                .collect();
            let epochs = 1 + below(5) as usize;
            let mut cuts: Vec<usize> = (1..epochs)
                .map(|_| below(whole.len() as u64 + 1) as usize)
                .collect();
            cuts.sort_unstable();
            let ends = cuts.into_iter().chain([whole.len()]);
            let (mut from, mut overlaps) = (0, 0);
            let lists: Vec<Vec<Record>> = ends
                .map(|end| {
                    let overlap = below(8).min(from as u64);
                    overlaps += overlap;
                    let list = whole[from - overlap as usize..end].to_vec();
                    from = end;
                    list
                })
                .collect();
            let (found, repeated) = union(&lists);
            assert_eq!(texts(&found), texts(&whole), "seed {seed}");
            assert_eq!(repeated, overlaps, "seed {seed}");
        }
    }
}
