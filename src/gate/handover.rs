//! Requests that leave the gate together with their sockets, for answers that go on for long.

use std::os::fd::OwnedFd;

use super::answer::answer_bytes;
use super::backend::Answer;

/// What a route does with such requests.
pub(crate) struct HandOver {
    /// Whether a request for this path is one.
    pub(crate) leaves: fn(&str) -> bool,
    /// Judges one, on the gate's thread: it must not wait.
    pub(crate) decide: Box<dyn Fn(&LeavingRequest) -> Decision + Send + Sync>,
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// The gate answers.
    Answer(Answer),
    /// This takes the socket, nonblocking.
    Take(Box<dyn FnOnce(OwnedFd)>),
}

/// A complete request, as the gate has read it.
pub(crate) struct LeavingRequest {
    head: String,
    body: Vec<u8>,
    listener: usize,
}

impl LeavingRequest {
    /// From the bytes that the gate's parser wrote: the head is ASCII, and so well-formed that it can be
    /// read line by line.
    pub(super) fn new(bytes: &[u8], listener: usize) -> LeavingRequest {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        let (head, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        LeavingRequest {
            head: String::from_utf8_lossy(head).into_owned(),
            body: rest.get(4..).unwrap_or_default().to_vec(),
            listener,
        }
    }

    /// What follows the head, decoded.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The number of the listener within its route.
    pub(crate) fn listener(&self) -> usize {
        self.listener
    }

    /// In upper case.
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// What follows the path.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The first header field with that name, of those that the gate passes on.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1);
        fields.find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Decision {
    /// The answer's bytes, or who takes the socket.
    pub(super) fn into_parts(self, is_head: bool) -> Result<Vec<u8>, Box<dyn FnOnce(OwnedFd)>> {
        match self {
            Decision::Answer(answer) => Ok(answer_bytes(&answer, is_head)),
            Decision::Take(take) => Err(take),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::http_request::{Arrival, Collector, SizeLimits, Verdict};

    #[test]
    fn l4_the_fields_of_such_a_request_are_passed_on() {
        let limits = SizeLimits {
            head_bytes_max: 1024,
            body_bytes_max: 16,
        };
        let arrival = Arrival {
            leaves: |path| path == "/events",
            ..Arrival::default()
        };
        let read = |text: &str| {
            let mut collector = Collector::new(limits, arrival);
            assert_eq!(collector.handle_bytes(text.as_bytes()), Verdict::Complete);
            let request = collector.into_request();
            (request.is_leaving, LeavingRequest::new(&request.bytes, 3))
        };
        let fields = "Host: localhost\r\nLast-Event-ID:  17\r\nORIGIN: http://a\r\nAccept: x/y\r\n\
                      Sec-WebSocket-Key: k\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Range: bytes=0-1\r\nIf-Range: \"e\"\r\nCookie: c\r\n\r\n";
        let (is_leaving, request) = read(&format!("GET /events?a=b?c HTTP/1.1\r\n{fields}"));
        assert!(is_leaving);
        assert_eq!((request.method(), request.path()), ("GET", "/events"));
        assert_eq!((request.query(), request.listener()), (Some("a=b?c"), 3));
        for (name, value) in [
            ("host", "localhost"),
            ("Last-Event-ID", "17"),
            ("Origin", "http://a"),
            ("accept", "x/y"),
            ("Sec-WebSocket-Key", "k"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Range", "bytes=0-1"),
            ("If-Range", "\"e\""),
        ] {
            assert_eq!(request.header(name), Some(value), "{name}");
        }
        assert_eq!(request.header("Cookie"), None);
        assert_eq!(request.body(), b"");
        let post = "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{\r\n}";
        let (is_leaving, request) = read(post);
        assert!(is_leaving);
        assert_eq!((request.method(), request.body()), ("POST", &b"{\r\n}"[..]));
        let (is_leaving, request) = read(&format!("GET /eventss HTTP/1.1\r\n{fields}"));
        assert!(!is_leaving);
        assert_eq!(request.header("Upgrade"), None, "tiny_http gets no upgrade");
        assert_eq!(request.header("Connection"), Some("close"));
    }
}
