//! Conversion of H.264 from Annex B to what Matroska holds: units with their lengths, and parameter
//! sets apart (ITU-T H.264, Annex B; ISO/IEC 14496-15).

use memchr::memmem;

/// The first sequence and picture parameter sets of a stream, without start codes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    pub sequence: Vec<u8>,
    pub picture: Vec<u8>,
}

const SLICE: u8 = 1;
const KEY_SLICE: u8 = 5;
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;

fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |head| head & 31)
}

/// The units of a piece of Annex B, without start codes.
pub(super) fn units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const CODE: &[u8] = &[0, 0, 1];
    let first = memmem::find(bytes, CODE).map_or(bytes.len(), |at| at + CODE.len());
    let mut rest = &bytes[first..];
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (unit, after) = match memmem::find(rest, CODE) {
                Some(at) => (&rest[..at], &rest[at + CODE.len()..]),
                None => (rest, &[][..]),
            };
            rest = after;
            // Zeros before a start code belong to it; a unit ends in a one.
            let length = unit
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            if length > 0 {
                return Some(&unit[..length]);
            }
        }
        None
    })
}

impl ParameterSets {
    /// Stores the parameter sets in a frame; returns whether it has a sequence parameter set.
    pub(super) fn update(&mut self, bytes: &[u8]) -> bool {
        let mut is_updated = false;
        for unit in units(bytes) {
            match kind(unit) {
                SEQUENCE => {
                    unit.clone_into(&mut self.sequence);
                    is_updated = true;
                }
                PICTURE => unit.clone_into(&mut self.picture),
                _ => {}
            }
        }
        is_updated
    }

    pub(super) fn is_complete(&self) -> bool {
        self.sequence.len() >= 4 && !self.picture.is_empty()
    }

    /// `AVCDecoderConfigurationRecord`, for units with lengths of four bytes.
    pub(super) fn configuration(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&self.sequence[1..4]);
        out.extend_from_slice(&[0xff, 0xe1]);
        for (count, set) in [(None, &self.sequence), (Some(1), &self.picture)] {
            out.extend(count);
            out.extend_from_slice(&(set.len() as u16).to_be_bytes());
            out.extend_from_slice(set);
        }
        out
    }

    /// Appends both as units with lengths, for a key frame that has none.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        push(out, &self.sequence);
        push(out, &self.picture);
    }
}

/// Appends a unit with its length.
fn push(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
    out.extend_from_slice(unit);
}

/// What a piece of Annex B contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// The first slice of a picture.
    Begin,
    /// Further slices of the same picture.
    More,
    /// No slice: it belongs to the next picture.
    Ahead,
}

/// Appends a piece of Annex B as units with lengths.
pub(super) fn convert(out: &mut Vec<u8>, bytes: &[u8]) -> Piece {
    let mut piece = Piece::Ahead;
    for unit in units(bytes) {
        if piece == Piece::Ahead && matches!(kind(unit), SLICE | KEY_SLICE) {
            // A slice begins with the number of its first macroblock; 0 is a single bit, set.
            piece = match unit.get(1).is_some_and(|byte| byte & 0x80 != 0) {
                true => Piece::Begin,
                false => Piece::More,
            };
        }
        push(out, unit);
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_end_where_the_next_begins() {
        let check = |bytes: &[u8], expected: &[&[u8]]| {
            assert_eq!(units(bytes).collect::<Vec<_>>(), expected, "{bytes:?}");
        };
        check(
            &[0, 0, 0, 1, 9, 16, 0, 0, 1, 0x65, 7],
            &[&[9, 16], &[0x65, 7]],
        );
        check(&[0, 0, 1, 9, 0, 0, 0, 0, 1, 5, 0, 0], &[&[9], &[5]]);
        check(&[0, 0, 1, 0, 0, 1, 8], &[&[8]]);
        check(&[1, 2, 3], &[]);
        check(&[], &[]);
        check(&[0, 0, 1], &[]);
    }

    #[test]
    fn what_a_piece_is() {
        let mut out = Vec::new();
        assert_eq!(
            convert(&mut out, &[0, 0, 1, 7, 1, 0, 0, 1, 8, 2]),
            Piece::Ahead
        );
        assert_eq!(out, [0, 0, 0, 2, 7, 1, 0, 0, 0, 2, 8, 2]);
        assert_eq!(
            convert(&mut out, &[0, 0, 1, 9, 1, 0, 0, 1, 0x65, 0x88]),
            Piece::Begin
        );
        assert_eq!(convert(&mut out, &[0, 0, 1, 0x41, 0x40, 1]), Piece::More);
    }

    #[test]
    fn the_configuration_of_a_clip() {
        let mut sets = ParameterSets::default();
        assert!(!sets.is_complete());
        assert!(sets.update(include_bytes!("../../demo/media/clips/clip.h264")));
        assert!(sets.is_complete());
        let record = sets.configuration();
        assert_eq!(
            record[..6],
            [
                1,
                sets.sequence[1],
                sets.sequence[2],
                sets.sequence[3],
                0xff,
                0xe1
            ]
        );
        assert_eq!(record.len(), 11 + sets.sequence.len() + sets.picture.len());
    }
}
