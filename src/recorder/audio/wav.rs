//! WAV files with 16-bit linear PCM: header, repair, A-law expansion.
//!
//! G.711 A-law is expanded to linear samples without loss: then silence is zeros, and can be a hole
//! in the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of the header in bytes.
pub const HEADER_BYTES: u64 = 44;

/// Maximum bytes of samples in one file, because the sizes in the header have 32 bits.
pub const DATA_BYTES_MAX: u64 = 0xffff_f000;

/// The header of a file with `data_bytes` bytes of samples.
pub fn header(rate_hz: u32, channels: u16, data_bytes: u64) -> Vec<u8> {
    let data = u32::try_from(data_bytes).unwrap_or(u32::MAX - 36);
    let frame_bytes = 2 * channels;
    let mut head = Vec::with_capacity(HEADER_BYTES as usize);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(&data.saturating_add(36).to_le_bytes());
    head.extend_from_slice(b"WAVEfmt ");
    head.extend_from_slice(&16_u32.to_le_bytes());
    // 1 is linear PCM.
    head.extend_from_slice(&1_u16.to_le_bytes());
    head.extend_from_slice(&channels.to_le_bytes());
    head.extend_from_slice(&rate_hz.to_le_bytes());
    head.extend_from_slice(&(rate_hz * u32::from(frame_bytes)).to_le_bytes());
    head.extend_from_slice(&frame_bytes.to_le_bytes());
    head.extend_from_slice(&16_u16.to_le_bytes());
    head.extend_from_slice(b"data");
    head.extend_from_slice(&data.to_le_bytes());
    head
}

/// The header of a file whose end is not known yet: programs read on while there is more.
pub fn open_header(rate_hz: u32, channels: u16) -> Vec<u8> {
    let mut head = header(rate_hz, channels, 0);
    for at in [4, 40] {
        head[at..at + 4].fill(0xff);
    }
    head
}

/// Corrects the sizes in the header of a file that rtmsd wrote, and cuts off a torn sample. Other
/// files are not changed.
pub fn repair(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut found = [0; HEADER_BYTES as usize];
    if length < HEADER_BYTES {
        return Ok(());
    }
    file.read_exact_at(&mut found, 0)?;
    let rate_hz = u32::from_le_bytes([found[24], found[25], found[26], found[27]]);
    let channels = u16::from_le_bytes([found[22], found[23]]);
    let is_ours = rate_hz <= 48_000
        && matches!(channels, 1 | 2)
        && header(rate_hz, channels, 0)[8..40] == found[8..40];
    if !is_ours {
        return Ok(());
    }
    let frame_bytes = 2 * u64::from(channels);
    let data_bytes = (length - HEADER_BYTES) / frame_bytes * frame_bytes;
    if HEADER_BYTES + data_bytes < length {
        file.set_len(HEADER_BYTES + data_bytes)?;
    }
    let right = header(rate_hz, channels, data_bytes);
    if right != found {
        file.write_all_at(&right, 0)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Expands A-law bytes to little-endian samples (ITU-T G.711).
pub fn expand_alaw(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(
        bytes
            .iter()
            .flat_map(|b| ALAW[usize::from(*b)].to_le_bytes()),
    );
}

const ALAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = alaw_sample(n as u8);
        n += 1;
    }
    table
};

/// On the wire even bits are inverted; then follow a sign, three bits of exponent, four of
/// mantissa.
const fn alaw_sample(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let exponent = (bits >> 4) & 7;
    let step = ((bits & 15) as i16) << 4;
    let magnitude = match exponent {
        0 => step + 8,
        n => (step + 0x108) << (n - 1),
    };
    if bits & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_sizes() {
        let found = header(48_000, 2, 1000);
        assert_eq!(found.len() as u64, HEADER_BYTES);
        let number = |at: usize| u32::from_le_bytes(found[at..at + 4].try_into().expect("four"));
        assert_eq!((&found[..4], number(4)), (&b"RIFF"[..], 1036));
        assert_eq!(number(24), 48_000);
        assert_eq!(number(28), 192_000);
        assert_eq!(number(32), 4 | 16 << 16);
        assert_eq!(number(40), 1000);
    }

    #[test]
    fn an_old_header_is_repaired_and_other_files_are_not_touched() {
        let folder = crate::testing::scratch("wav-repair");
        let path = folder.join("x.wav");
        let old = header(8000, 2, 0);
        for (before, after) in [
            (
                [&old[..], &[1; 11]].concat(),
                [&header(8000, 2, 8)[..], &[1; 8]].concat(),
            ),
            (old.clone(), old.clone()),
            (vec![0; 60], vec![0; 60]),
            (vec![7; 20], vec![7; 20]),
        ] {
            std::fs::write(&path, before).expect("writable");
            repair(&path).expect("readable");
            assert_eq!(std::fs::read(&path).expect("readable"), after);
        }
    }

    #[test]
    fn alaw_by_the_standard() {
        // Values of the standard's table, scaled to 16 bits.
        for (byte, sample) in [
            (0xd5, 8),
            (0x55, -8),
            (0xaa, 32256),
            (0x2a, -32256),
            (0x80, 5504),
            (0x00, -5504),
        ] {
            assert_eq!(alaw_sample(byte), sample, "{byte:#x}");
        }
    }
}
