//! A filter of WebSocket frames below tungstenite: it skips messages above a size limit, and passes
//! text as binary, so that the driver checks UTF-8.
//!
//! In tungstenite a frame above the limit is a permanent error, and so is text that is not UTF-8;
//! each would close the connection for one bad message. So the filter drops frames of too large
//! messages without buffering them, and changes text frames into binary ones.

use std::io::{self, Read, Write};

/// Longest header of an unmasked frame.
const HEADER_BYTES_MAX: usize = 10;

/// Maximum reads per call while everything is dropped; then the caller does other work.
const READS_MAX: usize = 64;

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FIRST_CONTROL: u8 = 8;

/// A connection that carries frames from a server to a client.
#[derive(Debug)]
pub(crate) struct FrameFilter<C> {
    carrier: C,
    limit: u64,
    /// The current header, as far as it was received.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// The part of `header` that did not fit into the reader's buffer.
    to_give: std::ops::Range<usize>,
    /// Remaining payload of the current frame, and whether it is dropped.
    payload_left: u64,
    is_dropped: bool,
    /// Payload bytes of the current message so far, and whether the rest of it is dropped.
    message_bytes: u64,
    drops_message: bool,
    skipped: Skipped,
}

/// Messages that were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// How many.
    pub(crate) count: u64,
    /// The size of the last one, as far as its frames announced it.
    pub(crate) bytes: u64,
}

impl<C> FrameFilter<C> {
    /// Skips messages of more than `limit` bytes.
    pub(crate) fn new(carrier: C, limit: usize) -> FrameFilter<C> {
        FrameFilter {
            carrier,
            limit: limit as u64,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            to_give: 0..0,
            payload_left: 0,
            is_dropped: false,
            message_bytes: 0,
            drops_message: false,
            skipped: Skipped::default(),
        }
    }

    pub(crate) fn carrier(&self) -> &C {
        &self.carrier
    }

    pub(crate) fn carrier_mut(&mut self) -> &mut C {
        &mut self.carrier
    }

    /// The messages skipped since the last call.
    pub(crate) fn take_skipped(&mut self) -> Skipped {
        std::mem::take(&mut self.skipped)
    }

    /// Length of the current header, as far as it is known.
    fn header_length(&self) -> usize {
        match (self.header_bytes, self.header[1] & 0x7f) {
            (0 | 1, _) | (_, 0..=125) => 2,
            (_, 126) => 4,
            _ => HEADER_BYTES_MAX,
        }
    }

    /// Adds a byte of a header. Returns whether the header is complete.
    fn take_header(&mut self, byte: u8) -> bool {
        self.header[self.header_bytes] = byte;
        self.header_bytes += 1;
        self.header_bytes == self.header_length()
    }

    /// Decides what to do with a complete header. Returns how much of `header` is passed on.
    fn judge_header(&mut self) -> usize {
        let length = std::mem::take(&mut self.header_bytes);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let bytes = match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            bytes => u64::from(bytes),
        };
        // A server must not mask; tungstenite reports it when it reads the header.
        let mask_bytes = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        self.payload_left = bytes.saturating_add(mask_bytes);
        self.is_dropped = false;
        let opcode = self.header[0] & 0x0f;
        if opcode >= FIRST_CONTROL {
            return length;
        }
        let is_final = self.header[0] & FINAL != 0;
        let is_first = opcode != CONTINUATION;
        if is_first {
            self.message_bytes = 0;
            self.drops_message = false;
        }
        self.message_bytes = self.message_bytes.saturating_add(bytes);
        let was_dropping = self.drops_message;
        if was_dropping || self.message_bytes > self.limit {
            self.is_dropped = true;
            self.drops_message = !is_final;
            if was_dropping {
                return 0;
            }
            self.skipped.count += 1;
            self.skipped.bytes = self.message_bytes;
            if is_first {
                return 0;
            }
            // Ends the part of the message that was passed on with an empty final frame; the result
            // is no JSON.
            self.header[..2].copy_from_slice(&[FINAL | CONTINUATION, 0]);
            return 2;
        }
        if opcode == TEXT {
            self.header[0] = self.header[0] & 0xf0 | BINARY;
        }
        length
    }

    /// Moves the bytes of `read..end` that are passed on to the front, and returns their number.
    /// Before `read` there is room for the held part of a header.
    fn sift(&mut self, out: &mut [u8], mut read: usize, end: usize) -> usize {
        let mut given = 0;
        while read < end {
            if self.payload_left > 0 {
                let bytes = (end - read).min(usize::try_from(self.payload_left).unwrap_or(end));
                if !self.is_dropped {
                    if given != read {
                        out.copy_within(read..read + bytes, given);
                    }
                    given += bytes;
                }
                read += bytes;
                self.payload_left -= bytes as u64;
                continue;
            }
            let byte = out[read];
            read += 1;
            if self.take_header(byte) {
                let bytes = self.judge_header();
                out[given..given + bytes].copy_from_slice(&self.header[..bytes]);
                given += bytes;
            }
        }
        given
    }

    fn give(&mut self, out: &mut [u8]) -> usize {
        let bytes = self.to_give.len().min(out.len());
        let from = self.to_give.start;
        out[..bytes].copy_from_slice(&self.header[from..from + bytes]);
        self.to_give.start += bytes;
        bytes
    }
}

impl<C: Read> Read for FrameFilter<C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.to_give.is_empty() {
            return Ok(self.give(out));
        }
        for _ in 0..READS_MAX {
            let kept = self.header_bytes;
            if out.len() <= kept {
                // No room for the header: read a byte at a time.
                let mut byte = [0];
                if self.carrier.read(&mut byte)? == 0 {
                    return Ok(0);
                }
                if self.take_header(byte[0]) {
                    let bytes = self.judge_header();
                    if bytes > 0 {
                        self.to_give = 0..bytes;
                        return Ok(self.give(out));
                    }
                }
                continue;
            }
            let read = self.carrier.read(&mut out[kept..])?;
            if read == 0 {
                return Ok(0);
            }
            let given = self.sift(out, kept, kept + read);
            if given > 0 {
                return Ok(given);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl<C: Write> Write for FrameFilter<C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.carrier.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.carrier.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a few bytes at a time, and `WouldBlock` in between.
    struct Pieces<'a> {
        bytes: &'a [u8],
        most: usize,
        is_empty: bool,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.is_empty = !self.is_empty;
            if self.is_empty && !self.bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let most = self.most.min(out.len());
            self.bytes.read(&mut out[..most])
        }
    }

    /// A frame of a server.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(short as u8),
            middle @ 126..=0xffff => {
                frame.push(126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    fn sifted(sent: &[u8], most: usize, room: usize) -> (Vec<u8>, Skipped) {
        let carrier = Pieces {
            bytes: sent,
            most,
            is_empty: false,
        };
        let mut filter = FrameFilter::new(carrier, 300);
        let (mut given, mut out) = (Vec::new(), vec![0; room]);
        loop {
            match filter.read(&mut out) {
                Ok(0) => return (given, filter.take_skipped()),
                Ok(bytes) => given.extend(&out[..bytes]),
                Err(error) => assert!(
                    matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ),
                    "{error}"
                ),
            }
        }
    }

    #[test]
    fn messages_above_the_limit_are_skipped_and_others_are_unchanged() {
        let (x300, x301, x70k) = (vec![b'x'; 300], vec![b'x'; 301], vec![b'x'; 70_000]);
        let cases = [
            (
                vec![frame(0x81, b"hi"), frame(0x89, b"ping"), frame(0x82, &x300)],
                vec![frame(0x82, b"hi"), frame(0x89, b"ping"), frame(0x82, &x300)],
                Skipped::default(),
            ),
            (
                vec![
                    frame(0x81, &x301),
                    frame(0x82, b"hi"),
                    frame(0x82, &x70k),
                    frame(0x88, b""),
                ],
                vec![frame(0x82, b"hi"), frame(0x88, b"")],
                Skipped {
                    count: 2,
                    bytes: 70_000,
                },
            ),
            // In fragments, with a ping between them: the first fragment is too large,
            (
                vec![
                    frame(0x01, &x301),
                    frame(0x89, b""),
                    frame(0x00, b"more"),
                    frame(0x80, b"end"),
                    frame(0x81, b"hi"),
                ],
                vec![frame(0x89, b""), frame(0x82, b"hi")],
                Skipped {
                    count: 1,
                    bytes: 301,
                },
            ),
            // or all of them together.
            (
                vec![
                    frame(0x01, &x300),
                    frame(0x00, b"more"),
                    frame(0x80, b"end"),
                    frame(0x81, b"hi"),
                ],
                vec![frame(0x02, &x300), frame(0x80, b""), frame(0x82, b"hi")],
                Skipped {
                    count: 1,
                    bytes: 304,
                },
            ),
            (
                vec![frame(0x01, b"h"), frame(0x80, b"i"), frame(0x82, b"")],
                vec![frame(0x02, b"h"), frame(0x80, b"i"), frame(0x82, b"")],
                Skipped::default(),
            ),
        ];
        for (sent, expected, skipped) in cases {
            let (sent, expected) = (sent.concat(), expected.concat());
            for most in [1, 2, 3, 11, 1000, 100_000] {
                for room in [1, 2, 3, 9, 10, 11, 64, 4096] {
                    let found = sifted(&sent, most, room);
                    assert_eq!(found, (expected.clone(), skipped), "{most} {room}");
                }
            }
        }
    }

    /// Reads until the announced bytes do not arrive.
    #[test]
    fn an_announced_size_allocates_no_memory_and_does_not_block_the_thread() {
        let mut sent = vec![0x82, 127];
        sent.extend(u64::MAX.to_be_bytes());
        sent.extend(vec![0; 1_000_000]);
        let (given, skipped) = sifted(&sent, 100, 1024);
        assert!(given.is_empty());
        assert_eq!(skipped.bytes, u64::MAX);
        let mut filter = FrameFilter::new(&sent[..], 300);
        let error = filter.read(&mut [0; 1024]).expect_err("other work is due");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
