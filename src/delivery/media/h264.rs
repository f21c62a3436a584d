//! Where a decoder can begin with H.264: at a frame with an IDR slice, parameter sets in front (ITU-T
//! H.264, 7.4.1.2.1).
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use memchr::memmem;

const IDR: u8 = 5;
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;
const START_CODE: &[u8] = &[0, 0, 1];
/// Sets that are longer are not kept; real ones have a few dozen bytes.
const SET_BYTES_MAX: usize = 4 << 10;
/// Of each sort, so many bytes with start codes; a stream may have several.
const SETS_BYTES_MAX: usize = 16 << 10;

/// The newest parameter sets, each with a start code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    sequence: Vec<u8>,
    picture: Vec<u8>,
}

/// What a frame is for a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It needs those before it.
    None,
    /// A decoder can begin with it, if these sets are put in front.
    WithSets,
    /// A decoder can begin with it as it is.
    Whole,
}

impl ParameterSets {
    /// Looks at a frame with start codes, and keeps its sets.
    pub fn entry(&mut self, frame: &[u8]) -> Entry {
        let (mut has_idr, mut has_sequence, mut has_picture) = (false, false, false);
        for unit in units(frame) {
            match unit.first().map(|head| head & 31) {
                Some(IDR) => has_idr = true,
                Some(SEQUENCE) => {
                    keep(&mut self.sequence, unit, has_sequence);
                    has_sequence = true;
                }
                Some(PICTURE) => {
                    keep(&mut self.picture, unit, has_picture);
                    has_picture = true;
                }
                _ => {}
            }
        }
        match (has_idr, has_sequence && has_picture) {
            (true, true) => Entry::Whole,
            (true, false) if !self.sequence.is_empty() && !self.picture.is_empty() => {
                Entry::WithSets
            }
            _ => Entry::None,
        }
    }

    /// The frame with these sets in front.
    pub fn in_front_of(&self, frame: &[u8]) -> Vec<u8> {
        [&self.sequence, &self.picture, frame].concat()
    }
}

/// Keeps a set; the first one of a frame replaces those of earlier frames.
fn keep(sets: &mut Vec<u8>, unit: &[u8], is_further: bool) {
    if unit.len() > SET_BYTES_MAX {
        return;
    }
    if !is_further {
        sets.clear();
    }
    let code = [0, 0, 0, 1];
    if sets.len() + code.len() + unit.len() <= SETS_BYTES_MAX {
        sets.extend_from_slice(&code);
        sets.extend_from_slice(unit);
    }
}

/// The units of a frame, without start codes and the zeros before them.
fn units(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = memmem::find(frame, START_CODE).map_or(frame.len(), |at| at + START_CODE.len());
    let mut rest = frame.get(first..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (unit, after) = match memmem::find(rest, START_CODE) {
            Some(at) => (&rest[..at], &rest[at + START_CODE.len()..]),
            None => (rest, &[][..]),
        };
        rest = after;
        let end = unit.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        Some(&unit[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of units with these first bytes, with start codes of both lengths.
    fn frame(kinds: &[u8]) -> Vec<u8> {
        let unit = |(at, kind): (usize, &u8)| {
            let code: &[u8] = if at % 2 == 0 {
                &[0, 0, 0, 1]
            } else {
                &[0, 0, 1]
            };
            [code, &[*kind | 0x60, 0x80 | at as u8]].concat()
        };
        kinds.iter().enumerate().flat_map(unit).collect()
    }

    #[test]
    fn m2_a_decoder_begins_at_an_idr_with_parameter_sets_in_front() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.entry(&frame(&[9, 1])), Entry::None);
        assert_eq!(sets.entry(&frame(&[5])), Entry::None, "no sets are known");
        assert_eq!(sets.entry(&frame(&[7])), Entry::None);
        assert_eq!(sets.entry(&frame(&[5])), Entry::None, "one is missing");
        assert_eq!(sets.entry(&frame(&[7, 8])), Entry::None, "sets alone");
        assert_eq!(sets.entry(&frame(&[9, 5, 5])), Entry::WithSets);
        let idr = frame(&[5]);
        let whole = sets.in_front_of(&idr);
        assert!(whole.ends_with(&idr));
        assert_eq!(ParameterSets::default().entry(&whole), Entry::Whole);
        assert_eq!(sets.entry(&frame(&[9, 7, 8, 6, 5])), Entry::Whole);
        assert_eq!(sets.entry(&frame(&[1])), Entry::None);
    }

    #[test]
    fn m2_what_is_kept_of_parameter_sets_is_bounded() {
        let mut sets = ParameterSets::default();
        for _ in 0..3 {
            let many: Vec<u8> = [7, 8].repeat(10_000);
            sets.entry(&frame(&many));
            let long = [&frame(&[7])[..], &[1; 5000]].concat();
            sets.entry(&long);
        }
        assert!(sets.sequence.len() <= SETS_BYTES_MAX && sets.picture.len() <= SETS_BYTES_MAX);
        for garbage in [&[][..], &[0, 0, 1], &[0, 0, 1, 0, 0, 1, 0, 0], &[5; 40]] {
            assert_eq!(ParameterSets::default().entry(garbage), Entry::None);
        }
    }
}
