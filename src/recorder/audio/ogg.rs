//! Ogg Opus (RFC 3533, RFC 7845, RFC 6716): writing pages, and resuming a file.
//!
//! Only whole pages are written, so a file can be played at any time. A torn page at the end is cut
//! off when the file is resumed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Samples per second of every Opus stream's clock, whatever rate was encoded.
pub const RATE_HZ: u32 = 48_000;

/// 20 ms of silence, mono and stereo: CELT at full band, with a frame that decodes to nothing.
const SILENCE_MONO: [u8; 3] = [0xf8, 0xff, 0xfe];
const SILENCE_STEREO: [u8; 3] = [0xfc, 0xff, 0xfe];
/// Samples in a packet of silence.
pub const SILENCE_SAMPLES: u64 = 960;

/// Maximum segments per page; a segment has up to 255 bytes.
const SEGMENTS_MAX: usize = 255;

/// Longest packet that is accepted: 120 ms at the highest bit rate take less than half of it.
pub const PACKET_BYTES_MAX: usize = 16 << 10;

/// Upper bound of a page's length.
const PAGE_BYTES_MAX: u64 = 27 + 255 + 255 * 255;

const BEGIN: u8 = 2;
const END: u8 = 4;

/// The position in a stream of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    serial: u32,
    /// The number of the next page.
    sequence: u32,
    /// Samples up to and including the last packet.
    pub samples: u64,
}

/// The packets of the next page.
#[derive(Debug, Default)]
pub struct Page {
    segments: Vec<u8>,
    body: Vec<u8>,
}

impl Pages {
    /// A new stream with the given serial number.
    pub fn new(serial: u32) -> Pages {
        Pages {
            serial,
            sequence: 0,
            samples: 0,
        }
    }

    /// Writes the two header pages that start every file.
    pub fn begin(&mut self, out: &mut Vec<u8>, channels: u8) {
        let mut head = b"OpusHead\x01".to_vec();
        // Pre-skip 0: the file may start in the middle of a stream, and its time must match the
        // packets.
        head.extend_from_slice(&[channels, 0, 0]);
        head.extend_from_slice(&RATE_HZ.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        let vendor = concat!("rtmsd ", env!("CARGO_PKG_VERSION")).as_bytes();
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&0_u32.to_le_bytes());
        for (flags, body) in [(BEGIN, head), (0, tags)] {
            let mut page = Page {
                segments: vec![body.len() as u8],
                body,
            };
            self.page(out, &mut page, flags);
        }
    }

    /// Adds a packet of `samples` samples to the page, and writes the page if it is full.
    pub fn packet(&mut self, out: &mut Vec<u8>, page: &mut Page, packet: &[u8], samples: u64) {
        let segments = packet.len() / 255 + 1;
        if page.segments.len() + segments > SEGMENTS_MAX {
            self.page(out, page, 0);
        }
        page.segments.extend(std::iter::repeat_n(255, segments - 1));
        page.segments.push((packet.len() % 255) as u8);
        page.body.extend_from_slice(packet);
        self.samples += samples;
    }

    /// Adds silence: `samples` rounded down to whole packets of silence.
    pub fn silence(&mut self, out: &mut Vec<u8>, page: &mut Page, samples: u64, channels: u8) {
        let packet = match channels {
            2 => SILENCE_STEREO,
            _ => SILENCE_MONO,
        };
        for _ in 0..samples / SILENCE_SAMPLES {
            self.packet(out, page, &packet, SILENCE_SAMPLES);
        }
    }

    /// Writes the page if it contains a packet.
    pub fn flush(&mut self, out: &mut Vec<u8>, page: &mut Page) {
        if !page.segments.is_empty() {
            self.page(out, page, 0);
        }
    }

    /// The page that ends a stream.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.page(out, &mut Page::default(), END);
    }

    fn page(&mut self, out: &mut Vec<u8>, page: &mut Page, flags: u8) {
        let from = out.len();
        out.extend_from_slice(b"OggS\0");
        out.push(flags);
        out.extend_from_slice(&self.samples.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(page.segments.len() as u8);
        out.extend_from_slice(&page.segments);
        out.extend_from_slice(&page.body);
        let sum = checksum(&out[from..]);
        out[from + 22..from + 26].copy_from_slice(&sum.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        page.segments.clear();
        page.body.clear();
    }
}

/// Finds the last whole page of a file: the position there, and the file's length up to it. A page
/// that marks the end is skipped, so that the stream can be continued. `None` if there is no whole
/// page.
pub fn resume(file: &mut File) -> io::Result<Option<(Pages, u64)>> {
    let length = file.metadata()?.len();
    // The last page may be torn, and the page before it may have the maximum length.
    let from = length.saturating_sub(3 * PAGE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length - from).read_to_end(&mut bytes)?;
    let starts = (0..bytes.len())
        .rev()
        .filter(|at| bytes[*at..].starts_with(b"OggS"));
    for at in starts {
        let Some(page) = whole_page(&bytes[at..]) else {
            continue;
        };
        if page[5] & END != 0 {
            continue;
        }
        let number = |at: usize| {
            page.get(at..at + 4)
                .and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?)))
        };
        let samples = page
            .get(6..14)
            .and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?)));
        let (Some(samples), Some(serial), Some(sequence)) = (samples, number(14), number(18))
        else {
            continue;
        };
        let pages = Pages {
            serial,
            sequence: sequence.wrapping_add(1),
            samples,
        };
        return Ok(Some((pages, from + (at + page.len()) as u64)));
    }
    Ok(None)
}

fn whole_page(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*bytes.get(26)?);
    let segments = bytes.get(27..27 + count)?;
    let body: usize = segments.iter().map(|n| usize::from(*n)).sum();
    let page = bytes.get(..27 + count + body)?;
    let expected = u32::from_le_bytes(page.get(22..26)?.try_into().ok()?);
    let mut clean = page.to_vec();
    clean[22..26].fill(0);
    (checksum(&clean) == expected).then_some(page)
}

/// Number of samples that a packet decodes to, at 48 kHz (RFC 6716, section 3); `None` for a
/// malformed packet.
pub fn packet_samples(packet: &[u8]) -> Option<u64> {
    let toc = *packet.first()?;
    if packet.len() > PACKET_BYTES_MAX {
        return None;
    }
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..=15 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 63),
    };
    let samples = frame * frames;
    // A packet has at most 120 ms.
    (1..=5760).contains(&samples).then_some(samples)
}

/// CRC-32 with polynomial 04c11db7, neither reflected nor inverted (RFC 3533, section 6).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, b| {
        (sum << 8) ^ SUMS[usize::from((sum >> 24) as u8 ^ b)]
    })
}

const SUMS: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut sum = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum << 1)
                ^ if sum & 0x8000_0000 != 0 {
                    0x04c1_1db7
                } else {
                    0
                };
            bit += 1;
        }
        table[n] = sum;
        n += 1;
    }
    table
};

#[cfg(test)]
pub(in crate::recorder) mod tests {
    use super::*;
    use crate::testing::scratch;

    /// Every page of a file: flags, samples, sequence, packets. Panics at malformed bytes.
    pub(in crate::recorder) fn pages(mut bytes: &[u8]) -> Vec<(u8, u64, u32, Vec<Vec<u8>>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let page = whole_page(bytes).expect("a whole page");
            bytes = &bytes[page.len()..];
            let count = usize::from(page[26]);
            let (mut packets, mut packet) = (Vec::new(), Vec::new());
            let mut at = 27 + count;
            for n in &page[27..27 + count] {
                packet.extend_from_slice(&page[at..at + usize::from(*n)]);
                at += usize::from(*n);
                if *n < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
            assert!(packet.is_empty(), "packets end where pages do");
            let samples = u64::from_le_bytes(page[6..14].try_into().expect("eight"));
            let sequence = u32::from_le_bytes(page[18..22].try_into().expect("four"));
            found.push((page[5], samples, sequence, packets));
        }
        found
    }

    #[test]
    fn durations_by_the_standard() {
        for (packet, samples) in [
            (&[0xf8, 0xff, 0xfe][..], Some(960)),
            (&[0x00], Some(480)),
            (&[0x18], Some(2880)),
            (&[0x61], Some(960)),
            (&[0x83, 48], Some(5760)),
            (&[0x83, 49], None),
            (&[0x83, 0], None),
            (&[0x83], None),
            (&[], None),
        ] {
            assert_eq!(packet_samples(packet), samples, "{packet:?}");
        }
        assert_eq!(packet_samples(&vec![0; PACKET_BYTES_MAX + 1]), None);
    }

    #[test]
    fn the_checksum_has_the_catalogue_value() {
        // Check value of this CRC for "123456789" in the catalogue of CRCs (CRC-32/MPEG-2 differs
        // only in its initial value).
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn packets_of_every_length_come_back() {
        let mut out = Vec::new();
        let mut stream = Pages::new(7);
        let mut page = Page::default();
        stream.begin(&mut out, 1);
        let lengths = [1, 254, 255, 256, 510, 5000, PACKET_BYTES_MAX];
        for _ in 0..30 {
            for length in lengths {
                stream.packet(&mut out, &mut page, &vec![3; length], 960);
            }
        }
        stream.flush(&mut out, &mut page);
        stream.end(&mut out);
        let found = pages(&out);
        assert_eq!(found[0].0, BEGIN);
        assert!(found[0].3[0].starts_with(b"OpusHead"));
        assert_eq!(found.last().map(|page| page.0), Some(END));
        let sequences: Vec<u32> = found.iter().map(|page| page.2).collect();
        assert_eq!(sequences, (0..found.len() as u32).collect::<Vec<_>>());
        let packets: Vec<usize> = found[2..]
            .iter()
            .flat_map(|page| page.3.iter().map(Vec::len))
            .collect();
        assert_eq!(packets, lengths.repeat(30));
        assert_eq!(found.last().map(|page| page.1), Some(30 * 7 * 960));
    }

    #[test]
    fn a_torn_file_is_resumed_after_its_last_whole_page() {
        let scratch = scratch("ogg-torn");
        let path = scratch.join("x.opus");
        let mut out = Vec::new();
        let mut stream = Pages::new(7);
        let mut page = Page::default();
        stream.begin(&mut out, 1);
        stream.packet(&mut out, &mut page, &[0xf8, 1], 960);
        stream.flush(&mut out, &mut page);
        let whole = out.len() as u64;
        let before = stream;
        // An ended stream is resumed before its end page, and a torn page is ignored.
        stream.end(&mut out);
        for torn in [vec![], b"OggS\0".to_vec(), vec![0; 70_000]] {
            std::fs::write(&path, [out.clone(), torn].concat()).expect("writable");
            let mut file = File::open(&path).expect("readable");
            let found = resume(&mut file).expect("readable");
            assert_eq!(found, Some((before, whole)));
        }
        std::fs::write(&path, b"OggS without a page").expect("writable");
        let mut file = File::open(&path).expect("readable");
        assert_eq!(resume(&mut file).expect("readable"), None);
    }
}
