//! Reads the HTTP 101 response only, so that tungstenite's 4 KiB handshake buffer is freed.
//!
//! tungstenite keeps that buffer as long as its WebSocket exists, whatever its settings. So the
//! handshake gets only the HTTP response, and a second WebSocket is made of the connection
//! afterwards, without that buffer. Bytes after the response are for the second one.

use std::io::{self, Read, Write};

/// A connection during and after the upgrade.
#[derive(Debug)]
pub(crate) struct UpgradeReader<C> {
    carrier: C,
    /// Bytes received and not yet passed on.
    leftover: Vec<u8>,
    /// Position relative to line ends after the last byte passed on.
    line: Line,
}

/// How much of the empty line that ends a response has been seen. As in the library's parser, a
/// line ends with a line feed, with or without a carriage return before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Within a line.
    Within,
    /// After a line feed.
    Ended,
    /// After a line feed and a carriage return.
    Returned,
    /// The upgrade is over: frames follow.
    Past,
}

impl<C> UpgradeReader<C> {
    pub(crate) fn new(carrier: C) -> UpgradeReader<C> {
        UpgradeReader {
            carrier,
            leftover: Vec::new(),
            line: Line::Within,
        }
    }

    pub(crate) fn carrier(&self) -> &C {
        &self.carrier
    }

    pub(crate) fn carrier_mut(&mut self) -> &mut C {
        &mut self.carrier
    }

    /// Ends the upgrade: from now on all bytes are passed on unchanged.
    pub(crate) fn pass_through(&mut self) {
        self.line = Line::Past;
    }

    /// Number of bytes up to and including the next empty line.
    fn up_to_empty_line(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            self.line = match (self.line, byte) {
                (Line::Ended | Line::Returned, b'\n') => {
                    self.line = Line::Ended;
                    return at + 1;
                }
                (_, b'\n') => Line::Ended,
                (Line::Ended, b'\r') => Line::Returned,
                _ => Line::Within,
            };
        }
        bytes.len()
    }
}

impl<C: Read> Read for UpgradeReader<C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let found = match self.leftover.is_empty() {
            true => self.carrier.read(out)?,
            false => {
                let found = self.leftover.len().min(out.len());
                out[..found].copy_from_slice(&self.leftover[..found]);
                self.leftover.drain(..found);
                if self.leftover.is_empty() {
                    self.leftover = Vec::new();
                }
                found
            }
        };
        if self.line == Line::Past {
            return Ok(found);
        }
        let given = self.up_to_empty_line(&out[..found]);
        self.leftover.splice(..0, out[given..found].iter().copied());
        Ok(given)
    }
}

impl<C: Write> Write for UpgradeReader<C> {
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

    /// The pieces that are passed on, and what follows after a response has ended.
    fn pieces(sent: &str, room: usize, heads: usize) -> (Vec<String>, String) {
        let mut upgrade = UpgradeReader::new(sent.as_bytes());
        let mut pieces = vec![String::new()];
        let mut out = vec![0; room];
        while pieces.len() <= heads {
            let given = upgrade.read(&mut out).expect("bytes in memory");
            assert_ne!(given, 0, "no further head");
            let text = std::str::from_utf8(&out[..given]).expect("text");
            pieces.last_mut().expect("one").push_str(text);
            let piece = pieces.last().expect("one");
            if piece.ends_with("\n\n") || piece.ends_with("\n\r\n") {
                pieces.push(String::new());
            }
        }
        pieces.pop();
        upgrade.pass_through();
        let mut rest = String::new();
        upgrade.read_to_string(&mut rest).expect("text");
        (pieces, rest)
    }

    #[test]
    fn a_response_is_passed_on_to_its_end_and_what_follows_is_kept() {
        for room in [1, 2, 3, 7, 4096] {
            for (head, leftover) in [
                ("HTTP/1.1 101 x\r\na: b\r\n\r\n", "frames \r\n\r\n and more"),
                ("HTTP/1.1 101 x\na: b\n\n", "\n"),
                ("HTTP/1.1 101 x\na: b\n\r\n", ""),
                ("HTTP/1.1 101 x\r\na: \rb\r\n\n", "x"),
            ] {
                let (given, kept) = pieces(&format!("{head}{leftover}"), room, 1);
                assert_eq!((given, kept.as_str()), (vec![head.to_owned()], leftover));
            }
        }
    }

    /// A parser may skip empty lines before a response, and then reads on.
    #[test]
    fn what_follows_is_passed_on_at_the_next_read() {
        for room in [1, 5, 4096] {
            let (given, kept) = pieces("\n\r\nHTTP/1.1 101 x\r\n\r\nframes", room, 2);
            assert_eq!(given, ["\n\r\n", "HTTP/1.1 101 x\r\n\r\n"]);
            assert_eq!(kept, "frames");
        }
    }
}
