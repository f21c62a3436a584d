//! Answers as bytes: the gate's own, and those of the backend as they are sent to the client.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::backend::Answer;
use super::http_request::HttpRefusal;

/// `100 Continue`, for a client that waits for it before it sends a body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Maximum length of a backend's answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Header fields of the backend that are not passed on.
const KEPT_BACK: [&str; 4] = ["connection", "server", "transfer-encoding", "keep-alive"];

/// The gate's own answer. With `is_head` it has no body, but the body's length.
pub(super) fn refusal(refusal: HttpRefusal, is_head: bool, now: SystemTime) -> Vec<u8> {
    let (code, reason) = refusal.status();
    let extra = match refusal {
        HttpRefusal::MethodUnknown => "Allow: GET, HEAD, POST\r\n",
        HttpRefusal::Unavailable => "Retry-After: 1\r\n",
        _ => "",
    };
    let text = refusal.text();
    let mut answer = String::with_capacity(256);
    // Writing to a String cannot fail.
    let _ = write!(
        answer,
        "HTTP/1.1 {code} {reason}\r\nDate: {}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n{extra}Connection: close\r\n\r\n",
        httpdate::fmt_http_date(now),
        text.len() + 1,
    );
    if !is_head {
        answer.push_str(text);
        answer.push('\n');
    }
    answer.into_bytes()
}

/// The head of an answer whose body ends with the connection.
pub(crate) fn open_answer_bytes(answer: &Answer) -> Vec<u8> {
    head_bytes(
        answer,
        &format!("Content-Type: {}\r\n", answer.content_type),
    )
    .into_bytes()
}

/// An answer as a client gets it. With `is_head` it has no body, but the body's length.
pub(crate) fn answer_bytes(answer: &Answer, is_head: bool) -> Vec<u8> {
    let (kind, length) = (answer.content_type, answer.body.len());
    let has_body = !matches!(answer.status, 204 | 304);
    let about_body = match has_body {
        true => format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n"),
        false => String::new(),
    };
    let mut bytes = head_bytes(answer, &about_body).into_bytes();
    if !is_head && has_body {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}

fn head_bytes(answer: &Answer, about_body: &str) -> String {
    let (status, date) = (answer.status, httpdate::fmt_http_date(SystemTime::now()));
    let reason = reason(status);
    let mut head = format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n{about_body}");
    for (name, value) in &answer.headers {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("Connection: close\r\n\r\n");
    head
}

/// The reason phrase of a status that answers have.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// The state of the backend's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedAnswer {
    /// Not complete.
    More,
    /// It cannot be passed on: not HTTP, without a length, or too long.
    Broken,
    /// The status code, and the answer for the client.
    Complete(u16, Vec<u8>),
}

/// Parses an answer of the backend; `is_head` if it has no body.
pub(super) fn parse_answer(bytes: &[u8], is_head: bool) -> ParsedAnswer {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_BYTES_MAX => {
            return ParsedAnswer::More;
        }
        _ => return ParsedAnswer::Broken,
    };
    let code = response.code.unwrap_or(0);
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok())
        .and_then(|digits| digits.parse::<usize>().ok());
    let Some(length) = length.filter(|&n| n <= ANSWER_BYTES_MAX) else {
        return ParsedAnswer::Broken;
    };
    let body_bytes = if is_head { 0 } else { length };
    let Some(body) = bytes.get(head_bytes..head_bytes + body_bytes) else {
        return ParsedAnswer::More;
    };
    let mut answer = Vec::with_capacity(head_bytes + body_bytes + 32);
    let line = format!("HTTP/1.1 {code} {}\r\n", response.reason.unwrap_or(""));
    answer.extend_from_slice(line.as_bytes());
    for field in response.headers.iter() {
        if !KEPT_BACK
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
        {
            for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
                answer.extend_from_slice(part);
            }
        }
    }
    answer.extend_from_slice(b"Connection: close\r\n\r\n");
    answer.extend_from_slice(body);
    ParsedAnswer::Complete(code, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_complete_answer() {
        let now = SystemTime::UNIX_EPOCH;
        let answer = |is_head| {
            String::from_utf8(refusal(HttpRefusal::MethodUnknown, is_head, now)).expect("ASCII")
        };
        let head = "HTTP/1.1 405 Method Not Allowed\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
            Content-Type: text/plain\r\nContent-Length: 23\r\nAllow: GET, HEAD, POST\r\n\
            Connection: close\r\n\r\n";
        assert_eq!(answer(true), head);
        assert_eq!(answer(false), format!("{head}this method is unknown\n"));
    }

    #[test]
    fn a_complete_answer_is_passed_on_with_connection_close() {
        let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nup";
        for cut in 0..bytes.len() {
            assert_eq!(parse_answer(&bytes[..cut], false), ParsedAnswer::More);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
        let complete = |text: &str| ParsedAnswer::Complete(200, text.as_bytes().to_vec());
        assert_eq!(parse_answer(bytes, false), complete(&format!("{head}up")));
        assert_eq!(
            parse_answer(&bytes[..bytes.len() - 2], true),
            complete(head)
        );
    }

    #[test]
    fn malformed_answers_are_not_passed_on() {
        for bytes in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        ] {
            assert_eq!(parse_answer(bytes, false), ParsedAnswer::Broken);
        }
    }
}
