//! Tests of the request parser: what a client may send, and the answer.

use super::*;

const LIMITS: SizeLimits = SizeLimits {
    head_bytes_max: 16 << 10,
    body_bytes_max: 256 << 10,
};

/// The last verdict if the bytes arrive in pieces of `step`.
fn fed(bytes: &[u8], step: usize) -> (Verdict, bool, Collector) {
    let mut collector = Collector::new(LIMITS, Arrival::default());
    let mut verdict = Verdict::More;
    let mut continued = false;
    for piece in bytes.chunks(step) {
        match collector.handle_bytes(piece) {
            Verdict::Continue => {
                continued = true;
                verdict = Verdict::More;
            }
            other => verdict = other,
        }
        if matches!(verdict, Verdict::Refuse(_) | Verdict::Complete) {
            break;
        }
    }
    (verdict, continued, collector)
}

fn verdict(bytes: &[u8]) -> Verdict {
    let (whole, ..) = fed(bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7, 4096] {
        if step > 1 || bytes.len() < 40_000 {
            assert_eq!(
                fed(bytes, step).0,
                whole,
                "step {step} of {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            );
        }
    }
    whole
}

fn status(bytes: &[u8]) -> u16 {
    match verdict(bytes) {
        Verdict::Refuse(refusal) => refusal.status().0,
        Verdict::Complete => 200,
        Verdict::More | Verdict::Continue => 0,
    }
}

#[test]
fn each_request_gets_its_own_answer() {
    let table: &[(&str, u16)] = &[
        (
            "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
            200,
        ),
        // An unknown method, and a fault in a field that could also be one in the line.
        ("POSt / HTTP/1.1\r\n\rHost: a\r\n\r\n", 405),
        (
            "POST /webhook HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
            200,
        ),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n\r\nGET /",
            200,
        ),
        ("GET http://example.test HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (
            "GET http://example.test/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
        ),
        ("OPTIONS * HTTP/1.0\r\n\r\n", 200),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            200,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234",
            0,
        ),
        ("", 0),
        ("\r\n\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: a\r\n", 0),
        // What no normal client sends.
        ("\x16\x03\x01\x02", 400),
        ("get / HTTP/1.1\r\n", 400),
        ("GET /\r\n", 400),
        ("GET / FTP/1.1\r\n", 400),
        ("GET  / HTTP/1.1\r\n", 400),
        ("GET example.test HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://example.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a?/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n12345",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n12345",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("BREW / HTTP/1.1\r\n", 405),
        ("CONNECT a:443 HTTP/1.1\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 411),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            200,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            200,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            0,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40001\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            411,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        ("BREW / HTTP/1.1\r\nHost : a\r\n\r\n", 405),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            411,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: tea\r\n\r\n",
            417,
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/3\r\n", 505),
        ("GET / HTTP/0.9\r\n", 505),
    ];
    for (bytes, expected) in table {
        assert_eq!(status(bytes.as_bytes()), *expected, "{bytes:?}");
    }
}

#[test]
fn a_head_that_never_ends_is_refused_at_the_limit() {
    let long = |n: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        head.resize(n - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        head
    };
    assert_eq!(status(&long(16 << 10)), 200);
    assert_eq!(status(&long((16 << 10) + 1)), 431);
    assert_eq!(status(&[b'G'; (16 << 10) + 1]), 431);
    assert_eq!(status(&[b'G'; 16 << 10]), 0);
    assert_eq!(status(&[b'\n'; (16 << 10) + 1]), 431);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "a: b\r\n".repeat(HEADER_FIELDS_MAX)
    );
    assert_eq!(status(many.as_bytes()), 431);
}

#[test]
fn the_largest_body_passes() {
    let mut request =
        b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n".to_vec();
    let head_bytes = request.len();
    request.resize(head_bytes + 262_144, b'x');
    request.extend_from_slice(b"more");
    let (verdict, _, collector) = fed(&request, 60_000);
    assert_eq!(verdict, Verdict::Complete);
    let bytes = collector.into_request().bytes;
    assert!(bytes.ends_with(&request[head_bytes..head_bytes + 262_144]));
}

#[test]
fn only_known_fields_are_passed_on_and_rewritten() {
    let request =
        b"POST http://x/webhook?a=b HTTP/1.0\nX-Zm-Signature: v0=00\nX-Zm-Trackingid: \xe9\n\
        Content-Length: 2\nConnection: keep-alive, Upgrade\nUpgrade: h2c\nTE: chunked\n\n{}GET /";
    for step in [1, 5, 500] {
        let (verdict, _, collector) = fed(request, step);
        assert_eq!(verdict, Verdict::Complete);
        let request = collector.into_request();
        assert!(request.is_post && !request.is_head);
        assert_eq!(
            String::from_utf8_lossy(&request.bytes),
            "POST /webhook?a=b HTTP/1.1\r\nHost: -\r\nX-Rtmsd-Route: 0/0\r\nX-Zm-Signature: v0=00\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{}"
        );
    }
}

#[test]
fn continue_is_sent_once_and_only_to_a_waiting_client() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    let whole = format!("{head}{{}}");
    assert!(fed(head.as_bytes(), 1).1);
    assert_eq!(fed(whole.as_bytes(), 1).0, Verdict::Complete);
    assert!(!fed(whole.as_bytes(), 1000).1);
    let old = head.replace("HTTP/1.1", "HTTP/1.0");
    assert!(!fed(old.as_bytes(), 1000).1);
}
