//! A minimal blocking HTTP/1.1 for both directions of the demo: requests to the REST server, and
//! answers to webhooks.
//!
//! It does not use the packages of the real server, so that a mistake there is detected here.

use std::io::{self, Read};
use std::time::Instant;

const HEAD_BYTES_MAX: usize = 32 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request, or a response with the status in its first line.
#[derive(Debug, Clone, Default)]
pub(in crate::demo) struct HttpMessage {
    /// The three words of the first line.
    pub(in crate::demo) line: [String; 3],
    headers: Vec<(String, String)>,
    pub(in crate::demo) body: Vec<u8>,
}

impl HttpMessage {
    /// The value of the first header with that name.
    pub(in crate::demo) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one message before the deadline. `None` means that the peer closed without sending a byte.
///
/// The stream's read timeout must be finite, because the deadline is checked only between reads.
pub(in crate::demo) fn read(
    stream: &mut impl Read,
    deadline: Instant,
) -> io::Result<Option<HttpMessage>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(invalid("head too large"));
        }
        if fill(stream, &mut bytes, deadline)? == 0 {
            if bytes.is_empty() {
                return Ok(None);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut message = parse_head(&bytes[..head_end])?;
    let mut body = bytes.split_off(head_end + 4);
    let chunked = message
        .header("transfer-encoding")
        .is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    if chunked {
        while find(&body, b"0\r\n\r\n").is_none() {
            if body.len() > BODY_BYTES_MAX || fill(stream, &mut body, deadline)? == 0 {
                return Err(invalid("chunked body without an end"));
            }
        }
        body = unchunk(&body).ok_or_else(|| invalid("malformed chunks"))?;
    } else {
        let length: usize = match message.header("content-length") {
            Some(text) => text.parse().map_err(|_| invalid("content-length"))?,
            None => 0,
        };
        if length > BODY_BYTES_MAX {
            return Err(invalid("body too large"));
        }
        while body.len() < length {
            if fill(stream, &mut body, deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.truncate(length);
    }
    message.body = body;
    Ok(Some(message))
}

fn fill(stream: &mut impl Read, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    if Instant::now() >= deadline {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

fn parse_head(head: &[u8]) -> io::Result<HttpMessage> {
    let head = std::str::from_utf8(head).map_err(|_| invalid("head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let line = [word(), word(), word()];
    let headers = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .ok_or_else(|| invalid("header without a colon"))
        })
        .collect::<io::Result<_>>()?;
    Ok(HttpMessage {
        line,
        headers,
        body: Vec::new(),
    })
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(bytes: &str) -> io::Result<Option<HttpMessage>> {
        read(
            &mut bytes.as_bytes(),
            Instant::now() + Duration::from_secs(5),
        )
    }

    #[test]
    fn bodies_of_both_kinds_are_read() {
        let plain = parse("POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
            .expect("it is whole")
            .expect("it is there");
        assert_eq!(
            (plain.line[1].as_str(), plain.body.as_slice()),
            ("/a", &b"hi"[..])
        );
        let chunked = parse(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        )
        .expect("it is whole")
        .expect("it is there");
        assert_eq!(
            (chunked.line[1].as_str(), chunked.body.as_slice()),
            ("200", &b"abcd"[..])
        );
        assert!(parse("").expect("a close is no error").is_none());
        assert!(parse("GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort").is_err());
    }
}
