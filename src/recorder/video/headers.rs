//! Parsers for picture headers: sizes of JPEG, PNG and H.264, and conversion of H.264 to Annex B.

use std::borrow::Cow;

/// Width and height in pixels.
pub type Size = (u32, u32);

/// The size of a JPEG, from its frame header (ITU-T T.81, B.2.2).
pub fn jpeg_size(bytes: &[u8]) -> Option<Size> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let marker = *rest.get(1)?;
        if rest[0] != 0xff {
            return None;
        }
        // Fill bytes, and markers without content.
        if matches!(marker, 0xff | 0x01 | 0xd0..=0xd7) {
            let step = if marker == 0xff { 1 } else { 2 };
            rest = &rest[step..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        // C4, C8 and CC are in the range of frame headers but are none.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let number = |at: usize| {
                Some(u32::from(u16::from_be_bytes([
                    *rest.get(at)?,
                    *rest.get(at + 1)?,
                ])))
            };
            return Some((number(7)?, number(5)?));
        }
        rest = rest.get(2 + length.max(2)..)?;
    }
}

/// The size of a PNG, from its first chunk.
pub fn png_size(bytes: &[u8]) -> Option<Size> {
    let rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    if rest.get(4..8)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    Some((number(8)?, number(12)?))
}

/// Converts H.264 to Annex B: start codes are kept, lengths of four bytes are replaced by start
/// codes, a bare unit gets one.
pub fn annex_b(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1]) || bytes.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 4);
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        let Some((unit, after)) = tail
            .split_at_checked(length)
            .filter(|(unit, _)| !unit.is_empty())
        else {
            break;
        };
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(unit);
        rest = after;
    }
    if !rest.is_empty() {
        out.clear();
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(bytes);
    }
    Cow::Owned(out)
}

/// The size of a picture, if these Annex B bytes contain a sequence parameter set, and whether a
/// decoder can start with them.
pub fn h264_facts(bytes: &[u8]) -> (Option<Size>, bool) {
    let (mut size, mut is_key) = (None, false);
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(start_code) {
        at += found + 3;
        match bytes.get(at).map(|head| head & 31) {
            Some(5) => is_key = true,
            Some(7) => size = bytes.get(at + 1..).and_then(sps_size).or(size),
            _ => {}
        }
    }
    (size, is_key)
}

fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|three| three == [0, 0, 1])
}

/// Longest sequence parameter set that is parsed; real ones have a few dozen bytes.
const SPS_BYTES_MAX: usize = 512;

/// The size in a sequence parameter set without its first byte (ITU-T H.264, 7.3.2.1.1).
fn sps_size(bytes: &[u8]) -> Option<Size> {
    let bytes = &bytes[..bytes.len().min(SPS_BYTES_MAX)];
    let mut clean = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        clean.push(*byte);
    }
    let profile = *clean.first()?;
    let mut bits = Bits {
        bytes: &clean,
        at: 24,
    };
    bits.number()?;
    let mut chroma = 1;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma = bits.number()?;
        if chroma == 3 {
            bits.bit()?;
        }
        bits.number()?;
        bits.number()?;
        bits.bit()?;
        if bits.bit()? == 1 {
            for n in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.bit()? == 1 {
                    bits.scaling_list(if n < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.number()?;
    match bits.number()? {
        0 => {
            bits.number()?;
        }
        1 => {
            bits.bit()?;
            bits.number()?;
            bits.number()?;
            for _ in 0..bits.number()?.min(255) {
                bits.number()?;
            }
        }
        _ => {}
    }
    bits.number()?;
    bits.bit()?;
    let width = 16 * (bits.number()?.checked_add(1)?);
    let rows = bits.number()?.checked_add(1)?;
    let is_frame = bits.bit()?;
    let height = 16 * rows * (2 - is_frame);
    if is_frame == 0 {
        bits.bit()?;
    }
    bits.bit()?;
    let mut crop = [0; 4];
    if bits.bit()? == 1 {
        for side in &mut crop {
            *side = bits.number()?;
        }
    }
    let (across, down): (u32, u32) = match chroma {
        1 => (2, 2 * (2 - is_frame)),
        2 => (2, 2 - is_frame),
        _ => (1, 2 - is_frame),
    };
    let width = width.checked_sub(across.checked_mul(crop[0].checked_add(crop[1])?)?)?;
    let height = height.checked_sub(down.checked_mul(crop[2].checked_add(crop[3])?)?)?;
    Some((width, height))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// An Exp-Golomb number (ITU-T H.264, 9.1) of at most 17 bits.
    fn number(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 16 {
                return None;
            }
        }
        let mut value = 1;
        for _ in 0..zeros {
            value = value << 1 | self.bit()?;
        }
        Some(value - 1)
    }

    fn scaling_list(&mut self, size: usize) -> Option<()> {
        let (mut last, mut next) = (8_i32, 8_i32);
        for _ in 0..size {
            if next != 0 {
                let code = self.number()? as i32;
                let delta = if code % 2 == 1 {
                    (code + 1) / 2
                } else {
                    -(code / 2)
                };
                next = (last + delta + 256) % 256;
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packings_of_h264() {
        for (bytes, expected) in [
            (&[0, 0, 1, 9][..], &[0, 0, 1, 9][..]),
            (&[0, 0, 0, 1, 9], &[0, 0, 0, 1, 9]),
            (
                &[0, 0, 0, 2, 9, 8, 0, 0, 0, 1, 7],
                &[0, 0, 0, 1, 9, 8, 0, 0, 0, 1, 7],
            ),
            (&[0x65, 1, 2, 3, 4, 5], &[0, 0, 0, 1, 0x65, 1, 2, 3, 4, 5]),
            (&[0, 0, 0, 9, 9], &[0, 0, 0, 1, 0, 0, 0, 9, 9]),
            (&[9], &[0, 0, 0, 1, 9]),
            (&[], &[]),
        ] {
            assert_eq!(*annex_b(bytes), *expected);
        }
    }

    #[test]
    fn the_size_in_a_sequence_parameter_set() {
        let clip = include_bytes!("../../demo/media/clips/clip.h264");
        assert_eq!(h264_facts(clip), (Some((320, 180)), true));
        // Truncated or corrupted anywhere, it gives some size or none, and never panics.
        for end in 0..80 {
            let _ = h264_facts(&clip[..end]);
            let mut bent = clip[..80].to_vec();
            bent[end] ^= 0xff;
            let _ = h264_facts(&bent);
        }
    }

    #[test]
    fn sizes_of_stills() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend_from_slice(&[0, 0, 2, 0x80, 0, 0, 1, 0x68]);
        assert_eq!(png_size(&png), Some((640, 360)));
        assert_eq!(png_size(&png[..22]), None);
        let jpeg = [
            0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 1, 0xff, 0xc4, 0, 3, 1, 0xff, 0xff, 0xc0, 0, 11, 8, 1,
            0x68, 2, 0x80,
        ];
        assert_eq!(jpeg_size(&jpeg), Some((640, 360)));
        for end in 0..jpeg.len() {
            assert_eq!(jpeg_size(&jpeg[..end]), None);
        }
        assert_eq!(jpeg_size(&[0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0]), None);
    }
}
