//! The chunked transfer coding (RFC 9112, section 7.1), decoded as the bytes arrive: no socket, no
//! clock.
//!
//! Strict where leniency would let a proxy and us see different requests: a size has digits and
//! nothing before them, and each line ends with CR LF. Chunk extensions and trailers are skipped.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::http_request::HttpRefusal;

/// A size of more hexadecimal digits is beyond every limit.
const SIZE_DIGITS_MAX: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the digits of a size; how many there were.
    Size(u32),
    /// In the extensions after a size.
    Extension,
    /// The LF after a size must follow.
    SizeEnd,
    /// In the data of a chunk.
    Data,
    /// The CR after the data must follow.
    DataCr,
    /// The LF after the data must follow.
    DataLf,
    /// At the start of a line after the last chunk.
    TrailerStart,
    /// In a trailer field.
    Trailer,
    /// The LF after a trailer field must follow.
    TrailerEnd,
    /// The last LF must follow.
    LastLf,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub(super) struct Chunked {
    phase: Phase,
    /// The size of the chunk, then what is left of it, in bytes.
    left: usize,
    /// Bytes of sizes, extensions, line ends and trailers so far.
    framing_bytes: usize,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked {
            phase: Phase::Size(0),
            left: 0,
            framing_bytes: 0,
        }
    }

    /// Appends the data in `bytes` to `body`. `true` once the body is complete; bytes after its end
    /// are dropped.
    ///
    /// # Errors
    /// 413 for a body, or framing around it, of more than `bytes_max`; 400 for other faults.
    pub(super) fn decode(
        &mut self,
        mut bytes: &[u8],
        body: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<bool, HttpRefusal> {
        while self.phase != Phase::Done {
            if self.phase == Phase::Data {
                let (data, rest) = bytes.split_at(self.left.min(bytes.len()));
                body.extend_from_slice(data);
                self.left -= data.len();
                bytes = rest;
                if self.left > 0 {
                    return Ok(false);
                }
                self.phase = Phase::DataCr;
                continue;
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return Ok(false);
            };
            bytes = rest;
            self.framing_bytes += 1;
            if self.framing_bytes > bytes_max {
                return Err(HttpRefusal::BodyTooLarge);
            }
            self.phase = self.next(byte)?;
            if self.phase == Phase::Data && self.left > bytes_max.saturating_sub(body.len()) {
                return Err(HttpRefusal::BodyTooLarge);
            }
        }
        Ok(true)
    }

    fn next(&mut self, byte: u8) -> Result<Phase, HttpRefusal> {
        let digit = char::from(byte).to_digit(16);
        Ok(match (self.phase, byte) {
            (Phase::Size(digits), _) if digit.is_some() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(HttpRefusal::BodyTooLarge);
                }
                let digit = digit.and_then(|digit| usize::try_from(digit).ok());
                let size = if digits == 0 { 0 } else { self.left };
                self.left = size * 16 + digit.unwrap_or_default();
                Phase::Size(digits + 1)
            }
            (Phase::Size(1..) | Phase::Extension, b'\r') => Phase::SizeEnd,
            (Phase::Size(1..), b';' | b' ' | b'\t') => Phase::Extension,
            (Phase::Extension, byte) if byte != b'\n' => Phase::Extension,
            (Phase::SizeEnd, b'\n') if self.left == 0 => Phase::TrailerStart,
            (Phase::SizeEnd, b'\n') => Phase::Data,
            (Phase::DataCr, b'\r') => Phase::DataLf,
            (Phase::DataLf, b'\n') => Phase::Size(0),
            (Phase::TrailerStart, b'\r') => Phase::LastLf,
            (Phase::Trailer, b'\r') => Phase::TrailerEnd,
            (Phase::TrailerStart | Phase::Trailer, byte) if byte != b'\n' => Phase::Trailer,
            (Phase::TrailerEnd, b'\n') => Phase::TrailerStart,
            (Phase::LastLf, b'\n') => Phase::Done,
            _ => {
                return Err(HttpRefusal::Malformed("the chunked body is malformed"));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], step: usize) -> Result<Option<Vec<u8>>, HttpRefusal> {
        let (mut chunked, mut body) = (Chunked::new(), Vec::new());
        for piece in bytes.chunks(step) {
            if chunked.decode(piece, &mut body, 64)? {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let malformed = Err(HttpRefusal::Malformed("the chunked body is malformed"));
        let too_large = Err(HttpRefusal::BodyTooLarge);
        let body = |text: &str| Ok(Some(text.as_bytes().to_vec()));
        for (bytes, expected) in [
            ("0\r\n\r\n", body("")),
            ("3\r\nabc\r\n0\r\n\r\n", body("abc")),
            (
                "3\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\nGET",
                body("abc0123456789"),
            ),
            (
                "3;a=\"b\"\r\nabc\r\n0 ;c\r\nD: e\r\nF: g\r\n\r\n",
                body("abc"),
            ),
            ("3\r\nab", Ok(None)),
            ("0\r\n", Ok(None)),
            ("0\r\nD: e\r\n", Ok(None)),
            ("", Ok(None)),
            ("\r\n", malformed.clone()),
            (" 3\r\nabc\r\n", malformed.clone()),
            ("+3\r\nabc\r\n", malformed.clone()),
            ("0x3\r\nabc\r\n", malformed.clone()),
            ("3\nabc\r\n0\r\n\r\n", malformed.clone()),
            ("3\r\nabcd\r\n0\r\n\r\n", malformed.clone()),
            ("3\r\nabc\n0\r\n\r\n", malformed.clone()),
            ("3;x\nabc\r\n0\r\n\r\n", malformed.clone()),
            ("0\r\n\n", malformed.clone()),
            ("41\r\n", too_large.clone()),
            ("40\r\n", Ok(None)),
            ("fffffffff\r\n", too_large.clone()),
            ("ffffffffffffffffffff\r\n", too_large.clone()),
        ] {
            for step in [1, 2, 3, 64] {
                assert_eq!(
                    decoded(bytes.as_bytes(), step),
                    expected,
                    "{bytes:?} by {step}"
                );
            }
        }
        // Framing that never becomes a body.
        let padded = format!("1;{}\r\na\r\n", "x".repeat(64));
        assert_eq!(decoded(padded.as_bytes(), 5), too_large);
    }
}
