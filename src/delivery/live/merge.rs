//! The lines of several journals in the order of their positions.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use memchr::memchr;

use crate::feed::line::POS_RANGE;

/// Merges journals of which each is filled again when it is empty.
#[derive(Debug, Default)]
pub struct Merge {
    sources: Vec<Source>,
    /// The position of the next line of each source that has one.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Source {
    /// Whole lines, each with its line break.
    bytes: Vec<u8>,
    at: usize,
}

/// The line with the lowest position was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its position.
    pub pos: u64,
    /// Its source, if that is empty now and has to be filled before the next line is taken.
    pub empty: Option<usize>,
}

impl Merge {
    /// Adds an empty source; its number.
    pub fn add(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.sources.push(Source::default());
            self.sources.len() - 1
        })
    }

    /// Fills an empty source with whole lines, of so many bytes together. Without lines it has nothing
    /// for now.
    pub fn fill<'a>(&mut self, number: usize, bytes: usize, lines: impl Iterator<Item = &'a [u8]>) {
        let Some(source) = self.sources.get_mut(number) else {
            return;
        };
        source.bytes.clear();
        source.at = 0;
        // Thousands of these make up what catching up needs.
        if bytes > source.bytes.capacity() || bytes < source.bytes.capacity() / 4 {
            source.bytes = Vec::with_capacity(bytes);
        }
        for line in lines {
            source.bytes.extend_from_slice(line);
            source.bytes.push(b'\n');
        }
        if let Some(pos) = source.pos() {
            self.next.push(Reverse((pos, number)));
        }
    }

    /// Removes an empty source.
    pub fn remove(&mut self, number: usize) {
        if let Some(source) = self.sources.get_mut(number) {
            *source = Source::default();
            self.free.push(number);
        }
    }

    /// The lowest position of a line that is there.
    pub fn next_pos(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((pos, _))| *pos)
    }

    /// Appends the line with the lowest position.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Option<Taken> {
        let Reverse((pos, number)) = self.next.pop()?;
        let source = self.sources.get_mut(number)?;
        let rest = source.bytes.get(source.at..).unwrap_or_default();
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        out.extend_from_slice(&rest[..end]);
        source.at += end;
        let empty = match source.pos() {
            Some(next) => {
                self.next.push(Reverse((next, number)));
                None
            }
            None => Some(number),
        };
        Some(Taken { pos, empty })
    }

    /// Memory use, in bytes.
    pub fn held_bytes(&self) -> usize {
        let sources = self.sources.iter();
        let bytes: usize = sources.map(|source| source.bytes.capacity()).sum();
        bytes + self.sources.capacity() * size_of::<Source>()
    }
}

impl Source {
    /// The position of the next line.
    fn pos(&self) -> Option<u64> {
        let digits = self.bytes.get(self.at..)?.get(POS_RANGE)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::tests::line;
    use super::*;
    use crate::feed::kind;
    use crate::feed::line::Line;

    #[test]
    fn l1_the_lowest_position_is_first_whichever_journal_it_is_in() {
        // Journals 1 to 5 in turn: position p is in journal p % 5 + 1.
        let all: Vec<Vec<u8>> = (0..5)
            .map(|n| {
                let own = (100..200).filter(|pos| pos % 5 == n);
                own.flat_map(|pos| line(n + 1, pos, pos, kind::CHAT_MESSAGE))
                    .collect()
            })
            .collect();
        let lines = |n: usize| all[n].split_inclusive(|b| *b == b'\n');
        let mut given = [0; 5];
        let mut merge = Merge::default();
        let fill = |merge: &mut Merge, given: &mut [usize; 5], n: usize| {
            let next: Vec<&[u8]> = lines(n).skip(given[n]).take(n + 1).collect();
            given[n] += next.len();
            let bytes = next.iter().map(|line| line.len()).sum();
            let next = next.into_iter();
            merge.fill(
                n,
                bytes,
                next.map(|line| line.strip_suffix(b"\n").unwrap_or(line)),
            );
        };
        for n in 0..5 {
            assert_eq!(merge.add(), n);
            fill(&mut merge, &mut given, n);
        }
        let (mut out, mut found) = (Vec::new(), Vec::new());
        while let Some(expected) = merge.next_pos() {
            let taken = merge.take(&mut out).expect("a line");
            assert_eq!(taken.pos, expected);
            found.push(taken.pos);
            if let Some(n) = taken.empty {
                fill(&mut merge, &mut given, n);
            }
        }
        assert_eq!(found, (100..200).collect::<Vec<u64>>());
        let parsed = out.split(|b| *b == b'\n').filter_map(Line::parse);
        assert_eq!(parsed.map(|line| line.pos).collect::<Vec<u64>>(), found);
        merge.remove(2);
        assert_eq!(merge.add(), 2);
        assert_eq!(merge.take(&mut out), None);
    }
}
