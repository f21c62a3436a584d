//! A Matroska stream (RFC 9559): a video track and a subtitle track, each block with its time.
//!
//! It is written to a pipe, so it has no index, and one cluster for each block.

use std::io::{self, Write};

use super::recording::VideoCodec;

/// The tracks' numbers.
const PICTURES: u8 = 1;
const SUBTITLES: u8 = 2;

/// Writes an element: id, length, content.
fn element(out: &mut Vec<u8>, id: u32, content: &[u8]) {
    let id = id.to_be_bytes();
    let zeros = id.iter().take_while(|byte| **byte == 0).count();
    out.extend_from_slice(&id[zeros..]);
    // Lengths may be longer than they need to be: always eight bytes.
    out.extend_from_slice(&(1_u64 << 56 | content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
}

fn number(out: &mut Vec<u8>, id: u32, value: u64) {
    element(out, id, &value.to_be_bytes());
}

/// What comes before the first block.
pub(super) fn header(
    out: &mut impl Write,
    pictures: Option<(&VideoCodec, (u32, u32))>,
    has_subtitles: bool,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut head = Vec::new();
    element(&mut head, 0x4282, b"matroska");
    number(&mut head, 0x4287, 4);
    number(&mut head, 0x4285, 2);
    element(&mut bytes, 0x1a45_dfa3, &head);
    // The segment's length is not known.
    bytes.extend_from_slice(&[0x18, 0x53, 0x80, 0x67]);
    bytes.extend_from_slice(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let mut info = Vec::new();
    // Nanoseconds in a tick: times are milliseconds.
    number(&mut info, 0x2a_d7b1, 1_000_000);
    let by = concat!("rtmsd ", env!("CARGO_PKG_VERSION"));
    element(&mut info, 0x4d80, by.as_bytes());
    element(&mut info, 0x5741, by.as_bytes());
    element(&mut bytes, 0x1549_a966, &info);
    let mut tracks = Vec::new();
    if let Some((codec, size)) = pictures {
        let (codec, private) = match codec {
            VideoCodec::H264(sets) => ("V_MPEG4/ISO/AVC", sets.configuration()),
            VideoCodec::Jpg => ("V_MJPEG", Vec::new()),
            VideoCodec::Png => ("V_MS/VFW/FOURCC", bitmap_header(*b"MPNG", size)),
        };
        let mut video = Vec::new();
        number(&mut video, 0xb0, u64::from(size.0));
        number(&mut video, 0xba, u64::from(size.1));
        let mut entry = track(PICTURES, 1, codec, &private);
        element(&mut entry, 0xe0, &video);
        element(&mut tracks, 0xae, &entry);
    }
    if has_subtitles {
        element(
            &mut tracks,
            0xae,
            &track(SUBTITLES, 0x11, "S_TEXT/UTF8", &[]),
        );
    }
    element(&mut bytes, 0x1654_ae6b, &tracks);
    out.write_all(&bytes)
}

fn track(track: u8, kind: u64, codec: &str, private: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    number(&mut entry, 0xd7, u64::from(track));
    number(&mut entry, 0x73c5, u64::from(track));
    number(&mut entry, 0x83, kind);
    // No lacing; no language is claimed.
    number(&mut entry, 0x9c, 0);
    element(&mut entry, 0x22_b59c, b"und");
    element(&mut entry, 0x86, codec.as_bytes());
    if !private.is_empty() {
        element(&mut entry, 0x63a2, private);
    }
    entry
}

/// `BITMAPINFOHEADER`, which names a codec that Matroska has no name for.
fn bitmap_header(fourcc: [u8; 4], (width, height): (u32, u32)) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&40_u32.to_le_bytes());
    out.extend_from_slice(&width.to_le_bytes());
    out.extend_from_slice(&height.to_le_bytes());
    out.extend_from_slice(&[1, 0, 24, 0]);
    out.extend_from_slice(&fourcc);
    out.extend_from_slice(&[0; 20]);
    out
}

/// A frame, shown until the next one.
pub(super) fn frame(
    out: &mut impl Write,
    time_ms: u64,
    is_key: bool,
    data: &[u8],
) -> io::Result<()> {
    let mut head = Vec::with_capacity(48);
    // The content is written behind it, so that it is not copied.
    let block_bytes = 4 + data.len() as u64;
    head.extend_from_slice(&[0x1f, 0x43, 0xb6, 0x75]);
    head.extend_from_slice(&(1_u64 << 56 | (17 + 9 + block_bytes)).to_be_bytes());
    number(&mut head, 0xe7, time_ms);
    head.push(0xa3);
    head.extend_from_slice(&(1_u64 << 56 | block_bytes).to_be_bytes());
    head.extend_from_slice(&[0x80 | PICTURES, 0, 0, if is_key { 0x80 } else { 0 }]);
    out.write_all(&head)?;
    out.write_all(data)
}

/// A block that says how long it is shown: a subtitle, or the last frame.
fn timed(
    out: &mut impl Write,
    time_ms: u64,
    length_ms: u64,
    is_key: bool,
    block: &[u8],
) -> io::Result<()> {
    let mut group = Vec::new();
    element(&mut group, 0xa1, block);
    number(&mut group, 0x9b, length_ms);
    if !is_key {
        // Which block it refers to: any will do, it says that there is one.
        number(&mut group, 0xfb, u64::MAX);
    }
    let mut cluster = Vec::new();
    number(&mut cluster, 0xe7, time_ms);
    element(&mut cluster, 0xa0, &group);
    let mut bytes = Vec::new();
    element(&mut bytes, 0x1f43_b675, &cluster);
    out.write_all(&bytes)
}

/// The last frame. Without a length ffmpeg's `fps` filter would not show it at all.
pub(super) fn last_frame(
    out: &mut impl Write,
    time_ms: u64,
    length_ms: u64,
    is_key: bool,
    data: &[u8],
) -> io::Result<()> {
    let block = [&[0x80 | PICTURES, 0, 0, 0], data].concat();
    timed(out, time_ms, length_ms, is_key, &block)
}

/// A subtitle.
pub(super) fn subtitle(
    out: &mut impl Write,
    time_ms: u64,
    length_ms: u64,
    text: &str,
) -> io::Result<()> {
    let block = [&[0x80 | SUBTITLES, 0, 0, 0], text.as_bytes()].concat();
    timed(out, time_ms, length_ms, true, &block)
}
