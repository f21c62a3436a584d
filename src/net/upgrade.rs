//! The upgrade, read up to its end and no further.
//!
//! The library reads the answer to an upgrade into four kilobytes, and keeps them as long as the
//! WebSocket lives, whatever it is told about its buffers. So it is given the answer alone; what
//! came behind it is kept here, for the WebSocket that is made when the answer was a good one.

use std::io::{self, Read, Write};

/// A carrier during the upgrade.
#[derive(Debug)]
pub(crate) struct UpgradeReader<C> {
    carrier: C,
    /// Read, and not given out.
    leftover: Vec<u8>,
    /// What was given out last ended with this.
    line: Line,
}

/// How much of an empty line, which ends a head, there is. As the library's parser takes them,
/// lines end with a line feed, with or without a carriage return before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// In a line.
    Within,
    /// A line feed.
    Ended,
    /// A line feed and a carriage return.
    Returned,
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

    /// The carrier, and what came behind the answer.
    pub(crate) fn into_parts(self) -> (C, Vec<u8>) {
        (self.carrier, self.leftover)
    }

    /// How many of these bytes there are up to the end of the next empty line.
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
                found
            }
        };
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

    /// Each piece that is given out, and what is left behind when a head has ended.
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
        let (rest, mut leftover) = upgrade.into_parts();
        leftover.extend_from_slice(rest);
        (pieces, String::from_utf8(leftover).expect("text"))
    }

    #[test]
    fn a_head_is_given_out_to_its_end_and_what_follows_is_kept() {
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

    /// A parser may pass over empty lines before a head, and asks for more.
    #[test]
    fn what_follows_is_given_out_when_it_is_asked_for() {
        for room in [1, 5, 4096] {
            let (given, kept) = pieces("\n\r\nHTTP/1.1 101 x\r\n\r\nframes", room, 2);
            assert_eq!(given, ["\n\r\n", "HTTP/1.1 101 x\r\n\r\n"]);
            assert_eq!(kept, "frames");
        }
    }
}
