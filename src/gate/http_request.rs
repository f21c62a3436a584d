//! Parser and rewriter of one HTTP request: no socket, no clock.
//!
//! The gate passes in what arrives and gets the next action: read more, refuse, or pass the request
//! to the backend. The request for the backend is written here, from the few parts that it needs: a
//! chunked body is decoded, and nothing unusual from a client (two lengths, an upgrade, odd line
//! ends) reaches tiny_http. The result never depends on how the bytes were split into packets.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::chunked::Chunked;

/// The route of the gate on which a request arrived. Only the gate writes it: a field with that
/// name from a client is not in [`HANDED_ON`].
pub(super) const ROUTE_FIELD: &str = "X-Rtmsd-Route";

/// Header fields that the backend reads, besides `Host`; all others are dropped here.
const HANDED_ON: [&str; 6] = [
    "authorization",
    "content-type",
    "origin",
    "x-zm-request-timestamp",
    "x-zm-signature",
    "x-zm-trackingid",
];

/// Those that are read in addition where a request leaves the gate with its socket.
const HANDED_OVER: [&str; 8] = [
    "accept",
    "connection",
    "if-none-match",
    "if-range",
    "last-event-id",
    "range",
    "upgrade",
    "sec-websocket-",
];

/// Where a request arrives, and which requests leave the gate there.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The number of the gate's route.
    pub route: usize,
    /// The number of the listener within the route.
    pub listener: usize,
    /// Whether a request for this path leaves the gate together with its socket.
    pub leaves: fn(&str) -> bool,
}

impl Default for Arrival {
    fn default() -> Arrival {
        Arrival {
            route: 0,
            listener: 0,
            leaves: |_| false,
        }
    }
}

/// A request with more header fields is refused with 431.
pub const HEADER_FIELDS_MAX: usize = 96;

/// A longer `Host` counts as missing: a DNS name has at most 253 characters, and a port five
/// digits.
const HOST_BYTES_MAX: usize = 260;

/// Size limits of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Request line and header fields together, in bytes.
    pub head_bytes_max: usize,
    /// The body, in bytes.
    pub body_bytes_max: usize,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpRefusal {
    /// 400: not a valid HTTP/1 request; what was found.
    Malformed(&'static str),
    /// 405: a method that no resource here has.
    MethodUnknown,
    /// 408: the request did not arrive in time.
    TooSlow,
    /// 411: a body without a length, or in a coding other than chunked.
    LengthRequired,
    /// 413: a body above the limit.
    BodyTooLarge,
    /// 417: an `Expect` other than `100-continue`.
    ExpectationUnknown,
    /// 431: a head above the limit.
    HeadTooLarge,
    /// 503: the backend did not answer in time, or the gate is full.
    Unavailable,
    /// 505: HTTP, but not HTTP/1.
    VersionUnsupported,
}

impl HttpRefusal {
    /// Status code and reason phrase.
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            HttpRefusal::Malformed(_) => (400, "Bad Request"),
            HttpRefusal::MethodUnknown => (405, "Method Not Allowed"),
            HttpRefusal::TooSlow => (408, "Request Timeout"),
            HttpRefusal::LengthRequired => (411, "Length Required"),
            HttpRefusal::BodyTooLarge => (413, "Content Too Large"),
            HttpRefusal::ExpectationUnknown => (417, "Expectation Failed"),
            HttpRefusal::HeadTooLarge => (431, "Request Header Fields Too Large"),
            HttpRefusal::Unavailable => (503, "Service Unavailable"),
            HttpRefusal::VersionUnsupported => (505, "HTTP Version Not Supported"),
        }
    }

    /// One line for the client, without line end.
    pub const fn text(self) -> &'static str {
        match self {
            HttpRefusal::Malformed(found) => found,
            HttpRefusal::MethodUnknown => "this method is unknown",
            HttpRefusal::TooSlow => "the request was not complete in time",
            HttpRefusal::LengthRequired => {
                "a body needs a Content-Length or the chunked transfer coding"
            }
            HttpRefusal::BodyTooLarge => "the body is too large",
            HttpRefusal::ExpectationUnknown => "only 100-continue can be expected",
            HttpRefusal::HeadTooLarge => "the request line and header fields are too large",
            HttpRefusal::Unavailable => "no answer is possible now, try again",
            HttpRefusal::VersionUnsupported => "only HTTP/1.0 and HTTP/1.1 are supported",
        }
    }
}

/// What to do after the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Read more.
    More,
    /// Send `100 Continue`, once, and read more.
    Continue,
    /// Send this answer and close.
    Refuse(HttpRefusal),
    /// The request is complete: see [`Collector::into_request`].
    Complete,
}

/// A complete request, written for the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `HEAD`: the answer has no body.
    pub is_head: bool,
    /// `POST`: may be a webhook.
    pub is_post: bool,
    /// It leaves the gate together with its socket.
    pub is_leaving: bool,
    /// Head and body as tiny_http will read them.
    pub bytes: Vec<u8>,
}

/// The state of the body.
#[derive(Debug)]
enum Body {
    /// The head is incomplete.
    NotYet,
    /// This many bytes are missing.
    Length(usize),
    /// The decoder, and what it has decoded.
    Chunked(Chunked, Vec<u8>),
}

/// Collects one request.
#[derive(Debug)]
pub struct Collector {
    limits: SizeLimits,
    arrival: Arrival,
    /// The head until it is complete, then the request for the backend.
    bytes: Vec<u8>,
    /// Empty lines before the request line.
    start: usize,
    /// How far the end of the head was searched.
    searched: usize,
    line_is_checked: bool,
    is_head: bool,
    is_post: bool,
    is_leaving: bool,
    body: Body,
    refused: Option<HttpRefusal>,
}

impl Collector {
    /// A collector for a request that arrives there.
    pub fn new(limits: SizeLimits, arrival: Arrival) -> Collector {
        Collector {
            limits,
            arrival,
            bytes: Vec::new(),
            start: 0,
            searched: 0,
            line_is_checked: false,
            is_head: false,
            is_post: false,
            is_leaving: false,
            body: Body::NotYet,
            refused: None,
        }
    }

    /// Adds the next bytes. Bytes after a complete request are dropped; after a refusal the verdict
    /// does not change.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Verdict {
        if let Some(refusal) = self.refused {
            return Verdict::Refuse(refusal);
        }
        let verdict = match self.body {
            Body::NotYet => self.handle_head(bytes),
            _ => self.handle_body(bytes),
        };
        verdict.unwrap_or_else(|refusal| {
            self.refused = Some(refusal);
            self.bytes = Vec::new();
            self.body = Body::NotYet;
            Verdict::Refuse(refusal)
        })
    }

    /// Whether nothing of a request has arrived.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.refused.is_none()
    }

    /// Whether the method is known to be `HEAD`, whose refusal has no body either.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// Memory use, in bytes.
    pub fn held_bytes(&self) -> usize {
        match &self.body {
            Body::Chunked(_, body) => self.bytes.capacity() + body.capacity(),
            _ => self.bytes.capacity(),
        }
    }

    /// The complete request. Meaningful only after [`Verdict::Complete`].
    pub fn into_request(self) -> Request {
        Request {
            is_head: self.is_head,
            is_post: self.is_post,
            is_leaving: self.is_leaving,
            bytes: self.bytes,
        }
    }

    fn handle_body(&mut self, bytes: &[u8]) -> Result<Verdict, HttpRefusal> {
        let is_complete = match &mut self.body {
            Body::NotYet => false,
            Body::Length(left) => {
                let used = bytes.len().min(*left);
                self.bytes.extend_from_slice(&bytes[..used]);
                *left -= used;
                *left == 0
            }
            Body::Chunked(chunked, body) => {
                let is_complete = chunked.decode(bytes, body, self.limits.body_bytes_max)?;
                if is_complete {
                    finish_head(&mut self.bytes, body.len(), self.is_leaving);
                    self.bytes.append(body);
                }
                is_complete
            }
        };
        Ok(match is_complete {
            true => Verdict::Complete,
            false => Verdict::More,
        })
    }

    fn handle_head(&mut self, bytes: &[u8]) -> Result<Verdict, HttpRefusal> {
        self.bytes.extend_from_slice(bytes);
        while matches!(self.bytes.get(self.start), Some(b'\r' | b'\n')) {
            self.start += 1;
        }
        if self.start > self.limits.head_bytes_max {
            return Err(HttpRefusal::HeadTooLarge);
        }
        let Some(&first) = self.bytes.get(self.start) else {
            return Ok(Verdict::More);
        };
        if !first.is_ascii_uppercase() {
            // A TLS hello on the plain port, or noise: do not wait for the end of a line.
            return Err(HttpRefusal::Malformed("this is not an HTTP request"));
        }
        self.searched = self.searched.max(self.start);
        let line_from = self.searched;
        match self.head_end() {
            Some(end) if end <= self.limits.head_bytes_max => self.read_head(end),
            None if self.bytes.len() <= self.limits.head_bytes_max => {
                self.check_line(line_from)?;
                Ok(Verdict::More)
            }
            _ => {
                self.check_line(line_from)?;
                Err(HttpRefusal::HeadTooLarge)
            }
        }
    }

    /// The index after the empty line. Remembers how far it has searched, so that a request that
    /// arrives byte by byte costs no more than one that arrives at once.
    fn head_end(&mut self) -> Option<usize> {
        let mut at = self.searched;
        while let Some(found) = self.bytes[at..].iter().position(|&b| b == b'\n') {
            let line_end = at + found;
            match self.bytes[line_end + 1..] {
                [b'\n', ..] => return Some(line_end + 2),
                [b'\r', b'\n', ..] => return Some(line_end + 3),
                [] | [b'\r'] => {
                    self.searched = line_end;
                    return None;
                }
                _ => at = line_end + 1,
            }
        }
        self.searched = self.bytes.len();
        None
    }

    /// Checks the request line of an incomplete head as soon as it is there, so that a client that
    /// will be refused need not send the rest first.
    fn check_line(&mut self, from: usize) -> Result<(), HttpRefusal> {
        if self.line_is_checked {
            return Ok(());
        }
        let Some(at) = self.bytes[from..].iter().position(|&b| b == b'\n') else {
            return Ok(());
        };
        let end = from + at + 1;
        if end > self.limits.head_bytes_max {
            return Err(HttpRefusal::HeadTooLarge);
        }
        let line = &self.bytes[self.start..end];
        let mut fields = [httparse::EMPTY_HEADER; 1];
        let mut request = httparse::Request::new(&mut fields);
        if let Err(error) = request.parse(line) {
            return Err(line_refusal(line, error));
        }
        let method = known_method(request.method)?;
        (self.is_head, self.is_post) = (method == "HEAD", method == "POST");
        self.line_is_checked = true;
        Ok(())
    }

    fn read_head(&mut self, end: usize) -> Result<Verdict, HttpRefusal> {
        let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let head = &self.bytes[self.start..end];
        let parsed = request.parse(head);
        // A fault of the line is reported first, then the method, then the fields: as if the head
        // arrived in pieces.
        if let Err(error) = parsed
            && !is_about_fields(error)
        {
            // A carriage return without a line feed is the same error in the line and in a field.
            self.check_line(self.start)?;
            return Err(line_refusal(&self.bytes[self.start..end], error));
        }
        let method = known_method(request.method)?;
        (self.is_head, self.is_post) = (method == "HEAD", method == "POST");
        match parsed {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(HttpRefusal::Malformed(
                    "the header fields end with an unexpected byte",
                ));
            }
            Err(httparse::Error::TooManyHeaders) => return Err(HttpRefusal::HeadTooLarge),
            Err(error) => return Err(line_refusal(head, error)),
        }
        let is_http_1_1 = request.version == Some(1);
        let facts = Facts::new(request.headers, is_http_1_1)?;
        let target = target(request.path.unwrap_or_default(), method)?;
        let needs_length = matches!(method, "POST" | "PUT" | "PATCH");
        let length = match facts.length {
            Some(length) if length > self.limits.body_bytes_max => {
                return Err(HttpRefusal::BodyTooLarge);
            }
            None if needs_length && !facts.is_chunked => return Err(HttpRefusal::LengthRequired),
            length => length.unwrap_or(0),
        };
        let mut written = Vec::with_capacity(256 + length.min(4096));
        let path = target.split('?').next().unwrap_or_default();
        self.is_leaving = (self.arrival.leaves)(path);
        let arrival = format!("{}/{}", self.arrival.route, self.arrival.listener);
        for part in [
            method,
            " ",
            target,
            " HTTP/1.1\r\nHost: ",
            facts.host.unwrap_or("-"),
            "\r\n",
            ROUTE_FIELD,
            ": ",
            &arrival,
            "\r\n",
        ] {
            written.extend_from_slice(part.as_bytes());
        }
        for field in request.headers.iter() {
            let is_in = |names: &[&str]| {
                let mut names = names.iter();
                names.any(|name| is_named(field.name, name))
            };
            let is_wanted = is_in(&HANDED_ON) || self.is_leaving && is_in(&HANDED_OVER);
            // tiny_http closes without an answer on a value that is not ASCII.
            if is_wanted && is_printable(field.value) {
                for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
                    written.extend_from_slice(part);
                }
            }
        }
        self.body = match facts.is_chunked {
            true => Body::Chunked(Chunked::new(), Vec::new()),
            false => {
                finish_head(&mut written, length, self.is_leaving);
                Body::Length(length)
            }
        };
        let expects_continue = facts.expects_continue;
        let rest = std::mem::replace(&mut self.bytes, written).split_off(end);
        Ok(match self.handle_body(&rest)? {
            Verdict::More if expects_continue && rest.is_empty() => Verdict::Continue,
            verdict => verdict,
        })
    }
}

/// Ends the head for the backend, once the length of the body is known.
fn finish_head(head: &mut Vec<u8>, body_bytes: usize, is_leaving: bool) {
    if body_bytes > 0 {
        head.extend_from_slice(format!("Content-Length: {body_bytes}\r\n").as_bytes());
    }
    // Where the request leaves the gate, the client's own may ask for an upgrade.
    if !is_leaving {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

/// Whether a field has this name, or one that begins so if that ends with a hyphen.
fn is_named(field: &str, name: &str) -> bool {
    let begin = match name.ends_with('-') {
        true => field.get(..name.len()),
        false => Some(field),
    };
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(name))
}

fn known_method(method: Option<&str>) -> Result<&str, HttpRefusal> {
    match method {
        Some(
            method @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "TRACE" | "PATCH"),
        ) => Ok(method),
        _ => Err(HttpRefusal::MethodUnknown),
    }
}

fn is_about_fields(error: httparse::Error) -> bool {
    matches!(
        error,
        httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::TooManyHeaders
    )
}

fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|b| (b' '..=b'~').contains(b))
}

/// The header fields about framing and host.
struct Facts<'a> {
    length: Option<usize>,
    is_chunked: bool,
    expects_continue: bool,
    host: Option<&'a str>,
}

impl<'a> Facts<'a> {
    fn new(fields: &[httparse::Header<'a>], is_http_1_1: bool) -> Result<Facts<'a>, HttpRefusal> {
        let mut facts = Facts {
            length: None,
            is_chunked: false,
            expects_continue: false,
            host: None,
        };
        let (mut hosts, mut codings) = (0, 0);
        for field in fields {
            if field.name.eq_ignore_ascii_case("content-length") {
                // Two lengths are refused even if they are equal: such a client is faulty or wants
                // a proxy and us to read different requests (RFC 9112, section 6.3).
                if facts.length.replace(length(field.value)?).is_some() {
                    return Err(HttpRefusal::Malformed(
                        "there is more than one Content-Length",
                    ));
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                codings += 1;
                facts.is_chunked = field.value.eq_ignore_ascii_case(b"chunked");
            } else if field.name.eq_ignore_ascii_case("host") {
                hosts += 1;
                facts.host = std::str::from_utf8(field.value)
                    .ok()
                    .filter(|host| is_printable(host.as_bytes()) && host.len() <= HOST_BYTES_MAX);
            } else if field.name.eq_ignore_ascii_case("expect") && is_http_1_1 {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HttpRefusal::ExpectationUnknown);
                }
                facts.expects_continue = true;
            }
        }
        if codings > 0 && (facts.length.is_some() || !is_http_1_1) {
            return Err(HttpRefusal::Malformed(
                "a transfer coding is not allowed here",
            ));
        }
        if codings > 1 || (codings == 1 && !facts.is_chunked) {
            return Err(HttpRefusal::LengthRequired);
        }
        if hosts > 1 || (hosts == 0 && is_http_1_1) || (hosts == 1 && facts.host.is_none()) {
            return Err(HttpRefusal::Malformed("exactly one Host is expected"));
        }
        Ok(facts)
    }
}

/// A length of digits only; one that no machine can hold is too large.
fn length(value: &[u8]) -> Result<usize, HttpRefusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpRefusal::Malformed("Content-Length is not a number"));
    }
    Ok(std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(usize::MAX))
}

/// The path and query of a target in origin or absolute form.
fn target<'a>(target: &'a str, method: &str) -> Result<&'a str, HttpRefusal> {
    let fault = HttpRefusal::Malformed("the request target is not a path");
    if !target.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
        return Err(fault);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target);
    }
    let rest = target
        .split_once("://")
        .filter(|(scheme, _)| {
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        })
        .map(|(_, rest)| rest)
        .ok_or(fault)?;
    match rest.find(['/', '?', '#']) {
        Some(at) if rest[at..].starts_with('/') => Ok(&rest[at..]),
        Some(_) => Err(fault),
        None => Ok("/"),
    }
}

fn line_refusal(head: &[u8], error: httparse::Error) -> HttpRefusal {
    match error {
        httparse::Error::Version if names_http(head) => HttpRefusal::VersionUnsupported,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            HttpRefusal::Malformed("a header field is malformed")
        }
        _ => HttpRefusal::Malformed("the request line is malformed"),
    }
}

/// Whether the third word of the line is `HTTP/` and a digit.
fn names_http(head: &[u8]) -> bool {
    head.split(|&b| b == b' ' || b == b'\n')
        .nth(2)
        .and_then(|word| word.strip_prefix(b"HTTP/"))
        .and_then(|version| version.first())
        .is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
#[path = "http_request_tests.rs"]
mod tests;
